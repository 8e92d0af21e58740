//! Pure. The packets before login, which have no type byte: start-up, requests for encryption,
//! cancel (protocol 3.0, "Message Flow: Start-up").

use bytes::{BufMut, BytesMut};

use crate::model::{Refusal, RefusalCode};
use crate::wire::reader::Reader;
use crate::wire::{CancelKey, Garbled, Hello, Peer};

use super::settings::Settings;
use super::{cancel, frame};

const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

const MAJOR: u16 = 3;

/// The minor versions that we speak. PostgreSQL keeps 1, in between, out of use.
const BASE: u16 = 0;
const NEWEST: u16 = 2;

/// The first byte of a TLS record that carries a handshake.
pub(super) const TLS_HANDSHAKE: u8 = 0x16;

/// The minor version of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Version {
    /// 3.0: cancel secrets of four bytes.
    #[default]
    V30,
    /// 3.2: cancel secrets of up to 256 bytes.
    V32,
}

/// What a packet was.
#[derive(Debug)]
pub(super) enum Packet {
    Ssl,
    Gss,
    Cancel(CancelKey),
    Startup(Startup),
    /// Well-formed, and not to be had.
    Refused(Refusal),
}

/// A start-up packet that is acceptable.
#[derive(Debug)]
pub(super) struct Startup {
    pub(super) hello: Hello,
    pub(super) version: Version,
    /// What the client must be told: it asked for a version or an option that we do not speak.
    pub(super) negotiate: Option<Vec<String>>,
}

/// The length that the packet at the front of `input` claims; `None`: too few bytes to tell.
pub(super) fn length(input: &[u8], limit: usize) -> Result<Option<usize>, Garbled> {
    let Some(&bytes) = input.first_chunk::<4>() else {
        return Ok(None);
    };
    let len = u32::from_be_bytes(bytes) as usize;
    if (8..=limit).contains(&len) {
        return Ok(Some(len));
    }
    Err(Garbled {
        who: Peer::Client,
        expected: "a start-up packet of 8 bytes up to the limit",
        seen: format!("a length of {len}"),
    })
}

/// Reads a packet: everything behind its length.
pub(super) fn read(body: &[u8]) -> Result<Packet, Garbled> {
    let mut r = Reader::new(Peer::Client, "a start-up packet", body);
    let code = r.u32()?;
    let rest = r.take(r.left())?;
    match code {
        SSL | GSS => {
            Reader::new(Peer::Client, "an encryption request without a body", rest).end()?;
            Ok(if code == SSL {
                Packet::Ssl
            } else {
                Packet::Gss
            })
        }
        cancel::CODE => cancel::read(rest).map(Packet::Cancel),
        version => {
            let (major, minor) = ((version >> 16) as u16, (version & 0xffff) as u16);
            if major != MAJOR {
                return Ok(Packet::Refused(Refusal::fatal(
                    RefusalCode::Unsupported,
                    format!("protocol version {major}.{minor} is not supported: use 3.0 or 3.2"),
                )));
            }
            startup(minor, rest)
        }
    }
}

fn startup(minor: u16, rest: &[u8]) -> Result<Packet, Garbled> {
    let mut r = Reader::new(Peer::Client, "start-up parameters in pairs", rest);
    let mut user = None;
    let mut database = None;
    let mut options = None;
    let mut settings = Settings::default();
    let mut unknown = Vec::new();
    let mut refused = None;
    loop {
        let name = r.utf8()?;
        if name.is_empty() {
            break;
        }
        let value = r.utf8()?;
        let twice = match name {
            "user" => user.replace(value).is_some(),
            "database" => database.replace(value).is_some(),
            "options" => options.replace(value).is_some(),
            name if name.starts_with("_pq_.") => {
                let twice = unknown.iter().any(|known| known == name);
                unknown.push(name.to_owned());
                twice
            }
            name => {
                if let Err(refusal) = settings.add(name, value) {
                    refused.get_or_insert(refusal);
                }
                false
            }
        };
        if twice {
            // PostgreSQL takes the last; another reader on the way may take the first.
            refused.get_or_insert_with(|| {
                Refusal::fatal(
                    RefusalCode::Protocol,
                    format!("the start-up parameter {name} is given twice"),
                )
            });
        }
    }
    r.end()?;
    if let Some(Err(refusal)) = options.map(|options| settings.add_options(options)) {
        refused.get_or_insert(refusal);
    }
    if let Some(refusal) = refused {
        return Ok(Packet::Refused(refusal));
    }
    let Some(user) = user.filter(|user| !user.is_empty()) else {
        return Ok(Packet::Refused(Refusal::fatal(
            RefusalCode::Identity,
            "no user name in the start-up packet",
        )));
    };
    let database = database
        .filter(|database| !database.is_empty())
        .unwrap_or(user);
    let version = if minor >= NEWEST {
        Version::V32
    } else {
        Version::V30
    };
    let spoken = matches!(minor, BASE | NEWEST);
    Ok(Packet::Startup(Startup {
        hello: Hello {
            user: user.to_owned(),
            database: database.to_owned(),
            settings: settings.list,
            application: settings.application,
        },
        version,
        negotiate: (!spoken || !unknown.is_empty()).then_some(unknown),
    }))
}

/// Appends NegotiateProtocolVersion: the version that will be spoken, and the options that will
/// not. The version is written whole, as PostgreSQL does and libpq reads it.
pub(super) fn negotiate(version: Version, unknown: &[String], out: &mut BytesMut) {
    frame::message(out, b'v', |out| {
        out.put_u16(MAJOR);
        out.put_u16(match version {
            Version::V30 => BASE,
            Version::V32 => NEWEST,
        });
        // The packet they came in is bounded far below.
        out.put_u32(u32::try_from(unknown.len()).unwrap_or(u32::MAX));
        for name in unknown {
            frame::text(out, name);
        }
    });
}

/// Appends the request for TLS.
pub(super) fn request_tls(out: &mut BytesMut) {
    frame::untyped(out, |out| out.put_u32(SSL));
}

/// Appends a start-up packet of protocol 3.0.
pub(super) fn open(parameters: &[(&str, &str)], out: &mut BytesMut) {
    frame::untyped(out, |out| {
        out.put_u16(MAJOR);
        out.put_u16(BASE);
        for (name, value) in parameters {
            frame::text(out, name);
            frame::text(out, value);
        }
        out.put_u8(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(version: u32, pairs: &[u8]) -> Result<Packet, Garbled> {
        read(&[&version.to_be_bytes()[..], pairs].concat())
    }

    fn startup(version: u32, pairs: &[u8]) -> Startup {
        match packet(version, pairs) {
            Ok(Packet::Startup(startup)) => startup,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_versions_that_are_spoken_and_those_that_are_negotiated() {
        for (asked, spoken, told) in [
            (0x0003_0000, Version::V30, false),
            (0x0003_0001, Version::V30, true),
            (0x0003_0002, Version::V32, false),
            (0x0003_0003, Version::V32, true),
            (0x0003_270f, Version::V32, true),
            (0x0003_ffff, Version::V32, true),
        ] {
            let startup = startup(asked, b"user\0u\0\0");
            assert_eq!(startup.version, spoken, "{asked:x}");
            assert_eq!(startup.negotiate.is_some(), told, "{asked:x}");
        }
        for asked in [0x0002_0000, 0x0004_0000, 0x0000_0000, 0x04d2_162d] {
            assert!(
                matches!(packet(asked, b"user\0u\0\0"), Ok(Packet::Refused(_))),
                "{asked:x}"
            );
        }
    }

    #[test]
    fn unknown_protocol_options_are_told_by_name() {
        let startup = startup(0x0003_270f, b"user\0u\0_pq_.grease\0x\0\0");
        let mut out = BytesMut::new();
        negotiate(startup.version, &startup.negotiate.unwrap(), &mut out);
        assert_eq!(&out[..], b"v\0\0\0\x18\0\x03\0\x02\0\0\0\x01_pq_.grease\0");
    }

    #[test]
    fn the_database_is_the_users_own_when_none_is_named() {
        assert_eq!(startup(0x0003_0000, b"user\0u\0\0").hello.database, "u");
        assert_eq!(
            startup(0x0003_0000, b"user\0u\0database\0d\0\0")
                .hello
                .database,
            "d"
        );
    }

    #[test]
    fn a_packet_without_its_end_or_with_more_behind_it_is_garbled() {
        for pairs in [
            &b"user\0u\0"[..],
            b"user\0u",
            b"user",
            b"",
            b"user\0u\0\0x",
            b"user\0u\0\0\0",
        ] {
            assert!(packet(0x0003_0000, pairs).is_err(), "{pairs:?}");
        }
        assert!(packet(0x0003_0000, b"user\0\xff\0\0").is_err());
        assert!(packet(SSL, b"x").is_err());
        assert!(read(b"\0\x03").is_err());
    }

    #[test]
    fn no_user_or_two_users_are_refused() {
        for pairs in [
            &b"\0"[..],
            b"user\0\0\0",
            b"user\0u\0user\0u\0\0",
            b"user\0u\0database\0a\0database\0b\0\0",
            b"user\0u\0options\0\0options\0\0\0",
            b"user\0u\0_pq_.x\0\0_pq_.x\0\0\0",
            b"user\0u\0replication\0database\0\0",
            b"user\0u\0role\0evil\0\0",
            b"user\0u\0options\0-c role=evil\0\0",
        ] {
            assert!(
                matches!(packet(0x0003_0000, pairs), Ok(Packet::Refused(_))),
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn impossible_lengths_are_garbled_before_the_packet_comes() {
        for len in [0_u32, 1, 7, 10_001, 1 << 31, u32::MAX] {
            assert!(length(&len.to_be_bytes(), 10_000).is_err(), "{len}");
        }
        assert_eq!(length(&[0, 0, 0], 10_000).unwrap(), None);
        assert_eq!(length(&[0, 0, 0, 8], 10_000).unwrap(), Some(8));
    }

    #[test]
    fn what_we_open_with_reads_back() {
        let mut out = BytesMut::new();
        open(
            &[("user", "svc"), ("database", "d"), ("TimeZone", "UTC")],
            &mut out,
        );
        let hello = match read(&out[4..]) {
            Ok(Packet::Startup(startup)) => startup.hello,
            other => panic!("{other:?}"),
        };
        assert_eq!((hello.user.as_str(), hello.database.as_str()), ("svc", "d"));
        assert_eq!(hello.settings, [("TimeZone".to_owned(), "UTC".to_owned())]);
    }
}
