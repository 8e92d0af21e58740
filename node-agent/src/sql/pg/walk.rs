//! The walk: one arm for every kind of node the grammar can produce, and one for every kind it
//! cannot (those appear only after the server's own analysis, so meeting one is a doubt).

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use pg_query::protobuf as pb;
use pg_query::protobuf::node::Node as N;

use super::attribute::CallInFrom;
use super::{MAX_FACTS, names};
use crate::sql::second::Misread;
use crate::sql::{
    Carry, ColumnRole, ColumnUse, Effect, FunctionUse, RelationName, RelationUse, StatementFacts,
    StatementKind, Touch,
};

/// What is collected of one statement.
pub(super) struct Walk {
    pub(super) facts: StatementFacts,
    /// CTE names in scope, innermost last.
    pub(super) scopes: Vec<Vec<String>>,
    /// What a column reference means here.
    pub(super) role: ColumnRole,
    /// The functions in FROM so far.
    pub(super) calls_in_from: Vec<CallInFrom>,
    /// The setting that the column `name` holds here, if the text says which.
    pub(super) looked_up: Option<String>,
    /// Something that the second witness is known to misread.
    pub(super) misread: Option<Misread>,
    /// Why the tree could not be understood.
    doubt: Option<String>,
    /// Names inside carries so far: bounds their product.
    weight: usize,
    /// Something in FROM is computed: a name may be that of a piece of a column.
    pub(super) derived: bool,
    /// What stands here is part of something that can fail.
    pub(super) failing: bool,
}

impl Walk {
    pub(super) fn new() -> Self {
        Walk {
            facts: StatementFacts::default(),
            scopes: Vec::new(),
            role: ColumnRole::Output,
            calls_in_from: Vec::new(),
            looked_up: None,
            misread: None,
            doubt: None,
            weight: 0,
            derived: false,
            failing: false,
        }
    }

    /// The facts without repetitions, and the first doubt.
    pub(super) fn finish(mut self, span: Range<usize>) -> (StatementFacts, Option<String>) {
        self.only_equated();
        let facts = &mut self.facts;
        distinct(&mut facts.kinds);
        distinct(&mut facts.relations);
        distinct(&mut facts.functions);
        distinct(&mut facts.columns);
        distinct(&mut facts.carries);
        distinct(&mut facts.rows);
        facts.span = span;
        if facts.kinds.is_empty() {
            // A statement that says of itself nothing at all must not be free.
            facts.kinds.push(StatementKind::Opaque);
            self.doubt
                .get_or_insert_with(|| "an unknown statement".to_owned());
        }
        (self.facts, self.doubt)
    }

    /// Leaves among the equated columns those that decide in no other way.
    fn only_equated(&mut self) {
        let facts = &mut self.facts;
        if self.derived {
            facts.equated.clear();
            return;
        }
        let mut uses: HashMap<&ColumnUse, (usize, usize)> = HashMap::new();
        for column in facts
            .columns
            .iter()
            .filter(|column| column.role == ColumnRole::Predicate)
        {
            uses.entry(column).or_default().0 += 1;
        }
        for column in &facts.equated {
            uses.entry(column).or_default().1 += 1;
        }
        let mut only: Vec<ColumnUse> = facts
            .equated
            .iter()
            .filter(|column| {
                uses.get(column)
                    .is_some_and(|(all, equated)| all == equated)
            })
            .cloned()
            .collect();
        distinct(&mut only);
        facts.equated = only;
    }

    pub(super) fn doubt(&mut self, why: &str) {
        self.doubt.get_or_insert_with(|| why.to_owned());
    }

    pub(super) fn kind(&mut self, kind: StatementKind) {
        if !self.facts.kinds.contains(&kind) {
            self.facts.kinds.push(kind);
        }
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        if self.facts.effects.len() < MAX_FACTS {
            self.facts.effects.push(effect);
        } else {
            self.doubt("too many effects");
        }
    }

    pub(super) fn touch(&mut self, relation: RelationName, touch: Touch) {
        if self.facts.relations.len() < MAX_FACTS {
            self.facts.relations.push(RelationUse { relation, touch });
        } else {
            self.doubt("too many relations");
        }
    }

    /// The second witness is known to misread this.
    pub(super) fn misread(&mut self, what: Misread) {
        match (self.misread, what) {
            (None, _) | (Some(Misread::Statement(_)), Misread::Text(_)) => {
                self.misread = Some(what);
            }
            (Some(_), _) => {}
        }
    }

    pub(super) fn touch_var(&mut self, var: Option<&pb::RangeVar>, touch: Touch) {
        if let Some(var) = var {
            self.touch(names::relation(var), touch);
        }
    }

    pub(super) fn function(&mut self, parts: &[&str], args: usize) {
        let Some(name) = names::qualified(parts) else {
            return;
        };
        if self.facts.functions.len() < MAX_FACTS {
            self.facts.functions.push(FunctionUse {
                schema: name.schema,
                name: name.name,
                args,
            });
        } else {
            self.doubt("too many function calls");
        }
    }

    /// An operator that the server looks for by its name.
    pub(super) fn an_operator(&mut self, name: &str) {
        /// The server has some eighty.
        const MOST: usize = 256;
        if self.facts.operators.iter().any(|known| known == name) {
            return;
        }
        if self.facts.operators.len() < MOST {
            self.facts.operators.push(name.to_owned());
        } else {
            self.doubt("too many operators");
        }
    }

    pub(super) fn column(&mut self, qualifier: Vec<String>, name: String, role: ColumnRole) {
        if self.facts.columns.len() < MAX_FACTS {
            self.facts.columns.push(ColumnUse {
                qualifier,
                name,
                role,
            });
        } else {
            self.doubt("too many columns");
        }
    }

    pub(super) fn a_type(&mut self, name: RelationName) {
        if self.facts.types.len() >= MAX_FACTS {
            self.doubt("too many types");
        } else if !self.facts.types.contains(&name) {
            self.facts.types.push(name);
        }
    }

    /// Where the columns seen from now on begin.
    pub(super) fn mark(&self) -> usize {
        self.facts.columns.len()
    }

    /// The columns seen since `mark` also decide which rows there are.
    pub(super) fn predicates_since(&mut self, mark: usize) {
        let seen: Vec<ColumnUse> = self
            .facts
            .columns
            .iter()
            .skip(mark)
            .filter(|c| !matches!(c.role, ColumnRole::Predicate | ColumnRole::Written))
            .cloned()
            .collect();
        for column in seen {
            self.column(column.qualifier, column.name, ColumnRole::Predicate);
        }
    }

    /// The names of the columns read since `mark`: what is written to a column does not come out of
    /// it.
    pub(super) fn names_since(&self, mark: usize) -> Vec<String> {
        let mut names: Vec<String> = self
            .facts
            .columns
            .iter()
            .skip(mark)
            .filter(|c| c.role != ColumnRole::Written)
            .map(|c| c.name.clone())
            .collect();
        distinct(&mut names);
        names
    }

    /// `to` carries the values of `from`.
    pub(super) fn carry(&mut self, to: &str, from: &[String]) {
        if from.is_empty() || matches!(from, [only] if only == to) {
            return;
        }
        self.weight = self.weight.saturating_add(from.len());
        if self.weight > MAX_FACTS {
            self.doubt("too many renamed columns");
            return;
        }
        self.facts.carries.push(Carry {
            to: to.to_owned(),
            from: from.to_vec(),
        });
    }

    /// Runs `walk` with another meaning of column references.
    pub(super) fn with_role(&mut self, role: ColumnRole, walk: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.role, role);
        walk(self);
        self.role = before;
    }

    /// Runs `walk` where column references decide something.
    pub(super) fn predicate(&mut self, walk: impl FnOnce(&mut Self)) {
        self.with_role(ColumnRole::Predicate, walk);
    }

    pub(super) fn optional(&mut self, node: Option<&pb::Node>) {
        if let Some(node) = node {
            self.node(node);
        }
    }

    pub(super) fn nodes(&mut self, nodes: &[pb::Node]) {
        for node in nodes {
            self.node(node);
        }
    }

    /// One node and everything below it.
    pub(super) fn node(&mut self, node: &pb::Node) {
        let Some(node) = &node.node else { return };
        match node {
            // Values and bare names.
            N::Integer(_)
            | N::Float(_)
            | N::Boolean(_)
            | N::String(_)
            | N::BitString(_)
            | N::AConst(_)
            | N::ParamRef(_)
            | N::Alias(_)
            | N::RoleSpec(_)
            | N::AStar(_)
            | N::SetToDefault(_)
            | N::SqlvalueFunction(_)
            | N::MergeSupportFunc(_)
            | N::CurrentOfExpr(_)
            | N::TriggerTransition(_)
            | N::ReturningOption(_)
            | N::ReplicaIdentityStmt(_)
            | N::AtalterConstraint(_)
            | N::AccessPriv(_)
            | N::CtesearchClause(_)
            | N::JsonFormat(_)
            | N::JsonReturning(_) => {}
            N::List(list) => self.nodes(&list.items),
            N::IntList(list) => self.nodes(&list.items),
            N::OidList(list) => self.nodes(&list.items),

            // Expressions.
            N::ColumnRef(n) => self.column_ref(n),
            N::AExpr(n) => self.operator(n),
            N::BoolExpr(n) => self.boolean(n),
            N::NullTest(n) => self.optional(n.arg.as_deref()),
            N::BooleanTest(n) => self.optional(n.arg.as_deref()),
            N::TypeCast(n) => self.cast(n),
            N::CollateClause(n) => self.optional(n.arg.as_deref()),
            N::FuncCall(n) => self.call(n),
            N::NamedArgExpr(n) => self.optional(n.arg.as_deref()),
            N::AIndices(n) => {
                self.optional(n.lidx.as_deref());
                self.optional(n.uidx.as_deref());
            }
            N::AIndirection(n) => self.indirection(n),
            N::AArrayExpr(n) => self.nodes(&n.elements),
            N::RowExpr(n) => self.nodes(&n.args),
            N::CaseExpr(n) => self.case(n),
            N::CaseWhen(n) => {
                self.predicate(|w| w.optional(n.expr.as_deref()));
                self.optional(n.result.as_deref());
            }
            N::CoalesceExpr(n) => self.coalesce(n),
            N::MinMaxExpr(n) => self.nodes(&n.args),
            N::GroupingFunc(n) => self.nodes(&n.args),
            N::SubLink(n) => {
                // It is compared.
                self.predicate(|w| w.optional(n.testexpr.as_deref()));
                if n.oper_name.is_empty() && n.testexpr.is_some() {
                    // `a IN (SELECT …)`.
                    self.an_operator("=");
                }
                self.operator_name(&n.oper_name);
                self.optional(n.subselect.as_deref());
            }
            N::XmlExpr(n) => self.computed(false, |w| {
                w.nodes(&n.named_args);
                w.nodes(&n.arg_names);
                w.nodes(&n.args);
            }),
            N::XmlSerialize(n) => {
                self.computed(false, |w| w.optional(n.expr.as_deref()));
                self.type_name(n.type_name.as_ref());
            }
            N::MultiAssignRef(n) => self.optional(n.source.as_deref()),
            N::ResTarget(n) => {
                self.nodes(&n.indirection);
                self.optional(n.val.as_deref());
            }
            N::TypeName(n) => self.type_name(Some(n)),
            N::SortBy(n) => {
                self.operator_name(&n.use_op);
                self.predicate(|w| w.optional(n.node.as_deref()));
            }
            N::WindowDef(n) => self.window(n),
            N::GroupingSet(n) => self.predicate(|w| w.nodes(&n.content)),

            // SQL/JSON.
            N::JsonValueExpr(n) => {
                self.optional(n.raw_expr.as_deref());
                self.optional(n.formatted_expr.as_deref());
            }
            N::JsonIsPredicate(n) => self.predicate(|w| w.optional(n.expr.as_deref())),
            N::JsonBehavior(n) => self.optional(n.expr.as_deref()),
            N::JsonOutput(n) => self.type_name(n.type_name.as_ref()),
            N::JsonArgument(n) => self.json_value(n.val.as_deref()),
            N::JsonFuncExpr(n) => self.json_function(n),
            N::JsonTablePathSpec(n) => self.optional(n.string.as_deref()),
            N::JsonTable(n) => self.json_table(n),
            N::JsonTableColumn(n) => self.json_table_column(n),
            N::JsonKeyValue(n) => {
                self.computed(false, |w| w.optional(n.key.as_deref()));
                self.json_value(n.value.as_deref());
            }
            N::JsonParseExpr(n) => self.computed(false, |w| w.json_value(n.expr.as_deref())),
            N::JsonScalarExpr(n) => self.optional(n.expr.as_deref()),
            N::JsonSerializeExpr(n) => self.json_value(n.expr.as_deref()),
            N::JsonObjectConstructor(n) => self.nodes(&n.exprs),
            N::JsonArrayConstructor(n) => self.nodes(&n.exprs),
            N::JsonArrayQueryConstructor(n) => self.optional(n.query.as_deref()),
            N::JsonAggConstructor(n) => self.json_aggregate(Some(n)),
            N::JsonObjectAgg(n) => {
                self.json_aggregate(n.constructor.as_deref());
                if let Some(pair) = &n.arg {
                    self.optional(pair.key.as_deref());
                    self.json_value(pair.value.as_deref());
                }
            }
            N::JsonArrayAgg(n) => {
                self.json_aggregate(n.constructor.as_deref());
                self.json_value(n.arg.as_deref());
            }

            // FROM.
            N::RangeVar(n) => self.table_in_from(n),
            N::JoinExpr(n) => self.join(n),
            N::RangeSubselect(n) => self.subselect_in_from(n),
            N::RangeFunction(n) => self.function_in_from(n),
            N::RangeTableSample(n) => {
                self.optional(n.relation.as_deref());
                let method = names::texts(&n.method);
                // system and bernoulli are the server's own; another method is somebody's code.
                if !matches!(
                    method.as_slice(),
                    ["system" | "bernoulli"] | ["pg_catalog", "system" | "bernoulli"]
                ) {
                    self.function(&method, n.args.len());
                }
                self.predicate(|w| {
                    w.nodes(&n.args);
                    w.optional(n.repeatable.as_deref());
                });
            }
            N::RangeTableFunc(n) => self.xml_table(n),
            N::RangeTableFuncCol(n) => {
                self.type_name(n.type_name.as_ref());
                self.optional(n.colexpr.as_deref());
                self.optional(n.coldefexpr.as_deref());
            }

            // Queries and changes of data.
            N::SelectStmt(n) => self.select(n),
            N::InsertStmt(n) => self.insert(n),
            N::UpdateStmt(n) => self.update(n),
            N::DeleteStmt(n) => self.delete(n),
            N::MergeStmt(n) => self.merge(n),
            N::MergeWhenClause(n) => self.merge_when(n),
            N::WithClause(n) => {
                // Reached only through its statement, which opens a scope for it.
                self.scopes.push(Vec::new());
                self.with_clause(Some(n));
                self.scopes.pop();
            }
            N::CommonTableExpr(n) => self.cte(n),
            N::CtecycleClause(n) => {
                self.optional(n.cycle_mark_value.as_deref());
                self.optional(n.cycle_mark_default.as_deref());
            }
            N::InferClause(n) => self.predicate(|w| {
                w.nodes(&n.index_elems);
                w.optional(n.where_clause.as_deref());
            }),
            N::OnConflictClause(n) => self.on_conflict(n),
            N::ReturningClause(n) => self.returning(Some(n)),
            N::LockingClause(_) => self.kind(StatementKind::Lock),
            N::ReturnStmt(n) => self.optional(n.returnval.as_deref()),
            N::RawStmt(n) => self.optional(n.stmt.as_deref()),

            // Pieces of definitions.
            N::ColumnDef(n) => self.column_def(n),
            N::Constraint(n) => self.constraint(n),
            N::TableLikeClause(n) => self.touch_var(n.relation.as_ref(), Touch::Read),
            N::IndexElem(n) => {
                self.optional(n.expr.as_deref());
                if !n.name.is_empty() {
                    let role = self.role;
                    self.column(Vec::new(), n.name.clone(), role);
                }
                self.nodes(&n.opclassopts);
            }
            N::StatsElem(n) => self.optional(n.expr.as_deref()),
            N::DefElem(n) => self.optional(n.arg.as_deref()),
            N::PartitionElem(n) => self.optional(n.expr.as_deref()),
            N::PartitionSpec(n) => self.nodes(&n.part_params),
            N::PartitionBoundSpec(n) => {
                self.nodes(&n.listdatums);
                self.nodes(&n.lowerdatums);
                self.nodes(&n.upperdatums);
            }
            N::PartitionRangeDatum(n) => self.optional(n.value.as_deref()),
            N::PartitionCmd(n) => {
                self.touch_var(n.name.as_ref(), Touch::Define);
                if let Some(bound) = &n.bound {
                    self.nodes(&bound.listdatums);
                    self.nodes(&bound.lowerdatums);
                    self.nodes(&bound.upperdatums);
                }
            }
            N::FunctionParameter(n) => {
                self.type_name(n.arg_type.as_ref());
                self.optional(n.defexpr.as_deref());
            }
            N::ObjectWithArgs(_) | N::CreateOpClassItem(_) => {}
            N::AlterTableCmd(n) => self.alter_table_cmd(n),
            N::VacuumRelation(n) => self.touch_var(n.relation.as_ref(), Touch::Define),
            N::PublicationTable(n) => self.touch_var(n.relation.as_ref(), Touch::Define),
            N::PublicationObjSpec(n) => {
                if let Some(table) = &n.pubtable {
                    self.touch_var(table.relation.as_ref(), Touch::Define);
                    self.optional(table.where_clause.as_deref());
                } else if !n.name.is_empty() {
                    self.touch(names::whole_schema(&n.name), Touch::Define);
                }
            }

            // Statements about the session and about other statements.
            N::ExplainStmt(n) => self.explain(n),
            N::PrepareStmt(n) => self.prepare(n),
            N::ExecuteStmt(n) => self.execute(n),
            N::DeallocateStmt(n) => self.deallocate(n),
            N::DeclareCursorStmt(n) => self.declare(n),
            N::FetchStmt(n) => self.fetch(n),
            N::ClosePortalStmt(n) => self.close(n),
            N::CopyStmt(n) => self.copy(n),
            N::TransactionStmt(n) => self.transaction(n),
            N::VariableSetStmt(n) => self.set(n),
            N::VariableShowStmt(n) => self.show(n),
            N::ConstraintsSetStmt(_) => self.kind(StatementKind::Transaction),
            N::DiscardStmt(n) => self.discard(n),
            N::ListenStmt(_) => self.kind(StatementKind::Listen),
            N::UnlistenStmt(_) => self.kind(StatementKind::Discard),
            N::NotifyStmt(_) => self.kind(StatementKind::Notify),
            N::LockStmt(n) => self.lock(n),
            N::TruncateStmt(n) => self.truncate(n),
            N::DoStmt(_) | N::InlineCodeBlock(_) => self.kind(StatementKind::Do),
            N::CallStmt(n) => self.call_procedure(n),

            // Definitions.
            N::CreateStmt(n) => self.create_table(n),
            N::CreateForeignTableStmt(n) => self.create_foreign_table(n),
            N::CreateTableAsStmt(n) => self.create_table_as(n),
            N::ViewStmt(n) => self.create_view(n),
            N::IndexStmt(n) => self.create_index(n),
            N::CreateSeqStmt(n) => {
                self.define(StatementKind::Create, n.sequence.as_ref());
                self.nodes(&n.options);
            }
            N::AlterSeqStmt(n) => {
                self.define(StatementKind::Alter, n.sequence.as_ref());
                self.owned_by(&n.options);
            }
            N::CreateStatsStmt(n) => {
                self.define(StatementKind::Create, None);
                self.nodes(&n.exprs);
                self.defined(&n.relations);
            }
            N::AlterStatsStmt(_) => self.define(StatementKind::Alter, None),
            N::CreateSchemaStmt(n) => self.create_schema(n),
            N::AlterTableStmt(n) => self.alter_table(n),
            N::AlterTableMoveAllStmt(_) => self.admin(StatementKind::Alter),
            N::RenameStmt(n) => self.rename(n),
            N::AlterObjectSchemaStmt(n) => self.alter_schema(n),
            N::AlterOwnerStmt(n) => self.alter_owner(n),
            N::AlterObjectDependsStmt(n) => self.define(StatementKind::Alter, n.relation.as_ref()),
            N::CompositeTypeStmt(n) => {
                self.define(StatementKind::Create, n.typevar.as_ref());
                self.nodes(&n.coldeflist);
            }
            N::CreateDomainStmt(n) => {
                self.define(StatementKind::Create, None);
                self.nodes(&n.constraints);
            }
            N::AlterDomainStmt(n) => {
                match n.subtype.as_str() {
                    // Every value of the type is held against it, in whatever table.
                    "C" | "V" | "O" => self.code(StatementKind::Alter, None),
                    _ => self.define(StatementKind::Alter, None),
                }
                self.optional(n.def.as_deref());
            }
            N::CreateEnumStmt(_) | N::AlterEnumStmt(_) => {
                let create = matches!(node, N::CreateEnumStmt(_));
                self.define(
                    if create {
                        StatementKind::Create
                    } else {
                        StatementKind::Alter
                    },
                    None,
                );
            }
            N::AlterTypeStmt(_) => self.code(StatementKind::Alter, None),
            N::AlterCollationStmt(_)
            | N::AlterTsdictionaryStmt(_)
            | N::AlterTsconfigurationStmt(_) => self.define(StatementKind::Alter, None),
            N::DropStmt(n) => self.drop(n),
            N::CommentStmt(n) => self.comment(n),
            N::SecLabelStmt(n) => self.security_label(n),
            N::RefreshMatViewStmt(n) => {
                self.define(StatementKind::Maintain, n.relation.as_ref());
                self.touch_var(n.relation.as_ref(), Touch::Read);
            }
            N::ReindexStmt(n) => self.reindex(n),
            N::ClusterStmt(n) => self.define(StatementKind::Maintain, n.relation.as_ref()),
            N::VacuumStmt(n) => {
                self.kind(StatementKind::Vacuum);
                self.nodes(&n.rels);
            }
            N::CheckPointStmt(_) => self.kind(StatementKind::Vacuum),

            // Code that runs later.
            N::CreateFunctionStmt(n) => self.create_function(n),
            N::AlterFunctionStmt(_) => self.code(StatementKind::Alter, None),
            N::DefineStmt(n) => self.define_object(n),
            N::CreateRangeStmt(_)
            | N::CreateOpClassStmt(_)
            | N::CreateOpFamilyStmt(_)
            | N::CreateCastStmt(_)
            | N::CreateConversionStmt(_) => self.code(StatementKind::Create, None),
            N::AlterOpFamilyStmt(_) | N::AlterOperatorStmt(_) => {
                self.code(StatementKind::Alter, None);
            }
            N::CreateTrigStmt(n) => {
                self.code(StatementKind::Create, n.relation.as_ref());
                self.touch_var(n.constrrel.as_ref(), Touch::Define);
                self.predicate(|w| w.optional(n.when_clause.as_deref()));
                self.function(&names::texts(&n.funcname), n.args.len());
            }
            N::RuleStmt(n) => self.create_rule(n),
            N::CreatePolicyStmt(n) => {
                self.code(StatementKind::Create, n.table.as_ref());
                self.predicate(|w| {
                    w.optional(n.qual.as_deref());
                    w.optional(n.with_check.as_deref());
                });
            }
            N::AlterPolicyStmt(n) => {
                self.code(StatementKind::Alter, n.table.as_ref());
                self.predicate(|w| {
                    w.optional(n.qual.as_deref());
                    w.optional(n.with_check.as_deref());
                });
            }

            // Rights, roles and the server.
            N::GrantStmt(n) => self.grant(n),
            N::GrantRoleStmt(_) => {
                self.kind(StatementKind::Grant);
                self.kind(StatementKind::Role);
                self.effect(Effect::Defines);
            }
            N::AlterDefaultPrivilegesStmt(n) => {
                self.kind(StatementKind::Grant);
                self.kind(StatementKind::Alter);
                self.effect(Effect::Defines);
                self.nodes(&n.options);
            }
            N::CreateRoleStmt(n) => self.role_statement(&n.options),
            N::AlterRoleStmt(n) => self.role_statement(&n.options),
            N::AlterRoleSetStmt(_) | N::DropRoleStmt(_) => self.role_statement(&[]),
            N::DropOwnedStmt(_) => {
                self.kind(StatementKind::Role);
                self.kind(StatementKind::Drop);
                self.effect(Effect::Defines);
            }
            N::ReassignOwnedStmt(_) => {
                self.kind(StatementKind::Role);
                self.kind(StatementKind::Alter);
                self.effect(Effect::Defines);
            }
            N::CreatedbStmt(_) => self.admin(StatementKind::Create),
            N::AlterDatabaseStmt(_)
            | N::AlterDatabaseRefreshCollStmt(_)
            | N::AlterDatabaseSetStmt(_)
            | N::AlterSystemStmt(_) => self.admin(StatementKind::Alter),
            N::DropdbStmt(_) => self.admin(StatementKind::Drop),
            N::LoadStmt(_) => self.kind(StatementKind::Admin),
            N::CreateTableSpaceStmt(_)
            | N::CreateExtensionStmt(_)
            | N::CreateFdwStmt(_)
            | N::CreateAmStmt(_)
            | N::CreatePlangStmt(_)
            | N::CreateEventTrigStmt(_)
            | N::CreateTransformStmt(_)
            | N::ImportForeignSchemaStmt(_) => self.admin(StatementKind::Create),
            N::AlterTableSpaceOptionsStmt(_)
            | N::AlterExtensionStmt(_)
            | N::AlterExtensionContentsStmt(_)
            | N::AlterFdwStmt(_)
            | N::AlterEventTrigStmt(_) => self.admin(StatementKind::Alter),
            N::DropTableSpaceStmt(_) | N::DropSubscriptionStmt(_) | N::DropUserMappingStmt(_) => {
                self.admin(StatementKind::Drop);
            }
            // Options of servers and mappings, and a subscription's connection string, hold
            // passwords.
            N::CreateForeignServerStmt(_)
            | N::CreateUserMappingStmt(_)
            | N::CreateSubscriptionStmt(_) => {
                self.admin(StatementKind::Create);
                self.facts.secret = true;
            }
            N::AlterForeignServerStmt(_)
            | N::AlterUserMappingStmt(_)
            | N::AlterSubscriptionStmt(_) => {
                self.admin(StatementKind::Alter);
                self.facts.secret = true;
            }
            N::CreatePublicationStmt(n) => {
                self.admin(StatementKind::Create);
                self.nodes(&n.pubobjects);
            }
            N::AlterPublicationStmt(n) => {
                self.admin(StatementKind::Alter);
                self.nodes(&n.pubobjects);
            }

            // Products of the server's analysis, planner and PL/pgSQL: no text yields them.
            N::TableFunc(_)
            | N::IntoClause(_)
            | N::Var(_)
            | N::Param(_)
            | N::Aggref(_)
            | N::WindowFunc(_)
            | N::WindowFuncRunCondition(_)
            | N::SubscriptingRef(_)
            | N::FuncExpr(_)
            | N::OpExpr(_)
            | N::DistinctExpr(_)
            | N::NullIfExpr(_)
            | N::ScalarArrayOpExpr(_)
            | N::SubPlan(_)
            | N::AlternativeSubPlan(_)
            | N::FieldSelect(_)
            | N::FieldStore(_)
            | N::RelabelType(_)
            | N::CoerceViaIo(_)
            | N::ArrayCoerceExpr(_)
            | N::ConvertRowtypeExpr(_)
            | N::CollateExpr(_)
            | N::CaseTestExpr(_)
            | N::ArrayExpr(_)
            | N::RowCompareExpr(_)
            | N::JsonConstructorExpr(_)
            | N::JsonExpr(_)
            | N::JsonTablePath(_)
            | N::JsonTablePathScan(_)
            | N::JsonTableSiblingJoin(_)
            | N::MergeAction(_)
            | N::CoerceToDomain(_)
            | N::CoerceToDomainValue(_)
            | N::NextValueExpr(_)
            | N::InferenceElem(_)
            | N::ReturningExpr(_)
            | N::TargetEntry(_)
            | N::RangeTblRef(_)
            | N::FromExpr(_)
            | N::OnConflictExpr(_)
            | N::Query(_)
            | N::RangeTblEntry(_)
            | N::RtepermissionInfo(_)
            | N::RangeTblFunction(_)
            | N::TableSampleClause(_)
            | N::WithCheckOption(_)
            | N::SortGroupClause(_)
            | N::WindowClause(_)
            | N::RowMarkClause(_)
            | N::SetOperationStmt(_)
            | N::PlassignStmt(_)
            | N::CallContext(_) => self.doubt("the parse tree holds a node that no text yields"),
        }
    }
}

/// Keeps the first of equals, in order.
fn distinct<T: Clone + Eq + std::hash::Hash>(items: &mut Vec<T>) {
    if items.len() > 1 {
        let mut seen = HashSet::with_capacity(items.len());
        items.retain(|item| seen.insert(item.clone()));
    }
}
