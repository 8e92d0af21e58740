//! Everything that is neither a query nor a change of data.

use pg_query::protobuf as pb;
use pg_query::protobuf::node::Node as N;

use super::names;
use super::walk::Walk;
use crate::sql::second::Misread;
use crate::sql::{
    ColumnRole, CursorSpan, Effect, RelationName, StatementFacts, StatementKind, Touch,
};

/// `CURSOR_OPT_HOLD` in `DeclareCursorStmt.options` (PostgreSQL, nodes/parsenodes.h).
const HOLD: i32 = 0x20;

impl Walk {
    /// DDL on a relation, or on something without one.
    pub(super) fn define(&mut self, kind: StatementKind, relation: Option<&pb::RangeVar>) {
        self.kind(kind);
        self.touch_var(relation, Touch::Define);
        self.effect(Effect::Defines);
    }

    /// DDL that puts code in place.
    pub(super) fn code(&mut self, kind: StatementKind, relation: Option<&pb::RangeVar>) {
        self.define(kind, relation);
        self.kind(StatementKind::DefineCode);
    }

    /// DDL on what belongs to the server.
    pub(super) fn admin(&mut self, kind: StatementKind) {
        self.kind(StatementKind::Admin);
        self.kind(kind);
        self.effect(Effect::Defines);
    }

    /// A list of tables that a definition is about.
    pub(super) fn defined(&mut self, relations: &[pb::Node]) {
        for relation in relations {
            if let Some(N::RangeVar(var)) = &relation.node {
                self.touch_var(Some(var), Touch::Define);
            } else {
                self.node(relation);
            }
        }
    }

    /// EXPLAIN alone plans: nothing runs, but the planner evaluates stable functions and reads
    /// statistics, so the inner relations count as read. With ANALYZE the statement runs.
    pub(super) fn explain(&mut self, explain: &pb::ExplainStmt) {
        self.kind(StatementKind::Explain);
        let analyze = explain.options.iter().any(|option| match &option.node {
            Some(N::DefElem(option)) if option.defname == "analyze" => {
                option.arg.as_ref().is_none_or(|arg| {
                    let value = match &arg.node {
                        Some(N::String(s)) => Some(s.sval.clone()),
                        Some(N::Integer(i)) => Some(i.ival.to_string()),
                        Some(N::Boolean(b)) => Some(b.boolval.to_string()),
                        _ => None,
                    };
                    // Only what is certainly "no" counts as no.
                    !value.is_some_and(|v| {
                        matches!(v.to_ascii_lowercase().as_str(), "off" | "false" | "0")
                    })
                })
            }
            _ => false,
        });
        if analyze {
            self.optional(explain.query.as_deref());
            return;
        }
        let inner = self.inner(explain.query.as_deref());
        let unresolved = inner.kinds.contains(&StatementKind::Execute);
        for used in inner.relations {
            self.touch(used.relation, Touch::Read);
        }
        if unresolved {
            self.kind(StatementKind::Execute);
        }
        self.facts.functions.extend(inner.functions);
        for operator in &inner.operators {
            self.an_operator(operator);
        }
        self.facts.columns.extend(inner.columns);
        self.facts.carries.extend(inner.carries);
        self.facts.rows.extend(inner.rows);
        self.facts.types.extend(inner.types);
        self.facts.attributes.extend(inner.attributes);
        // CREATE TABLE AS is only planned; PREPARE cannot stand here.
        self.facts.effects.extend(
            inner
                .effects
                .into_iter()
                .filter(|e| matches!(e, Effect::Executes(_) | Effect::Sets { .. })),
        );
    }

    /// The facts of a statement inside this one.
    fn inner(&mut self, statement: Option<&pb::Node>) -> StatementFacts {
        let mut walk = Walk::new();
        walk.optional(statement);
        if let Some(misread) = walk.misread {
            self.misread(misread);
        }
        let (facts, doubt) = walk.finish(0..0);
        if let Some(doubt) = doubt {
            self.doubt(&doubt);
        }
        facts
    }

    /// What a PREPARE or DECLARE holds is judged there already: its facts are also this
    /// statement's own.
    fn adopt(&mut self, inner: &StatementFacts) {
        for kind in &inner.kinds {
            self.kind(*kind);
        }
        self.facts.relations.extend(inner.relations.iter().cloned());
        self.facts.functions.extend(inner.functions.iter().cloned());
        for operator in &inner.operators {
            self.an_operator(operator);
        }
        self.facts.columns.extend(inner.columns.iter().cloned());
        self.facts.carries.extend(inner.carries.iter().cloned());
        self.facts.rows.extend(inner.rows.iter().cloned());
        self.facts.types.extend(inner.types.iter().cloned());
        self.facts
            .attributes
            .extend(inner.attributes.iter().cloned());
        self.facts.missing_where |= inner.missing_where;
        self.facts.secret |= inner.secret;
    }

    pub(super) fn prepare(&mut self, prepare: &pb::PrepareStmt) {
        self.kind(StatementKind::Prepare);
        let inner = self.inner(prepare.query.as_deref());
        self.adopt(&inner);
        self.effect(Effect::Prepares {
            name: prepare.name.clone(),
            inner: Box::new(inner),
        });
    }

    pub(super) fn declare(&mut self, declare: &pb::DeclareCursorStmt) {
        self.kind(StatementKind::Declare);
        let inner = self.inner(declare.query.as_deref());
        self.adopt(&inner);
        self.effect(Effect::Declares {
            name: declare.portalname.clone(),
            inner: Box::new(inner),
            span: if declare.options & HOLD == 0 {
                CursorSpan::Transaction
            } else {
                CursorSpan::Session
            },
        });
    }

    pub(super) fn execute(&mut self, execute: &pb::ExecuteStmt) {
        self.kind(StatementKind::Execute);
        self.effect(Effect::Executes(execute.name.clone()));
        self.with_role(ColumnRole::Source, |w| w.nodes(&execute.params));
    }

    pub(super) fn fetch(&mut self, fetch: &pb::FetchStmt) {
        self.kind(StatementKind::Fetch);
        self.effect(Effect::Fetches(fetch.portalname.clone()));
    }

    pub(super) fn deallocate(&mut self, deallocate: &pb::DeallocateStmt) {
        self.kind(StatementKind::Deallocate);
        self.effect(if deallocate.isall || deallocate.name.is_empty() {
            Effect::ForgetsNames
        } else {
            Effect::Deallocates(deallocate.name.clone())
        });
    }

    pub(super) fn close(&mut self, close: &pb::ClosePortalStmt) {
        self.kind(StatementKind::CloseCursor);
        self.effect(if close.portalname.is_empty() {
            Effect::ForgetsNames
        } else {
            Effect::Closes(close.portalname.clone())
        });
    }

    pub(super) fn discard(&mut self, discard: &pb::DiscardStmt) {
        use pb::DiscardMode as M;
        self.kind(StatementKind::Discard);
        match discard.target() {
            M::DiscardAll => {
                self.effect(Effect::ForgetsNames);
                self.effect(Effect::Sets {
                    setting: "all".to_owned(),
                    value: None,
                    local: false,
                });
                self.effect(Effect::Defines);
            }
            // Temporary tables go: names mean something else.
            M::DiscardTemp => self.effect(Effect::Defines),
            M::DiscardPlans | M::DiscardSequences => {}
            M::Undefined => self.doubt("a DISCARD of an unknown form"),
        }
    }

    pub(super) fn transaction(&mut self, transaction: &pb::TransactionStmt) {
        use pb::TransactionStmtKind as K;
        self.kind(match transaction.kind() {
            K::TransStmtBegin
            | K::TransStmtStart
            | K::TransStmtCommit
            | K::TransStmtRollback
            | K::TransStmtSavepoint
            | K::TransStmtRelease
            | K::TransStmtRollbackTo => StatementKind::Transaction,
            K::TransStmtPrepare | K::TransStmtCommitPrepared | K::TransStmtRollbackPrepared => {
                StatementKind::TwoPhase
            }
            K::Undefined => StatementKind::Opaque,
        });
    }

    pub(super) fn copy(&mut self, copy: &pb::CopyStmt) {
        let kind = if copy.is_program {
            StatementKind::CopyProgram
        } else if !copy.filename.is_empty() {
            StatementKind::CopyFile
        } else if copy.is_from {
            self.misread(Misread::Text(
                "the second parser takes what follows COPY FROM STDIN for its data",
            ));
            StatementKind::CopyIn
        } else {
            StatementKind::CopyOut
        };
        self.kind(kind);
        // Rows that leave through a file or a program leave the agent's sight: they are written.
        let role = match (copy.is_from, kind) {
            (true, _) => ColumnRole::Written,
            (false, StatementKind::CopyOut) => ColumnRole::Output,
            (false, _) => ColumnRole::Source,
        };
        let touch = if copy.is_from {
            Touch::Insert
        } else {
            Touch::Read
        };
        self.touch_var(copy.relation.as_ref(), touch);
        if copy.relation.is_some() && copy.attlist.is_empty() {
            self.column(Vec::new(), "*".to_owned(), role);
        }
        for name in names::texts(&copy.attlist) {
            self.column(Vec::new(), name.to_owned(), role);
        }
        self.with_role(role, |w| w.optional(copy.query.as_deref()));
        self.predicate(|w| w.optional(copy.where_clause.as_deref()));
        self.nodes(&copy.options);
    }

    pub(super) fn lock(&mut self, lock: &pb::LockStmt) {
        self.kind(StatementKind::Lock);
        for relation in &lock.relations {
            if let Some(N::RangeVar(var)) = &relation.node {
                self.touch_var(Some(var), Touch::Lock);
            }
        }
    }

    pub(super) fn truncate(&mut self, truncate: &pb::TruncateStmt) {
        self.kind(StatementKind::Truncate);
        for relation in &truncate.relations {
            if let Some(N::RangeVar(var)) = &relation.node {
                self.touch_var(Some(var), Touch::Truncate);
            }
        }
        if truncate.behavior() == pb::DropBehavior::DropCascade {
            // Every table that refers to these is emptied too; which these are, no text shows.
            self.touch(names::whole_schema("*"), Touch::Truncate);
        }
    }

    pub(super) fn call_procedure(&mut self, call: &pb::CallStmt) {
        self.kind(StatementKind::Call);
        if let Some(function) = &call.funccall {
            self.with_role(ColumnRole::Source, |w| w.call(function));
        }
    }

    pub(super) fn create_table(&mut self, create: &pb::CreateStmt) {
        self.define(StatementKind::Create, create.relation.as_ref());
        self.defined(&create.inh_relations);
        let like = |element: &pb::Node| matches!(element.node, Some(N::TableLikeClause(_)));
        if create.table_elts.len() > 1 && create.table_elts.iter().any(like) {
            self.misread(Misread::Statement(
                "the second parser takes LIKE among columns for a column",
            ));
        }
        self.with_role(ColumnRole::Source, |w| {
            w.nodes(&create.table_elts);
            w.nodes(&create.constraints);
            w.nodes(&create.nnconstraints);
            w.nodes(&create.options);
            if let Some(bound) = &create.partbound {
                w.nodes(&bound.listdatums);
                w.nodes(&bound.lowerdatums);
                w.nodes(&bound.upperdatums);
            }
            if let Some(spec) = &create.partspec {
                w.nodes(&spec.part_params);
            }
        });
    }

    pub(super) fn create_foreign_table(&mut self, create: &pb::CreateForeignTableStmt) {
        self.admin(StatementKind::Create);
        if let Some(base) = &create.base_stmt {
            self.create_table(base);
        }
    }

    pub(super) fn create_table_as(&mut self, create: &pb::CreateTableAsStmt) {
        let relation = create.into.as_ref().and_then(|into| into.rel.as_ref());
        self.define(StatementKind::Create, relation);
        self.with_role(ColumnRole::Source, |w| w.optional(create.query.as_deref()));
    }

    pub(super) fn create_view(&mut self, view: &pb::ViewStmt) {
        self.define(StatementKind::Create, view.view.as_ref());
        self.with_role(ColumnRole::Source, |w| w.optional(view.query.as_deref()));
    }

    pub(super) fn create_index(&mut self, index: &pb::IndexStmt) {
        self.define(StatementKind::Create, index.relation.as_ref());
        self.predicate(|w| {
            w.nodes(&index.index_params);
            w.nodes(&index.index_including_params);
            w.optional(index.where_clause.as_deref());
        });
    }

    pub(super) fn create_schema(&mut self, create: &pb::CreateSchemaStmt) {
        self.define(StatementKind::Create, None);
        let name = match (&create.authrole, create.schemaname.as_str()) {
            (Some(role), "") => role.rolename.as_str(),
            (_, name) => name,
        };
        self.touch(names::whole_schema(name), Touch::Define);
        self.nodes(&create.schema_elts);
    }

    pub(super) fn create_function(&mut self, create: &pb::CreateFunctionStmt) {
        self.code(StatementKind::Create, None);
        self.with_role(ColumnRole::Source, |w| {
            w.nodes(&create.parameters);
            w.optional(create.sql_body.as_deref());
        });
    }

    /// CREATE AGGREGATE, OPERATOR, TYPE, TEXT SEARCH …, COLLATION.
    pub(super) fn define_object(&mut self, define: &pb::DefineStmt) {
        use pb::ObjectType as O;
        match define.kind() {
            O::ObjectCollation | O::ObjectTsconfiguration | O::ObjectTsdictionary => {
                self.define(StatementKind::Create, None);
            }
            _ => self.code(StatementKind::Create, None),
        }
    }

    pub(super) fn create_rule(&mut self, rule: &pb::RuleStmt) {
        self.code(StatementKind::Create, rule.relation.as_ref());
        self.with_role(ColumnRole::Source, |w| {
            w.nodes(&rule.actions);
            w.predicate(|w| w.optional(rule.where_clause.as_deref()));
        });
    }

    pub(super) fn column_def(&mut self, column: &pb::ColumnDef) {
        self.type_name(column.type_name.as_ref());
        self.optional(column.raw_default.as_deref());
        self.nodes(&column.constraints);
        self.nodes(&column.fdwoptions);
    }

    pub(super) fn constraint(&mut self, constraint: &pb::Constraint) {
        self.touch_var(constraint.pktable.as_ref(), Touch::Read);
        self.optional(constraint.raw_expr.as_deref());
        self.nodes(&constraint.exclusions);
        self.predicate(|w| w.optional(constraint.where_clause.as_deref()));
        self.owned_by(&constraint.options);
    }

    /// Options of a sequence: OWNED BY table.column.
    pub(super) fn owned_by(&mut self, options: &[pb::Node]) {
        for option in options {
            if let Some(N::DefElem(element)) = &option.node
                && element.defname == "owned_by"
                && let Some(N::List(list)) = element.arg.as_ref().and_then(|n| n.node.as_ref())
                && let [table @ .., _] = names::texts(&list.items).as_slice()
                && let Some(table) = names::qualified(table)
            {
                self.touch(table, Touch::Define);
            }
        }
    }

    pub(super) fn alter_table(&mut self, alter: &pb::AlterTableStmt) {
        self.define(StatementKind::Alter, alter.relation.as_ref());
        self.with_role(ColumnRole::Source, |w| w.nodes(&alter.cmds));
    }

    pub(super) fn alter_table_cmd(&mut self, command: &pb::AlterTableCmd) {
        use pb::AlterTableType as T;
        // What switches guards on and off, or gives the table away, is more than a change of
        // shape.
        match command.subtype() {
            T::AtEnableTrig
            | T::AtEnableAlwaysTrig
            | T::AtEnableReplicaTrig
            | T::AtDisableTrig
            | T::AtEnableTrigAll
            | T::AtDisableTrigAll
            | T::AtEnableTrigUser
            | T::AtDisableTrigUser
            | T::AtEnableRule
            | T::AtEnableAlwaysRule
            | T::AtEnableReplicaRule
            | T::AtDisableRule
            | T::AtEnableRowSecurity
            | T::AtDisableRowSecurity
            | T::AtForceRowSecurity
            | T::AtNoForceRowSecurity => self.kind(StatementKind::DefineCode),
            T::AtChangeOwner => self.kind(StatementKind::Grant),
            T::AtAddInherit
            | T::AtDropInherit
            | T::AtAttachPartition
            | T::AtDetachPartition
            | T::AtDetachPartitionFinalize
            | T::AtAddOf
            | T::AtDropOf => self.facts.moves = true,
            _ => {}
        }
        match command.def.as_ref().and_then(|n| n.node.as_ref()) {
            Some(N::RangeVar(var)) => self.touch_var(Some(var), Touch::Define),
            _ => self.optional(command.def.as_deref()),
        }
    }

    pub(super) fn rename(&mut self, rename: &pb::RenameStmt) {
        self.define(StatementKind::Alter, rename.relation.as_ref());
        self.facts.moves = true;
        if rename.rename_type() == pb::ObjectType::ObjectSchema {
            self.touch(names::whole_schema(&rename.subname), Touch::Define);
        } else if rename.rename_type() == pb::ObjectType::ObjectAttribute {
            // The columns of every table of that type go along; which these are, no text shows.
            self.touch(names::whole_schema("*"), Touch::Define);
        } else if rename.rename_type() == pb::ObjectType::ObjectRole {
            self.kind(StatementKind::Role);
        } else if rename.rename_type() == pb::ObjectType::ObjectDatabase {
            self.kind(StatementKind::Admin);
        }
    }

    pub(super) fn alter_schema(&mut self, alter: &pb::AlterObjectSchemaStmt) {
        self.define(StatementKind::Alter, alter.relation.as_ref());
        self.facts.moves = true;
        if alter.object_type() == pb::ObjectType::ObjectExtension {
            // The extension's tables go along, from a schema that no text shows.
            self.touch(names::whole_schema("*"), Touch::Define);
        }
        // The table arrives in another schema under its own name.
        if let Some(var) = &alter.relation {
            let moved = RelationName {
                schema: Some(alter.newschema.clone()),
                name: var.relname.clone(),
            };
            self.touch(moved, Touch::Define);
        }
    }

    pub(super) fn alter_owner(&mut self, alter: &pb::AlterOwnerStmt) {
        self.define(StatementKind::Alter, alter.relation.as_ref());
        self.kind(StatementKind::Grant);
        if alter.object_type() == pb::ObjectType::ObjectDatabase {
            self.kind(StatementKind::Admin);
        }
    }

    pub(super) fn drop(&mut self, drop: &pb::DropStmt) {
        use pb::ObjectType as O;
        self.define(StatementKind::Drop, None);
        for object in &drop.objects {
            let parts = match &object.node {
                Some(N::List(list)) => names::texts(&list.items),
                Some(N::String(s)) => vec![s.sval.as_str()],
                _ => Vec::new(),
            };
            let relation = match drop.remove_type() {
                O::ObjectTable
                | O::ObjectView
                | O::ObjectMatview
                | O::ObjectSequence
                | O::ObjectIndex
                | O::ObjectForeignTable => names::qualified(&parts),
                // The last part is the trigger's own name.
                O::ObjectTrigger | O::ObjectRule | O::ObjectPolicy => match parts.as_slice() {
                    [table @ .., _] => names::qualified(table),
                    [] => None,
                },
                O::ObjectSchema => parts.first().map(|s| names::whole_schema(s)),
                _ => None,
            };
            if let Some(relation) = relation {
                self.touch(relation, Touch::Define);
            }
        }
        match drop.remove_type() {
            O::ObjectTrigger | O::ObjectRule | O::ObjectPolicy => {
                self.kind(StatementKind::DefineCode);
            }
            O::ObjectExtension
            | O::ObjectLanguage
            | O::ObjectFdw
            | O::ObjectForeignServer
            | O::ObjectPublication
            | O::ObjectEventTrigger
            | O::ObjectAccessMethod
            | O::ObjectTransform => self.kind(StatementKind::Admin),
            _ => {}
        }
    }

    pub(super) fn comment(&mut self, comment: &pb::CommentStmt) {
        self.define(StatementKind::Maintain, None);
        self.facts.comments = true;
        self.described(comment.objtype(), comment.object.as_deref());
    }

    pub(super) fn security_label(&mut self, label: &pb::SecLabelStmt) {
        self.define(StatementKind::Maintain, None);
        self.kind(StatementKind::Admin);
        self.described(label.objtype(), label.object.as_deref());
    }

    fn described(&mut self, kind: pb::ObjectType, object: Option<&pb::Node>) {
        use pb::ObjectType as O;
        let parts = match object.and_then(|n| n.node.as_ref()) {
            Some(N::List(list)) => names::texts(&list.items),
            Some(N::String(s)) => vec![s.sval.as_str()],
            _ => return,
        };
        let relation = match kind {
            O::ObjectTable
            | O::ObjectView
            | O::ObjectMatview
            | O::ObjectSequence
            | O::ObjectIndex
            | O::ObjectForeignTable => names::qualified(&parts),
            O::ObjectColumn
            | O::ObjectTrigger
            | O::ObjectRule
            | O::ObjectPolicy
            | O::ObjectTabconstraint => match parts.as_slice() {
                [table @ .., _] => names::qualified(table),
                [] => None,
            },
            O::ObjectSchema => parts.first().map(|s| names::whole_schema(s)),
            _ => None,
        };
        if let Some(relation) = relation {
            self.touch(relation, Touch::Define);
        }
    }

    pub(super) fn reindex(&mut self, reindex: &pb::ReindexStmt) {
        use pb::ReindexObjectType as R;
        self.define(StatementKind::Maintain, reindex.relation.as_ref());
        if reindex.kind() == R::ReindexObjectSchema {
            self.touch(names::whole_schema(&reindex.name), Touch::Define);
        }
    }

    pub(super) fn grant(&mut self, grant: &pb::GrantStmt) {
        use pb::ObjectType as O;
        self.define(StatementKind::Grant, None);
        let whole = grant.targtype() == pb::GrantTargetType::AclTargetAllInSchema;
        for object in &grant.objects {
            match &object.node {
                Some(N::RangeVar(var)) => self.touch_var(Some(var), Touch::Define),
                Some(N::String(s)) if whole || grant.objtype() == O::ObjectSchema => {
                    self.touch(names::whole_schema(&s.sval), Touch::Define);
                }
                _ => {}
            }
        }
    }

    /// CREATE, ALTER and DROP of roles. A PASSWORD makes the text a secret.
    pub(super) fn role_statement(&mut self, options: &[pb::Node]) {
        self.kind(StatementKind::Role);
        self.effect(Effect::Defines);
        for option in options {
            if let Some(N::DefElem(option)) = &option.node
                && option.defname.contains("assword")
            {
                self.facts.secret = true;
            }
        }
    }
}
