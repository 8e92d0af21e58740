//! The net over rows, and which columns it looks into.

use std::sync::Arc;

use proptest::prelude::*;

use crate::mask::tests::row;
use crate::mask::{
    Attribute, Find, Finds, MaskKey, MaskPlan, MaskedRows, Relations, Treated, Undecodable, plan,
};
use crate::model::{ColumnHead, ColumnOrigin, Format, ResultHead, Secret};
use crate::policy::{
    ColumnPattern, ContentMasker, ContentMode, ContentRule, Detector, MaskRule, Masker,
    Obligations, RuleRef,
};

const TEXT: u32 = 25;

fn rule(columns: &[[&str; 3]], except: &[[&str; 3]]) -> ContentRule {
    let patterns = |of: &[[&str; 3]]| of.iter().map(pattern).collect();
    ContentRule {
        rule: of("net"),
        detect: vec![Detector::Email],
        columns: patterns(columns),
        except: patterns(except),
        with: ContentMasker::Redact,
        mode: ContentMode::Mask,
    }
}

fn of(rule: &str) -> RuleRef {
    RuleRef {
        policy: "p".into(),
        rule: rule.into(),
    }
}

fn pattern([schema, table, column]: &[&str; 3]) -> ColumnPattern {
    ColumnPattern {
        schema: (*schema).to_owned(),
        table: (*table).to_owned(),
        column: (*column).to_owned(),
    }
}

/// 1 is `app.notes (id, body)`, 2 a view over it, 3 a view over nothing that is known, 4 one that code makes.
struct App;

impl Relations for App {
    fn attribute(&self, relation: u32, number: i16) -> Option<Attribute<'_>> {
        let (table, stored) = match relation {
            1 => ("notes", true),
            2 => ("seen", false),
            3 => ("odd", false),
            4 => ("made", false),
            _ => return None,
        };
        let column = if number == 1 { "id" } else { "body" };
        Some(Attribute {
            schema: "app",
            table,
            column,
            stored,
        })
    }

    fn ancestors(&self, relation: u32) -> Vec<(&str, &str)> {
        match relation {
            2 | 4 => vec![("app", "notes")],
            _ => Vec::new(),
        }
    }

    fn opaque(&self, relation: u32) -> bool {
        relation == 4
    }
}

fn planned(origins: &[ColumnOrigin], obligations: &Obligations) -> MaskPlan {
    let column = |origin: &ColumnOrigin| ColumnHead {
        name: Arc::from("x"),
        origin: *origin,
        type_id: TEXT,
        format: Format::Text,
    };
    let head = ResultHead {
        columns: origins.iter().map(column).collect(),
    };
    plan(
        &head,
        obligations,
        &crate::sql::Lineage::unknown(),
        &App,
        &MaskKey::new(&Secret::new([1; 32])),
    )
}

fn obliged(content: Vec<ContentRule>) -> Obligations {
    Obligations {
        content,
        ..Obligations::default()
    }
}

fn at(relation: u32, number: i16) -> ColumnOrigin {
    ColumnOrigin::Attribute { relation, number }
}

fn treated(plan: &MaskPlan, run: &[u8]) -> (Vec<u8>, bool, Finds) {
    let mut finds = Finds::default();
    let (out, same) = match MaskedRows::treat(plan, run, &mut finds).unwrap() {
        Treated::Same(same) => (same.kept().bytes().to_vec(), true),
        Treated::Changed(rows) => (rows.bytes().to_vec(), false),
    };
    (out, same, finds)
}

#[test]
fn a_column_is_looked_into_where_a_rule_is_about_it_or_nothing_says_that_none_is() {
    let all = || rule(&[["*", "*", "*"]], &[]);
    let notes = || rule(&[["app", "notes", "*"]], &[]);
    let other = || rule(&[["app", "other", "*"]], &[]);
    let but = || rule(&[["*", "*", "*"]], &[["app", "notes", "body"]]);
    for (rule, origin, looks) in [
        (all(), at(1, 2), true),
        (all(), at(9, 2), true),
        (all(), ColumnOrigin::Unknown, true),
        (all(), at(1, 0), true),
        (all(), at(1, -1), false),
        (notes(), at(1, 2), true),
        (notes(), at(2, 2), true),
        (notes(), at(3, 2), true),
        (notes(), ColumnOrigin::Unknown, true),
        (other(), at(1, 2), false),
        (other(), at(2, 2), false),
        (other(), at(4, 2), true),
        (other(), at(9, 2), true),
        (other(), at(0, 0), true),
        (but(), at(1, 2), false),
        (but(), at(1, 1), true),
        // What a view shows may be another column.
        (but(), at(2, 2), true),
        (but(), ColumnOrigin::Unknown, true),
    ] {
        let plan = planned(&[origin], &obliged(vec![rule.clone()]));
        assert_eq!(!plan.passes(), looks, "{origin:?} {rule:?}");
        assert_eq!(plan.changes(), looks);
        assert!(plan.applied().is_empty());
    }
}

#[test]
fn a_masked_column_is_left_to_its_mask_and_the_others_are_looked_into() {
    let obligations = Obligations {
        masks: vec![MaskRule {
            rule: of("id"),
            columns: vec![pattern(&["app", "notes", "id"])],
            tags: Vec::new(),
            with: Masker::KeepFirst(3),
        }],
        ..obliged(vec![rule(&[["*", "*", "*"]], &[])])
    };
    let plan = planned(&[at(1, 1), at(1, 2), at(1, 2)], &obligations);
    let run = row(&[Some(b"ann@example.com"), Some(b"bob@example.com!"), None]);
    let (out, _, finds) = treated(&plan, &run);
    assert_eq!(out, row(&[Some(b"ann***"), Some(b"***!"), None]));
    let found: Vec<_> = finds.iter().copied().collect();
    let one = Find {
        column: 1,
        detector: Detector::Email,
        covered: true,
        count: 1,
    };
    assert_eq!(found, [one]);
}

#[test]
fn rows_without_a_find_are_not_copied_and_those_around_one_stay() {
    let plan = planned(
        &[at(1, 1), at(1, 2)],
        &obliged(vec![rule(&[["*", "*", "*"]], &[])]),
    );
    let plain = row(&[Some(b"1"), Some(b"nothing here")]);
    let held = row(&[Some(b"mail ann@example.com"), Some(b"x")]);
    let masked = row(&[Some(b"mail ***"), Some(b"x")]);
    let run = [&plain[..], &plain].concat();
    let (out, same, finds) = treated(&plan, &run);
    assert!(same && finds.is_empty());
    assert_eq!(out, run);
    let (out, same, finds) = treated(&plan, &[&plain[..], &held, &plain, &held].concat());
    assert!(!same);
    assert_eq!(out, [&plain[..], &masked, &plain, &masked].concat());
    assert_eq!(finds.iter().map(|find| find.count).sum::<u64>(), 2);
    // A row that does not fit its plan is refused, found or not.
    let mut finds = Finds::default();
    let three = row(&[None, None, None]);
    let run = [&held[..], &three].concat();
    let refused = MaskedRows::treat(&plan, &run, &mut finds);
    assert!(matches!(refused, Err(Undecodable(_))));
}

#[test]
fn what_only_reports_changes_nothing_and_lets_rows_go_in_pieces() {
    let mut report = rule(&[["*", "*", "*"]], &[]);
    report.mode = ContentMode::Report;
    let plan = planned(&[at(1, 2)], &obliged(vec![report]));
    assert!(!plan.passes() && !plan.changes());
    let run = row(&[Some(b"ann@example.com")]);
    let (out, same, finds) = treated(&plan, &run);
    assert!(same);
    assert_eq!(out, run);
    let found: Vec<_> = finds
        .iter()
        .map(|find| (find.covered, find.count))
        .collect();
    assert_eq!(found, [(false, 1)]);
}

proptest! {
    #[test]
    fn however_rows_come_together_they_go_out_the_same(
        cells in prop::collection::vec((".{0,20}", any::<bool>(), ".{0,20}"), 1..12),
        cuts in prop::collection::vec(any::<bool>(), 12),
    ) {
        let plan = planned(&[at(1, 1), at(1, 2)], &obliged(vec![rule(&[["*", "*", "*"]], &[])]));
        let rows: Vec<Vec<u8>> = cells.iter().map(|(one, held, two)| {
            let mail = if *held { " ann@example.com" } else { "" };
            row(&[Some(format!("{one}{mail}").as_bytes()), Some(two.as_bytes())])
        }).collect();
        let (whole, _, _) = treated(&plan, &rows.concat());
        let (mut apart, mut run) = (Vec::new(), Vec::new());
        for (row, cut) in rows.iter().zip(&cuts) {
            run.extend(row);
            if *cut {
                apart.extend(treated(&plan, &std::mem::take(&mut run)).0);
            }
        }
        apart.extend(treated(&plan, &run).0);
        prop_assert_eq!(apart, whole);
    }
}
