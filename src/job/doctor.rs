//! `hyperslab doctor`: what a job would meet, found out by every rank in under a minute.
//!
//! A rank's trouble is a finding and no abort. What may hang runs on a thread with a deadline
//! ([`Pending`]), rank 0 waits for the others' words so long and no longer ([`World::collect_until`]), and a
//! [`Watchdog`] ends what still hangs, saying where. The one collective step, writing as a job writes, comes
//! last, and only if all ranks are there and can write.

mod ask;
mod finding;
mod gpu;
mod inputs;
mod libraries;
mod lustre;
mod node;
mod pending;
mod quota;
mod report;
mod slurm;
mod target;
mod together;
mod watchdog;
mod write;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::cores::Cpus;
use crate::comm::{self, Launcher, World};
use crate::error::{Context, Exit, Result, note};
use crate::h5;
use crate::model::device::{self, DeviceRequest, Probe};
use crate::store::remove;

pub use finding::{Finding, Verdict};
pub use report::Report;
pub use watchdog::Watchdog;

use pending::Pending;
use report::RankFindings;
use target::Target;

/// When each step ends at the latest, as part of the whole time.
const PROBES_END: f64 = 0.5;
const WORDS_END: f64 = 0.55;
const COMPUTE_END: f64 = 0.7;
const FINDINGS_END: f64 = 0.75;

/// Rank 0 speaks first when the time is up.
const OTHERS_SPEAK_LATER: Duration = Duration::from_secs(3);

/// What to look at.
#[derive(Clone, Debug)]
pub struct DoctorRequest {
    pub model: Option<PathBuf>,
    pub captions: Option<PathBuf>,
    pub renders: Option<PathBuf>,
    pub output_dir: PathBuf,
    pub device: DeviceRequest,
    pub share_gpu: bool,
}

/// What the ranks of a host must know of each other to share its devices and cores.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Place {
    host: String,
    local_rank: usize,
    visible: Vec<String>,
    cpus: Cpus,
}

/// How a doctor's visit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The same on every rank.
    pub exit: Exit,
    /// Whether MPI can be ended in order: no file is left open in an error.
    pub in_order: bool,
}

/// Finds out, and lets rank 0 `print` the report. What cannot end in order on all ranks is ended here.
pub fn doctor(world: &World, request: &DoctorRequest, watchdog: &Watchdog, print: fn(&Report)) -> Ended {
    let doctor =
        Doctor { world, request, watchdog, report: Arc::new(Mutex::new(Report::new(world.size()))), print };
    doctor.watch(None);
    let findings = doctor.look();
    let Some(word) = doctor.gather(&findings) else {
        // Rank 0 is gone or hangs: the watchdog ends this rank.
        wait_for_the_end();
    };
    let written = word.plan.map(|plan| doctor.write(&plan));
    watchdog.enters("the end");
    let agreed =
        written.as_ref().is_none_or(|written| written.as_ref().err().is_none_or(|error| error.agreed));
    let in_order = written.as_ref().is_none_or(Result::is_ok);
    if world.is_root() {
        if let Some(written) = written {
            doctor.conclude(written);
        }
        // All is told: should the end hang, it is not told again.
        watchdog.then(|step| note(format_args!("{step} did not end in time")));
        print(&doctor.report());
        if !(word.all_are_here && agreed) {
            comm::abort(Exit::Failure);
        }
    } else if let Some(Err(error)) = written
        && !agreed
    {
        // The others may be inside a collective call that never ends; rank 0 must live to tell.
        note(format_args!("rank {}: {}", world.rank(), error.message));
        wait_for_the_end();
    }
    Ended { exit: doctor.exit(), in_order }
}

/// Until the watchdog, or rank 0, ends the job.
fn wait_for_the_end() -> ! {
    loop {
        std::thread::park();
    }
}

/// This host for people: its name in Slurm, where several nodes may share one host.
fn host() -> String {
    std::env::var("SLURMD_NODENAME")
        .unwrap_or_else(|_| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

/// What rank 0 says when all findings are in.
#[derive(Serialize, Deserialize)]
struct Word {
    all_are_here: bool,
    /// What is to be written together; nothing where that would fail.
    plan: Option<write::Plan>,
}

struct Doctor<'a> {
    world: &'a World,
    request: &'a DoctorRequest,
    watchdog: &'a Watchdog,
    /// Filled on rank 0; the watchdog prints it too.
    report: Arc<Mutex<Report>>,
    print: fn(&Report),
}

/// Probes that run at once while the ranks get to know each other.
struct Local {
    target: Pending<Target>,
    model: Option<Pending<(Vec<Finding>, Option<inputs::ModelFacts>)>>,
    renders: Option<Pending<Finding>>,
    /// On rank 0, for all.
    captions: Option<Pending<Finding>>,
    slurm: Option<Pending<Option<Finding>>>,
}

impl Local {
    fn start(request: &DoctorRequest, rank: usize, local_rank: usize) -> Self {
        let output_dir = request.output_dir.clone();
        let model = request.model.clone();
        let captions = request.captions.clone().filter(|_| rank == 0);
        let renders = request.renders.clone();
        Self {
            target: Pending::start("folder", move || target::examine(&output_dir, local_rank == 0)),
            model: model.map(|dir| Pending::start("model", move || inputs::model(&dir))),
            renders: renders.map(|path| Pending::start("renders", move || inputs::renders(&path))),
            captions: captions.map(|path| Pending::start("captions", move || inputs::captions(&path))),
            slurm: (rank == 0).then(|| Pending::start("slurm", slurm::time_left)),
        }
    }
}

impl Doctor<'_> {
    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what is done when the time is up: rank 0 removes `file` and prints what is known, the others name
    /// themselves.
    fn watch(&self, file: Option<PathBuf>) {
        let (rank, limit, print) = (self.world.rank(), self.watchdog.limit(), self.print);
        let report = Arc::clone(&self.report);
        self.watchdog.then(move |step| {
            if rank > 0 {
                std::thread::sleep(OTHERS_SPEAK_LATER);
                note(format_args!("rank {rank} on {}: {step} did not end in time", host()));
                return;
            }
            let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
            report.add(Finding::error(
                "time",
                format!("{step} did not end within {:.0} s", limit.as_secs_f64()),
                "a file system, MPI or a driver may hang; where it is only slow, give it more time with --time-limit",
            ));
            print(&report);
            // What hangs may be the file system itself.
            let _ = file.map(|file| remove(&file));
        });
    }

    /// Looks at everything that this rank sees by itself, and at its place among the ranks of its host.
    fn look(&self) -> RankFindings {
        let (world, request) = (self.world, self.request);
        let probes_end = self.watchdog.at(PROBES_END);
        let mut found = RankFindings {
            rank: world.rank(),
            local_rank: world.local_rank(),
            host: host(),
            pid: std::process::id(),
            ..RankFindings::default()
        };
        self.watchdog.enters("looking around");
        let local = Local::start(request, world.rank(), world.local_rank());
        let asked = request.device;
        let probe = Pending::start("device", move || device::probe(asked)).wait(probes_end);
        let node = self.introduce(probe.as_ref().ok(), &found.host);
        found.clock_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
        if node.is_none() {
            let next = "rank 0 hangs, or its host does; where it is only slow, --time-limit";
            found.findings.push(Finding::error("launch", "rank 0's word did not come in time", next));
        }
        let node = node.unwrap_or_default();
        match probe {
            Ok(probe) => self.look_at_device(&probe, &node, &mut found),
            Err(finding) => found.findings.push(finding),
        }
        self.look_at_node(local, &node, &mut found);
        found
    }

    /// Tells rank 0 what this rank sees, and hears of the ranks of its own host, by local rank.
    fn introduce(&self, probe: Option<&Probe>, host: &str) -> Option<Vec<Place>> {
        let world = self.world;
        let mine = Place {
            host: host.to_owned(),
            local_rank: world.local_rank(),
            visible: probe.map(|probe| probe.visible.clone()).unwrap_or_default(),
            cpus: Cpus::of_this_process().unwrap_or_default(),
        };
        let words = world.collect_until(1, &encode(&mine), self.watchdog.at(WORDS_END));
        let came: Vec<bool> = words.iter().map(Option::is_some).collect();
        let all: Vec<Place> = words.into_iter().flatten().filter_map(|word| decode(&word)).collect();
        let told = world.tell_until(1, &came, encode(&all), self.watchdog.at(COMPUTE_END))?;
        let mut node: Vec<Place> = decode::<Vec<Place>>(&told)?;
        node.retain(|place| place.host == host);
        node.sort_by_key(|place| place.local_rank);
        Some(node)
    }

    fn look_at_device(&self, probe: &Probe, node: &[Place], found: &mut RankFindings) {
        let visible: Vec<Vec<String>> = node.iter().map(|place| place.visible.clone()).collect();
        let share_gpu = self.request.share_gpu;
        let view = gpu::Node { visible: &visible, local_rank: found.local_rank, share_gpu };
        let chosen = gpu::choose(self.request.device, probe, &view);
        found.findings.extend(chosen.findings);
        (found.device, found.gpu) = (chosen.name, chosen.gpu);
        let cpus: Vec<Cpus> = node.iter().map(|place| place.cpus.clone()).collect();
        let Some(device) = chosen.device else { return };
        let computed = Pending::start("compute", move || gpu::compute(device));
        found.findings.extend(computed.wait(self.watchdog.at(COMPUTE_END)).unwrap_or_else(|late| vec![late]));
        let (cores, finding) = node::cores(&cpus, found.local_rank, device != device::Device::Cpu);
        found.cores = cores;
        found.findings.push(finding);
    }

    fn look_at_node(&self, local: Local, node: &[Place], found: &mut RankFindings) {
        let until = self.watchdog.at(COMPUTE_END);
        let mut weights_bytes = 0;
        let mut model_findings = Vec::new();
        match local.model.map(|model| model.wait(until)) {
            Some(Ok((findings, facts))) => {
                model_findings = findings;
                weights_bytes = facts.as_ref().map_or(0, |facts| facts.weights_bytes);
                found.model_digest = facts.map(|facts| facts.digest);
            }
            Some(Err(late)) => model_findings.push(late),
            None => {}
        }
        let (memory, limits) = node::limits(node.len(), weights_bytes);
        found.memory_bytes = memory;
        found.findings.extend(limits);
        let target = local.target.wait(until);
        let file_system = target.as_ref().map(|target| target.file_system.clone()).unwrap_or_default();
        let io = std::env::var("OMPI_MCA_io").ok();
        let version = comm::library_version();
        found.findings.extend(libraries::mpi(
            &version,
            self.world.thread_level(),
            io.as_deref(),
            &file_system,
        ));
        found.findings.extend(libraries::hdf5(h5::library_version()));
        found.findings.push(libraries::libtorch());
        found.findings.extend(model_findings);
        found.findings.extend(local.renders.map(|renders| renders.wait(until).unwrap_or_else(|late| late)));
        match target {
            Ok(target) => {
                found.free_bytes = target.free_bytes;
                found.findings.extend(target.findings);
            }
            Err(late) => found.findings.push(late),
        }
        found.job.extend(local.captions.map(|captions| captions.wait(until).unwrap_or_else(|late| late)));
        found.job.extend(local.slurm.and_then(|slurm| slurm.wait(until).unwrap_or_else(Some)));
    }

    /// Brings every rank's findings to rank 0. Nothing where rank 0's word does not come.
    fn gather(&self, mine: &RankFindings) -> Option<Word> {
        let world = self.world;
        self.watchdog.enters("waiting for the other ranks");
        let words = world.collect_until(2, &encode(mine), self.watchdog.at(FINDINGS_END));
        let came: Vec<bool> = words.iter().map(Option::is_some).collect();
        let mut word = Word { all_are_here: came.iter().all(|came| *came), plan: None };
        if world.is_root() {
            let ranks: Vec<RankFindings> =
                words.into_iter().flatten().filter_map(|word| decode(&word)).collect();
            let mut report = self.report();
            report.add(self.launch());
            mine.job.iter().for_each(|finding| report.add(finding.clone()));
            for finding in together::compare(&ranks, world.size()) {
                report.add(finding);
            }
            match self.plan(&ranks, word.all_are_here) {
                Ok(plan) => word.plan = Some(plan),
                Err(why) => {
                    report.add(Finding::error("write", why, "mend the other errors, and run this again"));
                }
            }
            report.add_ranks(ranks);
        }
        let told = world.tell_until(2, &came, encode(&word), self.watchdog.at(1.0))?;
        decode(&told)
    }

    /// Writes as a job does. Collective.
    fn write(&self, plan: &write::Plan) -> Result<Vec<Finding>> {
        self.watchdog.enters("the collective write");
        let path = target::folder_of(&self.request.output_dir).join(plan.file_name());
        self.watch(Some(path.clone()));
        write::run(self.world, &path, plan)
    }

    fn launch(&self) -> Finding {
        let size = self.world.size();
        let by = Launcher::found().map_or("no launcher", |launcher| launcher.name);
        match self.world.check_launch() {
            Err(error) => Finding::of_error("launch", error),
            Ok(()) if size == 1 => Finding::ok("launch", format!("{by}: one rank")),
            Ok(()) => Finding::ok("launch", format!("{by}: {size} ranks found each other")),
        }
    }

    /// What the ranks can write together.
    fn plan(&self, ranks: &[RankFindings], all_are_here: bool) -> std::result::Result<write::Plan, String> {
        if !all_are_here {
            return Err("not tried, because ranks are missing".to_owned());
        }
        let cannot = |rank: &&RankFindings| {
            let folder = rank.findings.iter().filter(|finding| finding.topic == "folder");
            folder.into_iter().any(|finding| finding.verdict == Verdict::Error)
        };
        if let Some(rank) = ranks.iter().find(cannot) {
            return Err(format!("not tried, because rank {} cannot write there", rank.rank));
        }
        let free = ranks.first().map_or(0, |rank| rank.free_bytes);
        let nonce = ranks.first().map_or(0, |rank| rank.clock_ms);
        write::Plan::new(self.world.size(), free, nonce)
            .ok_or_else(|| format!("not tried, because only {} are free there", indicatif::HumanBytes(free)))
    }

    fn conclude(&self, written: Result<Vec<Finding>>) {
        let mut report = self.report();
        match written {
            Ok(findings) => findings.into_iter().for_each(|finding| report.add(finding)),
            Err(error) => report.add(Finding::of_error("write", error)),
        }
    }

    /// Rank 0's exit on every rank.
    fn exit(&self) -> Exit {
        let mine = self.report().exit();
        let came = vec![true; self.world.size()];
        let told = self.world.tell_until(3, &came, vec![mine as u8], self.watchdog.at(1.0));
        told.and_then(|told| told.first().copied()).map_or(Exit::Failure, |code| Exit::from_code(code.into()))
    }
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Plain structs with names for keys do not fail to become JSON.
    serde_json::to_vec(value).unwrap_or_default()
}

fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).context(|| "a rank's word").ok()
}
