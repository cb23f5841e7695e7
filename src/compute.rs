//! Compute device of trainings: the CPU with this program's kernels, or a GPU with candle
//! operations.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;

use crate::error::{Error, Result};

/// Requested device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A GPU if one is available and supported by this build, otherwise the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU, by its index among those visible to the process.
    Cuda(usize),
    /// An Apple GPU.
    Metal,
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "metal" => Ok(Self::Metal),
            _ => match text.strip_prefix("cuda:").map(str::parse) {
                Some(Ok(number)) => Ok(Self::Cuda(number)),
                _ => Err(format!("{text} is no device; there are auto, cpu, cuda:N and metal")),
            },
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

/// Runs `f`, which computes on `device`. With the CPU kernels (`None`), it runs on a thread of rayon's pool: on any other thread,
/// every kernel would hand its work to the pool and wait for it, which takes longer than a small kernel.
pub fn on_pool<R: Send>(device: Option<&Device>, f: impl FnOnce() -> R + Send) -> R {
    if device.is_some() { f() } else { rayon::scope(|_| f()) }
}

/// Compute device of trainings.
#[derive(Clone, Debug, Default)]
pub struct Compute {
    gpu: Option<Gpu>,
}

#[derive(Clone, Debug)]
struct Gpu {
    device: Device,
    choice: DeviceChoice,
    name: String,
}

impl Compute {
    /// The CPU.
    pub const CPU: &'static Self = &Self { gpu: None };

    /// Opens a device.
    ///
    /// # Errors
    /// When the requested device is not available, or this program was built without support for
    /// it. [`DeviceChoice::Auto`] always succeeds.
    pub fn open(choice: DeviceChoice) -> Result<Self> {
        match choice {
            DeviceChoice::Cpu => Ok(Self::default()),
            DeviceChoice::Cuda(_) | DeviceChoice::Metal => Ok(Self { gpu: Some(Gpu::open(choice)?) }),
            DeviceChoice::Auto => {
                let found = [DeviceChoice::Cuda(0), DeviceChoice::Metal].into_iter().find_map(|c| Gpu::open(c).ok());
                Ok(Self { gpu: found })
            }
        }
    }

    /// The CPU with candle operations, as a stand-in for a GPU in tests.
    pub fn candle_on_cpu() -> Self {
        Self { gpu: Some(Gpu { device: Device::Cpu, choice: DeviceChoice::Cpu, name: "candle on the CPU".into() }) }
    }

    /// All available devices with candle operations: the CPU, and a GPU if there is one.
    pub fn all_by_candle() -> Vec<Self> {
        let gpu = Self::open(DeviceChoice::Auto).ok().filter(|found| found.gpu.is_some());
        std::iter::once(Self::candle_on_cpu()).chain(gpu).collect()
    }

    /// Device for candle operations; `None` for this program's kernels on the CPU.
    pub fn device(&self) -> Option<&Device> {
        self.gpu.as_ref().map(|gpu| &gpu.device)
    }

    /// Choice that opens the same device.
    pub fn choice(&self) -> DeviceChoice {
        self.gpu.as_ref().map_or(DeviceChoice::Cpu, |gpu| gpu.choice)
    }

    /// Name of the GPU, such as `NVIDIA H100 80GB HBM3`; `None` for the CPU.
    pub fn gpu(&self) -> Option<&str> {
        self.gpu.as_ref().map(|gpu| gpu.name.as_str())
    }
}

impl Gpu {
    fn open(choice: DeviceChoice) -> Result<Self> {
        let (kind, feature, built) = match choice {
            DeviceChoice::Metal => ("Metal", "metal", cfg!(feature = "metal")),
            _ => ("CUDA", "cuda", cfg!(feature = "cuda")),
        };
        if !built {
            return Err(Error::Device(format!(
                "{choice} is not there: this program was built without {kind}; build it with --features {feature} \
                 (docs/gpu.md), or use --device cpu"
            )));
        }
        let opened = match choice {
            DeviceChoice::Cuda(number) => Device::new_cuda(number),
            _ => Device::new_metal(0),
        };
        let device = opened.map_err(|e| {
            // The message only: candle appends a backtrace below it.
            let reason = e.to_string();
            let reason = reason.lines().next().unwrap_or_default().trim_end_matches(':');
            Error::Device(format!("{choice} cannot be used ({reason}); use --device cpu, or look with doctor"))
        })?;
        let name = name(&device).unwrap_or_else(|| choice.to_string());
        Ok(Self { device, choice, name })
    }
}

/// Name of the device as reported by the driver.
fn name(device: &Device) -> Option<String> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(cuda) => cuda.cuda_stream().context().name().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_as_they_are_written() {
        for text in ["auto", "cpu", "cuda:0", "cuda:7", "metal"] {
            assert_eq!(text.parse::<DeviceChoice>().expect("a choice").to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        for text in ["gpu", "cuda:", "cuda:x", "cuda:-1", ""] {
            assert_eq!(
                text.parse::<DeviceChoice>().expect_err("no choice"),
                format!("{text} is no device; there are auto, cpu, cuda:N and metal")
            );
        }
    }

    #[test]
    fn auto_finds_a_device_and_a_missing_one_is_named_with_the_remedy() {
        let found = Compute::open(DeviceChoice::Auto).expect("a device");
        assert_eq!(found.device().is_none(), found.choice() == DeviceChoice::Cpu);
        let error = Compute::open(DeviceChoice::Cuda(99)).expect_err("no such device").to_string();
        assert!(error.contains("cuda:99") && error.contains("--device cpu"), "{error}");
    }
}
