//! The configuration, resolved: nothing optional that has a default, nothing unchecked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Prefix;
use crate::model::{Dialect, TargetName};

/// Everything the agent is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the agent listens.
    pub listen: Listen,
    /// Where it keeps its state: recordings, the node CA.
    pub state_dir: PathBuf,
    /// Where the cgroup2 hierarchy is mounted.
    pub cgroup_root: CgroupRoot,
    /// The subtree to which the kernel programs attach; `None`: the hierarchy's root.
    pub attach: Option<PathBuf>,
    /// What is intercepted.
    pub guard: Guard,
    /// Who vouches for users.
    pub issuers: Vec<Issuer>,
    /// The databases.
    pub targets: Vec<Target>,
    /// Which cgroups are which workload.
    pub workloads: Vec<WorkloadRule>,
    /// Files and directories of policies. Relative ones are relative to the configuration file.
    pub policies: Vec<PathBuf>,
    /// What is recorded.
    pub recording: Recording,
    /// How statements are held.
    pub approvals: Approvals,
    /// What the agent says of itself.
    pub log: Log,
    /// The certificate authority of the client's leg.
    pub tls: Tls,
}

/// Where the agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The port of the proxy's listener in each guarded network namespace, on loopback.
    pub port: u16,
    /// Health and metrics, loopback only.
    pub admin: SocketAddr,
    /// The socket of the command line.
    pub admin_socket: PathBuf,
}

/// Where the cgroup2 hierarchy is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupRoot {
    /// Found in the mount table.
    Auto,
    /// Given.
    Path(PathBuf),
}

/// What is intercepted for labelled workloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Any destination on these ports, sorted, without repeats.
    pub ports: Vec<u16>,
    /// Everything else.
    pub egress: Egress,
}

/// What a labelled workload may reach besides databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Egress {
    /// Anything that is not guarded.
    Open,
}

/// Somebody who vouches for users (OpenID Connect).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// `iss`, exactly; discovery is at `/.well-known/openid-configuration` below it.
    pub url: String,
    /// `aud`.
    pub audience: String,
    /// The signature algorithms that count, as JOSE names them. Asymmetric only.
    pub algorithms: Vec<String>,
    /// Which claim lists the groups.
    pub groups_claim: String,
    /// Which further claims may be kept and recorded.
    pub claims: Vec<String>,
    /// The roots to trust for its TLS; `None`: the public ones.
    pub ca_file: Option<PathBuf>,
    /// Plain HTTP is accepted; the check has made sure that the host is loopback.
    pub allow_http_loopback: bool,
}

/// A database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: TargetName,
    /// How it talks.
    pub dialect: Dialect,
    /// Names that workloads dial; every address they resolve to is protected.
    pub hosts: Vec<String>,
    /// Addresses that workloads dial.
    pub addresses: Vec<Prefix>,
    /// The port that workloads dial.
    pub port: u16,
    /// How the agent reaches it.
    pub upstream: Upstream,
    /// How the agent logs in.
    pub credentials: Credentials,
    /// Whether workloads must use TLS.
    pub client_tls: ClientTls,
    /// Bounds on its use.
    pub limits: TargetLimits,
}

/// How the agent reaches a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Where; `None`: where the client was going.
    pub address: Option<HostPort>,
    /// TLS towards the database.
    pub tls: UpstreamTlsMode,
    /// The roots to trust; `None`: the public ones.
    pub ca_file: Option<PathBuf>,
    /// The name that the certificate must carry; `None`: the host of `address`, else the first of
    /// the target's `hosts`, else the address itself.
    pub server_name: Option<String>,
}

/// A host name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// TLS towards the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamTlsMode {
    /// Clear text. Said in the log at every start.
    Disable,
    /// TLS, whoever answers.
    Require,
    /// TLS, and the certificate's chain and name are verified.
    VerifyFull,
}

/// How the agent logs in at a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// For everybody whom no override matches.
    pub default: Credential,
    /// By group of the user, the first match counts.
    pub by_group: Vec<(String, Credential)>,
}

impl Credentials {
    /// The credential for a user of these groups.
    pub fn for_groups(&self, groups: &[String]) -> &Credential {
        self.by_group
            .iter()
            .find(|(group, _)| groups.contains(group))
            .map_or(&self.default, |(_, credential)| credential)
    }
}

/// A database role and where its password is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The role.
    pub username: String,
    /// Where its password is.
    pub password: PasswordSource,
}

/// Where a password is. The password itself never stands in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordSource {
    /// A file; one trailing newline does not count.
    File(PathBuf),
    /// An environment variable of the agent.
    Env(String),
    /// The database asks for none (trust, or a client certificate).
    None,
}

/// Whether workloads must use TLS towards the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientTls {
    /// As the client likes: the leg does not leave the network namespace.
    #[default]
    Optional,
    /// A client that talks in clear is refused.
    Required,
}

/// Bounds on a target's use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetLimits {
    /// Sessions at one time; `None`: no bound of its own.
    pub sessions: Option<u32>,
    /// How long dialling and logging in upstream may take.
    pub connect_timeout: Duration,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
}

/// Which cgroups are a workload, and how its users show who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadRule {
    /// Its name.
    pub name: Arc<str>,
    /// Globs over paths below the cgroup2 root, without a leading slash.
    pub cgroups: Vec<String>,
    /// Labels, for policies.
    pub labels: BTreeMap<String, String>,
    /// Where the token is, tried in order.
    pub tokens: Vec<TokenSource>,
    /// Only a token with exactly this `sub` counts.
    pub subject: Option<String>,
}

/// Where a workload's token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// A file, read in the workload's own mount namespace.
    File(PathBuf),
    /// The password that the client sends.
    Password,
    /// The OAUTHBEARER exchange.
    Bearer,
}

/// What is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// Where the files are.
    pub dir: PathBuf,
    /// Whether rows are kept.
    pub rows: RowsMode,
    /// How long a finished session is kept; `None`: for ever.
    pub retention: Option<Duration>,
    /// How much all sessions together may take; `None`: no bound.
    pub max_bytes: Option<u64>,
    /// What happens when nothing can be recorded.
    pub on_failure: OnFailure,
}

/// Whether rows are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsMode {
    /// As the client saw them.
    Masked,
    /// Only their number.
    None,
}

/// What happens when nothing can be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Nothing runs.
    Refuse,
    /// It runs unrecorded, and the log and the metrics say so.
    Continue,
}

/// How statements are held for a human.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approvals {
    /// How long, when the rule does not say.
    pub timeout: Duration,
}

/// What the agent says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How.
    pub format: LogFormat,
    /// How much: a filter such as `info` or `node_agent=debug,warn`.
    pub filter: String,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The certificate authority that signs what clients are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Its certificate (PEM); `None`: made in the state directory.
    pub ca_cert: Option<PathBuf>,
    /// Its key (PEM); given exactly when the certificate is.
    pub ca_key: Option<PathBuf>,
}
