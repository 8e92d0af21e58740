use std::sync::Arc;

use proptest::prelude::*;

use super::book::{Book, Found};
use super::*;
use crate::model::{
    ApprovalId, CgroupId, ClientAddr, NetnsCookie, Pid, ProcessFacts, Reference, SessionId,
    StatementSeq, TargetName, UnixMillis, Workload,
};
use crate::policy::{Asks, Offers, Reviewers, RuleRef, Span};

const BOUNDS: Bounds = Bounds {
    per_identity: 4,
    ticket: 1000,
};

fn request(id: u64, subject: &str, session: u64, waits: Waits, text: &str) -> Request {
    Request {
        id: ApprovalId(id),
        reference: Reference {
            session: SessionId(session),
            seq: StatementSeq(id),
        },
        at: UnixMillis(0),
        lapses: UnixMillis(500),
        waits,
        requester: Requester {
            issuer: "https://issuer.example".to_owned(),
            subject: subject.to_owned(),
            groups: vec![],
            claims: [("email".to_owned(), serde_json::json!("Ann@example.org"))].into(),
            workload: Workload {
                name: "claude".into(),
                labels: std::collections::BTreeMap::default(),
            },
            process: ProcessFacts {
                pid: Pid(1),
                uid: 1,
                comm: "psql".to_owned(),
                cgroup: CgroupId(1),
                netns: NetnsCookie(1),
                executable: None,
                digest: None,
            },
            client: ClientAddr("127.0.0.1:1".parse().unwrap()),
            application: None,
            purpose: None,
        },
        target: TargetName("orders".into()),
        database: "app".to_owned(),
        role: "svc".to_owned(),
        matter: Matter::Statement(Shown {
            text: text.to_owned(),
            params: vec![],
            kinds: vec![],
            tables: vec![],
            functions: vec![],
            estimate: None,
            before: 0,
        }),
        rule: RuleRef {
            policy: "p".into(),
            rule: "r".into(),
        },
        asks: Asks {
            reviewers: Reviewers {
                groups: vec!["dba".to_owned()],
                users: vec![],
            },
            quorum: 1,
            offers: Offers {
                session: true,
                shape: Some(Span(60 * 60_000)),
                unmasked: false,
                preview: false,
            },
            ..Asks::default()
        },
        policy_version: Arc::from("v1"),
        binding: Binder::default()
            .with("text", text)
            .with("subject", subject)
            .bound(),
        shape: Some(Binder::default().with("shape", subject).bound()),
    }
}

fn reviewer(name: &str) -> Reviewer {
    Reviewer {
        name: name.to_owned(),
        issuer: None,
        groups: vec!["dba".to_owned()],
        also: vec![],
        via: Via::Cli,
    }
}

const NOW: UnixMillis = UnixMillis(10);

fn yes(scope: Scope) -> Says {
    Says::Approve(Terms {
        scope,
        ..Terms::default()
    })
}

#[test]
fn a_word_counts_only_from_whom_it_should() {
    let asked = |quorum| {
        let mut request = request(1, "agent", 1, Waits::Held, "delete");
        request.asks.quorum = quorum;
        Case::new(request)
    };
    let once = yes(Scope::Once);
    let vote = |case: &mut Case, who: &Reviewer, says, now| case.vote(who, says, None, now, 1000);
    let mut case = asked(1);
    let stranger = Reviewer {
        groups: vec!["web".to_owned()],
        ..reviewer("wim")
    };
    assert!(matches!(
        vote(&mut case, &stranger, once, NOW),
        Err(NotCounted::NotAsked { .. })
    ));
    // The same person under the subject, another issuer, another spelling, or a claim.
    for own in ["agent", "AGENT", "ann@example.org"] {
        let own = Reviewer {
            issuer: Some("https://other.example".to_owned()),
            ..reviewer(own)
        };
        assert!(matches!(
            vote(&mut case, &own, once, NOW),
            Err(NotCounted::Own(_))
        ));
    }
    let also = Reviewer {
        also: vec!["ann@EXAMPLE.org".to_owned()],
        ..reviewer("olga")
    };
    assert!(matches!(
        vote(&mut case, &also, once, NOW),
        Err(NotCounted::Own(_))
    ));
    let late = vote(&mut case, &reviewer("olga"), once, UnixMillis(500));
    assert!(matches!(late, Err(NotCounted::Over(_))));
    let unmasked = Says::Approve(Terms {
        unmasked: true,
        ..Terms::default()
    });
    for not_offered in [unmasked, yes(Scope::Shape(61)), yes(Scope::Shape(0))] {
        let told = vote(&mut case, &reviewer("olga"), not_offered, NOW);
        assert!(
            matches!(told, Err(NotCounted::NotOffered(_))),
            "{not_offered:?}"
        );
    }
    assert!(case.votes.is_empty() && case.pending());
    vote(&mut case, &reviewer("olga"), once, NOW).unwrap();
    let again = vote(&mut case, &reviewer("dora"), Says::Refuse, NOW);
    assert!(matches!(again, Err(NotCounted::Over(_))));
    // Two must agree, on the same.
    let mut case = asked(2);
    vote(&mut case, &reviewer("olga"), once, NOW).unwrap();
    let twice = vote(&mut case, &reviewer("OLGA"), once, NOW);
    assert!(matches!(twice, Err(NotCounted::Twice(..))));
    let other = vote(&mut case, &reviewer("dora"), yes(Scope::Session), NOW);
    assert!(matches!(other, Err(NotCounted::OtherTerms(_))));
    assert!(!case.clone().used(NOW), "one of two");
    vote(&mut case, &reviewer("dora"), once, NOW).unwrap();
    assert!(case.used(NOW));
    assert!(!case.used(NOW), "once");
}

#[test]
fn one_identity_has_a_bounded_number_open() {
    let mut book = Book::default();
    for id in 1..=4 {
        let found = book.ask(request(id, "agent", id, Waits::Held, "x"), BOUNDS, NOW);
        assert_eq!(found, Found::Waits(ApprovalId(id)));
    }
    let found = book.ask(request(5, "agent", 5, Waits::Held, "x"), BOUNDS, NOW);
    assert!(matches!(found, Found::TooMany(_)));
    let found = book.ask(request(6, "another", 6, Waits::Held, "x"), BOUNDS, NOW);
    assert_eq!(found, Found::Waits(ApprovalId(6)));
}

#[test]
fn a_stored_book_lets_what_hung_on_sessions_lapse() {
    let mut book = Book::default();
    book.ask(request(1, "a", 1, Waits::Held, "x"), BOUNDS, NOW);
    book.ask(request(2, "a", 1, Waits::Retry, "y"), BOUNDS, NOW);
    book.ask(request(3, "a", 1, Waits::Retry, "z"), BOUNDS, NOW);
    let olga = reviewer("olga");
    book.vote(ApprovalId(3), &olga, yes(Scope::Once), None, BOUNDS, NOW)
        .unwrap();
    let (cases, _, changes) = book.changed();
    let book = Book::stored(cases, changes.len() as u64, NOW);
    let state = |id| book.case(ApprovalId(id)).unwrap().state.clone();
    let why = Lapse::AgentStopped;
    assert_eq!(state(1), State::Over { why });
    assert_eq!(state(2), State::Pending);
    assert!(matches!(state(3), State::Approved { .. }));
}

#[derive(Clone, Debug)]
enum Word {
    Ask(u64, bool, u8),
    Vote(u64, bool, u8),
    Take(u64),
    Withdraw(u64),
    SessionOver(u64),
    Later(i64),
    Restart,
}

fn word() -> impl Strategy<Value = Word> {
    prop_oneof![
        4 => (0..4_u64, any::<bool>(), 0..3_u8).prop_map(|(s, held, text)| Word::Ask(s, held, text)),
        4 => (1..20_u64, any::<bool>(), 0..3_u8).prop_map(|(id, yes, scope)| Word::Vote(id, yes, scope)),
        4 => (1..20_u64).prop_map(Word::Take),
        1 => (1..20_u64).prop_map(Word::Withdraw),
        1 => (0..4_u64).prop_map(Word::SessionOver),
        1 => (0..700_i64).prop_map(Word::Later),
        1 => Just(Word::Restart),
    ]
}

proptest! {
    /// Whatever is said in whatever order: nothing runs by a request that nobody approved, nothing twice
    /// by one that is for once, and nothing by one that has ended.
    #[test]
    fn nothing_runs_without_a_ruling(words in proptest::collection::vec(word(), 1..80)) {
        let mut book = Book::default();
        let mut now = UnixMillis(0);
        let mut next = 0;
        let mut approved = std::collections::HashMap::new();
        let mut runs: std::collections::HashMap<ApprovalId, u32> = std::collections::HashMap::new();
        let bounds = Bounds { per_identity: 100, ticket: 400 };
        for word in words {
            let mut ran = None;
            match word {
                Word::Ask(session, held, text) => {
                    next += 1;
                    let waits = if held { Waits::Held } else { Waits::Retry };
                    let mut request = request(next, "agent", session, waits, &format!("t{text}"));
                    request.at = now;
                    request.lapses = UnixMillis(now.0 + 500);
                    let reference = request.reference;
                    if let Found::InForce(id) = book.ask(request.clone(), bounds, now) {
                        let case = book.case(id).unwrap();
                        match case.terms().unwrap().scope {
                            Scope::Once => prop_assert_eq!(case.request.binding, request.binding),
                            Scope::Session => prop_assert_eq!(
                                case.request.reference.session,
                                request.reference.session
                            ),
                            Scope::Shape(_) => {}
                        }
                        ran = book.take(id, reference, now).is_some().then_some(id);
                    }
                }
                Word::Vote(id, says, scope) => {
                    let id = ApprovalId(id);
                    let says = match (says, scope) {
                        (false, _) => Says::Refuse,
                        (true, 0) => yes(Scope::Once),
                        (true, 1) => yes(Scope::Session),
                        (true, _) => yes(Scope::Shape(1)),
                    };
                    if book.vote(id, &reviewer("olga"), says, None, bounds, now).is_ok()
                        && says != Says::Refuse
                    {
                        approved.insert(id, says);
                    }
                }
                Word::Take(id) => {
                    let id = ApprovalId(id);
                    let open = book.case(id).is_some_and(Case::open);
                    if let Some(case) = book.case(id).cloned() {
                        let took = book.take(id, case.request.reference, now).is_some();
                        prop_assert!(!took || open);
                        ran = took.then_some(id);
                    }
                }
                Word::Withdraw(id) => {
                    book.lapse(ApprovalId(id), Lapse::ClientGone, None, now);
                }
                Word::SessionOver(session) => book.session_over(SessionId(session), now),
                Word::Later(millis) => {
                    now.0 += millis;
                    book.lapse_overdue(now);
                }
                Word::Restart => {
                    let cases = book.list(true, usize::MAX);
                    book = Book::stored(cases, book.last_change(), now);
                }
            }
            if let Some(id) = ran {
                let says = approved.get(&id).copied();
                prop_assert!(says.is_some(), "{id} ran and nobody approved it");
                let times = runs.entry(id).or_default();
                *times += 1;
                prop_assert!(*times == 1 || says != Some(yes(Scope::Once)), "{id} ran twice");
            }
        }
    }
}
