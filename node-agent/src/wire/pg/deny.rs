//! Pure. Saying no: here, when nobody else is in the game, or by a poison that makes the database fail
//! at the same place, so that its state is what the client sees.

use std::sync::atomic::Ordering;

use bytes::{BufMut, BytesMut};

use crate::model::{Refusal, RefusalCode};
use crate::wire::{Garbled, Heard};

use super::command::Which;
use super::prepared::LONGEST_NAME;
use super::queue::{Due, Protocol};
use super::talk::{Skip, Talk};
use super::{frame, refusal};

/// Names that begin so are ours: the database must never have one.
const RESERVED: &[u8] = b"node-agent ";

/// Appends ReadyForQuery, idle.
pub(super) fn ready(out: &mut BytesMut) {
    frame::message(out, b'Z', |out| out.put_u8(b'I'));
}

fn poison_words(refusal: &Refusal) -> String {
    match &refusal.reference {
        Some(reference) => format!("node-agent refused {reference}"),
        None => "node-agent refused".to_owned(),
    }
}

/// A Query that is a syntax error in every transaction state: no statement begins with this word.
/// The database's log shows it, and so points to the recorded event.
pub(super) fn poison_query(refusal: &Refusal, up: &mut BytesMut) {
    frame::message(up, b'Q', |up| frame::text(up, &poison_words(refusal)));
}

/// A Bind to a statement that cannot exist. It fails before it touches anything, in every
/// transaction state, and the database then skips to Sync.
pub(super) fn poison_bind(refusal: &Refusal, up: &mut BytesMut) {
    bind_nothing(&poison_words(refusal), up);
}

fn bind_nothing(statement: &str, up: &mut BytesMut) {
    frame::message(up, b'B', |up| {
        up.put_u8(0);
        frame::text(up, statement);
        up.put_slice(&[0; 6]);
    });
}

/// Asks for a portal's head.
pub(super) fn describe_portal(portal: &[u8], up: &mut BytesMut) {
    frame::message(up, b'D', |up| {
        up.put_u8(b'P');
        up.put_slice(portal);
        up.put_u8(0);
    });
}

pub(super) fn poison<E>(refusal: Option<&Refusal>, protocol: Protocol) -> Due<E> {
    Due::Poison {
        refusal: refusal.cloned().map(Box::new),
        protocol,
        failed: false,
    }
}

impl<S: Clone, E> Talk<S, E> {
    /// Refuses the message that `protocol` carried: here, or by making the database fail.
    pub(super) fn deny(
        &mut self,
        protocol: Protocol,
        refusal: &Refusal,
        up: &mut BytesMut,
        out: &mut BytesMut,
    ) {
        match (protocol, self.alone()) {
            (Protocol::Simple, true) => {
                refusal::refuse(refusal, out);
                ready(out);
            }
            (Protocol::Extended, true) => {
                refusal::refuse(refusal, out);
                self.skip = Some(Skip::Local);
            }
            (Protocol::Simple, false) => {
                poison_query(refusal, up);
                self.query_goes_up();
                self.queue.push(poison(Some(refusal), protocol));
            }
            (Protocol::Extended, false) => {
                poison_bind(refusal, up);
                self.extended_goes_up(poison(Some(refusal), protocol));
                self.skip = Some(Skip::Upstream);
            }
        }
    }

    /// Refuses a message of the extended protocol that was never asked.
    pub(super) fn reject(
        &mut self,
        refusal: Refusal,
        up: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<Option<Heard<S>>, Garbled> {
        self.deny(Protocol::Extended, &refusal, up, out);
        Ok(Some(Heard::Refused(refusal)))
    }

    /// A name that nobody gave. The database itself says so, in its own code (26000 or 34000), so
    /// that drivers that prepare again on it do.
    pub(super) fn unknown(
        &mut self,
        which: Which,
        name: &[u8],
        up: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<Option<Heard<S>>, Garbled> {
        let shown = String::from_utf8_lossy(name);
        let (code, message) = match which {
            Which::Statement => (
                "26000",
                format!("prepared statement \"{shown}\" does not exist"),
            ),
            Which::Portal => ("34000", format!("portal \"{shown}\" does not exist")),
        };
        if self.alone() {
            refusal::failure("ERROR", code, &message, out);
            self.skip = Some(Skip::Local);
        } else {
            // The name itself must not go up: the database may know it though we do not.
            let stand_in = stand_in(&shown);
            match which {
                Which::Statement => bind_nothing(&stand_in, up),
                Which::Portal => describe_portal(stand_in.as_bytes(), up),
            }
            self.extended_goes_up(poison(None, Protocol::Extended));
            self.skip = Some(Skip::Upstream);
        }
        let refusal = Refusal::new(RefusalCode::Protocol, message)
            .detail("the name was not given by this session");
        Ok(Some(Heard::Refused(refusal)))
    }

    /// Why a name cannot be taken.
    pub(super) fn name_refusal(&self, name: &[u8]) -> Option<Refusal> {
        if name.len() > LONGEST_NAME {
            Some(
                Refusal::new(
                    RefusalCode::Limit,
                    format!("a name of {} bytes is too long", name.len()),
                )
                .detail("PostgreSQL tells names apart by their first 63 bytes only")
                .hint("use names of at most 63 bytes"),
            )
        } else if name.starts_with(RESERVED) {
            Some(Refusal::new(
                RefusalCode::Unsupported,
                "names that begin with \"node-agent \" are reserved",
            ))
        } else {
            None
        }
    }

    /// Why there is no room for another name with `size` bytes behind it.
    pub(super) fn room_refusal(&self, name: &[u8], size: usize) -> Option<Refusal> {
        if name.is_empty() {
            return None;
        }
        if self.statements.len() + self.portals.len() >= self.limits.names {
            return Some(
                Refusal::new(
                    RefusalCode::Limit,
                    format!(
                        "more than {} named statements and portals",
                        self.limits.names
                    ),
                )
                .hint("close some, or use the unnamed statement and portal"),
            );
        }
        let held = self.held.load(Ordering::Relaxed);
        if held > 0 && held.saturating_add(size) > self.limits.message {
            return Some(
                Refusal::new(
                    RefusalCode::Limit,
                    format!(
                        "the named statements and portals hold more than {} bytes",
                        self.limits.message
                    ),
                )
                .hint("close some, or use the unnamed statement and portal"),
            );
        }
        None
    }
}

/// A name that cannot exist, and shows which one was meant.
fn stand_in(name: &str) -> String {
    let mut stand_in = format!("node-agent knows no {name}");
    let mut end = stand_in.len().min(LONGEST_NAME);
    while !stand_in.is_char_boundary(end) {
        end -= 1;
    }
    stand_in.truncate(end);
    stand_in
}
