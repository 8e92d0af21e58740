//! Which functions a statement may call without anybody vouching for them.
//!
//! *Pure* here means: a built-in that reads nothing but its arguments, the clock, the session and
//! the shape of the catalogue; it writes nothing, waits for nothing, runs no text (`pure.rs`).
//! *Refused* are those that take SQL text, or touch files, the network, locks, other sessions: only
//! a policy whose functions are `*` reaches them (`refused.rs`). Everything else, an application's
//! own functions too, must be named by a policy.
//!
//! A function of the application's with the name of a built-in, and as many arguments of types that fit
//! it better, is called in its place wherever it stands in the search path. Which there are, the
//! catalogue knows: `policy::ResolvedNames` says so, and policy wants them vouched for.

use std::collections::HashMap;
use std::sync::LazyLock;

mod pure;
mod refused;

pub use pure::{Family, PURE};

use pure::INFORMATION_SCHEMA;
use refused::REFUSED;

/// What is known of a function by its name and the number of its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FunctionClass {
    /// Any statement that is otherwise allowed may call it.
    Pure,
    /// Must be named by a policy.
    Unknown,
    /// Must be allowed by `*`, with the reason.
    Refused(&'static str),
}

/// A pure name.
struct Known {
    family: &'static str,
    schema: &'static str,
    counts: &'static [usize],
    more: Option<usize>,
}

static KNOWN: LazyLock<HashMap<&'static str, Known>> = LazyLock::new(|| {
    let known = PURE.iter().flat_map(|family| {
        let schema = if family.of == INFORMATION_SCHEMA {
            "information_schema"
        } else {
            "pg_catalog"
        };
        let known = move |(name, counts, more)| {
            (
                name,
                Known {
                    family: family.of,
                    schema,
                    counts,
                    more,
                },
            )
        };
        family.calls().map(known)
    });
    known.collect()
});

static REASONS: LazyLock<HashMap<&'static str, &'static str>> = LazyLock::new(|| {
    let families = REFUSED.iter();
    families
        .flat_map(|(reason, names)| names.iter().map(|name| (*name, *reason)))
        .collect()
});

/// Families whose results are not made of their arguments alone: of the session, of the shape and
/// the rights of what is there.
const OF_OTHER_THINGS: &[&str] = &[
    "the session and the server",
    "locks of the session's own, given back",
    "numbers of transactions",
    "definitions, as tools ask for them",
    "rights",
    "sizes",
    INFORMATION_SCHEMA,
];

/// Whether a call is pure and its result made of nothing but its arguments, the clock and chance: it
/// carries what these carry.
pub(crate) fn is_of_arguments(schema: Option<&str>, name: &str, args: usize) -> bool {
    classify_function(schema, name, args) == FunctionClass::Pure
        && KNOWN
            .get(name)
            .is_some_and(|known| !OF_OTHER_THINGS.contains(&known.family))
}

/// Looks a call up, its name as the server folded it. Without a schema a name is looked for where
/// the server looks first, in `pg_catalog`; any other schema makes it unknown, except that the
/// refused names stay refused wherever an extension put them.
pub fn classify_function(schema: Option<&str>, name: &str, args: usize) -> FunctionClass {
    if let Some(known) = KNOWN.get(name)
        && known.schema == schema.unwrap_or("pg_catalog")
        && (known.counts.contains(&args) || known.more.is_some_and(|more| args >= more))
    {
        return FunctionClass::Pure;
    }
    match REASONS.get(name) {
        Some(reason) => FunctionClass::Refused(reason),
        None => FunctionClass::Unknown,
    }
}

/// Functions of the server's that no family vouches for, and that change no setting whatever they are
/// given: what a session's names stand for is as clear behind them as before.
pub(crate) fn leaves_settings(schema: Option<&str>, name: &str) -> bool {
    #[rustfmt::skip]
    const LEAVING: &[&str] = &[
        "currval", "lastval", "nextval", "pg_advisory_lock", "pg_advisory_unlock",
        "pg_advisory_unlock_all", "pg_advisory_xact_lock", "pg_notify", "pg_sleep",
        "pg_try_advisory_lock", "pg_try_advisory_xact_lock", "setval",
    ];
    matches!(schema, None | Some("pg_catalog")) && LEAVING.binary_search(&name).is_ok()
}

/// Functions whose result is made from a whole row when they are called as `row.function`: under
/// a mask, such a name used as a column stands for the row.
pub(crate) const ROW_READERS: &[&str] = &[
    "array_agg",
    "concat",
    "concat_ws",
    "count",
    "format",
    "hash_record",
    "hash_record_extended",
    "json_agg",
    "json_build_array",
    "json_build_object",
    "jsonb_agg",
    "jsonb_build_array",
    "jsonb_build_object",
    "num_nonnulls",
    "num_nulls",
    "pg_column_size",
    "quote_literal",
    "quote_nullable",
    "record_out",
    "record_send",
    "row_to_json",
    "to_json",
    "to_jsonb",
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_name_stands_on_one_list_once() {
        let mut seen = HashSet::new();
        for family in PURE {
            for (name, counts, more) in family.calls() {
                assert!(seen.insert(name), "{name} stands in two families");
                assert!(!counts.is_empty() || more.is_some(), "{name}");
                // Three arguments make it pure, two a text that runs.
                assert!(
                    name == "ts_rewrite" || !REASONS.contains_key(name),
                    "{name}"
                );
            }
        }
        let refused: usize = REFUSED.iter().map(|(_, names)| names.len()).sum();
        assert_eq!(refused, REASONS.len());
    }

    #[test]
    fn the_families_of_other_things_exist_and_are_left_out() {
        for other in OF_OTHER_THINGS {
            assert!(PURE.iter().any(|family| family.of == *other), "{other}");
        }
        for (name, args, is) in [
            ("upper", 1, true),
            ("count", 0, true),
            ("now", 0, true),
            ("currval", 1, false),
            ("current_setting", 1, false),
            ("pg_get_viewdef", 1, false),
            ("query_to_xml", 4, false),
            ("price", 1, false),
        ] {
            assert_eq!(is_of_arguments(None, name, args), is, "{name}");
        }
    }

    #[test]
    fn a_name_is_pure_only_in_its_schema_and_with_its_number_of_arguments() {
        use FunctionClass as C;
        for (schema, name, args, class) in [
            (None, "lower", 1, C::Pure),
            (None, "lower", 2, C::Unknown),
            (None, "lower", 0, C::Unknown),
            (Some("pg_catalog"), "lower", 1, C::Pure),
            (Some("app"), "lower", 1, C::Unknown),
            (Some("information_schema"), "lower", 1, C::Unknown),
            (Some("information_schema"), "_pg_expandarray", 1, C::Pure),
            (None, "_pg_expandarray", 1, C::Unknown),
            (None, "count", 0, C::Pure),
            (None, "count", 1, C::Pure),
            (None, "concat", 1, C::Pure),
            (None, "concat", 30, C::Pure),
            (None, "concat", 0, C::Unknown),
            (None, "percentile_cont", 1, C::Pure),
            (None, "rank", 0, C::Pure),
            (None, "ts_rewrite", 3, C::Pure),
            (None, "price", 1, C::Unknown),
            (None, "nextval", 1, C::Unknown),
            // No server has it: it would be somebody's own.
            (None, "ilike", 2, C::Unknown),
        ] {
            assert_eq!(
                classify_function(schema, name, args),
                class,
                "{schema:?}.{name}/{args}"
            );
        }
        for name in [
            "pg_read_file",
            "dblink",
            "query_to_xml",
            "pg_sleep",
            "set_config",
            "lo_get",
        ] {
            for schema in [None, Some("x")] {
                assert!(
                    matches!(classify_function(schema, name, 1), C::Refused(_)),
                    "{name}"
                );
            }
        }
        assert!(matches!(
            classify_function(None, "ts_rewrite", 2),
            C::Refused(_)
        ));
    }
}
