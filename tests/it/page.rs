//! The HTML report in a real browser, at the widths of a desktop, a tablet and a telephone.

use std::process::Command;

use serde_json::Value;

use crate::support::{Place, skipped};

/// Chromium under one of its names.
fn chromium() -> Option<&'static str> {
    let works = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success());
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(works)
}

/// Widths of the window, in pixels.
const WIDTHS: [u32; 3] = [1300, 800, 390];
/// Notes errors from the first moment on.
const BEFORE: &str =
    "<head><script>var errors = []; addEventListener('error', (e) => errors.push(e.message));</script>";
const AFTER: &str = concat!("<script>", include_str!("page.js"), "</script></body>");

/// What a browser finds in a run's page at every width; `None` without a browser.
fn found(place: &Place, run: &str) -> Option<Vec<Value>> {
    let chromium = chromium()?;
    let output =
        place.sharpbench(&format!("report {run} --format html")).assert().success().get_output().stdout.clone();
    let page = String::from_utf8(output).expect("text");
    let page = page.replacen("<head>", BEFORE, 1).replace("</body>", AFTER);
    std::fs::write(place.path("page.html"), page).expect("a page");
    // A window has a least width, a frame has none.
    let frames = WIDTHS.map(|width| format!("<iframe src=page.html style='width:{width}px;height:900px'></iframe>"));
    let frame = format!(
        "<body>{}<pre></pre><script>const all = []; addEventListener('message', (e) => {{ all.push(e.data); \
         document.querySelector('pre').textContent = 'found:' + JSON.stringify(all) + ':found'; }});</script></body>",
        frames.concat()
    );
    std::fs::write(place.path("frames.html"), frame).expect("a page");
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        .args(["--disable-component-update", "--disable-sync", "--no-first-run", "--window-size=1400,1000"])
        .args(["--virtual-time-budget=20000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", place.path("profile").display()))
        .arg(format!("file://{}", place.path("frames.html").display()))
        .output()
        .expect("chromium runs");
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let json = dom.rsplit_once("found:[").and_then(|(_, rest)| rest.split_once(":found")).map(|(json, _)| json);
    let json = json.unwrap_or_else(|| panic!("{dom}")).replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&");
    let mut found: Vec<Value> = serde_json::from_str(&format!("[{json}")).expect("JSON");
    found.sort_by_key(|found| std::cmp::Reverse(found["width"].as_u64()));
    assert_eq!(found.iter().filter_map(|found| found["width"].as_u64()).collect::<Vec<_>>(), WIDTHS.map(u64::from));
    Some(found)
}

/// What every page must do, at every width; its first `charts` name every row.
fn check(found: &Value, rows: usize, charts: usize) {
    let width = &found["width"];
    assert_eq!(found["errors"], serde_json::json!([]), "{width}");
    assert_eq!(found["sort"], "descending");
    let accuracies: Vec<f64> = serde_json::from_value(found["accuracies"].clone()).expect("numbers");
    assert_eq!(accuracies.len(), rows);
    assert!(accuracies.is_sorted_by(|a, b| a >= b), "{accuracies:?}");
    assert_eq!(found["covered"], serde_json::json!([]), "{width}: names that cover each other");
    let named: Vec<usize> = serde_json::from_value(found["named"].clone()).expect("counts");
    assert_eq!(named[..charts], vec![rows; charts], "{width}: rows by name in each chart");
    assert_eq!(found["overflow"], false, "{width}: the page scrolls sideways; only its tables may");
    assert_eq!(found["sticky"], true, "{width}: the first column stays");
    assert_eq!(found["menu"], serde_json::json!([false, true]), "{width}: a column is shown when it is chosen");
    let hovered = &found["hovered"];
    assert_eq!(hovered["shown"], true);
    assert_eq!(hovered["rows"], 1);
    assert_eq!(hovered["inside"], true, "{width}: the tip is inside the window");
    assert!(hovered["text"].as_str().is_some_and(|text| text.contains("executed ")), "{hovered}");
    assert_eq!(found["focused"]["second"], true, "an arrow key moves on");
    let text = found["focused"]["text"].as_str().unwrap_or_default();
    assert!(text.contains(" points") || text.ends_with("the reference"), "{text}");
    assert_eq!(found["hiddenAfter"], true);
}

#[test]
fn a_browser_shows_and_sorts_the_page() {
    let run = concat!(env!("CARGO_MANIFEST_DIR"), "/reports/reference/cifar10-quick-cifar10");
    let Some(found) = found(&Place::new(), run) else {
        skipped("there is no chromium");
        return;
    };
    for found in &found {
        check(found, 10, 6);
        let settings: Vec<String> = serde_json::from_value(found["settings"].clone()).expect("names");
        let names = ["sgd", "sgd 2x epochs", "sam", "ssam-f .5", "ssam-d .9 random rho 2.11", "ssam .9 tensor masked"];
        assert!(names.iter().all(|name| settings.iter().any(|setting| setting == name)), "{settings:?}");
        // Differences and costs, what is kept of the gain, FLOPs, and ten learning curves.
        assert_eq!(found["charts"], 17);
    }
}

/// Where SAM's gain is shown, two more charts have what every row keeps of it.
#[test]
fn a_page_shows_what_is_kept_of_a_gain() {
    let run = concat!(env!("CARGO_MANIFEST_DIR"), "/reports/reference/frontier-quick-mnist-5k");
    let Some(found) = found(&Place::new(), run) else {
        skipped("there is no chromium");
        return;
    };
    found.iter().for_each(|found| check(found, 22, 6));
}

/// Thirty rows, many of them with the same accuracy and cost.
#[test]
fn thirty_rows_have_names_that_do_not_cover_each_other() {
    let place = Place::new();
    let suite = r#"
name = "thirty"
description = "many rows"
[base]
seeds = [1, 2]
[base.data]
name = "mnist"
[base.schedule]
batch_size = 32
[[base.grid]]
optimizer = "sgd"
[[base.grid]]
optimizer = "sam"
rho = 0.05
[[base.grid]]
optimizer = "ssam-f"
rho = 0.05
sparsity = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99]
[[base.grid]]
optimizer = "ssam-d"
rho = 0.05
sparsity = [0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99]
[[base.grid]]
optimizer = "ssam-d"
mask = "random"
rho = 0.05
sparsity = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99]
[profiles.quick]
description = "tiny"
data = { train = 96, test = 40 }
model = { name = "mlp", hidden = [16] }
schedule = { epochs = 2, lr = 0.05 }
"#;
    std::fs::write(place.path("thirty.toml"), suite).expect("a suite");
    place.sharpbench("suite thirty.toml --data stand-in --offline --quiet --out run").assert().success();
    let Some(found) = found(&place, "run") else {
        skipped("there is no chromium");
        return;
    };
    found.iter().for_each(|found| check(found, 30, 4));
}
