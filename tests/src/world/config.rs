//! The agent's configuration for a world: the one place that knows its shape.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::Result;

use super::{Builder, WORKLOAD, World};
use crate::parts;
use crate::pg;

/// What was written, and what a test needs to know of it.
pub(super) struct Written {
    pub(super) config: PathBuf,
    pub(super) state_dir: PathBuf,
    pub(super) admin: SocketAddr,
    pub(super) port: u16,
}

/// Writes the configuration, the policies and the credential into the world's directory.
pub(super) fn write(builder: &Builder, world: &World) -> Result<Written> {
    let place = world.path();
    let policies = place.join("policies");
    fs::create_dir(&policies)?;
    for (name, text) in &builder.policies {
        fs::write(policies.join(name), text)?;
    }
    if builder.policies.is_empty() {
        let everything = parts::repository().join("policies/allow-everything.yaml");
        fs::copy(everything, policies.join("allow-everything.yaml"))?;
    }
    let password = world.write("password", pg::PASSWORD)?;
    let state_dir = place.join("state");
    let (port, admin) = (
        free_port()?,
        SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)),
    );
    let tree = world.tree().name();

    let mut yaml = String::new();
    writeln!(yaml, "listen:")?;
    writeln!(yaml, "  port: {port}")?;
    writeln!(yaml, "  admin: {admin}")?;
    writeln!(
        yaml,
        "  admin_socket: {}",
        place.join("admin.sock").display()
    )?;
    writeln!(yaml, "state_dir: {}", state_dir.display())?;
    // A subtree of its own, so that many agents live side by side.
    writeln!(yaml, "attach: {tree}")?;
    writeln!(
        yaml,
        "guard: {{ ports: [{}], canary_every: {} }}",
        pg::PORT,
        builder.canary_every
    )?;
    writeln!(yaml, "identity:\n  issuers:")?;
    writeln!(yaml, "    - url: {}", world.idp.url())?;
    writeln!(yaml, "      audience: node-agent")?;
    writeln!(yaml, "      algorithms: [RS256, ES256, EdDSA]")?;
    match world.idp.ca_file() {
        Some(ca) => writeln!(yaml, "      ca_file: {}", ca.display())?,
        None => writeln!(yaml, "      allow_http_loopback: true")?,
    }
    writeln!(yaml, "targets:")?;
    for cluster in world.clusters() {
        let name = cluster.version().name();
        target(&mut yaml, name, cluster.address(), builder.upstream_tls)?;
        if builder.upstream_tls == "verify-full" {
            writeln!(yaml, "      ca_file: {}", cluster.ca_file().display())?;
        }
        credential(&mut yaml, &password)?;
        if let Some(duration) = builder.keep_warm {
            writeln!(yaml, "    keep_warm: {duration}")?;
        }
    }
    for (name, address, tls) in &builder.servers {
        target(&mut yaml, name, *address, tls)?;
        if let (Some(ca), "verify-full") = (&builder.servers_ca, *tls) {
            writeln!(yaml, "      ca_file: {}", ca.display())?;
        }
        credential(&mut yaml, &password)?;
    }
    for (name, address) in &builder.trusting {
        target(&mut yaml, name, *address, "disable")?;
        writeln!(yaml, "    credential: {{ username: {} }}", pg::SERVICE)?;
    }
    let token = world.token_file().display().to_string();
    writeln!(yaml, "workloads:")?;
    let token = builder.token_sources.replace("FILE", &token);
    for name in std::iter::once(&WORKLOAD).chain(&builder.others) {
        writeln!(yaml, "  - name: {name}")?;
        writeln!(yaml, "    cgroups: [\"agents/{name}*\"]")?;
        writeln!(yaml, "    labels: {{ team: data }}")?;
        writeln!(yaml, "    token: {token}")?;
    }
    writeln!(yaml, "policies: [ {} ]", policies.display())?;
    let settings = builder.settings.replace("ADMIN", &admin.to_string());
    yaml.push_str(&settings.replace("ISSUER", world.idp.url()));
    let config = world.write("config.yaml", &yaml)?;
    Ok(Written {
        config,
        state_dir,
        admin,
        port,
    })
}

fn target(yaml: &mut String, name: &str, address: SocketAddr, tls: &str) -> Result<()> {
    writeln!(yaml, "  - name: {name}")?;
    writeln!(yaml, "    protocol: postgres")?;
    writeln!(yaml, "    addresses: [\"{}/32\"]", address.ip())?;
    writeln!(yaml, "    port: {}", address.port())?;
    writeln!(yaml, "    upstream:")?;
    writeln!(yaml, "      tls: {tls}")?;
    Ok(())
}

fn credential(yaml: &mut String, password: &std::path::Path) -> Result<()> {
    writeln!(yaml, "    credential:")?;
    writeln!(yaml, "      username: {}", pg::SERVICE)?;
    writeln!(yaml, "      password_file: {}", password.display())?;
    Ok(())
}

/// A port below the range from which the kernel gives ports to clients, free on all of loopback.
fn free_port() -> Result<u16> {
    loop {
        let mut random = [0; 2];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| anyhow::anyhow!("no randomness"))?;
        let port = 10_000 + u16::from_be_bytes(random) % 20_000;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
}
