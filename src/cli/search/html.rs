//! `search --html`: what was found as a page, with pictures from where the renders are.

use std::path::PathBuf;

use clap::Args;

use crate::error::{Error, Exit, Result};
use crate::input::Ids;
use crate::input::views::{Layout, Rule};
use crate::plan::Views;

/// The page, and where its pictures are.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Page")]
pub struct HtmlArgs {
    /// Write what was found as one HTML file, which needs no others: with --captions also captions, with --renders
    /// also pictures, of the views that are nearest or else of the first ones
    #[arg(long, value_name = "FILE.html")]
    pub html: Option<PathBuf>,
    /// Where the views are, for the page: folders and archives as `embed` takes them
    #[arg(long, value_name = "ROOT", requires = "html")]
    pub renders: Option<PathBuf>,
    /// A list of the views, as `embed` takes it
    #[arg(long, value_name = "FILE", requires = "renders")]
    pub renders_list: Option<PathBuf>,
    /// How folders and archives are laid out, as `embed` takes it [default: auto]
    #[arg(long, value_name = "LAYOUT", requires = "renders")]
    pub layout: Option<Layout>,
    /// Names of the pictures that are views, as `embed` takes it
    #[arg(long, value_name = "GLOB", requires = "renders")]
    pub view_glob: Vec<String>,
    /// Which views of each asset were embedded, as `embed` takes it [default: as there]
    #[arg(long, value_name = "WHICH", requires = "renders")]
    pub views: Option<Views>,
    /// Indices and paths of Objaverse, as `embed` takes them, where the renders have other ids than the file
    #[arg(long, value_name = "FILE", requires = "renders")]
    pub id_map: Option<PathBuf>,
    /// With --id-map, which id the file has [default: index]
    #[arg(long, value_name = "WHICH", requires = "id_map")]
    pub ids: Option<Ids>,
}

impl HtmlArgs {
    /// What can be seen to be wrong before anything is searched.
    ///
    /// # Errors
    /// A folder that is none, or a pattern.
    pub fn check(&self) -> Result<()> {
        self.rule()?;
        match &self.renders {
            Some(root) if !root.is_dir() => {
                Err(Error::new(format!("--renders: '{}' is not a folder", root.display())).exit(Exit::Usage))
            }
            _ => Ok(()),
        }
    }

    fn rule(&self) -> Result<Rule> {
        Rule::new(self.layout.unwrap_or_default(), &self.view_glob)
    }
}

#[cfg(feature = "engine")]
pub use engine::write;

#[cfg(feature = "engine")]
mod engine {
    use std::collections::BTreeMap;
    use std::io::Read as _;
    use std::path::Path;

    use super::HtmlArgs;
    use crate::cli::out::{bytes, count, note};
    use crate::cli::query::Asked;
    use crate::cli::search::page::{self, Page};
    use crate::cli::search::{Found, Hit, Outcome, SearchArgs};
    use crate::cli::{Family, out};
    use crate::comm::shielded;
    use crate::error::{Context, Error, ItemError, ItemErrorKind, Result};
    use crate::input::views::{self, ViewFinder};
    use crate::input::{Naming, View, ViewReader};
    use crate::job::read_picture;
    use crate::model::picture::thumbnail;
    use crate::store::{Draft, Reader};

    /// Pixels of the longer side of a picture: twice what it takes on the page, for screens that are dense.
    const SIDE: u32 = 192;
    /// Views that stand for an asset.
    const VIEWS_MAX: usize = 4;

    /// Writes the page that is asked for, if one is.
    ///
    /// # Errors
    /// The page cannot be written.
    pub fn write(args: &SearchArgs, reader: &Reader, found: &[Found<'_>]) -> Result<()> {
        let Some(path) = &args.page.html else { return Ok(()) };
        if path.canonicalize().is_ok_and(|path| reader.path().canonicalize().is_ok_and(|own| own == path)) {
            return Err(Error::new(format!(
                "--html {} would replace the file that is searched",
                path.display()
            )));
        }
        let pictures = match &args.page.renders {
            None => None,
            // What was found is worth more than its pictures.
            Some(root) => match Pictures::find(&args.page, root, reader, found) {
                Ok(pictures) => Some(pictures),
                Err(error) => {
                    note(format_args!("note: the page has no pictures: {error}"));
                    None
                }
            },
        };
        let queries = found.iter().map(|found| query(found, pictures.as_ref())).collect();
        let model = reader.provenance_of("model_name").unwrap_or_else(|| "not named in the file".to_owned());
        let group = if reader.group().is_empty() { String::new() } else { format!(", {}", reader.group()) };
        let footer = format!(
            "Scores are cosines; {} were compared. {}",
            count(reader.n_rows(), "vector"),
            crate::PROGRAM
        );
        let file = format!("{}{group}", reader.path().display());
        let html = Page { model, file, footer, queries }.html();
        save(path, html.as_bytes())?;
        note(format_args!("{}: {}", path.display(), bytes(html.len() as u64)));
        Ok(())
    }

    /// Writes a file that gets its name when it is whole.
    fn save(path: &Path, content: &[u8]) -> Result<()> {
        const BEGIN: &[u8] = b"<!DOCTYPE html>";
        let draft = Draft::new(path, true)?;
        let mut there = Vec::new();
        if let Ok(file) = std::fs::File::open(path) {
            let read = file.take(BEGIN.len() as u64).read_to_end(&mut there);
            read.context(|| format!("cannot read {}", path.display()))?;
        }
        if !there.is_empty() && there != BEGIN {
            return Err(Error::new(format!("--html {} is there and is no page", path.display()))
                .hint("choose another name, or remove it first"));
        }
        std::fs::write(draft.temporary(), content).context(|| format!("cannot write {}", path.display()))?;
        draft.publish()
    }

    /// A query and its hits as the page has them.
    fn query(found: &Found<'_>, pictures: Option<&Pictures<'_>>) -> page::Query {
        let (kind, title, own) = match &found.query.asked {
            Asked::Text(text) => ("text", text.clone(), Vec::new()),
            Asked::Image(path) => ("picture", path.display().to_string(), of_file(path)),
            Asked::AssetId(id) => {
                ("asset", id.clone(), pictures.map(|all| all.of_asked(id)).unwrap_or_default())
            }
        };
        let named =
            found.query.id.as_ref().map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
        let (hits, failed) = match &found.outcome {
            Outcome::Hits(hits) => (&hits[..], None),
            Outcome::Error(why) => (&[][..], Some(why.clone())),
        };
        let hit = |hit: &Hit| page::Hit {
            rank: hit.rank,
            score: hit.score,
            asset_id: hit.asset_id.clone(),
            view: hit.view,
            caption: hit.caption.clone(),
            pictures: pictures.map(|all| all.of_hit(hit)).unwrap_or_default(),
        };
        page::Query {
            kind: named.map_or_else(|| kind.to_owned(), |name| format!("{name} · {kind}")),
            title,
            pictures: own,
            failed,
            hits: hits.iter().map(hit).collect(),
        }
    }

    fn of_file(path: &Path) -> Vec<Vec<u8>> {
        let made = read_picture(path).map_err(|error| error.to_string()).and_then(|bytes| small(&bytes));
        made.ok().into_iter().collect()
    }

    /// A small picture of one, or why there is none. Decoders of broken ones may panic.
    fn small(bytes: &[u8]) -> std::result::Result<Vec<u8>, String> {
        let made = shielded(|| thumbnail(bytes, SIDE));
        made.unwrap_or_else(|panic| Err(ItemError::new(ItemErrorKind::BrokenPicture, panic)))
            .map_err(|error| error.to_string())
    }

    /// The views of all that was found.
    struct Pictures<'a> {
        searched: &'a Reader,
        files: ViewReader,
        views: views::Found,
    }

    impl<'a> Pictures<'a> {
        fn find(args: &HtmlArgs, root: &Path, searched: &'a Reader, found: &[Found<'_>]) -> Result<Self> {
            let naming = Naming::read(args.id_map.as_deref(), args.ids.unwrap_or_default())?;
            // One vector of several views is Qwen's; captions stand for all there are.
            let family = if searched.num_images().is_some() { Family::Qwen } else { Family::Siglip };
            let taken = args.views.unwrap_or(family.default_views());
            let finder = ViewFinder::new(root, args.renders_list.as_deref(), args.rule()?, naming, taken);
            let mut wanted = BTreeMap::new();
            for one in found {
                if let Asked::AssetId(id) = &one.query.asked {
                    // It need not have any.
                    wanted.entry(asset_of(searched, id).0.to_owned()).or_insert(0);
                }
                let Outcome::Hits(hits) = &one.outcome else { continue };
                for hit in hits {
                    wanted.insert(hit.asset_id.clone(), rows_of(searched, &hit.asset_id));
                }
            }
            let walks = |assets: usize| {
                let assets = count(assets as u64, "asset");
                note(format_args!("looking for views of {assets} through all of {}", root.display()));
            };
            let views = out::spinning("looking for pictures", || finder.find(&wanted, walks))?;
            let pictures = Self { searched, files: ViewReader::new(root), views };
            pictures.tell_of_others(&wanted);
            Ok(pictures)
        }

        /// Views that cannot be told which row they have: there are more or fewer of them than rows.
        fn tell_of_others(&self, wanted: &BTreeMap<String, u64>) {
            if !self.searched.assets().has_views() {
                return;
            }
            let differs = |(id, rows): &(&String, &u64)| {
                **rows > 0 && self.views.get(*id).is_some_and(|views| views.len() as u64 != **rows)
            };
            let mut others = wanted.iter().filter(differs);
            let Some((first, rows)) = others.next() else { return };
            note(format_args!(
                "note: {} shown without pictures, which are other views than the file's: {first} has {}, {} were \
                 found; --views, --layout and --view-glob say which were embedded",
                count(1 + others.count() as u64, "asset"),
                count(*rows, "row"),
                self.views.get(first).map_or(0, Vec::len)
            ));
        }

        fn of_hit(&self, hit: &Hit) -> Vec<Vec<u8>> {
            match hit.view {
                Some(view) => self.of_view(&hit.asset_id, view).into_iter().collect(),
                None => self.first_of(&hit.asset_id),
            }
        }

        fn of_asked(&self, asked: &str) -> Vec<Vec<u8>> {
            match asset_of(self.searched, asked) {
                (id, Some(view)) if self.searched.assets().has_views() => {
                    self.of_view(id, view).into_iter().collect()
                }
                (id, _) => self.first_of(id),
            }
        }

        fn of_view(&self, id: &str, view: u64) -> Option<Vec<u8>> {
            let views =
                self.views.get(id).filter(|views| views.len() as u64 == rows_of(self.searched, id))?;
            self.thumbnail(views.get(usize::try_from(view).ok()?)?)
        }

        fn first_of(&self, id: &str) -> Vec<Vec<u8>> {
            let views = self.views.get(id).into_iter().flatten();
            views.filter_map(|view| self.thumbnail(view)).take(VIEWS_MAX).collect()
        }

        fn thumbnail(&self, view: &View) -> Option<Vec<u8>> {
            let read = self.files.read(view).map_err(|error| error.to_string());
            let made = read.and_then(|bytes| small(&bytes));
            made.inspect_err(|why| tracing::warn!("{}: {why}", view.path)).ok()
        }
    }

    /// The asset that an id asks for, and which view of it.
    fn asset_of<'a>(searched: &Reader, asked: &'a str) -> (&'a str, Option<u64>) {
        let is_there = |id: &str| searched.find(id).is_ok_and(|rows| rows.is_some());
        let view = asked.rsplit_once('#').and_then(|(id, view)| Some((id, view.parse().ok()?)));
        match view {
            Some((id, view)) if !is_there(asked) => (id, Some(view)),
            _ => (asked, None),
        }
    }

    /// Rows of an asset in the file; 1 where that does not say.
    /// How many views an asset has at least, as far as the file tells: one of captions says nothing of views.
    fn rows_of(searched: &Reader, id: &str) -> u64 {
        if !searched.assets().has_views() && searched.num_images().is_none() {
            return 0;
        }
        let rows = searched.find(id).ok().flatten();
        rows.map_or(1, |rows| rows.end - rows.start).max(1)
    }
}
