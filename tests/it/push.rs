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
                let (code, body) = answer(&mut request, &mut shared.lock().expect("no panic"));
                request.respond(Response::from_string(body.to_string()).with_status_code(code)).ok();
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

fn answer(request: &mut Request, state: &mut State) -> (u16, Value) {
    let has_token = |header: &tiny_http::Header| {
        header.field.equiv("Authorization") && header.value.as_str() == format!("Bearer {TOKEN}")
    };
    state.requests += 1;
    state.without_token += usize::from(!request.headers().iter().any(has_token));
    let mut body = Vec::new();
    request.as_reader().read_to_end(&mut body).expect("a body");
    let path = request.url().split('?').next().unwrap_or_default().to_string();
    let found = |found: bool| (if found { 200 } else { 404 }, json!({}));
    match (request.method(), path.as_str()) {
        (Method::Get, "/api/datasets/me/runs" | "/api/datasets/me/runs/revision/main") => found(state.made.is_some()),
        (Method::Head, "/datasets/me/runs/resolve/main/README.md") => found(state.files.contains_key("README.md")),
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
    }
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
    // The repository and its README are not made anew.
    hub.state().files.insert("README.md".into(), b"my own".into());
    hub.state().made = Some(json!("before"));
    hub.push(&place, "").assert().success().stderr(predicate::str::contains("made the private").not());
    let state = hub.state();
    assert_eq!((state.made.as_ref(), state.files["README.md"].as_slice()), (Some(&json!("before")), &b"my own"[..]));
}

#[test]
fn a_dry_run_sends_nothing_and_tells_what_would_be_sent() {
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
    let name = error(place.sharpbench("report run --push-to-hub ../runs"));
    assert!(name.contains("expected OWNER/NAME"), "{name}");
}

#[test]
fn a_hub_that_refuses_is_told_without_the_token() {
    let (place, hub) = (trained(), Hub::start());
    hub.state().refuses = true;
    let message = error(hub.push(&place, ""));
    assert!(message.contains("may not write to me/runs") && !message.contains(TOKEN), "{message}");
    assert!(hub.state().files.is_empty());
}
