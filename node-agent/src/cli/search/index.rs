//! `sessions index`.

use node_agent::record::Identities;
use node_agent::replay::{self, Filter, Trust};

use super::super::sessions::Place;
use super::super::{Answer, out};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The index is what `ls` and filters read instead of the recordings: the file sessions.index \
                  beside them. It is kept up to date by the commands that use it, holds only while files are \
                  what they were, and may be removed at any time. It proves nothing: `sessions verify` reads \
                  the recordings. Of recordings that are sealed nothing is in it.\n\nExamples:\n  node-agent sessions index\n  node-agent sessions index --rebuild"
)]
pub(crate) struct Index {
    #[command(flatten)]
    place: Place,
    /// Believe nothing of it: read every recording
    #[arg(long)]
    rebuild: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Index {
    pub(crate) fn run(self) -> anyhow::Result<Answer> {
        let trust = if self.rebuild {
            Trust::Nothing
        } else {
            Trust::Unchanged
        };
        let progress = out::Progress::new("recordings read");
        let found = replay::catalogue(
            &self.place.dir()?,
            &Identities::none(),
            &Filter::default(),
            trust,
            &|n, of| progress.tell(n, of),
        )?;
        drop(progress);
        let coverage = found.coverage;
        if self.json {
            out::json(&coverage)?;
        } else {
            out::line(format!(
                "{} recordings: {} known, {} read, {} of them sealed, of which nothing is kept; {} files are no recordings or hold nothing yet",
                found.entries.len(),
                coverage.known,
                coverage.read,
                coverage.unopened,
                coverage.unreadable
            ))?;
        }
        Ok(Answer::Good)
    }
}
