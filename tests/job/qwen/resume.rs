//! Jobs on groups and on sets of views that are killed or stopped: the end is that of an undisturbed job.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use hyperslab::Exit;
use hyperslab::store::OutputPaths;
use serde_json::{Map, Value};

use super::{IMAGE, TEXT, captions, chinese, embed, embed_views, image_of, report, small, text_of};
use crate::job::json;
use crate::util::{Dir, Run, Running, Signal, assert_same, assert_sound, committed_blocks, names, signal};

/// One of the two files as a job that takes a second or two, and what an undisturbed run makes of it.
struct Long {
    /// Where the input is, and the output of that run.
    dir: Dir,
    job: fn(&Dir, &Dir) -> Run,
    output: fn(&Dir) -> PathBuf,
    blocks: usize,
}

impl Long {
    fn new(
        name: &str,
        input: impl Fn(&Dir),
        job: fn(&Dir, &Dir) -> Run,
        output: fn(&Dir) -> PathBuf,
    ) -> Self {
        let dir = Dir::kept(name);
        input(&dir);
        job(&dir, &dir).ranks(2).run().exits(Exit::Success);
        let blocks = report(&output(&dir))["blocks_computed"].as_u64().unwrap() as usize;
        assert_sound(&output(&dir));
        Self { dir, job, output, blocks }
    }

    fn run(&self, dir: &Dir) -> Run {
        (self.job)(dir, &self.dir)
    }

    fn output(&self, dir: &Dir) -> PathBuf {
        (self.output)(dir)
    }

    fn expected(&self) -> PathBuf {
        self.output(&self.dir)
    }

    /// Starts it, and waits until some of its blocks are committed.
    fn in_mid_run(&self, dir: &Dir, ranks: usize) -> Running {
        let mut job = self.run(dir).ranks(ranks).start();
        let output = self.output(dir);
        job.until("a fifth is committed", || committed_blocks(&output) >= self.blocks / 5);
        job
    }

    /// Runs it again, and asserts that it ends as if nothing had been.
    #[track_caller]
    fn goes_on(&self, dir: &Dir, ranks: usize) {
        let output = self.output(dir);
        let committed = committed_blocks(&output);
        assert!(
            (self.blocks / 5..self.blocks).contains(&committed) && !output.exists(),
            "{committed} blocks"
        );
        self.run(dir).ranks(ranks).run().exits(Exit::Success);
        let report = report(&output);
        assert_eq!(report["blocks_skipped"], committed);
        assert_eq!(report["blocks_computed"], self.blocks - committed);
        assert_same(&self.expected(), &output);
        assert_eq!(names(&dir.join("out")), [output.file_name().unwrap().to_str().unwrap(), "run.json"]);
    }
}

/// Captions in two languages, of which each has empty ones and ids that the other has not.
fn texts() -> &'static Long {
    static MADE: OnceLock<Long> = OnceLock::new();
    let write = |dir: &Dir, name: &str, of: &Path, n: usize, folders: usize| {
        let of: Map<String, Value> = json(of);
        let texts: Vec<&str> = of.values().filter_map(Value::as_str).collect();
        let caption =
            |i: usize| if i % 50 == 7 { String::new() } else { format!("{} {i}", texts[i % texts.len()]) };
        let all: Map<String, Value> =
            (0..n).map(|i| (format!("{}/{i:05}", i % folders), caption(i).into())).collect();
        dir.write(name, serde_json::to_vec(&all).unwrap());
    };
    MADE.get_or_init(|| {
        let input = move |dir: &Dir| {
            write(dir, "en.json", &captions(), 401, 3);
            write(dir, "zh.json", &chinese(), 302, 4);
        };
        let job = |dir: &Dir, input: &Dir| {
            let run = embed(dir, "").arg("--captions").arg(input.join("en.json"));
            run.arg("--captions-zh").arg(input.join("zh.json")).set("--max-failures", "20%")
        };
        Long::new("qwen-texts", input, job, text_of)
    })
}

/// Sets of three views, one block each; in one of seventeen a view is broken.
fn sets() -> &'static Long {
    static MADE: OnceLock<Long> = OnceLock::new();
    let input = |dir: &Dir| {
        let listed = |path: &Path| names(path).into_iter().map(|name| path.join(name)).collect::<Vec<_>>();
        let assets = listed(&small("renders")).iter().flat_map(|folder| listed(folder)).collect::<Vec<_>>();
        for (number, asset) in assets.iter().cycle().take(10 * assets.len()).enumerate() {
            for picture in &listed(asset)[3..6] {
                let name = picture.file_name().unwrap().to_str().unwrap();
                dir.write(&format!("renders/{}/{number:04}/{name}", number % 3), fs::read(picture).unwrap());
            }
        }
    };
    let job = |dir: &Dir, input: &Dir| {
        let run = embed_views(input, "renders").set("--output-dir", dir.join("out"));
        run.set("--block-rows", "1").set("--max-failures", "20%")
    };
    MADE.get_or_init(|| Long::new("qwen-sets", input, job, image_of))
}

#[test]
fn a_killed_job_goes_on_with_another_number_of_ranks() {
    for (long, killed, next) in [(texts(), 3, 2), (texts(), 2, 5), (sets(), 3, 2), (sets(), 2, 5)] {
        let dir = Dir::new();
        long.in_mid_run(&dir, killed).kill();
        long.goes_on(&dir, next);
    }
}

#[test]
fn a_rank_that_is_killed_takes_the_others_with_it() {
    for (long, rank) in [(texts(), 2), (sets(), 0)] {
        let dir = Dir::new();
        let job = long.in_mid_run(&dir, 3);
        signal(job.rank(rank), Signal::KILL);
        let outcome = job.wait();
        assert!(!outcome.status.success() && outcome.took < Duration::from_secs(60), "{outcome}");
        long.goes_on(&dir, 1);
    }
}

#[test]
fn a_signal_ends_the_job_after_the_round_and_it_goes_on() {
    for (long, rank) in [(texts(), 1), (sets(), 0)] {
        let dir = Dir::new();
        let job = long.in_mid_run(&dir, 2);
        signal(job.rank(rank), Signal::USR1);
        let ended = job.wait().exits(Exit::Resume).tells_one_error().says("stopped by a signal; ");
        ended.says(&format!("of {} blocks are committed", long.blocks)).says("run the same command again");
        long.goes_on(&dir, 3);
    }
}

#[test]
fn what_is_not_sealed_is_sealed_later_on_other_ranks() {
    for compression in ["gzip:4", "none"] {
        let inputs = "english chinese image";
        let expected = super::made(inputs, |job| job.set("--compression", compression));
        let dir = Dir::new();
        embed(&dir, inputs).args("--no-seal").ranks(2).run().exits(Exit::Success).prints("hyperslab seal");
        let left = |output: &str| ["journal", "partial", "plan"].map(|end| format!("{output}.{end}"));
        let all = [&left(IMAGE)[..], &left(TEXT), &["run.json".to_owned()]].concat();
        assert_eq!(names(&dir.join("out")), all);
        let seal =
            || dir.hyperslab(["seal", "--compression", compression]).arg(text_of(&dir)).arg(image_of(&dir));
        seal().ranks(3).run().exits(Exit::Success).prints("sealed");
        assert_same(&text_of(&expected), &text_of(&dir));
        assert_same(&image_of(&expected), &image_of(&dir));
        assert_eq!(names(&dir.join("out")), [IMAGE, TEXT, "run.json"]);
        assert_eq!(seal().run().exits(Exit::Success).stdout.matches("nothing to do").count(), 2);
    }
}

#[test]
fn a_seal_that_is_killed_is_finished_by_the_next() {
    let expected = super::made("english chinese image", |job| job);
    for (output, input) in [(text_of as fn(&Dir) -> PathBuf, "english chinese"), (image_of, "image")] {
        let mut killed = 0;
        for calls in [0, 3, 7] {
            let dir = Dir::new();
            embed(&dir, input).args("--no-seal").run().exits(Exit::Success);
            let fault = format!("FAULT=kill PATH=.h5.tmp AFTER_CALLS={calls}");
            let ended = dir.hyperslab(["seal"]).arg(output(&dir)).fault(&fault).run();
            killed += usize::from(!ended.status.success());
            assert_eq!(output(&dir).exists(), ended.status.success(), "{ended}");
            assert_eq!(OutputPaths::new(&output(&dir)).tmp.exists(), !ended.status.success(), "{ended}");
            embed(&dir, input).ranks(3).run().exits(Exit::Success);
            assert_same(&output(&expected), &output(&dir));
        }
        assert_eq!(killed, 3);
    }
}
