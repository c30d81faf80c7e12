//! What the driver says of one GPU.

use nvml_wrapper::Nvml;
use serde::{Deserialize, Serialize};

/// A GPU, or an instance (MIG) of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// `GPU-…`, or `MIG-…` for an instance.
    pub uuid: String,
    pub name: String,
    /// Place on the PCI bus, of an instance's device where the driver tells it.
    pub bus_id: Option<String>,
    pub memory_bytes: u64,
    pub free_bytes: u64,
    /// e.g. `9.0`.
    pub compute_capability: Option<String>,
    /// Whether it is an instance, or a device that is cut into such.
    pub is_mig: bool,
}

/// The GPU of that identity, as [`super::Probe::visible`] has it; `None` where the driver's library does not
/// know it.
pub fn gpu(identity: &str) -> Option<Gpu> {
    let nvml = Nvml::init().ok()?;
    let device = nvml.device_by_uuid(identity).ok()?;
    let memory = device.memory_info().ok()?;
    let capability = device.cuda_compute_capability().ok();
    let cut = device.mig_mode().is_ok_and(|mode| mode.current == 1);
    Some(Gpu {
        uuid: identity.to_owned(),
        name: device.name().unwrap_or_else(|_| "NVIDIA GPU".to_owned()),
        bus_id: device.pci_info().ok().map(|pci| pci.bus_id),
        memory_bytes: memory.total,
        free_bytes: memory.free,
        compute_capability: capability.map(|version| format!("{}.{}", version.major, version.minor)),
        is_mig: cut || identity.starts_with("MIG-"),
    })
}
