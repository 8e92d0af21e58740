//! What leaves is as recorded, in the form that its readers know.

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::*;
use crate::model::{SessionId, StatementSeq};
use crate::record::{Why, path_of};
use crate::replay::tests::{a_session, recorder};
use crate::replay::{Ruling, visible};

async fn recorded(dir: &Path) -> std::path::PathBuf {
    let recorder = recorder(dir);
    a_session(&recorder, 1, "=SELECT \"a\",\nb")
        .await
        .close(Why::ClientQuit);
    recorder.stop();
    path_of(dir, SessionId(1))
}

fn exported(path: &Path, form: Form, filter: &Filter) -> String {
    let mut out = Vec::new();
    let states = export(&[path], &Identities::none(), form, filter, &mut out).unwrap();
    assert_eq!(states[0].verdict(), crate::replay::Verdict::Good);
    String::from_utf8(out).unwrap()
}

#[tokio::test]
async fn every_event_is_a_line_of_json_that_says_whose_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = recorded(dir.path()).await;
    let lines = exported(&path, Form::Jsonl, &Filter::default());
    let events: Vec<Value> = lines
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let kinds: Vec<_> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "began", "login", "decided", "rows", "finished", "decided", "note", "closed",
            "verified"
        ]
    );
    assert!(
        events
            .iter()
            .all(|event| event["session"] == "s-0000000000000001")
    );
    assert!(lines.lines().all(|line| visible(line) == line));
}

#[tokio::test]
async fn statements_are_lines_of_csv() {
    let dir = tempfile::tempdir().unwrap();
    let path = recorded(dir.path()).await;
    let csv = exported(&path, Form::Csv, &Filter::default());
    let records: Vec<_> = csv.split("\r\n").collect();
    assert_eq!(records.len(), 4, "{csv}");
    assert!(records[0].starts_with("session,statement,at,workload"));
    assert!(
        records[1].starts_with(
            "s-0000000000000001,1,2023-11-14T22:13:20.001Z,claude,alice,ai-agents,orders,orders,allow,,\
             \"'=SELECT \"\"a\"\",\nb\",\"[\"\"1\"\"]\","
        ),
        "{}",
        records[1]
    );
    assert!(
        records[1].ends_with(",SELECT 2,2,20,1234,,,done"),
        "{}",
        records[1]
    );
    assert!(
        records[2].contains(",deny,claude-orders/never,DROP TABLE t,"),
        "{}",
        records[2]
    );
    assert!(
        records[2].ends_with(",,,,,,DROP is not allowed,refused"),
        "{}",
        records[2]
    );
    let denied = Filter {
        decision: Some(Ruling::Deny),
        ..Filter::default()
    };
    assert_eq!(exported(&path, Form::Csv, &denied).split("\r\n").count(), 3);
}

#[tokio::test]
async fn one_result_is_a_table_of_csv() {
    let dir = tempfile::tempdir().unwrap();
    let path = recorded(dir.path()).await;
    let mut out = Vec::new();
    let told = rows(&path, &Identities::none(), StatementSeq(1), &mut out).unwrap();
    assert_eq!(
        (told.rows, told.long, told.beyond, told.decided),
        (2, 0, 0, true)
    );
    let csv = String::from_utf8(out).unwrap();
    let lines: Vec<_> = csv.split("\r\n").collect();
    assert_eq!((lines[0], lines[2]), ("id,name", "22,"), "{csv}");
    assert!(lines[1].starts_with("1,"), "{csv}");
    assert_eq!(visible(lines[1]), lines[1], "{csv}");
    assert!(
        !rows(&path, &Identities::none(), StatementSeq(7), &mut Vec::new())
            .unwrap()
            .decided
    );
}

/// What the schema requires: of the base event, of the class and of the objects that are used here.
/// <https://schema.ocsf.io/1.3.0/classes/datastore_activity>
fn check(event: &Value) {
    let number = |key: &str| {
        event[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key}: {event}"))
    };
    assert_eq!((number("category_uid"), number("class_uid")), (6, 6005));
    let activity = number("activity_id");
    assert!([1, 2, 3, 4, 5, 6, 7, 99].contains(&activity));
    assert_eq!(number("type_uid"), 6005 * 100 + activity);
    assert!((0..=6).contains(&number("severity_id")));
    assert!(
        event["time"]
            .as_i64()
            .is_some_and(|time| time > 1_000_000_000_000),
        "milliseconds"
    );
    assert_eq!(event["metadata"]["version"], "1.3.0");
    assert!(event["metadata"]["product"]["vendor_name"].is_string());
    assert!(event["metadata"]["product"]["name"].is_string());
    assert_eq!(
        event["metadata"]["profiles"],
        serde_json::json!(["security_control"])
    );
    // required by the class
    assert!(event["actor"].is_object());
    let user = &event["actor"]["user"];
    assert!(user.is_null() || user["name"].is_string() || user["uid"].is_string());
    assert!(event["src_endpoint"]["ip"].is_string());
    // at least one of database, databucket, table; a database has a name or a uid
    assert!(event["database"]["uid"].is_string());
    assert_eq!(event["database"]["type_id"], 1);
    if !event["query_info"].is_null() {
        assert!(event["query_info"]["query_string"].is_string());
    }
    // siblings of the profile: number and caption agree
    let action = (number("action_id"), event["action"].as_str().unwrap());
    assert!(
        [(1, "Allowed"), (2, "Denied")].contains(&action),
        "{action:?}"
    );
    let disposition = (
        number("disposition_id"),
        event["disposition"].as_str().unwrap(),
    );
    assert!([(1, "Allowed"), (2, "Blocked")].contains(&disposition));
    assert_eq!(action.0, disposition.0);
    let status = (number("status_id"), event["status"].as_str().unwrap());
    assert!([(0, "Unknown"), (1, "Success"), (2, "Failure")].contains(&status));
}

#[tokio::test]
async fn ocsf_events_have_what_the_schema_requires() {
    let dir = tempfile::tempdir().unwrap();
    let path = recorded(dir.path()).await;
    let lines = exported(&path, Form::Ocsf, &Filter::default());
    let events: Vec<Value> = lines
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(events.len(), 3);
    events.iter().for_each(check);
    let (login, read, drop) = (&events[0], &events[1], &events[2]);
    assert_eq!(
        (&login["activity_name"], &login["status"]),
        (&"Connect".into(), &"Success".into())
    );
    assert_eq!(read["actor"]["user"]["name"], "alice");
    assert_eq!(read["actor"]["user"]["groups"][0]["name"], "ai-agents");
    assert_eq!(read["database"]["name"], "orders");
    assert_eq!(read["query_info"]["query_string"], "=SELECT \"a\",\nb");
    assert_eq!(
        (&read["unmapped"]["rows"], &read["status_id"]),
        (&2.into(), &1.into())
    );
    assert_eq!(read["metadata"]["uid"], "s-0000000000000001#1");
    assert_eq!(
        (&drop["disposition"], &drop["severity_id"]),
        (&"Blocked".into(), &3.into())
    );
    assert_eq!(drop["firewall_rule"]["uid"], "claude-orders/never");
    assert_eq!(drop["status_detail"], "DROP is not allowed");
}

/// What a receiver does with one request.
#[derive(Clone, Copy)]
enum Does {
    Answers(&'static str, &'static str),
    /// Says nothing for this long, then hangs up.
    Waits(Duration),
}

/// A receiver that does one thing after the other, the last for ever; gives what it was sent.
fn receiver(does: Vec<Does>) -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, got) = channel();
    thread::spawn(move || {
        for at in 0.. {
            let Ok((stream, _)) = listener.accept() else {
                return;
            };
            let does = does[at.min(does.len() - 1)];
            if serve(stream, does, &sender).is_none() {
                return;
            }
        }
    });
    (url, got)
}

/// One request of a connection. `None`: nobody reads what it was sent.
fn serve(stream: TcpStream, does: Does, sender: &std::sync::mpsc::Sender<Value>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return Some(());
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        head += &line;
        if line == "\r\n" {
            break;
        }
    }
    assert!(head.starts_with("POST /v1/logs HTTP/1.1"), "{head}");
    assert!(
        head.to_ascii_lowercase()
            .contains("content-type: application/json"),
        "{head}"
    );
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    match does {
        Does::Answers(status, said) => {
            let text = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{said}",
                said.len()
            );
            Write::write_all(reader.get_mut(), text.as_bytes()).ok()?;
            if status.starts_with("200") {
                sender.send(serde_json::from_slice(&body).ok()?).ok()?;
            }
        }
        Does::Waits(time) => thread::sleep(time),
    }
    Some(())
}

const QUICK: Patience = Patience {
    request: Duration::from_millis(300),
    pause: Duration::from_millis(10),
    batch: Duration::from_secs(2),
};

fn sent(path: &Path, url: &str) -> (Result<Vec<State>, SendError>, Otlp) {
    let mut to = Otlp::new(url, &[("x-key".into(), "k".into())], QUICK).unwrap();
    (
        send(&[path], &Identities::none(), &Filter::default(), &mut to),
        to,
    )
}

#[test]
fn a_receiver_gets_ocsf_events_as_otlp_logs_and_a_bad_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let path = runtime.block_on(recorded(dir.path()));
    let ok = Does::Answers("200 OK", "{}");
    let busy = Does::Answers("503 Service Unavailable", "");
    let slow = Does::Waits(Duration::from_millis(600));
    // It is busy, then slow, then takes them.
    let (url, got) = receiver(vec![busy, slow, busy, ok]);
    let (done, to) = sent(&path, &url);
    done.unwrap();
    assert_eq!((to.sent(), to.rejected()), (3, None));
    let body = got.recv_timeout(Duration::from_secs(5)).unwrap();
    let logs = &body["resourceLogs"][0];
    assert_eq!(
        logs["resource"]["attributes"][0]["value"]["stringValue"],
        "node-agent"
    );
    let records = logs["scopeLogs"][0]["logRecords"].as_array().unwrap();
    assert_eq!(records.len(), 3);
    assert_eq!(records[1]["timeUnixNano"], "1700000000001000000");
    assert_eq!(records[2]["severityText"], "WARN");
    let fields = records[1]["body"]["kvlistValue"]["values"]
        .as_array()
        .unwrap();
    let class = fields
        .iter()
        .find(|field| field["key"] == "class_uid")
        .unwrap();
    assert_eq!(class["value"]["intValue"], "6005");
    // It keeps some back.
    let partly = r#"{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"too old"}}"#;
    let (url, _got) = receiver(vec![Does::Answers("200 OK", partly)]);
    let (done, to) = sent(&path, &url);
    done.unwrap();
    assert_eq!((to.sent(), to.rejected()), (1, Some((2, "too old"))));
    // It says no: the protocol forbids asking again.
    let begun = Instant::now();
    let (url, _got) = receiver(vec![Does::Answers("500 Internal Server Error", "broken")]);
    let error = sent(&path, &url).0.unwrap_err().to_string();
    assert_eq!(
        error,
        "the receiver answers 500: broken; 0 events were taken before"
    );
    assert!(begun.elapsed() < QUICK.batch);
    // It is slow for ever, and it is not there at all: both end.
    let (url, _got) = receiver(vec![slow]);
    let error = sent(&path, &url).0.unwrap_err().to_string();
    assert!(error.contains("no answer in time"), "{error}");
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let begun = Instant::now();
    let error = sent(&path, &format!("http://{nobody}/otlp"))
        .0
        .unwrap_err()
        .to_string();
    assert!(error.contains("refused"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(6));
}

#[test]
fn what_sessions_saw_does_not_cross_the_network_in_clear() {
    for (url, fine) in [
        ("http://127.0.0.1:4318", true),
        ("http://[::1]:4318/v1/logs", true),
        ("http://localhost:4318", true),
        ("https://collector.example", true),
        ("http://collector.example", false),
        ("http://10.0.0.1:4318", false),
        ("https://user:secret@collector.example", false),
        ("ftp://127.0.0.1", false),
        ("collector", false),
    ] {
        let made = Otlp::new(url, &[], QUICK);
        assert_eq!(made.is_ok(), fine, "{url}");
    }
    let wrong = [("bad name".to_owned(), "x".to_owned())];
    assert!(Otlp::new("http://127.0.0.1", &wrong, QUICK).is_err());
}
