//! The table people read, for the terminal and as markdown: same cells, other frame.

use std::collections::BTreeSet;

use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Style};

use super::answer::percent_kept;
use super::exporter::{Exporter, Layout};
use super::verdicts::{conclusion, seeds_wanting};
use super::{Report, Row, brief};
use crate::flops::{THEORETICAL_FORMULA_B, theoretical_b};
use crate::stats::{ALPHA, Comparison, Median, Summary};
use crate::suite::names;
use crate::terminal::{self, WIDTH, signed, wrapped};

pub(super) const TERMINAL: Exporter = Exporter {
    name: "table",
    about: "A table for the terminal",
    extension: "txt",
    is_text: true,
    is_kept: false,
    export: |report, canvas| Ok(terminal(report, canvas.layout).into_bytes()),
};

pub(super) const MARKDOWN: Exporter = Exporter {
    name: "markdown",
    about: "A table for a README or a pull request",
    extension: "md",
    is_text: true,
    is_kept: true,
    export: |report, canvas| Ok(markdown(report, canvas.layout).into_bytes()),
};

/// For the terminal: what was trained, the answer, the table, notes.
fn terminal(report: &Report, layout: Layout) -> String {
    let width = layout.width.unwrap_or(WIDTH);
    let (grid, notes) = laid_out(report, layout, |report| brief::terminal(report, width));
    let paragraph = |lines: &[String]| lines.iter().map(|line| wrapped(line, width, 2)).collect::<String>();
    let head = paragraph(&head(report, &grid));
    let table = terminal::table(grid.records, grid.texts, (!layout.wide).then_some(width));
    format!("{head}\n{}\n{table}\n{}", paragraph(&report.answer), paragraph(&notes))
}

/// As markdown.
fn markdown(report: &Report, layout: Layout) -> String {
    let (grid, notes) = laid_out(report, layout, brief::markdown);
    let list = |lines: &[String]| inert(&lines.iter().map(|line| format!("- {line}\n")).collect::<String>());
    let cells = grid.records.iter().map(|record| record.iter().map(|text| inert(text).replace('|', "\\|")));
    let mut table = Builder::from_iter(cells).build();
    table.with(Style::markdown()).modify(Columns::new(grid.texts..), Alignment::right());
    let head = head(report, &grid);
    let (title, settings) = (inert(&head[0]), inert(&head[1..].join("\n\n")));
    format!("## {title}\n\n{settings}\n\n{}\n{table}\n\n{}", list(&report.answer), list(&notes))
}

/// The table and the notes that a layout wants: `brief`, or everything.
fn laid_out(report: &Report, layout: Layout, brief: impl Fn(&Report) -> Grid) -> (Grid, Vec<String>) {
    let grid = if layout.wide { grid(report) } else { brief(report) };
    let notes = if layout.wide || layout.explain { notes(report) } else { brief::notes(report) };
    (grid, notes)
}

/// What the report is of, and the settings that all rows share.
pub(super) fn head(report: &Report, grid: &Grid) -> Vec<String> {
    let settings = names::lines(&grid.shared, &grid.by_optimizer);
    std::iter::once(title(report))
        .chain(report.trained.clone())
        .chain(report.measured.clone())
        .chain(settings)
        .collect()
}

/// Text in which nothing is taken for an element of HTML, a link or a picture: records may be a stranger's.
fn inert(text: &str) -> String {
    let mut rest = text.chars().peekable();
    let mut inert = String::with_capacity(text.len());
    while let Some(c) = rest.next() {
        let next = rest.peek().copied().unwrap_or_default();
        match c {
            '<' if next.is_ascii_alphabetic() || matches!(next, '/' | '!' | '?') => inert.push_str("&lt;"),
            ']' if matches!(next, '(' | '[' | ':') => inert.push_str("]\\"),
            c => inert.push(c),
        }
    }
    inert
}

/// Decimals of percent in the table of all columns.
pub(super) const DECIMALS: usize = 2;

/// The table's cells.
pub(super) struct Grid {
    /// Header and rows.
    pub(super) records: Vec<Vec<String>>,
    /// Leading columns that hold words or settings; the rest are numbers.
    pub(super) texts: usize,
    /// Settings that all rows share, which need no column.
    pub(super) shared: Vec<String>,
    /// Settings in which optimizers differ, where neither a column nor a row's name tells them.
    pub(super) by_optimizer: Vec<String>,
}

/// Every column.
pub(super) fn grid(report: &Report) -> Grid {
    let mut columns = Vec::new();
    let mut shared = Vec::new();
    for axis in report.axes.iter().map(String::as_str).filter(|axis| *axis != "seed") {
        let values: BTreeSet<&str> = report.rows.iter().filter_map(|row| row.axis(axis)).collect();
        match values.len() {
            0 => {}
            1 if axis != "optimizer" => shared.extend(values.into_iter().map(|value| format!("{axis} {value}"))),
            _ => columns.push(axis),
        }
    }
    let optional: Vec<&Optional> =
        OPTIONAL.iter().filter(|column| report.rows.iter().any(|row| (column.text)(row).is_some())).collect();
    let part = |leading: bool| optional.iter().filter(move |column| column.leading == leading);
    let headers = |leading| part(leading).map(|column| column.header);
    let header = columns.iter().copied().chain(headers(true)).chain(MEASURES).chain(headers(false));
    let header = header.map(str::to_string).collect();
    let rows = report.rows.iter().map(|row| {
        let setting = columns.iter().map(|axis| row.axis(axis).map_or_else(dash, str::to_string));
        let texts = |leading| part(leading).map(|column| (column.text)(row).unwrap_or_else(dash));
        setting.chain(texts(true)).chain(measures(row)).chain(texts(false)).collect()
    });
    Grid {
        texts: columns.len(),
        records: std::iter::once(header).chain(rows).collect(),
        shared,
        by_optimizer: Vec::new(),
    }
}

/// Every column, for the page: the rows' names first.
pub(super) fn page(report: &Report) -> Grid {
    let mut grid = grid(report);
    let names = std::iter::once("setting".to_string()).chain(report.rows.iter().map(|row| row.name.clone()));
    grid.records.iter_mut().zip(names).for_each(|(record, name)| record.insert(0, name));
    Grid {
        records: grid.records,
        texts: grid.texts + 1,
        shared: report.shared.clone(),
        by_optimizer: report.by_optimizer.clone(),
    }
}

/// Whether the page shows a column before its reader chooses.
pub(super) fn is_shown(column: &str) -> bool {
    const ACCURACY: &[&str] = &["n", "accuracy %", "vs SGD", "vs SAM", "gain kept", "step/SGD", "FLOPs/SGD"];
    const MEASURED: &[&str] = &["H/edge", "H/(2/eta)", "aligned %", "exponent of T"];
    ACCURACY.contains(&column) || MEASURED.contains(&column)
}

/// A column that stands only where some row has something in it.
pub(super) struct Optional {
    pub(super) header: &'static str,
    /// Whether it stands before the measures that every report has.
    leading: bool,
    pub(super) text: fn(&Row) -> Option<String>,
    explained: fn(&Report) -> String,
}

pub(super) const OPTIONAL: &[Optional] = &[
    Optional {
        header: "live %",
        leading: true,
        text: |row| row.live_fraction.map(|live| digits(100.0 * live.mean)),
        explained: |_| "weights that are live after the last mask refresh, mean over seeds".into(),
    },
    Optional {
        header: "theory (b)/SGD",
        leading: false,
        text: |row| {
            let nominal = row.flops_nominal_ratio_to_sgd.filter(|_| row.axis("mask").is_some())?;
            Some(format!("{:.2}", theoretical_b(nominal, row.flops_theoretical_ratio_to_sgd?)))
        },
        explained: |_| {
            format!(
                "theoretical FLOPs by the other formula of the papers, (b): {THEORETICAL_FORMULA_B}; FLOPs/SGD has (a)"
            )
        },
    },
    Optional {
        header: "vs SGD, equal FLOPs",
        leading: false,
        text: |row| row.to_equal_flops.map(|c| compared(row, &c, DECIMALS)),
        explained: |_| {
            "difference to SGD trained for enough epochs to match the row's nominal FLOPs: with the settings of the reference SGD if there is such a row"
                .into()
        },
    },
    Optional {
        header: "vs SGD, other samples",
        leading: false,
        text: |row| over_samples(row.to_sgd.as_ref()?),
        explained: |_| {
            "95% interval of the difference to SGD over other test samples of the same kind as well as other seeds"
                .into()
        },
    },
    Optional {
        header: "vs SAM, other samples",
        leading: false,
        text: |row| over_samples(row.to_sam.as_ref()?),
        explained: |_| "the same interval for the difference to SAM".into(),
    },
    Optional {
        header: "NLL",
        leading: false,
        text: |row| row.test_nll.map(with_deviation),
        explained: |report| {
            format!(
                "mean negative log likelihood of the labels of the {} samples after the last epoch, in nats; mean ± standard deviation over seeds",
                report.measured_on
            )
        },
    },
    Optional {
        header: "ECE %",
        leading: false,
        text: |row| row.test_ece.map(|s| percent(&s, DECIMALS)),
        explained: |_| {
            "expected calibration error on the same samples after the last epoch, in 15 bins of confidence: the mean gap between accuracy and confidence; mean ± standard deviation over seeds".into()
        },
    },
    Optional {
        header: "gain kept",
        leading: false,
        text: |row| row.claims.share.map(|kept| percent_kept(&kept)),
        explained: |_| {
            "fraction of SAM's gain over SGD that the row keeps: the ratio of the two mean differences to SGD, paired by seed [95% interval by Fieller's theorem, or unbounded]; only where SAM is shown to gain".into()
        },
    },
    Optional {
        header: "gain",
        leading: false,
        text: |row| row.claims.gain.map(|claim| conclusion(&claim)),
        explained: |report| {
            format!(
                "the claim that the row is more accurate than SGD{}; in SAM's row: that SAM gains, on which the other claims depend",
                tested(report)
            )
        },
    },
    Optional {
        header: "no loss",
        leading: false,
        text: |row| {
            let seeds = seeds_wanting(&row.claims).map_or(String::new(), |seeds| format!(" ({seeds} seeds)"));
            Some(conclusion(&row.claims.no_loss?) + &seeds)
        },
        explained: |report| {
            format!(
                "the claim that the row loses less than {} points against SAM{}; \"not shown\" unless SAM's gain is shown and this claim is refuted for SGD; in brackets the number of seeds that would support it with a probability of .8 if there were no difference",
                report.claims.margin,
                tested(report)
            )
        },
    },
    Optional {
        header: "keeps",
        leading: false,
        text: |row| row.claims.retention.map(|claim| conclusion(&claim)),
        explained: |report| {
            format!(
                "the claim that the row keeps at least {}% of SAM's gain over SGD{}; \"not shown\" unless SAM's gain is shown",
                terminal::percent(report.claims.retain),
                tested(report)
            )
        },
    },
    Optional {
        header: "s to target",
        leading: false,
        text: |row| {
            let time = row.seconds_to_target?;
            let reached =
                if time.reached == time.n { String::new() } else { format!(" ({} of {})", time.reached, time.n) };
            let Some(middle) = time.median else { return Some(format!("not reached{reached}")) };
            let most = time.max.filter(|_| time.reached == time.n).map_or_else(|| "-".into(), digits);
            let least = time.min.map(digits).filter(|_| time.n > 1);
            Some(digits(middle) + &least.map_or(String::new(), |least| format!(" ({least}-{most})")) + &reached)
        },
        explained: |report| {
            format!(
                "seconds of training until an epoch ends with a test accuracy of {} %; median (range) over the row's cells; cells that do not reach it, or diverge, count as slower than all that do",
                report.target_accuracy.map_or_else(dash, |target| format!("{:.2}", 100.0 * target))
            )
        },
    },
    Optional {
        header: "front",
        leading: false,
        text: |row| match (row.on_front_of_seconds, row.on_front_of_flops) {
            (true, true) => Some("time, FLOPs".into()),
            (true, false) => Some("time".into()),
            (false, true) => Some("FLOPs".into()),
            (false, false) => None,
        },
        explained: |_| {
            "no other row is at least as accurate in the mean and costs at most as much, in training time or in executed FLOPs".into()
        },
    },
    Optional {
        header: "exponent of T",
        leading: false,
        text: |row| row.convergence_exponent.map(with_interval),
        explained: |_| {
            "p of mean over t <= T of the squared gradient norm of the training loss ~ T^p, fitted over the last decade of T; mean over seeds [95% interval by Student's t]; the theorem's bound, log T / sqrt T, has about -.4 there".into()
        },
    },
    Optional {
        header: "H/edge",
        leading: false,
        text: |row| {
            let unconverged = match row.edge_unconverged {
                0 => String::new(),
                n => format!(" ({n} not converged)"),
            };
            row.eigenvalue_over_edge.map(|m| range(Some(m), |r| format!("{r:.2}")) + &unconverged)
        },
        explained: |_| {
            "norm of the Hessian of the step's batch over the optimizer's edge of stability (docs/edge.md), at the checks of the second half of the steps, pooled over seeds; median (range), and the number of checks whose eigenpairs did not converge".into()
        },
    },
    Optional {
        header: "H/(2/eta)",
        leading: false,
        text: |row| row.eigenvalue_over_gradient_descent_edge.map(|m| range(Some(m), |r| format!("{r:.2}"))),
        explained: |_| "that norm over 2 / eta, the edge of gradient descent".into(),
    },
    Optional {
        header: "aligned %",
        leading: false,
        text: |row| row.ascent_better_aligned.map(|part| format!("{:.0}", 100.0 * part)),
        explained: |_| {
            "fraction of all checks at which the gradient after the ascent step is closer to the top eigenvector than the gradient before it".into()
        },
    },
    Optional {
        header: "eigenvalue",
        leading: false,
        text: |row| row.eigenvalue.map(with_deviation),
        explained: |_| {
            "top eigenvalue of the Hessian after the last epoch, in evaluation mode; mean ± standard deviation over seeds".into()
        },
    },
    Optional {
        header: "trace",
        leading: false,
        text: |row| row.trace.map(with_deviation),
        explained: |_| "trace of that Hessian, estimated; mean ± standard deviation over seeds".into(),
    },
    Optional {
        header: "rise",
        leading: false,
        text: |row| row.max_loss_increase.map(with_deviation),
        explained: |_| {
            "largest increase of the loss found within .05 of the weights; mean ± standard deviation over seeds".into()
        },
    },
];

/// The interval of a difference over other test samples, in points.
fn over_samples(c: &Comparison) -> Option<String> {
    let i = c.interval_over_samples?;
    Some(format!("[{}, {}]", signed(100.0 * i.low, DECIMALS), signed(100.0 * i.high, DECIMALS)))
}

/// How claims of one kind are tested.
fn tested(report: &Report) -> String {
    let looks = if report.look.is_some() { " and looks" } else { "" };
    format!(", tested at {} for all rows{looks} together (docs/statistics.md)", report.claims.alpha)
}

/// Mean with its 95% interval; without one for a single value.
fn with_interval(s: Summary) -> String {
    match s.half_interval(0.95) {
        Some(half) => format!("{:.3} [{:.3}, {:.3}]", s.mean, s.mean - half, s.mean + half),
        None => format!("{:.3}", s.mean),
    }
}

/// Mean with the sample standard deviation; without one for a single value.
fn with_deviation(s: Summary) -> String {
    match s.sd {
        Some(sd) => format!("{} ± {}", significant(s.mean), significant(sd)),
        None => significant(s.mean),
    }
}

const MEASURES: [&str; 9] =
    ["n", "accuracy %", "best %", "vs SGD", "vs SAM", "ms/step", "step/SGD", "train/SGD", "FLOPs/SGD"];

/// What the report is of.
pub(super) fn title(report: &Report) -> String {
    let stand_in = if report.stand_in { " (STAND-IN: not results on the suite's own data set)" } else { "" };
    let noise = report.label_noise.map_or_else(String::new, |noise| format!(" with {}", noise.in_words()));
    let progress = if report.is_complete() {
        String::new()
    } else {
        format!(", INCOMPLETE: {} of {} cells", report.cells_finished, report.cells_planned)
    };
    let interim = match &report.look {
        Some(look) if look.interim => format!(", INTERIM: look {} of at most {}", look.number, look.of),
        _ => String::new(),
    };
    format!("{} {} on {}{noise}{stand_in}{interim}{progress}", report.suite, report.profile, report.data)
}

/// How many pairs there are, where they are fewer than the row's seeds.
fn pairs(row: &Row, found: usize) -> String {
    let n = row.test_accuracy_last.map_or(0, |s| s.n);
    if found == n { String::new() } else { format!(" (n = {found})") }
}

/// A difference, and its number of pairs where that is not the row's number of seeds.
pub(super) fn compared(row: &Row, c: &Comparison, decimals: usize) -> String {
    difference(c, decimals) + &pairs(row, c.n)
}

fn measures(row: &Row) -> [String; 9] {
    let difference = |c: Option<Comparison>| c.map_or_else(dash, |c| compared(row, &c, DECIMALS));
    let ratio = |m: Option<Median>| m.map_or_else(dash, |m| range(Some(m), |r| format!("{r:.2}")) + &pairs(row, m.n));
    let flops = |r: Option<f64>| r.map_or_else(dash, |r| format!("{r:.2}"));
    let flops = [
        flops(row.flops_nominal_ratio_to_sgd),
        flops(row.flops_theoretical_ratio_to_sgd),
        flops(row.flops_executed_ratio_to_sgd),
    ];
    [
        brief::count(row),
        row.test_accuracy_last.map_or_else(dash, |s| percent(&s, DECIMALS)),
        row.test_accuracy_best.map_or_else(dash, |s| percent(&s, DECIMALS)),
        difference(row.to_sgd),
        difference(row.to_sam),
        range(row.step_seconds, |s| digits(1000.0 * s)),
        ratio(row.step_ratio_to_sgd),
        ratio(row.train_ratio_to_sgd),
        flops.join("/"),
    ]
}

pub(super) fn dash() -> String {
    "-".into()
}

/// Percent with the sample standard deviation; without one for a single value.
pub(super) fn percent(s: &Summary, decimals: usize) -> String {
    let mean = format!("{:.decimals$}", 100.0 * s.mean);
    s.sd.map_or_else(|| mean.clone(), |sd| format!("{mean} ± {:.decimals$}", 100.0 * sd))
}

/// Points with their 95% interval, and a star where they differ from 0 after correction; of a single pair there is none.
pub(super) fn difference(c: &Comparison, decimals: usize) -> String {
    let mean = signed(100.0 * c.mean, decimals);
    let Some(i) = c.interval else { return mean };
    let star = if c.p_corrected.is_some_and(|p| p <= ALPHA) { " *" } else { "" };
    format!("{mean} [{}, {}]{star}", signed(100.0 * i.low, decimals), signed(100.0 * i.high, decimals))
}

/// Median with the range, or alone where there is one value.
fn range(m: Option<Median>, text: impl Fn(f64) -> String) -> String {
    match m {
        None => dash(),
        Some(m) if m.n == 1 => text(m.median),
        Some(m) => format!("{} ({}-{})", text(m.median), text(m.min), text(m.max)),
    }
}

/// Three significant digits, or all before the point.
fn digits(value: f64) -> String {
    let decimals = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.decimals$}")
}

/// Three significant digits, however small.
fn significant(value: f64) -> String {
    let magnitude = if value == 0.0 { 0.0 } else { value.abs().log10().floor() };
    let decimals = (2.0 - magnitude).clamp(0.0, 12.0) as usize;
    format!("{value:.decimals$}")
}

/// What the reader of the table should know, and what every column means.
pub(super) fn notes(report: &Report) -> Vec<String> {
    let mut lines = report.notes.clone();
    let samples = report.measured_on;
    lines.push(format!(
        "accuracy: {samples} accuracy after the last epoch, mean ± sample standard deviation over n seeds; best: of any epoch, chosen on the same {samples} samples"
    ));
    lines.push("vs SGD, vs SAM: difference in points to the reference SGD (the row with SAM's settings but for its ascent step, or else the first) and to the first SAM row, or to the rows that the suite's claims name; paired by seed, mean [95% interval by Student's t, with variances moderated over rows]; *: different from 0 at .05 after Holm's correction for all comparisons of the table; one seed has neither".into());
    lines.push("ms/step: the cells' median steps, mask refreshes excluded; step/SGD, train/SGD: ratios to the reference SGD, paired by seed, of the step and of the whole training (mask refreshes included, evaluation not); median over seeds (range)".into());
    lines.push(format!(
        "FLOPs/SGD: nominal/theoretical/executed of the whole training; theoretical = {}, methods without a mask have their own units; executed: counted by the kernels, mask refreshes included",
        report.flops_theoretical_formula
    ));
    let present = OPTIONAL.iter().filter(|column| report.rows.iter().any(|row| (column.text)(row).is_some()));
    lines.extend(present.map(|column| format!("{}: {}", column.header, (column.explained)(report))));
    lines
}
