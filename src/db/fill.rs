//! One file into its table: what has to be done, and doing it.

use super::build;
use super::entries::Source;
use super::estimate::Estimate;
use super::index::Index;
use super::load::{Destination, load};
use super::nearest::function_sql;
use super::preflight::{check_swap, check_upsert, has_function};
use super::publish::{Found, clear, complete, filled, found, merge, swap};
use super::server::Resources;
use super::table::{Mark, Target, VectorType, Vectors};
use super::{Progress, STAGING, Server, Session};
use crate::error::{Error, Exit, Result};

/// What becomes of rows that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// The load is refused, unless they are its own.
    Refused,
    /// The table is replaced by a new one.
    Replaced,
    /// They stay, and those with the ids of new ones change.
    Kept,
}

/// What is asked for.
pub struct Request {
    pub existing: Existing,
    /// None: float32 where an index takes it, else float16.
    pub stored: Option<VectorType>,
    /// Made for the number of rows.
    pub index: Box<dyn Fn(u64) -> Index>,
    /// Whether one that is there has to have these very parameters.
    pub is_index_exact: bool,
    /// What an index may use to be built, in bytes.
    pub memory: Option<u64>,
    pub workers: Option<usize>,
    pub connections: usize,
}

/// A server's database, with a session that holds its lock.
pub struct Database<'a> {
    pub server: &'a Server,
    pub name: &'a str,
    pub session: Session,
    pub resources: Resources,
}

/// What will be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The table is what it should be.
    Nothing,
    /// A new table takes the place of an old one, if there is one.
    Swap,
    Upsert,
}

/// What will be done for a file, and what it takes.
pub struct Plan<'a> {
    pub source: &'a Source,
    pub target: Target,
    pub vectors: Vectors,
    pub action: Action,
    pub estimate: Estimate,
    is_index_exact: bool,
    has_function: bool,
    /// Digest of what the table is to hold.
    identity: String,
    /// What it holds already, where nothing is to be done.
    mark: Option<Mark>,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Filled {
    /// What the file made.
    pub mark: Mark,
    /// Rows that an upsert added or changed.
    pub upserted: Option<u64>,
    /// Items of the file without a vector; none where a load was gone on with.
    pub failed: Option<u64>,
    /// The indexes over vectors that the table has.
    pub indexes: Vec<String>,
}

/// The steps that take their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Rows,
    Index,
}

impl<'a> Plan<'a> {
    /// Looks at what is there and decides.
    ///
    /// # Errors
    /// Rows that are there and may not be replaced; a table of another form; what pgvector cannot store or index.
    pub fn new(database: &mut Database<'_>, source: &'a Source, request: &Request) -> Result<Self> {
        let session = &mut database.session;
        let target = Target::new(session, source.layout)?;
        let there = match request.existing {
            // Whatever it is, it goes.
            Existing::Replaced => target.vectors(session).unwrap_or(None),
            _ => target.vectors(session)?,
        };
        let default = || {
            let fits = source.dim <= VectorType::Vector.index_dim_max();
            if fits || (request.index)(0) == Index::None {
                VectorType::Vector
            } else {
                VectorType::HalfVector
            }
        };
        let kept = there.filter(|_| request.existing == Existing::Kept).map(|there| there.stored);
        let stored = request.stored.or(kept).unwrap_or_else(default);
        let vectors = Vectors { stored, dim: source.dim };
        let index = (request.index)(source.rows_max());
        let (memory, workers) = (request.memory, request.workers);
        let estimate = Estimate::new(source, vectors, index, &database.resources, memory, workers)?;
        let identity = source.identity(vectors)?;
        let mut mark = None;
        let action = match (found(session, &target, &identity)?, request.existing) {
            (Found::Same(same), _) => {
                mark = Some(same);
                Action::Nothing
            }
            (Found::Nothing, _) | (Found::Rows(_), Existing::Replaced) => Action::Swap,
            (Found::Rows(_), Existing::Kept) => Action::Upsert,
            (Found::Rows(n), Existing::Refused) => return Err(occupied(&target, n, database.name)),
        };
        if let Some(there) = there.filter(|there| action == Action::Upsert && *there != vectors) {
            return Err(of_other_type(&target, there, vectors));
        }
        match action {
            Action::Swap => check_swap(session, &target)?,
            Action::Upsert => check_upsert(session, &target)?,
            Action::Nothing => {}
        }
        let has_function = has_function(session, &target)?;
        let is_index_exact = request.is_index_exact;
        Ok(Self { source, target, vectors, action, estimate, is_index_exact, has_function, identity, mark })
    }

    /// Does it. Whoever reads the table sees the old rows until all new ones are there, with their indexes.
    ///
    /// # Errors
    /// What the server says, or rows that do not read; the table is as it was then.
    pub fn carry_out(
        &self,
        database: &mut Database<'_>,
        connections: usize,
        hear: &(dyn Fn(Step, u64, u64) + Sync),
    ) -> Result<Filled> {
        let mut filled = match (self.action, &self.mark) {
            (Action::Nothing, Some(mark)) => {
                // What a load left that was killed, or refused in its last step.
                clear(&mut database.session, &self.target.in_schema(STAGING))?;
                self.build(database, &self.target, hear)?;
                Filled { mark: mark.clone(), upserted: None, failed: None, indexes: Vec::new() }
            }
            _ => self.fill(database, connections, hear)?,
        };
        // A swap made it together with the table.
        if self.action == Action::Upsert || self.action == Action::Nothing && !self.has_function {
            let function = self.function_sql(database)?;
            database.session.run("to make the function nearest_assets", &function)?;
        }
        filled.indexes = build::there(&mut database.session, &self.target)?;
        Ok(filled)
    }

    /// SQL that makes the function that goes with the table; that of a table of captions has none.
    fn function_sql(&self, database: &mut Database<'_>) -> Result<String> {
        if self.target.layout.vectors != [("embedding", "")] {
            return Ok("SELECT 1".to_owned());
        }
        let views_max = self.views_max(&mut database.session)?;
        Ok(function_sql(&self.target, self.vectors, views_max, database.resources.pgvector))
    }

    /// The most rows that an asset has in the table: an upsert leaves those of others there.
    fn views_max(&self, session: &mut Session) -> Result<u64> {
        let own = self.source.views_max()?;
        if self.action != Action::Upsert || !self.target.layout.has_views {
            return Ok(own);
        }
        let sql = format!("SELECT max(viewpoint_idx)::int8 + 1 FROM {}", self.target.sql());
        let there: Option<i64> = session.value("to look for the asset with the most views", &sql)?;
        Ok(own.max(there.unwrap_or_default() as u64))
    }

    fn fill(
        &self,
        database: &mut Database<'_>,
        connections: usize,
        hear: &(dyn Fn(Step, u64, u64) + Sync),
    ) -> Result<Filled> {
        let staging = self.target.in_schema(STAGING);
        let (mark, failed) = self.stage(database, &staging, connections, hear)?;
        let upserted = if self.action == Action::Upsert {
            complete(&mut database.session, &self.target)?;
            let n = merge(&mut database.session, &self.target, &self.columns())?;
            build::analyze(&mut database.session, &self.target)?;
            self.build(database, &self.target, hear)?;
            Some(n)
        } else {
            self.build(database, &staging, hear)?;
            build::analyze(&mut database.session, &staging)?;
            let function = self.function_sql(database)?;
            swap(&mut database.session, &self.target, &mark, &function)?;
            None
        };
        clear(&mut database.session, &staging)?;
        Ok(Filled { mark, upserted, failed, indexes: Vec::new() })
    }

    /// Fills the staging table, unless an earlier load did; what it holds, and how many items failed.
    fn stage(
        &self,
        database: &mut Database<'_>,
        staging: &Target,
        connections: usize,
        hear: &(dyn Fn(Step, u64, u64) + Sync),
    ) -> Result<(Mark, Option<u64>)> {
        let session = &mut database.session;
        // An upsert's has no keys and is gone after a crash of the server, a swap's has keys and stays.
        let name = format!("{:?} {}", self.action, self.identity);
        if let Some(mark) = filled(session, staging, &name, self.vectors)? {
            return Ok((Mark { source: self.identity.clone(), ..mark }, None));
        }
        let is_swap = self.action == Action::Swap;
        let destination =
            Destination { server: database.server, database: database.name, staging, vectors: self.vectors };
        let rows: Progress<'_> = &|done, all| hear(Step::Rows, done, all);
        let counts = load(session, &destination, self.source, is_swap, connections, rows)?;
        if counts.rows == 0 {
            clear(session, staging)?;
            return Err(none_left(self.source, counts.failed));
        }
        let sequence = self.target.layout.sequence_sql(STAGING);
        let marked = staging.mark_sql(Some(&counts.mark(name)));
        session.run("to mark the staging table as filled", &format!("{sequence}; {marked}"))?;
        Ok((counts.mark(self.identity.clone()), Some(counts.failed)))
    }

    /// The columns of vectors that the file has a group for.
    fn columns(&self) -> Vec<&'static str> {
        let groups = self.source.layout.vectors.iter().zip(&self.source.readers);
        groups.filter(|(_, reader)| reader.is_some()).map(|((name, _), _)| *name).collect()
    }

    fn build(
        &self,
        database: &mut Database<'_>,
        table: &Target,
        hear: &(dyn Fn(Step, u64, u64) + Sync),
    ) -> Result<()> {
        let at = (database.server, database.name);
        let blocks: Progress<'_> = &|done, all| hear(Step::Index, done, all);
        build::build(
            &mut database.session,
            at,
            table,
            &self.columns(),
            &self.estimate,
            self.is_index_exact,
            blocks,
        )
    }
}

fn occupied(target: &Target, rows: u64, database: &str) -> Error {
    Error::new(format!(
        "the table {} of the database '{database}' has {rows} rows, which are not those of this load",
        target.layout.name
    ))
    .hint(
        "--replace puts a new table in its place once that is complete; --upsert keeps it, and changes the rows whose \
         ids come again",
    )
    .exit(Exit::Usage)
}

fn of_other_type(target: &Target, there: Vectors, vectors: Vectors) -> Error {
    Error::new(format!(
        "the table {} holds {there}, this load would bring {vectors}: vectors of two kinds cannot stand in one table",
        target.layout.name
    ))
    .hint("--replace makes the table anew; or name another --database")
    .exit(Exit::Usage)
}

fn none_left(source: &Source, failed: u64) -> Error {
    let path = source.path.display();
    match &source.selection.valid {
        Some(valid) => Error::new(format!("{path} has none of the {} ids of --valid-ids", valid.len()))
            .hint("its ids: `hyperslab list`; are those of the list indices, and the file's uids, or the other way round?"),
        None => Error::new(format!("{path} has no vector at all: {failed} of its items failed")),
    }
}
