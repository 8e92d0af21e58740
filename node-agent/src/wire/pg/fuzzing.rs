//! Pure. What the fuzzers run: no input may panic a machine, make it hold more than its limits
//! allow, or make it pass on what it did not read.

use bytes::BytesMut;

use crate::model::{Refusal, RefusalCode, Secret};
use crate::wire::{
    Answer, Ask4, Back as _, BackLogin, BackNeed, Front as _, FrontLimits, Heard, Need, Phase,
    Reset as _, ResetNeed, Talk as _, Text, Wants, Welcome,
};

use super::{Back, Front, Reset, Talk};

/// Small, so that the bounds are met.
fn limits() -> FrontLimits {
    FrontLimits {
        startup: 512,
        message: 4_096,
        names: 4,
        pending: 8,
        plaintext: true,
    }
}

/// A client talks to our front. The first byte decides how the session behaves, the rest is what
/// the client says.
pub fn front(bytes: &[u8]) {
    let Some((&mood, bytes)) = bytes.split_first() else {
        return;
    };
    let mut front = Front::new(FrontLimits {
        plaintext: mood & 1 == 0,
        ..limits()
    });
    let mut input = BytesMut::from(bytes);
    let mut out = BytesMut::new();
    for _ in 0..16 {
        let before = input.len();
        match front.greet(&mut input, &mut out) {
            Err(_) => break,
            Ok(Need::More) => {
                if input.len() == before {
                    break;
                }
            }
            Ok(Need::Tls | Need::DirectTls) => front.secured(),
            Ok(Need::Login(hello)) => {
                assert!(!hello.user.is_empty() && !hello.database.is_empty());
                front.ask(
                    if mood & 2 == 0 {
                        Ask4::Password
                    } else {
                        Ask4::Bearer
                    },
                    &mut out,
                );
            }
            Ok(Need::Verdict(_)) => {
                if mood & 4 == 0 {
                    let key = front.welcome(&Welcome::fuzz(), &mut out);
                    assert!(matches!(key.secret.len(), 4 | 32));
                } else {
                    front.refuse(&Refusal::fatal(RefusalCode::Identity, "no"), &mut out);
                }
                break;
            }
            Ok(Need::Cancel(key)) => {
                assert!((4..=256).contains(&key.secret.len()));
                break;
            }
            Ok(Need::Refuse(refusal)) => {
                front.refuse(&refusal, &mut out);
                break;
            }
        }
    }
    assert!(out.len() < 4_096, "a client's words cannot make ours long");
}

impl Welcome {
    fn fuzz() -> Self {
        let parameters = vec![("client_encoding".to_owned(), "UTF8".to_owned())];
        Welcome {
            parameters,
            process: 7,
            secret: [9; 32],
        }
    }
}

/// A server talks to our back.
pub fn back(bytes: &[u8]) {
    let Some((&mood, bytes)) = bytes.split_first() else {
        return;
    };
    let mut back = Back::new(BackLogin {
        user: "svc".to_owned(),
        password: (mood & 1 == 0).then(|| Secret::new("secret".to_owned())),
        database: "db".to_owned(),
        settings: Vec::new(),
        tls: mood & 2 != 0,
        proven: mood & 4 != 0,
    });
    let mut out = BytesMut::new();
    let mut input = BytesMut::new();
    if back.greet(&mut input, &mut out).is_err() {
        return;
    }
    let (first, rest) = bytes.split_at(bytes.len().min(1));
    input.extend_from_slice(first);
    if mood & 2 == 0 {
        input.extend_from_slice(rest);
    }
    for _ in 0..4 {
        match back.greet(&mut input, &mut out) {
            Ok(BackNeed::Tls) => {
                back.secured((mood & 8 != 0).then(|| vec![1; 32]));
                assert!(matches!(
                    back.greet(&mut input, &mut out),
                    Ok(BackNeed::More)
                ));
                input.extend_from_slice(rest);
            }
            Ok(BackNeed::More) => break,
            Ok(BackNeed::Ready(_)) | Ok(BackNeed::Failed { .. }) | Err(_) => break,
        }
    }
    // A password leaves us in clear only where that was allowed.
    let clear = out.windows(7).any(|window| window == b"secret\0");
    assert!(!clear || mood & 4 != 0, "the password was sent in clear");
}

/// A server answers our reset: however it is cut, clean is what ends with an idle server and says nothing
/// but that.
pub fn reset(bytes: &[u8]) {
    let Some((&cut, bytes)) = bytes.split_first() else {
        return;
    };
    let greeted = [("TimeZone".to_owned(), "UTC".to_owned())];
    let run = |pieces: [&[u8]; 2]| {
        let mut reset = Reset::new(&greeted, &[]);
        let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
        assert_eq!(reset.step(&mut input, &mut out), Ok(ResetNeed::More));
        let asked = out.len();
        let mut last = Ok(ResetNeed::More);
        for piece in pieces {
            input.extend_from_slice(piece);
            if last == Ok(ResetNeed::More) && !piece.is_empty() {
                last = reset.step(&mut input, &mut out);
            }
        }
        assert_eq!(out.len(), asked, "it asks once");
        last
    };
    let whole = run([bytes, &[]]);
    if whole == Ok(ResetNeed::Clean) {
        assert!(bytes.ends_with(b"Z\0\0\0\x05I"), "{bytes:?}");
    }
    let cut = usize::from(cut).min(bytes.len());
    let (first, second) = bytes.split_at(cut);
    let pieces = run([first, second]);
    // Bytes behind the end are seen only when they are there at the end.
    if whole.is_ok() {
        assert_eq!(pieces, whole);
    }
}

/// A dialogue, both directions. The input is a list of turns: who speaks (the lowest bit of a
/// byte), how the session judges (the next bits), how long (a byte), what.
pub fn talk(bytes: &[u8]) {
    let mut talk: Talk<u8, u8> = Talk::new(limits());
    let (mut client, mut server) = (BytesMut::new(), BytesMut::new());
    let (mut up, mut out) = (BytesMut::new(), BytesMut::new());
    let mut rest = bytes;
    let mut seen = 0_usize;
    while let Some(([mood, len], behind)) = rest.split_first_chunk::<2>() {
        let (said, behind) = behind.split_at(behind.len().min(usize::from(*len)));
        rest = behind;
        seen += said.len();
        let alive = if mood & 1 == 0 {
            client.extend_from_slice(said);
            hear(&mut talk, *mood, &mut client, &mut up, &mut out)
        } else {
            server.extend_from_slice(said);
            listen(&mut talk, *mood, &mut server, &mut up, &mut out)
        };
        if !alive {
            break;
        }
        talk.advance(&mut up);
        // Every message that goes up is a copy of one that came in, or one of ours per message; the
        // longest of ours reads the counters, twice.
        assert!(
            up.len() <= 4_096 + seen * 512,
            "{} bytes up of {seen}",
            up.len()
        );
    }
}

fn hear(
    talk: &mut Talk<u8, u8>,
    mood: u8,
    client: &mut BytesMut,
    up: &mut BytesMut,
    out: &mut BytesMut,
) -> bool {
    loop {
        match talk.hear(client, up, out) {
            Err(_) | Ok(Some(Heard::Quit)) => return false,
            Ok(None) => return true,
            Ok(Some(Heard::Chore | Heard::Refused(_))) => {}
            Ok(Some(Heard::Asked(asked))) => {
                if mood & 2 != 0 {
                    let refusal = Refusal::new(RefusalCode::Policy, "no");
                    talk.refuse(asked, &refusal, up, out);
                } else if matches!(asked.phase, Phase::Prepare { .. }) {
                    talk.prepare(asked, mood, up);
                } else {
                    let wants = Wants {
                        head: mood & 4 != 0,
                        whole: mood & 32 != 0,
                        names: mood & 8 != 0,
                        count: mood & 16 != 0 && talk.can_count(&asked),
                        estimate: (mood & 64 != 0).then(|| Text::of_static("delete")),
                        instead: (mood & 144 == 128).then(|| Text::of_static("select 1")),
                        ..Wants::default()
                    };
                    talk.send(asked, mood, wants, up);
                }
                while talk.skipped().is_some() {}
            }
        }
    }
}

fn listen(
    talk: &mut Talk<u8, u8>,
    mood: u8,
    server: &mut BytesMut,
    up: &mut BytesMut,
    out: &mut BytesMut,
) -> bool {
    loop {
        match talk.listen(server) {
            Err(_) => return false,
            Ok(None) => return true,
            Ok(Some((span, answer))) => {
                assert!(span > 0 && span <= server.len());
                let _ = server.split_to(span);
                let _ = (talk.head().is_some(), talk.current().is_some(), talk.idle());
                match answer {
                    Answer::Done { .. } if mood & 4 != 0 => {
                        let name = if mood & 8 == 0 { "a" } else { "b" };
                        talk.set_named(name, (mood & 16 != 0).then_some(mood));
                        talk.set_cursor(
                            name,
                            (mood & 16 != 0).then_some(mood),
                            crate::wire::CursorLife::Transaction,
                        );
                    }
                    Answer::Counted { .. } | Answer::Estimated { .. } => {
                        let refusal = Refusal::new(RefusalCode::Limit, "too many");
                        talk.settle((mood & 32 != 0).then_some(&refusal), up, out);
                        talk.advance(up);
                    }
                    Answer::Head => talk.hold_rows(mood & 2 != 0),
                    _ => {}
                }
                let _ = talk.finished();
                while talk.skipped().is_some() {}
            }
        }
    }
}
