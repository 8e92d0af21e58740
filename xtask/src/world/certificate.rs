//! A throw-away certificate for servers that the benchmark talks TLS with.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::Place;
use super::postgres::give;
use crate::run;

/// Files in PEM, owned by the user who runs the servers.
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    /// Made by the openssl program, which PostgreSQL's packages bring along.
    pub(crate) fn new(place: &Place, host: &str) -> Result<Self> {
        let certificate = place.path().join("server.pem");
        let key = place.path().join("server.key");
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ]);
        openssl.args(["-nodes", "-days", "2", "-subj", &format!("/CN={host}")]);
        openssl.args(["-addext", &format!("subjectAltName=DNS:{host}")]);
        openssl
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate);
        run::captured(&mut openssl).context("no certificate for TLS")?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        for file in [&certificate, &key] {
            give(file)?;
        }
        Ok(Self { certificate, key })
    }
}
