//! Pure. Whether a database connection on which a text has run can be made as new.
//!
//! The server's own reset drops much (`wire` says what), and not everything: what code of somebody's keeps
//! in an interpreter or a library stays, and so do some settings. So it is listed here what is sure to leave
//! nothing behind it; a text that has anything else in it, or that was not understood, leaves something.

use super::{
    Analysis, Effect, FunctionClass, FunctionUse, StatementFacts, StatementKind, Sureness, Touch,
    classify_function,
};

/// Whether a text leaves nothing behind that a reset does not drop, by its words alone: what its names stand for
/// is another question.
pub fn leaves_nothing(analysis: &Analysis) -> bool {
    analysis.sureness == Sureness::Complete && analysis.judged().all(clean)
}

fn clean(facts: &StatementFacts) -> bool {
    // A DISCARD is what the reset is made of: of temporary tables too, which count as definitions.
    facts.kinds.iter().all(|kind| leaves_no_trace(*kind))
        && facts
            .relations
            .iter()
            .all(|used| used.touch != Touch::Define)
        && facts.functions.iter().all(undone)
        && (facts.kinds == [StatementKind::Discard] || facts.effects.iter().all(drops))
}

/// No arm takes the rest: whoever adds a kind says here what it leaves.
fn leaves_no_trace(kind: StatementKind) -> bool {
    match kind {
        // Rows, and locks that end with their transaction. What triggers and rules of those tables run is the
        // code of whoever owns them: under the same identity, as before, and as after.
        StatementKind::Select
        | StatementKind::Insert
        | StatementKind::Update
        | StatementKind::Delete
        | StatementKind::Merge
        | StatementKind::Lock
        | StatementKind::CopyOut
        | StatementKind::CopyIn
        | StatementKind::Explain
        | StatementKind::Show
        // Over when the session is idle outside a transaction.
        | StatementKind::Transaction
        // Set back; which settings, `drops` knows.
        | StatementKind::Set
        // Dropped.
        | StatementKind::Prepare
        | StatementKind::Execute
        | StatementKind::Deallocate
        | StatementKind::Declare
        | StatementKind::Fetch
        | StatementKind::CloseCursor
        | StatementKind::Discard => true,
        // Channels are left on a reset, and what was sent to them before that may still come.
        StatementKind::Listen
        | StatementKind::Notify
        // Code: what it leaves in its interpreter is not in its text.
        | StatementKind::Do
        | StatementKind::Call
        | StatementKind::DefineCode
        // Libraries are never unloaded.
        | StatementKind::Admin
        // A reset of who one is leads back to the login, and is not to be needed.
        | StatementKind::SetIdentity
        // Definitions, and what comes near them: seldom, and never worth a doubt.
        | StatementKind::Create
        | StatementKind::Alter
        | StatementKind::Drop
        | StatementKind::Truncate
        | StatementKind::Maintain
        | StatementKind::Vacuum
        | StatementKind::Grant
        | StatementKind::Role
        | StatementKind::TwoPhase
        | StatementKind::CopyFile
        | StatementKind::CopyProgram
        | StatementKind::Opaque => false,
    }
}

fn drops(effect: &Effect) -> bool {
    match effect {
        Effect::Prepares { inner, .. } | Effect::Declares { inner, .. } => clean(inner),
        Effect::Executes(_)
        | Effect::Fetches(_)
        | Effect::Deallocates(_)
        | Effect::Closes(_)
        | Effect::ForgetsNames => true,
        Effect::Sets { setting, .. } => set_back(setting),
        Effect::Defines => false,
    }
}

/// Whether RESET ALL, which is part of the reset, sets it back.
fn set_back(setting: &str) -> bool {
    // Not what has no default of its own (GUC_NO_RESET_ALL): the seed of chance, and who one is. A name
    // with a dot may be made up by whoever sets it; that it was is seen for as long as the connection is there.
    !matches!(setting, "seed" | "role" | "session_authorization") && !setting.contains('.')
}

/// Whether a call leaves nothing, or what a reset drops: the pure, and some of the server's own.
fn undone(function: &FunctionUse) -> bool {
    #[rustfmt::skip]
    const DROPPED: &[&str] = &[
        "currval", "lastval", "nextval", "pg_advisory_lock", "pg_advisory_lock_shared",
        "pg_advisory_xact_lock", "pg_advisory_xact_lock_shared", "pg_sleep",
        "pg_try_advisory_lock", "pg_try_advisory_lock_shared", "pg_try_advisory_xact_lock",
        "pg_try_advisory_xact_lock_shared", "setval",
    ];
    let schema = function.schema.as_deref();
    let name = function.name.as_str();
    classify_function(schema, name, function.args) == FunctionClass::Pure
        || (matches!(schema, None | Some("pg_catalog")) && DROPPED.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Dialect;
    use crate::sql::analyze;

    fn leaves(text: &str) -> bool {
        leaves_nothing(&analyze(Dialect::Postgres, text))
    }

    #[test]
    fn what_a_reset_drops_leaves_nothing() {
        for text in [
            "",
            "select 1",
            "select count(*), lower(a) from t where b = 1 for update",
            "insert into t (a) values (1) returning a",
            "with gone as (delete from t where a = 1 returning *) select * from gone",
            "update t set a = 2 where a = 1",
            "merge into t using s on t.a = s.a when matched then delete",
            "begin; savepoint a; rollback to a; commit",
            "lock table t",
            "set statement_timeout = '1s'; reset all; show search_path",
            "set local work_mem = '1MB'",
            "select set_config('work_mem', '1MB', false)",
            "set time zone 'UTC'",
            "prepare p as select 1; execute p; deallocate p; deallocate all",
            "declare c cursor with hold for select 1; fetch c; close c",
            "copy t from stdin",
            "copy (select 1) to stdout",
            "explain analyze select 1",
            "discard all",
            "select nextval('s'), currval('s'), setval('s', 1)",
            "select pg_advisory_lock(1), pg_catalog.pg_try_advisory_lock_shared(1, 2)",
        ] {
            assert!(leaves(text), "{text}");
        }
    }

    #[test]
    fn whatever_else_there_is_leaves_something() {
        for text in [
            "this is no statement",
            "create table t (a int)",
            "create temp table t (a int)",
            "select 1 into t",
            "create table t as select 1",
            "prepare p as create table t as select 1",
            "drop table t",
            "truncate t",
            "alter table t add b int",
            "comment on table t is 'x'",
            "grant select on t to public",
            "vacuum t",
            "listen a",
            "notify a",
            "select pg_notify('a', 'b')",
            "load 'auto_explain'",
            "do $$ begin end $$",
            "call p()",
            "create function f() returns int language sql as 'select 1'",
            "set role other",
            "set session authorization other",
            "set seed = 0.5",
            "set my.own = 'x'",
            "set local my.own = 'x'",
            "select setseed(0.5)",
            "select set_config('my.own', 'x', false)",
            "select set_config('seed', '0.5', false)",
            "select set_config(a, '1MB', false) from t",
            "select price(1)",
            "select app.lower('a')",
            "select app.nextval('s')",
            "select lo_create(1)",
            "select dblink_connect('x')",
            "prepare transaction 'a'",
            "copy t from '/tmp/x'",
            "copy t to program 'cat'",
            "select 1; listen a",
            "explain analyze create table t as select 1",
        ] {
            assert!(!leaves(text), "{text}");
        }
    }
}
