//! A workload, a database and a wire between them that starts in the host's network namespace, as
//! a container's does.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use node_agent::intercept::{Owner, Settings, WorkloadIndex};

use crate::settings;
use crate::support::{Agent, Cgroup, Client, own_number, port};
use Place::{Host, Own};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The workload is in the host's network namespace, the database in one at the other end.
    Host,
    /// The workload is in one of its own, the database at the host's end.
    Own,
}

/// A wire from the host's namespace to one more, a database at one end, a workload at the other,
/// an agent in between.
pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) who: &'static str,
    /// The device on the workload's side.
    pub(crate) device: String,
    /// The network's first three numbers.
    pub(crate) net: String,
    pub(crate) port: u16,
    pub(crate) other: u16,
    pub(crate) agent: Agent,
    /// In the namespace that is not the host's.
    pub(crate) away: Client,
    pub(crate) database: Client,
    pub(crate) inside: Cgroup,
    pub(crate) outside: Cgroup,
    files: tempfile::TempDir,
    _wire: Wire,
    // Last: its tree goes when nobody is in it.
    _top: Cgroup,
}

/// The host's end, gone with its test.
struct Wire(String);

impl Drop for Wire {
    fn drop(&mut self) {
        // It may have gone with the namespace of its other end.
        let _ = Command::new("ip").args(["link", "del", &self.0]).output();
    }
}

/// Has the kernel the hook? Its own word for it decides what is expected here, and the program that
/// is attached decides whether that is so.
fn guards_unix() -> bool {
    let found = Command::new("grep")
        .args(["-q", "CGROUP_UNIX_CONNECT", "/sys/kernel/btf/vmlinux"])
        .status();
    found.is_ok_and(|status| status.success())
}

impl Scene {
    pub(crate) fn new(name: &str, place: Place, who: &'static str) -> Scene {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let top = Cgroup::top(name);
        let (inside, outside) = (top.child("inside"), top.child("outside"));
        let mut away = Client::alone(&outside);
        // Networks for benchmarks (RFC 2544), which nobody has: one for each scene.
        let number = own_number() * 4 + NEXT.fetch_add(1, Ordering::Relaxed) % 4;
        let net = format!("198.{}.{}", 18 + number / 256, number % 256);
        let here = format!("na{number}");
        let (mac_here, mac_away, host_here) = match place {
            Host => ("02:00:00:00:00:01", "02:00:00:00:00:02", 1),
            Own => ("02:00:00:00:00:02", "02:00:00:00:00:01", 2),
        };
        let ip = |line: &str| {
            let done = Command::new("ip").args(line.split(' ')).output().unwrap();
            assert!(done.status.success(), "ip {line}: {done:?}");
        };
        ip(&format!(
            "link add {here} address {mac_here} type veth peer name wire address {mac_away} netns {}",
            away.pid()
        ));
        let wire = Wire(here.clone());
        ip(&format!("addr add {net}.{host_here}/24 dev {here}"));
        ip(&format!("link set {here} up"));
        for line in [
            format!("run ip addr add {net}.{}/24 dev wire", 3 - host_here),
            "run ip link set wire up".to_owned(),
        ] {
            assert_eq!(away.ask(&line), "status=0", "{line}");
        }
        let (near, other) = (port(), port());
        let files = tempfile::tempdir().unwrap();
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
        std::fs::set_permissions(files.path(), all).unwrap();
        // What other ways need; the database's own path is not among them.
        let unix = ["hand", "relay"].map(|name| {
            let path = files.path().join(name);
            path.to_str().unwrap().parse().unwrap()
        });
        let agent = Agent::start(Settings {
            ports: vec![near],
            protected: vec![format!("{net}.2").parse().unwrap()],
            unix: guards_unix().then(|| unix.to_vec()),
            ..settings(&top)
        });
        agent.label(&inside, 7);
        let mut database = Client::inside(&outside);
        let device = match place {
            Host => {
                agent.listen_here();
                assert_eq!(database.ask(&format!("enter {}", away.pid())), "there");
                here
            }
            Own => {
                agent.interceptor.listen(away.netns()).unwrap();
                "wire".to_owned()
            }
        };
        assert_eq!(database.ask(&format!("database {near} {other}")), "open");
        let mut scene = Scene {
            place,
            who,
            device,
            net,
            port: near,
            other,
            agent,
            away,
            database,
            inside,
            outside,
            files,
            _wire: wire,
            _top: top,
        };
        // A database on paths, too.
        assert_eq!(scene.database_at_path(), "open");
        scene
    }

    /// Puts the filter at the host's end of the workload's wire.
    pub(crate) fn filter(&self) {
        let netns = self.away.netns();
        let inode = File::from(self.away.netns()).metadata().unwrap().ino();
        let owner = Owner {
            netns: inode,
            cgroup: self.inside.id(),
            workload: WorkloadIndex(7),
        };
        let past = self.agent.interceptor.filter(netns.as_fd(), owner).unwrap();
        assert_eq!(past, []);
    }

    /// How many packets the filter has dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.agent.interceptor.counters().unwrap().bypass.wire
    }

    fn database_at_path(&mut self) -> String {
        let path = self.path("database");
        self.database.ask(&format!("unix-database {path}"))
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.files.path().join(name).display().to_string()
    }

    /// The same, with nothing there from before.
    pub(crate) fn fresh(&self, name: &str) -> String {
        let _ = std::fs::remove_file(self.files.path().join(name));
        self.path(name)
    }

    pub(crate) fn to(&self) -> String {
        format!("{}.2:{}", self.net, self.port)
    }

    /// A process in that cgroup, where this scene's workload lives.
    pub(crate) fn client(&self, cgroup: &Cgroup, who: &str) -> Client {
        let mut client = Client::inside(cgroup);
        if self.place == Own {
            assert_eq!(client.ask(&format!("enter {}", self.away.pid())), "there");
        }
        assert_eq!(client.ask(&format!("become {who}")), "so");
        client
    }
}
