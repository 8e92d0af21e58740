//! What columns are made of, by the database's own word: views by their definitions, generated
//! columns by what they depend on.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use crate::model::Dialect;
use crate::policy::ViewColumn;
use crate::sql::{Columns, Lineage, MAX_TRACED, trace};

/// From now on definitions name every relation with its schema, but for those of `pg_catalog`.
pub(super) const NO_PATH: &str = "select pg_catalog.set_config('search_path', '', false)";
/// oid, kind, definition of views and materialised views.
pub(super) const VIEWS: &str = "select c.oid, c.relkind, pg_catalog.pg_get_viewdef(c.oid) \
     from pg_catalog.pg_class c \
     where c.relkind in ('v', 'm') and c.oid >= 16384 and c.relpersistence <> 't' \
     order by c.oid limit 5000";
/// oid of what has rules for changes: what they give back, the rules say.
pub(super) const RULED: &str =
    "select distinct ev_class from pg_catalog.pg_rewrite where ev_type <> '1'";
/// oid, column, and a column of the same relation that it is generated from: none where no such is
/// noted, `*` where code of the owner's makes it. By way of JSON, for older servers have no such column
/// of the catalogue.
pub(super) const GENERATED: &str = "with own (relation, number, name, expression) as ( \
       select a.attrelid, a.attnum, a.attname, f.oid \
       from pg_catalog.pg_attribute a left join pg_catalog.pg_attrdef f \
         on f.adrelid = a.attrelid and f.adnum = a.attnum \
       where a.atthasdef and a.attnum > 0 and not a.attisdropped \
         and pg_catalog.to_jsonb(a) ->> 'attgenerated' <> ''), \
     needs (relation, number, name, class, object, part) as ( \
       select o.relation, o.number, o.name, d.refclassid, d.refobjid, d.refobjsubid \
       from own o join pg_catalog.pg_depend d \
         on (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
             and d.objid = o.relation and d.objsubid = o.number) \
         or (d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass and d.objid = o.expression)) \
     select o.relation, o.name, s.attname \
     from own o left join needs n on n.relation = o.relation and n.number = o.number \
        and n.class = 'pg_catalog.pg_class'::pg_catalog.regclass and n.object = o.relation \
        and n.part not in (0, o.number) \
       left join pg_catalog.pg_attribute s on s.attrelid = n.object and s.attnum = n.part \
     union select n.relation, n.name, '*' from needs n \
     where n.object >= 16384 and n.class in ('pg_catalog.pg_proc'::pg_catalog.regclass, \
                                             'pg_catalog.pg_operator'::pg_catalog.regclass)";

/// Bytes of definitions that one catalogue holds.
const BYTES: usize = 16 << 20;

/// A view.
#[derive(Debug)]
struct View {
    text: Box<str>,
    /// Its rows were made when it was refreshed, by what its sources were then.
    materialised: bool,
    lineage: OnceLock<Lineage>,
    shown: OnceLock<Vec<ViewColumn>>,
}

/// What a generated column is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Columns of its own relation; none: that is not noted, and it may be any of them.
    Columns(Vec<Arc<str>>),
    /// The owner's code makes it.
    Code,
}

/// All that is defined by other columns.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    views: HashMap<u32, View>,
    generated: HashMap<u32, HashMap<Arc<str>, Source>>,
    ruled: HashSet<u32>,
    bytes: usize,
}

impl Definitions {
    /// One row of `VIEWS`. What is too long, or too much, is left out: nobody knows then what such a
    /// view is made of.
    pub(super) fn view(&mut self, cells: &[Option<&str>]) {
        let [Some(oid), Some(kind), Some(text)] = cells else {
            return;
        };
        let Ok(oid) = oid.parse() else { return };
        let bytes = self.bytes.saturating_add(text.len());
        if text.len() > MAX_TRACED || bytes > BYTES {
            return;
        }
        self.bytes = bytes;
        let view = View {
            text: (*text).into(),
            materialised: *kind != "v",
            lineage: OnceLock::new(),
            shown: OnceLock::new(),
        };
        self.views.insert(oid, view);
    }

    /// One row of `GENERATED`.
    pub(super) fn generated(&mut self, cells: &[Option<&str>]) {
        let [Some(oid), Some(name), source] = cells else {
            return;
        };
        let Ok(oid) = oid.parse() else { return };
        let columns = self.generated.entry(oid).or_default();
        let known = columns
            .entry((*name).into())
            .or_insert_with(|| Source::Columns(Vec::new()));
        match (source, known) {
            (Some("*"), known) => *known = Source::Code,
            (Some(source), Source::Columns(columns)) => columns.push((*source).into()),
            (None, _) | (Some(_), Source::Code) => {}
        }
    }

    /// One row of `RULED`.
    pub(super) fn ruled(&mut self, cells: &[Option<&str>]) {
        if let [Some(oid)] = cells {
            self.ruled.extend(oid.parse::<u32>());
        }
    }

    /// Whether rules may say what a change of it gives back.
    pub(super) fn has_rules(&self, oid: u32) -> bool {
        self.ruled.contains(&oid)
    }

    /// What the columns of a view are made of, in the order of its definition, and whether its rows
    /// were made earlier. Gone through when it is first asked for.
    pub(super) fn of_view(&self, oid: u32, known: &dyn Columns) -> Option<(&Lineage, bool)> {
        let view = self.views.get(&oid)?;
        let lineage = view
            .lineage
            .get_or_init(|| trace(Dialect::Postgres, &view.text, known));
        Some((lineage, view.materialised))
    }

    /// The columns of a view as statements are judged by them: asked for by each, made once.
    pub(super) fn shown(
        &self,
        oid: u32,
        make: impl FnOnce() -> Vec<ViewColumn>,
    ) -> Option<&[ViewColumn]> {
        Some(self.views.get(&oid)?.shown.get_or_init(make))
    }

    /// Whether any column is generated.
    pub(super) fn generates(&self) -> bool {
        !self.generated.is_empty()
    }

    /// What a column is generated from, if it is.
    pub(super) fn of_generated(&self, oid: u32, column: &str) -> Option<&Source> {
        self.generated.get(&oid)?.get(column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_column_is_made_of_what_is_noted_or_of_code() {
        let mut definitions = Definitions::default();
        for row in [
            [Some("7"), Some("a"), Some("ssn")],
            [Some("7"), Some("a"), Some("id")],
            [Some("7"), Some("b"), None],
            [Some("7"), Some("c"), Some("*")],
            [Some("7"), Some("c"), Some("id")],
            [Some("8"), Some("d"), Some("id")],
            [Some("8"), Some("d"), Some("*")],
            [Some("x"), Some("d"), Some("*")],
        ] {
            definitions.generated(&row);
        }
        let columns = |names: &[&str]| Source::Columns(names.iter().map(|n| (*n).into()).collect());
        for (oid, name, source) in [
            (7, "a", Some(columns(&["ssn", "id"]))),
            (7, "b", Some(columns(&[]))),
            (7, "c", Some(Source::Code)),
            (8, "d", Some(Source::Code)),
            (7, "ssn", None),
            (9, "a", None),
        ] {
            assert_eq!(
                definitions.of_generated(oid, name),
                source.as_ref(),
                "{name}"
            );
        }
    }
}
