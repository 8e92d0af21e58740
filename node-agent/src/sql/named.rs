//! SQL-level EXECUTE and FETCH name a statement; what they do is what that statement does.

use std::collections::HashMap;

use super::{Analysis, Effect, FunctionUse, StatementFacts, StatementKind, Sureness};

/// A name that a statement runs. Prepared statements and cursors have names of their own: `EXECUTE a`
/// and `FETCH a` may be about two things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Named<'a> {
    /// A prepared statement.
    Statement(&'a str),
    /// A cursor.
    Cursor(&'a str),
}

/// What the statements of one text have done so far to the names that later ones of it run.
#[derive(Default)]
struct Before<'a> {
    made: HashMap<Named<'a>, Option<&'a StatementFacts>>,
    statements_gone: bool,
    cursors_gone: bool,
}

impl<'a> Before<'a> {
    fn find(
        &self,
        name: Named<'_>,
        lookup: impl Fn(Named<'_>) -> Option<&'a StatementFacts>,
    ) -> Option<&'a StatementFacts> {
        let gone = match name {
            Named::Statement(_) => self.statements_gone,
            Named::Cursor(_) => self.cursors_gone,
        };
        match self.made.get(&name) {
            Some(made) => *made,
            None if gone => None,
            None => lookup(name),
        }
    }

    /// A statement that fails ends the text, so whoever comes behind one finds it done.
    fn done(&mut self, statement: &'a StatementFacts) {
        for effect in &statement.effects {
            match effect {
                Effect::Prepares { name, inner } => {
                    self.made.insert(Named::Statement(name), Some(inner));
                }
                Effect::Declares { name, inner, .. } => {
                    self.made.insert(Named::Cursor(name), Some(inner));
                }
                Effect::Deallocates(name) => {
                    self.made.insert(Named::Statement(name), None);
                }
                Effect::Closes(name) => {
                    self.made.insert(Named::Cursor(name), None);
                }
                Effect::ForgetsNames => {
                    let (statements, cursors) = statement.forgets();
                    self.statements_gone |= statements;
                    self.cursors_gone |= cursors;
                    self.made.retain(|name, _| match name {
                        Named::Statement(_) => !statements,
                        Named::Cursor(_) => !cursors,
                    });
                }
                Effect::Executes(_)
                | Effect::Fetches(_)
                | Effect::Sets { .. }
                | Effect::Defines => {}
            }
        }
    }
}

/// Puts in place of each EXECUTE and FETCH the facts of the statement it names, as `lookup` finds
/// it among the session's prepared statements and cursors (`Effect::Prepares`, `Declares`, and
/// the protocol's own named statements and portals).
///
/// The kinds become `[execute, …]` or `[fetch, …]` with those of the statement after them, and
/// its relations, functions and columns join in, so that policy judges what will really happen.
/// Statements before it in the text count: `PREPARE p AS …; EXECUTE p` runs what it just prepared.
/// A name that is not found leaves `Sureness::Partial`, which is refused by default.
pub fn expand_named<'a>(
    analysis: &'a Analysis,
    lookup: impl Fn(Named<'_>) -> Option<&'a StatementFacts>,
) -> Analysis {
    let mut expanded = analysis.clone();
    let mut before = Before::default();
    for (statement, own) in expanded.statements.iter_mut().zip(&analysis.statements) {
        for name in own.effects.iter().filter_map(Effect::runs) {
            match before.find(name, &lookup) {
                Some(inner) => statement.absorb(inner),
                None => {
                    if expanded.sureness == Sureness::Complete {
                        expanded.sureness = Sureness::Partial(
                            "it runs a statement under a name that this session has not prepared"
                                .to_owned(),
                        );
                    }
                }
            }
        }
        before.done(own);
    }
    expanded
}

/// Whether something in the text runs by its name, so that what the text does hangs on what the name
/// stands for when it runs.
pub fn runs_by_name(analysis: &Analysis) -> bool {
    let mut effects = analysis.statements.iter().flat_map(|facts| &facts.effects);
    effects.any(|effect| effect.runs().is_some())
}

impl Effect {
    /// The name of what it runs.
    fn runs(&self) -> Option<Named<'_>> {
        match self {
            Effect::Executes(name) => Some(Named::Statement(name)),
            Effect::Fetches(name) => Some(Named::Cursor(name)),
            Effect::Prepares { .. }
            | Effect::Declares { .. }
            | Effect::Deallocates(_)
            | Effect::Closes(_)
            | Effect::ForgetsNames
            | Effect::Sets { .. }
            | Effect::Defines => None,
        }
    }
}

impl StatementFacts {
    /// Whether `Effect::ForgetsNames` is about prepared statements, and whether about cursors: DISCARD ALL
    /// is about both.
    pub fn forgets(&self) -> (bool, bool) {
        let closes = self.kinds.contains(&StatementKind::CloseCursor);
        let deallocates = self.kinds.contains(&StatementKind::Deallocate);
        (!closes, !deallocates)
    }

    /// The names of what it runs by name.
    pub fn runs(&self) -> impl Iterator<Item = Named<'_>> {
        self.effects.iter().filter_map(Effect::runs)
    }

    /// Whether what counts as a call is a column behind a dot: `columns` are the names of which it is
    /// known that no function has them.
    pub(crate) fn is_a_column(&self, function: &FunctionUse, columns: &[String]) -> bool {
        let named = |names: &[String]| names.contains(&function.name);
        function.schema.is_none() && function.args == 1 && named(&self.attributes) && named(columns)
    }

    /// Adds what `inner` does to what this statement does.
    fn absorb(&mut self, inner: &StatementFacts) {
        for kind in &inner.kinds {
            if !self.kinds.contains(kind) {
                self.kinds.push(*kind);
            }
        }
        self.moves |= inner.moves;
        self.comments |= inner.comments;
        self.relations.extend(inner.relations.iter().cloned());
        self.functions.extend(inner.functions.iter().cloned());
        for operator in &inner.operators {
            if !self.operators.contains(operator) {
                self.operators.push(operator.clone());
            }
        }
        self.columns.extend(inner.columns.iter().cloned());
        self.carries.extend(inner.carries.iter().cloned());
        self.rows.extend(inner.rows.iter().cloned());
        self.types.extend(inner.types.iter().cloned());
        self.attributes.extend(inner.attributes.iter().cloned());
        self.effects.extend(inner.effects.iter().cloned());
        self.missing_where |= inner.missing_where;
        self.secret |= inner.secret;
    }
}
