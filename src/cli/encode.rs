//! `hyperslab encode`: lines of JSON into vectors, for a service that asks.

use std::path::PathBuf;

use clap::Args;

use super::ModelArgs;
use super::compute::{DeviceArg, at_least_one};
use super::embed::Only;

/// Turn texts and pictures, as they come on standard input, into vectors on standard output
///
/// A line of input is {"id": ..., "text": "..."}, {"id": ..., "image": "path"}, or a JSON string, which is a text;
/// `id` may be any value, or be left out. Each is answered by a line, in order: {"id": ..., "vector": [...]}, with
/// "truncated": true where a text had more tokens than the model takes, or {"id": ..., "error": "..."}. Empty lines
/// are not answered. The model is loaded once, before the first line is read. What is waiting is computed together;
/// who writes a line and waits is answered at once.
///
/// The vectors are those of `embed` with the same options, to rounding. --like FILE.h5 takes model and options from
/// a file that `embed` has made; options that are given beside it go before the file's.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct EncodeArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Take model and options from this file: the model that it names, from the Hugging Face cache, or --model, which
    /// must be the same one
    #[arg(long, value_name = "FILE.h5", help_heading = "Model")]
    pub like: Option<PathBuf>,
    /// Load what embeds texts, or pictures, alone [default: all that the model has]
    #[arg(long, value_name = "KIND", help_heading = "Model")]
    pub only: Option<Only>,
    /// Where to compute; auto takes the GPU, and the CPU only where no GPU should be [default: auto]
    #[arg(long, env = "HYPERSLAB_DEVICE", value_name = "WHERE", help_heading = "Run")]
    pub device: Option<DeviceArg>,
    /// libtorch's threads on a CPU [default: 1, as `embed`]
    #[arg(long, env = "HYPERSLAB_THREADS", value_name = "N", value_parser = at_least_one, help_heading = "Run")]
    pub threads: Option<usize>,
}

const EXAMPLES: &str = "\
Examples:
  echo '\"a red toy car\"' | hyperslab encode --model google/siglip-so400m-patch14-384 --only text
  hyperslab encode --like siglip_image_embeddings.h5 < queries.jsonl > vectors.jsonl
  hyperslab encode --model Qwen/Qwen3-VL-Embedding-2B --dim 1024 --device cuda < queries.jsonl

Exit code 0: every line has its vector; 1: some have an error, or the model failed.";

#[cfg(feature = "engine")]
pub use engine::run;

#[cfg(feature = "engine")]
mod engine {
    use std::io::{self, BufReader, ErrorKind, Write};
    use std::path::Path;

    use crossbeam_channel::{Receiver, Sender, bounded};
    use serde::Serialize;
    use serde_json::Value;

    use super::{EncodeArgs, Only};
    use crate::cli::out::{count, note, spinning};
    use crate::cli::query::{Asked, BadLine, Query, next_line};
    use crate::cli::{ConfigFile, Family, InputArgs, ModelArgs, RunArgs, layer};
    use crate::comm;
    use crate::error::{Context, Error, Exit, Result};
    use crate::hub;
    use crate::job::{Encoded, Encoder, EncoderRequest, Input, OwnModel};
    use crate::model::{self, Modality};
    use crate::store::Reader;

    /// Lines that are read ahead of the model. Each may be long.
    const LINES_AHEAD: usize = 256;

    /// A line as it was read, with its number.
    type Line = (u64, std::result::Result<Query, BadLine>);

    /// Answers lines until there are no more.
    ///
    /// # Errors
    /// A model that cannot be loaded or fails, an input that does not read, an output that cannot be written.
    pub fn run(args: &EncodeArgs, config: Option<&Path>) -> Result<Exit> {
        comm::check_alone()?;
        let mut encoder = spinning("loading the model", || Encoder::load(&request(args, config)?))?;
        tracing::info!("{}; waiting for lines", encoder.about());
        let (sender, lines) = bounded(LINES_AHEAD);
        // Left behind when nobody takes the answers any more: it may be waiting for a line.
        std::thread::Builder::new()
            .name("lines".to_owned())
            .spawn(move || read_lines(&sender))
            .context(|| "cannot start a thread")?;
        match answer_all(&mut encoder, &lines) {
            Ok((_, 0)) => Ok(Exit::Success),
            Ok((all, failed)) => {
                note(format_args!("{failed} of {} failed", count(all, "line")));
                Ok(Exit::Failure)
            }
            Err(Stop::Run(error)) => Err(error),
            Err(Stop::Write(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::Success),
            Err(Stop::Write(error)) => Err(Error::new(format!("cannot write to standard output: {error}"))),
        }
    }

    /// What is to be loaded, from the file that is to be matched or from settings as `embed` has them.
    fn request(args: &EncodeArgs, config: Option<&Path>) -> Result<EncoderRequest> {
        let file = ConfigFile::load(config)?;
        let typed = RunArgs { device: args.device, threads: args.threads, ..RunArgs::default() };
        let run = layer(&typed, &file)?;
        let asked = args.model.clone().all_options().map_err(|error| error.exit(Exit::Usage))?;
        let found = match &args.like {
            Some(path) => of_file(path, args.model.model.as_deref())?,
            None => of_settings(&args.model, &file)?,
        };
        let settings = layer(&args.model, &file)?;
        Ok(EncoderRequest {
            device: run.device.map_or_else(Default::default, Into::into),
            precision: settings.precision.map(Into::into),
            threads: Some(run.threads.unwrap_or(1)),
            batch_size: settings.batch_size,
            max_tokens_per_batch: settings.max_tokens_per_batch,
            modalities: modalities(args.only, &found.folder.path)?,
            options: asked.or(found.options.clone()),
            ..found
        })
    }

    fn of_file(path: &Path, model: Option<&Path>) -> Result<EncoderRequest> {
        // The groups of a file are made with one model.
        let reader = Reader::open_all(path)?.into_iter().next();
        let reader = reader.ok_or_else(|| Error::new(format!("{} has no vectors", path.display())))?;
        Ok(EncoderRequest::of_file(&OwnModel::find(&reader, model)?))
    }

    fn of_settings(typed: &ModelArgs, file: &ConfigFile) -> Result<EncoderRequest> {
        let mut below = file.section::<ModelArgs>()?;
        let missing = || {
            Error::new("no model is given")
                .hint("--model takes its folder or its name, --like FILE.h5 takes the one that a file was made with")
                .exit(Exit::Usage)
        };
        let folder = hub::find(&typed.model.clone().or(below.model.take()).ok_or_else(missing)?)?;
        let family = model::describe(&folder.path)?.family.command();
        // What was typed is refused where the model does not have it; the file may serve other models too.
        let family = if family == Family::Qwen.name() { Family::Qwen } else { Family::Siglip };
        family.drop_of_others(&mut InputArgs::default(), &mut below);
        Ok(EncoderRequest { folder, options: below.all_options()?, ..EncoderRequest::default() })
    }

    fn modalities(only: Option<Only>, folder: &Path) -> Result<Vec<Modality>> {
        let asked = match only {
            Some(Only::Text) => vec![Modality::Text],
            Some(Only::Image) => vec![Modality::Image],
            None => vec![Modality::Text, Modality::Image],
        };
        let description = model::describe(folder)?;
        let (has, has_not): (Vec<_>, Vec<_>) =
            asked.into_iter().partition(|modality| description.dim(*modality).is_some());
        if only.is_some() && !has_not.is_empty() {
            return Err(Error::new(format!("--only image: {} is a model of texts alone", folder.display())));
        }
        Ok(has)
    }

    /// Sends lines as they come; ends with the input, or when nobody listens.
    fn read_lines(lines: &Sender<io::Result<Line>>) {
        let mut input = BufReader::new(io::stdin().lock());
        let mut number = 0;
        loop {
            let line = match next_line(&mut input, &mut number) {
                Ok(Some(line)) => Ok((number, Query::of_line(line))),
                Ok(None) => return,
                Err(error) => Err(error),
            };
            let is_error = line.is_err();
            if lines.send(line).is_err() || is_error {
                return;
            }
        }
    }

    /// Why answering ended early.
    enum Stop {
        Write(io::Error),
        Run(Error),
    }

    impl From<Error> for Stop {
        fn from(error: Error) -> Self {
            Self::Run(error)
        }
    }

    impl From<io::Error> for Stop {
        fn from(error: io::Error) -> Self {
            Self::Write(error)
        }
    }

    /// Answers what is waiting, again and again; how many lines there were, and how many of them failed.
    fn answer_all(
        encoder: &mut Encoder,
        lines: &Receiver<io::Result<Line>>,
    ) -> std::result::Result<(u64, u64), Stop> {
        let (mut all, mut failed) = (0, 0);
        let mut out = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
        while let Ok(first) = lines.recv() {
            let waiting = lines.try_iter().take(encoder.items_at_once() - 1);
            let mut batch = Vec::new();
            let mut unread = None;
            for line in std::iter::once(first).chain(waiting) {
                match line {
                    Ok(line) => batch.push(line),
                    Err(error) => unread = Some(error),
                }
            }
            for answer in answer(encoder, batch)? {
                all += 1;
                failed += u64::from(answer.error.is_some());
                serde_json::to_writer(&mut out, &answer).map_err(io::Error::from)?;
                out.write_all(b"\n")?;
            }
            out.flush()?;
            if let Some(error) = unread {
                return Err(Error::new(format!("standard input does not read: {error}")).into());
            }
        }
        Ok((all, failed))
    }

    /// One line of output.
    #[derive(Debug, Default, Serialize)]
    struct Answer {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        vector: Option<Vec<f32>>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        truncated: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    }

    fn answer(encoder: &mut Encoder, batch: Vec<Line>) -> Result<Vec<Answer>> {
        let mut inputs = Vec::new();
        for (_, line) in &batch {
            match line.as_ref().map(|query| &query.asked) {
                Ok(Asked::Text(text)) => inputs.push(Input::Text(text)),
                Ok(Asked::Image(path)) => inputs.push(Input::Picture(path)),
                Ok(Asked::AssetId(_)) | Err(_) => {}
            }
        }
        let mut encoded = encoder.encode(&inputs)?.into_iter();
        let mut outcomes = Vec::new();
        for (number, line) in &batch {
            let told = |why: &dyn std::fmt::Display| Some(format!("line {number}: {why}"));
            outcomes.push(match line {
                Ok(Query { asked: Asked::AssetId(_), .. }) => {
                    Answer { error: told(&"neither `text` nor `image` is in it"), ..Answer::default() }
                }
                Ok(_) => match encoded.next() {
                    Some(Ok(Encoded { vector, is_cut })) => {
                        Answer { vector: Some(vector), truncated: is_cut, ..Answer::default() }
                    }
                    Some(Err(error)) => Answer { error: told(&error), ..Answer::default() },
                    None => return Err(Error::new("an item has no outcome").exit(Exit::Bug)),
                },
                Err(bad) => Answer { error: told(&bad.why), ..Answer::default() },
            });
        }
        let ids = batch.into_iter().map(|(_, line)| line.map_or_else(|bad| bad.id, |query| query.id));
        Ok(outcomes.into_iter().zip(ids).map(|(answer, id)| Answer { id, ..answer }).collect())
    }
}
