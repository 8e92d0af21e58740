//! Pure. The question that a recorded decision answered, put again; or why it cannot be.

use std::sync::Arc;

use crate::model::{Dialect, Principal, TargetName};
use crate::policy::{Granted, Needed, PolicySet, Question, ResolvedNames};
use crate::record::{Decided, Names, RecordedText};
use crate::sql::{Analysis, StatementKind, Sureness, analyze};
use crate::upstream::names_are_used;

/// Who asked, and where: the same for a whole session.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub(super) principal: Arc<Principal>,
    pub(super) target: TargetName,
    pub(super) dialect: Dialect,
    pub(super) database: String,
    pub(super) role: String,
    pub(super) application: Option<String>,
}

/// A question, and how far its answer can be believed.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) question: Question,
    /// What only observes hangs on names that were not looked up.
    pub(super) blind_to_observers: bool,
}

/// Puts the question again, to these policies.
///
/// # Errors
/// The recording says too little, in a few words.
pub(super) fn again(
    asker: &Asker,
    decided: &Decided,
    set: &PolicySet,
) -> Result<Again, &'static str> {
    let analysis = analysis(asker.dialect, decided)?;
    let mut blind_to_observers = false;
    let names = match &decided.basis.names {
        Names::Found(names) => names.clone(),
        // The same policies were content with nothing.
        Names::NotLookedUp if decided.policy_version == set.version() => Arc::default(),
        Names::NotLookedUp => {
            match needed(asker, &analysis, set, &decided.basis.access) {
                Needed::No => {}
                Needed::ToObserve => blind_to_observers = true,
                Needed::ToDecide => {
                    return Err(
                        "its names were not looked up when it ran, and these policies hang on what \
                         they stand for",
                    );
                }
            }
            Arc::<ResolvedNames>::default()
        }
        Names::Unrecorded => match needed(asker, &analysis, set, &decided.basis.access) {
            Needed::No => Arc::default(),
            Needed::ToObserve | Needed::ToDecide => {
                return Err("the recording does not say what its names stood for");
            }
        },
    };
    Ok(Again {
        question: Question {
            principal: asker.principal.clone(),
            target: asker.target.clone(),
            database: asker.database.clone(),
            role: asker.role.clone(),
            application: asker.application.clone(),
            purpose: decided.purpose.as_deref().cloned().unwrap_or_default(),
            analysis,
            names,
            access: decided.basis.access.clone(),
            now: decided.basis.judged.unwrap_or(decided.at),
        },
        blind_to_observers,
    })
}

/// Whether these policies hang on names here.
fn needed(asker: &Asker, analysis: &Analysis, set: &PolicySet, access: &[Granted]) -> Needed {
    let needs = set.needs(&asker.principal, &asker.target, access);
    match names_are_used(analysis) {
        true => needs.relations.max(needs.calls),
        false => needs.relations,
    }
}

/// What the text does, as it was judged then. How a copy can be made of rows is not kept with it: that
/// follows from the text.
fn analysis(dialect: Dialect, decided: &Decided) -> Result<Arc<Analysis>, &'static str> {
    let kept = &decided.analysis;
    let left_out = !matches!(decided.text, RecordedText::Plain(_))
        && kept.statements.is_empty()
        && !matches!(kept.sureness, Sureness::Opaque(_));
    if left_out {
        return Err("it is longer than a recording keeps, and what it touches was left out");
    }
    let copies = |analysis: &Analysis| {
        let mut kinds = analysis.statements.iter().flat_map(|facts| &facts.kinds);
        kinds.any(|kind| *kind == StatementKind::CopyOut)
    };
    if !copies(kept) {
        return Ok(kept.clone());
    }
    let RecordedText::Plain(text) = &decided.text else {
        return Err("it copies, and its text is not in the recording");
    };
    let fresh = analyze(dialect, text);
    let mut whole = Analysis::clone(kept);
    for facts in &mut whole.statements {
        let same = fresh.statements.iter().find(|one| one.span == facts.span);
        facts.copy = same.and_then(|one| one.copy.clone());
    }
    Ok(Arc::new(whole))
}
