//! Sessions to look at: one with everything in it, one that means harm, and a long one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::{
    ColumnHead, ColumnOrigin, Digest, Format, Principal, Refusal, RefusalCode, ResultHead,
    SessionId, StatementSeq, UnixMillis, User, Workload,
};
use crate::policy::{Allow, Asks, Decision, Denial, Hold, Obligations, Reviewers, RuleRef};
use crate::record::fixtures::{began, made};
use crate::record::{
    Basis, Closed, Decided, End, Event, Finished, Header, LoggedIn, Login, Note, NoteFrom,
    RecordedCell, RecordedText, Rows, Totals, Unknown, Why, path_of,
};
use crate::sql::{Analysis, Purpose};

pub(super) const BEGAN: i64 = 1_700_000_000_000;

/// OSC 52, a title, bell, bidi, carriage return, NUL, C1, and what a page would obey.
pub(super) const NASTY: &str = "\x1b]52;c;aGk=\x07\x1b]0;pwned\x07a\u{202e}b\rc\0\u{9b}31m</script>\
     <img src=x onerror=alert(1)>\"'&amp;\u{200b}</title></style>";

pub(super) fn rule(policy: &str, rule: &str) -> RuleRef {
    RuleRef {
        policy: policy.into(),
        rule: rule.into(),
    }
}

pub(super) fn allowed(by: &str) -> Decision {
    Decision::Allow(Allow {
        rules: vec![rule("claude-orders", by)],
        obligations: Arc::new(Obligations::default()),
        observed: None,
        watched: None,
        fleeting: false,
    })
}

pub(super) fn denied(message: &str) -> Decision {
    let refusal = Refusal::new(RefusalCode::Policy, message)
        .detail("policy claude-orders, rule never-drop")
        .hint("DROP is done by migrations: open a change request");
    Decision::Deny(Denial {
        rule: Some(rule("claude-orders", "never-drop")),
        refusal,
        fleeting: false,
    })
}

pub(super) fn head(names: &[&str]) -> Arc<ResultHead> {
    let columns = names.iter().map(|name| ColumnHead {
        name: (*name).into(),
        origin: ColumnOrigin::Unknown,
        type_id: 25,
        format: Format::Text,
    });
    Arc::new(ResultHead {
        columns: columns.collect(),
    })
}

/// Tells events, each some time after the one before.
pub(super) struct Teller {
    pub(super) events: Vec<Event>,
    now: i64,
    seq: u64,
    totals: Totals,
}

impl Teller {
    pub(super) fn new(session: u64, subject: &str, application: &str) -> Self {
        let mut first = began(session);
        first.workload.labels = BTreeMap::from([("team".to_owned(), "orders".to_owned())]);
        first.process.executable = Some("/usr/bin/python3.11".into());
        first.process.digest = Some(Digest::Blake3(
            "1ef0ad6d59b1b0fbcd4ddbd1ac2b8c3ab2d0ff37ebc4c6e90a2ea4b0c1b0a4d5".into(),
        ));
        let principal = Principal {
            workload: Workload {
                name: "claude".into(),
                labels: BTreeMap::new(),
            },
            user: User {
                issuer: "https://issuer.example".into(),
                subject: subject.into(),
                groups: vec!["ai-agents".into(), "orders-readers".into()],
                claims: BTreeMap::new(),
                also: Vec::new(),
                expires: UnixMillis(2_000_000_000_000),
            },
        };
        let login = Login::Admitted {
            principal,
            wished_role: subject.into(),
            database: "shop".into(),
            role: "svc_orders".into(),
            application: Some(application.into()),
            tls: true,
            kept: None,
            settings: Vec::new(),
            upstream: None,
        };
        let login = LoggedIn {
            at: UnixMillis(BEGAN + 12),
            login,
        };
        Teller {
            events: vec![Event::Began(Box::new(first)), Event::Login(Box::new(login))],
            now: BEGAN + 12,
            seq: 0,
            totals: Totals::default(),
        }
    }

    pub(super) fn push(&mut self, event: Event) {
        self.totals.count(&event);
        self.events.push(event);
    }

    pub(super) fn later(&mut self, millis: i64) -> UnixMillis {
        self.now += millis;
        UnixMillis(self.now)
    }

    pub(super) fn seq(&self) -> StatementSeq {
        StatementSeq(self.seq)
    }

    pub(super) fn asks(&mut self, after: i64, text: &str, decision: Decision) -> &mut Decided {
        self.seq += 1;
        let decided = Decided {
            seq: self.seq(),
            at: self.later(after),
            text: RecordedText::Plain(text.to_owned()),
            params: Vec::new(),
            purpose: None,
            analysis: Arc::new(Analysis::default()),
            decision: Arc::new(decision),
            policy_version: "b1946ac92492d2347c6235b4d2611184".into(),
            basis: Basis::default(),
        };
        self.push(Event::Decided(Box::new(decided)));
        match self.events.last_mut() {
            Some(Event::Decided(decided)) => decided,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn gets(&mut self, head: &Arc<ResultHead>, rows: &[&[Option<&str>]]) {
        let cell = |cell: &Option<&str>| match cell {
            Some(text) => RecordedCell::Text((*text).to_owned()),
            None => RecordedCell::Null,
        };
        let rows = Rows {
            seq: self.seq(),
            head: Some(Arc::clone(head)),
            rows: rows
                .iter()
                .map(|row| row.iter().map(cell).collect())
                .collect(),
            beyond: 0,
            digest: None,
        };
        self.push(Event::Rows(rows));
    }

    pub(super) fn ends(&mut self, micros: u64, tag: &str, rows: u64) -> &mut Finished {
        let finished = Finished {
            seq: self.seq(),
            at: self.later(i64::try_from(micros / 1000).unwrap()),
            micros,
            tags: vec![tag.to_owned()],
            rows,
            bytes: rows * 40,
            error: None,
            masked: Vec::new(),
            found: Vec::new(),
            changed: None,
            observed: Vec::new(),
            end: End::Done,
        };
        self.push(Event::Finished(finished));
        match self.events.last_mut() {
            Some(Event::Finished(finished)) => finished,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn fails(&mut self, micros: u64, code: &str, message: &str) {
        let finished = self.ends(micros, "", 0);
        finished.tags.clear();
        finished.end = End::Failed;
        finished.error = Some((code.to_owned(), message.to_owned()));
        self.totals.failed += 1;
    }

    pub(super) fn says(&mut self, seq: Option<StatementSeq>, from: NoteFrom, text: &str) {
        let note = Note {
            at: self.later(1),
            seq,
            from,
            code: Some("00000".into()),
            text: text.to_owned(),
            approval: None,
        };
        self.push(Event::Note(note));
    }

    pub(super) fn closes(&mut self, why: Why) {
        let closed = Closed {
            at: self.later(400),
            why,
            totals: self.totals,
            carried: None,
        };
        self.push(Event::Closed(closed));
    }

    pub(super) fn write(self, dir: &Path) -> PathBuf {
        let Some(Event::Began(first)) = self.events.first() else {
            panic!("no beginning")
        };
        let header = Header {
            session: first.session,
            began: first.at,
        };
        let path = path_of(dir, header.session);
        let mut file = BufWriter::new(File::create(&path).unwrap());
        made(header, self.events, &mut file);
        path
    }
}

/// A session of an agent that looks for slow orders, and goes too far.
pub(super) fn everything() -> Teller {
    let mut it = Teller::new(0xc0ffee, "alice@example.com", "claude-code 2.1");
    it.asks(210, "SET search_path = sales, public", allowed("settings"));
    it.ends(300, "SET", 0);
    let decided = it.asks(
        1_400,
        "SELECT c.id, c.name, c.email, c.card_number,\n       count(*) AS orders\n  FROM sales.customers c\n  \
         JOIN sales.orders o ON o.customer_id = c.id\n WHERE o.placed_at > $1\n GROUP BY c.id\n ORDER BY orders DESC\n LIMIT $2",
        allowed("read-sales"),
    );
    decided.params = vec![
        RecordedCell::Text("2023-11-01".into()),
        RecordedCell::Text("5".into()),
    ];
    decided.purpose = Some(Arc::new(Purpose {
        reason: Some("find customers with many late orders".into()),
        ticket: Some("OPS-4711".into()),
        ..Purpose::default()
    }));
    let customers = head(&["id", "name", "email", "card_number", "orders"]);
    it.gets(
        &customers,
        &[
            &[
                Some("17"),
                Some("Ada Lovelace"),
                Some("a***@example.org"),
                Some("**** 4242"),
                Some("41"),
            ],
            &[
                Some("4"),
                Some("Grace Hopper"),
                Some("g***@example.org"),
                Some("**** 1881"),
                Some("38"),
            ],
            &[
                Some("233"),
                Some("Katherine Johnson"),
                Some("k***@example.org"),
                None,
                Some("37"),
            ],
            &[
                Some("98"),
                Some("Zoë Müller"),
                Some("z***@example.org"),
                Some("**** 0005"),
                Some("12"),
            ],
            &[
                Some("5"),
                Some("山田太郎"),
                None,
                Some("**** 5100"),
                Some("9"),
            ],
        ],
    );
    let finished = it.ends(18_400, "SELECT 5", 5);
    finished.masked = vec![
        (2, rule("claude-orders", "mask-email")),
        (3, rule("claude-orders", "mask-cards")),
    ];
    it.asks(
        3_100,
        "INSERT INTO sales.labels (name) VALUES ('late')",
        allowed("write-labels"),
    );
    it.fails(
        900,
        "23505",
        "duplicate key value violates unique constraint \"labels_name_key\"",
    );
    it.asks(
        900,
        "SELECT id, name FROM sales.labels WHERE name = 'late'",
        allowed("read-sales"),
    );
    let seq = it.seq();
    it.gets(&head(&["id", "name"]), &[&[Some("3"), Some("late")]]);
    it.says(
        Some(seq),
        NoteFrom::Server,
        "table \"labels\" was analyzed 12 days ago",
    );
    it.ends(700, "SELECT 1", 1);
    it.asks(
        6_200,
        "DROP TABLE sales.orders_backup;",
        denied("DROP is not allowed on sales.orders_backup"),
    );
    it.asks(
        2_400,
        "UPDATE sales.orders SET label_id = 3\n WHERE placed_at < now() - interval '30 days'",
        Decision::Hold(Hold {
            rule: rule("claude-orders", "large-updates"),
            asks: Asks {
                reviewers: Reviewers {
                    groups: vec!["orders-owners".into()],
                    users: vec![],
                },
                quorum: 1,
                ..Asks::default()
            },
            obligations: Arc::new(Obligations::default()),
        }),
    );
    it.ends(2_310_000, "UPDATE 118", 0).changed = Some(118);
    let decided = it.asks(1_000, "", allowed("settings"));
    decided.text = RecordedText::Withheld {
        hash: "9f".repeat(32),
        length: 46,
    };
    it.ends(400, "ALTER ROLE", 0);
    let mut watched = Allow {
        rules: vec![rule("claude-orders", "read-sales")],
        obligations: Arc::new(Obligations::default()),
        observed: None,
        watched: None,
        fleeting: false,
    };
    watched.observed = Some(Box::new(denied("COPY of whole tables is not allowed")));
    it.asks(
        800,
        "COPY sales.customers TO STDOUT",
        Decision::Allow(watched),
    );
    let seq = it.seq();
    it.push(Event::Rows(Rows {
        seq,
        head: None,
        rows: vec![vec![RecordedCell::Text(
            "17\tAda Lovelace\ta***@example.org\n".into(),
        )]],
        beyond: 48_113,
        digest: None,
    }));
    it.ends(41_000, "COPY 912", 912);
    it.says(None, NoteFrom::Agent, "the policies were read anew");
    it.asks(5_000, "SELECT pg_sleep(1)", allowed("read-sales"));
    it.fails(
        1_000_000,
        "57014",
        "canceling statement due to statement timeout",
    );
    it.closes(Why::ClientQuit);
    it
}

/// A session of which every text wants to be obeyed.
pub(super) fn harm() -> Teller {
    let mut it = Teller::new(0xbad, NASTY, NASTY);
    if let Some(Event::Began(first)) = it.events.first_mut() {
        first.workload.name = NASTY.into();
        first.target = crate::model::TargetName(NASTY.into());
        first.process.comm = NASTY.into();
        first.process.executable = Some(NASTY.into());
        first.workload.labels = BTreeMap::from([(NASTY.to_owned(), NASTY.to_owned())]);
    }
    let decided = it.asks(10, &format!("SELECT '{NASTY}'\r\n{NASTY}"), allowed(NASTY));
    decided.params = vec![
        RecordedCell::Text(NASTY.into()),
        RecordedCell::Binary("ff1b5d".into()),
    ];
    decided.policy_version = NASTY.into();
    decided.purpose = Some(Arc::new(Purpose {
        reason: Some(NASTY.into()),
        unread: Some(NASTY.into()),
        ..Purpose::default()
    }));
    let seq = it.seq();
    it.gets(&head(&[NASTY, "b"]), &[&[Some(NASTY), None]]);
    it.says(Some(seq), NoteFrom::Server, NASTY);
    let finished = it.ends(10, NASTY, 1);
    finished.masked = vec![(0, rule(NASTY, NASTY))];
    it.asks(10, NASTY, denied(NASTY));
    it.asks(10, NASTY, allowed("read"));
    it.fails(10, "42\x1b<", NASTY);
    it.says(None, NoteFrom::Agent, NASTY);
    it.push(Event::Unknown(Unknown {
        kind: String::new(),
        line: format!("{{\"event\":{}}}", serde_json::to_string(NASTY).unwrap()),
    }));
    it.closes(Why::Fault(NASTY.into()));
    it
}

/// Writes a long session: so many statements, each with so many rows.
pub(super) fn long(dir: &Path, statements: u64, rows: usize) -> PathBuf {
    let head = head(&["id", "name", "note"]);
    let session = SessionId(0x1000);
    let path = path_of(dir, session);
    let mut file = BufWriter::new(File::create(&path).unwrap());
    let began = Teller::new(session.0, "alice", "long").events;
    let decision = Arc::new(allowed("read"));
    let stop = Arc::new(denied("no"));
    let middle = (1..=statements).flat_map(|seq| {
        let mut it = Teller::new(session.0, "alice", "long");
        it.events.clear();
        it.seq = seq - 1;
        it.now = BEGAN + i64::try_from(seq).unwrap() * 20;
        let text = format!("SELECT id, name, note FROM t{} WHERE id > {seq}", seq % 7);
        let bad = seq % 1000 == 0;
        let decided = it.asks(0, &text, allowed("read"));
        decided.decision = Arc::clone(if bad { &stop } else { &decision });
        if !bad {
            let cells = (0..rows).map(|row| {
                vec![
                    RecordedCell::Text(format!("{}", seq as usize * rows + row)),
                    RecordedCell::Text(format!("name of {row}")),
                    RecordedCell::Null,
                ]
            });
            let rows = Rows {
                seq: it.seq(),
                head: Some(Arc::clone(&head)),
                rows: cells.collect(),
                beyond: 0,
                digest: None,
            };
            let count = rows.rows.len() as u64;
            it.push(Event::Rows(rows));
            it.ends(900, "SELECT", count);
        }
        it.events
    });
    let close = Event::Closed(Closed {
        at: UnixMillis(BEGAN + i64::try_from(statements).unwrap() * 20 + 500),
        why: Why::ClientQuit,
        totals: Totals {
            statements,
            ..Totals::default()
        },
        carried: None,
    });
    let header = Header {
        session,
        began: UnixMillis(BEGAN),
    };
    made(
        header,
        began.into_iter().chain(middle).chain([close]),
        &mut file,
    );
    path
}
