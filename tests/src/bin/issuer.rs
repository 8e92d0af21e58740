//! A small OIDC issuer for demonstrations and tests.
//!
//! `issuer --listen 127.0.0.1:PORT --state DIR [--tls]` serves and prints one line when ready;
//! `issuer token --state DIR --sub S …` prints a token signed with the keys in DIR.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program's words"
)]

use std::collections::BTreeMap;
use std::env;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use node_agent_tests::ca::TestCa;
use node_agent_tests::idp::{Alg, Claims, Idp, KeySet};

const USAGE: &str = "\
usage: issuer --listen 127.0.0.1:PORT --state DIR [--tls]
       issuer token --state DIR --sub SUBJECT [--groups a,b] [--ttl SECONDS]
                    [--issuer URL] [--audience node-agent] [--alg RS256|ES256|EdDSA]
A negative --ttl makes a token that is already stale.";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("issuer: {error:#}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<()> {
    let mut words = env::args().skip(1).peekable();
    let token = words.next_if(|word| word == "token").is_some();
    let options = Options::read(words)?;
    if token {
        print_token(&options)
    } else {
        serve(&options)
    }
}

fn serve(options: &Options) -> Result<()> {
    let listen: SocketAddr = options.need("listen")?.parse().context("--listen")?;
    if !listen.ip().is_loopback() {
        bail!("--listen {listen}: this issuer gives tokens to anybody; it stays on loopback");
    }
    let state = PathBuf::from(options.need("state")?);
    let ca = options
        .0
        .contains_key("tls")
        .then(TestCa::new)
        .transpose()?;
    let idp = Idp::start_at(listen, &state, ca.as_ref())?;
    println!("issuer ready at {}", idp.url());
    idp.serve_for_ever()
}

fn print_token(options: &Options) -> Result<()> {
    let state = PathBuf::from(options.need("state")?);
    let keys = KeySet::read(&state)?;
    let issuer = match options.0.get("issuer") {
        Some(issuer) => issuer.clone(),
        None => std::fs::read_to_string(state.join("issuer")).context("--issuer is needed")?,
    };
    let groups = options
        .0
        .get("groups")
        .map(String::as_str)
        .unwrap_or_default();
    let groups: Vec<&str> = groups
        .split(',')
        .filter(|group| !group.is_empty())
        .collect();
    let ttl = options
        .0
        .get("ttl")
        .map_or(Ok(300), |ttl| ttl.parse())
        .context("--ttl")?;
    let mut claims = Claims::new(&issuer, options.need("sub")?, &groups, ttl);
    if let Some(audience) = options.0.get("audience") {
        claims = claims.with("aud", audience.as_str());
    }
    let alg: Alg = options
        .0
        .get("alg")
        .map_or("RS256", String::as_str)
        .parse()?;
    println!("{}", keys.sign(alg, &claims)?);
    Ok(())
}

/// `--name value` or `--name=value`.
struct Options(BTreeMap<String, String>);

impl Options {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self> {
        const KNOWN: [&str; 8] = [
            "listen", "state", "sub", "groups", "ttl", "issuer", "audience", "alg",
        ];
        let mut found = BTreeMap::new();
        while let Some(word) = words.next() {
            let name = word
                .strip_prefix("--")
                .with_context(|| format!("{word}: not an option"))?;
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None if name == "tls" => (name, String::new()),
                None => (
                    name,
                    words
                        .next()
                        .with_context(|| format!("{word} needs a value"))?,
                ),
            };
            if name != "tls" && !KNOWN.contains(&name) {
                bail!("--{name}: no such option");
            }
            found.insert(name.to_owned(), value);
        }
        Ok(Self(found))
    }

    fn need(&self, name: &str) -> Result<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .with_context(|| format!("--{name} is needed"))
    }
}
