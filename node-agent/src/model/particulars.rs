//! A refusal for programs: one line of JSON below the sentences of DETAIL. Names stand in it, never
//! a value that a text or a row holds.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Refusal, RefusalCode};

/// The version of the line; another number means that a key changed its meaning or went.
pub const LINE_VERSION: u64 = 1;
/// The longest line, bytes. What would be longer leaves out lists, then the suggestion, then names.
pub const LONGEST_LINE: usize = 2048;
/// Names of one list.
const LISTED: usize = 8;
/// Characters of one name.
const NAME: usize = 80;

/// Every key of the line: its name, what it takes, what it means.
pub const LINE_KEYS: &[(&str, &str, &str)] = &[
    (
        "node_agent",
        "`1`",
        "the version of this line; always there, and first",
    ),
    (
        "decision",
        "`deny`, `hold`, `stop`, `undo`",
        "it did not run; it needs an approval and did not run; its answer was stopped; it ran and was rolled back; always there",
    ),
    (
        "code",
        "a kind of the table above",
        "what sort of refusal; always there",
    ),
    ("cause", "a cause of the table below", "why, more exactly"),
    ("policy", "name", "the policy that refused"),
    (
        "rule",
        "name",
        "its rule or mask; `limits`, `budgets` or `functions` for those parts",
    ),
    ("statement", "a statement word", "what was refused"),
    (
        "objects",
        "list of names",
        "relations that it was refused for, as written; at most 8",
    ),
    (
        "columns",
        "list of names",
        "columns that it was refused for, as written; at most 8",
    ),
    (
        "functions",
        "list of names",
        "functions that it was refused for, as written; at most 8",
    ),
    ("limit", "number", "the limit that was passed"),
    (
        "retry_after_seconds",
        "number",
        "when a budget has room again",
    ),
    (
        "suggest",
        "`{ changes, decision }`",
        "changes to the statement, judged together by the same policies: with them it is allowed (`allow`), or a human decides (`hold`)",
    ),
    (
        "access",
        "list of names",
        "policies that are granted on request, and of which each alone would let it run; at most 8",
    ),
    ("reference", "`s-…#n`", "finds the recorded event"),
];

/// What a program can learn of a refusal beside its code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Particulars {
    /// What became of the statement.
    pub outcome: Outcome,
    /// Why, more exactly than the code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The policy that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Its rule, mask or part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The statement word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// Relations as written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<String>,
    /// Columns as written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Functions as written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<String>,
    /// The limit that was passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// When it may go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
    /// What would be allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggest: Option<Suggestion>,
    /// Policies that could be granted, and would let it run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub access: Vec<String>,
}

/// What became of a refused statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did not run.
    #[default]
    Deny,
    /// A human would have to decide; it did not run.
    Hold,
    /// Its answer was stopped.
    Stop,
    /// It ran, and was rolled back.
    Undo,
}

macro_rules! causes {
    ($($name:ident $means:literal)+) => {
        /// Why a statement was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Cause {
            $(#[doc = $means] $name,)+
        }

        /// Every cause, and what it means.
        pub const CAUSES: &[(Cause, &str)] = &[$((Cause::$name, $means),)+];
    };
}

causes! {
    NoPolicy "no policy is about this identity on this target"
    NothingAllowed "no rule allows this identity anything"
    Rule "a deny rule, or an approve rule whose condition failed"
    Uncovered "no rule allows it"
    MissingWhere "an UPDATE or DELETE without a WHERE that reads a column"
    Opaque "the text cannot be judged"
    FunctionUnknown "nobody vouches for a function"
    FunctionRefused "a function is dangerous"
    FunctionDenied "a policy names the function under `functions.deny`"
    MaskedCode "code would run where columns are masked"
    MaskedCopy "COPY of a relation with masked columns"
    MaskedWrite "what is read from a relation with masked columns would be written elsewhere"
    MaskedMove "a relation with masked columns would get another name or place"
    MaskedSource "a masked column is the source of a write"
    MaskedPredicate "a masked column decides which rows are found, or their order"
    Purpose "a reason or a ticket is required"
    RowsReturned "`limits.rows_returned`"
    BytesReturned "`limits.bytes_returned`"
    StatementTimeout "`limits.statement_timeout`"
    RowsAffected "`max_rows_affected` or `limits.rows_affected`"
    Budget "a budget is spent"
}

/// Changes that make a statement pass, judged together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggestion {
    /// What to change; all of it.
    pub changes: Vec<Change>,
    /// What policy says then.
    pub decision: Then,
}

/// What policy says of a changed statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// It runs.
    Allow,
    /// A human decides.
    Hold,
}

/// A small change to a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// A WHERE that reads a column (one that is not masked).
    AddWhere,
    /// LIMIT, at most so many rows.
    AddLimit {
        /// Rows.
        rows: u64,
    },
    /// Columns that are not used to filter, join, sort or group.
    LeaveOutOfPredicates {
        /// As written.
        columns: Vec<String>,
    },
    /// Columns that are not written elsewhere.
    LeaveOutOfWrites {
        /// As written.
        columns: Vec<String>,
    },
    /// Columns by name in place of `*`.
    ListColumns {
        /// Those that are to be missing.
        without: Vec<String>,
    },
    /// A relation with its schema.
    Qualify {
        /// As written.
        name: String,
        /// As to be written.
        with: String,
    },
    /// A function with its schema.
    QualifyFunction {
        /// As written.
        name: String,
        /// As to be written.
        with: String,
    },
    /// Functions that are not called.
    LeaveOutFunctions {
        /// As written.
        functions: Vec<String>,
    },
    /// No FOR UPDATE or FOR SHARE.
    LeaveOutLocking,
    /// SELECT in place of COPY TO, or of a write of what was read.
    UseSelect,
    /// DELETE with a WHERE in place of TRUNCATE.
    UseDelete,
    /// A reason or a ticket beside the statement.
    GivePurpose {
        /// `reason`, `ticket`.
        keys: Vec<String>,
    },
}

/// Every change as it is called in the line, and what it asks for.
pub const CHANGES: &[(&str, &str)] = &[
    (
        "add_where",
        "a WHERE that reads a column, one that is not masked",
    ),
    ("add_limit", "LIMIT, at most `rows`"),
    (
        "leave_out_of_predicates",
        "`columns` are not used to filter, join, sort or group",
    ),
    (
        "leave_out_of_writes",
        "nothing that comes from `columns` is written",
    ),
    (
        "list_columns",
        "columns by name in place of `*` or a whole row, without those in `without`",
    ),
    ("qualify", "the relation `name` written as `with`"),
    ("qualify_function", "the function `name` called as `with`"),
    ("leave_out_functions", "`functions` are not called"),
    ("leave_out_locking", "no FOR UPDATE or FOR SHARE"),
    (
        "use_select",
        "SELECT alone, in place of COPY TO or of a write of what is read",
    ),
    (
        "use_delete",
        "DELETE with a WHERE that reads a column, in place of TRUNCATE",
    ),
    (
        "give_purpose",
        "`keys` (`reason`, `ticket`) in a comment of the statement or in `application_name`",
    ),
];

/// At most so many characters of a name.
pub fn cut_name(name: &str) -> &str {
    match name.char_indices().nth(NAME) {
        Some((end, _)) => name.get(..end).unwrap_or_default(),
        None => name,
    }
}

impl Refusal {
    /// The line for programs: one line, at most `LONGEST_LINE` bytes.
    pub fn line(&self) -> String {
        let nothing = Particulars::default();
        let known = self.particulars.as_deref().unwrap_or(&nothing);
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| {
            if !value.is_null() {
                map.insert(key.to_owned(), value);
            }
        };
        let outcome = match (self.code, known.outcome) {
            (RefusalCode::Approval, Outcome::Deny) => Outcome::Hold,
            (_, outcome) => outcome,
        };
        put("decision", json!(outcome));
        put("code", json!(self.code));
        put("cause", json!(known.cause));
        put("policy", json!(known.policy.as_deref().map(cut_name)));
        put("rule", json!(known.rule.as_deref().map(cut_name)));
        put("statement", json!(known.statement.as_deref().map(cut_name)));
        for (key, names) in [
            ("objects", &known.objects),
            ("columns", &known.columns),
            ("functions", &known.functions),
            ("access", &known.access),
        ] {
            let names: Vec<&str> = names
                .iter()
                .take(LISTED)
                .map(|name| cut_name(name))
                .collect();
            if !names.is_empty() {
                put(key, json!(names));
            }
        }
        put("limit", json!(known.limit));
        put("retry_after_seconds", json!(known.retry_after_seconds));
        put("suggest", json!(known.suggest));
        put(
            "reference",
            json!(self.reference.as_ref().map(ToString::to_string)),
        );
        // What is left out first can be found in the record.
        for key in [
            "",
            "objects",
            "columns",
            "functions",
            "suggest",
            "access",
            "statement",
            "rule",
            "policy",
        ] {
            map.remove(key);
            let line = one_line(&map);
            if line.len() <= LONGEST_LINE {
                return line;
            }
        }
        // Nothing is left that could be long.
        one_line(&map)
    }
}

/// In the order of `LINE_KEYS`, so that people can read it too.
fn one_line(map: &Map<String, Value>) -> String {
    let mut line = format!("{{\"node_agent\":{LINE_VERSION}");
    for (key, _, _) in LINE_KEYS {
        if let Some(value) = map.get(*key) {
            line.push_str(&format!(",\"{key}\":{value}"));
        }
    }
    line.push('}');
    line
}

#[cfg(test)]
mod tests {
    use super::super::{Reference, SessionId, StatementSeq};
    use super::*;

    fn whole(name: &str) -> Refusal {
        let names = || vec![name.to_owned(); 20];
        let mut refusal = Refusal::new(RefusalCode::Policy, "no").at(Reference {
            session: SessionId(0xc0ffee),
            seq: StatementSeq(12),
        });
        refusal.particulars = Some(Box::new(Particulars {
            outcome: Outcome::Deny,
            cause: Some(Cause::Rule),
            policy: Some(name.to_owned()),
            rule: Some(name.to_owned()),
            statement: Some("drop".to_owned()),
            objects: names(),
            columns: names(),
            functions: names(),
            limit: Some(7),
            retry_after_seconds: Some(9),
            suggest: Some(Suggestion {
                changes: vec![Change::AddWhere, Change::AddLimit { rows: 3 }],
                decision: Then::Hold,
            }),
            access: names(),
        }));
        refusal
    }

    #[test]
    fn every_key_of_the_line_is_described_and_in_its_order() {
        let line = whole("a").line();
        let read: Map<String, Value> = serde_json::from_str(&line).unwrap();
        let mut at = 0;
        for (key, _, _) in LINE_KEYS {
            assert!(read.contains_key(*key), "{key} in {line}");
            let place = line.find(&format!("\"{key}\":")).unwrap();
            assert!(place >= at, "{key} in {line}");
            at = place;
        }
        assert_eq!(read.len(), LINE_KEYS.len());
        assert_eq!(read["reference"], "s-0000000000c0ffee#12");
        assert_eq!(read["objects"].as_array().unwrap().len(), LISTED);
        assert_eq!(
            read["suggest"],
            json!({"changes": [{"change": "add_where"}, {"change": "add_limit", "rows": 3}], "decision": "hold"})
        );
    }

    #[test]
    fn the_line_is_one_short_line_of_json_whatever_a_name_holds() {
        for name in [
            "a\"b",
            "a\nb",
            "a\0b",
            "\u{7}\u{1b}[31m",
            "a\\",
            "ä",
            "\u{2028}",
        ] {
            let long = name.repeat(400);
            for name in [name, &long] {
                let line = whole(name).line();
                assert!(line.len() <= LONGEST_LINE, "{}", line.len());
                assert!(!line.chars().any(char::is_control), "{line:?}");
                let read: Value = serde_json::from_str(&line).unwrap();
                assert_eq!(read["node_agent"], LINE_VERSION);
                assert_eq!(read["code"], "policy");
                assert!(
                    line.ends_with("\"reference\":\"s-0000000000c0ffee#12\"}"),
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn every_change_is_described() {
        let text = String::new;
        let all = [
            Change::AddWhere,
            Change::AddLimit { rows: 1 },
            Change::LeaveOutOfPredicates { columns: vec![] },
            Change::LeaveOutOfWrites { columns: vec![] },
            Change::ListColumns { without: vec![] },
            Change::Qualify {
                name: text(),
                with: text(),
            },
            Change::QualifyFunction {
                name: text(),
                with: text(),
            },
            Change::LeaveOutFunctions { functions: vec![] },
            Change::LeaveOutLocking,
            Change::UseSelect,
            Change::UseDelete,
            Change::GivePurpose { keys: vec![] },
        ];
        // A change more is a compile error here until it is described.
        for (change, (name, means)) in all.iter().zip(CHANGES) {
            let arguments: &[&str] = match change {
                Change::AddWhere
                | Change::LeaveOutLocking
                | Change::UseSelect
                | Change::UseDelete => &[],
                Change::AddLimit { .. } => &["rows"],
                Change::LeaveOutOfPredicates { .. } | Change::LeaveOutOfWrites { .. } => {
                    &["columns"]
                }
                Change::ListColumns { .. } => &["without"],
                Change::Qualify { .. } | Change::QualifyFunction { .. } => &["name", "with"],
                Change::LeaveOutFunctions { .. } => &["functions"],
                Change::GivePurpose { .. } => &["keys"],
            };
            let written = serde_json::to_value(change).unwrap();
            assert_eq!(written["change"], *name);
            for argument in arguments {
                assert!(!written[argument].is_null(), "{name}");
                assert!(
                    means.contains(&format!("`{argument}`")),
                    "{name}: {argument}"
                );
            }
        }
        assert_eq!(all.len(), CHANGES.len());
    }

    #[test]
    fn a_refusal_without_particulars_has_its_line_too() {
        let refusal = Refusal::new(RefusalCode::Upstream, "gone");
        assert_eq!(
            refusal.line(),
            "{\"node_agent\":1,\"decision\":\"deny\",\"code\":\"upstream\"}"
        );
        let refusal = Refusal::new(RefusalCode::Approval, "nobody to ask");
        assert!(refusal.line().contains("\"decision\":\"hold\""));
    }
}
