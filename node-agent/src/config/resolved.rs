//! The configuration, resolved: what the rest of the agent sees.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Place, Prefix};
use crate::model::{Dialect, OriginalDst, Recipient, TargetName, UpstreamAddr};

/// Everything, checked.
#[derive(Clone, Debug)]
#[allow(
    missing_docs,
    reason = "each key is described in words.rs, from which the reference is made"
)]
pub struct Config {
    pub listen: Listen,
    pub state_dir: PathBuf,
    pub cgroup_root: CgroupRoot,
    pub attach: Option<PathBuf>,
    pub guard: Guard,
    pub issuers: Vec<Issuer>,
    pub targets: Vec<Target>,
    pub workloads: Vec<WorkloadRule>,
    pub policies: Vec<PathBuf>,
    pub recording: Recording,
    pub approvals: Approvals,
    pub log: Log,
    pub tls: Tls,
    pub worker: Worker,
}

/// The half of the agent that talks.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "see words.rs")]
pub struct Worker {
    /// As whom it runs; `None`: nothing is said.
    pub user: Option<User>,
    pub linger: Duration,
}

/// A user of this host, never root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// By number, whether or not it has a name.
    Number(u32),
    /// By name.
    Name(String),
}

/// Where the agent listens.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "see words.rs")]
pub struct Listen {
    pub port: u16,
    pub admin: SocketAddr,
    pub admin_socket: PathBuf,
}

/// Where cgroup2 is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupRoot {
    /// Found in /proc/self/mounts.
    Auto,
    /// As given.
    Path(PathBuf),
}

/// What is guarded for labelled workloads.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "see words.rs")]
pub struct Guard {
    pub ports: Vec<u16>,
    pub egress: Egress,
    pub node_wide: NodeWide,
    pub undeclared: Undeclared,
    pub unix: UnixSockets,
    pub canary_every: Duration,
}

/// Who of the node, besides labelled workloads, is kept from protected addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeWide {
    /// Nobody.
    Off,
    /// Everybody but the agent.
    On,
}

/// What else a labelled workload may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Egress {
    /// Everything that is not a guarded port or a protected address.
    Open,
    /// These places and nothing else.
    DatabasesOnly(Vec<Place>),
}

/// What becomes of a database that no target declares, wherever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undeclared {
    /// Its connections are ended, and told of.
    Refuse,
    /// They are told of.
    Report,
    /// Nobody looks.
    Ignore,
}

/// Which unix sockets a labelled workload may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnixSockets {
    /// Any.
    Open,
    /// Those of these names, letter by letter: absolute paths, or abstract names behind an `@`.
    AllowOnly(Vec<String>),
}

/// An OIDC issuer.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "see words.rs")]
pub struct Issuer {
    pub url: String,
    pub audience: String,
    pub algorithms: Vec<String>,
    pub groups_claim: String,
    pub claims: Vec<String>,
    pub ca_file: Option<PathBuf>,
    pub allow_http_loopback: bool,
}

/// A database.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "see words.rs")]
pub struct Target {
    pub name: TargetName,
    pub dialect: Dialect,
    pub hosts: Vec<String>,
    pub addresses: Vec<Prefix>,
    pub port: u16,
    pub upstream: Upstream,
    pub credentials: Credentials,
    pub client_tls: ClientTlsMode,
    pub limits: TargetLimits,
    pub keep_warm: Duration,
}

/// Sizes a target's clients are held to.
#[derive(Clone, Copy, Debug)]
pub struct TargetLimits {
    /// The largest message held whole, bytes.
    pub message_bytes: usize,
}

/// Whether a client may talk in clear (over loopback, inside its own network namespace).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientTlsMode {
    /// As the client likes.
    Optional,
    /// TLS or nothing.
    Required,
}

impl ClientTlsMode {
    /// TLS or nothing.
    pub fn required(self) -> bool {
        self == ClientTlsMode::Required
    }
}

/// A host and port, not yet looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "self-explanatory")]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

/// The way to the database.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "see words.rs")]
pub struct Upstream {
    pub address: Option<HostPort>,
    pub tls: UpstreamTlsMode,
    pub ca_file: Option<PathBuf>,
    pub server_name: Option<String>,
}

/// TLS to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamTlsMode {
    /// In clear, because the target says so.
    Disable,
    /// Encrypted, not authenticated.
    Require,
    /// Encrypted and authenticated.
    VerifyFull,
}

/// The agent's own credentials at the database.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// For everybody else.
    pub default: Credential,
    /// For members of a group; the first that fits, in the order of the groups' names.
    pub by_group: Vec<(String, Credential)>,
}

impl Credentials {
    /// The credential for a user with these groups.
    pub fn of(&self, groups: &[String]) -> &Credential {
        let own = self
            .by_group
            .iter()
            .find(|(group, _)| groups.contains(group));
        own.map_or(&self.default, |(_, credential)| credential)
    }
}

/// A role and where its password is.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "self-explanatory")]
pub struct Credential {
    pub username: String,
    pub password: PasswordSource,
}

/// Where a password is. Read for each session; never kept in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordSource {
    /// The database asks for none.
    None,
    /// A file.
    File(PathBuf),
    /// An environment variable of the agent.
    Env(String),
}

/// A kind of workload.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "see words.rs")]
pub struct WorkloadRule {
    pub name: Arc<str>,
    pub cgroups: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub tokens: Vec<TokenSource>,
    pub subject: Option<String>,
}

/// Where a workload's token is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// A file in the workload's own mount namespace.
    File(PathBuf),
    /// The password field.
    Password,
    /// SASL OAUTHBEARER.
    Bearer,
}

/// The record.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "see words.rs")]
pub struct Recording {
    pub dir: PathBuf,
    /// Where decisions lie until their block is written.
    pub journal: PathBuf,
    pub rows: RowsMode,
    pub retention: Option<Duration>,
    pub max_bytes: Option<u64>,
    pub workload_max_bytes: Option<u64>,
    pub on_failure: OnFailure,
    pub archive: Option<Archive>,
    /// To whom recordings are sealed; nobody: they lie there in clear.
    pub encrypt_to: Vec<SealTo>,
}

/// Object storage to which closed recordings and the ledger are copied.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "see words.rs")]
pub struct Archive {
    pub bucket: String,
    /// What every name in the bucket begins with; empty, or without a slash at either end.
    pub prefix: String,
    /// `https://`, a host and perhaps a port.
    pub endpoint: String,
    pub region: String,
    /// `None`: the name that the host gives itself.
    pub node: Option<String>,
    /// `None`: the agent's environment.
    pub credentials_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    pub keep_local: Option<Duration>,
    pub every: Duration,
}

/// A recipient of recordings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealTo {
    /// A public key.
    Key(Recipient),
    /// A file that has one, or several, one a line.
    File(PathBuf),
}

/// Whether rows are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsMode {
    /// As delivered, masked.
    Masked,
    /// Counted only.
    None,
}

/// What happens when nothing can be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Nothing runs.
    Refuse,
    /// It runs, loudly.
    Continue,
}

/// Approvals.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "see words.rs")]
pub struct Approvals {
    pub timeout: Duration,
    pub dir: PathBuf,
    pub ticket: Duration,
    pub per_identity: usize,
    pub local: Vec<LocalReviewer>,
    pub webhooks: Vec<Webhook>,
    pub console: Option<Console>,
}

/// Where the steps of requests for approval are told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "see words.rs")]
pub struct Webhook {
    pub name: String,
    pub url: WebhookUrl,
    pub template: WebhookTemplate,
    pub secret_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    pub steps: BTreeSet<WebhookStep>,
    pub console_url: Option<String>,
    pub headers: Vec<(String, PathBuf)>,
}

impl Webhook {
    /// The files that are read for each delivery.
    pub fn secrets(&self) -> impl Iterator<Item = &PathBuf> {
        let url = match &self.url {
            WebhookUrl::File(path) => Some(path),
            WebhookUrl::Given(_) => None,
        };
        let headers = self.headers.iter().map(|(_, path)| path);
        url.into_iter().chain(&self.secret_file).chain(headers)
    }
}

/// Where a webhook's address stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookUrl {
    /// In the configuration.
    Given(String),
    /// In a file: for many services the address is the secret.
    File(PathBuf),
}

/// What a webhook's receiver understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookTemplate {
    /// The agent's own JSON.
    Generic,
    /// A Slack incoming webhook.
    Slack,
    /// A Microsoft Teams workflow.
    Teams,
    /// Jira's REST interface, version 3: an issue is created.
    Jira {
        /// The key of the project.
        project: String,
        /// The name of the type of issue.
        issue_type: String,
    },
    /// PagerDuty's Events interface, version 2.
    PagerDuty,
}

/// A step of a request that people may want to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "see words.rs")]
pub enum WebhookStep {
    Asked,
    Approved,
    Refused,
    Used,
    Over,
}

/// The web console, where there is one.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "see words.rs")]
pub struct Console {
    /// Scheme and host, as browsers write it in `Origin`: no path, no slash at the end.
    pub url: String,
    /// Where reviewers sign in. Its audience is the console's `client_id`.
    pub issuer: Issuer,
    pub client_secret_file: Option<PathBuf>,
    pub session: Duration,
    pub fresh: Duration,
    pub auditors: Vec<String>,
}

/// A user of this host who may decide, by the kernel's word for who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "see words.rs")]
pub struct LocalReviewer {
    pub uid: u32,
    pub name: String,
    pub also: Vec<String>,
    pub groups: Vec<String>,
}

/// The agent's own log.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "see words.rs")]
pub struct Log {
    pub json: bool,
    pub level: String,
}

/// The node CA, where one is given.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "see words.rs")]
pub struct Tls {
    pub ca_cert: Option<PathBuf>,
    pub ca_key: Option<PathBuf>,
}

/// What host names stand for at this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostTable {
    /// Addresses of targets' hosts → the targets' names.
    pub targets: HashMap<IpAddr, BTreeSet<TargetName>>,
    /// Addresses of upstream host names.
    pub upstreams: HashMap<String, IpAddr>,
}

impl HostTable {
    /// A configured upstream's address.
    pub fn upstream(&self, named: &HostPort) -> Option<UpstreamAddr> {
        let address = named
            .host
            .parse()
            .ok()
            .or_else(|| self.upstreams.get(&named.host).copied())?;
        Some(UpstreamAddr(SocketAddr::new(address, named.port)))
    }
}

impl Config {
    /// The target that a destination stands for: address and port must both be its own.
    ///
    /// A resolved host name is more particular than any prefix; among prefixes the longest wins.
    /// `None` when nothing claims the destination, and also when two targets claim it through
    /// their host names: whose credential and policy would apply is then anybody's guess, so the
    /// connection is refused.
    pub fn target_for(&self, destination: OriginalDst, hosts: &HostTable) -> Option<&Target> {
        let (address, port) = (destination.0.ip().to_canonical(), destination.0.port());
        let here = || self.targets.iter().filter(|target| target.port == port);
        if let Some(names) = hosts.targets.get(&address) {
            let mut named = here().filter(|target| names.contains(&target.name));
            if let Some(first) = named.next() {
                return if named.next().is_none() {
                    Some(first)
                } else {
                    None
                };
            }
        }
        // The check refuses two targets with one prefix and port, so the longest is one.
        here()
            .flat_map(|target| target.addresses.iter().map(move |prefix| (prefix, target)))
            .filter(|(prefix, _)| prefix.holds(address))
            .max_by_key(|(prefix, _)| prefix.len)
            .map(|(_, target)| target)
    }
}
