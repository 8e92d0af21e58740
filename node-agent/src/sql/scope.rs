//! Pure. Where a session's unqualified names may be looked for: all schemas that its search_path may
//! have led to, from login until now.
//!
//! A scope only grows. A SET may be undone by a ROLLBACK, be local to a transaction, or not be answered yet when
//! the next statement is judged; a cursor lives on under the path it was made with. All of that
//! needs no following when every path that may have been in force counts.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{Analysis, Effect, FunctionClass, StatementFacts, StatementKind, Sureness, Touch};
use super::{classify_function, functions};

/// The schema of temporary relations, as statements name it.
pub const TEMPORARY: &str = "pg_temp";

/// The server's own schema, which is looked in first unless a path says otherwise.
const SERVERS: &str = "pg_catalog";

/// PostgreSQL cuts longer names, which two readers could do differently.
const LONGEST: usize = 63;

/// Names of relations that a session made which are remembered.
const MOST_MADE: usize = 1024;

/// Schemas that names may be looked for in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// `None`: nobody knows, so all of them.
    schemas: Option<BTreeSet<String>>,
    /// In order, while it was only ever one path.
    only: Option<Vec<String>>,
    /// `pg_catalog` may come behind another schema.
    demoted: bool,
    /// The session may have temporary relations.
    temporary: bool,
    /// Temporary relations that statements of the session have made, committed or not.
    made: BTreeSet<String>,
    /// Others that it has made by an unqualified name.
    created: BTreeSet<String>,
    role: String,
    version: u64,
}

impl Scope {
    /// That of a session whose path nobody knows.
    pub fn unknown() -> Self {
        Scope {
            schemas: None,
            only: None,
            demoted: true,
            temporary: false,
            made: BTreeSet::new(),
            created: BTreeSet::new(),
            role: String::new(),
            version: 0,
        }
    }

    /// That of a session that begins with this `search_path`, as this role. A value that does not read
    /// as a path makes it unknown.
    pub fn of_path(value: &str, role: &str) -> Self {
        let mut scope = Scope {
            schemas: Some(BTreeSet::new()),
            demoted: false,
            role: role.to_owned(),
            ..Scope::unknown()
        };
        scope.add_path(value);
        scope.only = split(value).map(|path| scope.read(path));
        scope.version = 0;
        scope
    }

    /// Differs whenever the scope does.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether an unqualified name may stand for something in this schema.
    pub fn reaches(&self, schema: &str) -> bool {
        let Some(schemas) = &self.schemas else {
            return true;
        };
        schema == SERVERS || schemas.contains(schema)
    }

    /// The schemas, unless nobody knows them; that of temporary relations left out.
    pub fn schemas(&self) -> Option<impl Iterator<Item = &str>> {
        let schemas = self.schemas.as_ref()?;
        Some(
            schemas
                .iter()
                .map(String::as_str)
                .filter(|schema| *schema != TEMPORARY),
        )
    }

    /// The path in its order, while there was only ever one: new relations are made in its first schema
    /// that is there.
    pub fn only(&self) -> Option<&[String]> {
        self.only.as_deref()
    }

    /// Whether a path may make relations temporary without the word.
    pub fn makes_temporary(&self) -> bool {
        let schemas = self.schemas.as_ref();
        schemas.is_none_or(|schemas| schemas.contains(TEMPORARY))
    }

    /// Whether a statement of the session made a relation of this name, without a schema.
    pub fn created(&self, name: &str) -> bool {
        self.created.contains(name)
    }

    /// Whether something may be found before the server's own of the same name and types.
    pub fn demoted(&self) -> bool {
        self.demoted
    }

    /// Whether the session may have temporary relations.
    pub fn temporary(&self) -> bool {
        self.temporary
    }

    /// Whether a statement of the session made a temporary relation of this name.
    pub fn made(&self, name: &str) -> bool {
        self.made.contains(name)
    }

    /// The scope in which the names of a text are to be judged: what its own earlier statements do
    /// counts too.
    pub fn within(&self, analysis: &Analysis) -> Cow<'_, Scope> {
        let mut scope = Cow::Borrowed(self);
        let Some((_, before)) = analysis.statements.split_last() else {
            return scope;
        };
        // One statement's names are resolved before it runs.
        if before.iter().any(|facts| may_change(facts, &[])) {
            let widened = scope.to_mut();
            for facts in before {
                widened.grow_by(facts, &[]);
            }
        }
        scope
    }

    /// A text is about to run: whatever it may do to the path counts from now on. `columns`: of the names
    /// in it that stand behind a dot, those that are known to call nothing.
    pub fn grow(&mut self, analysis: &Analysis, columns: &[String]) {
        if analysis.sureness != Sureness::Complete {
            self.forget();
        }
        for facts in &analysis.statements {
            if may_change(facts, columns) {
                self.grow_by(facts, columns);
            }
        }
    }

    /// The server itself said that this is its path.
    pub fn told(&mut self, value: &str) {
        self.add_path(value);
    }

    fn grow_by(&mut self, facts: &StatementFacts, columns: &[String]) {
        if in_doubt(facts, columns) {
            self.forget();
        }
        let mut defines = false;
        for effect in &facts.effects {
            match effect {
                // A value that is no literal comes with a call, which is in doubt by itself; a default
                // is what the session began with.
                Effect::Sets { setting, value, .. } if setting == "search_path" => {
                    if let Some(value) = value {
                        self.add_path(value);
                    }
                }
                Effect::Defines => defines = true,
                Effect::Sets { .. }
                | Effect::Prepares { .. }
                | Effect::Declares { .. }
                | Effect::Executes(_)
                | Effect::Fetches(_)
                | Effect::Deallocates(_)
                | Effect::Closes(_)
                | Effect::ForgetsNames => {}
            }
        }
        if !defines {
            return;
        }
        let by_path = self.makes_temporary();
        let creates = facts.kinds.contains(&StatementKind::Create);
        for used in facts.relations.iter().filter(|r| r.touch == Touch::Define) {
            let temporary = match used.relation.schema.as_deref() {
                Some(schema) => schema.starts_with(TEMPORARY),
                None => by_path,
            };
            let name = || used.relation.name.clone();
            if temporary {
                self.change(|scope| {
                    scope.temporary = true;
                    scope.made.insert(name());
                });
            }
            if creates && used.relation.schema.is_none() && self.only.is_some() {
                self.change(|scope| {
                    scope.created.insert(name());
                });
            }
            // More than is worth remembering: names may be among those that are forgotten.
            if self.made.len() + self.created.len() > MOST_MADE {
                self.made.clear();
                self.forget();
            }
        }
    }

    /// From now on a name may stand for anything.
    fn forget(&mut self) {
        self.change(|scope| {
            scope.schemas = None;
            scope.only = None;
            scope.created.clear();
            scope.demoted = true;
            scope.temporary = true;
        });
    }

    fn add_path(&mut self, value: &str) {
        let Some(path) = split(value) else {
            self.forget();
            return;
        };
        self.change(|scope| {
            let catalogue = path.iter().position(|schema| schema == SERVERS);
            // pg_temp holds relations and types alone: a function is never looked for in it.
            let first = path.iter().position(|schema| schema != TEMPORARY);
            scope.demoted |= catalogue.is_some() && catalogue != first;
            let path = scope.read(path);
            if scope.only.as_ref().is_some_and(|only| *only != path) {
                scope.only = None;
                scope.created.clear();
            }
            if let Some(schemas) = &mut scope.schemas {
                schemas.extend(path);
            }
        });
    }

    /// A path with the role in place of `"$user"`.
    fn read(&self, path: Vec<String>) -> Vec<String> {
        let role = |schema: String| match schema.as_str() {
            "$user" => self.role.clone(),
            _ => schema,
        };
        path.into_iter().map(role).collect()
    }

    fn change(&mut self, change: impl FnOnce(&mut Scope)) {
        let before = self.clone();
        change(self);
        if *self != before {
            self.version += 1;
        }
    }
}

/// Whether a statement may do anything to a scope: the quick look at most statements.
fn may_change(facts: &StatementFacts, columns: &[String]) -> bool {
    let setting_or_definition = |effect: &Effect| match effect {
        Effect::Sets { setting, .. } => setting == "search_path",
        Effect::Defines => true,
        Effect::Prepares { .. }
        | Effect::Declares { .. }
        | Effect::Executes(_)
        | Effect::Fetches(_)
        | Effect::Deallocates(_)
        | Effect::Closes(_)
        | Effect::ForgetsNames => false,
    };
    facts.effects.iter().any(setting_or_definition) || in_doubt(facts, columns)
}

/// Whether it may run code that sets a path, or become somebody else (`"$user"`).
fn in_doubt(facts: &StatementFacts, columns: &[String]) -> bool {
    let code = |kind: &StatementKind| {
        matches!(
            kind,
            StatementKind::Do
                | StatementKind::Call
                | StatementKind::SetIdentity
                | StatementKind::Opaque
        )
    };
    facts.kinds.iter().any(code)
        || facts.functions.iter().any(|function| {
            let schema = function.schema.as_deref();
            !facts.is_a_column(function, columns)
                && classify_function(schema, &function.name, function.args) != FunctionClass::Pure
                && !functions::leaves_settings(schema, &function.name)
        })
}

/// Whether a text may change settings of its session: it says so, or runs code that nobody here has read.
/// `columns`: of the names in it that stand behind a dot, those that are known to call nothing.
pub fn may_set(analysis: &Analysis, columns: &[String]) -> bool {
    let sets = |kind: &StatementKind| matches!(kind, StatementKind::Set | StatementKind::Discard);
    analysis.sureness != Sureness::Complete
        || analysis
            .statements
            .iter()
            .any(|facts| in_doubt(facts, columns) || facts.kinds.iter().any(sets))
}

/// The schemas of a `search_path`, as `SplitIdentifierString` reads it.
fn split(value: &str) -> Option<Vec<String>> {
    // White space to some versions, part of a name to others.
    if value.contains('\x0b') {
        return None;
    }
    let space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c');
    let mut rest = value.trim_start_matches(space);
    let mut path = Vec::new();
    if rest.is_empty() {
        return Some(path);
    }
    loop {
        let name;
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut read = String::new();
            let mut left = quoted;
            loop {
                let (before, behind) = left.split_once('"')?;
                read.push_str(before);
                match behind.strip_prefix('"') {
                    Some(more) => {
                        read.push('"');
                        left = more;
                    }
                    None => {
                        rest = behind;
                        break;
                    }
                }
            }
            name = read;
        } else {
            let end = rest.find(|c| c == ',' || space(c)).unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            if word.is_empty() {
                return None;
            }
            rest = behind;
            name = word.to_ascii_lowercase();
        }
        if name.len() > LONGEST {
            return None;
        }
        path.push(name);
        rest = rest.trim_start_matches(space);
        if rest.is_empty() {
            return Some(path);
        }
        rest = rest.strip_prefix(',')?.trim_start_matches(space);
    }
}

/// A name as an element of a `search_path`.
pub(super) fn quoted_if_needed(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !name.is_empty() && name.chars().all(plain) {
        return name.to_owned();
    }
    quoted(name)
}

/// A name as the server takes it, whatever is in it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::super::analyze;
    use super::*;
    use crate::model::Dialect;

    fn of(text: &str) -> Analysis {
        analyze(Dialect::Postgres, text)
    }

    fn schemas(scope: &Scope) -> Option<Vec<&str>> {
        scope.schemas().map(Iterator::collect)
    }

    #[test]
    fn a_path_is_read_as_the_server_reads_it() {
        for (value, expected) in [
            ("", Some(vec![])),
            ("public", Some(vec!["public"])),
            ("\"$user\", public", Some(vec!["$user", "public"])),
            (" A ,\tB", Some(vec!["a", "b"])),
            (
                "\"My \"\"Own\"\" Schema\",x",
                Some(vec!["My \"Own\" Schema", "x"]),
            ),
            ("\"\"", Some(vec![""])),
            ("a,,b", None),
            ("a b", None),
            ("a,", None),
            ("\"a", None),
            ("\x0ba", None),
            (&"x".repeat(64), None),
        ] {
            let expected: Option<Vec<String>> =
                expected.map(|path| path.into_iter().map(str::to_owned).collect());
            assert_eq!(split(value), expected, "{value}");
        }
        for name in ["a", "A b", "x\"y", "$user", "", "ä"] {
            assert_eq!(split(&quoted_if_needed(name)), Some(vec![name.to_owned()]));
        }
    }

    #[test]
    fn a_scope_holds_every_path_that_may_have_been_in_force() {
        let start = || Scope::of_path("\"$user\", public", "svc");
        assert_eq!(schemas(&start()), Some(vec!["public", "svc"]));
        assert!(start().reaches("pg_catalog") && !start().reaches("hr"));
        for (text, expected) in [
            ("select 1", Some("")),
            ("select lower(a) from t; begin; rollback", Some("")),
            ("set search_path = hr", Some("hr")),
            (
                "set search_path to hr, \"Top, Secret\"",
                Some("Top, Secret hr"),
            ),
            ("set local search_path = hr", Some("hr")),
            ("set schema 'hr'", Some("hr")),
            (
                "select set_config('search_path', 'a, b', true)",
                Some("a b"),
            ),
            ("begin; set search_path = hr; rollback", Some("hr")),
            ("reset search_path", Some("")),
            ("set search_path to default", Some("")),
            ("reset all", Some("")),
            ("discard all", Some("")),
            ("select nextval('s')", Some("")),
            ("select set_config('search_path', a, true) from t", None),
            ("select set_config(a, 'b', true) from t", None),
            ("update pg_settings set setting = 'hr'", None),
            ("select app.mine()", None),
            ("select OPERATOR(app.+) 1", None),
            ("do 'begin end'", None),
            ("call app.mine()", None),
            ("set role other", None),
            ("set session authorization other", None),
            ("select (1", None),
        ] {
            let mut scope = start();
            scope.grow(&of(text), &[]);
            let mut wanted = vec!["public", "svc"];
            let expected = expected.map(|more| {
                match more {
                    "Top, Secret hr" => wanted.extend(["Top, Secret", "hr"]),
                    more => wanted.extend(more.split_whitespace()),
                }
                wanted.sort_unstable();
                wanted
            });
            assert_eq!(schemas(&scope), expected, "{text}");
            assert_eq!(scope.version() == 0, scope == start(), "{text}");
        }
    }

    #[test]
    fn the_statements_of_a_text_are_judged_behind_those_before_them() {
        let scope = Scope::of_path("public", "svc");
        for (text, same) in [
            ("select 1 from t", true),
            ("select app.mine() from t", true),
            ("set search_path = hr", true),
            ("set search_path = hr; select 1 from t", false),
            ("select app.mine(); select 1 from t", false),
            ("create temp table t (); select 1 from t", false),
        ] {
            let within = scope.within(&of(text));
            assert_eq!(matches!(within, Cow::Borrowed(_)), same, "{text}");
        }
    }

    #[test]
    fn temporary_relations_are_known_by_whoever_may_have_made_them() {
        for (path, text, temporary, made) in [
            ("public", "create table t ()", false, false),
            ("public", "create temp table t ()", true, true),
            ("public", "select 1 as a into temp t", true, true),
            ("public", "create temp view t as select 1", true, true),
            ("public", "create table pg_temp.t ()", true, true),
            ("pg_temp, public", "create table t ()", true, true),
            ("public", "do 'begin end'", true, false),
            ("public", "insert into t values (1)", false, false),
        ] {
            let mut scope = Scope::of_path(path, "svc");
            scope.grow(&of(text), &[]);
            assert_eq!(scope.temporary(), temporary, "{text}");
            assert_eq!(scope.made("t"), made, "{text}");
        }
    }

    #[test]
    fn a_path_that_puts_the_servers_own_schema_behind_is_noted() {
        for (path, demoted) in [
            ("public", false),
            ("pg_catalog, public", false),
            ("pg_temp, pg_catalog", false),
            ("public, pg_catalog", true),
            ("", false),
            ("a b", true),
        ] {
            assert_eq!(Scope::of_path(path, "svc").demoted(), demoted, "{path}");
        }
    }
}
