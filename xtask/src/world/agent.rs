//! The agent, as a node would run it.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::{Gid, Uid, chown};
use rustix::process::Signal;

use super::issuer::Issuer;
use super::postgres::Postgres;
use super::process::{Server, tied};
use super::{HOST, Place};
use crate::run;

/// The user that serves, when the configuration names none.
const WORKER: u32 = 65529;
/// The one workload of a world.
pub(crate) const WORKLOAD: &str = "claude";
/// What tokens are for.
pub(crate) const AUDIENCE: &str = "node-agent";

/// What differs between worlds.
pub(crate) struct Plan<'p> {
    /// Where the workload's token lies.
    pub(crate) token: &'p Path,
    /// The subtree that is governed.
    pub(crate) cgroup: &'p Path,
    /// The agent's own account at the database.
    pub(crate) account: &'p str,
    /// Empty: it has none.
    pub(crate) account_password: &'p str,
    /// Policy documents: files or directories.
    pub(crate) policies: &'p [PathBuf],
}

/// A configured agent; started and stopped at will.
pub(crate) struct Agent {
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    admin: SocketAddr,
    /// Where it mounts the file system that keeps its kernel programs.
    pins: PathBuf,
    bound: bool,
    kept: bool,
    server: Option<Server>,
}

impl Agent {
    /// Writes its files; does not start it. `bound`: it ends with this process.
    pub(crate) fn prepare(
        place: &Place,
        programs: &Path,
        postgres: &Postgres,
        issuer: &Issuer,
        plan: &Plan<'_>,
        bound: bool,
    ) -> Result<Self> {
        let admin = free(0)?;
        let listen = free(15001)?;
        let state = place.path().join("state");
        // A database that asks for no password gets none.
        let password = if plan.account_password.is_empty() {
            String::new()
        } else {
            let file = place.secret("account-password", plan.account_password)?;
            // The half that serves reads it, as the user that it is when nothing is said.
            let (user, group) = (Uid::from_raw(WORKER), Gid::from_raw(WORKER));
            chown(&file, Some(user), Some(group))?;
            format!(", password_file: {}", file.display())
        };
        let policies: Vec<String> = plan
            .policies
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let mut text = String::new();
        let socket = place.path().join("admin.sock");
        let _ = write!(
            text,
            "listen: {{ port: {}, admin: \"{admin}\", admin_socket: {} }}\n\
             state_dir: {}\n\
             attach: {}\n\
             guard: {{ ports: [{}], egress: open }}\n\
             identity:\n  \
               issuers:\n    \
                 - {{ url: \"{}\", audience: {AUDIENCE}, groups_claim: groups, allow_http_loopback: true }}\n\
             targets:\n  \
               - name: orders\n    \
                 protocol: postgres\n    \
                 hosts: [{HOST}]\n    \
                 port: {}\n    \
                 upstream: {{ tls: disable }}\n    \
                 credential: {{ username: {}{} }}\n\
             workloads:\n  \
               - name: {WORKLOAD}\n    \
                 cgroups: [\"agents/{WORKLOAD}*\"]\n    \
                 token: [ {{ file: {} }} ]\n\
             policies: [ {} ]\n\
             recording: {{ rows: masked, on_failure: refuse }}\n\
             approvals:\n  \
               local: [ {{ uid: {}, name: dana, groups: [dba] }} ]\n",
            listen.port(),
            socket.display(),
            state.display(),
            plan.cgroup.display(),
            postgres.port(),
            issuer.url(),
            postgres.port(),
            plan.account,
            password,
            plan.token.display(),
            policies.join(", "),
            rustix::process::getuid().as_raw(),
        );
        Ok(Self {
            program: programs.join("node-agent"),
            config: place.write("config.yaml", &text)?,
            log: place.path().join("agent.log"),
            admin,
            pins: state.join("bpf"),
            bound,
            kept: false,
            server: None,
        })
    }

    /// Starts it and waits until it says that it is ready.
    pub(crate) fn start(&mut self) -> Result<()> {
        let mut command = if self.bound {
            tied(&self.program)
        } else {
            Command::new(&self.program)
        };
        command.args(["run", "--config"]).arg(&self.config);
        let mut server = Server::start("node-agent", &mut command, &self.log, Signal::TERM)?;
        let admin = self.admin;
        server.wait_ready(Duration::from_secs(30), || {
            get(admin, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
        })?;
        self.server = Some(server);
        Ok(())
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.server
            .as_mut()
            .context("the agent does not run")?
            .kill()?;
        self.server = None;
        Ok(())
    }

    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    pub(crate) fn id(&self) -> u32 {
        self.server.as_ref().map_or(0, Server::id)
    }

    pub(crate) fn keep(&mut self) {
        self.kept = true;
        if let Some(server) = &mut self.server {
            server.keep();
        }
    }
}

/// The kernel programs outlive the agent on purpose; a throw-away world takes them along.
impl Drop for Agent {
    fn drop(&mut self) {
        self.server = None;
        if self.kept || !self.pins.exists() {
            return;
        }
        if run::succeeds(Command::new("mountpoint").arg("-q").arg(&self.pins))
            && !run::succeeds(Command::new("umount").arg(&self.pins))
        {
            eprintln!("xtask: {} could not be unmounted", self.pins.display());
        }
    }
}

fn free(wish: u16) -> Result<SocketAddr> {
    let port = super::free_port(Ipv4Addr::LOCALHOST, wish)?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// What an HTTP server answers to one plain request.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<String> {
    let limit = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
