//! Runs the program, alone or on ranks, so that no test can hang, and compares the files it makes.

mod files;
mod launcher;
mod talk;

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Condvar, Mutex, OnceLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub use files::{Contents, assert_same, assert_sound, committed_blocks, sha256};
use hyperslab::Exit;
pub use launcher::{LAUNCHER, foreign_launcher, is_open_mpi};
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
pub use talk::Talk;
use tempfile::TempDir;

/// No run of a test takes longer, unless it hangs.
const LIMIT: Duration = Duration::from_secs(180);
/// How long a test waits for something that a running job does.
const WAIT: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Names of the files in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A folder of a test's own, gone with it.
pub struct Dir {
    path: PathBuf,
    /// Removes it; none where it is kept.
    _removed: Option<TempDir>,
}

impl Dir {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        Self { path: folder.path().to_owned(), _removed: Some(folder) }
    }

    /// One that tests share, for the life of this process: what earlier ones left is removed.
    pub fn kept(name: &str) -> Self {
        let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&all).unwrap();
        for left in fs::read_dir(&all).unwrap().map(Result::unwrap) {
            if !Path::new("/proc").join(left.file_name()).exists() {
                let _ = fs::remove_dir_all(left.path());
            }
        }
        let own = all.join(std::process::id().to_string());
        fs::create_dir_all(&own).unwrap();
        Self { path: own, _removed: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file, and the folders above it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// `hyperslab` with these arguments, in this folder: one process, until [`Run::ranks`].
    pub fn hyperslab<A: Into<OsString>>(&self, arguments: impl IntoIterator<Item = A>) -> Run {
        self.run(Path::new(env!("CARGO_BIN_EXE_hyperslab")), arguments)
    }

    /// A test of this program that others start on ranks, and that is ignored therefore.
    pub fn test(&self, name: &str) -> Run {
        self.run(&std::env::current_exe().unwrap(), ["--exact", name, "--ignored", "--nocapture"])
    }

    fn run<A: Into<OsString>>(&self, program: &Path, arguments: impl IntoIterator<Item = A>) -> Run {
        Run {
            program: program.to_owned(),
            folder: self.path().to_owned(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            ranks: 0,
            launcher: LAUNCHER.to_owned(),
            variables: Vec::new(),
            script: None,
            rank_script: None,
            input: None,
        }
    }
}

/// A run of the program, not yet started.
#[derive(Clone)]
pub struct Run {
    program: PathBuf,
    folder: PathBuf,
    arguments: Vec<OsString>,
    /// 0: without a launcher.
    ranks: usize,
    launcher: String,
    variables: Vec<(String, OsString)>,
    /// A shell script around it, see [`Run::within`].
    script: Option<String>,
    /// A shell script around each rank, see [`Run::each_rank`].
    rank_script: Option<String>,
    /// What its standard input holds.
    input: Option<Vec<u8>>,
}

impl Run {
    /// Under its MPI's launcher, on so many ranks.
    pub fn ranks(mut self, ranks: usize) -> Self {
        self.ranks = ranks;
        self
    }

    /// Under a launcher of another MPI.
    pub fn launcher(mut self, launcher: &str) -> Self {
        launcher.clone_into(&mut self.launcher);
        self
    }

    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// More arguments, separated by spaces.
    pub fn args(mut self, arguments: &str) -> Self {
        self.arguments.extend(arguments.split_whitespace().map(OsString::from));
        self
    }

    /// Sets an option that takes a value, in the place of its earlier value.
    pub fn set(mut self, option: &str, value: impl Into<OsString>) -> Self {
        if let Some(at) = self.arguments.iter().position(|argument| argument == option) {
            self.arguments.drain(at..at + 2);
        }
        self.arguments.extend([option.into(), value.into()]);
        self
    }

    /// Sets a variable for the program, not for its launcher.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// With a fault of `faults/shim.c`; `settings` without their `SHIM_`, e.g. `FAULT=eio RANK=1`.
    pub fn fault(self, settings: &str) -> Self {
        settings.split_whitespace().fold(self.env("LD_PRELOAD", shim()), |run, setting| {
            let (name, value) = setting.split_once('=').unwrap();
            run.env(&format!("SHIM_{name}"), value)
        })
    }

    /// As `"$@"` of a shell script with mounts of its own, in the run's folder; see [`can_mount`].
    pub fn within(mut self, script: &str) -> Self {
        self.script = Some(script.to_owned());
        self
    }

    /// Each rank as `"$@"` of a shell script, which knows its `OMPI_COMM_WORLD_RANK`.
    pub fn each_rank(mut self, script: &str) -> Self {
        self.rank_script = Some(script.to_owned());
        self
    }

    /// With this on its standard input.
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Starts one process to talk with.
    pub fn talk(self) -> Talk {
        let captured = TempDir::new().unwrap();
        let mut command = self.command(captured.path());
        command.current_dir(&self.folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        Talk::start(command.stderr(File::create(captured.path().join("stderr")).unwrap()))
    }

    /// Runs it to its end.
    pub fn run(self) -> Outcome {
        self.start().wait()
    }

    /// Starts it, once the runs of other tests leave room for its ranks.
    pub fn start(self) -> Running {
        let slots = Slots::take(self.ranks.max(1));
        let captured = TempDir::new().unwrap();
        let mut command = self.command(captured.path());
        let file = |name| File::create(captured.path().join(name)).unwrap();
        let input = self.input.map_or_else(Stdio::null, |input| {
            fs::write(captured.path().join("stdin"), input).unwrap();
            File::open(captured.path().join("stdin")).unwrap().into()
        });
        let child = command
            .current_dir(&self.folder)
            .stdin(input)
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .process_group(0)
            .spawn()
            .unwrap();
        Running { child: Some(child), captured, began: Instant::now(), what: self.arguments, _slots: slots }
    }

    fn command(&self, tmp: &Path) -> Command {
        let program = if self.ranks == 0 { self.program.as_os_str() } else { self.launcher.as_ref() };
        let mut command = Command::new(program);
        remove_foreign_variables(&mut command);
        command.env("TMPDIR", tmp);
        if self.ranks == 0 {
            command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        } else {
            launcher::ask(&mut command, &self.launcher, self.ranks, &self.variables, tmp);
            if let Some(script) = &self.rank_script {
                command.args(["sh", "-euc", script, "sh"]);
            }
            command.arg(&self.program);
        }
        command.args(&self.arguments);
        match &self.script {
            Some(script) => in_namespace(script, &command),
            None => command,
        }
    }
}

/// Takes away the settings of whoever runs the tests, and of a job they may run in.
pub fn remove_foreign_variables(command: &mut Command) {
    let foreign = |name: &str| {
        let own = [
            "HYPERSLAB_",
            "SLURM_",
            "SBATCH_",
            "SRUN_",
            "PMI",
            "OMPI_",
            "PRTE_",
            "HF_",
            "HUGGING",
            "TRANSFORMERS_",
            "XDG_CACHE",
            "PG",
            // See .cargo/config.toml.
            "HDF5_USE_FILE_LOCKING",
        ];
        own.iter().any(|own| name.starts_with(own)) || name.to_ascii_uppercase().ends_with("_PROXY")
    };
    for (name, _) in std::env::vars().filter(|(name, _)| foreign(name)) {
        command.env_remove(name);
    }
}

/// `command` as `"$@"` of a shell script, with mounts of its own.
fn in_namespace(script: &str, command: &Command) -> Command {
    let unshare = unshare_options().expect("asked before");
    let mut shell = Command::new("unshare");
    shell
        .args(unshare)
        .args(["sh", "-euc", script, "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// How `unshare` gives a process mounts of its own here; nothing where that is not possible.
fn unshare_options() -> Option<&'static [&'static str]> {
    static FOUND: OnceLock<Option<&[&str]>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let ways: [&[&str]; 2] = [&["-m"], &["-r", "-m"]];
        let works = |way: &&[&str]| {
            let mount = ["sh", "-c", "mount -t tmpfs -o size=64k none /mnt"];
            Command::new("unshare")
                .args(*way)
                .args(mount)
                .output()
                .is_ok_and(|output| output.status.success())
        };
        ways.into_iter().find(works)
    })
}

/// Whether tests can mount; says so where they cannot.
pub fn can_mount() -> bool {
    let can = unshare_options().is_some();
    if !can {
        eprintln!("skipped: neither `unshare -m` nor `unshare -r -m` can mount a tmpfs here");
    }
    can
}

/// The compiled `faults/shim.c`.
fn shim() -> PathBuf {
    static COMPILED: OnceLock<PathBuf> = OnceLock::new();
    let compile = || {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (new, library) = (folder.join(format!("shim.{}", std::process::id())), folder.join("shim.so"));
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&new).arg(repository("tests/faults/shim.c"));
        assert!(compiler.arg("-ldl").status().unwrap().success());
        fs::rename(new, &library).unwrap();
        library
    };
    COMPILED.get_or_init(compile).clone()
}

/// Room for ranks on this machine; more at once would only wait for each other.
pub struct Slots(usize);

static RANKS_RUNNING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

impl Slots {
    pub fn take(ranks: usize) -> Self {
        let room = 3 * std::thread::available_parallelism().map_or(1, usize::from);
        let (running, changed) = &RANKS_RUNNING;
        let mut running = running.lock().unwrap();
        while *running > 0 && *running + ranks > room {
            running = changed.wait(running).unwrap();
        }
        *running += ranks;
        Self(ranks)
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        *RANKS_RUNNING.0.lock().unwrap() -= self.0;
        RANKS_RUNNING.1.notify_all();
    }
}

/// A run that has been started; killed when dropped.
pub struct Running {
    child: Option<Child>,
    /// Holds its output.
    captured: TempDir,
    began: Instant,
    what: Vec<OsString>,
    _slots: Slots,
}

impl Running {
    /// Waits until something is so, while the job runs.
    pub fn until(&mut self, what: &str, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the job ended before: {what}\n{}", self.output().1);
            assert!(began.elapsed() < WAIT, "waited in vain: {what}\n{}", self.output().1);
            sleep(LOOK_EVERY);
        }
    }

    /// Process id of the launcher, or of the one process.
    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Process id of a rank.
    pub fn rank(&self, rank: usize) -> u32 {
        self.ranks_there().into_iter().find(|(number, _)| *number == rank).unwrap().1
    }

    /// Process ids of the ranks that have started, by rank.
    pub fn ranks(&self) -> Vec<u32> {
        let mut there = self.ranks_there();
        there.sort_unstable();
        there.into_iter().map(|(_, pid)| pid).collect()
    }

    fn ranks_there(&self) -> Vec<(usize, u32)> {
        let says = if is_open_mpi() { "OMPI_COMM_WORLD_RANK" } else { "PMI_RANK" };
        let number = |(value, pid): (String, u32)| Some((value.parse().ok()?, pid));
        programs_with(self.id(), says).into_iter().filter_map(number).collect()
    }

    /// Whether the launcher, or the one process, has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// Waits for its end, and for that of these ranks where the launcher ends before them.
    pub fn wait_for_all(self, ranks: &[u32]) -> Outcome {
        let outcome = self.wait();
        let began = Instant::now();
        while ranks.iter().any(|rank| Path::new("/proc").join(rank.to_string()).exists()) {
            assert!(began.elapsed() < WAIT, "ranks live on without their launcher: {ranks:?}");
            sleep(LOOK_EVERY);
        }
        outcome
    }

    /// Ends all processes of the job with SIGKILL, the launcher's too.
    pub fn kill(mut self) -> Outcome {
        self.kill_all();
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Outcome {
        let status = loop {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                break status;
            }
            if self.began.elapsed() > LIMIT {
                self.kill_all();
                let (stdout, stderr) = self.output();
                panic!("{:?} did not end in {LIMIT:?}\n{stdout}\n{stderr}", self.what);
            }
            sleep(LOOK_EVERY);
        };
        self.child = None;
        let (stdout, stderr) = self.output();
        Outcome { status, stdout, stderr, took: self.began.elapsed() }
    }

    fn output(&self) -> (String, String) {
        let read =
            |name| String::from_utf8_lossy(&fs::read(self.captured.path().join(name)).unwrap()).into_owned();
        (read("stdout"), read("stderr"))
    }

    fn kill_all(&mut self) {
        let Some(child) = &mut self.child else { return };
        // The launcher's children are found by it, so it goes last.
        let processes = descendants(child.id());
        for pid in processes {
            signal(pid, Signal::KILL);
        }
        child.kill().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill_all();
        self.child.iter_mut().for_each(|child| drop(child.wait()));
    }
}

/// Sends a signal to one process, if it is still there.
pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid as i32).unwrap();
    let _ = kill_process(pid, signal);
}

/// Processes of this program, below another, that have a variable, with its value.
pub fn programs_with(ancestor: u32, variable: &str) -> Vec<(String, u32)> {
    let value = |pid: u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let mut variables =
            environment.split(|&byte| byte == 0).filter_map(|one| std::str::from_utf8(one).ok());
        let value = variables.find_map(|one| one.strip_prefix(variable)?.strip_prefix('='))?;
        name.starts_with("hyperslab").then(|| (value.to_owned(), pid))
    };
    descendants(ancestor).into_iter().filter_map(value).collect()
}

/// Children of a process, their children, and so on.
pub fn descendants(ancestor: u32) -> Vec<u32> {
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    // Behind the name, which is in brackets and may hold anything: state, parent.
    let parent = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let parents: Vec<(u32, u32)> = pids.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![ancestor];
    for next in 0.. {
        let Some(&above) = found.get(next) else { break };
        found.extend(parents.iter().filter(|(_, parent)| *parent == above).map(|(pid, _)| *pid));
    }
    found.split_off(1)
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Outcome {
    /// Asserts the exit code, under a launcher that of the job.
    #[track_caller]
    pub fn exits(self, exit: Exit) -> Self {
        assert_eq!(self.status.code(), Some(exit.code()), "{self}");
        self
    }

    /// Asserts that standard error holds a text.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "'{text}' is not said:\n{self}");
        self
    }

    /// Asserts that standard output holds a text.
    #[track_caller]
    pub fn prints(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "'{text}' is not printed:\n{self}");
        self
    }

    /// Asserts that one error is told, once, and no panic.
    #[track_caller]
    pub fn tells_one_error(self) -> Self {
        let errors =
            self.stderr.lines().filter(|line| line.contains("error: ") || line.contains("error on rank"));
        assert_eq!(errors.count(), 1, "{self}");
        assert!(!self.stderr.contains("panicked"), "{self}");
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} after {:?}\n{}\n{}", self.status, self.took, self.stdout, self.stderr)
    }
}
