//! Whether a session's connection to the database may be kept for the next one of the same identity, and the
//! handing over.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use crate::policy::{Decision, ResolvedNames};
use crate::record::Why;
use crate::sql::{Analysis, leaves_nothing};
use crate::upstream::{Key, Leg, Parked, Settings, names_are_used, park, too_old};
use crate::wire::{Greeted, Talk, Wire};

use super::Drain;
use super::execution::Execution;
use super::pump::Session;
use super::verdict::Prepared;

/// What is remembered of a connection while it may still be kept.
#[derive(Debug)]
pub(super) struct Keeping {
    /// Whose it is.
    pub(super) key: Arc<Key>,
    /// What its settings were made of.
    pub(super) settings: Settings,
    /// What the database reported at its login …
    pub(super) parameters: Vec<(String, String)>,
    /// … and what since: the last of each.
    pub(super) since: Vec<(String, String)>,
    /// When it was opened.
    pub(super) opened: Instant,
}

/// The longest report of a setting that is remembered, bytes; a connection with a longer one is not kept.
const LONGEST_REPORT: usize = 1024;

/// Whether a statement of this decision, by what its names stand for, leaves nothing behind that a reset of the
/// connection does not drop. `names`: `None`, they were not looked up.
///
/// Asked once for each verdict that is kept with its text, not for each statement.
pub(super) fn leaves_no_trace(
    analysis: &Analysis,
    names: Option<&ResolvedNames>,
    decision: &Decision,
) -> bool {
    let allowed = match decision {
        // What enforcing would refuse is nothing that is known to be harmless.
        Decision::Allow(allow) => allow.observed.is_none(),
        // What a human let through is not what policy knows.
        Decision::Hold(_) | Decision::Deny(_) => false,
    };
    // What did not come with the server may keep what it likes, in an interpreter or a library, vouched for
    // or not.
    let servers_own = match names {
        Some(names) => {
            names.calls.is_empty()
                && names.operators.is_empty()
                && names.types.is_empty()
                && names.fields.is_empty()
                && names.opaque.is_empty()
        }
        // A view may call what its reader does not name.
        None => {
            let touched = analysis.judged().any(|facts| !facts.relations.is_empty());
            !touched && !names_are_used(analysis)
        }
    };
    allowed && servers_own && leaves_nothing(analysis)
}

impl<W: Wire> Session<W> {
    /// A statement that may leave something was let through: the connection ends with this session.
    pub(super) fn ran(&mut self, leaves_no_trace: bool) {
        if !leaves_no_trace {
            self.keeping = None;
        }
    }

    /// The database reported a setting.
    pub(super) fn reported(&mut self, name: &str, value: &str) {
        let Some(keeping) = &mut self.keeping else {
            return;
        };
        // As many as were reported at the login, and none that is long: a server cannot fill our memory.
        let known = keeping.parameters.iter().any(|(known, _)| known == name);
        if !known || value.len() > LONGEST_REPORT {
            self.keeping = None;
        } else if let Some((_, last)) = keeping.since.iter_mut().find(|(said, _)| said == name) {
            value.clone_into(last);
        } else {
            keeping.since.push((name.to_owned(), value.to_owned()));
        }
    }

    /// The connection, if it may be kept: everything about this end of a session is as it should be. The
    /// database is cancelled by nobody from here on.
    pub(super) fn keeps(&mut self, why: &Why) -> Option<Keeping> {
        // One that would not be kept need not be made as new.
        let keeping = self.keeping.take();
        let keeping = keeping.filter(|keeping| !too_old(keeping.opened))?;
        // Not ended by the agent, by the database or for a fault: whatever that was, it is not known to be over
        // with this session.
        let left_well = matches!(why, Why::ClientQuit | Why::ClientGone);
        // Outside a transaction, with nothing asked that is not answered, on neither side anything half
        // said, and nothing on its way.
        let idle = self.link.idle()
            && self.client_in.bytes.is_empty()
            && self.answers.bytes.is_empty()
            && self.link.backlog() == 0
            && !self.told;
        let running = *self.shared.drain.borrow() == Drain::Running;
        // Last, since it is final: a cancel request that is under way, or was sent and comes late, would meet
        // the next session's statement.
        let still = left_well
            && idle
            && running
            && self.cancelling.is_empty()
            && !self.cancelled
            && self.cancel.retire();
        still.then_some(keeping)
    }

    /// Hands the connection over, off this task: it is made as new first.
    pub(super) fn hand_over(&mut self, keeping: Keeping) {
        let Keeping {
            key,
            settings,
            parameters,
            since,
            opened,
        } = keeping;
        let (process, secret) = std::mem::take(&mut self.server_key);
        let parked = Parked {
            key,
            leg: std::mem::replace(&mut self.upstream, Leg::Closed),
            greeted: Greeted {
                parameters,
                process,
                secret,
            },
            settings,
            opened,
            from: self.id,
            goodbye: |out: &mut BytesMut| {
                W::Talk::<Arc<Prepared>, Execution>::write_goodbye(out);
            },
        };
        let keep = self.arrived.reachable.target.keep_warm;
        let warm = self.shared.warm.clone();
        let parting = self.shared.partings.begin();
        tokio::spawn(async move {
            // An agent that stops waits until it is kept, and closed with the others, or closed.
            let _until_done = parting;
            park::<W>(&warm, parked, &since, keep).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Dialect, Refusal, RefusalCode};
    use crate::policy::{Allow, Denial, Hold, OwnCall, RuleRef};
    use crate::sql::{RelationName, analyze};

    fn allow(observed: Option<Decision>) -> Decision {
        Decision::Allow(Allow {
            rules: Vec::new(),
            obligations: Arc::default(),
            observed: observed.map(Box::new),
            watched: None,
            fleeting: false,
        })
    }

    fn deny() -> Decision {
        Decision::Deny(Denial {
            rule: None,
            refusal: Refusal::new(RefusalCode::Policy, "no"),
            fleeting: false,
        })
    }

    fn hold() -> Decision {
        Decision::Hold(Hold {
            rule: RuleRef {
                policy: "p".into(),
                rule: "r".into(),
            },
            asks: crate::policy::Asks::default(),
            obligations: Arc::default(),
        })
    }

    const TEXT: &str = "select lower(t.a) from t where b = 1";

    fn keeps(text: &str, names: Option<&ResolvedNames>, decision: &Decision) -> bool {
        leaves_no_trace(&analyze(Dialect::Postgres, text), names, decision)
    }

    #[test]
    fn only_what_policy_allows_by_itself_and_enforcing_would_too_leaves_nothing() {
        let names = ResolvedNames::default();
        for (what, decision, left) in [
            ("allowed", allow(None), true),
            ("only observed", allow(Some(deny())), false),
            ("observed to be held", allow(Some(hold())), false),
            ("let through by somebody", hold(), false),
            ("denied", deny(), false),
        ] {
            assert_eq!(keeps(TEXT, Some(&names), &decision), left, "{what}");
        }
        assert!(!keeps("create table t (a int)", Some(&names), &allow(None)));
    }

    #[test]
    fn what_may_run_code_of_the_owners_leaves_something_and_so_does_what_nobody_looked_up() {
        let function = || RelationName {
            schema: Some("app".to_owned()),
            name: "f".to_owned(),
        };
        let with = |change: &dyn Fn(&mut ResolvedNames)| {
            let mut names = ResolvedNames::default();
            change(&mut names);
            keeps(TEXT, Some(&names), &allow(None))
        };
        assert!(with(&|_| {}));
        let call = || OwnCall {
            name: "lower".to_owned(),
            args: 1,
            schemas: vec!["app".to_owned()],
            servers: true,
        };
        assert!(!with(&|names| names.calls.push(call())));
        assert!(!with(&|names| {
            names.operators.push(("=".to_owned(), vec![function()]));
        }));
        assert!(!with(&|names| {
            names.types.push((function(), vec![function()]));
        }));
        assert!(!with(&|names| {
            names.fields.push(("a".to_owned(), vec![function()]));
        }));
        assert!(!with(&|names| names.opaque.push(function())));
        assert!(!keeps(TEXT, None, &allow(None)));
        assert!(!keeps("select a from v", None, &allow(None)));
        assert!(keeps("select 1", None, &allow(None)));
    }
}
