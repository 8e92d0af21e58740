//! The configuration as written. Each key's description stands at its field and is the text of the
//! generated reference, so a key cannot exist undescribed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_saphyr::Spanned;

/// One key, for the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What is written there, and the default.
    pub form: &'static str,
    /// What it does.
    pub doc: &'static [&'static str],
}

/// Declares a struct as written: every field optional for serde, so that the check can report all
/// that is missing at once and with the place.
macro_rules! keys {
    ($(#[$doc:meta])* struct $name:ident {
        $( $(#[doc = $text:literal])+ $field:ident : $type:ty = $form:literal, )+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(super) struct $name {
            $( $(#[doc = $text])+ pub(super) $field: $type, )+
        }

        impl $name {
            pub(super) const KEYS: &'static [Key] = &[
                $( Key { name: stringify!($field), form: $form, doc: &[$($text),+] }, )+
            ];
        }
    };
}

type Maybe<T> = Option<Spanned<T>>;
type List<T> = Vec<Spanned<T>>;

keys! {
    /// The whole file.
    struct Raw {
        /// Where the agent listens.
        listen: RawListen = "map",
        /// Where the agent keeps its state: recordings, and the node's certificate authority.
        state_dir: Maybe<PathBuf> = "absolute path, default `/var/lib/node-agent`",
        /// Where the cgroup2 hierarchy is mounted. `auto` finds it, also on hybrid hosts.
        cgroup_root: Maybe<String> = "`auto` or an absolute path, default `auto`",
        /// The subtree of the cgroup2 hierarchy to which the kernel programs attach. Only
        /// workloads inside it can be governed.
        attach: Maybe<PathBuf> = "path below the cgroup2 root, default the root itself",
        /// What is intercepted for labelled workloads.
        guard: RawGuard = "map",
        /// Who vouches for users.
        identity: RawIdentity = "map",
        /// The databases.
        targets: List<RawTarget> = "list",
        /// Which cgroups are which workload, and how its users show who they are.
        workloads: List<RawWorkload> = "list",
        /// Policy files, and directories of them (every `.yaml` and `.yml` in one). Relative paths
        /// are relative to this file. Without a policy everything is refused.
        policies: List<PathBuf> = "list of paths, default none",
        /// What is recorded.
        recording: RawRecording = "map",
        /// How statements are held for a human.
        approvals: RawApprovals = "map",
        /// What the agent says of itself.
        log: RawLog = "map",
        /// The certificate authority that signs the certificates shown to clients.
        tls: RawTls = "map",
    }
}

keys! {
    /// `listen`.
    struct RawListen {
        /// The port of the proxy's listener, on loopback, in each network namespace that holds a
        /// labelled workload.
        port: Maybe<u16> = "port, default `15001`",
        /// Where `/healthz`, `/readyz` and `/metrics` are served. Loopback only: they are not
        /// authenticated.
        admin: Maybe<String> = "address:port, default `127.0.0.1:9815`",
        /// The unix socket of `node-agent status`, `sessions` and `exec`.
        admin_socket: Maybe<PathBuf> = "absolute path, default `/run/node-agent/admin.sock`",
    }
}

keys! {
    /// `guard`.
    struct RawGuard {
        /// Any destination on these ports is intercepted for a labelled workload; one that no
        /// target declares is refused with a reason.
        ports: List<u16> = "list of ports, default `[5432, 3306]`",
        /// What a labelled workload may reach besides databases. `databases-only` is not
        /// available yet.
        egress: Maybe<String> = "`open`, default `open`",
        /// With `egress: databases-only`: what may be reached nevertheless. Not available yet.
        allow: List<String> = "list of `cidr:port`",
    }
}

keys! {
    /// `identity`.
    struct RawIdentity {
        /// OpenID Connect issuers. Only their tokens count.
        issuers: List<RawIssuer> = "list",
    }
}

keys! {
    /// `identity.issuers[]`.
    struct RawIssuer {
        /// The issuer, exactly as in the token's `iss`. Its keys are found by discovery.
        url: Maybe<String> = "https URL, required",
        /// The token's `aud` must name it.
        audience: Maybe<String> = "text, required",
        /// The signature algorithms that count. Symmetric ones and `none` never do.
        algorithms: List<String> = "list, default `[RS256, ES256, EdDSA]`",
        /// The claim that lists the user's groups.
        groups_claim: Maybe<String> = "claim name, default `groups`",
        /// Further claims that may be kept, for policy conditions and recordings.
        claims: List<String> = "list of claim names, default none",
        /// The roots to trust for the issuer's TLS.
        ca_file: Maybe<PathBuf> = "PEM file, default the public roots",
        /// Accept plain HTTP when the host is loopback, for trying things.
        allow_http_loopback: Maybe<bool> = "`true` or `false`, default `false`",
    }
}

keys! {
    /// `targets[]`.
    struct RawTarget {
        /// What policies and recordings call it.
        name: Maybe<String> = "name, required",
        /// How it talks. `mysql` is not available yet.
        protocol: Maybe<String> = "`postgres`, required",
        /// Host names that workloads dial. They are resolved again every 30 seconds, and every
        /// address is protected.
        hosts: List<String> = "list of names; `hosts` or `addresses` is required",
        /// Addresses that workloads dial.
        addresses: List<String> = "list of addresses and prefixes",
        /// The port that workloads dial.
        port: Maybe<u16> = "port, default `5432`",
        /// How the agent reaches it.
        upstream: RawUpstream = "map",
        /// How the agent logs in there. Workloads never hold this.
        credential: Option<Spanned<RawCredential>> = "map, required",
        /// Whether workloads must use TLS towards the agent. Their leg stays within their own
        /// network namespace.
        client_tls: Maybe<String> = "`optional` or `required`, default `optional`",
        /// Bounds on its use.
        limits: RawTargetLimits = "map",
    }
}

keys! {
    /// `targets[].upstream`.
    struct RawUpstream {
        /// Where the database really is.
        address: Maybe<String> = "host:port, default where the workload was going",
        /// TLS towards the database. `require` encrypts without asking who answers; `disable` is
        /// clear text and is said in the log at every start.
        tls: Maybe<String> = "`verify-full`, `require` or `disable`, default `verify-full`",
        /// The roots to trust.
        ca_file: Maybe<PathBuf> = "PEM file, default the public roots",
        /// The name that the certificate must carry.
        server_name: Maybe<String> = "name or address, default the host of `address`, else the first of `hosts`, else the address dialled",
    }
}

keys! {
    /// `targets[].credential`.
    struct RawCredential {
        /// The database role.
        username: Maybe<String> = "text, required",
        /// The file that holds its password. One trailing newline does not count.
        password_file: Maybe<PathBuf> = "absolute path",
        /// The agent's environment variable that holds its password.
        password_env: Maybe<String> = "variable name",
        /// Other roles for users of certain groups. The first match counts.
        groups: List<RawGroupCredential> = "list, default none",
    }
}

keys! {
    /// `targets[].credential.groups[]`.
    struct RawGroupCredential {
        /// The user's group.
        group: Maybe<String> = "text, required",
        /// The database role.
        username: Maybe<String> = "text, required",
        /// The file that holds its password.
        password_file: Maybe<PathBuf> = "absolute path",
        /// The agent's environment variable that holds its password.
        password_env: Maybe<String> = "variable name",
    }
}

keys! {
    /// `targets[].limits`.
    struct RawTargetLimits {
        /// Sessions at one time.
        sessions: Maybe<u32> = "number, default no bound",
        /// How long dialling and logging in at the database may take.
        connect_timeout: Maybe<String> = "duration, default `10s`",
        /// How long a client may take to log in.
        login_timeout: Maybe<String> = "duration, default `30s`",
    }
}

keys! {
    /// `workloads[]`.
    struct RawWorkload {
        /// What policies and recordings call it. A cgroup can also claim it with the extended
        /// attribute `user.node-agent.workload`, and a command with `node-agent exec`.
        name: Maybe<String> = "name, required",
        /// Which cgroups are this workload.
        cgroups: List<String> = "list of globs below the cgroup2 root, default none",
        /// Labels, for policies.
        labels: BTreeMap<String, String> = "map of text, default none",
        /// Where the user's token is, tried in order. A file is read in the workload's own mount
        /// namespace; `password` is what the client sends as its password; `oauthbearer` is the
        /// SASL exchange.
        token: List<RawToken> = "list of `{ file: PATH }`, `password`, `oauthbearer`; required",
        /// Only a token with exactly this subject counts.
        subject: Maybe<String> = "text, default any",
    }
}

keys! {
    /// `recording`.
    struct RawRecording {
        /// Whether rows are kept. `masked` keeps them as the client saw them.
        rows: Maybe<String> = "`masked` or `none`, default `masked`",
        /// Where the recordings are.
        dir: Maybe<PathBuf> = "absolute path, default `recordings` in the state directory",
        /// How long a finished session is kept.
        retention: Maybe<String> = "duration, default for ever",
        /// How much all sessions together may take; the oldest finished ones go first.
        max_bytes: Maybe<String> = "size, default no bound",
        /// What happens when nothing can be recorded. With `continue` statements run unrecorded,
        /// and the log and the metrics say so.
        on_failure: Maybe<String> = "`refuse` or `continue`, default `refuse`",
        /// Encrypt recordings. Not available yet.
        encrypt_to: List<String> = "list of keys",
    }
}

keys! {
    /// `approvals`.
    struct RawApprovals {
        /// How long a statement waits for a human when its rule does not say.
        timeout: Maybe<String> = "duration, default `10m`",
        /// Whom to tell. Not available yet.
        webhooks: List<String> = "list of URLs",
    }
}

keys! {
    /// `log`.
    struct RawLog {
        /// Lines for people, or one JSON object a line.
        format: Maybe<String> = "`text` or `json`, default `text`",
        /// How much. The environment variable `NODE_AGENT_LOG` goes before it.
        filter: Maybe<String> = "filter such as `info` or `node_agent=debug,warn`, default `info`",
    }
}

keys! {
    /// `tls`.
    struct RawTls {
        /// The authority's certificate. Clients that verify must trust it.
        ca_cert: Maybe<PathBuf> = "PEM file, default made in the state directory",
        /// Its key.
        ca_key: Maybe<PathBuf> = "PEM file, given exactly when `ca_cert` is",
    }
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
