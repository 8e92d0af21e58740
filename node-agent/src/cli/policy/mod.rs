//! `policy check`, `policy explain`, `policy test`, `policy backtest`, `policy schema`: the same compiler and the same
//! judge as the daemon's, without a daemon.

mod backtest;
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
    /// Judge recorded sessions by these policies, and list every decision that flips
    ///
    /// Nothing runs and nothing is asked: each recorded statement is judged again as it was, by the
    /// daemon's own decision function, with what its names stood for then. What a recording does
    /// not say is counted and never guessed. Limits and budgets that are new are held against the
    /// rows, bytes, times and changes on record. Exit status: 0 nothing flips (see --fail-on), 1
    /// something does, 2 a recording cannot be read or no decision could be judged.
    #[command(
        after_help = "Examples:\n  node-agent policy backtest --policies new/ --dir /var/lib/node-agent/recordings\n  \
                      node-agent policy backtest --policies new/ --since 7d --workload claude\n  \
                      node-agent policy backtest --policies new/ --fail-on deny s-00c0ffee00c0ffee\n  \
                      node-agent policy backtest --policies new/ --all-changes --json | jq '.flips[]'"
    )]
    Backtest(Box<backtest::Backtest>),
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
            PolicyCommand::Backtest(backtest) => backtest.run(),
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
