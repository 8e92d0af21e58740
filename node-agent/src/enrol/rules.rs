//! Pure. Which workload a cgroup belongs to, from its path and its attribute.

use std::path::Path;
use std::sync::Arc;

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

use super::{Because, EnrolError, WorkloadRule};

/// The configured workloads, ready to be asked.
#[derive(Debug)]
pub(super) struct Rules {
    rules: Vec<WorkloadRule>,
    globs: GlobSet,
    /// Which rule each glob of the set belongs to.
    owners: Vec<usize>,
}

impl Rules {
    pub(super) fn compile(rules: Vec<WorkloadRule>) -> Result<Self, EnrolError> {
        let mut set = GlobSetBuilder::new();
        let mut owners = Vec::new();
        for (owner, rule) in rules.iter().enumerate() {
            for glob in &rule.globs {
                let wrong = |error: globset::Error| EnrolError::Glob {
                    workload: Arc::clone(&rule.name),
                    glob: glob.clone(),
                    error: error.kind().to_string(),
                };
                // Written with or without the leading slash that /proc/PID/cgroup shows.
                let pattern = glob.trim_matches('/');
                set.add(
                    GlobBuilder::new(pattern).literal_separator(true).build().map_err(wrong)?,
                );
                owners.push(owner);
            }
        }
        let globs = set.build().map_err(|error| EnrolError::Glob {
            workload: "all workloads".into(),
            glob: String::new(),
            error: error.kind().to_string(),
        })?;
        Ok(Rules { rules, globs, owners })
    }

    pub(super) fn named(&self, name: &str) -> Option<&WorkloadRule> {
        self.rules.iter().find(|rule| &*rule.name == name)
    }

    /// The workload of a cgroup by itself, whatever lies above it. `path` is below the root,
    /// `attribute` what the cgroup carries. Globs come first: they are the configuration's word.
    pub(super) fn of(
        &self,
        path: &Path,
        attribute: Option<&str>,
    ) -> Option<(&WorkloadRule, Because)> {
        if path.as_os_str().is_empty() {
            return None; // the root is nobody's
        }
        let by_glob = self
            .globs
            .matches_candidate(&Candidate::new(path))
            .into_iter()
            .filter_map(|glob| self.owners.get(glob))
            .min()
            .and_then(|owner| self.rules.get(*owner));
        match by_glob {
            Some(rule) => Some((rule, Because::Glob)),
            None => Some((self.named(attribute?)?, Because::Attribute)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intercept::WorkloadIndex;

    fn rules() -> Rules {
        let rule = |name: &str, index, globs: &[&str]| WorkloadRule {
            name: name.into(),
            globs: globs.iter().map(|g| (*g).to_owned()).collect(),
            index: WorkloadIndex(index),
        };
        Rules::compile(vec![
            rule("claude", 0, &["agents/claude*", "/deep/**/x"]),
            rule("ci", 1, &["ci-*.slice", "agents/claude-ci"]),
            rule("hand", 2, &[]),
        ])
        .unwrap()
    }

    #[test]
    fn a_cgroup_is_found_by_glob_then_by_attribute() {
        for (path, attribute, want) in [
            ("agents/claude", None, Some(("claude", Because::Glob))),
            ("agents/claude-7", None, Some(("claude", Because::Glob))),
            ("agents/claude-7/below", None, None),
            ("agents", None, None),
            ("deep/a/b/x", None, Some(("claude", Because::Glob))),
            ("ci-7.slice", None, Some(("ci", Because::Glob))),
            ("agents/claude-ci", None, Some(("claude", Because::Glob))),
            ("agents/claude", Some("ci"), Some(("claude", Because::Glob))),
            ("other", Some("hand"), Some(("hand", Because::Attribute))),
            ("other", Some("nobody"), None),
            ("", Some("hand"), None),
        ] {
            let rules = rules();
            let got = rules.of(Path::new(path), attribute).map(|(r, b)| (r.name.to_string(), b));
            assert_eq!(got, want.map(|(n, b)| (n.to_owned(), b)), "{path} {attribute:?}");
        }
    }

    #[test]
    fn a_bad_glob_names_its_workload() {
        let rule =
            WorkloadRule { name: "w".into(), globs: vec!["a[".into()], index: WorkloadIndex(0) };
        let error = Rules::compile(vec![rule]).unwrap_err().to_string();
        assert!(error.starts_with("cgroup glob \"a[\" of workload w: "), "{error}");
    }
}
