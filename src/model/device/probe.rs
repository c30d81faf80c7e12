//! Looking at the machine: libtorch's CUDA half, the driver, the launcher's variables.

use nvml_wrapper::{Device as NvmlDevice, Nvml};

use super::DeviceRequest;
use super::visible::{Physical, visible};

/// What this process finds of GPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// How many devices CUDA gives this process.
    pub cuda_devices: usize,
    /// Why libtorch's CUDA half could not be loaded, in the loader's words.
    pub cuda_failure: Option<String>,
    /// Identities of the devices this process sees, in CUDA's order.
    pub visible: Vec<String>,
    /// Model names of the same devices, in the same order.
    pub names: Vec<String>,
    /// Version of the NVIDIA driver.
    pub driver: Option<String>,
    /// The newest CUDA that driver supports.
    pub driver_cuda: Option<String>,
    /// The CUDA that libtorch was built for, where its CUDA half is loaded.
    pub libtorch_cuda: Option<String>,
    /// The NVIDIA device files there are.
    pub device_files: Vec<String>,
    /// Variables by which Slurm says that it allocated GPUs, with their values.
    pub slurm_gpus: Vec<(String, String)>,
    /// The variable of that name.
    pub cuda_visible_devices: Option<String>,
}

/// `CUDA_VISIBLE_DEVICES` and these are what is read of the environment.
const SLURM_VARIABLES: [&str; 6] = [
    "SLURM_JOB_GPUS",
    "SLURM_STEP_GPUS",
    "SLURM_GPUS_ON_NODE",
    "SLURM_GPUS",
    "SLURM_GPUS_PER_TASK",
    "SLURM_GPUS_PER_NODE",
];
const DEVICE_FILES: [&str; 3] = ["/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg"];

/// Looks once; loads libtorch's CUDA half if it is there. Where the CPU is asked for, GPUs are left alone.
pub fn probe(request: DeviceRequest) -> Probe {
    if request == DeviceRequest::Cpu {
        return Probe::default();
    }
    let cuda_failure = load_cuda().err();
    let cuda_devices = usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
    let list = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let nvml = Nvml::init().ok();
    let physical = nvml.as_ref().map(physical).unwrap_or_default();
    let (visible, names) = identities(&physical, list.as_deref(), cuda_devices);
    let version = |number: i32| format!("{}.{}", number / 1000, number % 1000 / 10);
    Probe {
        cuda_devices,
        visible,
        names,
        driver: nvml.as_ref().and_then(|nvml| nvml.sys_driver_version().ok()),
        driver_cuda: nvml.as_ref().and_then(|nvml| nvml.sys_cuda_driver_version().ok()).map(version),
        libtorch_cuda: cuda_failure.is_none().then(runtime_version).flatten(),
        cuda_failure,
        device_files: DEVICE_FILES
            .iter()
            .filter(|path| std::path::Path::new(path).exists())
            .map(ToString::to_string)
            .collect(),
        slurm_gpus: SLURM_VARIABLES
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
            .filter(|(_, value)| !matches!(value.as_str(), "" | "0" | "-1" | "NoDevFiles"))
            .collect(),
        cuda_visible_devices: list,
    }
}

/// The model of this machine's CPU, for the fingerprint.
pub fn cpu_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    field("model name")
        .or_else(|| field("CPU implementer"))
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The version of libtorch this program was built against.
pub fn libtorch_version() -> &'static str {
    env!("HYPERSLAB_BUILD_LIBTORCH")
}

/// One program serves machines with and without GPU: the linker leaves libtorch's CUDA half out, and it
/// registers itself when loaded.
fn load_cuda() -> Result<(), String> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    static LOADED: std::sync::OnceLock<Result<(), String>> = std::sync::OnceLock::new();
    LOADED
        .get_or_init(|| {
            // SAFETY: the library is libtorch's own other half, found where libtorch_cpu is; its
            // initialisers register kernels and need nothing of us. It is never unloaded.
            #[allow(unsafe_code)]
            let library = unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL) };
            library.map(std::mem::forget).map_err(|error| error.to_string())
        })
        .clone()
}

fn runtime_version() -> Option<String> {
    let number = tch::utils::version_cudart();
    (number > 0).then(|| format!("{}.{}", number / 1000, number % 1000 / 10))
}

fn physical(nvml: &Nvml) -> Vec<Physical> {
    let count = nvml.device_count().unwrap_or(0);
    let devices = (0..count).filter_map(|index| nvml.device_by_index(index).ok());
    devices
        .filter_map(|device| {
            Some(Physical {
                uuid: device.uuid().ok()?,
                name: device.name().unwrap_or_else(|_| "NVIDIA GPU".to_owned()),
                instances: instances(&device),
            })
        })
        .collect()
}

fn instances(device: &NvmlDevice<'_>) -> Vec<String> {
    let count = device.mig_device_count().unwrap_or(0);
    (0..count).filter_map(|index| device.mig_device_by_index(index).ok()?.uuid().ok()).collect()
}

/// Identities and names of what CUDA shows. Where NVML does not agree with CUDA (it is missing, or a
/// container hides it), a device is known by its place alone.
fn identities(physical: &[Physical], list: Option<&str>, count: usize) -> (Vec<String>, Vec<String>) {
    let identities = visible(physical, list);
    if identities.len() < count {
        let shown = list.unwrap_or("all");
        let places = (0..count).map(|index| format!("{shown}#{index}")).collect();
        return (places, vec!["NVIDIA GPU".to_owned(); count]);
    }
    let name = |identity: &String| {
        let device =
            physical.iter().find(|device| device.uuid == *identity || device.instances.contains(identity));
        device.map_or_else(|| "NVIDIA GPU".to_owned(), |device| device.name.clone())
    };
    let shown = identities.get(..count).unwrap_or_default();
    (shown.to_vec(), shown.iter().map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nvml_does_not_know_is_known_by_its_place() {
        assert_eq!(identities(&[], Some("3"), 1).0, ["3#0"]);
        assert_eq!(identities(&[], None, 2).0, ["all#0", "all#1"]);
        let device = Physical { uuid: "GPU-a".to_owned(), name: "A100".to_owned(), instances: vec![] };
        let machine = [device];
        assert_eq!(identities(&machine, None, 1), (vec!["GPU-a".to_owned()], vec!["A100".to_owned()]));
        assert_eq!(identities(&machine, None, 0), (vec![], vec![]), "CUDA sees none");
    }

    #[test]
    fn this_machine_has_a_cpu() {
        assert!(!cpu_name().is_empty());
    }
}
