//! `hyperslab plan` as it is typed, and how settings reach it.

mod sbatch;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use hyperslab::Exit;
use serde_json::Value;

/// The program, run in `folder`, with no setting from the environment of the test.
fn hyperslab(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hyperslab"));
    let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HYPERSLAB_"));
    for (name, _) in ours {
        command.env_remove(name);
    }
    command.current_dir(folder);
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    hyperslab(folder).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    let output = run(folder, &[&["plan", "--json"], arguments].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Captions of a, b, c (c twice, b empty); views of b (3), c (2), d/e (2); an empty folder.
fn data(folder: &Path) {
    fs::write(folder.join("captions.json"), r#"{"c": "x", "a": "y", "b": " ", "c": "z"}"#).unwrap();
    for (asset, views) in [("b", 3), ("c", 2), ("d/e", 2)] {
        let asset = folder.join("renders").join(asset);
        fs::create_dir_all(&asset).unwrap();
        (0..views).for_each(|view| fs::write(asset.join(format!("{view}.png")), b"x").unwrap());
    }
    fs::create_dir_all(folder.join("renders/none")).unwrap();
}

#[test]
fn plan_counts_and_names_what_is_odd() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    let both = ["--captions", "captions.json", "--renders", "renders", "--ranks", "2", "--rate", "0.5"];
    let plan = json(folder.path(), &[&both[..], &["--block-rows", "2"]].concat());
    let files = plan["files"].as_array().unwrap();
    let of = |name: &str| files.iter().map(|file| file[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("file"), ["siglip_text_embeddings.h5", "siglip_image_embeddings.h5"]);
    assert_eq!(
        (of("assets"), of("rows"), of("blocks")),
        (vec![3.into(); 2], vec![3.into(), 7.into()], vec![2.into(), 4.into()])
    );
    assert_eq!(of("views_found")[1], serde_json::json!({"2": 2, "3": 1}));
    assert_eq!(
        (of("rows_per_rank_min"), of("rows_per_rank_max")),
        (vec![1.into(), 3.into()], vec![2.into(), 4.into()])
    );
    assert_eq!(of("seconds"), [4.0, 8.0]);
    assert_eq!((of("dim")[0].as_u64(), plan["dim_is_assumed"].as_bool()), (Some(1152), Some(true)));
    let odd: Vec<_> = plan["odd"]
        .as_array()
        .unwrap()
        .iter()
        .map(|odd| (odd["what"].as_str().unwrap(), odd["first"][0].as_str().unwrap()))
        .collect();
    for (what, first) in [
        ("empty captions (their rows will fail)", "b"),
        ("ids with several captions (an error)", "c"),
        ("folders without pictures", "none"),
        ("assets with a caption but no views", "a"),
        ("assets with views but no caption", "d/e"),
    ] {
        assert!(odd.contains(&(what, first)), "{what}: {odd:?}");
    }
}

#[test]
fn plan_is_readable() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    let output =
        run(folder.path(), &["plan", "--renders", "renders", "--views", "2", "--dim", "8", "--dtype", "f16"]);
    let shown = text(&output.stdout);
    for line in ["8 x float16", "1 of 16 rows", "while sealing: .tmp", "sealed (gzip:4)", "enough"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert!(shown.lines().any(|line| line.starts_with("rows ") && line.ends_with(" 6")), "{shown}");
    assert!(shown.contains("1 folder without pictures: none"), "{shown}");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn plan_takes_the_width_of_a_model() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    let config = |text: &str| fs::write(folder.path().join("config.json"), text).unwrap();
    config(
        r#"{"model_type": "siglip", "text_config": {"hidden_size": 96, "projection_size": 64}, "vision_config": {}}"#,
    );
    let plan = json(folder.path(), &["--captions", "captions.json", "--renders", "renders", "--model", "."]);
    assert_eq!((plan["files"][0]["dim"].as_u64(), plan["files"][1]["dim"].as_u64()), (Some(64), Some(768)));
    config(r#"{"model_type": "bert", "hidden_size": 8}"#);
    let output = run(folder.path(), &["plan", "--captions", "captions.json", "--model", "."]);
    assert_eq!(output.status.code(), Some(Exit::Failure.code()));
    assert!(text(&output.stderr).contains("bert"), "{}", text(&output.stderr));
}

#[test]
fn flags_win_over_variables_and_those_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    fs::write(folder.path().join("hyperslab.toml"), "[input]\nrenders = 'renders'\nmax-assets = 1\n")
        .unwrap();
    let assets = |variable: Option<&str>, arguments: &[&str]| {
        let mut command = hyperslab(folder.path());
        if let Some(value) = variable {
            command.env("HYPERSLAB_MAX_ASSETS", value);
        }
        let output = command.args(["plan", "--json"]).args(arguments).output().unwrap();
        let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
        plan["files"][0]["assets"].as_u64().unwrap()
    };
    assert_eq!(assets(None, &[]), 1);
    assert_eq!(assets(Some("2"), &[]), 2);
    assert_eq!(assets(Some("2"), &["--max-assets", "3"]), 3);
    fs::write(folder.path().join("other.toml"), "[input]\nrender = 'renders'\n").unwrap();
    let output = run(folder.path(), &["plan", "--config", "other.toml"]);
    assert_eq!(output.status.code(), Some(Exit::Failure.code()));
    let error = text(&output.stderr);
    assert!(error.contains("other.toml', line 2, column 1") && error.contains("'renders'"), "{error}");
}

#[test]
fn wrong_use_is_told_from_failure() {
    let folder = tempfile::tempdir().unwrap();
    let code = |arguments: &[&str]| run(folder.path(), arguments).status.code().unwrap();
    assert_eq!(code(&["plan"]), Exit::Usage.code());
    assert_eq!(code(&["plan", "--views", "some"]), Exit::Usage.code());
    assert_eq!(code(&["plan", "--block-rows", "0"]), Exit::Usage.code());
    assert_eq!(code(&["--log", "a=b=c", "plan"]), Exit::Usage.code());
    assert_eq!(code(&["plan", "--captions", "missing.json"]), Exit::Failure.code());
    assert_eq!(code(&["--version"]), Exit::Success.code());
}

#[test]
fn a_closed_pipe_ends_the_program_quietly() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    let mut command = hyperslab(folder.path());
    command.args(["plan", "--renders", "renders"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

/// A folder with the program alone. A link, and a script written by a shell: a file that this process
/// wrote could be 'busy' when it is run, because another test may just be starting a process.
fn program_alone() -> tempfile::TempDir {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::hard_link(env!("CARGO_BIN_EXE_hyperslab"), folder.path().join("hyperslab")).unwrap();
    folder
}

#[test]
fn a_missing_engine_is_named() {
    let folder = program_alone();
    let output = Command::new(folder.path().join("hyperslab")).args(["embed", "siglip"]).output().unwrap();
    assert_eq!(output.status.code(), Some(Exit::Failure.code()));
    let error = text(&output.stderr);
    assert!(error.contains("hyperslab-engine") && error.contains("cargo build --release"), "{error}");
}

#[test]
fn the_engine_gets_the_arguments_and_what_cuda_reads_once() {
    let folder = program_alone();
    let engine = r#"echo '#!/bin/sh
        echo "$CUDA_DEVICE_ORDER $NVIDIA_TF32_OVERRIDE $@"; exit 75' > hyperslab-engine; chmod +x hyperslab-engine"#;
    let written = Command::new("sh").args(["-c", engine]).current_dir(folder.path()).status().unwrap();
    assert!(written.success());
    let arguments = ["embed", "siglip", "--model", "a b", "--no-seal"];
    let output = Command::new(folder.path().join("hyperslab")).args(arguments).output().unwrap();
    assert_eq!(text(&output.stdout), "PCI_BUS_ID 0 embed siglip --model a b --no-seal\n");
    assert_eq!(output.status.code(), Some(Exit::Resume.code()));
}

#[test]
fn the_measurement_of_planning_runs() {
    let folder = tempfile::tempdir().unwrap();
    let small = ["bench", "plan", "--assets", "50", "--views", "3", "--shuffled", "--folder", "."];
    let output = run(folder.path(), &small);
    assert!(text(&output.stdout).contains("50 assets, 150 rows"), "{}", text(&output.stderr));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left over");
}

#[test]
fn plan_tells_what_it_did_not_take() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str| {
        let path = folder.path().join("renders").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    };
    for view in 0..3 {
        for path in ["0/7/00{}.png", "0/7/00{}_albedo.png", "0/7/00{}.json", "0/8/view{}.png"] {
            write(&path.replace("{}", &view.to_string()));
        }
    }
    write("0/9.tar.gz");
    write("0/10.zip");
    let output = run(folder.path(), &["plan", "--renders", "renders"]);
    let shown = text(&output.stdout);
    let (alarms, odd) = shown.split_once("LOOK AT THIS").unwrap().1.split_once("\nodd\n").unwrap();
    for told in ["pictures of which none is taken", "0/8", "0/10.zip (", "0/9.tar.gz", "--view-glob"] {
        assert!(alarms.contains(told), "{told}: {shown}");
    }
    for told in ["3 pictures whose names are not taken, *_albedo.png: ", "view*.png", "*.json: 0/7/00"] {
        assert!(odd.contains(told), "{told}: {shown}");
    }
    let plan = json(folder.path(), &["--renders", "renders", "--view-glob", "view*.png"]);
    assert_eq!(plan["files"][0]["rows"], 4);
    let odd = plan["odd"].as_array().unwrap();
    let find = |names: &str| odd.iter().find(|odd| odd["names"] == names).unwrap();
    assert_eq!((&find("*.png")["count"], &find("*.png")["alarming"]), (&3.into(), &false.into()));
    assert_eq!(odd[0]["alarming"], true);
}

#[test]
fn an_id_map_joins_what_plan_compares() {
    let folder = tempfile::tempdir().unwrap();
    data(folder.path());
    fs::write(folder.path().join("captions.csv"), "uid,caption\nub,x\nuc,y\nother,z\n").unwrap();
    fs::write(folder.path().join("map.json"), r#"{"b": "0/ub.glb", "c": "0/uc.glb", "x": "0/ux.glb"}"#)
        .unwrap();
    let input = ["--captions", "captions.csv", "--renders", "renders", "--id-map", "map.json"];
    for (ids, max_assets, assets) in [("index", "9", [3, 2]), ("uid", "9", [3, 2]), ("uid", "1", [1, 1])] {
        let plan = json(folder.path(), &[&input[..], &["--ids", ids, "--max-assets", max_assets]].concat());
        assert_eq!([0, 1].map(|file| plan["files"][file]["assets"].as_i64().unwrap()), assets);
        let odd = plan["odd"].as_array().unwrap();
        for (what, first) in [
            ("captions that the id map does not name (they keep their id)", "other"),
            ("assets with views that the id map does not name (left out)", "d/e"),
            ("assets with a caption but no views", "other"),
        ] {
            assert!(odd.iter().any(|odd| odd["what"] == what && odd["first"][0] == first), "{what}: {odd:?}");
        }
        assert!(!odd.iter().any(|odd| odd["what"] == "assets with views but no caption"), "{odd:?}");
    }
    let output = run(folder.path(), &["plan", "--renders", "renders", "--ids", "uid"]);
    assert_eq!(output.status.code(), Some(Exit::Usage.code()));
    assert!(text(&output.stderr).contains("--id-map FILE"), "{}", text(&output.stderr));
    let output = run(folder.path(), &[&["plan"], &input[..]].concat());
    assert!(text(&output.stderr).contains("'uid,caption', is a header: skipped"), "{}", text(&output.stderr));
}

#[test]
fn an_empty_input_is_said_to_be_empty() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("captions.csv"), "").unwrap();
    fs::create_dir(folder.path().join("renders")).unwrap();
    let output = run(folder.path(), &["plan", "--captions", "captions.csv", "--renders", "renders"]);
    let shown = text(&output.stdout);
    for line in ["siglip_text_embeddings.h5 would be EMPTY: there is no caption", "EMPTY: there is no view"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert_eq!(output.status.code(), Some(0));
}
