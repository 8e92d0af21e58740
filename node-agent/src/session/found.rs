//! What the content net found: where, what it looks like, how often. Never a value.

use std::collections::HashMap;
use std::sync::Arc;

use crate::mask::{Find, Relations};
use crate::model::{ColumnOrigin, ResultHead};
use crate::policy::Detector;
use crate::record::Found;
use crate::upstream::Catalogue;
use crate::wire::Wire;

use super::execution::Execution;
use super::pump::Session;

/// Places that a session keeps counts of; finds in further ones are in the record of their statement.
const PLACES: usize = 1024;
/// Places that the record of one statement names.
const RECORDED: usize = 256;

/// Counts of a session, by place and detector.
#[derive(Debug, Default)]
pub(super) struct Totals(HashMap<(Arc<str>, Detector), u64>);

impl Execution {
    /// The result that is being relayed is over.
    pub(super) fn end_result(&mut self) {
        let Some(result) = self.result.take() else {
            return;
        };
        let Some((head, catalogue)) = result.named.filter(|_| !result.finds.is_empty()) else {
            return;
        };
        for find in result.finds.iter() {
            let found = found(find, &head, catalogue.as_deref());
            let same = |known: &&mut Found| {
                known.output == found.output
                    && known.source == found.source
                    && (known.detector, known.covered) == (found.detector, found.covered)
            };
            let full = self.found.len() >= RECORDED;
            match self.found.iter_mut().find(same) {
                Some(known) => known.count += found.count,
                None if full => {}
                None => self.found.push(found),
            }
        }
    }
}

fn found(find: &Find, head: &ResultHead, catalogue: Option<&Catalogue>) -> Found {
    let column = head.columns.get(usize::from(find.column));
    let source = column.and_then(|column| match column.origin {
        ColumnOrigin::Attribute { relation, number } => {
            let attribute = catalogue?.attribute(relation, number)?;
            let (schema, table) = (attribute.schema, attribute.table);
            Some(format!("{schema}.{table}.{}", attribute.column).into())
        }
        ColumnOrigin::Unknown => None,
    });
    Found {
        output: column.map_or_else(|| "".into(), |column| column.name.clone()),
        source,
        detector: find.detector,
        covered: find.covered,
        count: find.count,
    }
}

impl<W: Wire> Session<W> {
    /// Counts what a statement's results held; what is new in this session is told in the log.
    pub(super) fn report(&mut self, found: &[Found]) {
        for one in found {
            self.shared
                .metrics
                .content_found(one.detector, one.covered, one.count);
            let place = one.source.as_ref().unwrap_or(&one.output);
            let key = (place.clone(), one.detector);
            if let Some(count) = self.found.0.get_mut(&key) {
                *count += one.count;
                continue;
            }
            if self.found.0.len() >= PLACES {
                continue;
            }
            tracing::info!(
                session = %self.id, column = %place, detector = %one.detector, covered = one.covered,
                "the content net found something"
            );
            self.found.0.insert(key, one.count);
        }
    }

    /// The session is over: tells the counts.
    pub(super) fn report_all(&self) {
        for ((place, detector), count) in &self.found.0 {
            tracing::info!(
                session = %self.id, column = %place, %detector, count,
                "what the content net found in this session"
            );
        }
    }
}
