//! A counted statement, from both sides: what goes up, what the client gets, and what holds.

use bytes::{BufMut, BytesMut};

use super::super::{Talk, frame};
use crate::model::{Refusal, RefusalCode};
use crate::wire::{Answer, FrontLimits, Heard, Phase, Settled, Talk as _, Text, Wants};

/// A dialogue with what each side has been sent.
struct Stage {
    talk: Talk<u8, u8>,
    client: BytesMut,
    up: BytesMut,
    out: BytesMut,
    /// The count that is judged good.
    limit: u64,
    /// Statements are estimated first.
    estimate: bool,
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame::message(&mut out, kind, |out| out.put_slice(body));
    out.to_vec()
}

fn row(text: &str) -> Vec<u8> {
    let mut body = vec![0, 1];
    body.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
    body.extend(text.as_bytes());
    message(b'D', &body)
}

/// The types of messages, with the texts of those that have one.
fn kinds(bytes: &[u8]) -> String {
    let mut rest = bytes;
    let mut seen = Vec::new();
    while let Some(header) = frame::header(crate::wire::Peer::Server, rest).unwrap() {
        let (one, behind) = rest.split_at(header.len);
        rest = behind;
        let body = frame::body(one);
        let text = String::from_utf8_lossy(body)
            .trim_end_matches('\0')
            .to_owned();
        let text = text.replace("node-agent count", "");
        let text = match text.split_once("select pg_catalog") {
            Some((before, _)) => format!("{before}READ"),
            None => text,
        };
        seen.push(match header.kind {
            b'Q' | b'C' | b'Z' if !text.contains('\0') => {
                format!("{}({text})", char::from(header.kind))
            }
            kind => char::from(kind).to_string(),
        });
    }
    seen.join(" ")
}

impl Stage {
    fn new() -> Self {
        Stage {
            talk: Talk::new(FrontLimits::default()),
            client: BytesMut::new(),
            up: BytesMut::new(),
            out: BytesMut::new(),
            limit: 10,
            estimate: false,
        }
    }

    /// The client says; what is asked runs, counted unless it is a BEGIN or a COMMIT. Gives what
    /// went up.
    fn says(&mut self, bytes: &[u8]) -> String {
        self.client.extend_from_slice(bytes);
        self.hear();
        self.went_up()
    }

    fn hear(&mut self) {
        loop {
            let heard = self
                .talk
                .hear(&mut self.client, &mut self.up, &mut self.out);
            match heard.unwrap() {
                None | Some(Heard::Quit) => break,
                Some(Heard::Chore | Heard::Refused(_)) => {}
                Some(Heard::Asked(asked)) => match &asked.phase {
                    Phase::Prepare { .. } => self.talk.prepare(asked, 1, &mut self.up),
                    Phase::Run { text } => {
                        let count = !matches!(text.as_str(), "begin" | "commit");
                        let wants = self.wants(count);
                        self.talk.send(asked, 7, wants, &mut self.up);
                    }
                    Phase::Execute { .. } => {
                        let wants = self.wants(true);
                        self.talk.send(asked, 7, wants, &mut self.up);
                    }
                },
            }
        }
        self.talk.advance(&mut self.up);
    }

    fn wants(&self, count: bool) -> Wants {
        let estimate = (self.estimate && count).then(|| Text::of_static("delete"));
        Wants {
            count,
            estimate,
            ..Wants::default()
        }
    }

    fn went_up(&mut self) -> String {
        kinds(&std::mem::take(&mut self.up))
    }

    /// The database answers. Gives what the client is sent, and then what goes up.
    fn answers(&mut self, messages: &[Vec<u8>]) -> (String, String) {
        let mut input = BytesMut::from(&messages.concat()[..]);
        while let Some((span, answer)) = self.talk.listen(&input).unwrap() {
            let frame = input.split_to(span);
            match answer {
                Answer::Hidden | Answer::Kept => {}
                Answer::Estimated { rows } => {
                    let refusal = Refusal::new(RefusalCode::Limit, "too many");
                    let refusal = (rows > 100).then_some(&refusal);
                    let settled = self.talk.settle(refusal, &mut self.up, &mut self.out);
                    assert_eq!(self.talk.finished().is_some(), settled == Settled::Now);
                }
                Answer::Counted { changed } => {
                    let good = changed.is_some_and(|changed| changed <= self.limit);
                    let refusal = Refusal::new(RefusalCode::Limit, "too many");
                    let refusal = (!good).then_some(&refusal);
                    let settled = self.talk.settle(refusal, &mut self.up, &mut self.out);
                    assert_eq!(self.talk.finished().is_some(), settled == Settled::Now);
                }
                Answer::Refused(refusal) => {
                    Talk::<u8, u8>::write_refusal(&refusal, &mut self.out);
                }
                _ => self.out.extend_from_slice(&frame),
            }
            let _ = self.talk.finished();
        }
        assert!(input.is_empty(), "not heard: {input:?}");
        self.hear();
        (kinds(&std::mem::take(&mut self.out)), self.went_up())
    }
}

const HEAD: &[u8] = b"\0\x01c\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";
const ERROR: &[u8] = b"SERROR\0VERROR\0C57014\0Mcancelled\0\0";

fn query(text: &str) -> Vec<u8> {
    message(b'Q', &[text.as_bytes(), b"\0"].concat())
}

fn done(tag: &str) -> Vec<u8> {
    message(b'C', &[tag.as_bytes(), b"\0"].concat())
}

fn ready(state: u8) -> Vec<u8> {
    message(b'Z', &[state])
}

/// How the second reading is asked for in a transaction of ours …
const AGAIN: &str = "Q(set constraints all immediate; READ)";

/// … and answered.
fn at_last(text: &str) -> Vec<u8> {
    [done("SET CONSTRAINTS"), reading(text, b'T')].concat()
}

fn reading(text: &str, state: u8) -> Vec<u8> {
    [
        message(b'T', HEAD),
        row(text),
        done("SELECT 1"),
        ready(state),
    ]
    .concat()
}

fn begun() -> Vec<u8> {
    [done("BEGIN"), reading("on ", b'T')].concat()
}

fn error() -> Vec<u8> {
    message(b'E', ERROR)
}

fn both(out: &str, up: &str) -> (String, String) {
    (out.to_owned(), up.to_owned())
}

#[test]
fn a_query_outside_a_transaction_runs_in_one_of_ours() {
    for (after, ends, out) in [
        ("on 16384:10", "Q(commit)", "Z(I)"),
        ("on 16384:11", "Q(rollback)", "E Z(I)"),
        ("off ", "Q(rollback)", "E Z(I)"),
    ] {
        let mut stage = Stage::new();
        assert_eq!(stage.says(&query("delete")), "Q(begin; READ)");
        // What the client says meanwhile stays where it is.
        assert_eq!(stage.says(&query("commit")), "");
        assert!(stage.talk.full() && stage.talk.counting() && !stage.talk.idle());
        assert_eq!(stage.answers(&[begun()]), both("", "Q(delete)"));
        let (told, up) = stage.answers(&[done("DELETE 3"), ready(b'T')]);
        assert_eq!((told.as_str(), up.as_str()), ("C(DELETE 3)", AGAIN));
        assert_eq!(stage.answers(&[at_last(after)]), both("", ends));
        let tag = if ends == "Q(commit)" {
            "COMMIT"
        } else {
            "ROLLBACK"
        };
        let (told, up) = stage.answers(&[done(tag), ready(b'I')]);
        assert_eq!((told.as_str(), up.as_str()), (out, "Q(commit)"), "{after}");
        assert!(!stage.talk.counting());
    }
}

#[test]
fn whatever_fails_the_client_gets_one_end_and_nothing_stays_open() {
    type Step = (Vec<u8>, &'static str, &'static str);
    let failed = |state| [error(), ready(state)].concat();
    let ran = || [done("DELETE 3"), ready(b'T')].concat();
    let rolled_back = || [done("ROLLBACK"), ready(b'I')].concat();
    let table: Vec<Vec<Step>> = vec![
        // BEGIN itself.
        vec![(failed(b'I'), "E Z(I)", "")],
        // The first reading.
        vec![
            ([done("BEGIN"), failed(b'E')].concat(), "E", "Q(rollback)"),
            (rolled_back(), "Z(I)", ""),
        ],
        // The statement.
        vec![
            (begun(), "", "Q(delete)"),
            (failed(b'E'), "E", "Q(rollback)"),
            (rolled_back(), "Z(I)", ""),
        ],
        // The second reading.
        vec![
            (begun(), "", "Q(delete)"),
            (ran(), "C(DELETE 3)", AGAIN),
            (failed(b'E'), "E", "Q(rollback)"),
            (rolled_back(), "Z(I)", ""),
        ],
        // The commit, by a constraint and by a cancel.
        vec![
            (begun(), "", "Q(delete)"),
            (ran(), "C(DELETE 3)", AGAIN),
            (at_last("on 16384:3"), "", "Q(commit)"),
            (failed(b'I'), "E Z(I)", ""),
        ],
        vec![
            (begun(), "", "Q(delete)"),
            (ran(), "C(DELETE 3)", AGAIN),
            (at_last("on 16384:3"), "", "Q(commit)"),
            (failed(b'E'), "E", "Q(rollback)"),
            (rolled_back(), "Z(I)", ""),
        ],
        // The rollback: it is said again, and the client hears of the count alone.
        vec![
            (begun(), "", "Q(delete)"),
            (ran(), "C(DELETE 3)", AGAIN),
            (at_last("on 16384:99"), "", "Q(rollback)"),
            (failed(b'E'), "", "Q(rollback)"),
            (failed(b'T'), "", "Q(rollback)"),
            (rolled_back(), "E Z(I)", ""),
        ],
    ];
    for steps in table {
        let mut stage = Stage::new();
        assert_eq!(stage.says(&query("delete")), "Q(begin; READ)");
        for (answer, told, up) in steps {
            assert!(stage.talk.counting());
            assert_eq!(stage.answers(&[answer]), both(told, up));
        }
        assert!(!stage.talk.counting() && stage.talk.idle());
        assert_eq!(stage.says(&query("begin")), "Q(begin)");
    }
}

#[test]
fn a_query_in_a_transaction_is_poisoned_when_it_is_one_row_too_many() {
    let open = || {
        let mut stage = Stage::new();
        stage.says(&query("begin"));
        assert_eq!(
            stage.answers(&[done("BEGIN"), ready(b'T')]).0,
            "C(BEGIN) Z(T)"
        );
        // COMMIT in the same breath.
        assert_eq!(
            stage.says(&[query("delete"), query("commit")].concat()),
            "Q(READ)"
        );
        assert_eq!(
            stage.answers(&[reading("on 16384:5", b'T')]),
            both("", "Q(delete)")
        );
        stage
    };
    let mut stage = open();
    let (told, up) = stage.answers(&[done("DELETE 10"), ready(b'T')]);
    assert_eq!((told.as_str(), up.as_str()), ("C(DELETE 10)", "Q(READ)"));
    assert_eq!(
        stage.answers(&[reading("on 16384:15", b'T')]),
        both("Z(T)", "Q(commit)")
    );

    let mut stage = open();
    stage.answers(&[done("DELETE 11"), ready(b'T')]);
    let (told, up) = stage.answers(&[reading("on 16384:16", b'T')]);
    // The COMMIT goes behind the poison.
    assert_eq!(
        (told.as_str(), up.as_str()),
        ("", "Q(node-agent refused) Q(commit)")
    );
    let failed = [error(), ready(b'E')];
    assert_eq!(stage.answers(&failed).0, "E Z(E)");
    assert_eq!(
        stage.answers(&[done("ROLLBACK"), ready(b'I')]).0,
        "C(ROLLBACK) Z(I)"
    );

    // In a transaction that has failed nothing is read: the server refuses it all.
    let mut stage = Stage::new();
    stage.says(&query("begin"));
    stage.answers(&[done("BEGIN"), ready(b'E')]);
    assert_eq!(stage.says(&query("delete")), "Q(delete)");
    assert_eq!(stage.answers(&failed), both("E Z(E)", ""));
    assert!(!stage.talk.counting());
    // Should it do otherwise, it is not believed.
    stage.says(&query("delete"));
    let lies = [done("DELETE 1"), ready(b'I')].concat();
    let mut input = BytesMut::from(&lies[..]);
    let (span, _) = stage.talk.listen(&input).unwrap().unwrap();
    let _ = input.split_to(span);
    assert!(stage.talk.listen(&input).is_err());
}

fn first() -> Vec<u8> {
    [
        message(b'3', b""),
        message(b'1', b""),
        message(b'2', b""),
        row("on 16384:1"),
        done("SELECT 1"),
        message(b'3', b""),
    ]
    .concat()
}

fn second(text: &str) -> Vec<u8> {
    [
        message(b'2', b""),
        row(text),
        done("SELECT 1"),
        message(b'3', b""),
        message(b'3', b""),
    ]
    .concat()
}

fn group(text: &str) -> Vec<u8> {
    [
        message(b'P', &[b"\0", text.as_bytes(), b"\0\0\0"].concat()),
        message(b'B', &[0; 8]),
        message(b'E', &[0; 5]),
        message(b'S', b""),
    ]
    .concat()
}

#[test]
fn an_execute_is_counted_where_it_stands_and_its_sync_waits() {
    let taken = || [message(b'1', b""), message(b'2', b"")].concat();
    for (after, poison, told) in [
        ("on 16384:11", "S", "Z(I)"),
        ("on 16384:12", "B H S", "E Z(I)"),
    ] {
        let mut stage = Stage::new();
        assert_eq!(stage.says(&group("delete")), "P B C(S) P B E C(P) E H");
        assert_eq!(stage.answers(&[taken(), first()]), both("1 2", ""));
        let (seen, up) = stage.answers(&[done("DELETE 10")]);
        assert_eq!(
            (seen.as_str(), up.as_str()),
            ("C(DELETE 10)", "B E C(P) C(S) H")
        );
        assert_eq!(stage.answers(&[second(after)]), both("", poison));
        let end = if poison == "S" {
            ready(b'I')
        } else {
            [error(), ready(b'I')].concat()
        };
        assert_eq!(stage.answers(&[end]), both(told, ""));
        assert!(stage.talk.idle());
    }
    // An error at any place skips to the Sync, which goes up then.
    for before in [
        taken(),
        [taken(), first()].concat(),
        [taken(), first(), done("DELETE 1")].concat(),
    ] {
        let mut stage = Stage::new();
        stage.says(&group("delete"));
        stage.answers(&[before]);
        assert_eq!(stage.answers(&[error()]), both("E", "S"));
        assert_eq!(stage.answers(&[ready(b'I')]), both("Z(I)", ""));
        assert!(stage.talk.idle());
    }
}

#[test]
fn a_query_behind_a_group_without_sync_is_counted_only_if_nothing_of_it_ran() {
    let unsynced = [message(b'P', b"\0select\0\0\0"), message(b'B', &[0; 8])].concat();
    let mut stage = Stage::new();
    // The first answers are asked for, and then a Sync of ours gives the state.
    assert_eq!(
        stage.says(&[unsynced.clone(), query("delete")].concat()),
        "P B H"
    );
    let taken = [message(b'1', b""), message(b'2', b"")].concat();
    assert_eq!(stage.answers(&[taken]), both("1 2", "S"));
    assert_eq!(stage.answers(&[ready(b'I')]), both("", "Q(begin; READ)"));
    // One of them failed: the server skips the Query, and so do we.
    let mut stage = Stage::new();
    stage.says(&[unsynced, query("delete")].concat());
    assert_eq!(stage.answers(&[error()]), both("E", ""));
    assert!(!stage.talk.counting());
    assert_eq!(stage.says(&message(b'S', b"")), "S");
}

#[test]
fn answers_that_nobody_asked_for_end_the_session_at_every_stage() {
    let good = [
        begun(),
        [done("DELETE 3"), ready(b'T')].concat(),
        at_last("on 16384:3"),
    ];
    for stages in 0..=good.len() {
        for bad in [
            row("on "),
            ready(b'I'),
            message(b'1', b""),
            message(b'G', b"\0\0\0"),
            message(b'I', b""),
        ] {
            let mut stage = Stage::new();
            stage.says(&query("delete"));
            for answer in &good[..stages] {
                stage.answers(std::slice::from_ref(answer));
            }
            // A statement may be answered by nothing at all, or by a copy: the session judges that.
            let legal = stages == 1 && matches!(bad[0], b'G' | b'I');
            assert_eq!(
                stage.talk.listen(&bad).is_err(),
                !legal,
                "{stages}: {bad:?}"
            );
        }
    }
}

fn plan(rows: u64) -> String {
    format!(
        r#"[{{"Plan": {{"Node Type": "ModifyTable", "Plans": [
            {{"Parent Relationship": "Outer", "Plan Rows": {rows}}}]}}}}]"#
    )
}

fn estimate(text: &str) -> Vec<u8> {
    let rows = [message(b'T', HEAD), row(text), done("EXPLAIN")].concat();
    [done("SET"), rows].concat()
}

const EXPLAINED: &str = "Q(set transaction read only; explain (format json) delete)";

#[test]
fn a_query_that_is_expected_to_change_far_too_much_does_not_run() {
    let mut stage = Stage::new();
    stage.estimate = true;
    assert_eq!(stage.says(&query("delete")), EXPLAINED);
    let over = [estimate(&plan(101)), ready(b'I')].concat();
    assert_eq!(stage.answers(&[over]), both("E Z(I)", ""));
    assert!(stage.talk.idle());
    // An estimate that is small, says nothing, or fails changes nothing.
    let failed = [done("SET"), error_of("42P01"), ready(b'I')].concat();
    let others = [
        [estimate(&plan(100)), ready(b'I')].concat(),
        [estimate("[]"), ready(b'I')].concat(),
        failed,
    ];
    for other in others {
        stage.says(&query("delete"));
        assert_eq!(stage.answers(&[other]), both("", "Q(begin; READ)"));
        let failed = [error(), ready(b'I')].concat();
        assert_eq!(stage.answers(&[failed]), both("E Z(I)", ""));
    }
    // A cancel is meant for the statement.
    stage.says(&query("delete"));
    let cancelled = [error(), ready(b'I')].concat();
    assert_eq!(stage.answers(&[cancelled]), both("E Z(I)", ""));
    // In a transaction an error would be its end: nothing is estimated.
    stage.says(&query("begin"));
    stage.answers(&[done("BEGIN"), ready(b'T')]);
    assert_eq!(stage.says(&query("delete")), "Q(READ)");
}

fn error_of(code: &str) -> Vec<u8> {
    message(b'E', format!("SERROR\0VERROR\0C{code}\0Mno\0\0").as_bytes())
}

#[test]
fn an_execute_is_estimated_with_its_own_parameters() {
    let typed = [
        message(b'P', b"\0delete\0\0\x01\0\0\0\x17"),
        message(b'B', b"\0\0\0\x01\0\x01\0\x01\0\0\0\x04\0\0\0\x07\0\0"),
        message(b'E', &[0; 5]),
        message(b'S', b""),
    ]
    .concat();
    let taken = [message(b'1', b""), message(b'2', b"")].concat();
    let planned = |rows| {
        [
            message(b'3', b""),
            message(b'1', b""),
            message(b'2', b""),
            row(&plan(rows)),
            done("EXPLAIN"),
            message(b'3', b""),
        ]
        .concat()
    };
    let mut stage = Stage::new();
    stage.estimate = true;
    stage.client.extend_from_slice(&typed);
    stage.hear();
    let up = std::mem::take(&mut stage.up);
    let has = |part: &[u8]| up.windows(part.len()).any(|window| window == part);
    assert!(has(b"explain (format json) delete\0\0\x01\0\0\0\x17"));
    assert!(has(b"\0\x01\0\x01\0\x01\0\0\0\x04\0\0\0\x07\0\0E"));
    assert_eq!(kinds(&up), "P B C(S) P B E C(P) H");
    assert_eq!(
        stage.answers(&[taken.clone(), planned(100)]),
        both("1 2", "C(S) P B E C(P) E H")
    );

    let mut stage = Stage::new();
    stage.estimate = true;
    stage.says(&typed);
    assert_eq!(stage.answers(&[taken, planned(101)]), both("1 2", "B H S"));
    assert_eq!(stage.answers(&[error(), ready(b'I')]), both("E Z(I)", ""));
    assert!(stage.talk.idle());
}
