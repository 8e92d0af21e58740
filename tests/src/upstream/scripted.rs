//! A server of bytes: it waits for what the script expects, and says what the script says.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::client::Message;

/// One step of a script; every connection goes through all of them, then is closed.
#[derive(Clone, Debug)]
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

fn play(mut stream: &TcpStream, script: &[Step], heard: &mut Vec<u8>) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    for step in script {
        match step {
            Step::HearUntyped => {
                read_message(stream, heard)?;
            }
            Step::HearUpTo(kind) => loop {
                let seen = read_exactly(stream, 1, heard)?;
                read_message(stream, heard)?;
                if seen == [*kind] {
                    break;
                }
            },
            Step::Say(bytes) => stream.write_all(bytes)?,
            Step::Flood(block, times) => {
                for _ in 0..*times {
                    stream.write_all(block)?;
                }
            }
            Step::HearToEnd => {
                stream.read_to_end(heard)?;
            }
        }
    }
    Ok(())
}

fn read_message(stream: &TcpStream, heard: &mut Vec<u8>) -> Result<()> {
    let length = read_exactly(stream, 4, heard)?;
    let length = u32::from_be_bytes(length.try_into().ok().context("4 bytes")?);
    if !(4..=1 << 24).contains(&length) {
        bail!("length {length}");
    }
    read_exactly(stream, usize::try_from(length)? - 4, heard).map(drop)
}

fn read_exactly(mut stream: &TcpStream, count: usize, heard: &mut Vec<u8>) -> Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes)?;
    heard.extend_from_slice(&bytes);
    Ok(bytes)
}
