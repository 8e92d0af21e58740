//! As written → resolved. Goes on after a fault, so that all are reported at once.

mod approvals;
mod archive;
mod console;
mod identity;
mod targets;
mod webhooks;
mod workloads;

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde_saphyr::{Location, Spanned};

use super::raw::{Raw, RawGuard, RawListen, RawLog, RawRecording, RawTls, RawWorker};
use super::resolved::{
    CgroupRoot, Config, Egress, Guard, Listen, Log, NodeWide, OnFailure, Recording, RowsMode,
    SealTo, Tls, Undeclared, UnixSockets, User, Worker,
};
use super::{ConfigError, Place, scalars};
use crate::model::{NotARecipient, Recipient};

/// The most recipients of recordings.
const MOST_RECIPIENTS: usize = 16;

/// Checks a whole configuration.
pub(super) fn check(raw: Raw, source_name: &str) -> Result<Config, Vec<ConfigError>> {
    let mut check = Check {
        source: source_name,
        errors: Vec::new(),
    };
    let state_dir = check.absolute("state_dir", raw.state_dir.as_ref(), "/var/lib/node-agent");
    let listen = check.listen(&raw.listen);
    let guard = check.guard(&raw.guard, listen.port);
    let issuers = check.issuers(&raw.identity.issuers);
    let config = Config {
        cgroup_root: check.cgroup_root(raw.cgroup_root.as_ref()),
        attach: check.attach(raw.attach.as_ref()),
        targets: check.targets(&raw.targets, listen.port),
        workloads: check.workloads(&raw.workloads),
        policies: raw.policies.iter().map(|p| p.value.clone()).collect(),
        recording: check.recording(&raw.recording, &state_dir, &listen.admin_socket),
        approvals: check.approvals(&raw.approvals, &state_dir, &issuers),
        issuers,
        log: check.log(&raw.log),
        tls: check.tls(&raw.tls),
        worker: check.worker(&raw.worker),
        listen,
        guard,
        state_dir,
    };
    if config.issuers.is_empty() && !config.workloads.is_empty() {
        // Nothing would get through; saying so here saves an hour of looking at refused logins.
        check.fault(
            Location::UNKNOWN,
            "identity.issuers",
            "workloads are declared but nobody vouches for their users",
            "declare an issuer with url and audience",
        );
    }
    if check.errors.is_empty() {
        Ok(config)
    } else {
        check.errors.sort_by_key(|(at, _)| (at.line(), at.column()));
        Err(check.errors.into_iter().map(|(_, error)| error).collect())
    }
}

/// The faults so far. Every method returns a value to go on with; it counts only when there is
/// no fault at all.
struct Check<'a> {
    source: &'a str,
    errors: Vec<(Location, ConfigError)>,
}

impl Check<'_> {
    fn fault(
        &mut self,
        at: Location,
        key: impl Into<String>,
        problem: impl Into<String>,
        mend: impl Into<String>,
    ) {
        let (source, key) = (self.source, key.into());
        let place = if at == Location::UNKNOWN {
            format!("{source}: {key}")
        } else {
            format!("{source}:{}:{}: {key}", at.line(), at.column())
        };
        let (problem, mend) = (problem.into(), mend.into());
        let what = if mend.is_empty() {
            problem
        } else {
            format!("{problem}; {mend}")
        };
        self.errors.push((at, ConfigError { place, what }));
    }

    /// A value that must be there and not empty.
    fn required(&mut self, at: Location, key: &str, value: Option<&Spanned<String>>) -> String {
        match value {
            None => {
                self.fault(at, key, "is missing", "it has no default");
                String::new()
            }
            Some(text) => {
                if text.value.trim().is_empty() {
                    self.fault(text.referenced, key, "is empty", "it has no default");
                }
                text.value.clone()
            }
        }
    }

    /// One of a few words.
    fn word<T: Copy>(
        &mut self,
        key: &str,
        value: Option<&Spanned<String>>,
        default: T,
        words: &[(&str, T)],
    ) -> T {
        let Some(text) = value else { return default };
        if let Some((_, found)) = words.iter().find(|(word, _)| *word == text.value) {
            return *found;
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.fault(
            text.referenced,
            key,
            format!("`{}` is not known", text.value),
            format!("write {}", known.join(" or ")),
        );
        default
    }

    fn duration(&mut self, key: &str, value: Option<&Spanned<String>>) -> Option<Duration> {
        let text = value?;
        let read = scalars::duration(&text.value).filter(|d| !d.is_zero());
        if read.is_none() {
            self.fault(
                text.referenced,
                key,
                format!("`{}` is no duration", text.value),
                "write a number and a unit, such as 30s, 10m or 90d",
            );
        }
        read
    }

    fn absolute(&mut self, key: &str, value: Option<&Spanned<PathBuf>>, default: &str) -> PathBuf {
        match value {
            None => PathBuf::from(default),
            Some(path) => {
                self.absolute_path(key, path);
                path.value.clone()
            }
        }
    }

    fn absolute_path(&mut self, key: &str, path: &Spanned<PathBuf>) {
        if !path.value.is_absolute() {
            self.fault(
                path.referenced,
                key,
                format!("`{}` is a relative path", path.value.display()),
                "the agent's own directory is nobody's business: write it from the root",
            );
        }
    }

    fn name(&mut self, at: Location, key: &str, value: Option<&Spanned<String>>) -> String {
        let name = self.required(at, key, value);
        if let Some(text) = value
            && !name.trim().is_empty()
            && !scalars::is_name(&name)
        {
            self.fault(
                text.referenced,
                key,
                format!("`{name}` cannot be a name"),
                "use letters, digits, - _ and ., at most 64, a letter or digit first",
            );
        }
        name
    }

    fn worker(&mut self, raw: &RawWorker) -> Worker {
        let bounds = Duration::from_secs(1)..=Duration::from_hours(7 * 24);
        let linger = self
            .duration("worker.linger", raw.linger.as_ref())
            .unwrap_or(Duration::from_hours(1));
        if let (Some(text), false) = (&raw.linger, bounds.contains(&linger)) {
            self.fault(
                text.referenced,
                "worker.linger",
                format!("`{}` is out of bounds", text.value),
                "write 1s to 7d",
            );
        }
        let user = raw.user.as_ref().map(|given| self.user(given));
        Worker { user, linger }
    }

    fn user(&mut self, given: &Spanned<String>) -> User {
        let word = given.value.as_str();
        let number = word.parse::<u32>().ok();
        // -1 is what the kernel takes for "as it is"; many systems' names begin with a low line.
        let usable = match number {
            Some(number) => number != 0 && number != u32::MAX,
            None => word != "root" && scalars::is_name(word.trim_start_matches('_')),
        };
        let user = number.map_or_else(|| User::Name(word.to_owned()), User::Number);
        if !usable {
            self.fault(
                given.referenced,
                "worker.user",
                format!("`{word}` cannot be the worker's user"),
                "write the name or number of a user without privileges that nothing else runs as",
            );
        }
        user
    }

    fn listen(&mut self, raw: &RawListen) -> Listen {
        let port = raw.port.as_ref().map_or(15001, |p| p.value);
        if let Some(given) = raw.port.as_ref()
            && given.value == 0
        {
            self.fault(
                given.referenced,
                "listen.port",
                "0 is no port",
                "the kernel programs must know it: write a number from 1 to 65535",
            );
        }
        let default = SocketAddr::from(([127, 0, 0, 1], 9815));
        let admin = match raw.admin.as_ref() {
            None => default,
            Some(text) => match text.value.parse::<SocketAddr>() {
                Ok(addr) if addr.ip().is_loopback() => addr,
                Ok(addr) => {
                    self.fault(
                        text.referenced,
                        "listen.admin",
                        format!("{} is not loopback", addr.ip()),
                        "health and metrics are not authenticated: write 127.0.0.1 or [::1]",
                    );
                    default
                }
                Err(_) => {
                    self.fault(
                        text.referenced,
                        "listen.admin",
                        format!("`{}` is no address and port", text.value),
                        "write it as 127.0.0.1:9815",
                    );
                    default
                }
            },
        };
        let admin_socket = self.absolute(
            "listen.admin_socket",
            raw.admin_socket.as_ref(),
            "/run/node-agent/admin.sock",
        );
        Listen {
            port,
            admin,
            admin_socket,
        }
    }

    fn guard(&mut self, raw: &RawGuard, listen: u16) -> Guard {
        let mut ports = Vec::new();
        for port in &raw.ports {
            if port.value == 0 || port.value == listen {
                self.fault(
                    port.referenced,
                    "guard.ports",
                    format!("{} cannot be guarded", port.value),
                    "list the ports of databases, not 0 and not listen.port",
                );
            }
            if !ports.contains(&port.value) {
                ports.push(port.value);
            }
        }
        if ports.is_empty() {
            ports = vec![5432, 3306];
        }
        let egress = match raw.egress.as_ref() {
            Some(text) if text.value == "databases-only" => {
                Egress::DatabasesOnly(self.allowed(&raw.allow))
            }
            other => {
                if let Some(text) = other.filter(|text| text.value != "open") {
                    self.fault(
                        text.referenced,
                        "guard.egress",
                        format!("`{}` is not known", text.value),
                        "write open or databases-only",
                    );
                }
                if let Some(first) = raw.allow.first() {
                    self.fault(
                        first.referenced,
                        "guard.allow",
                        "allows nothing that is not open already",
                        "it belongs to egress: databases-only; leave it out",
                    );
                }
                Egress::Open
            }
        };
        let node_wide = self.word(
            "guard.node_wide",
            raw.node_wide.as_ref(),
            NodeWide::Off,
            &[("off", NodeWide::Off), ("on", NodeWide::On)],
        );
        let undeclared = self.word(
            "guard.undeclared",
            raw.undeclared.as_ref(),
            // Fail closed: what is not declared is neither decided on nor recorded.
            Undeclared::Refuse,
            &[
                ("refuse", Undeclared::Refuse),
                ("report", Undeclared::Report),
                ("ignore", Undeclared::Ignore),
            ],
        );
        let unix = self.unix(raw);
        let bounds = Duration::from_millis(100)..=Duration::from_secs(60);
        let canary_every = self
            .duration("guard.canary_every", raw.canary_every.as_ref())
            .unwrap_or(Duration::from_secs(10));
        if let (Some(text), false) = (&raw.canary_every, bounds.contains(&canary_every)) {
            self.fault(
                text.referenced,
                "guard.canary_every",
                format!("`{}` is out of bounds", text.value),
                "write 100ms to 60s",
            );
        }
        Guard {
            ports,
            egress,
            node_wide,
            undeclared,
            unix,
            canary_every,
        }
    }

    fn unix(&mut self, raw: &RawGuard) -> UnixSockets {
        let words = [("open", false), ("allow-only", true)];
        if !self.word("guard.unix", raw.unix.as_ref(), false, &words) {
            if let Some(first) = raw.unix_allow.first() {
                self.fault(
                    first.referenced,
                    "guard.unix_allow",
                    "allows nothing that is not open already",
                    "it belongs to unix: allow-only; leave it out",
                );
            }
            return UnixSockets::Open;
        }
        let mut names = Vec::new();
        for name in &raw.unix_allow {
            if !scalars::is_unix_socket(&name.value) {
                self.fault(
                    name.referenced,
                    "guard.unix_allow",
                    format!("`{}` cannot be the name of a unix socket", name.value),
                    "write an absolute path, or @ and an abstract name, of at most 107 bytes",
                );
            }
            names.push(name.value.clone());
        }
        UnixSockets::AllowOnly(names)
    }

    fn allowed(&mut self, raw: &[Spanned<String>]) -> Vec<Place> {
        let mut places = Vec::new();
        for text in raw {
            match text.value.parse::<Place>() {
                Ok(place) => places.push(place),
                Err(why) => {
                    let what = format!("`{}`: {why}", text.value);
                    self.fault(text.referenced, "guard.allow", what, "");
                }
            }
        }
        places
    }

    fn cgroup_root(&mut self, value: Option<&Spanned<String>>) -> CgroupRoot {
        match value {
            None => CgroupRoot::Auto,
            Some(text) if text.value == "auto" => CgroupRoot::Auto,
            Some(text) => {
                if !Path::new(&text.value).is_absolute() {
                    self.fault(
                        text.referenced,
                        "cgroup_root",
                        format!("`{}` is a relative path", text.value),
                        "write auto or the mount point, such as /sys/fs/cgroup",
                    );
                }
                CgroupRoot::Path(PathBuf::from(&text.value))
            }
        }
    }

    fn attach(&mut self, value: Option<&Spanned<PathBuf>>) -> Option<PathBuf> {
        let path = value?;
        let plain = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::RootDir);
        if path.value.as_os_str().is_empty() || !path.value.components().all(plain) {
            self.fault(
                path.referenced,
                "attach",
                format!("`{}` is no plain path", path.value.display()),
                "write a path below the cgroup2 root, such as agents, or one that begins with it",
            );
        }
        Some(path.value.clone())
    }

    fn size(&mut self, key: &'static str, text: Option<&Spanned<String>>) -> Option<u64> {
        let text = text?;
        let read = scalars::size(&text.value);
        if read.is_none() {
            self.fault(
                text.referenced,
                key,
                format!("`{}` is no size", text.value),
                "write a number and a unit, such as 20GiB or 500MB",
            );
        }
        read
    }

    fn recording(
        &mut self,
        raw: &RawRecording,
        state_dir: &Path,
        admin_socket: &Path,
    ) -> Recording {
        let encrypt_to = self.encrypt_to(&raw.encrypt_to);
        let max_bytes = self.size("recording.max_bytes", raw.max_bytes.as_ref());
        let workload_max_bytes = self.size(
            "recording.workload_max_bytes",
            raw.workload_max_bytes.as_ref(),
        );
        let dir = match raw.dir.as_ref() {
            None => state_dir.join("recordings"),
            Some(path) => {
                self.absolute_path("recording.dir", path);
                path.value.clone()
            }
        };
        let journal = match raw.journal.as_ref() {
            None => admin_socket.with_file_name("journal"),
            Some(path) => {
                self.absolute_path("recording.journal", path);
                path.value.clone()
            }
        };
        Recording {
            dir,
            journal,
            rows: self.word(
                "recording.rows",
                raw.rows.as_ref(),
                RowsMode::Masked,
                &[("masked", RowsMode::Masked), ("none", RowsMode::None)],
            ),
            retention: self.duration("recording.retention", raw.retention.as_ref()),
            max_bytes,
            workload_max_bytes,
            on_failure: self.word(
                "recording.on_failure",
                raw.on_failure.as_ref(),
                OnFailure::Refuse,
                &[
                    ("refuse", OnFailure::Refuse),
                    ("continue", OnFailure::Continue),
                ],
            ),
            archive: raw.archive.as_ref().map(|archive| self.archive(archive)),
            encrypt_to,
        }
    }

    fn encrypt_to(&mut self, raw: &[Spanned<String>]) -> Vec<SealTo> {
        const KEY: &str = "recording.encrypt_to";
        const MEND: &str = "write the public key that `node-agent sessions keygen` printed, or the \
                            absolute path of a file that has it";
        if let Some(more) = raw.get(MOST_RECIPIENTS) {
            self.fault(
                more.referenced,
                KEY,
                format!("there are more than {MOST_RECIPIENTS} recipients"),
                "leave some out: each costs the head of every recording a wrap",
            );
        }
        let mut all = Vec::new();
        for one in raw.iter().take(MOST_RECIPIENTS) {
            let seal_to = match one.value.parse::<Recipient>() {
                Ok(key) => SealTo::Key(key),
                // Never shown: it is a secret that went astray.
                Err(wrong @ NotARecipient::Private) => {
                    self.fault(
                        one.referenced,
                        KEY,
                        wrong.to_string(),
                        "take it away from here and from wherever this file was copied to, make a \
                         new pair with `node-agent sessions keygen`, and write its public key",
                    );
                    continue;
                }
                Err(NotARecipient::Other) if Path::new(&one.value).is_absolute() => {
                    SealTo::File(PathBuf::from(&one.value))
                }
                Err(wrong @ (NotARecipient::Other | NotARecipient::Damaged)) => {
                    self.fault(one.referenced, KEY, wrong.to_string(), MEND);
                    continue;
                }
            };
            if all.contains(&seal_to) {
                self.fault(
                    one.referenced,
                    KEY,
                    "this recipient is there already",
                    "leave one of them out",
                );
            }
            all.push(seal_to);
        }
        all
    }

    fn log(&mut self, raw: &RawLog) -> Log {
        Log {
            json: self.word(
                "log.format",
                raw.format.as_ref(),
                false,
                &[("text", false), ("json", true)],
            ),
            level: raw
                .level
                .as_ref()
                .map_or_else(|| "info".to_owned(), |l| l.value.clone()),
        }
    }

    fn tls(&mut self, raw: &RawTls) -> Tls {
        if let (Some(one), None) | (None, Some(one)) = (raw.ca_cert.as_ref(), raw.ca_key.as_ref()) {
            self.fault(
                one.referenced,
                "tls",
                "ca_cert and ca_key go together",
                "give both, or neither and one is made",
            );
        }
        Tls {
            ca_cert: raw.ca_cert.as_ref().map(|p| p.value.clone()),
            ca_key: raw.ca_key.as_ref().map(|p| p.value.clone()),
        }
    }
}
