//! One rank's way from rows of the spool to rows of vectors:
//!
//! ```text
//! feeder ──items──> decoding threads ──prepared──> model thread ──blocks──> the rank's main thread
//!    └──────────windows, in order──────────────────────┘
//! ```
//! Every arrow is a bounded queue, so memory is bounded by settings and never by the data set. Windows, the
//! rows from which batches are made, keep their order: each has a channel of its own on which its items arrive
//! in any order.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use ndarray::Array2;

use super::spans::{Span, Spans, Stopwatch};
use crate::comm::shielded;
use crate::error::{Context, Error, Exit, ItemError, ItemErrorKind, Result};
use crate::input::{ReadError, Row, Spool, View, ViewReader};
use crate::model::{self, Embedder, Item, Model, Prepared, Preparer};
use crate::plan::Batching;

/// Windows that may be decoded ahead of the model.
const WINDOWS_AHEAD: usize = 3;
/// Items that may wait for a decoding thread.
const ITEMS_AHEAD_MAX: usize = 1024;
/// How long the end of a job waits for its threads.
const END_WAIT_MAX: Duration = Duration::from_secs(60);
/// How often, and how long apart, a file is read again after an error that may pass.
const READS: u32 = 3;
const READ_PAUSE: Duration = Duration::from_millis(500);

/// What the pipeline needs beside the model.
pub struct PipelineSettings {
    /// Where the views' paths begin.
    pub renders: PathBuf,
    pub batching: Batching,
    pub decode_threads: usize,
    /// libtorch's threads inside one operation on a CPU.
    pub model_threads: usize,
    /// Finished blocks that may wait for the main thread.
    pub blocks_ahead: usize,
    /// By block, the rows within it that are to be embedded again; none where all rows are embedded.
    pub again: Option<BTreeMap<u64, Vec<usize>>>,
}

/// A block's vectors `[rows, dim]`, and which of its rows have none.
pub struct BlockRows {
    pub block: u64,
    pub vectors: Array2<f32>,
    /// Index within the block, and why.
    pub failures: Vec<(usize, ItemError)>,
    /// Texts that had more tokens than the model takes.
    pub truncated: u64,
    /// The rows within the block that were prepared, in order: all, unless some alone are embedded again.
    pub prepared: Vec<usize>,
}

/// The running threads of a rank. Dropping it ends them, after the batches in hand: the process may not
/// exit under a thread that is inside libtorch.
pub struct Pipeline {
    /// Gone once the pipeline is to end.
    blocks: Option<Receiver<Result<BlockRows>>>,
    /// Tells the model thread to stop after the batch in hand.
    ending: Arc<AtomicBool>,
    /// Counts items decoded and batches computed.
    progress: Arc<AtomicU64>,
    /// A thread waits for something that does not come: there is no use in waiting for it.
    is_stuck: Cell<bool>,
    model_thread: Option<JoinHandle<Spans>>,
    other_threads: Vec<JoinHandle<()>>,
}

impl Pipeline {
    /// Starts to compute the blocks of `share`, in order.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(
        spool: Arc<Spool>,
        share: Vec<Range<u64>>,
        model: Model,
        settings: PipelineSettings,
    ) -> Result<Self> {
        // Before the channels: if a thread cannot be started, their ends are dropped first, and the
        // threads that wait on them end.
        let mut pipeline = Self {
            blocks: None,
            ending: Arc::default(),
            progress: Arc::default(),
            is_stuck: Cell::new(false),
            model_thread: None,
            other_threads: Vec::new(),
        };
        let (window_sender, windows) = bounded(WINDOWS_AHEAD);
        let (item_sender, items) = bounded(settings.batching.window_rows().min(ITEMS_AHEAD_MAX));
        let (block_sender, blocks) = bounded(settings.blocks_ahead);
        pipeline.blocks = Some(blocks);
        let reader = Arc::new(ViewReader::new(settings.renders));
        for _ in 0..settings.decode_threads {
            let (items, preparer, reader) = (items.clone(), Arc::clone(&model.preparer), Arc::clone(&reader));
            let progress = Arc::clone(&pipeline.progress);
            let decode =
                spawn("decode", move || decode_items(&items, preparer.as_ref(), &reader, &progress))?;
            pipeline.other_threads.push(decode);
        }
        // Only the decoding threads hold this end: when they are gone, the feeder must notice.
        drop(items);
        let batching = settings.batching;
        let again = settings.again;
        let feeder = Feeder { spool, batching, again, windows: window_sender, items: item_sender };
        pipeline.other_threads.push(spawn("feed", move || feeder.run(share))?);
        let (mut embedder, threads) = (model.embedder, settings.model_threads);
        let (ending, progress) = (Arc::clone(&pipeline.ending), Arc::clone(&pipeline.progress));
        pipeline.model_thread = Some(spawn("model", move || {
            model::device::set_model_threads(threads);
            let model = ModelThread { embedder: embedder.as_mut(), batching, progress: &progress };
            model.compute_blocks(&windows, &block_sender, &ending)
        })?);
        Ok(pipeline)
    }

    /// The next block of the share, waiting for it, with a call of `alive` now and then; `None` after the last
    /// one.
    ///
    /// # Errors
    /// The spool cannot be read, the model fails, or nothing has moved for `limit`.
    pub fn next_block(&self, limit: Option<Duration>, alive: impl Fn()) -> Option<Result<BlockRows>> {
        const LOOK_EVERY: Duration = Duration::from_millis(200);
        let mut seen = (self.progress.load(Ordering::Relaxed), Instant::now());
        loop {
            match self.blocks.as_ref()?.recv_timeout(LOOK_EVERY) {
                Ok(block) => return Some(block),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => alive(),
            }
            let progress = self.progress.load(Ordering::Relaxed);
            if progress != seen.0 {
                seen = (progress, Instant::now());
            }
            if limit.is_some_and(|limit| seen.1.elapsed() > limit) {
                self.is_stuck.set(true);
                return Some(Err(stuck(seen.1.elapsed())));
            }
        }
    }

    /// Where the model thread's time went, after the last block.
    ///
    /// # Errors
    /// The thread panicked (the panic hook has ended the job then).
    pub fn finish(mut self) -> Result<Spans> {
        let model_thread = self.model_thread.take();
        model_thread
            .and_then(|thread| thread.join().ok())
            .ok_or_else(|| Error::new("the model thread panicked").exit(Exit::Bug))
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // Without a receiver the model thread ends, then the feeder, then the decoding threads.
        self.ending.store(true, Ordering::Relaxed);
        self.blocks = None;
        let began = Instant::now();
        let is_running = || {
            self.model_thread.as_ref().is_some_and(|thread| !thread.is_finished())
                || self.other_threads.iter().any(|thread| !thread.is_finished())
        };
        // A thread may sit in a read from a file system that is gone: it is left behind.
        while !self.is_stuck.get() && is_running() && began.elapsed() < END_WAIT_MAX {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn stuck(silent: Duration) -> Error {
    Error::new(format!("no item was read and no batch computed for {} s", silent.as_secs())).hint(
        "a file system that does not answer looks like this: mend it and run the same command again; --watchdog sets \
         how long a rank may go without progress",
    )
}

fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .context(|| format!("cannot start a {name} thread"))
}

/// An item's outcome in its window.
type Slot = (usize, std::result::Result<Ready, Failure>);

/// An item that can be computed.
struct Ready {
    prepared: Prepared,
    /// Which of its views are not in it, and why.
    left_out: Option<ItemError>,
}

/// Whose fault it is that an item has nothing to embed.
enum Failure {
    /// Its own: its row is marked.
    Item(ItemError),
    /// The machine's: marking the row would make the vectors depend on where they were computed.
    Rank(Error),
}

impl From<ItemError> for Failure {
    fn from(error: ItemError) -> Self {
        Self::Item(error)
    }
}

/// An item on its way to a decoding thread, and where its outcome goes.
struct Task {
    slot: usize,
    row: Row,
    done: Sender<Slot>,
}

/// Rows on their way to the model, which makes batches of them: their items arrive on `slots`.
struct Window {
    block: u64,
    /// Rows of the whole block.
    block_rows: usize,
    /// The window's rows within the block.
    rows: Range<usize>,
    /// Those of them that are prepared, in order.
    prepared: Vec<usize>,
    /// The rows that are embedded again; none where all are embedded.
    again: Option<Vec<usize>>,
    slots: Receiver<Slot>,
}

struct Feeder {
    spool: Arc<Spool>,
    batching: Batching,
    again: Option<BTreeMap<u64, Vec<usize>>>,
    windows: Sender<Result<Window>>,
    items: Sender<Task>,
}

impl Feeder {
    /// Walks through the share; ends early when the receivers are gone, i.e. the job is ending.
    fn run(&self, share: Vec<Range<u64>>) {
        for block in share.into_iter().flatten() {
            match self.spool.block(block) {
                Ok(rows) => {
                    if self.feed(block, rows).is_none() {
                        return;
                    }
                }
                Err(error) => {
                    let _ = self.windows.send(Err(error));
                    return;
                }
            }
        }
    }

    fn feed(&self, block: u64, rows: Vec<Row>) -> Option<()> {
        let block_rows = rows.len();
        let again = self.again.as_ref().map(|again| again.get(&block).cloned().unwrap_or_default());
        let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
        for range in self.batching.windows(block_rows) {
            let prepared = match &again {
                Some(failed) => self.batching.again(range.clone(), failed),
                None => range.clone().collect(),
            };
            let (done, slots) = bounded(prepared.len());
            let window = Window {
                block,
                block_rows,
                rows: range.clone(),
                prepared: prepared.clone(),
                again: again.clone(),
                slots,
            };
            self.windows.send(Ok(window)).ok()?;
            for row in prepared {
                let slot = row - range.start;
                let row = rows[row].take()?;
                self.items.send(Task { slot, row, done: done.clone() }).ok()?;
            }
        }
        Some(())
    }
}

fn decode_items(items: &Receiver<Task>, preparer: &dyn Preparer, reader: &ViewReader, progress: &AtomicU64) {
    model::device::set_decode_threads();
    for Task { slot, row, done } in items {
        let outcome = match row {
            Row::Caption(text) => prepare(preparer, Item::Caption(&text)).map(whole),
            Row::View(view) => {
                read_view(reader, &view).and_then(|bytes| prepare(preparer, Item::View(&bytes))).map(whole)
            }
            Row::ViewSet(views) => prepare_views(preparer, reader, &views),
        };
        progress.fetch_add(1, Ordering::Relaxed);
        // The model thread has gone only if the job is ending.
        let _ = done.send((slot, outcome));
    }
}

fn whole(prepared: Prepared) -> Ready {
    Ready { prepared, left_out: None }
}

/// The views of an asset as one item, without those that fail.
fn prepare_views(
    preparer: &dyn Preparer,
    reader: &ViewReader,
    views: &[View],
) -> std::result::Result<Ready, Failure> {
    let (mut prepared, mut failed) = (Vec::new(), Vec::new());
    for view in views {
        match read_view(reader, view).and_then(|bytes| prepare(preparer, Item::View(&bytes))) {
            Ok(one) => prepared.push(one),
            Err(Failure::Item(error)) => failed.push((file_name(view), error)),
            Err(failure @ Failure::Rank(_)) => return Err(failure),
        }
    }
    if prepared.is_empty() {
        return Err(ItemError::of_views(views.len(), &failed).into());
    }
    let left_out = (!failed.is_empty()).then(|| ItemError::of_views(views.len(), &failed));
    Ok(Ready { prepared: preparer.join(prepared)?, left_out })
}

fn file_name(view: &View) -> &str {
    view.path.rsplit('/').next().unwrap_or_default()
}

fn prepare(preparer: &dyn Preparer, item: Item<'_>) -> std::result::Result<Prepared, Failure> {
    let outcome = shielded(|| preparer.prepare(item)).map_err(|panic| {
        // Foreign code that panics on this item: every resume would meet it again.
        let kind = match item {
            Item::Caption(_) => ItemErrorKind::Unreadable,
            Item::View(_) => ItemErrorKind::BrokenPicture,
        };
        ItemError::new(kind, format!("the decoder gave up: {panic}"))
    })?;
    Ok(outcome?)
}

/// A view's bytes, tried again where trouble may pass.
fn read_view(reader: &ViewReader, view: &View) -> std::result::Result<Vec<u8>, Failure> {
    let mut attempt = 1;
    loop {
        match reader.read(view) {
            Ok(bytes) => return Ok(bytes),
            Err(ReadError::Item(error)) => return Err(error.into()),
            Err(ReadError::Machine(_)) if attempt < READS => {
                attempt += 1;
                std::thread::sleep(READ_PAUSE);
            }
            Err(ReadError::Machine(error)) => {
                let error =
                    Error::new(format!("cannot read {}: {error}", reader.root().join(&view.path).display()));
                return Err(Failure::Rank(error.hint(
                    "this is the file system's or the machine's trouble, not the picture's: mend it and run the \
                     same command again",
                )));
            }
        }
    }
}

/// The model thread: windows in order, cut into batches, gathered into blocks.
struct ModelThread<'a> {
    embedder: &'a mut dyn Embedder,
    batching: Batching,
    progress: &'a AtomicU64,
}

impl ModelThread<'_> {
    fn compute_blocks(
        mut self,
        windows: &Receiver<Result<Window>>,
        blocks: &Sender<Result<BlockRows>>,
        ending: &AtomicBool,
    ) -> Spans {
        let mut watch = Stopwatch::start(Span::Decode);
        let mut block: Option<BlockRows> = None;
        for window in windows {
            let outcome = window.and_then(|window| {
                let rows = block.get_or_insert_with(|| BlockRows {
                    block: window.block,
                    vectors: Array2::zeros((window.block_rows, self.embedder.dim())),
                    failures: Vec::new(),
                    truncated: 0,
                    prepared: Vec::new(),
                });
                self.compute_window(&window, rows, &mut watch)?;
                Ok(window.rows.end == window.block_rows)
            });
            watch.switch(Span::Write);
            let goes_on = match outcome {
                Ok(true) => block.take().is_none_or(|rows| blocks.send(Ok(rows)).is_ok()),
                Ok(false) => true,
                Err(error) => {
                    // Nobody is left to tell if the receiver has gone.
                    let _ = blocks.send(Err(error));
                    false
                }
            };
            if !goes_on || ending.load(Ordering::Relaxed) {
                break;
            }
            watch.switch(Span::Decode);
        }
        watch.stop()
    }

    fn compute_window(
        &mut self,
        window: &Window,
        block: &mut BlockRows,
        watch: &mut Stopwatch,
    ) -> Result<()> {
        let mut slots: Vec<Option<Prepared>> = window.rows.clone().map(|_| None).collect();
        // In order of rows, whatever the order in which decoding threads finish: files must not depend on it.
        let mut failures = BTreeMap::new();
        for (slot, outcome) in window.slots.iter().take(window.prepared.len()) {
            match outcome {
                Ok(Ready { prepared, left_out }) => {
                    slots[slot] = Some(prepared);
                    failures.extend(left_out.map(|error| (window.rows.start + slot, error)));
                }
                Err(Failure::Item(error)) => drop(failures.insert(window.rows.start + slot, error)),
                Err(Failure::Rank(error)) => return Err(error),
            }
        }
        watch.switch(Span::Model);
        // What had its vector before is counted already.
        let counts =
            |slot: usize| window.again.as_ref().is_none_or(|rows| rows.contains(&(window.rows.start + slot)));
        let cut = |(slot, item): (usize, &Option<Prepared>)| {
            counts(slot) && item.as_ref().is_some_and(Prepared::is_cut)
        };
        block.truncated += slots.iter().enumerate().filter(|slot| cut(*slot)).count() as u64;
        let tokens: Vec<_> = slots.iter().map(|slot| slot.as_ref().map(Prepared::tokens)).collect();
        for batch in self.batching.batches(&tokens) {
            let items: Vec<_> = batch.iter().map(|&slot| slots[slot].take()).collect();
            let rows: Vec<_> = batch.iter().map(|slot| window.rows.start + slot).collect();
            failures.extend(self.compute_batch(&items, &rows, &mut block.vectors)?);
        }
        watch.switch(Span::Decode);
        block.prepared.extend(&window.prepared);
        block.failures.extend(failures);
        Ok(())
    }

    /// Puts the vectors of a batch into their rows; returns the items whose vector is none.
    fn compute_batch(
        &mut self,
        items: &[Option<Prepared>],
        rows: &[usize],
        vectors: &mut Array2<f32>,
    ) -> Result<Vec<(usize, ItemError)>> {
        // A batch with nothing in it is not worth computing; its rows are all marked.
        if items.iter().all(Option::is_none) {
            return Ok(Vec::new());
        }
        let computed = self.embedder.embed(items)?;
        self.progress.fetch_add(1, Ordering::Relaxed);
        let mut not_finite = Vec::new();
        for ((vector, item), &row) in computed.outer_iter().zip(items).zip(rows) {
            if item.is_some() && !vector.iter().all(|value| value.is_finite()) {
                not_finite.push((row, ItemError::new(ItemErrorKind::NotFinite, "")));
            }
            vectors.row_mut(row).assign(&vector);
        }
        Ok(not_finite)
    }
}
