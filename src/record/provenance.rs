//! Program and machine behind a record.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::Job;

/// Crates whose version can change a number.
const CRATES: [&str; 6] = ["candle-core", "candle-nn", "gemm", "libm", "pulp", "rand_chacha"];

/// Program and machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingProvenance {
    /// Version of this program.
    pub sharpbench: String,
    /// Git revision it was built from, `+dirty` where the sources had changes; none outside a repository.
    pub git_revision: Option<String>,
    /// Versions of the crates that compute.
    pub crates: BTreeMap<String, String>,
    /// The machine.
    pub machine: Machine,
    /// The GPU that computed; none where the CPU did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// Threads that computed.
    pub threads: usize,
    /// Cells that were trained at once on the machine, at most.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub jobs: usize,
    /// The batch job that trained it, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
    /// Seconds since 1970 at the end of the cell.
    pub finished_unix: u64,
}

fn one() -> usize {
    1
}

fn is_one(jobs: &usize) -> bool {
    *jobs == 1
}

/// The machine, as far as it matters to bits and times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Model name of the CPU.
    pub cpu: String,
    /// Vector extensions that select kernels.
    pub features: Vec<String>,
    /// Logical CPUs that the process could use.
    pub cpus: usize,
    /// Operating system and architecture.
    pub platform: String,
}

impl TrainingProvenance {
    /// Of this process, now.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            sharpbench: env!("CARGO_PKG_VERSION").into(),
            git_revision: option_env!("SHARPBENCH_GIT_REVISION").map(str::to_string),
            crates: CRATE_VERSIONS.clone(),
            machine: Machine::this(),
            gpu: None,
            threads: rayon::current_num_threads(),
            jobs: 1,
            job: Job::this(),
            finished_unix: since.map_or(0, |d| d.as_secs()),
        }
    }

    /// The type of machine with what of it was used, in words: where it is the same, times can be compared.
    pub fn machine_type(&self) -> String {
        format!("{}, {} threads{}", self.kind(), self.threads, self.company())
    }

    /// What else ran on the machine, as far as it is known, in words to be appended: a job may share its node with others.
    pub fn company(&self) -> String {
        let at_once = if self.jobs == 1 { String::new() } else { format!(", {} cells at once", self.jobs) };
        let job = if self.job.is_some() { ", in a batch job" } else { "" };
        format!("{at_once}{job}")
    }

    /// The type of what computed, in words: where it is the same, bits are.
    pub fn kind(&self) -> String {
        let gpu = self.gpu.as_ref().map_or_else(String::new, |gpu| format!("{gpu}, "));
        format!("{gpu}{}", self.machine.kind())
    }
}

impl Machine {
    /// Its type, in words: where it is the same, bits are.
    pub fn kind(&self) -> String {
        format!("{}, {} [{}]", self.cpu, self.platform, self.features.join(" "))
    }

    /// This machine.
    pub fn this() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")?.split_once(':')).map(|(_, m)| m.trim());
        Self {
            cpu: model.unwrap_or("unknown").to_string(),
            features: features(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<String> {
    let found = [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
    ];
    found.iter().filter(|(_, has)| *has).map(|(name, _)| (*name).to_string()).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<String> {
    Vec::new()
}

/// [`crate_versions`], which reads a long file.
static CRATE_VERSIONS: LazyLock<BTreeMap<String, String>> = LazyLock::new(crate_versions);

/// Versions from the lock file this program was built with.
fn crate_versions() -> BTreeMap<String, String> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
    }
    let lock: Lock = toml::from_str(include_str!("../../Cargo.lock")).unwrap_or(Lock { package: Vec::new() });
    let wanted = lock.package.into_iter().filter(|p| CRATES.contains(&p.name.as_str()));
    let mut versions: BTreeMap<String, String> = BTreeMap::new();
    for package in wanted {
        // Several versions of one crate may be linked: name them all.
        let entry = versions.entry(package.name).or_default();
        if !entry.is_empty() {
            entry.push_str(", ");
        }
        entry.push_str(&package.version);
    }
    versions
}
