//! A case as a client says it: in each of the ways that the protocol has.

use anyhow::{Context, Result, bail};
use node_agent_tests::client::{
    Message, Raw, about, bind, execute, flush, kinds, parse, query, sync,
};

use super::cases::{Case, Step};

/// How a client sends a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Query.
    Simple,
    /// Parse, Bind, Describe, Execute, Sync, without names.
    Extended,
    /// The same with a name, and a Sync behind the Parse.
    Prepared,
    /// All steps between two harmless ones, and one Sync behind everything.
    Pipelined,
    /// The messages that the case spells out.
    Wire,
}

impl Way {
    /// By its word in a case.
    pub(super) fn read(word: &str) -> Result<Self> {
        Ok(match word {
            "simple" => Way::Simple,
            "extended" => Way::Extended,
            "prepared" => Way::Prepared,
            "pipelined" => Way::Pipelined,
            other => bail!("there is no way called {other:?}"),
        })
    }
}

/// Says a case, and gives what came back, all of it.
pub(super) fn say(client: &mut Raw, case: &Case, way: Way) -> Result<Vec<Message>> {
    let mut seen = Vec::new();
    if way == Way::Pipelined {
        client.send(&harmless())?;
    }
    for (number, step) in case.steps.iter().enumerate() {
        match step {
            Step::Wire(lines) => seen.extend(spelled(client, lines)?),
            Step::Text(text) => {
                let values = case.words("with").nth(number);
                let step = Text { text, values, case };
                seen.extend(step.say(client, way, number)?);
            }
        }
    }
    if way == Way::Pipelined {
        client.send(&[harmless(), sync()].concat())?;
        seen.extend(client.up_to(b'Z')?);
    }
    Ok(seen)
}

struct Text<'a> {
    text: &'a [u8],
    values: Option<&'a str>,
    case: &'a Case,
}

impl Text<'_> {
    fn say(&self, client: &mut Raw, way: Way, number: usize) -> Result<Vec<Message>> {
        let name = match way {
            Way::Prepared => format!("step_{number}"),
            Way::Simple | Way::Extended | Way::Pipelined | Way::Wire => String::new(),
        };
        let parse = Message::frame(
            b'P',
            &[name.as_bytes(), &[0], self.text, &[0, 0, 0]].concat(),
        );
        let run = [self.bound(&name), about(b'D', 'P', ""), execute("", 0)].concat();
        match way {
            Way::Simple => {
                client.message(b'Q', &[self.text, &[0]].concat())?;
                self.answer(client, way)
            }
            Way::Extended => {
                client.send(&[parse, run, sync()].concat())?;
                self.answer(client, way)
            }
            Way::Prepared => {
                client.send(&[parse, about(b'D', 'S', &name), sync()].concat())?;
                let mut seen = self.answer(client, way)?;
                client.send(&[run, sync()].concat())?;
                seen.extend(self.answer(client, way)?);
                Ok(seen)
            }
            Way::Pipelined => {
                client.send(&[parse, run].concat())?;
                Ok(Vec::new())
            }
            Way::Wire => bail!("a text has no messages spelled out"),
        }
    }

    /// A Bind of the unnamed portal with the values, in text.
    fn bound(&self, name: &str) -> Vec<u8> {
        let values = values(self.values);
        let mut body = format!("\0{name}\0\0\0").into_bytes();
        body.extend(u16::try_from(values.len()).expect("few").to_be_bytes());
        for value in values {
            match value {
                None => body.extend((-1_i32).to_be_bytes()),
                Some(value) => {
                    body.extend(u32::try_from(value.len()).expect("short").to_be_bytes());
                    body.extend(value.as_bytes());
                }
            }
        }
        body.extend([0, 0]);
        Message::frame(b'B', &body)
    }

    /// Everything to ReadyForQuery; a COPY that wants data gets it.
    fn answer(&self, client: &mut Raw, way: Way) -> Result<Vec<Message>> {
        let mut seen = Vec::new();
        loop {
            let Some(message) = client.next()? else {
                bail!("the connection ended; seen: {}", kinds(&seen));
            };
            let kind = message.kind;
            seen.push(message);
            match kind {
                b'G' => {
                    let data = self.case.word("data").unwrap_or("1");
                    let data = data.replace("\\t", "\t").replace("\\n", "\n") + "\n";
                    client.message(b'd', data.as_bytes())?;
                    client.message(b'c', b"")?;
                    // The one that was sent before meant nothing during the COPY.
                    if way != Way::Simple {
                        client.send(&sync())?;
                    }
                }
                b'Z' => return Ok(seen),
                _ => {}
            }
        }
    }
}

/// `a | b | NULL`.
fn values(words: Option<&str>) -> Vec<Option<&str>> {
    let words = words.into_iter().flat_map(|words| words.split(" | "));
    words.map(|word| (word != "NULL").then_some(word)).collect()
}

fn harmless() -> Vec<u8> {
    let bind = bind("", "", &[]);
    [parse("", "select 1"), bind, execute("", 0)].concat()
}

/// Messages as a case spells them; then an empty query, whose answer cannot be mistaken.
fn spelled(client: &mut Raw, lines: &[String]) -> Result<Vec<Message>> {
    let mut out = Vec::new();
    for line in lines {
        out.extend(message(line).with_context(|| line.clone())?);
    }
    out.extend(sync());
    out.extend(query(""));
    client.send(&out)?;
    let mut seen = Vec::new();
    loop {
        let more = client.up_to(b'Z')?;
        let last = more.iter().any(|message| message.kind == b'I');
        seen.extend(more);
        if last {
            return Ok(seen);
        }
    }
}

/// One line: the message's name, a name (`-` is the empty one) or two, and the rest.
fn message(line: &str) -> Result<Vec<u8>> {
    let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (first, more) = rest.split_once(' ').unwrap_or((rest, ""));
    let named = |name: &str| {
        if name == "-" {
            String::new()
        } else {
            name.to_owned()
        }
    };
    let which = |word: &str| word.chars().next().context("S or P");
    Ok(match kind {
        "query" => query(rest),
        "parse" => parse(&named(first), more),
        "bind" => bind(&named(first), &named(more), &[]),
        "describe" => about(b'D', which(first)?, &named(more)),
        "close" => about(b'C', which(first)?, &named(more)),
        "execute" => execute(&named(first), more.parse().unwrap_or(0)),
        "flush" => flush(),
        "sync" => sync(),
        // A FunctionCall without arguments, by the function's number.
        "call" => {
            let oid: u32 = first.parse()?;
            Message::frame(b'F', &[&oid.to_be_bytes()[..], &[0; 6]].concat())
        }
        other => bail!("there is no message called {other:?}"),
    })
}

/// Brings a session back to how it began.
pub(super) fn tidy(client: &mut Raw) -> Result<()> {
    client.query("rollback")?;
    let seen = client.query("discard all")?;
    match seen.iter().find(|message| message.kind == b'E') {
        None => Ok(()),
        Some(error) => bail!("DISCARD ALL: {}", error.words()),
    }
}

/// What an answer is in one line: of errors their words, of the rest their ends.
pub(super) fn told(seen: &Result<Vec<Message>>) -> String {
    let seen = match seen {
        Ok(seen) => seen,
        Err(error) => return format!("{error:#}"),
    };
    let words: Vec<String> = seen.iter().filter_map(word).collect();
    words.join("; ").replace('\n', " / ")
}

fn word(message: &Message) -> Option<String> {
    match message.kind {
        b'E' => Some(format!(
            "error {} {}",
            message.sqlstate().unwrap_or_default(),
            message.words()
        )),
        b'C' => Some(String::from_utf8_lossy(&message.body[..message.body.len() - 1]).into_owned()),
        _ => None,
    }
}
