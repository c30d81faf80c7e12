//! Which device a rank computes on, and in which precision.
//!
//! Deciding is pure and tested ([`choose`], [`assign`], [`visible`]); looking at the machine is in
//! [`probe`]. The order of GPUs is that of the PCI bus (`CUDA_DEVICE_ORDER=PCI_BUS_ID`, which the program
//! sets before the engine starts), so that NVML's and CUDA's numbers mean the same devices.

mod assign;
mod check;
mod gpu;
mod probe;
mod visible;

use std::fmt;

pub use assign::assign;
pub use check::{MatrixError, check_product};
pub use gpu::{Gpu, gpu};
pub use probe::{Probe, cpu_name, libtorch_version, probe};
pub use visible::{Physical, visible};

use crate::error::{Error, Result};

/// What the user asks for (`--device`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceRequest {
    /// A GPU where there is one, the CPU where there is none; never the CPU where a GPU should be.
    #[default]
    Auto,
    Cpu,
    Cuda,
}

/// What a rank computes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Cpu,
    /// The index among the devices this process sees.
    Cuda(usize),
}

/// What a model computes in (`--precision`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    F32,
    Bf16,
    F16,
}

impl Precision {
    /// bf16 on a GPU, f32 on a CPU.
    pub fn default_for(device: Device) -> Self {
        if device == Device::Cpu { Self::F32 } else { Self::Bf16 }
    }

    /// Bytes of one number.
    pub fn value_bytes(self) -> usize {
        self.kind().elt_size_in_bytes()
    }

    pub(in crate::model) fn kind(self) -> tch::Kind {
        match self {
            Self::F32 => tch::Kind::Float,
            Self::Bf16 => tch::Kind::BFloat16,
            Self::F16 => tch::Kind::Half,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

impl Device {
    pub(in crate::model) fn torch(self) -> tch::Device {
        match self {
            Self::Cpu => tch::Device::Cpu,
            Self::Cuda(index) => tch::Device::Cuda(index),
        }
    }
}

/// The device of this rank, from what was asked for, what this process found, and which devices each
/// rank of this node sees (`node`, by local rank; see [`assign`]).
///
/// # Errors
/// A GPU that was asked for, or that this machine or allocation should have, and that CUDA does not see:
/// with the versions that explain it. More ranks than GPUs without `share`.
pub fn choose(
    request: DeviceRequest,
    probe: &Probe,
    local_rank: usize,
    node: &[Vec<String>],
    share: bool,
) -> Result<Device> {
    if request == DeviceRequest::Cpu {
        return Ok(Device::Cpu);
    }
    if probe.cuda_devices > 0 {
        return assign(local_rank, node, share).map(Device::Cuda);
    }
    match (request, cuda_expected(probe)) {
        (DeviceRequest::Auto, None) => Ok(Device::Cpu),
        (DeviceRequest::Auto, Some(reason)) => Err(probe
            .no_cuda(&reason)
            .hint("mend the driver or the allocation, or compute on the CPU with `--device cpu`")),
        (_, reason) => Err(probe
            .no_cuda(&reason.unwrap_or_else(|| "`--device cuda` asks for a GPU".to_owned()))
            .hint("`--device cpu` computes on the CPU")),
    }
}

/// Why a GPU is to be expected here, if it is: the job must not fall back to the CPU in silence.
pub fn cuda_expected(probe: &Probe) -> Option<String> {
    // `CUDA_VISIBLE_DEVICES` empty or -1 is the user's own way to hide GPUs.
    let hidden = probe.cuda_visible_devices.as_deref().is_some_and(|list| matches!(list.trim(), "" | "-1"));
    if let Some((name, value)) = probe.slurm_gpus.first() {
        return Some(format!("Slurm allocated GPUs ({name}={value})"));
    }
    let node = probe.device_files.first().filter(|_| !hidden)?;
    Some(format!("this machine has an NVIDIA device ({node})"))
}

impl Probe {
    fn no_cuda(&self, reason: &str) -> Error {
        let known = |version: &Option<String>| version.clone().unwrap_or_else(|| "unknown".to_owned());
        let why = self.cuda_failure.as_ref().map_or_else(String::new, |why| format!("; {why}"));
        let visible = self
            .cuda_visible_devices
            .as_ref()
            .map_or_else(|| "not set".to_owned(), |list| format!("`{list}`"));
        Error::new(format!(
            "{reason}, but CUDA sees no device: NVIDIA driver {}, which supports CUDA up to {}; libtorch {}{}; \
             CUDA_VISIBLE_DEVICES {visible}{why}",
            known(&self.driver),
            known(&self.driver_cuda),
            libtorch_version(),
            self.libtorch_cuda.as_ref().map_or_else(String::new, |cuda| format!(", built for CUDA {cuda}")),
        ))
    }
}

/// Sets libtorch's threads for the thread that calls, which is to be the one that runs the model.
pub fn set_model_threads(threads: usize) {
    set_own_threads(threads);
    set_interop_threads_once();
}

/// To be called once by every decoding thread: resizing a picture must not start threads of its own.
pub fn set_decode_threads() {
    set_own_threads(1);
}

/// Inside one operation libtorch uses OpenMP, whose thread count belongs to the calling thread. But a
/// thread's first operation overwrites it with what any thread set last (`lazy_init_num_threads` of
/// `ParallelOpenMP.cpp`); asking for the count makes that happen before, not after, the setting.
fn set_own_threads(threads: usize) {
    tch::get_num_threads();
    tch::set_num_threads(i32::try_from(threads.max(1)).unwrap_or(1));
}

/// libtorch allows this once per process, and before its pool is first used; nothing here uses the pool,
/// so one thread is enough for it.
fn set_interop_threads_once() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| tch::set_num_interop_threads(1));
}

/// f32 must be f32: refuses the variables by which containers switch TensorFloat-32 on. Without them
/// libtorch's matrix products have it off; its convolutions are not used.
///
/// # Errors
/// Such a variable, with how to unset it.
pub fn check_tf32(device: Device, precision: Precision) -> Result<()> {
    const SWITCH: &str = "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE";
    let on = std::env::var(SWITCH).is_ok_and(|value| {
        matches!(value.as_str(), "1" | "y" | "yes" | "Y" | "YES" | "on" | "ON" | "true" | "TRUE")
    });
    if on && device != Device::Cpu && precision == Precision::F32 {
        return Err(Error::new(format!(
            "{SWITCH} lets matrix products in f32 lose 13 bits of their operands"
        ))
        .hint(format!("unset {SWITCH}, or compute in bf16 with `--precision bf16`")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare() -> Probe {
        Probe::default()
    }

    #[test]
    fn a_machine_without_gpu_computes_on_its_cpu() {
        assert_eq!(choose(DeviceRequest::Auto, &bare(), 0, &[vec![]], false), Ok(Device::Cpu));
        assert_eq!(choose(DeviceRequest::Cpu, &bare(), 3, &[], false), Ok(Device::Cpu));
        let error = choose(DeviceRequest::Cuda, &bare(), 0, &[vec![]], false).expect_err("no GPU");
        assert!(error.to_string().contains("--device cpu"), "{error}");
    }

    #[test]
    fn a_gpu_that_does_not_come_up_stops_the_job() {
        let machine =
            Probe { device_files: vec!["/dev/nvidia0".into()], driver: Some("470.57".into()), ..bare() };
        let slurm = Probe { slurm_gpus: vec![("SLURM_JOB_GPUS".into(), "0,1".into())], ..bare() };
        for (probe, word) in [(&machine, "470.57"), (&slurm, "SLURM_JOB_GPUS=0,1")] {
            let error = choose(DeviceRequest::Auto, probe, 0, &[vec![]], false).expect_err("expected a GPU");
            assert!(error.message.contains(word), "{error}");
            assert!(error.to_string().contains("--device cpu"), "{error}");
            assert_eq!(choose(DeviceRequest::Cpu, probe, 0, &[vec![]], false), Ok(Device::Cpu));
        }
    }

    #[test]
    fn a_gpu_hidden_by_the_user_is_not_expected() {
        let probe = Probe {
            device_files: vec!["/dev/nvidia0".into()],
            cuda_visible_devices: Some(String::new()),
            ..bare()
        };
        assert_eq!(choose(DeviceRequest::Auto, &probe, 0, &[vec![]], false), Ok(Device::Cpu));
    }

    #[test]
    fn threads_of_decoding_and_of_the_model_do_not_mix() {
        let (set, model_set) = std::sync::mpsc::channel();
        let (decoded, decode_set) = std::sync::mpsc::channel();
        let model = std::thread::spawn(move || {
            set_model_threads(3);
            set.send(()).expect("the test waits");
            decode_set.recv().expect("the test sends");
            tch::get_num_threads()
        });
        model_set.recv().expect("the model sends");
        let decode = std::thread::spawn(|| {
            set_decode_threads();
            tch::get_num_threads()
        });
        assert_eq!(decode.join().expect("ran"), 1);
        decoded.send(()).expect("the model waits");
        assert_eq!(model.join().expect("ran"), 3);
    }

    #[test]
    fn a_gpu_is_taken_where_there_is_one() {
        let probe = Probe { cuda_devices: 2, ..bare() };
        let node = vec![vec!["GPU-a".to_owned(), "GPU-b".to_owned()]; 2];
        assert_eq!(choose(DeviceRequest::Auto, &probe, 1, &node, false), Ok(Device::Cuda(1)));
        assert_eq!(Precision::default_for(Device::Cuda(1)), Precision::Bf16);
        assert_eq!(Precision::default_for(Device::Cpu), Precision::F32);
    }
}
