//! What a name as written may stand for, and which of the server's own relations matter.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Question, ResolvedNames, Schemas, Sources};
use crate::sql::{RelationName, RelationUse, TEMPORARY};

/// The schemas a name may be in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Candidates<'a> {
    /// Exactly this.
    One(&'a str),
    /// One of these.
    Many(&'a [String]),
    /// Nobody knows.
    Unresolved,
}

impl<'a> Candidates<'a> {
    pub(super) fn of(question: &'a Question, relation: &'a RelationName) -> Self {
        if let Some(schema) = &relation.schema {
            return Candidates::One(schema);
        }
        let resolved = question
            .names
            .relations
            .iter()
            .find(|(name, _)| name == relation);
        match resolved {
            Some((_, schemas)) if !schemas.is_empty() => Candidates::Many(schemas),
            // The server's own schema comes first in every path that does not name it. User
            // tables beginning with pg_ that the session did not resolve are taken for system
            // tables, which need no less to be allowed.
            _ if relation.name.starts_with("pg_") => Candidates::One("pg_catalog"),
            _ => Candidates::Unresolved,
        }
    }

    /// Whether all of them (or the unknown, given as `None`) pass.
    pub(super) fn all(self, mut test: impl FnMut(Option<&'a str>) -> bool) -> bool {
        match self {
            Candidates::One(schema) => test(Some(schema)),
            Candidates::Many(schemas) => schemas.iter().all(|schema| test(Some(schema))),
            Candidates::Unresolved => test(None),
        }
    }

    /// Whether any passes.
    pub(super) fn any(self, mut test: impl FnMut(Option<&'a str>) -> bool) -> bool {
        match self {
            Candidates::One(schema) => test(Some(schema)),
            Candidates::Many(schemas) => schemas.iter().any(|schema| test(Some(schema))),
            Candidates::Unresolved => test(None),
        }
    }
}

impl ResolvedNames {
    /// Whether the catalogue does not have it.
    pub(super) fn is_unknown(&self, relation: &RelationName) -> bool {
        self.unknown.contains(relation)
    }

    /// Whether it is one of the server's own that hold nothing in this database: reading it tells nothing,
    /// and dumps ask for it all the same.
    pub(super) fn is_bare(&self, schema: Option<&str>, name: &str) -> bool {
        schema == Some("pg_catalog") && self.bare.iter().any(|bare| bare == name)
    }

    /// What else is changed when a relation is touched so.
    pub(super) fn sets_off<'a>(
        &'a self,
        used: &'a RelationUse,
    ) -> impl Iterator<Item = &'a RelationUse> {
        let about = self.sets_off.iter().filter(move |(from, _)| from == used);
        about.flat_map(|(_, then)| then)
    }

    /// The schemas that a name as written may stand for; `None`: the catalogue does not have it.
    pub fn schemas<'a>(
        &'a self,
        relation: &RelationName,
    ) -> Option<impl ExactSizeIterator<Item = &'a str>> {
        if self.is_unknown(relation) {
            return None;
        }
        let mut relations = self.relations.iter();
        let (_, schemas) = relations.find(|(name, _)| name == relation)?;
        Some(schemas.iter().map(String::as_str))
    }

    /// Whether code may make the rows of what a name stands for.
    pub(super) fn is_opaque(&self, relation: &RelationName) -> bool {
        self.opaque.contains(relation)
    }

    /// The base tables a name reaches through views, partitions and inheritance.
    pub(super) fn reached<'a>(
        &'a self,
        relation: &'a RelationName,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.reaches
            .iter()
            .filter(move |(name, _)| name == relation)
            .flat_map(|(_, bases)| bases.iter().map(|(schema, table)| (&**schema, &**table)))
    }
}

impl Sources {
    /// Those of all statements of a question's text; not what only the second witness sees, which
    /// could make an answer believed that is not.
    pub(super) fn of(question: &Question) -> Self {
        let mut sources: HashMap<String, Schemas> = HashMap::new();
        for used in question
            .analysis
            .statements
            .iter()
            .flat_map(|s| &s.relations)
        {
            let relation = &used.relation;
            let at = sources.entry(relation.name.clone()).or_default();
            match Candidates::of(question, relation) {
                // Whose temporary schema it is, the name does not say.
                Candidates::One(TEMPORARY) | Candidates::Unresolved => *at = Schemas::Any,
                Candidates::One(schema) => at.add(schema),
                // Nor do the path's schemas say where it comes from, when nobody knows it yet.
                Candidates::Many(schemas)
                    if schemas.iter().any(|schema| schema == TEMPORARY)
                        || question.names.is_unknown(relation) =>
                {
                    *at = Schemas::Any;
                }
                Candidates::Many(schemas) => schemas.iter().for_each(|schema| at.add(schema)),
            }
            for (schema, table) in question.names.reached(relation) {
                match sources.get_mut(table) {
                    Some(at) => at.add(schema),
                    None => {
                        let at = Schemas::These(vec![schema.to_owned()]);
                        sources.insert(table.to_owned(), at);
                    }
                }
            }
        }
        Sources::These(Arc::new(sources))
    }

    /// Whether a relation is among them.
    pub fn hold(&self, schema: &str, table: &str) -> bool {
        match self {
            Sources::Any => true,
            Sources::These(sources) => match sources.get(table) {
                Some(Schemas::Any) => true,
                Some(Schemas::These(schemas)) => schemas.iter().any(|known| known == schema),
                None => false,
            },
        }
    }
}

impl Schemas {
    fn add(&mut self, schema: &str) {
        match self {
            Schemas::Any => {}
            Schemas::These(schemas) => {
                if !schemas.iter().any(|known| known == schema) {
                    schemas.push(schema.to_owned());
                }
            }
        }
    }
}

/// System catalogues that drivers and tools read to describe what is there, and that hold no data
/// of anybody's: anybody with at least one allow rule reads them. Sorted.
#[rustfmt::skip]
const DESCRIPTIVE: &[&str] = &[
    "pg_aggregate", "pg_am", "pg_amop", "pg_amproc", "pg_attrdef", "pg_attribute",
    "pg_auth_members", "pg_cast", "pg_class", "pg_collation", "pg_constraint", "pg_conversion",
    "pg_database", "pg_default_acl", "pg_depend", "pg_description", "pg_enum", "pg_event_trigger",
    "pg_extension", "pg_index", "pg_indexes", "pg_inherits", "pg_init_privs", "pg_language",
    "pg_largeobject_metadata", "pg_matviews", "pg_namespace", "pg_opclass", "pg_operator",
    "pg_opfamily", "pg_partitioned_table", "pg_policies", "pg_policy", "pg_proc", "pg_publication",
    "pg_publication_namespace", "pg_publication_rel", "pg_publication_tables", "pg_range",
    "pg_rewrite", "pg_roles", "pg_rules", "pg_seclabel", "pg_seclabels", "pg_sequence",
    "pg_sequences", "pg_shdescription", "pg_statistic_ext", "pg_tables", "pg_tablespace",
    "pg_timezone_abbrevs", "pg_timezone_names", "pg_transform", "pg_trigger", "pg_ts_config",
    "pg_ts_config_map", "pg_ts_dict", "pg_ts_parser", "pg_ts_template", "pg_type", "pg_user",
    "pg_views",
];

/// Relations that hold credentials, other sessions' texts, server files, or samples of the data
/// itself: never covered by a pattern that does not mean them. Sorted.
#[rustfmt::skip]
const TELLING: &[&str] = &[
    "pg_authid", "pg_backend_memory_contexts", "pg_buffercache", "pg_config", "pg_cursors",
    "pg_db_role_setting", "pg_file_settings", "pg_hba_file_rules", "pg_ident_file_mappings",
    "pg_largeobject", "pg_prepared_statements", "pg_prepared_xacts", "pg_replication_slots",
    "pg_shadow", "pg_stat_activity", "pg_stat_gssapi", "pg_stat_replication", "pg_stat_ssl",
    "pg_stat_statements", "pg_stat_statements_info", "pg_stat_subscription",
    "pg_stat_wal_receiver", "pg_statistic", "pg_statistic_ext_data", "pg_stats", "pg_stats_ext",
    "pg_stats_ext_exprs", "pg_subscription", "pg_user_mapping", "pg_user_mappings",
];

/// Of these, the ones that hold values of columns.
#[rustfmt::skip]
const SAMPLES: &[&str] = &[
    "pg_largeobject", "pg_statistic", "pg_statistic_ext_data", "pg_stats", "pg_stats_ext",
    "pg_stats_ext_exprs",
];

/// Whether reading it is free for anybody with an allow rule.
pub(super) fn is_descriptive(schema: Option<&str>, name: &str) -> bool {
    match schema {
        Some("pg_catalog") => DESCRIPTIVE.binary_search(&name).is_ok(),
        // Its views show a role what it may touch; the options of foreign objects may hold
        // passwords.
        Some("information_schema") => {
            !name.contains("foreign") && !name.contains("user_mapping") && name != "*"
        }
        _ => false,
    }
}

/// Whether only a pattern that means it covers it. By name in any schema: extensions put some of
/// them elsewhere.
pub(super) fn is_telling(schema: Option<&str>, name: &str) -> bool {
    TELLING.binary_search(&name).is_ok()
        || (schema == Some("information_schema")
            && (name.contains("foreign") || name.contains("user_mapping")))
}

/// Whether it holds samples of column values.
pub(super) fn is_sample(name: &str) -> bool {
    SAMPLES.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted_and_apart() {
        for list in [DESCRIPTIVE, TELLING, SAMPLES] {
            assert!(list.windows(2).all(|w| w[0] < w[1]));
        }
        assert!(
            TELLING
                .iter()
                .all(|name| DESCRIPTIVE.binary_search(name).is_err())
        );
        assert!(
            SAMPLES
                .iter()
                .all(|name| TELLING.binary_search(name).is_ok())
        );
    }
}
