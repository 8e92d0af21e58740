//! From the file as written to the configuration, or the list of everything wrong with it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{Dialect, TargetName};

use super::resolved::{
    Approvals, CgroupRoot, ClientTlsMode, Config, Credential, Credentials, Egress, Guard, HostPort,
    Issuer, Listen, Log, OnFailure, PasswordSource, Prefix, Recording, RowsMode, Target,
    TargetLimits, Tls, TokenSource, Upstream, UpstreamTlsMode, WorkloadRule,
};
use super::{ConfigError, from_yaml, raw};

/// The smallest and largest message bound a target may set, bytes.
const MESSAGE_BOUNDS: (usize, usize) = (64 << 10, 256 << 20);

impl Config {
    /// Parses and checks a configuration file's text. `source` is what errors call it.
    ///
    /// # Errors
    /// Everything that is wrong; a syntax error hides what is behind it.
    pub fn parse(text: &str, source: &str) -> Result<Config, Vec<ConfigError>> {
        let raw: raw::Raw = from_yaml(text, source).map_err(|error| vec![error])?;
        let mut faults = Faults { source, found: Vec::new() };
        let config = resolve(raw, &mut faults);
        if faults.found.is_empty() { Ok(config) } else { Err(faults.found) }
    }
}

struct Faults<'a> {
    source: &'a str,
    found: Vec<ConfigError>,
}

impl Faults<'_> {
    fn at(&mut self, key: impl std::fmt::Display, what: impl Into<String>) {
        let place = format!("{}: {key}", self.source);
        self.found.push(ConfigError { place, what: what.into() });
    }

    /// One of a few words.
    fn word<T: Copy>(
        &mut self,
        key: impl std::fmt::Display,
        given: Option<&str>,
        words: &[(&str, T)],
        default: T,
    ) -> T {
        let Some(given) = given else { return default };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == given) {
            return *value;
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.at(key, format!("{given:?} is not one of {}", known.join(", ")));
        default
    }
}

fn resolve(raw: raw::Raw, faults: &mut Faults<'_>) -> Config {
    let state_dir = raw.state_dir.unwrap_or_else(|| PathBuf::from("/var/lib/node-agent"));
    let workloads: Vec<WorkloadRule> =
        raw.workloads.into_iter().enumerate().map(|(at, w)| workload(at, w, faults)).collect();
    unique("workloads", workloads.iter().map(|w| w.name.to_string()), faults);
    let targets: Vec<Target> =
        raw.targets.into_iter().enumerate().map(|(at, t)| target(at, t, faults)).collect();
    unique("targets", targets.iter().map(|t| t.name.to_string()), faults);
    let issuers: Vec<Issuer> =
        raw.identity.issuers.into_iter().enumerate().map(|(at, i)| issuer(at, i, faults)).collect();
    unique("identity.issuers", issuers.iter().map(|i| i.url.clone()), faults);
    if !workloads.is_empty() && issuers.is_empty() {
        faults.at(
            "identity.issuers",
            "no issuer is configured, so nobody could ever log in; name at least one",
        );
    }
    if raw.tls.ca_cert.is_some() != raw.tls.ca_key.is_some() {
        faults.at("tls", "ca_cert and ca_key belong together; give both, or neither");
    }
    if !raw.approvals.webhooks.is_empty() {
        faults.at("approvals.webhooks", "not available yet; remove the key");
    }
    Config {
        listen: listen(raw.listen, faults),
        cgroup_root: match raw.cgroup_root.as_deref() {
            None | Some("auto") => CgroupRoot::Auto,
            Some(path) => CgroupRoot::Path(PathBuf::from(path)),
        },
        attach: raw.attach,
        guard: guard(raw.guard, faults),
        issuers,
        targets,
        workloads,
        policies: raw.policies,
        recording: recording(raw.recording, &state_dir, faults),
        approvals: Approvals {
            timeout: raw
                .approvals
                .timeout
                .as_deref()
                .and_then(|text| duration("approvals.timeout", text, faults))
                .unwrap_or(Duration::from_secs(600)),
        },
        log: Log {
            json: faults.word(
                "log.format",
                raw.log.format.as_deref(),
                &[("text", false), ("json", true)],
                false,
            ),
            level: raw.log.level.unwrap_or_else(|| "info".to_owned()),
        },
        tls: Tls { ca_cert: raw.tls.ca_cert, ca_key: raw.tls.ca_key },
        state_dir,
    }
}

fn unique(key: &str, names: impl Iterator<Item = String>, faults: &mut Faults<'_>) {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name.clone()) {
            faults.at(key, format!("{name:?} stands here twice; names are unique"));
        }
    }
}

fn listen(raw: raw::Listen, faults: &mut Faults<'_>) -> Listen {
    let admin = raw.admin.as_deref().unwrap_or("127.0.0.1:9815");
    let admin = admin.parse().unwrap_or_else(|_| {
        faults.at("listen.admin", format!("{admin:?} is not an address with a port"));
        std::net::SocketAddr::from(([127, 0, 0, 1], 9815))
    });
    if !admin.ip().is_loopback() {
        faults.at(
            "listen.admin",
            "the admin pages have no sign-in yet, so they are served on loopback only",
        );
    }
    Listen {
        port: raw.port.unwrap_or(15001),
        admin,
        admin_socket: raw
            .admin_socket
            .unwrap_or_else(|| PathBuf::from("/run/node-agent/admin.sock")),
    }
}

fn guard(raw: raw::Guard, faults: &mut Faults<'_>) -> Guard {
    if !raw.allow.is_empty() {
        faults.at("guard.allow", "goes with egress: databases-only, which is not available yet");
    }
    if raw.egress.as_deref() == Some("databases-only") {
        faults.at("guard.egress", "databases-only is not available yet; use open");
    }
    let words = [("open", Egress::Open), ("databases-only", Egress::Open)];
    let egress = faults.word("guard.egress", raw.egress.as_deref(), &words, Egress::Open);
    let ports = raw.ports.unwrap_or_else(|| vec![5432, 3306]);
    if ports.contains(&0) {
        faults.at("guard.ports", "0 is no port");
    }
    Guard { ports, egress }
}

fn issuer(at: usize, raw: raw::Issuer, faults: &mut Faults<'_>) -> Issuer {
    let key = format!("identity.issuers[{at}]");
    let http = raw.url.starts_with("http://");
    if !(raw.url.starts_with("https://") || http && raw.allow_http_loopback) {
        faults.at(format!("{key}.url"), "an issuer is reached by https");
    }
    if raw.audience.is_empty() {
        faults.at(format!("{key}.audience"), "must not be empty");
    }
    let default = || ["RS256", "ES256", "EdDSA"].map(str::to_owned).to_vec();
    Issuer {
        url: raw.url,
        audience: raw.audience,
        algorithms: if raw.algorithms.is_empty() { default() } else { raw.algorithms },
        groups_claim: raw.groups_claim.unwrap_or_else(|| "groups".to_owned()),
        claims: raw.claims,
        ca_file: raw.ca_file,
        allow_http_loopback: raw.allow_http_loopback,
    }
}

fn target(at: usize, raw: raw::Target, faults: &mut Faults<'_>) -> Target {
    let key = format!("targets[{at}] ({})", raw.name);
    name(&key, &raw.name, faults);
    let words = [("postgres", Dialect::Postgres), ("mysql", Dialect::Mysql)];
    let dialect =
        faults.word(format!("{key}.protocol"), Some(&raw.protocol), &words, Dialect::Postgres);
    if dialect == Dialect::Mysql {
        faults.at(format!("{key}.protocol"), "mysql is not available yet");
    }
    if raw.hosts.is_empty() && raw.addresses.is_empty() {
        faults.at(&key, "name at least one of hosts and addresses, or nothing leads here");
    }
    let addresses = raw
        .addresses
        .iter()
        .filter_map(|text| prefix(&format!("{key}.addresses"), text, faults))
        .collect();
    let message_bytes = raw.max_message_bytes.unwrap_or(16 << 20);
    if !(MESSAGE_BOUNDS.0..=MESSAGE_BOUNDS.1).contains(&message_bytes) {
        faults.at(
            format!("{key}.max_message_bytes"),
            format!("must lie between {} and {}", MESSAGE_BOUNDS.0, MESSAGE_BOUNDS.1),
        );
    }
    let port = raw.port.unwrap_or(match dialect {
        Dialect::Postgres => 5432,
        Dialect::Mysql => 3306,
    });
    let client_tls = faults.word(
        format!("{key}.client_tls"),
        raw.client_tls.as_deref(),
        &[("optional", ClientTlsMode::Optional), ("required", ClientTlsMode::Required)],
        ClientTlsMode::Optional,
    );
    Target {
        name: TargetName(raw.name.as_str().into()),
        dialect,
        hosts: raw.hosts,
        addresses,
        port,
        upstream: upstream(&key, raw.upstream, port, faults),
        credentials: credentials(&key, raw.credential, faults),
        client_tls,
        limits: TargetLimits { message_bytes },
    }
}

fn upstream(key: &str, raw: raw::Upstream, port: u16, faults: &mut Faults<'_>) -> Upstream {
    let words = [
        ("disable", UpstreamTlsMode::Disable),
        ("require", UpstreamTlsMode::Require),
        ("verify-full", UpstreamTlsMode::VerifyFull),
    ];
    // Never in clear silently: without a word it is verified.
    let tls = faults.word(
        format!("{key}.upstream.tls"),
        raw.tls.as_deref(),
        &words,
        UpstreamTlsMode::VerifyFull,
    );
    let address = raw.address.as_deref().and_then(|text| {
        let parsed = host_port(text, port);
        if parsed.is_none() {
            faults.at(format!("{key}.upstream.address"), format!("{text:?} is not host or host:port"));
        }
        parsed
    });
    Upstream { address, tls, ca_file: raw.ca_file, server_name: raw.server_name }
}

fn host_port(text: &str, default: u16) -> Option<HostPort> {
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return Some(HostPort { host: address.ip().to_string(), port: address.port() });
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(HostPort { host: address.to_string(), port: default });
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (text, default),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    (!host.is_empty() && host.chars().all(plain) && port != 0)
        .then(|| HostPort { host: host.to_owned(), port })
}

fn credentials(key: &str, raw: raw::Credential, faults: &mut Faults<'_>) -> Credentials {
    let mut by_group = Vec::new();
    let mut raw = raw;
    for (group, own) in std::mem::take(&mut raw.groups) {
        if !own.groups.is_empty() {
            faults.at(format!("{key}.credential.groups.{group}"), "groups do not nest");
        }
        by_group.push((group, credential(key, own, faults)));
    }
    Credentials { default: credential(key, raw, faults), by_group }
}

fn credential(key: &str, raw: raw::Credential, faults: &mut Faults<'_>) -> Credential {
    let password = match (raw.password_file, raw.password_env) {
        (None, None) => PasswordSource::None,
        (Some(path), None) => PasswordSource::File(path),
        (None, Some(name)) => PasswordSource::Env(name),
        (Some(_), Some(_)) => {
            faults.at(format!("{key}.credential"), "give password_file or password_env, not both");
            PasswordSource::None
        }
    };
    Credential { username: raw.username, password }
}

fn workload(at: usize, raw: raw::Workload, faults: &mut Faults<'_>) -> WorkloadRule {
    let key = format!("workloads[{at}] ({})", raw.name);
    name(&key, &raw.name, faults);
    let tokens: Vec<TokenSource> = raw
        .token
        .into_iter()
        .filter_map(|token| match token {
            raw::Token::File(file) => Some(TokenSource::File(file.file)),
            raw::Token::Word(word) => match word.as_str() {
                "password" => Some(TokenSource::Password),
                "oauthbearer" => Some(TokenSource::Bearer),
                _ => {
                    let known = "password, oauthbearer or { file: PATH }";
                    faults.at(format!("{key}.token"), format!("{word:?} is not {known}"));
                    None
                }
            },
        })
        .collect();
    if tokens.is_empty() {
        faults.at(
            format!("{key}.token"),
            "say where its token is: { file: PATH }, password or oauthbearer",
        );
    }
    for glob in &raw.cgroups {
        if glob.starts_with('/') || glob.split('/').any(|part| part == "..") {
            faults.at(
                format!("{key}.cgroups"),
                format!("{glob:?} must be relative to the cgroup2 root, without `..`"),
            );
        }
    }
    WorkloadRule {
        name: raw.name.as_str().into(),
        cgroups: raw.cgroups,
        labels: raw.labels,
        tokens,
        subject: raw.subject,
    }
}

fn name(key: &str, name: &str, faults: &mut Faults<'_>) {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        faults.at(key, "a name is 1 to 64 letters, digits, `-`, `_` or `.`");
    }
}

fn prefix(key: &str, text: &str, faults: &mut Faults<'_>) -> Option<Prefix> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let parsed = address.parse::<IpAddr>().ok().and_then(|addr| {
        let most = if addr.is_ipv4() { 32 } else { 128 };
        let len = match length {
            None => most,
            Some(length) => length.parse().ok().filter(|len| *len <= most)?,
        };
        Some(Prefix { addr, len })
    });
    if parsed.is_none() {
        faults.at(key, format!("{text:?} is not an address or a prefix such as 10.0.7.0/24"));
    }
    parsed
}

fn recording(raw: raw::Recording, state_dir: &std::path::Path, faults: &mut Faults<'_>) -> Recording {
    if !raw.encrypt_to.is_empty() {
        // A file that was asked to be encrypted must not be written in clear.
        faults.at("recording.encrypt_to", "not available yet; remove the key");
    }
    Recording {
        dir: raw.dir.unwrap_or_else(|| state_dir.join("recordings")),
        rows: faults.word(
            "recording.rows",
            raw.rows.as_deref(),
            &[("masked", RowsMode::Masked), ("none", RowsMode::None)],
            RowsMode::Masked,
        ),
        retention: raw
            .retention
            .as_deref()
            .and_then(|text| duration("recording.retention", text, faults)),
        max_bytes: raw.max_bytes.as_deref().and_then(|t| bytes("recording.max_bytes", t, faults)),
        on_failure: faults.word(
            "recording.on_failure",
            raw.on_failure.as_deref(),
            &[("refuse", OnFailure::Refuse), ("continue", OnFailure::Continue)],
            OnFailure::Refuse,
        ),
    }
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit.trim()))
}

/// `30s`, `10m`, `12h`, `90d`.
fn duration(key: &str, text: &str, faults: &mut Faults<'_>) -> Option<Duration> {
    let parsed = split_number(text).and_then(|(number, unit)| {
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return None,
        };
        number.checked_mul(seconds).map(Duration::from_secs)
    });
    if parsed.is_none() {
        faults.at(key, format!("{text:?} is not a time such as 30s, 10m, 12h or 90d"));
    }
    parsed
}

/// `64MiB`, `20GiB`, or plain bytes.
fn bytes(key: &str, text: &str, faults: &mut Faults<'_>) -> Option<u64> {
    let parsed = split_number(text).and_then(|(number, unit)| {
        let factor = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return None,
        };
        number.checked_mul(factor)
    });
    if parsed.is_none() {
        faults.at(key, format!("{text:?} is not a size such as 64MiB or 20GiB"));
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
identity: { issuers: [ { url: 'https://issuer.example', audience: node-agent } ] }
targets:
  - name: orders
    protocol: postgres
    hosts: [orders.db.internal]
    addresses: [10.0.7.0/24]
    credential: { username: svc, password_file: /run/secrets/svc }
workloads:
  - { name: claude, cgroups: ['agents/claude*'], token: [ { file: /var/run/token }, password ] }
recording: { retention: 90d, max_bytes: 20GiB }
";

    #[test]
    fn a_small_file_resolves_with_defaults() {
        let config = Config::parse(GOOD, "config.yaml").unwrap();
        assert_eq!(config.listen.port, 15001);
        assert_eq!(config.guard.ports, [5432, 3306]);
        assert_eq!(config.targets[0].upstream.tls, UpstreamTlsMode::VerifyFull);
        assert_eq!(config.recording.max_bytes, Some(20 << 30));
        assert_eq!(config.workloads[0].tokens.len(), 2);
        let hosts = super::super::HostTable::default();
        let at = |text: &str| {
            let destination = crate::model::OriginalDst(text.parse().unwrap());
            config.target_for(destination, &hosts).map(|target| target.name.to_string())
        };
        assert_eq!(at("10.0.7.9:5432").as_deref(), Some("orders"));
        assert_eq!(at("10.0.8.9:5432"), None);
        assert_eq!(at("10.0.7.9:5433"), None);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let table = [
            ("listne: {}", "config.yaml:1:1", "unknown field"),
            ("guard: { ports: [1], ports: [2] }", "config.yaml:1:", "uplicate"),
            ("guard: { egress: databases-only }", "guard.egress", "not available yet"),
            ("listen: { admin: '0.0.0.0:1' }", "listen.admin", "loopback"),
            ("recording: { encrypt_to: [k] }", "recording.encrypt_to", "not available yet"),
            ("recording: { retention: soon }", "recording.retention", "90d"),
            ("recording: { on_failure: shrug }", "recording.on_failure", "refuse, continue"),
            (
                "targets: [ { name: a, protocol: oracle, hosts: [h], credential: { username: u } } ]",
                "targets[0] (a).protocol",
                "postgres, mysql",
            ),
            (
                "targets: [ { name: '../x', protocol: postgres, hosts: [h], credential: { username: u } } ]",
                "targets[0]",
                "letters",
            ),
            (
                "workloads: [ { name: w, cgroups: ['/abs'], token: [password] } ]",
                "cgroups",
                "relative",
            ),
            ("workloads: [ { name: w, token: [smoke] } ]", "token", "oauthbearer"),
        ];
        for (text, place, words) in table {
            let errors = Config::parse(text, "config.yaml").unwrap_err();
            let fits = errors.iter().any(|e| e.place.contains(place) && e.what.contains(words));
            assert!(fits, "{text}: {errors:?}");
        }
    }

    #[test]
    fn a_prefix_holds_what_it_should() {
        let prefix = Prefix { addr: "10.0.7.128".parse().unwrap(), len: 25 };
        assert!(prefix.holds("10.0.7.129".parse().unwrap()));
        assert!(!prefix.holds("10.0.7.1".parse().unwrap()));
        assert!(!prefix.holds("::1".parse().unwrap()));
        assert!(Prefix { addr: "::".parse().unwrap(), len: 0 }.holds("fe80::1".parse().unwrap()));
    }
}
