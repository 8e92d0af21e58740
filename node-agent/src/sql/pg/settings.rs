//! SET, RESET, SHOW, `set_config`: which settings change what a text means or who is asking.

use pg_query::protobuf as pb;
use pg_query::protobuf::node::Node as N;

use super::names;
use super::walk::Walk;
use crate::sql::{Effect, StatementKind, scope};

/// Settings that change the meaning of a text, who the server thinks is asking, or which code it
/// loads. Values that are the safe default are let through in `changes_meaning`. `row_security` is none
/// of them: off makes a query fail where a row policy would hide rows, and never shows more (`pg_dump`
/// sets it).
const IDENTITY: &[&str] = &[
    "role",
    "session_authorization",
    "client_encoding",
    "standard_conforming_strings",
    "backslash_quote",
    "session_replication_role",
    "session_preload_libraries",
    "local_preload_libraries",
    "shared_preload_libraries",
    "jit_provider",
    "dynamic_library_path",
    "allow_system_table_mods",
    "ignore_system_indexes",
    "lo_compat_privileges",
    "zero_damaged_pages",
    "default_with_oids",
    "createrole_self_grant",
    "event_triggers",
    "restrict_nonsystem_relation_kind",
    "transform_null_equals",
    "array_nulls",
    "operator_precedence_warning",
    "sql_inheritance",
    "is_superuser",
    "server_encoding",
];

/// Settings whose SHOW tells more than a session needs.
const TELLING: &[&str] = &[
    "primary_conninfo",
    "ssl_passphrase_command",
    "archive_command",
    "archive_cleanup_command",
    "restore_command",
    "recovery_end_command",
    "krb_server_keyfile",
    "hba_file",
    "ident_file",
    "ssl_key_file",
];

/// Whether showing it tells no more than a session needs. The server knows settings in any case.
pub(super) fn shown_to_all(setting: &str) -> bool {
    !TELLING.contains(&setting.to_ascii_lowercase().as_str())
}

/// How the server reads a boolean setting (prefixes too).
pub(super) fn is_true(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    matches!(value.as_str(), "on" | "1")
        || (!value.is_empty() && ("true".starts_with(&value) || "yes".starts_with(&value)))
}

/// Whether setting `name` to `value` (`None`: default, or not a literal) changes meaning.
fn changes_meaning(name: &str, value: Option<&str>, literal: bool) -> bool {
    // Custom settings feed row policies and functions: they say who is asking.
    if name.contains('.') {
        return true;
    }
    if !IDENTITY.contains(&name) {
        return false;
    }
    match (name, value) {
        // The start-up value was vetted when the session began.
        ("client_encoding" | "standard_conforming_strings" | "backslash_quote", None) => !literal,
        ("client_encoding", Some(value)) => {
            let plain: String = value
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .collect::<String>();
            !matches!(plain.to_ascii_lowercase().as_str(), "utf8" | "unicode")
        }
        ("standard_conforming_strings" | "array_nulls", Some(value)) => !is_true(value),
        // Less than before may be read; the empty value would take that back.
        ("restrict_nonsystem_relation_kind", Some(value)) => {
            let mut kinds: Vec<&str> = value.split(',').map(str::trim).collect();
            kinds.sort_unstable();
            kinds != ["foreign-table", "view"]
        }
        ("backslash_quote", Some(value)) => !value.eq_ignore_ascii_case("safe_encoding"),
        ("transform_null_equals", Some(value)) => !matches!(
            value.to_ascii_lowercase().as_str(),
            "off" | "false" | "0" | "no"
        ),
        _ => true,
    }
}

/// The setting of `SELECT … FROM pg_settings WHERE name = 'setting'`: whatever that relation is, the column
/// `name` is this text. `pg_dump` sets so what not every server knows.
pub(super) fn looked_up(select: &pb::SelectStmt) -> Option<String> {
    let [from] = select.from_clause.as_slice() else {
        return None;
    };
    let Some(N::RangeVar(from)) = &from.node else {
        return None;
    };
    let servers = matches!(from.schemaname.as_str(), "" | "pg_catalog");
    if from.relname != "pg_settings" || !servers || from.alias.is_some() {
        return None;
    }
    let Some(N::AExpr(condition)) = &select.where_clause.as_ref()?.node else {
        return None;
    };
    let equals = condition.kind() == pb::AExprKind::AexprOp
        && names::texts(&condition.name) == ["="]
        && is_name(condition.lexpr.as_deref()?);
    let setting = names::literal(condition.rexpr.as_deref()?);
    setting.filter(|_| equals)
}

/// Whether it is the column `name`, unqualified.
pub(super) fn is_name(node: &pb::Node) -> bool {
    matches!(&node.node, Some(N::ColumnRef(column)) if names::texts(&column.fields) == ["name"] && column.fields.len() == 1)
}

impl Walk {
    /// One setting changed: the kind and the effect. `value` is `None` when it is not a literal.
    pub(super) fn setting(&mut self, name: &str, value: Option<String>, local: bool) {
        let literal = value.is_some();
        self.set_to(name, value, literal, local);
    }

    fn set_to(&mut self, name: &str, value: Option<String>, plain: bool, local: bool) {
        let setting = name.to_ascii_lowercase();
        self.kind(if changes_meaning(&setting, value.as_deref(), plain) {
            StatementKind::SetIdentity
        } else {
            StatementKind::Set
        });
        self.effect(Effect::Sets {
            setting,
            value,
            local,
        });
    }

    /// UPDATE of `pg_settings` is SET (PostgreSQL, 20.1.3): of which setting, the rows decide.
    pub(super) fn settings_changed(&mut self, relation: Option<&pb::RangeVar>) {
        let schema = relation.map(|var| var.schemaname.as_str());
        if relation.is_some_and(|var| var.relname == "pg_settings")
            && matches!(schema, Some("" | "pg_catalog"))
        {
            for setting in ["client_encoding", "standard_conforming_strings", "role"] {
                self.set_to(setting, None, false, false);
            }
        }
    }

    pub(super) fn set(&mut self, set: &pb::VariableSetStmt) {
        use pb::VariableSetKind as K;
        match set.kind() {
            K::VarSetValue => {
                let values: Option<Vec<String>> = set.args.iter().map(names::literal).collect();
                let literal = values.is_some();
                // Each of these is one schema, whatever it holds; the value is a list of them.
                let path = set.name.eq_ignore_ascii_case("search_path");
                let value = values.map(|mut values| {
                    if path {
                        values = values
                            .iter()
                            .map(|schema| scope::quoted_if_needed(schema))
                            .collect();
                    }
                    values.join(", ")
                });
                self.set_to(&set.name, value, literal, set.is_local);
            }
            // To the value of session start: harmless wherever that was vetted.
            K::VarSetDefault | K::VarReset => self.set_to(&set.name, None, true, set.is_local),
            K::VarSetCurrent => self.set_to(&set.name, None, false, set.is_local),
            // SET TRANSACTION …, SET SESSION CHARACTERISTICS …
            K::VarSetMulti => self.kind(StatementKind::Transaction),
            K::VarResetAll => {
                self.kind(StatementKind::Set);
                self.effect(Effect::Sets {
                    setting: "all".to_owned(),
                    value: None,
                    local: false,
                });
            }
            K::Undefined => self.doubt("a SET of an unknown form"),
        }
    }

    pub(super) fn show(&mut self, show: &pb::VariableShowStmt) {
        self.kind(StatementKind::Show);
        // Custom settings may hold anything, among it values laundered through set_config.
        if !shown_to_all(&show.name) {
            self.kind(StatementKind::Admin);
        }
    }
}
