//! A look at a sample of the views, before hours are spent on what a model would see amiss.

use std::path::Path;

use serde::Serialize;

use crate::cli::out::{count, thousands};
use crate::error::Result;
use crate::input::{Input, Odd};

/// What a sample of the views looks like.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Pictures {
    /// Why none was looked at.
    pub not_looked: Option<String>,
    pub sampled: u64,
    /// Of the sample, in the time that is given to it.
    pub looked_at: u64,
    /// Pictures of each size, the most frequent first.
    pub sizes: Vec<(String, u64)>,
    /// Pixels of the largest.
    pub pixels_max: u64,
    /// Pictures that could not be read or decoded.
    pub broken: Odd,
    pub not_square: Odd,
    pub grey: Odd,
    pub blank: Odd,
    /// Pictures with transparency, and those of them where the hidden colour is another than white.
    pub transparent: Odd,
    pub hidden_colour: Odd,
    /// Mean over the latter of the mean absolute difference between the picture with alpha dropped and on
    /// white: 0 to 255.
    pub mean_difference: f64,
    /// What is hidden in the first of them, as #RRGGBB.
    pub example_of_hidden: Option<String>,
    /// What is amiss, and what to do.
    pub warnings: Vec<String>,
}

/// Looks at `n` views of as many assets; their paths begin at `root`.
///
/// # Errors
/// A view comes twice.
pub fn at(input: &Input, root: Option<&Path>, n: usize) -> Result<Pictures> {
    let sample = input.sample(n)?;
    let not_looked = |why: &str| Ok(Pictures { not_looked: Some(why.to_owned()), ..Pictures::default() });
    match root {
        _ if sample.is_empty() => not_looked("there are none"),
        None => not_looked("a list does not say where they are; add --renders ROOT"),
        #[cfg(not(feature = "engine"))]
        Some(_) => not_looked("this program was built without the part that decodes them"),
        #[cfg(feature = "engine")]
        Some(root) => Ok(engine::look_at(sample, root)),
    }
}

impl Pictures {
    /// Fills in what is amiss where transparency becomes `background`.
    pub fn advise(&mut self, background: &str) {
        let all = self.looked_at;
        let of_all = |odd: &Odd, one: &str, many: &str| {
            let what = if odd.count == 1 { one } else { many };
            let first = odd.first.first().map_or("", String::as_str);
            format!("{} of {} {what}, e.g. {first}", thousands(odd.count), count(all, "picture"))
        };
        let mut warnings = Vec::new();
        if self.hidden_colour.count > 0 && background == "drop" {
            warnings.push(format!(
                "{} ({}). With alpha dropped, which is SigLIP's default, they differ from the same on white, which is \
                 Qwen's, by {:.0} of 255 on average: the two models would see different backgrounds, and the vectors \
                 differ much. --background white puts them on white for every model",
                of_all(&self.hidden_colour, "has a hidden colour under its transparency", "have hidden colours under \
                    their transparency"),
                self.example_of_hidden.as_deref().unwrap_or_default(),
                self.mean_difference
            ));
        }
        if self.broken.count > 0 {
            let what = of_all(
                &self.broken,
                "cannot be read: its row will fail",
                "cannot be read: their rows will fail",
            );
            warnings.push(what);
        }
        if self.sizes.len() > 1 {
            let n = self.sizes.len();
            warnings.push(format!("they are of {n} sizes: is each of them a render, and of the same kind?"));
        }
        if self.not_square.count > 0 {
            let what = of_all(&self.not_square, "is not square", "are not square");
            warnings.push(format!("{what}: SigLIP of fixed resolution sees them squeezed into squares"));
        }
        if self.grey.count > 0 {
            let what = of_all(&self.grey, "has no colour", "have no colour");
            warnings.push(format!("{what}: depth maps or masks among the views?"));
        }
        if self.blank.count > 0 {
            warnings.push(of_all(&self.blank, "is of one colour, blank", "are of one colour, blank"));
        }
        self.warnings = warnings;
    }
}

/// What decodes pictures.
#[cfg(feature = "engine")]
mod engine {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    use crossbeam_channel::{Sender, unbounded};

    use super::Pictures;
    use crate::comm::shielded;
    use crate::input::{View, ViewReader};
    use crate::model::picture::{Look, look};

    /// What has not been looked at by then is left alone: a file system may be slow, or not answer at all.
    const LIMIT: Duration = Duration::from_secs(5);
    /// Two pictures differ to the eye, and to a model, from about here on: mean difference of all samples, of
    /// 255.
    const DIFFERENCE_MIN: f64 = 1.0;
    /// A thread mostly waits for the file system.
    const THREADS: usize = 8;

    /// A view's place in the sample, and what was seen or went wrong.
    type Seen = (usize, Result<Look, String>);

    /// Looks at the views with several threads; one that hangs is left behind.
    pub fn look_at(sample: Vec<View>, root: &Path) -> Pictures {
        let began = Instant::now();
        let work = Arc::new((sample, ViewReader::new(root), AtomicUsize::new(0)));
        let (sender, seen) = unbounded();
        for _ in 0..THREADS {
            let (work, sender) = (Arc::clone(&work), sender.clone());
            thread::spawn(move || look_at_some(&work.0, &work.1, &work.2, &sender));
        }
        drop(sender);
        let mut all: Vec<Seen> = Vec::new();
        while let Ok(one) = seen.recv_timeout(LIMIT.saturating_sub(began.elapsed())) {
            all.push(one);
        }
        // Threads finish in any order; what is told must not depend on it.
        all.sort_by_key(|(place, _)| *place);
        let view = |place: usize| work.0.get(place).map_or("", |view| view.path.as_str());
        let sampled = work.0.len() as u64;
        Pictures { sampled, ..sum_up(all.into_iter().map(|(place, seen)| (view(place), seen))) }
    }

    fn look_at_some(sample: &[View], reader: &ViewReader, next: &AtomicUsize, seen: &Sender<Seen>) {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(view) = sample.get(place) else { return };
            let bytes = reader.read(view).map_err(|error| error.to_string());
            let outcome = bytes.and_then(|bytes| {
                shielded(|| look(&bytes)).and_then(|look| look.map_err(|error| error.to_string()))
            });
            if seen.send((place, outcome)).is_err() {
                return;
            }
        }
    }

    fn sum_up<'a>(all: impl Iterator<Item = (&'a str, Result<Look, String>)>) -> Pictures {
        let mut pictures = Pictures::default();
        let mut sizes = BTreeMap::new();
        let mut difference = 0.0;
        for (path, seen) in all {
            pictures.looked_at += 1;
            let look = match seen {
                Ok(look) => look,
                Err(why) => {
                    pictures.broken.add(&format!("{path}: {why}"));
                    continue;
                }
            };
            *sizes.entry((look.width, look.height)).or_insert(0) += 1;
            pictures.pixels_max = pictures.pixels_max.max((look.width * look.height) as u64);
            let met = [
                (look.width != look.height, &mut pictures.not_square),
                (look.is_grey && !look.is_blank, &mut pictures.grey),
                (look.is_blank, &mut pictures.blank),
                (look.transparency.is_some(), &mut pictures.transparent),
            ];
            met.into_iter().filter(|(is_met, _)| *is_met).for_each(|(_, odd)| odd.add(path));
            if let Some(under) = look.transparency.filter(|under| under.difference >= DIFFERENCE_MIN) {
                difference += under.difference;
                pictures.hidden_colour.add(path);
                let [red, green, blue] = under.hidden;
                let colour = || format!("#{red:02x}{green:02x}{blue:02x}");
                pictures.example_of_hidden.get_or_insert_with(colour);
            }
        }
        pictures.mean_difference = difference / pictures.hidden_colour.count.max(1) as f64;
        pictures.sizes = by_frequency(sizes);
        pictures
    }

    fn by_frequency(sizes: BTreeMap<(usize, usize), u64>) -> Vec<(String, u64)> {
        let mut sizes: Vec<_> = sizes.into_iter().collect();
        sizes.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        sizes.into_iter().map(|((width, height), n)| (format!("{width} x {height}"), n)).collect()
    }
}
