//! The first bytes of a connection: do they begin a session with a database? Pure, used by the
//! kernel programs, tested on the host.
//!
//! Bytes are kept by their place in the stream, so that neither one byte a segment nor a segment
//! sent twice changes what is seen.

use core::mem::size_of;

use crate::flow::{Address, FlowEvent};

/// How many first bytes of each direction are kept.
pub const KEPT: usize = 16;

/// Not watched: no connection was opened by this socket, or it was led to the agent.
pub const SIDE_IDLE: u16 = 0;
/// Its first bytes are looked at.
pub const SIDE_OPEN: u16 = 1;
/// They begin no database session, or it was reported: nothing is looked at any more.
pub const SIDE_DONE: u16 = 2;
/// They do: nothing more of this connection passes.
pub const SIDE_REFUSED: u16 = 3;

/// One direction of a watched connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Side {
    /// `SIDE_*`.
    pub stage: u16,
    /// How many of the first bytes were seen.
    pub have: u16,
    /// TCP's sequence number of the first byte; meaningful while open.
    pub first: u32,
    /// The bytes.
    pub bytes: [u8; KEPT],
}

/// What is kept beside a socket that opened a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Watch {
    /// What its owner says.
    pub out: Side,
    /// What the other side says.
    pub inward: Side,
    /// Not zero when `inward.first` is known.
    pub answered: u32,
}

/// A database that nobody declared was found at the other end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Undeclared {
    /// Who made the socket, and whereto it leads. Its `protocol` is TCP, its kind `EVENT_*`.
    pub event: FlowEvent,
    /// The connection's near end.
    pub local: Address,
    /// Its port, host order.
    pub port: u16,
    /// Not zero: refused, and its owner waits in vain until the socket is ended.
    pub refused: u16,
    /// Not zero: within what may be told of one workload in a second.
    pub told: u32,
    /// The device the socket is bound to; 0 for none.
    pub device: u32,
    /// Zero.
    pub zero: u32,
}

/// A PostgreSQL session was begun where no database is declared.
pub const EVENT_UNDECLARED_POSTGRES: u32 = 32;
/// A MySQL or MariaDB server greeted where no database is declared.
pub const EVENT_UNDECLARED_MYSQL: u32 = 33;

/// Nobody looks.
pub const UNDECLARED_IGNORE: u32 = 0;
/// Told of, and let through.
pub const UNDECLARED_REPORT: u32 = 1;
/// Told of, and ended.
pub const UNDECLARED_REFUSE: u32 = 2;

/// What a segment has of the first bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The next of them, so many bytes behind its beginning.
    Next(u32),
    /// Nothing that was not seen before.
    Old,
    /// Later ones: those before are on their way.
    Ahead,
}

/// Where the next first byte is in a segment that begins with the byte of that sequence number.
/// Numbers wrap around (RFC 9293, 3.4).
#[inline(always)]
pub fn part(first: u32, have: u64, begins: u32, length: u32) -> Part {
    let from = first.wrapping_add(have as u32).wrapping_sub(begins);
    if (from as i32) < 0 {
        Part::Ahead
    } else if from >= length {
        Part::Old
    } else {
        Part::Next(from)
    }
}

/// What the first bytes of one direction are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Said {
    /// Too few to tell.
    More,
    /// No database.
    Nothing,
    /// The beginning of a TLS record; what it asks for tells.
    Tls,
    /// A client of PostgreSQL.
    Postgres,
    /// A server of MySQL or MariaDB.
    Mysql,
}

/// What a client says first. PostgreSQL, "Message Formats": a length that counts itself, then a
/// code; a start-up message then names its first parameter. The name is looked at because other
/// protocols (Kafka's first request) are alike up to there.
#[inline(always)]
pub fn client_says(bytes: &[u8; KEPT], have: u64) -> Said {
    const MAJOR_3: u32 = 3;
    const VERSION_2: u32 = 2 << 16;
    const CANCEL: u32 = 1234 << 16 | 5678;
    const SSL: u32 = 1234 << 16 | 5679;
    const GSSENC: u32 = 1234 << 16 | 5680;
    // What a server takes at most (MAX_STARTUP_PACKET_LENGTH).
    const LONGEST: u32 = 10_000;

    if have < 1 {
        return Said::More;
    }
    if bytes[0] == 22 {
        return Said::Tls; // RFC 8446, 5.1: a handshake
    }
    if bytes[0] != 0 {
        return Said::Nothing;
    }
    if have < 8 {
        return Said::More;
    }
    let length = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let code = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    if ((code == SSL || code == GSSENC) && length == 8)
        || (code == CANCEL && (16..=268).contains(&length))
        || (code == VERSION_2 && length == 296)
    {
        return Said::Postgres;
    }
    if code >> 16 != MAJOR_3 || length <= 8 || length > LONGEST {
        return Said::Nothing;
    }
    if have < 12 {
        return Said::More;
    }
    let first = bytes[8].is_ascii_alphabetic() || bytes[8] == b'_';
    if first && names(bytes[9]) && names(bytes[10]) && names(bytes[11]) {
        Said::Postgres
    } else {
        Said::Nothing
    }
}

/// May it be in a parameter's name, or end it?
#[inline(always)]
fn names(byte: u8) -> bool {
    byte == 0 || (0x20..0x7f).contains(&byte)
}

/// What a server says first. MySQL, "Protocol::HandshakeV10": a length of three bytes, a sequence
/// number of zero, the protocol's version, then the server's in words; or "ERR_Packet" in its
/// place, as to a host that is blocked. The X protocol begins with a notice.
#[inline(always)]
pub fn server_says(bytes: &[u8; KEPT], have: u64) -> Said {
    const HANDSHAKE: u8 = 10;
    const ERROR: u8 = 0xff;
    const X_NOTICE: u8 = 11;

    if (have > 2 && bytes[2] != 0) || (have > 3 && bytes[3] != 0) {
        return Said::Nothing;
    }
    let kind = bytes[4];
    if have > 4 && kind != HANDSHAKE && kind != ERROR && kind != X_NOTICE {
        return Said::Nothing;
    }
    if have < 8 {
        return Said::More;
    }
    let length = u16::from_le_bytes([bytes[0], bytes[1]]);
    let (a, b, c) = (bytes[5], bytes[6], bytes[7]);
    let found = if kind == HANDSHAKE {
        // 8.0.36, 10.11.6-MariaDB
        let version = a.is_ascii_digit() && (b == b'.' || (b.is_ascii_digit() && c == b'.'));
        version && (20..=1_024).contains(&length)
    } else if kind == ERROR {
        let code = u16::from_le_bytes([a, b]);
        (1_000..5_000).contains(&code) && c >= 0x20 && (4..=1_024).contains(&length)
    } else {
        length == 5 && a == 8 && b == 5 && c == 0x1a
    };
    if found { Said::Mysql } else { Said::Nothing }
}

const _: () = {
    assert!(size_of::<Side>() == 24);
    assert!(size_of::<Watch>() == 52);
    assert!(size_of::<Undeclared>() == 96 + 16 + 4 + 4 * 3);
};

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &[u8]) -> ([u8; KEPT], u64) {
        let mut bytes = [0xaa; KEPT];
        let count = text.len().min(KEPT);
        bytes[..count].copy_from_slice(&text[..count]);
        (bytes, count as u64)
    }

    fn startup(length: u32, code: u32, rest: &[u8]) -> Vec<u8> {
        [&length.to_be_bytes()[..], &code.to_be_bytes(), rest].concat()
    }

    /// However many bytes came so far, the answer is that or not yet that.
    fn says(how: fn(&[u8; KEPT], u64) -> Said, text: &[u8], want: Said) {
        let mut last = Said::More;
        for count in 0..=text.len() {
            let (bytes, have) = kept(&text[..count]);
            let said = how(&bytes, have);
            assert!(
                said == Said::More || said == want,
                "{text:?} {count} {said:?}"
            );
            assert!(last == Said::More || said == last, "{text:?} {count}");
            last = said;
        }
        assert_eq!(last, want, "{text:?}");
    }

    #[test]
    fn clients_of_postgresql_are_known_by_their_first_bytes() {
        const SSL: u32 = 80_877_103;
        for (text, want) in [
            (startup(41, 196_608, b"user\0app\0"), Said::Postgres),
            (startup(41, 196_610, b"database\0x\0"), Said::Postgres),
            (startup(41, 0x0003_270f, b"_pq_.x\0y\0"), Said::Postgres),
            (startup(41, 196_608, b"a\0b\0user\0"), Said::Postgres),
            (startup(8, SSL, b""), Said::Postgres),
            (startup(8, 80_877_104, b""), Said::Postgres),
            (startup(16, 80_877_102, &[0; 8]), Said::Postgres),
            (startup(268, 80_877_102, &[0; 8]), Said::Postgres),
            (startup(296, 131_072, &[0; 8]), Said::Postgres),
            (startup(9, SSL, b"\0"), Said::Nothing),
            (startup(8, 196_608, b""), Said::Nothing),
            (startup(10_001, 196_608, b"user\0"), Said::Nothing),
            (startup(41, 4 << 16, b"user\0"), Said::Nothing),
            // Kafka's request for metadata: length, key 3, version, correlation, client.
            (startup(30, 196_608, &[0, 0, 0, 1, 0, 8]), Said::Nothing),
            (startup(30, 196_617, &[0, 0, 0, 0, 0, 8]), Said::Nothing),
            // DNS over TCP.
            (
                vec![0, 29, 0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0],
                Said::Nothing,
            ),
            (b"GET / HTTP/1.1\r\n".to_vec(), Said::Nothing),
            (b"SSH-2.0-OpenSSH".to_vec(), Said::Nothing),
            (vec![22, 3, 1, 2, 0, 1], Said::Tls),
        ] {
            says(client_says, &text, want);
        }
    }

    #[test]
    fn segments_are_placed_by_their_sequence_number() {
        const LAST: u32 = u32::MAX - 2;
        for (first, have, begins, length, want) in [
            (100, 0, 100, 20, Part::Next(0)),
            (100, 4, 104, 1, Part::Next(0)),
            (100, 4, 100, 4, Part::Old),
            (100, 4, 100, 5, Part::Next(4)),
            (100, 4, 102, 9, Part::Next(2)),
            (100, 4, 90, 11, Part::Old),
            (100, 4, 90, 15, Part::Next(14)),
            (100, 4, 105, 3, Part::Ahead),
            (100, 0, 1_560, 1_460, Part::Ahead),
            (LAST, 0, LAST, 9, Part::Next(0)),
            (LAST, 5, 2, 9, Part::Next(0)),
            (LAST, 5, LAST, 9, Part::Next(5)),
            (LAST, 1, 0, 9, Part::Ahead),
        ] {
            let got = part(first, have, begins, length);
            assert_eq!(got, want, "{first} {have} {begins} {length}");
        }
    }

    #[test]
    fn servers_of_mysql_are_known_by_their_greeting() {
        for (text, want) in [
            (&b"\x4a\0\0\0\x0a8.0.36\0\x08\0\0\0"[..], Said::Mysql),
            (b"\x5b\0\0\0\x0a5.5.5-10.6.4", Said::Mysql),
            (b"\x5b\0\0\0\x0a11.4.2-Maria", Said::Mysql),
            (b"\x45\0\0\0\xff\x69\x04Host '192", Said::Mysql), // 1129
            (b"\x17\0\0\0\xff\x10\x04#08004", Said::Mysql),    // 1040
            (b"\x05\0\0\0\x0b\x08\x05\x1a\0", Said::Mysql),
            (b"\x4a\0\0\0\x09something", Said::Nothing),
            (b"\x4a\0\0\x01\x0a8.0.36\0", Said::Nothing),
            (b"\x4a\0\x01\0\x0a8.0.36\0", Said::Nothing),
            (b"\x4a\0\0\0\x0aabc.def\0", Said::Nothing),
            (b"\x4a\x10\0\0\x0a8.0.36\0", Said::Nothing),
            (b"\x45\0\0\0\xff\x00\x00\x00\x00\x00", Said::Nothing),
            (b"HTTP/1.1 200 OK", Said::Nothing),
            (b"SSH-2.0-OpenSSH", Said::Nothing),
            (b"220 mail ESMTP", Said::Nothing),
            (b"\x16\x03\x03\x00\x7a\x02\0\0", Said::Nothing),
            (b"+OK\r\n-ERR", Said::Nothing),
        ] {
            says(server_says, text, want);
        }
    }
}
