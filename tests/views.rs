//! Views as they are distributed: folders and archives, what is found in them, and what is read.

mod archives;
mod broken;
mod layouts;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hyperslab::Error;
use hyperslab::input::views::{self, Layout, Listing, OddViews, Rule};
use hyperslab::input::{Input, Keep, ReadError, Row, Source, Spool, View, ViewReader};
use hyperslab::plan::Views;

/// A root of pictures; its spools stand elsewhere.
struct Root {
    folder: tempfile::TempDir,
}

/// What was found below a root: ids, and per view its path and what reading it gave.
type Found = BTreeMap<String, Vec<(String, Result<String, String>)>>;

impl Root {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Writes a file whose content is its own path, so that no view can be taken for another.
    fn file(&self, path: &str) -> &Self {
        self.write(path, path.as_bytes())
    }

    fn write(&self, path: &str, content: &[u8]) -> &Self {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// Writes an archive of some files, each with its name for content.
    fn archive(&self, kind: &str, archive: &str, files: &[&str]) -> &Self {
        let content = tempfile::tempdir().unwrap();
        for name in files {
            let path = content.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        self.archive_of(kind, archive, content.path())
    }

    /// Writes an archive of what is in a folder.
    fn archive_of(&self, kind: &str, archive: &str, content: &Path) -> &Self {
        let path = self.path().join(archive);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/archives.py");
        let python = Command::new("/usr/bin/python3").arg(script).arg(kind).arg(content).arg(path).output();
        let python = python.unwrap();
        assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
        self
    }

    fn list(&self, rule: &Rule, ranks: usize) -> Result<Listing, Error> {
        let (parts, mut listing) = views::split(&self.path(), ranks, Keep::Everything, rule)?;
        for part in parts {
            let part = views::Part::from_bytes(&part.to_bytes())?;
            let found = views::walk(&self.path(), &part, Keep::Everything, rule)?;
            listing.merge(Listing::from_bytes(&found.to_bytes()?)?);
        }
        Ok(listing)
    }

    fn spool(&self, listing: Listing) -> Result<Spool, Error> {
        let input = Input::image(listing.catalog, Views::All, None)?;
        let spool = self.folder.path().join("x.plan");
        let spool = input.write_spool(&spool, Some(3), Source::default())?;
        spool.verify()?;
        let bytes = fs::metadata(self.folder.path().join("x.plan")).unwrap().len();
        assert!(bytes <= input.spool_bytes(), "{bytes} bytes, {} at most expected", input.spool_bytes());
        Ok(spool)
    }

    /// Plans and reads everything, the same on one rank and on three.
    fn find(&self, rule: &Rule) -> (Found, OddViews) {
        let one = self.list(rule, 1).unwrap();
        let three = self.list(rule, 3).unwrap();
        assert_eq!(counts(&one.odd), counts(&three.odd));
        let odd = one.odd.clone();
        let spool = self.spool(one).unwrap();
        assert_eq!(self.spool(three).unwrap().digest(), spool.digest());
        (self.read(&spool), odd)
    }

    fn read(&self, spool: &Spool) -> Found {
        let reader = ViewReader::new(self.path());
        let mut rows = rows(spool).into_iter();
        let table = spool.tables().unwrap().remove(0);
        let views = |count: u32, rows: &mut dyn Iterator<Item = View>| {
            let views = rows.take(count as usize);
            views.map(|view| (view.path.clone(), read(&reader, &view))).collect::<Vec<_>>()
        };
        table.iter().map(|(id, count)| (id.to_owned(), views(count, &mut rows))).collect()
    }
}

/// What is odd, by count: which of many are shown by name depends on the order of the walk.
fn counts(odd: &OddViews) -> Vec<(String, u64)> {
    let alarms = odd.alarms().into_iter().map(|(what, odd)| (what.to_owned(), odd.count));
    let kinds = odd.not_taken.0.iter().chain(&odd.ignored.0).map(|(kind, odd)| (kind.clone(), odd.count));
    let rest = [&odd.further, &odd.outside_assets, &odd.without_pictures, &odd.loops];
    let rest = rest.into_iter().map(|odd| (String::new(), odd.count));
    alarms.chain(kinds).chain(rest).chain([("hidden".to_owned(), odd.hidden)]).collect()
}

fn rows(spool: &Spool) -> Vec<View> {
    let rows = (0..spool.blocks().count()).flat_map(|block| spool.block(block).unwrap());
    rows.map(|row| if let Row::View(view) = row { view } else { panic!("a caption") }).collect()
}

fn read(reader: &ViewReader, view: &View) -> Result<String, String> {
    match reader.read(view) {
        Ok(bytes) => Ok(String::from_utf8(bytes).unwrap()),
        Err(ReadError::Item(error)) => Err(error.to_string()),
        Err(ReadError::Machine(error)) => panic!("{}: {error}", view.path),
    }
}

/// Ids with the contents of their views, all of which were read.
fn contents(found: &Found) -> Vec<(&str, Vec<&str>)> {
    found
        .iter()
        .map(|(id, views)| {
            let read = views.iter().map(|(path, read)| match read {
                Ok(content) => content.as_str(),
                Err(why) => panic!("{path}: {why}"),
            });
            (id.as_str(), read.collect())
        })
        .collect()
}

fn rule(layout: Layout) -> Rule {
    Rule::new(layout, &[]).unwrap()
}
