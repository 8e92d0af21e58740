//! `cargo xtask demo`: one governed session, start to end, on this machine, with real programs.

mod scene;
mod story;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::world::agent::{Agent, Plan, WORKLOAD};
use crate::world::cgroup::{self, Cgroup};
use crate::world::issuer::{self, Issuer};
use crate::world::postgres::{Doors, Postgres, clean};
use crate::world::{Place, password, stage};
use crate::{ground, install, run};

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask demo           the whole story; leaves nothing behind\n  \
    cargo xtask demo --keep    leaves the world running, and says how to use and stop it")]
pub(crate) struct Arguments {
    /// Leave the world running, and say how to use and stop it
    #[arg(long)]
    keep: bool,
    /// Take the programs as they are under target/debug
    #[arg(long)]
    no_build: bool,
}

/// Everything on the stage. Fields are dropped in this order: the agent first, the directory last.
struct World {
    agent: Agent,
    cgroup: Cgroup,
    /// A cgroup that the configuration labels by its name.
    governed: PathBuf,
    issuer: Issuer,
    postgres: Postgres,
    person_password: String,
    place: Place,
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    if !stage::inside() {
        install::need(install::For::Demo)?;
        if !arguments.no_build {
            build()?;
        }
        // The rest needs root and a mount namespace of its own; it comes back here.
        stage::enter()?;
    }
    let begun = Instant::now();
    kernel_is_able()?;
    let mut world = raise(!arguments.keep)?;
    println!(
        "The world stands after {:.0} s.",
        begun.elapsed().as_secs_f64()
    );
    let told = story::tell(&mut world);
    if told.is_err() {
        println!(
            "\nThe end of the agent's log:\n{}",
            run::tail(world.agent.log())
        );
    }
    told?;
    if arguments.keep {
        return keep(world);
    }
    let left = [
        world.place.path().to_path_buf(),
        world.cgroup.path().to_path_buf(),
    ];
    drop(world);
    if let Some(path) = left.iter().find(|path| path.exists()) {
        bail!("{} was left behind", path.display());
    }
    println!(
        "\nEverything is stopped and removed. {:.0} s.",
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Unoptimised: it is built in a third of the time, and the story does not need speed.
fn build() -> Result<()> {
    println!("Building the agent (unoptimised; the first time takes some minutes) …");
    let begun = Instant::now();
    let mut command = ground::cargo();
    command.args([
        "build",
        "--locked",
        "--package",
        "node-agent",
        "--package",
        "node-agent-tests",
    ]);
    run::shown(command.arg("--bins"))?;
    println!("Built in {:.0} s.", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Says in one sentence what this kernel lacks, with the mend.
fn kernel_is_able() -> Result<()> {
    cgroup::mount()?;
    Ok(())
}

fn raise(bound: bool) -> Result<World> {
    let programs = issuer::programs("debug");
    let place = Place::new("demo")?;
    println!(
        "Raising a throw-away world in {}: PostgreSQL, an OIDC issuer, the agent.",
        place.path().display()
    );
    stage::set_hosts(&place)?;
    let postgres = Postgres::start(&place, Doors::Password, None, "", bound)?;
    let account_password = password()?;
    let person_password = password()?;
    seed(&postgres, &place, &account_password, &person_password)?;
    let issuer = Issuer::start(&place, &programs, bound)?;
    let name = place
        .path()
        .file_name()
        .context("a place without a name")?
        .to_string_lossy();
    let cgroup = Cgroup::new(&name)?;
    let governed = cgroup.path().join(format!("agents/{WORKLOAD}"));
    fs::create_dir_all(&governed).with_context(|| format!("cannot make {}", governed.display()))?;
    let token = place.secret("token", "")?;
    let plan = Plan {
        token: &token,
        cgroup: cgroup.path(),
        account: "svc_agents",
        account_password: &account_password,
        policies: &[ground::root().join("policies/demo.yaml")],
    };
    let mut agent = Agent::prepare(&place, &programs, &postgres, &issuer, &plan, bound)?;
    agent.start()?;
    Ok(World {
        agent,
        cgroup,
        governed,
        issuer,
        postgres,
        person_password,
        place,
    })
}

fn seed(postgres: &Postgres, place: &Place, account: &str, person: &str) -> Result<()> {
    postgres.run("postgres", "CREATE DATABASE shop")?;
    let file = place.secret("seed.sql", include_str!("seed.sql"))?;
    let mut psql = Command::new(postgres.program("psql"));
    clean(&mut psql);
    psql.env("PGPASSWORD", postgres.password());
    psql.args([
        "-X",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "-U",
        "postgres",
        "-d",
        "shop",
        "-h",
    ]);
    psql.arg(postgres.address().ip().to_string())
        .args(["-p", &postgres.port().to_string()]);
    psql.args(["-v", &format!("account_password={account}")]);
    psql.args(["-v", &format!("person_password={person}"), "-f"])
        .arg(&file);
    run::captured(&mut psql)?;
    fs::remove_file(file)?;
    Ok(())
}

/// Leaves everything running, with two scripts: one to go in, one to end it.
fn keep(mut world: World) -> Result<()> {
    let token = world.issuer.token("claude@agents", "ai-agents", 8 * 3600)?;
    world.place.secret("token", &token)?;
    let dir = world.place.path().to_path_buf();
    let stage = world.issuer.server().id();
    let path = std::env::join_paths([issuer::programs("debug"), world.postgres.bin()])?;
    let enter = format!(
        "#!/bin/sh\n# Runs a command (or a shell) on the stage, where the database's name resolves.\n\
         [ $# -gt 0 ] || set -- sh\n\
         PATH={}:$PATH exec nsenter --mount=/proc/{stage}/ns/mnt -- \"$@\"\n",
        path.to_string_lossy(),
    );
    let mut stop = String::from("#!/bin/sh\n# Ends the demonstration's world and removes it.\n");
    let ids = [world.agent.id(), world.issuer.server().id()];
    for id in ids {
        let _ = writeln!(stop, "kill -TERM {id}");
    }
    let _ = writeln!(stop, "kill -INT {}", world.postgres.server().id());
    let _ = writeln!(
        stop,
        "for id in {} {} {}; do while kill -0 $id 2>/dev/null; do sleep 0.1; done; done",
        ids[0],
        ids[1],
        world.postgres.server().id()
    );
    let _ = writeln!(
        stop,
        "find {} -depth -type d -exec rmdir {{}} +",
        world.cgroup.path().display()
    );
    let _ = writeln!(stop, "rm -rf {}", dir.display());
    for (name, text) in [("enter", enter), ("stop", stop)] {
        let file = world.place.write(name, &text)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o700))?;
    }
    world.agent.keep();
    world.issuer.server().keep();
    world.postgres.server().keep();
    world.cgroup.keep();
    world.place.keep();
    println!("\nThe world goes on. As root:");
    println!(
        "   {}/enter {}",
        dir.display(),
        story::labelled_psql(&world)
    );
    println!("   {}/stop", dir.display());
    Ok(())
}
