//! Pure. Budgets that were not in force, spent again: what all sessions of an identity did, in the order
//! of time.
//!
//! Only budgets that the recorded decision did not have are spent here. Of those it had, the record
//! says what came of them. Sessions that are not among the recordings have spent nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Spot;
use super::again::Asker;
use super::limits::changed;
use super::tally::{Brief, Tally};
use super::turn::{Comes, Word};
use crate::policy::{Budget, Decision, Exhausted, Identity, Ledger, Spent};
use crate::record::{Decided, Finished};
use crate::session::{only_ends, reads};

/// Statements that budgets are spent for; those beyond are counted, and not judged by budgets.
const MOST: usize = 200_000;

/// What a statement spends, and of whose.
#[derive(Clone, Debug)]
pub(super) struct Spending {
    who: Identity,
    budgets: Arc<[Budget]>,
    statements: u64,
    reads: bool,
    /// What is said of it where no budget stops it.
    allowed: Word,
}

impl Spending {
    /// `None`: no budget is new, or the statement is free of charge.
    pub(super) fn of(
        asker: &Asker,
        decided: &Decided,
        old: &Decision,
        new: &Decision,
    ) -> Option<Self> {
        let (Decision::Allow(was), Decision::Allow(is)) = (old, new) else {
            return None;
        };
        let had = &was.obligations.budgets;
        let all = is.obligations.budgets.iter();
        // How often masks refuse is not followed here.
        let fresh = all.filter(|one| !had.contains(one) && one.of != Spent::MaskRefusals);
        let budgets: Arc<[Budget]> = fresh.cloned().collect();
        if budgets.is_empty() || only_ends(&decided.analysis) {
            return None;
        }
        let user = &asker.principal.user;
        Some(Spending {
            who: Identity {
                issuer: user.issuer.as_str().into(),
                subject: user.subject.as_str().into(),
            },
            budgets,
            statements: decided.analysis.statements.len().max(1) as u64,
            reads: reads(&decided.analysis),
            allowed: Word::of(new),
        })
    }
}

/// A statement that spends.
#[derive(Debug)]
struct Charge {
    brief: Brief,
    spending: Spending,
    /// It was refused then, by this budget.
    refused: Option<Word>,
    end: Option<Delivered>,
}

/// What came of it, and when.
#[derive(Clone, Copy, Debug)]
struct Delivered {
    at: i64,
    rows: u64,
    bytes: u64,
    changed: u64,
}

/// All that is spent.
#[derive(Debug, Default)]
pub(super) struct Purse {
    charges: Vec<Charge>,
    open: HashMap<Spot, usize>,
}

impl Purse {
    /// A statement that policy lets run.
    pub(super) fn begins(
        &mut self,
        brief: &Brief,
        spending: &Spending,
        refused: Option<Word>,
        tally: &mut Tally,
    ) {
        if self.charges.len() >= MOST {
            tally.unjudged(
                "budgets are followed for 200,000 statements, and this is beyond them",
                Some(brief.spot),
            );
            return;
        }
        if refused.is_none() {
            self.open.insert(brief.spot, self.charges.len());
        }
        self.charges.push(Charge {
            brief: brief.clone(),
            spending: spending.clone(),
            refused,
            end: None,
        });
    }

    /// Its answer is over.
    pub(super) fn ends(&mut self, spot: Spot, finished: &Finished) {
        let charge = self
            .open
            .remove(&spot)
            .and_then(|at| self.charges.get_mut(at));
        if let Some(charge) = charge {
            charge.end = Some(Delivered {
                at: finished.at.0,
                rows: finished.rows,
                bytes: finished.bytes,
                changed: changed(finished),
            });
        }
    }

    /// Spends all in the order of time, and says what budgets would have stopped.
    pub(super) fn settle(self, tally: &mut Tally) {
        let mut line: Vec<(i64, bool, usize)> = Vec::with_capacity(self.charges.len() * 2);
        for (at, charge) in self.charges.iter().enumerate() {
            line.push((charge.brief.at.0, false, at));
            line.extend(charge.end.map(|end| (end.at, true, at)));
        }
        line.sort_unstable();
        let Some(&(first, _, _)) = line.first() else {
            return;
        };
        let mut ledger = Ledger::default();
        let mut refused = HashSet::new();
        for (at, over, index) in line {
            let now = at.saturating_sub(first).unsigned_abs();
            let Some(charge) = self.charges.get(index) else {
                continue;
            };
            if over {
                if !refused.contains(&index) {
                    charge.delivered(&mut ledger, now, tally);
                }
            } else if !charge.runs(&mut ledger, now, tally) {
                refused.insert(index);
            }
        }
    }
}

impl Charge {
    /// As the session asks before it lets a statement run.
    fn runs(&self, ledger: &mut Ledger, now: u64, tally: &mut Tally) -> bool {
        let Spending {
            who,
            budgets,
            statements,
            reads,
            allowed,
        } = &self.spending;
        let needed: Vec<Budget> = budgets
            .iter()
            .filter(|budget| match budget.of {
                Spent::RowsReturned | Spent::BytesReturned => *reads,
                Spent::Statements | Spent::RowsAffected | Spent::MaskRefusals => false,
            })
            .cloned()
            .collect();
        let spent = match ledger.exhausted(who, &needed, now) {
            Some(exhausted) => Err(exhausted),
            None => ledger.take_all(who, budgets, Spent::Statements, *statements, now),
        };
        match (spent, &self.refused) {
            (Ok(()), None) => true,
            (Ok(()), Some(from)) => {
                tally.flip(&self.brief, from.clone(), allowed.clone(), None);
                true
            }
            (Err(exhausted), None) => {
                self.stopped(&exhausted, Comes::Deny, tally);
                false
            }
            // Refused it was, refused it would be.
            (Err(_), Some(_)) => false,
        }
    }

    fn delivered(&self, ledger: &mut Ledger, now: u64, tally: &mut Tally) {
        let Some(end) = self.end else { return };
        let Spending { who, budgets, .. } = &self.spending;
        let (_, rows) = ledger.take(who, budgets, Spent::RowsReturned, end.rows, now);
        let (_, bytes) = ledger.take(who, budgets, Spent::BytesReturned, end.bytes, now);
        let changed = ledger.take_all(who, budgets, Spent::RowsAffected, end.changed, now);
        if let Some(exhausted) = rows.or(bytes).or(changed.err()) {
            self.stopped(&exhausted, Comes::Stop, tally);
        }
    }

    fn stopped(&self, exhausted: &Exhausted, decision: Comes, tally: &mut Tally) {
        let (by, why) = match exhausted {
            Exhausted::Spent { budget, .. } => (
                format!("{}/budgets.{budget}", budget.policy),
                format!("the budget of {} is spent", budget.most),
            ),
            Exhausted::Crowded => (
                "budgets".to_owned(),
                "more identities have budgets than can be kept apart".to_owned(),
            ),
        };
        let to = Word { decision, by };
        tally.flip(&self.brief, self.spending.allowed.clone(), to, Some(why));
    }
}
