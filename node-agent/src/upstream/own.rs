//! What of the owner's a call or an operator without a schema may run, and what changes of one relation
//! change others.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::policy::OwnCall;
use crate::sql::{
    FunctionClass, FunctionUse, RelationName, Scope, StatementFacts, Touch, classify_function,
};

/// What the server itself has by the name of a function of the owner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Servers {
    /// One with the same argument types, found first unless a path says otherwise.
    Equal,
    /// Others of that name.
    Name,
    Nothing,
}

#[derive(Debug)]
struct Function {
    schema: Arc<str>,
    least: usize,
    /// `None`: any number.
    most: Option<usize>,
    /// An extension brought it and says that it writes nothing.
    trusted: bool,
    servers: Servers,
    /// Its first argument may be a row.
    of_rows: bool,
}

#[derive(Debug)]
struct Operator {
    schema: Arc<str>,
    behind: RelationName,
    /// The server has an equal, found first unless a path says otherwise.
    equal: bool,
}

/// Functions and operators that did not come with the server.
#[derive(Debug, Default)]
pub(super) struct Code {
    functions: HashMap<Box<str>, Vec<Function>>,
    operators: HashMap<Box<str>, Vec<Operator>>,
    /// By the type's name: its schema, and what runs when a value of it is made.
    types: HashMap<Box<str>, Vec<(Arc<str>, RelationName)>>,
    /// Names of the server's functions of one argument; empty before they were read.
    of_one: HashSet<Box<str>>,
}

impl Code {
    /// One row of `probe::FUNCTIONS`. What does not read counts as what may be called in most ways.
    pub(super) fn function(&mut self, cells: &[Option<&str>]) {
        let [Some(schema), Some(name), rest @ ..] = cells else {
            return;
        };
        let cell = |at: usize| rest.get(at).copied().flatten();
        let count = |at: usize| cell(at).and_then(|cell| cell.parse::<usize>().ok());
        let function = Function {
            schema: (*schema).into(),
            least: count(0).unwrap_or(0),
            most: count(1),
            trusted: cell(2) == Some("t"),
            servers: match cell(3) {
                Some("equal") => Servers::Equal,
                Some("nothing") => Servers::Nothing,
                Some(_) | None => Servers::Name,
            },
            of_rows: cell(4) != Some("f"),
        };
        let all = self.functions.entry((*name).into()).or_default();
        all.push(function);
    }

    /// One row of `probe::OPERATORS`.
    pub(super) fn operator(&mut self, cells: &[Option<&str>]) {
        let [Some(schema), Some(name), Some(of), Some(function), equal] = cells else {
            return;
        };
        let operator = Operator {
            schema: (*schema).into(),
            behind: RelationName {
                schema: Some((*of).to_owned()),
                name: (*function).to_owned(),
            },
            equal: *equal == Some("t"),
        };
        let all = self.operators.entry((*name).into()).or_default();
        all.push(operator);
    }

    /// One row of `probe::OF_ONE`.
    pub(super) fn of_one(&mut self, cells: &[Option<&str>]) {
        self.of_one
            .extend(cells.iter().flatten().map(|name| Box::from(*name)));
    }

    /// Whether no function of that name takes one argument, in whatever schema, so that behind a dot it
    /// is a column.
    pub(super) fn is_no_function(&self, name: &str) -> bool {
        let takes_one =
            |function: &Function| function.least <= 1 && function.most.is_none_or(|most| most >= 1);
        let own = self.functions.get(name);
        !self.of_one.is_empty()
            && !self.of_one.contains(name)
            && !own.is_some_and(|functions| functions.iter().any(takes_one))
    }

    /// One row of `probe::TYPES`.
    pub(super) fn type_(&mut self, cells: &[Option<&str>]) {
        let [Some(schema), Some(name), Some(of), Some(function)] = cells else {
            return;
        };
        let function = RelationName {
            schema: Some((*of).to_owned()),
            name: (*function).to_owned(),
        };
        let all = self.types.entry((*name).into()).or_default();
        all.push(((*schema).into(), function));
    }

    /// The functions that making a value of a type may run.
    pub(super) fn makes(&self, of: &RelationName, scope: &Scope) -> Vec<RelationName> {
        let named = self.types.get(of.name.as_str()).into_iter().flatten();
        let meant = named.filter(|(schema, _)| match &of.schema {
            Some(written) => **written == **schema,
            None => scope.reaches(schema),
        });
        meant.map(|(_, function)| function.clone()).collect()
    }

    /// The functions that a name behind a dot may call with the row before it.
    pub(super) fn field(&self, name: &str, scope: &Scope) -> Vec<RelationName> {
        let named = self.functions.get(name).into_iter().flatten();
        let meant = named.filter(|function| {
            let one = function.least <= 1 && function.most.is_none_or(|most| most >= 1);
            one && function.of_rows && !function.trusted && scope.reaches(&function.schema)
        });
        let one = |function: &Function| RelationName {
            schema: Some(function.schema.to_string()),
            name: name.to_owned(),
        };
        meant.map(one).collect()
    }

    /// What a call may run, unless that is only what the server has.
    pub(super) fn call(&self, call: &FunctionUse, scope: &Scope) -> Option<OwnCall> {
        if call.schema.is_some() {
            return None;
        }
        let named = self.functions.get(call.name.as_str())?;
        let pure = classify_function(None, &call.name, call.args) == FunctionClass::Pure;
        let fits = |function: &&Function| {
            let fits = function.least <= call.args
                && function.most.is_none_or(|most| call.args <= most)
                && scope.reaches(&function.schema);
            let hidden = function.servers == Servers::Equal && !scope.demoted();
            fits && !(pure && (function.trusted || hidden))
        };
        let mut schemas: Vec<String> = named
            .iter()
            .filter(fits)
            .map(|function| function.schema.to_string())
            .collect();
        schemas.sort_unstable();
        schemas.dedup();
        (!schemas.is_empty()).then(|| OwnCall {
            name: call.name.clone(),
            args: call.args,
            schemas,
            servers: named.iter().any(|f| f.servers != Servers::Nothing),
        })
    }

    /// The functions that an operator may run, of those that did not come with the server.
    pub(super) fn behind(&self, operator: &str, scope: &Scope) -> Vec<RelationName> {
        let named = self.operators.get(operator).into_iter().flatten();
        let mut behind: Vec<RelationName> = named
            .filter(|one| scope.reaches(&one.schema) && (scope.demoted() || !one.equal))
            .map(|one| one.behind.clone())
            .collect();
        behind.dedup();
        behind
    }
}

/// What is changed with a relation, by referential actions and rules.
#[derive(Debug, Default)]
pub(super) struct Changes {
    then: HashMap<(u32, Touch), Vec<(u32, Touch)>>,
}

/// As many relations are followed from one; beyond, a text names more than it can mean.
const MOST: usize = 1 << 12;

impl Changes {
    /// One row of `probe::CHANGES`.
    pub(super) fn row(&mut self, cells: &[Option<&str>]) {
        let [from, how, to, then] = cells else { return };
        let number = |cell: &Option<&str>| cell.and_then(|cell| cell.parse::<u32>().ok());
        let (Some(from), Some(to)) = (number(from), number(to)) else {
            return;
        };
        for how in touches(*how) {
            for then in touches(*then) {
                self.then.entry((from, *how)).or_default().push((to, *then));
            }
        }
    }

    /// Everything that a touch of a relation changes further.
    pub(super) fn from(&self, relation: u32, touch: Touch) -> Vec<(u32, Touch)> {
        let mut seen = HashSet::from([(relation, touch)]);
        let mut left = vec![(relation, touch)];
        let mut all = Vec::new();
        while let Some(from) = left.pop() {
            for next in self.then.get(&from).into_iter().flatten() {
                if seen.len() < MOST && seen.insert(*next) {
                    left.push(*next);
                    all.push(*next);
                }
            }
        }
        all
    }
}

/// What a word of the catalogue stands for; any other, for every change.
fn touches(word: Option<&str>) -> &'static [Touch] {
    match word {
        Some("insert") => &[Touch::Insert],
        Some("update") => &[Touch::Update],
        Some("delete") => &[Touch::Delete],
        Some(_) | None => &[Touch::Insert, Touch::Update, Touch::Delete],
    }
}

/// Whether a statement calls anything by a name without a schema, or may do so by a type or by a name
/// behind a dot.
pub(super) fn calls(facts: &StatementFacts) -> bool {
    !facts.operators.is_empty()
        || !facts.types.is_empty()
        || facts.functions.iter().any(|call| call.schema.is_none())
        || facts.columns.iter().any(|used| !used.qualifier.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code() -> Code {
        let mut code = Code::default();
        for row in [
            ["public", "lower", "1", "1", "f", "name", "f"],
            ["app", "upper", "1", "1", "f", "equal", "f"],
            ["ext", "replace", "3", "3", "t", "name", "f"],
            ["app", "round", "1", "2", "f", "name", "t"],
            ["app", "concat", "1", "-1", "f", "name", "f"],
            ["app", "price", "1", "1", "f", "nothing", "t"],
            ["hr", "price", "1", "1", "f", "nothing", "f"],
        ] {
            code.function(&row.map(Some));
        }
        for row in [
            ["public", "===", "app", "same", "f"],
            ["public", "=", "public", "eq", "t"],
        ] {
            code.operator(&row.map(Some));
        }
        for row in [
            ["app", "trap", "app", "check"],
            ["app", "_trap", "app", "check"],
            ["hr", "trap", "hr", "other"],
        ] {
            code.type_(&row.map(Some));
        }
        code
    }

    #[test]
    fn a_type_and_a_name_behind_a_dot_run_what_the_path_leads_to() {
        let code = code();
        let shown = |found: Vec<RelationName>| -> Vec<String> {
            let one = |f: RelationName| format!("{}.{}", f.schema.unwrap_or_default(), f.name);
            found.into_iter().map(one).collect()
        };
        let named = |schema: Option<&str>, name: &str| RelationName {
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
        };
        for (path, schema, name, wanted) in [
            ("app", None, "trap", vec!["app.check"]),
            ("app", None, "_trap", vec!["app.check"]),
            ("app, hr", None, "trap", vec!["app.check", "hr.other"]),
            ("public", None, "trap", vec![]),
            ("public", Some("hr"), "trap", vec!["hr.other"]),
            ("app", None, "text", vec![]),
        ] {
            let scope = Scope::of_path(path, "svc");
            let found = shown(code.makes(&named(schema, name), &scope));
            assert_eq!(found, wanted, "{schema:?} {name} in {path}");
        }
        for (path, name, wanted) in [
            ("app", "price", vec!["app.price"]),
            ("app", "round", vec!["app.round"]),
            // Of a number, and of none of the path.
            ("hr", "price", vec![]),
            ("public", "price", vec![]),
            ("app", "note", vec![]),
        ] {
            let scope = Scope::of_path(path, "svc");
            assert_eq!(shown(code.field(name, &scope)), wanted, "{name} in {path}");
        }
    }

    fn call(name: &str, args: usize) -> FunctionUse {
        FunctionUse {
            schema: None,
            name: name.to_owned(),
            args,
        }
    }

    #[test]
    fn a_call_may_run_what_the_path_leads_to_and_the_arguments_fit() {
        let code = code();
        for (path, name, args, wanted) in [
            ("public", "lower", 1, Some(vec!["public"])),
            ("public", "lower", 2, None),
            ("app", "lower", 1, None),
            ("public, app", "upper", 1, None),
            ("app, pg_catalog", "upper", 1, Some(vec!["app"])),
            ("ext", "replace", 3, None),
            ("app", "round", 2, Some(vec!["app"])),
            ("app", "round", 3, None),
            ("app", "concat", 9, Some(vec!["app"])),
            ("app", "price", 1, Some(vec!["app"])),
            ("app, hr", "price", 1, Some(vec!["app", "hr"])),
        ] {
            let scope = Scope::of_path(path, "svc");
            let found = code.call(&call(name, args), &scope);
            let found = found.as_ref().map(|call| {
                let schemas = call.schemas.iter();
                schemas.map(String::as_str).collect::<Vec<_>>()
            });
            assert_eq!(found, wanted, "{name}/{args} in {path}");
        }
        // Where nobody knows the path, it may lead anywhere, and to anything first.
        let unknown = Scope::unknown();
        assert!(code.call(&call("upper", 1), &unknown).is_some());
        assert!(
            code.call(&call("price", 1), &unknown)
                .unwrap()
                .schemas
                .len()
                == 2
        );
        let mut qualified = call("lower", 1);
        qualified.schema = Some("pg_catalog".to_owned());
        assert_eq!(code.call(&qualified, &unknown), None);
    }

    #[test]
    fn an_operator_runs_what_is_behind_it() {
        let code = code();
        let public = Scope::of_path("public", "svc");
        assert_eq!(code.behind("===", &public).len(), 1);
        assert_eq!(code.behind("===", &Scope::of_path("app", "svc")), []);
        assert_eq!(code.behind("=", &public), []);
        assert_eq!(
            code.behind("=", &Scope::of_path("public, pg_catalog", "svc"))
                .len(),
            1
        );
        assert_eq!(code.behind("+", &public), []);
    }

    #[test]
    fn a_name_is_no_function_where_nobody_has_one_of_one_argument() {
        let mut code = code();
        // Before the server's are known, anything may be one.
        assert!(!code.is_no_function("note"));
        code.of_one(&[Some("upper")]);
        for (name, wanted) in [
            ("note", true),
            ("upper", false),
            ("price", false),
            ("concat", false),
            ("round", false),
            ("replace", true),
        ] {
            assert_eq!(code.is_no_function(name), wanted, "{name}");
        }
    }

    #[test]
    fn a_change_is_followed_to_its_end() {
        let mut changes = Changes::default();
        for row in [
            ["1", "delete", "2", "delete"],
            ["2", "delete", "3", "update"],
            ["3", "update", "1", "update"],
            ["2", "update", "4", "update"],
            ["5", "insert", "6", "*"],
        ] {
            changes.row(&row.map(Some));
        }
        let from = |relation, touch| changes.from(relation, touch);
        let wanted = [(2, Touch::Delete), (3, Touch::Update), (1, Touch::Update)];
        assert_eq!(from(1, Touch::Delete), wanted);
        assert_eq!(from(1, Touch::Insert), []);
        assert_eq!(from(5, Touch::Insert).len(), 3);
    }
}
