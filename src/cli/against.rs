//! `hyperslab verify --against`: files compared with what their model makes of their input.

use std::fmt::Write as _;
use std::path::Path;

use super::embed;
use super::out::{Stop, count, note, thousands};
use super::tally::Tally;
use super::verify::{self, VerifyArgs};
use super::{ConfigFile, Family, InputSettings, ModelArgs, OutputArgs, RunArgs, layer};
use crate::comm::World;
use crate::error::{Error, Exit, Result};
use crate::input::views::Rule;
use crate::job::{self, AgainstRequest, Comparison, InputState, OutputRequest};
use crate::plan::Kind;
use crate::store::Reader;

/// Verifies each file, and compares those that are sound with their model. Collective.
///
/// # Errors
/// Settings that are wrong; a file that is damaged, differs from what the model makes, or cannot be compared: the
/// last of them, where the others have been told of.
pub fn run(world: &World, args: &VerifyArgs, config: Option<&Path>, say: &mut dyn FnMut(&str)) -> Result<()> {
    let settings = Settings::resolve(args, config).map_err(Error::on_all_ranks)?;
    let verified = args.files.iter().map(|file| settings.verify(world, file, say));
    let mut failed: Vec<Error> = verified.filter_map(Result::err).collect();
    // What is damaged decides how it ends; of the others is told all the same.
    failed.sort_by_key(|error| error.exit != Exit::Damaged);
    failed.iter().skip(1).for_each(|error| note(format_args!("error: {error}")));
    failed.into_iter().next().map_or(Ok(()), |error| Err(error.on_all_ranks()))
}

/// What was typed, as what it means.
struct Settings<'a> {
    args: &'a VerifyArgs,
    model: &'a Path,
    file: ConfigFile,
    run: RunArgs,
}

impl<'a> Settings<'a> {
    fn resolve(args: &'a VerifyArgs, config: Option<&Path>) -> Result<Self> {
        let file = ConfigFile::load(config)?;
        let run: RunArgs = file.section()?;
        let model = args.against.as_deref().unwrap_or(Path::new(""));
        Ok(Self { args, model, file, run })
    }

    /// One file: what it says of itself first.
    fn verify(&self, world: &World, file: &Path, say: &mut dyn FnMut(&str)) -> Result<()> {
        let mut report = Vec::new();
        let exit = match verify::verify(file, &mut report) {
            Ok(exit) => exit,
            Err(Stop::Run(error)) => return Err(error),
            Err(Stop::Write(error)) => return Err(Error::new(format!("{}: {error}", file.display()))),
        };
        say(&String::from_utf8_lossy(&report));
        if exit != Exit::Success {
            let error =
                Error::new(format!("{} was not compared with {}", file.display(), self.model.display()));
            return Err(error.exit(exit));
        }
        let device = self.args.device.or(self.run.device);
        let request = AgainstRequest {
            file: file.to_owned(),
            model: self.model.to_owned(),
            input: self.input(file)?,
            sample: self.args.sample,
            device: device.map_or_else(Default::default, Into::into),
            decode_threads: self.run.decode_threads,
        };
        let tally = Tally::new();
        let compared = job::against(world, &request, &mut |done, all| tally.set(done, all));
        tally.finish();
        let compared = compared?;
        say(&told(file, self.model, &compared));
        refuse_differing(file, self.model, &compared)
    }

    /// The input that a file of this kind is made from.
    fn input(&self, file: &Path) -> Result<OutputRequest> {
        let readers = Reader::open_all(file)?;
        let kind = readers.first().map(Reader::kind).unwrap_or_default();
        let families = [Family::Siglip, Family::Qwen];
        let family = families.into_iter().find(|family| kind.starts_with(family.name()));
        let made_from = match (family, kind.rsplit_once('_')) {
            (Some(family), Some((_, "text"))) => Some((family, Kind::Text)),
            (Some(family), Some((_, "image"))) => Some((family, family.image_kind())),
            _ => None,
        };
        let Some((family, kind)) = made_from else {
            return Err(Error::new(format!(
                "{} does not say what its vectors are made from",
                file.display()
            ))
            .hint("files that `hyperslab embed` has made do"));
        };
        let mut typed = layer(&self.args.input, &self.file)?;
        family.drop_of_others(&mut typed, &mut ModelArgs::default());
        let input = typed.resolve()?;
        Rule::new(input.layout, &input.view_glob)?;
        refuse_missing(file, family, kind, &readers, &input).map_err(|error| error.exit(Exit::Usage))?;
        Ok(embed::request(family, kind, &input, &OutputArgs::default().resolve()))
    }
}

/// All that the file was made from has to be there: its plan is one.
fn refuse_missing(
    file: &Path,
    family: Family,
    kind: Kind,
    readers: &[Reader],
    input: &InputSettings,
) -> Result<()> {
    let given = family.captions(input);
    let missing = match kind {
        Kind::Image | Kind::ViewSet => input.renders.is_none().then_some("--renders ROOT"),
        Kind::Text => readers.iter().map(Reader::group).find_map(|group| {
            let is_given = given.iter().any(|(name, _)| *name == group);
            let option = if group == "chinese" { "--captions-zh FILE" } else { "--captions FILE" };
            (!is_given).then_some(option)
        }),
    };
    match missing {
        None => Ok(()),
        Some(option) => Err(Error::new(format!("{option} is missing: {} was made from it", file.display()))),
    }
}

fn told(file: &Path, model: &Path, compared: &Comparison) -> String {
    let (file, model) = (file.display(), model.display());
    let differs = !compared.findings.is_empty();
    let verdict = if differs { "not as" } else { "as" };
    let mut text = format!(
        "{file}: {verdict} {model} makes it ({} of {} embedded again",
        thousands(compared.n_items),
        count(compared.n_rows, "row")
    );
    // Writing to a String does not fail.
    if let Some((worst, name)) = compared.worst() {
        let _ = write!(text, ": worst cosine {worst:.7}, {name}; mean {:.7}", compared.mean());
    }
    if compared.n_failed_again > 0 {
        let _ = write!(text, "; {} failed again", compared.n_failed_again);
    }
    text.push_str(")\n");
    if let Some(state) = said_of(compared.input) {
        let _ = writeln!(text, "  {state}");
    }
    for finding in &compared.findings {
        let _ = writeln!(text, "  {finding}");
    }
    for missing in &compared.missing {
        let _ = writeln!(text, "  {missing} is not in the input");
    }
    for mended in &compared.mended {
        let _ = writeln!(text, "  mended since: {mended}");
    }
    text
}

fn said_of(input: InputState) -> Option<&'static str> {
    match input {
        InputState::Same => None,
        InputState::Mended => Some("the input has changed in items that had failed, and in no others"),
        InputState::Changed => Some("the input has changed since, or is read with other options than then"),
        InputState::Unknown => Some("the file does not say whether the input is the one it was made from"),
    }
}

fn refuse_differing(file: &Path, model: &Path, compared: &Comparison) -> Result<()> {
    let (n, missing) = (compared.findings.len() as u64, compared.missing.len() as u64);
    if n == 0 {
        if missing == 0 {
            return Ok(());
        }
        let items = format!("{} of {}", thousands(missing), count(compared.n_items, "item"));
        return Err(Error::new(format!("{items} of {} are not in the input that is given", file.display()))
            .hint("they could not be compared: take the input that the file was made from"));
    }
    let items = format!("{} of {}", thousands(n), count(compared.n_items, "item"));
    let error =
        Error::new(format!("{} differs in {items} from what {} makes", file.display(), model.display()));
    Err(match compared.input {
        // What it is made from now is no measure of the file.
        InputState::Changed => error.hint(
            "the input is not the one that the file was made from: take that one, with --views, --layout, \
             --max-assets and the like as then",
        ),
        InputState::Same | InputState::Mended | InputState::Unknown => error
            .exit(Exit::Damaged)
            .hint("take the file from its source again, or embed it again with --overwrite"),
    })
}
