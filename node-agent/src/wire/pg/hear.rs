//! Pure. The client's half of the dialogue.
//!
//! A message is looked at where it lies. Only what must be judged becomes a frame of its own;
//! everything else is checked and copied to the database's side, or answered here.

use bytes::{Buf, Bytes, BytesMut};

use crate::model::{Refusal, RefusalCode};
use crate::wire::reader::part;
use crate::wire::{Asked, CursorLife, Garbled, Heard, Params, Peer, Phase};

use super::bulk::CopyIn;
use super::command::{self, BindFault, Kind, Which};
use super::deny::ready;
use super::frame::{self, HEADER, Header, SMALL};
use super::prepared::Found;
use super::queue::{Due, Protocol};
use super::refusal;
use super::talk::{Held, Portal, Skip, Talk};

/// Appends a Flush.
pub(super) fn flush(up: &mut BytesMut) {
    frame::message(up, b'H', |_| {});
}

/// What a name turned out to be.
enum Name<T> {
    Known(T),
    Unknown,
    Later,
}

type Outcome<S> = Result<Option<Heard<S>>, Garbled>;

impl<S: Clone, E> Talk<S, E> {
    /// Takes the client's next message. See `wire::Talk::hear`.
    pub(super) fn take_message(
        &mut self,
        input: &mut BytesMut,
        up: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Outcome<S> {
        if self.over {
            return Ok(Some(Heard::Quit));
        }
        if self.asked || input.is_empty() {
            return Ok(None);
        }
        if self.bulk.go_on(input, up) {
            return Ok(Some(Heard::Chore));
        }
        if self.held_up() {
            if self.unflushed {
                // The database must answer before we hear more, so it must be asked to.
                flush(up);
                self.unflushed = false;
            }
            return Ok(None);
        }
        let Some(header) = frame::header(Peer::Client, input)? else {
            // An unknown type is known by its first byte; the rest may never come.
            if let Some(byte) = input.first() {
                Kind::of(*byte)?;
            }
            return Ok(None);
        };
        let kind = Kind::of(header.kind)?;
        if kind.small() && header.len > SMALL {
            return Err(Garbled {
                who: Peer::Client,
                expected: "a short message of this type",
                seen: format!("{kind:?} of {} bytes", header.len),
            });
        }
        if let Some(heard) = self.bulk_message(kind, header, input, up)? {
            return Ok(heard);
        }
        if self.skip.is_some() && kind != Kind::Sync && kind != Kind::Terminate {
            self.bulk.drop(header.len, input);
            return Ok(Some(Heard::Chore));
        }
        if header.len > self.limits.message {
            return self.too_large(kind, header, out);
        }
        if input.len() < header.len {
            return Ok(None);
        }
        match kind {
            Kind::Query => self.query(header, input, up, out),
            Kind::Parse => self.parse(header, input, up, out),
            Kind::Bind => self.bind(header, input, up, out),
            Kind::Describe => self.describe(header, input, up, out),
            Kind::Execute => self.execute(header, input, up, out),
            Kind::Close => self.close(header, input, up),
            Kind::Flush => {
                command::empty("an empty Flush", whole(input, header))?;
                self.unflushed = false;
                pass(header, input, up);
                Ok(Some(Heard::Chore))
            }
            Kind::Sync => self.sync(header, input, up, out),
            Kind::FunctionCall => {
                input.advance(header.len);
                let refusal = Refusal::new(
                    RefusalCode::Unsupported,
                    "calling functions by the fast-path message is not supported",
                )
                .hint("call the function in a SELECT");
                self.deny(Protocol::Simple, &refusal, up, out);
                Ok(Some(Heard::Refused(refusal)))
            }
            Kind::Terminate => {
                self.over = true;
                input.clear();
                Ok(Some(Heard::Quit))
            }
            // `bulk_message` has taken these.
            Kind::CopyData | Kind::CopyDone | Kind::CopyFail => Ok(None),
        }
    }

    /// What belongs to a copy from the client. `None`: the message does not.
    fn bulk_message(
        &mut self,
        kind: Kind,
        header: Header,
        input: &mut BytesMut,
        up: &mut BytesMut,
    ) -> Result<Option<Option<Heard<S>>>, Garbled> {
        match (self.bulk.copy, kind) {
            (CopyIn::Open, Kind::CopyData) => {
                self.bulk.pass(input, up)?;
                Ok(Some(Some(Heard::Chore)))
            }
            (CopyIn::Open, Kind::CopyDone | Kind::CopyFail) => {
                if input.len() < header.len {
                    return Ok(Some(None));
                }
                match kind {
                    Kind::CopyFail => command::copy_fail(whole(input, header))?,
                    _ => command::empty("an empty CopyDone", whole(input, header))?,
                }
                self.bulk.copy = CopyIn::Closed;
                pass(header, input, up);
                self.copy_ended(up);
                Ok(Some(Some(Heard::Chore)))
            }
            // The database would ignore these while it reads copy data. They stay here, because if
            // it has failed meanwhile it would not, and nobody could tell which of the two it was.
            (CopyIn::Open, Kind::Sync | Kind::Flush) => {
                if input.len() < header.len {
                    return Ok(Some(None));
                }
                command::empty("an empty Sync or Flush", whole(input, header))?;
                input.advance(header.len);
                Ok(Some(Some(Heard::Chore)))
            }
            (CopyIn::Failed, Kind::CopyData | Kind::CopyDone | Kind::CopyFail) => {
                if kind != Kind::CopyData {
                    self.bulk.copy = CopyIn::Closed;
                }
                self.bulk.drop(header.len, input);
                Ok(Some(Some(Heard::Chore)))
            }
            (CopyIn::Open | CopyIn::Closed | CopyIn::Failed, Kind::Terminate) => Ok(None),
            // Some drivers send copy data without waiting to be told to. It waits here until it is
            // known whether a copy begins; if none does, it is dropped as the database drops it.
            (CopyIn::Closed, Kind::CopyData | Kind::CopyDone | Kind::CopyFail)
                if !self.queue.is_empty() =>
            {
                self.copy_early = true;
                // Nothing more is read meanwhile: there is no end to copy data.
                self.stall(up).map(Some)
            }
            (CopyIn::Closed, Kind::CopyData | Kind::CopyDone | Kind::CopyFail)
                if self.copy_early =>
            {
                self.copy_early = false;
                self.bulk.copy = CopyIn::Failed;
                Ok(Some(Some(Heard::Chore)))
            }
            (CopyIn::Closed, Kind::CopyData | Kind::CopyDone | Kind::CopyFail) => Err(Garbled {
                who: Peer::Client,
                expected: "no copy message outside a copy",
                seen: format!("{kind:?}"),
            }),
            (
                CopyIn::Open,
                Kind::Query
                | Kind::Parse
                | Kind::Bind
                | Kind::Describe
                | Kind::Execute
                | Kind::Close
                | Kind::FunctionCall,
            ) => Err(Garbled {
                who: Peer::Client,
                expected: "copy data or its end",
                seen: format!("{kind:?}"),
            }),
            (
                CopyIn::Closed | CopyIn::Failed,
                Kind::Query
                | Kind::Parse
                | Kind::Bind
                | Kind::Describe
                | Kind::Execute
                | Kind::Close
                | Kind::Flush
                | Kind::Sync
                | Kind::FunctionCall,
            ) => {
                // The client has heard of the failure: it speaks of something else.
                self.bulk.copy = CopyIn::Closed;
                self.copy_early = false;
                Ok(None)
            }
        }
    }

    /// Nothing of the message was read, so nothing behind it can be: the session ends.
    fn too_large(&mut self, kind: Kind, header: Header, out: &mut BytesMut) -> Outcome<S> {
        if self.streaming.is_some() {
            // Half a row is on its way to the client: no error can be put behind it.
            return Err(Garbled {
                who: Peer::Client,
                expected: "a message within the limit",
                seen: format!("{kind:?} of {} bytes", header.len),
            });
        }
        let refusal = Refusal::fatal(
            RefusalCode::Limit,
            format!(
                "a message of {} bytes is larger than the limit of {} bytes",
                header.len, self.limits.message
            ),
        )
        .hint("send large data by COPY, or in several statements");
        refusal::refuse(&refusal, out);
        self.over = true;
        Ok(Some(Heard::Refused(refusal)))
    }

    fn query(
        &mut self,
        header: Header,
        input: &mut BytesMut,
        up: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Outcome<S> {
        let frame = input.split_to(header.len).freeze();
        match command::utf8(command::query(&frame)?) {
            Ok(text) => self.ask(Phase::Run { text }, frame),
            Err(why) => {
                let refusal = Refusal::new(RefusalCode::Protocol, why);
                self.deny(Protocol::Simple, &refusal, up, out);
                Ok(Some(Heard::Refused(refusal)))
            }
        }
    }

    fn parse(
        &mut self,
        header: Header,
        input: &mut BytesMut,
        up: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Outcome<S> {
        let frame = input.split_to(header.len).freeze();
        let parsed = command::parse(&frame)?;
        let refusal = self
            .name_refusal(&parsed.name)
            .or_else(|| self.room_refusal(&parsed.name, parsed.text.len()));
        if let Some(refusal) = refusal {
            return self.reject(refusal, up, out);
        }
        match command::utf8(parsed.text) {
            Ok(text) => self.ask(
                Phase::Prepare {
                    text,
                    name: parsed.name,
                },
                frame,
            ),
            Err(why) => self.reject(Refusal::new(RefusalCode::Protocol, why), up, out),
        }
    }

    fn bind(
        &mut self,
        header: Header,
        input: &mut BytesMut,
        up: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Outcome<S> {
        let bound = match command::bind(frame::body(whole(input, header))) {
            Ok(bound) => bound,
            Err(BindFault::Garbled(garbled)) => return Err(garbled),
            Err(BindFault::Format) => {
                input.advance(header.len);
                let refusal = Refusal::new(
                    RefusalCode::Protocol,
                    "a Bind names formats that are neither text nor binary, or too few of them",
                );
                return self.reject(refusal, up, out);
            }
        };
        let (section, results) = (bound.section, bound.results);
        let portal = bound.portal.to_vec(); // empty for the unnamed one: nothing is allocated
        let found = match self.statement(bound.statement) {
            Name::Known(found) => found,
            Name::Later => return self.stall(up),
            Name::Unknown => {
                let name = bound.statement.to_vec();
                input.advance(header.len);
                return self.unknown(Which::Statement, &name, up, out);
            }
        };
        let size = header.len.saturating_sub(HEADER + section);
        let refusal = self
            .name_refusal(&portal)
            .or_else(|| self.room_refusal(&portal, size));
        if let Some(refusal) = refusal {
            input.advance(header.len);
            return self.reject(refusal, up, out);
        }
        let frame = input.split_to(header.len).freeze();
        up.extend_from_slice(&frame);
        let section = part(&frame, HEADER + section..frame.len());
        // A named portal may live long, and must not keep a whole read buffer alive with it.
        let (section, held) = if portal.is_empty() {
            (section, None)
        } else {
            let held = Held::new(&self.held, section.len());
            (Bytes::copy_from_slice(&section), Some(held))
        };
        let (kept, statement, types) = found;
        let value = Portal {
            kept,
            statement,
            formats: results,
            params: Params {
                types: types.clone(),
                ..command::params(&section)?
            },
            types,
            _held: held,
            executed: false,
            describing: false,
            described: None,
            life: CursorLife::Transaction,
        };
        self.portals.change(&portal, self.segment, Some(value));
        self.extended_goes_up(Due::Bind(portal.into()));
        Ok(Some(Heard::Chore))
    }

    fn describe(
        &mut self,
        header: Header,
        input: &mut BytesMut,
        up: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Outcome<S> {
        let (which, name) = command::named("a Describe", whole(input, header))?;
        let known = match which {
            Which::Statement => match self.statement(name) {
                Name::Known(_) => Name::Known(()),
                Name::Unknown => Name::Unknown,
                Name::Later => Name::Later,
            },
            Which::Portal => match self.portal(name) {
                Name::Known(portal) => {
                    portal.describing = true;
                    Name::Known(())
                }
                Name::Unknown => Name::Unknown,
                Name::Later => Name::Later,
            },
        };
        match known {
            Name::Known(()) => {
                let name = name.into();
                pass(header, input, up);
                self.extended_goes_up(Due::Describe {
                    which,
                    name,
                    hidden: false,
                    parameters: false,
                });
                Ok(Some(Heard::Chore))
            }
            Name::Later => self.stall(up),
            Name::Unknown => {
                let name = name.to_vec();
                input.advance(header.len);
                self.unknown(which, &name, up, out)
            }
        }
    }

    fn execute(
        &mut self,
        header: Header,
        input: &mut BytesMut,
        up: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Outcome<S> {
        let name = command::execute(whole(input, header))?;
        let (statement, params, resumed) = match self.portal(name) {
            Name::Known(portal) => (
                portal.kept.clone(),
                std::mem::take(&mut portal.params),
                portal.executed,
            ),
            Name::Later => return self.stall(up),
            Name::Unknown => {
                let name = name.to_vec();
                input.advance(header.len);
                return self.unknown(Which::Portal, &name, up, out);
            }
        };
        let end = HEADER + name.len();
        let frame = input.split_to(header.len).freeze();
        let portal = part(&frame, HEADER..end);
        self.ask(
            Phase::Execute {
                statement,
                params,
                resumed,
                portal,
            },
            frame,
        )
    }

    fn close(&mut self, header: Header, input: &mut BytesMut, up: &mut BytesMut) -> Outcome<S> {
        let (which, name) = command::named("a Close", whole(input, header))?;
        // Closing what is not there is no error to the database, so an unknown name may pass.
        match which {
            Which::Statement => self.statements.change(name, self.segment, None),
            Which::Portal => self.portals.change(name, self.segment, None),
        }
        let name = name.into();
        pass(header, input, up);
        self.extended_goes_up(Due::Close(which, name));
        Ok(Some(Heard::Chore))
    }

    fn sync(
        &mut self,
        header: Header,
        input: &mut BytesMut,
        up: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Outcome<S> {
        command::empty("an empty Sync", whole(input, header))?;
        self.segment += 1;
        match self.skip.take() {
            Some(Skip::Local) => {
                input.advance(header.len);
                ready(out);
            }
            None | Some(Skip::Upstream) => {
                pass(header, input, up);
                self.queue.push(Due::Sync);
                self.begun = false;
                self.unsynced = false;
                self.unflushed = false;
            }
        }
        Ok(Some(Heard::Chore))
    }

    fn ask(&mut self, phase: Phase<S>, frame: Bytes) -> Outcome<S> {
        self.asked = true;
        Ok(Some(Heard::Asked(Asked { phase, frame })))
    }

    /// The message hangs on an answer: it stays where it is, and the database is asked to send
    /// what it has.
    fn stall(&mut self, up: &mut BytesMut) -> Outcome<S> {
        if self.unflushed {
            flush(up);
            self.unflushed = false;
        }
        self.stalled = true;
        Ok(None)
    }

    /// What a statement's name stands for: the session's value, the statement's id and the types of
    /// its parameters.
    fn statement(&mut self, name: &[u8]) -> Name<(S, u64, Bytes)> {
        // SQL can make and drop named statements, never the unnamed one.
        if !name.is_empty() && self.queue.changing_names() > 0 {
            return Name::Later;
        }
        match self.statements.find(name, self.segment) {
            Found::Known { value, .. } => {
                Name::Known((value.kept.clone(), value.id, value.types.clone()))
            }
            Found::Unknown { .. } => Name::Unknown,
            Found::Later => Name::Later,
        }
    }

    /// What a portal's name stands for.
    fn portal(&mut self, name: &[u8]) -> Name<&mut Portal<S>> {
        if !name.is_empty() && self.queue.changing_names() > 0 {
            return Name::Later;
        }
        let boundaries = self.queue.boundaries();
        match self.portals.find(name, self.segment) {
            // A transaction may end at each outstanding ReadyForQuery, and its portals with it.
            Found::Known { fresh: false, .. } if boundaries > 0 => Name::Later,
            Found::Known { value, .. } => Name::Known(value),
            Found::Unknown { .. } => Name::Unknown,
            Found::Later => Name::Later,
        }
    }
}

/// The frame at the front of `input`, which holds all of it.
fn whole(input: &BytesMut, header: Header) -> &[u8] {
    input.get(..header.len).unwrap_or_default()
}

/// Moves a frame on as it is.
fn pass(header: Header, input: &mut BytesMut, up: &mut BytesMut) {
    up.extend_from_slice(input.get(..header.len).unwrap_or_default());
    input.advance(header.len.min(input.len()));
}
