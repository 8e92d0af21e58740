//! `policy check`.

use std::path::PathBuf;

use serde::Serialize;

use node_agent::feed::read_policies;
use node_agent::policy::{Finding, PolicyError, PolicySet, check, check_against};

use super::super::{Answer, catalogue, out};

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// Files, and directories of .yaml and .yml files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// A database to hold patterns against: what `catalogue dump` wrote, or a postgres:// URL
    #[arg(long, value_name = "FILE|URL")]
    catalogue: Option<String>,
    /// Only policies about this target are held against the catalogue (default: the target that
    /// it was read of, if any)
    #[arg(long, requires = "catalogue")]
    target: Option<String>,
    /// Warnings count as faults
    #[arg(long)]
    strict: bool,
    /// JSON
    #[arg(long)]
    json: bool,
}

/// What came of it, for programs.
#[derive(Serialize)]
struct Report<'a> {
    good: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    /// Policies that are in force only while they are granted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    on_request: Vec<String>,
    errors: Vec<Fault<'a>>,
    warnings: &'a [Finding],
}

#[derive(Serialize)]
struct Fault<'a> {
    file: &'a str,
    line: u64,
    column: u64,
    message: &'a str,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<Answer> {
        // First: a database that cannot be asked is no finding.
        let inventory = self.catalogue.as_deref().map(catalogue::open).transpose()?;
        let (documents, mut errors) = read_policies(&self.paths)?;
        let mut warnings = Vec::new();
        let mut version = None;
        let mut on_request = Vec::new();
        if errors.is_empty() {
            match PolicySet::compile(documents.clone()) {
                Ok(set) => {
                    version = Some(set.version());
                    let granted = set.all_on_request();
                    on_request.extend(granted.map(|access| access.policy.to_string()));
                    warnings = check(&documents);
                    if let Some(inventory) = &inventory {
                        let target = self.target.as_deref().or(inventory.target.as_deref());
                        warnings.extend(check_against(&documents, inventory, target));
                    }
                }
                Err(wrong) => errors = wrong,
            }
        }
        let good = errors.is_empty() && (warnings.is_empty() || !self.strict);
        if self.json {
            out::json(&Report {
                good,
                version: version.as_deref(),
                on_request,
                errors: errors.iter().map(fault).collect(),
                warnings: &warnings,
            })?;
        } else {
            for error in &errors {
                out::line(error)?;
            }
            for warning in &warnings {
                out::line(warning)?;
            }
            if !on_request.is_empty() {
                let names = on_request.join(", ");
                out::line(format!(
                    "granted on request, and in force for nobody till then: {names}"
                ))?;
            }
            if let Some(version) = version {
                let many = match warnings.len() {
                    0 => String::new(),
                    1 => "; 1 warning".to_owned(),
                    many => format!("; {many} warnings"),
                };
                let word = if good { "good" } else { "not good" };
                out::line(format!("{word}; version {version}{many}"))?;
            }
        }
        Ok(if good { Answer::Good } else { Answer::No })
    }
}

fn fault(error: &PolicyError) -> Fault<'_> {
    Fault {
        file: &error.source_name,
        line: error.line,
        column: error.column,
        message: &error.message,
    }
}
