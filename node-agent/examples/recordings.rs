//! Makes recordings to search, of made-up sessions: `recordings DIR SESSIONS STATEMENTS`, so many
//! statements in each. Statements repeat, differ in a number or are new, as those of programs do; each
//! has an answer. One statement in all asks for `needle-in-haystack`, and one delivers it.

#![allow(
    clippy::indexing_slicing,
    reason = "a program for measurements; what it indexes is its own"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use bytes::{BufMut, Bytes, BytesMut};

use node_agent::mask::{MaskPlan, MaskedRows};
use node_agent::model::{
    CgroupId, ClientAddr, ColumnHead, ColumnOrigin, Dialect, Format, NetnsCookie, OriginalDst, Pid,
    Principal, ProcessFacts, ResultHead, SessionId, StatementSeq, TargetName, UnixMillis, User,
    Workload,
};
use node_agent::policy::{Allow, Decision, Obligations, RuleRef};
use node_agent::record::{
    Basis, Began, Decided, Delivered, End, Finished, Login, RecordedCell, RecordedText, Recorder,
    RecorderSettings, Settle, Why,
};
use node_agent::sql::{Analysis, analyze};

const BEGAN: i64 = 1_769_860_800_000;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context("DIR SESSIONS STATEMENTS");
    let dir = PathBuf::from(next()?);
    let (sessions, statements): (u64, u64) = (next()?.parse()?, next()?.parse()?);
    let recorder = Recorder::open(RecorderSettings {
        settle: Settle::Never,
        ..RecorderSettings::new(dir)
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for id in 1..=sessions {
        let last = id == sessions;
        runtime.block_on(session(&recorder, id, statements, last))?;
    }
    recorder.stop();
    Ok(())
}

const SHAPES: [&str; 4] = [
    "SELECT id, name, city FROM sales.customers WHERE id = ",
    "SELECT o.id, o.total, c.name FROM sales.orders o JOIN sales.customers c ON c.id = o.customer_id WHERE o.id = ",
    "UPDATE sales.orders SET note = 'seen' WHERE id = ",
    "INSERT INTO audit.visits (customer_id) VALUES ($1) RETURNING id -- ",
];

async fn session(recorder: &Recorder, id: u64, count: u64, last: bool) -> anyhow::Result<()> {
    let workload = Workload {
        name: ["claude", "reports", "etl"][(id % 3) as usize].into(),
        labels: BTreeMap::new(),
    };
    let session = recorder.begin(Began {
        session: SessionId(id),
        at: UnixMillis(BEGAN + id as i64 * 1000),
        workload: workload.clone(),
        process: ProcessFacts {
            pid: Pid(42),
            uid: 1000,
            comm: "python".into(),
            cgroup: CgroupId(7),
            netns: NetnsCookie(1),
            executable: None,
            digest: None,
        },
        client: ClientAddr("10.0.0.5:50000".parse()?),
        destination: OriginalDst("10.0.7.3:5432".parse()?),
        target: TargetName("orders".into()),
        dialect: Dialect::Postgres,
    })?;
    session.login(Login::Admitted {
        principal: Principal {
            workload,
            user: User {
                issuer: "https://issuer.example".into(),
                subject: format!("user-{}", id % 50),
                groups: vec!["ai-agents".into()],
                claims: BTreeMap::new(),
                also: Vec::new(),
                expires: UnixMillis(BEGAN * 2),
            },
        },
        wished_role: "agent".into(),
        database: "app".into(),
        role: "agent".into(),
        application: None,
        tls: true,
        kept: None,
        settings: Vec::new(),
        upstream: None,
    });
    let columns = ["id", "name", "city"].map(|name| ColumnHead {
        name: name.into(),
        origin: ColumnOrigin::Unknown,
        type_id: 25,
        format: Format::Text,
    });
    let head = Arc::new(ResultHead {
        columns: columns.into(),
    });
    let decision = Arc::new(Decision::Allow(Allow {
        rules: vec![RuleRef {
            policy: "orders".into(),
            rule: "read".into(),
        }],
        obligations: Arc::new(Obligations::default()),
        observed: None,
        watched: None,
        fleeting: false,
    }));
    let analyses: Vec<Arc<Analysis>> = SHAPES
        .iter()
        .map(|text| Arc::new(analyze(Dialect::Postgres, &format!("{text}1"))))
        .collect();
    for seq in 1..=count {
        let shape = (seq % 4) as usize;
        let here = last && seq == count / 2;
        let text = match (here, seq % 20) {
            (true, _) => "SELECT 'needle-in-haystack'".to_owned(),
            (false, 0) => format!("SELECT {} AS c{seq} FROM sales.customers", seq * 7919),
            // Half of them are bound, and so the same.
            (false, n) if n % 2 == 0 => format!("{}$1", SHAPES[shape]),
            (false, _) => format!("{}{}", SHAPES[shape], seq * 31),
        };
        let analysis = if seq % 20 == 0 {
            Arc::new(analyze(Dialect::Postgres, &text))
        } else {
            Arc::clone(&analyses[shape])
        };
        let at = UnixMillis(BEGAN + id as i64 * 1000 + seq as i64);
        let _receipt = session
            .decided(Decided {
                seq: StatementSeq(seq),
                at,
                text: RecordedText::Plain(text.clone()),
                params: vec![RecordedCell::Text((seq * 13).to_string())],
                purpose: None,
                analysis,
                decision: Arc::clone(&decision),
                policy_version: "v1".into(),
                basis: Basis::default(),
            })
            .await?;
        let mut rows = BytesMut::new();
        for row in 0..(seq % 4) {
            let found = last && row == 0 && seq == count / 2 + 1;
            let name = if found {
                "needle-in-haystack".to_owned()
            } else {
                format!("Customer {}", seq * 17 + row)
            };
            data_row(&[&seq.to_string(), &name, "Springfield"], &mut rows);
        }
        let bytes = rows.len() as u64;
        session
            .delivered(Delivered {
                seq: StatementSeq(seq),
                head: Some(Arc::clone(&head)),
                rows: MaskedRows::pass(&MaskPlan::default(), Bytes::from(rows))
                    .context("an empty plan lets all rows pass")?,
            })
            .await?;
        session.finished(Finished {
            seq: StatementSeq(seq),
            at,
            micros: 700 + seq % 1000,
            tags: vec![format!("SELECT {}", seq % 4)],
            rows: seq % 4,
            bytes,
            error: None,
            masked: Vec::new(),
            found: Vec::new(),
            changed: None,
            observed: Vec::new(),
            end: End::Done,
        });
    }
    session.close(Why::ClientQuit);
    Ok(())
}

/// PostgreSQL's DataRow.
fn data_row(cells: &[&str], out: &mut BytesMut) {
    let length: usize = cells.iter().map(|cell| 4 + cell.len()).sum();
    out.put_u8(b'D');
    out.put_u32(4 + 2 + length as u32);
    out.put_u16(cells.len() as u16);
    for cell in cells {
        out.put_u32(cell.len() as u32);
        out.put_slice(cell.as_bytes());
    }
}
