//! One server, one agent, and two workloads: one under the read-write policy that is shipped, one that
//! may only read.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use node_agent_tests::client::{Dialer, Raw, startup};
use node_agent_tests::pg::{DATABASE, PASSWORD, SERVICE};
use node_agent_tests::world::{WORTHLESS, direct};
use node_agent_tests::{World, parts};

/// Made again for each control that commits, and for whoever is compared with.
const PRISTINE: &str = "pristine";
/// Whom the server lets in with a password in clear. He is a superuser here, and becomes the role
/// that the agent logs in with.
const INSIDER: &str = "by_cleartext";
const READER: &str = "reader";
const READ_ONLY: &str = "\
apiVersion: node-agent/v1
kind: Policy
metadata: { name: read-only }
subjects: [ { workloads: [reader] } ]
targets: [ '*' ]
rules:
  - { name: reading, effect: allow, statements: [read], tables: ['app.*', 'public.*'] }
";
const SEED: &str = include_str!("seed.sql");

/// Under which policy a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Under {
    ReadWrite,
    ReadOnly,
}

pub(super) struct Scene {
    // In this order they go.
    writer: Dialer,
    reader: Dialer,
    pub(super) world: World,
    files: tempfile::TempDir,
}

/// Whether there is an agent.
pub(super) fn agent_is_here() -> bool {
    if direct() {
        parts::skip("there is no agent (NODE_AGENT_TEST_DIRECT=1)");
    }
    !direct()
}

impl Scene {
    pub(super) fn set() -> Result<Self> {
        let shipped = fs::read_to_string(parts::repository().join("policies/read-write.yaml"))?;
        let own = shipped.replace("groups: [ai-agents]", "workloads: [claude]");
        ensure!(own != shipped, "read-write.yaml is for another group");
        let world = World::builder()
            .policy_text("read-write.yaml", &own)
            .policy_text("read-only.yaml", READ_ONLY)
            .workload(READER)
            .upstream_tls("disable")
            .pg_settings("autovacuum = off\nmax_replication_slots = 4\nwal_level = logical")
            .seed(SEED)
            .start()?;
        let cluster = world.cluster();
        cluster.sql("postgres", &format!("alter role {INSIDER} superuser"))?;
        let pristine = format!("create database {PRISTINE} template {DATABASE} is_template true");
        cluster.sql("postgres", &pristine)?;
        let files = tempfile::Builder::new()
            .prefix("node-agent-files-")
            .tempdir()?;
        // The server writes here, as another user.
        fs::set_permissions(files.path(), fs::Permissions::from_mode(0o777))?;
        Ok(Self {
            writer: Dialer::start(&world.cgroup(node_agent_tests::Place::Inside))?,
            reader: Dialer::start(&world.cgroup_of(READER))?,
            world,
            files,
        })
    }

    /// A session through the agent.
    pub(super) fn governed(&mut self, under: Under) -> Result<Raw> {
        let dialer = match under {
            Under::ReadWrite => &mut self.writer,
            Under::ReadOnly => &mut self.reader,
        };
        let mut client = Raw::new(dialer.dial(self.world.cluster().address())?)?;
        client.login(SERVICE, DATABASE, WORTHLESS)?;
        Ok(client)
    }

    /// A session without the agent, of the role that the agent logs in with.
    pub(super) fn ungoverned(&self, database: &str) -> Result<Raw> {
        let mut client = Raw::connect(self.world.cluster().address())?;
        client.login(INSIDER, database, PASSWORD)?;
        self.become_service(&mut client)?;
        Ok(client)
    }

    /// Makes of an insider's session one of the role that the agent logs in with.
    pub(super) fn become_service(&self, client: &mut Raw) -> Result<()> {
        let seen = client.query(&format!("set session authorization {SERVICE}"))?;
        ensure!(
            seen.iter().all(|message| message.kind != b'E'),
            "no such role"
        );
        Ok(())
    }

    /// A session that does nothing and should go on.
    pub(super) fn bystander(&self) -> Result<Raw> {
        let mut client = Raw::connect(self.world.cluster().address())?;
        let who = [
            ("user", INSIDER),
            ("database", "postgres"),
            ("application_name", "bystander"),
        ];
        client.send(&startup((3, 0), &who))?;
        client.logged_in(PASSWORD)?;
        Ok(client)
    }

    /// A database as all began.
    pub(super) fn copy(&self, name: &str) -> Result<()> {
        let text = format!("create database {name} template {PRISTINE}");
        self.world.cluster().sql("postgres", &text).map(drop)
    }

    pub(super) fn drop_copy(&self, name: &str) -> Result<()> {
        let text = format!("drop database if exists {name} with (force)");
        self.world.cluster().sql("postgres", &text).map(drop)
    }

    /// Where statements may try to write files.
    pub(super) fn files(&self) -> &Path {
        self.files.path()
    }

    /// Those files as they should be.
    pub(super) fn lay_files(&self) -> Result<()> {
        for entry in fs::read_dir(self.files())? {
            let path: PathBuf = entry?.path();
            if path.is_dir() {
                fs::remove_dir_all(&path)?;
            } else {
                fs::remove_file(&path)?;
            }
        }
        let file = self.files().join("kept.txt");
        fs::write(&file, "1\n").context("the file that is to be kept")?;
        // Anybody could overwrite it.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666))?;
        Ok(())
    }
}
