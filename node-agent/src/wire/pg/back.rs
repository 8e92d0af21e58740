//! Pure. Our half of the talk with the database, until logged in. Always protocol 3.0: what 3.2
//! adds is a longer cancel secret.

use bytes::{Bytes, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};

use crate::model::Secret;
use crate::wire::reader::Reader;
use crate::wire::{BackLogin, BackNeed, Garbled, Greeted, Peer, Transaction};

use super::login::Ask;
use super::{answer, cancel, frame, greeting, login, refusal};

/// No message of a login is longer, unless something else than a database sends it.
const LONGEST: usize = 64 << 10;

/// More SCRAM rounds than any database is set to, and less than a second's work. The server says the
/// number before it has proven anything.
const MOST_ROUNDS: u64 = 1_000_000;

/// More parameter reports than any server sends.
const MOST_PARAMETERS: usize = 1_000;

/// Logs in at a PostgreSQL database.
pub struct Back {
    login: BackLogin,
    state: State,
    endpoint: Option<Vec<u8>>,
    greeted: Greeted,
}

enum State {
    /// Nothing sent yet.
    Fresh,
    /// The request for TLS is out; one byte is due.
    TlsAnswer,
    /// The session does the handshake.
    Handshake,
    /// TLS is up; the start-up packet is due from us.
    Secured,
    /// The start-up packet is out.
    Authenticating,
    /// SCRAM's first message is out.
    ScramFirst(Box<ScramSha256>),
    /// SCRAM's proof is out: the server owes its own.
    ScramProof(Box<ScramSha256>),
    /// A password, an md5 answer or SCRAM is through: only the server's yes is due.
    Proven,
    /// Logged in, the reports are coming.
    Accepted,
    /// Ready or failed.
    Over,
}

impl Back {
    fn start(&mut self, out: &mut BytesMut) {
        let mut parameters = vec![
            ("user", self.login.user.as_str()),
            ("database", self.login.database.as_str()),
        ];
        // Statements are judged as UTF-8, so they must be read as UTF-8, whatever the database's
        // own default is.
        parameters.push(("client_encoding", "UTF8"));
        let others = self.login.settings.iter();
        let others = others.filter(|(name, _)| !name.eq_ignore_ascii_case("client_encoding"));
        parameters.extend(others.map(|(name, value)| (name.as_str(), value.as_str())));
        greeting::open(&parameters, out);
        self.state = State::Authenticating;
    }

    fn tls_answer(&mut self, input: &mut BytesMut) -> Result<BackNeed, Garbled> {
        match (input.first(), input.len()) {
            (None, _) => Ok(BackNeed::More),
            (Some(b'S'), 1) => {
                input.clear();
                self.state = State::Handshake;
                Ok(BackNeed::Tls)
            }
            // Bytes in clear behind the yes would be read as if they came under TLS.
            (Some(b'S'), _) => Err(garbled("a single S", "bytes behind it")),
            // Whoever says no or reports an error here need not be the database: its words are
            // nobody's, and are not shown (CVE-2024-10977).
            (Some(b'N' | b'E'), _) => Ok(self.failed(
                "08006",
                "the database does not offer TLS, which is required",
            )),
            (Some(_), _) => Err(garbled("S or N", "another byte")),
        }
    }

    fn failed(&mut self, code: &str, message: &str) -> BackNeed {
        self.state = State::Over;
        BackNeed::Failed {
            code: code.to_owned(),
            message: message.to_owned(),
        }
    }

    /// One message of the login. `None`: go on with the next.
    fn message(
        &mut self,
        kind: u8,
        body: &[u8],
        out: &mut BytesMut,
    ) -> Result<Option<BackNeed>, Garbled> {
        match (kind, &self.state) {
            (b'E', _) => {
                let error = refusal::read("an ErrorResponse", body)?;
                Ok(Some(self.failed(&error.code, &error.message)))
            }
            (b'N', _) => {
                refusal::read("a NoticeResponse", body)?;
                Ok(None)
            }
            (b'v', State::Authenticating) => {
                let mut r = Reader::new(Peer::Server, "a NegotiateProtocolVersion to 3.0", body);
                // We asked for the oldest version and for no option: there is nothing to deny.
                if (r.u32()?, r.u32()?) != (0x0003_0000, 0) {
                    return Err(r.garbled("another version or options"));
                }
                r.end()?;
                Ok(None)
            }
            (b'R', State::Accepted) => Err(garbled("the end of the login", "another question")),
            (b'R', _) => self.asked(login::read(body)?, out),
            (b'S', State::Accepted) => self.parameter(body),
            (b'K', State::Accepted) => {
                let mut r = Reader::new(Peer::Server, "a cancel key", body);
                self.greeted.process = r.u32()?;
                let secret = r.take(r.left())?;
                if !(4..=256).contains(&secret.len()) {
                    return Err(r.garbled("a secret that is not 4 to 256 bytes long"));
                }
                self.greeted.secret = secret.to_vec();
                Ok(None)
            }
            (b'Z', State::Accepted) => {
                let mut whole = BytesMut::new();
                frame::message(&mut whole, kind, |out| out.extend_from_slice(body));
                if answer::ready(&whole)? != Transaction::Idle {
                    return Err(garbled("an idle session", "an open transaction"));
                }
                self.state = State::Over;
                Ok(Some(BackNeed::Ready(std::mem::take(&mut self.greeted))))
            }
            (other, _) => Err(garbled(
                "a message of the login",
                &format!("type {}", frame::printable(other)),
            )),
        }
    }

    fn parameter(&mut self, body: &[u8]) -> Result<Option<BackNeed>, Garbled> {
        let mut r = Reader::new(Peer::Server, "a ParameterStatus of two strings", body);
        let name = r.utf8()?;
        let value = String::from_utf8_lossy(r.text()?).into_owned();
        if self.greeted.parameters.len() >= MOST_PARAMETERS {
            return Err(r.garbled("parameter reports without end"));
        }
        r.end()?;
        // Both change what the bytes of a statement mean. A database that does not follow cannot
        // be judged for.
        let wrong = match name {
            "client_encoding" => value != "UTF8",
            "standard_conforming_strings" => value != "on",
            _ => false,
        };
        if wrong {
            let message = format!("the database insists on {name}={value}");
            return Ok(Some(self.failed("0A000", &message)));
        }
        self.greeted.parameters.push((name.to_owned(), value));
        Ok(None)
    }

    fn asked(&mut self, ask: Ask<'_>, out: &mut BytesMut) -> Result<Option<BackNeed>, Garbled> {
        let state = std::mem::replace(&mut self.state, State::Over);
        match (ask, state) {
            (Ask::Ok, State::Authenticating) if self.unproven() => Ok(Some(self.failed(
                "28000",
                "the database let the agent in without a proof that it knows the password; \
                 a target that is to be trusted has no password, or tls: verify-full",
            ))),
            (Ask::Ok, State::Authenticating | State::Proven) => {
                self.state = State::Accepted;
                Ok(None)
            }
            // A server that skips its own proof does not know the password.
            (Ask::Ok, _) => Err(garbled("the server's proof", "a yes without it")),
            (Ask::Cleartext, State::Authenticating) => {
                if !self.login.proven {
                    return Ok(Some(self.failed(
                        "28000",
                        "the database asks for the password in clear, outside verified TLS",
                    )));
                }
                let Some(password) = self.password() else {
                    return Ok(Some(self.no_password()));
                };
                login::write_password(password.expose(), out);
                self.state = State::Proven;
                Ok(None)
            }
            (Ask::Md5(_), State::Authenticating) if self.unproven() => Ok(Some(self.failed(
                "28000",
                "the database asks for an md5 answer outside verified TLS: whoever gets it can \
                 find the password, and proves nothing",
            ))),
            (Ask::Md5(salt), State::Authenticating) => {
                let Some(password) = self.password() else {
                    return Ok(Some(self.no_password()));
                };
                let user = self.login.user.as_bytes();
                let answer = Secret::new(md5_hash(user, password.expose().as_bytes(), salt));
                login::write_password(answer.expose(), out);
                self.state = State::Proven;
                Ok(None)
            }
            (Ask::Sasl(mechanisms), State::Authenticating) => {
                let Some(password) = self.password() else {
                    return Ok(Some(self.no_password()));
                };
                let Some((mechanism, binding)) = self.scram(&mechanisms) else {
                    return Ok(Some(self.failed(
                        "28000",
                        "the database offers no SASL mechanism that is supported",
                    )));
                };
                let scram = ScramSha256::new(password.expose().as_bytes(), binding);
                login::write_choice(mechanism, scram.message(), out);
                self.state = State::ScramFirst(Box::new(scram));
                Ok(None)
            }
            (Ask::SaslContinue(words), State::ScramFirst(_)) if rounds(words) > MOST_ROUNDS => {
                Ok(Some(self.failed(
                    "28000",
                    "the database's SCRAM challenge asks for too many rounds",
                )))
            }
            (Ask::SaslContinue(words), State::ScramFirst(mut scram)) => {
                if scram.update(words).is_err() {
                    return Ok(Some(
                        self.failed("28000", "the database's SCRAM challenge is wrong"),
                    ));
                }
                login::write_response(scram.message(), out);
                self.state = State::ScramProof(scram);
                Ok(None)
            }
            (Ask::SaslFinal(words), State::ScramProof(mut scram)) => {
                if scram.finish(words).is_err() {
                    return Ok(Some(self.failed(
                        "28000",
                        "the database could not prove that it knows the password",
                    )));
                }
                self.state = State::Proven;
                Ok(None)
            }
            (Ask::Other(code), State::Authenticating) => {
                let message = format!(
                    "the database asks for an authentication that is not supported ({code})"
                );
                Ok(Some(self.failed("28000", &message)))
            }
            (
                Ask::Cleartext
                | Ask::Md5(_)
                | Ask::Sasl(_)
                | Ask::SaslContinue(_)
                | Ask::SaslFinal(_)
                | Ask::Other(_),
                _,
            ) => Err(garbled("the next step of the login", "another")),
        }
    }

    /// There is a password to protect, and nothing but SCRAM could tell the database from an
    /// impostor.
    fn unproven(&self) -> bool {
        self.login.password.is_some() && !self.login.proven
    }

    fn password(&self) -> Option<Secret<String>> {
        self.login.password.clone()
    }

    fn no_password(&mut self) -> BackNeed {
        self.failed(
            "28P01",
            "the database asks for a password and none is configured",
        )
    }

    /// The best mechanism that both know.
    fn scram(&self, offered: &[&str]) -> Option<(&'static str, ChannelBinding)> {
        let plus = offered.contains(&SCRAM_SHA_256_PLUS);
        let bare = offered.contains(&SCRAM_SHA_256);
        match (&self.endpoint, plus, bare) {
            (Some(endpoint), true, _) => Some((
                SCRAM_SHA_256_PLUS,
                ChannelBinding::tls_server_end_point(endpoint.clone()),
            )),
            // We could have bound the channel: if the server could have too, somebody in between
            // took it out of the list, and the server will notice by this flag ("y").
            (Some(_), false, true) => Some((SCRAM_SHA_256, ChannelBinding::unrequested())),
            (None, _, true) => Some((SCRAM_SHA_256, ChannelBinding::unsupported())),
            (Some(_), false, false) | (None, _, false) => None,
        }
    }
}

impl crate::wire::Back for Back {
    fn new(login: BackLogin) -> Self {
        Back {
            login,
            state: State::Fresh,
            endpoint: None,
            greeted: Greeted::default(),
        }
    }

    fn greet(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<BackNeed, Garbled> {
        match self.state {
            State::Fresh => {
                // A server speaks when it is spoken to.
                if !input.is_empty() {
                    return Err(garbled("nothing before we opened", "bytes"));
                }
                if self.login.tls {
                    greeting::request_tls(out);
                    self.state = State::TlsAnswer;
                } else {
                    self.start(out);
                }
                Ok(BackNeed::More)
            }
            State::TlsAnswer => self.tls_answer(input),
            State::Handshake => Err(garbled("a TLS handshake", "bytes in clear")),
            State::Secured => {
                if !input.is_empty() {
                    return Err(garbled("nothing before we opened", "bytes"));
                }
                self.start(out);
                Ok(BackNeed::More)
            }
            State::Authenticating
            | State::ScramFirst(_)
            | State::ScramProof(_)
            | State::Proven
            | State::Accepted => loop {
                let Some(header) = frame::header(Peer::Server, input)? else {
                    return Ok(BackNeed::More);
                };
                if header.len > LONGEST {
                    return Err(garbled("a message of the login", "one that is too long"));
                }
                if input.len() < header.len {
                    return Ok(BackNeed::More);
                }
                let message = input.split_to(header.len);
                if let Some(need) = self.message(header.kind, frame::body(&message), out)? {
                    return Ok(need);
                }
            },
            State::Over => Err(garbled("nothing behind the end of the login", "bytes")),
        }
    }

    fn secured(&mut self, endpoint: Option<Vec<u8>>) {
        self.endpoint = endpoint;
        self.state = State::Secured;
    }

    fn cancel(process: u32, secret: &[u8]) -> Bytes {
        cancel::request(process, secret)
    }
}

/// The rounds that a SCRAM challenge asks for (RFC 5802, 5.1: `i=`); what is no number is refused by
/// who reads the rest.
fn rounds(challenge: &[u8]) -> u64 {
    let mut parts = challenge.split(|byte| *byte == b',');
    let digits = parts.find_map(|part| part.strip_prefix(b"i="));
    let text = digits.and_then(|digits| std::str::from_utf8(digits).ok());
    match text.map(str::parse) {
        Some(Ok(rounds)) => rounds,
        // Too large for the type, or not a number at all.
        Some(Err(_)) => u64::MAX,
        None => 0,
    }
}

fn garbled(expected: &'static str, seen: &str) -> Garbled {
    Garbled {
        who: Peer::Server,
        expected,
        seen: seen.to_owned(),
    }
}
