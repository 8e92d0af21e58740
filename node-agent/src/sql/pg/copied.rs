//! COPY … TO STDOUT read as the rows that it is made of.
//!
//! The query of `COPY (query)` stays where it stands: everything around it becomes white space, and
//! the grammar must read the same tree in what is left, place by place. So no rule about quotes or
//! comments is written a second time, and the database counts the same positions.

use pg_query::protobuf as pb;
use pg_query::protobuf::node::Node as N;

use super::names;
use super::settings::is_true;
use super::walk::Walk;
use crate::sql::copied::{CopyColumns, CopyForm, CopyLayout, CopyOut, CopyRows, ForceQuote};
use crate::sql::{StatementFacts, StatementKind, quoted};

const OPTIONS: &str = "only its options in text and csv can be followed";

/// How the rows of a copy to the client can be asked for instead. `facts` are those of the copy.
pub(super) fn copied(text: &str, copy: &pb::CopyStmt, facts: &StatementFacts) -> CopyOut {
    match rows(text, copy, facts) {
        Ok(rows) => CopyOut::Rows(rows),
        Err(why) => CopyOut::Otherwise(why),
    }
}

fn rows(text: &str, copy: &pb::CopyStmt, facts: &StatementFacts) -> Result<CopyRows, &'static str> {
    let layout = layout(&copy.options)?;
    let reads = |kind: &StatementKind| {
        matches!(
            kind,
            StatementKind::CopyOut | StatementKind::Select | StatementKind::Lock
        )
    };
    if !facts.kinds.iter().all(reads) {
        return Err("it does more than read");
    }
    let (query, columns) = match (&copy.query, &copy.relation) {
        (Some(query), None) => (own_query(text, query)?, CopyColumns::All),
        (None, Some(table)) if copy.where_clause.is_none() => {
            let columns = match copy.attlist.is_empty() {
                true => CopyColumns::NotGenerated,
                false => CopyColumns::All,
            };
            (reading(table, &copy.attlist)?, columns)
        }
        (Some(_), Some(_)) | (None, _) => return Err("what it copies is unclear"),
    };
    if !reads_the_same(&query, facts) {
        return Err("its query cannot be told apart from what is around it");
    }
    Ok(CopyRows {
        query,
        columns,
        layout,
    })
}

/// The query within `COPY (query)`.
fn own_query(text: &str, query: &pb::Node) -> Result<String, &'static str> {
    const UNCLEAR: &str = "where its query begins and ends is unclear";
    let scanned = pg_query::scan(text).map_err(|_| UNCLEAR)?;
    let (mut depth, mut inside) = (0_usize, None);
    for token in &scanned.tokens {
        let place = |at: i32| usize::try_from(at).map_err(|_| UNCLEAR);
        match token.token() {
            pb::Token::Ascii40 => {
                depth += 1;
                if depth == 1 && inside.is_none() {
                    inside = Some((place(token.end)?, text.len()));
                }
            }
            pb::Token::Ascii41 => {
                depth = depth.checked_sub(1).ok_or(UNCLEAR)?;
                if let Some((_, end)) = &mut inside
                    && depth == 0
                {
                    *end = place(token.start)?;
                    break;
                }
            }
            _ => {}
        }
    }
    let (start, end) = inside.ok_or(UNCLEAR)?;
    let own = text.get(start..end).ok_or(UNCLEAR)?;
    let alone = format!("{}{own}", " ".repeat(start));
    let parsed = pg_query::parse(&alone, 0).map_err(|_| UNCLEAR)?;
    match parsed.protobuf.stmts.as_slice() {
        // Where each node stands is part of the tree.
        [one] if one.stmt.as_deref() == Some(query) => Ok(alone),
        _ => Err(UNCLEAR),
    }
}

/// A query for the rows of one table itself, without those of its children. Names without a table
/// before them: behind one, a name that is no column calls a function.
fn reading(table: &pb::RangeVar, columns: &[pb::Node]) -> Result<String, &'static str> {
    if !table.catalogname.is_empty() {
        return Err("its table is named with a database");
    }
    let listed = names::texts(columns);
    if listed.len() != columns.len() {
        return Err("its columns are unclear");
    }
    let listed = match listed.is_empty() {
        true => "*".to_owned(),
        false => listed
            .into_iter()
            .map(quoted)
            .collect::<Vec<_>>()
            .join(", "),
    };
    let schema = match table.schemaname.is_empty() {
        true => String::new(),
        false => format!("{}.", quoted(&table.schemaname)),
    };
    let name = quoted(&table.relname);
    Ok(format!("select {listed} from only {schema}{name}"))
}

/// Whether what was judged and what is asked for instead touch and call the same.
fn reads_the_same(query: &str, facts: &StatementFacts) -> bool {
    let Ok(parsed) = pg_query::parse(query, 0) else {
        return false;
    };
    let [one] = parsed.protobuf.stmts.as_slice() else {
        return false;
    };
    if !matches!(
        one.stmt.as_deref().and_then(|stmt| stmt.node.as_ref()),
        Some(N::SelectStmt(_))
    ) {
        return false;
    }
    let mut walk = Walk::new();
    walk.optional(one.stmt.as_deref());
    let (seen, doubt) = walk.finish(0..query.len());
    doubt.is_none()
        && seen.relations == facts.relations
        && seen.functions == facts.functions
        && seen.operators == facts.operators
        && seen.types == facts.types
        && seen.attributes == facts.attributes
        && seen.effects == facts.effects
}

/// The options as the server reads them; those that it would refuse are not followed.
fn layout(options: &[pb::Node]) -> Result<CopyLayout, &'static str> {
    let mut seen: Vec<&str> = Vec::new();
    let (mut csv, mut header) = (false, false);
    let (mut delimiter, mut null, mut quote, mut escape, mut force) =
        (None, None, None, None, None);
    for option in options {
        let Some(N::DefElem(option)) = &option.node else {
            return Err(OPTIONS);
        };
        let name = option.defname.as_str();
        if seen.contains(&name) {
            return Err(OPTIONS);
        }
        seen.push(name);
        let value = option.arg.as_deref();
        match name {
            "format" => match word(value)? {
                "text" => {}
                "csv" => csv = true,
                "binary" => return Err("binary copy data cannot be masked"),
                _ => return Err(OPTIONS),
            },
            "header" => header = boolean(value)?,
            "delimiter" => delimiter = Some(byte(value)?),
            "null" => null = Some(word(value)?.to_owned()),
            "quote" => quote = Some(byte(value)?),
            "escape" => escape = Some(byte(value)?),
            "force_quote" => force = Some(forced(value)?),
            // All sessions speak UTF-8.
            "encoding" if matches!(word(value)?, "UTF8" | "utf8" | "UTF-8" | "utf-8") => {}
            "encoding" => return Err("copy data in another encoding cannot be masked"),
            _ => return Err(OPTIONS),
        }
    }
    let form = match csv {
        true => {
            let quote = quote.unwrap_or(b'"');
            CopyForm::Csv {
                quote,
                escape: escape.unwrap_or(quote),
                force: force.unwrap_or(ForceQuote::Named(Vec::new())),
            }
        }
        false if quote.or(escape).is_some() || force.is_some() => return Err(OPTIONS),
        false => CopyForm::Text,
    };
    let layout = CopyLayout {
        delimiter: delimiter.unwrap_or(if csv { b',' } else { b'\t' }),
        null: null.unwrap_or_else(|| if csv { String::new() } else { "\\N".to_owned() }),
        header,
        form,
    };
    match readable(&layout) {
        true => Ok(layout),
        false => Err(OPTIONS),
    }
}

/// What the server itself would refuse, because nobody could read the copy back.
fn readable(layout: &CopyLayout) -> bool {
    let line = |byte: u8| matches!(byte, b'\n' | b'\r');
    let null = layout.null.as_bytes();
    let told_apart = match layout.form {
        CopyForm::Text => {
            let taken = b"\\.abcdefghijklmnopqrstuvwxyz0123456789";
            !taken.contains(&layout.delimiter)
        }
        CopyForm::Csv { quote, escape, .. } => {
            quote != layout.delimiter && !line(quote) && !line(escape) && !null.contains(&quote)
        }
    };
    told_apart
        && !line(layout.delimiter)
        && !null.contains(&layout.delimiter)
        && !null.iter().copied().any(line)
}

fn word(value: Option<&pb::Node>) -> Result<&str, &'static str> {
    value.and_then(names::text).ok_or(OPTIONS)
}

fn byte(value: Option<&pb::Node>) -> Result<u8, &'static str> {
    match word(value)?.as_bytes() {
        [byte] => Ok(*byte),
        _ => Err(OPTIONS),
    }
}

fn boolean(value: Option<&pb::Node>) -> Result<bool, &'static str> {
    match value.map(|value| &value.node) {
        None => Ok(true),
        Some(Some(N::Boolean(value))) => Ok(value.boolval),
        Some(Some(N::Integer(value))) if matches!(value.ival, 0 | 1) => Ok(value.ival == 1),
        Some(Some(N::String(value))) => match value.sval.to_ascii_lowercase().as_str() {
            "true" | "on" => Ok(is_true(&value.sval)),
            "false" | "off" => Ok(false),
            _ => Err(OPTIONS),
        },
        Some(_) => Err(OPTIONS),
    }
}

fn forced(value: Option<&pb::Node>) -> Result<ForceQuote, &'static str> {
    match value.and_then(|value| value.node.as_ref()) {
        Some(N::AStar(_)) => Ok(ForceQuote::All),
        Some(N::List(list)) => {
            let named = names::texts(&list.items);
            match named.len() == list.items.len() {
                true => Ok(ForceQuote::Named(
                    named.into_iter().map(str::to_owned).collect(),
                )),
                false => Err(OPTIONS),
            }
        }
        Some(_) | None => Err(OPTIONS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Dialect;
    use crate::sql::analyze;

    fn read(text: &str) -> Result<CopyRows, &'static str> {
        match analyze(Dialect::Postgres, text)
            .statements
            .swap_remove(0)
            .copy
        {
            Some(CopyOut::Rows(rows)) => Ok(rows),
            Some(CopyOut::Otherwise(why)) => Err(why),
            None => Err("no copy to the client"),
        }
    }

    #[test]
    fn the_rows_of_a_copy_are_asked_for_by_its_own_words() {
        for (text, query) in [
            ("copy t to stdout", "select * from only \"t\""),
            (
                "COPY s.\"T \"\"x\" (a, \"B\") TO STDOUT",
                "select \"a\", \"B\" from only \"s\".\"T \"\"x\"",
            ),
            ("copy (select a from t) to stdout", "      select a from t"),
            (
                "/* ( */ copy ( (select ')' from t) ) to stdout;",
                "               (select ')' from t) ",
            ),
            (
                "copy (select $$)$$, \"a)\" from t -- )\n) to stdout with (format csv)",
                "      select $$)$$, \"a)\" from t -- )\n",
            ),
            ("copy (values (1)) to stdout", "      values (1)"),
            ("copy (table t) to stdout csv header", "      table t"),
        ] {
            assert_eq!(read(text).unwrap().query, query, "{text}");
        }
        assert_eq!(
            read("copy t to stdout").unwrap().columns,
            CopyColumns::NotGenerated
        );
        assert_eq!(
            read("copy t (a) to stdout").unwrap().columns,
            CopyColumns::All
        );
    }

    #[test]
    fn what_is_not_wholly_understood_is_no_copy_of_rows() {
        for text in [
            "copy t to stdout with (format binary)",
            "copy binary t to stdout",
            "copy t to stdout with (encoding 'latin1')",
            "copy t to stdout with (format 'odd')",
            "copy t to stdout with (freeze)",
            "copy t to stdout with (delimiter 'ab')",
            "copy t to stdout with (delimiter 'a')",
            "copy t to stdout with (delimiter E'\\n')",
            "copy t to stdout with (null E'\\n')",
            "copy t to stdout with (null 'a|b', delimiter '|')",
            "copy t to stdout with (quote '''')",
            "copy t to stdout with (format csv, quote ',')",
            "copy t to stdout with (format csv, format csv)",
            "copy t to stdout with (header match)",
            "copy t to stdout with (force_quote *)",
            "copy (select a into b from t) to stdout",
            "copy (delete from t where a = 1 returning a) to stdout",
            "copy (with d as (delete from t where a = 1 returning a) select * from d) to stdout",
            "copy db.s.t to stdout",
            "copy t to stdout; copy t to stdout",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        for text in [
            "copy t from stdin",
            "copy t to '/tmp/x'",
            "copy t to program 'x'",
        ] {
            assert_eq!(read(text), Err("no copy to the client"), "{text}");
        }
    }

    #[test]
    fn options_are_read_in_both_spellings() {
        let csv = |quote, escape, force| CopyForm::Csv {
            quote,
            escape,
            force,
        };
        let none = || ForceQuote::Named(Vec::new());
        for (text, delimiter, null, header, form) in [
            ("copy t to stdout", b'\t', "\\N", false, CopyForm::Text),
            (
                "copy t to stdout delimiter '|' null 'x'",
                b'|',
                "x",
                false,
                CopyForm::Text,
            ),
            (
                "copy t to stdout (header, encoding 'utf8')",
                b'\t',
                "\\N",
                true,
                CopyForm::Text,
            ),
            (
                "copy t to stdout csv header",
                b',',
                "",
                true,
                csv(b'"', b'"', none()),
            ),
            (
                "copy t to stdout (format csv, header off, quote '''', force_quote *)",
                b',',
                "",
                false,
                csv(b'\'', b'\'', ForceQuote::All),
            ),
            (
                "copy t to stdout csv null '-' escape '\\' force quote a, b",
                b',',
                "-",
                false,
                csv(
                    b'"',
                    b'\\',
                    ForceQuote::Named(vec!["a".to_owned(), "b".to_owned()]),
                ),
            ),
        ] {
            let wanted = CopyLayout {
                form,
                delimiter,
                null: null.to_owned(),
                header,
            };
            assert_eq!(read(text).unwrap().layout, wanted, "{text}");
        }
    }
}
