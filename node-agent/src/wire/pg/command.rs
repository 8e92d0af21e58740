//! Pure. What a client says after login, message by message (protocol 3.0, "Message Formats").

use bytes::Bytes;

use crate::model::Format;
use crate::wire::reader::{Reader, part};
use crate::wire::{Garbled, Params, Peer, Text};

use super::frame::{self, HEADER};

/// The messages a client may send after login. Anything else is garbled (the password messages
/// too: their time is over).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Query,
    Parse,
    Bind,
    Describe,
    Execute,
    Close,
    Flush,
    Sync,
    CopyData,
    CopyDone,
    CopyFail,
    FunctionCall,
    Terminate,
}

impl Kind {
    /// By the type byte.
    pub(super) fn of(byte: u8) -> Result<Self, Garbled> {
        Ok(match byte {
            b'Q' => Kind::Query,
            b'P' => Kind::Parse,
            b'B' => Kind::Bind,
            b'D' => Kind::Describe,
            b'E' => Kind::Execute,
            b'C' => Kind::Close,
            b'H' => Kind::Flush,
            b'S' => Kind::Sync,
            b'd' => Kind::CopyData,
            b'c' => Kind::CopyDone,
            b'f' => Kind::CopyFail,
            b'F' => Kind::FunctionCall,
            b'X' => Kind::Terminate,
            other => {
                return Err(Garbled {
                    who: Peer::Client,
                    expected: "a message that a client may send after login",
                    seen: format!("type {}", frame::printable(other)),
                });
            }
        })
    }

    /// Whether it holds nothing that could be long, so that PostgreSQL too bounds it low.
    pub(super) fn small(self) -> bool {
        match self {
            Kind::Describe
            | Kind::Execute
            | Kind::Close
            | Kind::Flush
            | Kind::Sync
            | Kind::CopyDone
            | Kind::CopyFail
            | Kind::Terminate => true,
            Kind::Query | Kind::Parse | Kind::Bind | Kind::CopyData | Kind::FunctionCall => false,
        }
    }
}

/// Prepared statements and portals have their names in two separate spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Statement,
    Portal,
}

/// A body that must be empty: Flush, Sync, CopyDone, Terminate.
pub(super) fn empty(what: &'static str, frame: &[u8]) -> Result<(), Garbled> {
    Reader::new(Peer::Client, what, frame::body(frame)).end()
}

/// Query: one text. The server takes the text up to the first NUL and calls anything behind it an
/// error; here it never gets that far.
pub(super) fn query(frame: &Bytes) -> Result<Bytes, Garbled> {
    let mut r = Reader::new(Peer::Client, "a Query of one string", frame::body(frame));
    let text = r.text()?.len();
    r.end()?;
    Ok(part(frame, HEADER..HEADER + text))
}

/// Parse.
pub(super) struct Parse {
    pub(super) name: Bytes,
    pub(super) text: Bytes,
    /// The types of parameters that it fixes, four bytes each.
    pub(super) types: Bytes,
}

/// Reads a Parse.
pub(super) fn parse(frame: &Bytes) -> Result<Parse, Garbled> {
    let mut r = Reader::new(Peer::Client, "a Parse", frame::body(frame));
    let name = r.text()?.len();
    let start = HEADER + r.at();
    let text = r.text()?.len();
    let types = r.u16()?;
    let fixed = HEADER + r.at();
    let types = r.take(usize::from(types) * 4)?.len();
    r.end()?;
    Ok(Parse {
        types: part(frame, fixed..fixed + types),
        name: part(frame, HEADER..HEADER + name),
        text: part(frame, start..start + text),
    })
}

/// The types that a good Parse fixes; none of one that is not.
pub(super) fn types(frame: &Bytes) -> Bytes {
    parse(frame).map(|parse| parse.types).unwrap_or_default()
}

/// The formats of a result's columns, as Bind gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Formats {
    /// No code: all text.
    #[default]
    Text,
    /// One code for all.
    All(Format),
    /// One code each.
    Each(std::sync::Arc<[Format]>),
}

impl Formats {
    /// The format of a column. A column beyond the codes cannot be: the server refuses such a
    /// Bind.
    pub(super) fn of(&self, column: usize) -> Format {
        match self {
            Formats::Text => Format::Text,
            Formats::All(format) => *format,
            Formats::Each(each) => each.get(column).copied().unwrap_or(Format::Text),
        }
    }
}

/// Bind, checked to its last byte.
pub(super) struct Bind<'a> {
    pub(super) portal: &'a [u8],
    pub(super) statement: &'a [u8],
    /// From the first format code on, within the body.
    pub(super) section: usize,
    pub(super) results: Formats,
}

/// What is wrong with a Bind that is well-formed.
pub(super) enum BindFault {
    /// Not a frame of this kind.
    Garbled(Garbled),
    /// A format code that is neither text nor binary, or too few of them. The answer's bytes could
    /// not be judged.
    Format,
}

impl From<Garbled> for BindFault {
    fn from(garbled: Garbled) -> Self {
        BindFault::Garbled(garbled)
    }
}

const BIND: &str = "a Bind";

/// Reads a Bind; `body` is the frame without its header.
pub(super) fn bind(body: &[u8]) -> Result<Bind<'_>, BindFault> {
    let mut r = Reader::new(Peer::Client, BIND, body);
    let portal = r.text()?;
    let statement = r.text()?;
    let section = r.at();
    let codes = usize::from(r.u16()?);
    let mut known = true;
    for _ in 0..codes {
        known &= format(r.u16()?).is_some();
    }
    let count = usize::from(r.u16()?);
    for _ in 0..count {
        value(&mut r)?;
    }
    let results = match r.u16()? {
        0 => Formats::Text,
        1 => {
            let code = format(r.u16()?);
            known &= code.is_some();
            Formats::All(code.unwrap_or(Format::Text))
        }
        more => {
            let codes = r.take(usize::from(more) * 2)?;
            let mut each = Vec::with_capacity(usize::from(more));
            for code in codes.chunks_exact(2) {
                let code = code
                    .first_chunk()
                    .copied()
                    .map(u16::from_be_bytes)
                    .and_then(format);
                known &= code.is_some();
                each.push(code.unwrap_or(Format::Text));
            }
            Formats::Each(each.into())
        }
    };
    r.end()?;
    if !known || (codes > 1 && codes != count) {
        return Err(BindFault::Format);
    }
    Ok(Bind {
        portal,
        statement,
        section,
        results,
    })
}

/// The parameters of a Bind that `bind` accepted. `section` begins at the first format code.
pub(super) fn params(section: &Bytes) -> Result<Params, Garbled> {
    let mut r = Reader::new(Peer::Client, BIND, section);
    let codes = usize::from(r.u16()?);
    let mut formats = Reader::new(Peer::Client, BIND, r.take(codes * 2)?);
    let single = (codes == 1).then(|| formats.u16()).transpose()?;
    let count = usize::from(r.u16()?);
    // Each takes four bytes at least: the claimed count cannot buy more than was sent.
    let mut values = Vec::with_capacity(count.min(r.left() / 4));
    for _ in 0..count {
        let code = match (single, codes) {
            (Some(code), _) => code,
            (None, 0) => 0,
            (None, _) => formats.u16()?,
        };
        let format = format(code).ok_or_else(|| r.garbled("an unknown format"))?;
        values.push((format, value(&mut r)?.map(|range| part(section, range))));
    }
    Ok(Params {
        values,
        types: Bytes::new(),
    })
}

fn format(code: u16) -> Option<Format> {
    match code {
        0 => Some(Format::Text),
        1 => Some(Format::Binary),
        _ => None,
    }
}

fn value(r: &mut Reader<'_>) -> Result<Option<std::ops::Range<usize>>, Garbled> {
    match r.i32()? {
        -1 => Ok(None),
        len => {
            let len = usize::try_from(len).map_err(|_| r.garbled("a negative length"))?;
            let start = r.at();
            r.take(len)?;
            Ok(Some(start..start + len))
        }
    }
}

/// Describe or Close: which space, and the name.
pub(super) fn named<'a>(what: &'static str, frame: &'a [u8]) -> Result<(Which, &'a [u8]), Garbled> {
    let mut r = Reader::new(Peer::Client, what, frame::body(frame));
    let which = match r.u8()? {
        b'S' => Which::Statement,
        b'P' => Which::Portal,
        _ => return Err(r.garbled("neither a statement nor a portal")),
    };
    let name = r.text()?;
    r.end()?;
    Ok((which, name))
}

/// Execute: the portal's name. The row limit is the server's business.
pub(super) fn execute(frame: &[u8]) -> Result<&[u8], Garbled> {
    let mut r = Reader::new(Peer::Client, "an Execute", frame::body(frame));
    let portal = r.text()?;
    r.i32()?;
    r.end()?;
    Ok(portal)
}

/// CopyFail: the client's reason.
pub(super) fn copy_fail(frame: &[u8]) -> Result<(), Garbled> {
    let mut r = Reader::new(Peer::Client, "a CopyFail of one string", frame::body(frame));
    r.text()?;
    r.end()
}

/// A text that is UTF-8, or the sentence why it is refused.
pub(super) fn utf8(text: Bytes) -> Result<Text, &'static str> {
    Text::new(text).map_err(|_| "the statement is not valid UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, body: &[u8]) -> Bytes {
        let mut out = bytes::BytesMut::new();
        frame::message(&mut out, kind, |out| out.extend_from_slice(body));
        out.freeze()
    }

    #[test]
    fn a_query_ends_at_its_only_nul() {
        assert_eq!(
            query(&frame(b'Q', b"select 1\0")).unwrap(),
            &b"select 1"[..]
        );
        assert_eq!(query(&frame(b'Q', b"\0")).unwrap(), &b""[..]);
        for bad in [
            &b"select 1"[..],
            b"",
            b"select 1\0; select ssn\0",
            b"select 1\0\0",
        ] {
            assert!(query(&frame(b'Q', bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn parse_is_consumed_exactly() {
        let parsed = parse(&frame(b'P', b"s1\0select $1\0\0\x01\0\0\0\x17")).unwrap();
        assert_eq!(
            (&parsed.name[..], &parsed.text[..]),
            (&b"s1"[..], &b"select $1"[..])
        );
        for bad in [
            &b"s1\0select $1\0\0\x01\0\0\0"[..],
            b"s1\0select $1\0\0\x01\0\0\0\x17\0",
            b"s1\0select $1\0",
            b"s1\0select $1",
            b"s1\0select $1\0\xff\xff",
        ] {
            assert!(parse(&frame(b'P', bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn bind_keeps_parameters_with_their_formats() {
        let body = b"p\0s\0\0\x02\0\0\0\x01\0\x02\0\0\0\x02hi\xff\xff\xff\xff\0\x01\0\x01";
        let Ok(bound) = bind(body) else {
            panic!("a good Bind")
        };
        assert_eq!((bound.portal, bound.statement), (&b"p"[..], &b"s"[..]));
        assert_eq!(bound.results, Formats::All(Format::Binary));
        let section = Bytes::copy_from_slice(&body[bound.section..]);
        assert_eq!(
            params(&section).unwrap().values,
            vec![
                (Format::Text, Some(Bytes::from_static(b"hi"))),
                (Format::Binary, None)
            ]
        );
    }

    #[test]
    fn one_parameter_format_stands_for_all() {
        let section = Bytes::from_static(b"\0\x01\0\x01\0\x02\0\0\0\0\0\0\0\x01x\0\0");
        let formats: Vec<_> = params(&section)
            .unwrap()
            .values
            .into_iter()
            .map(|(format, _)| format)
            .collect();
        assert_eq!(formats, [Format::Binary, Format::Binary]);
    }

    #[test]
    fn bind_with_sixty_five_thousand_parameters_is_read() {
        let mut body = b"\0\0\0\0\xff\xff".to_vec();
        body.extend(std::iter::repeat_n([0xff; 4], 65_535).flatten());
        body.extend([0, 0]);
        let Ok(bound) = bind(&body) else {
            panic!("a good Bind")
        };
        let section = Bytes::copy_from_slice(&body[bound.section..]);
        assert_eq!(params(&section).unwrap().values.len(), 65_535);
    }

    #[test]
    fn a_bind_that_lies_about_its_sizes_is_garbled() {
        for bad in [
            &b"\0\0\0\0\0\x01\x7f\xff\xff\xffx\0\0"[..],
            b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0",
            b"\0\0\0\0\0\0\0\0\0",
            b"\0\0\0\0\0\0\0\x02\0\0",
            b"\0\0\xff\xff",
            b"\0",
        ] {
            assert!(matches!(bind(bad), Err(BindFault::Garbled(_))), "{bad:?}");
        }
    }

    #[test]
    fn unknown_format_codes_are_refused() {
        for bad in [
            &b"\0\0\0\x01\0\x02\0\0\0\0"[..],
            b"\0\0\0\0\0\0\0\x01\0\x02",
            b"\0\0\0\0\0\0\0\x02\0\0\0\x07",
            b"\0\0\0\x02\0\0\0\0\0\x01\xff\xff\xff\xff\0\0",
        ] {
            assert!(matches!(bind(bad), Err(BindFault::Format)), "{bad:?}");
        }
    }

    #[test]
    fn describe_close_and_execute_are_consumed_exactly() {
        assert_eq!(
            named("a Describe", &frame(b'D', b"Ss1\0")).unwrap(),
            (Which::Statement, &b"s1"[..])
        );
        assert_eq!(
            named("a Close", &frame(b'C', b"P\0")).unwrap(),
            (Which::Portal, &b""[..])
        );
        assert!(named("a Describe", &frame(b'D', b"Xs1\0")).is_err());
        assert!(named("a Describe", &frame(b'D', b"Ss1\0\0")).is_err());
        assert_eq!(execute(&frame(b'E', b"p\0\0\0\0\x05")).unwrap(), &b"p"[..]);
        assert!(execute(&frame(b'E', b"p\0\0\0\0")).is_err());
        assert!(execute(&frame(b'E', b"p\0\0\0\0\x05!")).is_err());
    }

    #[test]
    fn only_a_clients_messages_have_a_kind() {
        for byte in 0..=255_u8 {
            assert_eq!(
                Kind::of(byte).is_ok(),
                b"QPBDECHSdcfFX".contains(&byte),
                "{byte}"
            );
        }
    }
}
