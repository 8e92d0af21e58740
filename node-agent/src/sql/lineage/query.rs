//! SELECT, VALUES, set operations and CTEs.

use std::rc::Rc;
use std::sync::Arc;

use pg_query::protobuf as pb;
use pg_query::protobuf::node::Node as N;

use super::scope::{Column, Ctes, Level, Name, Order, Table};
use super::{Carried, Tracer};
use crate::sql::pg::names;

/// How often the bodies of a WITH RECURSIVE are gone through. Each time a value comes at least one
/// column further.
const ROUNDS: usize = 16;

impl Tracer<'_> {
    /// A statement that may return rows. Of all other kinds nobody says what they return.
    pub(super) fn statement(&mut self, node: &pb::Node) -> Table {
        if !self.spend(1) {
            return Table::unknown();
        }
        match &node.node {
            Some(N::SelectStmt(select)) => self.select(select),
            Some(N::InsertStmt(insert)) => self.insert(insert),
            Some(N::UpdateStmt(update)) => self.update(update),
            Some(N::DeleteStmt(delete)) => self.delete(delete),
            Some(N::MergeStmt(merge)) => self.merge(merge),
            _ => Table::unknown(),
        }
    }

    /// The rows of `COPY … TO`, as a query for the same would return them.
    pub(super) fn copied(&mut self, copy: &pb::CopyStmt) -> Table {
        let (var, listed) = match (copy.is_from, copy.query.as_deref(), &copy.relation) {
            (false, Some(query), None) => return self.statement(query),
            (false, None, Some(var)) => (var, names::texts(&copy.attlist)),
            _ => return Table::unknown(),
        };
        let (table, _) = self.relation(&Arc::new(names::relation(var)));
        let Some(columns) = table.columns else {
            return Table::unknown();
        };
        if listed.is_empty() {
            // All but those that are generated.
            return Table::of_all(table.all);
        }
        let listed = listed.into_iter().map(|name| {
            let mut columns = columns.iter();
            columns.find(|column| column.name.is(name)).cloned()
        });
        match listed.collect() {
            Some(columns) => Table::of(columns, Order::Text),
            None => Table::unknown(),
        }
    }

    pub(super) fn select(&mut self, select: &pb::SelectStmt) -> Table {
        // SELECT INTO returns nothing.
        if select.into_clause.is_some() || !self.spend(1) {
            return Table::unknown();
        }
        self.within(select.with_clause.as_ref(), |tracer| {
            let mut table = match (&select.larg, &select.rarg) {
                (Some(left), Some(right)) => {
                    let left = tracer.select(left);
                    let right = tracer.select(right);
                    combined(left, &right)
                }
                (None, None) if !select.values_lists.is_empty() => {
                    tracer.values(&select.values_lists)
                }
                (None, None) => tracer.plain(select),
                (Some(_), None) | (None, Some(_)) => Table::unknown(),
            };
            for limit in [&select.limit_offset, &select.limit_count] {
                let limit = tracer.optional(limit.as_deref());
                table.decides.add(&limit);
            }
            table
        })
    }

    /// Runs `trace` with the CTEs of a WITH.
    pub(super) fn within(
        &mut self,
        with: Option<&pb::WithClause>,
        trace: impl FnOnce(&mut Self) -> Table,
    ) -> Table {
        self.ctes.push(Ctes::new());
        if let Some(with) = with {
            if with.recursive {
                self.recursive(with);
            } else {
                for cte in &with.ctes {
                    let made = self.cte(cte);
                    if let (Some(made), Some(ctes)) = (made, self.ctes.last_mut()) {
                        ctes.push(made);
                    }
                }
            }
        }
        let table = trace(self);
        self.ctes.pop();
        table
    }

    /// Bodies that see each other and themselves: gone through until nothing new comes of it. Where it
    /// ends, what each body carries is what the others were taken to carry, and that covers what
    /// they do carry.
    fn recursive(&mut self, with: &pb::WithClause) {
        let cte = |node: &pb::Node| match &node.node {
            Some(N::CommonTableExpr(cte)) => Some(cte.ctename.clone()),
            _ => None,
        };
        let names: Vec<String> = with.ctes.iter().filter_map(cte).collect();
        let all = |table: Table| -> Ctes {
            let table = Rc::new(table);
            names
                .iter()
                .map(|name| (name.clone(), table.clone()))
                .collect()
        };
        self.assume(all(Table::of_all(Carried::nothing())));
        for _ in 0..ROUNDS {
            let mut made = Ctes::new();
            for node in &with.ctes {
                match self.cte(node) {
                    Some(cte) => made.push(cte),
                    None => break,
                }
            }
            if self.left == 0 || made.len() != with.ctes.len() {
                break;
            }
            if self.ctes.last() == Some(&made) {
                return;
            }
            self.assume(made);
        }
        self.assume(all(Table::unknown()));
    }

    fn assume(&mut self, ctes: Ctes) {
        if let Some(last) = self.ctes.last_mut() {
            *last = ctes;
        }
    }

    fn cte(&mut self, node: &pb::Node) -> Option<(String, Rc<Table>)> {
        let Some(N::CommonTableExpr(cte)) = &node.node else {
            return None;
        };
        let mut table = match cte.ctequery.as_deref() {
            Some(query) => self.statement(query),
            None => Table::unknown(),
        };
        table.rename(&names::texts(&cte.aliascolnames));
        if cte.search_clause.is_some() || cte.cycle_clause.is_some() {
            // They add columns that are made of others.
            table.columns = None;
            // Where the values of some columns come again, there are no more rows.
            let all = table.all.clone();
            table.makes.add(&all);
            table.decides.add(&all);
            if let Some(cycle) = &cte.cycle_clause {
                for value in [&cycle.cycle_mark_value, &cycle.cycle_mark_default] {
                    let value = self.optional(value.as_deref());
                    table.all.add(&value);
                }
            }
        }
        Some((cte.ctename.clone(), Rc::new(table)))
    }

    fn values(&mut self, lists: &[pb::Node]) -> Table {
        let mut columns: Option<Vec<Column>> = None;
        for list in lists {
            let Some(N::List(list)) = &list.node else {
                return Table::unknown();
            };
            let row: Vec<Carried> = list
                .items
                .iter()
                .map(|item| self.expression(item))
                .collect();
            match &mut columns {
                None => {
                    let numbered = (1..).zip(row).map(|(number, carried): (usize, _)| Column {
                        name: Name::Sure(format!("column{number}").into()),
                        carried,
                    });
                    columns = Some(numbered.collect());
                }
                Some(columns) if columns.len() == row.len() => {
                    for (column, more) in columns.iter_mut().zip(row) {
                        column.carried.add(&more);
                    }
                }
                // The server refuses it.
                Some(_) => return Table::unknown(),
            }
        }
        match columns {
            Some(columns) => Table::of(columns, Order::Text),
            None => Table::unknown(),
        }
    }

    fn plain(&mut self, select: &pb::SelectStmt) -> Table {
        self.levels.push(Level::empty());
        let from = self.from(&select.from_clause);
        let windows = self.all(&select.window_clause);
        if let Some(level) = self.levels.last_mut() {
            level.windows = windows;
            level.makes = from.makes.clone();
        }
        let mut table = self.targets(&select.target_list, &from);
        table.makes.add(&from.makes);
        table.decides.add(&from.decides);
        table.decides.add(&from.makes);
        for condition in [&select.where_clause, &select.having_clause] {
            let condition = self.optional(condition.as_deref());
            table.decides.add(&condition);
        }
        self.levels.pop();
        table
    }

    /// A select list, or that of RETURNING: `star` is what `*` stands for.
    pub(super) fn targets(&mut self, targets: &[pb::Node], star: &Table) -> Table {
        let mut columns = Some(Vec::with_capacity(targets.len()));
        let mut order = Order::Text;
        let mut all = Carried::nothing();
        let mut decides = Carried::nothing();
        let mut makes = Carried::nothing();
        for target in targets {
            let (spread, value) = match &target.node {
                Some(N::ResTarget(target)) => (self.spread(target, star), Some(target)),
                _ => (Some(Table::unknown()), None),
            };
            if let Some(spread) = spread {
                order = order.with(spread.order);
                all.add(&spread.all);
                columns = match (columns, spread.columns) {
                    (Some(mut columns), Some(more)) if self.spend(more.len()) => {
                        columns.extend(more);
                        Some(columns)
                    }
                    _ => None,
                };
                continue;
            }
            let Some(target) = value else { continue };
            let carried = self.optional(target.val.as_deref());
            let plain = target.val.as_deref().and_then(plain_column);
            if plain.is_none() {
                // A function among them can make rows, or none.
                decides.add(&carried);
                makes.add(&carried);
            }
            let name = match (target.name.as_str(), plain) {
                ("", Some(name)) => Name::Sure(name),
                ("", None) => Name::Made,
                (alias, _) => Name::Sure(alias.into()),
            };
            all.add(&carried);
            if let Some(columns) = &mut columns {
                columns.push(Column { name, carried });
            }
        }
        let mut table = match columns {
            Some(columns) => Table::of(columns, order),
            None => Table::of_all(all),
        };
        table.decides = decides;
        table.makes = makes;
        table
    }

    /// What stands for several columns: `*`, `t.*`, `(t).*`; `None`: it is one.
    fn spread(&mut self, target: &pb::ResTarget, star: &Table) -> Option<Table> {
        match &target.val.as_deref()?.node {
            Some(N::ColumnRef(column)) => {
                let (last, of) = column.fields.split_last()?;
                match &last.node {
                    Some(N::AStar(_)) => {}
                    _ => return None,
                }
                let of = names::texts(of);
                Some(match of.as_slice() {
                    [] if column.fields.len() == 1 => star.clone(),
                    [table] => self.rows_of(self.named(table)),
                    [schema, table] | [_, schema, table] => {
                        self.rows_of(self.relations_named(schema, table))
                    }
                    _ => Table::unknown(),
                })
            }
            Some(N::AIndirection(path)) => match &path.indirection.last()?.node {
                // How many columns a composite value has, its type says.
                Some(N::AStar(_)) => {
                    let value = self.optional(target.val.as_deref());
                    Some(Table::of_all(value))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// The rows of the one item that a name stands for; where it may be one of several, of any.
    fn rows_of(&mut self, items: Vec<super::scope::Item>) -> Table {
        match items.as_slice() {
            [] => Table::unknown(),
            [only] => Table::clone(&only.table),
            many => {
                let mut all = Carried::nothing();
                for item in many {
                    all.add(&item.table.all);
                }
                Table::of_all(all)
            }
        }
    }

    /// A CTE by its name.
    pub(super) fn cte_named(&self, name: &str) -> Option<Rc<Table>> {
        let mut scopes = self.ctes.iter().rev();
        scopes.find_map(|ctes| {
            let named = ctes.iter().find(|(known, _)| known == name);
            named.map(|(_, table)| table.clone())
        })
    }
}

/// The name of a plain column.
fn plain_column(node: &pb::Node) -> Option<Arc<str>> {
    match &node.node {
        Some(N::ColumnRef(column)) => names::text(column.fields.last()?).map(Arc::from),
        _ => None,
    }
}

/// A set operation: of each pair of columns both, under the name of the left. Where a place is the
/// catalogue's, any may be paired with any.
fn combined(mut left: Table, right: &Table) -> Table {
    let paired = left.order == Order::Text && right.order == Order::Text;
    let mut decides = left.all.clone().with(&right.all);
    decides.add(&left.decides);
    decides.add(&right.decides);
    left.all.add(&right.all);
    left.makes.add(&right.makes);
    left.decides = decides;
    if right.all == Carried::nothing() {
        return left;
    }
    let Some(columns) = &mut left.columns else {
        return left;
    };
    match &right.columns {
        Some(more) if paired && more.len() == columns.len() => {
            for (column, other) in columns.iter_mut().zip(more) {
                column.carried.add(&other.carried);
            }
        }
        // The server refuses it.
        Some(more) if paired && more.len() != columns.len() => return Table::unknown(),
        Some(_) | None => {
            for column in columns {
                column.carried = left.all.clone();
            }
        }
    }
    left
}
