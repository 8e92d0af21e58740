//! A PostgreSQL client of bytes: what is sent is what the test wrote, right or wrong.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::ServerName;

/// One message of the server: its type and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The type byte.
    pub kind: u8,
    /// What follows the length.
    pub body: Vec<u8>,
}

/// A connection.
pub struct Raw {
    stream: TcpStream,
    cover: Option<Box<ClientConnection>>,
    input: Vec<u8>,
    all: Vec<u8>,
}

/// The request for TLS.
pub const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
/// The request for encryption by GSSAPI.
pub const GSS_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x30";

/// The body of a start-up message of this version with these pairs.
pub fn startup(version: (u16, u16), pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(version.0.to_be_bytes());
    body.extend(version.1.to_be_bytes());
    for (name, value) in pairs {
        for word in [name, value] {
            body.extend(word.as_bytes());
            body.push(0);
        }
    }
    body.push(0);
    untyped(&body)
}

/// A body behind its length.
fn untyped(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a test's message is short");
    [&length.to_be_bytes(), body].concat()
}

/// The field of an ErrorResponse or NoticeResponse, for instance `C`, the SQLSTATE.
pub fn error_field(body: &[u8], field: u8) -> Option<String> {
    body.split(|byte| *byte == 0)
        .find(|part| part.first() == Some(&field))
        .map(|part| String::from_utf8_lossy(&part[1..]).into_owned())
}

/// A simple query as it is sent.
pub fn query(text: &str) -> Vec<u8> {
    Message::frame(b'Q', &[text.as_bytes(), &[0]].concat())
}

/// A Parse without parameter types.
pub fn parse(name: &str, text: &str) -> Vec<u8> {
    Message::frame(b'P', format!("{name}\0{text}\0\0\0").as_bytes())
}

/// A Bind without parameters; `formats` are those of the result.
pub fn bind(portal: &str, statement: &str, formats: &[u16]) -> Vec<u8> {
    let mut body = format!("{portal}\0{statement}\0\0\0\0\0").into_bytes();
    body.extend(u16::try_from(formats.len()).expect("few").to_be_bytes());
    body.extend(formats.iter().flat_map(|format| format.to_be_bytes()));
    Message::frame(b'B', &body)
}

/// A Describe (`b'D'`) or a Close (`b'C'`) of a statement (`S`) or a portal (`P`).
pub fn about(kind: u8, which: char, name: &str) -> Vec<u8> {
    Message::frame(kind, format!("{which}{name}\0").as_bytes())
}

/// An Execute; 0 rows: all.
pub fn execute(portal: &str, rows: u32) -> Vec<u8> {
    let body = [portal.as_bytes(), &[0], &rows.to_be_bytes()].concat();
    Message::frame(b'E', &body)
}

/// A Sync.
pub fn sync() -> Vec<u8> {
    Message::frame(b'S', b"")
}

/// A Flush.
pub fn flush() -> Vec<u8> {
    Message::frame(b'H', b"")
}

/// The text cells of the DataRows among messages; NULL is `None`.
pub fn cells(messages: &[Message]) -> Vec<Vec<Option<String>>> {
    let rows = messages.iter().filter(|message| message.kind == b'D');
    rows.map(|row| cells_of(&row.body)).collect()
}

fn cells_of(mut body: &[u8]) -> Vec<Option<String>> {
    let mut cells = Vec::new();
    body = &body[2..];
    while let Some((size, rest)) = body.split_first_chunk::<4>() {
        match usize::try_from(i32::from_be_bytes(*size)) {
            Err(_) => {
                cells.push(None);
                body = rest;
            }
            Ok(size) => {
                cells.push(Some(String::from_utf8_lossy(&rest[..size]).into_owned()));
                body = &rest[size..];
            }
        }
    }
    cells
}

impl Message {
    /// The messages that bytes are; what is left over at the end is left out.
    pub fn all(mut bytes: &[u8]) -> Vec<Self> {
        let mut messages = Vec::new();
        while let Some((&[kind, a, b, c, d], rest)) = bytes.split_first_chunk::<5>() {
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            let Some((body, next)) = length.checked_sub(4).and_then(|n| rest.split_at_checked(n))
            else {
                break;
            };
            messages.push(Self {
                kind,
                body: body.to_vec(),
            });
            bytes = next;
        }
        messages
    }

    /// A message to send.
    pub fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind], untyped(body).as_slice()].concat()
    }

    /// The SQLSTATE, when it is an error.
    pub fn sqlstate(&self) -> Option<String> {
        (self.kind == b'E')
            .then(|| error_field(&self.body, b'C'))
            .flatten()
    }

    /// An error's text with its detail and hint.
    pub fn words(&self) -> String {
        [b'M', b'D', b'H']
            .iter()
            .filter_map(|field| error_field(&self.body, *field))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl Raw {
    /// Over an open connection. Nothing is waited for longer than 20 s.
    pub fn new(stream: TcpStream) -> Result<Self> {
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            cover: None,
            input: Vec::new(),
            all: Vec::new(),
        })
    }

    /// From where the caller stands.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        Self::new(TcpStream::connect_timeout(
            &address,
            Duration::from_secs(10),
        )?)
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Everything that ever came, inside TLS as it was before encryption.
    pub fn all(&self) -> &[u8] {
        &self.all
    }

    /// Makes a TLS handshake now: after the answer to a request, or without one.
    pub fn secure(&mut self, config: ClientConfig, name: &str) -> Result<()> {
        if !self.input.is_empty() {
            bail!("bytes in clear came before the handshake");
        }
        let name = ServerName::try_from(name.to_owned())?;
        let mut tls = ClientConnection::new(Arc::new(config), name)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut self.stream)?;
        }
        self.cover = Some(Box::new(tls));
        Ok(())
    }

    /// Asks for TLS, hears the yes, and makes the handshake.
    pub fn ask_for_tls(&mut self, config: ClientConfig, name: &str) -> Result<()> {
        self.send(SSL_REQUEST)?;
        match self.byte()? {
            Some(b'S') => self.secure(config, name),
            other => bail!("asked for TLS, got {other:?}"),
        }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.cover {
            None => self.stream.write_all(bytes)?,
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.stream).write_all(bytes)?,
        }
        Ok(())
    }

    /// Ends the connection by a reset, as a client that was killed may.
    pub fn reset(self) -> Result<()> {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))?;
        Ok(())
    }

    /// Sends a message.
    pub fn message(&mut self, kind: u8, body: &[u8]) -> Result<()> {
        self.send(&Message::frame(kind, body))
    }

    /// One byte, as an SSLRequest is answered.
    pub fn byte(&mut self) -> Result<Option<u8>> {
        if self.input.is_empty() && !self.fill()? {
            return Ok(None);
        }
        Ok(Some(self.input.remove(0)))
    }

    /// The next message; `None` when the connection has ended.
    #[allow(
        clippy::should_implement_trait,
        reason = "each message may fail to come, and that ends nothing"
    )]
    pub fn next(&mut self) -> Result<Option<Message>> {
        loop {
            if let Some(message) = self.framed()? {
                return Ok(Some(message));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// All messages up to one of this type, which is the last.
    pub fn up_to(&mut self, kind: u8) -> Result<Vec<Message>> {
        let mut seen = Vec::new();
        while let Some(message) = self.next()? {
            let last = message.kind == kind;
            seen.push(message);
            if last {
                return Ok(seen);
            }
        }
        bail!(
            "the connection ended before {:?}; seen: {}",
            char::from(kind),
            kinds(&seen)
        )
    }

    /// Logs in at protocol 3.0, up to ReadyForQuery; sends `password` when it is asked for in clear.
    pub fn login(&mut self, user: &str, database: &str, password: &str) -> Result<Vec<Message>> {
        self.send(&startup((3, 0), &[("user", user), ("database", database)]))?;
        self.logged_in(password)
    }

    /// The rest of a login whose start-up message was sent.
    pub fn logged_in(&mut self, password: &str) -> Result<Vec<Message>> {
        let mut seen = Vec::new();
        while let Some(message) = self.next()? {
            match (message.kind, message.body.get(..4)) {
                (b'R', Some([0, 0, 0, 3])) => {
                    self.message(b'p', &[password.as_bytes(), &[0]].concat())?;
                }
                (b'E', _) => bail!("refused: {:?} {}", message.sqlstate(), message.words()),
                _ => {}
            }
            let ready = message.kind == b'Z';
            seen.push(message);
            if ready {
                return Ok(seen);
            }
        }
        bail!("the connection ended in the login; seen: {}", kinds(&seen))
    }

    /// A simple query, without waiting for what comes back.
    pub fn ask(&mut self, text: &str) -> Result<()> {
        self.message(b'Q', &[text.as_bytes(), &[0]].concat())
    }

    /// A simple query and all that comes back.
    pub fn query(&mut self, text: &str) -> Result<Vec<Message>> {
        self.ask(text)?;
        self.up_to(b'Z')
    }

    /// What the other side says until it ends the connection: it must be one message, an error.
    pub fn parting_word(&mut self, limit: Duration) -> Result<Message> {
        self.input = self.ended_within(limit)?;
        match (self.framed()?, self.input.is_empty()) {
            (Some(message), true) if message.kind == b'E' => Ok(message),
            (first, _) => bail!("not one error, but {first:?} and {:?}", self.input),
        }
    }

    /// Everything until the other side ends the connection; an error when it does not within `limit`.
    pub fn ended_within(&mut self, limit: Duration) -> Result<Vec<u8>> {
        let end = Instant::now() + limit;
        let outcome = loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break Err(anyhow::anyhow!("still open after {limit:?}"));
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.fill() {
                Ok(true) => {}
                Ok(false) => break Ok(std::mem::take(&mut self.input)),
                Err(error) => break Err(error.context(format!("still open after {limit:?}"))),
            }
        };
        self.stream
            .set_read_timeout(Some(Duration::from_secs(20)))?;
        outcome
    }

    fn framed(&mut self) -> Result<Option<Message>> {
        let Some(&[kind, a, b, c, d]) = self.input.first_chunk::<5>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d]))?;
        if !(4..=1 << 30).contains(&length) {
            bail!(
                "the server sent {:?} with length {length}",
                char::from(kind)
            );
        }
        if self.input.len() <= length {
            return Ok(None);
        }
        let rest = self.input.split_off(length + 1);
        let frame = std::mem::replace(&mut self.input, rest);
        Ok(Some(Message {
            kind,
            body: frame[5..].to_vec(),
        }))
    }

    /// Reads more; `false` when the other side has ended the connection, also by reset.
    fn fill(&mut self) -> Result<bool> {
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let mut block = [0; 1 << 16];
        let read = match &mut self.cover {
            None => self.stream.read(&mut block),
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.stream).read(&mut block),
        };
        match read {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.input.extend_from_slice(&block[..count]);
                self.all.extend_from_slice(&block[..count]);
                Ok(true)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error).context("nothing came from the server"),
        }
    }
}

/// The types of messages, in order.
pub fn kinds(messages: &[Message]) -> String {
    messages
        .iter()
        .map(|message| match message.sqlstate() {
            Some(code) => format!("E({code} {})", message.words()),
            None => char::from(message.kind).to_string(),
        })
        .collect::<Vec<_>>()
        .join(" ")
}
