//! Pure. Bytes to meaning and back, one folder a dialect. Everything that judges, masks or records
//! is outside.
//!
//! A dialect gives three machines. `Front` talks with the client until it is logged in; `Back`
//! logs in at the database; `Talk` is the dialogue after both, and the only one that sees both
//! directions: it keeps the prepared names and the queue of answers still expected, so that a
//! refusal of ours takes its place among the database's own answers.
//!
//! No machine does IO, reads a clock or allocates by a length that the peer claims.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::mask::{MaskedRows, Undecodable};
use crate::model::{Dialect, Format, Refusal, ResultHead, Secret};

mod copied;
pub mod pg;
mod reader;

pub use copied::{Copied, CopiedCells, CopiedColumn};

/// How one database talks.
pub trait Wire: 'static {
    /// Which one.
    const DIALECT: Dialect;
    /// Our half of the talk with the client, up to login.
    type Front: Front;
    /// Our half of the talk with the database, up to login.
    type Back: Back;
    /// Our half of making a connection what it was at login.
    type Reset: Reset;
    /// The dialogue after login. `S` is what the session keeps per prepared statement, `E` per
    /// execution that is under way.
    type Talk<S: Clone + Send + 'static, E: Send + 'static>: Talk<S, E>;
}

/// A peer broke the protocol: the connection is closed. Says what was expected and what came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{who} broke the protocol: expected {expected}, saw {seen}")]
pub struct Garbled {
    /// Who is to blame.
    pub who: Peer,
    /// What would have been legal.
    pub expected: &'static str,
    /// What came, without any value from the message.
    pub seen: String,
}

/// Which peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The workload's driver.
    Client,
    /// The database.
    Server,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Peer::Client => "the client",
            Peer::Server => "the database",
        })
    }
}

/// Sizes a front accepts.
#[derive(Clone, Copy, Debug)]
pub struct FrontLimits {
    /// The largest start-up packet, bytes (PostgreSQL itself: 10,000).
    pub startup: usize,
    /// The largest message that must be held whole (Query, Parse, Bind …), bytes.
    pub message: usize,
    /// How many prepared statements and portals a session may name.
    pub names: usize,
    /// How many answers may be outstanding (pipelining).
    pub pending: usize,
    /// Whether a client may talk in clear.
    pub plaintext: bool,
}

impl Default for FrontLimits {
    fn default() -> Self {
        FrontLimits {
            startup: 10_000,
            message: 16 << 20,
            names: 10_000,
            // Some hundred bytes each: a flood of Syncs must not become tens of megabytes.
            pending: 16_000,
            plaintext: true,
        }
    }
}

/// What a front wants next.
#[derive(Debug)]
pub enum Need {
    /// More bytes from the client.
    More,
    /// A TLS handshake, now. Whatever `out` holds must be written first (the single `S`). Nothing
    /// may be buffered (checked by the machine).
    Tls,
    /// A TLS handshake whose ClientHello is already in `input`, untouched; ALPN `postgresql` is
    /// required.
    DirectTls,
    /// The client said who it wants to be. Answer with `ask` or `welcome` or `refuse`.
    Login(Hello),
    /// The client answered `ask`.
    Verdict(Credential),
    /// A cancel request: act and close without a word.
    Cancel(CancelKey),
    /// Write this and close.
    Refuse(Refusal),
}

/// The client's start-up, parsed and checked against the allow-list of parameters.
#[derive(Clone, Debug, Default)]
pub struct Hello {
    /// The database role the client wishes for. A wish: the role is decided by the target.
    pub user: String,
    /// The database.
    pub database: String,
    /// Session settings to apply upstream, in order (allow-listed names only; `options` merged).
    pub settings: Vec<(String, String)>,
    /// `application_name`.
    pub application: Option<String>,
}

/// How to ask for a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask4 {
    /// A password in clear (inside TLS, or over loopback).
    Password,
    /// SASL OAUTHBEARER.
    Bearer,
}

/// What the client answered.
#[derive(Debug)]
pub enum Credential {
    /// From the password message.
    Password(Secret<String>),
    /// From OAUTHBEARER.
    Bearer(Secret<String>),
}

/// Our own key for a session's cancel requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CancelKey {
    /// Shown as the backend's process id.
    pub process: u32,
    /// 4 bytes on protocol 3.0, 32 on 3.2.
    pub secret: Vec<u8>,
}

/// What a logged-in client is told.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// The database's own parameter reports, in order.
    pub parameters: Vec<(String, String)>,
    /// Process id and 32 random bytes; the front shortens the secret where the protocol asks.
    pub process: u32,
    /// 32 random bytes.
    pub secret: [u8; 32],
}

/// Our half of the talk with the client, until it is logged in.
pub trait Front: Send {
    /// A machine for a fresh connection.
    fn new(limits: FrontLimits) -> Self;
    /// Steps. Consumes from `input`, appends to `out`.
    fn greet(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<Need, Garbled>;
    /// TLS is up; the start-up begins again, in cover.
    fn secured(&mut self);
    /// Asks for a credential; the answer comes as `Need::Verdict`.
    fn ask(&mut self, how: Ask4, out: &mut BytesMut);
    /// Login is done. Returns the cancel key as the client was told it.
    fn welcome(&mut self, welcome: &Welcome, out: &mut BytesMut) -> CancelKey;
    /// Refuses the login; the connection closes.
    fn refuse(&mut self, refusal: &Refusal, out: &mut BytesMut);
    /// What a client that asks for OAUTHBEARER is told when its token is missing or refused
    /// (RFC 7628, 3.2.2): the issuer's discovery document and the scope to ask for. Call it
    /// before `ask`; without it only the status is told.
    fn advertise(&mut self, configuration: &str, scope: &str);
}

/// How to log in at the database.
#[derive(Clone, Debug)]
pub struct BackLogin {
    /// The role.
    pub user: String,
    /// Its password, if the server asks for one.
    pub password: Option<Secret<String>>,
    /// The database.
    pub database: String,
    /// Session settings.
    pub settings: Vec<(String, String)>,
    /// Whether to ask for TLS first; the server must agree.
    pub tls: bool,
    /// Whether verified TLS has proven who the server is. If not, and there is a password, SCRAM must
    /// prove it: no password in clear, no md5 answer, no login without a question.
    pub proven: bool,
}

/// What a back wants next.
#[derive(Debug)]
pub enum BackNeed {
    /// More bytes from the database (after writing `out`).
    More,
    /// A TLS handshake, now. Nothing is buffered (checked by the machine).
    Tls,
    /// Logged in.
    Ready(Greeted),
    /// The database refused; its words (SQLSTATE, message), for the log and, by code, the client.
    Failed {
        /// SQLSTATE.
        code: String,
        /// The primary message.
        message: String,
    },
}

/// What the database said at login.
#[derive(Clone, Debug, Default)]
pub struct Greeted {
    /// Parameter reports, in order.
    pub parameters: Vec<(String, String)>,
    /// The database's own cancel key: process id and secret.
    pub process: u32,
    /// Its secret (4 to 256 bytes).
    pub secret: Vec<u8>,
}

/// Our half of the talk with the database, until logged in.
pub trait Back: Send {
    /// A machine for a fresh connection.
    fn new(login: BackLogin) -> Self;
    /// Steps. The first call has an empty `input` and writes the opening into `out`.
    fn greet(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<BackNeed, Garbled>;
    /// TLS is up; `endpoint` is the `tls-server-end-point` hash (RFC 5929) when there is one.
    fn secured(&mut self, endpoint: Option<Vec<u8>>);
    /// The bytes of a cancel request for a server key (sent on a connection of its own).
    fn cancel(process: u32, secret: &[u8]) -> Bytes;
}

/// What a reset wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetNeed {
    /// More bytes from the database (after writing `out`).
    More,
    /// The connection is what it was at login.
    Clean,
}

/// Our half of making an idle connection what it was at login. Whatever it does not expect ends it: such a
/// connection is closed, and nobody has lost anything.
pub trait Reset: Send {
    /// A machine for a connection that reported `greeted` at login, and `since` after it, in order.
    fn new(greeted: &[(String, String)], since: &[(String, String)]) -> Self;
    /// Steps. The first call has an empty `input` and writes the request into `out`.
    ///
    /// # Errors
    /// The database did not do it, or something else beside.
    fn step(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<ResetNeed, Garbled>;
}

/// Something the client asked that must be judged before a byte of it goes on.
#[derive(Debug)]
pub struct Asked<S> {
    /// What it is.
    pub phase: Phase<S>,
    /// The exact frame, header included. What is judged is what is sent.
    pub frame: Bytes,
}

/// The kinds of asking. MySQL: COM_QUERY is `Run`, COM_STMT_PREPARE `Prepare`, COM_STMT_EXECUTE
/// `Execute`.
#[derive(Debug)]
pub enum Phase<S> {
    /// One text, possibly several statements, run at once.
    Run {
        /// Valid UTF-8, without the terminator; a slice of the frame.
        text: Text,
    },
    /// A text to be prepared under a name.
    Prepare {
        /// A slice of the frame.
        text: Text,
        /// The statement's name ("" is the unnamed one).
        name: Bytes,
    },
    /// A prepared statement to be run with parameters.
    Execute {
        /// What the session kept at `prepared`.
        statement: S,
        /// As bound.
        params: Params,
        /// This continues a suspended portal: the execution was judged and recorded before.
        resumed: bool,
        /// The portal's name.
        portal: Bytes,
    },
}

/// UTF-8 text that is a slice of a frame.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Text(Bytes);

impl Text {
    /// Checks and wraps.
    pub fn new(bytes: Bytes) -> Result<Self, std::str::Utf8Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Text(bytes))
    }

    /// A text of the agent's own.
    pub fn of_static(text: &'static str) -> Text {
        Text(Bytes::from_static(text.as_bytes()))
    }

    /// A copy that holds on to nothing but itself.
    #[must_use]
    pub fn detached(&self) -> Text {
        Text(Bytes::copy_from_slice(&self.0))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Checked in `new`; an empty text is the safe answer to the impossible.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text(Bytes::from(text))
    }
}

/// Bound parameters, still in the frame.
#[derive(Clone, Debug, Default)]
pub struct Params {
    /// The Bind frame's parameter section, whole: iterate with `iter`.
    pub values: Vec<(Format, Option<Bytes>)>,
    /// The types that the client fixed for them, four bytes each.
    pub types: Bytes,
}

/// What became of the client's next message.
#[derive(Debug)]
pub enum Heard<S> {
    /// To be judged: answer with `run`, `prepare`, `execute` or `refuse`.
    Asked(Asked<S>),
    /// Needed no judgement; its bytes, if any, were appended to `up`.
    Chore,
    /// The client cannot have this, whatever policy says; already handled like `refuse`. For the
    /// record.
    Refused(Refusal),
    /// The client said goodbye; nothing after it is read.
    Quit,
}

/// What the database answered. `frame` ranges are relative to the slice given to `listen`; the
/// session forwards exactly those bytes, or something visibly else.
#[derive(Debug)]
pub enum Answer {
    /// Bytes to forward as they are; nothing for the session to know (ParseComplete, NoData, …).
    Control,
    /// Swallow: the answer to something the agent itself asked.
    Hidden,
    /// A result begins. `Talk::head` gives the head.
    Head,
    /// A run of `count` whole rows.
    Rows {
        /// How many.
        count: u64,
    },
    /// A piece of a row or copy frame larger than the buffer. Only legal to forward when the
    /// execution masks nothing. `first` is true for the piece that carries the header.
    Piece {
        /// The header is in this piece.
        first: bool,
        /// The frame ends with this piece.
        last: bool,
        /// It is a row (else copy data).
        row: bool,
    },
    /// One statement is finished (CommandComplete, EmptyQueryResponse).
    Done {
        /// The tag, such as `INSERT 0 5` (empty for an empty query).
        tag: String,
        /// Rows affected or returned as the tag says.
        rows: Option<u64>,
    },
    /// The portal is suspended: rows remain.
    Suspended,
    /// The statement failed. The session may replace the frame by `Talk::failure`.
    Failed(ServerError),
    /// This failure is ours: the database was made to fail in place of a refused statement.
    /// The session writes `Talk::refusal_bytes` instead of the frame.
    Refused(Refusal),
    /// A notice. May carry data.
    Notice(ServerError),
    /// An asynchronous notification. May carry data.
    Notification,
    /// A parameter report.
    Parameter {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// The database waits for copy data from the client.
    CopyIn,
    /// Copy data begins to flow to the client.
    CopyOut,
    /// A run of `count` whole copy data frames to the client.
    CopyRows {
        /// How many.
        count: u64,
    },
    /// A counted execution has not run; so many rows the database expects it to change. The session
    /// withholds the frame and must `settle` at once.
    Estimated {
        /// Rows.
        rows: u64,
    },
    /// A counted execution has run, and nothing of it is committed. The session withholds the frame
    /// and must `settle` at once.
    Counted {
        /// Rows changed, by whatever the statement set off; `None`: they could not be counted.
        changed: Option<u64>,
    },
    /// A counted execution is committed: its `Done`, which was withheld, takes this frame's place.
    Kept,
    /// The answer to a question of the agent's own. The session withholds the frame.
    Own(OwnAnswer),
    /// A message group ended; the client may speak.
    Ready {
        /// The transaction status.
        transaction: Transaction,
    },
}

/// The transaction status of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transaction {
    /// None open.
    Idle,
    /// Open.
    Open,
    /// Open and failed.
    Failed,
}

/// The fields of the database's own error or notice that the session may need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerError {
    /// Severity, never localised.
    pub severity: String,
    /// SQLSTATE.
    pub code: String,
    /// Primary message. May carry data.
    pub message: String,
}

/// How an allowed execution goes on the wire.
#[derive(Clone, Debug, Default)]
pub struct Wants {
    /// The result's head must be known before its first row, even if the client never asks for it
    /// (a mask plan hangs on it).
    pub head: bool,
    /// Rows are delivered whole, up to the limit of a message, until `Talk::hold_rows` says otherwise.
    pub whole: bool,
    /// The execution may make or drop names (PREPARE, DEALLOCATE, DECLARE, CLOSE, DISCARD, or a
    /// text that was not understood). Names that the client uses before its answer is in wait for
    /// that answer, since until then nobody knows what they stand for.
    pub names: bool,
    /// What it changes is counted before it can be committed: see `Answer::Counted`. Only where
    /// `Talk::can_count`.
    pub count: bool,
    /// The text, if what it changes is to be estimated before it runs: see `Answer::Estimated`. It is
    /// one statement that EXPLAIN can stand before. Only with `count`; where an estimate could do
    /// harm there is none.
    pub estimate: Option<Text>,
    /// A text to send in place of what was asked, which is a copy: its rows come as those of any query,
    /// and it is the session that makes a copy of them. Not with `count`.
    pub instead: Option<Text>,
    /// What it does to the transaction it runs in.
    pub turn: Turned,
}

/// What something that is sent does to the transaction it runs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Turned {
    /// No transaction that is open before it ends by it.
    #[default]
    Stays,
    /// It is one BEGIN.
    Begins,
    /// It may end it.
    MayEnd,
}

/// A question of the agent's own, on the session's connection: asked only while nothing is outstanding, and
/// answered before anything else is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// How the transaction stands: answered by `OwnAnswer::Stands`.
    Stands,
    /// What has been changed so far, by this transaction and by those before it that the database has not
    /// reported yet? Answered by `OwnAnswer::Work`.
    Rows,
    /// What waits for the commit happens now, and what has the transaction changed? Answered by
    /// `OwnAnswer::Work`.
    Work,
    /// Undo the transaction: answered by `OwnAnswer::RolledBack`.
    RollBack,
}

/// The answer to a question of the agent's own. Nothing of it is the client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnAnswer {
    /// So it stands.
    Stands(Transaction),
    /// What the open transaction has changed.
    Work(TransactionWork),
    /// The database failed instead, and says so by this frame. Nothing of the transaction can be committed.
    Failed(ServerError),
    /// Nothing of the transaction is left, and none is open.
    RolledBack,
}

/// What an open transaction has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionWork {
    /// How long it has been open, by the database's clock, milliseconds.
    pub age: u64,
    /// Rows by table: schema, table, inserted, updated, deleted. `None`: the database does not count. They may
    /// have those of earlier transactions in them: only a difference of two readings says something.
    pub tables: Option<Vec<(String, String, [u64; 3])>>,
    /// Tables beyond those.
    pub more: u64,
}

/// What became of a count that the session has judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The execution is over.
    Now,
    /// It is over with `Answer::Kept`, or with an error.
    Later,
}

/// How long a cursor lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CursorLife {
    /// To the end of its transaction.
    Transaction,
    /// `WITH HOLD`: to the end of the session.
    Session,
}

/// The dialogue after login, both directions, without IO.
///
/// `up` collects bytes for the database, `out` bytes for the client.
pub trait Talk<S: Clone + Send + 'static, E: Send + 'static>: Send {
    /// A row or copy frame that is still incomplete with this many bytes at hand is delivered in
    /// pieces, unless rows are held whole. The read buffer should be able to hold this much.
    const PIECE: usize;

    /// A dialogue that begins idle.
    fn new(limits: FrontLimits) -> Self;

    /// Takes the client's next message, if it is whole. Chores are appended to `up`. Copy data is
    /// passed on piecewise. `Ok(None)`: more bytes are needed, or the pipeline is full (see
    /// `full`), or the last `Asked` has not been answered yet: nothing behind an undecided message
    /// goes on.
    fn hear(
        &mut self,
        input: &mut BytesMut,
        up: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<Option<Heard<S>>, Garbled>;

    /// The pipeline is at its bound, or the next message hangs on an answer still outstanding:
    /// flush `up` and listen before hearing more.
    fn full(&self) -> bool;

    /// Sends an allowed `Run` or `Execute`. `execution` comes back with its answers.
    fn send(&mut self, asked: Asked<S>, execution: E, wants: Wants, up: &mut BytesMut);

    /// Sends an allowed `Prepare` and keeps `statement` with its name.
    fn prepare(&mut self, asked: Asked<S>, statement: S, up: &mut BytesMut);

    /// Refuses what was asked, so that the client and the database both see a consistent error:
    /// inside a transaction (or with answers outstanding) the database is made to fail at the same
    /// place; otherwise the answer is given here.
    fn refuse(&mut self, asked: Asked<S>, refusal: &Refusal, up: &mut BytesMut, out: &mut BytesMut);

    /// Takes the database's next answer from the front of `input`: how many bytes it spans and
    /// what it is. `Ok(None)`: more bytes are needed.
    fn listen(&mut self, input: &[u8]) -> Result<Option<(usize, Answer)>, Garbled>;

    /// The execution that the latest answer belongs to.
    fn current(&mut self) -> Option<&mut E>;

    /// The oldest execution that is not over: what the database is at, whether or not it has said
    /// anything about it.
    fn running(&mut self) -> Option<&mut E>;

    /// The latest error answered a Parse: nothing was evaluated but the text's own constants.
    fn failed_text(&self) -> bool;

    /// The latest answer ended an execution, and the client is told of an error instead: what it
    /// still sends is dropped up to where a database would stop dropping it. False, with nothing
    /// changed: something behind it is on its way already, and its answers would follow.
    fn break_off(&mut self) -> bool;

    /// Whether what was asked could be sent with `Wants::count`.
    fn can_count(&self, asked: &Asked<S>) -> bool;

    /// A counted execution is not settled. Nothing behind it is heard, so `full` holds too, but for
    /// its own copy data.
    fn counting(&self) -> bool;

    /// Keeps what `Answer::Counted` told of, or undoes it and tells the client why: then
    /// `Answer::Refused` follows, unless the client is told at once. After `Answer::Estimated`: lets it run, or not. What the client is owed at once is appended to `out`, behind what
    /// was withheld.
    fn settle(
        &mut self,
        refusal: Option<&Refusal>,
        up: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Settled;

    /// Appends what a counted execution needs to go on. To be called whenever answers were listened
    /// to, and after `send`.
    fn advance(&mut self, up: &mut BytesMut);

    /// Whether what is sent now runs inside a transaction that the client has begun, or not at all: the
    /// database has said that one is open, or a BEGIN goes before it in the same group, and nothing
    /// outstanding can end it.
    fn surely_inside(&self) -> bool;

    /// Nothing that was sent is unanswered. Where something is, the database is asked to answer.
    fn drained(&mut self, up: &mut BytesMut) -> bool;

    /// What was asked last will not run, because something before it failed: the client has that error.
    fn skips(&self) -> bool;

    /// Puts a question of the agent's own. Only when `drained`, with an `Asked` unanswered.
    fn put(&mut self, own: Own, up: &mut BytesMut);

    /// The COMMIT that was asked failed, and no transaction is open: the client has been written the error,
    /// and what follows an error is appended.
    fn commit_failed(&mut self, asked: Asked<S>, out: &mut BytesMut);

    /// Removes the execution that the latest `Done`, `Failed`, `Refused` ended, or `Suspended`
    /// paused. For a `Run` of several statements: only at its end (`Ready`) or failure. Take it
    /// before listening again.
    fn finished(&mut self) -> Option<E>;

    /// The next execution that was sent and never ran, because something before it failed. Drain
    /// it after `Failed`, `Refused` and `Ready`, and after `send`.
    fn skipped(&mut self) -> Option<E>;

    /// Whether the answers passed on so far end inside a message (a large row goes out in pieces):
    /// nothing of ours can be put behind them.
    fn inside_message(&self) -> bool;

    /// Whether the client copies data in: what `hear` appends to `up` meanwhile is that data, as frames
    /// that may begin and end within what one call appends.
    fn copies_in(&self) -> bool;

    /// Takes the executions still under way, one a call, when the session is over.
    fn abandoned(&mut self) -> Option<E>;

    /// Whether the rows of the current execution must come whole (a mask plan reads them), up to
    /// the limit of a message; a larger one then ends the session. Holds until the execution ends.
    fn hold_rows(&mut self, whole: bool);

    /// Appends the beginning of a copy that is made of rows (see `Wants::instead`).
    fn copy_begins(copied: &Copied, out: &mut BytesMut);

    /// Appends rows as the copy data that they are.
    ///
    /// # Errors
    /// They are no rows of this copy; nothing is appended then.
    fn copy_rows(copied: &Copied, rows: &MaskedRows, out: &mut BytesMut)
    -> Result<(), Undecodable>;

    /// Appends the end of a copy of so many rows.
    fn copy_ends(rows: u64, out: &mut BytesMut);

    /// How many bytes the first `count` of some whole row or copy frames take.
    fn span_of(frames: &[u8], count: u64) -> usize;

    /// The head of the result that the latest rows belong to, when it is known. For an `Execute`
    /// no `Answer::Head` comes: the head is known from the execution's first answer on. With
    /// `Wants::head` it is the head of the very portal that runs.
    fn head(&self) -> Option<&Arc<ResultHead>>;

    /// The statement that a prepared name stands for at this moment (SQL-level EXECUTE shares the
    /// protocol's names). `None` also when answers still outstanding could change it.
    fn named(&self, name: &str) -> Option<&S>;

    /// The database confirmed that a SQL-level PREPARE made (or, with `None`, DEALLOCATE dropped)
    /// this name.
    fn set_named(&mut self, name: &str, statement: Option<S>);

    /// The database confirmed DEALLOCATE ALL or DISCARD ALL.
    fn forget_names(&mut self);

    /// As `named`, for what SQL-level FETCH and MOVE read: cursors share their names with the
    /// protocol's portals, and not with prepared statements.
    fn cursor(&self, name: &str) -> Option<&S>;

    /// The database confirmed that DECLARE made (or, with `None`, CLOSE dropped) this cursor.
    fn set_cursor(&mut self, name: &str, statement: Option<S>, life: CursorLife);

    /// The database confirmed CLOSE ALL or DISCARD ALL.
    fn forget_cursors(&mut self);

    /// Nothing is outstanding and no transaction is open: a good moment to end.
    fn idle(&self) -> bool;

    /// The transaction status as last reported.
    fn transaction(&self) -> Transaction;

    /// Appends our own error in place of an answer frame.
    fn write_refusal(refusal: &Refusal, out: &mut BytesMut);

    /// Appends a stand-in for the database's error: severity and code kept, text replaced.
    fn write_failure(severity: &str, code: &str, message: &str, out: &mut BytesMut);

    /// Appends a notice of ours.
    fn tell(message: &str, detail: Option<&str>, out: &mut BytesMut);

    /// Appends a polite end of the session with the database.
    fn write_goodbye(up: &mut BytesMut);
}
