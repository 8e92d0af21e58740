//! The story itself.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::World;
use super::scene::Narrator;
use crate::run;
use crate::world::HOST;
use crate::world::agent::WORKLOAD;
use crate::world::issuer;

const READ: &str = "SELECT name, ssn FROM sales.customers ORDER BY id";
const DROP: &str = "DROP TABLE sales.orders";
const COUNT: &str = "SELECT count(*) AS orders FROM sales.orders";
const DELETE: &str = "DELETE FROM sales.orders WHERE id = 120";
/// Enters the cgroup that its first argument names, and becomes the rest.
const ENTER: &str = r#"echo $$ >"$0/cgroup.procs" && exec "$@""#;
/// A number in the seed, whole, and what the mask leaves of it.
const WHOLE: &str = "123-45-6789";
const LAST_FOUR: &str = "6789";

/// Tells it; an error when a scene is not true.
pub(super) fn tell(world: &mut World) -> Result<()> {
    let mut narrator = Narrator::new(&[issuer::programs("debug"), world.postgres.bin()])?;
    let port = world.postgres.port();
    let person = format!("host={HOST} port={port} dbname=shop user=ana");
    let claude = claude(world);
    let config = world.agent.config().display().to_string();
    let person_password = world.person_password.clone();
    let worthless = [("PGPASSWORD", "worthless")];
    // What every labelled scene begins with.
    let labelled = [
        "node-agent",
        "exec",
        "--config",
        &config,
        "--workload",
        WORKLOAD,
        "--",
    ];
    let with = |rest: &[&'static str]| -> Vec<String> {
        let psql = ["psql", "-X", claude.as_str()];
        labelled
            .iter()
            .chain(&psql)
            .chain(rest)
            .map(|word| (*word).to_owned())
            .collect()
    };

    narrator.heading("A person, outside: her own account, straight to the database");
    narrator
        .runs(
            &[("PGPASSWORD", &person_password)],
            &["psql", "-X", &person, "-c", READ],
        )?
        .succeeds()?
        .says(WHOLE)?;
    narrator.says("Unlabelled programs are not touched: she sees the numbers as they are.");

    narrator.heading("An AI agent's password, outside: worthless");
    narrator
        .runs(&worthless, &["psql", "-X", &claude, "-c", "SELECT 1"])?
        .fails()?
        .says("authentication failed")?;
    narrator.says("The database knows no such account: stolen, this password opens nothing.");

    narrator
        .heading("The same psql, the same host name, the same password, in the labelled cgroup");
    give_token(world, 3600)?;
    narrator
        .runs(&worthless, &words(&with(&["-c", READ])))?
        .succeeds()?
        .says(LAST_FOUR)?
        .hides(WHOLE)?;
    narrator.says(
        "The kernel led it to the agent; the token in its file said who it is; the policy let it \
         read, and the mask `ssn` left four digits.",
    );

    narrator.heading("It tries to drop a table, and then goes on");
    narrator
        .runs(&worthless, &words(&with(&["-c", DROP, "-c", COUNT])))?
        .says("never")?
        .says("120")?;
    narrator.says("Refused by the rule `never`, by name; the session went on, the table is there.");

    narrator.heading("It wants to delete; a human decides, and the statement waits on the wire");
    let delete = narrator.begins(&worthless, &words(&with(&["-c", DELETE])))?;
    let approval = held(&narrator, &config)?;
    let ask = |words: &[&'static str]| -> Vec<String> {
        let all = ["node-agent", "approvals"].iter().chain(words);
        let all = all.map(|word| (*word).to_owned());
        all.chain([approval.clone(), "--config".to_owned(), config.clone()])
            .collect()
    };
    narrator
        .runs(&[], &words(&ask(&["show"])))?
        .succeeds()?
        .says(DELETE)?;
    narrator
        .runs(
            &[],
            &words(&ask(&["approve", "--note", "known duplicates"])),
        )?
        .succeeds()?;
    let deleted = delete.ends()?.says("DELETE 1")?.says("approved")?;
    let approved = session(&deleted.text).context("the notice names no session")?;
    narrator
        .runs(&[], &words(&ask(&["approve"])))?
        .fails()?
        .says("decided already")?;
    narrator
        .runs(
            &[],
            &[
                "node-agent",
                "replay",
                "--config",
                &config,
                "--format",
                "text",
                &approved,
            ],
        )?
        .succeeds()?
        .says("dana")?;
    narrator.says(
        "The rule `deletions` held it; dana, whom the kernel names by her user, let exactly this \
         run, once; who said so is in the recording.",
    );

    narrator.heading("Its token goes stale");
    give_token(world, -600)?;
    narrator
        .runs(&worthless, &words(&with(&["-c", READ])))?
        .fails()?
        .hides(WHOLE)?
        .says("token")?;
    give_token(world, 3600)?;
    narrator.says("No valid token, no session.");

    narrator.heading("The agent is killed");
    world.agent.kill()?;
    let governed = world.governed.display().to_string();
    let mut by_hand = vec!["sh", "-c", ENTER, governed.as_str()];
    by_hand.extend(["psql", "-X", claude.as_str(), "-c", READ]);
    narrator
        .runs(&worthless, &by_hand)?
        .fails()?
        .says("connection to server at")?
        .says("connection refused")?
        .hides(WHOLE)?;
    narrator.says(
        "A cgroup whose name carries the label: `psql` itself finds the connection refused. No \
         agent, no way round it.",
    );
    narrator
        .runs(
            &[("PGPASSWORD", &person_password)],
            &["psql", "-X", &person, "-c", COUNT],
        )?
        .succeeds()?
        .says("119")?;
    narrator.says("And the unlabelled person still does not notice anything.");

    narrator.heading("What was recorded: verified, and replayed");
    narrator
        .runs(
            &[],
            &["node-agent", "sessions", "verify", "--config", &config],
        )?
        .succeeds()?;
    let list = narrator.runs(&[], &["node-agent", "sessions", "ls", "--config", &config])?;
    let session = session(&list.succeeds()?.text).context("no session was recorded")?;
    narrator
        .runs(
            &[],
            &[
                "node-agent",
                "replay",
                "--config",
                &config,
                "--format",
                "text",
                &session,
            ],
        )?
        .succeeds()?
        .hides(WHOLE)?;
    narrator.says("Every statement, decision and masked row; the whole number is not even here.");

    println!(
        "\nNext: `cargo xtask demo --keep` leaves this world running to try things in; \
         README.md and docs/ say how it works; `node-agent policy explain` answers what a \
         policy would do."
    );
    Ok(())
}

/// The connection string of the governed program.
fn claude(world: &World) -> String {
    format!(
        "host={HOST} port={} dbname=shop user={WORKLOAD}",
        world.postgres.port()
    )
}

/// The command of the governed program, to be typed.
pub(super) fn labelled_psql(world: &World) -> String {
    format!(
        "node-agent exec --config {} --workload {WORKLOAD} -- psql {}",
        world.agent.config().display(),
        run::quoted(&claude(world))
    )
}

fn give_token(world: &World, seconds: i64) -> Result<()> {
    let token = world.issuer.token("claude@agents", "ai-agents", seconds)?;
    world.place.secret("token", &token)?;
    Ok(())
}

fn words(owned: &[String]) -> Vec<&str> {
    owned.iter().map(String::as_str).collect()
}

/// The first session's name in a listing, or in a reference.
fn session(listing: &str) -> Option<String> {
    let word = listing
        .split_whitespace()
        .find(|word| word.starts_with("s-"))?;
    let name = word.split(['#', ';']).next()?;
    Some(name.to_owned())
}

/// Waits until something is held, and gives its name.
fn held(narrator: &Narrator, config: &str) -> Result<String> {
    const PATIENCE: Duration = Duration::from_secs(20);
    let until = Instant::now() + PATIENCE;
    loop {
        let listed = narrator.asks(&["node-agent", "approvals", "ls", "--config", config])?;
        let name = listed
            .split_whitespace()
            .find(|word| word.starts_with("a-"));
        if let Some(name) = name {
            return Ok(name.to_owned());
        }
        if Instant::now() > until {
            bail!("the story is not true: nothing is held");
        }
        sleep(Duration::from_millis(100));
    }
}
