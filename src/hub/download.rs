//! One file of the hub into its blob: resumed where an earlier download ended, tried again when the
//! connection is lost, and given its name only when its digest is right.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use sha1::Sha1;
use sha2::{Digest, Sha256};
use ureq::http::StatusCode;
use ureq::http::header::CONTENT_RANGE;

use super::answer::{self, Attempt, Failure};
use super::cache::ModelCache;
use super::client::{FileInfo, Hub};
use super::durable::{make_parent, rename, unwritable};
use super::name::ModelName;
use crate::error::{Error, Exit, Result};
use crate::model::checkpoint::hexadecimal;

const BUFFER_BYTES: usize = 256 << 10;
/// Tries in a row that brought nothing, before giving up: with [`pause`], a minute of outage.
const TRIES_MAX: u32 = 8;
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(16);
/// How soon a download ends when another has failed, while it waits.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What all downloads of one command share.
pub struct Shared<'a> {
    pub hub: &'a Hub,
    pub model: &'a ModelCache,
    pub name: &'a ModelName,
    pub commit: &'a str,
    /// Bytes that are there, of all files.
    pub done: &'a AtomicU64,
    /// Set when one download has failed, and the others need not go on.
    pub stop: &'a AtomicBool,
}

/// One file of a model.
#[derive(Clone, Debug)]
pub struct ModelFile {
    pub name: String,
    info: FileInfo,
    /// Bytes of it that are in the cache already.
    pub there: u64,
}

impl ModelFile {
    pub fn new(name: String, info: FileInfo, model: &ModelCache, commit: &str) -> Self {
        let size = |path: PathBuf| fs::metadata(path).ok().map(|metadata| metadata.len());
        let is_whole = |path| size(path) == Some(info.size);
        let there = if is_whole(model.snapshot(commit).join(&name)) || is_whole(model.blob(&info.etag)) {
            info.size
        } else {
            size(model.incomplete(&info.etag)).filter(|&size| size <= info.size).unwrap_or(0)
        };
        Self { name, info, there }
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.info.size
    }
}

impl Shared<'_> {
    /// Brings a file into the cache, and into the commit's snapshot.
    ///
    /// # Errors
    /// The hub refuses, or stays away; bytes with another digest; a full disk.
    pub fn fetch(&self, file: &ModelFile) -> Result<()> {
        let ModelFile { name, info, there } = file;
        let is_whole = |path: &Path| fs::metadata(path).is_ok_and(|metadata| metadata.len() == info.size);
        if is_whole(&self.model.snapshot(self.commit).join(name)) {
            return Ok(());
        }
        let _lock = self.model.lock(&info.etag)?;
        let blob = self.model.blob(&info.etag);
        let new = !is_whole(&blob);
        if new {
            let mut partial = Partial::open(self.model.incomplete(&info.etag), info)?;
            self.account(*there, partial.at);
            self.fill(&mut partial, name, info)?;
            match rename(&partial.path, &blob) {
                // Where locks do not work, another process has been faster.
                Err(_) if is_whole(&blob) => {}
                renamed => renamed.map_err(|error| unwritable(&blob, &error))?,
            }
        } else {
            self.account(*there, info.size);
        }
        self.model.link(&info.etag, self.commit, name, new)
    }

    /// Downloads until the file is whole and its digest right.
    fn fill(&self, partial: &mut Partial, file: &str, info: &FileInfo) -> Result<()> {
        let mut tries = 0;
        let mut resumed = partial.at > 0;
        loop {
            let before = partial.at;
            let failure = if before == info.size { None } else { self.append(partial, file, info).err() };
            let Some(failure) = failure else {
                match partial.check(file, info) {
                    // What an earlier command left may be damaged: once from the start.
                    Err(error) if resumed => {
                        tracing::warn!("{error}; starting it again");
                        self.restart(partial)?;
                        resumed = false;
                        continue;
                    }
                    Err(error) => {
                        partial.discard();
                        return Err(error);
                    }
                    Ok(()) => return Ok(()),
                }
            };
            let (error, after) = match failure {
                Failure::Final(error) | Failure::Unreachable(error) => {
                    return Err(self.hub.network_hint(self.name, error));
                }
                Failure::Passing { error, after } => (error, after),
            };
            tries = if partial.at > before { 1 } else { tries + 1 };
            if tries == TRIES_MAX {
                let error =
                    Error { message: format!("{}; gave up after {TRIES_MAX} tries", error.message), ..error };
                return Err(self.hub.network_hint(self.name, error));
            }
            let pause = after.unwrap_or(pause(tries));
            tracing::info!("{error}; going on in {:.1} s", pause.as_secs_f64());
            self.wait(pause)?;
        }
    }

    /// Asks for what is missing and writes what comes.
    fn append(&self, partial: &mut Partial, file: &str, info: &FileInfo) -> Attempt<()> {
        let mut response = self.hub.bytes(self.name, self.commit, file, partial.at)?;
        let starts = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
        let starts = starts.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
        // A server may ignore what was asked for and send all of it.
        let at =
            if response.status() == StatusCode::PARTIAL_CONTENT { starts.unwrap_or(partial.at) } else { 0 };
        if at != partial.at {
            tracing::info!("{file}: the server cannot resume, starting it again");
            self.restart(partial).map_err(Failure::Final)?;
        }
        if at > partial.at {
            return Err(Failure::passing(format!("{file}: the server sent another part than asked for")));
        }
        let mut body = response.body_mut().as_reader();
        let mut buffer = vec![0; BUFFER_BYTES];
        while partial.at < info.size {
            self.go_on().map_err(Failure::Final)?;
            let read = match body.read(&mut buffer) {
                Ok(0) => {
                    return Err(Failure::passing(format!(
                        "{file}: the connection ended after {} of {} bytes",
                        partial.at, info.size
                    )));
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(answer::lost(file, &error.into())),
            };
            let wanted = usize::try_from(info.size - partial.at).map_or(read, |left| left.min(read));
            partial.write(buffer.get(..wanted).unwrap_or_default()).map_err(Failure::Final)?;
            self.done.fetch_add(wanted as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn restart(&self, partial: &mut Partial) -> Result<()> {
        self.account(partial.at, 0);
        partial.rewind()
    }

    /// Counts a file of `before` bytes as one of `now`.
    fn account(&self, before: u64, now: u64) {
        self.done.fetch_add(now, Ordering::Relaxed);
        self.done.fetch_sub(before, Ordering::Relaxed);
    }

    fn wait(&self, pause: Duration) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < pause {
            self.go_on()?;
            sleep(LOOK_EVERY.min(pause));
        }
        Ok(())
    }

    fn go_on(&self) -> Result<()> {
        // Never told: the error that made the others stop is.
        if self.stop.load(Ordering::Relaxed) { Err(Error::new("stopped").exit(Exit::Resume)) } else { Ok(()) }
    }
}

/// The pause after so many tries in a row that brought nothing.
fn pause(tries: u32) -> Duration {
    PAUSE_FIRST.saturating_mul(1 << tries.saturating_sub(1).min(10)).min(PAUSE_MAX)
}

/// A blob that grows, and the digest of what is there. Always written at explicit offsets: two processes
/// that write it at once, where locks do not work, write the same.
struct Partial {
    path: PathBuf,
    file: File,
    at: u64,
    digest: BlobDigest,
}

impl Partial {
    /// Opens what an earlier download has left, or begins.
    fn open(path: PathBuf, info: &FileInfo) -> Result<Self> {
        make_parent(&path)?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|error| unwritable(&path, &error))?;
        let mut partial = Self { path, file, at: 0, digest: BlobDigest::new(info) };
        let length = partial.file.metadata().map_err(|error| unwritable(&partial.path, &error))?.len();
        if length > info.size {
            partial.rewind()?;
        }
        partial.absorb(length.min(info.size)).map_err(|error| unwritable(&partial.path, &error))?;
        Ok(partial)
    }

    /// Takes the first bytes of the file into the digest.
    fn absorb(&mut self, length: u64) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        while self.at < length {
            let read = self.file.read_at(&mut buffer, self.at)?;
            if read == 0 {
                break;
            }
            self.digest.update(buffer.get(..read).unwrap_or_default());
            self.at += read as u64;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, self.at).map_err(|error| unwritable(&self.path, &error))?;
        self.digest.update(bytes);
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn rewind(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(|error| unwritable(&self.path, &error))?;
        self.at = 0;
        self.digest.reset();
        Ok(())
    }

    /// Whether the bytes are those that the hub has promised.
    fn check(&self, file: &str, info: &FileInfo) -> Result<()> {
        let found = self.digest.finish();
        if found.is_empty() {
            tracing::warn!("{file}: the hub names no digest of it ('{}'), only its size", info.etag);
        }
        if found.is_empty() || found.contains(&info.etag) {
            return Ok(());
        }
        let found = found.first().map_or("", String::as_str);
        Err(Error::new(format!("{file}: what came has the digest {found}, not {}", info.etag)).hint(
            "something between here and the hub changes what is sent, or the mirror is damaged: try again, or \
             another HF_ENDPOINT",
        ))
    }

    fn discard(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!("{}: {error}", self.path.display());
        }
    }
}

/// The digests that an `ETag` may be, by its length.
enum BlobDigest {
    Sha256(Sha256),
    /// As git has it, with its header before the bytes, and plain, as some mirrors have it.
    Sha1 {
        header: String,
        git: Sha1,
        plain: Sha1,
    },
    None,
}

impl BlobDigest {
    fn new(info: &FileInfo) -> Self {
        if !info.etag.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Self::None;
        }
        match info.etag.len() {
            64 => Self::Sha256(Sha256::new()),
            40 => {
                let header = format!("blob {}\0", info.size);
                Self::Sha1 { git: Sha1::new_with_prefix(&header), plain: Sha1::new(), header }
            }
            _ => Self::None,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha1 { git, plain, .. } => {
                git.update(bytes);
                plain.update(bytes);
            }
            Self::None => {}
        }
    }

    fn reset(&mut self) {
        match self {
            Self::Sha256(hasher) => hasher.reset(),
            Self::Sha1 { header, git, plain } => {
                *git = Sha1::new_with_prefix(header);
                plain.reset();
            }
            Self::None => {}
        }
    }

    /// The digests in hexadecimal.
    fn finish(&self) -> Vec<String> {
        match self {
            Self::Sha256(hasher) => vec![hexadecimal(&hasher.clone().finalize())],
            Self::Sha1 { git, plain, .. } => {
                [git, plain].map(|hash| hexadecimal(&hash.clone().finalize())).into()
            }
            Self::None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(etag: &str, bytes: &[u8]) -> Vec<String> {
        let mut digest = BlobDigest::new(&FileInfo { etag: etag.to_owned(), size: bytes.len() as u64 });
        digest.update(b"left by another");
        digest.reset();
        digest.update(bytes);
        digest.finish()
    }

    /// `printf hello | git hash-object --stdin`, `| sha1sum`, `| sha256sum`.
    #[test]
    fn digests_are_gits_and_sha256() {
        let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(digests(sha256, b"hello"), [sha256]);
        let git = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
        assert_eq!(digests(git, b"hello"), [git, "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"]);
        assert!(digests("0x8DC", b"hello").is_empty());
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        let pauses: Vec<_> = [1, 2, 3, 6, 7, 40].map(|tries| pause(tries).as_millis()).into();
        assert_eq!(pauses, [500, 1000, 2000, 16000, 16000, 16000]);
    }

    #[test]
    fn what_an_earlier_download_left_is_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blobs/e.incomplete");
        let info = FileInfo { etag: "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0".to_owned(), size: 5 };
        Partial::open(path.clone(), &info).unwrap().write(b"hel").unwrap();
        let mut partial = Partial::open(path.clone(), &info).unwrap();
        assert_eq!(partial.at, 3);
        partial.write(b"lo").unwrap();
        partial.check("file", &info).unwrap();
        fs::write(&path, "longer than it is").unwrap();
        assert_eq!(Partial::open(path, &info).unwrap().at, 0);
    }
}
