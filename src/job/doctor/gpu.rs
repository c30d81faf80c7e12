//! The device that a rank would compute on, by the rules of a job.

use indicatif::HumanBytes;

use super::finding::Finding;
use crate::error::Error;
use crate::model::device::{
    self, Device, DeviceRequest, Gpu, MatrixError, Precision, Probe, check_product, check_tf32,
};

/// What the ranks of one host see, as one of them looks at it.
pub struct Node<'a> {
    /// The identities of the devices that each rank sees, by local rank.
    pub visible: &'a [Vec<String>],
    pub local_rank: usize,
    pub share_gpu: bool,
}

/// The device, its name, what is known of it, and what is found.
pub struct Found {
    pub device: Option<Device>,
    pub name: String,
    pub gpu: Option<Gpu>,
    pub findings: Vec<Finding>,
}

/// Chooses as a job does, and looks at what was chosen.
pub fn choose(request: DeviceRequest, probe: &Probe, node: &Node<'_>) -> Found {
    match device::choose(request, probe, node.local_rank, node.visible, node.share_gpu) {
        Err(error) => {
            Found { device: None, name: String::new(), gpu: None, findings: vec![no_device(probe, error)] }
        }
        Ok(Device::Cpu) => {
            let name = device::cpu_name();
            let why = if request == DeviceRequest::Cpu { "as asked for" } else { "no GPU is here" };
            let findings = vec![Finding::ok("device", format!("CPU, {why}: {name}"))];
            Found { device: Some(Device::Cpu), name, gpu: None, findings }
        }
        Ok(Device::Cuda(index)) => on_gpu(probe, node, index),
    }
}

fn on_gpu(probe: &Probe, node: &Node<'_>, index: usize) -> Found {
    let name = probe.names.get(index).cloned().unwrap_or_else(|| "unknown GPU".to_owned());
    let mut findings = vec![driver(probe)];
    let gpu = probe.visible.get(index).and_then(|identity| device::gpu(identity));
    findings.push(gpu.as_ref().map_or_else(
        || {
            Finding::warning(
                "device",
                format!("{name}, of which the driver's library (NVML) tells nothing"),
                "in a container, pass the driver's utilities through (NVIDIA_DRIVER_CAPABILITIES=compute,utility)",
            )
        },
        describe,
    ));
    let sharers =
        node.visible.iter().filter(|list| list.len() == 1 && list.first() == probe.visible.get(index));
    if node.share_gpu && sharers.count() > 1 {
        findings.push(Finding::ok("device", "shared with another rank, as --share-gpu allows"));
    }
    Found { device: Some(Device::Cuda(index)), name, gpu, findings }
}

fn describe(gpu: &Gpu) -> Finding {
    let capability = gpu.compute_capability.as_deref().unwrap_or("unknown");
    let mig = if gpu.is_mig { ", MIG" } else { "" };
    let what = format!(
        "{}{mig}, {} with {} free, compute capability {capability}",
        gpu.name,
        HumanBytes(gpu.memory_bytes),
        HumanBytes(gpu.free_bytes)
    );
    if gpu.free_bytes < gpu.memory_bytes / 4 * 3 {
        return Finding::warning(
            "device",
            what,
            "another program holds its memory: `nvidia-smi` names it; a job may need a smaller --batch-size",
        );
    }
    Finding::ok("device", what)
}

/// The driver against the CUDA that libtorch wants.
fn driver(probe: &Probe) -> Finding {
    let known = |version: &Option<String>| version.clone().unwrap_or_else(|| "unknown".to_owned());
    Finding::ok(
        "driver",
        format!(
            "{}, which serves CUDA up to {}; libtorch {} wants {}",
            known(&probe.driver),
            known(&probe.driver_cuda),
            device::libtorch_version(),
            wanted_cuda(probe).map_or_else(|| "none".to_owned(), |(major, minor)| format!("{major}.{minor}")),
        ),
    )
}

/// The CUDA of libtorch: what it says once loaded, else what its version says (`+cu130`).
fn wanted_cuda(probe: &Probe) -> Option<(u32, u32)> {
    let told = probe.libtorch_cuda.as_deref().and_then(dotted);
    told.or_else(|| {
        let (_, digits) = device::libtorch_version().split_once("+cu")?;
        let (major, minor) = digits.split_at_checked(digits.len().checked_sub(1)?)?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    })
}

fn dotted(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A job would be refused: what its error says, and more where the driver is too old or libtorch has no CUDA.
fn no_device(probe: &Probe, error: Error) -> Finding {
    let served = probe.driver_cuda.as_deref().and_then(dotted);
    let next = match (wanted_cuda(probe), served) {
        (None, Some(_)) => Some(format!(
            "libtorch {} has no CUDA: build with one that has (docker/setup.sh --torch cu130, or cu126 for older \
             drivers)",
            device::libtorch_version()
        )),
        // Minor versions of one CUDA run on any driver of its major version.
        (Some(wanted), Some(served)) if wanted.0 > served.0 => Some(format!(
            "the driver is too old for CUDA {}.{}: build with a libtorch for CUDA {} (docker/setup.sh --torch \
             cu126), or ask for a newer driver",
            wanted.0, wanted.1, served.0
        )),
        _ => None,
    };
    let finding = Finding::of_error("device", error);
    Finding { next: next.or(finding.next), ..finding }
}

/// Whether a chosen device computes, and in float32 where that is wanted.
pub fn compute(device: Device) -> Vec<Finding> {
    let mut findings = vec![match check_product(device) {
        Ok(()) => Finding::ok("compute", "a product of matrices is right, in float32 with TF32 off"),
        Err(MatrixError::Failed(why)) => Finding::error(
            "compute",
            format!("a product of matrices fails: {why}"),
            "`no kernel image` means a GPU that this libtorch was not built for; `out of memory`, that another \
             program holds it",
        ),
        Err(MatrixError::Wrong(error)) => Finding::error(
            "compute",
            format!("a product of matrices is wrong by {error} of its largest entry"),
            "unset NVIDIA_TF32_OVERRIDE and TORCH_ALLOW_TF32_CUBLAS_OVERRIDE; where neither is set, the device is \
             defective: drain this node",
        ),
    }];
    if let Err(error) = check_tf32(device, Precision::F32) {
        findings.push(Finding::of_error("compute", error));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    const NODE: Node<'_> = Node { visible: &[], local_rank: 0, share_gpu: false };

    #[test]
    fn a_cpu_node_is_fine() {
        let found = choose(DeviceRequest::Auto, &Probe::default(), &NODE);
        assert_eq!(found.device, Some(Device::Cpu));
        assert!(found.findings[0].what.contains("no GPU is here"), "{:?}", found.findings);
        assert!(found.findings.iter().all(|finding| finding.verdict == Verdict::Ok));
    }

    #[test]
    fn a_gpu_that_does_not_come_up_says_what_to_build() {
        let probe = Probe {
            device_files: vec!["/dev/nvidia0".into()],
            driver: Some("535.1".into()),
            driver_cuda: Some("12.2".into()),
            libtorch_cuda: Some("13.0".into()),
            ..Probe::default()
        };
        let found = choose(DeviceRequest::Auto, &probe, &NODE);
        let finding = &found.findings[0];
        assert_eq!(finding.verdict, Verdict::Error);
        assert!(finding.next.as_deref().unwrap().contains("for CUDA 12"), "{finding:?}");
        let served = Probe { driver_cuda: Some("13.1".into()), ..probe };
        let found = choose(DeviceRequest::Auto, &served, &NODE);
        assert!(found.findings[0].next.as_deref().unwrap().contains("--device cpu"));
    }

    #[test]
    fn ranks_on_one_gpu_are_an_error_unless_they_may_share() {
        let probe = Probe { cuda_devices: 1, visible: vec!["GPU-a".into()], ..Probe::default() };
        let visible = vec![vec!["GPU-a".to_owned()]; 2];
        let node = Node { visible: &visible, local_rank: 1, share_gpu: false };
        let found = choose(DeviceRequest::Auto, &probe, &node);
        assert!(found.device.is_none() && found.findings[0].next.as_deref().unwrap().contains("--share-gpu"));
        let found = choose(DeviceRequest::Auto, &probe, &Node { share_gpu: true, ..node });
        assert_eq!(found.device, Some(Device::Cuda(0)));
        assert!(found.findings.iter().any(|finding| finding.what.contains("shared with another rank")));
    }
}
