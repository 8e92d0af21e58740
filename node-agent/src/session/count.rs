//! Statements whose changes are limited: which of them are counted, which cannot be, and what
//! follows from a count.

use bytes::BytesMut;

use crate::model::{Cause, Outcome, Particulars, Reference, Refusal, RefusalCode};
use crate::policy::{Budget, Obligations, Spent};
use crate::record::End;
use crate::sql::{
    Analysis, FunctionClass, RelationUse, StatementKind, Sureness, Touch, classify_function,
};
use crate::wire::{Asked, Phase, Settled, Text, Wire};

use std::sync::Arc;

use super::answer::Fate;
use super::execution::{Execution, Prepared};
use super::pump::Session;

/// What is to be done about the rows that a statement changes.
pub(super) enum Counting {
    /// Nothing limits them, or it changes none.
    Unneeded,
    /// They are counted before they can be committed.
    Needed,
    /// They are limited, and cannot be counted.
    Impossible(Refusal),
}

impl<W: Wire> Session<W> {
    /// Whether a statement must be counted, and can be.
    pub(super) fn counting(
        &self,
        asked: &Asked<Arc<Prepared>>,
        analysis: &Analysis,
        obligations: &Obligations,
    ) -> Counting {
        if !limited(obligations) {
            return Counting::Unneeded;
        }
        let alone = match asked.phase {
            Phase::Run { .. } => false,
            Phase::Prepare { .. } | Phase::Execute { .. } => true,
        };
        let why = match uncountable(analysis, alone) {
            Some(why) => Some(why),
            None if !may_change(analysis) => return Counting::Unneeded,
            None if !self.link.can_count(asked) => Some((
                "it follows messages of the extended protocol that no Sync has ended",
                "send a Sync first",
            )),
            None => None,
        };
        match why {
            None => Counting::Needed,
            Some((why, hint)) => Counting::Impossible(
                Refusal::new(
                    RefusalCode::Limit,
                    format!(
                        "the rows that the statement may change are limited, and cannot be counted: {why}"
                    ),
                )
                .detail(by(obligations))
                .hint(hint)
                .because(particulars(obligations, Outcome::Deny)),
            ),
        }
    }

    /// What a statement is expected to change is known, and nothing of it has run.
    pub(super) fn settle_estimate(&mut self, rows: u64, replacement: &mut BytesMut) -> Fate {
        let reference = self.reference();
        let Some(execution) = self.link.current() else {
            return Fate::Replaced;
        };
        let refusal = expected_too_many(execution, rows).map(|refusal| {
            refusal.at(Reference {
                seq: execution.seq,
                ..reference
            })
        });
        if let Some(refusal) = &refusal {
            execution.end = Some(End::Stopped);
            execution.error = Some(("54000".to_owned(), refusal.message.clone()));
            self.live.denied();
            self.shared.metrics.statement_refused();
            tracing::info!(session = %self.id, %refusal, "refused");
        }
        self.link.settle(refusal.as_ref(), replacement);
        Fate::Replaced
    }

    /// What a statement changed is known, and nothing of it is committed.
    pub(super) fn settle_count(
        &mut self,
        changed: Option<u64>,
        replacement: &mut BytesMut,
    ) -> Fate {
        let reference = self.reference();
        let Some(execution) = self.link.current() else {
            return Fate::Replaced;
        };
        execution.changed = changed;
        let (seq, obligations) = (execution.seq, execution.obligations.clone());
        let refusal = match verdict(execution, changed) {
            // Spent before it is committed: of two sessions at once, only one can have the last rows.
            None => self
                .afford_changes(&obligations, changed.unwrap_or(0))
                .err(),
            refusal => refusal,
        };
        let refusal = refusal.map(|refusal| refusal.at(Reference { seq, ..reference }));
        if let Some(refusal) = &refusal
            && let Some(execution) = self.link.current()
        {
            execution.end = Some(End::Undone);
            execution.error = Some(("54000".to_owned(), refusal.message.clone()));
        }
        let mut behind = BytesMut::new();
        let settled = self.link.settle(refusal.as_ref(), &mut behind);
        match (refusal, settled) {
            (None, Settled::Now) => {
                self.release(replacement);
            }
            // What was withheld is told when the commit has come back; of what is undone, never.
            (None, Settled::Later) => {}
            (Some(refusal), Settled::Now | Settled::Later) => {
                self.undone = true;
                self.live.denied();
                self.shared.metrics.statement_refused();
                tracing::info!(session = %self.id, %refusal, "undone");
            }
        }
        replacement.extend_from_slice(&behind);
        Fate::Replaced
    }

    /// The end of the current execution, if it must wait for the count, is kept back.
    pub(super) fn keeps_back(&mut self, frame: &[u8], replacement: &mut BytesMut) -> bool {
        let Some(execution) = self.link.current() else {
            return false;
        };
        let last = execution.done + 1 >= execution.statement.analysis.statements.len();
        if !execution.counted || !last {
            return false;
        }
        // There is one last statement; should there be two ends all the same, they stay in order.
        replacement.extend_from_slice(&execution.withheld);
        execution.withheld = bytes::Bytes::copy_from_slice(frame);
        true
    }

    /// What was counted is committed. If it was to be stopped meanwhile, that came too late.
    pub(super) fn kept(&mut self, replacement: &mut BytesMut) {
        if let Some(execution) = self.link.current()
            && execution.stopped.take().is_some()
        {
            execution.end = None;
        }
        self.release(replacement);
    }

    /// What was withheld goes to the client.
    fn release(&mut self, replacement: &mut BytesMut) {
        if let Some(execution) = self.link.current() {
            replacement.extend_from_slice(&std::mem::take(&mut execution.withheld));
        }
    }
}

/// An estimate is far beyond a limit when it is so many times as much …
const FAR: u64 = 100;
/// … and so many rows at least. Statistics that are missing make small tables look large.
const MANY: u64 = 10_000;

/// What the client is told in place of running a statement that will hardly stay within its limit.
fn expected_too_many(execution: &Execution, rows: u64) -> Option<Refusal> {
    if let Some(stopped) = &execution.stopped {
        return Some(stopped.clone());
    }
    let obligations = &execution.obligations;
    let limit = obligations.limits.rows_affected?;
    let far = limit.saturating_mul(FAR).max(MANY);
    (rows > far).then(|| {
        Refusal::new(
            RefusalCode::Limit,
            format!(
                "the statement may change at most {limit} rows, and the database expects it to \
                 change more than {far}; it was not run"
            ),
        )
        .detail(by(obligations))
        .hint(
            "Narrow the WHERE, for instance by a range of the key. If it is narrow, have the table \
             analysed: the database expects too much.",
        )
        .because(particulars(obligations, Outcome::Deny))
    })
}

/// The text of a statement that EXPLAIN can stand before, if there is something to estimate.
pub(super) fn estimable(prepared: &Prepared) -> Option<Text> {
    let [facts] = prepared.analysis.statements.as_slice() else {
        return None;
    };
    // What a text stands for by name, or was prepared in SQL, has other words than its analysis; and
    // what only inserts the rows that it names is as small as its text.
    let reads = |used: &RelationUse| match used.touch {
        Touch::Read | Touch::Update | Touch::Delete => true,
        Touch::Insert | Touch::Truncate | Touch::Lock | Touch::Define => false,
    };
    let text = prepared.text.as_str().trim_start();
    let word: String = text.chars().take_while(char::is_ascii_alphabetic).collect();
    let words = ["insert", "update", "delete", "merge", "with"];
    let fits = words.contains(&word.to_ascii_lowercase().as_str())
        && prepared.by_name.is_none()
        && facts.relations.iter().any(reads);
    fits.then(|| prepared.text.clone())
}

/// What the client is told in place of the statement's end, if it may not stand.
fn verdict(execution: &Execution, changed: Option<u64>) -> Option<Refusal> {
    if let Some(stopped) = &execution.stopped {
        return Some(stopped.clone());
    }
    let obligations = &execution.obligations;
    // A count without its limit is the limit nought, unless a budget wants the count.
    let limit = match obligations.limits.rows_affected {
        None if limited(obligations) => u64::MAX,
        limit => limit.unwrap_or(0),
    };
    match changed {
        Some(changed) if changed <= limit => None,
        Some(changed) => Some(
            Refusal::new(
                RefusalCode::Limit,
                format!(
                    "the statement changed {changed} rows, at most {limit} are allowed; \
                     it is rolled back"
                ),
            )
            .detail(by(obligations))
            .hint(
                "Change fewer rows at a time: narrow the WHERE, for instance by a range of the \
                 key. Rows changed by cascades and triggers count too.",
            )
            .because(particulars(obligations, Outcome::Undo)),
        ),
        None => Some(
            Refusal::new(
                RefusalCode::Limit,
                "the rows that the statement may change are limited, and the database did not say how \
                 many it changed; it is rolled back",
            )
            .detail(by(obligations))
            .hint(
                "Where a table has deferrable triggers, send the statement as a simple query outside \
                 a transaction. A trigger that truncates, or track_counts = off, leaves no count.",
            )
            .because(particulars(obligations, Outcome::Undo)),
        ),
    }
}

/// A limit or a budget wants to know how many rows a statement changes.
fn limited(obligations: &Obligations) -> bool {
    let counts = |budget: &Budget| budget.of == Spent::RowsAffected;
    obligations.limits.rows_affected.is_some() || obligations.budgets.iter().any(counts)
}

fn particulars(obligations: &Obligations, outcome: Outcome) -> Particulars {
    let rule = obligations.rows_rule.as_ref();
    Particulars {
        outcome,
        cause: Some(Cause::RowsAffected),
        policy: rule.map(|rule| rule.policy.to_string()),
        rule: rule.map(|rule| rule.rule.to_string()),
        limit: obligations.limits.rows_affected,
        ..Particulars::default()
    }
}

fn by(obligations: &Obligations) -> String {
    match &obligations.rows_rule {
        Some(rule) => format!(
            "policy \"{}\", rule \"{}\", max_rows_affected",
            rule.policy, rule.rule
        ),
        None => "a limit or a budget of rows affected".to_owned(),
    }
}

/// Whether a text, understood as a whole, can change rows.
fn may_change(analysis: &Analysis) -> bool {
    let changes = |kind: &StatementKind| match kind {
        StatementKind::Insert
        | StatementKind::Update
        | StatementKind::Delete
        | StatementKind::Merge
        | StatementKind::CopyIn
        | StatementKind::CopyFile
        | StatementKind::CopyProgram
        | StatementKind::Truncate
        | StatementKind::Do
        | StatementKind::Call
        | StatementKind::Opaque => true,
        StatementKind::Select
        | StatementKind::Lock
        | StatementKind::CopyOut
        | StatementKind::Drop
        | StatementKind::Create
        | StatementKind::Alter
        | StatementKind::Maintain
        | StatementKind::Vacuum
        | StatementKind::Grant
        | StatementKind::Role
        | StatementKind::Admin
        | StatementKind::Transaction
        | StatementKind::TwoPhase
        | StatementKind::Set
        | StatementKind::SetIdentity
        | StatementKind::Show
        | StatementKind::Explain
        | StatementKind::Prepare
        | StatementKind::Execute
        | StatementKind::Deallocate
        | StatementKind::Declare
        | StatementKind::Fetch
        | StatementKind::CloseCursor
        | StatementKind::Discard
        | StatementKind::Listen
        | StatementKind::Notify
        | StatementKind::DefineCode => false,
    };
    analysis.statements.iter().any(|facts| {
        facts.kinds.iter().any(changes)
            || facts.functions.iter().any(|function| {
                // A function that somebody vouches for may change what it likes.
                let class =
                    classify_function(function.schema.as_deref(), &function.name, function.args);
                match class {
                    FunctionClass::Pure => false,
                    FunctionClass::Unknown | FunctionClass::Refused(_) => true,
                }
            })
    })
}

/// Why a text cannot be counted, and what to do instead. `alone`: it is one statement of the
/// extended protocol.
fn uncountable(analysis: &Analysis, alone: bool) -> Option<(&'static str, &'static str)> {
    match &analysis.sureness {
        Sureness::Complete => {}
        Sureness::Partial(_) | Sureness::Opaque(_) => {
            return Some((
                "it is not understood, and could end the transaction that it is counted in",
                "write the statement out",
            ));
        }
    }
    if !may_change(analysis) {
        return None;
    }
    let mut kinds = analysis.statements.iter().flat_map(|facts| &facts.kinds);
    kinds.find_map(|kind| match kind {
        StatementKind::Truncate => Some((
            "the database does not say how many rows a TRUNCATE removes",
            "use DELETE with a WHERE",
        )),
        StatementKind::Transaction | StatementKind::TwoPhase => Some((
            "it stands in one text with the end or the beginning of a transaction",
            "send BEGIN, COMMIT and the like by themselves",
        )),
        StatementKind::Do | StatementKind::Call if alone => Some((
            "in the extended protocol its code could end the transaction that it is counted in",
            "send it as a simple query, or write the statements out",
        )),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Dialect;
    use crate::sql::analyze;

    #[test]
    fn what_changes_no_rows_is_not_counted() {
        let table = [
            ("select 1", false),
            ("select count(*) from t for update", false),
            ("begin", false),
            ("set search_path = a", false),
            ("create table t (i int)", false),
            ("copy t to stdout", false),
            ("insert into t values (1)", true),
            (
                "with d as (delete from t where i = 1 returning *) select * from d",
                true,
            ),
            ("explain analyze update t set i = 1 where i = 2", true),
            ("copy t from stdin", true),
            ("select a.makes_rows(1)", true),
            ("do $$ begin end $$", true),
            ("call p()", true),
            ("truncate t", true),
            ("select 1; delete from t where i = 1", true),
        ];
        for (text, changes) in table {
            let analysis = analyze(Dialect::Postgres, text);
            assert_eq!(may_change(&analysis), changes, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_counted_is_named() {
        let table = [
            ("delete from t where i = 1", false, false),
            ("delete from t where i = 1", true, false),
            ("commit", false, false),
            ("begin; select 1; commit", false, false),
            ("begin; delete from t where i = 1", false, true),
            ("delete from t where i = 1; commit", false, true),
            ("delete from t where i = 1; savepoint a", false, true),
            (
                "delete from t where i = 1; prepare transaction 'x'",
                false,
                true,
            ),
            ("truncate t", false, true),
            ("do $$ begin end $$", false, false),
            ("do $$ begin end $$", true, true),
            ("call p()", true, true),
            ("not a statement", false, true),
            ("execute p", false, false),
        ];
        for (text, alone, impossible) in table {
            let analysis = analyze(Dialect::Postgres, text);
            let why = uncountable(&analysis, alone);
            assert_eq!(why.is_some(), impossible, "{text}: {why:?}");
        }
    }
}
