//! `hyperslab doctor`: what it finds, that nothing keeps it from telling, and that it leaves nothing behind.

use std::fs;
use std::process::Command;

use hyperslab::Exit;
use serde_json::Value;

use crate::util::{Dir, Outcome, Run, Signal, can_mount, names, repository, signal};

/// A visit on the sample's model, whose outputs would go to the folder `out`, which is there and empty.
fn doctor(dir: &Dir) -> Run {
    fs::create_dir_all(dir.join("out")).unwrap();
    let run = dir.hyperslab(["doctor", "--device", "cpu", "--output-dir", "out", "--model"]);
    run.arg(repository("sample/model"))
}

fn report(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome}"))
}

/// Verdict, and what was found, of every finding about `topic`: of the job, and of the ranks.
fn found(report: &Value, topic: &str) -> Vec<(String, String)> {
    let ranks =
        report["ranks"].as_array().unwrap().iter().flat_map(|rank| rank["findings"].as_array().unwrap());
    let all = report["job"].as_array().unwrap().iter().chain(ranks);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let about = all.filter(|finding| finding["topic"] == topic);
    about.map(|finding| (text(&finding["verdict"]), text(&finding["what"]))).collect()
}

#[test]
fn one_process_without_a_launcher_is_examined() {
    let dir = Dir::new();
    let captions = repository("sample/captions.json");
    let run = doctor(&dir).arg("--captions").arg(captions).arg("--renders").arg(repository("sample/renders"));
    let told = run.run().exits(Exit::Success);
    let topics =
        ["launch", "device", "compute", "cores", "memory", "mpi", "hdf5", "libtorch", "model", "captions"];
    for topic in topics.iter().chain(&["renders", "folder", "space", "locks", "rename", "reserve", "write"]) {
        assert!(
            told.stdout.lines().any(|line| line.split_whitespace().nth(1) == Some(topic)),
            "{topic}: {told}"
        );
    }
    told.prints("no launcher: one rank").prints("CPU, as asked for").prints("a job would run here");
    assert!(names(&dir.join("out")).is_empty());
}

#[test]
fn ranks_are_compared_and_write_together() {
    let dir = Dir::new();
    let told = doctor(&dir).ranks(3).arg("--json").run().exits(Exit::Success);
    let report = report(&told);
    assert_eq!((report["world_size"].as_u64(), report["ranks"].as_array().unwrap().len()), (Some(3), 3));
    assert!(found(&report, "launch")[0].1.contains("mpirun (Open MPI): 3 ranks found each other"), "{told}");
    assert!(found(&report, "write")[0].1.contains("read back on another rank"), "{told}");
    assert!(found(&report, "model")[0].1.contains("the same on every rank"), "{told}");
    for (number, rank) in report["ranks"].as_array().unwrap().iter().enumerate() {
        assert_eq!(
            (rank["rank"].as_u64(), rank["local_rank"].as_u64()),
            (Some(number as u64), Some(number as u64))
        );
        assert!(rank["cores"].as_u64() >= Some(1) && rank["memory_bytes"].as_u64() > Some(1 << 20));
    }
    assert!(names(&dir.join("out")).is_empty());
}

#[test]
fn a_rank_that_cannot_read_the_model_is_named() {
    let dir = Dir::new();
    let run = doctor(&dir).ranks(3).fault("FAULT=eacces PATH=config.json RANK=1");
    let told = run.run().exits(Exit::Failure).prints("rank 1: ").prints("Permission denied");
    let told = told.prints("would NOT run").prints("all ranks together: ");
    assert_eq!(told.stdout.matches("\n  error ").count(), 1, "{told}");
    let none = doctor(&dir).set("--model", "nowhere").run().exits(Exit::Failure);
    none.prints("error    model").prints("nowhere");
}

#[test]
fn a_folder_that_cannot_be_written_is_told() {
    if !can_mount() {
        return;
    }
    let dir = Dir::new();
    let script = "mount -t tmpfs -o ro none out; exec \"$@\"";
    let told = doctor(&dir).ranks(2).within(script).run().exits(Exit::Failure);
    told.prints("Read-only file system").prints("not tried, because rank 0 cannot write there");
}

#[test]
fn a_full_disk_is_told_and_nothing_is_left_on_it() {
    if !can_mount() {
        return;
    }
    let dir = Dir::new();
    for (size, filled, said) in
        [("900k", "800k", "not tried, because only"), ("2m", "1k", "cannot reserve 4.00 MiB: No space left")]
    {
        let script = format!(
            "mount -t tmpfs -o size={size} none out; head -c {filled} /dev/zero > out/other
            code=0; \"$@\" || code=$?; ls -A out; exit $code"
        );
        let told = doctor(&dir).ranks(2).within(&script).run().exits(Exit::Failure).prints(said);
        assert!(told.stdout.ends_with("\nother\n") && !told.stdout.contains("\n.hyperslab"), "{told}");
    }
}

#[test]
fn bytes_that_change_on_their_way_are_noticed() {
    let dir = Dir::new();
    let run = doctor(&dir).ranks(3).fault("FAULT=flip PATH=.h5 MIN=100000");
    let told = run.run().exits(Exit::Failure).says("shim: rank 0: flip");
    // Raw bytes are compared; a compressed chunk may not inflate. OMPIO's raw writes go past the shim.
    told.prints("error    write").prints("OMPI_MCA_io=^ompio");
    assert!(names(&dir.join("out")).is_empty());
}

#[test]
fn a_write_that_fails_is_told() {
    let dir = Dir::new();
    let run = doctor(&dir).ranks(3).args("--time-limit 25").fault("FAULT=eio PATH=.h5 MIN=100000");
    let told = run.run().exits(Exit::Failure).prints("error    write").prints("would NOT run");
    assert_eq!(told.stdout.matches("would NOT run").count(), 1, "{told}");
    assert!(names(&dir.join("out")).is_empty());
}

/// An examination in which the model's description never comes, as from a file system that does not answer.
fn endless(dir: &Dir, ranks: usize) -> Run {
    dir.write("endless/config.json", "{}");
    let run = doctor(dir).ranks(ranks).set("--model", "endless").args("--time-limit 8");
    run.fault("FAULT=hang PATH=endless/config.json RANK=any")
}

#[test]
fn a_file_system_that_hangs_is_a_finding() {
    let dir = Dir::new();
    // Of one second or another: ranks that waited differently long have a line each.
    endless(&dir, 2).run().exits(Exit::Failure).prints("no answer within");
}

#[test]
fn a_rank_that_hangs_is_named_by_the_others() {
    let dir = Dir::new();
    let mut job = endless(&dir, 3).start();
    // Its threads have their probes' names: this one waits for the description.
    let waits = |pid: u32| {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
        let mut threads = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        threads.any(|name| name.trim() == "model")
    };
    let ranks = || job_ranks(dir.path());
    job.until("rank 1 looks around", || ranks().into_iter().any(|(rank, pid)| rank == 1 && waits(pid)));
    signal(job.rank(1), Signal::STOP);
    let told = job.wait().exits(Exit::Failure);
    told.prints("no word came in time from rank 1").prints("not tried, because ranks are missing");
}

/// Ranks and process ids of the engines that run in this folder.
fn job_ranks(folder: &std::path::Path) -> Vec<(usize, u32)> {
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let rank = |pid: &u32| {
        let is_here = fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == folder);
        let environment = fs::read(format!("/proc/{pid}/environ")).ok().filter(|_| is_here)?;
        let text = String::from_utf8_lossy(&environment).into_owned();
        text.split('\0').find_map(|one| one.strip_prefix("OMPI_COMM_WORLD_RANK=")?.parse().ok())
    };
    pids.filter_map(|pid| Some((rank(&pid)?, pid))).collect()
}

#[test]
fn processes_that_do_not_find_each_other_speak_once() {
    let dir = Dir::new();
    let alone = |place: &str| doctor(&dir).env("SLURM_STEP_NUM_TASKS", "4").env("SLURM_PROCID", place).run();
    alone("0").exits(Exit::Failure).prints("the launcher started 4 processes").prints("srun --mpi=pmix");
    let silent = alone("2").exits(Exit::Failure);
    assert_eq!((silent.stdout.as_str(), silent.stderr.as_str()), ("", ""));
}

#[test]
fn wrong_settings_are_told_once() {
    let dir = Dir::new();
    dir.write("bad.toml", "[output]\noutput-dri = 'x'\n");
    let told = doctor(&dir).ranks(2).args("--config bad.toml").run().exits(Exit::Failure);
    told.tells_one_error().says("did you mean 'output-dir'?");
    doctor(&dir).args("--time-limit 2").run().exits(Exit::Usage);
}

/// An engine that misses a library: the small program says which, before it starts it.
#[test]
fn a_library_that_is_missing_is_named() {
    let dir = Dir::new();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_hyperslab"));
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::hard_link(program, folder.path().join("hyperslab")).unwrap();
    let build = "echo 'int f(void) { return 0; }' | cc -shared -fPIC -x c - -o libtorch_lost.so
        echo 'int f(void); int main(void) { return f(); }' | cc -x c - -o hyperslab-engine -L. -ltorch_lost
        rm libtorch_lost.so";
    let built = Command::new("sh").args(["-euc", build]).current_dir(folder.path()).status().unwrap();
    assert!(built.success());
    let mut command = Command::new(folder.path().join("hyperslab"));
    let output = command.arg("doctor").current_dir(dir.path()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(Exit::Failure.code()), "{error}");
    assert!(error.contains("libtorch_lost.so is missing") && error.contains("LD_LIBRARY_PATH"), "{error}");
}
