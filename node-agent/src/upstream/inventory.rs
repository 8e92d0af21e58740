//! What a database holds, for policies to be checked against: read over a connection of its own,
//! by texts fixed at compile time, as the names are that sessions are judged by.

use std::collections::HashMap;

use crate::policy::{Column, Inventory, Routine, Table};
use crate::wire::{BackLogin, Wire};

use super::catalogue::CatalogueError;
use super::classify::Comments;
use super::dial::{Endpoint, dial};
use super::probe::{self, Probe};
use super::reach::Edges;

/// oid, attribute number, name, type.
const COLUMNS: &str = "select a.attrelid, a.attnum, a.attname, \
            pg_catalog.format_type(a.atttypid, a.atttypmod) \
     from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid \
     where a.attnum > 0 and not a.attisdropped and c.relkind in ('r','p','v','m','f') \
       and c.oid >= 16384 order by a.attrelid, a.attnum";
/// Schema, name, number of arguments of what did not come with the server.
const FUNCTIONS: &str = "select n.nspname, p.proname, p.pronargs \
     from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace \
     where p.oid >= 16384 order by 1, 2, 3";

/// Reads what one role of one server sees of its database.
///
/// # Errors
/// The database cannot be reached or does not answer, or holds more than is worth reading.
pub async fn inventory<W: Wire>(
    endpoint: &Endpoint,
    login: BackLogin,
    target: Option<String>,
) -> Result<Inventory, CatalogueError> {
    let mut inventory = Inventory::new(target, login.database.clone());
    let dialled = dial::<W::Back>(endpoint, login).await?;
    let mut connection = Probe::<W>::new(dialled, endpoint.address);
    let mut tables: HashMap<u32, Table> = HashMap::new();
    connection
        .each(probe::RELATIONS, |cells| {
            let [oid, Some(schema), Some(name), Some(kind)] = cells else {
                return;
            };
            let Some(oid) = number(*oid) else { return };
            if !listed(schema) {
                return;
            }
            let table = Table {
                schema: (*schema).to_owned(),
                name: (*name).to_owned(),
                kind: word(kind).to_owned(),
                columns: Vec::new(),
                tags: Vec::new(),
                reaches: Vec::new(),
                by_code: false,
            };
            tables.insert(oid, table);
        })
        .await?;
    let mut comments = Comments::default();
    connection
        .each(probe::COMMENTS, |cells| comments.row(cells))
        .await?;
    connection
        .each(COLUMNS, |cells| {
            let [oid, Some(at), Some(name), Some(of)] = cells else {
                return;
            };
            let Some(oid) = number(*oid) else { return };
            if let (Some(table), Ok(at)) = (tables.get_mut(&oid), at.parse()) {
                table.columns.push(Column {
                    name: (*name).to_owned(),
                    of: (*of).to_owned(),
                    tags: comments.tags(oid, at).to_vec(),
                });
            }
        })
        .await?;
    for (oid, table) in &mut tables {
        table.tags = comments.tags(*oid, 0).to_vec();
    }
    let mut edges = Edges::default();
    connection
        .each(probe::SOURCES, |cells| edges.row(cells))
        .await?;
    connection
        .each(FUNCTIONS, |cells| {
            let [Some(schema), Some(name), Some(arguments)] = cells else {
                return;
            };
            inventory.functions.push(Routine {
                schema: (*schema).to_owned(),
                name: (*name).to_owned(),
                arguments: arguments.parse().unwrap_or_default(),
            });
        })
        .await?;
    connection.close().await;
    let reach = edges
        .close()
        .map_err(|_| CatalogueError::TooLarge("views and partitions"))?;
    let names: HashMap<u32, (String, String)> = tables
        .iter()
        .map(|(oid, table)| (*oid, (table.schema.clone(), table.name.clone())))
        .collect();
    for (oid, table) in &mut tables {
        table.by_code = reach.is_opaque(*oid);
        table.reaches = reach
            .from(*oid)
            .filter_map(|of| names.get(&of).cloned())
            .collect();
        table.reaches.sort();
    }
    inventory.relations = tables.into_values().collect();
    inventory.relations.sort();
    inventory.functions.dedup();
    Ok(inventory)
}

/// The server's own schemas, and other sessions' temporary ones, are not.
fn listed(schema: &str) -> bool {
    schema != "information_schema"
        && !["pg_catalog", "pg_toast", "pg_temp", "pg_toast_temp"]
            .iter()
            .any(|own| schema == *own || schema.starts_with(&format!("{own}_")))
}

fn word(kind: &str) -> &'static str {
    match kind {
        "r" => "table",
        "p" => "partitioned table",
        "v" => "view",
        "m" => "materialized view",
        "f" => "foreign table",
        _ => "other",
    }
}

fn number(cell: Option<&str>) -> Option<u32> {
    cell?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_s_own_schemas_are_left_out() {
        for (schema, is) in [
            ("public", true),
            ("pg_tools", true),
            ("pg_catalog", false),
            ("pg_toast", false),
            ("pg_temp_3", false),
            ("pg_toast_temp_3", false),
            ("information_schema", false),
        ] {
            assert_eq!(listed(schema), is, "{schema}");
        }
    }
}
