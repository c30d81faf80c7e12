//! `hyperslab fetch`, against a hub of the test's own, and models by name.

mod faults;
mod server;

use std::fs;
use std::path::{Path, PathBuf};

use hyperslab::Exit;

use crate::util::{Contents, Dir, Outcome, Run, repository};
use server::{COMMIT, Fault, Port, REPO, Server, TOKEN, sample, sharded};

/// `hyperslab fetch` of this name from this hub, into the cache `home/hub` of the test's folder.
fn fetch_from(dir: &Dir, endpoint: &str, name: &str) -> Run {
    let run = dir.hyperslab(["fetch", name]);
    run.env("HF_HOME", dir.join("home")).env("HF_ENDPOINT", endpoint)
}

fn fetch(dir: &Dir, server: &Server) -> Run {
    fetch_from(dir, &server.endpoint(), REPO)
}

fn snapshot(dir: &Dir) -> PathBuf {
    dir.join("home/hub/models--org--tiny/snapshots").join(COMMIT)
}

fn blobs(dir: &Dir) -> PathBuf {
    dir.join("home/hub/models--org--tiny/blobs")
}

/// Where the weights of [`sample`] grow.
fn incomplete(dir: &Dir) -> PathBuf {
    let digest = hyperslab::store::Digest::of(&sample()["model.safetensors"]);
    blobs(dir).join(format!("{digest}.incomplete"))
}

/// A small job with this model.
fn embed(dir: &Dir, model: impl AsRef<Path>) -> Run {
    let run = dir.hyperslab(["embed", "siglip", "--device", "cpu", "--output-dir", "out", "--captions"]);
    let run = run.arg(repository("sample/captions.json")).arg("--model").arg(model.as_ref());
    run.env("HF_HOME", dir.join("home"))
}

/// Asserts that the fetched model is the server's, to the last byte, and nothing else.
#[track_caller]
fn assert_fetched(dir: &Dir, files: &std::collections::BTreeMap<String, Vec<u8>>) {
    let wanted = files.iter().filter(|(_, bytes)| *bytes != b"not to be fetched");
    let mut count = 0;
    for (name, bytes) in wanted {
        let path = snapshot(dir).join(name);
        assert_eq!(&fs::read(&path).unwrap(), bytes, "{name}");
        assert!(fs::read_link(&path).unwrap().starts_with("../../blobs"));
        count += 1;
    }
    assert_eq!(fs::read_dir(snapshot(dir)).unwrap().count(), count);
    assert_eq!(fs::read_dir(blobs(dir)).unwrap().count(), count, "no incomplete file is left");
    let main = dir.join("home/hub/models--org--tiny/refs/main");
    assert_eq!(fs::read_to_string(main).unwrap(), COMMIT);
}

#[test]
fn a_model_is_fetched_once_and_used_by_name_without_the_hub() {
    let (dir, files) = (Dir::new(), sharded());
    let server = Server::private(files.clone());
    let fetched = fetch(&dir, &server).env("HF_TOKEN", TOKEN).arg("--log").arg("trace").run();
    let fetched = fetched.exits(Exit::Success).says("embed siglip --model org/tiny").says("8 files, ");
    assert_eq!(fetched.stdout, format!("{}\n", snapshot(&dir).display()));
    // The libraries' own records at this level would hold whole requests.
    assert!(!fetched.stderr.contains(TOKEN) && !fetched.stderr.contains(" TRACE "), "{fetched}");
    assert_fetched(&dir, &files);
    let requests = server.requests();
    let at = |port| requests.iter().filter(move |request| request.port == port);
    assert_eq!(at(Port::Cdn).count(), 2);
    assert!(at(Port::Cdn).all(|request| request.authorization.is_none()), "{requests:?}");
    assert!(at(Port::Hub).all(|request| request.authorization.is_some()), "{requests:?}");

    let asked = requests.len();
    fetch(&dir, &server).env("HF_TOKEN", TOKEN).run().exits(Exit::Success).says("in the cache already");
    assert!(server.requests()[asked..].iter().all(|request| !request.gets("config.json")));
    let endpoint = server.endpoint();
    drop(server);
    let gone = fetch_from(&dir, &endpoint, REPO).run().exits(Exit::Failure);
    gone.says("cannot reach the hub").says("the cache has the model").says("login node");
    for (offline, why) in [
        (fetch_from(&dir, &endpoint, &format!("{REPO}@{COMMIT}")), "cannot reach the hub"),
        (fetch_from(&dir, &endpoint, REPO).env("HF_HUB_OFFLINE", "1"), "HF_HUB_OFFLINE is set"),
    ] {
        let offline = offline.run().exits(Exit::Success).says(why).says("not checked whether the hub has");
        assert_eq!(offline.stdout, fetched.stdout);
    }

    embed(&dir, REPO).ranks(2).env("HF_ENDPOINT", endpoint).run().exits(Exit::Success);
    embed(&dir, repository("sample/model")).set("--output-dir", "folder").run().exits(Exit::Success);
    let [by_name, by_folder] =
        ["out", "folder"].map(|folder| Contents::of(&dir.join(folder).join("siglip_text_embeddings.h5")));
    assert_eq!(by_name.rows, by_folder.rows);
    for (name, value) in [("model_name", REPO), ("model_commit", COMMIT)] {
        assert!(by_name.provenance.contains(&(name.to_owned(), value.to_owned())), "{by_name:?}");
    }
    // The folder of a snapshot is the same model.
    let again = embed(&dir, fetched.stdout.trim()).run().exits(Exit::Success);
    again.prints("is complete; nothing to do");
}

#[test]
fn a_token_comes_from_its_file_too() {
    let (dir, server) = (Dir::new(), Server::private(sample()));
    dir.write("home/token", format!("{TOKEN}\n"));
    fetch(&dir, &server).run().exits(Exit::Success);
    fs::remove_dir_all(dir.join("home")).unwrap();
    let token = dir.write("elsewhere", TOKEN);
    fetch(&dir, &server).env("HF_TOKEN_PATH", token).arg("--dry-run").run().exits(Exit::Success);
    assert!(!blobs(&dir).exists(), "a dry run fetches nothing");
}

#[test]
fn revisions_are_those_of_the_hub() {
    let (dir, server) = (Dir::new(), Server::new(sample(), |_| Fault::None));
    for (revision, noted) in [("refs/pr/1", true), (&COMMIT[..8], true), (COMMIT, false)] {
        let name = format!("{REPO}@{revision}");
        fetch_from(&dir, &server.endpoint(), &name).run().exits(Exit::Success);
        let note = dir.join("home/hub/models--org--tiny/refs").join(revision);
        assert_eq!(fs::read_to_string(&note).is_ok_and(|commit| commit == COMMIT), noted, "{revision}");
        let plan = dir.hyperslab(["plan", "--model", &name, "--captions"]);
        plan.arg(repository("sample/captions.json"))
            .env("HF_HOME", dir.join("home"))
            .run()
            .exits(Exit::Success);
    }
    assert_eq!(server.sent("model.safetensors"), sample()["model.safetensors"].len() as u64);
}

/// As Python's AutoModel leaves it, which asks for no more.
#[test]
fn what_python_left_out_of_a_commit_is_fetched() {
    let (dir, files) = (Dir::new(), sample());
    let server = Server::new(files.clone(), |_| Fault::None);
    let name = format!("{REPO}@{COMMIT}");
    fetch_from(&dir, &server.endpoint(), &name).run().exits(Exit::Success);
    let preprocessor = snapshot(&dir).join("preprocessor_config.json");
    fs::remove_file(fs::canonicalize(&preprocessor).unwrap()).unwrap();
    fs::remove_file(&preprocessor).unwrap();
    let gone = fetch_from(&dir, &server.endpoint(), &name).env("HF_HUB_OFFLINE", "1").run();
    gone.exits(Exit::Success).says("such as preprocessor_config.json");
    assert!(!preprocessor.exists());
    fetch_from(&dir, &server.endpoint(), &name).run().exits(Exit::Success).says("there already");
    assert_eq!(fs::read(&preprocessor).unwrap(), files["preprocessor_config.json"]);
    assert_eq!(server.sent("model.safetensors"), files["model.safetensors"].len() as u64);
    fetch_from(&dir, &server.endpoint(), &name).run().exits(Exit::Success).says("in the cache already");
    // A hub that refuses has been reached; one that is down has not.
    for (status, exit, told) in
        [(401, Exit::Failure, "the cache has the model"), (503, Exit::Success, "not checked")]
    {
        let server = Server::new(files.clone(), move |_| Fault::Status(status, "Retry-After: 0\r\n"));
        fetch_from(&dir, &server.endpoint(), &name).run().exits(exit).says(told);
    }
}

#[test]
fn a_model_that_is_not_in_the_cache_is_told_with_the_command_that_fetches_it() {
    let dir = Dir::new();
    let refused = |model: &str| embed(&dir, model).run().exits(Exit::Failure).tells_one_error();
    let cache = dir.join("home/hub").display().to_string();
    refused(REPO).says(&cache).says("hyperslab fetch org/tiny");
    refused("org/tiny@v2").says("hyperslab fetch org/tiny@v2");
    refused("no/such/folder").says("no model folder 'no/such/folder'");
    let server = Server::new(sharded(), |_| Fault::None);
    fetch(&dir, &server).run().exits(Exit::Success);
    refused("org/tiny@v2").says("revision 'v2'").says("hyperslab fetch org/tiny@v2");
    let shard = snapshot(&dir).join("model-00002-of-00002.safetensors");
    fs::remove_file(fs::canonicalize(shard).unwrap()).unwrap();
    refused(REPO).says("incomplete").says("lacks model-00002-of-00002").says("hyperslab fetch org/tiny");
    // The part that is missing is all that is fetched.
    let before = server.sent("model-00001-of-00002.safetensors");
    fetch(&dir, &server).run().exits(Exit::Success);
    assert_eq!(server.sent("model-00001-of-00002.safetensors"), before);
    assert!(!Path::new(&cache).join("org").exists());
}

#[test]
fn a_rank_that_does_not_see_the_model_is_named() {
    let (dir, server) = (Dir::new(), Server::new(sample(), |_| Fault::None));
    fetch(&dir, &server).run().exits(Exit::Success);
    // Rank 0 says which folder it is.
    let elsewhere = r#"[ "$OMPI_COMM_WORLD_RANK" = 0 ] || export HF_HOME=/nowhere; exec "$@""#;
    embed(&dir, REPO).ranks(2).each_rank(elsewhere).run().exits(Exit::Success);
    let job = embed(&dir, REPO).set("--output-dir", "other").ranks(2);
    let unreadable = job.clone().fault("FAULT=eacces RANK=1 PATH=tokenizer.json").run();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let told = format!("rank 1: {host} does not see the model as rank 0 does");
    unreadable.exits(Exit::Failure).tells_one_error().says(&told).says("tokenizer.json");
    if crate::util::can_mount() {
        let hidden = r#"[ "$OMPI_COMM_WORLD_RANK" = 0 ] || mount -t tmpfs none "$HF_HOME"; exec "$@""#;
        let own_mounts = format!("unshare -m sh -euc '{hidden}' sh \"$@\"");
        let hidden = job.within("\"$@\"").each_rank(&own_mounts).run();
        hidden.exits(Exit::Failure).tells_one_error().says(&told).says("shared file system");
    }
}

/// What a failed command says.
#[track_caller]
fn says(outcome: Outcome, texts: &[&str]) {
    let outcome = outcome.exits(Exit::Failure).tells_one_error();
    texts.iter().fold(outcome, |outcome, text| outcome.says(text));
}
