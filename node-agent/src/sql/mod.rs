//! Pure. What a text does: `analyze(dialect, text) -> Analysis`. Total: every input yields one.
//!
//! For PostgreSQL the text goes through the server's own grammar and then through our own walk of
//! its tree (`pg/`), which has an arm for every kind of node: a new kind is a compile error, not
//! a blind spot. Names are *as written*: what they stand for is the session's knowledge, handed
//! to policy as `policy::ResolvedNames`.
//!
//! Another parser reads the text too (`second/`). What it sees stands beside these facts, never
//! among them: policy judges both, and refuses where they differ unless it says otherwise.

//!
//! # What the columns say
//!
//! `StatementFacts::columns` has every column that the text names, and stands `*` for those it does
//! not: `SELECT *`, `t.*`, COPY and INSERT without a list, MERGE's INSERT without one, and the
//! columns that NATURAL compares (as predicates). `USING (a)` is a predicate on `a`, of both sides.
//! A whole row is a name in `rows`, used as a column. A position (`ORDER BY 1`) is the column it
//! stands for, and all of them behind a star. Columns are not resolved to their tables here: that
//! takes the catalogue, so what is protected by name is protected in every table of the statement.
//! `carries` says under which names values travel on.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::model::Dialect;

mod copied;
mod functions;
mod leaves;
mod lineage;
mod named;
mod pg;
mod purpose;
mod scope;
mod second;
mod shape;
mod turn;

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;

pub use copied::{CopyColumns, CopyForm, CopyLayout, CopyOut, CopyRows, ForceQuote};
pub(crate) use functions::ROW_READERS;
pub use functions::{Family, FunctionClass, PURE as PURE_FUNCTIONS, classify_function};
pub use leaves::leaves_nothing;
pub use lineage::{Base, Carried, Columns, Lineage, MAX_TRACED, OutputColumn, Rows, Shape, trace};
pub use named::{Named, expand_named, runs_by_name};
pub use purpose::Purpose;
pub use scope::{Scope, TEMPORARY, may_set, quoted};
pub use second::{Difference, Differing, Second};
pub use shape::{shape, stands_for_its_shape};
pub use turn::{Turn, turn};

/// Everything the analyser found in one message's text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Analysis {
    /// One per statement, in order. Empty for an empty text or only comments.
    pub statements: Vec<StatementFacts>,
    /// How sure we are. Anything but `Complete` is refused unless policy allows `opaque`.
    pub sureness: Sureness,
    /// What another parser sees in it.
    #[serde(default, skip_serializing_if = "Second::is_unasked")]
    pub second: Second,
}

/// How much of the text was understood.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sureness {
    /// The grammar's own tree, walked whole.
    #[default]
    Complete,
    /// Parsed, but something in it cannot be judged by its text (dynamic SQL, an unknown name).
    Partial(String),
    /// Not parsed, or not walked whole.
    Opaque(String),
}

/// One statement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementFacts {
    /// Every kind it is: the outermost first, then those inside (a SELECT with a DELETE in a CTE
    /// is both). Words of the policy language: see `StatementKind`.
    pub kinds: Vec<StatementKind>,
    /// Every relation it names, CTE names left out.
    pub relations: Vec<RelationUse>,
    /// Every function it calls, casts and unqualified operators left out.
    pub functions: Vec<FunctionUse>,
    /// Operators without a schema, written or meant (`IN`, `BETWEEN`, `USING`), by name: the server looks for
    /// them as for functions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operators: Vec<String>,
    /// Every column reference.
    pub columns: Vec<ColumnUse>,
    /// Of the predicates, those that are compared for equality with values that the text or a
    /// parameter names, wherever they stand: bare columns of the statement's own tables, not of
    /// anything computed inside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub equated: Vec<ColumnUse>,
    /// An UPDATE or DELETE (anywhere in it) has no WHERE.
    pub missing_where: bool,
    /// Where it stands in the text, bytes.
    pub span: Range<usize>,
    /// What it does to the session's names or settings.
    pub effects: Vec<Effect>,
    /// It carries a password or another secret: the text must be redacted before it is recorded.
    pub secret: bool,
    /// It gives relations or columns other names or places, or changes what is a part or child of
    /// what: rules and masks, which go by names, would stay behind.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moves: bool,
    /// It says something else of a relation or a column: tags in comments classify columns.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub comments: bool,
    /// Types, not the server's own, that a value is given by a cast or a definition: their input
    /// functions, casts and checks are code of the database's owner.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<RelationName>,
    /// Names behind a dot that stand among `functions` as well: columns of a value, or calls with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// Names under which columns travel on inside the statement (aliases, alias lists, set
    /// operations, computed columns): so that renaming a column does not hide it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub carries: Vec<Carry>,
    /// Names and aliases of tables, subqueries and functions in FROM: each, used as a column,
    /// stands for a whole row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<String>,
    /// It copies to the client: how that can be made of rows. Follows from the text, so the record
    /// has it already.
    #[serde(skip)]
    pub copy: Option<CopyOut>,
}

/// A name inside a statement that carries the values of columns.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Carry {
    /// The new name.
    pub to: String,
    /// The columns (by name, without qualifier; `*` for all of a relation) it is made from.
    pub from: Vec<String>,
}

/// The statement kinds of the policy language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(
    missing_docs,
    reason = "each is the SQL statement it is named after; see policy reference"
)]
pub enum StatementKind {
    Select,
    Insert,
    Update,
    Delete,
    Merge,
    /// SELECT … FOR UPDATE and LOCK TABLE.
    Lock,
    /// COPY … TO STDOUT.
    CopyOut,
    /// COPY … FROM STDIN.
    CopyIn,
    /// COPY from or to a server-side file.
    CopyFile,
    /// COPY … PROGRAM.
    CopyProgram,
    Truncate,
    Drop,
    Create,
    Alter,
    /// COMMENT, SECURITY LABEL, REINDEX, CLUSTER, REFRESH MATERIALIZED VIEW, …
    Maintain,
    /// VACUUM, ANALYZE, CHECKPOINT.
    Vacuum,
    Grant,
    /// CREATE/ALTER/DROP ROLE, REASSIGN OWNED, DROP OWNED.
    Role,
    /// ALTER SYSTEM, LOAD, extensions, languages, foreign servers, subscriptions, publications.
    Admin,
    /// BEGIN, COMMIT, ROLLBACK, SAVEPOINT, … (not two-phase).
    Transaction,
    /// PREPARE TRANSACTION, COMMIT PREPARED, ROLLBACK PREPARED.
    TwoPhase,
    /// SET, RESET of a session setting that changes no meaning.
    Set,
    /// SET ROLE, SET SESSION AUTHORIZATION, and settings that change what a text means.
    SetIdentity,
    Show,
    Explain,
    /// SQL-level PREPARE.
    Prepare,
    /// SQL-level EXECUTE.
    Execute,
    Deallocate,
    Declare,
    Fetch,
    CloseCursor,
    Discard,
    Listen,
    Notify,
    /// DO blocks.
    Do,
    Call,
    /// Code that later runs by itself or under a name: CREATE/ALTER of a function, procedure,
    /// trigger, rule, operator, cast, aggregate, row policy. Comes with `Create` or `Alter`.
    DefineCode,
    /// Anything not understood.
    Opaque,
}

/// A relation as written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RelationName {
    /// Folded as the server folds it; `None`: unqualified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Folded as the server folds it.
    pub name: String,
}

/// A relation and how it is touched.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RelationUse {
    /// As written.
    pub relation: RelationName,
    /// How.
    pub touch: Touch,
}

/// How a relation is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "self-explanatory")]
pub enum Touch {
    Read,
    Insert,
    Update,
    Delete,
    Truncate,
    Lock,
    Define,
}

/// A function called.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FunctionUse {
    /// `None`: unqualified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Folded.
    pub name: String,
    /// How many arguments are written.
    pub args: usize,
}

/// A column reference as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ColumnUse {
    /// The qualifiers as written, outermost first (may be a table, an alias, schema and table).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub qualifier: Vec<String>,
    /// The column; `*` for a star.
    pub name: String,
    /// Where it stands.
    pub role: ColumnRole,
}

/// Where a column reference stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnRole {
    /// In a select list or RETURNING, at top or in a subquery that feeds one.
    Output,
    /// WHERE, ON, USING, HAVING, GROUP BY, ORDER BY, DISTINCT ON, LIMIT, window, filter.
    Predicate,
    /// The target of an INSERT or UPDATE.
    Written,
    /// The source of a written value.
    Source,
}

/// How long a declared cursor lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CursorSpan {
    /// To the end of its transaction.
    Transaction,
    /// WITH HOLD: until it is closed.
    Session,
}

/// What a statement does to the session's names and settings, once it succeeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// SQL PREPARE: the inner statement's facts.
    Prepares {
        /// The name.
        name: String,
        /// What EXECUTE of it does.
        inner: Box<StatementFacts>,
    },
    /// DECLARE CURSOR.
    Declares {
        /// The cursor.
        name: String,
        /// What FETCH from it reads.
        inner: Box<StatementFacts>,
        /// How long it lives.
        span: CursorSpan,
    },
    /// SQL EXECUTE.
    Executes(String),
    /// FETCH or MOVE.
    Fetches(String),
    /// DEALLOCATE name.
    Deallocates(String),
    /// CLOSE name.
    Closes(String),
    /// DEALLOCATE ALL, CLOSE ALL, DISCARD ALL.
    ForgetsNames,
    /// SET / RESET / set_config of a setting; the value when it is a plain literal.
    Sets {
        /// Lower case.
        setting: String,
        /// `None`: DEFAULT, RESET or not a literal.
        value: Option<String>,
        /// SET LOCAL.
        local: bool,
    },
    /// Changes the catalogue (DDL).
    Defines,
}

/// The setting by which a text would change how the database reads the bytes of those after it, if it
/// does. From then on the statement that is judged would not be the one that runs.
pub fn changes_reading(analysis: &Analysis) -> Option<&str> {
    let identity = |facts: &&StatementFacts| facts.kinds.contains(&StatementKind::SetIdentity);
    let facts = analysis.statements.iter().filter(identity);
    let mut effects = facts.flat_map(|facts| &facts.effects);
    effects.find_map(|effect| match effect {
        Effect::Sets { setting, .. }
            if matches!(
                setting.as_str(),
                "client_encoding" | "standard_conforming_strings"
            ) =>
        {
            Some(setting.as_str())
        }
        _ => None,
    })
}

/// The largest text that is analysed, bytes. Beyond it a text is `Opaque`: parse time grows with
/// size, and nothing an application writes by hand is this long.
pub const MAX_TEXT: usize = 256 << 10;

/// Analyses one message's text.
///
/// Total and deterministic: what cannot be parsed comes back as `Sureness::Opaque`, which policy
/// refuses by default. Never panics; bounded in depth and size by the parser's own limits.
pub fn analyze(dialect: Dialect, text: &str) -> Analysis {
    if text.len() > MAX_TEXT {
        return Analysis::opaque(format!(
            "the text is longer than {} KiB, the most that is analysed",
            MAX_TEXT >> 10
        ));
    }
    match dialect {
        Dialect::Postgres => pg::analyze(text, second::Known::Counts),
        Dialect::Mysql => Analysis::opaque("MySQL texts are not analysed yet".to_owned()),
    }
}

/// What the second witness says of a PostgreSQL text when its known misreadings are not held
/// against it: so that a test can list them.
pub fn second_opinion(text: &str) -> Second {
    pg::analyze(text, second::Known::Ignored).second
}

impl Analysis {
    fn opaque(reason: String) -> Self {
        Analysis {
            statements: Vec::new(),
            sureness: Sureness::Opaque(reason),
            second: Second::Unasked,
        }
    }

    /// Every statement that policy must allow: those that will run, and what only the second
    /// witness sees.
    pub fn judged(&self) -> impl Iterator<Item = &StatementFacts> {
        self.statements.iter().chain(self.second.adds())
    }

    /// Whether its text, and what it is given, must not be kept.
    pub fn is_secret(&self) -> bool {
        self.statements.iter().any(|facts| facts.secret)
    }
}

#[cfg(test)]
mod probes;
#[cfg(test)]
mod tests;
