//! Throw-away PostgreSQL clusters, 15 and 18, run by an unprivileged user on a loopback address of
//! their own. `initdb` runs once per version; every cluster is a copy of what it made.

mod template;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use crate::ca::TestCa;
use crate::parts;
use crate::program::{Program, pid, tail, until};

/// The role that the agent logs in with; a superuser, so that policy alone decides.
pub const SERVICE: &str = "svc";
/// The password of every role that has one. Tests look for it where it must not be.
pub const PASSWORD: &str = "correct-horse-marker-1f9a";
/// The database that tests use.
pub const DATABASE: &str = "app";
/// The port of every cluster: each has an address of its own.
pub const PORT: u16 = 5432;
/// The name in every cluster's certificate, beside its address.
pub const NAME: &str = "db.test";

/// A major version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// The distribution's.
    V15,
    /// The newest.
    V18,
}

impl Version {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V15, Self::V18];

    /// `pg15`, `pg18`.
    pub fn name(self) -> &'static str {
        match self {
            Self::V15 => "pg15",
            Self::V18 => "pg18",
        }
    }

    /// Where its `bin`, and perhaps `lib`, are.
    fn home(self) -> Result<PathBuf> {
        match self {
            Self::V15 => {
                let home = PathBuf::from("/usr/lib/postgresql/15");
                if !home.join("bin/postgres").is_file() {
                    bail!("PostgreSQL 15 is not installed: `cargo xtask test` installs it");
                }
                Ok(home)
            }
            Self::V18 => {
                parts::part("pg18/bin/postgres")?;
                Ok(parts::test_parts().join("pg18"))
            }
        }
    }
}

/// A running cluster; it is stopped at once and removed when dropped.
pub struct Cluster {
    version: Version,
    address: Ipv4Addr,
    place: TempDir,
    server: Child,
}

/// A cluster that has been started and may not be ready.
pub struct Starting(Cluster);

impl Cluster {
    /// Starts one with the usual settings.
    pub fn start(version: Version) -> Result<Self> {
        Self::begin(version, "")?.ready()
    }

    /// Starts one of each, side by side.
    pub fn start_all(versions: &[Version]) -> Result<Vec<Self>> {
        let starting: Vec<Starting> = versions
            .iter()
            .map(|version| Self::begin(*version, ""))
            .collect::<Result<_>>()?;
        starting.into_iter().map(Starting::ready).collect()
    }

    /// Begins to start one, with more lines for postgresql.conf.
    pub fn begin(version: Version, settings: &str) -> Result<Starting> {
        let place = tempfile::Builder::new()
            .prefix("node-agent-pg-")
            .tempdir()?;
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755))?;
        let home = reachable(&version.home()?, place.path())?;
        let data = place.path().join("data");
        template::copy(version, &home, &data)?;
        let sockets = place.path().join("sockets");
        fs::create_dir(&sockets)?;
        let address = own_address()?;
        let ca = TestCa::new()?;
        ca.write(place.path())?;
        let leaf = ca.leaf(&[NAME, "localhost", &address.to_string()])?;
        fs::write(data.join("server.crt"), leaf.certificate)?;
        fs::write(data.join("server.key"), leaf.key)?;
        fs::set_permissions(data.join("server.key"), fs::Permissions::from_mode(0o600))?;
        let conf = format!(
            "listen_addresses = '{address}'\nport = {PORT}\n\
             unix_socket_directories = '{}'\n\
             ssl = on\nssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\n{settings}\n",
            sockets.display()
        );
        fs::write(data.join("cluster.conf"), conf)?;
        for owned in [&sockets, &data.join("server.crt"), &data.join("server.key")] {
            give(owned)?;
        }
        fs::set_permissions(&sockets, fs::Permissions::from_mode(0o700))?;
        let log = fs::File::create(place.path().join("log"))?;
        let server = as_owner(&home, "postgres", "QUIT")
            .arg("-D")
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start PostgreSQL")?;
        Ok(Starting(Self {
            version,
            address,
            place,
            server,
        }))
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.address), PORT)
    }

    /// The authority of its certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.place.path().join("ca.pem")
    }

    /// The directory of its unix socket: where tests look behind the agent's back.
    pub fn sockets(&self) -> PathBuf {
        self.place.path().join("sockets")
    }

    /// Its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.place.path().join("log")).unwrap_or_default()
    }

    /// Runs statements as its owner over the unix socket, and gives unaligned rows.
    pub fn sql(&self, database: &str, statements: &str) -> Result<String> {
        let rows = Program::new(parts::on_path("psql")?)
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "postgres",
            ])
            .arg("-h")
            .arg(self.sockets())
            .args(["-d", database, "-c", statements])
            .output()?;
        Ok(rows.trim_end().to_owned())
    }

    /// Makes a database of this name, empty, owned by the service role.
    pub fn create_database(&self, name: &str) -> Result<()> {
        self.sql(
            "postgres",
            &format!("CREATE DATABASE {name} OWNER {SERVICE}"),
        )
        .map(drop)
    }

    /// Stops it at once, as a crash does.
    pub fn kill(&mut self) {
        if let Ok(id) = pid(self.server.id()) {
            let _ = kill_process(id, Signal::QUIT);
        }
        let _ = self.server.wait();
    }
}

impl Starting {
    /// Waits until it takes statements.
    pub fn ready(mut self) -> Result<Cluster> {
        let log = self.0.place.path().join("log");
        let cluster = &mut self.0;
        let socket = cluster.sockets().join(format!(".s.PGSQL.{PORT}"));
        let begun = until("PostgreSQL starts", Duration::from_secs(60), || {
            if let Some(status) = cluster.server.try_wait()? {
                bail!("PostgreSQL ended with {status}:\n{}", tail(&log));
            }
            let text = fs::read_to_string(&log).unwrap_or_default();
            Ok((socket.exists() && text.contains("ready to accept connections")).then_some(()))
        });
        begun.with_context(|| tail(&log))?;
        Ok(self.0)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A command of a cluster's programs, run by its owner, which ends with us.
fn as_owner(home: &Path, program: &str, signal: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal]);
    if rustix::process::geteuid().is_root() {
        let nobody = NOBODY.to_string();
        command.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]);
    }
    command.arg("--").arg(home.join("bin").join(program));
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LC_ALL", "C")
        .env("TZ", "UTC");
    if home.join("lib").is_dir() && !home.starts_with("/usr") {
        command.env("LD_LIBRARY_PATH", home.join("lib"));
    }
    command.current_dir("/");
    command
}

/// The user who owns nothing.
const NOBODY: u32 = 65534;

/// Makes the servers' user the owner, when we are somebody else.
fn give(path: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY))
        .with_context(|| format!("cannot give {} away", path.display()))
}

/// The programs where the servers' user can reach them: itself, or a copy when a directory above is
/// private, as root's home is.
fn reachable(home: &Path, place: &Path) -> Result<PathBuf> {
    let open =
        |dir: &Path| fs::metadata(dir).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0);
    if !rustix::process::geteuid().is_root() || home.ancestors().all(open) {
        return Ok(home.to_path_buf());
    }
    let copy = place.join("programs");
    Program::new("cp")
        .args(["-a", "--"])
        .arg(home)
        .arg(&copy)
        .output()?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    Ok(copy)
}

/// A loopback address that nobody else uses, so that every cluster can have the usual port.
pub(crate) fn own_address() -> Result<Ipv4Addr> {
    for _ in 0..64 {
        let mut random = [0; 3];
        aws_lc_rs::rand::fill(&mut random)
            .ok()
            .context("no randomness")?;
        let [a, b, c] = random;
        let address = Ipv4Addr::new(127, 64 | (a & 0x3f), b, c.clamp(1, 254));
        if TcpListener::bind((address, PORT)).is_ok() {
            return Ok(address);
        }
    }
    bail!("no loopback address has port {PORT} free")
}

#[cfg(test)]
mod tests;
