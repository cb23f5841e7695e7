//! Program and machine that produced a record.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::Job;

/// Crates whose version can change results.
const CRATES: [&str; 6] = ["candle-core", "candle-nn", "gemm", "libm", "pulp", "rand_chacha"];

/// Program and machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingProvenance {
    /// Version of this program.
    pub sharpbench: String,
    /// Git revision of the sources, with `+dirty` if they had changes; `None` outside a repository.
    pub git_revision: Option<String>,
    /// Versions of the crates that affect results.
    pub crates: BTreeMap<String, String>,
    /// The machine.
    pub machine: Machine,
    /// GPU used for training; `None` for the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// Number of compute threads.
    pub threads: usize,
    /// Maximum number of cells trained at once on the machine.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub jobs: usize,
    /// Batch job that trained it, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
    /// End of the training in seconds since 1970.
    pub finished_unix: u64,
}

fn one() -> usize {
    1
}

fn is_one(jobs: &usize) -> bool {
    *jobs == 1
}

/// The machine, as far as it affects bits and times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Model name of the CPU.
    pub cpu: String,
    /// Vector extensions that determine the kernels.
    pub features: Vec<String>,
    /// Logical CPUs available to the process.
    pub cpus: usize,
    /// Operating system and architecture.
    pub platform: String,
}

impl TrainingProvenance {
    /// Provenance of this process, now.
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

    /// Describes the machine type and the resources used. Times are comparable if it is equal.
    pub fn machine_type(&self) -> String {
        format!("{}, {} threads{}", self.kind(), self.threads, self.company())
    }

    /// Suffix that describes other known load on the machine; a job may share its node with others.
    pub fn company(&self) -> String {
        let at_once = if self.jobs == 1 { String::new() } else { format!(", {} cells at once", self.jobs) };
        let job = if self.job.is_some() { ", in a batch job" } else { "" };
        format!("{at_once}{job}")
    }

    /// Describes the hardware used. Equal hardware gives equal bits.
    pub fn kind(&self) -> String {
        let gpu = self.gpu.as_ref().map_or_else(String::new, |gpu| format!("{gpu}, "));
        format!("{gpu}{}", self.machine.kind())
    }
}

impl Machine {
    /// Describes the machine type. Equal types give equal bits.
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

/// Cached [`crate_versions`], which parses a long file.
static CRATE_VERSIONS: LazyLock<BTreeMap<String, String>> = LazyLock::new(crate_versions);

/// Versions in the lock file this program was built with.
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
        // Several versions of one crate may be linked, so all are listed.
        let entry = versions.entry(package.name).or_default();
        if !entry.is_empty() {
            entry.push_str(", ");
        }
        entry.push_str(&package.version);
    }
    versions
}
