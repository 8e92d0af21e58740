//! Pure. What happens to each column of one result.

use std::sync::Arc;

use super::cell::Op;
use super::key::MaskKey;
use super::net::Look;
use super::pattern::{names, of_table};
use super::tagged::bound;
use super::{Attribute, Relations};
use crate::model::{ColumnHead, ColumnOrigin, ResultHead};
use crate::policy::{ContentRule, DateUnit, JsonMask, MaskRule, Masker, Obligations, RuleRef};

/// What happens to each column of one result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaskPlan {
    columns: Vec<Column>,
    passes: Passes,
    met_unknown: bool,
    changes: bool,
}

/// Whether every cell passes. Its own type, because the default of a plan is to pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Passes {
    #[default]
    All,
    NotAll,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Column {
    op: Op,
    /// Who says so; none for a column that passes.
    rule: Option<RuleRef>,
    /// How the content net looks into the cells of a column that passes.
    look: Option<Look>,
}

impl MaskPlan {
    /// The plan for results in which nothing can be masked (no mask is in force).
    pub fn passing() -> Self {
        MaskPlan::default()
    }

    /// Every cell passes.
    pub fn passes(&self) -> bool {
        self.passes == Passes::All
    }

    /// Some cell may be changed: rows must come whole.
    pub fn changes(&self) -> bool {
        self.changes
    }

    /// An origin was met that the catalogue does not know, or that the text does not name; its column
    /// is masked whole. A newer catalogue may know it: plan again with one.
    pub fn met_unknown(&self) -> bool {
        self.met_unknown
    }

    /// Which rule masks which column, by position from 0. Columns that are masked whole because
    /// nothing proves where they come from name the policy `node-agent` and the reason as rule:
    /// `unknown-origin`, `unknown-relation`, `unnamed-relation`, `whole-row`, `computed-relation`.
    pub fn applied(&self) -> Vec<(u16, RuleRef)> {
        (0..=u16::MAX)
            .zip(&self.columns)
            .filter_map(|(position, column)| Some((position, column.rule.clone()?)))
            .collect()
    }

    /// How many columns the result has.
    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    /// What is done to each column, and how the content net looks into it.
    pub(super) fn ops(&self) -> impl Iterator<Item = (&Op, Option<&Look>)> {
        let columns = self.columns.iter();
        columns.map(|column| (&column.op, column.look.as_ref()))
    }

    fn of(columns: Vec<Column>, met_unknown: bool) -> Self {
        let all = columns
            .iter()
            .all(|column| column.op == Op::Pass && column.look.is_none());
        let changes = columns
            .iter()
            .any(|column| column.op != Op::Pass || column.look.as_ref().is_some_and(Look::masks));
        MaskPlan {
            columns,
            passes: if all { Passes::All } else { Passes::NotAll },
            met_unknown,
            changes,
        }
    }

    /// A plan of these operations, for tests and fuzzing.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn of_ops(ops: Vec<Op>) -> Self {
        let columns = ops
            .into_iter()
            .map(|op| Column {
                op,
                rule: None,
                look: None,
            })
            .collect();
        MaskPlan::of(columns, false)
    }
}

/// What is done to a column, and why.
enum Treatment<'a> {
    Pass,
    Mask(Strongest<'a>),
    /// Masked whole: nothing proves that its values are not masked ones.
    Whole(&'static str),
    /// The same, and a newer catalogue may know better.
    Unknown(&'static str),
}

/// Plans one result. Fails closed: what the wire or the catalogue cannot place is masked whole as
/// soon as it could matter.
pub fn plan(
    head: &ResultHead,
    obligations: &Obligations,
    relations: &dyn Relations,
    key: &MaskKey,
) -> MaskPlan {
    let obligations = &*bound(head, obligations, relations);
    let mut met_unknown = false;
    let columns = head
        .columns
        .iter()
        .map(|column| {
            let whole = |why: &str| Column {
                op: Op::of(&Masker::Redact, column.type_id, column.format, key),
                rule: Some(own_rule(why)),
                look: None,
            };
            match treat(column, obligations, relations) {
                Treatment::Pass => Column {
                    op: Op::Pass,
                    rule: None,
                    look: look(column, &obligations.content, relations, key),
                },
                Treatment::Mask(mask) => Column {
                    op: match mask.with {
                        With::One(masker) => Op::of(masker, column.type_id, column.format, key),
                        With::Paths(masks) => {
                            Op::by_paths(&masks, column.type_id, column.format, key)
                        }
                    },
                    rule: Some(mask.rule.clone()),
                    look: None,
                },
                Treatment::Whole(why) => whole(why),
                Treatment::Unknown(why) => {
                    met_unknown = true;
                    whole(why)
                }
            }
        })
        .collect();
    MaskPlan::of(columns, met_unknown)
}

fn own_rule(why: &str) -> RuleRef {
    RuleRef {
        policy: Arc::from("node-agent"),
        rule: Arc::from(why),
    }
}

fn treat<'a>(
    column: &ColumnHead,
    obligations: &'a Obligations,
    relations: &dyn Relations,
) -> Treatment<'a> {
    if obligations.masks.is_empty() && !obligations.touches_masked {
        return Treatment::Pass;
    }
    let (relation, number) = match column.origin {
        // An expression, a union, a function: it may carry anything that the statement touches.
        ColumnOrigin::Unknown | ColumnOrigin::Attribute { relation: 0, .. } => {
            return if obligations.touches_masked {
                Treatment::Whole("unknown-origin")
            } else {
                Treatment::Pass
            };
        }
        ColumnOrigin::Attribute { relation, number } => (relation, number),
    };
    if number == 0 {
        // A whole row holds every column of its table.
        return Treatment::Whole("whole-row");
    }
    if number < 0 {
        // System columns (ctid, xmin, …) hold nothing that anybody wrote.
        return Treatment::Pass;
    }
    let Some(attribute) = relations.attribute(relation, number) else {
        return Treatment::Unknown("unknown-relation");
    };
    // The catalogue's word against the text's: one of them is about another relation, so neither
    // says what the values are.
    if obligations.touches_masked && !obligations.sources.hold(attribute.schema, attribute.table) {
        return Treatment::Unknown("unnamed-relation");
    }
    let ancestors = relations.ancestors(relation);
    if let Some(mask) = strongest(&obligations.masks, &attribute, &ancestors) {
        return Treatment::Mask(mask);
    }
    if attribute.stored {
        return Treatment::Pass;
    }
    // A view's column is named after the view, whatever it is computed from.
    let of_masked = |(schema, table): &(&str, &str)| {
        let mut patterns = obligations.masks.iter().flat_map(|mask| &mask.columns);
        patterns.any(|pattern| of_table(pattern, schema, table))
    };
    if obligations.touches_masked || relations.opaque(relation) || ancestors.iter().any(of_masked) {
        return Treatment::Whole("computed-relation");
    }
    Treatment::Pass
}

/// How the content net looks into a column that passes. What nothing places may be any column: it is looked
/// into by every rule.
fn look(
    column: &ColumnHead,
    rules: &[ContentRule],
    relations: &dyn Relations,
    key: &MaskKey,
) -> Option<Look> {
    if rules.is_empty() {
        return None;
    }
    let placed = match column.origin {
        ColumnOrigin::Attribute { number, .. } if number < 0 => return None,
        ColumnOrigin::Attribute { relation, number } if relation != 0 && number > 0 => {
            // What code makes can come from anywhere.
            let found = relations.attribute(relation, number);
            found
                .filter(|_| !relations.opaque(relation))
                .map(|attribute| (attribute, relations.ancestors(relation)))
        }
        ColumnOrigin::Unknown | ColumnOrigin::Attribute { .. } => None,
    };
    let about = |rule: &&ContentRule| {
        let Some((own, ancestors)) = &placed else {
            return true;
        };
        let is = |pattern| names(pattern, own.schema, own.table, own.column);
        if rule.except.iter().any(is) {
            return false;
        }
        // A view's columns have names of its own.
        rule.columns.iter().any(|pattern| {
            is(pattern)
                || ancestors.iter().any(|(schema, table)| {
                    if own.stored {
                        names(pattern, schema, table, own.column)
                    } else {
                        of_table(pattern, schema, table)
                    }
                })
        }) || (!own.stored && ancestors.is_empty())
    };
    let rules = rules.iter().filter(about);
    Look::of(rules, column.type_id, column.format, key)
}

/// What masks a column, and which rule says so.
struct Strongest<'a> {
    rule: &'a RuleRef,
    with: With<'a>,
}

enum With<'a> {
    One(&'a Masker),
    /// Masks by path hide different things of one value, so all of them count.
    Paths(Vec<&'a JsonMask>),
}

/// Of the masks for this column, under its own table's name or an ancestor's, the one that shows
/// least: policies are added up, and adding one must never show more.
fn strongest<'a>(
    masks: &'a [MaskRule],
    attribute: &Attribute<'_>,
    ancestors: &[(&str, &str)],
) -> Option<Strongest<'a>> {
    let column = attribute.column;
    let meets = |mask: &&MaskRule| {
        mask.columns.iter().any(|pattern| {
            names(pattern, attribute.schema, attribute.table, column)
                || ancestors
                    .iter()
                    .any(|(schema, table)| names(pattern, schema, table, column))
        })
    };
    let meeting = || masks.iter().filter(meets);
    let mask = meeting().min_by_key(|mask| shows(&mask.with))?;
    let paths = || {
        meeting().filter_map(|mask| match &mask.with {
            Masker::Json(json) => Some(json),
            Masker::Redact
            | Masker::Null
            | Masker::KeepLast(_)
            | Masker::KeepFirst(_)
            | Masker::Hash
            | Masker::Token
            | Masker::DateTrunc(_) => None,
        })
    };
    let with = match &mask.with {
        Masker::Json(_) => With::Paths(paths().collect()),
        // What one keeps of a text, the other may hide in the document that the text is.
        Masker::KeepLast(_) | Masker::KeepFirst(_) | Masker::Token if paths().next().is_some() => {
            With::One(&Masker::Redact)
        }
        with @ (Masker::Redact
        | Masker::Null
        | Masker::KeepLast(_)
        | Masker::KeepFirst(_)
        | Masker::Hash
        | Masker::Token
        | Masker::DateTrunc(_)) => With::One(with),
    };
    Some(Strongest {
        rule: &mask.rule,
        with,
    })
}

/// How much a masker shows: less sorts first.
fn shows(masker: &Masker) -> (u8, u32) {
    match masker {
        Masker::Null => (0, 0),
        Masker::Redact => (1, 0),
        Masker::Hash => (2, 0),
        Masker::Token => (3, 0),
        Masker::DateTrunc(DateUnit::Year) => (4, 0),
        Masker::DateTrunc(DateUnit::Month) => (4, 1),
        Masker::DateTrunc(DateUnit::Day) => (4, 2),
        Masker::KeepLast(kept) | Masker::KeepFirst(kept) => (5, *kept),
        Masker::Json(_) => (6, 0),
    }
}
