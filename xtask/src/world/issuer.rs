//! The small OIDC issuer, and the tokens it signs.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;

use super::Place;
use super::process::{Server, tied};
use crate::{ground, run};

/// A running issuer.
pub(crate) struct Issuer {
    server: Server,
    program: PathBuf,
    state: PathBuf,
    address: SocketAddr,
}

impl Issuer {
    pub(crate) fn start(place: &Place, programs: &Path, bound: bool) -> Result<Self> {
        let program = programs.join("issuer");
        let address = SocketAddr::from((
            Ipv4Addr::LOCALHOST,
            super::free_port(Ipv4Addr::LOCALHOST, 0)?,
        ));
        let state = place.path().join("issuer");
        let mut command = if bound {
            tied(&program)
        } else {
            Command::new(&program)
        };
        command
            .args(["--listen", &address.to_string(), "--state"])
            .arg(&state);
        let log = place.path().join("issuer.log");
        let mut server = Server::start("the issuer", &mut command, &log, Signal::TERM)?;
        server.wait_ready(Duration::from_secs(20), || super::answers(address))?;
        Ok(Self {
            server,
            program,
            state,
            address,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A signed token. A negative `seconds` makes one that is already stale.
    pub(crate) fn token(&self, subject: &str, groups: &str, seconds: i64) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(["token", "--state"]).arg(&self.state);
        command.args(["--sub", subject, "--groups", groups]);
        command.arg(format!("--ttl={seconds}"));
        Ok(run::captured(&mut command)?.trim().to_owned())
    }

    pub(crate) fn server(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// The directory of the built programs.
pub(crate) fn programs(profile: &str) -> PathBuf {
    ground::target().join(profile)
}
