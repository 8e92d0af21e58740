//! What a session knows of its own past: texts it has seen, names it has made, changes not yet
//! committed.

use std::sync::Arc;

use crate::model::{Principal, TargetName};
use crate::policy::{Granted, Needs, PolicySet, ResolvedNames};
use crate::sql::{Analysis, CursorSpan, Effect, StatementFacts, StatementKind, Sureness};
use crate::upstream::{Lookup, Lost};
use crate::wire::{CursorLife, Wire};

use super::pump::Session;
use super::trace::Own;
use super::verdict::{Prepared, Texts};

/// The session's memory.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) texts: Texts,
    /// Masks were in force at the latest decision: answers that belong to no statement are
    /// treated accordingly.
    pub(super) masks: bool,
    /// The catalogue and the policies that were last held against each other.
    pub(super) looked_at: Option<(u64, Arc<str>)>,
    defined: bool,
    needs: Option<(Arc<str>, Vec<Granted>, Needs)>,
    none: Arc<ResolvedNames>,
}

impl Known {
    /// What decisions for this principal hang on. Asked once per policy version and what is granted.
    pub(super) fn needs(
        &mut self,
        policies: &PolicySet,
        principal: &Principal,
        target: &TargetName,
        granted: &[Granted],
    ) -> Needs {
        let version = policies.version();
        match &self.needs {
            Some((known, had, needs)) if *known == version && had == granted => *needs,
            Some(_) | None => {
                let needs = policies.needs(principal, target, granted);
                self.masks = !policies.masks_for(principal, target).masks.is_empty();
                self.needs = Some((version, granted.to_vec(), needs));
                needs
            }
        }
    }

    pub(super) fn no_names(&self) -> Arc<ResolvedNames> {
        self.none.clone()
    }

    /// Whether the session has defined something that nobody else may see yet.
    pub(super) fn own(&self) -> Own {
        match self.defined {
            true => Own::Pending,
            false => Own::None,
        }
    }

    /// A message group ended outside a transaction: definitions made in it are visible now.
    pub(super) fn committed(&mut self, lookup: &Lookup) {
        if std::mem::take(&mut self.defined) {
            lookup.changed();
        }
    }
}

impl<W: Wire> Session<W> {
    /// Says that a mask protects nothing any more. What was renamed while the agent looked stays masked; nothing
    /// else of the database says that the policy is behind it.
    pub(super) fn tell(&self, lost: &Lost) {
        let target = &self.arrived.reachable.target.name;
        let (policy, mask) = (&*lost.rule.policy, &*lost.rule.rule);
        self.shared.metrics.mask_lost(&target.0, policy, mask);
        tracing::warn!(
            %target, database = self.database, policy, mask, what = lost.what,
            "a mask protects nothing: what it names was in the database and is not any more"
        );
    }

    /// What one finished statement of a text did to names and catalogue.
    pub(super) fn effects(&mut self, statement: &Arc<Prepared>, index: usize) {
        // Code may define what it likes.
        let code = |facts: &StatementFacts| {
            let mut kinds = facts.kinds.iter();
            kinds.any(|kind| matches!(kind, StatementKind::Do | StatementKind::Call))
        };
        if statement.analysis.statements.get(index).is_some_and(code) {
            self.known.defined = true;
            self.lookup.changed();
        }
        let Some(facts) = statement.analysis.statements.get(index) else {
            // More answers than statements: the text was not understood, so no name is sure.
            if statement.analysis.sureness != Sureness::Complete {
                self.link.forget_names();
                self.link.forget_cursors();
                self.known.defined = true;
            }
            return;
        };
        let current = self.link.current();
        let touched = current.is_some_and(|execution| execution.obligations.touches_masked);
        for effect in &facts.effects {
            match effect {
                Effect::Prepares { name, inner } => {
                    // What it reads, each EXECUTE asks anew.
                    let named = inner_of(statement, inner, false);
                    self.link.set_named(name, Some(named));
                }
                Effect::Declares { name, inner, span } => {
                    let life = match span {
                        CursorSpan::Transaction => CursorLife::Transaction,
                        CursorSpan::Session => CursorLife::Session,
                    };
                    let named = inner_of(statement, inner, touched);
                    self.link.set_cursor(name, Some(named), life);
                }
                Effect::Deallocates(name) => self.link.set_named(name, None),
                Effect::Closes(name) => self.link.set_cursor(name, None, CursorLife::Session),
                Effect::ForgetsNames => {
                    let (statements, cursors) = facts.forgets();
                    if statements {
                        self.link.forget_names();
                    }
                    if cursors {
                        self.link.forget_cursors();
                    }
                }
                Effect::Defines => {
                    self.known.defined = true;
                    self.lookup.changed();
                }
                Effect::Executes(_) | Effect::Fetches(_) | Effect::Sets { .. } => {}
            }
        }
    }
}

/// What a name made by `statement` stands for.
fn inner_of(statement: &Prepared, inner: &StatementFacts, touched: bool) -> Arc<Prepared> {
    let analysis = Analysis {
        statements: vec![inner.clone()],
        sureness: statement.analysis.sureness.clone(),
        second: statement.analysis.second.clone(),
    };
    let made = Prepared::new(
        statement.text.clone(),
        Arc::new(analysis),
        statement.purpose.clone(),
    );
    Arc::new(made.touching(touched))
}
