//! Login: greet the client, find out who it is, open the database, welcome the client.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};

use crate::clock;
use crate::config::{Credential as DatabaseCredential, PasswordSource, TokenSource};
use crate::model::{
    Pid, Principal, Reference, Refusal, RefusalCode, Secret, SessionId, StatementSeq, User,
};
use crate::origin::Flow;
use crate::policy::Needs;
use crate::record::{Began, KeptFrom, Login, SessionRecorder, Why};
use crate::sql::Scope;
use crate::telemetry::{LiveGuard, LiveSession};
use crate::tls::{Opening, Prefixed};
use crate::upstream::{Dialled, Endpoint, Leg, UpstreamError};
use crate::wire::{
    Ask4, BackLogin, Credential, Front, FrontLimits, Garbled, Hello, Need, Welcome, Wire,
};

use super::cancel::{CancelGuard, Cancels};
use super::database::{Database, Wanted};
use super::keep::Keeping;
use super::{Arrived, Shared};

/// From the accept to the client's last word about who it is, in total and not per byte or message.
const GREETING_DEADLINE: Duration = Duration::from_secs(10);
/// Verifying a token and opening the database, together.
const OPENING_DEADLINE: Duration = Duration::from_secs(30);

/// A session that is logged in on both sides.
pub(super) struct Opened {
    pub(super) session: SessionId,
    pub(super) client: Leg,
    pub(super) client_rest: BytesMut,
    pub(super) database: Dialled,
    /// Where its unqualified names may be looked for.
    pub(super) scope: Scope,
    /// What is needed to keep the connection, if it may be.
    pub(super) keeping: Option<Keeping>,
    pub(super) endpoint: Endpoint,
    pub(super) back_login: BackLogin,
    pub(super) principal: Arc<Principal>,
    pub(super) hello: Hello,
    pub(super) arrived: Box<Arrived>,
    pub(super) recorder: SessionRecorder,
    pub(super) live: LiveGuard,
    pub(super) cancel: CancelGuard,
}

/// How a login ended.
pub(super) enum Outcome {
    Opened(Box<Opened>),
    Ended(Why),
}

/// The client's side while it is being greeted.
struct Greeting<W: Wire> {
    front: W::Front,
    leg: Leg,
    input: BytesMut,
    out: BytesMut,
    /// When the client must have said all.
    until: Instant,
    /// Its place among the workload's logins.
    half_open: Option<OwnedSemaphorePermit>,
}

/// Why a greeting stopped.
enum Stop {
    Gone,
    Garbled(Garbled),
    Refused(Refusal),
    /// A cancel request was handled.
    Cancelled,
    /// The database refused the agent.
    Upstream(UpstreamError),
}

impl From<std::io::Error> for Stop {
    fn from(_: std::io::Error) -> Self {
        Stop::Gone
    }
}

impl From<Garbled> for Stop {
    fn from(garbled: Garbled) -> Self {
        Stop::Garbled(garbled)
    }
}

/// Logs one connection in.
pub(super) async fn open<W: Wire>(shared: &Arc<Shared>, arrived: Arrived) -> Outcome {
    let target = &arrived.reachable.target;
    let began = Began {
        session: arrived.session,
        dialect: W::DIALECT,
        at: clock::now(),
        workload: arrived.workload.clone(),
        process: arrived.flow.process.clone(),
        client: arrived.client,
        destination: arrived.flow.destination,
        target: target.name.clone(),
    };
    let limits = FrontLimits {
        plaintext: !target.client_tls.required(),
        message: target.limits.message_bytes,
        ..FrontLimits::default()
    };
    let Arrived { session, .. } = arrived;
    let mut arrived = arrived;
    let stream = match arrived.stream.take() {
        Some(stream) => stream,
        None => return Outcome::Ended(Why::Fault("the connection was served twice".to_owned())),
    };
    let mut greeting = Greeting::<W>::new(limits, stream);
    greeting.half_open = arrived.half_open.take();
    let until = greeting.until;
    let arrived = Box::new(arrived);
    let hosts = &arrived.reachable.target.hosts;
    let hello = greeting.hello(shared, &arrived.flow, hosts, &arrived.workload.name);
    let hello = match timeout_at(until, hello).await {
        Ok(Ok(hello)) => hello,
        // A cancel request is not a session: nothing began.
        Ok(Err(Stop::Cancelled)) => return Outcome::Ended(Why::ClientQuit),
        Ok(Err(stop)) => return ended(shared, greeting, began, stop).await,
        // Nothing is sent to a peer that has not finished saying who it is.
        Err(_) => return ended(shared, greeting, began, Stop::Gone).await,
    };
    let recorder = match shared.recorder.begin(began.clone()) {
        Ok(recorder) => recorder,
        Err(error) => {
            // Record or refuse: a session that cannot be recorded does not begin.
            let refusal = Refusal {
                fatal: true,
                ..error.refusal()
            };
            greeting.refuse(&refusal).await;
            return Outcome::Ended(Why::RecordFailed(error.to_string()));
        }
    };
    let opening = timeout(
        OPENING_DEADLINE,
        admit(shared, &arrived, &mut greeting, &hello),
    )
    .await;
    let admitted = match opening {
        Ok(admitted) => admitted,
        Err(_) => Err(Stop::Refused(Refusal::fatal(
            RefusalCode::Identity,
            "login took too long: the token could not be verified, or the database not opened, in time",
        ))),
    };
    match admitted {
        Ok(admitted) => welcome(shared, arrived, greeting, hello, admitted, recorder).await,
        Err(stop) => {
            let reference = Reference {
                session,
                seq: StatementSeq(0),
            };
            let why = refuse_login(shared, &mut greeting, stop, reference, &recorder).await;
            recorder.close(why.clone());
            Outcome::Ended(why)
        }
    }
}

/// Greets a client only to tell it, in its own language, why it cannot come in.
pub(super) async fn turn_away<W: Wire>(
    shared: &Arc<Shared>,
    stream: TcpStream,
    flow: &Flow,
    refusal: &Refusal,
) {
    let mut greeting = Greeting::<W>::new(FrontLimits::default(), stream);
    let hello = greeting.hello(shared, flow, &[], "");
    if let Ok(Ok(_hello)) = timeout(GREETING_DEADLINE, hello).await {
        greeting.refuse(refusal).await;
    }
}

/// A connection that ended before it said who it wants to be: recorded, so that a probe shows.
async fn ended<W: Wire>(
    shared: &Arc<Shared>,
    mut greeting: Greeting<W>,
    began: Began,
    stop: Stop,
) -> Outcome {
    let reference = Reference {
        session: began.session,
        seq: StatementSeq(0),
    };
    let why = match shared.recorder.begin(began) {
        Ok(recorder) => {
            let why = refuse_login(shared, &mut greeting, stop, reference, &recorder).await;
            recorder.close(why.clone());
            why
        }
        Err(error) => Why::RecordFailed(error.to_string()),
    };
    Outcome::Ended(why)
}

async fn refuse_login<W: Wire>(
    shared: &Arc<Shared>,
    greeting: &mut Greeting<W>,
    stop: Stop,
    reference: Reference,
    recorder: &SessionRecorder,
) -> Why {
    let (refusal, why) = match stop {
        Stop::Gone | Stop::Cancelled => return Why::ClientGone,
        Stop::Garbled(garbled) => {
            let words = garbled.to_string();
            (
                Refusal::fatal(RefusalCode::Protocol, words.clone()),
                Why::ClientGarbled(words),
            )
        }
        Stop::Refused(refusal) => (refusal, Why::LoginRefused),
        Stop::Upstream(error) => {
            tracing::warn!(session = %reference.session, %error, "cannot open the database");
            shared.metrics.upstream_failed();
            // The inside wording stays in the log: it names the agent's own credential.
            let refusal = Refusal::fatal(
                RefusalCode::Upstream,
                "the gateway cannot open the database; its log says why",
            );
            (refusal, Why::UpstreamRefused(error.to_string()))
        }
    };
    let refusal = Refusal {
        fatal: true,
        ..refusal
    }
    .at(reference);
    recorder.login(Login::Refused(refusal.clone()));
    greeting.refuse(&refusal).await;
    why
}

impl<W: Wire> Greeting<W> {
    fn new(limits: FrontLimits, stream: TcpStream) -> Self {
        Greeting {
            front: W::Front::new(limits),
            leg: Leg::Plain(stream.into()),
            input: BytesMut::with_capacity(1024),
            out: BytesMut::with_capacity(512),
            until: Instant::now() + GREETING_DEADLINE,
            half_open: None,
        }
    }

    /// Greets until the client says who it wants to be.
    async fn hello(
        &mut self,
        shared: &Arc<Shared>,
        flow: &Flow,
        hosts: &[String],
        workload: &str,
    ) -> Result<Hello, Stop> {
        loop {
            match self.step().await? {
                Need::More => self.read().await?,
                Need::Tls | Need::DirectTls if self.leg.is_tls() => {
                    return Err(Stop::Refused(Refusal::fatal(
                        RefusalCode::Protocol,
                        "TLS was asked for twice",
                    )));
                }
                Need::Tls => self.secure(shared, flow, hosts, false).await?,
                Need::DirectTls => self.secure(shared, flow, hosts, true).await?,
                Need::Login(hello) => return Ok(hello),
                Need::Cancel(key) => {
                    shared.cancels.request::<W::Back>(&key, workload).await;
                    return Err(Stop::Cancelled);
                }
                Need::Refuse(refusal) => return Err(Stop::Refused(refusal)),
                Need::Verdict(_) => {
                    return Err(Stop::Refused(Refusal::fatal(
                        RefusalCode::Protocol,
                        "a credential came before it was asked for",
                    )));
                }
            }
        }
    }

    async fn step(&mut self) -> Result<Need, Stop> {
        let need = self.front.greet(&mut self.input, &mut self.out)?;
        self.flush().await?;
        Ok(need)
    }

    async fn flush(&mut self) -> Result<(), Stop> {
        if !self.out.is_empty() {
            self.leg.write_all(&self.out).await?;
            self.leg.flush().await?;
            self.out.clear();
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(), Stop> {
        if self.leg.read_buf(&mut self.input).await? == 0 {
            return Err(Stop::Gone);
        }
        Ok(())
    }

    async fn secure(
        &mut self,
        shared: &Arc<Shared>,
        flow: &Flow,
        hosts: &[String],
        direct: bool,
    ) -> Result<(), Stop> {
        let plain = match std::mem::replace(&mut self.leg, Leg::Closed) {
            Leg::Plain(plain) => plain,
            Leg::Server(_) | Leg::Client(_) | Leg::Closed => return Err(Stop::Gone),
        };
        let already = self.input.split().freeze();
        let stream = Prefixed::new(already, plain);
        let opening = if direct {
            Opening::Direct
        } else {
            Opening::Asked
        };
        let accepted = shared
            .client_tls
            .accept(stream, flow.destination.0.ip(), hosts, opening)
            .await;
        let stream = accepted.map_err(|error| {
            tracing::info!(%error, "a client's TLS handshake failed");
            Stop::Gone
        })?;
        self.leg = Leg::Server(Box::new(stream));
        self.front.secured();
        Ok(())
    }

    /// Writes a last message; a client that does not take it is not waited for.
    async fn refuse(&mut self, refusal: &Refusal) {
        self.front.refuse(refusal, &mut self.out);
        let last = async {
            let _ = self.flush().await;
            let _ = self.leg.shutdown().await;
        };
        let _ = timeout(Duration::from_secs(2), last).await;
    }

    async fn ask(&mut self, how: Ask4) -> Result<Credential, Stop> {
        let until = self.until;
        self.front.ask(how, &mut self.out);
        self.flush().await?;
        let answer = async {
            loop {
                match self.step().await? {
                    Need::More => self.read().await?,
                    Need::Verdict(credential) => return Ok(credential),
                    Need::Refuse(refusal) => return Err(Stop::Refused(refusal)),
                    Need::Tls | Need::DirectTls | Need::Login(_) | Need::Cancel(_) => {
                        return Err(Stop::Gone);
                    }
                }
            }
        };
        timeout_at(until, answer).await.unwrap_or(Err(Stop::Gone))
    }
}

/// Who it is, and the database opened for them.
struct Admitted {
    principal: Arc<Principal>,
    endpoint: Endpoint,
    back_login: BackLogin,
    database: Dialled,
    scope: Scope,
    keeping: Option<Keeping>,
    /// The connection was another session's before.
    kept: Option<KeptFrom>,
}

async fn admit<W: Wire>(
    shared: &Arc<Shared>,
    arrived: &Arrived,
    greeting: &mut Greeting<W>,
    hello: &Hello,
) -> Result<Admitted, Stop> {
    if *shared.drain.borrow() != super::Drain::Running {
        return Err(Stop::Refused(Refusal::fatal(
            RefusalCode::Draining,
            "the gateway is stopping; connect again in a moment",
        )));
    }
    let user = identify(shared, arrived, greeting).await?;
    greeting.half_open = None;
    let principal = Arc::new(Principal {
        workload: arrived.workload.clone(),
        user,
    });
    let target = &arrived.reachable.target;
    let credential = target.credentials.of(&principal.user.groups);
    let back_login = BackLogin {
        user: credential.username.clone(),
        password: password(credential)?,
        database: hello.database.clone(),
        settings: upstream_settings(hello, &principal),
        tls: arrived.reachable.tls.is_some(),
        proven: arrived
            .reachable
            .tls
            .as_ref()
            .is_some_and(|tls| tls.verified()),
    };
    let endpoint = arrived.endpoint();
    let policies = shared.policies.load_full();
    let needs = policies.needs(&principal, &target.name, &[]) != Needs::default();
    // Where no names are looked up, nobody knows whose code ran.
    let key = (needs && !target.keep_warm.is_zero())
        .then(|| {
            let (warm, version) = (&shared.warm, policies.version());
            warm.key(&target.name, &endpoint, &back_login, &principal, version)
        })
        .flatten();
    let wanted = Wanted {
        target: &target.name,
        endpoint: &endpoint,
        login: &back_login,
        needs_path: needs,
        key: key.as_deref(),
    };
    let Database {
        dialled: database,
        begun,
        opened,
        kept,
    } = wanted.open::<W>(shared).await.map_err(Stop::Upstream)?;
    let keeping = key.zip(begun.settings).map(|(key, settings)| Keeping {
        key,
        settings,
        parameters: database.greeted.parameters.clone(),
        since: Vec::new(),
        opened,
    });
    Ok(Admitted {
        principal,
        endpoint,
        back_login,
        database,
        scope: begun.scope,
        keeping,
        kept,
    })
}

/// Tries the workload's token sources in their order. A source that has nothing gives way to the
/// next; one that has a token decides.
async fn identify<W: Wire>(
    shared: &Arc<Shared>,
    arrived: &Arrived,
    greeting: &mut Greeting<W>,
) -> Result<User, Stop> {
    let mut tried = Vec::new();
    for (at, source) in arrived.rule.tokens.iter().enumerate() {
        let token = match source {
            TokenSource::File(_) => match shared.keeper.token(&arrived.ticket, at).await {
                Ok(token) => token,
                Err(error) => {
                    tried.push(error.to_string());
                    continue;
                }
            },
            TokenSource::Password => match greeting.ask(Ask4::Password).await? {
                Credential::Password(token) | Credential::Bearer(token) => token,
            },
            TokenSource::Bearer => match greeting.ask(Ask4::Bearer).await? {
                Credential::Password(token) | Credential::Bearer(token) => token,
            },
        };
        let user = shared.issuers.authenticate(token).await;
        let user = user.map_err(|error| Stop::Refused(error.refusal()))?;
        crate::identity::bind_workload(&user, arrived.rule.subject.as_deref())
            .map_err(|error| Stop::Refused(error.refusal()))?;
        return Ok(user);
    }
    let refusal = Refusal::fatal(
        RefusalCode::Identity,
        format!(
            "workload {:?} showed no identity token",
            arrived.workload.name
        ),
    );
    Err(Stop::Refused(match tried.is_empty() {
        true => refusal,
        false => refusal.detail(tried.join("; ")),
    }))
}

fn password(credential: &DatabaseCredential) -> Result<Option<Secret<String>>, Stop> {
    let unreadable = |inside: String| {
        tracing::error!(%inside, "the target's credential cannot be read");
        Stop::Refused(Refusal::fatal(
            RefusalCode::Upstream,
            "the gateway's credential for this database cannot be read; its log says why",
        ))
    };
    match &credential.password {
        PasswordSource::None => Ok(None),
        // Read anew for each session: a rotated secret needs no restart.
        PasswordSource::File(path) => match std::fs::read_to_string(path) {
            Ok(mut text) => {
                let kept = text.trim_end_matches(['\r', '\n']).len();
                text.truncate(kept);
                Ok(Some(Secret::new(text)))
            }
            Err(error) => Err(unreadable(format!("{}: {error}", path.display()))),
        },
        PasswordSource::Env(name) => match std::env::var(name) {
            Ok(text) => Ok(Some(Secret::new(text))),
            Err(error) => Err(unreadable(format!("environment variable {name}: {error}"))),
        },
    }
}

/// What the client asked for, and who is really behind the role, for the database's own audit.
fn upstream_settings(hello: &Hello, principal: &Principal) -> Vec<(String, String)> {
    let mut settings = hello.settings.clone();
    let name = hello.application.clone().unwrap_or_else(|| {
        let plain = |c: char| if c.is_ascii_graphic() { c } else { '?' };
        let subject: String = principal.user.subject.chars().map(plain).collect();
        format!("node-agent:{}:{subject}", principal.workload.name)
    });
    settings.push(("application_name".to_owned(), name));
    settings
}

async fn welcome<W: Wire>(
    shared: &Arc<Shared>,
    arrived: Box<Arrived>,
    mut greeting: Greeting<W>,
    hello: Hello,
    admitted: Admitted,
    recorder: SessionRecorder,
) -> Outcome {
    let Admitted {
        principal,
        endpoint,
        back_login,
        database,
        scope,
        keeping,
        kept,
    } = admitted;
    recorder.login(Login::Admitted {
        principal: Principal::clone(&principal),
        wished_role: hello.user.clone(),
        database: back_login.database.clone(),
        role: back_login.user.clone(),
        application: hello.application.clone(),
        tls: greeting.leg.is_tls(),
        kept,
        settings: hello.settings.clone(),
        upstream: Some(endpoint.address),
    });
    let mut secret = [0_u8; 32];
    let mut process = [0_u8; 4];
    if aws_lc_rs::rand::fill(&mut secret).is_err() || aws_lc_rs::rand::fill(&mut process).is_err() {
        // A guessable cancel key would let one workload stop another's statements.
        let why = Why::Fault("no randomness for a cancel key".to_owned());
        recorder.close(why.clone());
        return Outcome::Ended(why);
    }
    let process = u32::from_be_bytes(process) & 0x7fff_ffff;
    let parameters = database.greeted.parameters.clone();
    let key = greeting.front.welcome(
        &Welcome {
            parameters,
            process,
            secret,
        },
        &mut greeting.out,
    );
    let cancel = Cancels::register(
        shared,
        key,
        arrived.workload.name.clone(),
        endpoint.clone(),
        database.greeted.process,
        database.greeted.secret.clone(),
    );
    let live = shared.live.register(LiveSession {
        id: arrived.session,
        workload: arrived.workload.name.to_string(),
        user: principal.user.subject.clone(),
        target: arrived.reachable.target.name.to_string(),
        database: back_login.database.clone(),
        pid: Pid(arrived.flow.process.pid.0),
        since: clock::now(),
    });
    if greeting.flush().await.is_err() {
        recorder.close(Why::ClientGone);
        return Outcome::Ended(Why::ClientGone);
    }
    let Greeting { leg, input, .. } = greeting;
    debug_assert!(
        input.remaining() == input.len(),
        "the rest is handed on whole"
    );
    Outcome::Opened(Box::new(Opened {
        session: arrived.session,
        client: leg,
        client_rest: input,
        database,
        scope,
        keeping,
        endpoint,
        back_login,
        principal,
        hello,
        arrived,
        recorder,
        live,
        cancel,
    }))
}
