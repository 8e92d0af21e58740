//! Pure. Whether and how a recorded statement is run again.

use std::sync::Arc;

use crate::model::{Format, ResultHead, StatementSeq};
use crate::policy::Decision;
use crate::record::{Decided, End, Finished, RecordedCell, RecordedText, Rows, Sent};
use crate::sql::StatementKind;

/// Parameters that are recorded of one execution.
const PARAMS: usize = 256;

/// A statement with all that is on record of it.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) decided: Box<Decided>,
    pub(super) head: Option<Arc<ResultHead>>,
    pub(super) rows: Vec<Vec<RecordedCell>>,
    /// The record has not all rows.
    pub(super) beyond: bool,
    pub(super) finished: Option<Finished>,
}

impl Step {
    pub(super) fn new(decided: Box<Decided>) -> Self {
        Step {
            decided,
            head: None,
            rows: Vec::new(),
            beyond: false,
            finished: None,
        }
    }

    pub(super) fn seq(&self) -> StatementSeq {
        self.decided.seq
    }

    pub(super) fn rows(&mut self, rows: Rows) {
        if self.head.is_none() {
            self.head = rows.head;
        }
        self.rows.extend(rows.rows);
        self.beyond |= rows.beyond > 0;
    }

    /// How many rows are worth keeping to compare: those on record, and one more.
    pub(super) fn keep(&self) -> usize {
        self.rows.len() + 1
    }

    /// Its text, where all of it is on record.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.decided.text {
            RecordedText::Plain(text) => Some(text),
            RecordedText::Cut { .. } | RecordedText::Withheld { .. } => None,
        }
    }
}

/// What is done about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Todo {
    /// It is run.
    Run(How),
    /// It is not, for this reason.
    Leave {
        why: &'static str,
        /// It failed the transaction that it was in.
        failed: bool,
    },
}

/// How a statement is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// As a text.
    Text(String),
    /// Prepared, then run.
    Prepared(Bound),
}

/// A prepared statement with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) text: String,
    pub(super) types: Vec<u32>,
    pub(super) params: Vec<(Format, Option<Vec<u8>>)>,
    /// Of the columns of its answer.
    pub(super) formats: Vec<Format>,
    /// So many rows came before the answer was suspended; 0: all.
    pub(super) rows: u32,
    /// It goes on with an answer that was suspended.
    pub(super) resumed: bool,
}

/// Decides.
pub(super) fn todo(step: &Step, denied: bool) -> Todo {
    let leave = |why| Todo::Leave { why, failed: false };
    let failed = |why| Todo::Leave { why, failed: true };
    let refused = matches!(&*step.decided.decision, Decision::Deny(_));
    match (&step.finished, &*step.decided.decision) {
        (_, Decision::Deny(_)) if denied => {}
        (_, Decision::Deny(_)) => return failed("it was refused"),
        (None, Decision::Hold(_)) if denied => {}
        (None, Decision::Hold(_)) => return failed("it was held, and not let run"),
        (None, Decision::Allow(_)) => return leave("the recording does not have its end"),
        (Some(finished), Decision::Allow(_) | Decision::Hold(_)) => match finished.end {
            End::Done | End::Failed | End::Suspended => {}
            End::Skipped => return leave("the database skipped it"),
            End::Stopped => return failed("a limit stopped it"),
            End::Undone => return failed("a limit undid it"),
            End::Cut => return leave("the session ended before its answer did"),
        },
    }
    let text = match &step.decided.text {
        RecordedText::Plain(text) => text.clone(),
        RecordedText::Withheld { .. } => return leave("its text was withheld from the recording"),
        RecordedText::Cut { .. } => return leave("its text is longer than a recording keeps"),
    };
    let mut kinds = step
        .decided
        .analysis
        .statements
        .iter()
        .flat_map(|facts| &facts.kinds);
    if kinds.any(|kind| *kind == StatementKind::CopyIn) {
        return leave("it copies in, and a recording has what is copied in part at most");
    }
    let basis = &step.decided.basis;
    let types = match &basis.sent {
        Sent::Text => return Todo::Run(How::Text(text)),
        // Older recordings do not say. A text of several statements, or a plain one, does as well so.
        Sent::Unrecorded if step.decided.params.is_empty() => return Todo::Run(How::Text(text)),
        Sent::Unrecorded => Vec::new(),
        Sent::Prepared(types) => types.iter().collect(),
    };
    if refused && step.decided.params.is_empty() && text.contains('$') {
        return leave("it was refused before it had parameters");
    }
    if step.decided.params.len() >= PARAMS {
        return leave("it has more parameters than a recording keeps");
    }
    let mut params = Vec::with_capacity(step.decided.params.len());
    for cell in &step.decided.params {
        params.push(match cell {
            RecordedCell::Null => (Format::Text, None),
            RecordedCell::Text(text) => (Format::Text, Some(text.as_bytes().to_vec())),
            RecordedCell::Binary(hex) => match bytes(hex) {
                Some(bytes) => (Format::Binary, Some(bytes)),
                None => return leave("a parameter on record cannot be read"),
            },
            RecordedCell::Long(_) | RecordedCell::Begins { .. } => {
                return leave("a parameter is longer than a recording keeps, or withheld");
            }
        });
    }
    let columns = step.head.iter().flat_map(|head| &head.columns);
    let suspended = step.finished.as_ref().filter(|f| f.end == End::Suspended);
    Todo::Run(How::Prepared(Bound {
        text,
        types,
        params,
        formats: columns.map(|column| column.format).collect(),
        rows: suspended.map_or(0, |f| u32::try_from(f.rows).unwrap_or(0)),
        resumed: basis.resumed,
    }))
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |pair: &[u8; 2]| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok();
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Dialect, Refusal, RefusalCode};
    use crate::policy::{Denial, Hold};
    use crate::record::{Basis, Types, fixtures};
    use crate::sql::analyze;

    fn denied() -> Arc<Decision> {
        Arc::new(Decision::Deny(Denial {
            rule: None,
            refusal: Refusal::new(RefusalCode::Policy, "no"),
            fleeting: false,
        }))
    }

    fn held() -> Arc<Decision> {
        Arc::new(Decision::Hold(Hold {
            rule: crate::policy::RuleRef {
                policy: "p".into(),
                rule: "r".into(),
            },
            asks: crate::policy::Asks::default(),
            obligations: Arc::default(),
        }))
    }

    fn step(text: &str, decision: Arc<Decision>, end: Option<End>) -> Step {
        let mut decided = fixtures::decided(1, text, decision);
        decided.params = Vec::new();
        decided.analysis = Arc::new(analyze(Dialect::Postgres, text));
        let mut step = Step::new(Box::new(decided));
        step.finished = end.map(|end| Finished {
            end,
            ..fixtures::finished(1, 0)
        });
        step
    }

    #[test]
    fn only_what_ran_is_run_unless_more_is_asked_for() {
        let (run, left, failed) = (Some(false), None, Some(true));
        let allow = fixtures::allow;
        for (decision, end, denied, is) in [
            (allow(), Some(End::Done), false, run),
            (allow(), Some(End::Failed), false, run),
            (allow(), Some(End::Suspended), false, run),
            (allow(), Some(End::Skipped), false, left),
            (allow(), Some(End::Cut), false, left),
            (allow(), None, false, left),
            (allow(), Some(End::Stopped), false, failed),
            (allow(), Some(End::Undone), false, failed),
            (held(), None, false, failed),
            (held(), Some(End::Done), false, run),
            (denied(), None, false, failed),
            (denied(), None, true, run),
            (held(), None, true, run),
        ] {
            let found = match todo(&step("select 1", decision.clone(), end), denied) {
                Todo::Run(how) => {
                    assert_eq!(how, How::Text("select 1".to_owned()));
                    run
                }
                Todo::Leave { failed: true, .. } => failed,
                Todo::Leave { failed: false, .. } => left,
            };
            assert_eq!(found, is, "{decision:?} {end:?} {denied}");
        }
    }

    #[test]
    fn what_is_not_on_record_is_not_made_up() {
        let ran = |text| step(text, fixtures::allow(), Some(End::Done));
        let leaves = |step: &Step, words: &str| match todo(step, false) {
            Todo::Leave { why, failed: false } => assert!(why.contains(words), "{why}"),
            other => panic!("{other:?}"),
        };
        leaves(&ran("copy t from stdin"), "copies in");
        let mut secret = ran("select 1");
        secret.decided.text = RecordedText::Withheld {
            hash: String::new(),
            length: 8,
        };
        leaves(&secret, "withheld");
        let mut long = ran("select $1");
        long.decided.params = vec![RecordedCell::Long(5000)];
        leaves(&long, "longer");
        let mut many = ran("select $1");
        many.decided.params = vec![RecordedCell::Null; PARAMS];
        leaves(&many, "more parameters");
        let mut bound = ran("select $1, $2");
        bound.decided.basis = Basis {
            sent: Sent::Prepared(Types::of(vec![0, 0, 0, 20, 0, 0, 0, 25].into())),
            ..Basis::default()
        };
        bound.decided.params = vec![
            RecordedCell::Binary("00ff".to_owned()),
            RecordedCell::Text("x".to_owned()),
        ];
        let Todo::Run(How::Prepared(bound)) = todo(&bound, false) else {
            panic!("it runs");
        };
        assert_eq!(bound.types, [20, 25]);
        let expected = [
            (Format::Binary, Some(vec![0, 255])),
            (Format::Text, Some(b"x".to_vec())),
        ];
        assert_eq!(bound.params, expected);
    }
}
