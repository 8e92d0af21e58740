//! The one test.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread;

use anyhow::{Context, Result};
use node_agent_tests::{Cluster, Place, Version, World};

use super::compare::differences;
use super::listed::Listed;
use super::suite::{Run, SETTINGS, Suite, agent_is_here, output};

/// Fewer statements than this through the agent, and the suite was not run.
const LEAST: f64 = 40_000.0;
/// More lines than this that differ between two runs without the agent, and nothing can be said.
const MOST_UNSTEADY: usize = 50;
/// How much of an answer is shown.
const SHOWN: usize = 600;

#[test]
fn the_suite_says_the_same_with_and_without_the_agent() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let mut listed = Listed::read()?;
    let suite = Suite::new()?;
    let starting = [
        Cluster::begin(Version::V15, SETTINGS)?,
        Cluster::begin(Version::V15, SETTINGS)?,
    ];
    let world = World::builder().pg_settings(SETTINGS).start()?;
    let [directly, again] = starting.map(|cluster| cluster.ready());
    let (directly, again) = (directly?, again?);
    let run = |cluster, place, name| Run {
        world: &world,
        cluster,
        place,
        name,
    };
    let runs = [
        run(&directly, Place::Outside, "direct-1"),
        run(&again, Place::Outside, "direct-2"),
        run(world.cluster(), Place::Inside, "by-agent"),
    ];
    let failed = AtomicBool::new(false);
    let places = thread::scope(|scope| {
        let threads = runs
            .each_ref()
            .map(|run| scope.spawn(|| suite.run(run, &failed)));
        threads.map(|thread| thread.join().expect("a run does not panic"))
    });
    if let Some(error) = first_error(&places) {
        panic!("{error}");
    }
    let [directly, again, by_agent] = places;
    let (directly, again, by_agent) = (directly?, again?, by_agent?);

    let mut unsteady = 0;
    let mut taken = 0;
    let mut faults = String::new();
    for file in &suite.files {
        let text = fs::read(suite.text(file))?;
        let first = said(&directly, file)?;
        let second = said(&again, file)?;
        let agents = said(&by_agent, file)?;
        if first == second && first == agents {
            continue;
        }
        let first = without_place(&first, "direct-1");
        let second = without_place(&second, "direct-2");
        let agents = without_place(&agents, "by-agent");
        let by_itself: BTreeSet<usize> = differences(&text, &first, &second)
            .into_iter()
            .map(|difference| difference.line)
            .collect();
        unsteady += by_itself.len();
        for found in differences(&text, &first, &agents) {
            if by_itself.contains(&found.line) {
                println!("differs by itself: {file}: {}", found.statement);
            } else if listed.take(file, &found.statement, &found.second).is_some() {
                taken += 1;
            } else {
                writeln!(
                    faults,
                    "{file}.sql:{}: {}\n--- directly\n{}\n--- by the agent\n{}\n",
                    found.line + 1,
                    found.statement,
                    short(&found.first),
                    short(&found.second)
                )?;
            }
        }
    }
    let statements = world.agent().metric("node_agent_statements_total")?;
    println!(
        "{} files, {statements} statements through the agent; {taken} listed differences; \
         {unsteady} lines differ by themselves",
        suite.files.len()
    );
    let log = fs::read_to_string(world.agent().log())?;
    assert!(!log.contains("panicked"), "the agent panicked: {log}");
    assert!(
        faults.is_empty() && listed.left().is_empty(),
        "not listed:\n{faults}\nlisted, and the same now:\n{:#?}",
        listed.left()
    );
    assert!(statements >= LEAST, "only {statements} statements");
    assert!(unsteady <= MOST_UNSTEADY, "{unsteady} lines are unsteady");
    Ok(())
}

/// Why the first of the runs failed; those that ended because of it say less.
fn first_error<T>(runs: &[Result<T>]) -> Option<String> {
    let errors: Vec<String> = runs
        .iter()
        .filter_map(|run| Some(format!("{:#}", run.as_ref().err()?)))
        .collect();
    let cause = errors
        .iter()
        .find(|error| !error.ends_with(super::suite::ENDED_EARLY));
    cause.or(errors.first()).cloned()
}

/// What psql said for one file.
fn said(place: &Path, file: &str) -> Result<Vec<u8>> {
    let output = output(place, file);
    fs::read(&output).with_context(|| format!("no {}", output.display()))
}

/// The same without the name of the run's own directory.
fn without_place(said: &[u8], run: &str) -> Vec<u8> {
    let name = format!("/{run}/");
    let mut rest = said;
    let mut without = Vec::with_capacity(said.len());
    while let Some(at) = rest
        .windows(name.len())
        .position(|part| part == name.as_bytes())
    {
        without.extend_from_slice(&rest[..at]);
        without.extend_from_slice(b"/the-run/");
        rest = &rest[at + name.len()..];
    }
    without.extend_from_slice(rest);
    without
}

fn short(answer: &str) -> String {
    answer.chars().take(SHOWN).collect()
}
