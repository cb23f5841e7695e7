//! `sharpbench bench`.

use std::fmt::Write;
use std::process::ExitCode;

use crate::bench::{Bench, BenchReport};
use crate::data::Input;
use crate::data::text::{LENGTH, VOCABULARY};
use crate::error::{Error, Result};
use crate::model::ModelSpec;
use crate::stats::Median;
use crate::suite::OptimizerName;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Model (see `list`).
    #[arg(long, default_value = "resnet20")]
    model: String,
    /// Channels of the first stage, widening factor, or width of a Transformer.
    #[arg(long)]
    width: Option<usize>,
    /// Layers of a wide ResNet, or blocks of a Transformer.
    #[arg(long)]
    depth: Option<usize>,
    /// Heads of a Transformer's attention.
    #[arg(long)]
    heads: Option<usize>,
    /// Widths of an MLP's hidden layers.
    #[arg(long, value_delimiter = ',', value_name = "UNITS,...")]
    hidden: Option<Vec<usize>>,
    /// Channels, height and width of the images, or 64 for sequences of as many characters.
    #[arg(long, default_value = "3x32x32", value_parser = input, value_name = "CxHxW|64")]
    input: Input,
    /// Images of a step.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch_size: u32,
    /// sgd, sam, ssam-f or ssam-d.
    #[arg(long, default_value = "sgd", value_parser = optimizer)]
    optimizer: OptimizerName,
    /// Fraction of weights that a sparse ascent step leaves alone [default: 0.9]; for ssam-f and ssam-d.
    #[arg(long, value_parser = fraction)]
    sparsity: Option<f64>,
    /// Steps measured.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    steps: u32,
    /// Steps before them, not measured.
    #[arg(long, default_value_t = 5)]
    warmup: u32,
    /// Threads that compute [default: all CPUs, or RAYON_NUM_THREADS].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn input(text: &str) -> std::result::Result<Input, String> {
    if text == LENGTH.to_string() {
        return Ok(Input::Tokens { length: LENGTH, vocabulary: VOCABULARY });
    }
    let parts: Vec<usize> = text.split('x').filter_map(|p| p.parse().ok()).filter(|n| (1..=4096).contains(n)).collect();
    match parts.as_slice() {
        [channels @ 1..=3, height, width] if text.matches('x').count() == 2 => {
            Ok(Input::Image([*channels, *height, *width]))
        }
        _ => Err(format!("{text} is not of the form CxHxW with 1 to 3 channels, such as 3x32x32, nor {LENGTH}")),
    }
}

fn optimizer(text: &str) -> std::result::Result<OptimizerName, String> {
    let names = OptimizerName::ALL.map(|o| o.to_string());
    OptimizerName::ALL
        .into_iter()
        .find(|o| o.to_string() == text)
        .ok_or_else(|| format!("use one of {}", names.join(", ")))
}

fn fraction(text: &str) -> std::result::Result<f64, String> {
    text.parse().ok().filter(|s| (0.0..=1.0).contains(s)).ok_or_else(|| "use a number from 0 to 1".into())
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    if args.sparsity.is_some() && matches!(args.optimizer, OptimizerName::Sgd | OptimizerName::Sam) {
        return Err(Error::Usage(format!(
            "--sparsity does not apply to {}, only to ssam-f and ssam-d",
            args.optimizer
        )));
    }
    super::set_threads(args.threads)?;
    let bench = Bench {
        model: ModelSpec {
            name: args.model.clone(),
            width: args.width,
            depth: args.depth,
            heads: args.heads,
            hidden: args.hidden.clone(),
            dropout: None,
        },
        input: args.input,
        batch_size: args.batch_size as usize,
        optimizer: args.optimizer,
        sparsity: args.sparsity.unwrap_or(0.9),
        steps: args.steps as usize,
        warmup: args.warmup as usize,
    };
    let report = bench.run()?;
    if args.json {
        let json = serde_json::to_string_pretty(&report).map_err(|e| Error::Usage(e.to_string()))?;
        return super::print(&format!("{json}\n"));
    }
    super::print(&text(&report))
}

fn text(r: &BenchReport) -> String {
    let mut text = String::new();
    let size = match (&r.width, &r.hidden) {
        (Some(width), _) => format!(" width {width}"),
        (None, Some(hidden)) => format!(" hidden {hidden:?}"),
        (None, None) => String::new(),
    };
    let sparsity = r.sparsity.map(|s| format!(" sparsity {s}")).unwrap_or_default();
    // Writing to a string cannot fail.
    writeln!(
        text,
        "{}{size} on {}, batch {}, {}{sparsity}, {} threads, {} steps",
        r.model, r.input, r.batch_size, r.optimizer, r.threads, r.steps
    )
    .ok();
    let mut line = |name: &str, m: Option<Median>| {
        if let Some(m) = m {
            let ms = [m.median, m.min, m.max].map(|s| 1000.0 * s);
            writeln!(text, "  {name:<14}{:>10.2} ms   {:.2} to {:.2}, n = {}", ms[0], ms[1], ms[2], m.n).ok();
        }
    };
    line("step", r.step_seconds);
    line("  data wait", r.parts.data);
    line("  pass 1", r.parts.pass1);
    line("  perturb", r.parts.perturb);
    line("  pass 2", r.parts.pass2);
    line("  update", r.parts.update);
    if let Some(seconds) = r.mask_refresh_seconds {
        writeln!(text, "  {:<14}{:>10.2} ms   not part of the step, n = 1", "mask refresh", 1000.0 * seconds).ok();
    }
    let number = |v: Option<f64>| v.map_or_else(|| "-".into(), |v| format!("{v:.0}"));
    writeln!(
        text,
        "  executed {:.2} GFLOP a step, {} GFLOP/s; matrix-product peak {:.0} GFLOP/s, fraction {}%",
        r.flops_executed / 1e9,
        number(r.gflops_per_second),
        r.gemm_peak_gflops_per_second,
        number(r.fraction_of_peak.map(|f| 100.0 * f)),
    )
    .ok();
    if let Some(bytes) = r.peak_memory_bytes {
        writeln!(text, "  peak memory {:.0} MiB", bytes as f64 / f64::from(1 << 20)).ok();
    }
    text
}
