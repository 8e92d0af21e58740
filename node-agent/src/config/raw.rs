//! The file as written. Nothing is judged here; unknown keys are errors.
//!
//! Every field is optional for serde, so that the check can report all that is missing at once and
//! with its place.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_saphyr::Spanned;

type Maybe<T> = Option<Spanned<T>>;
type List<T> = Vec<Spanned<T>>;

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) listen: RawListen,
    pub(super) state_dir: Maybe<PathBuf>,
    pub(super) cgroup_root: Maybe<String>,
    pub(super) attach: Maybe<PathBuf>,
    pub(super) guard: RawGuard,
    pub(super) identity: RawIdentity,
    pub(super) targets: List<RawTarget>,
    pub(super) workloads: List<RawWorkload>,
    pub(super) policies: List<PathBuf>,
    pub(super) recording: RawRecording,
    pub(super) approvals: RawApprovals,
    pub(super) log: RawLog,
    pub(super) tls: RawTls,
    pub(super) worker: RawWorker,
}

/// `listen`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawListen {
    pub(super) port: Maybe<u16>,
    pub(super) admin: Maybe<String>,
    pub(super) admin_socket: Maybe<PathBuf>,
}

/// `guard`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawGuard {
    pub(super) ports: List<u16>,
    pub(super) egress: Maybe<String>,
    pub(super) allow: List<String>,
    pub(super) node_wide: Maybe<String>,
    pub(super) undeclared: Maybe<String>,
    pub(super) unix: Maybe<String>,
    pub(super) unix_allow: List<String>,
    pub(super) canary_every: Maybe<String>,
}

/// `identity`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawIdentity {
    pub(super) issuers: List<RawIssuer>,
}

/// `identity.issuers[]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawIssuer {
    pub(super) url: Maybe<String>,
    pub(super) audience: Maybe<String>,
    pub(super) algorithms: List<String>,
    pub(super) groups_claim: Maybe<String>,
    pub(super) claims: List<String>,
    pub(super) ca_file: Maybe<PathBuf>,
    pub(super) allow_http_loopback: Maybe<bool>,
}

/// `targets[]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawTarget {
    pub(super) name: Maybe<String>,
    pub(super) protocol: Maybe<String>,
    pub(super) hosts: List<String>,
    pub(super) addresses: List<String>,
    pub(super) port: Maybe<u16>,
    pub(super) upstream: RawUpstream,
    pub(super) credential: Option<Spanned<RawCredential>>,
    pub(super) client_tls: Maybe<String>,
    pub(super) max_message_bytes: Maybe<usize>,
    pub(super) keep_warm: Maybe<String>,
}

/// `targets[].upstream`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawUpstream {
    pub(super) address: Maybe<String>,
    pub(super) tls: Maybe<String>,
    pub(super) ca_file: Maybe<PathBuf>,
    pub(super) server_name: Maybe<String>,
}

/// `targets[].credential`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawCredential {
    pub(super) username: Maybe<String>,
    pub(super) password_file: Maybe<PathBuf>,
    pub(super) password_env: Maybe<String>,
    pub(super) groups: BTreeMap<String, Spanned<RawGroupCredential>>,
}

/// `targets[].credential.groups`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawGroupCredential {
    pub(super) username: Maybe<String>,
    pub(super) password_file: Maybe<PathBuf>,
    pub(super) password_env: Maybe<String>,
}

/// `workloads[]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawWorkload {
    pub(super) name: Maybe<String>,
    pub(super) cgroups: List<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) token: List<RawToken>,
    pub(super) subject: Maybe<String>,
}

/// `recording`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawRecording {
    pub(super) rows: Maybe<String>,
    pub(super) dir: Maybe<PathBuf>,
    pub(super) journal: Maybe<PathBuf>,
    pub(super) retention: Maybe<String>,
    pub(super) max_bytes: Maybe<String>,
    pub(super) workload_max_bytes: Maybe<String>,
    pub(super) on_failure: Maybe<String>,
    pub(super) encrypt_to: List<String>,
    pub(super) archive: Option<Spanned<RawArchive>>,
}

/// `recording.archive`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawArchive {
    pub(super) url: Maybe<String>,
    pub(super) endpoint: Maybe<String>,
    pub(super) region: Maybe<String>,
    pub(super) node: Maybe<String>,
    pub(super) credentials_file: Maybe<PathBuf>,
    pub(super) ca_file: Maybe<PathBuf>,
    pub(super) keep_local: Maybe<String>,
    pub(super) every: Maybe<String>,
}

/// `approvals`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawApprovals {
    pub(super) timeout: Maybe<String>,
    pub(super) dir: Maybe<PathBuf>,
    pub(super) ticket: Maybe<String>,
    pub(super) per_identity: Maybe<u32>,
    pub(super) local: List<RawLocalReviewer>,
    pub(super) webhooks: List<RawWebhook>,
    pub(super) console: Maybe<RawConsole>,
}

/// `approvals.webhooks[]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawWebhook {
    pub(super) name: Maybe<String>,
    pub(super) url: Maybe<String>,
    pub(super) url_file: Maybe<PathBuf>,
    pub(super) template: Maybe<String>,
    pub(super) secret_file: Maybe<PathBuf>,
    pub(super) ca_file: Maybe<PathBuf>,
    pub(super) steps: Option<List<String>>,
    pub(super) console_url: Maybe<String>,
    pub(super) headers: BTreeMap<String, Spanned<PathBuf>>,
    pub(super) project: Maybe<String>,
    pub(super) issue_type: Maybe<String>,
}

/// `approvals.console`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawConsole {
    pub(super) url: Maybe<String>,
    pub(super) issuer: Maybe<String>,
    pub(super) client_id: Maybe<String>,
    pub(super) client_secret_file: Maybe<PathBuf>,
    pub(super) groups_claim: Maybe<String>,
    pub(super) ca_file: Maybe<PathBuf>,
    pub(super) session: Maybe<String>,
    pub(super) fresh: Maybe<String>,
    pub(super) auditors: RawAuditors,
}

/// `approvals.console.auditors`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawAuditors {
    pub(super) groups: List<String>,
}

/// `approvals.local[]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLocalReviewer {
    pub(super) uid: Maybe<u32>,
    pub(super) name: Maybe<String>,
    pub(super) also: List<String>,
    pub(super) groups: List<String>,
}

/// `log`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLog {
    pub(super) format: Maybe<String>,
    pub(super) level: Maybe<String>,
}

/// `tls`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawTls {
    pub(super) ca_cert: Maybe<PathBuf>,
    pub(super) ca_key: Maybe<PathBuf>,
}

/// `worker`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawWorker {
    pub(super) user: Maybe<String>,
    pub(super) linger: Maybe<String>,
}

/// One entry of `workloads[].token`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawToken {
    /// `{ file: PATH }`.
    File(PathBuf),
    /// `password`.
    Password,
    /// `oauthbearer`.
    Oauthbearer,
}
