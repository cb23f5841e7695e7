//! `report --push-to-hub` against a local server that speaks the part of the hub's protocol that uploads need.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use predicates::prelude::*;
use serde_json::{Value, json};
use tiny_http::{Method, Request, Response, Server};

use crate::support::{Place, error};

const TOKEN: &str = "hf_TheTokenOfTheTest";

/// What a hub has seen and holds.
#[derive(Default)]
struct State {
    /// The request that made the repository.
    made: Option<Value>,
    files: BTreeMap<String, Vec<u8>>,
    commits: usize,
    requests: usize,
    without_token: usize,
    /// Whether commits are refused, with the token in the answer.
    refuses: bool,
    /// Whether commits get no answer.
    stalls: bool,
}

struct Hub {
    endpoint: String,
    state: Arc<Mutex<State>>,
    server: Arc<Server>,
}

impl Hub {
    fn start() -> Self {
        let server = Arc::new(Server::http("127.0.0.1:0").expect("a server"));
        let endpoint = format!("http://{}", server.server_addr().to_ip().expect("an address"));
        let state = Arc::new(Mutex::new(State::default()));
        let (listener, shared) = (server.clone(), state.clone());
        std::thread::spawn(move || {
            for mut request in listener.incoming_requests() {
                let mut state = shared.lock().expect("no panic");
                let (code, body) = answer(&mut request, &mut state);
                let stalls = state.stalls && request.url().contains("/commit/");
                drop(state);
                if stalls {
                    // Kept open without an answer.
                    std::mem::forget(request);
                } else {
                    request.respond(Response::from_data(body).with_status_code(code)).ok();
                }
            }
        });
        Self { endpoint, state, server }
    }

    fn push(&self, place: &Place, arguments: &str) -> assert_cmd::Command {
        let mut command = place.sharpbench(&format!("report run --format csv --push-to-hub me/runs {arguments}"));
        command.env("HF_ENDPOINT", &self.endpoint).env("HF_TOKEN", TOKEN);
        command
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.server.unblock();
    }
}

fn answer(request: &mut Request, state: &mut State) -> (u16, Vec<u8>) {
    let has_token = |header: &tiny_http::Header| {
        header.field.equiv("Authorization") && header.value.as_str() == format!("Bearer {TOKEN}")
    };
    state.requests += 1;
    state.without_token += usize::from(!request.headers().iter().any(has_token));
    let mut body = Vec::new();
    request.as_reader().read_to_end(&mut body).expect("a body");
    let path = request.url().split('?').next().unwrap_or_default().to_string();
    let found = |found: bool| (if found { 200 } else { 404 }, json!({}));
    let (code, body) = match (request.method(), path.as_str()) {
        (Method::Get, "/api/datasets/me/runs" | "/api/datasets/me/runs/revision/main") => found(state.made.is_some()),
        (Method::Head | Method::Get, path) if path.starts_with("/datasets/me/runs/resolve/main/") => {
            let name = path.trim_start_matches("/datasets/me/runs/resolve/main/");
            return match state.files.get(name) {
                Some(content) => (200, content.clone()),
                None => (404, b"{}".to_vec()),
            };
        }
        (Method::Post, "/api/repos/create") => {
            state.made = serde_json::from_slice(&body).ok();
            (200, json!({"url": "http://hub/datasets/me/runs"}))
        }
        (Method::Post, "/api/datasets/me/runs/preupload/main") => {
            let asked: Value = serde_json::from_slice(&body).expect("JSON");
            let mode = |file: &Value| json!({"path": file["path"], "uploadMode": "regular", "shouldIgnore": false});
            (200, json!({"files": asked["files"].as_array().expect("files").iter().map(mode).collect::<Vec<_>>()}))
        }
        (Method::Post, "/api/datasets/me/runs/commit/main") if state.refuses => {
            (403, json!({"error": format!("{TOKEN} may not write to me/runs")}))
        }
        (Method::Post, "/api/datasets/me/runs/commit/main") => {
            let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            for line in lines.map(|line| serde_json::from_slice::<Value>(line).expect("JSON")) {
                if line["key"] == "file" {
                    let (path, content) = (line["value"]["path"].as_str(), line["value"]["content"].as_str());
                    let content = BASE64_STANDARD.decode(content.expect("content")).expect("base64");
                    state.files.insert(path.expect("a path").into(), content);
                }
            }
            state.commits += 1;
            (200, json!({"commitUrl": "http://hub/commit", "commitOid": "0123456789abcdef0123456789abcdef01234567"}))
        }
        (method, path) => panic!("the hub does not know {method} {path}"),
    };
    (code, body.to_string().into_bytes())
}

fn trained() -> Place {
    let place = Place::new();
    place.sharpbench("suite tiny.toml --data stand-in --out run --quiet").assert().success();
    place
}

#[test]
fn a_run_on_the_hub_is_the_run_with_its_reports() {
    let (place, hub) = (trained(), Hub::start());
    let told = format!("the run is at {}/datasets/me/runs/tree/main/run", hub.endpoint);
    hub.push(&place, "")
        .assert()
        .success()
        .stderr(predicate::str::contains(told).and(predicate::str::contains(TOKEN).not()));
    let downloaded = place.path("downloaded");
    {
        let state = hub.state();
        let made = state.made.as_ref().expect("the repository");
        assert_eq!(
            (&made["name"], &made["organization"], &made["type"]),
            (&json!("runs"), &json!("me"), &json!("dataset"))
        );
        assert_eq!(made["private"], true);
        assert_eq!((state.without_token, state.commits), (0, 1));
        // As they are here: the plan, four records, and the reports that a run keeps.
        assert_eq!(state.files.len(), 1 + 4 + 4 + 1, "{:?}", state.files.keys());
        for (path, content) in state.files.iter().filter(|(path, _)| *path != "README.md") {
            assert_eq!(*content, std::fs::read(place.path(path)).expect("a file of the run"), "{path}");
            let copy = downloaded.join(path);
            std::fs::create_dir_all(copy.parent().expect("a folder")).expect("made");
            std::fs::write(copy, content).expect("written");
        }
        let card = String::from_utf8_lossy(&state.files["README.md"]);
        assert!(card.contains("data_files: \"*/report-*.csv\""), "{card}");
    }
    // What is downloaded is a run folder.
    let report =
        |folder: &str| place.sharpbench(&format!("report {folder} --format csv")).output().expect("ended").stdout;
    assert_eq!(report("downloaded/run"), report("run"));
    // The repository and its README are not created again.
    hub.state().files.insert("README.md".into(), b"my own".into());
    hub.state().made = Some(json!("before"));
    hub.push(&place, "").assert().success().stderr(predicate::str::contains("created the private").not());
    let state = hub.state();
    assert_eq!((state.made.as_ref(), state.files["README.md"].as_slice()), (Some(&json!("before")), &b"my own"[..]));
}

#[test]
fn a_dry_run_sends_nothing_and_lists_the_files() {
    let (place, hub) = (trained(), Hub::start());
    let output = hub.push(&place, "--dry-run").assert().success().get_output().stderr.clone();
    let text = String::from_utf8(output).expect("text");
    assert_eq!(text.lines().filter(|line| line.contains("B  run/")).count(), 9, "{text}");
    assert!(text.contains("  in 9 files\n"), "{text}");
    assert!(
        text.ends_with(&format!("without --dry-run, these files go to {}/datasets/me/runs\n", hub.endpoint)),
        "{text}"
    );
    assert_eq!(hub.state().requests, 0);
}

#[test]
fn what_cannot_be_uploaded_is_refused_before_anything_is_sent() {
    let (place, hub) = (trained(), Hub::start());
    let mut without = hub.push(&place, "");
    insta::assert_snapshot!(error(without.env_remove("HF_TOKEN")), @"error: there is no token for the hub; set HF_TOKEN to one that may write, or run `hf auth login`");
    let mut offline = hub.push(&place, "");
    insta::assert_snapshot!(error(offline.env("HF_HUB_OFFLINE", "1")), @"error: HF_HUB_OFFLINE forbids the network; unset it to upload");
    insta::assert_snapshot!(error(hub.push(&place, "run")), @"error: --push-to-hub uploads one run; repeat the command for each");
    assert_eq!(hub.state().requests, 0);
    let mut disabled = hub.push(&place, "");
    insta::assert_snapshot!(error(disabled.env("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")), @"error: HF_HUB_DISABLE_IMPLICIT_TOKEN forbids using the hub's token; unset it to upload");
    assert_eq!(hub.state().requests, 0);
    let name = error(place.sharpbench("report run --push-to-hub ../runs"));
    assert!(name.contains("expected OWNER/NAME"), "{name}");
}

#[test]
fn a_refusal_is_reported_without_the_token() {
    let (place, hub) = (trained(), Hub::start());
    hub.state().refuses = true;
    let message = error(hub.push(&place, ""));
    assert!(message.contains("may not write to me/runs") && !message.contains(TOKEN), "{message}");
    assert!(hub.state().files.is_empty());
}

/// Two runs in folders of one name are not mixed; a run whose plan has grown replaces itself.
#[test]
fn another_run_of_the_same_name_is_refused() {
    let (place, hub) = (trained(), Hub::start());
    std::fs::rename(place.path("run"), place.path("all")).expect("renamed");
    let part = place.sharpbench("suite tiny.toml --data stand-in --out run --quiet --filter seed=1").assert();
    part.success();
    hub.push(&place, "").assert().success();
    // The whole plan has the cells of the part.
    std::fs::remove_dir_all(place.path("run")).expect("removed");
    std::fs::rename(place.path("all"), place.path("run")).expect("renamed");
    hub.push(&place, "").assert().success();
    let files = hub.state().files.clone();
    // The part lacks cells of the whole.
    std::fs::remove_dir_all(place.path("run")).expect("removed");
    place.sharpbench("suite tiny.toml --data stand-in --out run --quiet --filter seed=2").assert().success();
    insta::assert_snapshot!(error(hub.push(&place, "")), @"error: the folder run of the repository holds another run; rename the run folder, or use another repository");
    assert_eq!(hub.state().files, files);
}

#[test]
fn a_hub_that_does_not_answer_is_given_up() {
    let (place, hub) = (trained(), Hub::start());
    hub.state().stalls = true;
    let mut push = hub.push(&place, "");
    let message = error(push.env("SHARPBENCH_HUB_TIMEOUT", "2"));
    assert!(message.contains("did not answer, or too slowly, for "), "{message}");
}
