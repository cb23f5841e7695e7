//! `sharpbench bench`.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::bench::{Bench, BenchReport, FISHER_SAMPLES, Measured, build};
use crate::compute::{Compute, DeviceChoice};
use crate::data::Input;
use crate::data::text::{LENGTH, VOCABULARY};
use crate::error::{Error, Result};
use crate::model::ModelSpec;
use crate::optim::{OptimizerSpec, TrainingShape};
use crate::registry::Registry;
use crate::stats::Median;
use crate::suite::one_optimizer;

/// Shown below the options.
pub(super) const EXAMPLES: &str = "\
Examples:
  # a step of SGD on ResNet-20
  sharpbench bench
  sharpbench bench --optimizer sam,rho=0.05 --against sgd
  sharpbench bench --optimizer ssam,pattern=tensor,norm=masked,sparsity=0.9,rho=0.05
  sharpbench bench --model mlp --hidden 512,512 --threads 1 --json
  # how the time grows with threads, batch size and width
  sharpbench bench --scaling --figures scaling";

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
    /// Images per step.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch_size: u32,
    /// Optimizer and its settings, with the keys of a suite's grid:
    /// ssam,pattern=tensor,norm=masked,sparsity=0.9
    #[arg(long, default_value = "sgd", value_name = "NAME[,KEY=VALUE]...")]
    optimizer: String,
    /// Second optimizer to compare with; the steps of the two alternate.
    #[arg(long, value_name = "NAME[,KEY=VALUE]...")]
    against: Option<String>,
    /// Seed of images, weights and masks.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Steps to measure.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    steps: u32,
    /// Warm-up steps before these, not measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    warmup: u32,
    /// Compute threads [default: all CPUs, or RAYON_NUM_THREADS].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Device to compute on: auto, cpu, cuda:N or metal.
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Measure how the time of a step grows: threads from 1 up to those given, batch sizes from 16 to 512, widths from 8 to 128 where the
    /// model has them, one setting at a time.
    #[arg(long, conflicts_with = "against")]
    scaling: bool,
    /// Draw this, as SVG and PNG in a folder.
    #[arg(long, value_name = "DIR", requires = "scaling")]
    figures: Option<PathBuf>,
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

/// The optimizer that `name,key=value,...` describes.
fn optimizer((flag, text): (&str, &str), shape: TrainingShape<'_>, registry: &Registry) -> Result<OptimizerSpec> {
    let mut parts = text.split(',');
    let name = parts.next().unwrap_or_default();
    let mut toml = format!("optimizer = {}\n", quoted(name));
    let mut given = |key: &str, value: &str| writeln!(toml, "{key} = {value}").ok();
    let mut keys = Vec::new();
    for part in parts {
        let (key, value) =
            part.split_once('=').ok_or_else(|| Error::Usage(format!("{part} is not of the form key=value")))?;
        let plain = value.parse::<f64>().is_ok() || value.parse::<bool>().is_ok();
        given(key, &if plain { value.to_string() } else { quoted(value) });
        keys.push(key);
    }
    // Their values do not matter to the time, or are a suite's usual ones.
    let entry = registry.optimizer(name).map_err(|e| Error::Usage(format!("--{flag} {text}: {e}")))?;
    if entry.reads.contains(&"rho") && !keys.contains(&"rho") {
        given("rho", "0.05");
    }
    let sparse = entry.masks.is_some() && !text.contains(':');
    if sparse && !keys.contains(&"sparsity") && !keys.contains(&"budget") {
        given("sparsity", "0.9");
    }
    let grid = toml::from_str(&toml).map_err(|e| Error::Usage(format!("--{flag} {text}: {}", e.message())))?;
    one_optimizer(&grid, shape, registry).map_err(|e| Error::Usage(format!("--{flag} {text}: {e}")))
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

pub(super) fn run(args: &Args, registry: &Registry) -> Result<ExitCode> {
    super::set_threads(args.threads)?;
    let batch_size = args.batch_size as usize;
    let model = ModelSpec {
        name: args.model.clone(),
        width: args.width,
        depth: args.depth,
        heads: args.heads,
        hidden: args.hidden.clone(),
        ..ModelSpec::default()
    };
    let built = build(&model, args.input, registry)?;
    let layout = built.layout();
    let shape = TrainingShape { epochs: 1, batch_size, last_batch: batch_size, train: FISHER_SAMPLES, layout };
    let bench = Bench {
        model,
        input: args.input,
        batch_size,
        optimizer: optimizer(("optimizer", &args.optimizer), shape, registry)?,
        against: {
            let other = args.against.as_ref();
            other.map(|text| optimizer(("against", text), shape, registry)).transpose()?
        },
        seed: args.seed,
        compute: Compute::open(args.device)?,
        steps: args.steps as usize,
        warmup: args.warmup as usize,
    };
    if args.scaling {
        return super::scaling::run(&bench, registry, args.json, args.figures.as_deref());
    }
    let report = bench.run(registry)?;
    if args.json {
        return super::print_json(&report);
    }
    super::print(text(&report))
}

/// The model, its input, the batch and what computes.
pub(super) fn title(r: &BenchReport) -> String {
    let size = match (&r.width, &r.hidden) {
        (Some(width), _) => format!(" width {width}"),
        (None, Some(hidden)) => format!(" hidden {hidden:?}"),
        (None, None) => String::new(),
    };
    let computes = r.gpu.clone().unwrap_or_else(|| format!("{} threads", r.threads));
    format!("{}{size} on {}, batch {}, {computes}", r.model, r.input, r.batch_size)
}

fn text(r: &BenchReport) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    writeln!(text, "{}, {} steps", title(r), r.steps).ok();
    measured(&mut text, &r.own);
    if let Some(against) = &r.against {
        measured(&mut text, against);
    }
    if let (Some(against), Some(time), Some(all), Some(flops)) = (&r.against, r.step_ratio, r.time_ratio, r.flops_ratio)
    {
        writeln!(
            text,
            "{} over {}: step {:.3}   {:.3} to {:.3}, n = {} pairs; all steps {all:.3}; executed FLOPs {flops:.3}",
            r.own.optimizer, against.optimizer, time.median, time.min, time.max, time.n
        )
        .ok();
    }
    let percent = r.fraction_of_peak.map_or_else(|| "-".into(), |f| format!("{:.0}", 100.0 * f));
    let peak = r.gemm_peak_gflops_per_second;
    writeln!(text, "matrix-product peak {peak:.0} GFLOP/s, of which {} reached {percent}%", r.own.optimizer).ok();
    if let Some(bytes) = r.peak_memory_bytes {
        writeln!(text, "peak memory {:.0} MiB", bytes as f64 / f64::from(1 << 20)).ok();
    }
    text
}

fn measured(text: &mut String, m: &Measured) {
    let live = m.live_fraction.map(|f| format!(", {:.2}% live", 100.0 * f)).unwrap_or_default();
    writeln!(text, "{}{live}", m.optimizer).ok();
    let mut line = |name: &str, m: Option<Median>| {
        if let Some(m) = m {
            let ms = [m.median, m.min, m.max].map(|s| 1000.0 * s);
            writeln!(text, "  {name:<14}{:>10.2} ms   {:.2} to {:.2}, n = {}", ms[0], ms[1], ms[2], m.n).ok();
        }
    };
    line("step", m.step_seconds);
    line("  pass 1", m.parts.pass1);
    line("  perturb", m.parts.perturb);
    line("  pass 2", m.parts.pass2);
    line("  update", m.parts.update);
    if let Some(seconds) = m.mask_refresh_seconds {
        writeln!(text, "  {:<14}{:>10.2} ms   not part of the step, n = 1", "mask refresh", 1000.0 * seconds).ok();
    }
    let rate = m.gflops_per_second.map_or_else(|| "-".into(), |v| format!("{v:.0}"));
    writeln!(text, "  executed {:.2} GFLOP a step, {rate} GFLOP/s", m.flops_executed / 1e9).ok();
}
