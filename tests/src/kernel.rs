//! What the kernel tests stand on: cgroups, workloads and databases of their own, cleaned up when
//! dropped, also by a panicking test.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use node_agent::intercept::{
    self, Closed, Interceptor, Listener, Settings, State, WorkloadIndex, cgroup_id,
};
use node_agent::model::{CgroupId, ClientAddr, NetnsCookie, Pid};
use node_agent::origin::Origins;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Whether kernel tests can run here. A machine that cannot fails the test, with the reason,
/// unless skipping was asked for; then the reason is printed and the test ends.
pub(crate) fn able(test: &str) -> bool {
    let reason = if !rustix::process::geteuid().is_root() {
        Some("kernel tests need root".to_owned())
    } else {
        intercept::probe()
            .into_iter()
            .find(|finding| finding.state == State::Missing)
            .map(|finding| format!("{}: {}", finding.what, finding.mend.unwrap_or_default()))
    };
    let Some(reason) = reason else { return true };
    let allowed = std::env::var_os("NODE_AGENT_TEST_ALLOW_SKIP").is_some_and(|v| v == "1");
    assert!(allowed, "{reason} (NODE_AGENT_TEST_ALLOW_SKIP=1 skips instead)");
    println!("SKIPPED: {test}: {reason}");
    false
}

/// A port of this test's own, below the range the kernel hands out.
pub(crate) fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let base = 20_000 + u16::try_from(std::process::id() % 100).unwrap() * 100;
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed) % 100;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A cgroup, removed with everything below it.
pub(crate) struct Cgroup {
    pub(crate) path: PathBuf,
}

impl Cgroup {
    /// A subtree for one test, below the root of the hierarchy.
    pub(crate) fn top(test: &str) -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let unique = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("node-agent-test-{}-{unique}-{test}", std::process::id());
        let path = intercept::cgroup_root().unwrap().join(name);
        fs::create_dir(&path).unwrap();
        Cgroup { path }
    }

    pub(crate) fn child(&self, name: &str) -> Self {
        let path = self.path.join(name);
        fs::create_dir(&path).unwrap();
        Cgroup { path }
    }

    pub(crate) fn id(&self) -> CgroupId {
        cgroup_id(&self.path).unwrap()
    }

    pub(crate) fn adopt(&self, pid: Pid) {
        fs::write(self.path.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let until = Instant::now() + PATIENCE;
        while self.path.exists() && remove_tree(&self.path).is_err() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn remove_tree(path: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(path)?.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

/// A workload that does as told.
pub(crate) struct Client {
    child: Child,
    tell: ChildStdin,
    hear: BufReader<ChildStdout>,
}

impl Client {
    /// Started outside any test's cgroup.
    pub(crate) fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kernel-client"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let tell = child.stdin.take().unwrap();
        let hear = BufReader::new(child.stdout.take().unwrap());
        Client { child, tell, hear }
    }

    pub(crate) fn inside(cgroup: &Cgroup) -> Self {
        let client = Client::start();
        cgroup.adopt(client.pid());
        client
    }

    /// In a network namespace of its own, loopback up.
    pub(crate) fn alone(cgroup: &Cgroup) -> Self {
        let mut client = Client::inside(cgroup);
        assert_eq!(client.ask("unshare"), "alone");
        assert_eq!(client.ask("run ip link set lo up"), "status=0");
        client
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid(self.child.id())
    }

    pub(crate) fn netns(&self) -> std::os::fd::OwnedFd {
        fs::File::open(format!("/proc/{}/ns/net", self.pid())).unwrap().into()
    }

    pub(crate) fn ask(&mut self, command: &str) -> String {
        writeln!(self.tell, "{command}").unwrap();
        let mut answer = String::new();
        self.hear.read_line(&mut answer).unwrap();
        answer.trim().to_owned()
    }

    /// Connects and gives the greeting, or the error.
    pub(crate) fn greeting(&mut self, to: impl std::fmt::Display) -> String {
        let answer = self.ask(&format!("connect {to}"));
        match answer.strip_prefix("greeting=") {
            Some(rest) => rest.split(" peer=").next().unwrap().to_owned(),
            None => answer,
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Something that listens and says `DATABASE` to whoever comes.
pub(crate) struct Database {
    pub(crate) port: u16,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    visits: Arc<AtomicU16>,
}

impl Database {
    pub(crate) fn start() -> Self {
        let port = port();
        let stop = Arc::new(AtomicBool::new(false));
        let visits = Arc::new(AtomicU16::new(0));
        let threads = ["0.0.0.0", "::1"]
            .map(|at| {
                let listener = TcpListener::bind((at, port)).unwrap();
                let visits = Arc::clone(&visits);
                serve(listener, Arc::clone(&stop), move |mut stream, _| {
                    visits.fetch_add(1, Ordering::Relaxed);
                    let _ = stream.write_all(b"DATABASE\n");
                })
            })
            .into();
        Database { port, stop, threads, visits }
    }

    pub(crate) fn visits(&self) -> u16 {
        self.visits.load(Ordering::Relaxed)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve(
    listener: TcpListener,
    stop: Arc<AtomicBool>,
    mut each: impl FnMut(std::net::TcpStream, SocketAddr) + Send + 'static,
) -> JoinHandle<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let mut fds = [PollFd::new(&listener, PollFlags::IN)];
            let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 20_000_000 }));
            while let Ok((stream, from)) = listener.accept() {
                let _ = stream.set_nonblocking(false);
                each(stream, from);
            }
        }
    })
}

/// An agent as far as the redirect goes: says where each connection was going, then closes. One
/// without an origin is closed unread and unanswered.
pub(crate) struct Agent {
    pub(crate) interceptor: Arc<Interceptor>,
    pub(crate) port: u16,
    stop: Arc<AtomicBool>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
    uninstall: bool,
}

impl Agent {
    pub(crate) fn start(settings: Settings) -> Self {
        let port = settings.listen_port;
        let interceptor = Arc::new(Interceptor::start(settings).unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Arc<Mutex<Vec<JoinHandle<()>>>> = Arc::default();
        let mut listeners = interceptor.take_listeners().unwrap();
        let origins = Origins::Kernel {
            interceptor: Arc::clone(&interceptor),
            cgroup_root: intercept::cgroup_root().unwrap(),
        };
        let accepting = {
            let (threads, stop) = (Arc::clone(&threads), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match listeners.try_recv() {
                        Ok(Listener { netns, v4, v6, closed }) => {
                            for listener in [Some(v4), v6].into_iter().flatten() {
                                let one = answer(
                                    listener,
                                    netns,
                                    closed.clone(),
                                    origins.clone(),
                                    Arc::clone(&stop),
                                );
                                threads.lock().unwrap().push(one);
                            }
                        }
                        Err(_) => std::thread::sleep(Duration::from_millis(1)),
                    }
                }
            })
        };
        threads.lock().unwrap().push(accepting);
        Agent { interceptor, port, stop, threads, uninstall: true }
    }

    /// Listens in the tests' own network namespace.
    pub(crate) fn listen_here(&self) -> NetnsCookie {
        let netns = fs::File::open("/proc/self/ns/net").unwrap();
        self.interceptor.listen(netns.into()).unwrap()
    }

    pub(crate) fn label(&self, cgroup: &Cgroup, workload: u32) {
        self.interceptor.label(cgroup.id(), WorkloadIndex(workload)).unwrap();
    }

    /// Ends as a killed process does: nothing is taken back.
    pub(crate) fn die(mut self) {
        self.uninstall = false;
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        loop {
            let thread = self.threads.lock().unwrap().pop();
            match thread {
                Some(thread) => drop(thread.join()),
                None => break,
            }
        }
        if self.uninstall {
            let done = self.interceptor.uninstall();
            assert!(std::thread::panicking() || done.is_ok(), "{done:?}");
        }
    }
}

fn answer(
    listener: TcpListener,
    netns: NetnsCookie,
    closed: Closed,
    origins: Origins,
    stop: Arc<AtomicBool>,
) -> JoinHandle<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) && !closed.is_closed() {
            let mut fds = [PollFd::new(&listener, PollFlags::IN)];
            let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 10_000_000 }));
            while let Ok((mut stream, from)) = listener.accept() {
                if let Ok(flow) = origins.take(netns, ClientAddr(from)) {
                    let facts = &flow.process;
                    let executable = facts.executable.as_deref().unwrap_or("?");
                    let name = Path::new(executable).file_name().unwrap_or_default();
                    let _ = writeln!(
                        stream,
                        "AGENT {} workload={} pid={} comm={} exe={}",
                        flow.destination,
                        flow.workload.0,
                        facts.pid,
                        facts.comm,
                        name.to_string_lossy()
                    );
                }
            }
        }
    })
}

/// Waits until `done` says so.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The cgroup this test runs in, which stands for the agent's.
pub(crate) fn own_cgroup() -> CgroupId {
    let table = fs::read_to_string("/proc/self/cgroup").unwrap();
    let path = table.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
    cgroup_id(&intercept::cgroup_root().unwrap().join(path)).unwrap()
}
