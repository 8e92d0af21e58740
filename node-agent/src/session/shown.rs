//! What reviewers see of a statement, and what of it a grant is bound to. What cannot be shown whole
//! cannot be approved (fail closed): nobody agrees to what they have not seen.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::approval::{Binder, Binding, LONGEST_PARAM, LONGEST_TEXT, MOST_PARAMS, Shown};
use crate::model::Format;
use crate::record::RecordedCell;
use crate::sql::{FunctionClass, RelationName, classify_function};
use crate::wire::{Asked, Phase};

use super::verdict::{Prepared, Verdict};

/// The statement as reviewers see it.
///
/// # Errors
/// Why it cannot be shown.
pub(super) fn shown(
    asked: &Asked<Arc<Prepared>>,
    prepared: &Prepared,
    verdict: &Verdict,
) -> Result<Shown, &'static str> {
    let analysis = &prepared.analysis;
    if analysis.is_secret() {
        return Err("it carries a secret, which no reviewer may see");
    }
    if prepared.by_name.is_some() {
        return Err(
            "it runs something by its name, and reviewers would not see what; write it out",
        );
    }
    let text = prepared.text.as_str();
    if text.len() > LONGEST_TEXT {
        return Err("it is longer than anybody reads (64 KiB); split it");
    }
    let params = match &asked.phase {
        Phase::Execute { params, .. } => {
            if params.values.len() > MOST_PARAMS {
                return Err("it has more parameters than anybody reads (256); split it");
            }
            let values = params.values.iter().flat_map(|(_, value)| value);
            let whole: usize = values.map(|value| value.len()).sum();
            if whole.saturating_add(text.len()) > LONGEST_TEXT {
                return Err(
                    "it is longer than anybody reads (64 KiB with its parameters); split it",
                );
            }
            let mut cells = Vec::with_capacity(params.values.len());
            for (format, value) in &params.values {
                if value
                    .as_ref()
                    .is_some_and(|value| value.len() > LONGEST_PARAM)
                {
                    return Err("one of its parameters is longer than anybody reads (4 KiB)");
                }
                cells.push(RecordedCell::from(*format, value.as_deref(), LONGEST_PARAM));
            }
            cells
        }
        Phase::Run { .. } | Phase::Prepare { .. } => Vec::new(),
    };
    let facts = &analysis.statements;
    let kinds = facts.iter().flat_map(|facts| &facts.kinds);
    let kinds: BTreeSet<String> = kinds
        .filter_map(|kind| serde_json::to_value(kind).ok()?.as_str().map(str::to_owned))
        .collect();
    let relations = facts.iter().flat_map(|facts| &facts.relations);
    let tables: BTreeSet<String> = relations
        .map(|used| table(&used.relation, &verdict.names.relations))
        .collect();
    let functions = facts.iter().flat_map(|facts| &facts.functions);
    let functions: BTreeSet<String> = functions
        .filter(|called| {
            let schema = called.schema.as_deref();
            let class = classify_function(schema, &called.name, called.args);
            !matches!(class, FunctionClass::Pure)
        })
        .map(|called| match &called.schema {
            Some(schema) => format!("{schema}.{}", called.name),
            None => called.name.clone(),
        })
        .collect();
    Ok(Shown {
        text: text.to_owned(),
        params,
        kinds: kinds.into_iter().collect(),
        tables: tables.into_iter().collect(),
        functions: functions.into_iter().collect(),
        estimate: None,
        before: 0,
    })
}

/// A relation with the schemas that it may stand in.
fn table(name: &RelationName, resolved: &[(RelationName, Vec<String>)]) -> String {
    if let Some(schema) = &name.schema {
        return format!("{schema}.{}", name.name);
    }
    let found = resolved.iter().find(|(written, _)| written == name);
    match found.map(|(_, schemas)| schemas.as_slice()) {
        Some([schema]) => format!("{schema}.{}", name.name),
        Some([]) | None => name.name.clone(),
        Some(schemas) => format!("{}.{}", schemas.join("|"), name.name),
    }
}

/// Stands for the statement and its parameters, byte for byte.
pub(super) fn exactly(asked: &Asked<Arc<Prepared>>, prepared: &Prepared) -> Binding {
    let text = Binder::default().with("text", prepared.text.as_str());
    parts(asked, text).bound()
}

/// Adds how it was sent: simple, or with which parameters.
pub(super) fn parts(asked: &Asked<Arc<Prepared>>, binder: Binder) -> Binder {
    match &asked.phase {
        Phase::Run { .. } | Phase::Prepare { .. } => binder.with("sent", "as text"),
        Phase::Execute {
            params, resumed, ..
        } => {
            // What is read on has left its values with its first turn, and stands for nothing that begins.
            let sent = if *resumed {
                "to be read on"
            } else {
                "prepared"
            };
            let binder = binder.with("sent", sent).with("types", &params.types);
            params
                .values
                .iter()
                .fold(binder, |binder, (format, value)| {
                    let name = match (format, value) {
                        (_, None) => "null",
                        (Format::Text, Some(_)) => "text value",
                        (Format::Binary, Some(_)) => "binary value",
                    };
                    binder.with(name, value.as_deref().unwrap_or_default())
                })
        }
    }
}
