//! `sessions grep`.

use std::io::IsTerminal;

use anyhow::bail;
use clap::ValueEnum;

use node_agent::replay::{
    self, Case, Colour, Pattern, Place as In, Question, Style, Syntax, Telling,
};

use super::super::sessions::Place;
use super::super::{Answer, out};
use super::{Opening, Which, recordings, unless_gone};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "What is found is shown once for each statement and place: the first match there, and how \
                  many more. Values are searched as they were delivered, so masked ones as masked. Decision, \
                  rule, table and moments are of the statement itself.\n\n\
                  Exit status: 0 found, 1 not found, 2 something could not be searched (it is named).\n\n\
                  Examples:\n  node-agent sessions grep 'sales.customers'\n  \
                  node-agent sessions grep --in values -i 'ada@example.com' --since 7d\n  \
                  node-agent sessions grep --regex 'DELETE\\s+FROM' --decision allow --json\n  \
                  node-agent sessions grep -l --in errors 42501"
)]
pub(crate) struct Grep {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    opening: Opening,
    /// What to look for, as it stands
    pattern: String,
    /// Only in these sessions (default: all that fit)
    sessions: Vec<String>,
    /// Letters match in upper and lower case
    #[arg(short = 'i', long)]
    ignore_case: bool,
    /// The pattern is a regular expression
    #[arg(long)]
    regex: bool,
    /// Only in these places
    #[arg(long = "in", value_enum, value_delimiter = ',', value_name = "PLACES")]
    places: Vec<Where>,
    /// Only the names of the sessions
    #[arg(short = 'l', long, conflicts_with = "count")]
    sessions_only: bool,
    /// Only how often, by session
    #[arg(long)]
    count: bool,
    /// Only so many lines
    #[arg(long, value_name = "LINES")]
    limit: Option<u64>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    // Last: its heading stands over what follows.
    #[command(flatten)]
    which: Which,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Where {
    Statements,
    Parameters,
    Tables,
    Reasons,
    Refusals,
    Values,
    Errors,
    Notices,
}

impl Where {
    fn place(self) -> In {
        match self {
            Where::Statements => In::Statements,
            Where::Parameters => In::Parameters,
            Where::Tables => In::Tables,
            Where::Reasons => In::Reasons,
            Where::Refusals => In::Refusals,
            Where::Values => In::Values,
            Where::Errors => In::Errors,
            Where::Notices => In::Notices,
        }
    }
}

impl Grep {
    pub(crate) fn run(self) -> anyhow::Result<Answer> {
        let syntax = if self.regex {
            Syntax::Regex
        } else {
            Syntax::Literal
        };
        let case = if self.ignore_case {
            Case::Ignored
        } else {
            Case::Counts
        };
        if self.pattern.is_empty() {
            bail!("an empty pattern is in everything: `sessions ls` lists sessions");
        }
        let filter = self.which.filter();
        let identities = self.opening.identities()?;
        let paths = recordings(&self.place, &identities, &self.sessions, &filter)?;
        let question = Question {
            pattern: Pattern::new(&self.pattern, syntax, case)?,
            places: self.places.into_iter().map(Where::place).collect(),
            filter,
        };
        let telling = match (self.sessions_only, self.count) {
            (true, _) => Telling::Sessions,
            (false, true) => Telling::Counts,
            (false, false) => Telling::Hits,
        };
        let style = if self.json { Style::Json } else { Style::Text };
        let coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let colour = if coloured {
            Colour::Always
        } else {
            Colour::Never
        };
        let searched = unless_gone(replay::tell(
            &paths,
            &identities,
            &question,
            (telling, self.limit),
            (style, colour),
            &mut out::stdout(),
        ))?;
        for sentence in &searched.unsearched {
            out::warning(sentence);
        }
        match searched.unsearched.len() {
            0 if searched.found > 0 => Ok(Answer::Good),
            0 => Ok(Answer::No),
            1 => bail!("1 recording was not searched, or not to its end"),
            many => bail!("{many} recordings were not searched, or not to their end"),
        }
    }
}
