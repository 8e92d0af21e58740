//! A small OIDC issuer: discovery and JWKS over HTTP on loopback, keys of three algorithms, tokens as
//! told, and faults by switch. It is no model for a real one.

mod keys;
mod serve;
mod signin;
mod token;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::ca::TestCa;

pub use keys::{Alg, KeySet};
pub use signin::Person;
pub use token::Claims;

use serve::Shared;

/// What the issuer's endpoints do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// They answer as they should.
    #[default]
    None,
    /// Connections are closed before a byte is said.
    Down,
    /// The answer is no JSON.
    Rubbish,
    /// The key set is empty.
    NoKeys,
    /// The key set is far too large.
    Huge,
    /// The answer comes after this long.
    Slow(Duration),
    /// Discovery names another issuer.
    OtherIssuer,
}

/// A running issuer; it stops when dropped.
pub struct Idp {
    url: String,
    shared: Arc<Shared>,
    state: PathBuf,
    ca_file: Option<PathBuf>,
    _own: Option<TempDir>,
}

impl Idp {
    /// Starts one on a free loopback port, over plain HTTP, with keys of its own.
    pub fn start() -> Result<Self> {
        let own = tempfile::tempdir()?;
        let mut idp = Self::start_at(free(), own.path(), None)?;
        idp._own = Some(own);
        Ok(idp)
    }

    /// The same over HTTPS, with a certificate for 127.0.0.1 and `localhost` from a CA of its own.
    pub fn start_tls() -> Result<Self> {
        let own = tempfile::tempdir()?;
        let ca = TestCa::new()?;
        let mut idp = Self::start_at(free(), own.path(), Some(&ca))?;
        idp._own = Some(own);
        Ok(idp)
    }

    /// Serves on `listen`, with the keys and the URL kept in `state`.
    pub fn start_at(listen: SocketAddr, state: &Path, ca: Option<&TestCa>) -> Result<Self> {
        let keys = KeySet::kept_in(state)?;
        let listener =
            TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
        let address = listener.local_addr()?;
        let scheme = if ca.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{address}");
        std::fs::write(state.join("issuer"), &url)?;
        let mut ca_file = None;
        let tls = match ca {
            Some(ca) => {
                ca_file = Some(ca.write(state)?);
                Some(serve::tls(&ca.leaf(&["127.0.0.1", "localhost"])?)?)
            }
            None => None,
        };
        let shared = Arc::new(Shared::new(url.clone(), keys, address));
        serve::start(listener, Arc::clone(&shared), tls);
        Ok(Self {
            url,
            shared,
            state: state.to_path_buf(),
            ca_file,
            _own: None,
        })
    }

    /// The issuer's name, and where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its keys are.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The authority of its certificate, when it speaks HTTPS.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// A token for the audience `node-agent`, RS256, which ends `ttl` seconds from now.
    pub fn token(&self, subject: &str, groups: &[&str], ttl: i64) -> String {
        self.sign(Alg::RS256, &Claims::new(&self.url, subject, groups, ttl))
    }

    /// Any token.
    pub fn sign(&self, alg: Alg, claims: &Claims) -> String {
        self.shared
            .keys()
            .sign(alg, claims)
            .expect("signing with our own key works")
    }

    /// Claims to change before signing.
    pub fn claims(&self, subject: &str, groups: &[&str], ttl: i64) -> Claims {
        Claims::new(&self.url, subject, groups, ttl)
    }

    /// Who signs in from now on, at its own pages, without being asked anything.
    pub fn sit_down(&self, person: Person) {
        self.shared.desk().person = person;
    }

    /// From now on its ID tokens are changed so before they are signed.
    pub fn forge(&self, change: fn(Claims) -> Claims) {
        self.shared.desk().change = Some(change);
    }

    /// The client's secret from now on; without one clients are public.
    pub fn client_secret(&self, secret: &str) {
        self.shared.desk().secret = Some(secret.to_owned());
    }

    /// From now on its endpoints do this.
    pub fn fail(&self, fault: Fault) {
        self.shared.fail(fault);
    }

    /// Replaces all keys; tokens signed before no longer verify against what it serves.
    pub fn rotate(&self) -> Result<()> {
        self.shared.replace(KeySet::fresh()?);
        Ok(())
    }

    /// How often the key set was asked for.
    pub fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::SeqCst)
    }

    /// How often discovery was asked for.
    pub fn discoveries(&self) -> usize {
        self.shared.discoveries.load(Ordering::SeqCst)
    }

    /// Waits for ever: for the program.
    pub fn serve_for_ever(self) -> ! {
        loop {
            std::thread::park();
        }
    }
}

impl Drop for Idp {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

/// Any free loopback port.
fn free() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

#[cfg(test)]
mod tests;
