//! `sessions ls`, `grep`, `tail`, `export`, `index`: finding and following what was recorded.

mod export;
mod grep;
mod index;
mod ls;
mod tail;

use std::io;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use node_agent::clock;
use node_agent::model::UnixMillis;
use node_agent::record::Identities;
use node_agent::replay::{
    self, Entry, ErrorCode, Filter, ReplayError, RulePattern, Ruling, TablePattern, Trust,
};

use super::out;
use super::sessions::{Opening, Place, unopened};

pub(crate) use export::Export;
pub(crate) use grep::Grep;
pub(crate) use index::Index;
pub(crate) use ls::Ls;
pub(crate) use tail::Tail;

/// Which sessions; all that is said must fit.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Which sessions")]
pub(crate) struct Which {
    /// Only this workload's
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// Only this user's (the token's subject)
    #[arg(long, value_name = "SUBJECT")]
    user: Option<String>,
    /// Only those of members of this group
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Only those to this target
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Only those to this database
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Only what went on at this moment or later: 2h, 3d, today, yesterday, 2026-01-31, RFC 3339; UTC
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    since: Option<UnixMillis>,
    /// Only what began before this moment
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    until: Option<UnixMillis>,
    /// Only those in which something was refused
    #[arg(long)]
    denied: bool,
    /// Only those with a statement of which this was decided
    #[arg(long, value_enum, value_name = "DECISION")]
    decision: Option<Decided>,
    /// Only those with a statement of which this rule spoke, or whose mask was applied: RULE or
    /// POLICY/RULE; * stands for anything
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,
    /// Only those with a statement that names such a table: TABLE or SCHEMA.TABLE; * stands for anything.
    /// A table that is written without a schema may be any schema's
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
    /// Only those with a statement that delivered so many rows
    #[arg(long, value_name = "ROWS")]
    min_rows: Option<u64>,
    /// Only those with an error, or one whose SQLSTATE begins so: --error, --error=42, --error=42P01
    #[arg(
        long, value_name = "SQLSTATE", num_args = 0..=1, default_missing_value = "", require_equals = true
    )]
    error: Option<String>,
    /// Only those that ended for this reason: client_quit, killed, drained, …
    #[arg(long, value_name = "REASON")]
    why: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Decided {
    Allow,
    Hold,
    Deny,
}

fn moment(text: &str) -> Result<UnixMillis, replay::NotAMoment> {
    replay::since(text, clock::now())
}

impl Which {
    fn filter(self) -> Filter {
        Filter {
            workload: self.workload,
            user: self.user,
            group: self.group,
            target: self.target,
            database: self.database,
            since: self.since,
            until: self.until,
            denied: self.denied,
            open: false,
            decision: self.decision.map(|decided| match decided {
                Decided::Allow => Ruling::Allow,
                Decided::Hold => Ruling::Hold,
                Decided::Deny => Ruling::Deny,
            }),
            rule: self.rule.map(RulePattern),
            table: self.table.map(TablePattern),
            min_rows: self.min_rows,
            error: self.error.map(ErrorCode),
            why: self.why,
        }
    }
}

/// The recordings that are asked for by name, or all that fit, by their beginning.
fn recordings(
    place: &Place,
    identities: &Identities,
    names: &[String],
    filter: &Filter,
) -> anyhow::Result<Vec<PathBuf>> {
    if !names.is_empty() {
        let mut named = Vec::new();
        for name in names {
            let path = place.find(name)?;
            if *filter == Filter::default() || filter.session(&Entry::of(&path, identities)?) {
                named.push(path);
            }
        }
        return Ok(named);
    }
    let dir: &Path = &place.dir()?;
    if *filter == Filter::default() {
        return Ok(replay::by_header(dir)?);
    }
    let progress = out::Progress::new("recordings read");
    let found = replay::catalogue(dir, identities, filter, Trust::Unchanged, &|n, of| {
        progress.tell(n, of);
    })?;
    Ok(found.entries.into_iter().map(|(path, _)| path).collect())
}

/// A reader that goes away (`| head`) is no error.
fn unless_gone<T: Default>(done: Result<T, ReplayError>) -> anyhow::Result<T> {
    match done {
        Err(ReplayError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(T::default())
        }
        done => Ok(done?),
    }
}
