//! Pure. An idle connection becomes what it was at login: `DISCARD ALL`, and nothing but its answer.
//!
//! The server rolls nothing back here: what is open would make it fail, and so it should. What it drops is in
//! its own words (PostgreSQL documentation, DISCARD): cursors, settings, prepared statements, channels
//! listened to, advisory locks, cached plans, temporary tables, the state of sequences. What it does not
//! drop, a session that is to be kept must not have had.

use bytes::BytesMut;

use crate::wire::{Garbled, Peer, ResetNeed, Transaction};

use super::{answer, frame, refusal};

/// One message of its own: the server takes it in no transaction block and behind no other statement.
const ASK: &str = "DISCARD ALL";
/// The answer is some dozens of bytes. One that reports every setting and gives a notice for each stays far
/// below this; a longer one is none.
const LONGEST: usize = 16 << 10;

/// Our half of a reset.
#[derive(Debug)]
pub struct Reset {
    state: State,
    /// Reports that the connection must end with: those of its login.
    greeted: Vec<(String, String)>,
    /// Reports as they stand.
    now: Vec<(String, String)>,
    /// Bytes of the answer so far.
    read: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing sent yet.
    Fresh,
    /// The request is out.
    Asked,
    /// The server says that it is done.
    Done,
    /// Clean, or closed.
    Over,
}

impl crate::wire::Reset for Reset {
    fn new(greeted: &[(String, String)], since: &[(String, String)]) -> Self {
        let mut reset = Reset {
            state: State::Fresh,
            greeted: Vec::with_capacity(greeted.len()),
            now: Vec::with_capacity(greeted.len()),
            read: 0,
        };
        // A name that is reported twice counts as it was reported last.
        for (name, value) in greeted {
            set(&mut reset.greeted, name, value);
        }
        reset.now.clone_from(&reset.greeted);
        for (name, value) in since {
            set(&mut reset.now, name, value);
        }
        reset
    }

    fn step(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<ResetNeed, Garbled> {
        if self.state == State::Fresh {
            // What the server says unasked is no answer to what it has not seen.
            if !input.is_empty() {
                return Err(self.end("nothing before we asked", "bytes"));
            }
            frame::message(out, b'Q', |out| frame::text(out, ASK));
            self.state = State::Asked;
            return Ok(ResetNeed::More);
        }
        loop {
            let Some(header) = frame::header(Peer::Server, input)? else {
                return Ok(ResetNeed::More);
            };
            self.read = self.read.saturating_add(header.len);
            if self.read > LONGEST {
                return Err(self.end("the answer to a reset", "one that is too long"));
            }
            if input.len() < header.len {
                // Counted again when it is whole.
                self.read -= header.len;
                return Ok(ResetNeed::More);
            }
            let message = input.split_to(header.len);
            if self.message(header.kind, &message)? {
                // Bytes behind it are nobody's: the next session would read them as its own.
                if !input.is_empty() {
                    return Err(self.end("silence behind the reset", "bytes"));
                }
                return Ok(ResetNeed::Clean);
            }
        }
    }
}

impl Reset {
    /// One message of the answer; true: it was the last, and all is as it was.
    fn message(&mut self, kind: u8, message: &[u8]) -> Result<bool, Garbled> {
        match (kind, self.state) {
            (b'S', State::Asked | State::Done) => {
                let (name, value) = answer::parameter(message)?;
                set(&mut self.now, &name, &value);
                Ok(false)
            }
            (b'N', State::Asked | State::Done) => {
                refusal::read("a NoticeResponse", frame::body(message))?;
                Ok(false)
            }
            (b'C', State::Asked) => {
                let (tag, _) = answer::complete(message)?;
                if tag != ASK {
                    return Err(self.end("the end of a reset", "that of another statement"));
                }
                self.state = State::Done;
                Ok(false)
            }
            (b'Z', State::Done) => {
                if answer::ready(message)? != Transaction::Idle {
                    return Err(self.end("an idle session", "an open transaction"));
                }
                // A default that was changed for all sessions meanwhile: a new client would be told another
                // value at its login than this connection has.
                if !same(&self.greeted, &self.now) {
                    return Err(self.end("the settings of the login", "others"));
                }
                self.state = State::Over;
                Ok(true)
            }
            // An error too: what was not reset is closed.
            (other, _) => {
                let seen = format!("type {}", frame::printable(other));
                Err(self.end("the answer to a reset", &seen))
            }
        }
    }

    fn end(&mut self, expected: &'static str, seen: &str) -> Garbled {
        self.state = State::Over;
        Garbled {
            who: Peer::Server,
            expected,
            seen: seen.to_owned(),
        }
    }
}

fn set(reports: &mut Vec<(String, String)>, name: &str, value: &str) {
    match reports.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => value.clone_into(known),
        None => reports.push((name.to_owned(), value.to_owned())),
    }
}

/// As many names, and each with its value: in whatever order.
fn same(one: &[(String, String)], other: &[(String, String)]) -> bool {
    one.len() == other.len() && one.iter().all(|report| other.contains(report))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Reset as _;

    const DONE: &[u8] = b"C\0\0\0\x10DISCARD ALL\0";
    const READY: &[u8] = b"Z\0\0\0\x05I";
    const NOTICE: &[u8] = b"N\0\0\0\x1cSNOTICE\0VNOTICE\0C00000\0\0";

    fn report(name: &str, value: &str) -> Vec<u8> {
        let mut out = BytesMut::new();
        frame::message(&mut out, b'S', |out| {
            frame::text(out, name);
            frame::text(out, value);
        });
        out.to_vec()
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn answered(since: &[(&str, &str)], answer: &[u8]) -> Result<ResetNeed, Garbled> {
        let greeted = pairs(&[("TimeZone", "UTC"), ("in_hot_standby", "off")]);
        let mut reset = Reset::new(&greeted, &pairs(since));
        let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
        assert_eq!(reset.step(&mut input, &mut out), Ok(ResetNeed::More));
        assert_eq!(&out[..], b"Q\0\0\0\x10DISCARD ALL\0");
        input.extend_from_slice(answer);
        reset.step(&mut input, &mut out)
    }

    #[test]
    fn a_connection_is_clean_when_it_is_idle_and_reports_what_it_did_at_login() {
        let utc = report("TimeZone", "UTC");
        for (since, answer) in [
            (&[][..], [DONE, READY].concat()),
            (&[], [NOTICE, DONE, NOTICE, READY].concat()),
            (
                &[("TimeZone", "CET")],
                [utc.as_slice(), DONE, READY].concat(),
            ),
            (
                &[("TimeZone", "CET")],
                [DONE, utc.as_slice(), READY].concat(),
            ),
            (
                &[("TimeZone", "CET"), ("TimeZone", "UTC")],
                [DONE, READY].concat(),
            ),
        ] {
            assert_eq!(answered(since, &answer), Ok(ResetNeed::Clean), "{since:?}");
        }
    }

    #[test]
    fn whatever_else_the_server_says_makes_it_unfit() {
        let other = report("TimeZone", "CET");
        let new = report("search_path", "hr");
        let tag = b"C\0\0\0\x0cDISCARD\0";
        let error = b"E\0\0\0\x1aSERROR\0VERROR\0C25001\0\0";
        let long = NOTICE.repeat(LONGEST / NOTICE.len() + 1);
        for (what, since, answer) in [
            ("no reset", &[][..], READY.to_vec()),
            ("an error", &[], [&error[..], READY].concat()),
            ("another tag", &[], [&tag[..], READY].concat()),
            ("twice", &[], [DONE, DONE, READY].concat()),
            ("a transaction", &[], [DONE, b"Z\0\0\0\x05T"].concat()),
            ("a failed one", &[], [DONE, b"Z\0\0\0\x05E"].concat()),
            ("rows", &[], b"D\0\0\0\x06\0\0".to_vec()),
            (
                "a notification",
                &[],
                b"A\0\0\0\x0a\0\0\0\x01a\0\0".to_vec(),
            ),
            ("another value", &[], [&other, DONE, READY].concat()),
            ("another setting", &[], [&new, DONE, READY].concat()),
            (
                "not set back",
                &[("TimeZone", "CET")],
                [DONE, READY].concat(),
            ),
            ("bytes behind", &[], [DONE, READY, NOTICE].concat()),
            ("no end", &[], long),
            ("a length that is none", &[], b"C\0\0\0\0".to_vec()),
            ("a length beyond", &[], b"N\0\x10\0\0".to_vec()),
        ] {
            assert!(answered(since, &answer).is_err(), "{what}");
        }
    }

    #[test]
    fn a_part_of_the_answer_is_waited_on() {
        let whole = [NOTICE, DONE, READY].concat();
        let mut reset = Reset::new(&[], &[]);
        let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
        assert_eq!(reset.step(&mut input, &mut out), Ok(ResetNeed::More));
        for (at, byte) in whole.iter().enumerate() {
            input.extend_from_slice(&[*byte]);
            let last = at + 1 == whole.len();
            let need = if last {
                ResetNeed::Clean
            } else {
                ResetNeed::More
            };
            assert_eq!(reset.step(&mut input, &mut out), Ok(need), "{at}");
        }
    }

    #[test]
    fn what_is_said_before_it_is_asked_makes_it_unfit() {
        let mut reset = Reset::new(&[], &[]);
        let mut input = BytesMut::from(NOTICE);
        assert!(reset.step(&mut input, &mut BytesMut::new()).is_err());
    }
}
