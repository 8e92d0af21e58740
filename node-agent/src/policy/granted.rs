use std::sync::Arc;

use proptest::prelude::*;

use super::cases::Asker;
use super::tests::{DEMO, EVERYTHING, set, statement};
use super::*;

fn document(name: &str, access: &str, rest: &str) -> String {
    format!(
        "apiVersion: node-agent/v1\nkind: Policy\nmetadata: {{ name: {name} }}\n\
         subjects: [ {{ workloads: ['*'] }} ]\ntargets: [ '*' ]\naccess: {{ {access} }}\n{rest}"
    )
}

const DBA: &str = "reviewers: { groups: [dba] }, longest: 4h";

fn oncall() -> String {
    document(
        "oncall",
        DBA,
        "rules:\n  - { name: fix, effect: allow, statements: [select, update, delete], tables: ['hr.*'] }\n",
    )
}

fn asked(sql: &str, access: &[&str]) -> Question {
    let asker = Asker {
        access: access.iter().map(|name| (*name).to_owned()).collect(),
        ..Asker::default()
    };
    asker.question(sql).unwrap()
}

/// How much is let through.
fn mildness(decision: &Decision) -> u8 {
    match decision {
        Decision::Allow(_) => 2,
        Decision::Hold(_) => 1,
        Decision::Deny(_) => 0,
    }
}

#[test]
fn what_is_granted_is_in_force_for_who_has_it_and_for_nobody_else() {
    let oncall = oncall();
    let policies = set(&[DEMO, &oncall]);
    let text = "update hr.salaries set a = 1 where id = 1";
    for (access, mild) in [(&[][..], 0), (&["oncal"], 0), (&["oncall"], 2)] {
        assert_eq!(
            mildness(&decide(&policies, &asked(text, access))),
            mild,
            "{access:?}"
        );
    }
    // It allows no more than it says.
    let drop = asked("drop table hr.salaries", &["oncall"]);
    assert_eq!(mildness(&decide(&policies, &drop)), 0);
    // Who is not among its subjects has nothing of it, granted or not.
    let theirs = oncall.replace("workloads: ['*']", "workloads: [billing]");
    let policies = set(&[DEMO, &theirs]);
    assert_eq!(mildness(&decide(&policies, &asked(text, &["oncall"]))), 0);
    assert!(offered(&policies, &asked(text, &[])).is_empty());
    let elsewhere = oncall.replace("targets: [ '*' ]", "targets: [ billing ]");
    let policies = set(&[DEMO, &elsewhere]);
    assert_eq!(mildness(&decide(&policies, &asked(text, &["oncall"]))), 0);
}

#[test]
fn what_others_deny_hold_and_mask_stays_so() {
    let guard = "apiVersion: node-agent/v1\nkind: Policy\nmetadata: { name: guard }\n\
         subjects: [ { workloads: ['*'] } ]\ntargets: [ '*' ]\nrules:\n  \
         - { name: never, effect: deny, statements: [delete], tables: ['hr.*'] }\n  \
         - { name: seen, effect: approve, statements: [update], tables: ['hr.*'], reviewers: { groups: [dba] } }\n\
         masks:\n  - { name: pay, columns: ['hr.salaries.pay'], with: redact }\n";
    let oncall = oncall();
    let policies = set(&[guard, &oncall]);
    let of = |text: &str| decide(&policies, &asked(text, &["oncall"]));
    assert_eq!(mildness(&of("delete from hr.salaries where id = 1")), 0);
    assert_eq!(
        mildness(&of("update hr.salaries set a = 1 where id = 1")),
        1
    );
    let Decision::Allow(allow) = of("select pay from hr.salaries") else {
        panic!("it is allowed");
    };
    assert!(allow.obligations.touches_masked);
    assert_eq!(mildness(&of("select 1 from hr.salaries where pay > 1")), 0);
}

#[test]
fn a_refusal_knows_what_could_be_asked_for() {
    let oncall = oncall();
    let held = document(
        "audit",
        DBA,
        "rules:\n  - { name: read, effect: allow, statements: [read], tables: ['hr.*'] }\n",
    );
    let policies = set(&[DEMO, &oncall, &held]);
    let names = |text: &str, access: &[&str]| -> Vec<String> {
        let found = offered(&policies, &asked(text, access));
        found.iter().map(|one| one.policy.to_string()).collect()
    };
    assert_eq!(names("select * from hr.salaries", &[]), ["oncall", "audit"]);
    assert_eq!(
        names("delete from hr.salaries where id = 1", &[]),
        ["oncall"]
    );
    assert_eq!(names("select * from hr.salaries", &["oncall"]), ["audit"]);
    // It would be refused all the same.
    assert!(names("drop table hr.salaries", &[]).is_empty());
    assert!(names("drop table sales.orders", &[]).is_empty());
    assert!(names("selec", &[]).is_empty());
    // What wants to be told why, once it is granted, is worth asking for.
    let told = oncall.replace("access:", "require: { reason: true }\naccess:");
    let found = offered(
        &set(&[DEMO, &told]),
        &asked("select * from hr.salaries", &[]),
    );
    assert_eq!(found.len(), 1);
}

#[test]
fn so_many_policies_are_tried_and_no_more() {
    let all: Vec<String> = (0..40)
        .map(|at| oncall().replace("name: oncall", &format!("name: p{at:02}")))
        .collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let found = offered(&set(&all), &asked("select * from hr.salaries", &[]));
    assert_eq!(found.len(), 16);
    // Of a large statement fewer, of a larger one none.
    for (columns, most) in [(1990, 4), (2100, 0)] {
        let columns: Vec<String> = (0..columns).map(|at| format!("c{at}")).collect();
        let text = format!("select {} from hr.salaries", columns.join(", "));
        assert_eq!(offered(&set(&all), &asked(&text, &[])).len(), most);
    }
}

#[test]
fn what_would_protect_nothing_while_it_is_not_granted_is_refused() {
    let allow = "rules:\n  - { name: r, effect: allow, statements: [read] }\n";
    for (rest, why) in [
        (
            "rules:\n  - { name: r, effect: deny, statements: [read] }\n",
            "rule `r` denies",
        ),
        (
            "rules:\n  - { name: r, effect: approve, statements: [read], reviewers: { groups: [dba] } }\n",
            "rule `r` holds",
        ),
        (
            &format!("{allow}masks:\n  - {{ name: m, columns: ['a.b.c'], with: redact }}\n"),
            "`masks` protects nothing",
        ),
        (
            &format!("{allow}content:\n  - {{ name: c, detect: [email], mode: report }}\n"),
            "`content` protects nothing",
        ),
        (
            &format!("{allow}budgets: {{ statements_per_minute: 1 }}\n"),
            "`budgets` protects nothing",
        ),
        (
            &format!("{allow}functions: {{ deny: ['a.f(*)'] }}\n"),
            "`functions.deny` refuses nothing",
        ),
        (&format!("{allow}mode: observe\n"), "only observes"),
        ("", "nothing that could be granted"),
        (
            "limits: { rows_returned: 1 }\n",
            "nothing that could be granted",
        ),
    ] {
        let text = document("p", DBA, rest);
        let errors = PolicySet::compile(parse(&text, "p.yaml").unwrap()).unwrap_err();
        assert!(errors.iter().any(|e| e.message.contains(why)), "{errors:?}");
        assert!(errors[0].line > 0);
    }
    for (access, why) in [
        ("reviewers: {}", "nobody is named"),
        ("reviewers: { groups: [dba] }, quorum: 0", "at least 1"),
        ("reviewers: { users: [a] }, quorum: 2", "only 1 may"),
        ("reviewers: { groups: [dba] }, longest: 31d", "at most 30d"),
        (
            "reviewers: { groups: [dba] }, longest: 999ms",
            "at least 1s",
        ),
        ("reviewers: { groups: [dba] }, timeout: 0s", "at least 1s"),
    ] {
        let text = document("p", access, allow);
        let errors = PolicySet::compile(parse(&text, "p.yaml").unwrap()).unwrap_err();
        assert!(
            errors.iter().any(|e| e.message.contains(why)),
            "{access}: {errors:?}"
        );
    }
    assert!(parse(&document("p", "quorum: 1", allow), "p.yaml").is_err());
    // Nothing behind the key is not "for everybody".
    for nothing in [
        "access:\n",
        "access: ~\n",
        "access: null\n",
        "access: {}\n",
        "access: false\n",
        "access: ''\n",
    ] {
        let text = document("p", DBA, allow).replace(&format!("access: {{ {DBA} }}\n"), nothing);
        assert!(text.contains(nothing));
        assert!(parse(&text, "p.yaml").is_err(), "{nothing}");
    }
}

#[test]
fn a_grant_is_for_one_text_of_a_policy() {
    let text = oncall();
    let content = |text: &str| set(&[text]).on_request("oncall").unwrap().content.clone();
    let own = content(&text);
    assert_eq!(own, content(&text));
    for (from, to) in [
        ("'hr.*'", "'*.*'"),
        ("groups: [dba]", "groups: [web]"),
        ("longest: 4h", "longest: 5h"),
        ("workloads: ['*']", "workloads: [claude]"),
    ] {
        assert!(text.contains(from));
        assert_ne!(own, content(&text.replace(from, to)), "{to}");
    }
    // What others say is no part of it.
    let both = set(&[DEMO, &text]);
    assert_eq!(own, both.on_request("oncall").unwrap().content);
    let demo = set(&[DEMO]).all_on_request().count();
    assert_eq!(demo, 0);
    let known = both.on_request("oncall").unwrap();
    assert_eq!(known.rules, ["allows select, update, delete on hr.*"]);
    assert_eq!((known.longest, known.usual), (4 * 3_600_000, 3_600_000));
}

/// A document that can be granted, with everything in it that it may have.
fn grantable() -> impl Strategy<Value = String> {
    let rules = prop::sample::select(vec![
        "  - { name: a, effect: allow, statements: ['*'] }\n",
        "  - { name: a, effect: allow, statements: [read], tables: ['hr.*'] }\n",
        "  - { name: a, effect: allow, statements: [write], tables: ['sales.*'], max_rows_affected: 3 }\n",
        "  - { name: a, effect: allow, statements: [delete], without_where: true }\n",
        "  - { name: a, effect: allow, statements: [opaque] }\n",
        "  - { name: a, effect: allow, statements: [select], when: 'principal.claims.level == 1' }\n",
    ]);
    let more = prop::sample::select(vec![
        "",
        "limits: { rows_returned: 1, rows_affected: 2 }\n",
        "require: { reason: true, ticket: '[A-Z]+-[0-9]+' }\n",
        "functions: { allow: ['*'] }\n",
        "witnesses: union\n",
        "witnesses: strict\n",
    ]);
    (rules, more).prop_map(|(rules, more)| document("more", DBA, &format!("rules:\n{rules}{more}")))
}

const WATCH: &str = "apiVersion: node-agent/v1\nkind: Policy\nmetadata: { name: watch }\nmode: observe\n\
    subjects: [ { workloads: ['*'] } ]\ntargets: [ '*' ]\n\
    rules:\n  - { name: r, effect: allow, statements: [read] }\n";

/// Two parsers that differ do so without a word from what is granted.
fn contested(mut question: Question, differs: bool) -> Question {
    if differs {
        let adds = question.analysis.statements.clone();
        Arc::make_mut(&mut question.analysis).second =
            crate::sql::Second::Differs(Box::new(crate::sql::Differing {
                about: vec![crate::sql::Difference::Class],
                what: "a second parser finds something else".to_owned(),
                adds,
            }));
    }
    question
}

proptest! {
    /// What was not granted is not there.
    #[test]
    fn a_policy_that_nobody_was_granted_changes_nothing(
        sql in statement(), more in grantable(), base in 0..5_usize, differs in any::<bool>(),
    ) {
        let union = DEMO.replace("targets:", "witnesses: union\ntargets:");
        let unions = [union.as_str()];
        let bases: &[&str] = [&[][..], &[DEMO], &[EVERYTHING], &unions, &[WATCH]][base];
        let without = set(bases);
        let with = set(&[bases, &[more.as_str()]].concat());
        let question = contested(asked(&sql, &["another"]), differs);
        prop_assert_eq!(decide(&without, &question), decide(&with, &question));
        let (who, target) = (&question.principal, &question.target);
        prop_assert_eq!(without.masks_for(who, target), with.masks_for(who, target));
        prop_assert_eq!(without.budgets_for(who, target), with.budgets_for(who, target));
    }

    /// What was granted takes nothing away, and leaves every mask, hold and denial of others.
    #[test]
    fn a_policy_that_was_granted_only_adds(
        sql in statement(), more in grantable(), base in 0..5_usize, differs in any::<bool>(),
    ) {
        let union = DEMO.replace("targets:", "witnesses: union\ntargets:");
        let unions = [union.as_str()];
        let bases: &[&str] = [&[][..], &[DEMO], &[EVERYTHING], &unions, &[WATCH]][base];
        let without = decide(&set(bases), &contested(asked(&sql, &["more"]), differs));
        let with = decide(&set(&[bases, &[more.as_str()]].concat()), &contested(asked(&sql, &["more"]), differs));
        prop_assert!(mildness(&with) >= mildness(&without), "{sql}\n{more}\n{without:?}\n{with:?}");
        prop_assert!(mildness(&without) != 1 || mildness(&with) == 1);
        // As if it had been written without `access`, where nothing else is in the way.
        if base == 1 && !differs {
            let plain = more.replace(&format!("access: {{ {DBA} }}\n"), "");
            let plain = decide(&set(&[DEMO, &plain]), &asked(&sql, &[]));
            prop_assert_eq!(mildness(&plain), mildness(&with));
        }
        let masks = |decision: &Decision| match decision {
            Decision::Allow(allow) => Some((allow.obligations.masks.clone(), allow.obligations.touches_masked)),
            Decision::Hold(hold) => Some((hold.obligations.masks.clone(), hold.obligations.touches_masked)),
            Decision::Deny(_) => None,
        };
        if let (Some(before), Some(after)) = (masks(&without), masks(&with)) {
            prop_assert_eq!(before, after);
        }
    }
}
