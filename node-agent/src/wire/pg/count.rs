//! Pure. A statement whose changes are counted: what is said around it, what must come back, and
//! what the two readings say.
//!
//! The server keeps, per table, how many rows the transaction has inserted, updated and deleted so
//! far; triggers, cascades, rules and partitions are in it. Read before and after a statement, in
//! one transaction, the difference is what the statement did. Nothing that the client sends goes on
//! before that is known, so nothing can commit what was not counted.

use std::collections::HashMap;

use bytes::{BufMut, Bytes, BytesMut};

use crate::model::Refusal;
use crate::wire::reader::Reader;
use crate::wire::{Garbled, Params, Peer};

use super::answer::Kind;
use super::estimate::{self, Estimate};
use super::frame;
use super::prepared::Name;
use super::queue::{Flow, Running};

/// The counters of all tables that are not the server's own, those at zero left out: `on 16384:3,…`.
/// The first word is `track_counts`, without which nothing is counted; a `!` behind a number says that
/// the table has triggers that can wait for the commit. Every name carries its schema, operators too:
/// a session's search path leads to nobody else's.
const READING: &str = "select pg_catalog.current_setting('track_counts') operator(pg_catalog.||) ' ' \
    operator(pg_catalog.||) coalesce((select pg_catalog.string_agg(\
    t.oid::pg_catalog.text operator(pg_catalog.||) ':' operator(pg_catalog.||) t.n \
    operator(pg_catalog.||) case when exists (select from pg_catalog.pg_trigger g \
    where g.tgrelid operator(pg_catalog.=) t.oid and g.tgdeferrable \
    and (not g.tgisinternal or g.tgparentid operator(pg_catalog.<>) '0'::pg_catalog.oid)) \
    then '!' else '' end, ',') from (\
    select c.oid, (pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) \
    operator(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_updated(c.oid) \
    operator(pg_catalog.+) pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid))::pg_catalog.int8 as n \
    from pg_catalog.pg_class c where c.relkind operator(pg_catalog.=) 'r' \
    and c.oid operator(pg_catalog.>=) '16384'::pg_catalog.oid) t \
    where t.n operator(pg_catalog.>) 0::pg_catalog.int8), '')";

/// Lets what waits for the commit happen now. Only in a transaction of ours, where the commit is next.
const NOW: &str = "set constraints all immediate; ";

/// Our prepared statement and portal. No client can give a name that begins so.
const OURS: &str = "node-agent count";

/// How often a ROLLBACK of ours may be cancelled before the session is given up.
const ROLLBACKS: u8 = 16;

/// Where the statement runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Extended protocol: in the transaction that the client's messages make, its own or the one
    /// that ends with Sync.
    Joined,
    /// Simple protocol, in the client's transaction.
    Inside,
    /// Simple protocol, in a transaction of ours.
    Own,
}

/// How a transaction of ours ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Commit,
    Rollback,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not sent: what was asked before it is not answered, and only then the state of the
    /// transaction is known.
    Waiting,
    /// A Sync of ours is out, behind messages of the extended protocol that ran nothing.
    Syncing,
    /// An EXPLAIN is out; the number is that of the answer that comes next.
    Estimating(usize),
    /// It failed, and ReadyForQuery is due. It was only for the estimate.
    Unestimated,
    /// The estimate is known and the session has not spoken.
    Estimated,
    /// The first reading is out.
    Before(usize),
    /// The first reading is in; the client's own frame is next.
    Open,
    /// The client's own frame is out.
    Running,
    /// The statement is done; the second reading is next.
    Ran,
    /// The second reading is out.
    After(usize),
    /// The count is known and the session has not spoken.
    Counted,
    /// The end of our transaction is next.
    Ending(Ending),
    /// It is out; `said`: its tag has come.
    Closing { ending: Ending, said: bool },
    /// An error has come, and ReadyForQuery is due.
    Failed,
}

/// A counted statement, with everything that is said around it.
#[derive(Debug)]
pub(super) struct Counted<E> {
    pub(super) run: Running<E>,
    pub(super) how: How,
    pub(super) stage: Stage,
    /// Whose Execute it is.
    pub(super) portal: Name,
    /// The frame that was judged, until it goes out.
    pub(super) frame: Bytes,
    /// What is to be estimated before it runs.
    pub(super) estimate: Option<Box<Estimate>>,
    /// Rows that the server expects to be changed.
    pub(super) estimated: Option<u64>,
    /// What the client is told once our transaction is rolled back.
    pub(super) refusal: Option<Box<Refusal>>,
    before: Option<Reading>,
    after: Option<Reading>,
    /// Rows that the tags claim.
    tagged: u64,
    /// The statement that is just done sent copy data: its tag tells of no change.
    pub(super) copied_out: bool,
    rollbacks: u8,
}

use Kind::{
    BindComplete, CloseComplete, CommandComplete, DataRow, ParseComplete, Ready, RowDescription,
};

const QUERY: &[Kind] = &[RowDescription, DataRow, CommandComplete, Ready];
const BEGIN_QUERY: &[Kind] = &[
    CommandComplete,
    RowDescription,
    DataRow,
    CommandComplete,
    Ready,
];
const FIRST: &[Kind] = &[
    CloseComplete,
    ParseComplete,
    BindComplete,
    DataRow,
    CommandComplete,
    CloseComplete,
];
const SECOND: &[Kind] = &[
    BindComplete,
    DataRow,
    CommandComplete,
    CloseComplete,
    CloseComplete,
];

impl<E> Counted<E> {
    /// In the extended protocol.
    pub(super) fn joined(run: Running<E>, portal: Name, frame: Bytes) -> Self {
        Counted {
            portal,
            ..Counted::waiting(run, How::Joined, frame)
        }
    }

    /// In the simple protocol: how is not known before everything else is answered.
    pub(super) fn simple(run: Running<E>, frame: Bytes) -> Self {
        Counted::waiting(run, How::Inside, frame)
    }

    fn waiting(run: Running<E>, how: How, frame: Bytes) -> Self {
        Counted {
            run,
            how,
            stage: Stage::Waiting,
            portal: Name::default(),
            frame,
            estimate: None,
            estimated: None,
            refusal: None,
            before: None,
            after: None,
            tagged: 0,
            copied_out: false,
            rollbacks: 0,
        }
    }

    fn script(&self) -> Option<(&'static [Kind], usize)> {
        match (self.stage, self.how) {
            (Stage::Estimating(at), How::Joined) => Some((FIRST, at)),
            (Stage::Estimating(at), How::Inside | How::Own) => Some((BEGIN_QUERY, at)),
            (Stage::Before(at), How::Joined) => Some((FIRST, at)),
            (Stage::Before(at), How::Inside) => Some((QUERY, at)),
            (Stage::Before(at), How::Own) => Some((BEGIN_QUERY, at)),
            (Stage::After(at), How::Joined) => Some((SECOND, at)),
            (Stage::After(at), How::Inside) => Some((QUERY, at)),
            (Stage::After(at), How::Own) => Some((BEGIN_QUERY, at)),
            (
                Stage::Waiting
                | Stage::Syncing
                | Stage::Unestimated
                | Stage::Estimated
                | Stage::Open
                | Stage::Running
                | Stage::Ran
                | Stage::Counted
                | Stage::Ending(_)
                | Stage::Closing { .. }
                | Stage::Failed,
                _,
            ) => None,
        }
    }

    /// The answer that comes next is the row of a reading.
    pub(super) fn reads(&self) -> bool {
        self.script()
            .is_some_and(|(script, at)| script.get(at) == Some(&DataRow))
    }

    /// An answer to a reading, or to our BEGIN. `true`: it was the last.
    pub(super) fn expect(&mut self, kind: Kind) -> Result<bool, &'static str> {
        let Some((script, at)) = self.script() else {
            return Err("nothing: no answer was outstanding");
        };
        if script.get(at) != Some(&kind) {
            return Err("the answer to the agent's own reading of the counters");
        }
        let next = at + 1;
        self.stage = match self.stage {
            Stage::Estimating(_) => Stage::Estimating(next),
            Stage::Before(_) => Stage::Before(next),
            _ => Stage::After(next),
        };
        Ok(next == script.len())
    }

    /// An error is that of the estimate alone, of which nothing hangs. A cancel is meant for the
    /// statement.
    pub(super) fn forgives(&self, sqlstate: &str) -> bool {
        let estimating = matches!(self.stage, Stage::Estimating(_));
        estimating && self.how != How::Joined && sqlstate != "57014"
    }

    /// The row of an estimate or a reading.
    pub(super) fn read(&mut self, row: &[u8]) -> Result<(), Garbled> {
        if let Stage::Estimating(_) = self.stage {
            self.estimated = estimate::rows(cell(row)?);
            return Ok(());
        }
        let reading = Reading::of(row)?;
        match self.stage {
            Stage::Before(_) => self.before = Some(reading),
            _ => self.after = Some(reading),
        }
        Ok(())
    }

    /// A statement's tag. It is the second witness: it knows the rows of foreign tables, which no
    /// counter here does.
    pub(super) fn tag(&mut self, tag: &str, rows: Option<u64>) {
        let word = tag.split(' ').next().unwrap_or_default();
        let changes = matches!(word, "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "COPY");
        if changes && !std::mem::take(&mut self.copied_out) {
            self.tagged = self.tagged.saturating_add(rows.unwrap_or(0));
        }
    }

    /// The rows that were changed; `None`: they could not be counted.
    pub(super) fn changed(&self) -> Option<u64> {
        let (before, after) = (self.before.as_ref()?, self.after.as_ref()?);
        Some(before.until(after, self.how)?.max(self.tagged))
    }

    /// The end of the transaction must be said once more; `false`: not again.
    pub(super) fn rolls_back_again(&mut self) -> bool {
        self.rollbacks += 1;
        self.stage = Stage::Ending(Ending::Rollback);
        self.rollbacks <= ROLLBACKS
    }

    /// A copy from the client is under way.
    pub(super) fn copying(&self) -> bool {
        self.stage == Stage::Running && self.run.flow == Flow::CopyIn
    }
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Reading {
    /// The server counts.
    counts: bool,
    tables: HashMap<u32, Counter>,
}

/// What was changed in one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counter {
    rows: u64,
    /// Its triggers may wait for the commit.
    waits: bool,
}

impl Reading {
    /// A DataRow of one text column.
    fn of(frame: &[u8]) -> Result<Reading, Garbled> {
        let bytes = cell(frame)?;
        let no_reading = Garbled {
            who: Peer::Server,
            expected: "a list of counters",
            seen: format!("{} bytes of something else", bytes.len()),
        };
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let Some((counts, tables)) = text.split_once(' ') else {
            return Err(no_reading);
        };
        let mut reading = Reading {
            counts: counts == "on",
            tables: HashMap::new(),
        };
        for entry in tables.split(',').filter(|entry| !entry.is_empty()) {
            let parsed = entry
                .split_once(':')
                .and_then(|(table, n)| Some((table.parse().ok()?, Counter::of(n)?)));
            let Some((table, counter)) = parsed else {
                return Err(no_reading);
            };
            reading.tables.insert(table, counter);
        }
        Ok(reading)
    }

    /// What was changed from here to `after`. `None`: a counter fell, so it was lost (its table was
    /// truncated or dropped); or, except in a transaction of ours, a table was changed whose triggers
    /// can change more at the commit.
    fn until(&self, after: &Reading, how: How) -> Option<u64> {
        if !self.counts || !after.counts {
            return None;
        }
        if self
            .tables
            .keys()
            .any(|table| !after.tables.contains_key(table))
        {
            return None;
        }
        let mut sum = 0_u64;
        for (table, now) in &after.tables {
            let then = self.tables.get(table).map_or(0, |then| then.rows);
            let risen = now.rows.checked_sub(then)?;
            if risen > 0 && now.waits && how != How::Own {
                return None;
            }
            sum = sum.saturating_add(risen);
        }
        Some(sum)
    }
}

impl Counter {
    fn of(text: &str) -> Option<Counter> {
        let rows = text.strip_suffix('!');
        Some(Counter {
            waits: rows.is_some(),
            rows: rows.unwrap_or(text).parse().ok()?,
        })
    }
}

/// The only cell of a row.
fn cell(frame: &[u8]) -> Result<&[u8], Garbled> {
    let what = "a row of one column, for the agent itself";
    let mut r = Reader::new(Peer::Server, what, frame::body(frame));
    if r.u16()? != 1 {
        return Err(r.garbled("another number of columns"));
    }
    let length = r.u32()?;
    let bytes = r.take(usize::try_from(length).unwrap_or(usize::MAX))?;
    r.end()?;
    Ok(bytes)
}

fn query(up: &mut BytesMut, texts: &[&str]) {
    frame::message(up, b'Q', |up| frame::text(up, &texts.concat()));
}

/// The estimate, in a transaction that ends with it. It is read only: planning can run functions.
pub(super) fn explain(estimate: &Estimate, up: &mut BytesMut) {
    query(
        up,
        &[
            "set transaction read only; ",
            estimate::EXPLAIN,
            estimate.text.as_str(),
        ],
    );
}

/// The same in the extended protocol, with the parameters of the statement.
pub(super) fn prepare_and_explain(estimate: &Estimate, up: &mut BytesMut) {
    prepare(
        &[estimate::EXPLAIN, estimate.text.as_str()],
        &estimate.types,
        up,
    );
    run(&estimate.params, up);
}

/// The first reading of the simple protocol.
pub(super) fn read_first(how: How, up: &mut BytesMut) {
    match how {
        How::Own => query(up, &["begin; ", READING]),
        How::Inside | How::Joined => query(up, &[READING]),
    }
}

/// The second.
pub(super) fn read_again(how: How, up: &mut BytesMut) {
    match how {
        How::Own => query(up, &[NOW, READING]),
        How::Inside | How::Joined => query(up, &[READING]),
    }
}

/// The end of our own transaction.
pub(super) fn end(ending: Ending, up: &mut BytesMut) {
    match ending {
        Ending::Commit => query(up, &["commit"]),
        Ending::Rollback => query(up, &["rollback"]),
    }
}

/// The first reading of the extended protocol. A statement of ours that an error left behind goes
/// first.
pub(super) fn prepare_and_read(up: &mut BytesMut) {
    prepare(&[READING], &[], up);
    run(&Params::default(), up);
}

/// The second; nothing of ours is left behind.
pub(super) fn read_and_close(up: &mut BytesMut) {
    run(&Params::default(), up);
    close(b'S', up);
}

/// Prepares under our name; what has it is closed first.
fn prepare(texts: &[&str], types: &[u8], up: &mut BytesMut) {
    close(b'S', up);
    frame::message(up, b'P', |up| {
        frame::text(up, OURS);
        frame::text(up, &texts.concat());
        // As many as a Parse could carry.
        up.put_u16(u16::try_from(types.len() / 4).unwrap_or(u16::MAX));
        up.put_slice(types);
    });
}

/// Runs what is prepared under our name, and closes its portal.
fn run(params: &Params, up: &mut BytesMut) {
    frame::message(up, b'B', |up| {
        frame::text(up, OURS);
        frame::text(up, OURS);
        estimate::put_params(params, up);
        up.put_u16(0);
    });
    frame::message(up, b'E', |up| {
        frame::text(up, OURS);
        up.put_u32(0);
    });
    close(b'P', up);
}

fn close(which: u8, up: &mut BytesMut) {
    frame::message(up, b'C', |up| {
        up.put_u8(which);
        frame::text(up, OURS);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Vec<u8> {
        let mut out = BytesMut::new();
        frame::message(&mut out, b'D', |out| {
            out.put_u16(1);
            out.put_u32(u32::try_from(text.len()).unwrap());
            out.put_slice(text.as_bytes());
        });
        out.to_vec()
    }

    #[test]
    fn the_difference_of_two_readings_is_what_was_changed() {
        let table = [
            ("on ", "on ", Some(0)),
            ("on ", "on 16384:3", Some(3)),
            ("on 16384:3,16385:1", "on 16385:5,16384:3,99999:2", Some(6)),
            // A truncated or dropped table takes its count with it.
            ("on 16384:3", "on 16384:2,16385:9", None),
            ("on 16384:3", "on 16385:9", None),
            // Nobody counts.
            ("off ", "on 16384:3", None),
            ("on ", "off ", None),
            (
                "on ",
                "on 1:18446744073709551615,2:18446744073709551615",
                Some(u64::MAX),
            ),
        ];
        for (before, after, changed) in table {
            let before_read = Reading::of(&row(before)).unwrap();
            let after_read = Reading::of(&row(after)).unwrap();
            for how in [How::Own, How::Inside, How::Joined] {
                let seen = before_read.until(&after_read, how);
                assert_eq!(seen, changed, "{before} → {after}");
            }
        }
        // Triggers that wait for the commit have done so only where the commit is next.
        let (before, after) = (row("on 16384:1!,16385:1"), row("on 16384:2!,16385:1"));
        let (before, after) = (Reading::of(&before).unwrap(), Reading::of(&after).unwrap());
        assert_eq!(before.until(&after, How::Own), Some(1));
        assert_eq!(before.until(&after, How::Inside), None);
        assert_eq!(before.until(&after, How::Joined), None);
        assert_eq!(before.until(&before, How::Joined), Some(0));
    }

    #[test]
    fn a_row_that_is_no_reading_is_garbled() {
        for bad in [
            "",
            "on",
            "on 1",
            "on 1:",
            "on x:1",
            "on 1:-1",
            "on 1:1,,x",
            "on 1:!",
            "on 1:1!!",
        ] {
            assert!(Reading::of(&row(bad)).is_err(), "{bad}");
        }
        assert!(Reading::of(b"D\0\0\0\x06\0\0").is_err());
        let null = b"D\0\0\0\x0a\0\x01\xff\xff\xff\xff";
        assert!(Reading::of(null).is_err());
        assert!(Reading::of(&[&row("on "), &b"x"[..]].concat()).is_err());
    }

    #[test]
    fn the_larger_of_counters_and_tags_counts() {
        let run = Running::new((), false, false);
        let mut counted = Counted::simple(run, Bytes::new());
        assert_eq!(counted.changed(), None);
        counted.stage = Stage::Before(1);
        counted.read(&row("on 16384:1")).unwrap();
        assert_eq!(counted.changed(), None);
        counted.stage = Stage::After(1);
        counted.read(&row("on 16384:4")).unwrap();
        assert_eq!(counted.changed(), Some(3));
        for (tag, rows, changed) in [
            ("SELECT 9", Some(9), 3),
            ("DELETE 2", Some(2), 3),
            ("COPY 5", Some(5), 7),
            ("INSERT 0 4", Some(4), 11),
            ("CREATE TABLE", None, 11),
        ] {
            counted.tag(tag, rows);
            assert_eq!(counted.changed(), Some(changed), "{tag}");
        }
        counted.copied_out = true;
        counted.tag("COPY 9", Some(9));
        assert_eq!(counted.changed(), Some(11), "rows that were copied out");
    }
}
