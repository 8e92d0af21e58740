//! Pure. The words of authentication, both ways: what we ask the client (a password in clear, or
//! OAUTHBEARER by RFC 7628) and what the database asks us (clear, md5, SCRAM by RFC 5802).

use bytes::{BufMut, BytesMut};

use crate::model::Secret;
use crate::wire::reader::Reader;
use crate::wire::{Garbled, Peer};

use super::frame;

/// PostgreSQL's own bound on a password message (PG_MAX_AUTH_TOKEN_LENGTH). Tokens are long.
pub(super) const LONGEST_TOKEN: usize = 65_535;

/// The one SASL mechanism we offer.
const BEARER: &[u8] = b"OAUTHBEARER";

/// What the server says in an Authentication message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ask<'a> {
    Ok,
    Cleartext,
    Md5([u8; 4]),
    Sasl(Vec<&'a str>),
    SaslContinue(&'a [u8]),
    SaslFinal(&'a [u8]),
    /// Kerberos, GSSAPI, SSPI and whatever comes.
    Other(u32),
}

/// Reads an Authentication message.
pub(super) fn read(body: &[u8]) -> Result<Ask<'_>, Garbled> {
    let mut r = Reader::new(Peer::Server, "an Authentication message", body);
    let ask = match r.u32()? {
        0 => Ask::Ok,
        3 => Ask::Cleartext,
        5 => {
            let salt = r.take(4)?;
            Ask::Md5(salt.first_chunk().copied().unwrap_or_default())
        }
        10 => {
            let mut mechanisms = Vec::new();
            loop {
                let name = r.utf8()?;
                if name.is_empty() {
                    break;
                }
                mechanisms.push(name);
            }
            Ask::Sasl(mechanisms)
        }
        11 => Ask::SaslContinue(r.take(r.left())?),
        12 => Ask::SaslFinal(r.take(r.left())?),
        other => {
            r.take(r.left())?;
            Ask::Other(other)
        }
    };
    r.end()?;
    Ok(ask)
}

/// Appends an Authentication message that is only a code: 0 (accepted) or 3 (password, please).
pub(super) fn plain(code: u32, out: &mut BytesMut) {
    frame::message(out, b'R', |out| out.put_u32(code));
}

/// Appends the offer of OAUTHBEARER, and nothing else.
pub(super) fn offer_bearer(out: &mut BytesMut) {
    frame::message(out, b'R', |out| {
        out.put_u32(10);
        out.put_slice(BEARER);
        out.put_slice(b"\0\0");
    });
}

/// Appends a SASL challenge.
pub(super) fn challenge(words: &[u8], out: &mut BytesMut) {
    frame::message(out, b'R', |out| {
        out.put_u32(11);
        out.put_slice(words);
    });
}

/// The challenge that tells a client its token was not taken, and where one is to be had.
pub(super) fn bearer_error(advertised: Option<&(String, String)>) -> String {
    let mut words = serde_json::Map::new();
    words.insert("status".to_owned(), "invalid_token".into());
    if let Some((configuration, scope)) = advertised {
        words.insert(
            "openid-configuration".to_owned(),
            configuration.as_str().into(),
        );
        words.insert("scope".to_owned(), scope.as_str().into());
    }
    serde_json::Value::Object(words).to_string()
}

/// Reads a password message of the client.
pub(super) fn password(body: &[u8]) -> Result<Secret<String>, Garbled> {
    let mut r = Reader::new(Peer::Client, "a password of one string", body);
    let password = r.utf8()?;
    r.end()?;
    Ok(Secret::new(password.to_owned()))
}

/// Reads the client's choice of a mechanism. `None`: it left the first response for later.
pub(super) fn bearer_choice(body: &[u8]) -> Result<Option<Secret<String>>, Garbled> {
    let mut r = Reader::new(Peer::Client, "a choice of OAUTHBEARER", body);
    if r.text()? != BEARER {
        return Err(r.garbled("another mechanism"));
    }
    let response = match r.i32()? {
        -1 => None,
        len => {
            let len = usize::try_from(len).map_err(|_| r.garbled("a negative length"))?;
            Some(r.take(len)?)
        }
    };
    r.end()?;
    response.map(bearer_response).transpose()
}

/// Reads the client's first response, RFC 7628, 3.1: a GS2 header, then key/value pairs between
/// 0x01. An empty token is a client that asks where to get one.
pub(super) fn bearer_response(response: &[u8]) -> Result<Secret<String>, Garbled> {
    // The response holds the token: no error may quote it.
    let garbled = |seen: &str| Garbled {
        who: Peer::Client,
        expected: "an OAUTHBEARER response as RFC 7628 says",
        seen: seen.to_owned(),
    };
    let text = std::str::from_utf8(response).map_err(|_| garbled("bytes that are not UTF-8"))?;
    let mut parts = text.split('\x01');
    // "n" or "y", then an optional authorisation identity, then the rest after the second comma.
    match parts
        .next()
        .map(|header| header.split(',').collect::<Vec<_>>())
        .as_deref()
    {
        Some(["n" | "y", identity, ""]) if identity.is_empty() || identity.starts_with("a=") => {}
        Some(["p=", ..] | ["p", ..]) => return Err(garbled("channel binding")),
        _ => return Err(garbled("another GS2 header")),
    }
    let mut token = None;
    let mut ended = false;
    for part in parts.by_ref() {
        if part.is_empty() {
            ended = true;
            break;
        }
        let (key, value) = part
            .split_once('=')
            .ok_or_else(|| garbled("a key without a value"))?;
        // Other keys (host, port) are hints that the RFC allows and nobody needs.
        if key == "auth" && token.replace(value).is_some() {
            return Err(garbled("two tokens"));
        }
    }
    if !ended || parts.next() != Some("") || parts.next().is_some() {
        return Err(garbled("pairs without their end"));
    }
    let value = token.ok_or_else(|| garbled("no auth key"))?;
    if value.is_empty() {
        return Ok(Secret::new(String::new()));
    }
    let token = match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim_matches(' '),
        _ => return Err(garbled("another scheme than Bearer")),
    };
    // RFC 6750, 2.1: the characters of a token.
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if token.is_empty() || !token.bytes().all(legal) {
        return Err(garbled("a token with characters that none has"));
    }
    Ok(Secret::new(token.to_owned()))
}

/// Appends a password message: also the md5 answer.
pub(super) fn write_password(password: &str, out: &mut BytesMut) {
    frame::message(out, b'p', |out| frame::text(out, password));
}

/// Appends the choice of a mechanism with its first response.
pub(super) fn write_choice(mechanism: &str, response: &[u8], out: &mut BytesMut) {
    frame::message(out, b'p', |out| {
        frame::text(out, mechanism);
        // A SCRAM message is some hundred bytes.
        out.put_i32(i32::try_from(response.len()).unwrap_or(i32::MAX));
        out.put_slice(response);
    });
}

/// Appends a further response.
pub(super) fn write_response(response: &[u8], out: &mut BytesMut) {
    frame::message(out, b'p', |out| out.put_slice(response));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(response: &str) -> Option<String> {
        bearer_response(response.as_bytes())
            .ok()
            .map(|token| token.expose().clone())
    }

    #[test]
    fn a_bearer_token_is_read_from_the_first_response() {
        for (response, expected) in [
            ("n,,\x01auth=Bearer abc.def-_~+/=\x01\x01", "abc.def-_~+/="),
            ("y,,\x01auth=bearer abc\x01\x01", "abc"),
            (
                "n,a=user@example,\x01host=db\x01port=5432\x01auth=Bearer  abc\x01\x01",
                "abc",
            ),
            ("n,,\x01auth=\x01\x01", ""),
        ] {
            assert_eq!(token(response).as_deref(), Some(expected), "{response:?}");
        }
    }

    #[test]
    fn a_response_that_is_not_the_rfcs_is_garbled() {
        for response in [
            "",
            "n,,",
            "n,,\x01",
            "n,,\x01\x01",
            "n,,\x01auth=Bearer abc\x01",
            "n,,\x01auth=Bearer abc\x01\x01x",
            "n,,\x01auth=Bearer abc\x01\x01\x01",
            "n,,\x01auth=Bearer abc\x01auth=Bearer def\x01\x01",
            "n,,\x01auth=Basic abc\x01\x01",
            "n,,\x01auth=Bearer \x01\x01",
            "n,,\x01auth=Bearer a b\x01\x01",
            "n,,\x01auth=Bearer a\0b\x01\x01",
            "n,,\x01auth\x01\x01",
            "p=tls-unique,,\x01auth=Bearer abc\x01\x01",
            "n\x01auth=Bearer abc\x01\x01",
            "n,user,\x01auth=Bearer abc\x01\x01",
        ] {
            assert_eq!(token(response), None, "{response:?}");
        }
    }

    #[test]
    fn the_choice_must_be_what_was_offered() {
        let choice = |mechanism: &[u8], tail: &[u8]| {
            bearer_choice(&[mechanism, b"\0", tail].concat()).map(|token| token.is_some())
        };
        assert_eq!(choice(b"OAUTHBEARER", b"\xff\xff\xff\xff"), Ok(false));
        assert_eq!(
            choice(b"OAUTHBEARER", b"\0\0\0\x0cn,,\x01auth=\x01\x01\x01").ok(),
            None
        );
        assert_eq!(
            choice(b"OAUTHBEARER", b"\0\0\0\x0bn,,\x01auth=\x01\x01"),
            Ok(true)
        );
        assert!(choice(b"SCRAM-SHA-256", b"\xff\xff\xff\xff").is_err());
        assert!(choice(b"OAUTHBEARER", b"\0\0\0\x63n,,").is_err());
        assert!(choice(b"OAUTHBEARER", b"").is_err());
    }

    #[test]
    fn what_a_server_asks_is_consumed_exactly() {
        assert_eq!(read(b"\0\0\0\0").unwrap(), Ask::Ok);
        assert_eq!(read(b"\0\0\0\x05abcd").unwrap(), Ask::Md5(*b"abcd"));
        assert_eq!(
            read(b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0").unwrap(),
            Ask::Sasl(vec!["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"])
        );
        for bad in [
            &b"\0\0\0"[..],
            b"\0\0\0\0x",
            b"\0\0\0\x05abc",
            b"\0\0\0\x0aSCRAM\0",
            b"",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_error_challenge_is_json_that_a_client_can_read() {
        assert_eq!(bearer_error(None), r#"{"status":"invalid_token"}"#);
        let words = bearer_error(Some(&("https://i/\"x".to_owned(), "openid".to_owned())));
        let read: serde_json::Value = serde_json::from_str(&words).unwrap();
        assert_eq!(read["openid-configuration"], "https://i/\"x");
        assert_eq!(read["scope"], "openid");
    }
}
