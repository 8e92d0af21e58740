//! A statement that is run and rolled back, for a reviewer who wants to see what it would do.
//!
//! On a connection of its own, inside a transaction that nothing here ever commits. The text goes by Parse, which
//! takes one statement; the server itself has read it before as one that it can plan, which leaves out whatever ends
//! a transaction; and behind it nothing more is asked unless the server says that its transaction is still open. What
//! it wrote bears the number of that transaction: the rows as they would be are seen from within by `xmin`, and as
//! they are from a second connection by `xmax`.

use std::sync::Arc;

use bytes::BytesMut;

use crate::approval::{Changed, Leave, Previewed, Sample};
use crate::mask::{MaskPlan, MaskedRows};
use crate::model::{Format, ResultHead};
use crate::record::{RecordedCell, Stepped};
use crate::sql::quoted;
use crate::wire::pg::aside::{Exchange, cells, read_only_as_planned, run, say};
use crate::wire::{Params, Text, Transaction, Wire};

use super::aside::{Aside, AsideError, Double, ids, texts};
use super::expect::looked_at;

#[cfg(test)]
mod tests;

/// Rows of one table that are shown, before and after.
const ROWS: usize = 5;
/// Tables whose rows are shown.
const SAMPLED: usize = 10;
/// Tables whose counts are shown.
const TABLES: usize = 100;
/// Bytes of rows of one sample.
const SAMPLE: usize = 256 << 10;
/// Bytes of a cell that are shown.
const CELL: usize = 512;

/// Whether none of these relations is kept elsewhere: what is written there may not be undone here.
const HERE: &str = "select not exists (select from pg_catalog.pg_class c \
     where c.oid = any (RELATIONS) and c.relkind not in ('r', 'p', 'v', 'm', 'i', 'I', 'S', 't'))";
/// What the open transaction has changed of tables that are not the server's own.
const COUNTERS: &str = "select c.oid, n.nspname, c.relname, \
       pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid), \
       pg_catalog.pg_stat_get_xact_tuples_updated(c.oid), \
       pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) \
     from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
     where c.relkind = 'r' and c.oid >= 16384 \
       and pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) \
         + pg_catalog.pg_stat_get_xact_tuples_updated(c.oid) \
         + pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) > 0 \
     order by n.nspname, c.relname";

/// A statement that is to be run and rolled back.
pub struct Rehearsal<'a> {
    /// One statement that inserts, updates, deletes or merges, and calls only what writes nothing.
    pub text: &'a Text,
    /// As bound; `None`: it was sent as a text.
    pub params: Option<&'a Params>,
    /// Everything that it names or reaches.
    pub relations: &'a [u32],
    /// Whether its names stand for the same by this `search_path`.
    pub same_by: &'a (dyn Fn(&str) -> bool + Sync),
    /// What is done to the columns of a result.
    pub mask: &'a (dyn Fn(&Arc<ResultHead>) -> MaskPlan + Sync),
}

/// Why a rehearsal says nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRehearsed {
    /// Nothing was run.
    #[error("{0}")]
    Unfit(String),
    /// It was, and failed.
    #[error("{0}")]
    Failed(String),
}

use NotRehearsed::{Failed, Unfit};

impl From<AsideError> for NotRehearsed {
    fn from(error: AsideError) -> Self {
        tracing::warn!(%error, "a preview came to nothing");
        Unfit(match error {
            AsideError::Refused(code) => format!("the database refused to prepare it ({code})"),
            AsideError::Upstream(_) | AsideError::Broken(_) | AsideError::Garbled(_) => {
                "the database cannot be reached for it, or broke off; the agent's log says why"
                    .to_owned()
            }
        })
    }
}

impl Rehearsal<'_> {
    /// Runs it, counts, looks, and rolls it back. Dropped half way, the database cancels it and undoes it.
    ///
    /// # Errors
    /// Why nothing can be said. Its words hold nothing of any row.
    pub async fn run<W: Wire>(
        &self,
        leave: Leave,
        stepped: Stepped,
        double: &Double,
    ) -> Result<Vec<Previewed>, NotRehearsed> {
        if stepped.approval() != Some(leave.id()) {
            return Err(Unfit("that it is done is not on the record".to_owned()));
        }
        let mut main = Aside::<W>::open(double).await?;
        self.fit(&mut main).await?;
        let mut other = Aside::<W>::open(double).await?;
        let quiet = "set default_transaction_read_only = on; set search_path to pg_catalog; \
                     set statement_timeout = '2s'; set lock_timeout = '1s'";
        other.ask(quiet).await?;
        let begun = main
            .ask(
                "begin; set local lock_timeout = '1s'; set local statement_timeout = '5s'; \
                 set local idle_in_transaction_session_timeout = '10s'",
            )
            .await?;
        if begun.ready != Some(Transaction::Open) {
            return Err(Unfit("the database opened no transaction".to_owned()));
        }
        // Something may have run, whatever came of it.
        let done = self.inside(&mut main, &mut other).await;
        let done = done.map_err(|why| Failed(why.to_string()));
        other.close().await;
        if done.is_err() && main.is_lost() {
            // Nothing more is asked of it; closing it undoes what it has not committed.
            main.close().await;
            return done;
        }
        let ended = main.ask("rollback").await?;
        if ended.ready != Some(Transaction::Idle) || ended.tag != "ROLLBACK" {
            tracing::error!(
                tag = ended.tag,
                "a preview was not rolled back as it should be"
            );
            return Err(Failed(
                "the database did not say that it was rolled back; its connection was closed"
                    .to_owned(),
            ));
        }
        main.close().await;
        done
    }

    /// Whether this connection is as the session's is, and nothing that it changes is kept elsewhere.
    async fn fit<W: Wire>(&self, main: &mut Aside<W>) -> Result<(), NotRehearsed> {
        let here = HERE.replace("RELATIONS", &ids(self.relations));
        let seen = main.ask(&looked_at(&here)).await?;
        let seen = texts(&seen)?;
        let [here, path] = seen.as_slice() else {
            return Err(Unfit(
                "the database does not answer as it should".to_owned(),
            ));
        };
        if here.first().and_then(Option::as_deref) != Some("t") {
            return Err(Unfit(
                "a table of it is kept elsewhere, where it may not be rolled back".to_owned(),
            ));
        }
        let path = path.first().and_then(Option::as_deref);
        if !path.is_some_and(|path| (self.same_by)(path)) {
            return Err(Unfit(
                "its names may stand for something else outside its session".to_owned(),
            ));
        }
        Ok(())
    }

    async fn inside<W: Wire>(
        &self,
        main: &mut Aside<W>,
        other: &mut Aside<W>,
    ) -> Result<Vec<Previewed>, NotRehearsed> {
        let mut up = BytesMut::new();
        // The server's own word that it is something to plan: no COMMIT, no CALL, no COPY, and one statement.
        read_only_as_planned(self.text.as_str(), self.params, &mut up);
        let read = main.talk(&up, 0).await?;
        still_open(main, &read)?;
        if read.failed.is_some() {
            return Err(failed(&read, "the database cannot plan it"));
        }
        let before = format!(
            "savepoint node_agent; set local search_path to pg_catalog; {COUNTERS}; \
             rollback to savepoint node_agent; release savepoint node_agent"
        );
        let before = main.ask(&before).await?;
        still_open(main, &before)?;
        let before = counters(&before)?;
        up.clear();
        run(self.text.as_str(), self.params, &mut up);
        let ran = main.talk(&up, 0).await?;
        still_open(main, &ran)?;
        if ran.failed.is_some() {
            return Err(failed(&ran, "it would fail"));
        }
        up.clear();
        say("set constraints all immediate", &mut up);
        let checked = main.talk(&up, 0).await?;
        still_open(main, &checked)?;
        if checked.failed.is_some() {
            return Err(failed(&checked, "it would fail at its commit"));
        }
        // From here on it is only looked at.
        let counted = main
            .ask(&format!(
                "set local search_path to pg_catalog; set local statement_timeout = '2s'; {COUNTERS}"
            ))
            .await?;
        still_open(main, &counted)?;
        let number = main
            .ask("select pg_catalog.txid_current_if_assigned()")
            .await?;
        still_open(main, &number)?;
        let number = texts(&number)?;
        let number = number
            .first()
            .and_then(|row| row.first()?.as_deref()?.parse::<u64>().ok());
        // Rows bear the lower half of it.
        let number = number.map(|number| number & u64::from(u32::MAX));
        let mut tables = Vec::new();
        for (at, (id, mut counter)) in counters(&counted)?.into_iter().take(TABLES).enumerate() {
            if let Some((_, then)) = before.iter().find(|(known, _)| *known == id) {
                counter.less(then);
            }
            let changed = counter.changed();
            let mut one = Previewed {
                changed,
                before: Sample::default(),
                after: Sample::default(),
            };
            match number {
                Some(number) if at < SAMPLED => {
                    if one.changed.updated + one.changed.deleted > 0 {
                        one.before = self.seen(other, &counter, "xmax", number).await?;
                    }
                    if one.changed.updated + one.changed.inserted > 0 {
                        one.after = self.seen_within(main, &counter, number).await?;
                    }
                }
                _ => {
                    let why = format!("rows of the first {SAMPLED} tables are shown");
                    (one.before.why, one.after.why) = (Some(why.clone()), Some(why));
                }
            }
            tables.push(one);
        }
        Ok(tables)
    }

    /// Rows as they would be: a failure to read them must not end the transaction.
    async fn seen_within<W: Wire>(
        &self,
        main: &mut Aside<W>,
        table: &Counter,
        number: u64,
    ) -> Result<Sample, NotRehearsed> {
        main.ask("savepoint node_agent").await?;
        let sample = self.seen(main, table, "xmin", number).await?;
        let back = main.ask("rollback to savepoint node_agent").await?;
        still_open(main, &back)?;
        Ok(sample)
    }

    async fn seen<W: Wire>(
        &self,
        aside: &mut Aside<W>,
        table: &Counter,
        by: &str,
        number: u64,
    ) -> Result<Sample, NotRehearsed> {
        let (schema, name) = (quoted(&table.schema), quoted(&table.name));
        let mut up = BytesMut::new();
        say(
            &format!(
                "select * from only {schema}.{name} where {by} = '{number}'::xid limit {ROWS}"
            ),
            &mut up,
        );
        let seen = aside.talk(&up, SAMPLE).await?;
        let none = |why: &str| Sample {
            why: Some(why.to_owned()),
            ..Sample::default()
        };
        if let Some(code) = &seen.failed {
            return Ok(none(match code.as_str() {
                "57014" => "the table is too large to look for them in a moment",
                "42501" => "the role may not read the table",
                _ => "the database does not show them",
            }));
        }
        let Some(head) = &seen.head else {
            return Ok(none("the database does not show them"));
        };
        let plan = (self.mask)(head);
        let Ok(masked) = MaskedRows::mask(&plan, &seen.rows) else {
            return Ok(none("they do not fit their masks"));
        };
        sample(head, &plan, &masked, seen.left_out)
    }
}

/// The rows of a sample, but for columns of which nobody can say whether a mask is on them.
fn sample(
    head: &ResultHead,
    plan: &MaskPlan,
    masked: &MaskedRows,
    left_out: u64,
) -> Result<Sample, NotRehearsed> {
    let undecided: Vec<usize> = plan
        .applied()
        .into_iter()
        .filter(|(_, rule)| &*rule.policy == "node-agent")
        .map(|(at, _)| usize::from(at))
        .collect();
    let mut sample = Sample {
        why: (left_out > 0).then(|| format!("{left_out} rows are too long to be shown")),
        ..Sample::default()
    };
    for (at, column) in head.columns.iter().enumerate() {
        let name = column.name.to_string();
        match undecided.contains(&at) {
            true => sample.withheld.push(name),
            false => sample.columns.push(name),
        }
    }
    let read = cells(masked.bytes(), |cells| {
        let shown = cells.iter().enumerate();
        let shown = shown.filter(|(at, _)| !undecided.contains(at));
        sample
            .rows
            .push(shown.map(|(_, value)| cell(*value)).collect());
    });
    read.map_err(|error| NotRehearsed::from(AsideError::Garbled(error)))?;
    Ok(sample)
}

fn cell(value: Option<&[u8]>) -> RecordedCell {
    match value {
        Some(long) if long.len() > CELL => {
            let text = String::from_utf8_lossy(long.get(..CELL).unwrap_or_default());
            RecordedCell::Begins {
                // The last character may be cut.
                text: text.trim_end_matches('\u{fffd}').to_owned(),
                length: long.len() as u64,
            }
        }
        value => RecordedCell::from(Format::Text, value, CELL),
    }
}

/// Nothing more is asked of a connection whose transaction is not open any more.
fn still_open<W: Wire>(main: &mut Aside<W>, seen: &Exchange) -> Result<(), NotRehearsed> {
    match seen.ready {
        Some(Transaction::Open | Transaction::Failed) => Ok(()),
        Some(Transaction::Idle) | None => {
            main.lose();
            tracing::error!(
                tag = seen.tag,
                "a preview left the transaction that it was to be rolled back with; what it did may be committed"
            );
            Err(Failed(
                "the statement left the transaction that was to be rolled back; what it did may be \
                 committed. The agent's log says it too"
                    .to_owned(),
            ))
        }
    }
}

fn failed(seen: &Exchange, what: &str) -> NotRehearsed {
    let code = seen.failed.as_deref().unwrap_or_default();
    let known = code.len() == 5
        && code
            .bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
    let code = if known { code } else { "XX000" };
    Failed(match code {
        "57014" => format!("{what}, or takes longer than 5 s (SQLSTATE {code})"),
        "55P03" => "another session holds a lock that it needs (SQLSTATE 55P03)".to_owned(),
        code => format!("{what} (SQLSTATE {code})"),
    })
}

/// What was changed of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Counter {
    schema: String,
    name: String,
    rows: [u64; 3],
}

impl Counter {
    fn less(&mut self, then: &Counter) {
        for (now, then) in self.rows.iter_mut().zip(&then.rows) {
            *now = now.saturating_sub(*then);
        }
    }

    fn changed(&self) -> Changed {
        let [inserted, updated, deleted] = self.rows;
        Changed {
            table: format!("{}.{}", self.schema, self.name),
            inserted,
            updated,
            deleted,
        }
    }
}

fn counters(seen: &Exchange) -> Result<Vec<(u32, Counter)>, NotRehearsed> {
    let unread = || Unfit("the database does not say how many rows it changes".to_owned());
    if seen.left_out > 0 {
        return Err(unread());
    }
    let mut read = Vec::new();
    for row in texts(seen)? {
        let one = match row.as_slice() {
            [
                Some(id),
                Some(schema),
                Some(name),
                Some(i),
                Some(u),
                Some(d),
            ] => {
                let number = |text: &String| text.parse::<u64>().ok();
                let rows = number(i).zip(number(u)).zip(number(d));
                id.parse::<u32>().ok().zip(rows).map(|(id, ((i, u), d))| {
                    let counter = Counter {
                        schema: schema.clone(),
                        name: name.clone(),
                        rows: [i, u, d],
                    };
                    (id, counter)
                })
            }
            _ => None,
        };
        read.push(one.ok_or_else(unread)?);
    }
    Ok(read)
}
