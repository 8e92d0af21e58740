//! Patterns that match nothing in a database, and columns that masks leave out.

use std::collections::BTreeSet;

use super::Found;
use crate::policy::compile::kinds;
use crate::policy::document::Document;
use crate::policy::inventory::{Inventory, Table};
use crate::policy::near;
use crate::policy::pattern::{ColumnName, FunctionPattern, Glob, TablePattern, TagPattern};
use crate::policy::places::Step;
use crate::sql::{FunctionClass, StatementKind, classify_function};

/// How many columns one finding names.
const NAMED: usize = 5;

pub(super) fn check(found: &mut Found<'_>, about: &[&Document], inventory: &Inventory) {
    let document = found.document;
    for (at, rule) in document.rules.iter().enumerate() {
        let makes = kinds(rule).has(StatementKind::Create);
        for (i, pattern) in rule.tables.iter().enumerate() {
            if let Some(why) = no_table(pattern, inventory, makes) {
                let path = [
                    Step::Key("rules"),
                    Step::Item(at),
                    Step::Key("tables"),
                    Step::Item(i),
                ];
                let message = format!("rule `{}`: `{pattern}` matches nothing: {why}", rule.name);
                found.note(&path, "matches-nothing", message);
            }
        }
    }
    for (at, mask) in document.masks.iter().enumerate() {
        for (i, pattern) in mask.columns.iter().enumerate() {
            let path = [
                Step::Key("masks"),
                Step::Item(at),
                Step::Key("columns"),
                Step::Item(i),
            ];
            if let Some(why) = no_column(pattern, inventory) {
                let message = format!("mask `{}`: `{pattern}` matches nothing: {why}", mask.name);
                found.note(&path, "matches-nothing", message);
            }
            if let Some(which) = missed(pattern, about, inventory) {
                let message = format!(
                    "mask `{}`: columns named like those of `{pattern}` have no mask: {which}",
                    mask.name
                );
                found.note(&path, "masks-miss", message);
            }
        }
    }
    for (at, mask) in document.masks.iter().enumerate() {
        for (i, tag) in mask.tags.iter().enumerate() {
            let mut all = inventory.relations.iter().flat_map(Table::classified);
            if !all.any(|one| one.tags.iter().any(|found| tag.matches(found))) {
                let path = [
                    Step::Key("masks"),
                    Step::Item(at),
                    Step::Key("tags"),
                    Step::Item(i),
                ];
                let message = format!(
                    "mask `{}`: `{tag}` matches nothing: no comment has such a tag",
                    mask.name
                );
                found.note(&path, "matches-nothing", message);
            }
        }
    }
    let lists = [
        ("allow", &document.functions.allow),
        ("deny", &document.functions.deny),
    ];
    for (key, list) in lists {
        for (at, pattern) in list.iter().enumerate() {
            if let Some(why) = no_function(pattern, inventory) {
                let path = [Step::Key("functions"), Step::Key(key), Step::Item(at)];
                let message = format!("functions.{key}: `{pattern}` matches nothing: {why}");
                found.note(&path, "matches-nothing", message);
            }
        }
    }
}

/// The server's own schemas are not in an inventory.
fn system(schema: &Glob) -> bool {
    matches!(schema, Glob::Exact(name) if **name == *"pg_catalog" || **name == *"information_schema")
}

fn is(pattern: &TablePattern, table: &Table) -> bool {
    pattern.schema.matches(&table.schema) && pattern.table.matches(&table.name)
}

/// Why a pattern matches no relation, if so.
fn no_table(pattern: &TablePattern, inventory: &Inventory, makes: bool) -> Option<String> {
    let temporary = pattern.schema.matches("pg_temp");
    let of_server = pattern.table.to_string().starts_with("pg_");
    if system(&pattern.schema) || temporary || of_server {
        return None;
    }
    if inventory.relations.iter().any(|table| is(pattern, table)) {
        return None;
    }
    let schemas: BTreeSet<&str> = inventory
        .relations
        .iter()
        .map(|t| t.schema.as_str())
        .collect();
    let wanted = pattern.schema.to_string();
    if !schemas.iter().any(|schema| pattern.schema.matches(schema)) {
        let meant = near::question(&wanted, schemas.iter().copied());
        return Some(format!(
            "there is no schema `{wanted}` with anything in it{meant}"
        ));
    }
    // What a rule lets somebody create need not be there yet.
    if makes {
        return None;
    }
    let within = inventory
        .relations
        .iter()
        .filter(|t| pattern.schema.matches(&t.schema));
    let names: BTreeSet<&str> = within.map(|table| table.name.as_str()).collect();
    let table = pattern.table.to_string();
    let meant = near::question(&table, names.iter().copied());
    Some(format!("there is no `{table}` in `{wanted}`{meant}"))
}

/// Why a pattern matches no column, if so.
fn no_column(pattern: &ColumnName, inventory: &Inventory) -> Option<String> {
    if let Some(why) = no_table(&pattern.of, inventory, false) {
        return Some(why);
    }
    let mut tables = inventory
        .relations
        .iter()
        .filter(|table| is(&pattern.of, table))
        .peekable();
    // Only the server's own come here without one.
    tables.peek()?;
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for table in tables {
        for column in &table.columns {
            if pattern.column.matches(&column.name) {
                return None;
            }
            names.insert(&column.name);
        }
    }
    let wanted = pattern.column.to_string();
    let meant = near::question(&wanted, names);
    Some(format!("there is no column `{wanted}`{meant}"))
}

/// Why a pattern matches no function, if so.
fn no_function(pattern: &FunctionPattern, inventory: &Inventory) -> Option<String> {
    let FunctionPattern::Named { schema, name } = pattern else {
        return None;
    };
    if system(schema) {
        return None;
    }
    let there = |f: &&crate::policy::Routine| schema.matches(&f.schema) && name.matches(&f.name);
    if inventory.functions.iter().any(|f| there(&f)) {
        return None;
    }
    let wanted = name.to_string();
    // One of the server's own, which no inventory lists.
    let known = (0..16).any(|n| classify_function(None, &wanted, n) != FunctionClass::Unknown);
    if schema.matches("pg_catalog") && (known || wanted.contains('*')) {
        return None;
    }
    let names: BTreeSet<&str> = inventory
        .functions
        .iter()
        .map(|f| f.name.as_str())
        .collect();
    let meant = near::question(&wanted, names);
    Some(format!("there is no such function{meant}"))
}

/// Columns of other tables that are called like those of a mask and have none.
fn missed(pattern: &ColumnName, about: &[&Document], inventory: &Inventory) -> Option<String> {
    if pattern.column == Glob::Any {
        return None;
    }
    let masks: Vec<&ColumnName> = about
        .iter()
        .flat_map(|d| &d.masks)
        .flat_map(|mask| &mask.columns)
        .collect();
    let tags: Vec<&TagPattern> = about
        .iter()
        .flat_map(|d| &d.masks)
        .flat_map(|mask| &mask.tags)
        .collect();
    let tagged = |schema: &str, name: &str, column: &str| {
        let mut tables = inventory.relations.iter();
        let table = tables.find(|table| table.schema == schema && table.name == name);
        let all = table.into_iter().flat_map(Table::classified);
        all.filter(|one| one.column == "*" || one.column == column)
            .flat_map(|one| one.tags)
            .any(|tag| tags.iter().any(|pattern| pattern.matches(&tag)))
    };
    // A mask on what rows come from, or on a parent, holds for the table too.
    let masked = |table: &Table, column: &str| {
        if tagged(&table.schema, &table.name, column)
            || table.reaches.iter().any(|(s, n)| tagged(s, n, column))
        {
            return true;
        }
        let on = |schema: &str, name: &str| masks.iter().any(|m| m.matches(schema, name, column));
        on(&table.schema, &table.name) || table.reaches.iter().any(|(s, n)| on(s, n))
    };
    let stored = |table: &&Table| !table.kind.ends_with("view");
    let mut names = Vec::new();
    for table in inventory.relations.iter().filter(stored) {
        for column in &table.columns {
            if pattern.column.matches(&column.name) && !masked(table, &column.name) {
                names.push(format!("`{}.{}.{}`", table.schema, table.name, column.name));
            }
        }
    }
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    match (names.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(names.join(", ")),
        (false, more) => Some(format!("{} and {more} more", names.join(", "))),
    }
}
