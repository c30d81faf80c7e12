//! Targets that are full or cannot be written. They are mounted for the test, since root may write anywhere.

use hyperslab::Exit;

use super::{TEXT, embed, many};
use crate::util::{Dir, can_mount, sha256};

#[test]
fn a_disk_that_is_too_small_is_refused_by_how_much() {
    if !can_mount() {
        return;
    }
    let dir = Dir::new();
    let script = "mkdir out; mount -t tmpfs -o size=200k none out
        code=0; \"$@\" || code=$?; ls out; exit $code";
    let failed = embed(&dir, "many").ranks(2).within(script).run().exits(Exit::Failure);
    let failed = failed.tells_one_error().says(" short: ").says("KiB are needed").says("--dtype f16");
    assert_eq!(failed.stdout, "", "nothing is left on a disk that is too small");
}

#[test]
fn a_disk_that_fills_up_in_mid_run_ends_the_job_which_then_goes_on() {
    if !can_mount() {
        return;
    }
    let dir = Dir::new();
    // Once rows are committed another program takes all that is free.
    let script = format!(
        "mkdir out; mount -t tmpfs -o size=16m none out
        \"$@\" & job=$!
        until [ \"$(stat -c %s out/{TEXT}.journal 2> /dev/null || echo 0)\" -gt 4096 ]; do sleep 0.01; done
        cat /dev/zero > out/other 2> /dev/null || true
        code=0; wait $job || code=$?
        echo \"ended with $code\"; [ ! -e out/{TEXT} ]
        rm out/other; \"$@\"; sha256sum < out/{TEXT}"
    );
    let outcome = embed(&dir, "many").ranks(3).within(&script).run().exits(Exit::Success);
    let outcome = outcome.prints("ended with 1").says("No space left on device").tells_one_error();
    let last = outcome
        .stderr
        .rsplit_once("rows 1,003")
        .unwrap_or(outcome.stderr.rsplit_once("rows 1003").unwrap())
        .1;
    assert!(last.contains("skipped (committed before)") && !last.contains(": 0 skipped"), "{outcome}");
    outcome.prints(&sha256(&many().output));
}

#[test]
fn a_target_that_is_read_only_is_told() {
    if !can_mount() {
        return;
    }
    let dir = Dir::new();
    let script = "mkdir out; mount -t tmpfs -o ro none out; exec \"$@\"";
    for ranks in [1, 3] {
        let failed = embed(&dir, "text").ranks(ranks).within(&script.replace("mkdir", "mkdir -p")).run();
        failed.exits(Exit::Failure).tells_one_error().says("Read-only file system").says("must be writable");
    }
    let failed = embed(&dir, "text").set("--output-dir", "out/new").ranks(2);
    let failed = failed.within(&script.replace("mkdir", "mkdir -p")).run().exits(Exit::Failure);
    failed.tells_one_error().says("cannot create the output directory").says("Read-only file system");
}
