//! A PostgreSQL cluster from the distribution's programs, run by an unprivileged user.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::{Gid, Uid, chown};
use rustix::process::Signal;

use super::certificate::Certificate;
use super::process::{Server, as_nobody};
use super::{DATABASE, NOBODY, Place};
use crate::install::postgres_bin;
use crate::run;

/// How clients prove who they are to this cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doors {
    /// By password (SCRAM).
    Password,
    /// Not at all: measures what lies between, not the proof.
    Open,
}

/// A running cluster.
pub(crate) struct Postgres {
    server: Server,
    bin: PathBuf,
    port: u16,
    password: String,
}

impl Postgres {
    /// Makes and starts it. `tied`: it ends with this process.
    pub(crate) fn start(
        place: &Place,
        doors: Doors,
        certificate: Option<&Certificate>,
        settings: &str,
        tied: bool,
    ) -> Result<Self> {
        let bin = postgres_bin().context("no PostgreSQL server under /usr/lib/postgresql")?;
        let port = super::free_port(DATABASE, 5432)?;
        let password = super::password()?;
        let data = place.path().join("postgres");
        fs::create_dir(&data)?;
        give(&data)?;
        let secret = place.secret("postgres-password", &password)?;
        give(&secret)?;
        let proof = match doors {
            Doors::Password => "scram-sha-256",
            Doors::Open => "trust",
        };
        let mut initdb = as_nobody(bin.join("initdb"), true);
        initdb
            .arg("--pgdata")
            .arg(data.join("data"))
            .args(["--username", "postgres"]);
        initdb.args(["--encoding", "UTF8", "--locale", "C", "--no-sync", "--auth"]);
        initdb.arg(proof);
        run::quiet("initdb", initdb.arg("--pwfile").arg(&secret))?;
        fs::remove_file(&secret)?;
        let hba = format!("local all all {proof}\nhost all all 127.0.0.0/8 {proof}\n");
        fs::write(data.join("data/pg_hba.conf"), hba)?;
        let conf = configuration(port, &data, certificate, settings);
        fs::write(data.join("data/node-agent.conf"), conf)?;
        let main = data.join("data/postgresql.conf");
        let text = fs::read_to_string(&main)? + "\ninclude 'node-agent.conf'\n";
        fs::write(&main, text)?;
        let mut command = as_nobody(bin.join("postgres"), tied);
        command.arg("-D").arg(data.join("data"));
        let log = place.path().join("postgres.log");
        // SIGINT: sessions are ended, and nothing needs to be recovered.
        let mut server = Server::start("PostgreSQL", &mut command, &log, Signal::INT)?;
        let ready = || {
            run::succeeds(
                Command::new(bin.join("pg_isready"))
                    .args(["-q", "-h"])
                    .arg(DATABASE.to_string())
                    .args(["-p", &port.to_string()]),
            )
        };
        server.wait_ready(Duration::from_secs(60), ready)?;
        Ok(Self {
            server,
            bin,
            port,
            password,
        })
    }

    /// A program that came with the server, for instance `psql`.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// Where those programs are.
    pub(crate) fn bin(&self) -> PathBuf {
        self.bin.clone()
    }

    /// The owner's password.
    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((DATABASE, self.port))
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Runs statements as the cluster's owner and gives what psql prints.
    pub(crate) fn run(&self, database: &str, statements: &str) -> Result<String> {
        let mut psql = Command::new(self.program("psql"));
        clean(&mut psql);
        psql.env("PGPASSWORD", &self.password);
        psql.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
        ]);
        psql.args([
            "-h",
            &DATABASE.to_string(),
            "-p",
            &self.port.to_string(),
            "-d",
            database,
        ]);
        run::captured(psql.arg("-c").arg(statements))
    }

    pub(crate) fn server(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// Settings of the caller that would lead a client elsewhere.
pub(crate) fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    // No start-up file, history or saved password of the caller's.
    command
        .env("PGPASSFILE", "/nonexistent")
        .env("PSQL_HISTORY", "/dev/null")
        .env("PAGER", "cat");
}

fn configuration(
    port: u16,
    sockets: &Path,
    certificate: Option<&Certificate>,
    settings: &str,
) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "listen_addresses = '{DATABASE}'");
    let _ = writeln!(text, "port = {port}");
    let _ = writeln!(text, "unix_socket_directories = '{}'", sockets.display());
    text.push_str("fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n");
    text.push_str("max_connections = 300\nshared_buffers = 256MB\n");
    if let Some(certificate) = certificate {
        let _ = writeln!(text, "ssl = on");
        let _ = writeln!(
            text,
            "ssl_cert_file = '{}'",
            certificate.certificate.display()
        );
        let _ = writeln!(text, "ssl_key_file = '{}'", certificate.key.display());
    }
    text.push_str(settings);
    text
}

/// Makes the user who runs the servers the owner.
pub(crate) fn give(path: impl AsRef<OsStr>) -> Result<()> {
    let path = Path::new(path.as_ref());
    chown(
        path,
        Some(Uid::from_raw(NOBODY)),
        Some(Gid::from_raw(NOBODY)),
    )
    .with_context(|| format!("cannot give {} away", path.display()))
}
