//! IO. The connection to a scratch database: one statement at a time, in the protocol that it came in.

use std::collections::HashMap;
use std::io;

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::AgainstError;
use super::plan::{Bound, How};
use crate::model::Format;
use crate::record::RecordedCell;
use crate::upstream::{Endpoint, Leg, dial};
use crate::wire::{BackLogin, Transaction, pg};

/// The longest message of a database, bytes.
const LONGEST: usize = 256 << 20;
/// The longest cell that a recording keeps; of longer ones lengths are compared.
const CELL: usize = 1 << 20;
/// The text that fails a transaction: no database can read it.
const FAILS: &str = "node-agent did not run this statement again";

/// A connection to a scratch database.
#[derive(Debug)]
pub struct Line {
    leg: Leg,
    input: BytesMut,
    out: BytesMut,
    transaction: Transaction,
    /// Portals that were suspended, by what they run.
    suspended: HashMap<String, String>,
    portals: u64,
}

/// What a statement came to.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The columns of the first result.
    pub(super) columns: Option<Vec<(String, Format)>>,
    /// The first rows.
    pub(super) rows: Vec<Vec<RecordedCell>>,
    /// How many came.
    pub(super) count: u64,
    pub(super) tags: Vec<String>,
    /// SQLSTATE and message.
    pub(super) error: Option<(String, String)>,
    /// The rows are copy data.
    pub(super) copied: bool,
    pub(super) formats: Vec<Format>,
}

impl Line {
    /// Dials and logs in.
    ///
    /// # Errors
    /// The database cannot be reached, or refuses.
    pub async fn open(endpoint: &Endpoint, login: BackLogin) -> Result<Self, AgainstError> {
        let dialled = dial::<pg::Back>(endpoint, login).await?;
        Ok(Line {
            leg: dialled.leg,
            input: dialled.rest,
            out: BytesMut::new(),
            transaction: Transaction::Idle,
            suspended: HashMap::new(),
            portals: 0,
        })
    }

    /// Where the database itself says that it is: address and port.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn place(&mut self) -> Result<Option<std::net::SocketAddr>, AgainstError> {
        const ASK: &str = "select pg_catalog.host(pg_catalog.inet_server_addr()), \
                           pg_catalog.inet_server_port()";
        let heard = self.run(&How::Text(ASK.to_owned()), 1).await?;
        let Some([RecordedCell::Text(host), RecordedCell::Text(port)]) =
            heard.rows.first().map(Vec::as_slice)
        else {
            return Ok(None);
        };
        let address = host.parse().ok().zip(port.parse().ok());
        Ok(address.map(|(host, port)| std::net::SocketAddr::new(host, port)))
    }

    /// Ends the session.
    pub async fn close(mut self) {
        frontend::terminate(&mut self.out);
        // Whether it hears of it or not, it is over.
        let _ = self.send().await;
        let _ = self.leg.shutdown().await;
    }

    /// Whether it can be run: what goes on with an answer needs that answer.
    pub(super) fn can(&self, how: &How) -> bool {
        match how {
            How::Text(_) => true,
            How::Prepared(bound) => !bound.resumed || self.suspended.contains_key(&bound.text),
        }
    }

    /// Fails the open transaction, if there is one.
    pub(super) async fn fail_transaction(&mut self) -> Result<(), AgainstError> {
        if self.transaction == Transaction::Open {
            self.run(&How::Text(FAILS.to_owned()), 0).await?;
        }
        Ok(())
    }

    /// Runs a statement to its end, and keeps its first rows.
    pub(super) async fn run(&mut self, how: &How, keep: usize) -> Result<Heard, AgainstError> {
        let mut portal = None;
        match how {
            How::Text(text) => {
                frontend::query(text, &mut self.out).map_err(AgainstError::Broken)?;
            }
            How::Prepared(bound) => portal = Some(self.bind(bound)?),
        }
        self.send().await?;
        let heard = self.listen(keep).await?;
        if let (How::Prepared(bound), Some(portal)) = (how, portal) {
            let open = self.transaction == Transaction::Open;
            match bound.rows > 0 && open && heard.error.is_none() {
                true => self.suspended.insert(bound.text.clone(), portal),
                false => self.suspended.remove(&bound.text),
            };
        }
        if self.transaction != Transaction::Open {
            // Its portals end with a transaction.
            self.suspended.clear();
        }
        Ok(heard)
    }

    /// Appends what prepares and runs it; gives the portal's name.
    fn bind(&mut self, bound: &Bound) -> Result<String, AgainstError> {
        let broken = AgainstError::Broken;
        let kept = self.suspended.get(&bound.text).filter(|_| bound.resumed);
        let rows = i32::try_from(bound.rows).unwrap_or(0);
        let portal = match kept {
            Some(portal) => portal.clone(),
            None => {
                self.portals += 1;
                let portal = format!("again{}", self.portals);
                frontend::parse("", &bound.text, bound.types.iter().copied(), &mut self.out)
                    .map_err(broken)?;
                let values = bound.params.iter().map(|(_, value)| value);
                let written = frontend::bind(
                    &portal,
                    "",
                    bound.params.iter().map(|(format, _)| code(*format)),
                    values,
                    |value, out| match value {
                        Some(value) => {
                            out.extend_from_slice(value);
                            Ok(postgres_protocol::IsNull::No)
                        }
                        None => Ok(postgres_protocol::IsNull::Yes),
                    },
                    codes(&bound.formats),
                    &mut self.out,
                );
                written.map_err(|_| AgainstError::Garbled("a statement is too long to be sent"))?;
                portal
            }
        };
        frontend::describe(b'P', &portal, &mut self.out).map_err(broken)?;
        frontend::execute(&portal, rows, &mut self.out).map_err(broken)?;
        frontend::sync(&mut self.out);
        Ok(portal)
    }

    async fn send(&mut self) -> Result<(), AgainstError> {
        self.leg
            .write_all(&self.out)
            .await
            .map_err(AgainstError::Broken)?;
        self.leg.flush().await.map_err(AgainstError::Broken)?;
        self.out.clear();
        Ok(())
    }

    /// Takes answers up to ReadyForQuery.
    async fn listen(&mut self, keep: usize) -> Result<Heard, AgainstError> {
        let mut heard = Heard::default();
        loop {
            let (kind, body) = self.message().await?;
            match kind {
                b'T' => heard.head(&body)?,
                b'D' => heard.row(&body, keep)?,
                b'd' => heard.copied(&body, keep),
                b'H' => heard.copied = true,
                b'C' => heard.tags.push(text(&body)),
                b'I' => heard.tags.push(String::new()),
                b'E' => {
                    heard.error = Some(error(&body));
                    if fatal(&body) {
                        let message = heard.error.map(|(_, message)| message).unwrap_or_default();
                        return Err(AgainstError::Broken(io::Error::other(message)));
                    }
                }
                // What was copied in is not on record: nothing is.
                b'G' => {
                    frontend::copy_fail("node-agent has no data to copy", &mut self.out)
                        .map_err(AgainstError::Broken)?;
                    self.send().await?;
                }
                b'Z' => {
                    self.transaction = match body.first() {
                        Some(b'I') => Transaction::Idle,
                        Some(b'T') => Transaction::Open,
                        Some(b'E') => Transaction::Failed,
                        _ => return Err(AgainstError::Garbled("an unknown transaction status")),
                    };
                    return Ok(heard);
                }
                b'1' | b'2' | b'3' | b'n' | b't' | b's' | b'c' | b'N' | b'A' | b'S' => {}
                _ => return Err(AgainstError::Garbled("a message that has no place here")),
            }
        }
    }

    async fn message(&mut self) -> Result<(u8, Bytes), AgainstError> {
        loop {
            if let Some([kind, a, b, c, d]) = self.input.first_chunk::<5>().copied() {
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                if !(4..=LONGEST).contains(&length) {
                    return Err(AgainstError::Garbled("a message of an impossible length"));
                }
                if self.input.len() > length {
                    let mut frame = self.input.split_to(length + 1);
                    frame.advance(5);
                    return Ok((kind, frame.freeze()));
                }
            }
            let read = self.leg.read_buf(&mut self.input).await;
            if read.map_err(AgainstError::Broken)? == 0 {
                return Err(AgainstError::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

impl Heard {
    fn head(&mut self, body: &Bytes) -> Result<(), AgainstError> {
        let short = AgainstError::Garbled("a RowDescription that ends early");
        let mut rest = body.clone();
        if rest.remaining() < 2 {
            return Err(short);
        }
        let mut columns = Vec::new();
        for _ in 0..rest.get_u16() {
            let name = text(&rest);
            let named = rest.iter().position(|byte| *byte == 0).map(|end| end + 1);
            let Some(named) = named.filter(|named| rest.remaining() >= named + 18) else {
                return Err(short);
            };
            rest.advance(named + 16);
            let format = match rest.get_u16() {
                1 => Format::Binary,
                _ => Format::Text,
            };
            columns.push((name, format));
        }
        self.formats = columns.iter().map(|(_, format)| *format).collect();
        self.columns.get_or_insert(columns);
        Ok(())
    }

    fn row(&mut self, body: &Bytes, keep: usize) -> Result<(), AgainstError> {
        self.count += 1;
        if self.rows.len() >= keep {
            return Ok(());
        }
        let short = AgainstError::Garbled("a DataRow that ends early");
        let mut rest = body.clone();
        if rest.remaining() < 2 {
            return Err(short);
        }
        let mut row = Vec::new();
        for at in 0..usize::from(rest.get_u16()) {
            if rest.remaining() < 4 {
                return Err(short);
            }
            let format = self.formats.get(at).copied().unwrap_or(Format::Text);
            let length = rest.get_i32();
            row.push(match usize::try_from(length) {
                Err(_) => RecordedCell::Null,
                Ok(length) if rest.remaining() >= length => {
                    RecordedCell::from(format, Some(&rest.split_to(length)), CELL)
                }
                Ok(_) => return Err(short),
            });
        }
        self.rows.push(row);
        Ok(())
    }

    fn copied(&mut self, body: &Bytes, keep: usize) {
        self.count += 1;
        if self.rows.len() < keep {
            self.rows
                .push(vec![RecordedCell::from(Format::Text, Some(body), CELL)]);
        }
    }
}

fn code(format: Format) -> i16 {
    match format {
        Format::Text => 0,
        Format::Binary => 1,
    }
}

/// One code for all where they are the same: the copy may have other columns.
fn codes(formats: &[Format]) -> Vec<i16> {
    match formats.split_first() {
        None => Vec::new(),
        Some((first, rest)) if rest.iter().all(|one| one == first) => vec![code(*first)],
        Some(_) => formats.iter().map(|format| code(*format)).collect(),
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

fn field(body: &[u8], wanted: u8) -> Option<String> {
    let mut fields = body.split(|byte| *byte == 0);
    fields.find_map(|field| match field.split_first() {
        Some((kind, value)) if *kind == wanted => Some(String::from_utf8_lossy(value).into_owned()),
        Some(_) | None => None,
    })
}

fn error(body: &[u8]) -> (String, String) {
    let of = |kind| field(body, kind).unwrap_or_default();
    (of(b'C'), of(b'M'))
}

fn fatal(body: &[u8]) -> bool {
    field(body, b'V').is_some_and(|severity| matches!(severity.as_str(), "FATAL" | "PANIC"))
}
