//! `CUDA_VISIBLE_DEVICES`, read as CUDA reads it.

/// One device of the machine, in the order of the PCI bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Physical {
    /// NVML's identity, `GPU-…`.
    pub uuid: String,
    /// The model, e.g. `NVIDIA A100-SXM4-80GB`.
    pub name: String,
    /// The identities of its MIG instances, `MIG-…`, if it is cut into such.
    pub instances: Vec<String>,
}

/// The identities of the devices this process sees, in CUDA's order: `physical` filtered by the value of
/// `CUDA_VISIBLE_DEVICES` (`None`: not set, all are visible).
///
/// By the CUDA programming guide: entries are indices, or UUIDs and unique prefixes of such; the first
/// entry that names no device ends the list; a device named twice leaves none.
pub fn visible(physical: &[Physical], cuda_visible_devices: Option<&str>) -> Vec<String> {
    let Some(list) = cuda_visible_devices else {
        // Of a device cut into instances CUDA shows the first instance.
        return physical.iter().map(first).collect();
    };
    let mut seen: Vec<String> = Vec::new();
    for entry in list.split(',') {
        let Some(identity) = resolve(physical, entry.trim()) else { break };
        if seen.contains(&identity) {
            return Vec::new();
        }
        seen.push(identity);
    }
    seen
}

fn first(device: &Physical) -> String {
    device.instances.first().unwrap_or(&device.uuid).clone()
}

/// The device that one entry names.
fn resolve(physical: &[Physical], entry: &str) -> Option<String> {
    if let Ok(index) = entry.parse::<usize>() {
        return physical.get(index).map(first);
    }
    let of_instances = physical.iter().flat_map(|device| &device.instances).map(String::as_str);
    let mut matches: Vec<String> = if entry.starts_with("GPU-") {
        physical.iter().filter(|device| device.uuid.starts_with(entry)).map(first).collect()
    } else if entry.starts_with("MIG-") {
        of_instances.filter(|uuid| uuid.starts_with(entry)).map(str::to_owned).collect()
    } else {
        Vec::new()
    };
    if matches.is_empty() && entry.starts_with("MIG-") {
        // The old way of naming an instance, `MIG-GPU-<uuid>/<gi>/<ci>`, which NVML no longer reports.
        matches.push(entry.to_owned());
    }
    if matches.len() == 1 { matches.pop() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Vec<Physical> {
        let device =
            |uuid: &str| Physical { uuid: uuid.to_owned(), name: "NVIDIA X".to_owned(), instances: vec![] };
        vec![device("GPU-aa11"), device("GPU-ab22"), device("GPU-bb33")]
    }

    #[test]
    fn lists_are_read_as_cuda_reads_them() {
        let cases: [(Option<&str>, &[&str]); 13] = [
            (None, &["GPU-aa11", "GPU-ab22", "GPU-bb33"]),
            (Some("0,1,2"), &["GPU-aa11", "GPU-ab22", "GPU-bb33"]),
            (Some("2,0"), &["GPU-bb33", "GPU-aa11"]),
            (Some(" 1 "), &["GPU-ab22"]),
            (Some(""), &[]),
            (Some("-1"), &[]),
            (Some("0,-1,1"), &["GPU-aa11"]),
            (Some("1,7,0"), &["GPU-ab22"]),
            (Some("GPU-b"), &["GPU-bb33"]),
            (Some("GPU-ab22,0"), &["GPU-ab22", "GPU-aa11"]),
            (Some("GPU-a"), &[]),
            (Some("1,1"), &[]),
            (Some("NoDevFiles"), &[]),
        ];
        for (list, expected) in cases {
            assert_eq!(visible(&machine(), list), expected, "{list:?}");
        }
    }

    #[test]
    fn instances_of_a_device() {
        let mut machine = machine();
        machine[1].instances = vec!["MIG-1".to_owned(), "MIG-2".to_owned()];
        assert_eq!(visible(&machine, Some("MIG-2")), ["MIG-2"]);
        assert_eq!(visible(&machine, Some("1")), ["MIG-1"], "CUDA shows the first instance");
        assert_eq!(visible(&machine, Some("MIG-GPU-aa11/1/0")), ["MIG-GPU-aa11/1/0"]);
        assert_eq!(visible(&machine, None), ["GPU-aa11", "MIG-1", "GPU-bb33"]);
    }
}
