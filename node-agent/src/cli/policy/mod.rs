//! `policy check`, `policy explain`, `policy test`, `policy schema`: the same compiler and the same
//! judge as the daemon's, without a daemon.

mod check;
mod explain;
mod test;

use clap::Subcommand;

use node_agent::policy::RuleRef;

use super::{Answer, out};

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Compile policies as the daemon would: every fault, and what cannot have been meant, with
    /// file, line and column
    ///
    /// All files are taken together, as the daemon would take them: a rule that another file
    /// denies is found. Warnings are about rules that never speak, words without effect,
    /// conditions that are never true and, with --catalogue, patterns that match nothing and
    /// columns that masks leave out. Exit status: 0 good, 1 faults (with --strict also warnings),
    /// 2 what cannot be read.
    #[command(after_help = "Examples:\n  node-agent policy check policies/\n  \
                      node-agent policy check --strict claude.yaml dba.yaml\n  \
                      node-agent catalogue dump --target orders --database app > app.json\n  \
                      node-agent policy check --catalogue app.json policies/\n  \
                      node-agent policy check --json policies/ | jq '.warnings[]'")]
    Check(check::Check),
    /// What would be decided of a statement, by which rules, under which masks
    ///
    /// Without --catalogue names are taken as written: no database is asked which schema an
    /// unqualified one means, nor what a view reads. Exit status 1: it would not simply run.
    #[command(
        after_help = "Examples:\n  node-agent policy explain --policies policies/ \
                      --target orders --group ai-agents 'SELECT * FROM sales.orders'\n  \
                      node-agent policy explain --policies p.yaml --target orders \
                      --workload claude --name customers=sales 'DELETE FROM customers'\n  \
                      node-agent policy explain --policies p.yaml --target orders \
                      --group ai-agents --at 2026-01-14T03:00:00Z - < statement.sql\n  \
                      node-agent policy explain --policies p.yaml --target orders \
                      --group ai-agents --catalogue app.json 'SELECT * FROM recent_orders'"
    )]
    Explain(Box<explain::Explain>),
    /// Run Markdown case files: prose, a policy, a statement, the decision expected of it
    ///
    /// Paths in a `policies` block are looked for beside the case file, then from here.
    /// Exit status: 0 all as expected, 1 some are not, 2 no cases found.
    #[command(after_help = "Examples:\n  node-agent policy test policies/cases/\n  \
                      node-agent policy test --only 'masked' policies/cases/demo.md\n  \
                      node-agent policy test --json orders.md | jq '.cases[] | select(.passed | not)'\n\n\
                      A case file:\n  \
                      # Orders\n  ```policies\n  orders.yaml\n  ```\n  ## It reads them\n  \
                      ```question\n  groups: [ai-agents]\n  ```\n  \
                      ```sql\n  SELECT * FROM sales.orders\n  ```\n  \
                      ```expect\n  allow\n  masked: no\n  ```")]
    Test(test::Test),
    /// The JSON Schema of the policy format, for editors
    #[command(
        after_help = "Examples:\n  node-agent policy schema > node-agent-policy.schema.json\n\n\
                      In an editor that has yaml-language-server, the first line of a policy:\n  \
                      # yaml-language-server: $schema=node-agent-policy.schema.json"
    )]
    Schema,
}

impl PolicyCommand {
    pub(crate) fn run(self) -> anyhow::Result<Answer> {
        match self {
            PolicyCommand::Check(check) => check.run(),
            PolicyCommand::Explain(explain) => explain.run(),
            PolicyCommand::Test(test) => test.run(),
            PolicyCommand::Schema => {
                out::json(&node_agent::policy::schema())?;
                Ok(Answer::Good)
            }
        }
    }
}

fn named(rule: &RuleRef) -> String {
    format!("{}/{}", rule.policy, rule.rule)
}
