//! The benchmark's own client: it measures one thing, prints one line of JSON, and does as little
//! else as it can. Run as a process of its own, so that it can be put into a cgroup.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde_json::json;

/// What to measure.
#[derive(Subcommand)]
pub(crate) enum Part {
    /// A TCP relay: what any proxy costs at least
    Relay { listen: SocketAddr, to: SocketAddr },
    /// Prepared point selects, one after the other
    Points {
        to: SocketAddr,
        database: String,
        user: String,
        count: usize,
    },
    /// One statement whose answer is read and thrown away
    Rows {
        to: SocketAddr,
        database: String,
        user: String,
        statement: String,
    },
    /// connect(), many times; `speak`: ask for TLS and wait for the answer before closing
    Connects {
        to: SocketAddr,
        count: usize,
        #[arg(long)]
        speak: bool,
    },
}

pub(crate) fn main(part: &Part) -> Result<()> {
    let line = match part {
        Part::Relay { listen, to } => return super::relay::serve(*listen, *to),
        Part::Points {
            to,
            database,
            user,
            count,
        } => points(*to, database, user, *count)?,
        Part::Rows {
            to,
            database,
            user,
            statement,
        } => rows(*to, database, user, statement)?,
        Part::Connects { to, count, speak } => connects(*to, *count, *speak)?,
    };
    println!("{line}");
    Ok(())
}

/// A connection that has been greeted.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    taken: usize,
}

impl Client {
    fn open(to: SocketAddr, database: &str, user: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(to).with_context(|| format!("cannot reach {to}"))?;
        stream.set_nodelay(true)?;
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        for word in ["user", user, "database", database, ""] {
            body.extend_from_slice(word.as_bytes());
            body.push(0);
        }
        let length = u32::try_from(body.len() + 4)?;
        stream.write_all(&length.to_be_bytes())?;
        stream.write_all(&body)?;
        let mut client = Self {
            stream,
            buffer: vec![0; 256 * 1024],
            filled: 0,
            taken: 0,
        };
        client.until_ready()?;
        Ok(client)
    }

    /// The next message's kind and the bytes of its body that are at hand; the rest of the body is
    /// thrown away.
    fn message(&mut self) -> Result<(u8, u64)> {
        while self.filled - self.taken < 5 {
            self.more()?;
        }
        let head = self
            .buffer
            .get(self.taken..self.taken + 5)
            .context("short buffer")?;
        let (kind, length) = match head {
            [kind, a, b, c, d] => (*kind, u32::from_be_bytes([*a, *b, *c, *d])),
            _ => bail!("short head"),
        };
        Ok((kind, u64::from(length) + 1))
    }

    fn more(&mut self) -> Result<()> {
        if self.taken > 0 {
            self.buffer.copy_within(self.taken..self.filled, 0);
            self.filled -= self.taken;
            self.taken = 0;
        }
        let space = self.buffer.get_mut(self.filled..).context("short buffer")?;
        let got = self.stream.read(space)?;
        if got == 0 {
            bail!("the other side closed the connection");
        }
        self.filled += got;
        Ok(())
    }

    fn skip(&mut self, mut bytes: u64) -> Result<()> {
        loop {
            let here = u64::try_from(self.filled - self.taken)?;
            if bytes <= here {
                self.taken += usize::try_from(bytes)?;
                return Ok(());
            }
            bytes -= here;
            self.taken = self.filled;
            self.more()?;
        }
    }

    /// Reads until the other side waits for us: how many rows and bytes that was.
    fn until_ready(&mut self) -> Result<(u64, u64)> {
        let (mut rows, mut bytes) = (0, 0);
        loop {
            let (kind, length) = self.message()?;
            bytes += length;
            match kind {
                b'E' => bail!("an error instead of an answer: {}", self.text(length)?),
                b'R' => {
                    while self.filled - self.taken < 9 {
                        self.more()?;
                    }
                    let code = self.buffer.get(self.taken + 5..self.taken + 9);
                    match code.context("short buffer")? {
                        [0, 0, 0, 0] => {}
                        [0, 0, 0, 3] => self.stream.write_all(b"p\0\0\0\x0eworthless\0")?,
                        other => bail!("an unknown way to log in: {other:?}"),
                    }
                }
                b'D' | b'd' => rows += 1,
                _ => {}
            }
            self.skip(length)?;
            if kind == b'Z' {
                return Ok((rows, bytes));
            }
        }
    }

    fn text(&mut self, length: u64) -> Result<String> {
        let length = usize::try_from(length)?.min(self.buffer.len());
        while self.filled - self.taken < length {
            self.more()?;
        }
        let bytes = self
            .buffer
            .get(self.taken + 5..self.taken + length)
            .unwrap_or_default();
        Ok(String::from_utf8_lossy(bytes).replace('\0', " "))
    }

    fn send(&mut self, messages: &[(u8, &[u8])]) -> Result<()> {
        let mut out = Vec::new();
        for (kind, body) in messages {
            out.push(*kind);
            out.extend_from_slice(&u32::try_from(body.len() + 4)?.to_be_bytes());
            out.extend_from_slice(body);
        }
        self.stream.write_all(&out)?;
        Ok(())
    }
}

fn points(to: SocketAddr, database: &str, user: &str, count: usize) -> Result<String> {
    let mut client = Client::open(to, database, user)?;
    let parse = b"point\0SELECT abalance FROM pgbench_accounts WHERE aid = $1\0\0\0";
    client.send(&[(b'P', parse), (b'S', b"")])?;
    client.until_ready()?;
    let mut times = Vec::with_capacity(count);
    for number in 0..count {
        let value = (1 + number * 7919 % 100_000).to_string();
        let mut bind = b"\0point\0\0\0\0\x01".to_vec();
        bind.extend_from_slice(&u32::try_from(value.len())?.to_be_bytes());
        bind.extend_from_slice(value.as_bytes());
        bind.extend_from_slice(b"\0\0");
        let begun = Instant::now();
        client.send(&[(b'B', &bind), (b'E', b"\0\0\0\0\0"), (b'S', b"")])?;
        let (rows, _) = client.until_ready()?;
        times.push(begun.elapsed());
        if rows != 1 {
            bail!("{rows} rows instead of one");
        }
    }
    times.sort();
    let at = |part: f64| {
        let index = (part * times.len() as f64) as usize;
        times
            .get(index)
            .map_or(0.0, |time| time.as_secs_f64() * 1e6)
    };
    Ok(json!({ "p50_us": at(0.5), "p99_us": at(0.99) }).to_string())
}

fn rows(to: SocketAddr, database: &str, user: &str, statement: &str) -> Result<String> {
    let mut client = Client::open(to, database, user)?;
    let mut body = statement.as_bytes().to_vec();
    body.push(0);
    let begun = Instant::now();
    client.send(&[(b'Q', &body)])?;
    let (rows, bytes) = client.until_ready()?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(json!({ "rows": rows, "bytes": bytes, "seconds": seconds }).to_string())
}

fn connects(to: SocketAddr, count: usize, speak: bool) -> Result<String> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(to)?;
        times.push(begun.elapsed());
        if speak {
            stream.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])?;
            stream.read_exact(&mut [0])?;
        } else {
            // The other side closes first seen by us: its accept queue never overruns.
            stream.shutdown(std::net::Shutdown::Write)?;
            let _ = stream.read(&mut [0])?;
        }
    }
    times.sort();
    let middle = times
        .get(times.len() / 2)
        .map_or(0.0, |time| time.as_secs_f64() * 1e6);
    Ok(json!({ "p50_us": middle }).to_string())
}
