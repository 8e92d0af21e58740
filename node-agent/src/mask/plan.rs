//! Pure. What happens to each column of one result.

use std::sync::Arc;

use super::carries::{Carries, Following, Judged};
use super::cell::Op;
use super::key::MaskKey;
use super::net::Look;
use super::pattern::{names, of_table};
use super::tagged::bound;
use super::{Attribute, Relations};
use crate::model::{ColumnHead, ColumnOrigin, Dialect, ResultHead};
use crate::policy::{
    ContentRule, DateUnit, JsonMask, MaskRule, Masker, Obligations, ResolvedNames, RuleRef, Trace,
};
use crate::sql::{Carried, Lineage, trace};

/// What happens to each column of one result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaskPlan {
    columns: Vec<Column>,
    passes: Passes,
    met_unknown: bool,
    changes: bool,
    disagreements: u32,
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

    /// An origin was met that the catalogue does not know, or that the text does not name, or not for this
    /// column; its column is masked whole. A newer catalogue may know it: plan again with one.
    pub fn met_unknown(&self) -> bool {
        self.met_unknown
    }

    /// How many columns the database says to come from elsewhere than the text does; as one counts a
    /// result whose columns are not those that the text asks for.
    pub fn disagreements(&self) -> u32 {
        self.disagreements
    }

    /// Which rule masks which column, by position from 0. Columns that are masked whole because
    /// they are made of masked ones, or because nothing proves where they come from, name the policy
    /// `node-agent` and the reason as rule: `made-of-masked`, `unknown-origin`, `unknown-relation`,
    /// `unnamed-relation`, `disagreement`, `whole-row`, `computed-relation`.
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
            disagreements: 0,
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
    /// The same: the database and the text say different things.
    Disagreement,
}

/// What the columns of a text's result can carry, by the names it was judged with.
pub fn traced(
    dialect: Dialect,
    text: &str,
    names: &ResolvedNames,
    relations: &dyn Relations,
) -> Lineage {
    trace(dialect, text, &Judged { names, relations })
}

/// Plans one result. Fails closed: what the wire, the text and the catalogue together cannot place is
/// masked whole as soon as it could matter.
///
/// `lineage` is that of the text that was judged; it counts where the obligations say that it can be
/// followed.
pub fn plan(
    head: &ResultHead,
    obligations: &Obligations,
    lineage: &Lineage,
    relations: &dyn Relations,
    key: &MaskKey,
) -> MaskPlan {
    let obligations = &*bound(head, obligations, relations);
    let judged = match &obligations.trace {
        Trace::By(names) => Some(Judged { names, relations }),
        Trace::Nothing => None,
    };
    let names = head.columns.iter().map(|column| &*column.name);
    let mut met_unknown = false;
    let mut disagreements = 0;
    let carried = match (&judged, lineage.fit(names)) {
        (Some(_), Some(carried)) => carried,
        (Some(_), None) => {
            // Of a result with other columns than the text asks for, by this catalogue, the text says nothing.
            met_unknown = true;
            disagreements = 1;
            Vec::new()
        }
        (None, _) => Vec::new(),
    };
    let mut reader = Reader {
        obligations,
        relations,
        judged,
        following: Following::new(relations, &obligations.masks),
    };
    let mut carried = carried.into_iter();
    let columns = head
        .columns
        .iter()
        .map(|column| {
            let whole = |why: &str| Column {
                op: Op::of(&Masker::Redact, column.type_id, column.format, key),
                rule: Some(own_rule(why)),
                look: None,
            };
            let carried = carried.next().unwrap_or(&Carried::Unknown);
            match reader.treat(column, carried) {
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
                Treatment::Disagreement => {
                    met_unknown = true;
                    disagreements += 1;
                    whole("disagreement")
                }
            }
        })
        .collect();
    MaskPlan {
        disagreements,
        ..MaskPlan::of(columns, met_unknown)
    }
}

fn own_rule(why: &str) -> RuleRef {
    RuleRef {
        policy: Arc::from("node-agent"),
        rule: Arc::from(why),
    }
}

/// Two witnesses of where a column comes from: the wire and the text.
struct Reader<'a> {
    obligations: &'a Obligations,
    relations: &'a dyn Relations,
    judged: Option<Judged<'a>>,
    following: Following<'a>,
}

impl<'a> Reader<'a> {
    fn treat(&mut self, column: &ColumnHead, carried: &Carried) -> Treatment<'a> {
        let (obligations, relations) = (self.obligations, self.relations);
        if obligations.masks.is_empty() && !obligations.touches_masked {
            return Treatment::Pass;
        }
        let (relation, number) = match column.origin {
            // An expression, a union, a function: what the text says that it is made of, else anything
            // that the statement touches.
            ColumnOrigin::Unknown | ColumnOrigin::Attribute { relation: 0, .. } => {
                if !obligations.touches_masked {
                    return Treatment::Pass;
                }
                return match self.carries(carried) {
                    Carries::Clear => Treatment::Pass,
                    Carries::Masked => Treatment::Whole("made-of-masked"),
                    Carries::Unknown => Treatment::Whole("unknown-origin"),
                };
            }
            ColumnOrigin::Attribute { relation, number } => (relation, number),
        };
        if number == 0 {
            // A whole row holds every column of its table: by the word of both.
            return match self.carries(carried) {
                Carries::Clear if self.holds_relation(carried, relation) => Treatment::Pass,
                Carries::Clear | Carries::Masked | Carries::Unknown => {
                    Treatment::Whole("whole-row")
                }
            };
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
        if obligations.touches_masked
            && !obligations.sources.hold(attribute.schema, attribute.table)
        {
            return Treatment::Unknown("unnamed-relation");
        }
        if let Some(judged) = &self.judged
            && !judged.hold(carried, &attribute)
        {
            return Treatment::Disagreement;
        }
        let ancestors = relations.ancestors(relation);
        if let Some(mask) = strongest(&obligations.masks, &attribute, &ancestors) {
            return Treatment::Mask(mask);
        }
        if attribute.stored {
            // What is generated from a masked column is made of it, under whatever name.
            return match self.following.column(relation, &attribute.column.into()) {
                Carries::Clear => Treatment::Pass,
                Carries::Masked => Treatment::Whole("made-of-masked"),
                Carries::Unknown if obligations.touches_masked => {
                    Treatment::Whole("unknown-origin")
                }
                Carries::Unknown => Treatment::Pass,
            };
        }
        // A view's column is named after the view, whatever it is computed from: its definition says.
        if self.carries(carried) == Carries::Clear {
            return Treatment::Pass;
        }
        let of_masked = |(schema, table): &(&str, &str)| {
            let mut patterns = obligations.masks.iter().flat_map(|mask| &mask.columns);
            patterns.any(|pattern| of_table(pattern, schema, table))
        };
        if obligations.touches_masked
            || relations.opaque(relation)
            || ancestors.iter().any(of_masked)
        {
            return Treatment::Whole("computed-relation");
        }
        Treatment::Pass
    }

    /// What a column carries by the text's words, where these can be followed.
    fn carries(&mut self, carried: &Carried) -> Carries {
        match &self.judged {
            Some(judged) => self.following.carries(judged, carried),
            None => Carries::Unknown,
        }
    }

    /// Whether the text's words can be about rows of this relation.
    fn holds_relation(&self, carried: &Carried, relation: u32) -> bool {
        match &self.judged {
            Some(judged) => judged.hold_relation(carried, relation),
            None => false,
        }
    }
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
