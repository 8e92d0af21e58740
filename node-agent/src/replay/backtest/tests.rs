//! Recordings made here, judged by other policies.

use std::path::PathBuf;
use std::sync::Arc;

use super::super::Style;
use super::*;
use crate::model::Dialect;
use crate::policy::cases::Asker;
use crate::policy::{Decision, Question, decide, parse};
use crate::record::{
    Basis, Decided, Finished, Login, Names, Recorder, RecorderSettings, Sent, Why, fixtures,
};
use crate::sql::analyze;

fn policies(rest: &str) -> PolicySet {
    let text = format!(
        "apiVersion: node-agent/v1\nkind: Policy\nmetadata: {{ name: p }}\n\
         subjects: [ {{ groups: [ai-agents] }} ]\ntargets: [ '*' ]\n{rest}\n"
    );
    PolicySet::compile(parse(&text, "p.yaml").unwrap()).unwrap()
}

const READS: &str = "rules: [ { name: read, effect: allow, statements: [select], tables: ['app.*'] }, \
                     { name: end, effect: allow, statements: [transaction] } ]";

/// Records sessions of texts, as these policies judge them; each answer has so many rows.
struct Room {
    place: tempfile::TempDir,
    recorder: Option<Recorder>,
    sessions: u64,
}

impl Room {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let settings = RecorderSettings::new(place.path().to_owned());
        Room {
            recorder: Some(Recorder::open(settings).unwrap()),
            place,
            sessions: 0,
        }
    }

    fn question(text: &str) -> Question {
        Question {
            analysis: Arc::new(analyze(Dialect::Postgres, text)),
            ..Asker::default().question("select 1").unwrap()
        }
    }

    async fn session(&mut self, set: &PolicySet, texts: &[(&str, u64)], names: bool) {
        self.sessions += 1;
        let recorder = self.recorder.as_ref().unwrap();
        let session = recorder.begin(fixtures::began(self.sessions)).unwrap();
        let one = Room::question("select 1");
        session.login(Login::Admitted {
            principal: (*one.principal).clone(),
            wished_role: "x".to_owned(),
            database: one.database,
            role: one.role,
            application: None,
            tls: false,
            kept: None,
            settings: Vec::new(),
            upstream: None,
        });
        for (at, (text, rows)) in texts.iter().enumerate() {
            let question = Room::question(text);
            let decision = Arc::new(decide(set, &question));
            let seq = at as u64 + 1;
            let runs = matches!(&*decision, Decision::Allow(_));
            let decided = Decided {
                analysis: question.analysis,
                policy_version: set.version(),
                basis: Basis {
                    names: match names {
                        true => Names::Found(question.names),
                        false => Names::Unrecorded,
                    },
                    sent: Sent::Text,
                    ..Basis::default()
                },
                ..fixtures::decided(seq, text, decision)
            };
            drop(session.decided(decided).await.unwrap());
            if runs {
                session.finished(Finished {
                    ..fixtures::finished(seq, *rows)
                });
            }
        }
        session.close(Why::ClientQuit);
    }

    fn judge(&mut self, set: &PolicySet) -> Tally {
        // All is on disk once the recorder is gone.
        if let Some(recorder) = self.recorder.take() {
            recorder.stop();
        }
        let paths: Vec<PathBuf> = super::super::all(self.place.path()).unwrap();
        let options = BacktestOptions {
            all_changes: true,
            examples: 2,
            ..BacktestOptions::default()
        };
        backtest(set, &paths, &Identities::none(), &options, &mut |_| {})
    }
}

fn told(tally: &Tally) -> String {
    let mut out = Vec::new();
    tally.print(Style::Text, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[tokio::test]
async fn a_session_judged_by_its_own_policies_flips_nothing() {
    let set = policies(&format!(
        "{READS}\nlimits: {{ rows_returned: 10 }}\nbudgets: {{ statements_per_minute: 2 }}"
    ));
    let mut room = Room::new();
    let texts = [
        ("select a from app.t", 20),
        ("delete from app.t", 0),
        ("begin", 0),
        ("not a statement", 0),
        ("copy app.t to stdout", 5),
    ];
    room.session(&set, &texts, true).await;
    let tally = room.judge(&set);
    assert_eq!(
        (
            tally.summary.judged,
            tally.summary.flips,
            tally.summary.others,
            tally.summary.unjudged
        ),
        (5, 0, 0, 0),
        "{}",
        told(&tally)
    );
}

#[tokio::test]
async fn flips_are_counted_by_rule_and_shown_with_their_reference() {
    let mut room = Room::new();
    let texts = [
        ("select a from app.t", 1),
        ("select a from app.t", 1),
        ("select b from app.u", 50),
        ("delete from app.t where a = 1", 0),
    ];
    room.session(&policies(READS), &texts, true).await;
    room.session(&policies(READS), &texts, true).await;
    let changed = policies(
        "rules: [ { name: some, effect: allow, statements: [select], tables: ['app.u'] }, \
         { name: clean, effect: approve, statements: [delete], tables: ['app.*'], reviewers: { groups: [dba] } } ]\n\
         limits: { rows_returned: 20 }",
    );
    let tally = room.judge(&changed);
    let text = told(&tally);
    assert_eq!(tally.summary.flips, 8, "{text}");
    assert_eq!(
        (tally.summary.stricter, tally.summary.freer),
        (6, 2),
        "{text}"
    );
    for line in [
        "allow -> stop: 2 statements",
        "  p/read -> limits.rows_returned, workload claude: 2 statements in 2 sessions",
        "allow -> deny: 4 statements",
        "  p/read -> default, workload claude: 4 statements in 2 sessions",
        "    s-0000000000000001#1  ",
        "deny -> hold: 2 statements",
        "  default -> p/clean, workload claude: 2 statements in 2 sessions",
        "50 rows returned, and the limit is 20",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
}

#[tokio::test]
async fn what_a_recording_does_not_say_is_counted_and_not_guessed() {
    let mut room = Room::new();
    room.session(&policies(READS), &[("select a from app.t", 1)], false)
        .await;
    let everything = policies(
        "rules: [ { name: all, effect: allow, statements: ['*'], tables: ['*.*'] } ]\n\
         functions: { allow: ['*'] }",
    );
    let other =
        policies("rules: [ { name: u, effect: allow, statements: [select], tables: ['app.u'] } ]");
    let tally = room.judge(&other);
    assert_eq!(
        (tally.summary.judged, tally.summary.unjudged),
        (0, 1),
        "{}",
        told(&tally)
    );
    assert!(told(&tally).contains("does not say what its names stood for"));
    // Policies that ask for no names can be judged by all the same.
    let tally = room.judge(&everything);
    assert_eq!(
        (tally.summary.judged, tally.summary.flips),
        (1, 0),
        "{}",
        told(&tally)
    );
}

#[tokio::test]
async fn a_new_budget_is_spent_in_the_order_of_time() {
    let mut room = Room::new();
    let texts = [("select a from app.t", 4); 5];
    room.session(&policies(READS), &texts, true).await;
    let set = |budgets: &str| policies(&format!("{READS}\nbudgets: {{ {budgets} }}"));
    for (budgets, denied, stopped) in [
        ("statements_per_minute: 3", 2, 0),
        ("statements_per_minute: 5", 0, 0),
        // The fixtures end all answers behind the last statement.
        ("rows_returned_per_hour: 10", 0, 3),
    ] {
        let tally = room.judge(&set(budgets));
        let text = told(&tally);
        assert_eq!(tally.summary.flips, denied + stopped, "{budgets}: {text}");
        let line = format!("allow -> deny: {denied} statements");
        assert_eq!(text.contains(&line), denied > 0, "{budgets}: {text}");
    }
}

#[tokio::test]
async fn what_only_observes_is_told_apart() {
    let mut room = Room::new();
    room.session(&policies(READS), &[("select a from app.t", 1)], true)
        .await;
    let observing = policies(&format!(
        "mode: observe\n{}",
        READS.replace("app.*", "app.u")
    ));
    let tally = room.judge(&observing);
    let text = told(&tally);
    assert_eq!(
        (tally.summary.flips, tally.summary.observed),
        (0, 1),
        "{text}"
    );
    assert!(
        text.contains("if enforced, allow -> deny: 1 statement"),
        "{text}"
    );
}
