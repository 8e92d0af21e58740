//! What an expression carries: everything that stands in it.

use pg_query::protobuf as pb;
use pg_query::protobuf::node::Node as N;

use super::{Carried, Tracer};
use crate::sql::functions::{FunctionClass, classify_function, is_of_arguments};
use crate::sql::pg::{names, types};

impl Tracer<'_> {
    /// Adds, and takes as many steps as that costs.
    pub(super) fn add(&mut self, carried: &mut Carried, more: &Carried) {
        if self.spend(more.size()) {
            carried.add(more);
        } else {
            *carried = Carried::Unknown;
        }
    }

    pub(super) fn optional(&mut self, node: Option<&pb::Node>) -> Carried {
        match node {
            Some(node) => self.expression(node),
            None => Carried::nothing(),
        }
    }

    pub(super) fn all(&mut self, nodes: &[pb::Node]) -> Carried {
        let mut all = Carried::nothing();
        for node in nodes {
            let carried = self.expression(node);
            self.add(&mut all, &carried);
        }
        all
    }

    fn both(&mut self, one: Option<&pb::Node>, other: Option<&pb::Node>) -> Carried {
        let mut both = self.optional(one);
        let other = self.optional(other);
        self.add(&mut both, &other);
        both
    }

    /// One expression. What is not understood carries anything.
    pub(super) fn expression(&mut self, node: &pb::Node) -> Carried {
        if !self.spend(1) {
            return Carried::Unknown;
        }
        let Some(node) = &node.node else {
            return Carried::nothing();
        };
        match node {
            // The text's own, the client's own, and what everybody knows.
            N::Integer(_)
            | N::Float(_)
            | N::Boolean(_)
            | N::String(_)
            | N::BitString(_)
            | N::AConst(_)
            | N::ParamRef(_)
            | N::SqlvalueFunction(_)
            | N::SetToDefault(_) => Carried::nothing(),
            N::List(list) => self.all(&list.items),
            N::ColumnRef(n) => self.reference(n),
            N::AExpr(n) => match is_servers_operator(&n.name) {
                true => self.both(n.lexpr.as_deref(), n.rexpr.as_deref()),
                false => Carried::Unknown,
            },
            N::BoolExpr(n) => self.all(&n.args),
            N::NullTest(n) => self.optional(n.arg.as_deref()),
            N::BooleanTest(n) => self.optional(n.arg.as_deref()),
            N::TypeCast(n) => {
                let of_type = self.of_type(n.type_name.as_ref());
                self.optional(n.arg.as_deref()).with(&of_type)
            }
            N::CollateClause(n) => self.optional(n.arg.as_deref()),
            N::FuncCall(n) => self.call(n),
            N::NamedArgExpr(n) => self.optional(n.arg.as_deref()),
            N::AIndices(n) => self.both(n.lidx.as_deref(), n.uidx.as_deref()),
            N::AIndirection(n) => self.path(n),
            N::AArrayExpr(n) => self.all(&n.elements),
            N::RowExpr(n) => self.all(&n.args),
            N::CaseExpr(n) => {
                let mut carried = self.both(n.arg.as_deref(), n.defresult.as_deref());
                let arms = self.all(&n.args);
                self.add(&mut carried, &arms);
                carried
            }
            N::CaseWhen(n) => self.both(n.expr.as_deref(), n.result.as_deref()),
            N::CoalesceExpr(n) => self.all(&n.args),
            N::MinMaxExpr(n) => self.all(&n.args),
            N::GroupingFunc(n) => self.all(&n.args),
            N::SubLink(n) => self.sublink(n),
            N::XmlExpr(n) => {
                let mut carried = self.all(&n.named_args);
                let args = self.all(&n.args);
                self.add(&mut carried, &args);
                carried
            }
            N::XmlSerialize(n) => {
                let of_type = self.of_type(n.type_name.as_ref());
                self.optional(n.expr.as_deref()).with(&of_type)
            }
            N::ResTarget(n) => {
                let path = self.all(&n.indirection);
                self.optional(n.val.as_deref()).with(&path)
            }
            N::SortBy(n) => match n.use_op.is_empty() || is_servers_operator(&n.use_op) {
                true => self.optional(n.node.as_deref()),
                false => Carried::Unknown,
            },
            N::WindowDef(n) => self.window(n),
            N::MultiAssignRef(n) => self.optional(n.source.as_deref()),

            // SQL/JSON is syntax to one server, and to an older one a call of somebody's function;
            // `merge_action()` too. All others are no expressions.
            N::Alias(_)
            | N::RoleSpec(_)
            | N::AStar(_)
            | N::MergeSupportFunc(_)
            | N::CurrentOfExpr(_)
            | N::TriggerTransition(_)
            | N::ReturningOption(_)
            | N::ReplicaIdentityStmt(_)
            | N::AtalterConstraint(_)
            | N::AccessPriv(_)
            | N::CtesearchClause(_)
            | N::JsonFormat(_)
            | N::JsonReturning(_)
            | N::IntList(_)
            | N::OidList(_)
            | N::TypeName(_)
            | N::GroupingSet(_)
            | N::JsonValueExpr(_)
            | N::JsonIsPredicate(_)
            | N::JsonBehavior(_)
            | N::JsonOutput(_)
            | N::JsonArgument(_)
            | N::JsonFuncExpr(_)
            | N::JsonTablePathSpec(_)
            | N::JsonTable(_)
            | N::JsonTableColumn(_)
            | N::JsonKeyValue(_)
            | N::JsonParseExpr(_)
            | N::JsonScalarExpr(_)
            | N::JsonSerializeExpr(_)
            | N::JsonObjectConstructor(_)
            | N::JsonArrayConstructor(_)
            | N::JsonArrayQueryConstructor(_)
            | N::JsonAggConstructor(_)
            | N::JsonObjectAgg(_)
            | N::JsonArrayAgg(_)
            | N::RangeVar(_)
            | N::JoinExpr(_)
            | N::RangeSubselect(_)
            | N::RangeFunction(_)
            | N::RangeTableSample(_)
            | N::RangeTableFunc(_)
            | N::RangeTableFuncCol(_)
            | N::SelectStmt(_)
            | N::InsertStmt(_)
            | N::UpdateStmt(_)
            | N::DeleteStmt(_)
            | N::MergeStmt(_)
            | N::MergeWhenClause(_)
            | N::WithClause(_)
            | N::CommonTableExpr(_)
            | N::CtecycleClause(_)
            | N::InferClause(_)
            | N::OnConflictClause(_)
            | N::ReturningClause(_)
            | N::LockingClause(_)
            | N::ReturnStmt(_)
            | N::RawStmt(_)
            | N::ColumnDef(_)
            | N::Constraint(_)
            | N::TableLikeClause(_)
            | N::IndexElem(_)
            | N::StatsElem(_)
            | N::DefElem(_)
            | N::PartitionElem(_)
            | N::PartitionSpec(_)
            | N::PartitionBoundSpec(_)
            | N::PartitionRangeDatum(_)
            | N::PartitionCmd(_)
            | N::FunctionParameter(_)
            | N::ObjectWithArgs(_)
            | N::CreateOpClassItem(_)
            | N::AlterTableCmd(_)
            | N::VacuumRelation(_)
            | N::PublicationTable(_)
            | N::PublicationObjSpec(_)
            | N::ExplainStmt(_)
            | N::PrepareStmt(_)
            | N::ExecuteStmt(_)
            | N::DeallocateStmt(_)
            | N::DeclareCursorStmt(_)
            | N::FetchStmt(_)
            | N::ClosePortalStmt(_)
            | N::CopyStmt(_)
            | N::TransactionStmt(_)
            | N::VariableSetStmt(_)
            | N::VariableShowStmt(_)
            | N::ConstraintsSetStmt(_)
            | N::DiscardStmt(_)
            | N::ListenStmt(_)
            | N::UnlistenStmt(_)
            | N::NotifyStmt(_)
            | N::LockStmt(_)
            | N::TruncateStmt(_)
            | N::DoStmt(_)
            | N::InlineCodeBlock(_)
            | N::CallStmt(_)
            | N::CreateStmt(_)
            | N::CreateForeignTableStmt(_)
            | N::CreateTableAsStmt(_)
            | N::ViewStmt(_)
            | N::IndexStmt(_)
            | N::CreateSeqStmt(_)
            | N::AlterSeqStmt(_)
            | N::CreateStatsStmt(_)
            | N::AlterStatsStmt(_)
            | N::CreateSchemaStmt(_)
            | N::AlterTableStmt(_)
            | N::AlterTableMoveAllStmt(_)
            | N::RenameStmt(_)
            | N::AlterObjectSchemaStmt(_)
            | N::AlterOwnerStmt(_)
            | N::AlterObjectDependsStmt(_)
            | N::CompositeTypeStmt(_)
            | N::CreateDomainStmt(_)
            | N::AlterDomainStmt(_)
            | N::CreateEnumStmt(_)
            | N::AlterEnumStmt(_)
            | N::AlterTypeStmt(_)
            | N::AlterCollationStmt(_)
            | N::AlterTsdictionaryStmt(_)
            | N::AlterTsconfigurationStmt(_)
            | N::DropStmt(_)
            | N::CommentStmt(_)
            | N::SecLabelStmt(_)
            | N::RefreshMatViewStmt(_)
            | N::ReindexStmt(_)
            | N::ClusterStmt(_)
            | N::VacuumStmt(_)
            | N::CheckPointStmt(_)
            | N::CreateFunctionStmt(_)
            | N::AlterFunctionStmt(_)
            | N::DefineStmt(_)
            | N::CreateRangeStmt(_)
            | N::CreateOpClassStmt(_)
            | N::CreateOpFamilyStmt(_)
            | N::CreateCastStmt(_)
            | N::CreateConversionStmt(_)
            | N::AlterOpFamilyStmt(_)
            | N::AlterOperatorStmt(_)
            | N::CreateTrigStmt(_)
            | N::RuleStmt(_)
            | N::CreatePolicyStmt(_)
            | N::AlterPolicyStmt(_)
            | N::GrantStmt(_)
            | N::GrantRoleStmt(_)
            | N::AlterDefaultPrivilegesStmt(_)
            | N::CreateRoleStmt(_)
            | N::AlterRoleStmt(_)
            | N::AlterRoleSetStmt(_)
            | N::DropRoleStmt(_)
            | N::DropOwnedStmt(_)
            | N::ReassignOwnedStmt(_)
            | N::CreatedbStmt(_)
            | N::AlterDatabaseStmt(_)
            | N::AlterDatabaseRefreshCollStmt(_)
            | N::AlterDatabaseSetStmt(_)
            | N::AlterSystemStmt(_)
            | N::DropdbStmt(_)
            | N::LoadStmt(_)
            | N::CreateTableSpaceStmt(_)
            | N::CreateExtensionStmt(_)
            | N::CreateFdwStmt(_)
            | N::CreateAmStmt(_)
            | N::CreatePlangStmt(_)
            | N::CreateEventTrigStmt(_)
            | N::CreateTransformStmt(_)
            | N::ImportForeignSchemaStmt(_)
            | N::AlterTableSpaceOptionsStmt(_)
            | N::AlterExtensionStmt(_)
            | N::AlterExtensionContentsStmt(_)
            | N::AlterFdwStmt(_)
            | N::AlterEventTrigStmt(_)
            | N::DropTableSpaceStmt(_)
            | N::DropSubscriptionStmt(_)
            | N::DropUserMappingStmt(_)
            | N::CreateForeignServerStmt(_)
            | N::CreateUserMappingStmt(_)
            | N::CreateSubscriptionStmt(_)
            | N::AlterForeignServerStmt(_)
            | N::AlterUserMappingStmt(_)
            | N::AlterSubscriptionStmt(_)
            | N::CreatePublicationStmt(_)
            | N::AlterPublicationStmt(_)
            | N::TableFunc(_)
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
            | N::CallContext(_) => Carried::Unknown,
        }
    }

    /// A cast to a type of the owner's may run the owner's code.
    pub(super) fn of_type(&mut self, name: Option<&pb::TypeName>) -> Carried {
        let Some(name) = name else {
            return Carried::Unknown;
        };
        let parts = names::texts(&name.names);
        let servers = match parts.as_slice() {
            [name] => types::is_the_servers(None, name),
            [schema, name] => types::is_the_servers(Some(schema), name),
            _ => false,
        };
        match servers && !name.pct_type {
            true => Carried::nothing(),
            false => Carried::Unknown,
        }
    }

    fn reference(&mut self, column: &pb::ColumnRef) -> Carried {
        let Some((last, of)) = column.fields.split_last() else {
            return Carried::Unknown;
        };
        let of_names = names::texts(of);
        if of_names.len() != of.len() {
            return Carried::Unknown;
        }
        match &last.node {
            Some(N::String(name)) => match of_names.as_slice() {
                [] => self.column(&name.sval),
                [table] => self.column_of(table, &name.sval),
                [schema, table] | [_, schema, table] => {
                    self.column_of_relation(schema, table, &name.sval)
                }
                _ => Carried::Unknown,
            },
            // A whole row, as a value.
            Some(N::AStar(_)) => {
                let items = match of_names.as_slice() {
                    [table] => self.named(table),
                    [schema, table] | [_, schema, table] => self.relations_named(schema, table),
                    _ => Vec::new(),
                };
                if items.is_empty() {
                    return Carried::Unknown;
                }
                let mut carried = Carried::nothing();
                for item in items {
                    self.add(&mut carried, &item.table.all);
                }
                carried
            }
            _ => Carried::Unknown,
        }
    }

    /// `(value).field[1]`: a part of the value, or a function of it.
    fn path(&mut self, path: &pb::AIndirection) -> Carried {
        let mut carried = self.optional(path.arg.as_deref());
        for step in &path.indirection {
            let more = match &step.node {
                Some(N::String(name)) => match classify_function(None, &name.sval, 1) {
                    // No function of the server's: policy has asked whether the owner has one.
                    FunctionClass::Unknown => Carried::nothing(),
                    FunctionClass::Pure if is_of_arguments(None, &name.sval, 1) => {
                        Carried::nothing()
                    }
                    FunctionClass::Pure | FunctionClass::Refused(_) => Carried::Unknown,
                },
                Some(N::AStar(_)) => Carried::nothing(),
                Some(N::AIndices(indices)) => {
                    self.both(indices.lidx.as_deref(), indices.uidx.as_deref())
                }
                _ => Carried::Unknown,
            };
            self.add(&mut carried, &more);
        }
        carried
    }

    fn call(&mut self, call: &pb::FuncCall) -> Carried {
        let parts = names::texts(&call.funcname);
        let args = match call.agg_star {
            true => 0,
            false => call.args.len(),
        };
        let (schema, name) = match parts.as_slice() {
            [name] => (None, *name),
            [schema, name] => (Some(*schema), *name),
            _ => return Carried::Unknown,
        };
        if !is_of_arguments(schema, name, args) {
            return Carried::Unknown;
        }
        let mut carried = self.all(&call.args);
        let order = self.all(&call.agg_order);
        self.add(&mut carried, &order);
        let filter = self.optional(call.agg_filter.as_deref());
        self.add(&mut carried, &filter);
        if let Some(window) = &call.over {
            let window = self.window(window);
            self.add(&mut carried, &window);
        }
        // An aggregate counts rows, and functions in FROM make as many as their arguments say.
        for level in 0..self.levels.len() {
            let makes = self.levels.get(level).map(|level| level.makes.clone());
            if let Some(makes) = makes.filter(|makes| *makes != Carried::nothing()) {
                self.add(&mut carried, &makes);
            }
        }
        carried
    }

    fn window(&mut self, window: &pb::WindowDef) -> Carried {
        let mut carried = self.all(&window.partition_clause);
        let order = self.all(&window.order_clause);
        self.add(&mut carried, &order);
        let frame = self.both(window.start_offset.as_deref(), window.end_offset.as_deref());
        self.add(&mut carried, &frame);
        // By its name it may be any of the query's.
        if !(window.name.is_empty() && window.refname.is_empty()) {
            let named = self.levels.last().map(|level| level.windows.clone());
            self.add(&mut carried, &named.unwrap_or(Carried::Unknown));
        }
        carried
    }

    fn sublink(&mut self, link: &pb::SubLink) -> Carried {
        use pb::SubLinkType as L;
        if !link.oper_name.is_empty() && !is_servers_operator(&link.oper_name) {
            return Carried::Unknown;
        }
        let mut carried = self.optional(link.testexpr.as_deref());
        let Some(query) = link.subselect.as_deref() else {
            return Carried::Unknown;
        };
        let table = self.statement(query);
        let (values, rows) = match link.sub_link_type() {
            L::ExistsSublink => (false, true),
            L::AllSublink | L::AnySublink | L::RowcompareSublink => (true, true),
            L::ExprSublink | L::MultiexprSublink | L::ArraySublink => (true, false),
            L::Undefined | L::CteSublink => return Carried::Unknown,
        };
        if values {
            self.add(&mut carried, &table.all);
        }
        if rows {
            self.add(&mut carried, &table.decides);
        }
        carried
    }
}

/// Whether an operator is looked for where the server's own are. Policy has asked whether the owner has
/// one of the same name.
fn is_servers_operator(name: &[pb::Node]) -> bool {
    matches!(names::texts(name).as_slice(), [] | [_] | ["pg_catalog", _])
}
