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

pub(super) fn request(id: u64, subject: &str, session: u64, waits: Waits, text: &str) -> Request {
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
            also: vec![],
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

pub(super) fn reviewer(name: &str) -> Reviewer {
    Reviewer {
        name: name.to_owned(),
        issuer: None,
        groups: vec!["dba".to_owned()],
        also: vec![],
        via: Via::Cli,
    }
}

pub(super) const NOW: UnixMillis = UnixMillis(10);

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
    let mut shapeless = asked(1);
    shapeless.request.shape = None;
    let told = vote(&mut shapeless, &reviewer("olga"), yes(Scope::Shape(1)), NOW);
    assert!(matches!(told, Err(NotCounted::NotOffered(_))));
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

/// A6, and the quorum: by whichever way and under whichever of their names a person comes.
#[test]
fn nobody_decides_about_themselves_or_twice_under_another_name() {
    let console = Reviewer {
        issuer: Some("https://issuer.example".to_owned()),
        also: vec!["Olga@example.org".to_owned(), "É (x".to_owned()],
        via: Via::Console,
        ..reviewer("00u17 (x")
    };
    let host = Reviewer {
        also: vec!["olga@EXAMPLE.org".to_owned()],
        ..reviewer("olga")
    };
    let accented = reviewer("é (X");
    let ways = [&console, &host, &accented];
    for first in ways {
        for second in ways {
            let known = std::ptr::eq(first, second)
                || std::ptr::eq(first, &console)
                || std::ptr::eq(second, &console);
            let mut request = request(1, "agent", 1, Waits::Held, "delete");
            request.asks.quorum = 2;
            let mut case = Case::new(request);
            case.vote(first, yes(Scope::Once), None, NOW, 1000).unwrap();
            // As it comes back from the store.
            let text = serde_json::to_string(&case).unwrap();
            let mut case: Case = serde_json::from_str(&text).unwrap();
            let again = case.vote(second, yes(Scope::Once), None, NOW, 1000);
            assert_eq!(
                matches!(again, Err(NotCounted::Twice(..))),
                known,
                "{} and {}: {again:?}",
                first.name,
                second.name
            );
        }
    }
    // Who asked, by a name that no claim keeps; and who acts for them.
    let mut request = request(1, "00u17", 1, Waits::Held, "delete");
    request.requester.also = vec!["OLGA@example.org".to_owned(), "bot-7".to_owned()];
    for own in [&console, &host, &reviewer("Bot-7")] {
        let told = Case::new(request.clone()).vote(own, yes(Scope::Once), None, NOW, 1000);
        assert!(matches!(told, Err(NotCounted::Own(_))), "{}", own.name);
    }
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

/// A9: a desk that hangs says no.
#[tokio::test]
async fn who_gets_no_answer_from_the_desk_runs_nothing() {
    use super::desk::Order;
    use super::ruling::Pending;
    let (desk, mut heard) = Desk::silent();
    let asked = request(1, "agent", 1, Waits::Held, "delete");
    let (rule, binding) = (asked.rule.clone(), asked.binding);
    let told = desk.ask(asked, Arc::default()).await;
    assert!(
        matches!(&told, Asked::Refused(why) if why.message.contains("not answered now")),
        "{told:?}"
    );
    let Some(Order::Ask { answer, .. }) = heard.recv().await else {
        panic!("it was not asked");
    };
    assert!(answer.is_closed(), "nobody takes what comes late");

    let (orders, mut heard) = tokio::sync::mpsc::channel(4);
    let (_tell, told) = tokio::sync::oneshot::channel();
    let pending = Pending::new(ApprovalId(1), rule, told, orders);
    let taken = pending.take(binding, Arc::default()).await;
    assert!(taken.is_err());
    assert!(matches!(heard.recv().await, Some(Order::Take { .. })));
    assert!(matches!(heard.recv().await, Some(Order::Withdraw { .. })));
}

/// A7: a flood of requests that are withdrawn again reaches nobody.
#[test]
fn who_asks_and_withdraws_by_turns_is_held_up_and_nobody_else_is() {
    let mut book = Book::default();
    let ask = |book: &mut Book, id, who, now| {
        let request = request(id, who, id, Waits::Held, &format!("delete {id}"));
        matches!(book.ask(request, BOUNDS, UnixMillis(now)), Found::Waits(_))
    };
    for id in 0..4 {
        assert!(ask(&mut book, id, "agent", 10));
        book.lapse(ApprovalId(id), Lapse::Cancelled, None, UnixMillis(20));
    }
    assert!(!ask(&mut book, 4, "agent", 30));
    assert!(ask(&mut book, 5, "other", 30));
    // What a reviewer refused was no withdrawal.
    let said = book.vote(
        ApprovalId(5),
        &reviewer("olga"),
        Says::Refuse,
        None,
        BOUNDS,
        UnixMillis(40),
    );
    assert!(said.is_ok());
    for id in 6..10 {
        assert!(ask(&mut book, id, "other", 50), "{id}");
    }
    assert!(ask(&mut book, 10, "agent", 20 + 60_000));
}

#[test]
fn what_is_asked_takes_a_bounded_place_in_all_and_no_identity_takes_the_whole_of_it() {
    const LONG: usize = 1 << 20;
    let bounds = Bounds {
        per_identity: usize::MAX,
        ..BOUNDS
    };
    let mut book = Book::default();
    let mut id = 0;
    let mut ask = |book: &mut Book, who: &str| {
        id += 1;
        let text = format!("{}{id}", "x".repeat(LONG));
        let request = request(id, who, id, Waits::Held, &text);
        match book.ask(request, bounds, NOW) {
            Found::TooMany(_) => None,
            _ => Some(ApprovalId(id)),
        }
    };
    let own: Vec<_> = std::iter::from_fn(|| ask(&mut book, "agent")).collect();
    assert_eq!(own.len(), 3, "an eighth of all");
    let mut others = 0;
    while ask(&mut book, &format!("other {others}")).is_some() {
        others += 1;
    }
    assert!((20..32).contains(&(own.len() + others)), "{others}");
    // Over and over: as much is kept as one answer holds, the latest of it.
    let mut latest = None;
    for one in own {
        book.lapse(one, Lapse::TimedOut, None, NOW);
    }
    for round in 0..40 {
        latest = ask(&mut book, "agent");
        book.lapse(
            latest.unwrap(),
            Lapse::TimedOut,
            None,
            UnixMillis(20 + round),
        );
    }
    let kept: usize = book
        .list(true, usize::MAX)
        .iter()
        .filter(|case| !case.open())
        .count();
    assert!((8..16).contains(&kept), "{kept}");
    assert!(book.case(latest.unwrap()).is_some());
    let (cases, forgotten, _) = book.changed();
    assert!(cases.len() < 48 && forgotten.len() > 20);
    // The same when they come back from the store.
    let stored = Book::stored(cases, 100, NOW);
    assert!(stored.list(true, usize::MAX).len() < 48);
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
                            Scope::Access(_) => prop_assert!(false, "a statement runs by access"),
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
