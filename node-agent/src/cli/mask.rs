//! `mask audit`: which column of a target's databases has which mask, and which looks as if it should have one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::bail;
use clap::Subcommand;
use serde::Serialize;

use node_agent::config::Config;
use node_agent::feed::read_policies;
use node_agent::mask::detected;
use node_agent::policy::{Audit, AuditedColumn, AuditedMask, Document, PolicySet, audit};
use node_agent::upstream::{Endpoint, databases, inventory, sample};
use node_agent::wire::pg::Pg;

use super::catalogue::{Door, run};
use super::{Answer, WithConfig, out};

#[derive(Debug, Subcommand)]
pub(crate) enum MaskCommand {
    /// Every column of a target's databases: its tags, the masks about it, and what it looks like
    ///
    /// A column whose name and type look like personal data or a secret, and that no mask is about, is
    /// marked `no rule`. Nothing of the rows is read unless --sample says how many: then values are looked at too, and
    /// only how many of them look like what is told, never a value. Exit status: 0 done, 1 with --strict where a
    /// column has no rule or a mask protects nothing, 2 what cannot be read.
    #[command(after_help = "Examples:\n  node-agent mask audit --target orders\n  \
                      node-agent mask audit --target orders --database app --unruled\n  \
                      node-agent mask audit --target orders --sample 200\n  \
                      node-agent mask audit --target orders --strict --policies policies/\n  \
                      node-agent mask audit --target orders --json | \
                      jq '.databases[].columns[] | select(.unruled)'\n\n\
                      To classify a column in the database itself, so that a mask with `tags: ['pii:*']` is about it:\n  \
                      COMMENT ON COLUMN sales.customers.ssn IS 'Social security number (pii:ssn)'")]
    Audit(AuditArguments),
}

#[derive(Debug, clap::Args)]
pub(crate) struct AuditArguments {
    /// A target of the configuration, read with its credential
    #[arg(long)]
    target: String,
    /// One database in it (default: every one that the credential may open)
    #[arg(long)]
    database: Option<String>,
    /// With the credential of members of this group
    #[arg(long)]
    group: Option<String>,
    /// Policies: files, and directories of .yaml and .yml files (default: those of the configuration)
    #[arg(long, value_name = "PATH")]
    policies: Vec<PathBuf>,
    /// Look at so many rows of each table, 1000 at most; no value is ever shown
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..=1000))]
    sample: Option<u32>,
    /// List only columns that look like personal data or a secret and have no mask
    #[arg(long)]
    unruled: bool,
    /// Exit status 1 where a column has no rule or a mask protects nothing
    #[arg(long)]
    strict: bool,
    /// JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    with: WithConfig,
}

/// What came of it, for programs.
#[derive(Serialize)]
struct Report<'a> {
    target: &'a str,
    databases: Vec<Audited>,
    /// How many columns have no rule.
    unruled: usize,
}

#[derive(Serialize)]
struct Audited {
    database: String,
    #[serde(flatten)]
    audit: Audit,
    /// Tables that the credential may not read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unread: Vec<String>,
}

impl MaskCommand {
    pub(crate) fn run(self) -> anyhow::Result<Answer> {
        let MaskCommand::Audit(arguments) = self;
        let config = arguments.with.load()?;
        let documents = arguments.documents(&config)?;
        let audited = run(arguments.audited(&config, &documents))?;
        let columns = || audited.iter().flat_map(|one| &one.audit.columns);
        let unruled = columns().filter(|column| column.unruled).count();
        // What is about one of several databases protects nothing in the others.
        let idle = idle_in_all(&audited);
        let good = unruled == 0 && idle.is_empty();
        if arguments.json {
            out::json(&Report {
                target: &arguments.target,
                databases: audited,
                unruled,
            })?;
        } else {
            arguments.show(&audited, &idle, unruled)?;
        }
        let no = arguments.strict && !good;
        Ok(if no { Answer::No } else { Answer::Good })
    }
}

impl AuditArguments {
    fn documents(&self, config: &Config) -> anyhow::Result<Vec<Document>> {
        let paths = match self.policies.is_empty() {
            true => &config.policies,
            false => &self.policies,
        };
        let (documents, mut errors) = read_policies(paths)?;
        if errors.is_empty()
            && let Err(wrong) = PolicySet::compile(documents.clone())
        {
            errors = wrong;
        }
        // Half of the policies would say that half of the masks are missing.
        if let Some(error) = errors.first() {
            bail!("{error}");
        }
        Ok(documents)
    }

    async fn audited(
        &self,
        config: &Config,
        documents: &[Document],
    ) -> anyhow::Result<Vec<Audited>> {
        let door =
            |database: &str| Door::of_target(config, &self.target, database, self.group.as_deref());
        let names = match &self.database {
            Some(name) => vec![name.clone()],
            None => {
                let list = async |at: &Endpoint, login| databases::<Pg>(at, login).await;
                door("postgres")?.open(list).await?
            }
        };
        let mut all = Vec::new();
        for database in names {
            let door = door(&database)?;
            let target = Some(self.target.clone());
            let read =
                async |at: &Endpoint, login| inventory::<Pg>(at, login, target.clone()).await;
            let inventory = door.open(read).await?;
            let mut audit = audit(documents, &inventory, Some(&self.target));
            let mut unread = Vec::new();
            if let Some(rows) = self.sample {
                let look = async |at: &Endpoint, login| {
                    let mut seen: BTreeMap<(usize, usize), Seen> = BTreeMap::new();
                    let see = |table, column, value: &str| {
                        seen.entry((table, column)).or_default().look(value);
                    };
                    let unread = sample::<Pg>(at, &login, &inventory.relations, rows, see).await?;
                    Ok((seen, unread))
                };
                let (seen, tables) = door.open(look).await?;
                let mut columns = audit.columns.iter_mut();
                for (at, table) in inventory.relations.iter().enumerate() {
                    for column in 0..table.columns.len() {
                        // One for each column of each relation, in the same order.
                        let audited = columns.next();
                        if let (Some(audited), Some(seen)) = (audited, seen.get(&(at, column))) {
                            let found = seen.found.iter().map(|(name, count)| (*name, *count));
                            audited.sampled(seen.values, found);
                        }
                    }
                }
                let name = |at: &usize| inventory.relations.get(*at);
                let tables = tables.iter().filter_map(name);
                unread.extend(tables.map(|table| format!("{}.{}", table.schema, table.name)));
            }
            all.push(Audited {
                database,
                audit,
                unread,
            });
        }
        Ok(all)
    }

    fn show(&self, audited: &[Audited], idle: &[String], unruled: usize) -> anyhow::Result<()> {
        let several = audited.len() > 1;
        let mut rows = vec![row(
            several.then_some("DATABASE"),
            [
                "COLUMN",
                "TYPE",
                "TAGS",
                "MASK",
                "FOR",
                "READ BY",
                "LOOKS LIKE",
                "",
            ],
        )];
        for one in audited {
            let database = several.then_some(one.database.as_str());
            for column in &one.audit.columns {
                if !self.unruled || column.unruled {
                    let cells = cells(column);
                    rows.push(row(database, cells.each_ref().map(String::as_str)));
                }
            }
        }
        out::table(&rows)?;
        out::line("")?;
        for one in audited {
            for table in &one.unread {
                out::line(format!("{}: {table} was not read", one.database))?;
            }
        }
        for what in idle {
            out::line(format!("{what}: protects nothing, no column has it"))?;
        }
        let columns: usize = audited.iter().map(|one| one.audit.columns.len()).sum();
        out::line(format!(
            "{columns} columns, {unruled} of them look like personal data or a secret and have no rule"
        ))
    }
}

/// What the values of a column looked like.
#[derive(Default)]
struct Seen {
    values: u32,
    found: BTreeMap<&'static str, u32>,
}

impl Seen {
    fn look(&mut self, value: &str) {
        self.values += 1;
        if let Some(detector) = detected(value) {
            *self.found.entry(detector.likeness()).or_default() += 1;
        }
    }
}

/// Patterns and tags of masks that no column of any of the databases has.
fn idle_in_all(audited: &[Audited]) -> Vec<String> {
    let Some((first, rest)) = audited.split_first() else {
        return Vec::new();
    };
    let everywhere = first
        .audit
        .idle
        .iter()
        .filter(|idle| rest.iter().all(|other| other.audit.idle.contains(idle)));
    everywhere
        .map(|idle| format!("{}/{}: {}", idle.policy, idle.mask, idle.by))
        .collect()
}

fn row(database: Option<&str>, cells: [&str; 8]) -> Vec<String> {
    let all = database.into_iter().chain(cells);
    all.map(str::to_owned).collect()
}

fn cells(column: &AuditedColumn) -> [String; 8] {
    let join = |words: Vec<String>| match words.is_empty() {
        true => "-".to_owned(),
        false => words.join(", "),
    };
    let found = column.found.iter().map(|found| {
        let percent = found.share * 100.0;
        format!("{percent:.0} % {}", found.detector)
    });
    let named = column.looks_like.map(str::to_owned);
    let mut whom: Vec<String> = column.masks.iter().map(whom).collect();
    whom.dedup();
    [
        format!("{}.{}.{}", column.schema, column.table, column.column),
        column.of.clone(),
        join(column.tags.iter().map(ToString::to_string).collect()),
        join(column.masks.iter().map(mask).collect()),
        join(whom),
        join(column.read_by.clone()),
        join(named.into_iter().chain(found).collect()),
        if column.unruled { "no rule" } else { "" }.to_owned(),
    ]
}

fn mask(mask: &AuditedMask) -> String {
    let through = mask.through.as_ref();
    let through = through.map(|on| format!(" on {on}")).unwrap_or_default();
    let whole = if mask.whole { ", whole" } else { "" };
    let observes = if mask.observes { ", observed only" } else { "" };
    format!(
        "{}/{} ({}{through}{whole}{observes})",
        mask.policy, mask.mask, mask.by
    )
}

fn whom(mask: &AuditedMask) -> String {
    let unless = mask.unless.as_ref();
    let unless = unless
        .map(|who| format!(" unless {who}"))
        .unwrap_or_default();
    format!("{}{unless}", mask.subjects.join(" or "))
}
