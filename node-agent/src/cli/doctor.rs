//! `doctor`: what this kernel and host can do.

use node_agent::intercept::{State, probe};

use super::{Answer, out};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status 1: something is missing without which nothing can be governed."
)]
pub(crate) struct Doctor {
    /// One JSON list
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(crate) fn run(self) -> anyhow::Result<Answer> {
        let findings = probe();
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
