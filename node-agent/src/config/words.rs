//! Every key of the configuration file, described once; the generated reference is made of it.

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its path, `[]` for the elements of a list.
    pub path: &'static str,
    /// What it takes.
    pub takes: &'static str,
    /// Its default, or `required`.
    pub default: &'static str,
    /// What it does.
    pub means: &'static str,
}

const fn key(
    path: &'static str,
    takes: &'static str,
    default: &'static str,
    means: &'static str,
) -> Key {
    Key {
        path,
        takes,
        default,
        means,
    }
}

/// All keys, in the order of the file.
pub const KEYS: &[Key] = &[
    key(
        "listen.port",
        "port",
        "15001",
        "where redirected connections arrive, on loopback of each labelled network namespace",
    ),
    key(
        "listen.admin",
        "address:port",
        "127.0.0.1:9815",
        "health, readiness and metrics; loopback only",
    ),
    key(
        "listen.admin_socket",
        "path",
        "/run/node-agent/admin.sock",
        "the command line's way to the daemon",
    ),
    key(
        "state_dir",
        "path",
        "/var/lib/node-agent",
        "recordings, the node CA, keys",
    ),
    key(
        "cgroup_root",
        "auto or path",
        "auto",
        "where cgroup2 is mounted, also on hybrid hosts",
    ),
    key(
        "worker.user",
        "name or number",
        "65529",
        "as whom the half serves that talks to clients and databases; it must be able to read policies, passwords and roots, and needs no account",
    ),
    key(
        "worker.linger",
        "duration, 1s to 7d",
        "1h",
        "how long the sessions of an agent go on that another took over from (`run --take-over`), before it drains as at a stop",
    ),
    key(
        "attach",
        "path",
        "the cgroup2 root",
        "the subtree that is governed: kernel programs attach to it and globs are relative to it; several agents can live side by side",
    ),
    key(
        "guard.ports",
        "list of ports",
        "[5432, 3306]",
        "any destination on these ports is intercepted; an undeclared one is refused with a reason",
    ),
    key(
        "guard.egress",
        "open, databases-only",
        "open",
        "what else labelled workloads reach; with databases-only every other connect and datagram fails, to loopback and to the resolver too, unless guard.allow names it",
    ),
    key(
        "guard.allow",
        "list of places",
        "[]",
        "what stays open under databases-only: ADDRESS/LENGTH:PORT, IPv6 in brackets, * for every port",
    ),
    key(
        "guard.node_wide",
        "off, on",
        "off",
        "on: of this node only the agent sends to protected addresses, neither processes without a label nor what is forwarded over the node; a database on the node itself is reached by nobody else either",
    ),
    key(
        "guard.undeclared",
        "refuse, report, ignore",
        "refuse",
        "what becomes of a database that no target declares, known by the first bytes of a connection to whatever port: ended and logged, only logged, or not looked for",
    ),
    key(
        "guard.unix",
        "open, allow-only",
        "open",
        "which unix sockets labelled workloads reach; with allow-only those that guard.unix_allow names, and the agent does not start where the kernel cannot do it (Linux 6.7)",
    ),
    key(
        "guard.unix_allow",
        "list of paths",
        "[]",
        "what stays open under allow-only, letter by letter as the workload spells it: an absolute path, or @ and an abstract name",
    ),
    key(
        "guard.canary_every",
        "duration, 100ms to 60s",
        "10s",
        "how often the agent dials a guarded address from a labelled cgroup of its own; readiness, a metric and the log follow the answer",
    ),
    key(
        "identity.issuers[].url",
        "https URL",
        "required",
        "the issuer, exactly as in `iss`",
    ),
    key(
        "identity.issuers[].audience",
        "text",
        "required",
        "the audience a token must be for",
    ),
    key(
        "identity.issuers[].algorithms",
        "list",
        "[RS256, ES256, EdDSA]",
        "signature algorithms taken from this issuer",
    ),
    key(
        "identity.issuers[].groups_claim",
        "text",
        "groups",
        "the claim that lists groups",
    ),
    key(
        "identity.issuers[].claims",
        "list",
        "[]",
        "further claims kept for conditions and the record",
    ),
    key(
        "identity.issuers[].ca_file",
        "path",
        "the public web's",
        "authorities (PEM) for the issuer's own TLS",
    ),
    key(
        "identity.issuers[].allow_http_loopback",
        "true or false",
        "false",
        "accept http://127.0.0.1 (trials only)",
    ),
    key(
        "targets[].name",
        "name",
        "required",
        "what policies call it",
    ),
    key("targets[].protocol", "postgres", "required", "how it talks"),
    key(
        "targets[].hosts",
        "list of names",
        "[]",
        "looked up again and again; every address is protected",
    ),
    key(
        "targets[].addresses",
        "list of prefixes",
        "[]",
        "addresses that are this target",
    ),
    key("targets[].port", "port", "the protocol's", "its port"),
    key(
        "targets[].upstream.address",
        "host or host:port",
        "where the client was going",
        "where the agent dials",
    ),
    key(
        "targets[].upstream.tls",
        "disable, require, verify-full",
        "verify-full",
        "TLS to the database",
    ),
    key(
        "targets[].upstream.ca_file",
        "path",
        "the public web's",
        "authorities (PEM) for verify-full",
    ),
    key(
        "targets[].upstream.server_name",
        "name",
        "the address's name",
        "the name its certificate must carry",
    ),
    key(
        "targets[].credential.username",
        "role",
        "required",
        "the agent's own role there",
    ),
    key(
        "targets[].credential.password_file",
        "path",
        "none",
        "its password; read for each session",
    ),
    key(
        "targets[].credential.password_env",
        "name",
        "none",
        "its password, from the agent's environment",
    ),
    key(
        "targets[].credential.groups",
        "group → credential",
        "{}",
        "another credential for members of a group",
    ),
    key(
        "targets[].client_tls",
        "optional, required",
        "optional",
        "whether clients may talk in clear over loopback",
    ),
    key(
        "targets[].max_message_bytes",
        "bytes",
        "16777216",
        "the largest message of a client that is taken, and the largest row that masks are applied to",
    ),
    key(
        "targets[].keep_warm",
        "duration, at most 60s",
        "3s",
        "how long a connection to the database is kept, made as new, for the next session of the same identity; 0s: it ends with its session",
    ),
    key(
        "workloads[].name",
        "name",
        "required",
        "what policies call it",
    ),
    key(
        "workloads[].cgroups",
        "list of globs",
        "[]",
        "cgroups that are this workload, relative to the cgroup2 root; or the xattr user.node-agent.workload",
    ),
    key(
        "workloads[].labels",
        "name → text",
        "{}",
        "labels for policy subjects",
    ),
    key(
        "workloads[].token",
        "list of { file: PATH }, password, oauthbearer",
        "required",
        "where its token is, in order; the file is read in the workload's own mount namespace",
    ),
    key(
        "workloads[].subject",
        "text",
        "any",
        "the subject its token must have",
    ),
    key(
        "policies",
        "list of paths",
        "[]",
        "policy files or directories; followed while running",
    ),
    key(
        "recording.dir",
        "path",
        "STATE_DIR/recordings",
        "where recordings are kept",
    ),
    key(
        "recording.journal",
        "path",
        "the directory of listen.admin_socket, journal/",
        "where decisions lie until their recording is written, so that the next agent finds them \
         if this one is killed; should be memory (tmpfs) that outlives the agent",
    ),
    key(
        "recording.rows",
        "masked, none",
        "masked",
        "whether delivered rows are recorded",
    ),
    key(
        "recording.retention",
        "time",
        "for ever",
        "how long closed recordings are kept",
    ),
    key(
        "recording.max_bytes",
        "size",
        "no bound",
        "how much all recordings may take",
    ),
    key(
        "recording.workload_max_bytes",
        "size",
        "no bound",
        "how much the recordings of one workload may take: its oldest closed ones are removed, and when its open ones alone take more, it is refused",
    ),
    key(
        "recording.on_failure",
        "refuse, continue",
        "refuse",
        "what happens when nothing can be recorded",
    ),
    key(
        "recording.encrypt_to",
        "list of public keys, or paths of files with them",
        "[]",
        "whose private keys open recordings, at most 16; made with `node-agent sessions keygen`. Without any they lie in clear. The journal then has to be in memory (tmpfs)",
    ),
    key(
        "recording.archive.url",
        "s3://BUCKET/PREFIX",
        "required",
        "where closed recordings, the signed ledger and the node's public key are copied to; without recording.archive nothing is",
    ),
    key(
        "recording.archive.endpoint",
        "https URL",
        "AWS's in the region",
        "the object storage, if it is not AWS",
    ),
    key(
        "recording.archive.region",
        "text",
        "us-east-1",
        "the region that requests are signed for",
    ),
    key(
        "recording.archive.node",
        "name",
        "the host's name",
        "what this node's part of the prefix is called; no two nodes may have the same",
    ),
    key(
        "recording.archive.credentials_file",
        "path",
        "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN of the agent's environment",
        "a file with aws_access_key_id, aws_secret_access_key and, for passing ones, aws_session_token; read again for each round",
    ),
    key(
        "recording.archive.ca_file",
        "path",
        "the public web's",
        "authorities (PEM) for the object storage's TLS",
    ),
    key(
        "recording.archive.keep_local",
        "time",
        "as recording.retention",
        "how long a recording that is archived also stays here",
    ),
    key(
        "recording.archive.every",
        "duration, 1s to 1h",
        "30s",
        "how often what is new is looked for and sent",
    ),
    key(
        "approvals.timeout",
        "time",
        "10m",
        "how long a held statement waits, where its rule does not say; at most 24h",
    ),
    key(
        "approvals.dir",
        "path",
        "approvals/ in the state directory",
        "where requests, tickets and rulings are kept",
    ),
    key(
        "approvals.ticket",
        "time",
        "15m",
        "how long an approval may wait to be used; at most 1h",
    ),
    key(
        "approvals.per_identity",
        "number",
        "32",
        "how many requests of one user may be open at once; those count that its clients withdrew within the last minute",
    ),
    key(
        "approvals.local[].uid",
        "number",
        "",
        "a user of this host who may decide by the command line, by the kernel's word for who asks",
    ),
    key(
        "approvals.local[].name",
        "text",
        "",
        "who that is, as rules (`reviewers.users`) and records name it",
    ),
    key(
        "approvals.local[].also",
        "list",
        "[]",
        "what issuers call the same person (`sub`, e-mail): nobody decides their own wish, or twice, under another name",
    ),
    key(
        "approvals.local[].groups",
        "list",
        "[]",
        "the groups of that reviewer",
    ),
    key(
        "approvals.webhooks[].name",
        "text",
        "",
        "its name in `status`, in metrics and in the log; it keeps its place by it",
    ),
    key(
        "approvals.webhooks[].url",
        "URL",
        "",
        "where the steps of requests for approval are sent: https, or http to 127.0.0.1 or [::1]",
    ),
    key(
        "approvals.webhooks[].url_file",
        "path",
        "",
        "in place of url: a file that holds it, where the address is the secret",
    ),
    key(
        "approvals.webhooks[].template",
        "generic, slack, teams, jira, pagerduty",
        "generic",
        "what the receiver understands",
    ),
    key(
        "approvals.webhooks[].secret_file",
        "path",
        "",
        "the key that deliveries are signed with, at least 16 bytes; for pagerduty the integration key; required for generic and pagerduty",
    ),
    key(
        "approvals.webhooks[].ca_file",
        "path",
        "public roots",
        "who vouches for the receiver's certificate (PEM)",
    ),
    key(
        "approvals.webhooks[].steps",
        "list",
        "all but used; for jira asked",
        "what is told: asked, approved, refused, over, used",
    ),
    key(
        "approvals.webhooks[].console_url",
        "URL",
        "no link",
        "where reviewers reach the web console; a link is CONSOLE_URL/console/requests/ID",
    ),
    key(
        "approvals.webhooks[].headers",
        "name: path",
        "{}",
        "further headers; each value is the first line of a file",
    ),
    key(
        "approvals.webhooks[].project",
        "text",
        "",
        "for jira: the key of the project",
    ),
    key(
        "approvals.webhooks[].issue_type",
        "text",
        "Task",
        "for jira: the type of the issues",
    ),
    key(
        "approvals.console.url",
        "URL",
        "",
        "where reviewers' browsers find the console (`/console` at `listen.admin`, by a proxy with TLS): scheme and host; https, or http to 127.0.0.1 or [::1]; without `approvals.console` there is none",
    ),
    key(
        "approvals.console.issuer",
        "URL",
        "",
        "where reviewers sign in (OpenID Connect, authorization code with PKCE); of one that `identity.issuers` has, the settings there hold for what is left out here",
    ),
    key(
        "approvals.console.client_id",
        "text",
        "",
        "the console's name at that issuer; no audience that opens databases",
    ),
    key(
        "approvals.console.client_secret_file",
        "path",
        "none: a public client",
        "the console's secret at that issuer",
    ),
    key(
        "approvals.console.groups_claim",
        "text",
        "groups",
        "the claim of the ID token that holds the reviewer's groups",
    ),
    key(
        "approvals.console.ca_file",
        "path",
        "public roots",
        "who may vouch for that issuer's TLS",
    ),
    key(
        "approvals.console.session",
        "time",
        "8h",
        "how long a sign-in lasts; at most 24h",
    ),
    key(
        "approvals.console.fresh",
        "time",
        "15m",
        "who approves has signed in with their credentials no longer ago; at least 1m, at most `session`",
    ),
    key(
        "approvals.console.auditors.groups",
        "list",
        "[]",
        "the groups that see live and recorded sessions in the console",
    ),
    key("log.format", "text, json", "text", "the agent's own log"),
    key(
        "log.level",
        "filter",
        "info",
        "the agent's own log, as RUST_LOG",
    ),
    key(
        "tls.ca_cert",
        "path",
        "made in STATE_DIR",
        "the node CA's certificate (PEM)",
    ),
    key(
        "tls.ca_key",
        "path",
        "made in STATE_DIR",
        "the node CA's key (PEM)",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::KEYS;
    use crate::config::raw;

    /// Serde's own list of a struct's fields, so that a rename cannot part the two.
    fn fields_of<'de, T: serde::Deserialize<'de>>() -> &'static [&'static str] {
        struct Ask<'a>(&'a mut &'static [&'static str]);
        impl<'de> serde::Deserializer<'de> for Ask<'_> {
            type Error = serde::de::value::Error;
            fn deserialize_any<V: serde::de::Visitor<'de>>(
                self,
                _: V,
            ) -> Result<V::Value, Self::Error> {
                Err(serde::de::Error::custom("asked"))
            }
            fn deserialize_struct<V: serde::de::Visitor<'de>>(
                self,
                _: &'static str,
                fields: &'static [&'static str],
                _: V,
            ) -> Result<V::Value, Self::Error> {
                *self.0 = fields;
                Err(serde::de::Error::custom("asked"))
            }
            serde::forward_to_deserialize_any! {
                bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option
                unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
                ignored_any
            }
        }
        let mut fields: &'static [&'static str] = &[];
        assert!(T::deserialize(Ask(&mut fields)).is_err());
        fields
    }

    #[test]
    fn exactly_the_keys_that_are_read_are_described() {
        let maps: [(&str, &[&str]); 19] = [
            ("listen.", fields_of::<raw::RawListen>()),
            ("guard.", fields_of::<raw::RawGuard>()),
            ("identity.issuers[].", fields_of::<raw::RawIssuer>()),
            ("targets[].", fields_of::<raw::RawTarget>()),
            ("targets[].upstream.", fields_of::<raw::RawUpstream>()),
            ("targets[].credential.", fields_of::<raw::RawCredential>()),
            ("workloads[].", fields_of::<raw::RawWorkload>()),
            ("recording.", fields_of::<raw::RawRecording>()),
            ("approvals.local[].", fields_of::<raw::RawLocalReviewer>()),
            ("recording.archive.", fields_of::<raw::RawArchive>()),
            ("approvals.webhooks[].", fields_of::<raw::RawWebhook>()),
            (
                "approvals.console.auditors.",
                fields_of::<raw::RawAuditors>(),
            ),
            ("approvals.console.", fields_of::<raw::RawConsole>()),
            ("approvals.", fields_of::<raw::RawApprovals>()),
            ("log.", fields_of::<raw::RawLog>()),
            ("tls.", fields_of::<raw::RawTls>()),
            ("worker.", fields_of::<raw::RawWorker>()),
            ("identity.", fields_of::<raw::RawIdentity>()),
            ("", fields_of::<raw::Raw>()),
        ];
        let inner = |path: &str| {
            let list = format!("{path}[].");
            let map = format!("{path}.");
            maps.iter()
                .any(|(prefix, _)| *prefix == list || *prefix == map)
        };
        let read: BTreeSet<String> = maps
            .iter()
            .flat_map(|(prefix, fields)| fields.iter().map(move |f| format!("{prefix}{f}")))
            .filter(|path| !inner(path))
            .collect();
        let described: BTreeSet<String> = KEYS.iter().map(|key| key.path.to_owned()).collect();
        assert_eq!(described, read);
        // A group's own credential takes what the default takes, but no groups of its own.
        assert_eq!(
            fields_of::<raw::RawGroupCredential>(),
            ["username", "password_file", "password_env"],
        );
    }
}
