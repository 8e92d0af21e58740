//! Functions and operators: what a statement may call, what of the owner's a name of the server's may stand
//! for, and what a type or a name behind a dot runs without being called.

use std::sync::Arc;

use super::judge::Judge;
use super::pattern::FunctionPattern;
use super::{Denial, OwnCall, Question, refuse};
use crate::sql::{FunctionClass, FunctionUse, RelationName, StatementFacts, classify_function};

/// Refuses a statement that calls what nobody vouches for.
pub(super) fn cover(judge: &Judge<'_>, facts: &StatementFacts) -> Result<(), Box<Denial>> {
    for function in &facts.functions {
        if !facts.is_a_column(function, &judge.question.names.attributes) {
            covered(judge, function)?;
        }
    }
    for operator in &facts.operators {
        for behind in behind(judge.question, operator) {
            if !may_run(judge, behind) {
                return Err(refuse::operator(operator, behind));
            }
        }
    }
    for of in &facts.types {
        for function in made_by(judge.question, of) {
            if !may_run(judge, function) {
                return Err(refuse::type_(of, function));
            }
        }
    }
    for column in facts
        .columns
        .iter()
        .filter(|used| !used.qualifier.is_empty())
    {
        for function in called_by(judge.question, &column.name) {
            if !may_run(judge, function) {
                return Err(refuse::field(&column.name, function));
            }
        }
    }
    Ok(())
}

/// Whether somebody vouches for a function of the owner's, and nobody denies it.
fn may_run(judge: &Judge<'_>, function: &RelationName) -> bool {
    let (schema, name) = (function.schema.as_deref(), function.name.as_str());
    vouches(judge, schema, name) && denying(judge, schema, name).is_none()
}

/// Whether it may run code of the owner's under a name of the server's.
pub(super) fn runs(question: &Question, facts: &StatementFacts) -> bool {
    facts
        .functions
        .iter()
        .any(|function| target(question, function).is_some())
        || facts
            .operators
            .iter()
            .any(|operator| behind(question, operator).next().is_some())
        || facts
            .types
            .iter()
            .any(|of| made_by(question, of).next().is_some())
        || facts.columns.iter().any(|used| {
            !used.qualifier.is_empty() && called_by(question, &used.name).next().is_some()
        })
}

fn covered(judge: &Judge<'_>, function: &FunctionUse) -> Result<(), Box<Denial>> {
    let (schema, name) = (function.schema.as_deref(), function.name.as_str());
    if let Some(policy) = denying(judge, schema, name) {
        return Err(refuse::function_denied(policy, function));
    }
    let target = target(judge.question, function);
    let unvouched = |call: &OwnCall| {
        let mut schemas = call.schemas.iter();
        schemas
            .find(|schema| !vouches(judge, Some(schema), name))
            .cloned()
    };
    match classify_function(schema, name, function.args) {
        FunctionClass::Pure => match target.and_then(unvouched) {
            Some(schema) => Err(refuse::function_shadowed(function, &schema)),
            None => Ok(()),
        },
        FunctionClass::Unknown => {
            // Found in schemas that are all vouched for, and nowhere else.
            let found = |call: &OwnCall| !call.servers && unvouched(call).is_none();
            if vouches(judge, schema, name) || target.is_some_and(found) {
                Ok(())
            } else {
                Err(refuse::function_unknown(judge, function))
            }
        }
        FunctionClass::Refused(why) => {
            // With masks in force not even `*` reaches them: they read past every mask.
            if !every(judge) || !judge.masks.is_empty() {
                return Err(refuse::function_refused(function, why));
            }
            Ok(())
        }
    }
}

fn patterns<'a>(judge: &'a Judge<'_>) -> impl Iterator<Item = &'a FunctionPattern> {
    judge.documents.iter().flat_map(|d| &d.functions.allow)
}

fn every(judge: &Judge<'_>) -> bool {
    patterns(judge).any(|p| *p == FunctionPattern::Every)
}

fn vouches(judge: &Judge<'_>, schema: Option<&str>, name: &str) -> bool {
    patterns(judge).any(|p| p.covers(schema, name))
}

/// The policy that denies it, or may mean it.
fn denying<'a>(judge: &'a Judge<'_>, schema: Option<&str>, name: &str) -> Option<&'a Arc<str>> {
    let mut documents = judge.documents.iter();
    let denies = |patterns: &[FunctionPattern]| patterns.iter().any(|p| p.meets(schema, name));
    let document = documents.find(|document| denies(&document.functions.deny));
    document.map(|document| &document.name)
}

/// What of the owner's a call may run.
fn target<'a>(question: &'a Question, function: &FunctionUse) -> Option<&'a OwnCall> {
    if function.schema.is_some() {
        return None;
    }
    let mut calls = question.names.calls.iter();
    calls.find(|call| call.name == function.name && call.args == function.args)
}

/// The functions of the owner's that making a value of a type may run.
fn made_by<'a>(
    question: &'a Question,
    of: &RelationName,
) -> impl Iterator<Item = &'a RelationName> {
    let types = question.names.types.iter();
    types
        .filter(move |(name, _)| name == of)
        .flat_map(|(_, functions)| functions)
}

/// The functions of the owner's that a name behind a dot may call.
fn called_by<'a>(question: &'a Question, name: &str) -> impl Iterator<Item = &'a RelationName> {
    let fields = question.names.fields.iter();
    fields
        .filter(move |(field, _)| field == name)
        .flat_map(|(_, functions)| functions)
}

/// The functions of the owner's that an operator may run.
fn behind<'a>(question: &'a Question, operator: &str) -> impl Iterator<Item = &'a RelationName> {
    let operators = question.names.operators.iter();
    operators
        .filter(move |(name, _)| name == operator)
        .flat_map(|(_, functions)| functions)
}
