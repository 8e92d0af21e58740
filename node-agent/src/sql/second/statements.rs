//! What the second parser's statements are, in our words.

use sqlparser::ast::{
    ColumnDef, ColumnOption, CommentObject, CopySource, CopyTarget, CreateTable,
    CreateTableLikeKind, Expr, GrantObjects, ObjectName, ObjectType, Set, Statement,
    TableConstraint, UtilityOption, Value, ValueWithSpan,
};

use super::super::{RelationUse, StatementKind, Touch};
use super::walk::{Walk, relation};
use StatementKind as K;

/// One statement as the second parser sees it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The kinds it is; fewer than the first witness finds for definitions.
    pub(super) kinds: Vec<StatementKind>,
    pub(super) relations: Vec<RelationUse>,
    pub(super) missing_where: bool,
    /// Whether these are all.
    pub(super) told: Told,
}

/// How much of a statement the walk looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Told {
    /// Every relation and change in it.
    #[default]
    All,
    /// Some: what the first sees besides is no difference.
    Some,
}

impl Seen {
    /// What a statement is, or why that is not worth hearing.
    pub(super) fn of(statement: &Statement) -> Result<Seen, &'static str> {
        let mut walk = Walk::new();
        let told = told(&mut walk, statement)?;
        walk.finish();
        if let Some(why) = walk.strange {
            return Err(why);
        }
        Ok(Seen {
            kinds: walk.kinds,
            relations: walk.relations,
            missing_where: walk.missing_where,
            told,
        })
    }
}

const ELSEWHERE: &str = "the second parser takes it for a statement of another database";
const SWALLOWED: &str = "the second parser takes what follows COPY FROM STDIN for its data";

fn told<'a>(walk: &mut Walk<'a>, statement: &'a Statement) -> Result<Told, &'static str> {
    use Statement as S;
    let mut told = Told::All;
    // A definition, or something of the session's: its class counts, and a relation or two.
    let mut some = |walk: &mut Walk<'a>, kind: K| {
        walk.kind(kind);
        told = Told::Some;
    };
    match statement {
        S::Query(query) => walk.query(query),
        S::Insert(insert) => walk.insert(insert),
        S::Update(update) => walk.update(update),
        S::Delete(delete) => walk.delete(delete),
        S::Merge(merge) => walk.merge(merge),
        S::Copy {
            source, to, target, ..
        } => copy(walk, source, *to, target)?,
        S::Truncate(truncate) => {
            walk.kind(K::Truncate);
            for table in &truncate.table_names {
                walk.touch(&table.name, Touch::Truncate);
            }
        }
        S::Lock(lock) => {
            walk.kind(K::Lock);
            for table in &lock.tables {
                walk.touch(&table.name, Touch::Lock);
            }
        }
        S::Explain {
            analyze,
            statement,
            options,
            ..
        } => {
            return explain(walk, *analyze || switched_on(options), statement);
        }
        S::Prepare { statement, .. } => {
            walk.kind(K::Prepare);
            return self::told(walk, statement);
        }
        S::Declare { stmts } => {
            walk.kind(K::Declare);
            for cursor in stmts {
                match &cursor.for_query {
                    Some(query) => walk.query(query),
                    None => return Err(ELSEWHERE),
                }
            }
        }
        S::Execute { parameters, .. } => {
            walk.kind(K::Execute);
            walk.exprs(parameters);
        }
        S::Call(function) => {
            walk.kind(K::Call);
            walk.call(function);
        }
        S::Fetch { .. } => walk.kind(K::Fetch),
        S::Close { .. } => walk.kind(K::CloseCursor),
        S::Deallocate { .. } => walk.kind(K::Deallocate),
        S::Discard { .. } | S::UNLISTEN { .. } => walk.kind(K::Discard),
        S::LISTEN { .. } => walk.kind(K::Listen),
        S::NOTIFY { .. } => walk.kind(K::Notify),
        S::Set(Set::SetTransaction { .. }) => walk.kind(K::Transaction),
        S::Set(_) | S::Reset(_) => some(walk, K::Set),
        S::ShowFunctions { .. }
        | S::ShowVariable { .. }
        | S::ShowStatus { .. }
        | S::ShowVariables { .. }
        | S::ShowCreate { .. }
        | S::ShowColumns { .. }
        | S::ShowCatalogs { .. }
        | S::ShowDatabases { .. }
        | S::ShowProcessList { .. }
        | S::ShowSchemas { .. }
        | S::ShowCharset(_)
        | S::ShowObjects(_)
        | S::ShowTables { .. }
        | S::ShowViews { .. }
        | S::ShowCollation { .. } => walk.kind(K::Show),
        S::StartTransaction {
            statements,
            exception,
            ..
        } => {
            if !statements.is_empty() || exception.is_some() {
                return Err(ELSEWHERE);
            }
            walk.kind(K::Transaction);
        }
        S::Commit { .. }
        | S::Rollback { .. }
        | S::Savepoint { .. }
        | S::ReleaseSavepoint { .. } => {
            walk.kind(K::Transaction);
        }

        S::CreateTable(create) => create_table(walk, create)?,
        S::CreateView(view) => {
            walk.kind(K::Create);
            walk.touch(&view.name, Touch::Define);
            walk.query(&view.query);
            if view.to.is_some() || view.params.is_some() {
                return Err(ELSEWHERE);
            }
        }
        S::CreateIndex(index) => {
            walk.kind(K::Create);
            walk.touch(&index.table_name, Touch::Define);
            walk.exprs(index.columns.iter().map(|column| &column.column.expr));
            walk.exprs(&index.predicate);
        }
        S::AlterTable(alter) => {
            some(walk, K::Alter);
            walk.touch(&alter.name, Touch::Define);
        }
        S::AlterIndex { name, .. } => {
            some(walk, K::Alter);
            walk.touch(name, Touch::Define);
        }
        S::Drop {
            object_type, names, ..
        } => {
            use ObjectType as O;
            match object_type {
                O::Table | O::View | O::MaterializedView | O::Index | O::Sequence => {
                    walk.kind(K::Drop);
                    for name in names {
                        walk.touch(name, Touch::Define);
                    }
                }
                O::Role | O::User => some(walk, K::Role),
                O::Collation | O::Schema | O::Database | O::Type => some(walk, K::Drop),
                O::Stage | O::Stream | O::Warehouse => return Err(ELSEWHERE),
            }
        }
        S::DropTrigger(drop) => {
            some(walk, K::Drop);
            if let Some(table) = &drop.table_name {
                walk.touch(table, Touch::Define);
            }
        }
        S::DropPolicy(drop) => {
            some(walk, K::Drop);
            walk.touch(&drop.table_name, Touch::Define);
        }
        S::CreateTrigger(trigger) => {
            some(walk, K::Create);
            walk.touch(&trigger.table_name, Touch::Define);
            walk.exprs(&trigger.condition);
        }
        S::CreatePolicy(policy) => {
            some(walk, K::Create);
            walk.touch(&policy.table_name, Touch::Define);
            walk.exprs(&policy.using);
            walk.exprs(&policy.with_check);
        }
        S::AlterPolicy(policy) => {
            some(walk, K::Alter);
            walk.touch(&policy.table_name, Touch::Define);
        }
        S::CreateSequence { name, .. } => {
            some(walk, K::Create);
            walk.touch(name, Touch::Define);
        }
        S::Comment {
            object_type,
            object_name,
            ..
        } => {
            some(walk, K::Maintain);
            comment(walk, *object_type, object_name);
        }
        S::Vacuum(vacuum) => {
            some(walk, K::Vacuum);
            if let Some(table) = &vacuum.table_name {
                walk.touch(table, Touch::Define);
            }
        }
        S::Analyze(analyze) => {
            some(walk, K::Vacuum);
            if let Some(table) = &analyze.table_name {
                walk.touch(table, Touch::Define);
            }
        }
        S::Grant(grant) => {
            some(walk, K::Grant);
            granted(walk, grant.objects.as_ref());
        }
        S::Revoke(revoke) => {
            some(walk, K::Grant);
            granted(walk, revoke.objects.as_ref());
        }
        S::CreateRole(_) | S::AlterRole { .. } => some(walk, K::Role),
        S::Load { .. } => some(walk, K::Admin),
        S::CreateServer(_)
        | S::CreateOperator(_)
        | S::CreateOperatorFamily(_)
        | S::CreateOperatorClass(_)
        | S::CreateTextSearch(_)
        | S::CreateExtension(_)
        | S::CreateCollation(_)
        | S::CreateSchema { .. }
        | S::CreateDatabase { .. }
        | S::CreateFunction(_)
        | S::CreateProcedure { .. }
        | S::CreateDomain(_)
        | S::CreateType { .. } => some(walk, K::Create),
        S::AlterSchema(_)
        | S::AlterFunction(_)
        | S::AlterType(_)
        | S::AlterCollation(_)
        | S::AlterOperator(_)
        | S::AlterOperatorFamily(_)
        | S::AlterOperatorClass(_)
        | S::AlterTextSearch(_) => some(walk, K::Alter),
        S::DropFunction(_)
        | S::DropDomain(_)
        | S::DropProcedure { .. }
        | S::DropExtension(_)
        | S::DropOperator(_)
        | S::DropOperatorFamily(_)
        | S::DropOperatorClass(_) => some(walk, K::Drop),

        // The server has none of these.
        S::Msck(_)
        | S::Install { .. }
        | S::Directory { .. }
        | S::Case(_)
        | S::If(_)
        | S::While(_)
        | S::Raise(_)
        | S::CopyIntoSnowflake { .. }
        | S::Open(_)
        | S::CreateVirtualTable { .. }
        | S::CreateSecret { .. }
        | S::CreateConnector(_)
        | S::AlterView { .. }
        | S::AlterConnector { .. }
        | S::AlterSession { .. }
        | S::AttachDatabase { .. }
        | S::AttachDuckDBDatabase { .. }
        | S::DetachDuckDBDatabase { .. }
        | S::DropSecret { .. }
        | S::DropConnector { .. }
        | S::Flush { .. }
        | S::Use(_)
        | S::CreateMacro { .. }
        | S::CreateStage { .. }
        | S::CreateFileFormat { .. }
        | S::CreateWarehouse(_)
        | S::Assert { .. }
        | S::Deny(_)
        | S::Kill { .. }
        | S::ExplainTable { .. }
        | S::Cache { .. }
        | S::UNCache { .. }
        | S::Pragma { .. }
        | S::LockTables { .. }
        | S::UnlockTables
        | S::Unload { .. }
        | S::OptimizeTable { .. }
        | S::LoadData { .. }
        | S::RenameTable(_)
        | S::List(_)
        | S::Put { .. }
        | S::Remove(_)
        | S::RaisError { .. }
        | S::Throw(_)
        | S::Print(_)
        | S::WaitFor(_)
        | S::Return(_)
        | S::ExportData(_)
        | S::CreateUser(_)
        | S::AlterUser(_) => return Err(ELSEWHERE),
    }
    Ok(told)
}

/// EXPLAIN alone runs nothing: what it would change is only read.
fn explain<'a>(
    walk: &mut Walk<'a>,
    runs: bool,
    statement: &'a Statement,
) -> Result<Told, &'static str> {
    walk.kind(K::Explain);
    if runs {
        return told(walk, statement);
    }
    let inner = Seen::of(statement)?;
    // What it names is planned, and that is looked up by the name.
    if inner.kinds.contains(&K::Execute) {
        walk.kind(K::Execute);
    }
    walk.relations
        .extend(inner.relations.into_iter().map(|used| RelationUse {
            touch: Touch::Read,
            ..used
        }));
    Ok(inner.told)
}

/// Whether `EXPLAIN (…)` holds an ANALYZE that is not certainly off.
fn switched_on(options: &Option<Vec<UtilityOption>>) -> bool {
    options.iter().flatten().any(|option| {
        let off =
            |value: &str| matches!(value.to_ascii_lowercase().as_str(), "off" | "false" | "0");
        option.name.value.eq_ignore_ascii_case("analyze")
            && !match &option.arg {
                None => false,
                Some(Expr::Identifier(word)) => off(&word.value),
                Some(Expr::Value(ValueWithSpan { value, .. })) => match value {
                    Value::Boolean(on) => !on,
                    Value::Number(number, _) => off(&number.to_string()),
                    Value::SingleQuotedString(text) => off(text),
                    _ => false,
                },
                Some(_) => false,
            }
    })
}

fn copy<'a>(
    walk: &mut Walk<'a>,
    source: &'a CopySource,
    to: bool,
    target: &CopyTarget,
) -> Result<(), &'static str> {
    walk.kind(match target {
        CopyTarget::Stdin if to => return Err(ELSEWHERE),
        CopyTarget::Stdin => return Err(SWALLOWED),
        CopyTarget::Stdout if to => K::CopyOut,
        CopyTarget::Stdout => return Err(ELSEWHERE),
        CopyTarget::File { .. } => K::CopyFile,
        CopyTarget::Program { .. } => K::CopyProgram,
    });
    match source {
        CopySource::Table { table_name, .. } => {
            walk.touch(table_name, if to { Touch::Read } else { Touch::Insert });
        }
        CopySource::Query(query) => walk.query(query),
    }
    Ok(())
}

fn create_table<'a>(walk: &mut Walk<'a>, create: &'a CreateTable) -> Result<(), &'static str> {
    walk.kind(K::Create);
    walk.touch(&create.name, Touch::Define);
    for column in &create.columns {
        column_of(walk, column)?;
    }
    for constraint in &create.constraints {
        match constraint {
            TableConstraint::ForeignKey(key) => walk.touch(&key.foreign_table, Touch::Read),
            TableConstraint::Check(check) => walk.expr(&check.expr),
            TableConstraint::Unique(_)
            | TableConstraint::PrimaryKey(_)
            | TableConstraint::PrimaryKeyUsingIndex(_)
            | TableConstraint::UniqueUsingIndex(_)
            | TableConstraint::Exclude(_) => {}
            TableConstraint::Index(_) | TableConstraint::FulltextOrSpatial(_) => {
                return Err(ELSEWHERE);
            }
        }
    }
    match &create.like {
        Some(CreateTableLikeKind::Parenthesized(like)) => walk.touch(&like.name, Touch::Read),
        Some(CreateTableLikeKind::Plain(_)) => return Err(ELSEWHERE),
        None => {}
    }
    for parent in create.inherits.iter().flatten().chain(&create.partition_of) {
        walk.touch(parent, Touch::Define);
    }
    if let Some(query) = &create.query {
        walk.query(query);
    }
    if create.clone.is_some() || create.version.is_some() || create.or_replace {
        return Err(ELSEWHERE);
    }
    Ok(())
}

fn column_of<'a>(walk: &mut Walk<'a>, column: &'a ColumnDef) -> Result<(), &'static str> {
    use ColumnOption as O;
    for option in &column.options {
        match &option.option {
            O::Default(expr) => walk.expr(expr),
            O::Check(check) => walk.expr(&check.expr),
            O::ForeignKey(key) => walk.touch(&key.foreign_table, Touch::Read),
            O::Generated {
                generation_expr, ..
            } => walk.exprs(generation_expr),
            O::Null
            | O::NotNull
            | O::PrimaryKey(_)
            | O::Unique(_)
            | O::Collation(_)
            | O::Options(_)
            | O::Identity(_) => {}
            O::Materialized(_)
            | O::Ephemeral(_)
            | O::Alias(_)
            | O::DialectSpecific(_)
            | O::CharacterSet(_)
            | O::Comment(_)
            | O::OnUpdate(_)
            | O::OnConflict(_)
            | O::Policy(_)
            | O::Tags(_)
            | O::Srid(_)
            | O::Invisible => return Err(ELSEWHERE),
        }
    }
    Ok(())
}

fn comment(walk: &mut Walk<'_>, on: CommentObject, name: &ObjectName) {
    use CommentObject as C;
    match on {
        C::Table | C::View | C::MaterializedView | C::Index | C::Sequence => {
            walk.touch(name, Touch::Define);
        }
        C::Column => {
            if let [table @ .., _] = name.0.as_slice()
                && let Some(relation) = relation(&ObjectName(table.to_vec()))
            {
                walk.relations.push(RelationUse {
                    relation,
                    touch: Touch::Define,
                });
            }
        }
        C::Collation
        | C::Database
        | C::Domain
        | C::Extension
        | C::Function
        | C::Procedure
        | C::Role
        | C::Schema
        | C::Type
        | C::User => {}
    }
}

fn granted(walk: &mut Walk<'_>, objects: Option<&GrantObjects>) {
    if let Some(GrantObjects::Tables(names) | GrantObjects::Sequences(names)) = objects {
        for name in names {
            walk.touch(name, Touch::Define);
        }
    }
}
