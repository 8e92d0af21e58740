//! The worker's side: connections that come, questions that go.

use std::collections::HashMap;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::channel::{Channel, ChannelError, Ear, Mouth};
use super::message::{
    Answer, Ask, AskNumber, Order, Report, TO_WORKER, TicketNumber, ToKeeper, ToWorker,
};
use crate::identity::TokenFileError;
use crate::intercept::Prefix;
use crate::model::{ClientAddr, Pid, Secret};
use crate::origin::Flow;

/// Connections that were handed over and are not yet served.
const WAITING: usize = 256;
/// Beats that wait for their answer.
const BEATS: usize = 8;
/// Ended connections told in one message.
const TOLD_AT_ONCE: usize = 512;
/// How long the keeper may take to answer. A token takes it longest, and has its own limit.
const PATIENCE: Duration = Duration::from_secs(10);

/// The keeper did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// It cannot be reached.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// It does not answer, or is gone.
    #[error("the keeper does not answer")]
    Silent,
    /// It says no.
    #[error("{0}")]
    Refused(String),
}

/// Asks the keeper. Shared by all sessions.
#[derive(Debug)]
pub struct Link {
    mouth: Mouth<ToKeeper>,
    /// Who waits for which answer; `None` once the keeper is gone.
    waiting: Mutex<Option<HashMap<AskNumber, oneshot::Sender<Answer>>>>,
    next: AtomicU64,
}

/// What a worker is started with.
#[derive(Debug)]
pub struct Configured {
    /// Where the configuration was read.
    pub file: PathBuf,
    /// Its text.
    pub text: String,
}

/// Where operators ask, from when all is in place.
#[derive(Debug)]
pub struct Desks {
    /// The command line.
    pub admin: UnixListener,
    /// Health and metrics.
    pub pages: TcpListener,
}

/// What comes from the keeper by itself.
#[derive(Debug)]
pub struct Inbox {
    /// Connections.
    pub handed: mpsc::Receiver<Handed>,
    /// What the operator wants. Closed: the keeper is gone.
    pub orders: mpsc::Receiver<Order>,
    beats: Option<mpsc::Receiver<u64>>,
    configured: Option<oneshot::Receiver<Configured>>,
    governing: Option<oneshot::Receiver<Desks>>,
}

impl Inbox {
    /// What the keeper goes by.
    ///
    /// # Errors
    /// The keeper is gone.
    pub async fn configured(&mut self) -> Result<Configured, LinkError> {
        let configured = self.configured.take().ok_or(LinkError::Silent)?;
        configured.await.map_err(|_| LinkError::Silent)
    }

    /// Beats to be answered with [`Link::beat`] by those who serve, if they still can. Given once; from
    /// [`Link::ready`] on the keeper waits for answers.
    pub fn beats(&mut self) -> Option<mpsc::Receiver<u64>> {
        self.beats.take()
    }
}

/// A connection of which it is known whose it is, and of which nothing was read.
#[derive(Debug)]
pub struct Handed {
    /// The connection, non-blocking, and of no runtime yet: that is its thread's.
    pub stream: TcpStream,
    /// Its peer.
    pub client: ClientAddr,
    /// Where it was going, whose it is, who dialled.
    pub flow: Flow,
    /// To ask about it; dropped when it is over.
    pub ticket: Ticket,
}

/// Stands for one handed connection. Dropping it tells the keeper that the connection is over.
#[derive(Debug)]
pub struct Ticket {
    number: TicketNumber,
    // One entry a connection, and connections are bounded: so is this.
    ended: mpsc::UnboundedSender<TicketNumber>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let _ = self.ended.send(self.number);
    }
}

impl Link {
    /// On the worker's end of the pair.
    ///
    /// # Errors
    /// It is no such socket.
    pub fn start(socket: OwnedFd) -> io::Result<(Arc<Link>, Inbox)> {
        let Channel { mouth, ear } = Channel::<ToKeeper, ToWorker>::new(socket, TO_WORKER)?;
        let link = Arc::new(Link {
            mouth,
            waiting: Mutex::new(Some(HashMap::new())),
            next: AtomicU64::new(1),
        });
        let (handed, handed_out) = mpsc::channel(WAITING);
        let (orders, orders_out) = mpsc::channel(WAITING);
        let (beats, beats_out) = mpsc::channel(BEATS);
        let (configured, configured_out) = oneshot::channel();
        let (governing, governing_out) = oneshot::channel();
        let (ended, ended_out) = mpsc::unbounded_channel();
        let hearing = Hearing {
            link: link.clone(),
            ear,
            handed,
            orders,
            beats,
            configured: Some(configured),
            governing: Some(governing),
            ended,
        };
        tokio::spawn(hearing.run());
        tokio::spawn(tell_ended(link.clone(), ended_out));
        let inbox = Inbox {
            handed: handed_out,
            orders: orders_out,
            beats: Some(beats_out),
            configured: Some(configured_out),
            governing: Some(governing_out),
        };
        Ok((link, inbox))
    }

    /// Says that this worker can serve, and waits until labels and listeners are in place.
    ///
    /// # Errors
    /// The keeper ended instead; it says why.
    pub async fn ready(&self, inbox: &mut Inbox, protect: Vec<Prefix>) -> Result<Desks, LinkError> {
        let governing = inbox.governing.take().ok_or(LinkError::Silent)?;
        self.mouth.say(&ToKeeper::Ready { protect }, &[]).await?;
        governing.await.map_err(|_| LinkError::Silent)
    }

    /// Says that this worker cannot serve, and why.
    ///
    /// # Errors
    /// The keeper is gone.
    pub async fn failed(&self, why: String) -> Result<(), LinkError> {
        Ok(self.mouth.say(&ToKeeper::Failed { why }, &[]).await?)
    }

    /// The token in the file that is the entry at `source` of the workload's configured sources,
    /// as the process sees it that dialled this connection.
    ///
    /// # Errors
    /// Each says what is wrong and the mend; none repeats what the file holds.
    pub async fn token(
        &self,
        ticket: &Ticket,
        source: usize,
    ) -> Result<Secret<String>, TokenFileError> {
        let ticket = ticket.number;
        match self.ask(Ask::Token { ticket, source }).await {
            Ok(Answer::Token(token)) => token.map(|carried| carried.0),
            Ok(Answer::Report(_) | Answer::Protect(_) | Answer::Whose(_)) | Err(_) => {
                Err(TokenFileError::NobodyToAsk)
            }
        }
    }

    /// Answers one beat: whoever serves still does.
    ///
    /// # Errors
    /// The keeper is gone.
    pub async fn beat(&self, number: u64) -> Result<(), LinkError> {
        Ok(self.mouth.say(&ToKeeper::Beat { number }, &[]).await?)
    }

    /// What is governed at this moment.
    ///
    /// # Errors
    /// The keeper does not answer.
    pub async fn report(&self) -> Result<Report, LinkError> {
        match self.ask(Ask::Report).await? {
            Answer::Report(report) => Ok(*report),
            Answer::Token(_) | Answer::Protect(_) | Answer::Whose(_) => Err(LinkError::Silent),
        }
    }

    /// Which workload a process belongs to, that is said to be this user's; `None`: to none.
    ///
    /// # Errors
    /// It cannot be told.
    pub async fn whose(&self, pid: Pid, user: u32) -> Result<Option<String>, LinkError> {
        match self.ask(Ask::Whose { pid, user }).await? {
            Answer::Whose(told) => told.map_err(LinkError::Refused),
            Answer::Token(_) | Answer::Report(_) | Answer::Protect(_) => Err(LinkError::Silent),
        }
    }

    /// Says which addresses the targets have now.
    ///
    /// # Errors
    /// Not all of them are protected, in the keeper's words; those before go on being.
    pub async fn protect(&self, prefixes: Vec<Prefix>) -> Result<(), LinkError> {
        match self.ask(Ask::Protect { prefixes }).await? {
            Answer::Protect(done) => done.map_err(LinkError::Refused),
            Answer::Token(_) | Answer::Report(_) | Answer::Whose(_) => Err(LinkError::Silent),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Option<HashMap<AskNumber, oneshot::Sender<Answer>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, LinkError> {
        let number = AskNumber(self.next.fetch_add(1, Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        match &mut *self.waiting() {
            Some(waiting) => waiting.insert(number, answer),
            None => return Err(LinkError::Silent),
        };
        // Also when whoever asks no longer waits.
        let _forget = Forget { link: self, number };
        self.mouth.say(&ToKeeper::Ask { number, ask }, &[]).await?;
        match timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(LinkError::Silent),
        }
    }
}

struct Forget<'a> {
    link: &'a Link,
    number: AskNumber,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = &mut *self.link.waiting() {
            waiting.remove(&self.number);
        }
    }
}

struct Hearing {
    link: Arc<Link>,
    ear: Ear<ToWorker>,
    handed: mpsc::Sender<Handed>,
    orders: mpsc::Sender<Order>,
    beats: mpsc::Sender<u64>,
    configured: Option<oneshot::Sender<Configured>>,
    governing: Option<oneshot::Sender<Desks>>,
    ended: mpsc::UnboundedSender<TicketNumber>,
}

impl Hearing {
    async fn run(mut self) {
        loop {
            match self.ear.hear().await {
                Ok(Some((said, beside))) => self.heard(said, beside).await,
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(%error, "the keeper cannot be heard");
                    break;
                }
            }
        }
        // Whoever waits for an answer, an order or a connection learns that none will come.
        self.link.waiting().take();
    }

    async fn heard(&mut self, said: ToWorker, beside: Vec<OwnedFd>) {
        match said {
            ToWorker::Configured { file, text } => {
                if let Some(configured) = self.configured.take() {
                    let _ = configured.send(Configured { file, text });
                }
            }
            ToWorker::Governing => {
                let mut beside = beside.into_iter();
                let listeners = (beside.next(), beside.next());
                if let (Some(governing), (Some(admin), Some(pages))) =
                    (self.governing.take(), listeners)
                {
                    let _ = governing.send(Desks {
                        admin: admin.into(),
                        pages: pages.into(),
                    });
                }
            }
            ToWorker::Handed {
                ticket,
                client,
                flow,
            } => {
                let ticket = Ticket {
                    number: ticket,
                    ended: self.ended.clone(),
                };
                match stream(beside) {
                    Ok(stream) => {
                        let handed = Handed {
                            stream,
                            client,
                            flow,
                            ticket,
                        };
                        // Nobody takes connections any more: it is closed unread.
                        let _ = self.handed.send(handed).await;
                    }
                    Err(error) => tracing::warn!(%error, %client, "a connection was lost"),
                }
            }
            ToWorker::Answer { to, answer } => {
                let asked = self.link.waiting().as_mut().and_then(|w| w.remove(&to));
                if let Some(asked) = asked {
                    let _ = asked.send(answer);
                }
            }
            ToWorker::Order(order) => {
                let _ = self.orders.send(order).await;
            }
            ToWorker::Beat { number } => {
                // Not waited for: the keeper may wait in turn until this is heard. Where earlier ones
                // are not answered, this one would not be either.
                let _ = self.beats.try_send(number);
            }
        }
    }
}

fn stream(beside: Vec<OwnedFd>) -> io::Result<TcpStream> {
    let mut beside = beside.into_iter();
    let (Some(socket), None) = (beside.next(), beside.next()) else {
        return Err(io::Error::other("not one descriptor came with it"));
    };
    // Small messages each way: waiting to fill a segment would add its delay to each.
    rustix::net::sockopt::set_tcp_nodelay(socket.as_fd(), true)?;
    Ok(TcpStream::from(socket))
}

/// Tells the keeper which connections are over, many at once when many end.
async fn tell_ended(link: Arc<Link>, mut ended: mpsc::UnboundedReceiver<TicketNumber>) {
    loop {
        let mut tickets = Vec::new();
        if ended.recv_many(&mut tickets, TOLD_AT_ONCE).await == 0 {
            return;
        }
        if link
            .mouth
            .say(&ToKeeper::Ended { tickets }, &[])
            .await
            .is_err()
        {
            return; // the keeper is gone, and its count with it
        }
    }
}
