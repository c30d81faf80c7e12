//! Writing a spool, row by row, under a temporary name until it is whole.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{MAGIC, Spool, SpoolHeader, VERSION, digest_of_head};
use crate::error::{Context, Error, Result};
use crate::input::views::{View, ViewCodec};
use crate::plan::bytes::{put_bytes, put_varint};
use crate::plan::{Blocks, Kind, Table};

/// Writes a spool: one call per row, in order of groups and rows. Holds one block in memory, and 12 bytes per
/// block. A writer dropped before [`SpoolWriter::finish`] leaves a file under the temporary name only.
pub struct SpoolWriter {
    path: PathBuf,
    file: BufWriter<File>,
    kind: Kind,
    blocks: Blocks,
    digest: Sha256,
    /// Rows given so far.
    rows: u64,
    /// The block that is being filled.
    n_block: u64,
    records_bytes: u64,
    /// Its records.
    block: Vec<u8>,
    /// The view before, of which a record repeats only what differs; none at the start of a block.
    views: ViewCodec,
    index: Vec<u8>,
}

impl SpoolWriter {
    /// Begins the spool that will stand at `path`, with a table for each of the header's groups.
    ///
    /// # Errors
    /// The file cannot be written, or header and tables disagree on the number of rows.
    pub fn create(path: &Path, header: &SpoolHeader, tables: &[&Table]) -> Result<Self> {
        let rows: Vec<u64> = header.groups.iter().map(|group| group.rows).collect();
        let of_tables: Vec<u64> = tables.iter().map(|table| header.kind.rows(table)).collect();
        if rows != of_tables {
            return Err(Error::new(format!("a spool of {rows:?} rows for tables of {of_tables:?} rows")));
        }
        let file = File::create(temporary(path)).context(|| about(path))?;
        let mut digest = digest_of_head(header);
        let mut file = BufWriter::with_capacity(1 << 20, file);
        let json = serde_json::to_vec(header).context(|| about(path))?;
        (|| {
            file.write_all(MAGIC)?;
            file.write_all(&VERSION.to_le_bytes())?;
            write_section(&mut file, &json)?;
            tables.iter().try_for_each(|table| {
                let table = table.to_bytes();
                digest.update(&table);
                write_section(&mut file, &table)
            })
        })()
        .context(|| about(path))?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            kind: header.kind,
            blocks: header.blocks(),
            digest,
            rows: 0,
            n_block: 0,
            records_bytes: 0,
            block: Vec::new(),
            views: ViewCodec::default(),
            index: Vec::new(),
        })
    }

    /// Adds the next row, a caption.
    ///
    /// # Errors
    /// The file cannot be written, or this spool holds other rows.
    pub fn caption(&mut self, caption: &str) -> Result<()> {
        self.expect(Kind::Text)?;
        put_bytes(&mut self.block, caption.as_bytes());
        self.end_row()
    }

    /// Adds the next row, a view.
    ///
    /// # Errors
    /// The file cannot be written, the path is too long, or this spool holds other rows.
    pub fn view(&mut self, view: &View) -> Result<()> {
        self.expect(Kind::Image)?;
        self.views.put(view, &mut self.block)?;
        self.end_row()
    }

    /// Adds the next row, an asset's views.
    ///
    /// # Errors
    /// The file cannot be written, a path is too long, or this spool holds other rows.
    pub fn view_set(&mut self, views: &[View]) -> Result<()> {
        self.expect(Kind::ViewSet)?;
        put_varint(&mut self.block, views.len() as u64);
        views.iter().try_for_each(|view| self.views.put(view, &mut self.block))?;
        self.end_row()
    }

    /// Ends the spool: fsync, rename to its own name, fsync of the folder; then opens it.
    ///
    /// # Errors
    /// The file cannot be written, or rows are missing.
    pub fn finish(self) -> Result<Spool> {
        if self.rows != self.blocks.rows() {
            let (given, expected) = (self.rows, self.blocks.rows());
            return Err(Error::new(format!("{}: {given} rows given of {expected}", about(&self.path))));
        }
        let path = self.path.clone();
        self.write_end().context(|| about(&path))?;
        Spool::open(&path)
    }

    fn expect(&self, kind: Kind) -> Result<()> {
        if self.kind == kind && self.rows < self.blocks.rows() {
            return Ok(());
        }
        Err(Error::new(format!(
            "{}: row {} is one too many or of another kind",
            about(&self.path),
            self.rows
        )))
    }

    fn end_row(&mut self) -> Result<()> {
        self.rows += 1;
        if self.rows == self.blocks.range(self.n_block).end {
            self.file.write_all(&self.block).context(|| about(&self.path))?;
            self.digest.update(&self.block);
            self.records_bytes += self.block.len() as u64;
            self.index.extend((self.block.len() as u64).to_le_bytes());
            self.index.extend(crc32fast::hash(&self.block).to_le_bytes());
            self.block.clear();
            self.n_block += 1;
            self.views.reset();
        }
        Ok(())
    }

    fn write_end(mut self) -> std::io::Result<()> {
        write_section(&mut self.file, &self.index)?;
        self.digest.update(&self.index);
        let mut trailer = self.records_bytes.to_le_bytes().to_vec();
        trailer.extend_from_slice(&self.digest.finalize());
        trailer.extend(crc32fast::hash(&trailer).to_le_bytes());
        self.file.write_all(&trailer)?;
        self.file.into_inner()?.sync_all()?;
        std::fs::rename(temporary(&self.path), &self.path)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

fn write_section(file: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    file.write_all(&(bytes.len() as u64).to_le_bytes())?;
    file.write_all(&crc32fast::hash(bytes).to_le_bytes())?;
    file.write_all(bytes)
}

/// The name a spool has until it is whole.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

fn about(path: &Path) -> String {
    format!("writing the plan '{}'", path.display())
}
