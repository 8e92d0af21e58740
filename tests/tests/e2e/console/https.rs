//! The console as it is reached in earnest: by a name, over TLS that a proxy ends, at an issuer that knows its
//! client by a secret.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::World;
use node_agent_tests::ca::TestCa;
use node_agent_tests::client::client_config;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConnection, ServerConfig, ServerConnection, StreamOwned};

use super::super::agent_is_here;
use super::browser::{Browser, Page};
use super::{POLICY, SEED, SETTINGS, amounts, dba, held};

const NAME: &str = "approvals.example.com";

/// A proxy that ends TLS, for questions of one connection each.
fn proxy(listener: TcpListener, config: Arc<ServerConfig>, to: SocketAddr) {
    let one = move |stream: TcpStream, config: Arc<ServerConfig>| -> Result<()> {
        let mut outside = StreamOwned::new(ServerConnection::new(config)?, stream);
        let mut asked = Vec::new();
        let mut part = [0; 4096];
        // Until the whole question is there: its head, and as much as that says.
        let whole = |asked: &[u8]| {
            let text = String::from_utf8_lossy(asked);
            let (head, body) = text.split_once("\r\n\r\n")?;
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap_or(0));
            (body.len() >= length).then_some(())
        };
        while whole(&asked).is_none() {
            let read = outside.read(&mut part)?;
            anyhow::ensure!(read > 0, "half a question");
            asked.extend_from_slice(&part[..read]);
        }
        let mut inside = TcpStream::connect(to)?;
        inside.write_all(&asked)?;
        let mut answer = Vec::new();
        inside.read_to_end(&mut answer)?;
        outside.write_all(&answer)?;
        outside.conn.send_close_notify();
        outside.flush()?;
        Ok(outside.sock.shutdown(Shutdown::Write)?)
    };
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = config.clone();
            thread::spawn(move || {
                if let Err(error) = one(stream, config) {
                    println!("the proxy: {error:#}");
                }
            });
        }
    });
}

#[test]
fn behind_tls_the_console_s_cookies_are_of_this_host_and_the_issuer_knows_the_client() -> Result<()>
{
    if !agent_is_here() {
        return Ok(());
    }
    let place = tempfile::tempdir()?;
    let ca = TestCa::new()?;
    let ca_file = ca.write(place.path())?;
    let leaf = ca.leaf(&[NAME])?;
    let config = ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()?
    .with_no_client_auth()
    .with_single_cert(
        vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes())?],
        PrivateKeyDer::from_pem_slice(leaf.key.as_bytes())?,
    )?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let url = format!("https://{NAME}:{}", address.port());
    let (_secret, file) = super::super::webhooks::secret()?;
    let settings = SETTINGS.replace("http://ADMIN", &url).replace(
        "client_id: console\n",
        &format!("client_id: console\n    client_secret_file: {file}\n"),
    );
    let world = World::builder()
        .seed(SEED)
        .policy_text("wages.yaml", POLICY)
        .settings(&settings)
        .issuer_tls()
        .start()?;
    proxy(listener, Arc::new(config), world.agent().admin());
    let roots = Arc::new(client_config(&ca_file)?);
    let issuer = Arc::new(client_config(
        world.idp.ca_file().context("its authority")?,
    )?);
    let issuers = world.idp.url().to_owned();
    let by_tls = move |url: &str, text: &str| -> Result<Vec<u8>> {
        let (to, name, config) = match url.starts_with(&issuers) {
            true => {
                let host = issuers.trim_start_matches("https://");
                (host.parse()?, "127.0.0.1", issuer.clone())
            }
            false => (address, NAME, roots.clone()),
        };
        let stream = TcpStream::connect::<SocketAddr>(to)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let name = ServerName::try_from(name)?.to_owned();
        let mut tls = StreamOwned::new(ClientConnection::new(config, name)?, stream);
        tls.write_all(text.as_bytes())?;
        let mut answer = Vec::new();
        match tls.read_to_end(&mut answer) {
            // The issuer of these tests ends without a word.
            Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => Err(error.into()),
            Ok(_) | Err(_) => Ok(answer),
        }
    };
    let mut dora = Browser::over(&url, Arc::new(by_tls));

    // Another secret than the issuer's: nobody is signed in, and nothing of it is shown.
    world.idp.sit_down(dba());
    world.idp.client_secret("another one that is long enough");
    let page = dora.sign_in("")?;
    page.says(403, "invalid_client");
    world.idp.client_secret(super::super::webhooks::SECRET);
    let page = dora.sign_in("")?;
    page.says(200, "One moment");
    let cookies = |page: &Page| {
        let set = page.headers.iter().filter(|(name, _)| name == "set-cookie");
        set.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let set = cookies(&page);
    assert!(
        set[0].starts_with("__Host-node-agent-console=")
            && set[0].ends_with("; Path=/; HttpOnly; SameSite=Strict; Secure"),
        "{set:?}"
    );
    let begun = cookies(&dora.get("/console/sign-in")?);
    assert!(
        begun[0].starts_with("__Host-node-agent-console-sign-in=")
            && begun[0].ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"),
        "{begun:?}"
    );
    let mut held = held(&world, &mut dora, "delete from pay where id = 4")?;
    let form = format!("token={}&scope=once", dora.get(&held.path())?.token()?);
    let done = dora.post(&format!("{}/approve", held.path()), &form)?;
    assert_eq!(done.status, 303, "{}", done.body);
    assert_eq!(held.told()?, "done");
    assert_eq!(amounts(&world)?, "51");
    // By the listener's own name, around the proxy, there is nothing.
    let mut around = Browser::new(&format!("http://{}", world.agent().admin()));
    around.cookies = dora.cookies.clone();
    around
        .get(&held.path())?
        .says(421, "not called by this name");
    Ok(())
}
