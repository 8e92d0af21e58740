//! What each statement word stands for, in words: for the reference and for editors.

use crate::sql::StatementKind;
use StatementKind as K;

/// The statements of a kind.
pub(super) const fn kind(kind: StatementKind) -> &'static str {
    match kind {
        K::Select => "SELECT, TABLE, VALUES",
        K::Insert => "INSERT",
        K::Update => "UPDATE",
        K::Delete => "DELETE",
        K::Merge => "MERGE",
        K::Lock => "SELECT … FOR UPDATE or SHARE, LOCK TABLE",
        K::CopyOut => "COPY … TO STDOUT",
        K::CopyIn => "COPY … FROM STDIN",
        K::CopyFile => "COPY from or to a file of the server",
        K::CopyProgram => "COPY from or to a program on the server",
        K::Truncate => "TRUNCATE",
        K::Drop => "DROP of anything",
        K::Create => "CREATE of anything; SELECT INTO and CREATE TABLE AS, beside `select`",
        K::Alter => "ALTER of anything",
        K::Maintain => {
            "COMMENT, SECURITY LABEL, REINDEX, CLUSTER, REFRESH MATERIALIZED VIEW and the like"
        }
        K::Vacuum => "VACUUM, ANALYZE, CHECKPOINT",
        K::Grant => "GRANT, REVOKE, ALTER DEFAULT PRIVILEGES",
        K::Role => "CREATE, ALTER and DROP of roles, REASSIGN OWNED, DROP OWNED",
        K::Admin => {
            "LOAD; beside `create`, `alter` or `drop`: ALTER SYSTEM, extensions, languages, foreign servers, subscriptions, publications"
        }
        K::Transaction => "BEGIN, COMMIT, ROLLBACK, SAVEPOINT and the like",
        K::TwoPhase => "PREPARE TRANSACTION, COMMIT PREPARED, ROLLBACK PREPARED",
        K::Set => "SET and RESET of what changes no meaning",
        K::SetIdentity => {
            "SET ROLE, SET SESSION AUTHORIZATION, and settings that change what a text means"
        }
        K::Show => "SHOW",
        K::Explain => "EXPLAIN; with ANALYZE it is also what it runs",
        K::Prepare => "PREPARE; what is prepared is judged as itself",
        K::Execute => "EXECUTE of a prepared statement",
        K::Deallocate => "DEALLOCATE",
        K::Declare => "DECLARE of a cursor; its query is judged as itself",
        K::Fetch => "FETCH, MOVE",
        K::CloseCursor => "CLOSE",
        K::Discard => "DISCARD",
        K::Listen => "LISTEN, UNLISTEN",
        K::Notify => "NOTIFY",
        K::Do => "DO blocks: code that no text shows",
        K::Call => "CALL of a procedure",
        K::DefineCode => {
            "beside `create` or `alter`: code that runs later, such as functions, triggers, rules, row policies, operators, casts"
        }
        K::Opaque => "a text that cannot be understood; it must be named to be allowed",
    }
}

/// What a group is for.
pub(super) fn group(name: &str) -> &'static str {
    match name {
        "read" => "looking, and what sessions need for it",
        "write" => "changing rows",
        "ddl" => "changing the schema, without code that runs later",
        "admin" => "who may do what, the server's files and programs, code that runs later",
        "session" => "what only the session itself notices",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::words::GROUPS;

    #[test]
    fn every_group_is_explained() {
        for (name, _) in GROUPS {
            assert!(!group(name).is_empty(), "{name}");
        }
    }
}
