//! The statement words of the policy language, and sets of statement kinds.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{context, meanings, near, schema};
use crate::sql::{PURE_FUNCTIONS, StatementKind};
use StatementKind as K;

/// Every kind and its word, in the order of the enum.
pub(super) const KINDS: &[(StatementKind, &str)] = &[
    (K::Select, "select"),
    (K::Insert, "insert"),
    (K::Update, "update"),
    (K::Delete, "delete"),
    (K::Merge, "merge"),
    (K::Lock, "lock"),
    (K::CopyOut, "copy_out"),
    (K::CopyIn, "copy_in"),
    (K::CopyFile, "copy_file"),
    (K::CopyProgram, "copy_program"),
    (K::Truncate, "truncate"),
    (K::Drop, "drop"),
    (K::Create, "create"),
    (K::Alter, "alter"),
    (K::Maintain, "maintain"),
    (K::Vacuum, "vacuum"),
    (K::Grant, "grant"),
    (K::Role, "role"),
    (K::Admin, "admin"),
    (K::Transaction, "transaction"),
    (K::TwoPhase, "two_phase"),
    (K::Set, "set"),
    (K::SetIdentity, "set_identity"),
    (K::Show, "show"),
    (K::Explain, "explain"),
    (K::Prepare, "prepare"),
    (K::Execute, "execute"),
    (K::Deallocate, "deallocate"),
    (K::Declare, "declare"),
    (K::Fetch, "fetch"),
    (K::CloseCursor, "close_cursor"),
    (K::Discard, "discard"),
    (K::Listen, "listen"),
    (K::Notify, "notify"),
    (K::Do, "do"),
    (K::Call, "call"),
    (K::DefineCode, "define_code"),
    (K::Opaque, "opaque"),
];

/// The generated reference of the policy language's words.
pub(super) fn reference() -> String {
    let mut text = String::from(
        "# Words of policies\n\n## Statements\n\nEach single word stands for one kind of \
         statement. A statement can be several: `WITH d AS (DELETE …) SELECT …` is a `select` and a \
         `delete`, and must be allowed both.\n\n| Word | Statements | In the groups |\n| --- | --- | --- |\n",
    );
    for (kind, word) in KINDS {
        let within: Vec<String> = GROUPS
            .iter()
            .filter(|(_, kinds)| kinds.contains(kind))
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        text.push_str(&format!(
            "| `{word}` | {} | {} |\n",
            meanings::kind(*kind),
            within.join(", ")
        ));
    }
    text.push_str("\n| Group | For | Stands for |\n| --- | --- | --- |\n");
    for (name, kinds) in GROUPS {
        let words: Vec<String> = kinds
            .iter()
            .map(|kind| format!("`{}`", word(*kind)))
            .collect();
        text.push_str(&format!(
            "| `{name}` | {} | {} |\n",
            meanings::group(name),
            words.join(", ")
        ));
    }
    text.push_str("| `*` | all | everything; in an allow rule all but `opaque` |\n");
    text.push_str(&schema::reference());
    text.push_str(&context::reference());
    text.push_str(
        "\n## Limits and budgets\n\nOf all policies that speak, the smallest counts. A limit holds for one \
         statement, a budget for all that one user does in a span of time, in all sessions of the node.\n\n\
         | Key | Takes | Means |\n| --- | --- | --- |\n",
    );
    for (key, takes, means) in LIMITS {
        text.push_str(&format!("| `limits.{key}` | {takes} | {means} |\n"));
    }
    for (of, takes, means) in BUDGETS {
        text.push_str(&format!(
            "| `budgets.{of}_per_minute`, `…_per_hour`, `…_per_day` | {takes} | {means} |\n"
        ));
    }
    text.push_str(
        "\n## What must be told\n\n| Key | Takes | Means |\n| --- | --- | --- |\n\
         | `require.reason` | `true` | a reason must come with the statement |\n\
         | `require.ticket` | `true`, or a regular expression | a ticket must, which the whole expression matches |\n",
    );
    text.push_str(
        "\n## Functions that any allowed statement may call\n\nWith the numbers of arguments that \
         the server's own take; with another number it is somebody's own function.\n\n\
         | About | Functions |\n| --- | --- |\n",
    );
    for family in PURE_FUNCTIONS {
        let mut names: Vec<&str> = family.names().collect();
        names.sort_unstable();
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        text.push_str(&format!("| {} | {} |\n", family.of, names.join(", ")));
    }
    text
}

/// What stands under `limits`.
const LIMITS: &[(&str, &str, &str)] = &[
    (
        "rows_returned",
        "number",
        "rows it may return; the rest is cut off",
    ),
    (
        "bytes_returned",
        "size",
        "bytes of rows it may return; the rest is cut off",
    ),
    (
        "statement_timeout",
        "span of time",
        "how long it may run; then it is cancelled",
    ),
    (
        "rows_affected",
        "number",
        "rows it may change; with one more it is undone",
    ),
];

/// What stands under `budgets`, before the span.
const BUDGETS: &[(&str, &str, &str)] = &[
    (
        "statements",
        "number",
        "statements let through; of a text each counts; what only ends a transaction or forgets names is free",
    ),
    ("rows_returned", "number", "rows delivered; not one more"),
    (
        "bytes_returned",
        "size",
        "bytes of rows delivered; up to one read more for each session",
    ),
    (
        "rows_affected",
        "number",
        "rows changed, counted before they are committed; what would be too much is undone",
    ),
    (
        "mask_refusals",
        "number",
        "statements refused because of a mask; once it is spent, nothing that has a mask is read",
    ),
];

/// The words that stand for several kinds. `admin` the word includes `admin` the kind.
pub(super) const GROUPS: &[(&str, &[StatementKind])] = &[
    (
        "read",
        &[
            K::Select,
            K::Show,
            K::Explain,
            K::Prepare,
            K::Execute,
            K::Deallocate,
            K::Declare,
            K::Fetch,
            K::CloseCursor,
            K::CopyOut,
        ],
    ),
    (
        "write",
        &[
            K::Insert,
            K::Update,
            K::Delete,
            K::Merge,
            K::Lock,
            K::CopyIn,
        ],
    ),
    (
        "ddl",
        &[
            K::Create,
            K::Alter,
            K::Drop,
            K::Truncate,
            K::Maintain,
            K::Vacuum,
        ],
    ),
    (
        "admin",
        &[
            K::Admin,
            K::Grant,
            K::Role,
            K::TwoPhase,
            K::SetIdentity,
            K::DefineCode,
            K::CopyFile,
            K::CopyProgram,
        ],
    ),
    (
        "session",
        &[
            K::Transaction,
            K::Set,
            K::Show,
            K::Prepare,
            K::Execute,
            K::Deallocate,
            K::Declare,
            K::Fetch,
            K::CloseCursor,
            K::Discard,
        ],
    ),
];

/// The kinds that change rows of tables.
pub(super) const fn writing() -> KindSet {
    KindSet::of(&[
        K::Insert,
        K::Update,
        K::Delete,
        K::Merge,
        K::Truncate,
        K::CopyIn,
        K::CopyFile,
        K::CopyProgram,
    ])
}

/// The word for a kind.
pub(super) fn word(kind: StatementKind) -> &'static str {
    KINDS
        .iter()
        .find(|(k, _)| *k == kind)
        .map_or("opaque", |(_, word)| word)
}

/// A set of statement kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KindSet(u64);

impl KindSet {
    pub(super) const fn of(kinds: &[StatementKind]) -> Self {
        let mut set = 0;
        let mut rest = kinds;
        while let [first, tail @ ..] = rest {
            set |= 1 << *first as u32;
            rest = tail;
        }
        KindSet(set)
    }

    pub(super) fn every() -> Self {
        KINDS
            .iter()
            .fold(KindSet(0), |set, (kind, _)| set.with(*kind))
    }

    pub(super) const fn with(self, kind: StatementKind) -> Self {
        KindSet(self.0 | 1 << kind as u32)
    }

    pub(super) const fn without(self, kind: StatementKind) -> Self {
        KindSet(self.0 & !(1 << kind as u32))
    }

    pub(super) const fn has(self, kind: StatementKind) -> bool {
        self.0 & (1 << kind as u32) != 0
    }

    pub(super) const fn union(self, other: Self) -> Self {
        KindSet(self.0 | other.0)
    }

    /// What is in it and not in the other.
    pub(super) const fn less(self, other: Self) -> Self {
        KindSet(self.0 & !other.0)
    }

    /// Whether all that is in the other is in it.
    pub(super) const fn holds(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) const fn shares(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// A word under `statements:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// `*`
    Every,
    /// A group, by its place in the list.
    Group(&'static str),
    /// One kind.
    Kind(StatementKind),
}

impl Word {
    fn read(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Word::Every);
        }
        if let Some((name, _)) = GROUPS.iter().find(|(name, _)| *name == text) {
            return Some(Word::Group(name));
        }
        KINDS
            .iter()
            .find(|(_, word)| *word == text)
            .map(|(kind, _)| Word::Kind(*kind))
    }

    /// The kinds. `*` leaves `opaque` out: what nobody understands must be named to be allowed.
    /// (A deny or approve rule with `*` gets it back in `compile`.)
    pub(super) fn kinds(self) -> KindSet {
        match self {
            Word::Every => KindSet::every().without(K::Opaque),
            Word::Group(group) => GROUPS
                .iter()
                .find(|(name, _)| *name == group)
                .map_or(KindSet::default(), |(_, kinds)| KindSet::of(kinds)),
            Word::Kind(kind) => KindSet::default().with(kind),
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Word::Every => "*",
            Word::Group(name) => name,
            Word::Kind(kind) => word(*kind),
        })
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Word;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a statement word")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Word, E> {
                Word::read(text).ok_or_else(|| {
                    let groups: Vec<&str> = GROUPS.iter().map(|(name, _)| *name).collect();
                    let known = KINDS.iter().map(|(_, word)| *word);
                    E::custom(format!(
                        "`{text}` is no statement word; there are the groups {}, `*`, and single \
                         statements such as select, update, drop, copy_program{}",
                        groups.join(", "),
                        near::question(text, known.chain(groups.iter().copied()))
                    ))
                })
            }
        }
        from.deserialize_str(Visitor)
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BudgetWords, LimitWords};
    use super::*;

    #[test]
    fn every_limit_and_budget_is_described() {
        let limits =
            "{ rows_returned: 1, bytes_returned: 1B, statement_timeout: 1s, rows_affected: 1 }";
        let LimitWords {
            rows_returned: _,
            bytes_returned: _,
            statement_timeout: _,
            rows_affected: _,
        } = serde_saphyr::from_str(limits).unwrap();
        assert_eq!(LIMITS.len(), 4);
        for (key, _, _) in LIMITS {
            assert!(limits.contains(&format!("{key}:")), "{key}");
        }
        for (of, takes, _) in BUDGETS {
            for per in ["minute", "hour", "day"] {
                let most = if *takes == "size" { "1kB" } else { "1000" };
                let words: BudgetWords =
                    serde_saphyr::from_str(&format!("{{ {of}_per_{per}: {most} }}")).unwrap();
                let budgets = words.budgets(&"p".into());
                let [budget] = budgets.as_slice() else {
                    panic!("{of} {per}");
                };
                assert_eq!(
                    (budget.to_string(), budget.most),
                    (format!("{of}_per_{per}"), 1000)
                );
            }
        }
    }

    #[test]
    fn every_kind_has_the_word_it_is_serialised_as() {
        for (i, (kind, word)) in KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, i, "{word} out of order");
            assert_eq!(serde_json::to_value(kind).unwrap(), *word);
        }
    }
}
