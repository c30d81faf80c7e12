//! The plan for people: one column per file, then views, disk, and what is odd.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use super::odd::OddInput;
use super::report::{FilePlan, MemoryNeed, Report};
use crate::cli::out::{bytes, count, thousands};
use crate::plan::Kind;

/// More different numbers of views than this are shown in ranges.
const BARS_MAX: usize = 10;
/// Width of the longest bar.
const BAR: u64 = 40;

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write_files(f)?;
        self.write_empty(f)?;
        self.write_views(f)?;
        self.write_pictures(f)?;
        self.write_disk(f)?;
        self.write_odd(f)?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "\nwarning: {warning}"))?;
        self.sbatch.iter().try_for_each(|path| {
            let path = path.display();
            writeln!(f, "\njob script: {path}; adapt its marked lines, then: sbatch {path}")
        })
    }
}

impl Report {
    fn write_files(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<(String, Vec<String>)> = Vec::new();
        let mut line = |label: &str, cell: &dyn Fn(&FilePlan) -> String| {
            lines.push((label.to_owned(), self.files.iter().map(cell).collect()));
        };
        let assumed = if self.dim_is_assumed { " (assumed)" } else { "" };
        line("", &|file| file.file.clone());
        line("assets", &|file| thousands(file.assets));
        line("rows", &|file| thousands(file.rows));
        for group in self.files.iter().flat_map(|file| &file.groups) {
            line(&format!("     {}", group.name), &|file| {
                let rows = file.groups.iter().find(|other| other.name == group.name);
                rows.map_or_else(String::new, |group| thousands(group.rows))
            });
        }
        line("vector", &|file| format!("{} x {}{assumed}", thousands(file.dim), self.dtype));
        line("blocks", &|file| format!("{} of {}", thousands(file.blocks), count(file.block_rows, "row")));
        line(&format!("rows per rank ({})", count(self.ranks, "rank")), &|file| {
            span(file.rows_per_rank_min, file.rows_per_rank_max)
        });
        line("while running: .partial", &|file| bytes(file.bytes.partial));
        line("               .plan", &|file| bytes(file.bytes.plan));
        line("               .journal", &|file| bytes(file.bytes.journal));
        line("while sealing: .tmp", &|file| bytes(file.bytes.tmp));
        line(&format!("sealed ({})", self.compression), &|file| bytes(file.bytes.sealed));
        if let Some(precision) = self.files.iter().find_map(|file| Some(&file.memory.as_ref()?.precision)) {
            line(&format!("GPU memory ({precision}): model"), &|file| {
                memory(file, |need| need.weights_bytes)
            });
            line("               batch, about", &|file| memory(file, |need| need.batch_bytes));
        }
        if let Some(rate) = self.rate {
            line(&format!("time at {rate} rows/s a rank"), &|file| {
                duration(file.seconds.unwrap_or_default())
            });
        }
        let label_width = lines.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        let width =
            lines.iter().flat_map(|(_, cells)| cells).map(|cell| cell.chars().count()).max().unwrap_or(0);
        for (label, cells) in lines {
            write!(f, "{label:<label_width$}")?;
            cells.iter().try_for_each(|cell| write!(f, "   {cell:>width$}"))?;
            writeln!(f)?;
        }
        Ok(())
    }

    fn write_empty(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for file in self.files.iter().filter(|file| file.rows == 0) {
            let item = match file.kind {
                Kind::Text => "caption",
                Kind::Image | Kind::ViewSet => "view",
            };
            writeln!(f, "\n{} would be EMPTY: there is no {item}, and embed refuses that", file.file)?;
        }
        Ok(())
    }

    fn write_views(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(file) = self.files.iter().find(|file| !file.views_found.is_empty()) else { return Ok(()) };
        let bars = bars(&file.views_found);
        let (label_width, width) = bars.iter().fold((5, 6), |(label, width), (views, assets)| {
            (label.max(views.chars().count()), width.max(thousands(*assets).len()))
        });
        let most = bars.iter().map(|(_, assets)| *assets).max().unwrap_or(1).max(1);
        writeln!(f, "\n{:>label_width$}   {:>width$}", "views", "assets")?;
        for (views, assets) in bars {
            let bar = "█".repeat((assets * BAR).div_ceil(most) as usize);
            writeln!(f, "{views:>label_width$}   {:>width$}   {bar}", thousands(assets))?;
        }
        Ok(())
    }

    fn write_pictures(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(pictures) = &self.pictures else { return Ok(()) };
        if let Some(why) = &pictures.not_looked {
            return writeln!(f, "\nnot looked at any picture: {why}");
        }
        let sizes: Vec<String> =
            pictures.sizes.iter().map(|(size, n)| format!("{size} ({})", thousands(*n))).collect();
        write!(f, "\nlooked at {}", count(pictures.looked_at, "picture"))?;
        if pictures.looked_at < pictures.sampled {
            write!(f, " (of {}, there was no time for more)", thousands(pictures.sampled))?;
        }
        writeln!(f, "{}{}", if sizes.is_empty() { "" } else { ": " }, sizes.join(", "))?;
        if pictures.warnings.is_empty() {
            return writeln!(f, "  nothing amiss");
        }
        pictures.warnings.iter().try_for_each(|warning| writeln!(f, "  WARNING {warning}"))
    }

    fn write_disk(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let verdict = match self.short_bytes {
            0 => "enough".to_owned(),
            short => format!("{} SHORT", bytes(short)),
        };
        let (needed, free) = (bytes(self.needed_bytes), bytes(self.free_bytes));
        write!(f, "\ndisk of {}: {needed} needed at most, {free} free", self.output_dir.display())?;
        if self.taken_bytes > 0 {
            write!(f, " and {} of an unfinished job", bytes(self.taken_bytes))?;
        }
        writeln!(f, ": {verdict}")?;
        for file in self.files.iter().filter(|file| file.exists) {
            writeln!(f, "{} is there already: embed needs --overwrite", file.file)?;
        }
        Ok(())
    }

    fn write_odd(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.odd.is_empty() {
            return writeln!(f, "\nnothing odd");
        }
        let (alarms, others): (Vec<&OddInput>, _) = self.odd.iter().partition(|odd| odd.alarming);
        for (title, odd) in [("LOOK AT THIS", alarms), ("odd", others)] {
            if !odd.is_empty() {
                writeln!(f, "\n{title}")?;
                write_oddities(f, &odd)?;
            }
        }
        Ok(())
    }
}

fn write_oddities(f: &mut Formatter<'_>, all: &[&OddInput]) -> fmt::Result {
    let width = all.iter().map(|odd| thousands(odd.odd.count).len()).max().unwrap_or(0);
    for oddity @ OddInput { names, odd, .. } in all {
        write!(f, "  {:>width$} {}", thousands(odd.count), oddity.words())?;
        names.iter().try_for_each(|names| write!(f, ", {names}"))?;
        let mut first = odd.first.join(", ");
        if odd.count > odd.first.len() as u64 && !first.is_empty() {
            first.push_str(", …");
        }
        writeln!(f, "{}{first}", if first.is_empty() { "" } else { ": " })?;
    }
    Ok(())
}

/// Bytes that a file's computation takes, where they are known.
fn memory(file: &FilePlan, part: impl Fn(&MemoryNeed) -> u64) -> String {
    file.memory.as_ref().map_or_else(String::new, |need| bytes(part(need)))
}

/// `low` to `high`, or the one number.
fn span(low: u64, high: u64) -> String {
    if low == high { thousands(low) } else { format!("{} to {}", thousands(low), thousands(high)) }
}

/// The histogram's lines: each number of views, or equal ranges of them where there are too many.
fn bars(histogram: &BTreeMap<u64, u64>) -> Vec<(String, u64)> {
    let (Some((&low, _)), Some((&high, _))) = (histogram.first_key_value(), histogram.last_key_value())
    else {
        return Vec::new();
    };
    if histogram.len() <= BARS_MAX {
        return histogram.iter().map(|(views, assets)| (thousands(*views), *assets)).collect();
    }
    let step = (high - low + 1).div_ceil(BARS_MAX as u64);
    let starts = (0..BARS_MAX as u64).map(|bar| low + bar * step).filter(|start| *start <= high);
    starts
        .map(|start| {
            (
                span(start, high.min(start + step - 1)),
                histogram.range(start..start + step).map(|(_, n)| n).sum(),
            )
        })
        .collect()
}

/// Seconds in the two largest units that say something.
pub(super) fn duration(seconds: f64) -> String {
    let seconds = seconds.ceil() as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if days > 0 {
        format!("{days} d {} h", hours % 24)
    } else if hours > 0 {
        format!("{hours} h {} min", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes} min {} s", seconds % 60)
    } else {
        format!("{seconds} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_numbers_of_views_become_ranges_that_keep_every_asset() {
        let few = BTreeMap::from([(3, 5), (12, 100)]);
        assert_eq!(bars(&few), [("3".to_owned(), 5), ("12".to_owned(), 100)]);
        let many: BTreeMap<u64, u64> = (1..=57).map(|views| (views, views)).collect();
        let ranges = bars(&many);
        assert_eq!(ranges.len(), BARS_MAX);
        assert_eq!(ranges.iter().map(|(_, assets)| assets).sum::<u64>(), many.values().sum::<u64>());
        assert_eq!(ranges[0], ("1 to 6".to_owned(), 21));
        assert_eq!(ranges[9].0, "55 to 57");
        assert!(bars(&BTreeMap::new()).is_empty());
    }

    #[test]
    fn durations() {
        let cases = [
            (0.0, "0 s"),
            (59.2, "1 min 0 s"),
            (3599.0, "59 min 59 s"),
            (7260.0, "2 h 1 min"),
            (90_000.0, "1 d 1 h"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected);
        }
    }
}
