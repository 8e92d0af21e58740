//! The suite: its files in the order of its schedule, and one run of all of them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use node_agent_tests::world::direct;
use node_agent_tests::{Cluster, Place, Program, World, parts, pg};

/// The most that one file may take; it takes seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// What a run says that ended since another failed.
pub(super) const ENDED_EARLY: &str = "ended early";

/// A database of the suite's own name, prepared as `pg_regress` prepares it.
const DATABASE: &str = "regression";
const PREPARE: &str = "ALTER DATABASE regression SET lc_messages TO 'C'; \
    ALTER DATABASE regression SET lc_monetary TO 'C'; \
    ALTER DATABASE regression SET lc_numeric TO 'C'; \
    ALTER DATABASE regression SET lc_time TO 'C'; \
    ALTER DATABASE regression SET bytea_output TO 'hex'; \
    ALTER DATABASE regression SET timezone_abbreviations TO 'Default'";

/// For every server: as few things as possible that happen by themselves.
pub(super) const SETTINGS: &str = "autovacuum = off\nmax_prepared_transactions = 2\n\
    max_parallel_workers = 8\nshared_buffers = 128MB\nstats_fetch_consistency = cache";

/// The suite where the servers can read it.
pub(super) struct Suite {
    place: tempfile::TempDir,
    /// The names of its files, in order.
    pub(super) files: Vec<String>,
}

/// Where one run of the suite goes, and where it may write.
pub(super) struct Run<'a> {
    pub(super) world: &'a World,
    pub(super) cluster: &'a Cluster,
    pub(super) place: Place,
    /// All runs' names have one length: they are part of paths that a table may show.
    pub(super) name: &'static str,
}

impl Suite {
    /// Copies it to where everybody can read it.
    pub(super) fn new() -> Result<Self> {
        let source = parts::part("regress")?;
        let place = tempfile::Builder::new()
            .prefix("node-agent-corpus-")
            .tempdir()?;
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755))?;
        Program::new("cp")
            .args(["-R", "--", "sql", "data"])
            .arg(place.path())
            .at(&source)
            .output()?;
        Program::new("chmod")
            .args(["-R", "a+rX"])
            .arg(place.path())
            .output()?;
        let schedule = fs::read_to_string(source.join("parallel_schedule"))?;
        for entry in fs::read_dir(place.path().join("sql"))? {
            let file = entry?.path();
            if file.extension().is_some_and(|end| end == "sql") {
                let text = fs::read(&file)?;
                fs::write(&file, with_copies_ended(&text))?;
            }
        }
        let mut files: Vec<String> = schedule
            .lines()
            .filter_map(|line| line.strip_prefix("test:"))
            .flat_map(str::split_whitespace)
            .map(str::to_owned)
            .collect();
        // Those that the schedule leaves to whoever asks for them.
        files.extend(rest(&source.join("sql"), &files)?);
        Ok(Self { place, files })
    }

    /// The statements of one file.
    pub(super) fn text(&self, file: &str) -> PathBuf {
        self.place.path().join("sql").join(format!("{file}.sql"))
    }

    /// Runs all of it, in order; each output is kept as `results/FILE.out` in the run's directory,
    /// which is returned. Ends early when another run failed.
    pub(super) fn run(&self, run: &Run<'_>, failed: &AtomicBool) -> Result<PathBuf> {
        let place = self.place.path().join(run.name);
        // The servers write here too, by COPY, as another user.
        for dir in [place.clone(), place.join("results")] {
            fs::create_dir(&dir)?;
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o777))?;
        }
        run.cluster.sql(
            "postgres",
            &format!(
                "CREATE DATABASE {DATABASE} TEMPLATE template0 OWNER {}",
                pg::SERVICE
            ),
        )?;
        run.cluster.sql("postgres", PREPARE)?;
        for file in &self.files {
            if failed.load(Ordering::Relaxed) {
                bail!(ENDED_EARLY);
            }
            let done = self.run_file(run, &place, file);
            if done.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            done.with_context(|| format!("{file}.sql, {}", run.name))?;
        }
        Ok(place)
    }

    fn run_file(&self, run: &Run<'_>, place: &Path, file: &str) -> Result<()> {
        // Both outputs into one file, as they come.
        const TOGETHER: &str = "out=$1; shift; exec \"$@\" >\"$out\" 2>&1";
        let address = run.cluster.address();
        run.world
            .program(run.place, "sh")
            .args(["-c", TOGETHER, "sh"])
            .arg(output(place, file))
            .arg(parts::on_path("psql")?)
            .args(["-X", "-a", "-q", "-d", DATABASE])
            .args(["-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on"])
            .reading(&self.text(file))
            .at(place)
            .env("PGHOST", address.ip().to_string())
            .env("PGPORT", address.port().to_string())
            .env("PGUSER", pg::SERVICE)
            .env("PGPASSWORD", run.world.password(run.place))
            .env("PGSSLMODE", "disable")
            .env("PGAPPNAME", format!("pg_regress/{file}"))
            .env("PGTZ", "PST8PDT")
            .env("PGDATESTYLE", "Postgres, MDY")
            .env("PGOPTIONS", "-c intervalstyle=postgres_verbose")
            .env("LC_ALL", "C")
            .env("LC_MESSAGES", "C")
            .env("PG_ABS_SRCDIR", self.place.path())
            .env("PG_ABS_BUILDDIR", place)
            .env("PG_LIBDIR", "/usr/lib/postgresql/15/lib")
            .env("PG_DLSUFFIX", ".so")
            .env("PGCLIENTENCODING", "UTF8")
            .limit(LIMIT)
            .run()
            .map(drop)
    }
}

/// The text, with an end of data behind each COPY FROM STDIN that is meant to be refused and has no
/// data. Newer releases of psql read on to the end of data also when the server wants none, and
/// would skip what follows; older ones say that the end belongs to nothing.
fn with_copies_ended(text: &[u8]) -> Vec<u8> {
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let mut ended = Vec::with_capacity(text.len());
    for (number, line) in lines.iter().enumerate() {
        ended.extend_from_slice(line);
        let words = line.to_ascii_lowercase();
        let from_stdin = words.windows(10).any(|words| words == b"from stdin");
        let next = lines[number + 1..]
            .iter()
            .find(|line| !line.trim_ascii().is_empty());
        if from_stdin && line.contains(&b';') && next.is_none_or(|next| is_statement(next)) {
            ended.extend_from_slice(b"\\.\n");
        }
    }
    ended
}

/// Whether a line is the beginning of a statement or a comment, and not data.
fn is_statement(line: &[u8]) -> bool {
    const BEGINNINGS: [&str; 18] = [
        "--",
        "/*",
        "select ",
        "insert ",
        "update ",
        "delete ",
        "copy ",
        "set ",
        "reset ",
        "drop ",
        "create ",
        "alter ",
        "grant ",
        "revoke ",
        "rollback",
        "commit",
        "truncate ",
        "begin",
    ];
    let line = line.to_ascii_lowercase();
    BEGINNINGS
        .iter()
        .any(|beginning| line.starts_with(beginning.as_bytes()))
}

/// The files of a directory that are not among `known`, sorted.
fn rest(dir: &Path, known: &[String]) -> Result<Vec<String>> {
    let mut rest = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(name) = name.strip_suffix(".sql")
            && !known.iter().any(|known| known == name)
        {
            rest.push(name.to_owned());
        }
    }
    rest.sort();
    Ok(rest)
}

/// Where a run keeps a file's output.
pub(super) fn output(place: &Path, file: &str) -> PathBuf {
    place.join("results").join(format!("{file}.out"))
}

/// Whether there is an agent to compare with.
pub(super) fn agent_is_here() -> bool {
    if direct() {
        parts::skip("there is no agent (NODE_AGENT_TEST_DIRECT=1)");
    }
    !direct()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_copy_without_data_gets_an_end() {
        let table = [
            (
                "copy t from stdin;\n1\n\\.\n",
                "copy t from stdin;\n1\n\\.\n",
            ),
            (
                "COPY t FROM STDIN; -- no\n\nSELECT 1;\n",
                "COPY t FROM STDIN; -- no\n\\.\n\nSELECT 1;\n",
            ),
            ("copy t from stdin;\n", "copy t from stdin;\n\\.\n"),
            (
                "copy t to stdout;\nselect 1;\n",
                "copy t to stdout;\nselect 1;\n",
            ),
            (
                "copy t from stdin;\n\\.\nselect 1;\n",
                "copy t from stdin;\n\\.\nselect 1;\n",
            ),
        ];
        for (text, expected) in table {
            let ended = with_copies_ended(text.as_bytes());
            assert_eq!(String::from_utf8_lossy(&ended), expected);
        }
    }
}
