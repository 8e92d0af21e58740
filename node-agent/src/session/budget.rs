//! Budgets of an identity, spent by all its sessions of the node; and what passes limits and budgets that
//! only observe.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::model::{Cause, Outcome, Particulars, Refusal, RefusalCode};
use crate::policy::{Budget, Exhausted, Identity, Ledger, Obligations, Spent};
use crate::record::Beyond;
use crate::sql::{Analysis, StatementKind};
use crate::wire::Wire;

use super::execution::Execution;
use super::pump::Session;

/// What identities have spent. One for all sessions; it begins anew with the worker.
#[derive(Debug)]
pub struct Budgets {
    since: Instant,
    ledger: Mutex<Ledger>,
}

impl Default for Budgets {
    fn default() -> Self {
        Budgets {
            since: Instant::now(),
            ledger: Mutex::default(),
        }
    }
}

impl Budgets {
    /// Asks the ledger, with the time of this moment. The monotonic clock: setting the wall clock gives
    /// nobody a fresh budget.
    fn with<T>(&self, ask: impl FnOnce(&mut Ledger, u64) -> T) -> T {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        ask(
            &mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner),
            now,
        )
    }

    /// Takes up to so much of all budgets that count it.
    fn take(
        &self,
        who: &Identity,
        budgets: &[Budget],
        what: Spent,
        amount: u64,
    ) -> (u64, Option<Exhausted>) {
        if budgets.iter().all(|budget| budget.of != what) {
            return (amount, None);
        }
        self.with(|ledger, now| ledger.take(who, budgets, what, amount, now))
    }

    /// Takes all of it or nothing.
    fn take_all(
        &self,
        who: &Identity,
        budgets: &[Budget],
        what: Spent,
        amount: u64,
    ) -> Result<(), Exhausted> {
        self.with(|ledger, now| ledger.take_all(who, budgets, what, amount, now))
    }
}

impl<W: Wire> Session<W> {
    /// Spends the statement itself; refuses it where that budget, or one that it would go on with, is
    /// spent. What only ends or forgets things costs nothing, and is always possible.
    pub(super) fn afford(
        &self,
        obligations: &Obligations,
        analysis: &Analysis,
    ) -> Result<(), Refusal> {
        let budgets = &obligations.budgets;
        if budgets.is_empty() || only_ends(analysis) {
            return Ok(());
        }
        let reads = reads(analysis);
        let needed: Vec<Budget> = budgets
            .iter()
            .filter(|budget| match budget.of {
                Spent::RowsReturned | Spent::BytesReturned => reads,
                // Who has tried too often reads nothing masked for a while.
                Spent::MaskRefusals => obligations.touches_masked,
                Spent::Statements | Spent::RowsAffected => false,
            })
            .cloned()
            .collect();
        let statements = analysis.statements.len().max(1) as u64;
        let who = &self.identity;
        let spent =
            self.shared
                .budgets
                .with(|ledger, now| match ledger.exhausted(who, &needed, now) {
                    Some(exhausted) => Err(exhausted),
                    None => ledger.take_all(who, budgets, Spent::Statements, statements, now),
                });
        spent.map_err(|exhausted| refusal(&exhausted, Outcome::Deny))
    }

    /// Charges a statement that a mask refused, and says so where that spends a budget.
    pub(super) fn charge_refusal(&self, refusal: &Refusal) {
        let cause = refusal.particulars.as_ref().and_then(|said| said.cause);
        if !cause.is_some_and(by_mask) {
            return;
        }
        self.shared.metrics.mask_refused();
        let policies = self.policies();
        let budgets = policies.budgets_for(&self.principal, &self.arrived.reachable.target.name);
        let counted: Vec<Budget> = budgets
            .into_iter()
            .filter(|budget| budget.of == Spent::MaskRefusals)
            .collect();
        if counted.is_empty() {
            return;
        }
        let who = &self.identity;
        let stopped = self.shared.budgets.with(|ledger, now| {
            let before = ledger.exhausted(who, &counted, now).is_some();
            ledger.charge(who, &counted, Spent::MaskRefusals, 1, now);
            ledger.exhausted(who, &counted, now).filter(|_| !before)
        });
        if let Some(Exhausted::Spent { budget, .. }) = stopped {
            self.shared.metrics.mask_budget_spent();
            tracing::warn!(
                session = %self.id,
                issuer = %who.issuer,
                subject = %who.subject,
                policy = %budget.policy,
                budget = %budget,
                "an identity was refused by masks so often that it reads nothing masked any more"
            );
        }
    }

    /// Takes rows that are about to be delivered: how many may be, and why not all.
    pub(super) fn afford_rows(
        &self,
        charged: Option<&Arc<Obligations>>,
        rows: u64,
    ) -> (u64, Option<Exhausted>) {
        let Some(charged) = charged else {
            return (rows, None);
        };
        let ledger = &self.shared.budgets;
        ledger.take(&self.identity, &charged.budgets, Spent::RowsReturned, rows)
    }

    /// Takes bytes that were delivered.
    pub(super) fn afford_bytes(
        &self,
        charged: Option<&Arc<Obligations>>,
        bytes: u64,
    ) -> Option<Exhausted> {
        let charged = charged?;
        let ledger = &self.shared.budgets;
        let (_, exhausted) = ledger.take(
            &self.identity,
            &charged.budgets,
            Spent::BytesReturned,
            bytes,
        );
        exhausted
    }

    /// Takes rows that were changed, and not committed yet: all, or they are undone.
    pub(super) fn afford_changes(
        &self,
        obligations: &Obligations,
        rows: u64,
    ) -> Result<(), Refusal> {
        let budgets = &obligations.budgets;
        if budgets
            .iter()
            .all(|budget| budget.of != Spent::RowsAffected)
        {
            return Ok(());
        }
        let taken =
            self.shared
                .budgets
                .take_all(&self.identity, budgets, Spent::RowsAffected, rows);
        taken.map_err(|exhausted| {
            let mut refusal = refusal(&exhausted, Outcome::Undo);
            refusal.message = format!(
                "the statement changed {rows} rows, and {}; it is rolled back",
                refusal.message
            );
            refusal
        })
    }

    /// What an execution that is over would not have been let do by limits and budgets that only observe.
    /// There is nothing here that could be refused any more.
    pub(super) fn beyond(&self, execution: &Execution, micros: u64) -> Vec<Beyond> {
        let Some(watched) = &execution.watched else {
            return Vec::new();
        };
        let own = execution.obligations.limits;
        let changed = execution.changed.unwrap_or(execution.tagged);
        let limits = watched.limits;
        let passed = |key: &str, limit: Option<u64>, own: Option<u64>, seen: u64| {
            let most = limit.filter(|limit| seen > *limit && own != Some(*limit))?;
            Some(Beyond {
                key: key.to_owned(),
                most,
                policy: None,
            })
        };
        let mut beyond: Vec<Beyond> = [
            passed(
                "rows_affected",
                limits.rows_affected,
                own.rows_affected,
                changed,
            ),
            passed(
                "rows_returned",
                limits.rows_returned,
                own.rows_returned,
                execution.rows,
            ),
            passed(
                "bytes_returned",
                limits.bytes_returned,
                own.bytes_returned,
                execution.bytes,
            ),
            passed(
                "statement_timeout",
                limits.statement_timeout_ms,
                own.statement_timeout_ms,
                micros / 1000,
            ),
        ]
        .into_iter()
        .flatten()
        .collect();
        let analysis = &execution.statement.analysis;
        if watched.budgets.is_empty() || only_ends(analysis) {
            return beyond;
        }
        let statements = analysis.statements.len().max(1) as u64;
        for (what, amount) in [
            (Spent::Statements, statements),
            (Spent::RowsReturned, execution.rows),
            (Spent::BytesReturned, execution.bytes),
            (Spent::RowsAffected, changed),
        ] {
            let (_, stopped) =
                self.shared
                    .budgets
                    .take(&self.identity, &watched.budgets, what, amount);
            if let Some(Exhausted::Spent { budget, .. }) = stopped {
                beyond.push(Beyond {
                    key: budget.to_string(),
                    most: budget.most,
                    policy: Some(budget.policy),
                });
            }
        }
        beyond
    }
}

/// What the client is told where a budget has no room.
pub(super) fn refusal(exhausted: &Exhausted, outcome: Outcome) -> Refusal {
    let (budget, wait) = match exhausted {
        Exhausted::Spent { budget, wait } => (budget, wait),
        Exhausted::Crowded => {
            return Refusal::new(
                RefusalCode::Limit,
                "more identities have budgets here than can be kept apart",
            )
            .hint("try again in a minute")
            .because(Particulars {
                outcome,
                cause: Some(Cause::Budget),
                ..Particulars::default()
            });
        }
    };
    let what = match budget.of {
        Spent::Statements => "statements",
        Spent::RowsReturned => "rows returned",
        Spent::BytesReturned => "bytes returned",
        Spent::RowsAffected => "rows affected",
        Spent::MaskRefusals => "statements refused by masks",
    };
    let seconds = wait.div_ceil(1000);
    let hint = if budget.most == 0 {
        "It never has room.".to_owned()
    } else {
        format!(
            "It has room again in {seconds} s; all sessions of this identity on the node share it."
        )
    };
    Refusal::new(
        RefusalCode::Limit,
        format!(
            "the budget of {} {what} per {} is spent",
            budget.most, budget.per
        ),
    )
    .detail(format!("policy \"{}\", budgets.{budget}", budget.policy))
    .hint(hint)
    .because(Particulars {
        outcome,
        cause: Some(Cause::Budget),
        policy: Some(budget.policy.to_string()),
        rule: Some("budgets".to_owned()),
        limit: Some(budget.most),
        retry_after_seconds: (budget.most > 0).then_some(seconds),
        ..Particulars::default()
    })
}

/// Whether a refusal is a mask's.
fn by_mask(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::MaskedCode
            | Cause::MaskedCopy
            | Cause::MaskedWrite
            | Cause::MaskedMove
            | Cause::MaskedSource
            | Cause::MaskedPredicate
    )
}

/// A statement that only ends a transaction, or forgets names: who may do nothing more must still be able
/// to stop.
pub(crate) fn only_ends(analysis: &Analysis) -> bool {
    let ends = |kind: &StatementKind| {
        matches!(
            kind,
            StatementKind::Transaction
                | StatementKind::Deallocate
                | StatementKind::CloseCursor
                | StatementKind::Discard
        )
    };
    let mut kinds = analysis.statements.iter().flat_map(|facts| &facts.kinds);
    analysis.sureness == crate::sql::Sureness::Complete && kinds.all(ends)
}

/// Whether rows come back by what its kind is. RETURNING is met when its rows come.
pub(crate) fn reads(analysis: &Analysis) -> bool {
    let reads = |kind: &StatementKind| {
        matches!(
            kind,
            StatementKind::Select
                | StatementKind::CopyOut
                | StatementKind::Fetch
                | StatementKind::Execute
                | StatementKind::Explain
                | StatementKind::Show
                | StatementKind::Call
                | StatementKind::Opaque
        )
    };
    let mut kinds = analysis.statements.iter().flat_map(|facts| &facts.kinds);
    analysis.sureness != crate::sql::Sureness::Complete || kinds.any(reads)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Dialect;
    use crate::sql::analyze;

    #[test]
    fn what_ends_costs_nothing_and_what_reads_is_known() {
        for (text, ends, reading) in [
            ("commit", true, false),
            ("rollback", true, false),
            ("begin; commit", true, false),
            ("", true, false),
            ("deallocate all", true, false),
            ("select 1", false, true),
            ("commit; select 1", false, true),
            ("insert into t values (1)", false, false),
            ("insert into t select * from u", false, true),
            ("copy t to stdout", false, true),
            ("set work_mem = 1", false, false),
            ("not a statement", false, true),
        ] {
            let analysis = analyze(Dialect::Postgres, text);
            assert_eq!(
                (only_ends(&analysis), reads(&analysis)),
                (ends, reading),
                "{text}"
            );
        }
    }

    #[test]
    fn a_spent_budget_says_when_it_goes_on() {
        let budget = Budget {
            policy: "few".into(),
            of: Spent::RowsReturned,
            per: crate::policy::Per::Hour,
            most: 100,
        };
        let wait = 61_500;
        let told = refusal(&Exhausted::Spent { budget, wait }, Outcome::Stop);
        assert_eq!(
            told.message,
            "the budget of 100 rows returned per hour is spent"
        );
        assert_eq!(
            told.detail.as_deref(),
            Some("policy \"few\", budgets.rows_returned_per_hour")
        );
        assert!(
            told.hint
                .as_deref()
                .is_some_and(|hint| hint.contains("in 62 s"))
        );
        assert!(
            told.line().contains("\"retry_after_seconds\":62"),
            "{}",
            told.line()
        );
    }
}
