//! The functions that any statement may call, held against what real servers have.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context, Result};
use node_agent::sql::{FunctionClass, PURE_FUNCTIONS, classify_function};
use node_agent_tests::Cluster;
use node_agent_tests::pg::Version;

/// One function of a server's.
struct Function {
    schema: String,
    name: String,
    arguments: usize,
    defaults: usize,
    variadic: bool,
    volatile: bool,
    language: String,
    definer: bool,
    /// `o` or `h`: an aggregate whose own arguments are written apart from what it aggregates.
    direct: Option<usize>,
    hypothetical: bool,
    source: String,
}

const QUERY: &str = "SELECT concat_ws('|', pronamespace::regnamespace, proname, pronargs, \
    pronargdefaults, provariadic <> 0, provolatile = 'v', lanname, prosecdef, \
    coalesce(CASE WHEN aggkind = 'n' THEN NULL ELSE aggnumdirectargs END, -1), \
    coalesce(aggkind = 'h', false), replace(prosrc, chr(10), ' ')) \
    FROM pg_proc JOIN pg_language l ON l.oid = prolang \
    LEFT JOIN pg_aggregate a ON a.aggfnoid = pg_proc.oid \
    WHERE pronamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) \
    AND proname !~ '[^a-z0-9_]'";

/// Volatile, and pure all the same: the reasons stand with their families.
const VOLATILE: &[&str] = &[
    "array_sample",
    "array_shuffle",
    "clock_timestamp",
    "current_query",
    "currval",
    "gen_random_uuid",
    "lastval",
    "pg_advisory_unlock",
    "pg_advisory_unlock_all",
    "pg_advisory_unlock_shared",
    "pg_database_size",
    "pg_indexes_size",
    "pg_is_in_recovery",
    "pg_jit_available",
    "pg_partition_ancestors",
    "pg_partition_tree",
    "pg_relation_size",
    "pg_table_size",
    "pg_total_relation_size",
    "random",
    "random_normal",
    "timeofday",
    "uuidv4",
    "uuidv7",
];

/// Pieces of the names of C functions that reach for something.
const REACHING: &[&str] = &[
    "file",
    "_ls_",
    "lo_",
    "dblink",
    "slot",
    "wal",
    "sleep",
    "advisory",
    "notify",
    "reload",
    "terminate",
    "cancel",
    "query_to",
    "cursor_to",
    "table_to",
    "schema_to",
    "database_to",
    "set_config",
    "nextval",
    "setval",
    "reset",
    "replication",
    "origin",
    "promote",
    "backup",
    "binary_upgrade",
    "stat_get",
    "execute",
    "spi",
];
/// Names that hold such a piece and mean something else, or let go of what is the session's own.
const HARMLESS: &[&str] = &[
    "pg_advisory_unlock",
    "pg_advisory_unlock_all",
    "pg_advisory_unlock_shared",
    "pg_column_is_updatable",
];

fn functions(cluster: &Cluster) -> Result<Vec<Function>> {
    let said = cluster.sql("postgres", QUERY)?;
    let mut functions = Vec::new();
    for line in said.lines().filter(|line| line.contains('|')) {
        let cells: Vec<&str> = line.splitn(11, '|').collect();
        let [
            schema,
            name,
            arguments,
            defaults,
            variadic,
            volatile,
            language,
            definer,
            direct,
            hypothetical,
            source,
        ] = cells.as_slice()
        else {
            continue;
        };
        functions.push(Function {
            schema: schema.trim().to_owned(),
            name: (*name).to_owned(),
            arguments: arguments.parse().with_context(|| line.to_owned())?,
            defaults: defaults.parse()?,
            variadic: *variadic == "t",
            volatile: *volatile == "t",
            language: (*language).to_owned(),
            definer: *definer == "t",
            direct: direct.parse::<usize>().ok(),
            hypothetical: *hypothetical == "t",
            source: (*source).to_owned(),
        });
    }
    assert!(
        functions.len() > 3_000,
        "only {} functions",
        functions.len()
    );
    Ok(functions)
}

impl Function {
    /// Whether a call written with so many arguments can be this one.
    fn takes(&self, written: usize) -> bool {
        match self.direct {
            Some(_) if self.hypothetical => written >= 1,
            Some(direct) => written == direct,
            None if self.variadic => written >= self.arguments,
            None => (self.arguments - self.defaults..=self.arguments).contains(&written),
        }
    }
}

#[test]
fn every_pure_function_is_a_harmless_one_of_the_servers() -> Result<()> {
    let clusters = Cluster::start_all(&Version::ALL)?;
    let mut all = Vec::new();
    for cluster in &clusters {
        all.extend(functions(cluster)?);
    }
    let mut by_name: BTreeMap<&str, Vec<&Function>> = BTreeMap::new();
    for function in &all {
        by_name.entry(&function.name).or_default().push(function);
    }
    let mut faults = String::new();
    let mut volatile: BTreeSet<&str> = BTreeSet::new();
    let mut known = 0;
    for family in PURE_FUNCTIONS {
        for (name, counts, more) in family.calls() {
            known += 1;
            let overloads = by_name.get(name).map(Vec::as_slice).unwrap_or_default();
            // Each number of arguments is one that some server knows, and no other is left out.
            for count in 0..12 {
                let meant: Vec<_> = overloads.iter().filter(|f| f.takes(count)).collect();
                let listed = counts.contains(&count) || more.is_some_and(|more| count >= more);
                if name == "ts_rewrite" {
                    // With two it runs a text.
                    assert_eq!(listed, count == 3);
                } else if listed == meant.is_empty() {
                    writeln!(faults, "{name} with {count} arguments: listed {listed}")?;
                }
                for function in meant.into_iter().filter(|_| listed) {
                    if function.volatile {
                        volatile.insert(name);
                    }
                    let class = classify_function(Some(&function.schema), name, count);
                    if class != FunctionClass::Pure {
                        writeln!(faults, "{}.{name}/{count}: {class:?}", function.schema)?;
                    }
                    let reaching = REACHING.iter().any(|piece| function.source.contains(piece));
                    let code = function.language == "internal" || function.language == "sql";
                    if function.definer || !code || (reaching && !HARMLESS.contains(&name)) {
                        writeln!(
                            faults,
                            "{name}: {} {} {}",
                            function.language, function.definer, function.source
                        )?;
                    }
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
    let listed: BTreeSet<&str> = VOLATILE.iter().copied().collect();
    assert_eq!(volatile, listed, "volatile, and with a reason");
    let (mut refused, mut unknown) = (0, BTreeSet::new());
    for (name, functions) in &by_name {
        let schema = functions.first().map(|f| f.schema.as_str());
        let classes: BTreeSet<_> = (0..12)
            .map(|count| classify_function(schema, name, count))
            .collect();
        if classes
            .iter()
            .any(|class| matches!(class, FunctionClass::Refused(_)))
        {
            refused += 1;
        } else if classes.iter().all(|class| *class == FunctionClass::Unknown) {
            unknown.insert(*name);
        }
    }
    println!(
        "{known} pure, {refused} refused, {} of no class:",
        unknown.len()
    );
    println!("{}", unknown.into_iter().collect::<Vec<_>>().join(" "));
    Ok(())
}
