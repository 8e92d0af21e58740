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
}

impl Code {
    /// One row of `probe::FUNCTIONS`. What does not read counts as what may be called in most ways.
    pub(super) fn function(&mut self, cells: &[Option<&str>]) {
        let [Some(schema), Some(name), least, most, trusted, servers] = cells else {
            return;
        };
        let count = |cell: &Option<&str>| cell.and_then(|cell| cell.parse::<usize>().ok());
        let function = Function {
            schema: (*schema).into(),
            least: count(least).unwrap_or(0),
            most: count(most),
            trusted: *trusted == Some("t"),
            servers: match *servers {
                Some("equal") => Servers::Equal,
                Some("nothing") => Servers::Nothing,
                Some(_) | None => Servers::Name,
            },
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

/// Whether a statement calls anything by a name without a schema.
pub(super) fn calls(facts: &StatementFacts) -> bool {
    !facts.operators.is_empty() || facts.functions.iter().any(|call| call.schema.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code() -> Code {
        let mut code = Code::default();
        for row in [
            ["public", "lower", "1", "1", "f", "name"],
            ["app", "upper", "1", "1", "f", "equal"],
            ["ext", "replace", "3", "3", "t", "name"],
            ["app", "round", "1", "2", "f", "name"],
            ["app", "concat", "1", "-1", "f", "name"],
            ["app", "price", "1", "1", "f", "nothing"],
            ["hr", "price", "1", "1", "f", "nothing"],
        ] {
            code.function(&row.map(Some));
        }
        for row in [
            ["public", "===", "app", "same", "f"],
            ["public", "=", "public", "eq", "t"],
        ] {
            code.operator(&row.map(Some));
        }
        code
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
