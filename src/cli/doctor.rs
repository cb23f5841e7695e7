//! `sharpbench doctor`.

use std::fmt::Write;
use std::process::{Command, ExitCode, Stdio};

use super::{device, installation};
use crate::compute::DeviceChoice;
use crate::error::Result;
use crate::exec::available;
use crate::record::Machine;

pub(super) fn run() -> Result<ExitCode> {
    super::print(text())
}

fn text() -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut line = |name: &str, about: &str| writeln!(text, "{name:<12}{about}").ok();
    let revision = option_env!("SHARPBENCH_GIT_REVISION").unwrap_or("revision unknown");
    line("program", &format!("sharpbench {} ({revision})", env!("CARGO_PKG_VERSION")));
    line("installed", &installation::describe());
    let machine = Machine::this();
    line("CPU", &machine.kind());
    let (all, own) = (machine.cpus, available().len());
    let kept = if own > 0 && own < all { format!(" (this process is restricted to {own})") } else { String::new() };
    line("threads", &format!("{} of {all} CPUs{kept}", rayon::current_num_threads()));
    line("cuda:0", &device::describe(DeviceChoice::Cuda(0)));
    line("metal", &device::describe(DeviceChoice::Metal));
    line("auto", &format!("trainings without --device use {}", device::describe_default()));
    let cache = crate::hub::cache_dir();
    let there = if cache.is_dir() { "" } else { ", which does not exist yet" };
    line("hub cache", &format!("{}{there}", cache.display()));
    let token = match crate::hub::check_token() {
        Ok(()) => "there is one".to_string(),
        Err(none) => none.to_string(),
    };
    line("hub token", &format!("{token} (only report --push-to-hub needs one)"));
    line("Slurm", &slurm());
    text
}

fn slurm() -> String {
    match Command::new("sbatch").arg("--version").stderr(Stdio::null()).output() {
        Ok(out) if out.status.success() => {
            format!("{}, for suite --executor slurm", String::from_utf8_lossy(&out.stdout).trim())
        }
        _ => "no sbatch here; suite --executor slurm needs it (docs/cluster.md)".into(),
    }
}
