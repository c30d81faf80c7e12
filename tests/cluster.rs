//! Several hosts: this machine as n1 and n2, with a network and a name each (`cluster/up.sh`). Jobs are started there
//! by Slurm, through the scripts of `slurm/`, or by `mpirun`.

mod array;
mod hosts;
mod slurm;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::job::{many, small};
use crate::util::{Dir, Slots, descendants, is_open_mpi, remove_foreign_variables, repository};

/// How long a test waits for something that a job does.
const WAIT: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(50);

const SLURM: [&str; 6] = ["slurmctld", "slurmd", "munged", "sbatch", "srun", "scontrol"];

/// Two hosts, with a folder that both see; gone when dropped, and when this process is.
struct Cluster {
    dir: Dir,
    /// The script that keeps it up until its standard input ends.
    up: Child,
    _room: Slots,
}

impl Cluster {
    /// Hosts alone; nothing where this machine cannot be two.
    fn of_hosts() -> Option<Self> {
        can_be_two(&[]).then(|| Self::start(&[]))
    }

    /// Hosts with a Slurm, and in the folder the scripts, `hyperslab.toml` for the captions of [`many`], and a
    /// program to run.
    fn with_slurm() -> Option<Self> {
        can_be_two(&SLURM).then(|| {
            let cluster = Self::start(&["slurm"]);
            cluster.adapt_scripts();
            cluster.settings(&format!("captions = '{}'", many().captions.display()));
            cluster.program("");
            cluster
        })
    }

    /// The same, where its `srun` starts ranks that find each other: Ubuntu 22.04's knows no PMIx.
    fn with_pmix() -> Option<Self> {
        let cluster = Self::with_slurm()?;
        let known = cluster.run("srun --mpi=list");
        let known = [known.stdout, known.stderr].concat();
        if String::from_utf8_lossy(&known).contains("pmix") {
            return Some(cluster);
        }
        eprintln!("skipped: this machine's srun has no plugin for pmix");
        None
    }

    fn start(arguments: &[&str]) -> Self {
        let room = Slots::take(4);
        let dir = Dir::new();
        fs::create_dir(dir.join("cluster")).unwrap();
        let mut command = Command::new("unshare");
        remove_foreign_variables(&mut command);
        let unshared = ["--pid", "--net", "--uts", "--mount", "--mount-proc", "--fork", "--kill-child"];
        let mut up = command
            .args(unshared)
            .arg("bash")
            .arg(repository("tests/cluster/up.sh"))
            .arg(dir.join("cluster"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(dir.join("cluster/up.log")).unwrap())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(up.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let cluster = Self { dir, up, _room: room };
        assert_eq!(said, "ready\n", "{}", cluster.logs("cluster"));
        cluster
    }

    /// The scripts as their user would adapt them to nodes of four cores, of which the tests want two.
    fn adapt_scripts(&self) {
        for name in ["job.sh", "array.sh", "seal.sh", "submit.sh"] {
            let mut script = fs::read_to_string(repository("slurm").join(name)).unwrap();
            for (line, adapted) in [
                ("--ntasks-per-node=4", "--ntasks-per-node=2"),
                ("--ntasks=16", "--ntasks=2"),
                ("--cpus-per-task=6", "--cpus-per-task=1"),
            ] {
                script = script.replace(line, adapted);
            }
            self.dir.write(&format!("slurm/{name}"), script);
        }
    }

    /// Writes `hyperslab.toml`: what to embed, as the section says.
    fn settings(&self, input: &str) {
        let text = format!(
            "[input]\n{input}\nblock-rows = 4\n[model]\nmodel = '{}'\n[output]\noutput-dir = \"out\"\n\
             [run]\ndevice = \"cpu\"\nround-blocks = 2\n",
            small("model").display()
        );
        self.dir.write("hyperslab.toml", text);
    }

    /// The program that jobs run: this one, after a few lines of shell.
    fn program(&self, lines: &str) {
        let script = format!("#!/bin/sh\n{lines}\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_hyperslab"));
        self.dir.write("bin/hyperslab.new", script);
        // By a shell: a file that this process has open for writing could be 'busy' when it is run.
        let place = "cp hyperslab.new hyperslab.x && chmod +x hyperslab.x && mv hyperslab.x hyperslab";
        let placed = Command::new("sh").args(["-c", place]).current_dir(self.dir.join("bin")).status();
        assert!(placed.unwrap().success());
    }

    /// What enters the cluster, in its folder, at neither of the hosts; a command follows.
    fn enter(&self) -> Vec<String> {
        let inside = descendants(self.up.id())[0];
        let words = format!("nsenter --target {inside} --pid --net --uts --mount --root env --chdir");
        let folder = self.dir.path().to_str().unwrap();
        words.split(' ').chain([folder]).map(str::to_owned).collect()
    }

    fn run(&self, words: &str) -> Output {
        let enter = self.enter();
        let mut command = Command::new(&enter[0]);
        remove_foreign_variables(&mut command);
        let path = format!("{}:{}", self.dir.join("bin").display(), std::env::var("PATH").unwrap());
        command.args(&enter[1..]).args(words.split(' ')).env("PATH", path);
        command.env("SLURM_CONF", self.dir.join("cluster/slurm.conf")).output().unwrap()
    }

    /// Runs a command that must not fail; what it prints.
    #[track_caller]
    fn asks(&self, words: &str) -> String {
        let output = self.run(words);
        let (said, complained) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{words}: {said}{complained}");
        said.into_owned()
    }

    /// Submits by `slurm/submit.sh`: a job, or an array and its seal.
    #[track_caller]
    fn submit(&self, arguments: &str) -> Vec<Job<'_>> {
        let said = self.asks(&format!("bash slurm/submit.sh {arguments}"));
        let id = |line: &str| line.split([' ', ',']).nth(1).unwrap().to_owned();
        said.lines().map(|line| Job { cluster: self, id: id(line) }).collect()
    }

    /// Submits by `sbatch` itself.
    #[track_caller]
    fn sbatch(&self, arguments: &str) -> Job<'_> {
        Job { cluster: self, id: self.asks(&format!("sbatch --parsable {arguments}")).trim().to_owned() }
    }

    fn output(&self, name: &str) -> PathBuf {
        self.dir.join("out").join(name)
    }

    /// All logs of the cluster's folder or of one below it.
    fn logs(&self, folder: &str) -> String {
        let entries = fs::read_dir(self.dir.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        let logs = entries.filter(|path| path.extension().is_some_and(|end| end == "log" || end == "out"));
        let read = |path: PathBuf| format!("== {}\n{}", path.display(), text_of(&path));
        logs.map(read).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.up.stdin.take());
        self.up.wait().unwrap();
    }
}

/// A job of Slurm, or one task of an array (`7_2`).
struct Job<'a> {
    cluster: &'a Cluster,
    id: String,
}

impl Job<'_> {
    /// What Slurm says of it, e.g. its `JobState`.
    fn field(&self, name: &str) -> String {
        let job = self.cluster.asks(&format!("scontrol show job --oneliner {}", self.id));
        let value = |word: &str| Some(word.strip_prefix(name)?.strip_prefix('=')?.to_owned());
        job.split_whitespace().find_map(value).unwrap_or_default()
    }

    /// Waits until something is so of it.
    #[track_caller]
    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) -> &Self {
        let began = Instant::now();
        while !is_so(self) {
            assert!(
                began.elapsed() < WAIT,
                "job {}: waited in vain: {what}\n{}\n{}{}",
                self.id,
                self.cluster.asks("scontrol show job"),
                self.cluster.logs(""),
                self.cluster.logs("cluster")
            );
            // Slurm starts a job that was queued again two minutes later; in the second in which it was ended, its
            // nodes would take it for what they have just ended.
            if self.field("JobState") == "PENDING" && self.field("Reason") == "BeginTime" {
                sleep(Duration::from_secs(2));
                self.cluster.run(&format!("scontrol update JobId={} StartTime=now", self.id));
            }
            sleep(LOOK_EVERY);
        }
        self
    }

    /// Waits for its end, and asserts which.
    #[track_caller]
    fn ends(&self, state: &str) -> &Self {
        let has_ended = |state: &str| !["PENDING", "RUNNING", "COMPLETING", "CONFIGURING"].contains(&state);
        self.until("its end", |job| {
            let found = job.field("JobState");
            // One that queues itself again looks as if it had failed, for a moment.
            found == state
                || has_ended(&found) && {
                    sleep(Duration::from_secs(3));
                    job.field("JobState") == found
                }
        });
        assert_eq!(self.field("JobState"), state, "{}", self.cluster.logs(""));
        self
    }

    /// Its log so far.
    fn log(&self) -> String {
        text_of(Path::new(&self.field("StdOut")))
    }
}

fn text_of(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// Whether this machine can be two hosts, and has these programs; says so where not.
fn can_be_two(programs: &[&str]) -> bool {
    let missing = ["ip", "nsenter"].iter().chain(programs).filter(|name| {
        let found = Command::new("sh").args(["-c", &format!("command -v {name}")]).output();
        !found.unwrap().status.success()
    });
    let missing: Vec<_> = missing.copied().collect();
    let can = Command::new("unshare").args(["--pid", "--net", "--uts", "--mount", "--fork", "true"]).output();
    let why = if !is_open_mpi() {
        "these tests know Open MPI alone".to_owned()
    } else if !missing.is_empty() {
        format!("there is no {}", missing.join(", "))
    } else if !can.is_ok_and(|output| output.status.success()) {
        "namespaces of its own need root, and a container that lets it".to_owned()
    } else {
        return true;
    };
    eprintln!("skipped: {why}");
    false
}
