//! `sessions ls`.

use clap::ValueEnum;

use node_agent::replay::{self, Order, Sort, Style, Trust};
use node_agent::telemetry::Seen;

use super::super::sessions::Place;
use super::super::{Answer, live, out};
use super::{Opening, Which, unless_gone, unopened};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  node-agent sessions ls --since 2h --decision deny\n  \
                  node-agent sessions ls --table 'sales.*' --min-rows 10000 --sort rows\n  \
                  node-agent sessions ls --user claude@agents --since yesterday --until today --json\n  \
                  node-agent sessions ls --live"
)]
pub(crate) struct Ls {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    opening: Opening,
    /// By what to sort, ascending
    #[arg(long, value_enum, default_value = "began")]
    sort: By,
    /// Only so many: the last of them
    #[arg(long, value_name = "SESSIONS")]
    limit: Option<usize>,
    /// Ask the daemon for the sessions of this moment
    #[arg(long)]
    live: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    // Last: its heading stands over what follows.
    #[command(flatten)]
    which: Which,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    Began,
    Ended,
    Workload,
    User,
    Target,
    Statements,
    Denied,
    Rows,
    Bytes,
}

impl Ls {
    pub(crate) fn run(self) -> anyhow::Result<Answer> {
        if self.live {
            let with = self.place.with();
            let seen: Vec<Seen> = live::question(with, None, hyper::Method::GET, "/v1/sessions")?;
            list_live(&seen, self.json)?;
            return Ok(Answer::Good);
        }
        let progress = out::Progress::new("recordings read");
        let found = replay::catalogue(
            &self.place.dir()?,
            &self.opening.identities()?,
            &self.which.filter(),
            Trust::Unchanged,
            &|n, of| progress.tell(n, of),
        )?;
        drop(progress);
        unopened(found.coverage.unopened);
        let order = Order {
            sort: match self.sort {
                By::Began => Sort::Began,
                By::Ended => Sort::Ended,
                By::Workload => Sort::Workload,
                By::User => Sort::User,
                By::Target => Sort::Target,
                By::Statements => Sort::Statements,
                By::Denied => Sort::Denied,
                By::Rows => Sort::Rows,
                By::Bytes => Sort::Bytes,
            },
            last: self.limit,
        };
        let style = if self.json { Style::Json } else { Style::Text };
        let entries = found.entries.into_iter().map(|(_, entry)| entry).collect();
        let _count = unless_gone(replay::print(entries, order, style, &mut out::stdout()))?;
        Ok(Answer::Good)
    }
}

fn list_live(seen: &[Seen], json: bool) -> anyhow::Result<()> {
    if json {
        return out::json(&seen);
    }
    let head = [
        "SESSION",
        "WORKLOAD",
        "USER",
        "TARGET",
        "DATABASE",
        "STATEMENTS",
        "DENIED",
        "ROWS",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for one in seen {
        rows.push(vec![
            one.session.id.to_string(),
            replay::visible(&one.session.workload).into_owned(),
            replay::visible(&one.session.user).into_owned(),
            replay::visible(&one.session.target).into_owned(),
            replay::visible(&one.session.database).into_owned(),
            one.statements.to_string(),
            one.denied.to_string(),
            one.rows.to_string(),
        ]);
    }
    out::table(&rows)
}
