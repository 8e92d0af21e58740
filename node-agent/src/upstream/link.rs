//! The session's hold on its database connection. The dialogue machine and the outgoing buffer are
//! private here, so that an execution can go out in one way only: with a `Permit`.

use std::sync::Arc;

use bytes::{Buf, BytesMut};

use crate::model::{Refusal, ResultHead};
use crate::permit::Permit;
use crate::wire::{
    Answer, Asked, CursorLife, FrontLimits, Garbled, Heard, Own, Settled, Talk, Transaction, Wants,
    Wire,
};

/// Bytes on their way to the database. Only this room can add to it.
#[derive(Debug, Default)]
pub struct Outgoing(BytesMut);

impl Outgoing {
    /// What is to be written next.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// `count` bytes were written.
    pub fn written(&mut self, count: usize) {
        self.0.advance(count.min(self.0.len()));
    }

    /// Gives back a large buffer once it is empty.
    pub fn rest(&mut self, keep: usize) {
        if self.0.is_empty() && self.0.capacity() > keep {
            self.0 = BytesMut::new();
        }
    }
}

/// The dialogue with one database connection.
pub struct Link<W: Wire, S: Clone + Send + 'static, E: Send + 'static> {
    talk: W::Talk<S, E>,
    out: Outgoing,
}

impl<W: Wire, S: Clone + Send + 'static, E: Send + 'static> Link<W, S, E> {
    /// An idle dialogue.
    pub fn new(limits: FrontLimits) -> Self {
        Link {
            talk: W::Talk::<S, E>::new(limits),
            out: Outgoing::default(),
        }
    }

    /// The client's next message. See `Talk::hear`.
    pub fn hear(
        &mut self,
        input: &mut BytesMut,
        client: &mut BytesMut,
    ) -> Result<Option<Heard<S>>, Garbled> {
        self.talk.hear(input, &mut self.out.0, client)
    }

    /// Runs what was asked, once: the permit is consumed.
    pub fn execute(&mut self, permit: Permit, asked: Asked<S>, execution: E, wants: Wants) {
        // Consumed here: nothing else can be run with it.
        drop(permit);
        self.talk.send(asked, execution, wants, &mut self.out.0);
    }

    /// Prepares a text that policy does not refuse. Nothing runs by this; each execution is judged
    /// again and needs a permit of its own.
    pub fn prepare(&mut self, asked: Asked<S>, statement: S) {
        self.talk.prepare(asked, statement, &mut self.out.0);
    }

    /// Refuses what was asked.
    pub fn refuse(&mut self, asked: Asked<S>, refusal: &Refusal, client: &mut BytesMut) {
        self.talk.refuse(asked, refusal, &mut self.out.0, client);
    }

    /// The database's next answer. See `Talk::listen`.
    pub fn listen(&mut self, input: &[u8]) -> Result<Option<(usize, Answer)>, Garbled> {
        self.talk.listen(input)
    }

    /// Whether the client copies data in. See `Talk::copies_in`.
    pub fn copies_in(&self) -> bool {
        self.talk.copies_in()
    }

    /// What goes to the database next.
    pub fn going_up(&self) -> &[u8] {
        &self.out.0
    }

    /// The execution the latest answer belongs to.
    pub fn current(&mut self) -> Option<&mut E> {
        self.talk.current()
    }

    /// The oldest execution that is not over: what the database is at.
    pub fn running(&mut self) -> Option<&mut E> {
        self.talk.running()
    }

    /// The latest error answered a Parse. See `Talk::failed_text`.
    pub fn failed_text(&self) -> bool {
        self.talk.failed_text()
    }

    /// Drops what the client sends up to the end of its group. See `Talk::break_off`.
    pub fn break_off(&mut self) -> bool {
        self.talk.break_off()
    }

    /// Whether what was asked can be counted.
    pub fn can_count(&self, asked: &Asked<S>) -> bool {
        self.talk.can_count(asked)
    }

    /// A counted execution is not settled.
    pub fn counting(&self) -> bool {
        self.talk.counting()
    }

    /// Keeps what was counted, or undoes it. See `Talk::settle`.
    pub fn settle(&mut self, refusal: Option<&Refusal>, client: &mut BytesMut) -> Settled {
        self.talk.settle(refusal, &mut self.out.0, client)
    }

    /// Sends what a counted execution needs to go on.
    pub fn advance(&mut self) {
        self.talk.advance(&mut self.out.0);
    }

    /// Whether what is sent now runs inside the client's transaction. See `Talk::surely_inside`.
    pub fn surely_inside(&self) -> bool {
        self.talk.surely_inside()
    }

    /// Nothing that was sent is unanswered. See `Talk::drained`.
    pub fn drained(&mut self) -> bool {
        self.talk.drained(&mut self.out.0)
    }

    /// What was asked last will not run. See `Talk::skips`.
    pub fn skips(&self) -> bool {
        self.talk.skips()
    }

    /// Puts a question of the agent's own: it reads, or undoes, and can make nothing durable.
    pub fn put(&mut self, own: Own) {
        self.talk.put(own, &mut self.out.0);
    }

    /// The COMMIT that was asked failed. See `Talk::commit_failed`.
    pub fn commit_failed(&mut self, asked: Asked<S>, client: &mut BytesMut) {
        self.talk.commit_failed(asked, client);
    }

    /// Takes the execution that the latest answer ended.
    pub fn finished(&mut self) -> Option<E> {
        self.talk.finished()
    }

    /// Takes an execution the database skipped after an earlier error.
    pub fn skipped(&mut self) -> Option<E> {
        self.talk.skipped()
    }

    /// Takes executions that are still under way, one a call: the session is over.
    pub fn abandoned(&mut self) -> Option<E> {
        self.talk.abandoned()
    }

    /// The head of the result the latest rows belong to.
    pub fn head(&self) -> Option<&Arc<ResultHead>> {
        self.talk.head()
    }

    /// Rows of the current execution must be held whole (a mask hangs on them).
    pub fn hold_rows(&mut self, whole: bool) {
        self.talk.hold_rows(whole);
    }

    /// The statement a name stands for.
    pub fn named(&self, name: &str) -> Option<&S> {
        self.talk.named(name)
    }

    /// The database confirmed a SQL-level name.
    pub fn set_named(&mut self, name: &str, statement: Option<S>) {
        self.talk.set_named(name, statement);
    }

    /// The database confirmed that all names are gone.
    pub fn forget_names(&mut self) {
        self.talk.forget_names();
    }

    /// Nothing outstanding, no transaction.
    pub fn idle(&self) -> bool {
        self.talk.idle()
    }

    /// Half a message of the database is with the client.
    pub fn inside_message(&self) -> bool {
        self.talk.inside_message()
    }

    /// The pipeline is at its bound.
    pub fn full(&self) -> bool {
        self.talk.full()
    }

    /// The transaction status.
    pub fn transaction(&self) -> Transaction {
        self.talk.transaction()
    }

    /// What is to be written to the database.
    pub fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.out
    }

    /// How much is to be written.
    pub fn backlog(&self) -> usize {
        self.out.0.len()
    }

    /// The cursor a name stands for.
    pub fn cursor(&self, name: &str) -> Option<&S> {
        self.talk.cursor(name)
    }

    /// The database confirmed a cursor.
    pub fn set_cursor(&mut self, name: &str, statement: Option<S>, life: CursorLife) {
        self.talk.set_cursor(name, statement, life);
    }

    /// The database confirmed that all cursors are gone.
    pub fn forget_cursors(&mut self) {
        self.talk.forget_cursors();
    }

    /// Says goodbye at the end of a session.
    pub fn farewell(&mut self) {
        W::Talk::<S, E>::write_goodbye(&mut self.out.0);
    }
}
