//! The queue of expected answers, alone.

use super::super::answer::Kind;
use super::super::command::Which;
use super::super::prepared::Name;
use super::super::queue::{Due, Protocol, Queue, Running, Step};

fn name(text: &str) -> Name {
    text.as_bytes().into()
}

fn execute_due(number: u32) -> Due<u32> {
    Due::Execute {
        portal: name(""),
        run: Running::new(number, false, false),
    }
}

fn run_due(number: u32) -> Due<u32> {
    Due::Run {
        run: Running::new(number, false, true),
    }
}

fn queue(due: impl IntoIterator<Item = Due<u32>>) -> Queue<u32> {
    let mut queue = Queue::default();
    due.into_iter().for_each(|due| queue.push(due));
    queue
}

#[test]
fn answers_come_in_the_order_of_the_questions() {
    let mut q = queue([
        Due::Parse(name("a")),
        Due::Bind(name("p")),
        Due::Describe {
            which: Which::Portal,
            name: name("p"),
            hidden: false,
            parameters: false,
        },
        execute_due(7),
        Due::Close(Which::Statement, name("a")),
        Due::Sync,
    ]);
    assert_eq!(q.step(Kind::ParseComplete), Ok(Step::Prepared(name("a"))));
    assert_eq!(q.step(Kind::BindComplete), Ok(Step::Bound(name("p"))));
    assert_eq!(
        q.step(Kind::RowDescription),
        Ok(Step::Described {
            which: Which::Portal,
            name: name("p"),
            hidden: false
        })
    );
    assert_eq!(q.step(Kind::DataRow), Ok(Step::Row));
    assert_eq!(q.step(Kind::CommandComplete), Ok(Step::Done(Some(7))));
    assert_eq!(
        q.step(Kind::CloseComplete),
        Ok(Step::Closed(Which::Statement, name("a")))
    );
    assert_eq!(q.boundaries(), 1);
    assert_eq!(
        q.step(Kind::Ready),
        Ok(Step::Ready {
            over: None,
            query: false
        })
    );
    assert_eq!((q.boundaries(), q.is_empty()), (0, true));
}

#[test]
fn nothing_may_come_unasked() {
    let kinds = [
        Kind::ParseComplete,
        Kind::BindComplete,
        Kind::CloseComplete,
        Kind::ParameterDescription,
        Kind::RowDescription,
        Kind::NoData,
        Kind::DataRow,
        Kind::CommandComplete,
        Kind::EmptyQuery,
        Kind::Suspended,
        Kind::CopyIn,
        Kind::CopyOut,
        Kind::CopyData,
        Kind::CopyDone,
        Kind::Ready,
    ];
    type Legal = (fn() -> Due<u32>, &'static [Kind]);
    let legal: [Legal; 8] = [
        (|| Due::Parse(name("")), &[Kind::ParseComplete]),
        (|| Due::Bind(name("")), &[Kind::BindComplete]),
        (
            || Due::Close(Which::Portal, name("")),
            &[Kind::CloseComplete],
        ),
        (|| Due::Sync, &[Kind::Ready]),
        (
            || execute_due(1),
            &[
                Kind::DataRow,
                Kind::CommandComplete,
                Kind::EmptyQuery,
                Kind::Suspended,
                Kind::CopyIn,
                Kind::CopyOut,
            ],
        ),
        (
            || run_due(1),
            &[
                Kind::RowDescription,
                Kind::CommandComplete,
                Kind::EmptyQuery,
                Kind::CopyIn,
                Kind::CopyOut,
            ],
        ),
        (
            || Due::Poison {
                refusal: None,
                protocol: Protocol::Extended,
                failed: false,
            },
            &[],
        ),
        (
            || Due::Describe {
                which: Which::Statement,
                name: name(""),
                hidden: false,
                parameters: false,
            },
            &[Kind::ParameterDescription],
        ),
    ];
    for kind in kinds {
        assert!(queue([]).step(kind).is_err(), "{kind:?} on an empty queue");
        for (due, allowed) in &legal {
            let due = due();
            let what = format!("{kind:?} for {due:?}");
            assert_eq!(
                queue([due]).step(kind).is_ok(),
                allowed.contains(&kind),
                "{what}"
            );
        }
    }
    assert!(queue([]).fail().is_err());
}

#[test]
fn an_error_skips_to_the_next_sync_and_no_further() {
    let mut q = queue([
        execute_due(1),
        Due::Bind(name("")),
        execute_due(2),
        Due::Sync,
        execute_due(3),
        Due::Sync,
    ]);
    let fault = q.fail().unwrap();
    assert_eq!(fault.over, Some(1));
    assert_eq!(fault.dropped.len(), 3);
    assert!(!fault.open);
    assert!(matches!(
        &fault.dropped[2],
        Due::Execute {
            run: Running {
                execution: Some(2),
                ..
            },
            ..
        }
    ));
    assert_eq!(
        q.step(Kind::Ready),
        Ok(Step::Ready {
            over: None,
            query: false
        })
    );
    assert_eq!(q.step(Kind::CommandComplete), Ok(Step::Done(Some(3))));
}

#[test]
fn without_a_sync_the_skipping_goes_on() {
    let mut q = queue([Due::Parse(name("a")), execute_due(1)]);
    assert!(q.fail().unwrap().open);
    assert!(q.is_empty());
}

#[test]
fn a_failed_query_still_owes_its_ready() {
    let mut q = queue([run_due(1), run_due(2)]);
    q.step(Kind::RowDescription).unwrap();
    assert_eq!(q.fail().unwrap().over, Some(1));
    assert!(q.fail().is_err());
    assert!(q.step(Kind::CommandComplete).is_err());
    assert_eq!(
        q.step(Kind::Ready),
        Ok(Step::Ready {
            over: None,
            query: true
        })
    );
    assert_eq!(q.changing_names(), 1);
    assert_eq!(q.step(Kind::EmptyQuery), Ok(Step::Done(None)));
    assert_eq!(
        q.step(Kind::Ready),
        Ok(Step::Ready {
            over: Some(2),
            query: true
        })
    );
    assert_eq!(q.changing_names(), 0);
}

#[test]
fn several_statements_are_one_run() {
    let mut q = queue([run_due(1)]);
    for kind in [
        Kind::RowDescription,
        Kind::DataRow,
        Kind::CommandComplete,
        Kind::CommandComplete,
        Kind::CopyIn,
        Kind::CommandComplete,
        Kind::CopyOut,
        Kind::CopyData,
        Kind::CopyDone,
        Kind::CommandComplete,
    ] {
        q.step(kind).unwrap();
    }
    assert_eq!(
        q.step(Kind::Ready),
        Ok(Step::Ready {
            over: Some(1),
            query: true
        })
    );
}

#[test]
fn a_poison_must_fail() {
    let poison = |protocol| Due::Poison {
        refusal: None,
        protocol,
        failed: false,
    };
    let mut q = queue([poison(Protocol::Simple)]);
    assert!(q.step(Kind::CommandComplete).is_err());
    assert!(q.step(Kind::Ready).is_err());
    q.fail().unwrap();
    assert_eq!(
        q.step(Kind::Ready),
        Ok(Step::Ready {
            over: None,
            query: true
        })
    );
    let mut q = queue([poison(Protocol::Extended), Due::Sync]);
    assert!(q.step(Kind::BindComplete).is_err());
    assert!(!q.fail().unwrap().open);
    assert_eq!(
        q.step(Kind::Ready),
        Ok(Step::Ready {
            over: None,
            query: false
        })
    );
}

#[test]
fn a_hidden_describe_fails_for_its_execution() {
    let hidden = || Due::Describe {
        which: Which::Portal,
        name: name(""),
        hidden: true,
        parameters: false,
    };
    let mut q = queue([hidden(), execute_due(4), Due::Sync]);
    assert_eq!(q.fail().unwrap().over, Some(4));
}

#[test]
fn a_copy_swallows_the_syncs_behind_it() {
    let mut q = queue([execute_due(1), Due::Sync]);
    assert_eq!(q.step(Kind::CopyIn), Ok(Step::CopyIn));
    q.copy_swallows_syncs();
    assert_eq!(q.boundaries(), 0);
    assert_eq!(q.step(Kind::CommandComplete), Ok(Step::Done(Some(1))));
    assert!(q.is_empty());
}

#[test]
fn a_commit_may_fail_at_the_sync() {
    let mut q = queue([Due::<u32>::Sync]);
    assert!(q.fail().unwrap().dropped.is_empty());
    assert!(q.step(Kind::Ready).is_ok());
}

#[test]
fn the_oldest_execution_is_known_before_its_first_answer_and_gone_with_its_last() {
    let mut q = queue([
        Due::Parse(name("")),
        Due::Bind(name("")),
        execute_due(7),
        execute_due(8),
        Due::Sync,
    ]);
    assert_eq!(q.oldest(), Some(&mut 7));
    for kind in [Kind::ParseComplete, Kind::BindComplete, Kind::DataRow] {
        q.step(kind).unwrap();
        assert_eq!(q.oldest(), Some(&mut 7));
    }
    q.step(Kind::CommandComplete).unwrap();
    assert_eq!(q.oldest(), Some(&mut 8));
    q.step(Kind::CommandComplete).unwrap();
    assert_eq!(q.oldest(), None);
}
