//! `hyperslab fetch`: a model from the Hugging Face hub into the cache, the one command that uses the network.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use super::out::{bytes, count, note, to_stdout};
use crate::error::{Error, Exit, Result};
use crate::hub::{self, Cache, Failure, Fetch, Hub, ModelFolder, ModelName};
use crate::store::Space;

/// Time between two plain lines of progress.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Fetch a model from the Hugging Face hub into its cache, where --model finds it by name
///
/// The only command that uses the network. Fetches what models are read from (config.json, tokenizer,
/// preprocessing, weights as safetensors) and nothing else; an interrupted fetch goes on where it ended.
/// Prints the folder.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  hyperslab fetch google/siglip-so400m-patch14-384
  hyperslab fetch google/siglip2-base-patch16-224@main --dry-run
  HF_HOME=/scratch/me/hf HF_TOKEN=hf_... hyperslab fetch org/gated-model

The cache is that of Python's huggingface_hub; each finds what the other has fetched. Honoured:
  HF_HUB_CACHE, HF_HOME        where the cache is [default: ~/.cache/huggingface/hub]
  HF_TOKEN, HF_TOKEN_PATH      who you are, for private and gated models
  HF_ENDPOINT                  another hub, a mirror [default: https://huggingface.co]
  HF_HUB_OFFLINE               use the cache alone
  HF_HUB_DOWNLOAD_TIMEOUT      seconds that the hub may say nothing [default: 10]
  HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE")]
pub struct FetchArgs {
    /// The model, as on the hub: org/name, or org/name@REVISION (a branch, tag or commit)
    #[arg(value_name = "MODEL[@REVISION]")]
    pub model: String,
    /// Say what would be fetched, and fetch nothing but the index of the weights
    #[arg(long)]
    pub dry_run: bool,
}

/// Fetches the model; prints its folder.
///
/// # Errors
/// The hub cannot be reached or has no such model for this user; a disk that cannot hold it.
pub fn run(args: &FetchArgs) -> Result<Exit> {
    let name: ModelName = args.model.parse()?;
    let cache = Cache::of_user()?;
    let cached = hub::find_complete(&cache.model(&name), &name);
    if hub::is_offline() {
        if let Some(folder) = &cached {
            return tell_unchecked("HF_HUB_OFFLINE is set", &name, folder);
        }
        return Err(Error::new(format!(
            "{name} is not complete in the cache ({})",
            cache.folder().display()
        ))
        .hint("HF_HUB_OFFLINE forbids to fetch it: unset it, or copy the model into the cache"));
    }
    let hub = Hub::of_user()?;
    let fetch = match Fetch::new(&hub, &cache, &name) {
        Ok(fetch) => fetch,
        Err(failure) => return without_hub(failure, &name, cached.as_ref()),
    };
    let left = fetch.size() - fetch.there();
    if left > 0 {
        announce(&fetch, &hub, &cache, &name);
        check_disk(&cache, left)?;
    } else {
        note(format_args!("{name} is in the cache already, as of commit {}", fetch.commit));
    }
    if args.dry_run {
        return Ok(Exit::Success);
    }
    let mut progress = Progress::new(fetch.there(), fetch.size());
    let folder = fetch.run(&mut |done| progress.set(done));
    drop(progress);
    tell(&name, &folder?)
}

/// The folder for scripts, and what to do with it for people.
fn tell(name: &ModelName, folder: &ModelFolder) -> Result<Exit> {
    note(format_args!("use it: hyperslab embed siglip --model {name} --captions FILE --output-dir DIR"));
    to_stdout(|out| {
        writeln!(out, "{}", folder.path.display())?;
        Ok(Exit::Success)
    })
}

/// Whoever cannot reach the hub may not need it: a commit that the cache has is what it was.
fn without_hub(failure: Failure, name: &ModelName, cached: Option<&ModelFolder>) -> Result<Exit> {
    let is_refusal = matches!(failure, Failure::Final(_));
    let error = failure.error();
    let Some(folder) = cached else { return Err(error) };
    if name.commit().is_some() && !is_refusal {
        return tell_unchecked(&error.message, name, folder);
    }
    let Some(commit) = &folder.commit else { return Err(error) };
    let message =
        format!("{}; the cache has the model as of commit {commit}, which --model finds", error.message);
    Err(Error { message, ..error })
}

/// The model as the cache has it, where the hub was not asked: Python fetches only what it needs itself.
fn tell_unchecked(why: &str, name: &ModelName, folder: &ModelFolder) -> Result<Exit> {
    let newer = if name.commit().is_some() { "" } else { ", or a newer commit" };
    note(format_args!(
        "{why}; {name} is in the cache already, as it is: not checked whether the hub has files that are \
         missing here, such as preprocessor_config.json{newer}"
    ));
    tell(name, folder)
}

fn announce(fetch: &Fetch<'_>, hub: &Hub, cache: &Cache, name: &ModelName) {
    let there = match fetch.there() {
        0 => String::new(),
        there => format!(", {} of them there already", bytes(there)),
    };
    note(format_args!(
        "fetching {name} (commit {}) from {}: {}, {}{there}; into {}",
        fetch.commit,
        hub.endpoint(),
        count(fetch.files.len() as u64, "file"),
        bytes(fetch.size()),
        cache.folder().display()
    ));
    for file in &fetch.files {
        let there = if file.there == file.size() { "  (there)" } else { "" };
        note(format_args!("  {:>10}  {}{there}", bytes(file.size()), file.name));
    }
}

fn check_disk(cache: &Cache, need: u64) -> Result<()> {
    let space = Space::of(cache.folder(), &[])?;
    if space.short_by(need) == 0 {
        return Ok(());
    }
    Err(Error::new(format!(
        "the disk of the cache ({}) is {} short: {} are to be fetched, {} are free",
        cache.folder().display(),
        bytes(space.short_by(need)),
        bytes(need),
        bytes(space.free)
    ))
    .hint("make room, or let HF_HOME name a folder elsewhere, e.g. on the cluster's scratch file system"))
}

/// A bar on a terminal, plain lines elsewhere.
struct Progress {
    bar: ProgressBar,
    before: u64,
    all: u64,
    began: Instant,
    /// When the last plain line was said; none on a terminal.
    last: Option<Instant>,
}

impl Progress {
    fn new(before: u64, all: u64) -> Self {
        let now = Instant::now();
        let is_terminal = std::io::stderr().is_terminal();
        // Hidden where it would not be seen.
        let bar = ProgressBar::new(all);
        if let Ok(style) = ProgressStyle::with_template(
            "{wide_bar} {bytes} of {total_bytes}  {binary_bytes_per_sec}  ETA {eta}",
        ) {
            bar.set_style(style);
        }
        bar.set_position(before);
        bar.reset_eta();
        Self { bar, before, all, began: now, last: (!is_terminal).then_some(now) }
    }

    fn set(&mut self, done: u64) {
        self.bar.set_position(done);
        if let Some(last) = self.last.filter(|last| last.elapsed() >= LINE_EVERY) {
            let since = self.began.elapsed().as_secs_f64();
            let rate = done.saturating_sub(self.before) as f64 / since;
            let left = self.all.saturating_sub(done) as f64 / rate.max(1.0);
            tracing::info!(
                "{} of {}, {}/s, ETA {}",
                bytes(done),
                bytes(self.all),
                bytes(rate as u64),
                HumanDuration(Duration::from_secs_f64(left.min(1e9)))
            );
            self.last = Some(last + LINE_EVERY);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
