//! Untouched clients, under a policy that allows everything: TLS off and on, text and binary,
//! against every server.

use std::time::Duration;

use anyhow::{Context, Result};
use node_agent_tests::pg::{self, DATABASE, NAME, PORT, SERVICE};
use node_agent_tests::{Cluster, Place, Program, Version, World, parts};

const TLS: [&str; 3] = ["disable", "require", "verify-full"];

fn world() -> World {
    World::builder().clusters(&Version::ALL).start().unwrap()
}

/// Every server with every kind of TLS.
fn everywhere(world: &World, one: impl Fn(&Cluster, &str) -> Result<()>) {
    for cluster in world.clusters() {
        for tls in TLS {
            let case = format!("{} sslmode={tls}", cluster.version().name());
            if let Err(error) = one(cluster, tls) {
                panic!("{case}: {error:#}");
            }
        }
    }
}

fn says(output: &str, lines: &[&str]) -> Result<()> {
    let missing: Vec<&&str> = lines
        .iter()
        .filter(|line| !output.contains(**line))
        .collect();
    anyhow::ensure!(missing.is_empty(), "no {missing:?} in:\n{output}");
    Ok(())
}

#[test]
fn psql_works() {
    let world = world();
    let file = world
        .write(
            "psql.sql",
            "create table t_psql (id int, v text);\n\
             \\copy t_psql from stdin\n1\tone\n2\ttwo, too\n\\.\n\
             \\d t_psql\n\
             select * from t_psql order by id \\gdesc\n\
             begin; select 1/0; select 2; rollback;\n\
             \\set FETCH_COUNT 7\n\
             select g as many from generate_series(1, 100) g;\n\
             \\set FETCH_COUNT 0\n\
             copy t_psql to stdout;\n\
             select 'several' \\; select 'at once';\n\
             \\conninfo\n\
             drop table t_psql;\n",
        )
        .unwrap();
    everywhere(&world, |cluster, tls| {
        let psql = world.psql_to(Place::Inside, cluster, tls)?;
        let seen = psql.arg("-f").arg(&file).run()?.good()?;
        says(
            &seen.all(),
            &[
                "division by zero",
                "current transaction is aborted",
                "\n100\n",
                "1\tone\n2\ttwo, too\n",
                "several",
                "at once",
            ],
        )?;
        anyhow::ensure!(
            seen.stdout.contains("SSL") == (tls != "disable"),
            "{}",
            seen.stdout
        );
        Ok(())
    });
}

#[test]
fn pgbench_works_in_every_mode_with_32_clients() {
    let world = world();
    for cluster in world.clusters() {
        let database = format!("bench_{}", cluster.version().name());
        cluster.create_database(&database).unwrap();
        let begin = |tls: &str| -> Result<Program> {
            let pgbench = world.program(Place::Inside, parts::on_path("pgbench")?);
            Ok(pgbench
                .env("PGHOST", NAME)
                .env("PGHOSTADDR", cluster.address().ip().to_string())
                .env("PGPORT", PORT.to_string())
                .env("PGUSER", SERVICE)
                .env("PGPASSWORD", world.password(Place::Inside))
                .env("PGSSLMODE", tls)
                .env("PGSSLROOTCERT", world.roots(Place::Inside, cluster)))
        };
        let init = begin("disable")
            .unwrap()
            .args(["-i", "-q", "-s", "1", &database]);
        init.output().unwrap();
        for (mode, tls) in [
            ("simple", "disable"),
            ("extended", "disable"),
            ("prepared", "disable"),
            ("prepared", "verify-full"),
        ] {
            let run = begin(tls)
                .unwrap()
                .args([
                    "-M", mode, "-c", "32", "-j", "2", "-t", "15", "-n", &database,
                ])
                .run()
                .and_then(node_agent_tests::Finished::good)
                .with_context(|| format!("{} {mode} {tls}", cluster.version().name()))
                .unwrap();
            says(&run.all(), &["actually processed: 480/480"]).unwrap();
        }
        let history = cluster
            .sql(&database, "select count(*) from pgbench_history")
            .unwrap();
        assert_eq!(history, "1920");
    }
}

#[test]
fn pg_dump_gives_the_same_dump_inside_and_outside() {
    // There is no pg_dump 18 to be had beside the server 18, and 15's refuses a newer server.
    let world = World::builder()
        .seed(
            "create schema shop; create type shop.colour as enum ('red', 'green');
             create table shop.things (id serial primary key, name text not null, c shop.colour, b bytea);
             insert into shop.things (name, c, b) select 'thing ' || g, 'red', decode('00ff0a', 'hex')
               from generate_series(1, 2000) g;
             create view shop.reds as select * from shop.things where c = 'red';
             create function shop.double(int) returns int language sql as 'select $1 * 2';
             create index on shop.things (name); comment on table shop.things is 'Dinge';",
        )
        .start()
        .unwrap();
    let dump = |place: Place, format: &str, tls: &str| {
        let dsn = world.dsn(place, world.cluster(), tls);
        let dump = world.program(place, parts::on_path("pg_dump").unwrap());
        // Newer minor releases put a random word into a plain dump.
        let text = dump
            .args(["-d", &dsn, "--format", format])
            .output()
            .unwrap();
        let kept =
            |line: &&str| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict");
        text.lines().filter(kept).collect::<Vec<_>>().join("\n")
    };
    let outside = dump(Place::Outside, "plain", "verify-full");
    assert!(outside.contains("COPY shop.things") && outside.lines().count() > 2000);
    for tls in TLS {
        assert_eq!(dump(Place::Inside, "plain", tls), outside, "sslmode={tls}");
    }
}

#[test]
fn psycopg_works_in_text_binary_and_pipelines() {
    let world = world();
    everywhere(&world, |cluster, tls| {
        let seen = world
            .program(Place::Inside, parts::python()?)
            .arg(parts::driver("psycopg_driver.py"))
            .arg(world.dsn(Place::Inside, cluster, tls))
            .output()?;
        says(
            &seen,
            &[
                "ok pipeline error",
                "ok binary",
                "ok copy",
                "ok notify",
                "ok large value",
            ],
        )
    });
}

/// The words that drivers without connection strings of libpq's kind take.
pub(super) fn words(world: &World, cluster: &Cluster, tls: &str) -> Vec<String> {
    vec![
        NAME.to_owned(),
        cluster.address().ip().to_string(),
        PORT.to_string(),
        SERVICE.to_owned(),
        world.password(Place::Inside).to_owned(),
        DATABASE.to_owned(),
        tls.to_owned(),
        world.roots(Place::Inside, cluster).display().to_string(),
    ]
}

#[test]
fn asyncpg_works() {
    let world = world();
    everywhere(&world, |cluster, tls| {
        let seen = world
            .program(Place::Inside, parts::python()?)
            .arg(parts::driver("asyncpg_driver.py"))
            .args(words(&world, cluster, tls))
            .output()?;
        says(&seen, &["ok prepared", "ok copy", "ok cancel", "ok pool"])
    });
}

#[test]
fn node_postgres_works() {
    let world = world();
    everywhere(&world, |cluster, tls| {
        let seen = world
            .program(Place::Inside, parts::on_path("node")?)
            .arg(parts::driver("node_driver.mjs"))
            .arg(parts::node_home()?)
            .args(words(&world, cluster, tls))
            .output()?;
        says(
            &seen,
            &["ok several statements", "ok binary", "ok notify", "ok pool"],
        )
    });
}

#[test]
fn tokio_postgres_works() {
    let world = world();
    everywhere(&world, |cluster, tls| {
        let program = std::env::current_exe()?;
        // This test program again, inside: a thread cannot change its cgroup alone.
        world
            .program(Place::Inside, program)
            .args([
                "--exact",
                "e2e::tokio_postgres::talks_when_asked",
                "--nocapture",
            ])
            .env("TOKIO_POSTGRES_TO", words(&world, cluster, tls).join(" "))
            .limit(Duration::from_secs(60))
            .output()
            .and_then(|seen| says(&seen, &["ok binary", "ok pipeline", "ok copy", "ok cancel"]))
    });
}

#[test]
fn what_is_outside_is_untouched() {
    let world = world();
    everywhere(&world, |cluster, tls| {
        let seen = world
            .psql_to(Place::Outside, cluster, tls)?
            .args([
                "-c",
                "select inet_client_addr() = inet_server_addr(), 41 + 1",
            ])
            .output()?;
        anyhow::ensure!(seen.ends_with("|42\n"), "{seen}");
        let wrong = world
            .dsn(Place::Outside, cluster, tls)
            .replace(pg::PASSWORD, "worthless");
        let refused = world
            .program(Place::Outside, parts::on_path("psql")?)
            .args(["-X", "-d", &wrong, "-c", "select 1"])
            .run()?;
        anyhow::ensure!(
            !refused.status.success(),
            "a worthless password opened the database"
        );
        says(&refused.stderr, &["password authentication failed"])
    });
}
