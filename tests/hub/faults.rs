//! A `fetch` that something goes wrong with: it goes on where it can, and says what to do where it cannot.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use hyperslab::Exit;

use super::server::{Fault, REPO, Server, sample};
use super::{assert_fetched, blobs, fetch, fetch_from, incomplete, says, snapshot};
use crate::util::Dir;

const WEIGHTS: &str = "model.safetensors";

fn weights_size() -> u64 {
    sample()[WEIGHTS].len() as u64
}

#[test]
fn a_killed_fetch_goes_on_where_it_was() {
    let (dir, files, size) = (Dir::new(), sample(), weights_size());
    let server = Server::new(files.clone(), move |request| {
        if request.gets(WEIGHTS) && request.from.is_none() {
            Fault::StallAfter(size / 2)
        } else {
            Fault::None
        }
    });
    let mut running = fetch(&dir, &server).start();
    let there = || fs::metadata(incomplete(&dir)).map_or(0, |metadata| metadata.len());
    running.until("half of the weights are there", || there() == size / 2);
    running.kill();
    assert!(!snapshot(&dir).join(WEIGHTS).exists());
    fetch(&dir, &server).run().exits(Exit::Success).says("there already");
    assert_fetched(&dir, &files);
    assert_eq!(server.sent(WEIGHTS), size, "no byte is sent twice");
    assert!(server.requests().iter().any(|request| request.from == Some(size / 2)));
}

#[test]
fn a_connection_that_fails_in_every_way_is_taken_up_again() {
    let (dir, files, size) = (Dir::new(), sample(), weights_size());
    let server = Server::new(files.clone(), move |request| match (request.earlier, request.path.as_str()) {
        (0, path) if path.starts_with("/api/models") => Fault::Status(503, "Retry-After: 0\r\n"),
        (0, path) if path.ends_with("resolve-cache/config.json") => Fault::Status(500, ""),
        (0, _) if request.gets("tokenizer.json") => Fault::DropAfter(7),
        (0, _) if request.path.contains("signature") => Fault::DropAfter(size / 3),
        (1, _) if request.path.contains("signature") => Fault::StallAfter(10),
        (2, _) if request.path.contains("signature") => Fault::Status(429, "Retry-After: 0\r\n"),
        (3, _) if request.path.contains("signature") => Fault::IgnoreRange,
        _ => Fault::None,
    });
    let fetched = fetch(&dir, &server).env("HF_HUB_DOWNLOAD_TIMEOUT", "1").run().exits(Exit::Success);
    fetched.says("429").says("starting it again");
    assert_fetched(&dir, &files);
    let asked: Vec<_> = server
        .requests()
        .iter()
        .filter(|request| request.path.contains("signature"))
        .map(|r| r.from)
        .collect();
    let third = Some(size / 3);
    assert_eq!(asked, [None, third, Some(size / 3 + 10), Some(size / 3 + 10)]);
}

#[test]
fn bytes_with_another_digest_are_refused() {
    for file in [WEIGHTS, "tokenizer.json"] {
        let dir = Dir::new();
        let wrong = move |request: &super::server::Request| {
            if request.gets(file) { Fault::WrongBytes } else { Fault::None }
        };
        let server = Server::new(sample(), wrong);
        says(fetch(&dir, &server).run(), &[file, "digest", "try again"]);
        assert!(!snapshot(&dir).join(file).exists());
        let size = sample()[file].len() as u64;
        let mut left = fs::read_dir(blobs(&dir)).unwrap().map(|blob| blob.unwrap().metadata().unwrap().len());
        assert!(left.all(|bytes| bytes != size), "the wrong bytes are left");
    }
}

#[test]
fn what_was_left_damaged_is_fetched_anew() {
    let (dir, files) = (Dir::new(), sample());
    let server = Server::new(files.clone(), |_| Fault::None);
    fs::create_dir_all(blobs(&dir)).unwrap();
    fs::write(incomplete(&dir), "not the beginning of the weights").unwrap();
    fetch(&dir, &server).run().exits(Exit::Success).says("starting it again");
    assert_fetched(&dir, &files);
}

#[test]
fn two_fetches_of_one_model_share_the_work() {
    let (dir, files) = (Dir::new(), sample());
    let server = Server::new(files.clone(), |request| {
        // Long enough that both are there.
        if request.gets(WEIGHTS) {
            thread::sleep(Duration::from_millis(500));
        }
        Fault::None
    });
    let both = [fetch(&dir, &server).start(), fetch(&dir, &server).start()];
    for running in both {
        running.wait().exits(Exit::Success);
    }
    assert_fetched(&dir, &files);
    assert_eq!(server.sent(WEIGHTS), weights_size());
}

#[test]
fn a_refusal_says_what_to_do() {
    let dir = Dir::new();
    let refused = |answer: (u16, &'static str)| {
        let server = Server::new(sample(), move |_| Fault::Status(answer.0, answer.1));
        fetch(&dir, &server).run()
    };
    says(refused((401, "")), &["org/tiny", "accept its licence at http://", "HF_TOKEN"]);
    says(refused((403, "")), &["not open to everyone", "/org/tiny with your account", "HF_TOKEN"]);
    says(refused((401, "X-Error-Code: GatedRepo\r\n")), &["not open to everyone"]);
    says(refused((500, "")), &["500"]);
    let server = Server::new(sample(), |request| {
        if request.gets("config.json") {
            Fault::Status(403, "X-Error-Code: GatedRepo\r\n")
        } else {
            Fault::None
        }
    });
    says(fetch(&dir, &server).env("HF_TOKEN", "x").run(), &["with the account of your token"]);
    let other = |name| fetch_from(&dir, &server.endpoint(), name).run();
    says(other("org/none"), &["no model org/none"]);
    says(other("org/tiny@v9"), &["org/tiny has no revision 'v9'"]);
    other("no such name").exits(Exit::Usage).says("org/name@revision");
    let mut files = sample();
    files.remove(WEIGHTS);
    says(
        fetch(&dir, &Server::new(files, |_| Fault::None)).run(),
        &["no weights as safetensors", "refs/pr/1"],
    );
}

#[test]
fn a_disk_that_is_too_small_is_told_before_and_in_the_middle() {
    let dir = Dir::new();
    let huge = Server::new(sample(), |request| {
        if request.path.ends_with(WEIGHTS) { Fault::Size(1 << 60) } else { Fault::None }
    });
    says(fetch(&dir, &huge).run(), &["short", "1024.0 PiB", "HF_HOME"]);
    assert_eq!(huge.sent("config.json"), 0, "nothing is fetched");
    let server = Server::new(sample(), |_| Fault::None);
    let full = fetch(&dir, &server).fault("FAULT=enospc AFTER=100000 PATH=.incomplete").run();
    says(full, &["No space left", "goes on from what is there"]);
    fetch(&dir, &server).run().exits(Exit::Success);
    assert_fetched(&dir, &sample());
}

#[test]
fn a_hub_that_cannot_be_reached_is_told_soon() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let silent_hub = format!("http://{}", silent.local_addr().unwrap());
    // TEST-NET-1 is routed nowhere, and .invalid is no domain.
    let hubs = ["https://192.0.2.1".to_owned(), "https://hub.invalid".to_owned(), format!("http://{closed}")];
    let dir = Dir::new();
    let try_it = |hub: &String| {
        let outcome = fetch_from(&dir, hub, REPO).run();
        // It gives up after seven seconds; the rest is for a busy machine.
        assert!(outcome.took < Duration::from_secs(30), "{outcome}");
        says(outcome, &[hub, "hyperslab fetch org/tiny", "login node", "HF_ENDPOINT"]);
    };
    thread::scope(|threads| {
        for hub in hubs.iter().chain([&silent_hub]) {
            threads.spawn(|| try_it(hub));
        }
    });
    assert!(!dir.join("home").exists(), "nothing is left behind");
}

#[test]
fn a_proxy_is_asked_and_left_out_as_the_variables_say() {
    let dir = Dir::new();
    let proxy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let (tell, told) = channel();
    thread::spawn(move || {
        let (mut stream, _) = proxy.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        tell.send(String::from_utf8(head).unwrap()).unwrap();
        stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    let through = || fetch_from(&dir, "https://hub.invalid", REPO).env("HTTPS_PROXY", &address);
    says(through().env("NO_PROXY", "hub.invalid").run(), &["cannot reach the hub", "lookup"]);
    assert!(told.try_recv().is_err(), "the proxy was asked");
    says(through().run(), &["cannot reach the hub", "proxy", "HTTPS_PROXY"]);
    assert!(told.recv().unwrap().starts_with("CONNECT hub.invalid:443"));
}
