//! PgBouncer from the distribution, session pooling, for comparison.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::ground;
use crate::world::certificate::Certificate;
use crate::world::postgres::{Postgres, give};
use crate::world::process::{Server, as_nobody};
use crate::world::{self, Place};

pub(super) struct Bouncer {
    pub(super) server: Server,
    pub(super) address: SocketAddr,
}

impl Bouncer {
    pub(super) fn start(
        place: &Place,
        postgres: &Postgres,
        certificate: &Certificate,
    ) -> Result<Self> {
        let program = ground::program("pgbouncer").context("no pgbouncer")?;
        let address = SocketAddr::from((
            Ipv4Addr::LOCALHOST,
            world::free_port(Ipv4Addr::LOCALHOST, 6432)?,
        ));
        let mut text = String::new();
        let _ = write!(
            text,
            "[databases]\n* = host={} port={}\n[pgbouncer]\n\
             listen_addr = {}\nlisten_port = {}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {}\npool_mode = session\n\
             default_pool_size = 200\nmax_client_conn = 400\n\
             client_tls_sslmode = allow\nclient_tls_key_file = {}\nclient_tls_cert_file = {}\n\
             log_connections = 0\nlog_disconnections = 0\nlog_stats = 0\n",
            postgres.address().ip(),
            postgres.port(),
            address.ip(),
            address.port(),
            place.write("users.txt", "\"postgres\" \"\"\n")?.display(),
            certificate.key.display(),
            certificate.certificate.display(),
        );
        let file = place.write("pgbouncer.ini", &text)?;
        give(&file)?;
        let mut command = as_nobody(&program, true);
        command.arg("-q").arg(&file);
        let log = place.path().join("pgbouncer.log");
        let mut server = Server::start("PgBouncer", &mut command, &log, Signal::INT)?;
        server.wait_ready(Duration::from_secs(10), || world::answers(address))?;
        Ok(Self { server, address })
    }
}
