//! What the parser's types cannot say of themselves: meanings, and what must not be empty.

/// How much must be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    AsLikes,
    /// A list of at least one.
    Items,
    /// A text of at least one letter.
    Letters,
}

/// One key of one struct.
#[derive(Debug)]
pub(super) struct Key {
    /// The parser's name of the struct.
    pub(super) of: &'static str,
    pub(super) name: &'static str,
    pub(super) required: bool,
    pub(super) filled: Filled,
    pub(super) means: &'static str,
}

const fn must(of: &'static str, name: &'static str, filled: Filled, means: &'static str) -> Key {
    Key {
        of,
        name,
        required: true,
        filled,
        means,
    }
}

const fn may(of: &'static str, name: &'static str, filled: Filled, means: &'static str) -> Key {
    Key {
        of,
        name,
        required: false,
        filled,
        means,
    }
}

use Filled::{AsLikes, Items, Letters};

/// Every key, in the order of the parser.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    must("Document", "apiVersion", AsLikes, "The version of the format."),
    must("Document", "kind", AsLikes, "What this document is."),
    must("Document", "metadata", AsLikes, "What the policy is called."),
    may("Document", "mode", AsLikes, "Whether the policy decides, or only says what it would have decided."),
    must("Document", "subjects", Items, "Whom it is about: any entry may match."),
    must("Document", "targets", Items, "Which targets it is about, by name; `*` stands for any run of characters."),
    may("Document", "rules", AsLikes, "What may be done. Their order means nothing, except that the first matching approve rule names the reviewers."),
    may("Document", "functions", AsLikes, "Functions beyond the built-in pure ones."),
    may("Document", "masks", AsLikes, "Columns whose values are not shown."),
    may("Document", "content", AsLikes, "What is looked for in the texts of columns that no mask is on."),
    may("Document", "limits", AsLikes, "Limits on every statement. Of all policies that are about it, the smallest count."),
    may("Document", "budgets", AsLikes, "What one user may do in a span of time, in all sessions of the node together."),
    may("Document", "require", AsLikes, "What must be told with every statement that its allow and approve rules are to grant."),
    may("Document", "witnesses", AsLikes, "What happens to a text that two parsers read differently."),
    may("Document", "access", AsLikes, "The policy is in force for nobody until it is granted, and then for one identity and a time. It may only add: allow rules, functions that are vouched for, limits."),

    must("Access", "reviewers", AsLikes, "Who may grant it."),
    may("Access", "quorum", AsLikes, "How many different reviewers must agree; one when absent."),
    may("Access", "longest", AsLikes, "The longest that it is granted for, 1s to 30d; 8h when absent."),
    may("Access", "timeout", AsLikes, "How long a request for it waits, 1s to 30d; 1h when absent."),

    must("Metadata", "name", Letters, "Unique among all policies; refusals and records name it."),
    may("Metadata", "description", AsLikes, "For people."),

    may("Subject", "groups", Items, "A group of the user is one of these."),
    may("Subject", "users", Items, "The user's subject (`sub`) is one of these."),
    may("Subject", "issuers", Items, "The user's token was issued by one of these URLs."),
    may("Subject", "workloads", Items, "The workload's name is one of these."),
    may("Subject", "labels", AsLikes, "The workload carries all of these labels."),
    may("Subject", "claims", AsLikes, "The user's token carries all of these claims: a text equals, a list contains."),
    may("Subject", "databases", Items, "The database is one of these. Not for `unless`."),
    may("Subject", "roles", Items, "The role that the agent uses in the database is one of these. Not for `unless`."),

    must("Rule", "name", Letters, "Unique among the rules, masks and nets of the policy; refusals and records name it."),
    must("Rule", "effect", AsLikes, "Deny beats approve beats allow."),
    must("Rule", "statements", Items, "Which statements: single words or groups."),
    may("Rule", "tables", Items, "Which tables: `schema.table` patterns; all when absent."),
    may("Rule", "when", AsLikes, "A CEL expression: the rule speaks only where it is true. Where it fails, an allow rule does not allow, and a deny or approve rule denies."),
    may("Rule", "max_rows_affected", AsLikes, "Allow only: how many rows the statement may change, with all that it sets off. More are not committed."),
    may("Rule", "without_where", AsLikes, "Allow only: also an UPDATE or DELETE without WHERE."),
    may("Rule", "require", AsLikes, "Allow and approve only: what must be told with the statement."),
    may("Rule", "reviewers", AsLikes, "Approve only: who may decide."),
    may("Rule", "timeout", AsLikes, "Approve only: how long a statement is held before it lapses; `approvals.timeout` of the agent when absent."),
    may("Rule", "quorum", AsLikes, "Approve only: how many different reviewers must agree; one when absent."),
    may("Rule", "hold", AsLikes, "Approve only: what waits for them."),
    may("Rule", "offers", AsLikes, "Approve only: what a reviewer may grant beyond this one run."),

    may("Reviewers", "groups", AsLikes, "Members of these groups."),
    may("Reviewers", "users", AsLikes, "These users, by subject (`sub`)."),

    may("Offers", "session", AsLikes, "Whatever the rule holds in the same session."),
    may("Offers", "shape", AsLikes, "Statements of the same shape (other numbers and texts in it) by the same user and workload, for at most so long; up to 8h."),
    may("Offers", "unmasked", AsLikes, "The answer without masks."),
    may("Offers", "preview", AsLikes, "To see what it would do before they decide: the statement is run and rolled back. Sequences advance, locks are taken and triggers run all the same."),

    may("Functions", "allow", AsLikes, "Vouched for: `schema.name(*)`, or `*` for every function there is, the dangerous ones too."),
    may("Functions", "deny", AsLikes, "Refused, even the pure ones."),

    must("Mask", "name", Letters, "Unique among the rules, masks and nets of the policy."),
    may("Mask", "columns", AsLikes, "Which columns: `schema.table.column` patterns. It needs columns or tags."),
    may("Mask", "tags", AsLikes, "Which columns besides: those with such a tag in their comment, or in that of their table."),
    must("Mask", "with", AsLikes, "What replaces a value."),
    may("Mask", "predicates", AsLikes, "Whether a statement may filter, join, sort or group by the column."),
    may("Mask", "unless", AsLikes, "Who sees the values."),

    must("JsonMask", "paths", Items, "Where the values are: `$.ssn`, `$.contacts[*].email`, `$..phone`. Names look through arrays."),
    must("JsonMask", "with", AsLikes, "What replaces each value."),

    must("Content", "name", Letters, "Unique among the rules, masks and nets of the policy."),
    may("Content", "detect", Items, "What is looked for; everything when absent."),
    may("Content", "columns", Items, "In which columns: `schema.table.column` patterns; all when absent."),
    may("Content", "except", AsLikes, "In which of them not."),
    may("Content", "with", AsLikes, "What covers a find; `redact` when absent."),
    may("Content", "mode", AsLikes, "What happens to finds; `mask` when absent."),
    may("Content", "unless", AsLikes, "Who sees the values."),

    may("LimitWords", "rows_returned", AsLikes, "How many rows one statement may return."),
    may("LimitWords", "bytes_returned", AsLikes, "How many bytes one statement may return."),
    may("LimitWords", "statement_timeout", AsLikes, "How long one statement may run."),
    may("LimitWords", "rows_affected", AsLikes, "How many rows one statement may change, also by functions, DO and CALL."),

    may("BudgetWords", "statements_per_minute", AsLikes, "How many statements, per minute."),
    may("BudgetWords", "statements_per_hour", AsLikes, "How many statements, per hour."),
    may("BudgetWords", "statements_per_day", AsLikes, "How many statements, per day."),
    may("BudgetWords", "rows_returned_per_minute", AsLikes, "How many rows delivered, per minute."),
    may("BudgetWords", "rows_returned_per_hour", AsLikes, "How many rows delivered, per hour."),
    may("BudgetWords", "rows_returned_per_day", AsLikes, "How many rows delivered, per day."),
    may("BudgetWords", "bytes_returned_per_minute", AsLikes, "How many bytes of rows delivered, per minute."),
    may("BudgetWords", "bytes_returned_per_hour", AsLikes, "How many bytes of rows delivered, per hour."),
    may("BudgetWords", "bytes_returned_per_day", AsLikes, "How many bytes of rows delivered, per day."),
    may("BudgetWords", "rows_affected_per_minute", AsLikes, "How many rows changed, per minute."),
    may("BudgetWords", "rows_affected_per_hour", AsLikes, "How many rows changed, per hour."),
    may("BudgetWords", "rows_affected_per_day", AsLikes, "How many rows changed, per day."),
    may("BudgetWords", "mask_refusals_per_minute", AsLikes, "How many statements that masks refused, per minute."),
    may("BudgetWords", "mask_refusals_per_hour", AsLikes, "How many statements that masks refused, per hour."),
    may("BudgetWords", "mask_refusals_per_day", AsLikes, "How many statements that masks refused, per day."),

    may("Require", "reason", AsLikes, "A reason must be told."),
    may("Require", "ticket", AsLikes, "A ticket must be told: any, or one that the whole expression matches."),
];

/// The structs, as the reference calls them.
pub(super) const PARTS: &[(&str, &str)] = &[
    ("Document", "the document"),
    ("Access", "`access`"),
    ("Metadata", "`metadata`"),
    ("Subject", "`subjects[]`, `unless`"),
    ("Rule", "`rules[]`"),
    ("Reviewers", "`reviewers`"),
    ("Offers", "`offers`"),
    ("Functions", "`functions`"),
    ("Mask", "`masks[]`"),
    ("JsonMask", "`masks[].with.json`"),
    ("Content", "`content[]`"),
    ("LimitWords", "`limits`"),
    ("BudgetWords", "`budgets`"),
    ("Require", "`require`"),
];

/// Struct, key, and the enum whose words it takes.
pub(super) const WORDS_OF: &[(&str, &str, &str)] = &[
    ("Document", "apiVersion", "ApiVersion"),
    ("Document", "kind", "Kind"),
    ("Document", "mode", "Mode"),
    ("Document", "witnesses", "Witnesses"),
    ("Rule", "effect", "Effect"),
    ("Rule", "hold", "Gate"),
    ("Mask", "with", "Masker"),
    ("Mask", "predicates", "Predicates"),
    ("JsonMask", "with", "PartMasker"),
    ("Content", "detect", "Detector"),
    ("Content", "with", "ContentMasker"),
    ("Content", "mode", "ContentMode"),
];

/// Every word of every enum.
#[rustfmt::skip]
pub(super) const WORDS: &[(&str, &str, &str)] = &[
    ("ApiVersion", "node-agent/v1", "The only version there is."),
    ("Kind", "Policy", "The only kind there is."),
    ("Mode", "enforce", "It decides."),
    ("Mode", "observe", "It never blocks and masks nothing; what it would have decided is recorded."),
    ("Witnesses", "strict", "It is refused, unless `opaque` is allowed."),
    ("Witnesses", "union", "What each of the two sees must be allowed."),
    ("Effect", "allow", "It may run."),
    ("Effect", "approve", "It is held until a reviewer decides."),
    ("Effect", "deny", "It may not run, whatever else allows it."),
    ("Gate", "statement", "The statement, before it runs."),
    ("Gate", "commit", "It runs, and the COMMIT of its transaction waits."),
    ("Predicates", "deny", "No: an answer that depends on the value tells of the value."),
    ("Predicates", "equality", "By `=`, IN and `= ANY` between the column of a table that the mask names and values that the statement names; nothing else."),
    ("Predicates", "allow", "Yes."),
    ("Masker", "redact", "A constant."),
    ("Masker", "null", "NULL."),
    ("Masker", "keep_last", "All but the last so many characters are covered."),
    ("Masker", "keep_first", "All but the first so many characters are covered."),
    ("Masker", "hash", "A keyed hash: equal values stay equal."),
    ("Masker", "token", "A keyed token in the format of the type."),
    ("Masker", "date_trunc", "A date cut to its year, month or day."),
    ("Masker", "json", "Values within a JSON document, by path."),
    ("PartMasker", "redact", "A constant."),
    ("PartMasker", "null", "JSON's `null`."),
    ("PartMasker", "keep_last", "All but the last so many characters of a string are covered."),
    ("PartMasker", "keep_first", "All but the first so many characters of a string are covered."),
    ("PartMasker", "hash", "A keyed hash of a string: equal values stay equal."),
    ("PartMasker", "token", "A keyed token of a string or a number."),
    ("PartMasker", "date_trunc", "A date in a string cut to its year, month or day."),
    ("DateUnit", "year", "To the first of January."),
    ("DateUnit", "month", "To the first of the month."),
    ("DateUnit", "day", "To midnight."),
    ("Detector", "email", "E-mail addresses."),
    ("Detector", "phone", "Phone numbers with `+` and a country, and as they are commonly grouped within one."),
    ("Detector", "card", "Payment card numbers, by issuer, length and check digit."),
    ("Detector", "ssn", "US social security numbers, in the ranges that are given out."),
    ("Detector", "iban", "International bank account numbers, by country, length and check digits."),
    ("Detector", "secret", "Private keys, tokens with a known prefix, JSON Web Tokens, `password=`, passwords in URLs."),
    ("ContentMasker", "redact", "`***` stands for it; a bare number in JSON becomes `null`."),
    ("ContentMasker", "keep_last", "`***` and so many of its last letters and digits, for cards, phones, SSNs and IBANs; for others as `redact`."),
    ("ContentMasker", "cell", "The whole cell is redacted."),
    ("ContentMode", "mask", "They are covered, and counted."),
    ("ContentMode", "report", "They are counted."),
];

/// Forms of texts, by what the parser says that it expects.
pub(super) const FORMS: &[(&str, &str)] = &[
    ("a string", r#"{ "type": "string" }"#),
    (
        "a name, with `*` for any run of characters",
        r#"{ "type": "string", "minLength": 1 }"#,
    ),
    (
        "schema.table",
        r#"{ "type": "string", "pattern": "^(\"[^\"*]+\"|[^\\s\".]+)\\.(\"[^\"*]+\"|[^\\s\".]+)$",
             "examples": ["sales.orders", "sales.*", "*.*"] }"#,
    ),
    (
        "schema.table.column",
        r#"{ "type": "string",
             "pattern": "^(\"[^\"*]+\"|[^\\s\".]+)\\.(\"[^\"*]+\"|[^\\s\".]+)\\.(\"[^\"*]+\"|[^\\s\".]+)$",
             "examples": ["sales.customers.ssn", "*.*.email"] }"#,
    ),
    (
        "a path such as $.ssn or $.contacts[*].email",
        r#"{ "type": "string", "maxLength": 512,
             "pattern": "^\\$(\\.\\.?([^\\x00-@\\[-\\^`{-\\x7f][^\\x00-/:-@\\[-\\^`{-\\x7f]*|\\*)|(\\.\\.)?\\[(\\*|[0-9]{1,9}|'([^'\\\\]|\\\\['\"\\\\])*'|\"([^\"\\\\]|\\\\['\"\\\\])*\")\\])*$",
             "examples": ["$.ssn", "$.contacts[*].email", "$..phone"] }"#,
    ),
    (
        "a tag",
        r##"{ "type": "string",
             "pattern": "^[^\\s!\"#$%&'()+,./;<=>?@\\[\\\\\\]^`{|}~:]*(:[^\\s!\"#$%&'()+,./;<=>?@\\[\\\\\\]^`{|}~:]*)+$",
             "examples": ["pii:ssn", "pii:*"] }"##,
    ),
    (
        "schema.name(*) or *",
        r#"{ "type": "string",
             "pattern": "^(\\*|(\"[^\"*]+\"|[^\\s\".()]+)\\.(\"[^\"*]+\"|[^\\s\".()]+)(\\(\\*\\))?)$",
             "examples": ["app.price(*)", "*"] }"#,
    ),
    (
        "true, or a regular expression",
        r#"{ "anyOf": [ { "const": true }, { "type": "string", "maxLength": 256, "examples": ["[A-Z]+-[0-9]+"] } ] }"#,
    ),
    (
        "a CEL expression",
        r#"{ "type": "string", "minLength": 1,
             "examples": ["now.getHours() >= 6 && now.getHours() < 20", "'dba' in principal.groups"] }"#,
    ),
    (
        "a span of time such as 500ms, 30s, 10m, 1h or 90d",
        r#"{ "type": "string", "pattern": "^\\s*[0-9]+\\s*(ms|s|m|h|d)\\s*$", "examples": ["30s", "10m"] }"#,
    ),
    (
        "a size such as 4096, 10kB, 64MiB or 1GiB",
        r#"{ "type": ["string", "integer"], "minimum": 0,
             "pattern": "^\\s*[0-9]+\\s*(B|kB|MB|GB|KiB|MiB|GiB)?\\s*$", "examples": ["64MiB"] }"#,
    ),
];

/// What hangs on another key, by struct.
pub(super) const CONDITIONS: &[(&str, &str)] = &[
    (
        "Rule",
        r#"{ "if": { "properties": { "effect": { "const": "approve" } }, "required": ["effect"] },
             "then": { "required": ["reviewers"] },
             "else": { "properties": { "reviewers": false, "timeout": false, "quorum": false,
                                      "hold": false, "offers": false } } }"#,
    ),
    (
        "Rule",
        r#"{ "if": { "properties": { "effect": { "const": "allow" } }, "required": ["effect"] },
             "else": { "properties": { "max_rows_affected": false, "without_where": { "const": false } } } }"#,
    ),
    (
        "Rule",
        r#"{ "if": { "properties": { "effect": { "const": "deny" } }, "required": ["effect"] },
             "then": { "properties": { "require": false } } }"#,
    ),
    (
        "Reviewers",
        r#"{ "anyOf": [
               { "required": ["groups"], "properties": { "groups": { "minItems": 1 } } },
               { "required": ["users"], "properties": { "users": { "minItems": 1 } } } ] }"#,
    ),
    (
        "Content",
        r#"{ "properties": { "unless": { "properties": { "databases": false, "roles": false } } } }"#,
    ),
    (
        "Mask",
        r#"{ "anyOf": [
               { "required": ["columns"], "properties": { "columns": { "minItems": 1 } } },
               { "required": ["tags"], "properties": { "tags": { "minItems": 1 } } } ] }"#,
    ),
    (
        "Mask",
        r#"{ "properties": { "unless": { "properties": { "databases": false, "roles": false } } } }"#,
    ),
];
