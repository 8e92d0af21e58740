//! Both logins, byte by byte.

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;

use super::super::{Back, Front, Talk};
use crate::model::{Refusal, RefusalCode, Secret};
use crate::wire::{
    Ask4, Back as _, BackLogin, BackNeed, Credential, Front as _, FrontLimits, Garbled, Need,
    Talk as _, Welcome,
};

const SSL: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
const GSS: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x30";

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 4).unwrap();
    [&[kind], &len.to_be_bytes()[..], body].concat()
}

fn packet(body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 4).unwrap();
    [&len.to_be_bytes()[..], body].concat()
}

fn startup(version: &[u8; 4]) -> Vec<u8> {
    packet(&[&version[..], b"user\0agent\0\0"].concat())
}

/// A client's front, with what it said so far.
struct Client {
    front: Front,
    input: BytesMut,
    out: BytesMut,
}

impl Client {
    fn new() -> Self {
        Client::with(FrontLimits::default())
    }

    fn with(limits: FrontLimits) -> Self {
        Client {
            front: Front::new(limits),
            input: BytesMut::new(),
            out: BytesMut::new(),
        }
    }

    fn says(&mut self, bytes: &[u8]) -> Result<Need, Garbled> {
        self.input.extend_from_slice(bytes);
        self.front.greet(&mut self.input, &mut self.out)
    }

    fn gets(&mut self) -> Vec<u8> {
        self.out.split().to_vec()
    }
}

const V30: &[u8; 4] = b"\0\x03\0\0";
const V32: &[u8; 4] = b"\0\x03\0\x02";

#[test]
fn a_client_that_asks_for_tls_gets_it_and_begins_again() {
    let mut client = Client::new();
    assert!(matches!(client.says(GSS), Ok(Need::More)));
    assert_eq!(client.gets(), b"N");
    assert!(matches!(client.says(SSL), Ok(Need::Tls)));
    assert_eq!(client.gets(), b"S");
    client.front.secured();
    assert!(matches!(client.says(&startup(V30)), Ok(Need::Login(hello)) if hello.user == "agent"));
}

#[test]
fn bytes_behind_a_request_for_encryption_are_never_read() {
    for request in [SSL, GSS] {
        let mut client = Client::new();
        assert!(client.says(&[request, &startup(V30)].concat()).is_err());
        assert_eq!(client.gets(), b"");
    }
}

#[test]
fn each_request_for_encryption_comes_once() {
    let mut client = Client::new();
    client.says(GSS).unwrap();
    assert!(client.says(GSS).is_err());
    for again in [SSL, GSS] {
        let mut client = Client::new();
        client.says(SSL).unwrap();
        client.front.secured();
        assert!(client.says(again).is_err());
    }
    let mut client = Client::new();
    client.says(SSL).unwrap();
    assert!(
        client.says(&startup(V30)).is_err(),
        "in clear, where a handshake is due"
    );
}

#[test]
fn direct_tls_is_seen_by_its_first_byte_and_only_there() {
    let mut client = Client::new();
    assert!(matches!(
        client.says(b"\x16\x03\x01\x02\0"),
        Ok(Need::DirectTls)
    ));
    assert_eq!(&client.input[..], b"\x16\x03\x01\x02\0", "untouched");
    let mut client = Client::new();
    client.says(GSS).unwrap();
    assert!(!matches!(
        client.says(b"\x16\x03\x01\x02\0"),
        Ok(Need::DirectTls)
    ));
}

#[test]
fn clear_is_refused_where_it_is_not_allowed_and_cancel_is_not() {
    let limits = FrontLimits {
        plaintext: false,
        ..FrontLimits::default()
    };
    let mut client = Client::with(limits);
    let Ok(Need::Refuse(refusal)) = client.says(&startup(V30)) else {
        panic!("refused")
    };
    assert_eq!(refusal.code, RefusalCode::Identity);
    client.front.refuse(&refusal, &mut client.out);
    assert!(client.gets().starts_with(b"E"));
    let mut client = Client::with(limits);
    client.says(SSL).unwrap();
    client.front.secured();
    assert!(matches!(client.says(&startup(V30)), Ok(Need::Login(_))));
    let mut client = Client::with(limits);
    let cancel = Back::cancel(7, &[1; 32]);
    assert!(matches!(client.says(&cancel), Ok(Need::Cancel(key)) if key.secret == [1; 32]));
}

#[test]
fn impossible_start_ups_close_at_once() {
    for len in [0_u32, 4, 7, 10_001, 1 << 31, u32::MAX] {
        assert!(Client::new().says(&len.to_be_bytes()).is_err(), "{len}");
    }
    assert!(matches!(Client::new().says(b"\0\0\0"), Ok(Need::More)));
}

fn welcome() -> Welcome {
    Welcome {
        parameters: vec![("client_encoding".to_owned(), "UTF8".to_owned())],
        process: 0x0102_0304,
        secret: *b"0123456789abcdef0123456789abcdef",
    }
}

#[test]
fn a_password_login_on_both_protocol_versions() {
    for (version, secret) in [
        (V30, &b"0123"[..]),
        (V32, b"0123456789abcdef0123456789abcdef"),
    ] {
        let mut client = Client::new();
        assert!(matches!(client.says(&startup(version)), Ok(Need::Login(_))));
        client.front.ask(Ask4::Password, &mut client.out);
        assert_eq!(client.gets(), frame(b'R', b"\0\0\0\x03"));
        // What is pipelined behind the password stays unread.
        let query = frame(b'Q', b"select 1\0");
        let said = [frame(b'p', b"token\0"), query.clone()].concat();
        match client.says(&said) {
            Ok(Need::Verdict(Credential::Password(password))) => {
                assert_eq!(password.expose(), "token");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(client.input, query);
        let key = client.front.welcome(&welcome(), &mut client.out);
        assert_eq!((key.process, &key.secret[..]), (0x0102_0304, secret));
        let expected = [
            frame(b'R', b"\0\0\0\0"),
            frame(b'S', b"client_encoding\0UTF8\0"),
            frame(b'K', &[b"\x01\x02\x03\x04", secret].concat()),
            frame(b'Z', b"I"),
        ];
        assert_eq!(client.gets(), expected.concat());
    }
}

#[test]
fn a_newer_client_is_told_what_is_spoken_before_it_is_asked() {
    let mut client = Client::new();
    let body = b"\0\x03\x27\x0fuser\0agent\0_pq_.test\0on\0\0";
    assert!(matches!(client.says(&packet(body)), Ok(Need::Login(_))));
    assert_eq!(
        client.gets(),
        frame(b'v', b"\0\x03\0\x02\0\0\0\x01_pq_.test\0")
    );
    client.front.ask(Ask4::Password, &mut client.out);
    client.says(&frame(b'p', b"x\0")).unwrap();
    assert_eq!(
        client
            .front
            .welcome(&welcome(), &mut client.out)
            .secret
            .len(),
        32
    );
}

#[test]
fn instead_of_a_password_nothing_else_is_read() {
    for bad in [
        frame(b'Q', b"select 1\0"),
        frame(b'p', b"two\0strings\0"),
        frame(b'p', b"no end"),
        frame(b'p', b"\xff\0"),
        b"p\0\x01\0\0".to_vec(),
        b"p\xff\xff\xff\xff".to_vec(),
        b"X".to_vec(),
    ] {
        let mut client = Client::new();
        client.says(&startup(V30)).unwrap();
        client.front.ask(Ask4::Password, &mut client.out);
        assert!(client.says(&bad).is_err(), "{bad:?}");
    }
}

fn bearer() -> Client {
    let mut client = Client::new();
    client.says(&startup(V32)).unwrap();
    client.front.ask(Ask4::Bearer, &mut client.out);
    assert_eq!(client.gets(), frame(b'R', b"\0\0\0\x0aOAUTHBEARER\0\0"));
    client
}

fn token(need: Result<Need, Garbled>) -> String {
    match need {
        Ok(Need::Verdict(Credential::Bearer(token))) => token.expose().clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bearer_token_comes_with_the_choice_or_behind_it() {
    let response = b"n,,\x01auth=Bearer abc\x01\x01";
    let len = u32::try_from(response.len()).unwrap().to_be_bytes();
    let choice = [b"OAUTHBEARER\0", &len[..], response].concat();
    assert_eq!(token(bearer().says(&frame(b'p', &choice))), "abc");

    let mut client = bearer();
    let choice = frame(b'p', b"OAUTHBEARER\0\xff\xff\xff\xff");
    assert!(matches!(client.says(&choice), Ok(Need::More)));
    assert_eq!(client.gets(), frame(b'R', b"\0\0\0\x0b"));
    assert_eq!(token(client.says(&frame(b'p', response))), "abc");
}

#[test]
fn a_refused_token_is_challenged_and_then_refused() {
    let mut client = bearer();
    client
        .front
        .advertise("https://issuer/.well-known/openid-configuration", "openid");
    let response = b"OAUTHBEARER\0\0\0\0\x0bn,,\x01auth=\x01\x01";
    assert_eq!(token(client.says(&frame(b'p', response))), "");
    let refusal = Refusal::new(RefusalCode::Identity, "no token");
    client.front.refuse(&refusal, &mut client.out);
    let told = client.gets();
    let challenge = [
        b"\0\0\0\x0b".to_vec(),
        br#"{"openid-configuration":"https://issuer/.well-known/openid-configuration","scope":"openid","status":"invalid_token"}"#
            .to_vec(),
    ];
    let challenge = frame(b'R', &challenge.concat());
    assert!(
        told.starts_with(&challenge),
        "{}",
        String::from_utf8_lossy(&told)
    );
    let mut error = BytesMut::new();
    Talk::<(), ()>::write_refusal(
        &Refusal {
            fatal: true,
            ..refusal
        },
        &mut error,
    );
    assert_eq!(&told[challenge.len()..], error);
}

/// A database's back, with what it was told so far.
struct Server {
    back: Back,
    input: BytesMut,
    out: BytesMut,
}

impl Server {
    fn new(login: BackLogin) -> Self {
        let mut server = Server {
            back: Back::new(login),
            input: BytesMut::new(),
            out: BytesMut::new(),
        };
        assert!(matches!(server.says(b""), Ok(BackNeed::More)));
        server
    }

    fn says(&mut self, bytes: &[u8]) -> Result<BackNeed, Garbled> {
        self.input.extend_from_slice(bytes);
        self.back.greet(&mut self.input, &mut self.out)
    }

    fn gets(&mut self) -> Vec<u8> {
        self.out.split().to_vec()
    }

    /// As above, of which only the body of the last message matters.
    fn body(&mut self) -> Vec<u8> {
        self.gets().split_off(5)
    }
}

fn login() -> BackLogin {
    BackLogin {
        user: "svc".to_owned(),
        password: Some(Secret::new("pencil".to_owned())),
        database: "orders".to_owned(),
        settings: vec![("TimeZone".to_owned(), "UTC".to_owned())],
        tls: false,
        proven: false,
    }
}

/// The same to a server whose certificate was verified.
fn proven() -> BackLogin {
    BackLogin {
        proven: true,
        ..login()
    }
}

fn opening() -> Vec<u8> {
    packet(b"\0\x03\0\0user\0svc\0database\0orders\0client_encoding\0UTF8\0TimeZone\0UTC\0\0")
}

fn failed(need: Result<BackNeed, Garbled>) -> String {
    match need {
        Ok(BackNeed::Failed { message, .. }) => message,
        other => panic!("{other:?}"),
    }
}

const OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";

#[test]
fn a_database_that_trusts_is_ready_after_its_reports() {
    let mut server = Server::new(BackLogin {
        password: None,
        ..login()
    });
    assert_eq!(server.gets(), opening());
    let answer = [
        OK.to_vec(),
        frame(b'S', b"server_version\x0015.14\0"),
        frame(b'N', b"SNOTICE\0C00000\0Mhello\0\0"),
        frame(b'S', b"client_encoding\0UTF8\0"),
        frame(b'K', b"\0\0\0\x2a\x01\x02\x03\x04"),
        frame(b'Z', b"I"),
        b"behind".to_vec(),
    ];
    match server.says(&answer.concat()) {
        Ok(BackNeed::Ready(greeted)) => {
            assert_eq!(
                (greeted.process, &greeted.secret[..]),
                (42, &[1, 2, 3, 4][..])
            );
            assert_eq!(greeted.parameters.len(), 2);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(&server.input[..], b"behind");
}

#[test]
fn tls_is_insisted_on() {
    let tls = || {
        Server::new(BackLogin {
            tls: true,
            ..login()
        })
    };
    let mut server = tls();
    assert_eq!(server.gets(), SSL);
    assert!(matches!(server.says(b"S"), Ok(BackNeed::Tls)));
    server.back.secured(None);
    assert!(matches!(server.says(b""), Ok(BackNeed::More)));
    assert_eq!(server.gets(), opening());
    // Whoever is in between says no, or an error with words of its own.
    assert!(failed(tls().says(b"N")).contains("does not offer TLS"));
    let words = frame(b'E', b"SFATAL\0C28000\0Mcall 555-0100\0\0");
    assert!(!failed(tls().says(&words)).contains("555"));
    assert!(
        tls().says(&[b"S", OK].concat()).is_err(),
        "bytes in clear behind the S"
    );
    assert!(tls().says(b"X").is_err());
    let mut server = tls();
    server.says(b"S").unwrap();
    assert!(
        server.says(OK).is_err(),
        "bytes in clear where the handshake is due"
    );
}

#[test]
fn a_password_goes_in_clear_only_where_that_is_allowed() {
    let ask = frame(b'R', b"\0\0\0\x03");
    let mut server = Server::new(login());
    server.gets();
    assert!(failed(server.says(&ask)).contains("in clear"));
    assert_eq!(server.gets(), b"");
    let mut server = Server::new(BackLogin {
        proven: true,
        ..login()
    });
    server.gets();
    assert!(matches!(server.says(&ask), Ok(BackNeed::More)));
    assert_eq!(server.gets(), frame(b'p', b"pencil\0"));
    assert!(matches!(server.says(OK), Ok(BackNeed::More)));
}

#[test]
fn md5_is_answered_with_its_salt() {
    let mut server = Server::new(BackLogin {
        user: "md5_user".to_owned(),
        password: Some(Secret::new("password".to_owned())),
        proven: true,
        ..login()
    });
    server.gets();
    server
        .says(&frame(b'R', b"\0\0\0\x05\x2a\x3d\x8f\xe0"))
        .unwrap();
    assert_eq!(
        server.gets(),
        frame(b'p', b"md562af4dd09bbb41884907a838a3233294\0")
    );
}

#[test]
fn a_server_that_nothing_proves_gets_no_answer_but_scrams() {
    let begin = |proven| {
        let mut server = Server::new(BackLogin { proven, ..login() });
        server.gets();
        server
    };
    assert!(failed(begin(false).says(OK)).contains("without a proof"));
    assert!(matches!(begin(true).says(OK), Ok(BackNeed::More)));
    let md5 = frame(b'R', b"\0\0\0\x05abcd");
    let mut server = begin(false);
    assert!(failed(server.says(&md5)).contains("md5"));
    assert_eq!(server.gets(), b"");
    assert!(matches!(begin(true).says(&md5), Ok(BackNeed::More)));
}

#[test]
fn a_challenge_that_asks_for_endless_work_is_not_begun() {
    for rounds in [
        "1000001",
        "2147483647",
        "99999999999999999999",
        "-1",
        "x",
        "",
    ] {
        let mut server = Server::new(login());
        server.gets();
        server
            .says(&frame(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"))
            .unwrap();
        let chosen = server.gets();
        let text = String::from_utf8_lossy(&chosen);
        let nonce = text.split("r=").nth(1).unwrap();
        let words = format!("\0\0\0\x0br={nonce}x,s=c2FsdA==,i={rounds}");
        let message = failed(server.says(&frame(b'R', words.as_bytes())));
        assert!(message.contains("SCRAM challenge"), "{rounds}: {message}");
    }
}

#[test]
fn no_password_and_unknown_methods_are_said_so() {
    let mut server = Server::new(BackLogin {
        password: None,
        ..login()
    });
    assert!(failed(server.says(&frame(b'R', b"\0\0\0\x05abcd"))).contains("none is configured"));
    let mut server = Server::new(login());
    assert!(failed(server.says(&frame(b'R', b"\0\0\0\x07"))).contains("not supported"));
    let mut server = Server::new(login());
    assert!(failed(server.says(&frame(b'R', b"\0\0\0\x0aOTHER\0\0"))).contains("SASL"));
    let mut server = Server::new(login());
    let error = frame(b'E', b"SFATAL\0VFATAL\0C3D000\0Mno such database\0\0");
    assert_eq!(failed(server.says(&error)), "no such database");
}

#[test]
fn a_database_that_reads_statements_otherwise_is_not_used() {
    for report in [
        &b"client_encoding\0SJIS\0"[..],
        b"standard_conforming_strings\0off\0",
    ] {
        let mut server = Server::new(proven());
        let need = server.says(&[OK, &frame(b'S', report)[..]].concat());
        assert!(failed(need).contains("insists"));
    }
}

#[test]
fn what_is_out_of_turn_closes() {
    for said in [
        frame(b'Z', b"I"),
        frame(b'K', b"\0\0\0\x01abcd"),
        frame(b'S', b"a\0b\0"),
        frame(b'D', b"\0\0"),
        frame(b'R', b"\0\0\0\x0bv=x"),
        frame(b'R', b"\0\0\0\x0cv=x"),
        [OK, OK].concat(),
        [OK.to_vec(), frame(b'Z', b"T")].concat(),
        [OK.to_vec(), frame(b'K', b"\0\0\0\x01abc")].concat(),
        frame(b'v', b"\0\x03\0\x02\0\0\0\0"),
        b"R\0\x10\0\0".to_vec(),
        b"R\xff\xff\xff\xff".to_vec(),
    ] {
        assert!(Server::new(proven()).says(&said).is_err(), "{said:?}");
    }
}

/// The server's half of SCRAM-SHA-256 (RFC 5802, RFC 7677).
struct Scram {
    first_bare: String,
    server_first: String,
    salted: [u8; 32],
}

fn sign(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text)
        .as_ref()
        .to_vec()
}

impl Scram {
    fn begin(first_bare: &str) -> Self {
        let nonce = first_bare.split("r=").nth(1).unwrap();
        let mut salted = [0; 32];
        let rounds = std::num::NonZeroU32::new(4096).unwrap();
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            rounds,
            b"salt",
            b"pencil",
            &mut salted,
        );
        Scram {
            first_bare: first_bare.to_owned(),
            server_first: format!("r={nonce}server,s={},i=4096", STANDARD.encode("salt")),
            salted,
        }
    }

    /// Checks the client's proof and gives ours.
    fn end(&self, last: &str) -> String {
        let (bare, proof) = last.rsplit_once(",p=").unwrap();
        let auth = format!("{},{},{bare}", self.first_bare, self.server_first);
        let client_key = sign(&self.salted, b"Client Key");
        let stored = digest::digest(&digest::SHA256, &client_key);
        let signature = sign(stored.as_ref(), auth.as_bytes());
        let expected: Vec<u8> = client_key
            .iter()
            .zip(&signature)
            .map(|(key, sign)| key ^ sign)
            .collect();
        assert_eq!(
            STANDARD.decode(proof).unwrap(),
            expected,
            "the client knows the password"
        );
        let server_key = sign(&self.salted, b"Server Key");
        format!("v={}", STANDARD.encode(sign(&server_key, auth.as_bytes())))
    }
}

fn sasl(code: u8, words: &str) -> Vec<u8> {
    frame(b'R', &[&[0, 0, 0, code], words.as_bytes()].concat())
}

/// Walks to the point where the server owes its proof. `header` is the GS2 header that the client
/// must have sent, `binding` what it must have bound.
fn scram(server: &mut Server, offer: &str, mechanism: &str, header: &str, binding: &[u8]) -> Scram {
    server.gets();
    server.says(&sasl(10, offer)).unwrap();
    let choice = server.body();
    let choice = std::str::from_utf8(&choice).unwrap();
    let (chosen, response) = choice.split_once('\0').unwrap();
    assert_eq!(chosen, mechanism);
    let bare = response[4..].strip_prefix(header).unwrap();
    let scram = Scram::begin(bare);
    server.says(&sasl(11, &scram.server_first)).unwrap();
    let bound = STANDARD.encode([header.as_bytes(), binding].concat());
    let last = server.body();
    assert!(last.starts_with(format!("c={bound},").as_bytes()));
    server.input.extend_from_slice(&last);
    scram
}

fn proof(server: &mut Server, scram: &Scram) -> String {
    let last = server.input.split();
    scram.end(std::str::from_utf8(&last).unwrap())
}

const BOTH: &str = "SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
const BARE: &str = "SCRAM-SHA-256\0\0";

#[test]
fn scram_binds_the_channel_when_both_can() {
    for (endpoint, offer, mechanism, header) in [
        (
            Some(vec![7; 32]),
            BOTH,
            "SCRAM-SHA-256-PLUS",
            "p=tls-server-end-point,,",
        ),
        (Some(vec![7; 32]), BARE, "SCRAM-SHA-256", "y,,"),
        (None, BOTH, "SCRAM-SHA-256", "n,,"),
        (None, BARE, "SCRAM-SHA-256", "n,,"),
    ] {
        let mut server = Server::new(BackLogin {
            tls: true,
            ..login()
        });
        server.says(b"S").unwrap();
        server.back.secured(endpoint.clone());
        server.says(b"").unwrap();
        let bound = endpoint
            .filter(|_| header.starts_with('p'))
            .unwrap_or_default();
        let scram = scram(&mut server, offer, mechanism, header, &bound);
        let proof = proof(&mut server, &scram);
        assert!(matches!(server.says(&sasl(12, &proof)), Ok(BackNeed::More)));
        let end = [OK.to_vec(), frame(b'Z', b"I")].concat();
        assert!(matches!(server.says(&end), Ok(BackNeed::Ready(_))));
    }
}

#[test]
fn a_server_without_its_own_proof_is_not_believed() {
    let begun = || {
        let mut server = Server::new(login());
        let scram = scram(&mut server, BARE, "SCRAM-SHA-256", "n,,", b"");
        let proof = proof(&mut server, &scram);
        (server, proof)
    };
    let (mut server, _) = begun();
    assert!(server.says(OK).is_err(), "a yes in place of the proof");
    let (mut server, _) = begun();
    let wrong = format!("v={}", STANDARD.encode([0; 32]));
    assert!(failed(server.says(&sasl(12, &wrong))).contains("prove"));
    let mut server = Server::new(login());
    server.says(&sasl(10, BARE)).unwrap();
    assert!(server.says(OK).is_err(), "a yes after the first message");
    let mut server = Server::new(login());
    server.says(&sasl(10, BARE)).unwrap();
    let many = "r=nothing,s=c2FsdA==,i=4000000000";
    assert!(failed(server.says(&sasl(11, many))).contains("challenge"));
}
