//! A few rows of a database's tables, for whoever asks what its columns hold: read over a connection of its own,
//! which writes nothing, and given away value by value. Nothing of them is kept here.

use std::fmt::Write as _;

use crate::policy::Table;
use crate::sql::quoted;
use crate::wire::{BackLogin, Wire};

use super::catalogue::CatalogueError;
use super::dial::{Endpoint, dial};
use super::probe::Probe;

/// The most rows of one table.
pub const SAMPLE_ROWS: u32 = 1000;
/// As many characters of a value are read.
const CHARACTERS: usize = 256;

/// Databases that the role may open.
const DATABASES: &str = "select datname from pg_catalog.pg_database \
     where datallowconn and not datistemplate \
       and pg_catalog.has_database_privilege(oid, 'connect') order by 1";

/// The databases of a server that a role may open.
///
/// # Errors
/// The server cannot be reached or does not answer.
pub async fn databases<W: Wire>(
    endpoint: &Endpoint,
    login: BackLogin,
) -> Result<Vec<String>, CatalogueError> {
    let dialled = dial::<W::Back>(endpoint, login).await?;
    let mut connection = Probe::<W>::new(dialled, endpoint.address);
    let mut names = Vec::new();
    connection
        .each(DATABASES, |cells| {
            if let [Some(name)] = cells {
                names.push((*name).to_owned());
            }
        })
        .await?;
    connection.close().await;
    Ok(names)
}

/// Gives up to so many rows of each table to `see`: which table, which column, and the beginning of a value that is
/// not NULL. Only what is stored is read, so that no view's code runs. Gives the tables that could not be read.
///
/// # Errors
/// The server cannot be reached or does not answer, or the values are more than is worth reading.
pub async fn sample<W: Wire>(
    endpoint: &Endpoint,
    login: &BackLogin,
    tables: &[Table],
    rows: u32,
    mut see: impl FnMut(usize, usize, &str),
) -> Result<Vec<usize>, CatalogueError> {
    let mut open: Option<Probe<W>> = None;
    let mut unread = Vec::new();
    for (at, table) in tables.iter().enumerate() {
        if !matches!(table.kind.as_str(), "table" | "materialized view") || table.columns.is_empty()
        {
            continue;
        }
        let mut connection = match open.take() {
            Some(connection) => connection,
            None => {
                let dialled = dial::<W::Back>(endpoint, login.clone()).await?;
                let mut connection = Probe::<W>::new(dialled, endpoint.address);
                for setting in [
                    "default_transaction_read_only = on",
                    "statement_timeout = '10s'",
                ] {
                    connection.each(&format!("set {setting}"), |_| {}).await?;
                }
                connection
            }
        };
        let read = connection
            .each(&question(table, rows.min(SAMPLE_ROWS)), |cells| {
                for (column, value) in cells.iter().enumerate() {
                    if let Some(value) = value {
                        see(at, column, value);
                    }
                }
            })
            .await;
        match read {
            Ok(()) => open = Some(connection),
            // It may not be read by this role, or takes too long. The connection is of no more use.
            Err(CatalogueError::Refused(_)) => unread.push(at),
            Err(error) => return Err(error),
        }
    }
    if let Some(connection) = open {
        connection.close().await;
    }
    Ok(unread)
}

fn question(table: &Table, rows: u32) -> String {
    let mut text = "select ".to_owned();
    for (at, column) in table.columns.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        let name = quoted(&column.name);
        let _ = write!(
            text,
            "{comma}pg_catalog.left({name}::pg_catalog.text, {CHARACTERS})"
        );
    }
    let (schema, name) = (quoted(&table.schema), quoted(&table.name));
    let _ = write!(text, " from only {schema}.{name} limit {rows}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Column;

    #[test]
    fn whatever_a_name_holds_it_stays_a_name() {
        let table = Table {
            schema: "a\"; drop table x; --".to_owned(),
            name: "T".to_owned(),
            kind: "table".to_owned(),
            columns: ["id", "b\"c"]
                .map(|name| Column {
                    name: name.to_owned(),
                    of: "text".to_owned(),
                    tags: Vec::new(),
                })
                .to_vec(),
            tags: Vec::new(),
            reaches: Vec::new(),
            by_code: false,
        };
        assert_eq!(
            question(&table, 5),
            "select pg_catalog.left(\"id\"::pg_catalog.text, 256), \
             pg_catalog.left(\"b\"\"c\"::pg_catalog.text, 256) \
             from only \"a\"\"; drop table x; --\".\"T\" limit 5"
        );
    }
}
