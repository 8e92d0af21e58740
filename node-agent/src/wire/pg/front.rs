//! Pure. Our half of the talk with the client, until it is logged in.

use bytes::{BufMut, BytesMut};
use zeroize::Zeroize;

use crate::model::{Refusal, RefusalCode};
use crate::wire::{Ask4, CancelKey, Credential, FrontLimits, Garbled, Need, Peer, Welcome};

use super::greeting::{self, Packet, TLS_HANDSHAKE, Version};
use super::{frame, login, refusal};

/// Greets a PostgreSQL client.
pub struct Front {
    limits: FrontLimits,
    state: State,
    cover: Cover,
    gss_seen: bool,
    version: Version,
    advertised: Option<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing has come yet: only now may TLS begin without being asked for.
    Fresh,
    /// A request has been answered; the start-up packet is due.
    Opening,
    /// TLS is being set up by the session.
    Handshake,
    /// The session decides how to ask.
    Deciding,
    /// The client owes a password.
    Password,
    /// The client owes its choice of a mechanism.
    BearerChoice,
    /// The client owes the response that it left out of its choice.
    BearerResponse,
    /// The session judges the client's token.
    BearerJudged,
    /// Welcomed or refused: not our business any more.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cover {
    Clear,
    Tls,
}

impl Front {
    fn open(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<Need, Garbled> {
        let Some(&first) = input.first() else {
            return Ok(Need::More);
        };
        if first == TLS_HANDSHAKE && self.state == State::Fresh && self.cover == Cover::Clear {
            self.state = State::Handshake;
            return Ok(Need::DirectTls);
        }
        let Some(len) = greeting::length(input, self.limits.startup)? else {
            return Ok(Need::More);
        };
        if input.len() < len {
            return Ok(Need::More);
        }
        let packet = input.split_to(len);
        let packet = greeting::read(packet.get(4..).unwrap_or_default())?;
        self.state = State::Opening;
        match packet {
            Packet::Ssl => {
                if self.cover == Cover::Tls {
                    return Err(garbled(
                        "a start-up packet",
                        "a second request for encryption",
                    ));
                }
                nothing_behind(input)?;
                self.state = State::Handshake;
                out.put_u8(b'S');
                Ok(Need::Tls)
            }
            Packet::Gss => {
                if self.cover == Cover::Tls || self.gss_seen {
                    return Err(garbled(
                        "a start-up packet",
                        "a second request for encryption",
                    ));
                }
                nothing_behind(input)?;
                self.gss_seen = true;
                out.put_u8(b'N');
                Ok(Need::More)
            }
            Packet::Cancel(key) => {
                self.state = State::Over;
                Ok(Need::Cancel(key))
            }
            Packet::Refused(refusal) => {
                self.state = State::Over;
                Ok(Need::Refuse(refusal))
            }
            Packet::Startup(_) if self.cover == Cover::Clear && !self.limits.plaintext => {
                self.state = State::Over;
                Ok(Need::Refuse(
                    Refusal::fatal(
                        RefusalCode::Identity,
                        "connections in clear are not accepted",
                    )
                    .hint("connect with sslmode=require or better"),
                ))
            }
            Packet::Startup(startup) => {
                self.version = startup.version;
                if let Some(unknown) = startup.negotiate {
                    greeting::negotiate(startup.version, &unknown, out);
                }
                self.state = State::Deciding;
                Ok(Need::Login(startup.hello))
            }
        }
    }

    /// The client owes a message of type 'p'.
    fn token(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<Need, Garbled> {
        let Some(header) = frame::header(Peer::Client, input)? else {
            if let Some(kind) = input.first().filter(|kind| **kind != b'p') {
                return Err(not_a_password(*kind));
            }
            return Ok(Need::More);
        };
        if header.kind != b'p' {
            return Err(not_a_password(header.kind));
        }
        if header.len > login::LONGEST_TOKEN {
            return Err(garbled(
                "a password of at most 65,535 bytes",
                "a longer one",
            ));
        }
        if input.len() < header.len {
            return Ok(Need::More);
        }
        let mut message = input.split_to(header.len);
        let credential = self.credential(frame::body(&message), out);
        // The read buffer must not keep what was in it.
        message.zeroize();
        Ok(match credential? {
            Some(credential) => {
                self.state = match &credential {
                    Credential::Password(_) => State::Deciding,
                    Credential::Bearer(_) => State::BearerJudged,
                };
                Need::Verdict(credential)
            }
            None => Need::More,
        })
    }

    fn credential(
        &mut self,
        body: &[u8],
        out: &mut BytesMut,
    ) -> Result<Option<Credential>, Garbled> {
        match self.state {
            State::BearerChoice => match login::bearer_choice(body)? {
                Some(token) => Ok(Some(Credential::Bearer(token))),
                None => {
                    login::challenge(b"", out);
                    self.state = State::BearerResponse;
                    Ok(None)
                }
            },
            State::BearerResponse => {
                login::bearer_response(body).map(|token| Some(Credential::Bearer(token)))
            }
            State::Fresh
            | State::Opening
            | State::Handshake
            | State::Deciding
            | State::Password
            | State::BearerJudged
            | State::Over => {
                login::password(body).map(|password| Some(Credential::Password(password)))
            }
        }
    }
}

impl crate::wire::Front for Front {
    fn new(limits: FrontLimits) -> Self {
        Front {
            limits,
            state: State::Fresh,
            cover: Cover::Clear,
            gss_seen: false,
            version: Version::V30,
            advertised: None,
        }
    }

    fn greet(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<Need, Garbled> {
        match self.state {
            State::Fresh | State::Opening => self.open(input, out),
            State::Password | State::BearerChoice | State::BearerResponse => self.token(input, out),
            State::Handshake => Err(garbled("a TLS handshake", "bytes in clear")),
            // What the client says before it is asked waits where it is.
            State::Deciding | State::BearerJudged | State::Over => Ok(Need::More),
        }
    }

    fn secured(&mut self) {
        self.cover = Cover::Tls;
        self.state = State::Opening;
    }

    fn ask(&mut self, how: Ask4, out: &mut BytesMut) {
        match how {
            Ask4::Password => {
                login::plain(3, out);
                self.state = State::Password;
            }
            Ask4::Bearer => {
                login::offer_bearer(out);
                self.state = State::BearerChoice;
            }
        }
    }

    fn welcome(&mut self, welcome: &Welcome, out: &mut BytesMut) -> CancelKey {
        self.state = State::Over;
        login::plain(0, out);
        for (name, value) in &welcome.parameters {
            frame::message(out, b'S', |out| {
                frame::text(out, name);
                frame::text(out, value);
            });
        }
        let secret = match self.version {
            Version::V30 => welcome.secret.first_chunk::<4>().map(|four| four.to_vec()),
            Version::V32 => Some(welcome.secret.to_vec()),
        };
        let secret = secret.unwrap_or_default();
        frame::message(out, b'K', |out| {
            out.put_u32(welcome.process);
            out.put_slice(&secret);
        });
        super::deny::ready(out);
        CancelKey {
            process: welcome.process,
            secret,
        }
    }

    fn refuse(&mut self, refusal: &Refusal, out: &mut BytesMut) {
        if self.state == State::BearerJudged {
            // RFC 7628, 3.2.2: the reason is a challenge, and the error follows the client's empty
            // answer to it. Nothing depends on that answer, so the error is not kept back for it.
            let words = login::bearer_error(self.advertised.as_ref());
            login::challenge(words.as_bytes(), out);
        }
        self.state = State::Over;
        let refusal = Refusal {
            fatal: true,
            ..refusal.clone()
        };
        refusal::refuse(&refusal, out);
    }

    fn advertise(&mut self, configuration: &str, scope: &str) {
        self.advertised = Some((configuration.to_owned(), scope.to_owned()));
    }
}

/// Bytes that came with a request for encryption were sent in clear, by whoever sits in between;
/// they must not be read as if they came under its cover.
fn nothing_behind(input: &BytesMut) -> Result<(), Garbled> {
    if input.is_empty() {
        Ok(())
    } else {
        Err(garbled(
            "nothing before the answer to a request for encryption",
            "bytes behind it",
        ))
    }
}

fn not_a_password(kind: u8) -> Garbled {
    garbled(
        "the password that was asked for",
        &format!("type {}", frame::printable(kind)),
    )
}

fn garbled(expected: &'static str, seen: &str) -> Garbled {
    Garbled {
        who: Peer::Client,
        expected,
        seen: seen.to_owned(),
    }
}
