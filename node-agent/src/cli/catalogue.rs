//! `catalogue dump`: what a database holds, for policies to be checked against.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Subcommand;
use tokio::net::lookup_host;
use tokio::time::timeout;

use node_agent::config::{Config, Credential, PasswordSource, Target, UpstreamTlsMode};
use node_agent::model::{Dialect, Secret, UpstreamAddr};
use node_agent::policy::Inventory;
use node_agent::tls::{UpstreamConnector, UpstreamTls};
use node_agent::upstream::{CatalogueError, Endpoint, inventory};
use node_agent::wire::BackLogin;
use node_agent::wire::pg::Pg;

use super::{Answer, WithConfig, out, outside};

/// How long reading one database may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The largest file that is read, bytes.
const LARGEST: u64 = 256 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum CatalogueCommand {
    /// Write the relations, columns and functions of a database as JSON
    ///
    /// Nothing of the rows is read. `policy check --catalogue` and `policy explain --catalogue`
    /// take the file. A password for --url is better in PGPASSWORD than in the URL, where other
    /// processes can see it.
    #[command(
        after_help = "Examples:\n  node-agent catalogue dump --target orders --database app > app.json\n  \
                      node-agent catalogue dump --url \
                      'postgres://me@db.internal/app?sslmode=verify-full&sslrootcert=ca.pem' > app.json"
    )]
    Dump(Dump),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Dump {
    /// A target of the configuration, read with its credential
    #[arg(long, required_unless_present = "url", requires = "database")]
    target: Option<String>,
    /// The database in it
    #[arg(long, conflicts_with = "url")]
    database: Option<String>,
    /// With the credential of members of this group
    #[arg(long, conflicts_with = "url")]
    group: Option<String>,
    /// A database: postgres://USER@HOST:PORT/DATABASE?sslmode=disable|require|verify-full
    #[arg(long, conflicts_with = "target")]
    url: Option<String>,
    #[command(flatten)]
    with: WithConfig,
}

impl CatalogueCommand {
    pub(crate) fn run(self) -> anyhow::Result<Answer> {
        let CatalogueCommand::Dump(dump) = self;
        let inventory = match (&dump.url, &dump.target, &dump.database) {
            (Some(url), _, _) => by_url(url)?,
            (None, Some(target), Some(database)) => {
                let config = dump.with.load()?;
                of_target(&config, target, database, dump.group.as_deref())?
            }
            (None, _, _) => bail!("give --target and --database, or --url"),
        };
        out::json(&inventory)?;
        Ok(Answer::Good)
    }
}

/// Reads an inventory: a file, or a database by its URL.
pub(super) fn open(place: &str) -> anyhow::Result<Inventory> {
    if is_url(place) {
        return by_url(place);
    }
    let path = PathBuf::from(place);
    let size = std::fs::metadata(&path)
        .with_context(|| place.to_owned())?
        .len();
    if size > LARGEST {
        bail!("{place}: larger than {LARGEST} bytes");
    }
    let text = std::fs::read_to_string(&path).with_context(|| place.to_owned())?;
    Inventory::read(&text).with_context(|| place.to_owned())
}

fn is_url(place: &str) -> bool {
    ["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| place.starts_with(scheme))
}

fn of_target(
    config: &Config,
    name: &str,
    database: &str,
    group: Option<&str>,
) -> anyhow::Result<Inventory> {
    let door = Door::of_target(config, name, database, group)?;
    run(async {
        let target = Some(name.to_owned());
        let read = async |at: &Endpoint, login| inventory::<Pg>(at, login, target.clone()).await;
        door.open(read).await
    })
}

/// Where a database is, and as whom it is opened.
pub(super) struct Door<'a> {
    at: At<'a>,
    tls: Option<Arc<UpstreamConnector>>,
    server_name: Option<String>,
    login: BackLogin,
}

enum At<'a> {
    Target(&'a Target),
    Host(String, u16),
}

impl<'a> Door<'a> {
    /// A database of a target, by the target's own credential.
    pub(super) fn of_target(
        config: &'a Config,
        name: &str,
        database: &str,
        group: Option<&str>,
    ) -> anyhow::Result<Self> {
        let target = outside::named(config, name)?;
        match target.dialect {
            Dialect::Postgres => {}
            Dialect::Mysql => bail!("target {name} is MySQL; only PostgreSQL can be read so far"),
        }
        let groups: Vec<String> = group.map(str::to_owned).into_iter().collect();
        let credential = target.credentials.of(&groups);
        let mode = match target.upstream.tls {
            UpstreamTlsMode::Disable => UpstreamTls::Disable,
            UpstreamTlsMode::Require => UpstreamTls::Require,
            UpstreamTlsMode::VerifyFull => UpstreamTls::VerifyFull,
        };
        let tls = UpstreamConnector::new(mode, target.upstream.ca_file.as_deref())?.map(Arc::new);
        let upstream = &target.upstream;
        let named = upstream.server_name.clone();
        let named = named.or_else(|| upstream.address.as_ref().map(|at| at.host.clone()));
        let named = named.or_else(|| target.hosts.first().cloned());
        let login = BackLogin {
            user: credential.username.clone(),
            password: password(credential)?,
            database: database.to_owned(),
            settings: Vec::new(),
            tls: tls.is_some(),
            proven: tls.as_ref().is_some_and(|tls| tls.verified()),
        };
        Ok(Door {
            at: At::Target(target),
            tls,
            server_name: named,
            login,
        })
    }

    /// What the first address says that answers.
    pub(super) async fn open<T>(
        &self,
        ask: impl AsyncFn(&Endpoint, BackLogin) -> Result<T, CatalogueError>,
    ) -> anyhow::Result<T> {
        let addresses = match &self.at {
            At::Target(target) => outside::addresses(target).await?,
            At::Host(host, port) => {
                let found = lookup_host((host.as_str(), *port)).await;
                found
                    .with_context(|| format!("{host} has no address here"))?
                    .collect()
            }
        };
        let mut last = anyhow::anyhow!("there is no address to dial");
        for address in addresses {
            let named = self.server_name.clone();
            let endpoint = Endpoint {
                address: UpstreamAddr(address),
                tls: self.tls.clone(),
                server_name: named.unwrap_or_else(|| address.ip().to_string()),
            };
            match ask(&endpoint, self.login.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }
}

fn password(credential: &Credential) -> anyhow::Result<Option<Secret<String>>> {
    match &credential.password {
        PasswordSource::None => Ok(None),
        PasswordSource::File(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("password_file {}", path.display()))?;
            Ok(Some(Secret::new(
                text.trim_end_matches(['\r', '\n']).to_owned(),
            )))
        }
        PasswordSource::Env(name) => {
            let text = std::env::var(name).with_context(|| format!("password_env {name}"))?;
            Ok(Some(Secret::new(text)))
        }
    }
}

/// A database by its URL.
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) login: BackLogin,
    pub(super) mode: UpstreamTls,
    pub(super) ca_file: Option<PathBuf>,
}

fn by_url(text: &str) -> anyhow::Result<Inventory> {
    let place = parse(text)?;
    let tls = UpstreamConnector::new(place.mode, place.ca_file.as_deref())?.map(Arc::new);
    let mut login = place.login;
    if login.password.is_none() {
        login.password = std::env::var("PGPASSWORD").ok().map(Secret::new);
    }
    login.tls = tls.is_some();
    login.proven = tls.as_ref().is_some_and(|tls| tls.verified());
    let door = Door {
        at: At::Host(place.host.clone(), place.port),
        tls,
        server_name: Some(place.host),
        login,
    };
    run(door.open(async |at: &Endpoint, login| inventory::<Pg>(at, login, None).await))
}

/// Reads a URL. What is not understood is an error: a setting that is passed over could have been
/// meant to protect.
pub(super) fn parse(text: &str) -> anyhow::Result<Place> {
    let url = reqwest::Url::parse(text).context("not a postgres:// URL")?;
    let host = url.host_str().filter(|host| !host.is_empty());
    let host = host.context("the URL names no host")?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let user = plain(url.username())?;
    if user.is_empty() {
        bail!("the URL names no user");
    }
    let database = plain(url.path().trim_start_matches('/'))?;
    // What works everywhere and is silently unsafe is no default.
    let (mut mode, mut ca_file) = (UpstreamTls::VerifyFull, None);
    for (key, value) in url.query_pairs() {
        match (&*key, &*value) {
            ("sslmode", "disable") => mode = UpstreamTls::Disable,
            ("sslmode", "require") => mode = UpstreamTls::Require,
            ("sslmode", "verify-full") => mode = UpstreamTls::VerifyFull,
            ("sslmode", other) => {
                bail!("sslmode {other:?} is none of disable, require and verify-full")
            }
            ("sslrootcert", path) => ca_file = Some(PathBuf::from(path)),
            ("application_name" | "connect_timeout", _) => {}
            (other, _) => bail!("{other:?} in the URL is not understood"),
        }
    }
    Ok(Place {
        host,
        port: url.port().unwrap_or(5432),
        login: BackLogin {
            database: if database.is_empty() {
                user.clone()
            } else {
                database
            },
            user,
            password: url.password().map(plain).transpose()?.map(Secret::new),
            settings: Vec::new(),
            tls: false,
            proven: false,
        },
        mode,
        ca_file,
    })
}

/// A part of a URL without its `%xx`.
fn plain(text: &str) -> anyhow::Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(byte.context("a broken %xx in the URL")?);
        rest = tail.get(2..).unwrap_or_default();
    }
    String::from_utf8(bytes).context("the URL is not UTF-8")
}

/// Waits for an answer, and not for ever.
pub(super) fn run<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        timeout(PATIENCE, work)
            .await
            .with_context(|| format!("the database was not read within {} s", PATIENCE.as_secs()))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_as_whom() {
        let place = parse("postgres://me%40x:p%2Fw@[::1]:5433/my%20app?sslmode=disable").unwrap();
        assert_eq!((place.host.as_str(), place.port), ("::1", 5433));
        assert_eq!(place.login.user, "me@x");
        assert_eq!(place.login.password.unwrap().expose(), "p/w");
        assert_eq!(place.login.database, "my app");
        assert_eq!(place.mode, UpstreamTls::Disable);
        let place = parse("postgresql://me@db?sslrootcert=/ca.pem").unwrap();
        assert_eq!((place.port, place.login.database.as_str()), (5432, "me"));
        // Nothing said is the safe way.
        assert_eq!(place.mode, UpstreamTls::VerifyFull);
        assert_eq!(place.ca_file, Some(PathBuf::from("/ca.pem")));
        for bad in [
            "postgres://db/app",
            "postgres:///app",
            "postgres://me@db/app?sslmode=prefer",
            "postgres://me@db/app?options=-c%20x",
            "postgres://me@db/a%zz",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
