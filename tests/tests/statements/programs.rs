//! psql's own commands, and `pg_dump`, as they are: through the agent under the read-write policy they
//! say what they say without it.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use node_agent_tests::{Place, parts};

use super::scene::{Scene, agent_is_here};

/// Each in a session of its own would take minutes: they are asked in one.
const COMMANDS: &str = include_str!("../../statements/psql.txt");

/// Runs them in one psql, each announced by a line; gives what each said.
fn said(scene: &Scene, place: Place, commands: &[&str]) -> Result<Vec<String>> {
    let mut text = String::new();
    for command in commands {
        writeln!(text, "\\echo {MARK}\n{command}")?;
    }
    let file = scene.world.write("commands.sql", &text)?;
    // Both outputs as they come.
    let dsn = scene.world.dsn(place, scene.world.cluster(), "disable");
    let both = scene
        .world
        .program(place, "sh")
        .args(["-c", "exec \"$@\" 2>&1", "sh"])
        .arg(parts::on_path("psql")?)
        .args(["-X", "-q", "-d", &dsn, "-f"])
        .arg(file)
        .run()?
        .stdout;
    let parts: Vec<String> = both.split(MARK).skip(1).map(str::to_owned).collect();
    ensure!(parts.len() == commands.len(), "{both}");
    Ok(parts)
}

/// What is before a command that the policy refuses.
const REFUSED: &str = "refused: ";

const MARK: &str = "===== next";

#[test]
fn the_commands_of_psql_say_what_they_say_without_the_agent() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let scene = Scene::set()?;
    let commands: Vec<&str> = COMMANDS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("--"))
        .collect();
    let (refused, commands): (Vec<&str>, Vec<&str>) = commands
        .into_iter()
        .partition(|line| line.starts_with(REFUSED));
    let through = said(&scene, Place::Inside, &commands)?;
    let without = said(&scene, Place::Outside, &commands)?;
    let mut wrong = String::new();
    for ((command, through), without) in commands.iter().zip(&through).zip(&without) {
        if through != without || without.contains("ERROR") {
            writeln!(
                wrong,
                "{command}\n    through: {through}\n    without: {without}"
            )?;
        }
    }
    println!("{} commands of psql", commands.len());
    ensure!(wrong.is_empty(), "{wrong}");
    let refused: Vec<&str> = refused.iter().map(|line| &line[REFUSED.len()..]).collect();
    for (command, through) in refused.iter().zip(said(&scene, Place::Inside, &refused)?) {
        ensure!(through.contains("ERROR"), "{command}: it is not refused");
    }
    Ok(())
}

#[test]
fn pg_dump_of_what_may_be_read_is_the_same() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let scene = Scene::set()?;
    let dump = |place: Place, more: &[&str]| -> Result<String> {
        let dsn = scene.world.dsn(place, scene.world.cluster(), "disable");
        let dump = scene.world.program(place, parts::on_path("pg_dump")?);
        let text = dump.args(["-d", &dsn]).args(more).output()?;
        // Newer minor releases put a random word into a plain dump.
        let kept =
            |line: &&str| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict");
        Ok(text.lines().filter(kept).collect::<Vec<_>>().join("\n"))
    };
    for more in [
        &["--schema=app", "--schema=public"][..],
        &["--schema=app", "--schema-only"],
        &["--table=app.orders", "--data-only", "--inserts"],
        &[
            "--table=app.customers",
            "--column-inserts",
            "--rows-per-insert=5",
        ],
    ] {
        let without = dump(Place::Outside, more)?;
        ensure!(
            without.contains("PostgreSQL database dump complete"),
            "{without}"
        );
        ensure!(
            dump(Place::Inside, more)? == without,
            "{more:?}: another dump"
        );
    }
    Ok(())
}
