//! Which device each rank computes on, and with how many threads it decodes.

use super::cores;
use super::request::EmbedRequest;
use crate::comm::World;
use crate::error::{Context, Error, Result};
use crate::model::device::{self, Device, DeviceRequest, Precision, Probe};
use crate::model::memory::DeviceMemory;

/// What a rank computes with.
pub struct RankDevice {
    pub device: Device,
    pub precision: Precision,
    /// The device's name, the same on every rank.
    pub model: String,
    /// Of a GPU that ranks share, this rank's part.
    pub memory: DeviceMemory,
    pub decode_threads: usize,
}

impl RankDevice {
    /// A device with its own precision and all cores, shared by so many ranks.
    fn of(device: Device, probe: &Probe, ranks: u64) -> Self {
        let unknown = || "unknown GPU".to_owned();
        let (model, memory) = match device {
            Device::Cpu => (device::cpu_name(), DeviceMemory::Cpu),
            Device::Cuda(index) => {
                let gpu = probe.visible.get(index).and_then(|identity| device::gpu(identity));
                let memory = gpu.map(|gpu| DeviceMemory::Gpu(gpu.memory_bytes / ranks));
                let name = probe.names.get(index).cloned();
                (name.unwrap_or_else(unknown), memory.unwrap_or(DeviceMemory::UnknownGpu))
            }
        };
        let decode_threads = crate::store::cores();
        Self { device, precision: Precision::default_for(device), model, memory, decode_threads }
    }

    pub fn is_gpu(&self) -> bool {
        self.device != Device::Cpu
    }
}

/// Chooses this rank's device. Collective.
///
/// # Errors
/// A GPU that should be there and is not; too few GPUs; ranks on different devices, whose vectors would
/// depend on who computed them.
pub fn choose(world: &World, request: &EmbedRequest) -> Result<RankDevice> {
    let probe = device::probe(request.device);
    let told = serde_json::to_vec(&probe.visible).context(|| "cannot encode devices")?;
    let node: Vec<Vec<String>> = world
        .node_gather(&told)
        .iter()
        .map(|bytes| serde_json::from_slice(bytes).context(|| "cannot decode devices"))
        .collect::<Result<_>>()?;
    let chosen = device::choose(request.device, &probe, world.local_rank(), &node, request.share_gpu);
    let device = world.agree(chosen)?;
    let cores = cores::usable_cores(world)?;
    let decode_threads = request.decode_threads.unwrap_or(cores);
    let decodes_views = request.outputs.iter().any(|output| output.kind.has_views());
    if device != Device::Cpu
        && decodes_views
        && world.is_root()
        && let Some(warning) = cores::too_few_for_gpu(decode_threads)
    {
        tracing::warn!("{warning}");
    }
    // Where ranks may share, all of a node might be on one.
    let ranks = if request.share_gpu { node.len().max(1) as u64 } else { 1 };
    let chosen = RankDevice::of(device, &probe, ranks);
    let precision = request.precision.unwrap_or(chosen.precision);
    world.agree(check_equal(world, &chosen.model))?;
    Ok(RankDevice { precision, decode_threads, ..chosen })
}

/// The device of a process that is alone, with the device's own precision.
///
/// # Errors
/// A GPU that should be there and is not.
pub fn choose_alone(request: DeviceRequest) -> Result<RankDevice> {
    let probe = device::probe(request);
    let device = device::choose(request, &probe, 0, std::slice::from_ref(&probe.visible), true)?;
    Ok(RankDevice::of(device, &probe, 1))
}

/// Bit-identical results at any number of ranks need one kind of device.
fn check_equal(world: &World, model: &str) -> Result<()> {
    let models = world.all_gather(model.as_bytes());
    match models.iter().position(|other| other != model.as_bytes()) {
        None => Ok(()),
        Some(rank) => Err(Error::new(format!(
            "rank {} computes on {model}, rank {rank} on {}: vectors would depend on who computed them",
            world.rank(),
            String::from_utf8_lossy(&models[rank])
        ))
        .hint("ask the batch system for one kind of device (Slurm: --gres=gpu:TYPE:N or --constraint)")),
    }
}
