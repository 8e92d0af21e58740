//! Whether something runs inside the client's transaction, held against a server that keeps the rules of
//! PostgreSQL's blocks; and the agent's own questions between the client's messages.

use std::collections::VecDeque;

use bytes::{BufMut, BytesMut};

use super::super::{Talk, frame};
use crate::wire::{
    Answer, FrontLimits, Heard, Own, OwnAnswer, Peer, Phase, Talk as _, Transaction, Turned, Wants,
};

/// What a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Begin,
    Commit,
    Rollback,
    Savepoint,
    Delete,
}

impl What {
    const ALL: [What; 5] = [
        What::Begin,
        What::Commit,
        What::Rollback,
        What::Savepoint,
        What::Delete,
    ];

    fn text(self) -> &'static str {
        match self {
            What::Begin => "begin",
            What::Commit => "commit",
            What::Rollback => "rollback",
            What::Savepoint => "rollback to a",
            What::Delete => "delete",
        }
    }

    fn of(text: &[u8]) -> What {
        let text = String::from_utf8_lossy(text);
        let text = text.trim_end_matches('\0');
        What::ALL
            .into_iter()
            .find(|what| what.text() == text)
            .unwrap()
    }

    fn turn(self) -> Turned {
        match self {
            What::Begin => Turned::Begins,
            What::Commit | What::Rollback => Turned::MayEnd,
            What::Savepoint | What::Delete => Turned::Stays,
        }
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame::message(&mut out, kind, |out| out.put_slice(body));
    out.to_vec()
}

/// A generator that is the same each time.
struct Dice(u64);

impl Dice {
    fn of(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// The server: blocks, skipping, and what it has said.
struct Server {
    block: u8,
    skips: bool,
    unnamed: Option<What>,
    said: Vec<u8>,
    /// Of each DELETE that was sent, in order: whether it was claimed to run inside.
    claims: VecDeque<bool>,
    /// DELETEs that ran inside as claimed.
    inside: u64,
}

impl Server {
    fn say(&mut self, kind: u8, body: &[u8]) {
        self.said.extend(message(kind, body));
    }

    fn error(&mut self) {
        if self.block == b'T' {
            self.block = b'E';
        }
        self.say(b'E', b"SERROR\0VERROR\0C22012\0Mno\0\0");
    }

    /// Runs a statement. False: it failed.
    fn run(&mut self, what: What, fails: bool) -> bool {
        if what == What::Delete {
            let claimed = self.claims.pop_front().unwrap();
            assert!(
                !claimed || self.block != b'I' || fails,
                "a statement that was claimed to run inside a transaction commits by itself"
            );
            self.inside += u64::from(claimed && self.block == b'T' && !fails);
        }
        let failed = match (what, self.block) {
            (What::Commit | What::Rollback, b'E') => false,
            (What::Savepoint, b'E') => fails,
            (_, b'E') => true,
            _ => fails,
        };
        if failed {
            // A COMMIT that fails leaves nothing open.
            if what == What::Commit && self.block == b'T' {
                self.block = b'I';
                self.say(b'E', b"SERROR\0VERROR\0C23503\0Mno\0\0");
            } else {
                self.error();
            }
            return false;
        }
        self.block = match (what, self.block) {
            (What::Begin, _) => b'T',
            (What::Commit | What::Rollback, _) => b'I',
            (What::Savepoint, b'E') => b'T',
            (_, block) => block,
        };
        self.say(b'C', b"DONE\0");
        true
    }

    fn take(&mut self, up: &mut BytesMut, dice: &mut Dice) {
        while let Some(header) = frame::header(Peer::Client, up).unwrap() {
            let one = up.split_to(header.len);
            let body = frame::body(&one);
            let fails = dice.of(6) == 0;
            if self.skips && header.kind != b'S' {
                // What is skipped did not run.
                let skipped = match header.kind {
                    b'Q' => Some(What::of(body)),
                    b'E' => self.unnamed,
                    _ => None,
                };
                if header.kind == b'P' {
                    self.unnamed = parsed(body);
                }
                if skipped == Some(What::Delete) {
                    self.claims.pop_front().unwrap();
                }
                continue;
            }
            match header.kind {
                b'Q' => {
                    self.run(What::of(body), fails);
                    let block = [self.block];
                    self.say(b'Z', &block);
                }
                b'P' => {
                    self.unnamed = parsed(body);
                    match fails {
                        true => {
                            self.error();
                            self.skips = true;
                        }
                        false => self.say(b'1', b""),
                    }
                }
                b'B' => match fails {
                    true => {
                        self.error();
                        self.skips = true;
                    }
                    false => self.say(b'2', b""),
                },
                b'E' => {
                    let what = self.unnamed.unwrap();
                    self.skips = !self.run(what, fails);
                }
                b'S' => {
                    self.skips = false;
                    let block = [self.block];
                    self.say(b'Z', &block);
                }
                b'H' => {}
                kind => panic!("{}", char::from(kind)),
            }
        }
    }
}

fn parsed(body: &[u8]) -> Option<What> {
    let mut parts = body.split(|byte| *byte == 0);
    let (_name, text) = (parts.next()?, parts.next()?);
    Some(What::of(text))
}

/// The agent between the two.
struct Between {
    talk: Talk<u8, u8>,
    server: Server,
    input: BytesMut,
    up: BytesMut,
    out: BytesMut,
}

impl Between {
    fn new() -> Between {
        Between {
            talk: Talk::new(FrontLimits::default()),
            server: Server {
                block: b'I',
                skips: false,
                unnamed: None,
                said: Vec::new(),
                claims: VecDeque::new(),
                inside: 0,
            },
            input: BytesMut::new(),
            up: BytesMut::new(),
            out: BytesMut::new(),
        }
    }

    /// Some of what the server has said arrives; `all` of it, if so.
    fn listen(&mut self, all: bool, dice: &mut Dice) {
        self.server.take(&mut self.up, dice);
        let said = std::mem::take(&mut self.server.said);
        let mut rest = said.as_slice();
        while let Some((span, _)) = self.talk.listen(rest).unwrap() {
            rest = &rest[span..];
            let _ = self.talk.finished();
            while self.talk.skipped().is_some() {}
            if !all && dice.of(3) == 0 {
                break;
            }
        }
        self.server.said.splice(0..0, rest.iter().copied());
    }

    fn hear(&mut self, bytes: &[u8], dice: &mut Dice) {
        self.input.extend_from_slice(bytes);
        for _ in 0..64 {
            if self.input.is_empty() {
                return;
            }
            let heard = self.talk.hear(&mut self.input, &mut self.up, &mut self.out);
            match heard.unwrap() {
                None => self.listen(true, dice),
                Some(Heard::Asked(asked)) => {
                    let what = match &asked.phase {
                        Phase::Run { text } | Phase::Prepare { text, .. } => {
                            What::of(text.as_str().as_bytes())
                        }
                        Phase::Execute { statement, .. } => What::ALL[usize::from(*statement)],
                    };
                    if let Phase::Prepare { .. } = asked.phase {
                        let at = What::ALL.iter().position(|one| *one == what).unwrap();
                        self.talk
                            .prepare(asked, u8::try_from(at).unwrap(), &mut self.up);
                        continue;
                    }
                    let claims = self.talk.surely_inside();
                    let before = self.up.len();
                    let wants = Wants {
                        turn: what.turn(),
                        ..Wants::default()
                    };
                    self.talk.send(asked, 0, wants, &mut self.up);
                    while self.talk.skipped().is_some() {}
                    if what == What::Delete && self.up.len() > before {
                        self.server.claims.push_back(claims);
                    }
                }
                Some(_) => {}
            }
        }
        panic!("nothing more is heard");
    }
}

#[test]
fn what_is_claimed_to_run_inside_never_commits_by_itself() {
    let mut inside = 0;
    for seed in 1..4000_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut between = Between::new();
        for _ in 0..40 {
            let what = What::ALL[usize::try_from(dice.of(5)).unwrap()];
            match dice.of(8) {
                0 | 1 => between.hear(
                    &message(b'Q', &[what.text().as_bytes(), &[0]].concat()),
                    &mut dice,
                ),
                2..=4 => {
                    let parse = [&[0], what.text().as_bytes(), &[0, 0, 0]].concat();
                    let all = [
                        message(b'P', &parse),
                        message(b'B', &[0; 8]),
                        message(b'E', &[0; 5]),
                    ];
                    between.hear(&all.concat(), &mut dice);
                }
                5 => between.hear(&message(b'S', b""), &mut dice),
                6 => between.listen(false, &mut dice),
                _ => between.listen(true, &mut dice),
            }
        }
        inside += between.server.inside;
    }
    assert!(inside > 1000, "only {inside} ran inside as claimed");
}

#[test]
fn a_question_of_the_agents_own_is_answered_up_to_its_sync() {
    let mut between = Between::new();
    let mut dice = Dice(3);
    between.server.block = b'T';
    between.server.say(b'Z', b"T");
    // Outstanding: nothing may be put.
    let begin = message(b'Q', b"begin\0");
    between.input.extend_from_slice(&begin);
    between.server.said.clear();
    let heard = between
        .talk
        .hear(&mut between.input, &mut between.up, &mut between.out);
    let Ok(Some(Heard::Asked(asked))) = heard else {
        panic!();
    };
    let wants = Wants {
        turn: Turned::Begins,
        ..Wants::default()
    };
    between.talk.send(asked, 0, wants, &mut between.up);
    assert!(!between.talk.drained(&mut between.up));
    assert!(!between.talk.surely_inside());
    between.up.clear();
    let answers = [message(b'C', b"BEGIN\0"), message(b'Z', b"T")].concat();
    let mut rest = answers.as_slice();
    while let Some((span, _)) = between.talk.listen(rest).unwrap() {
        rest = &rest[span..];
        let _ = between.talk.finished();
    }
    assert!(between.talk.drained(&mut between.up) && between.talk.surely_inside());
    between.talk.put(Own::RollBack, &mut between.up);
    let closed = || message(b'3', b"");
    let ours = [
        closed(),
        closed(),
        message(b'1', b""),
        message(b'2', b""),
        message(b'C', b"ROLLBACK\0"),
        closed(),
        closed(),
        message(b'Z', b"I"),
    ];
    for (at, one) in ours.iter().enumerate() {
        let (span, answer) = between.talk.listen(one).unwrap().unwrap();
        assert_eq!(span, one.len());
        if at + 1 < ours.len() {
            assert!(matches!(answer, Answer::Hidden), "{answer:?}");
        } else {
            assert!(
                matches!(answer, Answer::Own(OwnAnswer::RolledBack)),
                "{answer:?}"
            );
        }
    }
    assert!(!between.talk.surely_inside());
    // What fails is told of at once, and is over with its ReadyForQuery.
    between.talk.put(Own::Work, &mut between.up);
    let error = message(b'E', b"SERROR\0VERROR\0C57014\0Mno\0\0");
    let (_, answer) = between.talk.listen(&error).unwrap().unwrap();
    assert!(
        matches!(answer, Answer::Own(OwnAnswer::Failed(_))),
        "{answer:?}"
    );
    assert!(!between.talk.drained(&mut between.up));
    assert!(between.talk.listen(&message(b'1', b"")).is_err());
    let (_, answer) = between.talk.listen(&message(b'Z', b"E")).unwrap().unwrap();
    assert!(matches!(answer, Answer::Hidden), "{answer:?}");
    assert!(between.talk.drained(&mut between.up));
    assert_eq!(between.talk.transaction(), Transaction::Failed);
    // A reading outside of a transaction is no reading of one.
    between.talk.put(Own::Rows, &mut between.up);
    let json = br#"["on",12,1,[["app","t",1,2,3]]]"#;
    let mut body = vec![0, 1];
    body.extend(u32::try_from(json.len()).unwrap().to_be_bytes());
    body.extend(json);
    let reading = [
        closed(),
        closed(),
        message(b'1', b""),
        message(b'2', b""),
        message(b'D', &body),
        message(b'C', b"SELECT 1\0"),
        closed(),
        closed(),
    ];
    for one in reading {
        let (_, answer) = between.talk.listen(&one).unwrap().unwrap();
        assert!(matches!(answer, Answer::Hidden), "{answer:?}");
    }
    assert!(between.talk.listen(&message(b'Z', b"I")).is_err());
    let _ = dice.of(2);
}
