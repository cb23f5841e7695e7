//! The real hf-hub client against a local server that speaks the hub's protocol.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use predicates::prelude::*;
use sharpbench::data::sha256_file;
use tiny_http::{Header, Method, Request, Response, Server, StatusCode};

use crate::support::{Place, error, write_parquet};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const SPLITS: [(&str, usize); 2] = [("train", 0), ("test", 50_000)];

/// A hub that serves one repository.
struct Hub {
    endpoint: String,
    requests: Arc<AtomicUsize>,
    /// Requests that came with the token.
    with_token: Arc<AtomicUsize>,
    server: Arc<Server>,
    thread: Option<std::thread::JoinHandle<()>>,
}

fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name.as_bytes(), value.as_bytes()).expect("a header")
}

/// What must not be told.
const TOKEN: &str = "hf_TheTokenOfTheTest";
const PASSWORD: &str = "ThePasswordOfTheTest";

fn authorization(request: &Request) -> String {
    let header = request.headers().iter().find(|header| header.field.equiv("Authorization"));
    header.map(|header| header.value.to_string()).unwrap_or_default()
}

/// Whatever holds a secret of what a command told and of all files but the token's own.
fn leaks(place: &Place, output: &std::process::Output) -> Vec<String> {
    let secret = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.contains(TOKEN) || text.contains(PASSWORD)
    };
    let mut found: Vec<String> = Vec::new();
    for (what, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        found.extend(secret(bytes).then(|| format!("{what}: {}", String::from_utf8_lossy(bytes))));
    }
    let mut folders = vec![place.path("")];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path != place.path("hf/token") && std::fs::read(&path).is_ok_and(|bytes| secret(&bytes)) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

impl Hub {
    fn start(place: &Place) -> Self {
        let mut files = HashMap::new();
        for (split, first) in SPLITS {
            let path = place.path(&format!("served/{split}.parquet"));
            write_parquet(&path, first, 40);
            let tag = sha256_file(&path).expect("a digest");
            files.insert(format!("plain_text/{split}/0000.parquet"), (std::fs::read(path).expect("bytes"), tag));
        }
        let server = Arc::new(Server::http("127.0.0.1:0").expect("a server"));
        let endpoint = format!("http://{}", server.server_addr().to_ip().expect("an address"));
        let requests = Arc::new(AtomicUsize::new(0));
        let with_token = Arc::new(AtomicUsize::new(0));
        let (listener, counter, tokens, files) =
            (server.clone(), requests.clone(), with_token.clone(), Mutex::new(files));
        let thread = std::thread::spawn(move || {
            for request in listener.incoming_requests() {
                counter.fetch_add(1, Ordering::Relaxed);
                tokens.fetch_add(usize::from(authorization(&request).contains(TOKEN)), Ordering::Relaxed);
                let files = files.lock().expect("no panic");
                let repository =
                    request.url().starts_with("/datasets/uoft-cs/cifar10/resolve/refs%2Fconvert%2Fparquet/");
                let file = files.iter().find(|(name, _)| repository && request.url().ends_with(name.as_str()));
                let Some((_, (bytes, tag))) = file else {
                    request.respond(Response::empty(404)).ok();
                    continue;
                };
                let headers = vec![header("ETag", &format!("\"{tag}\"")), header("X-Repo-Commit", COMMIT)];
                let body = if *request.method() == Method::Head { Vec::new() } else { bytes.clone() };
                let response =
                    Response::new(StatusCode(200), headers, std::io::Cursor::new(body), Some(bytes.len()), None);
                request.respond(response).ok();
            }
        });
        Self { endpoint, requests, with_token, server, thread: Some(thread) }
    }

    fn sharpbench(&self, place: &Place, arguments: &str) -> assert_cmd::Command {
        let mut command = place.sharpbench(&format!("suite tiny.toml --filter optimizer=sgd,seed=1 {arguments}"));
        command.env("HF_ENDPOINT", &self.endpoint);
        command
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.server.unblock();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

#[test]
fn images_come_from_the_hub_then_from_its_cache() {
    let place = Place::new();
    let hub = Hub::start(&place);
    hub.sharpbench(&place, "--data auto --out run")
        .assert()
        .success()
        .stderr(predicate::str::contains("data: fetching uoft-cs/cifar10 from http://127.0.0.1"))
        .stdout(predicate::str::contains("tiny quick on cifar10").and(predicate::str::contains("STAND-IN").not()));
    let record = place.a_record("run");
    let record: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&record).expect("text")).expect("JSON");
    assert_eq!((&record["data"]["source"], &record["data"]["revision"]), (&"hub".into(), &COMMIT.into()));
    let served = sha256_file(&place.path("served/train.parquet")).expect("a digest");
    assert_eq!(record["data"]["files"][0]["sha256"], served.as_str());

    // The cache is enough, with and without the network.
    let asked = hub.requests.load(Ordering::Relaxed);
    assert!(asked > 0);
    hub.sharpbench(&place, "--data hub --out again --quiet").assert().success();
    hub.sharpbench(&place, "--data hub --offline --out offline --quiet").assert().success();
    assert_eq!(hub.requests.load(Ordering::Relaxed), asked, "the cache was not used");
    assert_eq!(place.fingerprints("again"), place.fingerprints("run"));

    // A damaged cache is noticed and the remedy works.
    let snapshot =
        place.path(&format!("hf/hub/datasets--uoft-cs--cifar10/snapshots/{COMMIT}/plain_text/train/0000.parquet"));
    let blob = std::fs::canonicalize(&snapshot).expect("a blob");
    let mut bytes = std::fs::read(&blob).expect("bytes");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&blob, bytes).expect("written");
    let message = error(hub.sharpbench(&place, "--data auto --out damaged --quiet"));
    assert!(message.contains("is damaged or not the original: sha256") && message.contains("delete "), "{message}");
    std::fs::remove_file(&blob).expect("removed");
    hub.sharpbench(&place, "--data hub --out healed --quiet").assert().success();
    assert_eq!(place.fingerprints("healed"), place.fingerprints("run"));
}

#[test]
fn without_a_hub_the_stand_in_serves_and_says_so() {
    let place = Place::new();
    place
        .sharpbench("suite tiny.toml --filter optimizer=sgd,seed=1")
        .assert()
        .success()
        .stderr(
            predicate::str::contains("is unavailable").and(predicate::str::contains("These are not cifar10 results")),
        )
        .stdout(predicate::str::contains("STAND-IN"));
    assert!(place.path("reports/tiny-quick-photo-patches/run.json").exists());
    let message = error(place.sharpbench("suite tiny.toml --data hub"));
    assert!(message.contains("http://127.0.0.1:1 cannot be reached"), "{message}");
    let message = error(place.sharpbench("suite tiny.toml --data hub --offline"));
    insta::assert_snapshot!(message, @"error: hub: uoft-cs/cifar10 is not in the cache and --offline forbids the network; run once without it");
}

#[test]
fn a_hub_without_the_data_set_is_an_error() {
    let place = Place::new();
    let server = Server::http("127.0.0.1:0").expect("a server");
    let endpoint = format!("http://{}", server.server_addr().to_ip().expect("an address"));
    std::thread::spawn(move || {
        for request in server.incoming_requests() {
            request.respond(Response::empty(404)).ok();
        }
    });
    let mut command = place.sharpbench("suite tiny.toml --data hub");
    command.env("HF_ENDPOINT", endpoint);
    let message = error(command);
    assert!(message.contains("error: hub:"), "{message}");
}

/// A token is sent to the hub and told to nobody else: neither on the terminal nor in a file of the run.
#[test]
fn a_token_is_not_recorded() {
    let place = Place::new();
    let hub = Hub::start(&place);
    let arguments = "suite tiny.toml --data hub --out run --jobs 2 --save-weights --format json";
    let endpoint = hub.endpoint.replace("http://", &format!("http://me:{PASSWORD}@"));
    let output =
        place.sharpbench(arguments).env("HF_ENDPOINT", endpoint).env("HF_TOKEN", TOKEN).output().expect("ended");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(hub.with_token.load(Ordering::Relaxed) > 0, "the token was not even sent");
    assert_eq!(leaks(&place, &output), Vec::<String>::new());
}

/// Nor where the hub refuses, and sends back what it was sent.
#[test]
fn a_token_that_is_sent_back_is_not_told() {
    let server = Arc::new(Server::http("127.0.0.1:0").expect("a server"));
    let address = server.server_addr().to_ip().expect("an address");
    let status = Arc::new(AtomicUsize::new(0));
    let echoed = Arc::new(AtomicUsize::new(0));
    let (listener, answered, counter) = (server.clone(), status.clone(), echoed.clone());
    let thread = std::thread::spawn(move || {
        for request in listener.incoming_requests() {
            let sent = authorization(&request);
            counter.fetch_add(usize::from(sent.contains(TOKEN)), Ordering::Relaxed);
            let message = format!("no: {sent}, {TOKEN}, http://me:{PASSWORD}@hub/x?signature={PASSWORD}");
            let code = answered.load(Ordering::Relaxed) as u16;
            let body = format!("{{\"error\": \"{message}\"}}");
            let answer =
                Response::from_string(body).with_status_code(code).with_header(header("X-Error-Message", &message));
            request.respond(answer).ok();
        }
    });
    for code in [401, 403, 500] {
        for by_file in [false, true] {
            let place = Place::new();
            status.store(code, Ordering::Relaxed);
            let mut command = place.sharpbench("suite tiny.toml --data hub --out run");
            command.env("HF_ENDPOINT", format!("http://me:{PASSWORD}@{address}"));
            if by_file {
                std::fs::create_dir_all(place.path("hf")).expect("a folder");
                std::fs::write(place.path("hf/token"), format!("{TOKEN}\n")).expect("written");
            } else {
                command.env("HF_TOKEN", TOKEN);
            }
            let output = command.output().expect("ended");
            assert_eq!(output.status.code(), Some(2));
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(stderr.contains("error: hub: "), "{stderr}");
            assert_eq!(leaks(&place, &output), Vec::<String>::new(), "{code}");
        }
    }
    assert!(echoed.load(Ordering::Relaxed) > 0, "the token was not even sent");
    // One that cannot be reached is told without the user.
    let place = Place::new();
    let output = place
        .sharpbench("suite tiny.toml --data hub")
        .env("HF_ENDPOINT", format!("http://me:{PASSWORD}@127.0.0.1:1"))
        .output()
        .expect("ended");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("http://***@127.0.0.1:1 cannot be reached"), "{stderr}");
    assert_eq!(leaks(&place, &output), Vec::<String>::new());
    server.unblock();
    thread.join().expect("no panic");
}

/// A hub that accepts connections and then stalls, in one of the ways in which servers do.
fn stalling(way: &'static str) -> String {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                let n = stream.read(&mut request).unwrap_or(0);
                let is_head = request[..n].starts_with(b"HEAD");
                let tag = "0".repeat(64);
                let headers = format!(
                    "HTTP/1.1 200 OK\r\nETag: \"{tag}\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Length: 1000000\r\n"
                );
                let answer = match way {
                    "answer" | "TLS" => String::new(),
                    "headers" => headers,
                    _ => headers + "\r\n",
                };
                stream.write_all(answer.as_bytes()).ok();
                if is_head && matches!(way, "body" | "trickle") {
                    return;
                }
                for _ in 0..60 {
                    if way == "trickle" || (way == "body" && !is_head) {
                        stream.write_all(&[0; 100]).ok();
                    }
                    std::thread::sleep(std::time::Duration::from_secs(if way == "body" { 60 } else { 1 }));
                }
            });
        }
    });
    format!("{}://{address}", if way == "TLS" { "https" } else { "http" })
}

/// A hub that stalls is given up after a bounded time: the stand-in serves, and the reason is reported.
#[test]
fn a_stalling_hub_is_given_up() {
    for way in ["answer", "headers", "body", "trickle", "TLS"] {
        let place = Place::new();
        let mut command = place.sharpbench("suite tiny.toml --filter optimizer=sgd,seed=1");
        command.env("HF_ENDPOINT", stalling(way)).env("SHARPBENCH_HUB_TIMEOUT", "2");
        let output = command.timeout(std::time::Duration::from_secs(60)).output().expect("ended");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{way}: {stderr}");
        assert!(
            stderr.contains("did not answer, or too slowly, for 2 seconds; SHARPBENCH_HUB_TIMEOUT"),
            "{way}: {stderr}"
        );
        assert!(String::from_utf8_lossy(&output.stdout).contains("STAND-IN"), "{way}");
    }
    let message = error(Place::new().sharpbench("suite tiny.toml").env("SHARPBENCH_HUB_TIMEOUT", "soon"));
    assert!(message.contains("SHARPBENCH_HUB_TIMEOUT = soon must be a whole number of seconds"), "{message}");
}

/// The variables of Python's `huggingface_hub` mean the same here, and empty ones mean nothing.
#[test]
fn the_environment_of_hugging_face_is_understood() {
    let place = Place::new();
    let hub = Hub::start(&place);
    let message = error(hub.sharpbench(&place, "--data hub --out none").env("HF_HUB_OFFLINE", "1"));
    assert!(message.contains("is not in the cache and HF_HUB_OFFLINE forbids the network"), "{message}");
    assert_eq!(hub.requests.load(Ordering::Relaxed), 0, "the network was used");
    hub.sharpbench(&place, "--data hub --out run --quiet").env("HF_HUB_CACHE", "").assert().success();
    assert!(place.path("hf/hub").is_dir());
    hub.sharpbench(&place, "--data hub --out again --quiet")
        .env("HF_HUB_OFFLINE", "1")
        .env("HF_ENDPOINT", "")
        .assert()
        .success();
    let mut command = hub.sharpbench(&place, "--data hub --out elsewhere");
    let message = error(command.env("HF_ENDPOINT", "hub.example").env("HF_HOME", place.path("other")));
    assert!(message.contains("HF_ENDPOINT = hub.example is no address; it must begin with https://"), "{message}");
}
