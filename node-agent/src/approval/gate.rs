//! Pure. The gate of a transaction: which statements have run in it on the terms that a human sees them before
//! its COMMIT, and the COMMIT that waits for that.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Binder, Binding, Changed, LONGEST_TEXT, Shown, Work};
use crate::model::{Reference, UnixMillis};
use crate::policy::{self, Hold, Obligations, RuleRef};

/// More statements than this nobody reads before one COMMIT.
pub const MOST_GATED: usize = 64;
/// Their texts and parameters together, bytes.
pub const LONGEST_GATED: usize = LONGEST_TEXT;

/// A statement that may run before a human has seen it, since its transaction waits for one. Made by the gate
/// only, which has then noted it; worth one permit for that very statement.
#[derive(Debug)]
pub struct Gated {
    statement: Reference,
    rule: RuleRef,
    obligations: Arc<Obligations>,
}

impl Gated {
    /// The statement it is for.
    pub fn statement(&self) -> Reference {
        self.statement
    }

    /// The rule that holds the COMMIT.
    pub fn rule(&self) -> &RuleRef {
        &self.rule
    }

    /// What the agent must do with the answer.
    pub fn obligations(&self) -> &Arc<Obligations> {
        &self.obligations
    }

    fn new(statement: Reference, hold: &Hold) -> Gated {
        Gated {
            statement,
            rule: hold.rule.clone(),
            obligations: hold.obligations.clone(),
        }
    }
}

/// Why a statement does not run by the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotGated {
    /// Another rule gates this transaction. The statement itself can be held.
    Another(RuleRef),
    /// More than one can be asked about at once.
    TooMuch(&'static str),
    /// Another version of the policies gates this transaction.
    Changed,
}

/// The gate of one session.
#[derive(Debug, Default)]
pub struct Gate {
    noted: Option<Box<Noted>>,
}

/// What a transaction has done that a rule is about.
#[derive(Debug)]
struct Noted {
    hold: Hold,
    policy_version: Arc<str>,
    statements: Vec<Shown>,
    bytes: usize,
    exact: Binder,
    before: Option<Before>,
}

/// What the counters said before the first statement ran; none: the database does not count.
#[derive(Debug)]
struct Before(Option<HashMap<String, [u64; 3]>>);

impl Gate {
    /// The rule that holds the COMMIT of the open transaction, and the version of its policies.
    pub fn holds(&self) -> Option<(&Hold, &Arc<str>)> {
        let noted = self.noted.as_deref()?;
        Some((&noted.hold, &noted.policy_version))
    }

    /// The transaction is over, or nothing of it can be committed any more.
    pub fn over(&mut self) {
        self.noted = None;
    }

    /// Notes a statement that surely runs inside the client's transaction, before it is sent. `exact` stands
    /// for it and its parameters, byte for byte.
    ///
    /// # Errors
    /// It must not run by the gate.
    pub fn note(
        &mut self,
        statement: Reference,
        hold: &Hold,
        policy_version: &Arc<str>,
        shown: Shown,
        exact: Binding,
    ) -> Result<Gated, NotGated> {
        let bytes = weight(&shown);
        let noted = match &mut self.noted {
            Some(noted) if noted.hold.rule != hold.rule => {
                return Err(NotGated::Another(noted.hold.rule.clone()));
            }
            Some(noted)
                if noted.policy_version != *policy_version || noted.hold.asks != hold.asks =>
            {
                return Err(NotGated::Changed);
            }
            Some(noted) => noted,
            None if bytes > LONGEST_GATED => return Err(NotGated::TooMuch(TOO_LONG)),
            none => none.insert(Box::new(Noted {
                hold: hold.clone(),
                policy_version: policy_version.clone(),
                statements: Vec::new(),
                bytes: 0,
                exact: Binder::default(),
                before: None,
            })),
        };
        if noted.statements.len() >= MOST_GATED {
            return Err(NotGated::TooMuch(
                "its transaction has more such statements than anybody reads (64); commit in between",
            ));
        }
        if noted.bytes.saturating_add(bytes) > LONGEST_GATED {
            return Err(NotGated::TooMuch(TOO_LONG));
        }
        noted.bytes = noted.bytes.saturating_add(bytes);
        noted.statements.push(shown);
        noted.exact = noted
            .exact
            .clone()
            .with("statement", format!("{statement} {exact}"));
        Ok(Gated::new(statement, hold))
    }

    /// What the counters say before the first statement is sent is not known yet.
    pub fn begins(&self) -> bool {
        self.noted
            .as_deref()
            .is_some_and(|noted| noted.before.is_none())
    }

    /// What they say then. They can have changes of earlier transactions in them.
    pub fn before(&mut self, tables: Option<Vec<Changed>>) {
        if let Some(noted) = &mut self.noted {
            let counted = tables.map(|tables| {
                let rows = tables.into_iter();
                rows.map(|one| (one.table, [one.inserted, one.updated, one.deleted]))
                    .collect()
            });
            noted.before = Some(Before(counted));
        }
    }

    /// A turn of an answer whose statement was noted: what is read on has run.
    pub fn resumed(&self, statement: Reference, hold: &Hold) -> Option<Gated> {
        let (noted, _) = self.holds()?;
        (noted.rule == hold.rule).then(|| Gated::new(statement, hold))
    }

    /// What does nothing but begin a transaction, set a savepoint in it or undo it: nothing of it can be
    /// durable. A COMMIT is let through by this only where nothing was noted.
    pub fn control(&self, statement: Reference, hold: &Hold) -> Gated {
        Gated::new(statement, hold)
    }

    /// What reviewers of the COMMIT see. `tables`: what the counters say now; none: the database does not
    /// count. `sent`: statements of the transaction in all. `None`: nothing was noted.
    pub fn work(&self, tables: Option<Vec<Changed>>, sent: u64, since: UnixMillis) -> Option<Work> {
        let noted = self.noted.as_deref()?;
        let listed = noted.statements.len() as u64;
        let before = noted.before.as_ref().and_then(|before| before.0.as_ref());
        let tables = tables.zip(before).map(|(now, before)| {
            let now = now.into_iter().map(|one| since_then(one, before));
            now.filter(|one| one.inserted + one.updated + one.deleted > 0)
                .collect()
        });
        Some(Work {
            counted: tables.is_some(),
            tables: tables.unwrap_or_default(),
            statements: noted.statements.clone(),
            more: sent.saturating_sub(listed),
            since,
        })
    }

    /// Stands for the very statements that were noted.
    pub fn bound(&self) -> Option<Binding> {
        Some(self.noted.as_deref()?.exact.clone().bound())
    }

    /// Whether a hold is about what this gate is: then one approval answers both.
    pub fn is_of(&self, hold: &Hold) -> bool {
        let same = |(noted, _): (&Hold, &Arc<str>)| noted.rule == hold.rule;
        hold.asks.gate == policy::Gate::Commit && self.holds().is_some_and(same)
    }
}

const TOO_LONG: &str = "the statements of its transaction are longer together than anybody reads (64 KiB); \
    commit in between";

/// What was changed since then. A counter that fell was lost, as where a table was truncated: what it says now
/// came after that.
fn since_then(now: Changed, before: &HashMap<String, [u64; 3]>) -> Changed {
    let [inserted, updated, deleted] = before.get(&now.table).copied().unwrap_or_default();
    let differences = (
        now.inserted.checked_sub(inserted),
        now.updated.checked_sub(updated),
        now.deleted.checked_sub(deleted),
    );
    match differences {
        (Some(inserted), Some(updated), Some(deleted)) => Changed {
            inserted,
            updated,
            deleted,
            ..now
        },
        _ => now,
    }
}

/// What of a statement is read, bytes.
fn weight(shown: &Shown) -> usize {
    use crate::record::RecordedCell as Cell;
    let params = shown.params.iter().map(|cell| match cell {
        Cell::Null | Cell::Long(_) => 1,
        Cell::Text(text) | Cell::Binary(text) | Cell::Begins { text, .. } => text.len(),
    });
    shown.text.len().saturating_add(params.sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SessionId, StatementSeq};
    use crate::policy::{Asks, Gate as Held};

    fn hold(rule: &str) -> Hold {
        Hold {
            rule: RuleRef {
                policy: "p".into(),
                rule: rule.into(),
            },
            asks: Asks {
                gate: Held::Commit,
                ..Asks::default()
            },
            obligations: Arc::default(),
        }
    }

    fn at(seq: u64) -> Reference {
        Reference {
            session: SessionId(1),
            seq: StatementSeq(seq),
        }
    }

    fn shown(text: &str) -> Shown {
        Shown {
            text: text.to_owned(),
            params: vec![],
            kinds: vec![],
            tables: vec![],
            functions: vec![],
            estimate: None,
            before: 0,
        }
    }

    fn exact(text: &str) -> Binding {
        Binder::default().with("text", text).bound()
    }

    #[test]
    fn a_transaction_is_gated_by_one_rule_of_one_version() {
        let (one, two): (Arc<str>, Arc<str>) = ("1".into(), "2".into());
        let mut gate = Gate::default();
        assert!(gate.work(None, 0, UnixMillis(0)).is_none() && gate.bound().is_none());
        let first = gate.note(at(1), &hold("a"), &one, shown("x"), exact("x"));
        assert_eq!(first.unwrap().statement(), at(1));
        let other = gate.note(at(2), &hold("b"), &one, shown("x"), exact("x"));
        assert_eq!(
            other.unwrap_err(),
            NotGated::Another(hold("a").rule),
            "what another rule holds is not covered by this rule's reviewers"
        );
        let newer = gate.note(at(2), &hold("a"), &two, shown("x"), exact("x"));
        assert_eq!(newer.unwrap_err(), NotGated::Changed);
        let mut asks = hold("a");
        asks.asks.quorum = 2;
        let other = gate.note(at(2), &asks, &one, shown("x"), exact("x"));
        assert_eq!(other.unwrap_err(), NotGated::Changed);
        assert!(gate.resumed(at(3), &hold("a")).is_some());
        assert!(gate.resumed(at(3), &hold("b")).is_none());
        assert!(gate.is_of(&hold("a")) && !gate.is_of(&hold("b")));
        let work = gate.work(Some(vec![]), 3, UnixMillis(7)).unwrap();
        assert_eq!((work.statements.len(), work.more), (1, 2));
        assert!(
            !work.counted,
            "nobody knows what the counters said before it"
        );
        gate.over();
        assert!(gate.resumed(at(4), &hold("a")).is_none());
        gate.note(at(4), &hold("b"), &two, shown("x"), exact("x"))
            .unwrap();
    }

    #[test]
    fn rows_are_those_since_the_first_statement() {
        let one = |table: &str, [inserted, updated, deleted]: [u64; 3]| Changed {
            table: table.to_owned(),
            inserted,
            updated,
            deleted,
        };
        let mut gate = Gate::default();
        assert!(!gate.begins());
        gate.note(at(1), &hold("a"), &"1".into(), shown("x"), exact("x"))
            .unwrap();
        assert!(gate.begins());
        // What an earlier transaction of the connection did, and is not reported yet.
        gate.before(Some(vec![
            one("a", [1, 2, 3]),
            one("b", [0, 0, 9]),
            one("c", [5, 0, 0]),
        ]));
        assert!(!gate.begins());
        let now = vec![
            one("a", [1, 2, 4]),
            one("b", [1, 0, 2]),
            one("c", [5, 0, 0]),
            one("d", [0, 7, 0]),
        ];
        let work = gate.work(Some(now), 1, UnixMillis(0)).unwrap();
        assert!(work.counted);
        assert_eq!(
            work.tables,
            [
                one("a", [0, 0, 1]),
                // It was truncated meanwhile: what is said came behind that.
                one("b", [1, 0, 2]),
                one("d", [0, 7, 0]),
            ]
        );
        assert!(!gate.work(None, 1, UnixMillis(0)).unwrap().counted);
    }

    #[test]
    fn no_more_is_noted_than_is_shown() {
        let version: Arc<str> = "1".into();
        let mut gate = Gate::default();
        let long = "x".repeat(LONGEST_GATED + 1);
        let told = gate.note(at(1), &hold("a"), &version, shown(&long), exact(&long));
        assert!(matches!(told, Err(NotGated::TooMuch(_))));
        assert!(gate.holds().is_none(), "what did not run gates nothing");
        let half = "x".repeat(LONGEST_GATED / 2);
        for (seq, fits) in [(1, true), (2, true), (3, false)] {
            let told = gate.note(at(seq), &hold("a"), &version, shown(&half), exact(&half));
            assert_eq!(told.is_ok(), fits, "{seq}");
        }
        let mut gate = Gate::default();
        for seq in 0..MOST_GATED as u64 + 1 {
            let told = gate.note(at(seq), &hold("a"), &version, shown("x"), exact("x"));
            assert_eq!(told.is_ok(), (seq as usize) < MOST_GATED);
        }
        let work = gate.work(None, 64, UnixMillis(0)).unwrap();
        assert_eq!((work.statements.len(), work.more), (MOST_GATED, 0));
        assert!(!work.counted);
    }

    #[test]
    fn what_is_bound_is_every_statement_in_its_order() {
        let version: Arc<str> = "1".into();
        let bound = |texts: &[&str]| {
            let mut gate = Gate::default();
            for (seq, text) in texts.iter().enumerate() {
                gate.note(
                    at(seq as u64),
                    &hold("a"),
                    &version,
                    shown(text),
                    exact(text),
                )
                .unwrap();
            }
            gate.bound().unwrap()
        };
        assert_eq!(bound(&["a", "b"]), bound(&["a", "b"]));
        for other in [&["b", "a"][..], &["a"], &["a", "b", "b"], &["ab"]] {
            assert_ne!(bound(&["a", "b"]), bound(other));
        }
    }
}
