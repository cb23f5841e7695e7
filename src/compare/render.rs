//! Comparisons as text.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use tabled::builder::Builder;
use tabled::settings::Style;

use super::{Check, ComparisonFormat, RunComparison, SettingVerdict, Verdict};
use crate::error::{Error, Result};
use crate::terminal::{self, wrapped};

pub(super) fn render(comparison: &RunComparison, format: ComparisonFormat) -> Result<String> {
    match format {
        ComparisonFormat::Table => Ok(table(comparison)),
        ComparisonFormat::Markdown => Ok(markdown(comparison)),
        ComparisonFormat::Json => {
            let text = serde_json::to_string_pretty(comparison);
            text.map(|text| text + "\n").map_err(|e| Error::Report(e.to_string()))
        }
        ComparisonFormat::Junit => junit(comparison),
        ComparisonFormat::Github => Ok(github(comparison)),
    }
}

impl Verdict {
    /// The verdict as a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Improved => "improved",
            Self::New => "new",
            Self::Undecided => "undecided",
            Self::Missing => "missing",
            Self::Regressed => "regressed",
        }
    }
}

/// Title, such as `cifar10 smoke on photo-patches: regressed`.
fn title(c: &RunComparison) -> String {
    format!("{} {} on {}: {}", c.suite, c.profile, c.data, c.verdict.word())
}

/// Counts, such as `16 settings unchanged, 2 regressed`.
fn counts(c: &RunComparison) -> String {
    let all =
        [Verdict::Regressed, Verdict::Missing, Verdict::Undecided, Verdict::New, Verdict::Improved, Verdict::Unchanged];
    let count = |verdict| c.settings.iter().filter(|s| s.verdict == verdict).count();
    let told = all.into_iter().map(|verdict| (count(verdict), verdict.word())).filter(|(n, _)| *n > 0);
    told.map(|(n, word)| format!("{n} {word}")).collect::<Vec<_>>().join(", ")
}

/// Sentence, such as `accuracy regressed: 50.00% → 40.00%, -10.00 points [-11.00, -9.00], n = 3`.
fn sentence(check: &Check) -> String {
    let Check { what, verdict, baseline, run, change } = check;
    let change = if change.is_empty() { String::new() } else { format!(", {change}") };
    let figures = if baseline.is_empty() { String::new() } else { format!(" {baseline} \u{2192} {run}") };
    format!("{what} {}:{figures}{change}", verdict.word()).replace(":,", ":")
}

/// All settings, plus entries for all of them together, if any.
fn cases(c: &RunComparison) -> Vec<SettingVerdict> {
    let all = c.all_accuracies.iter().chain(&c.all_times).map(|check| SettingVerdict {
        setting: check.what.clone(),
        name: check.what.clone(),
        verdict: check.verdict,
        cells: 0,
        same_bits: false,
        checks: vec![check.clone()],
    });
    c.settings.iter().cloned().chain(all).collect()
}

/// Sentences for a setting's checks that are not unchanged.
fn news(setting: &SettingVerdict) -> Vec<String> {
    setting.checks.iter().filter(|c| c.verdict != Verdict::Unchanged).map(sentence).collect()
}

fn rows(c: &RunComparison) -> Vec<Vec<String>> {
    let header = ["setting", "cells", "figure", "baseline", "run", "change", "verdict"].map(str::to_string);
    let mut rows = vec![header.to_vec()];
    for s in &c.settings {
        if s.same_bits || s.checks.is_empty() {
            let what = if s.same_bits { "weights: same bits" } else { "nothing to judge" };
            let cells = s.cells.to_string();
            let row = [s.name.as_str(), &cells, what, "", "", "", Verdict::Unchanged.word()];
            rows.push(row.map(str::to_string).to_vec());
        }
        for check in &s.checks {
            let row = [&s.name, &s.cells.to_string(), &check.what, &check.baseline, &check.run, &check.change];
            rows.push(row.into_iter().cloned().chain([check.verdict.word().to_string()]).collect());
        }
    }
    for check in c.all_accuracies.iter().chain(&c.all_times) {
        let row = ["", "", &check.what, &check.baseline, &check.run, &check.change, check.verdict.word()];
        rows.push(row.map(str::to_string).to_vec());
    }
    rows
}

/// Why the gate fails, what it warns of, and the notes.
fn all_notes(c: &RunComparison) -> Vec<String> {
    let failures = c.failures.iter().map(|failure| format!("THE GATE FAILS: {failure}"));
    let warnings = c.warnings.iter().map(|warning| format!("warning: {warning}"));
    failures.chain(warnings).chain(c.notes.iter().cloned()).collect()
}

/// What the comparison could have found.
fn sensitivity(c: &RunComparison) -> Vec<String> {
    let loss = c.smallest_loss.map(|loss| {
        if loss < 1.0 {
            let points = 100.0 * loss;
            format!("a loss of accuracy of more than {points:.1} points in one setting would be called a regression")
        } else {
            "too few cells have changed for a loss of accuracy in one setting to be called a regression".into()
        }
    });
    let slowdown = c.smallest_slowdown.map(|slowdown| {
        format!("a slow-down of all steps by more than {:.1}% would be called a regression", 100.0 * slowdown)
    });
    loss.into_iter().chain(slowdown).collect()
}

fn table(c: &RunComparison) -> String {
    let width = terminal::width();
    let notes: String = all_notes(c).iter().chain(&sensitivity(c)).map(|note| wrapped(note, width, 2)).collect();
    format!("{} ({})\n\n{}\n{notes}", title(c), counts(c), terminal::table(rows(c), 3, Some(width)))
}

/// One line if nothing has changed; otherwise the changes first, followed by the folded rest.
fn markdown(c: &RunComparison) -> String {
    let mut text = format!("**{}** ({})\n", escaped(&title(c)), counts(c));
    let mut all = all_notes(c);
    if c.verdict != Verdict::Unchanged {
        all.extend(sensitivity(c));
    }
    let notes = all.iter().map(|note| format!("- {}\n", escaped(note)));
    if !all.is_empty() || c.verdict != Verdict::Unchanged {
        text += "\n";
    }
    text.extend(notes);
    if c.verdict == Verdict::Unchanged {
        return text;
    }
    let mut undecided = 0;
    for setting in cases(c) {
        for check in &setting.checks {
            match check.verdict {
                Verdict::Unchanged => {}
                Verdict::Undecided => undecided += 1,
                _ => text += &format!("- `{}`: {}\n", setting.setting.replace('`', "'"), escaped(&sentence(check))),
            }
        }
    }
    if undecided > 0 {
        text += &format!(
            "- {undecided} figures are undecided: too few measurements, or too noisy ones (in the table below)\n"
        );
    }
    let mut table = Builder::from_iter(rows(c)).build();
    table.with(Style::markdown());
    text + &format!("\n<details><summary>All settings</summary>\n\n{table}\n\n</details>\n")
}

/// Escapes text for markdown and HTML.
fn escaped(text: &str) -> String {
    let html = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('|', "&#124;");
    html.replace("](", "]\\(").replace("][", "]\\[").replace("]:", "]\\:").replace('\n', " ")
}

/// One test case per setting: regressions fail, missing cells are errors, undecided ones are
/// skipped.
fn junit(c: &RunComparison) -> Result<String> {
    let mut suite = TestSuite::new(format!("{} {} on {}", c.suite, c.profile, c.data));
    for setting in &cases(c) {
        let news = news(setting).join("\n");
        let failed = |kind| {
            let mut status = TestCaseStatus::non_success(kind);
            status.set_type(setting.verdict.word()).set_message(&news);
            status
        };
        let status = match setting.verdict {
            Verdict::Regressed => failed(NonSuccessKind::Failure),
            Verdict::Missing => failed(NonSuccessKind::Error),
            Verdict::Undecided => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(&news);
                status
            }
            Verdict::Unchanged | Verdict::Improved | Verdict::New => TestCaseStatus::success(),
        };
        let mut case = TestCase::new(&setting.setting, status);
        case.set_classname(format!("{}.{}", c.suite, c.profile));
        suite.add_test_case(case);
    }
    for failure in &c.failures {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_type("gate").set_message(failure);
        let mut case = TestCase::new("the gate", status);
        case.set_classname(format!("{}.{}", c.suite, c.profile));
        suite.add_test_case(case);
    }
    suite.set_system_out([all_notes(c), sensitivity(c)].concat().join("\n"));
    let mut report = Report::new("sharpbench compare");
    report.add_test_suite(suite);
    report.to_string().map_err(|e| Error::Report(format!("no JUnit file can be made: {e}")))
}

/// Workflow commands: errors, warnings and notices.
fn github(c: &RunComparison) -> String {
    let value = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| value(text).replace(':', "%3A").replace(',', "%2C");
    let command = |setting: &SettingVerdict| {
        let level = match setting.verdict {
            Verdict::Regressed | Verdict::Missing => "error",
            Verdict::Undecided => "warning",
            Verdict::Unchanged | Verdict::Improved | Verdict::New => return None,
        };
        let title = property(&format!("{} {}: {}", c.suite, c.profile, setting.verdict.word()));
        let message = value(&format!("{}: {}", setting.setting, news(setting).join("; ")));
        Some(format!("::{level} title={title}::{message}\n"))
    };
    let title = property(&format!("{} {}", c.suite, c.profile));
    let line = |level: &str, text: &String| format!("::{level} title={title}::{}\n", value(text));
    let failures = c.failures.iter().map(|failure| line("error", failure));
    let warnings = c.warnings.iter().map(|warning| line("warning", warning));
    let notices = c.notes.iter().map(|note| line("notice", note));
    cases(c).iter().filter_map(command).chain(failures).chain(warnings).chain(notices).collect()
}
