//! Functions and operators: what a statement may call, and what of the owner's a name of the server's may
//! stand for.

use super::judge::Judge;
use super::pattern::FunctionPattern;
use super::{Denial, OwnCall, Question, refuse};
use crate::sql::{FunctionClass, FunctionUse, StatementFacts, classify_function};

/// Refuses a statement that calls what nobody vouches for.
pub(super) fn cover(judge: &Judge<'_>, facts: &StatementFacts) -> Result<(), Box<Denial>> {
    for function in &facts.functions {
        covered(judge, function)?;
    }
    let vouched = |schema: &str, name: &str| vouches(judge, Some(schema), name);
    for operator in &facts.operators {
        for behind in behind(judge.question, operator) {
            let schema = behind.schema.as_deref().unwrap_or_default();
            let denied = |document: &&super::compile::Compiled| {
                let mut patterns = document.functions.deny.iter();
                patterns.any(|p| p.meets(Some(schema), &behind.name))
            };
            if !vouched(schema, &behind.name) || judge.documents.iter().any(denied) {
                return Err(refuse::operator(operator, behind));
            }
        }
    }
    Ok(())
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
}

fn covered(judge: &Judge<'_>, function: &FunctionUse) -> Result<(), Box<Denial>> {
    let (schema, name) = (function.schema.as_deref(), function.name.as_str());
    for document in judge.documents {
        if document
            .functions
            .deny
            .iter()
            .any(|p| p.meets(schema, name))
        {
            return Err(refuse::function_denied(&document.name, function));
        }
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

/// What of the owner's a call may run.
fn target<'a>(question: &'a Question, function: &FunctionUse) -> Option<&'a OwnCall> {
    if function.schema.is_some() {
        return None;
    }
    let mut calls = question.names.calls.iter();
    calls.find(|call| call.name == function.name && call.args == function.args)
}

/// The functions of the owner's that an operator may run.
fn behind<'a>(
    question: &'a Question,
    operator: &str,
) -> impl Iterator<Item = &'a crate::sql::RelationName> {
    let operators = question.names.operators.iter();
    operators
        .filter(move |(name, _)| name == operator)
        .flat_map(|(_, functions)| functions)
}
