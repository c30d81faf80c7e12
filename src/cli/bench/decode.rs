//! `hyperslab bench decode`: how fast this machine prepares pictures for a model.

use std::path::PathBuf;

use clap::Args;

use crate::cli::compute::at_least_one;

/// Decode and resize pictures as `embed` does, without computing; prints pictures a second
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct BenchDecodeArgs {
    /// The model, whose size and filter are used: a folder, or a name in the cache
    #[arg(long, env = "HYPERSLAB_MODEL", value_name = "DIR|NAME")]
    model: PathBuf,
    /// The most patches a picture becomes, as `embed` takes it
    #[arg(long, env = "HYPERSLAB_MAX_NUM_PATCHES", value_name = "N", value_parser = at_least_one)]
    max_num_patches: Option<usize>,
    /// Threads at once; several numbers are measured one after the other
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1")]
    threads: Vec<usize>,
    /// How long to measure each, in seconds
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    seconds: f64,
    /// Picture files, which are held in memory
    #[arg(required = true, value_name = "PICTURE")]
    pictures: Vec<PathBuf>,
}

const EXAMPLES: &str = "\
Example:
  hyperslab bench decode --model siglip-so400m --threads 1,2,4 renders/0/10002/*.png";

#[cfg(feature = "engine")]
pub use engine::run;

#[cfg(feature = "engine")]
mod engine {
    use std::fmt::Write as _;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::BenchDecodeArgs;
    use crate::error::{Context, Result};
    use crate::hub;
    use crate::model::{self, Item, Modality, Options, Preparer};

    /// Runs the measurement; returns what is printed.
    ///
    /// # Errors
    /// A model without preprocessing, or a file that cannot be read.
    pub fn run(args: &BenchDecodeArgs) -> Result<String> {
        let pictures = Options { max_num_patches: args.max_num_patches, ..Options::default() };
        let folder = hub::find(&args.model)?.path;
        let preparer = model::preprocessing(&folder, Modality::Image, &pictures)?.preparer;
        let read = |path: &std::path::PathBuf| std::fs::read(path).context(|| path.display());
        let pictures = args.pictures.iter().map(read).collect::<Result<Vec<_>>>()?;
        let mut text = String::new();
        for threads in args.threads.iter().map(|&threads| threads.max(1)) {
            let began = Instant::now();
            let (done, failed) = measure(preparer.as_ref(), &pictures, threads, args.seconds);
            let rate = done as f64 / began.elapsed().as_secs_f64();
            let each_ms = 1000.0 * threads as f64 / rate;
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "threads {threads}: {rate:.1} pictures/s, {each_ms:.2} ms of a thread each; failed {failed}"
            );
        }
        Ok(text)
    }

    /// Prepares the pictures again and again; how many there were, and how many of them failed.
    fn measure(
        preparer: &dyn Preparer,
        pictures: &[Vec<u8>],
        threads: usize,
        seconds: f64,
    ) -> (usize, usize) {
        let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let began = Instant::now();
        let work = || {
            model::device::set_decode_threads();
            while began.elapsed().as_secs_f64() < seconds {
                let picture = next.fetch_add(1, Ordering::Relaxed) % pictures.len();
                if preparer.prepare(Item::View(&pictures[picture])).is_err() {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
        (next.into_inner(), failed.into_inner())
    }
}
