//! IO. The worker's composition root: builds each thing once, starts and stops them in order.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::accept::{Strands, serve_all};
use crate::admin::{Admin, Console, serve_pages, serve_socket};
use crate::approval::{Bounds, Desk, DeskSettings, WebhookError, Webhooks};
use crate::archive::{ArchiveError, Keeping, Settings};
use crate::config::{
    self, Config, HostTable, OnFailure, PasswordSource, RowsMode, Target, UpstreamTlsMode,
};
use crate::connection::{Gate, HalfOpen};
use crate::feed::{
    PolicyFault, PolicyTrouble, follow_hosts, follow_policies, load_policies, look_up,
};
use crate::identity::{Algorithm, IdentityError, IssuerRules, Issuers, KeyTimes, SignIn};
use crate::intercept::Prefix;
use crate::keeper::{Account, Desks, Inbox, Link, LinkError, Order};
use crate::mask::MaskKey;
use crate::model::Secret;
use crate::policy::PolicySet;
use crate::record::ledger::{By, KeyError, NodeKey};
use crate::record::{
    Keep, OpenError, Recipients, RecipientsError, Recorder, RecorderSettings, TextKey, Tombstones,
    prune,
};
use crate::session::{Analyses, Budgets, Cancels, Drain, Partings, Reachable, Shared};
use crate::telemetry::{Metrics, Registry};
use crate::tls::{ClientTls, NodeCa, TlsError, UpstreamConnector, UpstreamTls, install_provider};
use crate::upstream::{Catalogues, Warm};

/// How long sessions may go on after SIGTERM before they are ended in the middle.
const GRACE: Duration = Duration::from_secs(25);
/// How long ended sessions may take to say goodbye.
const PARTING: Duration = Duration::from_secs(5);
/// How often old recordings are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
/// The same where workloads have a quota, which one of them can fill much faster than a disk.
const PRUNE_QUOTAS_EVERY: Duration = Duration::from_secs(30);

/// The agent cannot start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A file or directory of the agent's own.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A configured word is not known.
    #[error("identity.issuers: {0:?} is no signature algorithm that tokens may have")]
    Algorithm(String),
    /// Policies.
    #[error("{0}")]
    Policies(#[from] PolicyFault),
    /// Identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The record.
    #[error(transparent)]
    Record(#[from] OpenError),
    /// Recordings are sealed, and the journal would bring what is in them to a disk.
    #[error(
        "recordings are sealed (recording.encrypt_to), and recording.journal, {}, is on a disk: until \
         decisions are in a recording they lie there in clear; name a directory in memory (tmpfs), \
         such as one below /run", .0.display()
    )]
    Journal(PathBuf),
    /// To whom it is sealed.
    #[error(transparent)]
    Recipients(#[from] RecipientsError),
    /// The key that signs the ledger.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The archive.
    #[error("recording.archive: {0}")]
    Archive(#[from] ArchiveError),
    /// The keeper.
    #[error(transparent)]
    Keeper(#[from] LinkError),
    /// A file that the configuration names may not be read by the half that needs it.
    #[error(
        "{path} cannot be read by user {user}, as which the agent serves: \
         chgrp {group} it and chmod g+r it, and let its directories be passed through"
    )]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// By whom.
        user: u32,
        /// And which is its group.
        group: u32,
    },
    /// A webhook.
    #[error(transparent)]
    Webhook(WebhookError),
    /// No randomness.
    #[error("the system gives no randomness for the masks' key")]
    Randomness,
    /// No threads.
    #[error("the system gives no threads to serve on: {0}; raise the limit of threads")]
    Threads(std::io::Error),
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    drain: watch::Sender<Drain>,
    tasks: JoinSet<()>,
    /// What answers operators.
    desks: [AbortHandle; 2],
    serving: JoinSet<()>,
    reload: Arc<Notify>,
    recorder: Arc<Recorder>,
    orders: mpsc::Receiver<Order>,
    partings: Partings,
    warm: Arc<Warm>,
    desk: Desk,
    /// Ends with the agent; what it was sending the next one sends.
    _archive: Option<Keeping>,
    webhooks: Webhooks,
    /// Last to go: sessions that are over still see their databases out there.
    _strands: Arc<Strands>,
}

impl Agent {
    /// Starts everything that decides and serves, then tells the keeper, which starts what listens
    /// and last what redirects.
    ///
    /// # Errors
    /// Anything that is missing, on either side. Nothing is half governed.
    pub async fn start(
        config: Config,
        keeper: Arc<Link>,
        mut inbox: Inbox,
        threads: NonZeroUsize,
    ) -> Result<Agent, AgentError> {
        install_provider();
        let strands = Arc::new(Strands::start(threads).map_err(AgentError::Threads)?);
        let config = Arc::new(config);
        let metrics = Arc::new(Metrics::new());
        let live = Arc::new(Registry::default());
        let policies = Arc::new(ArcSwap::from_pointee(load_policies(&config.policies)?));
        let key = Arc::new(NodeKey::open_or_make(&config.state_dir)?);
        let mut settings = recorder_settings(&config, threads, key.clone());
        settings.recipients = Recipients::read(&config.recording.encrypt_to)?;
        let recorder = Arc::new(Recorder::open(settings)?);
        let issuers = Issuers::new(issuer_rules(&config)?, KeyTimes::default())?;
        for error in issuers.warm().await {
            // Not fatal: an issuer that is down now may be up when somebody logs in.
            tracing::warn!(%error, "an issuer does not answer");
        }
        let (drain, drained) = watch::channel(Drain::Running);
        let partings = Partings::default();
        let warm = Arc::new(Warm::default());
        let secret = mask_key(&config.state_dir)?;
        let desk = Desk::start(
            DeskSettings {
                dir: config.approvals.dir.clone(),
                timeout: config.approvals.timeout,
                bounds: Bounds {
                    per_identity: config.approvals.per_identity,
                    ticket: millis(config.approvals.ticket),
                },
            },
            recorder.clone(),
        );
        desk.policies(policies.load().contents()).await;
        let shared = Arc::new(Shared {
            policies: policies.clone(),
            recorder: recorder.clone(),
            issuers,
            keeper: keeper.clone(),
            desk: desk.clone(),
            catalogues: Catalogues::default(),
            analyses: Analyses::default(),
            budgets: Budgets::default(),
            cancels: Cancels::default(),
            partings: partings.clone(),
            warm: warm.clone(),
            metrics: metrics.clone(),
            live: live.clone(),
            mask_key: MaskKey::new(&secret),
            text_key: TextKey::new(&secret),
            client_tls: ClientTls::new(node_ca(&config)?),
            rows: config.recording.rows == RowsMode::Masked,
            drain: drained.clone(),
        });
        passwords_are_readable(&config)?;
        let console = console(&config)?;
        let reachable = reachable(&config)?;
        let hosts = look_up(&config).await;
        let (publish_hosts, hosts) = watch::channel(Arc::new(hosts));
        let gate = Arc::new(Gate {
            shared,
            config: config.clone(),
            reachable,
            workloads: config.workloads.iter().cloned().map(Arc::new).collect(),
            hosts: hosts.clone(),
            half_open: HalfOpen::default(),
        });
        let mut tasks = JoinSet::new();
        let webhooks = webhooks(&config, &recorder, &desk, &mut tasks)?;
        if let Some(beats) = inbox.beats() {
            tasks.spawn(strands.pulse(keeper.clone(), beats));
        }
        let protect = named(&hosts.borrow());
        let Desks { admin, pages } = keeper.ready(&mut inbox, protect).await?;
        let socket = UnixListener::from_std(admin).map_err(file(&config.listen.admin_socket))?;
        let pages = TcpListener::from_std(pages).map_err(file(Path::new("listen.admin")))?;

        let Inbox { handed, orders, .. } = inbox;
        let mut serving = JoinSet::new();
        serving.spawn(serve_all(gate, strands.clone(), handed, drained.clone()));
        let reload = Arc::new(Notify::new());
        let trouble = PolicyTrouble::default();
        tasks.spawn(follow_policies(
            config.policies.clone(),
            policies.clone(),
            trouble.clone(),
            metrics.clone(),
            reload.clone(),
            access_ends(desk.clone()),
        ));
        tasks.spawn(follow_hosts(config.clone(), publish_hosts));
        tasks.spawn(keep_protected(hosts, keeper.clone()));
        tasks.spawn(prune_old(config.clone(), key));
        let archive = match Settings::by(&config) {
            Some(settings) => Some(Keeping::start(settings)?),
            None => None,
        };
        let kept = warm.clone();
        tasks.spawn(async move { kept.look_after().await });
        let admin = Arc::new(Admin {
            metrics,
            live,
            warm: warm.clone(),
            recorder: recorder.clone(),
            archive: archive.as_ref().map(Keeping::watch),
            policies,
            trouble,
            webhooks: webhooks.clone(),
            desk: desk.clone(),
            local: config.approvals.local.clone(),
            issuers: config
                .issuers
                .iter()
                .map(|issuer| issuer.url.to_string())
                .collect(),
            keeper: Some(keeper),
            drain: drained,
        });
        let console = console.map(|(settings, sign_in)| {
            let recordings = config.recording.dir.clone();
            Arc::new(Console::new(settings, sign_in, recordings, admin.clone()))
        });
        let desks = start_admin((pages, socket), admin, console, &mut tasks);
        Ok(Agent {
            desks,
            drain,
            tasks,
            serving,
            reload,
            recorder,
            orders,
            partings,
            warm,
            desk,
            _archive: archive,
            webhooks,
            _strands: strands,
        })
    }

    /// Another agent answers operators from now on: what is asked there is its to hear.
    fn retire(&self) {
        tracing::info!("another agent took over; the sessions that are here go on");
        self.desks.iter().for_each(AbortHandle::abort);
    }

    /// Serves until the keeper says to stop, or is gone; then drains: sessions end at their next
    /// idle moment, the rest after a grace.
    pub async fn run(mut self) {
        let drain = loop {
            match self.orders.recv().await {
                Some(Order::Reload) => self.reload.notify_one(),
                Some(Order::Retire) => {
                    self.retire();
                    // New sessions are the other's, so nobody comes for them here.
                    self.warm.end().await;
                    // The other one keeps the approvals from here on.
                    self.webhooks.stop();
                    self.desk.retire().await;
                }
                Some(Order::Drain) => break Drain::Soon,
                // Without a keeper no token can be read and nobody is told of anything: whoever
                // starts the agent again finds the ports free.
                Some(Order::Stop) | None => break Drain::Now,
            }
        };
        // First, so that what ends from here on is not kept.
        self.warm.end().await;
        if drain == Drain::Soon {
            tracing::info!(
                "stopping: sessions end when idle, the rest in {} s",
                GRACE.as_secs()
            );
            self.drain.send_replace(Drain::Soon);
            let serving = &mut self.serving;
            let all_gone = async { while serving.join_next().await.is_some() {} };
            let (orders, desks) = (&mut self.orders, &self.desks);
            let at_once = async {
                // Until it is told to stop, or has no keeper any more.
                loop {
                    match orders.recv().await {
                        Some(Order::Retire) => desks.iter().for_each(AbortHandle::abort),
                        Some(Order::Reload | Order::Drain) => {}
                        Some(Order::Stop) | None => break,
                    }
                }
            };
            tokio::select! {
                () = all_gone => {}
                () = tokio::time::sleep(GRACE) => {}
                () = at_once => {}
            }
        }
        self.drain.send_replace(Drain::Now);
        let serving = &mut self.serving;
        let all_gone = async { while serving.join_next().await.is_some() {} };
        let _ = timeout(PARTING, all_gone).await;
        // What was cancelled in the middle is over at the database too.
        let _ = timeout(PARTING, self.partings.over()).await;
        self.tasks.shutdown().await;
        let recorder = self.recorder.clone();
        // Writes what is queued; a disk that hangs must not hang the stop.
        let _ = timeout(
            PARTING,
            tokio::task::spawn_blocking(move || recorder.stop()),
        )
        .await;
    }
}

/// Tells the desk of new policies: what was granted of one that is another now ends. Until it has heard,
/// sessions see by themselves that it is another.
fn access_ends(desk: Desk) -> impl Fn(&PolicySet) {
    move |policies| {
        let (desk, contents) = (desk.clone(), policies.contents());
        tokio::spawn(async move { desk.policies(contents).await });
    }
}

/// Where reviewers sign in, where there is a console.
fn console(config: &Config) -> Result<Option<(config::Console, SignIn)>, AgentError> {
    let Some(console) = &config.approvals.console else {
        return Ok(None);
    };
    if let Some(path) = &console.client_secret_file {
        readable(path)?;
    }
    let sign_in = SignIn::new(
        rules_of(&console.issuer)?,
        console.client_secret_file.clone(),
        Console::callback(&console.url),
    )?;
    Ok(Some((console.clone(), sign_in)))
}

fn start_admin(
    (pages, socket): (TcpListener, UnixListener),
    admin: Arc<Admin>,
    console: Option<Arc<Console>>,
    tasks: &mut JoinSet<()>,
) -> [AbortHandle; 2] {
    let for_pages = admin.clone();
    let pages = tasks.spawn(serve_pages(for_pages, console, pages));
    let socket = tasks.spawn(serve_socket(admin, socket));
    [pages, socket]
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

fn file(path: &Path) -> impl FnOnce(std::io::Error) -> AgentError {
    let path = path.to_owned();
    move |source| AgentError::File { path, source }
}

/// Makes what the agent keeps and gives the worker its part, before there is a worker: the keys,
/// which it may read and not replace, and the recordings, which are its own. The state directory
/// stays the keeper's: whoever owns it could put another directory where the pins are looked for.
///
/// # Errors
/// Something cannot be made or given.
pub fn prepare(config: &Config, worker: Option<Account>) -> Result<(), AgentError> {
    install_provider();
    make_private(&config.state_dir)?;
    node_ca(config)?;
    mask_key(&config.state_dir)?;
    NodeKey::open_or_make(&config.state_dir)?;
    make_private(&config.recording.dir)?;
    make_private(&config.recording.journal)?;
    make_private(&config.approvals.dir)?;
    if Recipients::read(&config.recording.encrypt_to)?.is_some() {
        in_memory(&config.recording.journal)?;
    }
    let Some(worker) = worker else { return Ok(()) };
    // Others pass through, and list nothing; what is inside has its own mode.
    let through = std::fs::Permissions::from_mode(0o711);
    std::fs::set_permissions(&config.state_dir, through).map_err(file(&config.state_dir))?;
    let mut keys = vec![
        mask_key_file(&config.state_dir),
        NodeKey::key_file(&config.state_dir),
    ];
    if config.tls.ca_key.is_none() {
        keys.push(NodeCa::key_file(&config.state_dir));
    }
    for key in keys {
        give(&key, worker)?;
    }
    let dirs = [
        &config.recording.dir,
        &config.recording.journal,
        &config.approvals.dir,
    ];
    for kept in dirs {
        let about = std::fs::symlink_metadata(kept).map_err(file(kept))?;
        if about.uid() != worker.user {
            give_all(kept, worker)?;
        }
    }
    Ok(())
}

/// Would [`prepare`] leave the recordings whose they are?
pub fn fits(config: &Config, worker: Option<Account>) -> bool {
    match (std::fs::symlink_metadata(&config.recording.dir), worker) {
        (Ok(about), Some(worker)) => about.uid() == worker.user,
        (Ok(_) | Err(_), _) => true,
    }
}

/// The files of the node's own keys, which a worker reads at its start.
pub fn keys(config: &Config) -> Vec<PathBuf> {
    let state = &config.state_dir;
    vec![
        mask_key_file(state),
        NodeKey::key_file(state),
        NodeKey::public_file(state),
        NodeCa::key_file(state),
        NodeCa::certificate_file(state),
    ]
}

/// Decisions lie in the journal in clear until they lie in a recording: of recordings that are
/// sealed nothing should get to a disk that way.
fn in_memory(journal: &Path) -> Result<(), AgentError> {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    let about = rustix::fs::statfs(journal).map_err(|error| file(journal)(error.into()))?;
    match about.f_type {
        TMPFS | RAMFS => Ok(()),
        _ => Err(AgentError::Journal(journal.to_owned())),
    }
}

fn mask_key_file(state_dir: &Path) -> PathBuf {
    state_dir.join("mask.key")
}

fn give(path: &Path, worker: Account) -> Result<(), AgentError> {
    // Never what a link leads to.
    lchown(path, Some(worker.user), Some(worker.group)).map_err(file(path))
}

/// A directory and what is in it. The directory comes last: found given, all in it was.
fn give_all(directory: &Path, worker: Account) -> Result<(), AgentError> {
    for entry in std::fs::read_dir(directory).map_err(file(directory))? {
        let entry = entry.map_err(file(directory))?;
        let path = entry.path();
        if entry.file_type().map_err(file(&path))?.is_dir() {
            give_all(&path, worker)?;
        } else {
            give(&path, worker)?;
        }
    }
    give(directory, worker)
}

/// What tells reviewers elsewhere.
fn webhooks(
    config: &Config,
    recorder: &Recorder,
    desk: &Desk,
    tasks: &mut JoinSet<()>,
) -> Result<Webhooks, AgentError> {
    let node = recorder.node_key();
    let node = node.map_or_else(String::new, |key| key.to_string());
    Webhooks::start(&config.approvals.webhooks, &node, desk, tasks).map_err(|error| match error {
        WebhookError::Unreadable(path) => unreadable(path),
        error @ WebhookError::Unusable { .. } => AgentError::Webhook(error),
    })
}

fn unreadable(path: PathBuf) -> AgentError {
    AgentError::Unreadable {
        path,
        user: rustix::process::geteuid().as_raw(),
        group: rustix::process::getegid().as_raw(),
    }
}

/// Passwords are read for each session, and the archive's credential for each round. That they may
/// be is known before the first.
fn passwords_are_readable(config: &Config) -> Result<(), AgentError> {
    let archive = config.recording.archive.iter();
    for path in archive.filter_map(|archive| archive.credentials_file.as_ref()) {
        readable(path)?;
    }
    for target in &config.targets {
        let groups = target.credentials.by_group.iter().map(|(_, own)| own);
        for credential in std::iter::once(&target.credentials.default).chain(groups) {
            let PasswordSource::File(path) = &credential.password else {
                continue;
            };
            readable(path)?;
        }
    }
    Ok(())
}

/// Any fault but a right that lacks is told by who reads it: the file may come later.
fn readable(path: &Path) -> Result<(), AgentError> {
    match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(AgentError::Unreadable {
                path: path.to_owned(),
                user: rustix::process::geteuid().as_raw(),
                group: rustix::process::getegid().as_raw(),
            })
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

fn make_private(directory: &Path) -> Result<(), AgentError> {
    let mut builder = std::fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(file(directory))
}

fn recorder_settings(
    config: &Config,
    threads: NonZeroUsize,
    key: Arc<NodeKey>,
) -> RecorderSettings {
    let mut settings = RecorderSettings::new(&config.recording.dir);
    settings.journal = Some(config.recording.journal.clone());
    settings.threads = threads;
    settings.key = Some(key);
    settings.workload_max_bytes = config.recording.workload_max_bytes;
    settings.on_failure = match config.recording.on_failure {
        OnFailure::Refuse => crate::record::OnFailure::Refuse,
        OnFailure::Continue => crate::record::OnFailure::Continue,
    };
    settings
}

fn issuer_rules(config: &Config) -> Result<Vec<IssuerRules>, AgentError> {
    config.issuers.iter().map(rules_of).collect()
}

fn rules_of(issuer: &config::Issuer) -> Result<IssuerRules, AgentError> {
    let algorithm = |word: &String| {
        word.parse::<Algorithm>()
            .map_err(|_| AgentError::Algorithm(word.clone()))
    };
    Ok(IssuerRules {
        algorithms: issuer
            .algorithms
            .iter()
            .map(algorithm)
            .collect::<Result<_, _>>()?,
        groups_claim: issuer.groups_claim.clone(),
        ca_file: issuer.ca_file.clone(),
        claims: issuer.claims.clone(),
        allow_http_loopback: issuer.allow_http_loopback,
        ..IssuerRules::new(&issuer.url, &issuer.audience)
    })
}

fn node_ca(config: &Config) -> Result<NodeCa, AgentError> {
    Ok(match (&config.tls.ca_cert, &config.tls.ca_key) {
        (Some(certificate), Some(key)) => NodeCa::from_files(certificate, key)?,
        (Some(_), None) | (None, Some(_)) | (None, None) => {
            NodeCa::open_or_make(&config.state_dir)?
        }
    })
}

/// What the keys of hashes and tokens are made from: made once, kept beside the node CA. A new key would break the
/// equality of tokens across restarts, so a damaged file is an error and not a reason for another.
fn mask_key(state_dir: &Path) -> Result<Secret<[u8; 32]>, AgentError> {
    use std::io::{Read, Write};
    use std::os::unix::fs::OpenOptionsExt;
    let path = mask_key_file(state_dir);
    match std::fs::File::open(&path) {
        Ok(mut found) => {
            let mut bytes = [0_u8; 32];
            found.read_exact(&mut bytes).map_err(file(&path))?;
            Ok(Secret::new(bytes))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut bytes = [0_u8; 32];
            aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AgentError::Randomness)?;
            let mut options = std::fs::OpenOptions::new();
            let mut made = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .map_err(file(&path))?;
            made.write_all(&bytes)
                .and_then(|()| made.sync_all())
                .map_err(file(&path))?;
            Ok(Secret::new(bytes))
        }
        Err(error) => Err(file(&path)(error)),
    }
}

fn reachable(config: &Config) -> Result<HashMap<Arc<str>, Arc<Reachable>>, AgentError> {
    let one = |target: &Target| {
        let mode = match target.upstream.tls {
            UpstreamTlsMode::Disable => UpstreamTls::Disable,
            UpstreamTlsMode::Require => UpstreamTls::Require,
            UpstreamTlsMode::VerifyFull => UpstreamTls::VerifyFull,
        };
        let tls = UpstreamConnector::new(mode, target.upstream.ca_file.as_deref())?.map(Arc::new);
        let reachable = Arc::new(Reachable {
            target: target.clone(),
            tls,
        });
        Ok((target.name.0.clone(), reachable))
    };
    config.targets.iter().map(one).collect()
}

/// Addresses of the targets' host names, to be protected.
fn named(hosts: &HostTable) -> Vec<Prefix> {
    // Loopback and the node's own services share their address with much else: for those the
    // guarded ports alone decide.
    let named = hosts
        .targets
        .keys()
        .filter(|address| !address.is_loopback());
    named.map(|address| Prefix::host(*address)).collect()
}

/// Keeps the keeper's set of protected addresses as the names resolve.
async fn keep_protected(mut hosts: watch::Receiver<Arc<HostTable>>, keeper: Arc<Link>) {
    while hosts.changed().await.is_ok() {
        let table = hosts.borrow_and_update().clone();
        if let Err(error) = keeper.protect(named(&table)).await {
            tracing::error!(%error, "new addresses are not protected yet; guarded ports still are");
        }
    }
}

/// Removes recordings that are too old or too many.
async fn prune_old(config: Arc<Config>, key: Arc<NodeKey>) {
    let keep = Keep::by(&config.recording);
    if keep.all() {
        return;
    }
    let tombstones = Tombstones { key, by: By::Agent };
    // Where there is an archive a disk that is nearly full is found in time.
    let often = keep.workload_max_bytes.is_some() || keep.archive.is_some();
    let mut ticks = tokio::time::interval(match often {
        true => PRUNE_QUOTAS_EVERY,
        false => PRUNE_EVERY,
    });
    loop {
        ticks.tick().await;
        let (dir, tombstones) = (config.recording.dir.clone(), tombstones.clone());
        let pruned = tokio::task::spawn_blocking(move || {
            prune(&dir, keep, crate::clock::now(), Some(&tombstones))
        })
        .await;
        match pruned {
            Ok(Ok(pruned)) if pruned.removed.is_empty() => {}
            Ok(Ok(pruned)) => {
                tracing::info!(
                    removed = pruned.removed.len(),
                    bytes = pruned.bytes,
                    "pruned"
                );
            }
            Ok(Err(error)) => tracing::error!(%error, "old recordings cannot be removed"),
            Err(error) => tracing::error!(%error, "old recordings cannot be removed"),
        }
    }
}
