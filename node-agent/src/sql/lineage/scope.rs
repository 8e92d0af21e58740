//! What a name in an expression stands for.

use std::rc::Rc;
use std::sync::Arc;

use super::{Carried, Rows, Shape, Tracer};
use crate::sql::RelationName;

/// CTEs that one WITH brings into scope.
pub(super) type Ctes = Vec<(String, Rc<Table>)>;

/// The name of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Sure(Arc<str>),
    /// The server makes one of the expression, and not every version makes the same.
    Made,
}

impl Name {
    pub(super) fn sure(self) -> Option<Arc<str>> {
        match self {
            Name::Sure(name) => Some(name),
            Name::Made => None,
        }
    }

    pub(super) fn is(&self, name: &str) -> bool {
        match self {
            Name::Sure(known) => **known == *name,
            Name::Made => false,
        }
    }
}

/// A column of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: Name,
    pub(super) carried: Carried,
}

/// Who says in which order the columns stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Text,
    /// The catalogue, at least of some.
    Catalogue,
}

impl Order {
    pub(super) fn with(self, other: Order) -> Order {
        match (self, other) {
            (Order::Text, Order::Text) => Order::Text,
            (Order::Catalogue, _) | (_, Order::Catalogue) => Order::Catalogue,
        }
    }
}

/// The rows of a query, or of something in FROM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// `None`: how many, and of which names, the text does not say.
    pub(super) columns: Option<Vec<Column>>,
    pub(super) order: Order,
    /// What any of its columns can carry.
    pub(super) all: Carried,
    /// What says how many rows a function in FROM makes.
    pub(super) makes: Carried,
    /// What decides whether there are rows.
    pub(super) decides: Carried,
}

impl Table {
    /// Columns that the text does not show.
    pub(super) fn of_all(all: Carried) -> Self {
        Table {
            columns: None,
            order: Order::Text,
            all,
            makes: Carried::nothing(),
            decides: Carried::nothing(),
        }
    }

    pub(super) fn unknown() -> Self {
        Table {
            makes: Carried::Unknown,
            decides: Carried::Unknown,
            ..Table::of_all(Carried::Unknown)
        }
    }

    pub(super) fn of(columns: Vec<Column>, order: Order) -> Self {
        let mut all = Carried::nothing();
        for column in &columns {
            all.add(&column.carried);
        }
        Table {
            columns: Some(columns),
            order,
            ..Table::of_all(all)
        }
    }

    /// Gives the first columns other names, by their place. Where the place is the catalogue's, any of
    /// them may be any.
    pub(super) fn rename(&mut self, names: &[&str]) {
        if names.is_empty() {
            return;
        }
        match &mut self.columns {
            Some(columns) if names.len() <= columns.len() => {
                for (column, name) in columns.iter_mut().zip(names) {
                    column.name = Name::Sure(Arc::from(*name));
                }
                if self.order == Order::Catalogue {
                    for column in columns {
                        column.carried = self.all.clone();
                    }
                }
            }
            Some(_) | None => self.columns = None,
        }
    }

    /// Columns beside these, whose names are not looked up.
    pub(super) fn beside(mut self, other: &Table) -> Self {
        self.columns = match (self.columns, &other.columns) {
            (Some(mut columns), Some(more)) => {
                columns.extend(more.iter().cloned());
                Some(columns)
            }
            _ => None,
        };
        self.order = self.order.with(other.order);
        self.all.add(&other.all);
        self.makes.add(&other.makes);
        self.decides.add(&other.decides);
        self
    }

    fn size(&self) -> usize {
        let columns = self.columns.iter().flatten();
        columns.map(|column| 1 + column.carried.size()).sum()
    }
}

/// Something in FROM.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// By which it is named: its alias, or its own.
    pub(super) name: Option<Arc<str>>,
    /// It has its own name: a schema may stand before that.
    pub(super) own_name: bool,
    /// A relation of the catalogue's.
    pub(super) relation: Option<Arc<RelationName>>,
    /// A table whose columns are known: only that surely has the system's columns.
    pub(super) stored: bool,
    pub(super) table: Rc<Table>,
}

/// The items of one query.
#[derive(Clone, Debug)]
pub(super) struct Level {
    pub(super) items: Vec<Item>,
    /// What its windows are made of.
    pub(super) windows: Carried,
    /// What says how many rows its functions make.
    pub(super) makes: Carried,
    /// Whether a join may make one column of two of the same name.
    pub(super) merges: Merges,
}

/// Whether a name can be that of several columns at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merges {
    /// The server refuses it as ambiguous.
    No,
    /// USING and NATURAL make one of them.
    Yes,
}

impl Level {
    pub(super) fn empty() -> Self {
        Level {
            items: Vec::new(),
            windows: Carried::nothing(),
            makes: Carried::nothing(),
            merges: Merges::No,
        }
    }
}

/// Columns that every stored row has, and nobody writes.
fn is_system(column: &str) -> bool {
    matches!(
        column,
        "ctid" | "tableoid" | "xmin" | "xmax" | "cmin" | "cmax"
    )
}

/// What a lookup found so far.
struct Found {
    carried: Carried,
    any: bool,
}

impl Tracer<'_> {
    /// A relation of the catalogue's as its rows, and where these come from.
    pub(super) fn relation(&mut self, relation: &Arc<RelationName>) -> (Table, Option<Rows>) {
        let Some(Shape { columns, rows }) = self.known.of(relation) else {
            return (Table::unknown(), None);
        };
        if !self.spend(columns.len()) {
            return (Table::unknown(), None);
        }
        let column = |name: Arc<str>| Column {
            carried: Carried::one(relation, &name),
            name: Name::Sure(name),
        };
        let columns = columns.into_iter().map(column).collect();
        (Table::of(columns, Order::Catalogue), Some(rows))
    }

    /// A column without a qualifier. It is not resolved to the one relation that has it: all that may
    /// have it count, those of the queries around too, so that a column which came a moment ago
    /// takes no other's place. A name of an item stands for its whole row as well.
    pub(super) fn column(&mut self, name: &str) -> Carried {
        let mut found = Found {
            carried: Carried::nothing(),
            any: false,
        };
        let steps = |level: &Level| -> usize {
            let items = level.items.iter();
            items.map(|item| 1 + item.table.size()).sum()
        };
        let steps = self.levels.iter().map(steps).sum();
        if !self.spend(steps) {
            return Carried::Unknown;
        }
        for level in self.levels.iter().rev() {
            column_of(level, name, &mut found);
        }
        match found.any {
            true => found.carried,
            false => Carried::Unknown,
        }
    }

    /// `alias.column`.
    pub(super) fn column_of(&mut self, of: &str, name: &str) -> Carried {
        let items = self.named(of);
        if items.is_empty() {
            return Carried::Unknown;
        }
        self.field_of(&items, name)
    }

    /// `schema.table.column`.
    pub(super) fn column_of_relation(&mut self, schema: &str, table: &str, name: &str) -> Carried {
        let items = self.relations_named(schema, table);
        if items.is_empty() {
            return Carried::Unknown;
        }
        self.field_of(&items, name)
    }

    fn field_of(&mut self, items: &[Item], name: &str) -> Carried {
        let mut carried = Carried::nothing();
        for item in items {
            if !self.spend(1 + item.table.size()) {
                return Carried::Unknown;
            }
            let columns = item.table.columns.iter().flatten();
            let mut sure = false;
            for column in columns.filter(|column| column.name.is(name)) {
                carried.add(&column.carried);
                sure = true;
            }
            if sure || (item.stored && is_system(name)) {
                continue;
            }
            let made = |columns: &Vec<Column>| columns.iter().any(|c| c.name == Name::Made);
            match &item.table.columns {
                Some(columns) if !made(columns) => return Carried::Unknown,
                // One of those whose names nobody knows.
                Some(_) | None => carried.add(&item.table.all),
            }
        }
        carried
    }

    /// The items that a qualifier names: those of the innermost query that has some. What has no name in the
    /// text may have any: the server gives one to a function, and another one in another version.
    pub(super) fn named(&self, of: &str) -> Vec<Item> {
        for level in self.levels.iter().rev() {
            let named = |item: &&Item| item.name.as_deref().is_none_or(|name| name == of);
            let items: Vec<Item> = level.items.iter().filter(named).cloned().collect();
            if !items.is_empty() {
                return items;
            }
        }
        Vec::new()
    }

    /// The relations that a schema and a name can name, in any of the queries. Those without a schema in the
    /// text are in one all the same.
    pub(super) fn relations_named(&self, schema: &str, table: &str) -> Vec<Item> {
        let named = |item: &&Item| {
            item.own_name
                && item.relation.as_ref().is_some_and(|relation| {
                    relation.name == table && relation.schema.as_deref().is_none_or(|s| s == schema)
                })
        };
        let items = self.levels.iter().flat_map(|level| &level.items);
        items.filter(named).cloned().collect()
    }
}

fn column_of(level: &Level, name: &str, found: &mut Found) {
    let mut sure = false;
    for item in &level.items {
        if item.name.as_deref() == Some(name) {
            found.carried.add(&item.table.all);
            found.any = true;
        }
        for column in item.table.columns.iter().flatten() {
            if column.name.is(name) {
                found.carried.add(&column.carried);
                sure = true;
            }
        }
        sure |= item.stored && is_system(name);
    }
    if sure {
        found.any = true;
        let name: Arc<str> = name.into();
        for relation in level.items.iter().filter_map(|item| item.relation.as_ref()) {
            if !is_system(&name) {
                found.carried.add(&Carried::one(relation, &name));
            }
        }
        // Another of the same name would be ambiguous, unless a join makes one of both.
        if level.merges == Merges::No {
            return;
        }
    }
    // One of those whose names nobody knows.
    for item in &level.items {
        match &item.table.columns {
            Some(columns) => {
                for column in columns.iter().filter(|column| column.name == Name::Made) {
                    found.carried.add(&column.carried);
                    found.any = true;
                }
            }
            None => {
                found.carried.add(&item.table.all);
                found.any = true;
            }
        }
    }
}
