//! `workloads`.

use std::sync::Arc;

use serde_saphyr::Spanned;

use super::Check;
use crate::config::raw::{RawToken, RawWorkload};
use crate::config::resolved::{TokenSource, WorkloadRule};

impl Check<'_> {
    pub(super) fn workloads(&mut self, raw: &[Spanned<RawWorkload>]) -> Vec<WorkloadRule> {
        let mut rules: Vec<WorkloadRule> = Vec::new();
        for (index, workload) in raw.iter().enumerate() {
            let key = format!("workloads[{index}]");
            let at = workload.referenced;
            let made = self.workload(&key, workload);
            if !made.name.is_empty() && rules.iter().any(|other| other.name == made.name) {
                let problem = format!("`{}` is declared twice", made.name);
                self.fault(
                    at,
                    format!("{key}.name"),
                    problem,
                    "every workload has its own name",
                );
            }
            rules.push(made);
        }
        rules
    }

    fn workload(&mut self, key: &str, workload: &Spanned<RawWorkload>) -> WorkloadRule {
        let at = workload.referenced;
        let raw = &workload.value;
        let name = self.name(at, &format!("{key}.name"), raw.name.as_ref());
        let mut cgroups = Vec::new();
        for glob in &raw.cgroups {
            let text = glob.value.as_str();
            if let Err((problem, mend)) = glob_stands(text) {
                self.fault(glob.referenced, format!("{key}.cgroups"), problem, mend);
            }
            cgroups.push(text.to_owned());
        }
        let mut tokens = Vec::new();
        for token in &raw.token {
            let source = match &token.value {
                RawToken::File(path) => {
                    if !path.is_absolute() {
                        self.fault(
                            token.referenced,
                            format!("{key}.token"),
                            format!("`{}` is a relative path", path.display()),
                            "write it as the workload sees it, from its root",
                        );
                    }
                    TokenSource::File(path.clone())
                }
                RawToken::Password => TokenSource::Password,
                RawToken::Oauthbearer => TokenSource::Bearer,
            };
            tokens.push(source);
        }
        if tokens.is_empty() {
            self.fault(
                at,
                format!("{key}.token"),
                "is missing",
                "say where the user's token is: { file: PATH }, password or oauthbearer",
            );
        }
        WorkloadRule {
            name: Arc::from(name),
            cgroups,
            labels: raw.labels.clone(),
            tokens,
            subject: raw.subject.as_ref().map(|s| s.value.clone()),
        }
    }
}

fn glob_stands(text: &str) -> Result<(), (String, &'static str)> {
    if globset::GlobBuilder::new(text)
        .literal_separator(true)
        .build()
        .is_err()
    {
        return Err((
            format!("`{text}` is no glob"),
            "check its brackets and braces",
        ));
    }
    if text
        .split('/')
        .any(|part| part.is_empty() || part == "." || part == "..")
    {
        return Err((
            format!("`{text}` must be relative to the cgroup2 root, without `..`"),
            "write it as agents/claude*",
        ));
    }
    // Such a glob labels every cgroup, the agent's own and the databases' among them.
    if text.split('/').all(|part| part.bytes().all(|b| b == b'*')) {
        return Err((
            format!("`{text}` would label everything on this node, the agent too"),
            "begin with a plain name, such as agents/*",
        ));
    }
    Ok(())
}
