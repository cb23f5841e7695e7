//! The HTML report in a real browser.

use std::process::Command;

use crate::support::Place;

/// Chromium under one of its names.
fn chromium() -> Option<&'static str> {
    let works = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success());
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(works)
}

/// Notes errors from the first moment on.
const BEFORE: &str =
    "<head><script>var errors = []; addEventListener('error', (e) => errors.push(e.message));</script>";
/// Sorts the table by accuracy, down, and notes what is there.
const AFTER: &str = r##"<script>
const names = [...document.querySelectorAll("#rows th")].map((head) => head.textContent);
const column = names.indexOf("accuracy %");
const button = document.querySelectorAll("#rows th button")[column];
button.click();
button.click();
const texts = (i) => [...document.querySelectorAll(`#rows tbody tr td:nth-child(${i + 1})`)].map((cell) => cell.textContent);
const found = { errors, sort: button.parentElement.ariaSort, accuracies: texts(column).map(parseFloat),
  settings: texts(names.indexOf("setting")), charts: document.querySelectorAll("svg").length,
  wide: document.documentElement.scrollWidth > innerWidth };
document.body.innerHTML = "";
document.body.textContent = "found:" + JSON.stringify(found) + ":found";
</script></body>"##;

#[test]
fn a_browser_shows_and_sorts_the_page() {
    let Some(chromium) = chromium() else {
        println!("skipped: there is no chromium");
        return;
    };
    let place = Place::new();
    let run = concat!(env!("CARGO_MANIFEST_DIR"), "/reports/reference/cifar10-quick-cifar10");
    let output =
        place.sharpbench(&format!("report {run} --format html")).assert().success().get_output().stdout.clone();
    let page = String::from_utf8(output).expect("text");
    std::fs::write(place.path("page.html"), page.replacen("<head>", BEFORE, 1).replace("</body>", AFTER))
        .expect("a page");
    let output = Command::new(chromium)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
        ])
        .args(["--disable-sync", "--no-first-run", "--window-size=390,800", "--dump-dom"])
        .arg(format!("--user-data-dir={}", place.path("profile").display()))
        .arg(format!("file://{}", place.path("page.html").display()))
        .output()
        .expect("chromium runs");
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = dom.split("found:").nth(1).and_then(|rest| rest.rsplit_once(":found")).map(|(found, _)| found);
    let found: serde_json::Value = serde_json::from_str(found.unwrap_or_else(|| panic!("{dom}"))).expect("JSON");
    assert_eq!(found["errors"], serde_json::json!([]));
    assert_eq!(found["sort"], "descending");
    let accuracies: Vec<f64> = serde_json::from_value(found["accuracies"].clone()).expect("numbers");
    assert_eq!(accuracies.len(), 10);
    assert!(accuracies.is_sorted_by(|a, b| a >= b), "{accuracies:?}");
    let settings: Vec<String> = serde_json::from_value(found["settings"].clone()).expect("names");
    let names = ["sgd", "sgd 2x epochs", "sam", "ssam-f .5", "ssam-d .9 random", "ssam .9 tensor masked"];
    assert!(names.iter().all(|name| settings.iter().any(|setting| setting == name)), "{settings:?}");
    // Ten learning curves, two charts of accuracy against cost, and the FLOPs.
    assert_eq!(found["charts"], 13);
    // On a telephone's width the page itself does not scroll sideways; its tables do.
    assert_eq!(found["wide"], false);
}
