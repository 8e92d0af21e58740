//! `doctor`: what this kernel and host can do; with `--reach`, what a database lets others do.

use node_agent::archive::{Archiver, Settings};
use node_agent::config::Config;
use node_agent::intercept::{Finding, State, probe};
use node_agent::keeper::gaps;
use node_agent::record::lies_in_memory;

use super::{Answer, WithConfig, out, outside};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status 1: something is missing without which nothing can be governed; with \
                  --reach: the database takes others than the agent, or it is not known.\n\n\
                  Examples:\n  node-agent doctor\n  \
                  node-agent doctor --reach orders --database orders\n  \
                  nsenter --target PID --net node-agent doctor --reach orders --database orders"
)]
pub(crate) struct Doctor {
    #[command(flatten)]
    with: WithConfig,
    /// Dial this target's database directly, without a credential, from where this runs
    #[arg(long, value_name = "TARGET", requires = "database")]
    reach: Option<String>,
    /// To which database, since the server decides by it; may be repeated
    #[arg(long, value_name = "NAME", requires = "reach")]
    database: Vec<String>,
    /// As which role; may be repeated (default: the agent's own)
    #[arg(long, value_name = "ROLE", requires = "reach")]
    user: Vec<String>,
    /// One JSON list
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(crate) fn run(self) -> anyhow::Result<Answer> {
        if let Some(target) = &self.reach {
            let asked = outside::Asked {
                target,
                users: &self.user,
                databases: &self.database,
                json: self.json,
            };
            return outside::run(&self.with.load()?, &asked);
        }
        let mut findings = probe();
        findings.extend(walls());
        // A host without a configuration is asked what it can do all the same.
        if let Ok(config) = self.with.load() {
            findings.push(journal(&config));
            findings.extend(Settings::by(&config).map(archive));
        }
        let missing = findings
            .iter()
            .any(|finding| finding.state == State::Missing);
        if self.json {
            out::json(&findings)?;
        } else {
            for finding in &findings {
                let state = match finding.state {
                    State::Good => "good    ",
                    State::Degraded => "degraded",
                    State::Missing => "MISSING ",
                };
                out::line(format!("{state}  {}", finding.what))?;
                if let Some(mend) = &finding.mend {
                    out::line(format!("          mend: {mend}"))?;
                }
            }
        }
        Ok(if missing { Answer::No } else { Answer::Good })
    }
}

/// Where decisions lie until they are written.
fn journal(config: &Config) -> Finding {
    let place = config.recording.journal.display();
    match lies_in_memory(&config.recording.journal) {
        Ok(true) => Finding {
            what: format!("the journal of decisions is in memory ({place})"),
            state: State::Good,
            mend: None,
        },
        Ok(false) => Finding {
            what: format!(
                "the journal of decisions ({place}) is not in memory: when its disk hangs, every \
                 session of a thread that writes there hangs with it, and what is not yet in a \
                 recording lies on that disk in clear"
            ),
            state: State::Degraded,
            mend: Some(
                "recording.journal in a directory of a tmpfs that outlives the agent, such as \
                 /run/node-agent/journal"
                    .to_owned(),
            ),
        },
        Err(error) => Finding {
            what: format!("where the journal of decisions lies ({place}) cannot be asked: {error}"),
            state: State::Degraded,
            mend: Some("recording.journal in a directory of a tmpfs".to_owned()),
        },
    }
}

/// Whether the archive answers, and takes the credential.
fn archive(settings: Settings) -> Finding {
    let what = format!(
        "the archive, {} of {}",
        settings.at.bucket, settings.at.endpoint
    );
    let asked = || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(runtime.block_on(Archiver::new(settings)?.reach())?)
    };
    match asked() {
        Ok(()) => Finding {
            what: format!("{what}, answers"),
            state: State::Good,
            mend: None,
        },
        Err(error) => Finding {
            what: format!("{what}, cannot be used: {error}; recordings stay here until it can"),
            state: State::Degraded,
            mend: Some(
                "see recording.archive: its endpoint, ca_file and credential, and the right to read, \
                 write and list"
                    .to_owned(),
            ),
        },
    }
}

/// What keeps the half that talks to peers from files.
fn walls() -> Vec<Finding> {
    let gaps = gaps();
    if gaps.is_empty() {
        return vec![Finding {
            what: "landlock, which keeps the worker to its own files".to_owned(),
            state: State::Good,
            mend: None,
        }];
    }
    let finding = |gap: &str| Finding {
        what: gap.to_owned(),
        state: State::Degraded,
        mend: Some(
            "a kernel of 6.12 or later, with landlock among the words of lsm= on its command line"
                .to_owned(),
        ),
    };
    gaps.into_iter().map(finding).collect()
}
