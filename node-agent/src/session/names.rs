//! What a session knows of its own past: texts it has seen, names it has made, changes not yet
//! committed.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::sync::Arc;

use crate::model::{Principal, TargetName};
use crate::policy::{PolicySet, ResolvedNames};
use crate::sql::{Analysis, CursorSpan, Effect, StatementFacts, StatementKind, Sureness};
use crate::upstream::Lookup;
use crate::wire::{CursorLife, Text, Wire};

use super::execution::Prepared;
use super::pump::Session;

/// How many texts a session remembers.
const TEXTS: usize = 64;

/// The session's memory.
#[derive(Debug, Default)]
pub(super) struct Known {
    texts: HashMap<Text, Arc<Prepared>, RandomState>,
    /// Masks were in force at the latest decision: answers that belong to no statement are
    /// treated accordingly.
    pub(super) masks: bool,
    defined: bool,
    needs_names: Option<(Arc<str>, Needed)>,
    none: Arc<ResolvedNames>,
}

/// Whether decisions hang on what names stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needed {
    /// Not at all.
    No,
    /// For what is only noted: where they cannot be looked up, nothing is refused for it.
    ToObserve,
    /// For what is enforced.
    ToDecide,
}

impl Known {
    /// A text, or a shape, seen before, with its verdict.
    pub(super) fn last(&self, text: &Text) -> Option<Arc<Prepared>> {
        self.texts.get(text).cloned()
    }

    /// Remembers a text. A full memory is emptied: cheaper than tracking use, and as good.
    pub(super) fn keep(&mut self, text: Text, prepared: &Arc<Prepared>) {
        if self.texts.len() >= TEXTS {
            self.texts.clear();
        }
        self.texts.insert(text, prepared.clone());
    }

    /// Whether decisions for this principal hang on what names stand for. Asked once per policy
    /// version.
    pub(super) fn needs_names(
        &mut self,
        policies: &PolicySet,
        principal: &Principal,
        target: &TargetName,
    ) -> Needed {
        let version = policies.version();
        match &self.needs_names {
            Some((known, needs)) if *known == version => *needs,
            Some(_) | None => {
                let needs = if policies.hangs_on_names(principal, target) {
                    Needed::ToDecide
                } else if policies.needs_names(principal, target) {
                    Needed::ToObserve
                } else {
                    Needed::No
                };
                self.masks = !policies.masks_for(principal, target).masks.is_empty();
                self.needs_names = Some((version, needs));
                needs
            }
        }
    }

    pub(super) fn no_names(&self) -> Arc<ResolvedNames> {
        self.none.clone()
    }

    /// A message group ended outside a transaction: definitions made in it are visible now.
    pub(super) fn committed(&mut self, lookup: &Lookup) {
        if std::mem::take(&mut self.defined) {
            lookup.changed();
        }
    }
}

impl<W: Wire> Session<W> {
    /// What one finished statement of a text did to names and catalogue.
    pub(super) fn effects(&mut self, statement: &Arc<Prepared>, index: usize) {
        let Some(facts) = statement.analysis.statements.get(index) else {
            // More answers than statements: the text was not understood, so no name is sure.
            if statement.analysis.sureness != Sureness::Complete {
                self.link.forget_names();
                self.link.forget_cursors();
                self.known.defined = true;
            }
            return;
        };
        for effect in &facts.effects {
            match effect {
                Effect::Prepares { name, inner } => {
                    let named = inner_of(statement, inner);
                    self.link.set_named(name, Some(named));
                }
                Effect::Declares { name, inner, span } => {
                    let life = match span {
                        CursorSpan::Transaction => CursorLife::Transaction,
                        CursorSpan::Session => CursorLife::Session,
                    };
                    let named = inner_of(statement, inner);
                    self.link.set_cursor(name, Some(named), life);
                }
                Effect::Deallocates(name) => self.link.set_named(name, None),
                Effect::Closes(name) => self.link.set_cursor(name, None, CursorLife::Session),
                Effect::ForgetsNames => {
                    let closes = facts.kinds.contains(&StatementKind::CloseCursor);
                    let deallocates = facts.kinds.contains(&StatementKind::Deallocate);
                    // DISCARD ALL is neither and does both.
                    if !closes {
                        self.link.forget_names();
                    }
                    if !deallocates {
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
fn inner_of(statement: &Prepared, inner: &StatementFacts) -> Arc<Prepared> {
    let analysis = Analysis {
        statements: vec![inner.clone()],
        sureness: statement.analysis.sureness.clone(),
        second: statement.analysis.second.clone(),
    };
    Arc::new(Prepared::new(
        statement.text.clone(),
        Arc::new(analysis),
        statement.purpose.clone(),
    ))
}
