//! FROM: what is in scope, and what `*` stands for.

use std::rc::Rc;
use std::sync::Arc;

use pg_query::protobuf as pb;
use pg_query::protobuf::node::Node as N;

use super::scope::{Column, Item, Merges, Name, Order, Table};
use super::{Carried, Rows, Tracer};
use crate::sql::pg::names;

impl Tracer<'_> {
    /// The items of a FROM, put into the innermost level; what `*` stands for.
    pub(super) fn from(&mut self, items: &[pb::Node]) -> Table {
        let mut whole = Table::of(Vec::new(), Order::Text);
        for item in items {
            let table = self.item_of_from(item);
            whole = whole.beside(&table);
        }
        whole
    }

    pub(super) fn item_of_from(&mut self, node: &pb::Node) -> Table {
        if !self.spend(1) {
            return self.nobody_knows();
        }
        match &node.node {
            Some(N::RangeVar(var)) => self.table(var),
            Some(N::JoinExpr(join)) => self.join(join),
            Some(N::RangeSubselect(sub)) => self.subquery(sub),
            Some(N::RangeFunction(function)) => self.function(function),
            Some(N::RangeTableSample(sample)) => {
                let mut table = match sample.relation.as_deref() {
                    Some(relation) => self.item_of_from(relation),
                    None => self.nobody_knows(),
                };
                let chosen = self.all(&sample.args);
                table.decides.add(&chosen);
                let seed = self.optional(sample.repeatable.as_deref());
                table.decides.add(&seed);
                table
            }
            Some(N::RangeTableFunc(xml)) => {
                let mut all = self.all(&xml.namespaces);
                for part in [&xml.docexpr, &xml.rowexpr] {
                    let part = self.optional(part.as_deref());
                    all.add(&part);
                }
                for column in &xml.columns {
                    let carried = match &column.node {
                        Some(N::RangeTableFuncCol(column)) => {
                            let mut carried = self.of_type(column.type_name.as_ref());
                            for part in [&column.colexpr, &column.coldefexpr] {
                                let part = self.optional(part.as_deref());
                                carried.add(&part);
                            }
                            carried
                        }
                        _ => Carried::Unknown,
                    };
                    all.add(&carried);
                }
                self.made_by_call(all, xml.alias.as_ref())
            }
            // What JSON_TABLE is to one server is somebody's function to another.
            _ => self.nobody_knows(),
        }
    }

    /// Something that may have any name, and hold anything.
    fn nobody_knows(&mut self) -> Table {
        let table = Table::unknown();
        self.bring(None, false, None, table.clone());
        table
    }

    pub(super) fn bring(
        &mut self,
        name: Option<&str>,
        own_name: bool,
        relation: Option<Arc<crate::sql::RelationName>>,
        table: Table,
    ) {
        if let Some(level) = self.levels.last_mut() {
            level.items.push(Item {
                name: name.map(Arc::from),
                own_name,
                relation,
                stored: false,
                table: Rc::new(table),
            });
        }
    }

    fn table(&mut self, var: &pb::RangeVar) -> Table {
        let cte = match var.schemaname.is_empty() && var.catalogname.is_empty() {
            true => self.cte_named(&var.relname),
            false => None,
        };
        let (mut table, relation, stored) = match cte {
            Some(table) => (Table::clone(&table), None, false),
            None => {
                let relation = Arc::new(names::relation(var));
                let (table, rows) = self.relation(&relation);
                (table, Some(relation), rows == Some(Rows::Stored))
            }
        };
        if !self.spend(table.columns.iter().flatten().count()) {
            return self.nobody_knows();
        }
        let alias = var.alias.as_ref();
        if let Some(alias) = alias {
            table.rename(&names::texts(&alias.colnames));
        }
        let name = alias.map_or(&var.relname, |alias| &alias.aliasname);
        self.bring(Some(name), alias.is_none(), relation, table.clone());
        self.brought_is_stored(stored);
        table
    }

    /// Says of the last item that it is a table whose columns are known.
    pub(super) fn brought_is_stored(&mut self, stored: bool) {
        let item = self
            .levels
            .last_mut()
            .and_then(|level| level.items.last_mut());
        if let Some(item) = item {
            item.stored = stored;
        }
    }

    fn subquery(&mut self, sub: &pb::RangeSubselect) -> Table {
        // Without LATERAL it sees nothing of what stands beside it.
        let beside = match (sub.lateral, self.levels.last_mut()) {
            (false, Some(level)) => std::mem::take(&mut level.items),
            (true, _) | (_, None) => Vec::new(),
        };
        let mut table = match sub.subquery.as_deref() {
            Some(query) => self.statement(query),
            None => Table::unknown(),
        };
        if let (false, Some(level)) = (sub.lateral, self.levels.last_mut()) {
            level.items = beside;
        }
        if let Some(alias) = &sub.alias {
            table.rename(&names::texts(&alias.colnames));
        }
        let name = sub.alias.as_ref().map(|alias| alias.aliasname.as_str());
        self.bring(name, false, None, table.clone());
        table
    }

    /// Functions in FROM. How many columns they have, the text rarely shows: any may carry all.
    fn function(&mut self, function: &pb::RangeFunction) -> Table {
        let mut all = Carried::nothing();
        let mut defined: Vec<&pb::Node> = function.coldeflist.iter().collect();
        for item in &function.functions {
            let Some(N::List(list)) = &item.node else {
                all = Carried::Unknown;
                continue;
            };
            let Some((call, columns)) = list.items.split_first() else {
                continue;
            };
            let carried = self.expression(call);
            self.add(&mut all, &carried);
            for column in columns {
                match &column.node {
                    Some(N::List(list)) => defined.extend(&list.items),
                    None => {}
                    Some(_) => all = Carried::Unknown,
                }
            }
        }
        for column in defined {
            let carried = match &column.node {
                Some(N::ColumnDef(column)) => self.of_type(column.type_name.as_ref()),
                _ => Carried::Unknown,
            };
            all.add(&carried);
        }
        self.made_by_call(all, function.alias.as_ref())
    }

    fn made_by_call(&mut self, all: Carried, alias: Option<&pb::Alias>) -> Table {
        let table = Table {
            makes: all.clone(),
            decides: all.clone(),
            ..Table::of_all(all)
        };
        let name = alias.map(|alias| alias.aliasname.as_str());
        self.bring(name, false, None, table.clone());
        table
    }

    fn join(&mut self, join: &pb::JoinExpr) -> Table {
        let held = |tracer: &Self| tracer.levels.last().map_or(0, |level| level.items.len());
        let begin = held(self);
        let side = |tracer: &mut Self, node: Option<&pb::Node>| match node {
            Some(node) => tracer.item_of_from(node),
            None => tracer.nobody_knows(),
        };
        let left = side(self, join.larg.as_deref());
        let right = side(self, join.rarg.as_deref());
        if (join.is_natural || !join.using_clause.is_empty())
            && let Some(level) = self.levels.last_mut()
        {
            level.merges = Merges::Yes;
        }
        let condition = self.optional(join.quals.as_deref());
        let (mut whole, merged) = match join.is_natural {
            true => match common(&left, &right) {
                Some(names) => merged(left, &right, &names),
                None => {
                    let whole = left.beside(&right);
                    let all = whole.all.clone();
                    let hidden = Table {
                        columns: None,
                        ..whole
                    };
                    (hidden, Table::of_all(all))
                }
            },
            false => {
                let names: Vec<Arc<str>> = names::texts(&join.using_clause)
                    .into_iter()
                    .map(Arc::from)
                    .collect();
                merged(left, &right, &names)
            }
        };
        whole.decides.add(&condition);
        if let Some(alias) = &join.join_using_alias {
            self.bring(Some(&alias.aliasname), false, None, merged);
        }
        if let Some(alias) = &join.alias {
            // It hides the names inside.
            if let Some(level) = self.levels.last_mut() {
                level.items.truncate(begin);
            }
            whole.rename(&names::texts(&alias.colnames));
            self.bring(Some(&alias.aliasname), false, None, whole.clone());
        }
        whole
    }
}

/// The names that both sides of a NATURAL JOIN have; `None`: that is not sure.
fn common(left: &Table, right: &Table) -> Option<Vec<Arc<str>>> {
    let sure = |table: &Table| -> Option<Vec<Arc<str>>> {
        let columns = table.columns.as_ref()?.iter();
        columns.map(|column| column.name.clone().sure()).collect()
    };
    let right = sure(right)?;
    let mut names = sure(left)?;
    names.retain(|name| right.contains(name));
    Some(names)
}

/// Both sides of a join: first the columns that it merges, then what is left of either. Beside it the
/// merged ones alone.
fn merged(left: Table, right: &Table, names: &[Arc<str>]) -> (Table, Table) {
    let find = |columns: &Option<Vec<Column>>, name: &str| -> Option<Carried> {
        let mut columns = columns.iter().flatten();
        let column = columns.find(|column| column.name.is(name))?;
        Some(column.carried.clone())
    };
    let mut first = Vec::with_capacity(names.len());
    let mut found = true;
    for name in names {
        let both = find(&left.columns, name).zip(find(&right.columns, name));
        let carried = match both {
            Some((left, right)) => left.with(&right),
            None => {
                found = false;
                left.all.clone().with(&right.all)
            }
        };
        first.push(Column {
            name: Name::Sure(name.clone()),
            carried,
        });
    }
    let compared = Table::of(first.clone(), Order::Text);
    let mut whole = left.beside(right);
    whole.decides.add(&compared.all);
    whole.columns = match whole.columns {
        Some(columns) if found => {
            let rest = columns
                .into_iter()
                .filter(|column| !names.iter().any(|name| column.name.is(name)));
            Some(first.into_iter().chain(rest).collect())
        }
        Some(_) | None => None,
    };
    (whole, compared)
}
