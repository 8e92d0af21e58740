use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::said::{LONGEST_STATEMENT, Said, Sender, is_told};
use super::sign::signature;
use super::template::body;
use super::wait::{Failed, wait};
use crate::approval::{
    Binder, Case, Change, Lapse, Matter, Request, Requester, Shown, State, Step, Terms, Waits,
};
use crate::config::{WebhookStep, WebhookTemplate};
use crate::model::{
    ApprovalId, CgroupId, ClientAddr, NetnsCookie, Pid, ProcessFacts, Reference, SessionId,
    StatementSeq, TargetName, UnixMillis, Workload,
};
use crate::policy::{Asks, Reviewers, RuleRef};
use crate::record::RecordedCell;
use crate::sql::Purpose;

/// What a chat would make a mention, a link, markup or another order of letters of.
const HOSTILE: &str = "delete from t -- <!channel> <@U1> @here <https://evil.example|ok> & \
    [ok](https://evil.example) **b** `c` ``` {code} \u{202e}txet\u{202c} \u{200b}\u{7}\r\n";

const PARAMETER: &str = "the value of a parameter";

fn case(text: &str) -> Case {
    Case::new(Request {
        id: ApprovalId(0xabc),
        reference: Reference {
            session: SessionId(7),
            seq: StatementSeq(3),
        },
        at: UnixMillis(1_700_000_000_000),
        lapses: UnixMillis(1_700_000_600_000),
        waits: Waits::Held,
        requester: Requester {
            issuer: "https://issuer.example".to_owned(),
            subject: text.to_owned(),
            groups: Vec::new(),
            claims: BTreeMap::new(),
            also: vec![],
            workload: Workload {
                name: "claude".into(),
                labels: BTreeMap::new(),
            },
            process: ProcessFacts {
                pid: Pid(4),
                uid: 5,
                comm: "psql".to_owned(),
                cgroup: CgroupId(6),
                netns: NetnsCookie(7),
                executable: Some("/usr/bin/psql".to_owned()),
                digest: None,
            },
            client: ClientAddr("127.0.0.1:1".parse().unwrap()),
            application: None,
            purpose: Some(Purpose {
                reason: Some(text.to_owned()),
                ticket: Some("OPS-1".to_owned()),
                ..Purpose::default()
            }),
        },
        target: TargetName("orders".into()),
        database: "shop".to_owned(),
        role: "app".to_owned(),
        matter: Matter::Statement(Shown {
            text: text.to_owned(),
            params: vec![RecordedCell::Text(PARAMETER.to_owned())],
            kinds: vec!["delete".to_owned()],
            tables: vec!["sales.orders".to_owned()],
            functions: Vec::new(),
            estimate: Some(12),
            before: 0,
        }),
        rule: RuleRef {
            policy: "shop".into(),
            rule: "clean".into(),
        },
        asks: Asks {
            reviewers: Reviewers {
                groups: vec!["dba".to_owned()],
                users: Vec::new(),
            },
            quorum: 1,
            ..Asks::default()
        },
        policy_version: "v".into(),
        binding: Binder::default().bound(),
        shape: None,
    })
}

fn change(step: Step) -> Change {
    Change {
        seq: 12,
        at: UnixMillis(1_700_000_000_000),
        id: ApprovalId(0xabc),
        reference: Reference {
            session: SessionId(7),
            seq: StatementSeq(3),
        },
        step,
    }
}

fn asked() -> Change {
    change(Step::Asked {
        by: "ada".to_owned(),
        workload: "claude".to_owned(),
        access: None,
    })
}

fn refused(note: &str) -> Change {
    change(Step::Refused {
        by: "bob".to_owned(),
        note: Some(note.to_owned()),
    })
}

fn said(change: &Change, case: Option<&Case>) -> Said {
    let sender = Sender::new("node-1", "0123456789abcdef0123456789abcdef");
    Said::new(&sender, change, case, Some("https://console.example"), 0)
}

fn templates() -> [(&'static str, WebhookTemplate); 5] {
    let jira = WebhookTemplate::Jira {
        project: "OPS".to_owned(),
        issue_type: "Task".to_owned(),
    };
    [
        ("generic", WebhookTemplate::Generic),
        ("slack", WebhookTemplate::Slack),
        ("teams", WebhookTemplate::Teams),
        ("jira", jira),
        ("pagerduty", WebhookTemplate::PagerDuty),
    ]
}

fn made(template: &WebhookTemplate, said: &Said) -> Value {
    serde_json::from_slice(&body(template, said, Some("routing-key"))).unwrap()
}

#[test]
fn what_each_receiver_is_told_of_a_hostile_request() {
    let pending = case(HOSTILE);
    let mut over = case(HOSTILE);
    over.state = State::Refused;
    for (name, template) in templates() {
        let first = made(&template, &said(&asked(), Some(&pending)));
        let then = made(&template, &said(&refused(HOSTILE), Some(&over)));
        let both = serde_json::to_string_pretty(&[first, then]).unwrap();
        insta::assert_snapshot!(format!("told_{name}"), both);
    }
}

/// Every object within a document.
fn objects(value: &Value, seen: &mut Vec<serde_json::Map<String, Value>>) {
    match value {
        Value::Object(map) => {
            seen.push(map.clone());
            map.values().for_each(|value| objects(value, seen));
        }
        Value::Array(all) => all.iter().for_each(|value| objects(value, seen)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn no_text_of_others_hides_anything_or_stands_where_markup_is_read() {
    let links = [
        "https://console.example/console/requests/a-0000000000000abc",
        "http://adaptivecards.io/schemas/adaptive-card.json",
    ];
    bolero::check!()
        .with_type::<String>()
        .for_each(|text: &String| {
            let case = case(text);
            for (name, template) in templates() {
                for change in [asked(), refused(text)] {
                    let bytes = body(&template, &said(&change, Some(&case)), Some("key"));
                    let whole = String::from_utf8(bytes).unwrap();
                    assert_eq!(crate::model::visible(&whole), whole, "{name}");
                    assert!(!whole.contains(PARAMETER), "{name}");
                    let mut all = Vec::new();
                    objects(&serde_json::from_str(&whole).unwrap(), &mut all);
                    for object in all {
                        let kind = object.get("type").and_then(Value::as_str);
                        assert!(!matches!(kind, Some("mrkdwn" | "TextBlock" | "FactSet")));
                        for key in ["url", "href", "client_url", "$schema"] {
                            let link = object.get(key).and_then(Value::as_str);
                            assert!(link.is_none_or(|link| links.contains(&link)), "{object:?}");
                        }
                    }
                }
            }
        });
}

#[test]
fn a_long_statement_is_cut_and_says_so() {
    let text = "x".repeat(LONGEST_STATEMENT + 1);
    let said = said(&asked(), Some(&case(&text)));
    let statement = &said.request.as_ref().unwrap().statement;
    assert_eq!(statement.text.len(), LONGEST_STATEMENT);
    assert!(statement.cut);
    assert_eq!(statement.characters, LONGEST_STATEMENT + 1);
    assert!(
        said.about_statement()
            .unwrap()
            .starts_with("cut here; 2001 characters")
    );
    // What is shown is bounded, also where each character becomes many.
    let said = self::said(&asked(), Some(&case(&"\u{202e}".repeat(LONGEST_STATEMENT))));
    let statement = &said.request.as_ref().unwrap().statement;
    assert_eq!(statement.text.chars().count(), LONGEST_STATEMENT);
    assert!(statement.cut);
}

#[test]
fn a_message_that_comes_late_says_what_has_become_of_it_and_what_never_came() {
    let mut late = case("delete from t");
    late.state = State::Over {
        why: Lapse::TimedOut,
    };
    let mut told = said(&asked(), Some(&late));
    told.missed = 4;
    let facts = told.facts();
    let now = ("Now", "nobody decided in time".to_owned());
    assert!(facts.contains(&now), "{facts:?}");
    let missed = "4 earlier changes were never delivered here".to_owned();
    assert!(facts.contains(&("Missed", missed)), "{facts:?}");
    // Also what is not kept any more is told as far as it is known.
    let gone = said(&refused("no"), None);
    assert_eq!(gone.headline(), "a-0000000000000abc: it is refused");
    for (name, template) in templates() {
        let whole = made(&template, &gone).to_string();
        assert!(whole.contains("a-0000000000000abc"), "{name}: {whole}");
    }
}

#[test]
fn a_new_store_s_messages_are_not_taken_for_those_of_the_one_before() {
    let (before, mut after) = (asked(), asked());
    after.id = ApprovalId(before.id.0 + 1);
    assert_eq!(before.seq, after.seq);
    let name = |change: &Change| said(change, None).delivery;
    assert_ne!(name(&before), name(&after));
    assert_eq!(name(&before), name(&before));
}

#[test]
fn steps_that_nobody_wants_are_not_told() {
    let some = BTreeSet::from([WebhookStep::Asked, WebhookStep::Refused]);
    let approved = Step::Approved {
        by: vec!["bob".to_owned()],
        terms: Terms::default(),
        note: None,
    };
    assert!(is_told(&asked().step, &some));
    assert!(is_told(&refused("").step, &some));
    assert!(!is_told(&approved, &some));
    let voted = Step::Voted {
        by: "bob".to_owned(),
    };
    assert!(!is_told(&voted, &some));
}

#[test]
fn a_signature_is_what_others_compute() {
    // By Python: hmac.new(key, b"1700000000." + body, hashlib.sha256).hexdigest()
    assert_eq!(
        signature(b"0123456789abcdef", 1_700_000_000, br#"{"version":1}"#),
        "t=1700000000,v1=d4d5218e4060ea8d4e3266cccc3a4dad71e647b6992c00beec425264a92b2c5f"
    );
}

#[test]
fn waits_grow_to_a_bound_and_are_spread() {
    let secs = Duration::from_secs;
    for (times, least, most) in [
        (1, 0.5, 1.0),
        (2, 1.0, 2.0),
        (5, 8.0, 16.0),
        (40, 150.0, 300.0),
    ] {
        let bounds = [0, u32::MAX].map(|random| wait(Failed::ForNow, times, random));
        assert_eq!(
            bounds,
            [least, most].map(Duration::from_secs_f64),
            "{times}"
        );
        let middle = wait(Failed::ForNow, times, u32::MAX / 2);
        assert!(bounds[0] < middle && middle < bounds[1]);
    }
    assert_eq!(wait(Failed::UntilMended, 1, u32::MAX), secs(300));
    assert_eq!(wait(Failed::Until(secs(17)), 9, 5), secs(17));
    // Nobody makes the agent ask without end, or keep still for ever.
    assert_eq!(wait(Failed::Until(secs(0)), 1, 0), secs(1));
    assert_eq!(wait(Failed::Until(secs(u64::MAX)), 1, 0), secs(3600));
}
