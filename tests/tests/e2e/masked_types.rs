//! Every type under every masker, read by real drivers, in text and in binary: none of them fails, all
//! of them see the same columns with a value, and none sees what is masked.

use std::time::Duration;

use anyhow::Result;
use node_agent_tests::pg::{DATABASE, NAME, PORT, SERVICE};
use node_agent_tests::{Place, World, parts};
use postgres_protocol::types as wire;
use tokio_postgres::config::SslMode;
use tokio_postgres::types::{FromSql, Kind, Type};
use tokio_postgres::{Config, NoTls};

use super::agent_is_here;

/// Table, masker, and the letter that stands for it below.
const MASKERS: &[(&str, &str, char)] = &[
    ("redact", "redact", 'r'),
    ("none", "'null'", 'n'),
    ("keep_last", "{ keep_last: 4 }", 'k'),
    ("keep_first", "{ keep_first: 2 }", 'k'),
    ("hash", "hash", 'h'),
    ("token", "token", 't'),
    ("cut", "{ date_trunc: year }", 'd'),
    (
        "path",
        "{ json: { paths: ['$.ssn', '$.list[*].mail', '$..n'], with: { keep_last: 2 } } }",
        'j',
    ),
];

const DOCUMENT: &str = "'{\"kept\": \"visible\", \"ssn\": \"Secret-Words\", \"n\": 47114711, \
     \"list\": [{\"mail\": \"Secret@example.net\"}, {\"mail\": null}]}'";

/// Column, type, value, an odd value, and the maskers under which the first has a value. JSON's `null` reads
/// as none.
const COLUMNS: &[(&str, &str, &str, &str, &str)] = &[
    ("text", "text", "'Secret-Words'", "''", "rkhtj"),
    ("varchar", "varchar(40)", "'Secret-Words'", "'ß'", "rkhtj"),
    ("bpchar", "char(30)", "'Secret-Words'", "''", "rkhtj"),
    ("name", "name", "'Secret-Words'", "''", "rkhtj"),
    ("int2", "int2", "27114", "-32768", "t"),
    ("int4", "int4", "47114711", "-1", "t"),
    ("int8", "int8", "4711471147114711", "0", "t"),
    ("numeric", "numeric(20,5)", "47114711.47", "'NaN'", "t"),
    ("wide", "numeric", "-1e300", "0.00000000000000000001", "t"),
    ("float4", "float4", "4711.5", "'NaN'", ""),
    ("float8", "float8", "47114711.5", "'-infinity'", ""),
    ("bool", "bool", "true", "false", ""),
    ("money", "money", "47114711", "-1", ""),
    ("oid", "oid", "47114711", "0", ""),
    ("char", "\"char\"", "'x'", "''", ""),
    (
        "uuid",
        "uuid",
        "'47114711-4711-4711-4711-471147114711'",
        "null",
        "t",
    ),
    ("date", "date", "'1947-11-17'", "'infinity'", "d"),
    ("time", "time", "'14:07:11.47'", "'24:00'", "d"),
    ("timetz", "timetz", "'14:07:11+02'", "'00:00-15:59'", "d"),
    (
        "timestamp",
        "timestamp",
        "'1947-11-17 14:07:11'",
        "'-infinity'",
        "d",
    ),
    (
        "timestamptz",
        "timestamptz",
        "'1947-11-17 14:07:11+02'",
        "null",
        "d",
    ),
    (
        "interval",
        "interval",
        "'4 years 7 mons 11 days 04:07:11'",
        "'-14 mons 3 days -1:02:03.5'",
        "d",
    ),
    ("json", "json", DOCUMENT, "'[]'", "j"),
    ("jsonb", "jsonb", DOCUMENT, "'\"other\"'", "j"),
    ("document", "text", DOCUMENT, "'{'", "rkhtj"),
    ("xml", "xml", "'<a>Secret-Words</a>'", "'Secret'", "rh"),
    ("bytea", "bytea", "'Secret-Words'", "''", "ht"),
    ("bit", "bit(12)", "'010001110001'", "'000000000000'", "t"),
    ("varbit", "varbit", "'0100011100010001'", "''", "t"),
    ("inet", "inet", "'47.11.47.11/16'", "'::/0'", "t"),
    ("inet6", "inet", "'4711::4711'", "'::ffff:1.2.3.4/96'", "t"),
    ("cidr", "cidr", "'47.11.0.0/16'", "'4711::/16'", "t"),
    ("macaddr", "macaddr", "'47:11:47:11:47:11'", "null", "t"),
    (
        "macaddr8",
        "macaddr8",
        "'47:11:47:11:47:11:47:11'",
        "null",
        "t",
    ),
    ("colour", "typed.colour", "'Secret'", "null", ""),
    ("pair", "typed.pair", "'(4711,Secret)'", "null", ""),
    ("range", "int4range", "'[47114711,47114712)'", "'empty'", ""),
    (
        "ranges",
        "int4multirange",
        "'{[47114711,47114712)}'",
        "'{}'",
        "",
    ),
    ("words", "typed.words", "'Secret-Words'", "''", "rkhtj"),
    ("amount", "typed.amount", "47114711", "0", "t"),
    (
        "list",
        "typed.list",
        "'{Secret-Words,NULL}'",
        "'{}'",
        "khtj",
    ),
    (
        "texts",
        "text[]",
        "'{Secret-Words,NULL,\"\",\"a,b\"}'",
        "'{}'",
        "khtj",
    ),
    ("ints", "int4[]", "'{47114711,-1,NULL}'", "'{}'", "t"),
    (
        "grid",
        "int4[]",
        "'{{47114711,1},{2,3}}'",
        "'[0:1]={1,2}'",
        "t",
    ),
    (
        "numerics",
        "numeric[]",
        "'{47114711.47,NULL}'",
        "'{NaN}'",
        "t",
    ),
    ("floats", "float8[]", "'{47114711.5}'", "'{NaN}'", ""),
    (
        "dates",
        "date[]",
        "'{1947-11-17,NULL}'",
        "'{infinity}'",
        "d",
    ),
    ("spans", "interval[]", "'{11 days}'", "'{}'", "d"),
    ("nets", "inet[]", "'{47.11.47.11,4711::4711}'", "'{}'", "t"),
    (
        "blobs",
        "bytea[]",
        "array['Secret-Words'::bytea]",
        "'{}'",
        "ht",
    ),
    (
        "keys",
        "uuid[]",
        "'{47114711-4711-4711-4711-471147114711}'",
        "'{}'",
        "t",
    ),
    (
        "documents",
        "jsonb[]",
        "array['{\"ssn\": \"Secret-Words\"}'::jsonb, null]",
        "'{}'",
        "j",
    ),
    ("flags", "bool[]", "'{t}'", "'{}'", ""),
    ("colours", "typed.colour[]", "'{Secret}'", "'{}'", ""),
];

/// What none of them sees.
const SECRETS: &[&str] = &[
    "Secret", "47114711", "4711.5", "47.11.", "4711:", "47:11:", "1947-11", "1947, 11", "04:07:11",
    "471147",
];

fn world() -> Result<World> {
    let mut seed = "create schema typed; create type typed.colour as enum ('Secret', 'green'); \
        create type typed.pair as (a int, b text); create domain typed.words as text; \
        create domain typed.amount as numeric check (value >= 0); create domain typed.list as text[]; "
        .to_owned();
    let mut policy = "apiVersion: node-agent/v1\nkind: Policy\nmetadata: { name: typed }\n\
        subjects: [ { workloads: ['*'] } ]\ntargets: [ '*' ]\n\
        rules: [ { name: all, effect: allow, statements: [read, session], tables: ['*.*'] } ]\nmasks:\n"
        .to_owned();
    for (table, with, _) in MASKERS {
        let column = |(name, of, ..): &(&str, &str, &str, &str, &str)| format!("v_{name} {of}");
        let columns: Vec<String> = COLUMNS.iter().map(column).collect();
        let values: Vec<&str> = COLUMNS.iter().map(|(_, _, value, ..)| *value).collect();
        let odd: Vec<&str> = COLUMNS.iter().map(|(_, _, _, odd, _)| *odd).collect();
        seed += &format!(
            "create table typed.{table} (id int primary key, {}); \
             insert into typed.{table} values (1, {}); insert into typed.{table} values (2); \
             insert into typed.{table} values (3, {}); ",
            columns.join(", "),
            values.join(", "),
            odd.join(", ")
        );
        policy +=
            &format!("  - {{ name: {table}, columns: ['typed.{table}.v_*'], with: {with} }}\n");
    }
    seed += "create table typed.must (id int primary key, v_number int not null, v_words text not null); \
        insert into typed.must values (1, 47114711, 'Secret-Words'); ";
    policy += "  - { name: must, columns: ['typed.must.v_*'], with: redact }\n";
    World::builder()
        .policy_text("typed.yaml", &policy)
        .seed(seed.leak())
        .start()
}

pub(super) fn tables() -> Vec<String> {
    MASKERS
        .iter()
        .map(|(table, ..)| (*table).to_owned())
        .collect()
}

/// For each table its columns with a value, as the drivers print them.
fn check(driver: &str, seen: &str) {
    for (table, _, letter) in MASKERS {
        let valued = COLUMNS.iter().filter(|(.., under)| under.contains(*letter));
        let names: Vec<String> = valued.map(|(name, ..)| format!(" v_{name}")).collect();
        let wanted = format!("{table}: id{}", names.concat());
        let line = seen
            .lines()
            .find(|line| line.starts_with(&format!("{table}:")));
        assert_eq!(line, Some(&*wanted), "{driver}");
    }
    for secret in SECRETS {
        let at = seen.find(secret).map(|at| {
            seen[at.saturating_sub(80)..]
                .chars()
                .take(160)
                .collect::<String>()
        });
        assert_eq!(at, None, "{driver} sees {secret}");
    }
    assert!(
        seen.contains("visible"),
        "{driver}: the rest of a document stays"
    );
}

fn words(world: &World) -> Vec<String> {
    let cluster = world.cluster();
    vec![
        NAME.to_owned(),
        cluster.address().ip().to_string(),
        PORT.to_string(),
        SERVICE.to_owned(),
        world.password(Place::Inside).to_owned(),
        DATABASE.to_owned(),
        "disable".to_owned(),
        "none".to_owned(),
    ]
}

#[test]
fn drivers_read_every_type_under_every_masker() -> Result<()> {
    if !agent_is_here() {
        return Ok(());
    }
    let world = world()?;
    let psycopg = world
        .program(Place::Inside, parts::python()?)
        .arg(parts::driver("masked_psycopg.py"))
        .arg(world.dsn(Place::Inside, world.cluster(), "disable"))
        .args(tables());
    check("psycopg", &psycopg.output()?);
    let asyncpg = world
        .program(Place::Inside, parts::python()?)
        .arg(parts::driver("masked_asyncpg.py"))
        .args(words(&world))
        .args(tables());
    check("asyncpg", &asyncpg.output()?);
    let node = world
        .program(Place::Inside, parts::on_path("node")?)
        .arg(parts::driver("masked_node.mjs"))
        .arg(parts::node_home()?)
        .args(words(&world))
        .args(tables());
    check("node-postgres", &node.output()?);
    // This test program again, inside: a thread cannot change its cgroup alone.
    let tokio = world
        .program(Place::Inside, std::env::current_exe()?)
        .args([
            "--exact",
            "e2e::masked_types::reads_when_asked",
            "--nocapture",
        ])
        .env("MASKED_TYPES_AT", words(&world).join(" "))
        .limit(Duration::from_secs(60));
    check("tokio-postgres", &tokio.output()?);
    let sqlx = world
        .program(Place::Inside, std::env::current_exe()?)
        .args([
            "--exact",
            "e2e::masked_sqlx::reads_when_asked",
            "--nocapture",
        ])
        .env("MASKED_SQLX_AT", words(&world).join(" "))
        .limit(Duration::from_secs(60));
    check("sqlx", &sqlx.output()?);
    Ok(())
}

#[tokio::test]
async fn reads_when_asked() {
    let Ok(at) = std::env::var("MASKED_TYPES_AT") else {
        return; // the test above sets it
    };
    let words: Vec<&str> = at.split(' ').collect();
    let &[host, address, port, user, password, database, ..] = words.as_slice() else {
        panic!("{at}");
    };
    let mut config = Config::new();
    config
        .host(host)
        .hostaddr(address.parse().unwrap())
        .port(port.parse().unwrap());
    config
        .user(user)
        .password(password)
        .dbname(database)
        .ssl_mode(SslMode::Disable);
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    println!();
    for table in tables() {
        let query = format!("select * from typed.{table} order by id");
        let rows = client.query(&query, &[]).await.unwrap();
        assert_eq!(rows.len(), 3);
        for (number, row) in rows.iter().enumerate() {
            let mut valued = Vec::new();
            for (at, column) in row.columns().iter().enumerate() {
                let value: Option<Decoded> = row
                    .try_get(at)
                    .unwrap_or_else(|error| panic!("{table}.{}: {error}", column.name()));
                if let Some(value) = value {
                    println!("shown {}", value.0);
                    if value.0 != "null" {
                        valued.push(column.name());
                    }
                }
            }
            if number == 0 {
                println!("{table}: {}", valued.join(" "));
            }
        }
    }
    // NULL comes where the column says that there is none: who reads must be ready for it.
    let row = client
        .query_one("select v_number, v_words from typed.must", &[])
        .await
        .unwrap();
    assert_eq!((row.get(0), row.get(1)), (None::<i32>, Some("***")));
    assert!(row.try_get::<_, i32>(0).is_err());
}

/// A value in binary, read by the function that the driver has for its type.
struct Decoded(String);

type Failed = Box<dyn std::error::Error + Sync + Send>;

impl<'a> FromSql<'a> for Decoded {
    fn from_sql(of: &Type, raw: &'a [u8]) -> Result<Self, Failed> {
        decoded(of, raw).map(Decoded)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn decoded(of: &Type, raw: &[u8]) -> Result<String, Failed> {
    use fallible::all;
    if let Kind::Array(element) = of.kind() {
        let array = wire::array_from_sql(raw)?;
        assert_eq!(array.element_type(), element.oid());
        let mut shown = Vec::new();
        for value in all(array.values())? {
            shown.push(value.map(|raw| decoded(element, raw)).transpose()?);
        }
        assert_eq!(shown.iter().any(Option::is_none), array.has_nulls());
        return Ok(format!("{shown:?}"));
    }
    let exactly = |length: usize| {
        assert_eq!(raw.len(), length, "{of}");
        format!("{raw:?}")
    };
    Ok(match *of {
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME => String::from_sql(of, raw)?,
        Type::XML => wire::text_from_sql(raw)?.to_owned(),
        Type::INT2 => i16::from_sql(of, raw)?.to_string(),
        Type::INT4 => i32::from_sql(of, raw)?.to_string(),
        Type::INT8 => i64::from_sql(of, raw)?.to_string(),
        Type::FLOAT4 => f32::from_sql(of, raw)?.to_string(),
        Type::FLOAT8 => f64::from_sql(of, raw)?.to_string(),
        Type::NUMERIC => {
            let (count, rest) = raw.split_at(2);
            let count = u16::from_be_bytes(count.try_into()?);
            assert_eq!(rest.len(), 6 + 2 * usize::from(count));
            format!("{rest:?}")
        }
        Type::UUID => format!("{:x?}", wire::uuid_from_sql(raw)?),
        Type::DATE => wire::date_from_sql(raw)?.to_string(),
        Type::TIME => wire::time_from_sql(raw)?.to_string(),
        Type::TIMETZ => exactly(12),
        Type::TIMESTAMP | Type::TIMESTAMPTZ => wire::timestamp_from_sql(raw)?.to_string(),
        Type::INTERVAL => exactly(16),
        Type::JSON => serde_json::from_slice::<serde_json::Value>(raw)?.to_string(),
        Type::JSONB => {
            let text = raw.strip_prefix(b"\x01").ok_or("no version")?;
            serde_json::from_slice::<serde_json::Value>(text)?.to_string()
        }
        Type::BYTEA => format!("{:x?}", Vec::<u8>::from_sql(of, raw)?),
        Type::BIT | Type::VARBIT => format!("{:?}", wire::varbit_from_sql(raw)?.bytes()),
        Type::INET => wire::inet_from_sql(raw)?.addr().to_string(),
        Type::CIDR => wire::inet_from_sql(raw)?.addr().to_string(),
        Type::MACADDR => format!("{:x?}", wire::macaddr_from_sql(raw)?),
        Type::MACADDR8 => exactly(8),
        // Masked by NULL alone, whatever the masker.
        ref other => return Err(format!("a value of type {other}").into()),
    })
}

mod fallible {
    use tokio_postgres::fallible_iterator::FallibleIterator;

    /// All of what comes, or what failed.
    pub(super) fn all<I: FallibleIterator>(mut of: I) -> Result<Vec<I::Item>, I::Error> {
        let mut all = Vec::new();
        while let Some(one) = of.next()? {
            all.push(one);
        }
        Ok(all)
    }
}
