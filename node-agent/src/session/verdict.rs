//! Texts with what is known of them, and their verdicts: kept for the same text in the same circumstances,
//! and given back for nothing else.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{Refusal, UnixMillis};
use crate::policy::{
    Allow, Decision, Denial, Granted, OnRequest, PolicySet, Question, ResolvedNames, Watched,
    decide, offered,
};
use crate::record::Names;
use crate::sql::{Analysis, Purpose, Turn, stands_for_its_shape, turn};
use crate::wire::Text;

use super::keep::leaves_no_trace;
use super::trace::Traces;

/// How many texts a session remembers.
const TEXTS: usize = 64;

/// The texts that a session has seen.
#[derive(Debug, Default)]
pub(super) struct Texts(HashMap<Text, Arc<Prepared>, RandomState>);

impl Texts {
    /// A text that was seen before, by its own bytes or by those of its shape.
    pub(super) fn seen(&self, text: &Text, by: &Text) -> Option<Arc<Prepared>> {
        let known = self.0.get(by)?;
        // What is known under these bytes may be another text of which they are the shape.
        Some(match known.text == *text {
            true => known.clone(),
            false => Arc::new(known.like(text.detached())),
        })
    }

    /// Remembers a text by its shape, if what was found stands for that, else by its bytes. A full
    /// memory is emptied: cheaper than tracking use, and as good.
    pub(super) fn learn(
        &mut self,
        text: Text,
        shape: Option<Text>,
        analysis: Arc<Analysis>,
        purpose: Option<Arc<Purpose>>,
    ) -> Arc<Prepared> {
        if self.0.len() >= TEXTS {
            self.0.clear();
        }
        let key = shape.filter(|_| stands_for_its_shape(&analysis));
        let key = key.unwrap_or_else(|| text.clone());
        let prepared = Arc::new(Prepared::new(text, analysis, purpose));
        self.0.insert(key, prepared.clone());
        prepared
    }
}

/// A text with everything known about it. Shared by the statement's name, its executions, and the
/// cache of texts.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) text: Text,
    pub(super) analysis: Arc<Analysis>,
    /// The text runs something by its name: what it does by itself. `analysis` then holds for the
    /// names of one moment only.
    pub(super) by_name: Option<Arc<Analysis>>,
    /// What it does to the transaction it runs in.
    pub(super) turn: Turn,
    /// Why, by the client's own word: that of the text, or of the connection.
    pub(super) purpose: Option<Arc<Purpose>>,
    /// It touched masked data when it was made: a cursor keeps rows of that time, whatever its text would
    /// read now.
    pub(super) touched: bool,
    /// The last verdict, with what it hangs on besides the text and the session's principal. Texts of
    /// one shape share it.
    verdict: Arc<Mutex<Option<(Circumstances, Verdict)>>>,
    /// What the columns of its result are made of, where that was asked.
    pub(super) traced: Traces,
}

/// The version of the catalogue in which names were looked up, and of the scope.
pub(super) type FoundIn = (u64, u64);

/// What a verdict hangs on besides its text and its session: in others it says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Circumstances {
    /// Of the policies.
    pub(super) policies: Arc<str>,
    /// Of the catalogue, and of the scope that names are looked for in; `None`: no name matters.
    pub(super) names: Option<FoundIn>,
    /// What was granted, and in force at that moment.
    pub(super) granted: Vec<Granted>,
}

/// A decision and what it was made of.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) policy_version: Arc<str>,
    pub(super) names: Arc<ResolvedNames>,
    /// By which catalogue they were found; `None`: by none.
    pub(super) catalogue: Option<u64>,
    pub(super) decision: Arc<Decision>,
    /// Whether it leaves nothing in the connection that a reset does not drop.
    pub(super) leaves_no_trace: bool,
    /// When it was judged, where it may be another at another moment.
    pub(super) judged: Option<UnixMillis>,
    /// What policy said, where the agent refuses all the same.
    pub(super) policy: Option<Arc<Decision>>,
    /// What was granted to who asked, and in force.
    pub(super) granted: Vec<Granted>,
    /// Where it is refused: what could be granted, and would let it run.
    pub(super) offered: Arc<[Arc<OnRequest>]>,
}

impl Verdict {
    /// What policy allowed, and the agent refuses all the same: so does the record say it.
    pub(super) fn refused(&self, refusal: &Refusal) -> Self {
        match &*self.decision {
            Decision::Allow(Allow { .. }) => Verdict {
                decision: Arc::new(Decision::Deny(Denial {
                    rule: None,
                    refusal: refusal.clone(),
                    fleeting: true,
                })),
                policy: Some(self.decision.clone()),
                ..self.clone()
            },
            Decision::Hold(_) | Decision::Deny(_) => self.clone(),
        }
    }

    /// What it was made of, for the record.
    pub(super) fn names_for_record(&self) -> Names {
        match self.catalogue {
            Some(_) => Names::Found(self.names.clone()),
            None => Names::NotLookedUp,
        }
    }

    /// The limits and budgets that only observe.
    pub(super) fn watched(&self) -> Option<Arc<Watched>> {
        match &*self.decision {
            Decision::Allow(allow) => allow.watched.clone(),
            Decision::Hold(_) | Decision::Deny(_) => None,
        }
    }
}

impl Prepared {
    pub(super) fn new(text: Text, analysis: Arc<Analysis>, purpose: Option<Arc<Purpose>>) -> Self {
        Prepared {
            turn: turn(text.as_str(), &analysis, false),
            text,
            analysis,
            by_name: None,
            purpose,
            touched: false,
            verdict: Arc::default(),
            traced: Traces::default(),
        }
    }

    /// Whether it asks for access.
    pub(super) fn asks_access(&self) -> bool {
        let said = self.purpose.as_ref();
        said.is_some_and(|purpose| purpose.access.is_some())
    }

    /// A text of the same shape: what was found and decided for that one holds for it. Texts with a
    /// purpose of their own have no shape.
    pub(super) fn like(&self, text: Text) -> Self {
        Prepared {
            text,
            analysis: self.analysis.clone(),
            by_name: None,
            turn: self.turn,
            purpose: self.purpose.clone(),
            touched: self.touched,
            verdict: self.verdict.clone(),
            traced: self.traced.clone(),
        }
    }

    /// A text that runs something by its name: `alone` is what it does by itself, `whole` with what
    /// the name stands for now.
    pub(super) fn by_name(
        text: Text,
        alone: Arc<Analysis>,
        whole: Arc<Analysis>,
        purpose: Option<Arc<Purpose>>,
    ) -> Self {
        Prepared {
            by_name: Some(alone),
            turn: turn(text.as_str(), &whole, true),
            ..Prepared::new(text, whole, purpose)
        }
    }

    /// The same, of which it is known whether it touched masked data when it was made.
    pub(super) fn touching(self, touched: bool) -> Self {
        Prepared { touched, ..self }
    }

    /// The verdict that was kept in these circumstances.
    fn verdict(&self, now: &Circumstances) -> Option<Verdict> {
        let kept = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        let (circumstances, verdict) = kept.as_ref()?;
        (circumstances == now).then(|| verdict.clone())
    }

    /// The names as they were found by this catalogue and scope, where they were.
    pub(super) fn names(&self, now: FoundIn) -> Option<Arc<ResolvedNames>> {
        let kept = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        let (circumstances, verdict) = kept.as_ref()?;
        (circumstances.names == Some(now)).then(|| verdict.names.clone())
    }

    /// The verdict in these circumstances: the one that was kept in the same, or a new one, by these policies
    /// on what `ask` asks, which is kept unless it may differ a moment later. Without circumstances nothing is
    /// kept, and nothing that was kept holds.
    pub(super) fn judged(
        &self,
        policies: &PolicySet,
        circumstances: Option<Circumstances>,
        names: Arc<ResolvedNames>,
        ask: impl FnOnce(Arc<ResolvedNames>) -> Question,
    ) -> Verdict {
        if let Some(kept) = circumstances.as_ref().and_then(|now| self.verdict(now)) {
            return kept;
        }
        let question = ask(names.clone());
        let decision = decide(policies, &question);
        let offered: Arc<[Arc<OnRequest>]> = match &decision {
            Decision::Deny(_) => offered(policies, &question).into(),
            Decision::Allow(_) | Decision::Hold(_) => Arc::default(),
        };
        let fleeting = match &decision {
            Decision::Allow(allow) => allow.fleeting,
            Decision::Deny(denial) => denial.fleeting,
            Decision::Hold(_) => true,
        };
        // Names that were not looked up are not known, though a lookup that failed left none.
        let looked_up = circumstances
            .as_ref()
            .is_some_and(|now| now.names.is_some());
        let leaves_no_trace =
            leaves_no_trace(&self.analysis, looked_up.then_some(&*names), &decision);
        let verdict = Verdict {
            policy_version: policies.version(),
            names,
            catalogue: circumstances.as_ref().and_then(|now| Some(now.names?.0)),
            decision: Arc::new(decision),
            leaves_no_trace,
            judged: fleeting.then_some(question.now),
            policy: None,
            granted: question.access,
            offered,
        };
        if !fleeting && let Some(circumstances) = circumstances {
            self.keep(circumstances, verdict.clone());
        }
        verdict
    }

    fn keep(&self, circumstances: Circumstances, verdict: Verdict) {
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((circumstances, verdict));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::judge::Analyses;
    use super::*;
    use crate::model::{Dialect, UnixMillis};
    use crate::policy::{cases::Asker, parse};
    use crate::sql::{Scope, analyze, runs_by_name, shape};
    use crate::upstream::Catalogue;

    /// Texts that policies tell apart; `#` is a number.
    const TEXTS: &[&str] = &[
        "select a from t where b = #",
        "select a from app.t where b = #",
        "select lower(a) from t where b = #",
        "select price(a) from t where b = # and c === #",
        "select a from t where b = '#'",
        "select a from t where b = # -- #",
        "select a from t where b = 0",
        "select a from t",
        "select  a from t",
        "delete from t where b = #",
        "delete from t",
        "update t set a = # where b = #",
        "set search_path = hr; select a from t where b = #",
        "prepare p as select a from t where b = #",
        "select a from t limit #",
        "select 'a' from t where b = E'#'",
        "drop table t",
    ];

    const POLICIES: &[&str] = &[
        "rules: [ { name: a, effect: allow, statements: ['*'], tables: ['*.*'] } ]",
        "rules: [ { name: a, effect: allow, statements: [read], tables: ['app.*'] } ]",
        "rules: [ { name: a, effect: allow, statements: ['*'], tables: ['app.*', 'hr.*'] } ]\n\
         functions: { allow: ['app.*(*)'] }",
        "rules: [ { name: a, effect: allow, statements: ['*'], tables: ['*.*'], without_where: true }, \
         { name: d, effect: deny, statements: [delete], tables: ['hr.t'] } ]\n\
         functions: { allow: ['*'] }",
        "rules: [ { name: a, effect: allow, statements: ['*'], tables: ['*.*'], \
         when: 'now < 1' } ]",
        "rules: [ { name: a, effect: allow, statements: ['*'], tables: ['*.*'], max_rows_affected: 5 } ]\n\
         masks: [ { name: m, columns: [hr.t.a], with: redact } ]",
        "rules: [ { name: a, effect: allow, statements: ['*'], tables: ['*.*'], without_where: true } ]\n\
         masks: [ { name: m, tags: ['pii:*'], with: redact } ]",
        "rules: [ { name: a, effect: allow, statements: [read], tables: ['app.*'] } ]\n\
         ---\n\
         apiVersion: node-agent/v1\nkind: Policy\nmetadata: { name: more }\n\
         subjects: [ { groups: [ai-agents] } ]\ntargets: [ '*' ]\n\
         access: { reviewers: { groups: [dba] } }\n\
         rules: [ { name: a, effect: allow, statements: ['*'], tables: ['hr.*'] } ]",
    ];

    fn policies() -> Vec<PolicySet> {
        let whole = |rest: &&str| {
            let text = format!(
                "apiVersion: node-agent/v1\nkind: Policy\nmetadata: {{ name: p }}\nmode: enforce\n\
                 subjects: [ {{ groups: [ai-agents] }} ]\ntargets: [ '*' ]\n{rest}\n"
            );
            PolicySet::compile(parse(&text, "test.yaml").unwrap()).unwrap()
        };
        POLICIES.iter().map(whole).collect()
    }

    fn catalogues() -> Vec<Catalogue> {
        let lower = [
            Some("hr"),
            Some("lower"),
            Some("1"),
            Some("1"),
            Some("f"),
            Some("name"),
        ];
        let price = [
            Some("app"),
            Some("price"),
            Some("1"),
            Some("1"),
            Some("f"),
            Some("nothing"),
        ];
        let same = [Some("hr"), Some("==="), Some("hr"), Some("same"), Some("f")];
        vec![
            Catalogue::of(1, &[("app", "t")], &[], &[]),
            Catalogue::of(2, &[("app", "t"), ("hr", "t")], &[&price], &[]),
            Catalogue::of(3, &[("hr", "t")], &[&lower, &price], &[&same]),
            // As the first, but for a comment.
            Catalogue::of(4, &[("app", "t")], &[], &[]).commented("t", "b", "a pii:number"),
        ]
    }

    #[test]
    fn the_catalogues_know_what_their_rows_say() {
        let analysis = analyze(
            Dialect::Postgres,
            "select lower(a), price(a), a === 1 from t",
        );
        let found = |catalogue: &Catalogue| {
            let names = catalogue.resolve(&analysis, &Scope::unknown());
            (names.calls.len(), names.operators.len())
        };
        let all: Vec<_> = catalogues().iter().map(found).collect();
        assert_eq!(all, [(0, 0), (1, 0), (2, 1), (0, 0)]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Ask {
            text: usize,
            number: u32,
            times: usize,
        },
        Policies(usize),
        Catalogue(usize),
        Runs(&'static str),
        Moment(i64),
        Granted(bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        let runs = [
            "set search_path = hr",
            "set search_path = app, pg_catalog",
            "select app.mine()",
            "create temp table t (a int)",
            "select 1",
        ];
        prop_oneof![
            6 => (0..TEXTS.len(), prop_oneof![Just(0_u32), 0..3_u32, any::<u32>()], 1..3_usize)
                .prop_map(|(text, number, times)| Step::Ask { text, number, times }),
            1 => (0..POLICIES.len()).prop_map(Step::Policies),
            1 => (0..4_usize).prop_map(Step::Catalogue),
            1 => proptest::sample::select(runs.to_vec()).prop_map(Step::Runs),
            1 => (0..2_i64).prop_map(Step::Moment),
            1 => any::<bool>().prop_map(Step::Granted),
        ]
    }

    proptest! {
        #[test]
        fn a_kept_verdict_is_the_one_that_would_be_found_anew(
            steps in proptest::collection::vec(step(), 1..60),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (policies, catalogues) = (policies(), catalogues());
            let (mut set, mut catalogue, mut moment) = (&policies[0], &catalogues[0], 0);
            let mut scope = Scope::of_path("\"$user\", app", "svc");
            let analyses = Analyses::default();
            let mut texts = Texts::default();
            let mut granted: Vec<Granted> = Vec::new();
            for step in steps {
                let (text, times) = match step {
                    Step::Policies(at) => { set = &policies[at]; continue; }
                    Step::Catalogue(at) => { catalogue = &catalogues[at]; continue; }
                    Step::Runs(text) => { scope.grow(&analyze(Dialect::Postgres, text), &[]); continue; }
                    Step::Moment(at) => { moment = at * 2000; continue; }
                    Step::Granted(is) => {
                        let more = Granted { policy: "more".into(), by: None };
                        granted = is.then_some(more).into_iter().collect();
                        continue;
                    }
                    Step::Ask { text, number, times } => {
                        (TEXTS[text].replace('#', &number.to_string()), times)
                    }
                };
                for _ in 0..times {
                    // As the session does.
                    let text = Text::from(text.clone());
                    let shape = shape(text.as_str()).map(Text::from);
                    let seen = texts.seen(&text, &text);
                    let seen = seen.or_else(|| texts.seen(&text, shape.as_ref()?));
                    let prepared = match seen {
                        Some(seen) => seen,
                        None => {
                            let analysis =
                                runtime.block_on(analyses.of(Dialect::Postgres, &text, shape.as_ref()));
                            prop_assert!(!runs_by_name(&analysis));
                            texts.learn(text.clone(), shape, analysis, None)
                        }
                    };
                    let found_in = (catalogue.version(), scope.version());
                    let names = prepared.names(found_in).unwrap_or_else(|| {
                        let scope = scope.within(&prepared.analysis);
                        Arc::new(catalogue.resolve(&prepared.analysis, &scope))
                    });
                    let circumstances = Circumstances {
                        policies: set.version(),
                        names: Some(found_in),
                        granted: granted.clone(),
                    };
                    let ask = |analysis: &Arc<Analysis>, names| Question {
                        analysis: analysis.clone(),
                        names,
                        access: granted.clone(),
                        now: UnixMillis(moment),
                        ..Asker::default().question("select 1").unwrap()
                    };
                    let kept = prepared.judged(set, Some(circumstances), names, |names| {
                        ask(&prepared.analysis, names)
                    });
                    // Anew, with nothing kept.
                    let analysis = Arc::new(analyze(Dialect::Postgres, text.as_str()));
                    let names = catalogue.resolve(&analysis, &scope.within(&analysis));
                    let fresh = decide(set, &ask(&analysis, Arc::new(names.clone())));
                    prop_assert_eq!(prepared.text.as_str(), text.as_str());
                    prop_assert_eq!(&*kept.decision, &fresh, "{}", text.as_str());
                    prop_assert_eq!(&*kept.names, &names);
                    prop_assert_eq!(kept.policy_version, set.version());
                }
            }
        }
    }
}
