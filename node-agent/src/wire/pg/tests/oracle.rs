//! pgwire writes, we read: on well-formed messages the two must agree.

use bytes::{Bytes, BytesMut};
use pgwire::messages::data::{DataRow, FieldDescription, RowDescription};
use pgwire::messages::extendedquery::{Bind, Close, Describe, Execute, Parse, Sync};
use pgwire::messages::response::{CommandComplete, ReadyForQuery, TransactionStatus};
use pgwire::messages::simplequery::Query;
use pgwire::messages::startup::Startup;
use pgwire::messages::{DecodeContext, Message, PgWireBackendMessage, ProtocolVersion};

use super::super::{Front, Talk, command};
use crate::model::{ColumnOrigin, Format, Refusal, RefusalCode};
use crate::wire::{
    Answer, Front as _, FrontLimits, Heard, Need, Phase, Talk as _, Transaction, Wants,
};

fn written(message: &impl Message) -> BytesMut {
    let mut out = BytesMut::new();
    message
        .encode(&mut out)
        .expect("pgwire writes what it is given");
    out
}

#[test]
fn start_up_is_read_as_pgwire_writes_it() {
    let mut startup = Startup::new();
    startup
        .parameters
        .insert("user".to_owned(), "agent".to_owned());
    startup
        .parameters
        .insert("database".to_owned(), "orders".to_owned());
    startup
        .parameters
        .insert("application_name".to_owned(), "oracle".to_owned());
    let mut front = Front::new(FrontLimits::default());
    match front.greet(&mut written(&startup), &mut BytesMut::new()) {
        Ok(Need::Login(hello)) => {
            assert_eq!(
                (hello.user.as_str(), hello.database.as_str()),
                ("agent", "orders")
            );
            assert_eq!(hello.application.as_deref(), Some("oracle"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_extended_protocol_is_read_as_pgwire_writes_it() {
    let parse = Parse::new(
        Some("s1".to_owned()),
        "select $1, $2".to_owned(),
        vec![23, 25],
    );
    let bind = Bind::new(
        None,
        Some("s1".to_owned()),
        vec![1, 0],
        vec![Some(Bytes::from_static(b"\0\0\0\x07")), None],
        vec![1],
    );
    let mut input = BytesMut::new();
    input.extend_from_slice(&written(&parse));
    input.extend_from_slice(&written(&bind));
    input.extend_from_slice(&written(&Describe::new(b'P', None)));
    input.extend_from_slice(&written(&Execute::new(None, 100)));
    input.extend_from_slice(&written(&Close::new(b'S', Some("s1".to_owned()))));
    input.extend_from_slice(&written(&Sync::new()));
    let all = input.clone();

    let mut talk: Talk<String, ()> = Talk::new(FrontLimits::default());
    let (mut up, mut out) = (BytesMut::new(), BytesMut::new());
    let mut executed = false;
    while let Some(heard) = talk.hear(&mut input, &mut up, &mut out).unwrap() {
        let Heard::Asked(asked) = heard else { continue };
        match &asked.phase {
            Phase::Prepare { text, name } => {
                assert_eq!((text.as_str(), &name[..]), ("select $1, $2", &b"s1"[..]));
                talk.prepare(asked, "kept".to_owned(), &mut up);
            }
            Phase::Execute {
                statement, params, ..
            } => {
                assert_eq!(statement, "kept");
                assert_eq!(
                    params.values,
                    [
                        (Format::Binary, Some(Bytes::from_static(b"\0\0\0\x07"))),
                        (Format::Text, None)
                    ]
                );
                executed = true;
                talk.send(asked, (), Wants::default(), &mut up);
            }
            Phase::Run { .. } => panic!("nobody sent a Query"),
        }
    }
    assert!(executed && input.is_empty() && out.is_empty());
    assert_eq!(up, all);
}

#[test]
fn a_query_is_read_as_pgwire_writes_it() {
    let frame = written(&Query::new("select 'ü'".to_owned())).freeze();
    assert_eq!(
        &command::query(&frame).unwrap()[..],
        "select 'ü'".as_bytes()
    );
}

#[test]
fn answers_are_read_as_pgwire_writes_them() {
    let field = FieldDescription::new("ssn".to_owned(), 16385, 2, 25, -1, -1, 1);
    let mut answers = written(&RowDescription::new(vec![field]));
    for _ in 0..3 {
        let row = BytesMut::from(&b"\0\0\0\x03abc"[..]);
        answers.extend_from_slice(&written(&DataRow::new(row, 1)));
    }
    answers.extend_from_slice(&written(&CommandComplete::new("SELECT 3".to_owned())));
    answers.extend_from_slice(&written(&ReadyForQuery::new(
        TransactionStatus::Transaction,
    )));

    let mut talk: Talk<(), ()> = Talk::new(FrontLimits::default());
    let (mut up, mut out) = (BytesMut::new(), BytesMut::new());
    let mut query = written(&Query::new("select ssn".to_owned()));
    let Ok(Some(Heard::Asked(asked))) = talk.hear(&mut query, &mut up, &mut out) else {
        panic!("a Query is asked");
    };
    talk.send(asked, (), Wants::default(), &mut up);
    let mut next = |talk: &mut Talk<(), ()>| {
        let (span, answer) = talk.listen(&answers).unwrap().expect("a whole answer");
        let _ = answers.split_to(span);
        answer
    };
    assert!(matches!(next(&mut talk), Answer::Head));
    let column = &talk.head().unwrap().columns[0];
    assert_eq!(
        column.origin,
        ColumnOrigin::Attribute {
            relation: 16385,
            number: 2
        }
    );
    assert_eq!(
        (&*column.name, column.type_id, column.format),
        ("ssn", 25, Format::Binary)
    );
    assert!(matches!(next(&mut talk), Answer::Rows { count: 3 }));
    assert!(matches!(
        next(&mut talk),
        Answer::Done { rows: Some(3), .. }
    ));
    assert!(matches!(
        next(&mut talk),
        Answer::Ready {
            transaction: Transaction::Open
        }
    ));
}

#[test]
fn what_we_write_is_read_by_pgwire() {
    let context = DecodeContext::new(ProtocolVersion::PROTOCOL3_0);
    let mut out = BytesMut::new();
    Talk::<(), ()>::tell("hello", Some("there"), &mut out);
    let message = PgWireBackendMessage::decode(&mut out, &context);
    assert!(
        matches!(message, Ok(Some(PgWireBackendMessage::NoticeResponse(_)))),
        "{message:?}"
    );
    let refusal = Refusal::new(RefusalCode::Policy, "no").hint("ask");
    Talk::<(), ()>::write_refusal(&refusal, &mut out);
    let message = PgWireBackendMessage::decode(&mut out, &context);
    assert!(
        matches!(message, Ok(Some(PgWireBackendMessage::ErrorResponse(_)))),
        "{message:?}"
    );
}
