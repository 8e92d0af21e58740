//! A server of bytes: it waits for what the script expects, and says what the script says.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::ca::Leaf;
use crate::client::Message;

/// One step of a script; every connection goes through all of them, then is closed.
#[derive(Clone)]
pub enum Step {
    /// Read one untyped message: SSLRequest, StartupMessage.
    HearUntyped,
    /// Read typed messages up to one of this type.
    HearUpTo(u8),
    /// Say these bytes.
    Say(Vec<u8>),
    /// Say this block again and again until the other side goes away, at most this often.
    Flood(Vec<u8>, usize),
    /// Read until the other side goes away.
    HearToEnd,
    /// Say what this makes of all that was heard on this connection.
    Answer(fn(&[u8]) -> Vec<u8>),
    /// Make a TLS handshake with this certificate.
    Secure(Arc<ServerConfig>),
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HearUntyped => "HearUntyped",
            Self::HearUpTo(_) => "HearUpTo",
            Self::Say(_) => "Say",
            Self::Flood(..) => "Flood",
            Self::HearToEnd => "HearToEnd",
            Self::Answer(_) => "Answer",
            Self::Secure(_) => "Secure",
        })
    }
}

impl Step {
    /// A handshake with this certificate.
    pub fn secure(leaf: &Leaf) -> Result<Self> {
        let certificate = CertificateDer::from_pem_slice(leaf.certificate.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        Ok(Self::Secure(Arc::new(config)))
    }
}

/// The connection, in clear or not.
enum Leg {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Read for Leg {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(bytes),
            Self::Tls(stream) => stream.read(bytes),
        }
    }
}

impl Write for Leg {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// A running server. Its thread ends with the test's process.
pub struct Scripted {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// What a server says to a start-up message when it asks for no proof.
pub fn login_accepted() -> Vec<u8> {
    let mut bytes = Message::frame(b'R', &[0, 0, 0, 0]);
    for (name, value) in [
        ("server_version", "15.0"),
        ("server_encoding", "UTF8"),
        ("client_encoding", "UTF8"),
        ("standard_conforming_strings", "on"),
        ("integer_datetimes", "on"),
        ("DateStyle", "ISO, MDY"),
        ("TimeZone", "UTC"),
    ] {
        bytes.extend(Message::frame(
            b'S',
            format!("{name}\0{value}\0").as_bytes(),
        ));
    }
    bytes.extend(Message::frame(b'K', &[0, 0, 0, 7, 0, 0, 0, 9]));
    bytes.extend(Message::frame(b'Z', b"I"));
    bytes
}

impl Scripted {
    /// Listens at a loopback address with the usual port and plays `script` to everybody.
    pub fn start(script: Vec<Step>) -> Result<Self> {
        let listener = TcpListener::bind((crate::pg::own_address()?, crate::pg::PORT))?;
        let address = listener.local_addr()?;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heard);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, kept) = (script.clone(), Arc::clone(&kept));
                thread::spawn(move || {
                    let mut all = Vec::new();
                    // The other side going away in the middle is often the point.
                    let _ = play(&stream, &script, &mut all);
                    kept.lock().expect("no holder panics").push(all);
                });
            }
        });
        Ok(Self { address, heard })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What each connection that has ended said to it.
    pub fn heard(&self) -> Vec<Vec<u8>> {
        self.heard.lock().expect("no holder panics").clone()
    }
}

fn play(stream: &TcpStream, script: &[Step], heard: &mut Vec<u8>) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    let mut leg = Leg::Plain(stream.try_clone()?);
    for step in script {
        match step {
            Step::HearUntyped => {
                read_message(&mut leg, heard)?;
            }
            Step::HearUpTo(kind) => loop {
                let seen = read_exactly(&mut leg, 1, heard)?;
                read_message(&mut leg, heard)?;
                if seen == [*kind] {
                    break;
                }
            },
            Step::Say(bytes) => leg.write_all(bytes)?,
            Step::Flood(block, times) => {
                for _ in 0..*times {
                    leg.write_all(block)?;
                }
            }
            Step::HearToEnd => {
                leg.read_to_end(heard)?;
            }
            Step::Answer(made) => {
                let answer = made(heard);
                leg.write_all(&answer)?;
            }
            Step::Secure(config) => {
                let tls = ServerConnection::new(Arc::clone(config))?;
                leg = Leg::Tls(Box::new(StreamOwned::new(tls, stream.try_clone()?)));
            }
        }
        leg.flush()?;
    }
    Ok(())
}

fn read_message(leg: &mut Leg, heard: &mut Vec<u8>) -> Result<()> {
    let length = read_exactly(leg, 4, heard)?;
    let length = u32::from_be_bytes(length.try_into().ok().context("4 bytes")?);
    if !(4..=1 << 24).contains(&length) {
        bail!("length {length}");
    }
    read_exactly(leg, usize::try_from(length)? - 4, heard).map(drop)
}

fn read_exactly(leg: &mut Leg, count: usize, heard: &mut Vec<u8>) -> Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    leg.read_exact(&mut bytes)?;
    heard.extend_from_slice(&bytes);
    Ok(bytes)
}
