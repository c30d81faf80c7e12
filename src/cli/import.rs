//! `hyperslab import`: the old pipeline's files of arrays, as files of ours.

mod digest;
mod source;
mod take;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::out::{bytes, count, note, to_stdout};
use crate::PROGRAM;
use crate::error::{Error, Exit, Result};
use crate::input::Odd;
use crate::input::arrays::{self, Judge, Request};
use crate::plan::Kind;
use crate::store::{Compression, Digest, Draft, NewFile, StoredType, Writer};
use source::{Source, are_hdf5, open_old};
use take::{Taken, take};

/// Names of source files that the output's provenance has.
const NAMES_MAX: usize = 16;
/// How the digests are headed: of the source, and of the output read back.
const HEADS: [&str; 2] = ["digest before", "digest after"];

/// The old pipeline's .npy, .npz, pickled dictionaries and .h5 as a file of ours
///
/// Takes over ids and vectors, sorted by id, in bounded memory: the files are read in place, compressed ones
/// unpacked for a while beside the output. Pickles are parsed and never executed. Rows of zeros, and rows that are
/// not finite, are what is left of items that failed: they become NaN, with a line in /failures. Prints the SHA-256
/// of ids and vectors, of the source and of the output read back, which have to be equal.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  hyperslab import siglip-text siglip_text_embeddings.h5 text_rank_*.npz
  hyperslab import siglip-image siglip_image_embeddings.h5 siglip_image.npy --metadata siglip_image.json
  hyperslab import siglip-image siglip_image_embeddings.h5 image_embeddings.pkl
  hyperslab import qwen-text qwen_text_embeddings.h5 --english en.pkl --chinese zh.pkl --normalize
  hyperslab import qwen-image qwen_image_embeddings.h5 qwen_image.pkl --num-images 8
  hyperslab import qwen-text new/qwen_text_embeddings.h5 old/qwen_text_embeddings.h5

What the files hold:
  .npy     rows; their ids in JSON: [\"id\", ...] or {\"id\": {\"start_idx\": 0, \"count\": 12}, ...}
  .npz     asset_ids, embeddings, and counts for views; those of all ranks are one source
  .h5      embeddings with asset_ids or metadata, as the old pipeline left them
  pickle   {id: array}, for views {id: [array, ...]} or {id: array of rows}; lists of numbers do for arrays
  Floats of 2, 4 or 8 bytes. Protocols 2 to 5, NumPy 1 and 2.

The digest is that of each id, a NUL, and its vectors as little-endian float32, in the order of the ids' bytes; failed
rows are the NaN 7fc00000, and with --dtype f16 and --normalize the vectors those that are stored.")]
pub struct ImportArgs {
    /// What the vectors are of
    #[arg(value_name = "KIND")]
    pub what: What,
    /// The file to make
    #[arg(value_name = "OUT.h5")]
    pub output: PathBuf,
    /// Source files of one format, which together are one source; for qwen-text .h5 alone
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// For qwen-text: the source files of the English captions' vectors
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub english: Vec<PathBuf>,
    /// For qwen-text: the source files of the Chinese captions' vectors
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub chinese: Vec<PathBuf>,
    /// For .npy: the JSON file of the ids, one for each file, in their order (the English ones first)
    #[arg(long, value_name = "FILE.json", num_args = 1..)]
    pub metadata: Vec<PathBuf>,
    /// For qwen-image: of how many views each vector was made, which the old files do not say
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub num_images: Option<i32>,
    /// Divide each vector by its norm; without this, vectors whose norm is not 1 are refused
    #[arg(long)]
    pub normalize: bool,
    /// The model that made the vectors, as the output's provenance names it
    #[arg(long, value_name = "NAME")]
    pub model_name: Option<String>,
    /// How vectors are stored: f32 or f16
    #[arg(long, env = "HYPERSLAB_DTYPE", value_name = "TYPE", default_value = "f32")]
    pub dtype: StoredType,
    /// gzip:1 to gzip:9 (after shuffle), or none
    #[arg(long, env = "HYPERSLAB_COMPRESSION", value_name = "HOW", default_value = "gzip:4")]
    pub compression: Compression,
    /// Rows per block [default: 1024, fewer for small inputs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub block_rows: Option<u64>,
    /// Replace the output if it is there, once the new one is complete
    #[arg(long)]
    pub overwrite: bool,
}

/// Which of the four files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// SigLIP's vectors of captions, one for each asset
    SiglipText,
    /// SigLIP's vectors of views
    SiglipImage,
    /// Qwen's vectors of captions, English and Chinese
    QwenText,
    /// Qwen's vectors of all views of an asset, one for each asset
    QwenImage,
}

impl What {
    fn kind(self) -> Kind {
        match self {
            Self::SiglipText | Self::QwenText => Kind::Text,
            Self::SiglipImage => Kind::Image,
            Self::QwenImage => Kind::ViewSet,
        }
    }

    /// As the file itself says what it holds.
    fn name(self) -> &'static str {
        match self {
            Self::SiglipText => "siglip_text",
            Self::SiglipImage => "siglip_image",
            Self::QwenText => "qwen_text",
            Self::QwenImage => "qwen_image",
        }
    }
}

/// One group of the output and where it comes from.
struct Part {
    group: &'static str,
    vectors: Source,
}

/// Imports the files.
///
/// # Errors
/// Options that do not fit each other, a source that cannot be read or holds something else, an output that is
/// there or cannot be written; and what the output reads back as is not what was read from the source.
pub fn run(args: &ImportArgs) -> Result<Exit> {
    let sources = sources(args)?;
    refuse_own(args)?;
    // The writer makes a file that is complete; it gets the output's name once it was compared with the source.
    let draft = Draft::new(&args.output, args.overwrite)?;
    let parts = open(args, &sources)?;
    let Some(dim) = parts.first().map(|part| part.vectors.dim()) else {
        return Err(Error::new("there are no vectors in the source").hint("is it complete?"));
    };
    if let Some(other) = parts.iter().find(|part| part.vectors.dim() != dim) {
        let (group, other, first) =
            (other.group, other.vectors.dim(), parts.first().map_or("", |part| part.group));
        return Err(Error::new(format!("{group} vectors of {other} components, and {first} ones of {dim}"))
            .hint("the vectors of one file are all of one model"));
    }
    let new = NewFile {
        path: draft.temporary(),
        overwrite: true,
        kind: args.what.kind(),
        name: args.what.name(),
        groups: parts.iter().map(|part| (part.group.to_owned(), part.vectors.table().clone())).collect(),
        dim,
        stored: args.dtype,
        compression: args.compression,
        block_rows: args.block_rows,
        attributes: attributes(args, &parts),
        truncated: None,
    };
    let taken = write(args, &parts, Writer::create(new)?)?;
    let after = read_back(draft.temporary(), &parts)?;
    refuse_different(&parts, &taken, &after)?;
    draft.publish()?;
    to_stdout(|out| {
        tell(out, args, &parts, &taken, &after)?;
        Ok(Exit::Success)
    })
}

/// Refuses to replace a file that is read.
fn refuse_own(args: &ImportArgs) -> Result<()> {
    let Ok(output) = args.output.canonicalize() else { return Ok(()) };
    let mut files = args.files.iter().chain(&args.english).chain(&args.chinese).chain(&args.metadata);
    match files.find(|file| file.canonicalize().is_ok_and(|file| file == output)) {
        None => Ok(()),
        Some(file) => Err(Error::new(format!("{} would replace the file that is read", file.display()))),
    }
}

/// The files of each group.
fn sources(args: &ImportArgs) -> Result<Vec<(&'static str, &[PathBuf])>> {
    let usage = |message: &str| Err(Error::new(message).exit(Exit::Usage));
    let languages = [("english", &args.english[..]), ("chinese", &args.chinese[..])];
    let groups: Vec<_> = match args.what {
        What::QwenText if !args.files.is_empty() && !are_hdf5(&args.files)? => {
            return usage("qwen-text has two languages: name the files with --english and --chinese");
        }
        What::QwenText if languages.iter().any(|(_, files)| !files.is_empty()) && !args.files.is_empty() => {
            return usage(
                "an .h5 file has both languages: leave --english and --chinese out, or make files to merge",
            );
        }
        What::QwenText if !args.files.is_empty() => vec![("", &args.files[..])],
        What::QwenText => languages.into_iter().filter(|(_, files)| !files.is_empty()).collect(),
        _ if !args.english.is_empty() || !args.chinese.is_empty() => {
            return usage("--english and --chinese are for qwen-text alone");
        }
        _ => vec![("", &args.files[..])],
    };
    if groups.iter().all(|(_, files)| files.is_empty()) {
        return usage("no source file is named");
    }
    if !args.metadata.is_empty() && are_hdf5(&args.files)? {
        return usage("--metadata is for .npy: an .h5 file has its ids in it");
    }
    match (args.what, args.num_images) {
        (What::QwenImage, None) => usage(
            "--num-images N is missing: of how many views each vector was made, the old files do not say",
        ),
        (What::QwenImage, Some(_)) | (_, None) => Ok(groups),
        (_, Some(_)) => usage("--num-images is for qwen-image alone"),
    }
}

/// Opens the sources of all groups; those without vectors have no group.
fn open(args: &ImportArgs, sources: &[(&'static str, &[PathBuf])]) -> Result<Vec<Part>> {
    if are_hdf5(&args.files)? {
        let groups = open_old(&args.files, &args.output, args.what.kind(), args.what == What::QwenText)?;
        let parts = groups.into_iter().map(|(group, vectors)| Part { group, vectors });
        return Ok(parts.filter(|part| !part.vectors.table().is_empty()).collect());
    }
    let mut length = 0;
    for (_, files) in sources {
        length += arrays::bytes_to_read(files)?;
    }
    let bar = bar(length, "reading the source {wide_bar} {bytes} of {total_bytes}, {eta} left");
    let mut metadata = &args.metadata[..];
    let mut parts = Vec::new();
    for &(group, files) in sources {
        // Where there are too few, or some are left, it is the source that knows whether it needs any.
        let is_last = sources.last().is_some_and(|(last, _)| *last == group);
        let n = if is_last { metadata.len() } else { files.len().min(metadata.len()) };
        let (own, others) = metadata.split_at(n);
        metadata = others;
        let request = Request { files, metadata: own, kind: args.what.kind(), output: &args.output };
        let vectors = arrays::open(&request, &mut |more| bar.inc(more))?;
        if vectors.table().is_empty() && !group.is_empty() {
            note(format_args!("{group}: there are no vectors in its source, and it gets no group"));
        }
        if !vectors.table().is_empty() {
            parts.push(Part { group, vectors: Source::Arrays(vectors) });
        }
    }
    bar.finish_and_clear();
    Ok(parts)
}

/// Writes all rows; of each group what it was, and the digest of what is to be in the output.
fn write(args: &ImportArgs, parts: &[Part], mut writer: Writer) -> Result<Vec<Taken>> {
    let judge = Judge { normalize: args.normalize, tolerance: args.dtype.norm_tolerance() };
    let kind = args.what.kind();
    let rows = parts.iter().map(|part| kind.rows(part.vectors.table())).sum();
    let bar = bar(rows, "writing {wide_bar} {human_pos} of {human_len} rows, {eta} left");
    let mut all = Vec::new();
    for part in parts {
        let number = args.num_images.unwrap_or(1);
        let taken = take(&part.vectors, kind, (judge, args.dtype, number), &mut writer, &|| bar.inc(1));
        all.push(taken.map_err(|error| {
            let group = if part.group.is_empty() { String::new() } else { format!("{}: ", part.group) };
            Error { message: format!("{group}{}", error.message), ..error }
        })?);
        part.vectors.refuse_changed()?;
    }
    writer.finish()?;
    bar.finish_and_clear();
    Ok(all)
}

/// The digest of each group as it reads back.
fn read_back(path: &Path, parts: &[Part]) -> Result<Vec<Digest>> {
    let rows = parts.iter().map(|part| part.vectors.table().total()).sum();
    let bar = bar(rows, "reading it back {wide_bar} {human_pos} of {human_len} rows, {eta} left");
    let digests = parts.iter().map(|part| digest::of_group(path, part.group, &|rows| bar.inc(rows)));
    let digests = digests.collect();
    bar.finish_and_clear();
    digests
}

/// Shown on a terminal alone.
fn bar(length: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn refuse_different(parts: &[Part], taken: &[Taken], after: &[Digest]) -> Result<()> {
    for ((part, taken), after) in parts.iter().zip(taken).zip(after) {
        if taken.digest != *after {
            let group = if part.group.is_empty() { String::new() } else { format!("{}: ", part.group) };
            let before = taken.digest;
            return Err(Error::new(format!(
                "{group}what was read from the source has the digest {before}, and the file made of it {after}"
            ))
            .exit(Exit::Damaged)
            .hint("memory or the file system changed it: try again, elsewhere; nothing was kept"));
        }
    }
    Ok(())
}

/// What the output says of where it comes from.
fn attributes(args: &ImportArgs, parts: &[Part]) -> Vec<(String, String)> {
    let of_parts = |what: &dyn Fn(&Source) -> String| {
        let texts = parts.iter().map(|part| match part.group {
            "" => what(&part.vectors),
            group => format!("{group}: {}", what(&part.vectors)),
        });
        texts.collect::<Vec<_>>().join("; ")
    };
    let attribute = |name: &str, value: String| (name.to_owned(), value);
    let mut attributes: Vec<_> =
        args.model_name.iter().map(|name| attribute("model_name", name.clone())).collect();
    attributes.push(attribute("program", PROGRAM.to_owned()));
    attributes.push(attribute("imported_from", of_parts(&names)));
    attributes.push(attribute("source_sha256", of_parts(&|vectors| vectors.sha256().to_string())));
    if args.normalize {
        attributes.push(attribute("normalized", "by the import".to_owned()));
    }
    attributes
}

/// The names of the source files, of which there may be thousands.
fn names(source: &Source) -> String {
    let paths = source.paths();
    let name = |path: &&Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut names: Vec<String> = paths.iter().take(NAMES_MAX).map(name).collect();
    let more = paths.len() - names.len();
    names.extend((more > 0).then(|| format!("{} more", count(more as u64, "file"))));
    names.join(", ")
}

fn tell(
    out: &mut dyn Write,
    args: &ImportArgs,
    parts: &[Part],
    taken: &[Taken],
    after: &[Digest],
) -> io::Result<()> {
    let size = std::fs::metadata(&args.output)?.len();
    writeln!(out, "{}: {}", args.output.display(), bytes(size))?;
    for ((part, taken), after) in parts.iter().zip(taken).zip(after) {
        let (vectors, group) = (&part.vectors, part.group);
        if !group.is_empty() {
            writeln!(out, "/{group}")?;
        }
        let (files, read) = (vectors.paths().len() as u64, bytes(vectors.bytes()));
        let (assets, rows) = (count(vectors.table().len() as u64, "asset"), count(taken.rows, "row"));
        writeln!(
            out,
            "  {assets}, {rows} of {} as {}",
            count(vectors.dim() as u64, "component"),
            args.dtype
        )?;
        writeln!(out, "  from {}, {}, {read}", count(files, "file"), vectors.format())?;
        writeln!(out, "  {} failed{}", count(taken.failed(), "row"), taken.failures())?;
        tell_left_out(out, vectors.left_out(), vectors.unclaimed())?;
        for (head, digest) in HEADS.into_iter().zip([&taken.digest, after]) {
            writeln!(out, "  {head:13}  {digest}")?;
        }
    }
    Ok(())
}

fn tell_left_out(out: &mut dyn Write, left_out: &Odd, unclaimed: u64) -> io::Result<()> {
    if left_out.count > 0 {
        let (assets, first) = (count(left_out.count, "asset"), left_out.first.join(", "));
        let more = if left_out.count > left_out.first.len() as u64 { ", …" } else { "" };
        writeln!(out, "  {assets} without vectors left out: {first}{more}")?;
    }
    if unclaimed > 0 {
        writeln!(out, "  {} that no asset has left out", count(unclaimed, "row"))?;
    }
    Ok(())
}
