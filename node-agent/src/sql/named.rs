//! SQL-level EXECUTE and FETCH name a statement; what they do is what that statement does.

use super::{Analysis, Effect, StatementFacts, Sureness};

/// Puts in place of each EXECUTE and FETCH the facts of the statement it names, as `lookup` finds
/// it among the session's prepared statements and cursors (`Effect::Prepares`, `Declares`, and
/// the protocol's own named statements and portals).
///
/// The kinds become `[execute, …]` or `[fetch, …]` with those of the statement after them, and
/// its relations, functions and columns join in, so that policy judges what will really happen.
/// A name that is not found leaves `Sureness::Partial`, which is refused by default.
pub fn expand_named<'a>(
    analysis: &Analysis,
    lookup: impl Fn(&str) -> Option<&'a StatementFacts>,
) -> Analysis {
    let mut expanded = analysis.clone();
    for statement in &mut expanded.statements {
        let named: Vec<String> = statement
            .effects
            .iter()
            .filter_map(Effect::runs)
            .map(str::to_owned)
            .collect();
        for name in named {
            match lookup(&name) {
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
    fn runs(&self) -> Option<&str> {
        match self {
            Effect::Executes(name) | Effect::Fetches(name) => Some(name),
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
    /// The names of what it runs by name.
    pub fn runs(&self) -> impl Iterator<Item = &str> {
        self.effects.iter().filter_map(Effect::runs)
    }

    /// Adds what `inner` does to what this statement does.
    fn absorb(&mut self, inner: &StatementFacts) {
        for kind in &inner.kinds {
            if !self.kinds.contains(kind) {
                self.kinds.push(*kind);
            }
        }
        self.moves |= inner.moves;
        self.relations.extend(inner.relations.iter().cloned());
        self.functions.extend(inner.functions.iter().cloned());
        self.columns.extend(inner.columns.iter().cloned());
        self.carries.extend(inner.carries.iter().cloned());
        self.rows.extend(inner.rows.iter().cloned());
        self.types.extend(inner.types.iter().cloned());
        self.effects.extend(inner.effects.iter().cloned());
        self.missing_where |= inner.missing_where;
        self.secret |= inner.secret;
    }
}
