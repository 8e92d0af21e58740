//! What `initdb` made, kept between runs, and copied for every cluster.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{DATABASE, PASSWORD, SERVICE, Version, as_owner, give};
use crate::parts;
use crate::program::Program;

/// Changes when what is below changes, so that an old template is not used.
const EDITION: u32 = 1;

/// Who may come in how: a role for every way the server can ask for a password.
const HBA: &str = "\
local    all all                    trust
host     all by_trust     127.0.0.0/8 trust
host     all by_cleartext 127.0.0.0/8 password
host     all by_md5       127.0.0.0/8 md5
hostssl  all by_tls_only  127.0.0.0/8 scram-sha-256
host     all by_tls_only  127.0.0.0/8 reject
host     all by_nobody    127.0.0.0/8 reject
host     all all          127.0.0.0/8 scram-sha-256
host     replication all  127.0.0.0/8 scram-sha-256
";

const CONF: &str = "\
fsync = off
synchronous_commit = off
full_page_writes = off
shared_buffers = 64MB
max_connections = 200
max_prepared_transactions = 10
timezone = 'UTC'
log_min_messages = log
log_line_prefix = '%p %u '
lc_messages = 'C'
include_if_exists = 'cluster.conf'
";

/// Copies the template to `data`, making it first when there is none.
pub(super) fn copy(version: Version, home: &Path, data: &Path) -> Result<()> {
    let templates = parts::test_parts().join("templates");
    fs::create_dir_all(&templates)?;
    let lock = File::create(templates.join("lock"))?;
    // Tests run in processes of their own: one makes it, the others wait.
    lock.lock()?;
    let template = templates.join(format!("{}-{EDITION}-{}", version.name(), owner()));
    if !template.exists() {
        make(version, home, &template)?;
    }
    drop(lock);
    let mut cp = Program::new("cp").args(["-a", "--reflink=auto", "--"]);
    cp = cp.arg(&template).arg(data);
    cp.output()
        .map(drop)
        .context("the template could not be copied")
}

fn owner() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn make(version: Version, home: &Path, template: &Path) -> Result<()> {
    // Where the servers' user can write, whoever owns the target directory.
    let place = tempfile::Builder::new()
        .prefix("node-agent-initdb-")
        .tempdir()?;
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755))?;
    give(place.path())?;
    let data = place.path().join("data");
    let mut initdb = as_owner(home, "initdb", "KILL");
    initdb.arg("-D").arg(&data);
    initdb.args(["-U", "postgres", "-E", "UTF8", "--no-sync", "--auth=trust"]);
    // 15 has it from the distribution; the C rules sort everywhere alike.
    initdb.args(["--locale=C", "--no-instructions"]);
    run(&mut initdb)?;
    let main = data.join("postgresql.conf");
    let text = fs::read_to_string(&main)?;
    fs::write(&main, format!("{text}\n{CONF}"))?;
    fs::write(data.join("pg_hba.conf"), HBA)?;
    single(home, &data, "postgres", &roles())?;
    let mut mv = Command::new("cp");
    run(mv.arg("-a").arg(&data).arg(template.with_extension("new")))?;
    fs::rename(template.with_extension("new"), template)
        .with_context(|| format!("{} {}", version.name(), template.display()))
}

fn roles() -> String {
    let mut lines = format!("CREATE ROLE {SERVICE} SUPERUSER LOGIN PASSWORD '{PASSWORD}';\n");
    for role in ["by_trust", "by_cleartext", "by_tls_only", "by_nobody"] {
        lines += &format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}';\n");
    }
    lines += "SET password_encryption = 'md5';\n";
    lines += &format!("CREATE ROLE by_md5 LOGIN PASSWORD '{PASSWORD}';\n");
    lines += &format!("CREATE DATABASE {DATABASE} OWNER {SERVICE};\n");
    lines
}

/// Runs statements, one a line, without a server.
fn single(home: &Path, data: &Path, database: &str, statements: &str) -> Result<()> {
    let mut command = as_owner(home, "postgres", "KILL");
    command.args(["--single", "-D"]).arg(data).arg(database);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .context("a pipe")?
        .write_all(statements.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || said.contains("ERROR") {
        bail!("postgres --single: {said}");
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))
}
