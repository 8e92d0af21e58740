//! Pure. The database's half of the dialogue.
//!
//! Every message is read in its state: what was not asked for closes the connection, whoever put
//! it into the stream. Rows are counted where they lie, as many at once as are there.

use std::cell::OnceCell;
use std::sync::Arc;

use crate::wire::{Answer, Garbled, Peer, ServerError, Transaction};

use super::answer::{self, Described, Kind};
use super::bulk::CopyIn;
use super::command::Which;
use super::count::{How, Stage};
use super::frame::{self, HEADER, Header};
use super::prepared::Name;
use super::queue::{Due, Flow, Step};
use super::refusal;
use super::talk::{Owner, Shown, Skip, Streaming, Talk};

impl<S: Clone, E> Talk<S, E> {
    /// Takes the database's next answer. See `wire::Talk::listen`.
    pub(super) fn take_answer(
        &mut self,
        input: &[u8],
        piece: usize,
    ) -> Result<Option<(usize, Answer)>, Garbled> {
        if input.is_empty() {
            return Ok(None);
        }
        if let Some(streaming) = self.streaming {
            return Ok(Some(self.stream(streaming, input, false)));
        }
        let Some(header) = frame::header(Peer::Server, input)? else {
            return Ok(None);
        };
        let kind = Kind::of(header.kind)?;
        match kind {
            Kind::DataRow | Kind::CopyData => return self.rows(kind, header, input, piece),
            _ if header.len > self.limits.message => {
                return Err(Garbled {
                    who: Peer::Server,
                    expected: "a message within the limit",
                    seen: format!("{kind:?} of {} bytes", header.len),
                });
            }
            _ => {}
        }
        let Some(frame) = input.get(..header.len) else {
            return Ok(None);
        };
        self.begin();
        let answer = match kind {
            Kind::Error => self.error(refusal::read("an ErrorResponse", frame::body(frame))?)?,
            Kind::Notice => {
                self.belongs_to_running();
                Answer::Notice(refusal::read("a NoticeResponse", frame::body(frame))?)
            }
            Kind::Notification => {
                answer::notification(frame)?;
                Answer::Notification
            }
            Kind::Parameter => {
                self.belongs_to_running();
                let (name, value) = answer::parameter(frame)?;
                same_meaning(&name, &value)?;
                Answer::Parameter { name, value }
            }
            kind => self.expected(kind, frame)?,
        };
        Ok(Some((header.len, answer)))
    }

    /// A new answer: what the last one left behind is over.
    pub(super) fn begin(&mut self) {
        self.stalled = false;
        if self.owner == Owner::Ended {
            self.shown = Shown::Nothing;
            self.ended = None;
        }
        self.owner = Owner::Nobody;
    }

    fn belongs_to_running(&mut self) {
        if self
            .queue
            .running()
            .is_some_and(|run| run.execution.is_some())
        {
            self.owner = Owner::Running;
        }
    }

    /// The first answer to an Execute: from here on its head is the one of its portal.
    fn show(&mut self) {
        let fresh = match self.queue.front() {
            Some(Due::Execute { portal, run }) => Some((portal, run)),
            Some(Due::Counted(counted))
                if counted.how == How::Joined && counted.stage == Stage::Running =>
            {
                Some((&counted.portal, &counted.run))
            }
            Some(_) | None => None,
        };
        if let Some((portal, run)) = fresh
            && run.flow == Flow::Fresh
        {
            self.patched = OnceCell::new();
            if let Some(instead) = &run.instead {
                self.shown = match &instead.described {
                    Some(described) => Shown::Exact(Arc::clone(described)),
                    None => Shown::Nothing,
                };
                return;
            }
            self.shown = match self.portals.confirmed(portal) {
                None => Shown::Nothing,
                Some(portal) => match (&portal.described, self.heads.get(&portal.statement)) {
                    (Some(described), _) => Shown::Exact(Arc::clone(described)),
                    (None, Some(described)) => {
                        Shown::OfStatement(Arc::clone(described), portal.formats.clone())
                    }
                    (None, None) => Shown::Nothing,
                },
            };
        }
    }

    /// An answer that something outstanding must have asked for.
    fn expected(&mut self, kind: Kind, frame: &[u8]) -> Result<Answer, Garbled> {
        if self.queue.own().is_some() {
            return self.answered(kind, frame);
        }
        if self.is_around(kind) {
            return self.around(kind, frame);
        }
        self.show();
        let step = self
            .queue
            .step(kind)
            .map_err(|expected| unexpected(expected, kind))?;
        Ok(match step {
            Step::Prepared(name) => {
                answer::empty("an empty ParseComplete", frame)?;
                let old = self.statements.confirm(&name);
                self.forget(old);
                Answer::Control
            }
            Step::Bound(name) => {
                answer::empty("an empty BindComplete", frame)?;
                self.portals.confirm(&name);
                Answer::Control
            }
            Step::Closed(which, name) => {
                answer::empty("an empty CloseComplete", frame)?;
                match which {
                    Which::Statement => {
                        let old = self.statements.confirm(&name);
                        self.forget(old);
                    }
                    Which::Portal => {
                        self.portals.confirm(&name);
                    }
                }
                Answer::Control
            }
            Step::Parameters => {
                answer::parameters(frame)?;
                Answer::Control
            }
            Step::Aside => {
                if kind == Kind::RowDescription {
                    let described = self.described(kind, frame)?;
                    if let Some(instead) = self.queue.running().and_then(|r| r.instead.as_mut()) {
                        instead.described = Some(described);
                    }
                } else {
                    answer::empty("an empty answer", frame)?;
                }
                Answer::Hidden
            }
            Step::Described {
                which,
                name,
                hidden,
            } => {
                let described = self.described(kind, frame)?;
                self.keep_head(which, &name, described);
                if hidden {
                    Answer::Hidden
                } else {
                    Answer::Control
                }
            }
            Step::Head => {
                self.patched = OnceCell::new();
                self.shown = Shown::Exact(self.described(kind, frame)?);
                self.owner = Owner::Running;
                Answer::Head
            }
            Step::Done(over) => {
                if self.bulk.copy == CopyIn::Open {
                    return Err(unexpected(
                        "CommandComplete only after the client's end",
                        kind,
                    ));
                }
                let (tag, rows) = match kind {
                    Kind::CommandComplete => answer::complete(frame)?,
                    _ => {
                        answer::empty("an empty EmptyQueryResponse", frame)?;
                        (String::new(), None)
                    }
                };
                if let Some(counted) = self.queue.counted() {
                    counted.tag(&tag, rows);
                }
                self.handed_back(over);
                Answer::Done { tag, rows }
            }
            Step::Suspended(over) => {
                answer::empty("an empty PortalSuspended", frame)?;
                self.handed_back(over);
                Answer::Suspended
            }
            Step::CopyIn => {
                answer::copy(frame)?;
                let extended = match self.queue.front() {
                    Some(Due::Execute { .. }) => true,
                    Some(Due::Counted(counted)) => counted.how == How::Joined,
                    Some(_) | None => false,
                };
                if extended {
                    self.unsynced = true;
                }
                self.queue.copy_swallows_syncs();
                self.bulk.copy = CopyIn::Open;
                self.shown = Shown::Nothing;
                self.owner = Owner::Running;
                Answer::CopyIn
            }
            Step::CopyOut => {
                answer::copy(frame)?;
                self.shown = Shown::Nothing;
                self.owner = Owner::Running;
                Answer::CopyOut
            }
            Step::CopyEnd => {
                answer::empty("an empty CopyDone", frame)?;
                self.owner = Owner::Running;
                Answer::Control
            }
            Step::Ready { over, query } => {
                self.transaction = answer::ready(frame)?;
                self.group_over(query, over)
            }
            // Rows and copy data are scanned in runs, never one by one.
            Step::Row | Step::CopyRow => return Err(unexpected("a run of rows", kind)),
        })
    }

    /// An execution that is over is handed back; one that is not goes on.
    fn handed_back(&mut self, over: Option<E>) {
        match over {
            Some(_) => {
                self.ended = over;
                self.owner = Owner::Ended;
            }
            None => self.owner = Owner::Running,
        }
    }

    /// ReadyForQuery, as the client sees it.
    pub(super) fn group_over(&mut self, query: bool, over: Option<E>) -> Answer {
        self.settles();
        if query {
            self.confirm_query();
        }
        self.end_portals();
        if over.is_some() {
            self.ended = over;
            self.owner = Owner::Ended;
        }
        Answer::Ready {
            transaction: self.transaction,
        }
    }

    /// Outside a transaction no portal is left of it.
    pub(super) fn end_portals(&mut self) {
        if self.transaction == Transaction::Idle {
            self.portals
                .retain(|_, portal| portal.life == crate::wire::CursorLife::Session);
        }
    }

    fn described(&mut self, kind: Kind, frame: &[u8]) -> Result<Arc<Described>, Garbled> {
        match kind {
            Kind::RowDescription => self.cache.read(frame),
            _ => {
                answer::empty("an empty NoData", frame)?;
                Ok(Arc::default())
            }
        }
    }

    fn keep_head(&mut self, which: Which, name: &Name, described: Arc<Described>) {
        match which {
            Which::Portal => {
                if let Some(portal) = self.portals.confirmed_mut(name) {
                    portal.described = Some(described);
                    portal.describing = false;
                }
            }
            Which::Statement => {
                if let Some(statement) = self.statements.confirmed(name) {
                    self.heads.insert(statement.id, described);
                }
            }
        }
    }

    fn error(&mut self, error: ServerError) -> Result<Answer, Garbled> {
        let fatal = refusal::ends_session(&error);
        if !fatal && self.queue.own().is_some() {
            return self.own_failed(error);
        }
        if let Some(counted) = self.queue.counted()
            && !fatal
            && counted.forgives(&error.code)
        {
            counted.stage = Stage::Unestimated;
            return Ok(Answer::Hidden);
        }
        self.show();
        let fault = match self.queue.fail() {
            Ok(fault) => fault,
            // A database that shuts down says so to idle sessions too.
            Err(_) if fatal => return Ok(Answer::Failed(error)),
            Err(expected) => return Err(unexpected(expected, Kind::Error)),
        };
        if fault.hidden {
            return Ok(Answer::Hidden);
        }
        // What failed may have been a copy whose data is on the way already.
        self.copy_early = true;
        if fault.copying && self.bulk.copy == CopyIn::Open {
            self.bulk.copy = CopyIn::Failed;
        }
        if fault.open && self.skip.is_none() {
            self.skip = Some(Skip::Upstream);
        }
        self.failed_text = matches!(fault.dropped.first(), Some(Due::Parse(_)));
        // A failed Parse of the unnamed statement has dropped the one before.
        let unnamed_gone =
            matches!(fault.dropped.first(), Some(Due::Parse(name)) if name.is_empty());
        for due in fault.dropped {
            self.withdraw(due);
        }
        if unnamed_gone {
            let old = self.statements.set(b"", None);
            self.forget(old);
        }
        if fault.over.is_some() {
            self.ended = fault.over;
            self.owner = Owner::Ended;
        }
        Ok(match fault.refusal {
            // The session ends for the database's own reason, which is the one to tell.
            Some(_) if fatal => Answer::Failed(error),
            Some(refusal) => Answer::Refused(*refusal),
            None => Answer::Failed(error),
        })
    }

    /// Something outstanding failed, or was skipped because something before it did.
    fn withdraw(&mut self, due: Due<E>) {
        match due {
            Due::Parse(name) | Due::Close(Which::Statement, name) => {
                self.statements.withdraw(&name);
            }
            Due::Bind(name) | Due::Close(Which::Portal, name) => {
                self.portals.withdraw(&name);
            }
            Due::Describe {
                which: Which::Portal,
                name,
                ..
            } => {
                if let Some(portal) = self.portals.confirmed_mut(&name) {
                    portal.describing = false;
                }
            }
            Due::Execute { run, .. } => self.skipped.extend(run.execution),
            Due::Counted(counted) => {
                self.skipped.extend(counted.run.execution);
                if counted.how != How::Joined {
                    self.query_never_ran();
                }
            }
            Due::Run { run } => {
                self.skipped.extend(run.execution);
                self.query_never_ran();
            }
            Due::Poison {
                protocol: super::queue::Protocol::Simple,
                ..
            } => self.query_never_ran(),
            Due::Poison {
                protocol: super::queue::Protocol::Extended,
                ..
            }
            | Due::Describe {
                which: Which::Statement,
                ..
            }
            | Due::Own(_)
            | Due::Sync => {}
        }
    }

    fn query_never_ran(&mut self) {
        self.statements.withdraw(b"");
        self.portals.withdraw(b"");
    }

    /// A run of rows or of copy data, or a piece of one that is too large for the buffer.
    fn rows(
        &mut self,
        kind: Kind,
        first: Header,
        input: &[u8],
        piece: usize,
    ) -> Result<Option<(usize, Answer)>, Garbled> {
        let row = kind == Kind::DataRow;
        if self.queue.counted().is_some_and(|counted| counted.reads()) {
            return self.reading(kind, first, input);
        }
        if row && self.queue.own().is_some() {
            return self.own_row(first, input);
        }
        let whole = self.queue.running().is_some_and(|run| run.whole);
        if whole && first.len > self.limits.message {
            // A mask plan reads whole rows, and memory is bounded: beyond it there is no answer.
            return Err(Garbled {
                who: Peer::Server,
                expected: "a row within the limit of a message, since its columns are judged",
                seen: format!("{} bytes", first.len),
            });
        }
        if input.len() >= first.len {
            self.begin();
            self.row_step(kind)?;
            let longest = if whole {
                self.limits.message
            } else {
                usize::MAX
            };
            let (span, count) = self.scan(first.kind, input, longest)?;
            let answer = if row {
                Answer::Rows { count }
            } else {
                Answer::CopyRows { count }
            };
            return Ok(Some((span, answer)));
        }
        if whole {
            return Ok(None);
        }
        if input.len() < piece {
            return Ok(None);
        }
        self.begin();
        self.row_step(kind)?;
        if row {
            self.check_width(input)?;
        }
        Ok(Some(self.stream(
            Streaming {
                left: first.len,
                row,
            },
            input,
            true,
        )))
    }

    fn row_step(&mut self, kind: Kind) -> Result<(), Garbled> {
        self.show();
        self.queue
            .step(kind)
            .map_err(|expected| unexpected(expected, kind))?;
        self.owner = Owner::Running;
        Ok(())
    }

    /// How far whole frames of type `kind` reach, and how many they are.
    fn scan(&self, kind: u8, input: &[u8], longest: usize) -> Result<(usize, u64), Garbled> {
        let width = self.width().filter(|_| kind == b'D');
        let mut rest = input;
        let mut count = 0_u64;
        while let Some(&[here, a, b, c, d]) = rest.first_chunk::<HEADER>() {
            if here != kind {
                break;
            }
            let len = u32::from_be_bytes([a, b, c, d]) as usize;
            let Some((frame, behind)) = rest.split_at_checked(len.saturating_add(1)) else {
                break;
            };
            // A bad frame behind good ones is met again, alone.
            let good = len >= 4 && len < longest && (kind != b'D' || fits(frame, width));
            if !good && count > 0 {
                break;
            }
            if !good {
                return Err(bad_row());
            }
            rest = behind;
            count += 1;
        }
        Ok((input.len() - rest.len(), count))
    }

    fn width(&self) -> Option<usize> {
        match &self.shown {
            Shown::Nothing => None,
            Shown::Exact(described) | Shown::OfStatement(described, _) => {
                Some(described.head.columns.len())
            }
        }
    }

    fn check_width(&self, frame: &[u8]) -> Result<(), Garbled> {
        if fits(frame, self.width()) {
            Ok(())
        } else {
            Err(bad_row())
        }
    }

    /// Delivers what is there of a large frame.
    fn stream(&mut self, streaming: Streaming, input: &[u8], first: bool) -> (usize, Answer) {
        let span = streaming.left.min(input.len());
        let left = streaming.left - span;
        self.streaming = (left > 0).then_some(Streaming { left, ..streaming });
        (
            span,
            Answer::Piece {
                first,
                last: left == 0,
                row: streaming.row,
            },
        )
    }
}

/// Whether a row has as many columns as its head: masks act by position.
fn fits(frame: &[u8], width: Option<usize>) -> bool {
    match (
        frame.get(HEADER..).and_then(|body| body.first_chunk()),
        width,
    ) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(count), Some(width)) => usize::from(u16::from_be_bytes(*count)) == width,
    }
}

/// Both say what the bytes of a statement mean, and were right at login. However they came to change,
/// from here on the database would read another statement than the one that was judged.
fn same_meaning(name: &str, value: &str) -> Result<(), Garbled> {
    let (expected, kept) = match name {
        "client_encoding" => ("client_encoding to stay UTF8", value == "UTF8"),
        "standard_conforming_strings" => ("standard_conforming_strings to stay on", value == "on"),
        _ => return Ok(()),
    };
    if kept {
        return Ok(());
    }
    Err(Garbled {
        who: Peer::Server,
        expected,
        seen: "another value".to_owned(),
    })
}

fn bad_row() -> Garbled {
    Garbled {
        who: Peer::Server,
        expected: "a row with the columns of its head",
        seen: "another number of columns, or a row cut short".to_owned(),
    }
}

pub(super) fn unexpected(expected: &'static str, kind: Kind) -> Garbled {
    Garbled {
        who: Peer::Server,
        expected,
        seen: format!("{kind:?}"),
    }
}
