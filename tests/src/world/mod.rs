//! A world for one test: clusters, the issuer, one labelled cgroup, and the agent, which is the real
//! program. Everything goes with it, also when the test fails.
//!
//! With `NODE_AGENT_TEST_DIRECT=1` there is no agent, and clients go straight to the databases: so
//! the tests' own programs can be tried alone.

mod agent;
mod config;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::cgroup::Tree;
use crate::client::{Dialer, Raw};
use crate::idp::Idp;
use crate::parts;
use crate::pg::{self, Cluster, Version};
use crate::program::{Finished, Program};

pub use agent::{Agent, Drains};

/// The workload's name in the configuration.
pub const WORKLOAD: &str = "claude";
/// The subject of its token.
pub const SUBJECT: &str = "claude@agents";
/// Its group.
pub const GROUP: &str = "ai-agents";
/// The password that the workload sends: it opens nothing.
pub const WORTHLESS: &str = "worthless";

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the labelled cgroup: its connections are the agent's.
    Inside,
    /// In a cgroup beside it, which has no label.
    Outside,
}

/// How a world is to be.
pub struct Builder {
    versions: Vec<Version>,
    policies: Vec<(String, String)>,
    upstream_tls: &'static str,
    token_sources: &'static str,
    servers: Vec<(String, SocketAddr, &'static str)>,
    servers_ca: Option<PathBuf>,
    trusting: Vec<(String, SocketAddr)>,
    issuer_tls: bool,
    others: Vec<&'static str>,
    seed: &'static str,
    settings: String,
    pg_settings: &'static str,
    canary_every: &'static str,
    keep_warm: Option<&'static str>,
}

/// The world.
pub struct World {
    // In this order they go: who uses a thing before the thing.
    agent: Option<Agent>,
    /// The issuer.
    pub idp: Idp,
    clusters: Vec<Cluster>,
    tree: Tree,
    place: TempDir,
}

impl Builder {
    /// With one cluster of each of these versions. The default is 15 alone.
    #[must_use]
    pub fn clusters(mut self, versions: &[Version]) -> Self {
        self.versions = versions.to_vec();
        self
    }

    /// With a policy that the repository ships, by its path under `policies/`, instead of
    /// `allow-everything.yaml`.
    pub fn policy(self, name: &str) -> Result<Self> {
        let file = parts::repository().join("policies").join(name);
        let text =
            fs::read_to_string(&file).with_context(|| format!("no policy {}", file.display()))?;
        Ok(self.policy_text(name, &text))
    }

    /// With this policy document. The first replaces the default.
    #[must_use]
    pub fn policy_text(mut self, name: &str, text: &str) -> Self {
        self.policies
            .push((name.replace('/', "-"), text.to_owned()));
        self
    }

    /// With a policy of this name that allows everything but what these further lines of it say:
    /// more of its rules, or what follows them.
    pub fn everything(self, name: &str, but: &str) -> Self {
        let text = format!(
            "apiVersion: node-agent/v1\nkind: Policy\nmetadata: {{ name: {name} }}\n\
             subjects: [ {{ workloads: ['*'] }} ]\ntargets: [ '*' ]\nfunctions: {{ allow: ['*'] }}\n\
             rules:\n  - {{ name: everything, effect: allow, statements: ['*'], without_where: true }}\n\
             {but}\n"
        );
        self.policy_text(&format!("{name}.yaml"), &text)
    }

    /// With this TLS towards the databases: `disable`, `require` or `verify-full` (the default).
    #[must_use]
    pub fn upstream_tls(mut self, word: &'static str) -> Self {
        self.upstream_tls = word;
        self
    }

    /// With these token sources, as YAML: `FILE` stands for the token's file.
    #[must_use]
    pub fn token_sources(mut self, yaml: &'static str) -> Self {
        self.token_sources = yaml;
        self
    }

    /// With a target for a server that is no cluster, with this TLS towards it.
    #[must_use]
    pub fn server(mut self, name: &str, address: SocketAddr, tls: &'static str) -> Self {
        self.servers.push((name.to_owned(), address, tls));
        self
    }

    /// With a target for a server that is no cluster, in clear, to which the agent has no password:
    /// it is taken at its word.
    #[must_use]
    pub fn trusting_server(mut self, name: &str, address: SocketAddr) -> Self {
        self.trusting.push((name.to_owned(), address));
        self
    }

    /// With this authority trusted for the servers that are no clusters, where the TLS is verified.
    #[must_use]
    pub fn servers_ca(mut self, ca_file: &Path) -> Self {
        self.servers_ca = Some(ca_file.to_path_buf());
        self
    }

    /// With an issuer over HTTPS.
    #[must_use]
    pub fn issuer_tls(mut self) -> Self {
        self.issuer_tls = true;
        self
    }

    /// With a further workload, in the labelled cgroup that [`World::cgroup_of`] names.
    #[must_use]
    pub fn workload(mut self, name: &'static str) -> Self {
        self.others.push(name);
        self
    }

    /// With these statements run in every cluster first.
    #[must_use]
    pub fn seed(mut self, statements: &'static str) -> Self {
        self.seed = statements;
        self
    }

    /// With these further lines in the agent's configuration. `ADMIN` stands for the address of its
    /// pages, `ISSUER` for the issuer's URL.
    #[must_use]
    pub fn settings(mut self, yaml: &str) -> Self {
        self.settings = yaml.to_owned();
        self
    }

    /// With the canary asked so often.
    #[must_use]
    pub fn canary_every(mut self, duration: &'static str) -> Self {
        self.canary_every = duration;
        self
    }

    /// With connections to the clusters kept for so long behind their sessions.
    #[must_use]
    pub fn keep_warm(mut self, duration: &'static str) -> Self {
        self.keep_warm = Some(duration);
        self
    }

    /// With these further lines in every postgresql.conf.
    #[must_use]
    pub fn pg_settings(mut self, lines: &'static str) -> Self {
        self.pg_settings = lines;
        self
    }

    /// Raises it, and waits until it is ready.
    pub fn start(self) -> Result<World> {
        let starting: Vec<_> = self
            .versions
            .iter()
            .map(|version| Cluster::begin(*version, self.pg_settings))
            .collect::<Result<_>>()?;
        let place = tempfile::Builder::new()
            .prefix("node-agent-world-")
            .tempdir()?;
        // The agent's worker is another user; what is secret in it has its own mode.
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755))?;
        let idp = if self.issuer_tls {
            Idp::start_tls()?
        } else {
            Idp::start()?
        };
        let tree = Tree::new()?;
        tree.child(&format!("agents/{WORKLOAD}"))?;
        for other in &self.others {
            tree.child(&format!("agents/{other}"))?;
        }
        tree.child("others")?;
        let clusters: Vec<Cluster> = starting
            .into_iter()
            .map(pg::Starting::ready)
            .collect::<Result<_>>()?;
        if !self.seed.is_empty() {
            for cluster in &clusters {
                cluster.sql(pg::DATABASE, self.seed)?;
            }
        }
        let mut world = World {
            agent: None,
            idp,
            clusters,
            tree,
            place,
        };
        world.set_token(&world.idp.token(SUBJECT, &[GROUP], 3600))?;
        if !direct() {
            let config = config::write(&self, &world)?;
            let mut agent = Agent::new(config);
            agent.start()?;
            world.agent = Some(agent);
        }
        Ok(world)
    }
}

/// Whether clients go straight to the databases, without an agent.
pub fn direct() -> bool {
    std::env::var("NODE_AGENT_TEST_DIRECT").is_ok_and(|value| value == "1")
}

impl World {
    /// One cluster of version 15, everything allowed, TLS with verification towards the database.
    pub fn builder() -> Builder {
        Builder {
            versions: vec![Version::V15],
            policies: Vec::new(),
            upstream_tls: "verify-full",
            token_sources: "[ { file: FILE }, password ]",
            servers: Vec::new(),
            servers_ca: None,
            trusting: Vec::new(),
            issuer_tls: false,
            others: Vec::new(),
            seed: "",
            settings: String::new(),
            pg_settings: "",
            canary_every: "10s",
            keep_warm: None,
        }
    }

    /// The first cluster.
    pub fn cluster(&self) -> &Cluster {
        self.clusters.first().expect("a world has a cluster")
    }

    /// All clusters.
    pub fn clusters(&self) -> &[Cluster] {
        &self.clusters
    }

    /// The agent.
    pub fn agent(&self) -> &Agent {
        self.agent
            .as_ref()
            .expect("a world has an agent unless NODE_AGENT_TEST_DIRECT=1")
    }

    /// The agent, to stop or start it.
    pub fn agent_mut(&mut self) -> &mut Agent {
        self.agent
            .as_mut()
            .expect("a world has an agent unless NODE_AGENT_TEST_DIRECT=1")
    }

    /// The world's own directory.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// The cgroup of a place.
    pub fn cgroup(&self, place: Place) -> PathBuf {
        self.tree.path().join(match place {
            Place::Inside => format!("agents/{WORKLOAD}"),
            Place::Outside => "others".to_owned(),
        })
    }

    /// The cgroup of a further workload.
    pub fn cgroup_of(&self, workload: &str) -> PathBuf {
        self.tree.path().join("agents").join(workload)
    }

    /// The subtree of cgroups that is this world's.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// A program there.
    pub fn program(&self, place: Place, program: impl AsRef<std::ffi::OsStr>) -> Program {
        Program::in_cgroup(&self.cgroup(place), program)
    }

    /// What a client at this place must send as its password to be let in.
    pub fn password(&self, place: Place) -> &'static str {
        match place {
            Place::Inside if !direct() => WORTHLESS,
            Place::Inside | Place::Outside => pg::PASSWORD,
        }
    }

    /// The roots that a client at this place trusts: the node's authority inside, the database's
    /// own outside.
    pub fn roots(&self, place: Place, cluster: &Cluster) -> PathBuf {
        match place {
            Place::Inside if !direct() => self.agent().node_ca(),
            Place::Inside | Place::Outside => cluster.ca_file(),
        }
    }

    /// A libpq connection string: the database's own name, and its address so that nothing needs
    /// to resolve it.
    pub fn dsn(&self, place: Place, cluster: &Cluster, sslmode: &str) -> String {
        format!(
            "host={} hostaddr={} port={} dbname={} user={} password={} sslmode={sslmode} \
             sslrootcert={} connect_timeout=15",
            pg::NAME,
            cluster.address().ip(),
            pg::PORT,
            pg::DATABASE,
            pg::SERVICE,
            self.password(place),
            self.roots(place, cluster).display(),
        )
    }

    /// psql at a place, connected to the first cluster, unaligned, without start-up files.
    pub fn psql(&self, place: Place) -> Result<Program> {
        self.psql_to(place, self.cluster(), "disable")
    }

    /// The same, to this cluster with this `sslmode`.
    pub fn psql_to(&self, place: Place, cluster: &Cluster, sslmode: &str) -> Result<Program> {
        let psql = self.program(place, parts::on_path("psql")?);
        Ok(psql.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-d",
            &self.dsn(place, cluster, sslmode),
        ]))
    }

    /// One statement in psql inside.
    pub fn ask(&self, statement: &str) -> Result<Finished> {
        self.psql(Place::Inside)?.args(["-c", statement]).run()
    }

    /// Statements in psql inside, one session, going on after errors.
    pub fn ask_all(&self, statements: &str) -> Result<Finished> {
        let file = self.write("statements.sql", statements)?;
        self.psql(Place::Inside)?.arg("-f").arg(file).run()
    }

    /// A dialler inside the labelled cgroup.
    pub fn dialer(&self) -> Result<Dialer> {
        Dialer::start(&self.cgroup(Place::Inside))
    }

    /// A client of bytes, connected from inside to the first cluster, nothing said yet.
    pub fn raw(&self, dialer: &mut Dialer) -> Result<Raw> {
        Raw::new(dialer.dial(self.cluster().address())?)
    }

    /// The same, logged in at protocol 3.0.
    pub fn client(&self, dialer: &mut Dialer) -> Result<Raw> {
        let mut client = self.raw(dialer)?;
        client.login(pg::SERVICE, pg::DATABASE, self.password(Place::Inside))?;
        Ok(client)
    }

    /// How many statements that hold this text the first cluster runs now.
    pub fn running(&self, text: &str) -> Result<usize> {
        let count = format!(
            "select count(*) from pg_stat_activity where state = 'active' \
             and query like '%{text}%' and pid <> pg_backend_pid()"
        );
        Ok(self.cluster().sql(pg::DATABASE, &count)?.parse()?)
    }

    /// Puts a token where the workload's is read; empty text takes it away.
    pub fn set_token(&self, token: &str) -> Result<()> {
        let file = self.token_file();
        if token.is_empty() {
            return Ok(fs::remove_file(file)?);
        }
        // In one step, as kubelet does it: never half a token.
        let new = file.with_extension("new");
        fs::write(&new, token)?;
        Ok(fs::rename(new, file)?)
    }

    /// Where the workload's token is.
    pub fn token_file(&self) -> PathBuf {
        self.place.path().join("token")
    }

    /// Writes or replaces a policy document. The agent follows the directory.
    pub fn set_policy(&self, name: &str, text: &str) -> Result<()> {
        let file = self.place.path().join("policies").join(name);
        let new = self.place.path().join("policy.new");
        fs::write(&new, text)?;
        Ok(fs::rename(new, file)?)
    }

    /// Writes a file of the test's own.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.place.path().join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }

    /// The agent's own command line, with this world's configuration behind the words.
    pub fn cli(&self, words: &[&str]) -> Result<Finished> {
        Program::new(parts::built("node-agent")?)
            .args(words)
            .arg("--config")
            .arg(self.agent().config())
            .limit(Duration::from_secs(30))
            .run()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let (true, Some(agent)) = (std::thread::panicking(), &self.agent) {
            println!("The end of the agent's log:\n{}", agent.log_tail());
        }
    }
}
