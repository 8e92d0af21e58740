//! What can be seen of a server from outside: whether anything in it is other than it was.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Result;
use node_agent_tests::Cluster;
use node_agent_tests::client::{Raw, cells};

/// Each part of the server by name, and what was found there.
pub(super) type State = BTreeMap<String, String>;

/// What is asked. Of all tables, which versions of rows there are, by their place and by who wrote
/// them: nothing can change a row and leave both.
pub(super) struct Look {
    own: String,
    sequences: String,
    server: String,
}

/// The name of the part that grows with every change of a row, and now and then by itself.
pub(super) const LOG: &str = "the log of changes";

/// How the names of those parts begin that no transaction takes back.
pub(super) const SEQUENCE: &str = "sequence ";

/// What changes without a trace in any table, or in the log of changes.
const REST: &str = "\
select 'the log of changes', pg_catalog.pg_current_wal_insert_lsn()::text union all \
select 'postgresql.auto.conf', pg_catalog.md5(pg_catalog.pg_read_file('postgresql.auto.conf')) union all \
select 'slots', pg_catalog.string_agg(s.slot_name, ',') from pg_catalog.pg_replication_slots s union all \
select 'prepared transactions', pg_catalog.string_agg(x.gid, ',') from pg_catalog.pg_prepared_xacts x union all \
select 'advisory locks', pg_catalog.count(*)::text from pg_catalog.pg_locks l where l.locktype = 'advisory' union all \
select 'exclusive locks', pg_catalog.count(*)::text from pg_catalog.pg_locks l \
  where l.mode in ('AccessExclusiveLock', 'ExclusiveLock') and l.locktype = 'relation' union all \
select 'statistics of the database', pg_catalog.pg_stat_get_db_stat_reset_time(d.oid)::text \
  from pg_catalog.pg_database d where d.datname = pg_catalog.current_database() union all \
select 'the bystander', pg_catalog.count(*)::text from pg_catalog.pg_stat_activity a \
  where a.application_name = 'bystander'";

impl Look {
    /// At all that there is now.
    pub(super) fn at(cluster: &Cluster, database: &str) -> Result<Self> {
        let names = |which: &str| {
            cluster.sql(
                database,
                &format!(
                    "select format('%I.%I', n.nspname, c.relname) from pg_class c \
                     join pg_namespace n on n.oid = c.relnamespace \
                     where c.relpersistence <> 't' and {which} order by 1"
                ),
            )
        };
        let sequences = names("c.relkind = 'S'")?;
        let sequences = sequences.lines().map(|name| {
            format!(
                "select '{SEQUENCE}{name}', s.last_value::text || s.is_called::text from {name} s"
            )
        });
        Ok(Self {
            own: of_tables(&names("c.relkind in ('r', 'm') and c.oid >= 16384")?)?,
            sequences: sequences.collect::<Vec<_>>().join(" union all "),
            server: of_tables(&names("c.relkind in ('r', 'm') and c.oid < 16384")?)?,
        })
    }

    /// The users' tables, and the sequences.
    pub(super) fn own(&self, client: &mut Raw) -> Result<State> {
        let mut all = asked(client, &self.own)?;
        all.extend(self.sequences(client)?);
        Ok(all)
    }

    /// The sequences alone: their next numbers are not always in the log.
    pub(super) fn sequences(&self, client: &mut Raw) -> Result<State> {
        asked(client, &self.sequences)
    }

    /// The catalogue.
    pub(super) fn server(&self, client: &mut Raw) -> Result<State> {
        asked(client, &self.server)
    }

    /// Both.
    pub(super) fn tables(&self, client: &mut Raw) -> Result<State> {
        let mut all = self.own(client)?;
        all.extend(self.server(client)?);
        Ok(all)
    }
}

/// What is not in tables.
pub(super) fn rest(client: &mut Raw, files: &Path) -> Result<State> {
    let mut state = asked(client, REST)?;
    state.insert("files".to_owned(), listed(files)?);
    Ok(state)
}

fn listed(files: &Path) -> Result<String> {
    let mut listed = Vec::new();
    for entry in fs::read_dir(files)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        let file = (entry.file_name(), meta.len(), meta.modified()?);
        listed.push(format!("{file:?}"));
    }
    listed.sort();
    Ok(listed.join(", "))
}

fn of_tables(tables: &str) -> Result<String> {
    let mut text = String::new();
    for table in tables.lines() {
        let own = match table {
            // The schemas of temporary tables stay behind.
            "pg_catalog.pg_namespace" => " where r.nspname !~ '^pg_(toast_)?temp_'",
            _ => "",
        };
        let between = if text.is_empty() { "" } else { " union all " };
        write!(
            text,
            "{between}select '{}', pg_catalog.count(*)::text || ' ' || \
             pg_catalog.sum(pg_catalog.hashtextextended(r.ctid::text || ' ' || r.xmin::text, 0))::text \
             from only {table} r{own}",
            table.replace('\'', "''")
        )?;
    }
    Ok(text)
}

fn asked(client: &mut Raw, question: &str) -> Result<State> {
    let seen = client.query(question)?;
    let mut state = State::new();
    // A table that is gone is a difference too.
    if let Some(error) = seen.iter().find(|message| message.kind == b'E') {
        state.insert("what can be looked at".to_owned(), error.words());
    }
    for row in cells(&seen) {
        let mut row = row.into_iter();
        let name = row.next().flatten().unwrap_or_default();
        state.insert(name, row.next().flatten().unwrap_or_default());
    }
    Ok(state)
}

/// The parts that are not the same.
pub(super) fn differences(before: &State, after: &State) -> Vec<String> {
    let names = before.keys().chain(after.keys());
    let mut changed: Vec<String> = names
        .filter(|name| before.get(*name) != after.get(*name))
        .cloned()
        .collect();
    changed.sort();
    changed.dedup();
    changed
}
