//! The gate of a transaction: statements that a rule with `hold: commit` holds run in the client's transaction,
//! and its COMMIT waits for a human, who sees what it did (`close`). Whatever does not surely run there is held
//! itself.
//!
//! Whoever reads this looks for a way to make durable what nobody saw. There are three walls. A statement runs
//! by the gate only where the link says that it runs inside a block, or not at all. While something is noted,
//! nothing that may end the transaction passes `run` but a plain ROLLBACK, and the COMMIT that went through
//! `close`. And whatever goes wrong from there on ends in a ROLLBACK of the agent's, or with the connection.

use std::sync::Arc;

use crate::approval::{Gated, NotGated};
use crate::model::Refusal;
use crate::permit::Cleared;
use crate::policy::{Gate, Hold};
use crate::record::{ApprovalStep, Why};
use crate::sql::{Analysis, FunctionClass, StatementKind, Sureness, Turn, classify_function};
use crate::wire::{Phase, Talk, Wire};

use super::close::Closing;
use super::execution::Execution;
use super::hold::Brought;
use super::pump::Session;
use super::shown::{exactly, shown};
use super::verdict::Prepared;

/// What becomes of a statement that a rule with `hold: commit` holds.
pub(super) enum ByGate {
    /// It runs; `first`: the transaction is gated from here on.
    Runs { gated: Gated, first: bool },
    /// It is the COMMIT that waits.
    Closes,
    /// It is held itself, before it runs, for this reason.
    Held(&'static str),
    /// It does not run.
    Refused { why: String, hint: &'static str },
}

const BY_THEMSELVES: &str = "Send BEGIN, COMMIT and the like by themselves.";
const ANEW: &str = "Roll back, and begin the transaction anew.";

impl<W: Wire> Session<W> {
    /// What becomes of a statement that a rule with `hold: commit` holds. What runs is noted.
    pub(super) fn by_gate(&mut self, brought: &Brought) -> ByGate {
        let Brought {
            asked,
            prepared,
            verdict,
            hold,
            ..
        } = brought;
        let refused = |why: &str, hint| ByGate::Refused {
            why: why.to_owned(),
            hint,
        };
        let reference = self.reference();
        let analysis = &prepared.analysis;
        let gated = self.gate.holds().is_some();
        if alone(analysis) {
            // By itself it changes nothing that could be durable.
            let control = ByGate::Runs {
                gated: self.gate.control(reference, hold),
                first: false,
            };
            return match prepared.turn {
                Turn::Commits if self.gate.is_of(hold) => ByGate::Closes,
                Turn::Commits if gated => refused(
                    "another rule holds what its transaction has done, and one approval cannot answer both",
                    ANEW,
                ),
                Turn::Commits | Turn::Begins | Turn::RollsBack | Turn::Stays => control,
                Turn::MayEnd => refused("it may end a transaction unseen", BY_THEMSELVES),
            };
        }
        if gated && ends(prepared.turn) {
            return refused(MAY_END, BY_THEMSELVES);
        }
        let controls = |kind: &StatementKind| {
            matches!(kind, StatementKind::Transaction | StatementKind::TwoPhase)
        };
        let mut kinds = analysis.judged().flat_map(|facts| &facts.kinds);
        if analysis.statements.len() > 1 && kinds.any(controls) {
            return refused(
                "it stands in one text with the beginning or the end of a transaction, whose COMMIT could not be held",
                BY_THEMSELVES,
            );
        }
        if let Phase::Execute { resumed: true, .. } = &asked.phase {
            return match self.gate.resumed(reference, hold) {
                Some(gated) => ByGate::Runs {
                    gated,
                    first: false,
                },
                None => ByGate::Held("it began outside of the transaction"),
            };
        }
        if prepared.purpose.as_ref().is_some_and(|said| said.later) {
            return ByGate::Held("its client does not wait, and a COMMIT cannot come again");
        }
        if !self.link.surely_inside() {
            return ByGate::Held(
                "it runs outside of a transaction, or behind something that may end it",
            );
        }
        if let Some(why) = lasting(analysis) {
            return ByGate::Held(why);
        }
        let seen = match shown(asked, prepared, verdict) {
            Ok(seen) => seen,
            Err(why) => return refused(why, "Send it so that it can be shown."),
        };
        let exact = exactly(asked, prepared);
        let noted = self
            .gate
            .note(reference, hold, &verdict.policy_version, seen, exact);
        match noted {
            Ok(noted) => ByGate::Runs {
                gated: noted,
                first: !gated,
            },
            Err(NotGated::Another(_)) => {
                ByGate::Held("another rule holds the COMMIT of its transaction")
            }
            Err(NotGated::TooMuch(why)) => refused(why, "Commit in smaller steps."),
            Err(NotGated::Changed) => refused(
                "the policies have changed since its transaction began to wait for approval",
                ANEW,
            ),
        }
    }

    /// It runs in its transaction, and that is on record.
    pub(super) async fn gated(
        &mut self,
        brought: Brought,
        gated: Gated,
        first: bool,
    ) -> Result<(), Why> {
        let Brought {
            asked,
            prepared,
            verdict,
            hold,
            receipt,
            ..
        } = brought;
        let stepped = match self.step(None, ApprovalStep::Gated).await {
            Ok(stepped) => stepped,
            // Record or refuse: nobody is asked about what is not on the record.
            Err(error) => {
                self.recorder.not_run(self.reference().seq, &error);
                let refusal = error.refusal().at(self.reference());
                self.link.refuse(asked, &refusal, &mut self.out);
                return Ok(());
            }
        };
        if first && !self.link.inside_message() {
            let message = format!(
                "it runs, and the COMMIT of its transaction will be held: rule {}/{} wants it approved",
                hold.rule.policy, hold.rule.rule
            );
            let detail = format!("asked then: {}", hold.asks.reviewers);
            W::Talk::<Arc<Prepared>, Execution>::tell(&message, Some(&detail), &mut self.out);
        }
        let cleared = Cleared::Gated(gated, stepped);
        if self.gate.begins() {
            // Their difference later is what was changed; and the database says that a transaction is open.
            let runs = (prepared, verdict, receipt);
            self.closing = Some(Box::new(Closing::opening(asked, runs, cleared)));
            return self.closes().await;
        }
        self.run(asked, prepared, verdict, cleared, Some(receipt))
            .await
    }

    /// Why something that is cleared does not run while a transaction is gated. `None`: it does.
    pub(super) fn past_the_gate(&self, prepared: &Prepared) -> Option<Refusal> {
        let (hold, _) = self.gate.holds()?;
        ends(prepared.turn)
            .then(|| crate::approval::refusal(&hold.rule, MAY_END).hint(BY_THEMSELVES))
    }
}

const MAY_END: &str = "a COMMIT of its transaction is held, and it may end that transaction unseen";

/// Whether what ran before it can be durable behind it.
fn ends(turn: Turn) -> bool {
    match turn {
        Turn::Commits | Turn::MayEnd => true,
        Turn::Stays | Turn::Begins | Turn::RollsBack => false,
    }
}

/// One statement that is about its transaction, and about nothing else.
fn alone(analysis: &Analysis) -> bool {
    let mut all = analysis.judged();
    let one = all.next().is_some_and(|facts| {
        facts.kinds == [StatementKind::Transaction]
            && facts.functions.is_empty()
            && facts.relations.is_empty()
    });
    one && all.next().is_none() && analysis.sureness == Sureness::Complete
}

/// Why a ROLLBACK would not take back all that a statement does. By its own words: what triggers and foreign
/// tables do outside of the transaction, no text shows.
fn lasting(analysis: &Analysis) -> Option<&'static str> {
    if analysis.sureness != Sureness::Complete {
        return Some("it is not understood");
    }
    let lasts = |kind: &StatementKind| match kind {
        StatementKind::Select
        | StatementKind::Insert
        | StatementKind::Update
        | StatementKind::Delete
        | StatementKind::Merge
        | StatementKind::Lock
        | StatementKind::CopyIn
        | StatementKind::Truncate
        | StatementKind::Create
        | StatementKind::Alter
        | StatementKind::Drop
        | StatementKind::Maintain
        | StatementKind::Grant
        | StatementKind::Role
        | StatementKind::DefineCode
        | StatementKind::Explain
        | StatementKind::Show => false,
        // Files, programs, libraries, other databases; names and settings of the session; code that can
        // reach any of these; and what a transaction does not undo at all.
        StatementKind::CopyFile
        | StatementKind::CopyOut
        | StatementKind::CopyProgram
        | StatementKind::Vacuum
        | StatementKind::Admin
        | StatementKind::Transaction
        | StatementKind::TwoPhase
        | StatementKind::Set
        | StatementKind::SetIdentity
        | StatementKind::Prepare
        | StatementKind::Execute
        | StatementKind::Deallocate
        | StatementKind::Declare
        | StatementKind::Fetch
        | StatementKind::CloseCursor
        | StatementKind::Discard
        | StatementKind::Listen
        | StatementKind::Notify
        | StatementKind::Do
        | StatementKind::Call
        | StatementKind::Opaque => true,
    };
    let mut all = analysis.judged();
    let lasting = all.any(|facts| {
        facts.kinds.iter().any(lasts)
            || facts.functions.iter().any(|called| {
                let class = classify_function(called.schema.as_deref(), &called.name, called.args);
                !matches!(class, FunctionClass::Pure)
            })
    });
    if lasting {
        return Some("a ROLLBACK would not surely take back all that it does");
    }
    // Who is told something knows it. Only what changes something can be judged by what it has changed.
    let changes = analysis
        .judged()
        .any(|facts| facts.kinds.iter().any(changes));
    (!changes).then_some("it only reads, and what it answers cannot be taken back")
}

fn changes(kind: &StatementKind) -> bool {
    !matches!(
        kind,
        StatementKind::Select
            | StatementKind::Lock
            | StatementKind::Explain
            | StatementKind::Show
            | StatementKind::CopyOut
    )
}

/// How a rule asks, for whom only the statement's own approval is meant.
pub(super) fn gates(hold: &Hold) -> bool {
    hold.asks.gate == Gate::Commit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Dialect;
    use crate::sql::analyze;

    #[test]
    fn only_what_a_rollback_takes_back_runs_before_it_is_approved() {
        let table = [
            ("delete from t where i = 1", true),
            ("insert into t values (1), (2)", true),
            ("update t set i = lower('a')", true),
            (
                "with d as (delete from t returning *) select * from d",
                true,
            ),
            ("copy t from stdin", true),
            ("explain analyze delete from t where i = 1", true),
            ("select * from t", false),
            ("select * from t for update", false),
            ("copy t to stdout", false),
            ("explain select 1", false),
            ("truncate t", true),
            ("drop table t", true),
            ("delete from t where i = app.f(1)", false),
            ("select dblink_exec('a', 'b')", false),
            ("copy t to program 'x'", false),
            ("copy t to '/x'", false),
            ("do $$ begin end $$", false),
            ("call p()", false),
            ("prepare p as delete from t", false),
            ("execute p", false),
            ("notify c", false),
            ("alter system set a = 1", false),
            ("vacuum t", false),
            ("not a statement", false),
        ];
        for (text, undone) in table {
            let analysis = analyze(Dialect::Postgres, text);
            assert_eq!(lasting(&analysis).is_none(), undone, "{text}");
        }
    }

    #[test]
    fn control_is_one_statement_and_nothing_beside_it() {
        for (text, control) in [
            ("begin", true),
            ("commit and chain", true),
            ("rollback to a", true),
            ("set constraints all deferred", true),
            ("begin; select 1", false),
            ("select 1", false),
            ("", false),
            ("prepare transaction 'x'", false),
            ("begin; begin", false),
        ] {
            assert_eq!(alone(&analyze(Dialect::Postgres, text)), control, "{text}");
        }
    }
}
