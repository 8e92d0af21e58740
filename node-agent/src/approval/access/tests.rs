use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::book::{Book, Found};
use super::super::case::{NotCounted, Says, Scope, Terms};
use super::super::tests::{NOW, request, reviewer};
use super::super::{Bounds, Case, Lapse, Matter, Request, State, Via, Waits};
use super::{InForce, Refusals, Refused, Wanted};
use crate::model::{
    ApprovalId, Principal, Reference, SessionId, StatementSeq, TargetName, UnixMillis, User,
    Workload,
};
use crate::policy::{Granted, PolicySet, parse};

const BOUNDS: Bounds = Bounds {
    per_identity: 4,
    ticket: 1000,
};

fn policies(tables: &str) -> PolicySet {
    let text = format!(
        "apiVersion: node-agent/v1\nkind: Policy\nmetadata: {{ name: oncall }}\n\
         subjects: [ {{ workloads: ['*'] }} ]\ntargets: [ '*' ]\n\
         access: {{ reviewers: {{ groups: [dba] }}, longest: 4h }}\n\
         rules:\n  - {{ name: r, effect: allow, statements: [read], tables: ['{tables}'] }}\n"
    );
    PolicySet::compile(parse(&text, "p.yaml").unwrap()).unwrap()
}

fn wants(id: u64, subject: &str, workload: Option<&str>) -> Request {
    let policies = policies("hr.*");
    let policy = policies.on_request("oncall").unwrap();
    let mut request = request(id, subject, id, Waits::Retry, "select 1");
    let wanted = Wanted::of(policy, workload.map(Arc::from));
    request.binding = wanted.binding(&request.requester);
    request.asks = policy.asks.clone();
    request.matter = Matter::Access(wanted);
    request.shape = None;
    request.rule.policy = "oncall".into();
    request.rule.rule = "access".into();
    request
}

fn somebody(subject: &str, workload: &str) -> Principal {
    Principal {
        workload: Workload {
            name: workload.into(),
            labels: std::collections::BTreeMap::default(),
        },
        user: User {
            issuer: "https://issuer.example".to_owned(),
            subject: subject.to_owned(),
            groups: vec![],
            claims: std::collections::BTreeMap::default(),
            also: vec!["ann@example.org".to_owned()],
            expires: UnixMillis(i64::MAX),
        },
    }
}

fn yes(time: u64) -> Says {
    Says::Approve(Terms {
        scope: Scope::Access(time),
        ..Terms::default()
    })
}

fn granted(id: u64, subject: &str, workload: Option<&str>, time: u64) -> Case {
    let mut case = Case::new(wants(id, subject, workload));
    case.vote(&reviewer("olga"), yes(time), None, NOW, 1000)
        .unwrap();
    case
}

#[test]
fn a_grant_is_for_one_identity_and_workload_until_its_end_and_for_one_text() {
    let case = granted(1, "agent", Some("claude"), 1000);
    let board = InForce::of([&case].into_iter());
    let own = vec![Granted {
        policy: "oncall".into(),
        by: Some(ApprovalId(1)),
    }];
    let has = |who: &Principal, set: &PolicySet, now: i64| board.granted(who, set, UnixMillis(now));
    let (agent, set) = (somebody("agent", "claude"), policies("hr.*"));
    assert_eq!(has(&agent, &set, NOW.0), own);
    assert_eq!(has(&agent, &set, NOW.0 + 999), own);
    // To the millisecond.
    assert_eq!(has(&agent, &set, NOW.0 + 1000), []);
    assert_eq!(has(&somebody("agent", "billing"), &set, NOW.0), []);
    assert_eq!(has(&somebody("Agent", "claude"), &set, NOW.0), []);
    assert_eq!(has(&somebody("other", "claude"), &set, NOW.0), []);
    let mut theirs = somebody("agent", "claude");
    theirs.user.issuer = "https://other.example".to_owned();
    assert_eq!(has(&theirs, &set, NOW.0), []);
    assert_eq!(has(&agent, &policies("*.*"), NOW.0), []);
    assert_eq!(has(&agent, &PolicySet::default(), NOW.0), []);
    // In every workload, where it says so.
    let every = granted(2, "agent", None, 1000);
    let board = InForce::of([&every].into_iter());
    assert_eq!(
        board
            .granted(&somebody("agent", "billing"), &set, NOW)
            .len(),
        1
    );
    // Of two, one is enough.
    let board = InForce::of([&case, &every].into_iter());
    assert_eq!(board.granted(&agent, &set, NOW), own);
    assert!(board.first_use(&agent, ApprovalId(1)));
    assert!(!board.first_use(&agent, ApprovalId(1)));
    assert!(!board.first_use(&somebody("other", "claude"), ApprovalId(2)));
}

#[test]
fn a_list_that_nobody_renews_is_none_and_what_is_over_is_taken_down_first() {
    let case = granted(1, "agent", None, 3_600_000);
    let board = InForce::of([&case].into_iter());
    let (agent, set) = (somebody("agent", "claude"), policies("hr.*"));
    let put_up = Instant::now();
    assert!(!board.is_stale(put_up + Duration::from_secs(29)));
    assert!(board.is_stale(put_up + Duration::from_secs(31)));
    // What is taken down is gone before it is written; what is new is not there before it is.
    let other = granted(2, "agent", Some("claude"), 1000);
    let both = InForce::of([&case, &other].into_iter());
    let only = both.only(&InForce::of([&other].into_iter()));
    let ids: Vec<_> = only
        .granted(&agent, &set, NOW)
        .iter()
        .map(|one| one.by)
        .collect();
    assert_eq!(ids, [Some(ApprovalId(2))]);
}

#[test]
fn nobody_gives_access_to_themselves_under_another_name() {
    let set = policies("hr.*");
    // As a user of this host whose name is that of a claim, which no one knew when it was given.
    let mut given = wants(1, "agent", None);
    given.requester.claims.clear();
    let mut case = Case::new(given.clone());
    case.vote(&reviewer("Ann@example.org"), yes(1000), None, NOW, 1000)
        .unwrap();
    let board = InForce::of([&case].into_iter());
    assert_eq!(board.granted(&somebody("agent", "claude"), &set, NOW), []);
    // By another name of theirs.
    let mut other = reviewer("olga");
    other.also = vec!["ANN@example.org".to_owned()];
    let mut case = Case::new(given.clone());
    case.vote(&other, yes(1000), None, NOW, 1000).unwrap();
    let board = InForce::of([&case].into_iter());
    assert_eq!(board.granted(&somebody("agent", "claude"), &set, NOW), []);
    // Where it is known it does not count at all.
    let mut case = Case::new(given);
    let own = case.vote(&reviewer("AGENT"), yes(1000), None, NOW, 1000);
    assert!(matches!(own, Err(NotCounted::Own(_))));
}

#[test]
fn only_a_time_is_granted_and_not_longer_than_the_policy_says() {
    let try_ = |says: Says| {
        let mut case = Case::new(wants(1, "agent", None));
        case.vote(&reviewer("olga"), says, None, NOW, 1000)
            .map(|()| case.state)
    };
    let longest = 4 * 3_600_000;
    assert!(try_(yes(longest)).is_ok());
    for terms in [
        Terms {
            scope: Scope::Access(longest + 1),
            ..Terms::default()
        },
        Terms {
            scope: Scope::Access(0),
            ..Terms::default()
        },
        Terms {
            scope: Scope::Access(u64::MAX),
            ..Terms::default()
        },
        Terms {
            scope: Scope::Session,
            ..Terms::default()
        },
        Terms {
            scope: Scope::Shape(5),
            ..Terms::default()
        },
        Terms {
            scope: Scope::Once,
            ..Terms::default()
        },
        Terms {
            scope: Scope::Access(1),
            unmasked: true,
            ..Terms::default()
        },
        Terms {
            scope: Scope::Access(1),
            max_rows: Some(1),
            ..Terms::default()
        },
    ] {
        let refused = try_(Says::Approve(terms));
        assert!(
            matches!(refused, Err(NotCounted::NotOffered(_))),
            "{terms:?}"
        );
    }
    // Nor is a time granted where a statement is held.
    let mut held = Case::new(request(1, "agent", 1, Waits::Held, "delete"));
    let refused = held.vote(&reviewer("olga"), yes(1000), None, NOW, 1000);
    assert!(matches!(refused, Err(NotCounted::NotOffered(_))));
    // Who says nothing means the usual time, or what others agreed on.
    let once = Says::Approve(Terms::default());
    let mut request = wants(1, "agent", None);
    request.asks.quorum = 2;
    let mut case = Case::new(request);
    assert_eq!(case.meant(once), yes(3_600_000));
    case.vote(&reviewer("olga"), yes(5000), None, NOW, 1000)
        .unwrap();
    assert_eq!(case.meant(once), yes(5000));
    assert_eq!(
        InForce::of([&case].into_iter()).granted(&somebody("agent", "x"), &policies("hr.*"), NOW),
        []
    );
    case.vote(&reviewer("dora"), case.meant(once), None, NOW, 1000)
        .unwrap();
    assert_eq!(
        case.state,
        State::Approved {
            until: UnixMillis(NOW.0 + 5000)
        }
    );
}

#[test]
fn access_that_was_used_ends_as_what_it_is_and_lives_through_a_restart() {
    let mut book = Book::default();
    assert_eq!(
        book.ask(wants(1, "agent", None), BOUNDS, NOW),
        Found::Waits(ApprovalId(1))
    );
    let olga = reviewer("olga");
    book.vote(ApprovalId(1), &olga, yes(1000), None, BOUNDS, NOW)
        .unwrap();
    let by = Reference {
        session: SessionId(7),
        seq: StatementSeq(1),
    };
    assert!(book.take(ApprovalId(1), by, NOW).is_some());
    assert!(matches!(
        book.case(ApprovalId(1)).unwrap().state,
        State::Approved { .. }
    ));
    // No session takes it along, and no restart.
    book.session_over(SessionId(1), NOW);
    let (cases, _, changes) = book.changed();
    assert_eq!(changes.len(), 3);
    let mut book = Book::stored(cases, 3, NOW);
    assert!(matches!(
        book.case(ApprovalId(1)).unwrap().state,
        State::Approved { .. }
    ));
    let ended = book.lapse_overdue(UnixMillis(NOW.0 + 1000));
    assert_eq!(ended, [(ApprovalId(1), Lapse::Ended)]);
    let case = book.case(ApprovalId(1)).unwrap();
    assert_eq!(case.state, State::Over { why: Lapse::Ended });
    assert!(case.told().contains("time that it was granted for is over"));
}

#[test]
fn a_statement_that_is_held_never_runs_by_access() {
    let mut book = Book::default();
    book.ask(wants(1, "agent", None), BOUNDS, NOW);
    book.vote(
        ApprovalId(1),
        &reviewer("olga"),
        yes(1000),
        None,
        BOUNDS,
        NOW,
    )
    .unwrap();
    // Though all that can be compared is the same.
    let mut statement = wants(2, "agent", None);
    statement.matter = request(2, "agent", 2, Waits::Retry, "delete").matter;
    let found = book.ask(statement, BOUNDS, NOW);
    assert!(!matches!(found, Found::InForce(_)), "{found:?}");
}

#[test]
fn refusals_are_kept_for_who_was_refused_and_no_more_than_some() {
    let refusals = Refusals::default();
    let refused = |text: &str| Refused {
        target: TargetName("orders".into()),
        database: "app".to_owned(),
        role: "svc".to_owned(),
        policies: vec!["oncall".into()],
        statement: match request(1, "a", 1, Waits::Retry, text).matter {
            Matter::Statement(shown) => Ok(shown),
            Matter::Commit(_) | Matter::Access(_) => unreachable!(),
        },
    };
    let at = |seq: u64| Reference {
        session: SessionId(9),
        seq: StatementSeq(seq),
    };
    let agent = somebody("agent", "claude");
    refusals.keep(&agent, at(0), refused("select 1"));
    assert!(refusals.of(&agent, at(0)).is_some());
    for other in [somebody("other", "claude"), somebody("agent", "billing")] {
        assert_eq!(refusals.of(&other, at(0)), None);
    }
    assert_eq!(refusals.of(&agent, at(99)), None);
    let long = "x".repeat(9 << 10);
    refusals.keep(&agent, at(1), refused(&long));
    assert!(refusals.of(&agent, at(1)).unwrap().statement.is_err());
    // Who floods pushes out what is their own.
    let other = somebody("other", "claude");
    refusals.keep(&other, at(5000), refused("select 1"));
    for seq in 2..1000 {
        refusals.keep(&agent, at(seq), refused("select 1"));
    }
    assert!(refusals.of(&other, at(5000)).is_some());
    let kept = (0..1000).filter(|seq| refusals.of(&agent, at(*seq)).is_some());
    assert_eq!(kept.count(), 16);
    // All together, too.
    for one in 0..2000_u64 {
        refusals.keep(
            &somebody(&format!("u{one}"), "claude"),
            at(1),
            refused("select 1"),
        );
    }
    assert!(refusals.of(&other, at(5000)).is_none());
    assert!(refusals.of(&somebody("u1999", "claude"), at(1)).is_some());
    assert_eq!(reviewer("olga").via, Via::Cli);
}
