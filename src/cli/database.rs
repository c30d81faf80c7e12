//! Which database server a command talks to.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command as Process;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::settings::{ConfigFile, layer, layered};
use crate::db::Server;
use crate::error::{Context, Error, Result};

/// Instead of the flag: the environment of a process is seen by its user alone.
const VARIABLE: &str = "HYPERSLAB_DATABASE_URL";
const FLAG: &str = "--database-url";

/// The server as typed.
#[derive(Args, Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "Database")]
pub struct DatabaseArgs {
    /// The PostgreSQL server: postgres://user:password@host:port?sslmode=verify-full; without a value, or without
    /// the flag: HYPERSLAB_DATABASE_URL, else [database] in hyperslab.toml, else PGHOST, PGPORT, PGUSER, PGPASSWORD,
    /// PGSSLMODE, ... and ~/.pgpass, which also complete the URL
    // Not clap's `env`: help would print the password.
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    pub database_url: Option<String>,
}

layered!("database", DatabaseArgs { database_url });

impl DatabaseArgs {
    /// The server that is meant. Where its password was typed, this program first starts anew without it among its
    /// arguments, which every user of the machine can see.
    ///
    /// # Errors
    /// A URL that is none, settings that cannot be read, or a program that does not start.
    pub fn server(&self, config: Option<&Path>) -> Result<Server> {
        let is_set = |url: &String| !url.is_empty();
        if let Some(url) = self.database_url.as_ref().filter(|url| is_set(url) && Server::has_password(url)) {
            return Err(start_without(url)?);
        }
        let variable = env::var(VARIABLE).ok();
        let typed =
            Self { database_url: self.database_url.clone().filter(is_set).or(variable).filter(is_set) };
        Server::new(layer(&typed, &ConfigFile::load(config)?)?.database_url.as_deref())
    }
}

/// Becomes this program anew, with the URL in its environment instead. Returns only if that fails.
fn start_without(url: &str) -> Result<Error> {
    let this = env::current_exe().context(|| "cannot tell where this program lies")?;
    let failed = Process::new(this).args(without_url(env::args_os().skip(1))).env(VARIABLE, url).exec();
    Ok(Error::new(format!("cannot start anew without the password among the arguments: {failed}"))
        .hint(format!("put the URL into {VARIABLE}")))
}

/// The arguments with an empty value for the flag, at its place.
fn without_url(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut kept: Vec<OsString> = Vec::new();
    let empty = format!("{FLAG}=");
    let mut is_value = false;
    for argument in arguments {
        let is_flag = argument == FLAG;
        if is_flag || argument.as_encoded_bytes().starts_with(empty.as_bytes()) {
            kept.push((&empty).into());
        } else if !is_value {
            kept.push(argument);
        }
        is_value = is_flag;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_taken_out_of_the_arguments() {
        for typed in [
            "search --database-url postgres://u:p@h --id 7 -- a.h5",
            "search --database-url=postgres://u:p@h --id 7 -- a.h5",
        ] {
            let kept = without_url(typed.split(' ').map(OsString::from));
            assert_eq!(kept, ["search", "--database-url=", "--id", "7", "--", "a.h5"], "{typed}");
        }
    }
}
