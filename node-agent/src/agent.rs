//! IO. The composition root: builds each thing once, starts and stops them in order.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::accept::{accept, permits};
use crate::admin::{Admin, AdminError, serve_pages, serve_socket};
use crate::approval::Desk;
use crate::config::{
    CgroupRoot, Config, Egress, OnFailure, Place, RowsMode, Target, Undeclared, UnixSockets,
    UpstreamTlsMode,
};
use crate::connection::{Gate, HalfOpen};
use crate::enrol::{self, Canary, CanaryError, EnrolError, EnrolSettings, Enrolment};
use crate::feed::{
    PolicyFault, PolicyTrouble, follow_hosts, follow_policies, load_policies, look_up,
};
use crate::identity::{Algorithm, IdentityError, IssuerRules, Issuers, KeyTimes, TokenFiles};
use crate::intercept::{
    Allowed, Event, InterceptError, Interceptor, Listener, OnUndeclared, Prefix, Settings,
    UnixPath, WorkloadIndex, cgroup_id, cgroup_root,
};
use crate::mask::MaskKey;
use crate::model::Secret;
use crate::origin::Origins;
use crate::record::{Keep, OpenError, Recorder, RecorderSettings, prune};
use crate::session::{Analyses, Cancels, Drain, Reachable, Shared};
use crate::telemetry::{Metrics, Registry};
use crate::tls::{ClientTls, NodeCa, TlsError, UpstreamConnector, UpstreamTls, install_provider};
use crate::upstream::Catalogues;

/// How long sessions may go on after SIGTERM before they are ended in the middle.
const GRACE: Duration = Duration::from_secs(25);
/// How long ended sessions may take to say goodbye.
const PARTING: Duration = Duration::from_secs(5);
/// How often old recordings are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

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
    /// The kernel programs.
    #[error(transparent)]
    Intercept(#[from] InterceptError),
    /// Enrolment.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// The canary.
    #[error(transparent)]
    Canary(#[from] CanaryError),
    /// Admin.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// No randomness.
    #[error("the system gives no randomness for the masks' key")]
    Randomness,
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    config: Arc<Config>,
    drain: watch::Sender<Drain>,
    tasks: JoinSet<()>,
    serving: JoinSet<()>,
    reload: Arc<Notify>,
    recorder: Arc<Recorder>,
    _enrolment: Arc<Enrolment>,
    _interceptor: Arc<Interceptor>,
}

/// Where the kernel programs' links and maps are pinned, so that a dead agent means "connection
/// refused" and not "no gateway".
pub fn pin_directory(config: &Config) -> PathBuf {
    config.state_dir.join("bpf")
}

/// Where cgroup2 is mounted, and the directory at and below which this agent governs: globs are
/// relative to it and the kernel programs are attached to it.
///
/// # Errors
/// None is mounted.
pub fn cgroup2(config: &Config) -> Result<(PathBuf, PathBuf), InterceptError> {
    let mount = match &config.cgroup_root {
        CgroupRoot::Auto => cgroup_root()?,
        // A directory of the usual mount narrows what is governed; any other path is a mount.
        CgroupRoot::Path(path) => match cgroup_root() {
            Ok(mount) if path.starts_with(&mount) => mount,
            Ok(_) | Err(_) => path.clone(),
        },
    };
    let base = match (&config.attach, &config.cgroup_root) {
        // A relative path is below the mount; joining an absolute one leaves it as it is.
        (Some(attach), _) => mount.join(attach),
        (None, CgroupRoot::Path(path)) => path.clone(),
        (None, CgroupRoot::Auto) => mount.clone(),
    };
    Ok((mount, base))
}

fn enrol_rules(config: &Config) -> Vec<enrol::WorkloadRule> {
    let rules = config.workloads.iter().zip(0_u32..);
    rules
        .map(|(rule, index)| enrol::WorkloadRule {
            name: rule.name.clone(),
            globs: rule.cgroups.clone(),
            index: WorkloadIndex(index),
        })
        .collect()
}

impl Agent {
    /// Starts everything, in the order in which it is needed: what decides before what listens,
    /// what listens before what redirects.
    ///
    /// # Errors
    /// Anything that is missing. Nothing is half governed: the redirect is the last thing to come.
    pub async fn start(config: Config) -> Result<Agent, AgentError> {
        install_provider();
        let config = Arc::new(config);
        make_private(&config.state_dir)?;
        let metrics = Arc::new(Metrics::new());
        let live = Arc::new(Registry::default());
        let policies = Arc::new(ArcSwap::from_pointee(load_policies(&config.policies)?));
        let recorder = Arc::new(Recorder::open(recorder_settings(&config))?);
        let issuers = Issuers::new(issuer_rules(&config)?, KeyTimes::default())?;
        for error in issuers.warm().await {
            // Not fatal: an issuer that is down now may be up when somebody logs in.
            tracing::warn!(%error, "an issuer does not answer");
        }
        let (mount, base) = cgroup2(&config)?;
        let (drain, drained) = watch::channel(Drain::Running);
        let shared = Arc::new(Shared {
            policies: policies.clone(),
            recorder: recorder.clone(),
            issuers,
            tokens: TokenFiles::new(mount.clone()),
            desk: Desk::new(),
            catalogues: Catalogues::default(),
            analyses: Analyses::default(),
            cancels: Cancels::default(),
            metrics: metrics.clone(),
            live: live.clone(),
            mask_key: mask_key(&config.state_dir)?,
            client_tls: ClientTls::new(node_ca(&config)?),
            rows: config.recording.rows == RowsMode::Masked,
            drain: drained.clone(),
        });
        let reachable = reachable(&config)?;
        let hosts = look_up(&config).await;
        let (publish_hosts, hosts) = watch::channel(Arc::new(hosts));

        let interceptor = Arc::new(Interceptor::start(settings(&config, &mount, &base)?)?);
        protect(&config, &hosts.borrow(), &interceptor)?;
        let canary = Arc::new(Canary::make(&base, interceptor.clone())?);
        let gate = Arc::new(Gate {
            shared,
            origins: Origins::Kernel {
                interceptor: interceptor.clone(),
                cgroup_root: mount,
            },
            config: config.clone(),
            reachable,
            workloads: config.workloads.iter().cloned().map(Arc::new).collect(),
            hosts: hosts.clone(),
            half_open: HalfOpen::default(),
            canary: Some(canary.clone()),
        });
        let mut tasks = JoinSet::new();
        let mut serving = JoinSet::new();
        if let Some(listeners) = interceptor.take_listeners() {
            serving.spawn(accept_all(gate, listeners, drained.clone()));
        }
        let enrolment = Arc::new(Enrolment::start(
            EnrolSettings::new(base, enrol_rules(&config)),
            interceptor.clone(),
            interceptor.take_sightings(),
        )?);
        tasks.spawn(canary.clone().watch(
            config.guard.canary_every,
            dialled_port(&config),
            stopping(drained.clone()),
        ));
        if let Some(events) = interceptor.take_events() {
            tasks.spawn(tell_events(config.clone(), events));
        }
        let reload = Arc::new(Notify::new());
        let trouble = PolicyTrouble::default();
        tasks.spawn(follow_policies(
            config.policies.clone(),
            policies.clone(),
            trouble.clone(),
            metrics.clone(),
            reload.clone(),
        ));
        tasks.spawn(follow_hosts(config.clone(), publish_hosts));
        tasks.spawn(keep_protected(config.clone(), hosts, interceptor.clone()));
        tasks.spawn(prune_old(config.clone()));
        let admin = Arc::new(Admin {
            metrics,
            live,
            recorder: recorder.clone(),
            policies,
            trouble,
            enrolment: Some(enrolment.clone()),
            canary: Some(canary),
            degraded: interceptor.degraded().to_vec(),
            layers: interceptor.layers(),
            interceptor: Some(interceptor.clone()),
            drain: drained,
        });
        start_admin(&config, admin, &mut tasks).await?;
        Ok(Agent {
            config,
            drain,
            tasks,
            serving,
            reload,
            recorder,
            _enrolment: enrolment,
            _interceptor: interceptor,
        })
    }

    /// Runs until SIGTERM or SIGINT, then drains: no new connections, sessions end at their next
    /// idle moment, the rest after a grace. SIGHUP reads policies again. The redirect stays: a
    /// stopped agent means refused connections.
    ///
    /// # Errors
    /// Signals cannot be awaited.
    pub async fn run_until_signal(mut self) -> Result<(), AgentError> {
        let failed = |source| AgentError::File {
            path: "signal".into(),
            source,
        };
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
        tracing::info!(port = self.config.listen.port, "node-agent is ready");
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => self.reload.notify_one(),
            }
        }
        tracing::info!(
            "stopping: sessions end when idle, the rest in {} s",
            GRACE.as_secs()
        );
        self.drain.send_replace(Drain::Soon);
        let serving = &mut self.serving;
        let all_gone = async { while serving.join_next().await.is_some() {} };
        tokio::select! {
            () = all_gone => {}
            () = tokio::time::sleep(GRACE) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        self.drain.send_replace(Drain::Now);
        let serving = &mut self.serving;
        let all_gone = async { while serving.join_next().await.is_some() {} };
        let _ = timeout(PARTING, all_gone).await;
        self.tasks.shutdown().await;
        let _ = std::fs::remove_file(&self.config.listen.admin_socket);
        let recorder = self.recorder.clone();
        // Writes what is queued; a disk that hangs must not hang the stop.
        let _ = timeout(
            PARTING,
            tokio::task::spawn_blocking(move || recorder.stop()),
        )
        .await;
        Ok(())
    }
}

async fn start_admin(
    config: &Config,
    admin: Arc<Admin>,
    tasks: &mut JoinSet<()>,
) -> Result<(), AgentError> {
    let address = config.listen.admin;
    let failed = |source| AgentError::File {
        path: format!("listen.admin {address}").into(),
        source,
    };
    let pages = TcpListener::bind(address).await.map_err(failed)?;
    let for_pages = admin.clone();
    tasks.spawn(async move {
        if let Err(error) = serve_pages(for_pages, pages).await {
            tracing::error!(%error, "the admin pages ended");
        }
    });
    let socket = config.listen.admin_socket.clone();
    tasks.spawn(async move {
        if let Err(error) = serve_socket(admin, socket).await {
            tracing::error!(%error, "the admin socket ended");
        }
    });
    Ok(())
}

fn file(path: &Path) -> impl FnOnce(std::io::Error) -> AgentError {
    let path = path.to_owned();
    move |source| AgentError::File { path, source }
}

fn make_private(directory: &Path) -> Result<(), AgentError> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(file(directory))
}

fn recorder_settings(config: &Config) -> RecorderSettings {
    let mut settings = RecorderSettings::new(&config.recording.dir);
    settings.on_failure = match config.recording.on_failure {
        OnFailure::Refuse => crate::record::OnFailure::Refuse,
        OnFailure::Continue => crate::record::OnFailure::Continue,
    };
    settings
}

fn issuer_rules(config: &Config) -> Result<Vec<IssuerRules>, AgentError> {
    let one = |issuer: &crate::config::Issuer| {
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
    };
    config.issuers.iter().map(one).collect()
}

fn node_ca(config: &Config) -> Result<NodeCa, AgentError> {
    Ok(match (&config.tls.ca_cert, &config.tls.ca_key) {
        (Some(certificate), Some(key)) => NodeCa::from_files(certificate, key)?,
        (Some(_), None) | (None, Some(_)) | (None, None) => {
            NodeCa::open_or_make(&config.state_dir)?
        }
    })
}

/// The key of hashes and tokens: made once, kept beside the node CA. A new key would break the
/// equality of tokens across restarts, so a damaged file is an error and not a reason for another.
fn mask_key(state_dir: &Path) -> Result<MaskKey, AgentError> {
    use std::io::{Read, Write};
    use std::os::unix::fs::OpenOptionsExt;
    let path = state_dir.join("mask.key");
    let key = match std::fs::File::open(&path) {
        Ok(mut found) => {
            let mut bytes = [0_u8; 32];
            found.read_exact(&mut bytes).map_err(file(&path))?;
            Secret::new(bytes)
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
            Secret::new(bytes)
        }
        Err(error) => return Err(file(&path)(error)),
    };
    Ok(MaskKey::new(&key))
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

fn settings(config: &Config, mount: &Path, base: &Path) -> Result<Settings, AgentError> {
    let own = own_cgroup(mount)?;
    let mut settings = Settings::new(base, config.listen.port, cgroup_id(&own)?);
    settings.ports = config.guard.ports.clone();
    for target in &config.targets {
        if !settings.ports.contains(&target.port) {
            settings.ports.push(target.port);
        }
    }
    settings.allowed = match &config.guard.egress {
        Egress::Open => None,
        Egress::DatabasesOnly(places) => Some(places.iter().filter_map(allowed).collect()),
    };
    settings.unix = match &config.guard.unix {
        UnixSockets::Open => None,
        UnixSockets::AllowOnly(paths) => Some(
            paths
                .iter()
                .filter_map(|path| path.parse::<UnixPath>().ok())
                .collect(),
        ),
    };
    settings.undeclared = match config.guard.undeclared {
        Undeclared::Refuse => OnUndeclared::Refuse,
        Undeclared::Report => OnUndeclared::Report,
        Undeclared::Ignore => OnUndeclared::Ignore,
    };
    settings.pin = Some(pin_directory(config));
    Ok(settings)
}

/// A place as the kernel side takes it. Every checked prefix is one there too.
fn allowed(place: &Place) -> Option<Allowed> {
    let prefix = Prefix::new(place.prefix.addr, place.prefix.len)?;
    Some(Allowed {
        prefix,
        port: place.port,
    })
}

/// The directory of the agent's own cgroup: the one exemption from the redirect.
fn own_cgroup(root: &Path) -> Result<PathBuf, AgentError> {
    let path = Path::new("/proc/self/cgroup");
    let text = std::fs::read_to_string(path).map_err(file(path))?;
    let inside = text
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or_default();
    Ok(root.join(inside))
}

fn protect(
    config: &Config,
    hosts: &crate::config::HostTable,
    interceptor: &Interceptor,
) -> Result<(), InterceptError> {
    let declared = config.targets.iter().flat_map(|target| &target.addresses);
    let mut prefixes: Vec<Prefix> = declared
        .filter_map(|prefix| Prefix::new(prefix.addr, prefix.len))
        .collect();
    // Loopback and the node's own services share their address with much else: for those the
    // guarded ports alone decide.
    let named = hosts
        .targets
        .keys()
        .filter(|address| !address.is_loopback());
    prefixes.extend(named.map(|address| Prefix::host(*address)));
    interceptor.set_protected(&prefixes)
}

/// Keeps the kernel's set of protected addresses as the names resolve.
async fn keep_protected(
    config: Arc<Config>,
    mut hosts: watch::Receiver<Arc<crate::config::HostTable>>,
    interceptor: Arc<Interceptor>,
) {
    while hosts.changed().await.is_ok() {
        let table = hosts.borrow_and_update().clone();
        if let Err(error) = protect(&config, &table, &interceptor) {
            tracing::error!(%error, "new addresses are not protected yet; guarded ports still are");
        }
    }
}

/// Accepts on every listener the kernel side hands over.
async fn accept_all(
    gate: Arc<Gate>,
    mut listeners: mpsc::Receiver<Listener>,
    mut drain: watch::Receiver<Drain>,
) {
    let permits = permits();
    let mut accepting = JoinSet::new();
    loop {
        let listener = tokio::select! {
            biased;
            _ = drain.wait_for(|drain| *drain != Drain::Running) => break,
            Some(_) = accepting.join_next() => continue,
            listener = listeners.recv() => match listener {
                Some(listener) => listener,
                None => break,
            },
        };
        let netns = listener.netns;
        for listening in std::iter::once(listener.v4).chain(listener.v6) {
            match TcpListener::from_std(listening) {
                Ok(listening) => {
                    let closed = listener.closed.clone();
                    let (gate, permits, drain) = (gate.clone(), permits.clone(), drain.clone());
                    accepting.spawn(accept(gate, listening, netns, permits, closed, drain));
                }
                // Connects there are refused; that is safe, and said.
                Err(error) => tracing::error!(%error, %netns, "a listener cannot be used"),
            }
        }
    }
    while accepting.join_next().await.is_some() {}
}

/// A port that is guarded whatever else is: the canary dials it.
fn dialled_port(config: &Config) -> u16 {
    let declared = config.targets.iter().map(|target| target.port);
    let guarded = config.guard.ports.iter().copied();
    guarded.chain(declared).next().unwrap_or(5432)
}

/// Resolves when the agent begins to stop: its listeners close, and nothing answers any more.
async fn stopping(mut drain: watch::Receiver<Drain>) {
    let _ = drain.wait_for(|drain| *drain != Drain::Running).await;
}

/// Tells the log what the kernel programs saw.
async fn tell_events(config: Arc<Config>, mut events: mpsc::Receiver<Event>) {
    let name = |index: WorkloadIndex| {
        let rule = usize::try_from(index.0).ok();
        let rule = rule.and_then(|at| config.workloads.get(at));
        rule.map_or("?", |rule| &*rule.name)
    };
    while let Some(event) = events.recv().await {
        match event {
            Event::RefusedUnix(socket, dial) => tracing::warn!(
                socket, workload = name(dial.workload), cgroup = %dial.cgroup, pid = %dial.pid,
                program = dial.comm, uid = dial.uid,
                "a unix socket was refused that guard.unix_allow does not name so"
            ),
            Event::Redirected(_) | Event::Refused(..) => tracing::debug!(?event, "kernel"),
            Event::Undeclared(met, dial) => tracing::warn!(
                database = %met.database, refused = met.refused, destination = %dial.destination,
                workload = name(dial.workload), cgroup = %dial.cgroup, pid = %dial.pid,
                program = dial.comm, uid = dial.uid,
                "a database that no target declares: declare it, or set guard.undeclared"
            ),
            Event::Bypass(how, dial) => tracing::warn!(
                ?how, destination = %dial.destination, workload = name(dial.workload),
                cgroup = %dial.cgroup, pid = %dial.pid, program = dial.comm, uid = dial.uid,
                "stopped an attempt to get round the agent"
            ),
        }
    }
}

/// Removes recordings that are too old or too many.
async fn prune_old(config: Arc<Config>) {
    let keep = Keep {
        max_age: config.recording.retention,
        max_bytes: config.recording.max_bytes,
    };
    if keep.max_age.is_none() && keep.max_bytes.is_none() {
        return;
    }
    let mut ticks = tokio::time::interval(PRUNE_EVERY);
    loop {
        ticks.tick().await;
        let dir = config.recording.dir.clone();
        let pruned =
            tokio::task::spawn_blocking(move || prune(&dir, keep, crate::clock::now())).await;
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
