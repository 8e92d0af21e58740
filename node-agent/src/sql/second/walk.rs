//! Our own walk of the second parser's tree: an arm for each kind, and none that stands for the rest.
//! What is still to be looked at is kept in a list, so that no text can make the walk recurse.

use sqlparser::ast::{Cte, Expr, ObjectName, ObjectNamePart, Query, SetExpr, TableFactor, With};

use crate::sql::{RelationName, RelationUse, StatementKind, Touch};

/// The longest identifier, bytes: `NAMEDATALEN` - 1. The server cuts longer ones.
const NAME: usize = 63;

/// Why a statement is not worth hearing.
pub(super) const TABLE_COMMAND: &str =
    "the second parser swallows the two words behind TABLE and a name";
const OTHERS: &str = "the second parser reads it as another database's syntax";

/// Names of CTEs and the scope around them.
struct Scope {
    around: Option<usize>,
    names: Vec<String>,
}

/// Something still to be looked at.
pub(super) enum Item<'a> {
    Query(&'a Query),
    Body(&'a SetExpr),
    Expr(&'a Expr),
    Factor(&'a TableFactor),
}

/// What is found in one statement.
pub(super) struct Walk<'a> {
    scopes: Vec<Scope>,
    pub(super) scope: usize,
    pub(super) queue: Vec<(Item<'a>, usize)>,
    pub(super) kinds: Vec<StatementKind>,
    pub(super) relations: Vec<RelationUse>,
    pub(super) missing_where: bool,
    /// Why what it sees is not to be believed.
    pub(super) strange: Option<&'static str>,
}

impl<'a> Walk<'a> {
    pub(super) fn new() -> Self {
        Walk {
            scopes: vec![Scope {
                around: None,
                names: Vec::new(),
            }],
            scope: 0,
            queue: Vec::new(),
            kinds: Vec::new(),
            relations: Vec::new(),
            missing_where: false,
            strange: None,
        }
    }

    /// Looks at everything that is still to be looked at.
    pub(super) fn finish(&mut self) {
        while let Some((item, scope)) = self.queue.pop() {
            self.scope = scope;
            match item {
                Item::Query(query) => self.query_now(query),
                Item::Body(body) => self.body(body),
                Item::Expr(expr) => self.expression(expr),
                Item::Factor(factor) => self.factor_now(factor),
            }
        }
    }

    pub(super) fn kind(&mut self, kind: StatementKind) {
        if !self.kinds.contains(&kind) {
            self.kinds.push(kind);
        }
    }

    pub(super) fn strange(&mut self, why: &'static str) {
        self.strange.get_or_insert(why);
    }

    pub(super) fn others(&mut self) {
        self.strange(OTHERS);
    }

    pub(super) fn touch(&mut self, name: &ObjectName, touch: Touch) {
        match relation(name) {
            Some(relation) => self.relations.push(RelationUse { relation, touch }),
            None => self.others(),
        }
    }

    pub(super) fn query(&mut self, query: &'a Query) {
        self.queue.push((Item::Query(query), self.scope));
    }

    pub(super) fn expr(&mut self, expr: &'a Expr) {
        match expr {
            // Leaves, which are most of what there is.
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) => {}
            _ => self.queue.push((Item::Expr(expr), self.scope)),
        }
    }

    pub(super) fn exprs(&mut self, exprs: impl IntoIterator<Item = &'a Expr>) {
        for expr in exprs {
            self.expr(expr);
        }
    }

    pub(super) fn factor(&mut self, factor: &'a TableFactor) {
        self.queue.push((Item::Factor(factor), self.scope));
    }

    pub(super) fn enter(&mut self, names: Vec<String>) {
        self.scopes.push(Scope {
            around: Some(self.scope),
            names,
        });
        self.scope = self.scopes.len() - 1;
    }

    pub(super) fn is_cte(&self, relation: &RelationName) -> bool {
        if relation.schema.is_some() {
            return false;
        }
        let mut at = Some(self.scope);
        while let Some(scope) = at.and_then(|at| self.scopes.get(at)) {
            if scope.names.contains(&relation.name) {
                return true;
            }
            at = scope.around;
        }
        false
    }

    pub(super) fn with(&mut self, with: Option<&'a With>) {
        let Some(with) = with else { return };
        let name = |cte: &Cte| folded(&cte.alias.name);
        if with.recursive {
            // Every name is visible in every body.
            self.enter(with.cte_tables.iter().map(name).collect());
        }
        for cte in &with.cte_tables {
            self.query(&cte.query);
            if !with.recursive {
                // A name is visible only behind its own body.
                self.enter(vec![name(cte)]);
            }
        }
    }
}

/// A name as the server folds it: lower case unless quoted, cut to its longest.
fn folded(ident: &sqlparser::ast::Ident) -> String {
    let mut name = ident.value.clone();
    if ident.quote_style.is_none() {
        name.make_ascii_lowercase();
    }
    let mut end = name.len().min(NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    name
}

/// The relation a name stands for; none where a part of it is no name.
pub(super) fn relation(name: &ObjectName) -> Option<RelationName> {
    let part = |part: &ObjectNamePart| match part {
        ObjectNamePart::Identifier(ident) => Some(folded(ident)),
        ObjectNamePart::Function(_) => None,
    };
    match name.0.as_slice() {
        [name] => Some(RelationName {
            schema: None,
            name: part(name)?,
        }),
        [.., schema, name] => Some(RelationName {
            schema: Some(part(schema)?),
            name: part(name)?,
        }),
        [] => None,
    }
}
