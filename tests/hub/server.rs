//! A hub for tests: the Hugging Face hub's answers to what `fetch` asks, the CDN that large files are redirected
//! to, and what can go wrong on the way.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use safetensors::tensor::{SafeTensors, serialize};
use serde_json::json;
use sha1::{Digest as _, Sha1};

use crate::util::repository;
use hyperslab::model::checkpoint::hexadecimal;
use hyperslab::store::Digest;

pub const REPO: &str = "org/tiny";
pub const COMMIT: &str = "5ee7c0de5ee7c0de5ee7c0de5ee7c0de5ee7c0de";
pub const TOKEN: &str = "hf_secretOfTheTest";

/// Where a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    Hub,
    Cdn,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub port: Port,
    pub method: String,
    pub path: String,
    pub authorization: Option<String>,
    /// First byte asked for.
    pub from: Option<u64>,
    /// How many requests for this path, by this method, came before.
    pub earlier: usize,
    /// Bytes of a body that were sent.
    pub sent: u64,
}

impl Request {
    /// Whether it asks for the bytes of a file.
    pub fn gets(&self, file: &str) -> bool {
        let path = self.path.split('?').next().unwrap();
        self.method == "GET" && path.ends_with(&format!("/{file}"))
    }
}

/// What goes wrong with an answer.
#[derive(Clone, Debug)]
pub enum Fault {
    None,
    /// This status, with these headers.
    Status(u16, &'static str),
    /// The connection ends after so many bytes of the body.
    DropAfter(u64),
    /// Nothing more comes after so many bytes of the body.
    StallAfter(u64),
    /// The body's first byte is another.
    WrongBytes,
    /// All is sent, whatever part was asked for.
    IgnoreRange,
    /// The file is said to have so many bytes.
    Size(u64),
}

type Faults = Box<dyn Fn(&Request) -> Fault + Send + Sync>;

struct State {
    files: BTreeMap<String, Vec<u8>>,
    private: bool,
    cdn: SocketAddr,
    faults: Faults,
    requests: Mutex<Vec<Request>>,
    ended: AtomicBool,
}

/// The running hub; ends when dropped.
pub struct Server {
    address: SocketAddr,
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// A hub with one model of these files, where `faults` says what goes wrong.
    pub fn new(
        files: BTreeMap<String, Vec<u8>>,
        faults: impl Fn(&Request) -> Fault + Send + Sync + 'static,
    ) -> Self {
        Self::start(files, false, Box::new(faults))
    }

    /// One whose model is for [`TOKEN`] alone.
    pub fn private(files: BTreeMap<String, Vec<u8>>) -> Self {
        Self::start(files, true, Box::new(|_| Fault::None))
    }

    fn start(files: BTreeMap<String, Vec<u8>>, private: bool, faults: Faults) -> Self {
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (hub, cdn) = (listen(), listen());
        let (address, cdn_address) = (hub.local_addr().unwrap(), cdn.local_addr().unwrap());
        let (requests, ended) = (Mutex::default(), AtomicBool::new(false));
        let state = Arc::new(State { files, private, cdn: cdn_address, faults, requests, ended });
        let serve = |listener: TcpListener, port| {
            let state = Arc::clone(&state);
            thread::spawn(move || state.serve(&listener, port))
        };
        let threads = vec![serve(hub, Port::Hub), serve(cdn, Port::Cdn)];
        Self { address, state, threads }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests that have been answered, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Bytes of a file that were sent in all.
    pub fn sent(&self, file: &str) -> u64 {
        self.requests().iter().filter(|request| request.gets(file)).map(|request| request.sent).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        for address in [self.address, self.state.cdn] {
            drop(TcpStream::connect(address));
        }
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

impl State {
    fn serve(self: &Arc<Self>, listener: &TcpListener, port: Port) {
        for stream in listener.incoming() {
            if self.ended.load(Ordering::Relaxed) {
                return;
            }
            let (state, stream) = (Arc::clone(self), stream.unwrap());
            // A client may be killed at any time.
            thread::spawn(move || state.answer(&stream, port).unwrap_or_default());
        }
    }

    fn answer(&self, stream: &TcpStream, port: Port) -> Option<()> {
        let request = self.note(read(stream, port)?);
        let fault = (self.faults)(&request);
        if let Fault::Status(status, headers) = fault {
            return reply(stream, status, headers);
        }
        let private = self.private && port == Port::Hub;
        if private && request.authorization.as_deref() != Some(&format!("Bearer {TOKEN}")) {
            return reply(stream, 401, "");
        }
        let path = request.path.trim_start_matches('/').split('?').next()?;
        if port == Port::Cdn {
            return self.body(stream, &request, &fault, self.files.get(path)?, "ETag: \"of-the-cdn\"\r\n");
        }
        if let Some(asked) = path.strip_prefix("api/models/") {
            return self.revision(stream, asked);
        }
        let file = path
            .strip_prefix("api/resolve-cache/")
            .or_else(|| path.strip_prefix(&format!("{REPO}/resolve/{COMMIT}/")))?;
        let Some(bytes) = self.files.get(file) else {
            return reply(stream, 404, "X-Error-Code: EntryNotFound\r\n");
        };
        let size = if let Fault::Size(size) = fault { size } else { bytes.len() as u64 };
        if file.ends_with(".safetensors") {
            let (cdn, etag) = (self.cdn, Digest::of(bytes));
            return reply(
                stream,
                302,
                &format!(
                    "X-Repo-Commit: {COMMIT}\r\nX-Linked-Etag: \"{etag}\"\r\nX-Linked-Size: {size}\r\n\
                     ETag: \"of-the-redirect\"\r\nLocation: http://{cdn}/{file}?signature=x\r\n"
                ),
            );
        }
        if path.starts_with("api/") {
            let headers = format!("X-Repo-Commit: {COMMIT}\r\nETag: \"{}\"\r\n", git_sha1(bytes));
            return self.body(stream, &request, &fault, bytes, &headers);
        }
        // As the hub does it with small files.
        reply(stream, 307, &format!("X-Repo-Commit: {COMMIT}\r\nLocation: /api/resolve-cache/{file}\r\n"))
    }

    fn revision(&self, stream: &TcpStream, asked: &str) -> Option<()> {
        let Some(revision) = asked.strip_prefix(&format!("{REPO}/revision/")) else {
            return reply(stream, 404, "X-Error-Code: RepoNotFound\r\n");
        };
        if !["main", "refs%2Fpr%2F1", &COMMIT[..8], COMMIT].contains(&revision) {
            return reply(stream, 404, "X-Error-Code: RevisionNotFound\r\n");
        }
        let siblings: Vec<_> = self.files.keys().map(|file| json!({"rfilename": file})).collect();
        let answer = json!({"id": REPO, "sha": COMMIT, "siblings": siblings}).to_string();
        let mut stream = stream;
        write!(stream, "{}{answer}", head(200, answer.len() as u64, "")).ok()
    }

    /// Sends the bytes of a file, as far as the fault lets it.
    fn body(
        &self,
        mut stream: &TcpStream,
        request: &Request,
        fault: &Fault,
        bytes: &[u8],
        headers: &str,
    ) -> Option<()> {
        let from = request.from.filter(|_| !matches!(fault, Fault::IgnoreRange)).unwrap_or(0) as usize;
        let mut part = bytes.get(from..)?.to_vec();
        if from == 0 {
            stream.write_all(head(200, part.len() as u64, headers).as_bytes()).ok()?;
        } else {
            let range =
                format!("{headers}Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
            stream.write_all(head(206, part.len() as u64, &range).as_bytes()).ok()?;
        }
        if request.method == "HEAD" {
            return Some(());
        }
        let whole = part.len() as u64;
        let (end, stalls) = match fault {
            Fault::DropAfter(end) => (*end, false),
            Fault::StallAfter(end) => (*end, true),
            _ => (whole, false),
        };
        if matches!(fault, Fault::WrongBytes) {
            part[0] ^= 1;
        }
        for piece in part[..end.min(whole) as usize].chunks(64 << 10) {
            stream.write_all(piece).ok()?;
            let mut requests = self.requests.lock().unwrap();
            let same = |other: &&mut Request| {
                (&other.path, &other.method, other.earlier)
                    == (&request.path, &request.method, request.earlier)
            };
            requests.iter_mut().find(same)?.sent += piece.len() as u64;
        }
        while stalls && !self.ended.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
        }
        Some(())
    }

    fn note(&self, mut request: Request) -> Request {
        let mut requests = self.requests.lock().unwrap();
        let same = |other: &&Request| (&other.path, &other.method) == (&request.path, &request.method);
        request.earlier = requests.iter().filter(same).count();
        requests.push(request.clone());
        request
    }
}

fn read(stream: &TcpStream, port: Port) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let headers: BTreeMap<String, String> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())))
        .collect();
    let from =
        headers.get("range").map(|range| range["bytes=".len()..].trim_end_matches('-').parse().unwrap());
    let authorization = headers.get("authorization").cloned();
    Some(Request { port, method, path, authorization, from, earlier: 0, sent: 0 })
}

fn head(status: u16, length: u64, headers: &str) -> String {
    format!("HTTP/1.1 {status} Test\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n")
}

fn reply(mut stream: &TcpStream, status: u16, headers: &str) -> Option<()> {
    stream.write_all(head(status, 0, headers).as_bytes()).ok()
}

fn git_sha1(bytes: &[u8]) -> String {
    let mut hasher = Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hexadecimal(&hasher.finalize())
}

/// The sample's model as a repository: beside what is read, what is not.
pub fn sample() -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(repository("sample/model")).unwrap().map(Result::unwrap);
    let read = |path: &Path| std::fs::read(path).unwrap();
    let mut files: BTreeMap<String, Vec<u8>> =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), read(&entry.path()))).collect();
    for unread in ["README.md", "pytorch_model.bin", "onnx/model.onnx", "open_clip_model.safetensors"] {
        files.insert(unread.to_owned(), b"not to be fetched".to_vec());
    }
    files
}

/// The same with its weights in two shards, and a third that no index names.
pub fn sharded() -> BTreeMap<String, Vec<u8>> {
    let mut files = sample();
    let whole = files.remove("model.safetensors").unwrap();
    let mut tensors = SafeTensors::deserialize(&whole).unwrap().tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let mut map = serde_json::Map::new();
    for (number, shard) in tensors.chunks(tensors.len().div_ceil(2)).enumerate() {
        let name = format!("model-{:05}-of-00002.safetensors", number + 1);
        map.extend(shard.iter().map(|(tensor, _)| (tensor.clone(), name.clone().into())));
        files.insert(name, serialize(shard.iter().map(|(name, view)| (name, view)), None).unwrap());
    }
    files.insert("model-00003-of-00002.safetensors".to_owned(), b"not to be fetched".to_vec());
    let index = json!({"metadata": {}, "weight_map": map}).to_string();
    files.insert("model.safetensors.index.json".to_owned(), index.into_bytes());
    files
}
