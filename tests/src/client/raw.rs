//! A PostgreSQL client of bytes: what is sent is what the test wrote, right or wrong.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

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
    input: Vec<u8>,
}

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

impl Message {
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
            input: Vec::new(),
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

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
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
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        let mut block = [0; 1 << 16];
        match self.stream.read(&mut block) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.input.extend_from_slice(&block[..count]);
                Ok(true)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ConnectionReset | ConnectionAborted | BrokenPipe
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error).context("nothing came from the server"),
        }
    }
}

/// The types of messages, in order.
fn kinds(messages: &[Message]) -> String {
    messages
        .iter()
        .map(|message| match message.sqlstate() {
            Some(code) => format!("E({code} {})", message.words()),
            None => char::from(message.kind).to_string(),
        })
        .collect::<Vec<_>>()
        .join(" ")
}
