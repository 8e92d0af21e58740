//! A copy of masked data: its rows are asked for, masked by their columns, and written as the copy
//! that the client wants. Copy data itself never says which column a value is of.
//!
//! And what the client copies in, for the record.

use bytes::{Bytes, BytesMut};

use crate::mask::{MaskPlan, MaskedRows, Relations};
use crate::model::{Refusal, RefusalCode, ResultHead};
use crate::policy::Obligations;
use crate::record::{Delivered, Why};
use crate::sql::{Analysis, CopyOut, CopyRows, StatementKind};
use crate::wire::{Copied, Talk, Wire};

use super::answer::{Broken, Fate, KEPT_BYTES};
use super::execution::Execution;
use super::pump::Session;
use super::verdict::Prepared;

use std::sync::Arc;

/// A copy that is made of rows.
#[derive(Debug)]
pub(super) struct Copying {
    pub(super) rows: CopyRows,
    /// How they are written: known with their head.
    pub(super) copied: Option<Arc<Copied>>,
    /// The client was told that copy data comes.
    begun: bool,
}

impl Copying {
    pub(super) fn new(rows: CopyRows) -> Self {
        Copying {
            rows,
            copied: None,
            begun: false,
        }
    }

    /// What the client is told, and the record.
    pub(super) fn tag(rows: u64) -> String {
        format!("COPY {rows}")
    }

    /// Settles how the rows are written.
    ///
    /// # Errors
    /// They came in a form that was not asked for.
    pub(super) fn learn(
        &mut self,
        head: &ResultHead,
        relations: &dyn Relations,
    ) -> Result<(), Why> {
        let Some(copied) = Copied::of(&self.rows, head, relations) else {
            let words = "rows of a copy that are not in text form".to_owned();
            return Err(Why::MaskFailed(words));
        };
        self.copied = Some(Arc::new(copied));
        Ok(())
    }

    /// Appends the beginning, the first time.
    pub(super) fn begin<W: Wire>(&mut self, out: &mut BytesMut) {
        if let Some(copied) = &self.copied
            && !std::mem::replace(&mut self.begun, true)
        {
            W::Talk::<Arc<Prepared>, Execution>::copy_begins(copied, out);
        }
    }
}

/// The rows to ask for in place of a copy. `None`: the text is sent as it is; either it is no copy to
/// the client, or nothing that has a mask can be in it.
///
/// # Errors
/// It is a copy that may carry masked values and cannot be made of rows.
pub(super) fn instead(
    analysis: &Analysis,
    obligations: &Obligations,
    counted: bool,
) -> Result<Option<CopyRows>, Refusal> {
    let copies = |facts: &crate::sql::StatementFacts| facts.kinds.contains(&StatementKind::CopyOut);
    if !obligations.covers_copies() || !analysis.statements.iter().any(copies) {
        return Ok(None);
    }
    let why = match analysis.statements.as_slice() {
        [facts] => match &facts.copy {
            Some(CopyOut::Rows(_)) if counted => "its rows are counted",
            Some(CopyOut::Rows(rows)) => return Ok(Some(rows.clone())),
            Some(CopyOut::Otherwise(why)) => why,
            None => "it is not understood",
        },
        _ => "it stands in one text with other statements",
    };
    Err(Refusal::new(
        RefusalCode::Policy,
        format!("the copy may carry masked values, and cannot be masked: {why}"),
    )
    .hint("copy one table or query to stdout, in text or csv, by a statement of its own"))
}

impl<W: Wire> Session<W> {
    /// Copy data of the client, in what goes up from there on: on the record before it is sent. Where a
    /// mask holds for who copies, the data may be of masked columns, and only its digest is kept.
    pub(super) async fn copied_in(&mut self, from: usize) -> Result<(), Why> {
        // What was appended by its end is no data.
        if !self.shared.rows || !self.link.copies_in() {
            return Ok(());
        }
        let Some(execution) = self.link.running() else {
            return Ok(());
        };
        let seq = execution.seq;
        let keep = execution.copied_in < KEPT_BYTES && execution.obligations.masks.is_empty();
        let data = self.link.going_up().get(from..).unwrap_or_default();
        if data.is_empty() {
            return Ok(());
        }
        let count = data.len() as u64;
        let told = if keep {
            match MaskedRows::pass(&MaskPlan::default(), Bytes::copy_from_slice(data)) {
                Some(rows) => {
                    let head = None;
                    let sent = Delivered { seq, head, rows };
                    self.recorder.delivered(sent).await
                }
                None => Ok(()),
            }
        } else {
            self.recorder.digested(seq, data)
        };
        told.map_err(|error| Why::RecordFailed(error.to_string()))?;
        if let Some(execution) = self.link.running() {
            execution.copied_in = execution.copied_in.saturating_add(count);
        }
        Ok(())
    }

    /// The end of a statement, for the client.
    pub(super) fn copy_done(&mut self, out: &mut BytesMut) -> Result<Fate, Broken> {
        let Some(execution) = self.link.current() else {
            return Ok(Fate::Verbatim);
        };
        let rows = execution.rows;
        match &mut execution.copying {
            Some(copying) => {
                copying.begin::<W>(out);
                W::Talk::<Arc<Prepared>, Execution>::copy_ends(rows, out);
                Ok(Fate::Replaced)
            }
            None => Ok(Fate::Verbatim),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Dialect;
    use crate::policy::MaskRule;
    use crate::sql::analyze;

    #[test]
    fn only_a_copy_that_may_carry_masked_values_is_made_of_rows() {
        let masks: Arc<[MaskRule]> = Arc::new([MaskRule {
            rule: crate::policy::RuleRef {
                policy: "p".into(),
                rule: "m".into(),
            },
            columns: Vec::new(),
            tags: Vec::new(),
            with: crate::policy::Masker::Redact,
        }]);
        let of = |touches_masked| Obligations {
            masks: masks.to_vec(),
            touches_masked,
            ..Obligations::default()
        };
        let rows = |text, touches, counted| {
            let analysis = analyze(Dialect::Postgres, text);
            instead(&analysis, &of(touches), counted).map(|rows| rows.is_some())
        };
        assert_eq!(rows("copy t to stdout", true, false).ok(), Some(true));
        assert_eq!(rows("copy t to stdout", false, false).ok(), Some(false));
        assert_eq!(rows("select 1", true, false).ok(), Some(false));
        assert_eq!(rows("copy t from stdin", true, false).ok(), Some(false));
        for text in [
            "copy t to stdout binary",
            "copy t to stdout; select 1",
            "copy (delete from t where a = 1 returning a) to stdout",
        ] {
            assert!(rows(text, true, false).is_err(), "{text}");
            assert!(rows(text, false, false).is_ok(), "{text}");
        }
        assert!(rows("copy t to stdout", true, true).is_err());
    }
}
