//! A dialogue as text. Lines that begin with `C ` or `S ` are what the client and the database
//! say; everything else is written by the test and compared.
//!
//! ```text
//! C Query select 1\0            the client's message, body escaped
//!   asked 1 run "select 1"      what the session is asked
//! U Query select 1\0            what goes up to the database
//! S CommandComplete SELECT 1\0  the database's message
//!   done "SELECT 1"             what the session is told
//! A CommandComplete SELECT 1\0  what the client gets
//! ```
//!
//! The session behind it has a small mind: texts with `drop` in them are refused, texts with `ssn`
//! want their head, texts that begin with PREPARE, DEALLOCATE, DECLARE, CLOSE or DISCARD change names.

use std::collections::HashMap;
use std::fmt::Write;

use bytes::{BufMut, BytesMut};
use node_agent::model::{Reference, Refusal, RefusalCode, SessionId, StatementSeq};
use node_agent::wire::pg::Talk;
use node_agent::wire::{
    Answer, Asked, CursorLife, FrontLimits, Garbled, Heard, Phase, Talk as _, Transaction, Turned,
    Wants,
};

const CLIENT: &[(u8, &str)] = &[
    (b'Q', "Query"),
    (b'P', "Parse"),
    (b'B', "Bind"),
    (b'D', "Describe"),
    (b'E', "Execute"),
    (b'C', "Close"),
    (b'H', "Flush"),
    (b'S', "Sync"),
    (b'd', "CopyData"),
    (b'c', "CopyDone"),
    (b'f', "CopyFail"),
    (b'F', "FunctionCall"),
    (b'X', "Terminate"),
    (b'p', "Password"),
];

const SERVER: &[(u8, &str)] = &[
    (b'1', "ParseComplete"),
    (b'2', "BindComplete"),
    (b'3', "CloseComplete"),
    (b't', "ParameterDescription"),
    (b'T', "RowDescription"),
    (b'n', "NoData"),
    (b'D', "DataRow"),
    (b'C', "CommandComplete"),
    (b'I', "EmptyQueryResponse"),
    (b's', "PortalSuspended"),
    (b'E', "ErrorResponse"),
    (b'N', "NoticeResponse"),
    (b'A', "NotificationResponse"),
    (b'S', "ParameterStatus"),
    (b'G', "CopyInResponse"),
    (b'H', "CopyOutResponse"),
    (b'W', "CopyBothResponse"),
    (b'd', "CopyData"),
    (b'c', "CopyDone"),
    (b'Z', "ReadyForQuery"),
];

/// What the session keeps per statement: its text.
type Kept = String;

pub(crate) struct Script {
    talk: Talk<Kept, u64>,
    client: BytesMut,
    server: BytesMut,
    up: BytesMut,
    out: BytesMut,
    texts: HashMap<u64, String>,
    next: u64,
    broken: bool,
    pub(crate) text: String,
    /// Everything that went up, and everything the client got.
    pub(crate) all_up: Vec<u8>,
    pub(crate) all_out: Vec<u8>,
    /// Feed the machines one byte at a time.
    pub(crate) dribble: bool,
}

impl Script {
    pub(crate) fn new(dribble: bool) -> Self {
        let limits = FrontLimits {
            names: 4,
            pending: 8,
            message: 200_000,
            ..FrontLimits::default()
        };
        Script {
            talk: Talk::new(limits),
            client: BytesMut::new(),
            server: BytesMut::new(),
            up: BytesMut::new(),
            out: BytesMut::new(),
            texts: HashMap::new(),
            next: 0,
            broken: false,
            text: String::new(),
            all_up: Vec::new(),
            all_out: Vec::new(),
            dribble,
        }
    }

    /// Plays the inputs of a golden file and gives the file as it should be.
    pub(crate) fn play(&mut self, golden: &str) {
        for line in golden.lines() {
            if let Some(rest) = line.strip_prefix("C ") {
                let _ = writeln!(self.text, "{line}");
                let bytes = encode(rest, CLIENT);
                self.feed(&bytes, true);
            } else if let Some(rest) = line.strip_prefix("S ") {
                let _ = writeln!(self.text, "{line}");
                let bytes = encode(rest, SERVER);
                self.feed(&bytes, false);
            } else if line.is_empty() || line.starts_with('#') {
                let _ = writeln!(self.text, "{line}");
            }
        }
    }

    fn feed(&mut self, bytes: &[u8], client: bool) {
        let size = if self.dribble { 1 } else { 64 << 10 };
        for chunk in bytes.chunks(size) {
            if client {
                self.client.put_slice(chunk);
            } else {
                self.server.put_slice(chunk);
            }
            // What the client said may have waited for what the database says, and so in a loop.
            loop {
                let before = (self.client.len(), self.server.len());
                self.hear();
                self.listen();
                if before == (self.client.len(), self.server.len()) {
                    break;
                }
            }
        }
    }

    fn say(&mut self, words: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.text, "  {words}");
    }

    fn hear(&mut self) {
        while !self.broken {
            let heard = self
                .talk
                .hear(&mut self.client, &mut self.up, &mut self.out);
            let quit = matches!(heard, Ok(Some(Heard::Quit)));
            match heard {
                Err(garbled) => self.garbled(&garbled),
                Ok(None) => {
                    self.flush();
                    break;
                }
                Ok(Some(Heard::Chore)) => {}
                Ok(Some(Heard::Quit)) => {
                    if !self.text.ends_with("  quit\n") {
                        self.say(format_args!("quit"));
                    }
                }
                Ok(Some(Heard::Refused(refusal))) => {
                    self.say(format_args!("refused: {}", refusal.message));
                }
                Ok(Some(Heard::Asked(asked))) => self.judge(asked),
            }
            self.flush();
            if quit {
                break;
            }
        }
    }

    fn judge(&mut self, asked: Asked<Kept>) {
        self.next += 1;
        let seq = self.next;
        let text = match &asked.phase {
            Phase::Run { text } => {
                self.say(format_args!("asked {seq} run {:?}", text.as_str()));
                text.as_str().to_owned()
            }
            Phase::Prepare { text, name } => {
                let name = String::from_utf8_lossy(name);
                self.say(format_args!(
                    "asked {seq} prepare {name:?} {:?}",
                    text.as_str()
                ));
                text.as_str().to_owned()
            }
            Phase::Execute {
                statement,
                params,
                resumed,
                portal,
            } => {
                let portal = String::from_utf8_lossy(portal);
                let again = if *resumed { " again" } else { "" };
                self.say(format_args!(
                    "asked {seq} execute{again} {portal:?} of {statement:?} with {:?}",
                    params.values
                ));
                statement.clone()
            }
        };
        let word = text.trim_start().to_uppercase();
        if word.contains("DROP") {
            let refusal = Refusal::new(RefusalCode::Policy, "DROP is not allowed").at(Reference {
                session: SessionId(0xc0ffee),
                seq: StatementSeq(seq),
            });
            self.talk
                .refuse(asked, &refusal, &mut self.up, &mut self.out);
            return;
        }
        if matches!(asked.phase, Phase::Prepare { .. }) {
            self.talk.prepare(asked, text, &mut self.up);
            return;
        }
        let names = ["PREPARE", "DEALLOCATE", "DECLARE", "CLOSE", "DISCARD"];
        let wants = Wants {
            head: word.contains("SSN"),
            whole: word.contains("SSN"),
            names: names.iter().any(|name| word.starts_with(name)),
            // Counting and copies have tests of their own.
            count: false,
            estimate: None,
            instead: None,
            turn: Turned::Stays,
        };
        self.texts.insert(seq, text);
        self.talk.send(asked, seq, wants, &mut self.up);
        self.skipped();
    }

    fn skipped(&mut self) {
        while let Some(seq) = self.talk.skipped() {
            self.say(format_args!("skipped {seq}"));
        }
    }

    fn garbled(&mut self, garbled: &Garbled) {
        self.broken = true;
        self.say(format_args!("closed: {garbled}"));
    }

    fn listen(&mut self) {
        while !self.broken {
            match self.talk.listen(&self.server) {
                Err(garbled) => self.garbled(&garbled),
                Ok(None) => break,
                Ok(Some((span, answer))) => {
                    let frame = self.server.split_to(span);
                    self.answer(answer, &frame);
                    self.skipped();
                    self.flush();
                }
            }
        }
    }

    fn answer(&mut self, answer: Answer, frame: &[u8]) {
        let owner = self
            .talk
            .current()
            .map_or(String::new(), |seq| format!(" of {seq}"));
        let head = self.talk.head().map(|head| {
            let columns = head.columns.iter();
            let columns: Vec<_> = columns
                .map(|column| format!("{}:{:?}", column.name, column.format))
                .collect();
            columns.join(",")
        });
        let head = head.map_or(String::new(), |head| format!(" [{head}]"));
        let mut forward = true;
        match answer {
            Answer::Control => {}
            Answer::Hidden => {
                self.say(format_args!("hidden"));
                forward = false;
            }
            Answer::Estimated { .. } | Answer::Counted { .. } | Answer::Kept | Answer::Own(_) => {
                self.say(format_args!("counted, unasked"));
                forward = false;
            }
            Answer::Head => self.say(format_args!("head{owner}{head}")),
            Answer::Rows { count } => self.say(format_args!("{count} rows{owner}{head}")),
            Answer::CopyRows { count } => self.say(format_args!("{count} copy rows{owner}")),
            Answer::Piece { first, last, row } => {
                self.say(format_args!(
                    "piece first={first} last={last} row={row}{owner}"
                ));
            }
            Answer::Done { tag, rows } => {
                self.say(format_args!("done{owner} {tag:?} {rows:?}"));
                let text = self
                    .talk
                    .current()
                    .and_then(|seq| self.texts.get(seq))
                    .cloned();
                if let Some(text) = text {
                    self.names(&text);
                }
                self.over();
            }
            Answer::Suspended => {
                self.say(format_args!("suspended{owner}"));
                self.over();
            }
            Answer::Failed(error) => {
                self.say(format_args!(
                    "failed{owner} {} {}",
                    error.code, error.message
                ));
                self.over();
            }
            Answer::Refused(refusal) => {
                let reference = refusal.reference.map(|r| r.seq.0).unwrap_or_default();
                self.say(format_args!("our refusal of {reference}"));
                Talk::<Kept, u64>::write_refusal(&refusal, &mut self.out);
                forward = false;
            }
            Answer::Notice(error) => self.say(format_args!("notice{owner} {}", error.message)),
            Answer::Notification => self.say(format_args!("notification")),
            Answer::Parameter { name, value } => {
                self.say(format_args!("parameter {name}={value}"));
            }
            Answer::CopyIn => self.say(format_args!("copy in{owner}")),
            Answer::CopyOut => self.say(format_args!("copy out{owner}")),
            Answer::Ready { transaction } => {
                let state = match transaction {
                    Transaction::Idle => "idle",
                    Transaction::Open => "open",
                    Transaction::Failed => "failed",
                };
                self.say(format_args!("ready {state}"));
                self.over();
            }
        }
        if forward {
            self.out.put_slice(frame);
        }
    }

    fn over(&mut self) {
        if let Some(seq) = self.talk.finished() {
            self.say(format_args!("over {seq}"));
        }
    }

    fn names(&mut self, text: &str) {
        let words: Vec<_> = text.split_whitespace().collect();
        match words.as_slice() {
            ["prepare", name, "as", body @ ..] => {
                self.talk.set_named(name, Some(body.join(" ")));
            }
            ["deallocate", "all"] => self.talk.forget_names(),
            ["deallocate", name] => self.talk.set_named(name, None),
            ["declare", name, "cursor", "for", body @ ..] => {
                self.talk
                    .set_cursor(name, Some(body.join(" ")), CursorLife::Transaction);
            }
            ["close", name] => self.talk.set_cursor(name, None, CursorLife::Transaction),
            _ => {}
        }
    }

    fn flush(&mut self) {
        let up = self.up.split();
        let out = self.out.split();
        self.all_up.extend_from_slice(&up);
        self.all_out.extend_from_slice(&out);
        decode('U', &up, CLIENT, &mut self.text);
        decode('A', &out, SERVER, &mut self.text);
    }
}

/// `Name body` to bytes. `Raw body` is bytes without a frame.
fn encode(line: &str, table: &[(u8, &str)]) -> Vec<u8> {
    let (name, body) = line.split_once(' ').unwrap_or((line, ""));
    let body = unescape(body);
    if name == "Raw" {
        return body;
    }
    let kind = table.iter().find(|(_, known)| *known == name);
    let (kind, _) = kind.unwrap_or_else(|| panic!("no message is called {name}"));
    let mut frame = vec![*kind];
    frame.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    frame.extend_from_slice(&body);
    frame
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(b'0') => bytes.push(0),
            Some(b'n') => bytes.push(b'\n'),
            Some(b'\\') => bytes.push(b'\\'),
            Some(b'x') => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                let digits = std::str::from_utf8(&digits).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
            }
            // \*70000 is that many letters x.
            Some(b'*') => {
                let count: String = rest.by_ref().map(char::from).collect();
                bytes.extend(std::iter::repeat_n(b'x', count.parse().unwrap()));
            }
            other => panic!("no escape {other:?}"),
        }
    }
    bytes
}

fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    if bytes.len() > 2_000 {
        return format!("({} bytes)", bytes.len());
    }
    for byte in bytes {
        let _ = match byte {
            0 => write!(text, "\\0"),
            b'\n' => write!(text, "\\n"),
            b'\\' => write!(text, "\\\\"),
            32..=126 => write!(text, "{}", char::from(*byte)),
            other => write!(text, "\\x{other:02x}"),
        };
    }
    text
}

/// Bytes to lines. What does not hold whole frames (pieces) is shown raw.
fn decode(side: char, bytes: &[u8], table: &[(u8, &str)], text: &mut String) {
    let mut rest = bytes;
    while let Some((head, body)) = rest.split_first_chunk::<5>() {
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let known = table.iter().find(|(kind, _)| *kind == head[0]);
        let (Some((_, name)), true) = (known, len >= 4 && body.len() + 4 >= len) else {
            break;
        };
        let (body, behind) = body.split_at(len - 4);
        let line = format!("{side} {name} {}", escape(body));
        let _ = writeln!(text, "{}", line.trim_end());
        rest = behind;
    }
    if !rest.is_empty() {
        let _ = writeln!(text, "{side} Raw {}", escape(rest));
    }
}
