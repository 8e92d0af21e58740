//! `targets`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_saphyr::{Location, Spanned};

use super::Check;
use crate::config::prefix::Prefix;
use crate::config::raw::{RawCredential, RawTarget, RawUpstream};
use crate::config::resolved::{
    ClientTlsMode, Credential, Credentials, PasswordSource, Target, TargetLimits, Upstream,
    UpstreamTlsMode,
};
use crate::config::scalars;
use crate::model::{Dialect, TargetName};

/// The smallest and largest message bound a target may set, bytes.
const MESSAGE_BOUNDS: (usize, usize) = (64 << 10, 256 << 20);

/// How long a connection is kept for another session of its identity. Less than the five seconds for which
/// PostgreSQL waits for sessions to end before it refuses to drop their database.
const KEPT: Duration = Duration::from_secs(3);
/// And at most: what the database changes for new sessions must not take long to come to bear.
const KEPT_AT_MOST: Duration = Duration::from_secs(60);

impl Check<'_> {
    pub(super) fn targets(&mut self, raw: &[Spanned<RawTarget>], listen: u16) -> Vec<Target> {
        let mut targets: Vec<Target> = Vec::new();
        for (index, target) in raw.iter().enumerate() {
            let key = format!("targets[{index}]");
            let made = self.target(&key, target, listen);
            for other in &targets {
                self.unlike(&key, target.referenced, &made, other);
            }
            targets.push(made);
        }
        targets
    }

    /// Two targets must never stand for the same destination: which policy and credential would
    /// apply could not be told.
    fn unlike(&mut self, key: &str, at: Location, one: &Target, other: &Target) {
        if !one.name.0.is_empty() && one.name == other.name {
            let problem = format!("`{}` is declared twice", one.name);
            self.fault(
                at,
                format!("{key}.name"),
                problem,
                "every target has its own name",
            );
        }
        if one.port != other.port {
            return;
        }
        for host in &one.hosts {
            if other.hosts.iter().any(|h| h.eq_ignore_ascii_case(host)) {
                self.fault(
                    at,
                    format!("{key}.hosts"),
                    format!(
                        "{host}:{} already stands for target `{}`",
                        one.port, other.name
                    ),
                    "a destination is one target",
                );
            }
        }
        for prefix in one.addresses.iter().filter(|p| other.addresses.contains(p)) {
            self.fault(
                at,
                format!("{key}.addresses"),
                format!(
                    "{prefix} port {} already stands for target `{}`",
                    one.port, other.name
                ),
                "a destination is one target",
            );
        }
    }

    fn target(&mut self, key: &str, target: &Spanned<RawTarget>, listen: u16) -> Target {
        let at = target.referenced;
        let raw = &target.value;
        let name = self.name(at, &format!("{key}.name"), raw.name.as_ref());
        let dialect = self.dialect(at, &format!("{key}.protocol"), raw);
        let hosts = self.hosts(&format!("{key}.hosts"), &raw.hosts);
        let addresses = self.addresses(&format!("{key}.addresses"), &raw.addresses);
        if raw.hosts.is_empty() && raw.addresses.is_empty() {
            self.fault(
                at,
                key,
                "stands for no destination",
                "give the hosts or the addresses that workloads dial",
            );
        }
        let port = raw
            .port
            .as_ref()
            .map_or_else(|| default_port(dialect), |p| p.value);
        if let Some(given) = raw.port.as_ref()
            && (given.value == 0 || given.value == listen)
        {
            self.fault(
                given.referenced,
                format!("{key}.port"),
                format!("{} cannot be a database's port", given.value),
                "write the port that workloads dial, not 0 and not listen.port",
            );
        }
        Target {
            name: TargetName(Arc::from(name)),
            dialect,
            hosts,
            addresses,
            port,
            upstream: self.upstream(&format!("{key}.upstream"), &raw.upstream, port),
            credentials: self.credentials(
                at,
                &format!("{key}.credential"),
                raw.credential.as_ref(),
            ),
            client_tls: self.word(
                &format!("{key}.client_tls"),
                raw.client_tls.as_ref(),
                ClientTlsMode::Optional,
                &[
                    ("optional", ClientTlsMode::Optional),
                    ("required", ClientTlsMode::Required),
                ],
            ),
            limits: TargetLimits {
                message_bytes: self.message_bytes(key, raw),
            },
            keep_warm: self.keep_warm(key, raw),
        }
    }

    fn dialect(&mut self, at: Location, key: &str, raw: &RawTarget) -> Dialect {
        let word = self.required(at, key, raw.protocol.as_ref());
        let Some(text) = raw.protocol.as_ref().filter(|_| !word.trim().is_empty()) else {
            return Dialect::Postgres;
        };
        match word.as_str() {
            "postgres" => Dialect::Postgres,
            "mysql" => {
                self.fault(
                    text.referenced,
                    key,
                    "mysql is not available yet",
                    "leave the target out: its port stays guarded, so it is refused, not passed",
                );
                Dialect::Mysql
            }
            other => {
                let problem = format!("`{other}` is not known");
                self.fault(text.referenced, key, problem, "write postgres");
                Dialect::Postgres
            }
        }
    }

    fn hosts(&mut self, key: &str, raw: &[Spanned<String>]) -> Vec<String> {
        let mut hosts = Vec::new();
        for host in raw {
            if !scalars::is_host(&host.value) {
                let mend = if host.value.parse::<Prefix>().is_ok() {
                    "an address goes under addresses"
                } else {
                    "write a DNS name without scheme and port"
                };
                let problem = format!("`{}` is no host name", host.value);
                self.fault(host.referenced, key, problem, mend);
            }
            hosts.push(host.value.trim_end_matches('.').to_ascii_lowercase());
        }
        hosts
    }

    fn addresses(&mut self, key: &str, raw: &[Spanned<String>]) -> Vec<Prefix> {
        let mut prefixes = Vec::new();
        for text in raw {
            match text.value.parse::<Prefix>() {
                Ok(prefix) => prefixes.push(prefix),
                Err(why) => {
                    self.fault(text.referenced, key, format!("`{}`: {why}", text.value), "");
                }
            }
        }
        prefixes
    }

    fn upstream(&mut self, key: &str, raw: &RawUpstream, port: u16) -> Upstream {
        let address = raw.address.as_ref().and_then(|text| {
            let read = scalars::host_port(&text.value, port);
            if read.is_none() {
                self.fault(
                    text.referenced,
                    format!("{key}.address"),
                    format!("`{}` is neither host nor host:port", text.value),
                    "write it as db.example, db.example:5432 or [::1]:5432",
                );
            }
            read
        });
        let tls = self.word(
            &format!("{key}.tls"),
            raw.tls.as_ref(),
            UpstreamTlsMode::VerifyFull,
            &[
                ("verify-full", UpstreamTlsMode::VerifyFull),
                ("require", UpstreamTlsMode::Require),
                ("disable", UpstreamTlsMode::Disable),
            ],
        );
        for (name, given) in [
            ("ca_file", raw.ca_file.as_ref().map(|p| p.referenced)),
            (
                "server_name",
                raw.server_name.as_ref().map(|n| n.referenced),
            ),
        ] {
            // Somebody who names a root believes that it is asked for.
            if let Some(at) = given
                && tls != UpstreamTlsMode::VerifyFull
            {
                self.fault(
                    at,
                    format!("{key}.{name}"),
                    "has no effect unless the certificate is verified",
                    "write tls: verify-full, or leave it out",
                );
            }
        }
        Upstream {
            address,
            tls,
            ca_file: raw.ca_file.as_ref().map(|p| p.value.clone()),
            server_name: raw.server_name.as_ref().map(|n| n.value.clone()),
        }
    }

    fn credentials(
        &mut self,
        at: Location,
        key: &str,
        raw: Option<&Spanned<RawCredential>>,
    ) -> Credentials {
        let Some(given) = raw else {
            self.fault(
                at,
                key,
                "is missing",
                "say how the agent logs in: username, password_file",
            );
            let default = Credential {
                username: String::new(),
                password: PasswordSource::None,
            };
            return Credentials {
                default,
                by_group: Vec::new(),
            };
        };
        let inner = &given.value;
        let default = Credential {
            username: self.required(
                given.referenced,
                &format!("{key}.username"),
                inner.username.as_ref(),
            ),
            password: self.password(
                key,
                inner.password_file.as_ref(),
                inner.password_env.as_ref(),
            ),
        };
        let mut by_group: Vec<(String, Credential)> = Vec::new();
        for (group, own) in &inner.groups {
            let key = format!("{key}.groups.{group}");
            let (at, raw) = (own.referenced, &own.value);
            let credential = Credential {
                username: self.required(at, &format!("{key}.username"), raw.username.as_ref()),
                password: self.password(
                    &key,
                    raw.password_file.as_ref(),
                    raw.password_env.as_ref(),
                ),
            };
            by_group.push((group.clone(), credential));
        }
        Credentials { default, by_group }
    }

    fn password(
        &mut self,
        key: &str,
        file: Option<&Spanned<PathBuf>>,
        env: Option<&Spanned<String>>,
    ) -> PasswordSource {
        match (file, env) {
            (Some(file), None) => {
                self.absolute_path(&format!("{key}.password_file"), file);
                PasswordSource::File(file.value.clone())
            }
            (None, Some(env)) => PasswordSource::Env(env.value.clone()),
            (None, None) => PasswordSource::None,
            (Some(_), Some(env)) => {
                let mend = "keep one of password_file and password_env";
                self.fault(env.referenced, key, "the password has two places", mend);
                PasswordSource::None
            }
        }
    }

    fn keep_warm(&mut self, key: &str, raw: &RawTarget) -> Duration {
        let Some(given) = raw.keep_warm.as_ref() else {
            return KEPT;
        };
        let read = scalars::duration(&given.value).filter(|read| *read <= KEPT_AT_MOST);
        if read.is_none() {
            self.fault(
                given.referenced,
                format!("{key}.keep_warm"),
                format!("`{}` is no duration up to a minute", given.value),
                "write a number and a unit, such as 5s; 0s keeps nothing",
            );
        }
        read.unwrap_or(KEPT)
    }

    fn message_bytes(&mut self, key: &str, raw: &RawTarget) -> usize {
        let Some(given) = raw.max_message_bytes.as_ref() else {
            return 16 << 20;
        };
        if !(MESSAGE_BOUNDS.0..=MESSAGE_BOUNDS.1).contains(&given.value) {
            self.fault(
                given.referenced,
                format!("{key}.max_message_bytes"),
                format!("{} is out of bounds", given.value),
                format!(
                    "write a number from {} to {}",
                    MESSAGE_BOUNDS.0, MESSAGE_BOUNDS.1
                ),
            );
        }
        given.value
    }
}

fn default_port(dialect: Dialect) -> u16 {
    match dialect {
        Dialect::Postgres => 5432,
        Dialect::Mysql => 3306,
    }
}
