//! The device that a command computes on.

use crate::compute::{Compute, DeviceChoice};
use crate::error::Result;

/// Where the cells of a run are trained.
pub(super) struct RunDevice {
    /// What this process computes on.
    pub(super) compute: Compute,
    /// The device option that other processes of the run receive.
    pub(super) choice: DeviceChoice,
}

impl RunDevice {
    /// Opens the chosen device where the cells are trained on this machine; on a cluster the device is that of a node.
    ///
    /// # Errors
    /// When it is not there.
    pub(super) fn open(choice: DeviceChoice, is_local: bool) -> Result<Self> {
        if !is_local {
            return Ok(Self { compute: Compute::default(), choice });
        }
        let compute = Compute::open(choice)?;
        let choice = compute.choice();
        Ok(Self { compute, choice })
    }

    /// Where it is, in a word: the GPU, or the threads of the CPU.
    pub(super) fn describe(&self) -> String {
        self.compute.gpu().map_or_else(|| format!("{} threads", rayon::current_num_threads()), str::to_string)
    }
}

/// Opens the device of a batch system's task, which must have been given a GPU where it needs one.
///
/// # Errors
/// In words: why the node cannot be used.
pub(super) fn of_task(choice: DeviceChoice, needs_gpu: bool) -> std::result::Result<Compute, String> {
    if needs_gpu && std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default().is_empty() {
        return Err("a GPU was requested, but none was assigned (CUDA_VISIBLE_DEVICES is empty)".into());
    }
    let choice = match choice {
        DeviceChoice::Auto if needs_gpu && cfg!(feature = "cuda") => DeviceChoice::Cuda(0),
        choice => choice,
    };
    Compute::open(choice).map_err(|e| e.to_string())
}

/// Says what is there of a device, or why it is not.
pub(super) fn describe(choice: DeviceChoice) -> String {
    match Compute::open(choice) {
        Ok(found) => found.gpu().unwrap_or("available").to_string(),
        Err(e) => e.to_string().trim_start_matches(&format!("device {choice} ")).to_string(),
    }
}

/// Says what trainings use without `--device`.
pub(super) fn describe_default() -> String {
    Compute::open(DeviceChoice::Auto).map_or_else(|e| e.to_string(), |found| found.choice().to_string())
}
