//! Pure. What the agent itself asks before a COMMIT that is held: how the transaction stands, what it has
//! changed, and that it be undone. And what the dialogue knows of transactions while answers are outstanding.
//!
//! It is asked in the extended protocol under a name of the agent's own, each time up to a Sync: no statement
//! or portal of the client's is touched, and an error has its end. Inside a transaction block a Sync commits
//! nothing, and nothing else of this can: so no question may be put before the block is known to be one.

use bytes::{BufMut, BytesMut};
use serde_json::Value;

use crate::wire::reader::Reader;
use crate::wire::{
    Answer, Garbled, Own, OwnAnswer, Peer, Phase, ServerError, Transaction, TransactionWork, Turned,
};

use super::answer::{self, Kind};
use super::deny;
use super::frame::{self, Header};
use super::hear::flush;
use super::listen::unexpected;
use super::queue::Due;
use super::talk::{Skip, Talk};

/// Our prepared statement and portal. No client can give a name that begins so.
const OURS: &str = "node-agent gate";

/// What would wait for the commit happens now: what reviewers see is all of it, and what would have failed the
/// COMMIT fails before anybody is asked.
const NOW: &str = "set constraints all immediate";

/// Whether the server counts, how long the transaction has been open (ms), how many tables it has changed, and
/// of the first of them the rows, as a list in JSON. The server's own tables are left out. Every name carries
/// its schema, operators too: a session's search path leads to nobody else's.
const READING: &str = "with t as (select n.nspname, c.relname, \
    pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) as i, \
    pg_catalog.pg_stat_get_xact_tuples_updated(c.oid) as u, \
    pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) as d \
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n \
    on n.oid operator(pg_catalog.=) c.relnamespace \
    where c.relkind operator(pg_catalog.=) 'r' \
    and c.oid operator(pg_catalog.>=) '16384'::pg_catalog.oid), \
    f as (select * from t where (t.i operator(pg_catalog.+) t.u operator(pg_catalog.+) t.d) \
    operator(pg_catalog.>) 0::pg_catalog.int8) \
    select pg_catalog.json_build_array(pg_catalog.current_setting('track_counts'), \
    (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() operator(pg_catalog.-) pg_catalog.now()) \
    operator(pg_catalog.*) 1000::pg_catalog.float8)::pg_catalog.int8, \
    (select pg_catalog.count(*) from f), \
    (select coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(g.nspname, g.relname, g.i, g.u, g.d)), \
    '[]'::pg_catalog.json) from (select * from f order by f.nspname, f.relname limit 256) g)\
    )::pg_catalog.text";

const UNDO: &str = "rollback";

use Kind::{BindComplete, CloseComplete, CommandComplete, DataRow, ParseComplete, Ready};

const STANDS: &[Kind] = &[Ready];
const ROWS: &[Kind] = &[
    CloseComplete,
    CloseComplete,
    ParseComplete,
    BindComplete,
    DataRow,
    CommandComplete,
    CloseComplete,
    CloseComplete,
    Ready,
];
const WORK: &[Kind] = &[
    CloseComplete,
    CloseComplete,
    ParseComplete,
    BindComplete,
    CommandComplete,
    CloseComplete,
    CloseComplete,
    CloseComplete,
    ParseComplete,
    BindComplete,
    DataRow,
    CommandComplete,
    CloseComplete,
    CloseComplete,
    Ready,
];
const ROLL_BACK: &[Kind] = &[
    CloseComplete,
    CloseComplete,
    ParseComplete,
    BindComplete,
    CommandComplete,
    CloseComplete,
    CloseComplete,
    Ready,
];

/// A question that is out.
#[derive(Debug)]
pub(super) struct Question {
    own: Own,
    /// The answer that comes next; `None`: it failed, and ReadyForQuery is due.
    at: Option<usize>,
    work: TransactionWork,
}

impl Question {
    fn script(&self) -> &'static [Kind] {
        match self.own {
            Own::Stands => STANDS,
            Own::Rows => ROWS,
            Own::Work => WORK,
            Own::RollBack => ROLL_BACK,
        }
    }

    /// Takes an answer. `true`: it was the last.
    fn expect(&mut self, kind: Kind) -> Result<bool, &'static str> {
        let Some(at) = self.at else {
            return match kind {
                Ready => Ok(true),
                _ => Err("ReadyForQuery"),
            };
        };
        if self.script().get(at) != Some(&kind) {
            return Err("the answer to the agent's own question");
        }
        self.at = Some(at + 1);
        Ok(at + 1 == self.script().len())
    }
}

/// One statement, from Parse to the end of its portal. What an error left behind goes first.
fn run(text: &str, up: &mut BytesMut) {
    close(b'P', up);
    close(b'S', up);
    frame::message(up, b'P', |up| {
        frame::text(up, OURS);
        frame::text(up, text);
        up.put_u16(0);
    });
    frame::message(up, b'B', |up| {
        frame::text(up, OURS);
        frame::text(up, OURS);
        up.put_bytes(0, 6);
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

impl<S: Clone, E> Talk<S, E> {
    /// Something is sent that does this to its transaction.
    pub(super) fn turns(&mut self, turn: Turned, phase: &Phase<S>) {
        match (turn, phase) {
            (Turned::Stays, _) => {}
            (Turned::MayEnd, _) => {
                self.unsettled = true;
                self.begun = false;
            }
            // Behind a boundary a BEGIN that failed, or was cancelled, would leave what follows outside.
            // Within one group the server skips what follows an error.
            (Turned::Begins, Phase::Execute { .. }) => {
                self.begun |= self.transaction == Transaction::Idle
                    && !self.unsettled
                    && self.queue.boundaries() == 0;
            }
            (Turned::Begins, Phase::Run { .. } | Phase::Prepare { .. }) => {}
        }
    }

    /// ReadyForQuery has come: what could have ended the transaction has, or is still outstanding.
    pub(super) fn settles(&mut self) {
        self.unsettled &= self.queue.may_end();
    }

    /// See `wire::Talk::surely_inside`. In a failed transaction nothing runs but what ends or revives it.
    pub(super) fn inside(&self) -> bool {
        let open = self.transaction != Transaction::Idle;
        self.skip.is_none() && !self.unsettled && (open || self.begun)
    }

    /// See `wire::Talk::drained`.
    pub(super) fn is_drained(&mut self, up: &mut BytesMut) -> bool {
        if self.queue.is_empty() {
            return true;
        }
        if self.unflushed {
            flush(up);
            self.unflushed = false;
        }
        false
    }

    /// See `wire::Talk::put`.
    pub(super) fn put_own(&mut self, own: Own, up: &mut BytesMut) {
        match own {
            Own::Stands => {}
            Own::Rows => run(READING, up),
            Own::Work => {
                run(NOW, up);
                run(READING, up);
            }
            Own::RollBack => run(UNDO, up),
        }
        if own != Own::Stands {
            close(b'S', up);
        }
        frame::message(up, b'S', |_| {});
        self.unsynced = false;
        self.unflushed = false;
        self.executed = false;
        self.begun = false;
        self.queue.push(Due::Own(Box::new(Question {
            own,
            at: Some(0),
            work: TransactionWork::default(),
        })));
    }

    /// An answer to a question of ours, but for rows and errors.
    pub(super) fn answered(&mut self, kind: Kind, frame: &[u8]) -> Result<Answer, Garbled> {
        match kind {
            Ready => self.transaction = answer::ready(frame)?,
            CommandComplete => {
                let (tag, _) = answer::complete(frame)?;
                let undoes = self.queue.own().is_some_and(|own| own.own == Own::RollBack);
                if undoes && tag != "ROLLBACK" {
                    return Err(unexpected("the end of a transaction that is undone", kind));
                }
            }
            _ => answer::empty("an empty answer", frame)?,
        }
        let stands = self.transaction;
        let Some(question) = self.queue.own() else {
            return Err(unexpected("nothing: no answer was outstanding", kind));
        };
        if !question
            .expect(kind)
            .map_err(|expected| unexpected(expected, kind))?
        {
            return Ok(Answer::Hidden);
        }
        let (own, failed) = (question.own, question.at.is_none());
        let work = std::mem::take(&mut question.work);
        self.queue.drop_own();
        self.settles();
        self.end_portals();
        Ok(match (own, stands) {
            // It was told when the error came.
            (Own::Work | Own::Rows | Own::Stands, _) if failed => Answer::Hidden,
            (Own::Work | Own::Rows, Transaction::Open) => Answer::Own(OwnAnswer::Work(work)),
            (Own::RollBack, Transaction::Idle) => Answer::Own(OwnAnswer::RolledBack),
            // Cancelled: it is said again.
            (Own::Stands | Own::RollBack, _) => Answer::Own(OwnAnswer::Stands(stands)),
            (Own::Work | Own::Rows, Transaction::Idle | Transaction::Failed) => {
                return Err(Garbled {
                    who: Peer::Server,
                    expected: "the transaction to be as it was left",
                    seen: format!("{stands:?}"),
                });
            }
        })
    }

    /// An error in place of an answer. Up to our Sync the server skips the rest.
    pub(super) fn own_failed(&mut self, error: ServerError) -> Result<Answer, Garbled> {
        let Some(question) = self.queue.own() else {
            return Err(unexpected(
                "no error: no answer was outstanding",
                Kind::Error,
            ));
        };
        if question.at.take().is_none() {
            return Err(unexpected("ReadyForQuery", Kind::Error));
        }
        Ok(match question.own {
            Own::RollBack => Answer::Hidden,
            Own::Stands | Own::Rows | Own::Work => Answer::Own(OwnAnswer::Failed(error)),
        })
    }

    /// The row of a reading, which is ours alone.
    pub(super) fn own_row(
        &mut self,
        first: Header,
        input: &[u8],
    ) -> Result<Option<(usize, Answer)>, Garbled> {
        if first.len > self.limits.message {
            let expected = "rows by table within the limit of a message";
            return Err(unexpected(expected, DataRow));
        }
        let Some(frame) = input.get(..first.len) else {
            return Ok(None);
        };
        self.begin();
        if let Some(question) = self.queue.own() {
            question
                .expect(DataRow)
                .map_err(|expected| unexpected(expected, DataRow))?;
            question.work = work(frame)?;
        }
        Ok(Some((first.len, Answer::Hidden)))
    }

    /// See `wire::Talk::commit_failed`.
    pub(super) fn fail_commit(&mut self, phase: &Phase<S>, out: &mut BytesMut) {
        self.asked = false;
        match phase {
            Phase::Run { .. } => {
                self.query_goes_up();
                self.confirm_query();
                deny::ready(out);
            }
            // The database knows nothing of it: what follows up to Sync is dropped here.
            Phase::Execute { .. } | Phase::Prepare { .. } => self.skip = Some(Skip::Local),
        }
        self.end_portals();
    }
}

/// A reading.
fn work(frame: &[u8]) -> Result<TransactionWork, Garbled> {
    let mut r = Reader::new(
        Peer::Server,
        "a row of one column, for the agent itself",
        frame::body(frame),
    );
    if r.u16()? != 1 {
        return Err(r.garbled("another number of columns"));
    }
    let length = r.u32()?;
    let bytes = r.take(usize::try_from(length).unwrap_or(usize::MAX))?;
    r.end()?;
    parsed(bytes).ok_or_else(|| Garbled {
        who: Peer::Server,
        expected: "rows by table",
        seen: format!("{} bytes of something else", bytes.len()),
    })
}

fn parsed(bytes: &[u8]) -> Option<TransactionWork> {
    type Row = (String, String, u64, u64, u64);
    let (counts, age, all, rows): (String, i64, u64, Vec<Value>) =
        serde_json::from_slice(bytes).ok()?;
    let mut tables = Vec::with_capacity(rows.len());
    for row in rows {
        let (schema, table, inserted, updated, deleted): Row = serde_json::from_value(row).ok()?;
        tables.push((schema, table, [inserted, updated, deleted]));
    }
    Some(TransactionWork {
        // The clock may have been set back meanwhile.
        age: u64::try_from(age).unwrap_or(0),
        more: all.saturating_sub(tables.len() as u64),
        tables: (counts == "on").then_some(tables),
    })
}
