//! The loop: bytes in from both sides, bytes out to both sides, and the reasons to end.
//!
//! One task, one `poll_fn`: nothing is split, nothing is locked. Neither side is read while the
//! other's outgoing bytes pile up, so memory stays flat whatever a peer does.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::task::JoinSet;

use crate::approval::{Binder, Binding, Gate, Rest};
use crate::model::{Principal, Reference, Refusal, SessionId, StatementSeq};
use crate::pace;
use crate::policy::{Identity, PolicySet};
use crate::record::{SessionRecorder, Why};
use crate::sql::{Purpose, Scope};
use crate::telemetry::LiveGuard;
use crate::upstream::{Endpoint, Leg, Link, Lookup};
use crate::wire::{FrontLimits, Garbled, Peer, Wire};

use super::beside::Settings;
use super::cancel::CancelGuard;
use super::close::Closing;
use super::execution::Execution;
use super::found::Totals;
use super::hold::Held;
use super::keep::Keeping;
use super::login::Opened;
use super::names::Known;
use super::verdict::Prepared;
use super::watch::{Ended, Watch};
use super::{Arrived, Shared};

/// Bytes waiting for one side above which the other is not read.
const HIGH_WATER: usize = 256 << 10;
/// What one read takes at most; also the machine's bound for "a frame larger than the buffer".
const READ: usize = 64 << 10;
/// Rounds after each of which more had come already: so many, and the other sessions of this thread
/// have their turn. About a megabyte.
const TURN: u32 = 16;
/// What one read takes while little is coming.
const IDLE_READ: usize = 4 << 10;
/// The largest buffer that an idle session keeps.
const IDLE_KEPT: usize = 512;

/// Statements as this session's dialogue keeps them.
pub(super) type Dialogue<W> = Link<W, Arc<Prepared>, Execution>;

/// A logged-in session.
pub(super) struct Session<W: Wire> {
    pub(super) shared: Arc<Shared>,
    pub(super) id: SessionId,
    pub(super) arrived: Box<Arrived>,
    pub(super) principal: Arc<Principal>,
    pub(super) endpoint: Endpoint,
    pub(super) database: String,
    pub(super) role: String,
    pub(super) application: Option<String>,
    /// What `application_name` says of the purpose of all statements.
    pub(super) purpose: Option<Arc<Purpose>>,
    /// Whose budgets are spent.
    pub(super) identity: Identity,
    pub(super) recorder: SessionRecorder,
    pub(super) live: LiveGuard,
    pub(super) known: Known,
    pub(super) lookup: Arc<Lookup>,
    /// Where unqualified names may be looked for.
    pub(super) scope: Scope,
    pub(super) seq: u64,
    pub(super) link: Dialogue<W>,
    /// Something outstanding may have a limit of time.
    pub(super) timed: bool,
    /// Something outstanding, or the open transaction, touches what has a mask.
    pub(super) touched: bool,
    /// Something of the open transaction, or of the outstanding group, was undone.
    pub(super) undone: bool,
    /// The answer that comes in pieces is dropped, from its first piece on.
    pub(super) dropping: bool,
    /// The row that comes in pieces goes to the record.
    pub(super) piece_kept: bool,
    /// What the content net found, by where and what it looks like.
    pub(super) found: Totals,
    /// Rows that the record must have before the client gets them.
    pub(super) owed: Option<crate::record::Delivered>,
    /// For the client, in order.
    pub(super) out: BytesMut,
    /// From the database, not yet relayed.
    pub(super) answers: Intake,
    /// The client was told by the database that the session is over.
    pub(super) told: bool,
    pub(super) client: Leg,
    pub(super) client_in: Intake,
    pub(super) upstream: Leg,
    client_flush: bool,
    upstream_flush: bool,
    /// Rounds since there was last nothing to do.
    busy: u32,
    pub(super) server_key: (u32, Vec<u8>),
    /// Cancel requests under way. Nothing new is heard until the database has taken them: one that
    /// came late would hit the next statement.
    pub(super) cancelling: JoinSet<()>,
    /// The agent has asked the database to cancel something of this session.
    pub(super) cancelled: bool,
    /// While it may be: what is needed to keep the connection for another session.
    pub(super) keeping: Option<Keeping>,
    pub(super) cancel: CancelGuard,
    /// The statement that waits for a human.
    pub(super) held: Option<Box<Held>>,
    /// What the open transaction has done whose COMMIT a rule holds.
    pub(super) gate: Gate,
    /// That COMMIT, while the database is asked what it would commit, or undoes it.
    pub(super) closing: Option<Box<Closing>>,
    /// Reviewers were asked about something of this session.
    pub(super) asked_reviewers: bool,
    /// Answers that may be read on by the grant that began them, by portal, while these policies are in force.
    pub(super) rests: HashMap<Bytes, (Rest, Arc<str>)>,
    /// Stands for the settings that were asked for at login and for what may have changed them since, in order.
    pub(super) settings: Binding,
    /// The same, as far as they can be made again beside it.
    pub(super) settings_made: Box<Settings>,
    /// Statements of the open transaction that were sent.
    pub(super) in_transaction: u64,
}

/// Why a round came to nothing.
enum Stopped {
    Here(Why),
    Outside(Ended),
}

/// What a wait brought.
enum Woke {
    /// Bytes moved; look again.
    Moved,
    /// The client closed its side.
    ClientGone,
    /// The database closed its side.
    UpstreamGone,
    /// A reason to end.
    Ended(Ended),
}

impl<W: Wire> Session<W> {
    pub(super) fn new(shared: Arc<Shared>, opened: Opened) -> Self {
        let limits = FrontLimits {
            message: opened.arrived.reachable.target.limits.message_bytes,
            ..FrontLimits::default()
        };
        let lookup = shared.catalogues.of(
            &opened.arrived.reachable.target.name,
            &opened.endpoint,
            &opened.back_login,
        );
        let greeted = opened.database.greeted;
        let application = opened.hello.application.as_deref();
        let purpose = application.map(Purpose::of_application);
        let user = &opened.principal.user;
        let settings = opened.hello.settings.iter();
        let settings = settings.fold(Binder::default(), |binder, (name, value)| {
            binder.with(name, value)
        });
        Session {
            id: opened.session,
            purpose: purpose.filter(|said| !said.is_empty()).map(Arc::new),
            identity: Identity {
                issuer: user.issuer.as_str().into(),
                subject: user.subject.as_str().into(),
            },
            principal: opened.principal,
            endpoint: opened.endpoint,
            database: opened.back_login.database,
            role: opened.back_login.user,
            application: opened.hello.application,
            recorder: opened.recorder,
            live: opened.live,
            known: Known::default(),
            lookup,
            scope: opened.scope,
            seq: 0,
            link: Link::new(limits),
            timed: false,
            touched: false,
            undone: false,
            dropping: false,
            piece_kept: false,
            found: Totals::default(),
            owed: None,
            out: BytesMut::new(),
            told: false,
            answers: Intake::new(opened.database.rest),
            client: opened.client,
            client_in: Intake::new(opened.client_rest),
            upstream: opened.database.leg,
            client_flush: false,
            upstream_flush: false,
            busy: 0,
            server_key: (greeted.process, greeted.secret),
            cancelling: JoinSet::new(),
            cancelled: false,
            keeping: opened.keeping,
            arrived: opened.arrived,
            shared,
            cancel: opened.cancel,
            held: None,
            gate: Gate::default(),
            closing: None,
            asked_reviewers: false,
            rests: HashMap::new(),
            settings: settings.bound(),
            settings_made: Settings::of_login(opened.back_login.settings),
            in_transaction: 0,
        }
    }

    /// Serves until there is a reason to end; the record's last event is that reason.
    pub(super) async fn serve(&mut self) -> Why {
        let mut watch = Watch::new(&self.shared, &self.live, self.principal.user.expires);
        let why = match self.talk(&mut watch).await {
            Ok(never) => match never {},
            Err(why) => why,
        };
        if let Some(mut held) = self.held.take() {
            // Withdrawn before anything else: what its client does not wait for does not run.
            held.gone(&why);
        }
        if self.asked_reviewers {
            self.shared.desk.session_over(self.id).await;
        }
        self.part(&why).await;
        self.close_executions();
        self.report_all();
        self.recorder.close_with(why.clone(), self.client.carried());
        why
    }

    async fn talk(&mut self, watch: &mut Watch) -> Result<std::convert::Infallible, Why> {
        loop {
            // Judging and masking may have to wait for the catalogue or the record. What ends the
            // session does not wait with them; a round that is given up has no next.
            let round = tokio::select! {
                biased;
                round = self.round() => round,
                ended = watch.over() => Err(Stopped::Outside(ended)),
            };
            match round {
                Ok(()) => {}
                Err(Stopped::Here(why)) => return Err(why),
                Err(Stopped::Outside(ended)) => self.ended(ended)?,
            }
            self.watch_time(watch);
            match self.wait(watch).await.map_err(|side| match side {
                Peer::Client => Why::ClientGone,
                Peer::Server => self.upstream_gone(),
            })? {
                Woke::Moved => self.take_turns().await,
                Woke::ClientGone => return Err(Why::ClientGone),
                Woke::UpstreamGone => return Err(self.upstream_gone()),
                Woke::Ended(ended) => self.ended(ended)?,
            }
        }
    }

    /// A session that always has something to do lets others do something too.
    async fn take_turns(&mut self) {
        self.busy += 1;
        if self.busy >= TURN {
            self.busy = 0;
            tokio::task::yield_now().await;
        }
    }

    async fn round(&mut self) -> Result<(), Stopped> {
        // Answers first: what the client said may have to wait for one of them, and after it
        // nothing but new bytes would wake this task again.
        self.relay_answers().await.map_err(Stopped::Here)?;
        if self.held.is_some() {
            Box::pin(self.ruled()).await.map_err(Stopped::Here)?;
        }
        if self.closing.is_some() {
            Box::pin(self.closes()).await.map_err(Stopped::Here)?;
        }
        self.hear_client().await.map_err(Stopped::Here)?;
        self.link.advance();
        Ok(())
    }

    /// The latest statement's reference.
    pub(super) fn reference(&self) -> Reference {
        Reference {
            session: self.id,
            seq: StatementSeq(self.seq),
        }
    }

    /// The policies of this moment.
    pub(super) fn policies(&self) -> Arc<PolicySet> {
        self.shared.policies.load_full()
    }

    /// Hears every whole message the client has sent, as far as the bounds allow.
    async fn hear_client(&mut self) -> Result<(), Why> {
        // A dialogue at its bound still has to be asked: it makes the database answer.
        while self.may_hear() && self.held.is_none() && self.closing.is_none() {
            let from = (self.link.copies_in()).then(|| self.link.going_up().len());
            match self.link.hear(&mut self.client_in.bytes, &mut self.out) {
                Ok(None) => return Ok(()),
                Ok(Some(heard)) => {
                    if let Some(from) = from {
                        self.copied_in(from).await?;
                    }
                    self.heard(heard).await?;
                }
                Err(garbled) => return Err(self.garbled(&garbled)),
            }
        }
        Ok(())
    }

    /// Whether there is room for what the client says, and nothing that must come before it.
    fn may_hear(&self) -> bool {
        let room = self.link.backlog() < HIGH_WATER && self.out.len() < HIGH_WATER;
        room && self.cancelling.is_empty()
    }

    /// Nothing is heard behind a statement that is counted or waits for a human. The client is listened to
    /// all the same, up to a bound: what one that is gone wanted must not run, or be committed.
    fn listens_ahead(&self) -> bool {
        let waits = self.held.is_some() || self.closing.is_some() || self.link.counting();
        waits && self.client_in.bytes.len() < HIGH_WATER
    }

    fn garbled(&mut self, garbled: &Garbled) -> Why {
        let refusal = Refusal::fatal(crate::model::RefusalCode::Protocol, garbled.to_string());
        self.last_word(refusal);
        match garbled.who {
            Peer::Client => Why::ClientGarbled(garbled.to_string()),
            Peer::Server => Why::UpstreamGarbled(garbled.to_string()),
        }
    }

    async fn relay_answers(&mut self) -> Result<(), Why> {
        match self.relay().await {
            Ok(()) => Ok(()),
            Err(super::answer::Broken::Garbled(garbled)) => Err(self.garbled(&garbled)),
            Err(super::answer::Broken::Refused(refusal, why)) => {
                self.last_word(*refusal);
                Err(why)
            }
            Err(super::answer::Broken::Ended(why)) => {
                self.withhold(&why);
                Err(why)
            }
        }
    }

    /// Times what the database is at, if a rule limits it. A statement that waits behind others is
    /// timed once they are over.
    fn watch_time(&mut self, watch: &mut Watch) {
        if !self.timed {
            return;
        }
        let running = self.link.running();
        self.timed = running.is_some();
        watch.time(running.and_then(|execution| {
            let limit = execution.obligations.limits.statement_timeout_ms?;
            Some((execution.seq, Duration::from_millis(limit)))
        }));
    }

    /// Waits for anything: room to write, bytes to read, a reason to end.
    async fn wait(&mut self, watch: &mut Watch) -> Result<Woke, Peer> {
        poll_fn(|cx| self.poll(watch, cx)).await
    }

    fn poll(&mut self, watch: &mut Watch, cx: &mut Context<'_>) -> Poll<Result<Woke, Peer>> {
        // Reasons to end come first: a revocation must not lose against a busy stream.
        if let Poll::Ready(ended) = watch.poll(cx, self.link.idle()) {
            return Poll::Ready(Ok(Woke::Ended(ended)));
        }
        let mut moved = false;
        moved |= self.write_upstream(cx).map_err(|_| Peer::Server)?;
        moved |= self.write_client(cx).map_err(|_| Peer::Client)?;
        // What is dropped takes no room: a statement that was stopped is read to its end, or the
        // database could not stop for the client that does not read.
        if self.out.len() < HIGH_WATER || self.drops() {
            match self.answers.poll_fill(&mut self.upstream, cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(Woke::UpstreamGone)),
                Poll::Ready(Ok(_)) => moved = true,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Peer::Server)),
                Poll::Pending => {}
            }
        }
        while let Poll::Ready(Some(_)) = self.cancelling.poll_join_next(cx) {
            moved = true;
        }
        let ahead = self.listens_ahead();
        let listens = self.held.is_none() && self.closing.is_none() && !self.link.full();
        if self.may_hear() && (ahead || listens) {
            match self.client_in.poll_fill(&mut self.client, cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(Woke::ClientGone)),
                Poll::Ready(Ok(_)) => moved = true,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Peer::Client)),
                Poll::Pending => {}
            }
        }
        // After the client: one that is gone by now is not told.
        if self.held.is_some() {
            let blind = self.client_in.bytes.len() >= HIGH_WATER;
            moved |= self.poll_held(blind, cx);
        }
        if moved {
            Poll::Ready(Ok(Woke::Moved))
        } else {
            self.busy = 0;
            self.rest();
            if self.answers.much_comes() || self.client_in.much_comes() {
                pace::streams();
            }
            Poll::Pending
        }
    }

    /// A session that waits for its client, and for nothing else, keeps no large buffer.
    fn rest(&mut self) {
        if self.link.idle() {
            self.link.outgoing().rest(IDLE_KEPT);
            for bytes in [
                &mut self.out,
                &mut self.answers.bytes,
                &mut self.client_in.bytes,
            ] {
                if bytes.is_empty() && bytes.capacity() > IDLE_KEPT {
                    *bytes = BytesMut::new();
                }
            }
        }
    }

    /// What the database says next goes to nobody: its statement was stopped, and no row of it is
    /// half delivered, for that one still goes to the client.
    fn drops(&mut self) -> bool {
        let begun = self.link.inside_message() && !self.dropping;
        let running = self.link.running();
        !begun && running.is_some_and(|execution| execution.stopped.is_some())
    }

    fn write_upstream(&mut self, cx: &mut Context<'_>) -> std::io::Result<bool> {
        let above = self.link.backlog() >= HIGH_WATER;
        let outgoing = self.link.outgoing();
        while !outgoing.bytes().is_empty() {
            match Pin::new(&mut self.upstream).poll_write(cx, outgoing.bytes())? {
                Poll::Ready(0) => return Err(std::io::ErrorKind::WriteZero.into()),
                Poll::Ready(count) => {
                    outgoing.written(count);
                    self.upstream_flush = self.upstream.is_tls();
                }
                Poll::Pending => break,
            }
        }
        outgoing.rest(READ);
        if self.upstream_flush && Pin::new(&mut self.upstream).poll_flush(cx)?.is_ready() {
            self.upstream_flush = false;
        }
        // What the client said and could not be heard for want of room is heard in the next round.
        Ok(above && self.link.backlog() < HIGH_WATER)
    }

    fn write_client(&mut self, cx: &mut Context<'_>) -> std::io::Result<bool> {
        let above = self.out.len() >= HIGH_WATER;
        while !self.out.is_empty() {
            match Pin::new(&mut self.client).poll_write(cx, &self.out)? {
                Poll::Ready(0) => return Err(std::io::ErrorKind::WriteZero.into()),
                Poll::Ready(count) => {
                    self.out.advance(count);
                    self.client_flush = self.client.is_tls();
                }
                Poll::Pending => break,
            }
        }
        if self.client_flush && Pin::new(&mut self.client).poll_flush(cx)?.is_ready() {
            self.client_flush = false;
        }
        if self.out.is_empty() && self.out.capacity() > READ && self.answers.bytes.is_empty() {
            self.out = BytesMut::new();
        }
        // Answers that waited for room are relayed in the next round.
        Ok(above && self.out.len() < HIGH_WATER)
    }
}

/// Bytes from one side, not yet understood. Small while idle, larger while much is coming.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) bytes: BytesMut,
    /// What the next read asks for.
    want: usize,
}

impl Intake {
    fn new(bytes: BytesMut) -> Self {
        Intake {
            bytes,
            want: IDLE_READ,
        }
    }

    /// The last reads were full ones.
    fn much_comes(&self) -> bool {
        self.want > IDLE_READ
    }

    fn poll_fill(&mut self, leg: &mut Leg, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let held = self.bytes.len();
        if held == 0 && self.want == IDLE_READ {
            // Read elsewhere first: a session that nobody talks to needs no buffer.
            let mut place = [MaybeUninit::uninit(); IDLE_READ];
            let mut came = ReadBuf::uninit(&mut place);
            std::task::ready!(Pin::new(leg).poll_read(cx, &mut came))?;
            let came = came.filled();
            self.bytes.extend_from_slice(came);
            if came.len() == IDLE_READ {
                self.want = 2 * IDLE_READ;
            }
            return Poll::Ready(Ok(came.len()));
        }
        if self.bytes.capacity() - held < self.want.min(IDLE_READ) {
            // A message that is still incomplete grows its buffer by its own size, not by a claim.
            self.bytes.reserve(self.want.max(held));
        }
        let room = self.bytes.capacity() - held;
        // `read_buf` is cancel safe: nothing is lost when it is pending and dropped.
        let read = std::task::ready!(pin!(leg.read_buf(&mut self.bytes)).poll(cx))?;
        if read == room {
            self.want = (self.want * 2).min(READ);
        } else if read < self.want / 4 {
            self.want = (self.want / 2).max(IDLE_READ);
        }
        Poll::Ready(Ok(read))
    }
}
