//! Pure. What the catalogue says of the columns of a result besides their names.

use std::borrow::Cow;

use super::Relations;
use super::pattern::names;
use crate::model::{ColumnOrigin, ResultHead};
use crate::policy::{Classified, MaskRule, Obligations};

/// The obligations as they hold for this result: the catalogue at hand can be newer than the one that the
/// statement was judged by, so tags and former names are asked for again, and by the numbers of tables, which no
/// renaming changes.
pub(super) fn bound<'a>(
    head: &ResultHead,
    obligations: &'a Obligations,
    relations: &dyn Relations,
) -> Cow<'a, Obligations> {
    if obligations.masks.is_empty() {
        return Cow::Borrowed(obligations);
    }
    let mut seen: Vec<u32> = Vec::new();
    let mut classified: Vec<&Classified> = Vec::new();
    for column in &head.columns {
        if let ColumnOrigin::Attribute { relation, .. } = column.origin
            && relation != 0
            && !seen.contains(&relation)
        {
            seen.push(relation);
            classified.extend(relations.classified(relation));
        }
    }
    let with = |mask: &'a MaskRule| mask.with_classified(classified.iter().copied());
    let masks: Vec<Cow<'_, MaskRule>> = obligations.masks.iter().map(with).collect();
    if masks.iter().all(|mask| matches!(mask, Cow::Borrowed(_))) {
        return Cow::Borrowed(obligations);
    }
    Cow::Owned(Obligations {
        masks: masks.into_iter().map(Cow::into_owned).collect(),
        ..obligations.clone()
    })
}

/// Whether a result has a column under the name of a masked one of its table, and says that it is another
/// column: most often an alias, but after columns changed their names beside the agent the catalogue at hand would
/// be wrong about which is which.
pub fn doubtful(head: &ResultHead, obligations: &Obligations, relations: &dyn Relations) -> bool {
    if obligations.masks.is_empty() {
        return false;
    }
    head.columns.iter().any(|column| {
        let ColumnOrigin::Attribute { relation, number } = column.origin else {
            return false;
        };
        let Some(origin) = relations.attribute(relation, number) else {
            return false;
        };
        *origin.column != *column.name
            && obligations.masks.iter().any(|mask| {
                let named = |name: &str| {
                    let mut patterns = mask.columns.iter();
                    patterns.any(|pattern| names(pattern, origin.schema, origin.table, name))
                };
                named(&column.name) && !named(origin.column)
            })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::mask::{Attribute, MaskKey, plan};
    use crate::model::{ColumnHead, Format};
    use crate::policy::{ColumnPattern, Masker, RuleRef, Tag};

    /// sales.people (1) with id, ssn (tagged) and city, which was once called address; sales.v (2) over it.
    struct Tagged(Vec<Classified>);

    fn relations() -> Tagged {
        let column = |column: &str, comment: &str, formerly: &[[&str; 3]]| Classified {
            schema: "sales".to_owned(),
            table: "people".to_owned(),
            column: column.to_owned(),
            tags: Tag::all_in(comment),
            formerly: formerly.iter().map(|one| one.map(str::to_owned)).collect(),
        };
        Tagged(vec![
            column("ssn", "pii:ssn", &[]),
            column("city", "", &[["sales", "people", "address"]]),
        ])
    }

    impl Relations for Tagged {
        fn attribute(&self, relation: u32, number: i16) -> Option<Attribute<'_>> {
            let (table, column) = match (relation, number) {
                (1, 1) => ("people", "id"),
                (1, 2) => ("people", "ssn"),
                (1, 3) => ("people", "city"),
                (2, 1) => ("v", "ssn"),
                (2, 2) => ("v", "x"),
                _ => return None,
            };
            Some(Attribute {
                schema: "sales",
                table,
                column,
                stored: relation == 1,
            })
        }

        fn ancestors(&self, relation: u32) -> Vec<(&str, &str)> {
            match relation {
                2 => vec![("sales", "people")],
                _ => Vec::new(),
            }
        }

        fn classified(&self, _: u32) -> Vec<&Classified> {
            self.0.iter().collect()
        }
    }

    fn head(name: &str, relation: u32, number: i16) -> ResultHead {
        ResultHead {
            columns: vec![ColumnHead {
                name: Arc::from(name),
                origin: ColumnOrigin::Attribute { relation, number },
                type_id: 25,
                format: Format::Text,
            }],
        }
    }

    fn obligations(tags: &[&str], columns: &[[&str; 3]]) -> Obligations {
        let tag = |text: &&str| serde_json::from_value(serde_json::json!(text)).unwrap();
        let column = |[schema, table, column]: &[&str; 3]| ColumnPattern {
            schema: (*schema).to_owned(),
            table: (*table).to_owned(),
            column: (*column).to_owned(),
        };
        Obligations {
            masks: vec![MaskRule {
                rule: RuleRef {
                    policy: "p".into(),
                    rule: "m".into(),
                },
                columns: columns.iter().map(column).collect(),
                tags: tags.iter().map(tag).collect(),
                with: Masker::Redact,
            }],
            ..Obligations::default()
        }
    }

    #[test]
    fn a_tag_that_came_after_the_judgement_masks_all_the_same() {
        let key = MaskKey::new(&crate::model::Secret::new([7; 32]));
        for (relation, number, tags, columns, want) in [
            (1, 1, &["pii:*"][..], &[][..], None),
            (1, 2, &["pii:*"], &[], Some("m")),
            (1, 2, &["gdpr:*"], &[], None),
            (1, 3, &["pii:*"], &[], None),
            (1, 3, &[], &[["sales", "people", "address"]], Some("m")),
            (1, 3, &[], &[["sales", "people", "zip"]], None),
            (2, 1, &["pii:*"], &[], Some("m")),
            (2, 2, &["pii:*"], &[], Some("computed-relation")),
        ] {
            let obligations = obligations(tags, columns);
            let made = plan(
                &head("x", relation, number),
                &obligations,
                &crate::sql::Lineage::unknown(),
                &relations(),
                &key,
            );
            let rule = made
                .applied()
                .first()
                .map(|(_, rule)| rule.rule.to_string());
            assert_eq!(
                rule.as_deref(),
                want,
                "{relation}.{number} {tags:?} {columns:?}"
            );
        }
    }

    #[test]
    fn a_column_under_the_name_of_a_masked_one_is_doubtful() {
        let masked = obligations(&[], &[["sales", "people", "ssn"]]);
        for (name, relation, number, want) in [
            ("ssn", 1, 1, true),
            ("ssn", 1, 2, false),
            ("id", 1, 2, false),
            ("x", 1, 1, false),
            ("ssn", 9, 1, false),
        ] {
            let head = head(name, relation, number);
            assert_eq!(
                doubtful(&head, &masked, &relations()),
                want,
                "{name} {relation}.{number}"
            );
        }
    }
}
