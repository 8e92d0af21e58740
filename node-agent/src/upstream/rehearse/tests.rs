//! A preview against a server that says what it likes.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::model::{ApprovalId, UpstreamAddr};
use crate::upstream::Endpoint;
use crate::wire::BackLogin;
use crate::wire::pg::Pg;

const TEXT: &str = "update t set a = 1 where b = 2";

/// What a server says to the statement, and what it heard after that.
async fn rehearsed(answer: &'static [u8]) -> (Result<Vec<Previewed>, NotRehearsed>, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let all = heard.clone();
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, answer, all.clone()));
        }
    });
    let double = Double {
        endpoint: Endpoint {
            address: UpstreamAddr(address),
            tls: None,
            server_name: String::new(),
        },
        login: BackLogin {
            user: "svc".to_owned(),
            password: None,
            database: "app".to_owned(),
            settings: Vec::new(),
            tls: false,
            proven: false,
        },
        since: Vec::new(),
    };
    let text = Text::from(TEXT.to_owned());
    let rehearsal = Rehearsal {
        text: &text,
        params: None,
        relations: &[16384],
        same_by: &|path| path == "public",
        mask: &|_| MaskPlan::passing(),
    };
    let id = ApprovalId(7);
    let leave = Leave::of_test(id, "olga (this host)");
    let done = rehearsal
        .run::<Pg>(leave, Stepped::of_test(id), &double)
        .await;
    server.abort();
    let heard = heard.lock().unwrap().clone();
    let ran = heard.iter().position(|said| said == TEXT).unwrap();
    (done, heard[ran + 1..].to_vec())
}

async fn serve(mut stream: TcpStream, answer: &'static [u8], heard: Arc<Mutex<Vec<String>>>) {
    let length = stream.read_u32().await.unwrap();
    let mut startup = vec![0; length as usize - 4];
    stream.read_exact(&mut startup).await.unwrap();
    let welcome = b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c\0\0\0\x01\0\0\0\x02Z\0\0\0\x05I";
    stream.write_all(welcome).await.unwrap();
    let mut parsed = String::new();
    while let Ok(kind) = stream.read_u8().await {
        let length = stream.read_u32().await.unwrap();
        let mut body = vec![0; length as usize - 4];
        stream.read_exact(&mut body).await.unwrap();
        let text = |body: &[u8]| {
            let text = body.split(|b| *b == 0).find(|part| !part.is_empty());
            String::from_utf8(text.unwrap_or_default().to_vec()).unwrap()
        };
        let open = b"Z\0\0\0\x05T";
        let said: Vec<u8> = match kind {
            b'P' => {
                parsed = text(&body);
                heard.lock().unwrap().push(parsed.clone());
                continue;
            }
            b'S' if parsed == TEXT => answer.to_vec(),
            b'S' => open.to_vec(),
            b'Q' => {
                let text = text(&body);
                let said = if text.contains("relkind not in") {
                    let row = |cell: &[u8]| {
                        let length = u8::try_from(cell.len()).unwrap();
                        [&b"D\0\0\0"[..], &[10 + length, 0, 1, 0, 0, 0, length], cell].concat()
                    };
                    [&row(b"t")[..], &row(b"public"), b"Z\0\0\0\x05I"].concat()
                } else if text.starts_with("rollback") {
                    b"C\0\0\0\x0dROLLBACK\0Z\0\0\0\x05I".to_vec()
                } else if text.starts_with("set default") {
                    b"Z\0\0\0\x05I".to_vec()
                } else {
                    open.to_vec()
                };
                heard.lock().unwrap().push(text);
                said
            }
            b'X' => return,
            _ => continue,
        };
        stream.write_all(&said).await.unwrap();
    }
}

#[tokio::test]
async fn a_transaction_that_is_left_is_told_and_nothing_more_is_asked() {
    let (done, then) = rehearsed(b"C\0\0\0\x0bCOMMIT\0Z\0\0\0\x05I").await;
    let Err(Failed(why)) = done else {
        panic!("{done:?}");
    };
    assert!(why.contains("left the transaction"), "{why}");
    assert_eq!(then, Vec::<String>::new());
}

#[tokio::test]
async fn whatever_comes_of_it_it_is_rolled_back() {
    let (done, then) = rehearsed(b"C\0\0\0\x0dUPDATE 1\0Z\0\0\0\x05T").await;
    assert_eq!(done, Ok(Vec::new()));
    assert_eq!(then.last().map(String::as_str), Some("rollback"));
    assert!(!then.iter().any(|said| said.contains("commit")), "{then:?}");
    let error = b"E\0\0\0\x1fSERROR\0VERROR\0C23505\0Mabc\0\0Z\0\0\0\x05E";
    let (done, then) = rehearsed(error).await;
    assert_eq!(
        done,
        Err(Failed("it would fail (SQLSTATE 23505)".to_owned()))
    );
    assert_eq!(then, ["rollback"]);
    // What is no SQLSTATE is not shown as one.
    let error = b"E\0\0\0\x1fSERROR\0VERROR\0Csecre\0Mabc\0\0Z\0\0\0\x05E";
    let (done, _) = rehearsed(error).await;
    assert_eq!(
        done,
        Err(Failed("it would fail (SQLSTATE XX000)".to_owned()))
    );
}

#[test]
fn a_long_cell_is_cut_at_a_character() {
    let long = "ä".repeat(CELL);
    assert_eq!(
        cell(Some(format!("x{long}").as_bytes())),
        RecordedCell::Begins {
            text: format!("x{}", "ä".repeat(CELL / 2 - 1)),
            length: 1 + 2 * CELL as u64
        }
    );
    assert_eq!(cell(None), RecordedCell::Null);
}
