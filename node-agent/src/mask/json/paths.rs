//! Follows many paths through a document at once: at each value, the set of steps that come next.

use super::super::key::MaskKey;
use crate::policy::{DateUnit, Depth, JsonMask, MOST_STEPS, PartMasker, PathStep, Select};

const WORDS: usize = MOST_STEPS / 64;

/// Which steps come next at a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Next([u64; WORDS]);

impl Next {
    /// No path leads further down.
    pub(super) fn is_empty(self) -> bool {
        self.0 == [0; WORDS]
    }

    fn add(&mut self, step: usize) {
        if let Some(word) = self.0.get_mut(step / 64) {
            *word |= 1 << (step % 64);
        }
    }

    fn has(self, step: usize) -> bool {
        self.0
            .get(step / 64)
            .is_some_and(|word| word >> (step % 64) & 1 == 1)
    }
}

/// Paths, and what is done where they lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::mask) struct Paths {
    pub(super) key: MaskKey,
    /// All steps of all paths, path by path.
    steps: Vec<Step>,
    /// The first step of each.
    first: Next,
    /// What is done to the whole document: a path without steps.
    whole: Option<PartMasker>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    step: PathStep,
    /// It is the last of its path: this is done to what it takes.
    last: Option<PartMasker>,
}

/// Where a value is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    Member(&'a str),
    Element(u64),
}

/// Whether a value is an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Array,
    Other,
}

impl Paths {
    /// `None`: there are more steps than can be followed.
    pub(in crate::mask) fn new(masks: &[&JsonMask], key: &MaskKey) -> Option<Self> {
        let mut made = Paths {
            key: key.clone(),
            steps: Vec::new(),
            first: Next::default(),
            whole: None,
        };
        for mask in masks {
            for path in &mask.paths {
                if path.steps().is_empty() {
                    stricter(&mut made.whole, mask.with);
                    continue;
                }
                made.first.add(made.steps.len());
                let last = path.steps().len() - 1;
                for (at, step) in path.steps().iter().enumerate() {
                    made.steps.push(Step {
                        step: step.clone(),
                        last: (at == last).then_some(mask.with),
                    });
                }
            }
        }
        (made.steps.len() <= MOST_STEPS).then_some(made)
    }

    /// At the whole document.
    pub(super) fn at_root(&self, value: Value) -> (Next, Option<PartMasker>) {
        let (mut next, mut masker) = (self.first, self.whole);
        self.stand_for_itself(value, &mut next, &mut masker);
        (next, masker)
    }

    /// At a value within one where `above` came next.
    pub(super) fn at(
        &self,
        above: Next,
        place: Place<'_>,
        value: Value,
    ) -> (Next, Option<PartMasker>) {
        let (mut next, mut masker) = (Next::default(), None);
        for (at, step) in self.steps.iter().enumerate() {
            if !above.has(at) {
                continue;
            }
            if step.step.depth == Depth::Below || looks_through(&step.step.select, place) {
                next.add(at);
            }
            if takes(&step.step.select, place) {
                self.take(at, step, &mut next, &mut masker);
            }
        }
        self.stand_for_itself(value, &mut next, &mut masker);
        (next, masker)
    }

    /// What is no array is taken for one that holds it alone.
    fn stand_for_itself(&self, value: Value, next: &mut Next, masker: &mut Option<PartMasker>) {
        if value == Value::Array {
            return;
        }
        // A step taken here comes before those it leads to, so one round sees them all.
        for (at, step) in self.steps.iter().enumerate() {
            let alone = matches!(step.step.select, Select::Elements | Select::Element(0));
            if alone && next.has(at) {
                self.take(at, step, next, masker);
            }
        }
    }

    fn take(&self, at: usize, step: &Step, next: &mut Next, masker: &mut Option<PartMasker>) {
        match step.last {
            Some(with) => stricter(masker, with),
            None => next.add(at + 1),
        }
    }
}

/// A name looks through arrays, however many are around it.
fn looks_through(select: &Select, place: Place<'_>) -> bool {
    match (select, place) {
        (Select::Name(_), Place::Element(_)) => true,
        (Select::Name(_), Place::Member(_))
        | (Select::Members | Select::Elements | Select::Element(_), _) => false,
    }
}

fn takes(select: &Select, place: Place<'_>) -> bool {
    match (select, place) {
        (Select::Name(name), Place::Member(member)) => **name == *member,
        (Select::Element(number), Place::Element(at)) => u64::from(*number) == at,
        (Select::Members, _) | (Select::Elements, Place::Element(_)) => true,
        (Select::Name(_), Place::Element(_))
        | (Select::Elements | Select::Element(_), Place::Member(_)) => false,
    }
}

/// Of several maskers for one value, the one that shows least.
fn stricter(masker: &mut Option<PartMasker>, other: PartMasker) {
    if masker.is_none_or(|masker| shows(other) < shows(masker)) {
        *masker = Some(other);
    }
}

fn shows(masker: PartMasker) -> (u8, u32) {
    match masker {
        PartMasker::Null => (0, 0),
        PartMasker::Redact => (1, 0),
        PartMasker::Hash => (2, 0),
        PartMasker::Token => (3, 0),
        PartMasker::DateTrunc(DateUnit::Year) => (4, 0),
        PartMasker::DateTrunc(DateUnit::Month) => (4, 1),
        PartMasker::DateTrunc(DateUnit::Day) => (4, 2),
        PartMasker::KeepLast(kept) | PartMasker::KeepFirst(kept) => (5, kept),
    }
}
