//! A throw-away world on loopback: a PostgreSQL cluster run by an unprivileged user, an OIDC issuer,
//! the agent, one labelled cgroup. Shared by the demonstration and the benchmark. Everything stops
//! and goes when the value is dropped, in the reverse of the order in which it came.

pub(crate) mod agent;
pub(crate) mod cgroup;
pub(crate) mod certificate;
pub(crate) mod issuer;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod stage;

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// The address that the database's name stands for: loopback, and nobody else's.
pub(crate) const DATABASE: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 10);
/// The database's own name.
pub(crate) const HOST: &str = "orders.db.internal";
/// The user who owns nothing, and who runs the servers.
pub(crate) const NOBODY: u32 = 65_534;

/// The directory that holds everything of one world.
pub(crate) struct Place {
    dir: Option<TempDir>,
    path: PathBuf,
}

impl Place {
    /// Others may pass through it: the servers run as somebody else. What is secret in it has its
    /// own mode.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix(&format!("node-agent-{name}-"))
            .tempdir_in("/tmp")
            .context("cannot make a directory under /tmp")?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let path = dir.path().to_path_buf();
        Ok(Self {
            dir: Some(dir),
            path,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// It stays after this process.
    pub(crate) fn keep(&mut self) {
        if let Some(dir) = self.dir.take() {
            let _ = dir.keep();
        }
    }

    /// A file in it, for root only.
    pub(crate) fn secret(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.write(name, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(path)
    }

    /// A file in it.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// A password that nobody has seen before.
pub(crate) fn password() -> Result<String> {
    let mut bytes = [0_u8; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A port of an address that is free now; `wish` when that one is.
pub(crate) fn free_port(address: Ipv4Addr, wish: u16) -> Result<u16> {
    let try_port = |port| TcpListener::bind(SocketAddr::from((address, port)));
    let listener = try_port(wish)
        .or_else(|_| try_port(0))
        .context("no port is free")?;
    Ok(listener.local_addr()?.port())
}

/// Whether something listens there.
pub(crate) fn answers(address: SocketAddr) -> bool {
    std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_millis(500)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_goes_when_dropped_and_stays_when_kept() {
        let mut place = Place::new("test").unwrap();
        let secret = place.secret("a/b", "x").unwrap();
        assert_eq!(
            fs::metadata(&secret).unwrap().permissions().mode() & 0o777,
            0o600
        );
        place.keep();
        let path = place.path().to_path_buf();
        drop(place);
        assert!(path.is_dir());
        fs::remove_dir_all(&path).unwrap();
        let place = Place::new("test").unwrap();
        let path = place.path().to_path_buf();
        drop(place);
        assert!(!path.exists());
    }

    #[test]
    fn a_taken_port_is_not_given() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_ne!(free_port(Ipv4Addr::LOCALHOST, port).unwrap(), port);
    }
}
