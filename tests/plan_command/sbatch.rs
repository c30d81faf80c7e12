//! `hyperslab plan --sbatch`, as far as no Slurm is needed: the script is right for bash, says what the plan
//! says, and does what it should under an `srun` that is a shell script.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hyperslab::Exit;

use super::{data, json, run, text};

/// A folder whose name wants quoting, with data in it.
fn awkward() -> (tempfile::TempDir, PathBuf) {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("it's a $HOME");
    fs::create_dir(&folder).unwrap();
    data(&folder);
    (above, folder)
}

/// Runs `plan --sbatch job.sh` and returns the script.
fn script(folder: &Path, arguments: &[&str]) -> String {
    let output =
        run(folder, &[&["plan", "--sbatch", "job.sh", "--model", "m", "--dim", "8"], arguments].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("then: sbatch job.sh"), "{}", text(&output.stdout));
    let checked = Command::new("bash").args(["-n", "job.sh"]).current_dir(folder).output().unwrap();
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    fs::read_to_string(folder.join("job.sh")).unwrap()
}

fn options(script: &str) -> Vec<&str> {
    script.lines().filter_map(|line| line.strip_prefix("#SBATCH ")).collect()
}

/// Programs of these names and contents, first in the path of a run of the script with these arguments.
fn execute(folder: &Path, programs: &[(&str, &str)], arguments: &[&str]) -> std::process::Output {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).unwrap();
    for (name, content) in programs {
        // By a shell: a file that this process wrote could be 'busy' when it is run.
        let write = format!("printf '%s' \"$1\" > '{name}'; chmod +x '{name}'");
        let written =
            Command::new("sh").args(["-c", &write, "sh", content]).current_dir(&bin).status().unwrap();
        assert!(written.success());
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.arg(folder.join("job.sh")).args(arguments).current_dir("/").env("PATH", path);
    command.env("SLURM_JOB_ID", "7").env("SLURM_CPUS_PER_TASK", "3").output().unwrap()
}

#[test]
fn the_script_says_what_the_plan_says() {
    let (_above, folder) = awkward();
    let wanted = ["--captions", "captions.json", "--ranks", "10", "--rate", "0.001", "--cpus-per-task", "3"];
    let script = script(&folder, &wanted);
    let options = options(&script);
    for option in [
        "--nodes=3",
        "--ntasks=10",
        "--ntasks-per-node=4",
        "--gpus-per-task=1",
        "--cpus-per-task=3",
        // 3 captions in one block take 3,000 s; half as much again, and 20 minutes.
        "--time=01:35:00",
        "--signal=USR1@120",
        "--requeue",
    ] {
        assert!(options.contains(&option), "{option}: {options:?}");
    }
    assert!(script.contains("\nmpi=pm"), "{script}");
    let log = options.iter().find_map(|option| option.strip_prefix("--output=")).unwrap();
    assert_eq!(log, format!("\"{}/%x-%j.log\"", folder.display()));
}

#[test]
fn on_cpus_no_gpus_are_asked_for_and_a_node_is_the_default() {
    let (_above, folder) = awkward();
    let script = script(&folder, &["--captions", "captions.json", "--device", "cpu"]);
    assert!(!script.contains("gpus-per-task"), "{script}");
    let options = options(&script);
    assert!(options.contains(&"--ntasks=4") && options.contains(&"--nodes=1"), "{options:?}");
    assert!(options.contains(&"--time=24:00:00"), "without a rate: {options:?}");
}

#[test]
fn the_job_gets_every_setting_wherever_it_comes_from() {
    let (_above, folder) = awkward();
    fs::write(folder.join("my.toml"), "[input]\nrenders = 'renders'\nviews = 2\n[output]\ndtype = 'f16'\n")
        .unwrap();
    script(&folder, &["--config", "my.toml", "--max-failures", "3%", "--share-gpu", "--precision", "bf16"]);
    // What srun is given, a word per line.
    let srun = ("srun", "#!/bin/sh\nprintf '%s\\n' \"$@\" \"$HYPERSLAB_CONFIG\"\n");
    let output = text(&execute(&folder, &[srun], &[]).stdout);
    let words: Vec<&str> = output.lines().collect();
    let here = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let at = words.iter().position(|word| *word == "embed").unwrap();
    assert!(words[at - 1].ends_with("/hyperslab") && words[at - 1].starts_with('/'));
    let expected = [
        ("--renders", here("renders")),
        ("--views", "2".to_owned()),
        ("--output-dir", here("").trim_end_matches('/').to_owned()),
        ("--dtype", "f16".to_owned()),
        ("--precision", "bf16".to_owned()),
        ("--max-failures", "3%".to_owned()),
        ("--share-gpu", "true".to_owned()),
        ("--model", "m".to_owned()),
    ];
    for (option, value) in expected {
        let index =
            words.iter().position(|word| *word == option).unwrap_or_else(|| panic!("{option}: {words:?}"));
        assert_eq!(words[index + 1], value, "{option}");
    }
    assert_eq!(*words.last().unwrap(), here("my.toml"));
    let doctor = text(&execute(&folder, &[srun], &["doctor"]).stdout);
    assert!(doctor.contains("\ndoctor\n") && !doctor.contains("\nembed\n"), "{doctor}");
}

#[test]
fn a_job_that_ends_early_queues_again_and_a_failed_one_does_not() {
    let (_above, folder) = awkward();
    script(&folder, &["--captions", "captions.json"]);
    let scontrol = ("scontrol", "#!/bin/sh\necho \"asked: $*\"\n");
    let again = "asked: requeue 7\n";
    // A signal before the program listens ends it as any other.
    for (code, said) in [(75, again), (138, again), (143, again), (1, ""), (137, ""), (0, "")] {
        let srun = format!("#!/bin/sh\nexit {code}\n");
        let output = execute(&folder, &[("srun", &srun), scontrol], &[]);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(code), said));
    }
}

#[test]
fn a_script_is_replaced_by_force_alone() {
    let (_above, folder) = awkward();
    let arguments =
        ["plan", "--captions", "captions.json", "--model", "m", "--dim", "8", "--sbatch", "job.sh"];
    fs::write(folder.join("job.sh"), "mine").unwrap();
    let output = run(&folder, &arguments);
    assert_eq!(output.status.code(), Some(Exit::Failure.code()));
    assert!(text(&output.stderr).contains("--force"), "{}", text(&output.stderr));
    assert_eq!(fs::read_to_string(folder.join("job.sh")).unwrap(), "mine");
    assert!(run(&folder, &[&arguments[..], &["--force"]].concat()).status.success());
    assert!(fs::read_to_string(folder.join("job.sh")).unwrap().starts_with("#!/bin/bash\n"));
}

#[test]
fn what_embed_would_refuse_gets_no_script() {
    let (_above, folder) = awkward();
    fs::write(folder.join("views.tsv"), "b/0.png\n").unwrap();
    let model = ["--model", "m", "--dim", "8"];
    for (arguments, said) in [
        (&["--captions", "captions.json"][..], "--model"),
        (&["--renders-list", "views.tsv"], "--renders ROOT"),
    ] {
        let model = if said == "--model" { &[][..] } else { &model };
        let output = run(&folder, &[&["plan", "--sbatch", "job.sh"], arguments, model].concat());
        assert_eq!(output.status.code(), Some(Exit::Usage.code()), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
        assert!(!folder.join("job.sh").exists());
    }
}

#[test]
fn what_does_not_fit_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    let plan = json(folder.path(), &["--captions", "captions.json", "--ranks", "3", "--rate", "0.00001"]);
    let warnings: Vec<&str> =
        plan["warnings"].as_array().unwrap().iter().map(|warning| warning.as_str().unwrap()).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("1 block for 3 ranks, 2 of which get nothing"), "{warnings:?}");
    assert!(warnings[1].contains("the job takes 3 d 11 h"), "{warnings:?}");
    let plan = json(folder.path(), &["--captions", "captions.json", "--block-rows", "1", "--ranks", "3"]);
    assert_eq!(plan["warnings"], serde_json::json!([]));
    let shown = text(&run(folder.path(), &["plan", "--captions", "captions.json", "--ranks", "3"]).stdout);
    assert!(shown.contains("\nwarning: siglip_text_embeddings.h5: 1 block"), "{shown}");
}

/// The script's command really runs: on the sample, by an `srun` that starts one rank.
#[cfg(feature = "engine")]
#[test]
fn the_job_of_the_script_runs() {
    let (_above, folder) = awkward();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample");
    let of_sample = |name: &str| sample.join(name).to_str().unwrap().to_owned();
    let (model, captions) = (of_sample("model"), of_sample("captions.json"));
    let arguments =
        ["plan", "--sbatch", "job.sh", "--model", &model, "--captions", &captions, "--device", "cpu"];
    let output = run(&folder, &[&arguments[..], &["--output-dir", "the out"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    // Its own options are one word each.
    let srun = ("srun", "#!/bin/sh\nwhile case $1 in --*) ;; *) false;; esac; do shift; done; exec \"$@\"\n");
    let output = execute(&folder, &[srun], &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(folder.join("the out/siglip_text_embeddings.h5").exists());
}
