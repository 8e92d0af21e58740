//! Pure. What a text does to the transaction it runs in: whether what ran before it can be durable behind it.

use pg_query::protobuf::node::Node as N;
use pg_query::protobuf::{TransactionStmt, TransactionStmtKind as K};

use super::{Analysis, StatementKind, Sureness, pg};

/// What a text does to its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// No transaction that is open before it ends by it.
    Stays,
    /// It is one BEGIN, and nothing else.
    Begins,
    /// It is one COMMIT, and nothing else.
    Commits,
    /// It is one ROLLBACK (not to a savepoint), and nothing else.
    RollsBack,
    /// It may end the transaction, among other things or by what nobody understood.
    MayEnd,
}

/// What a text does to its transaction. `named`: it runs something by its name, so that its own words do not
/// say all of it. Fails closed: what is not understood may end it.
///
/// Inside a transaction block the server lets nothing else end it: CALL, DO and functions cannot commit there,
/// and what commits by itself (VACUUM, CREATE DATABASE, …) is refused there (PostgreSQL, "Transaction
/// Management" of PL/pgSQL, and the notes of those commands).
pub fn turn(text: &str, analysis: &Analysis, named: bool) -> Turn {
    if analysis.sureness != Sureness::Complete {
        return Turn::MayEnd;
    }
    let controls = |kind: &StatementKind| {
        use StatementKind::{Opaque, Transaction, TwoPhase};
        matches!(kind, Transaction | TwoPhase | Opaque)
    };
    if !analysis
        .judged()
        .any(|facts| facts.kinds.iter().any(controls))
    {
        return Turn::Stays;
    }
    if named || !analysis.second.adds().is_empty() {
        return Turn::MayEnd;
    }
    let Some(tree) = pg::tree(text) else {
        return Turn::MayEnd;
    };
    let statements = &tree.protobuf.stmts;
    let mut turns = statements.iter().map(|raw| {
        let node = raw.stmt.as_deref().and_then(|stmt| stmt.node.as_ref());
        match node {
            Some(N::TransactionStmt(statement)) => of(statement),
            // SET TRANSACTION, SET CONSTRAINTS, and what is none of it.
            Some(_) => Turn::Stays,
            None => Turn::MayEnd,
        }
    });
    match statements.len() {
        1 => turns.next().unwrap_or(Turn::MayEnd),
        _ if turns.all(|turn| matches!(turn, Turn::Stays | Turn::Begins)) => Turn::Stays,
        _ => Turn::MayEnd,
    }
}

fn of(statement: &TransactionStmt) -> Turn {
    match statement.kind() {
        K::TransStmtBegin | K::TransStmtStart => Turn::Begins,
        K::TransStmtCommit => Turn::Commits,
        K::TransStmtRollback => Turn::RollsBack,
        K::TransStmtSavepoint | K::TransStmtRelease | K::TransStmtRollbackTo => Turn::Stays,
        K::TransStmtPrepare
        | K::TransStmtCommitPrepared
        | K::TransStmtRollbackPrepared
        | K::Undefined => Turn::MayEnd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Dialect;
    use crate::sql::{analyze, expand_named};

    #[test]
    fn what_can_end_a_transaction_is_told_from_what_cannot() {
        let table = [
            ("select 1", Turn::Stays),
            ("delete from t where i = 1", Turn::Stays),
            ("begin", Turn::Begins),
            ("start transaction read only", Turn::Begins),
            ("/* a */ COMMIT -- b", Turn::Commits),
            ("end;", Turn::Commits),
            ("commit work and chain", Turn::Commits),
            ("rollback", Turn::RollsBack),
            ("abort and chain", Turn::RollsBack),
            ("rollback to a", Turn::Stays),
            ("savepoint a", Turn::Stays),
            ("release a", Turn::Stays),
            ("set transaction read only", Turn::Stays),
            ("set constraints all deferred", Turn::Stays),
            ("prepare transaction 'x'", Turn::MayEnd),
            ("commit prepared 'x'", Turn::MayEnd),
            ("begin; select 1", Turn::Stays),
            ("select 1; commit", Turn::MayEnd),
            ("commit; begin", Turn::MayEnd),
            ("rollback; delete from t where i = 1", Turn::MayEnd),
            ("begin; commit", Turn::MayEnd),
            ("no statement at all", Turn::MayEnd),
            ("", Turn::Stays),
            ("do $$ begin commit; end $$", Turn::Stays),
            ("call p()", Turn::Stays),
            ("vacuum t", Turn::Stays),
        ];
        for (text, expected) in table {
            let analysis = analyze(Dialect::Postgres, text);
            assert_eq!(turn(text, &analysis, false), expected, "{text}");
        }
    }

    #[test]
    fn what_runs_by_a_name_is_what_the_name_stands_for() {
        let alone = analyze(Dialect::Postgres, "execute c");
        let commit = analyze(Dialect::Postgres, "commit");
        let whole = expand_named(&alone, |_| commit.statements.first());
        assert_eq!(turn("execute c", &whole, true), Turn::MayEnd);
        let nobody = expand_named(&alone, |_| None);
        assert_eq!(turn("execute c", &nobody, true), Turn::MayEnd);
        let select = analyze(Dialect::Postgres, "select 1");
        let whole = expand_named(&alone, |_| select.statements.first());
        assert_eq!(turn("execute c", &whole, true), Turn::Stays);
    }
}
