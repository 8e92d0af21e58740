//! What the kernel tests stand on: cgroups, workloads and databases of their own, cleaned up when
//! dropped, also by a panicking test.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as Name, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use node_agent::enrol::{EnrolSettings, Enrolment, WorkloadRule};
use node_agent::intercept::{
    self, Closed, Estate, Interceptor, Listener, Right, Settings, State, WorkloadIndex, cgroup_id,
};
use node_agent::model::{CgroupId, ClientAddr, NetnsCookie, Pid};
use node_agent::origin::{Digests, Origin, Origins};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Whether kernel tests can run here. A machine that cannot fails the test, with the reason,
/// unless skipping was asked for; then the reason is printed and the test ends.
pub(crate) fn able(test: &str) -> bool {
    let reason = if !rustix::process::geteuid().is_root() {
        Some("kernel tests need root".to_owned())
    } else {
        // Whether the programs load, each test sees by its agent: verifying them twice would take
        // an emulated kernel longer than most tests.
        intercept::grounds()
            .into_iter()
            .find(|finding| finding.state == State::Missing)
            .map(|finding| format!("{}: {}", finding.what, finding.mend.unwrap_or_default()))
    };
    let Some(reason) = reason else { return true };
    let allowed = std::env::var_os("NODE_AGENT_TEST_ALLOW_SKIP").is_some_and(|v| v == "1");
    assert!(
        allowed,
        "{reason} (NODE_AGENT_TEST_ALLOW_SKIP=1 skips instead)"
    );
    println!("SKIPPED: {test}: {reason}");
    false
}

/// What this kernel has: looked for once, for every program is loaded by it, which takes seconds
/// under emulation.
pub(crate) fn found() -> &'static [intercept::Finding] {
    static FOUND: OnceLock<Vec<intercept::Finding>> = OnceLock::new();
    FOUND.get_or_init(intercept::probe)
}

/// Whether this kernel has an optional layer; if not, why.
pub(crate) fn has(layer: &str) -> Result<(), String> {
    let found = found().iter().find(|found| found.what.contains(layer));
    let found = found.ok_or_else(|| "doctor does not name it".to_owned())?;
    match &found.mend {
        None => Ok(()),
        Some(why) => Err(why.clone()),
    }
}

/// A number below 120 that no other process has which tests at the same time.
pub(crate) fn own_number() -> u16 {
    static OWN: OnceLock<(u16, UnixListener)> = OnceLock::new();
    // By a name that goes with the process.
    let (number, _) = OWN.get_or_init(|| {
        let first = u16::try_from(std::process::id() % 120).unwrap();
        (0..120)
            .map(|step| (first + step) % 120)
            .find_map(|number| {
                let name = format!("node-agent-test-number-{number}");
                let address = Name::from_abstract_name(name).unwrap();
                Some((number, UnixListener::bind_addr(&address).ok()?))
            })
            .unwrap()
    });
    *number
}

/// A port of this test's own, below the range the kernel hands out.
pub(crate) fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Not tried out: the socket of a trial lives on for a moment in every child being started.
    20_000 + own_number() * 100 + NEXT.fetch_add(1, Ordering::Relaxed) % 100
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

    /// Its path below the root, as globs match it.
    pub(crate) fn name(&self) -> String {
        let root = intercept::cgroup_root().unwrap();
        self.path
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    }

    pub(crate) fn attribute(&self, value: Option<&str>) {
        use rustix::fs::{XattrFlags, removexattr, setxattr};
        let name = node_agent::enrol::ATTRIBUTE;
        match value {
            Some(value) => {
                setxattr(&self.path, name, value.as_bytes(), XattrFlags::empty()).unwrap();
            }
            None => removexattr(&self.path, name).unwrap(),
        }
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
        // Also what a panicking test left running in it.
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
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
        fs::File::open(format!("/proc/{}/ns/net", self.pid()))
            .unwrap()
            .into()
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
    /// Who came and was not greeted yet.
    waiting: Arc<Mutex<Vec<std::net::TcpStream>>>,
    speaks: Arc<AtomicBool>,
}

impl Database {
    pub(crate) fn start() -> Self {
        let database = Database::silent();
        database.speak();
        database
    }

    /// Says nothing before `speak`.
    pub(crate) fn silent() -> Self {
        let port = port();
        let stop = Arc::new(AtomicBool::new(false));
        let visits = Arc::new(AtomicU16::new(0));
        let waiting: Arc<Mutex<Vec<std::net::TcpStream>>> = Arc::default();
        let speaks = Arc::new(AtomicBool::new(false));
        let threads = ["0.0.0.0", "::1"]
            .map(|at| {
                let listener = TcpListener::bind((at, port)).unwrap();
                let visits = Arc::clone(&visits);
                let (waiting, speaks) = (Arc::clone(&waiting), Arc::clone(&speaks));
                serve(listener, Arc::clone(&stop), move |mut stream, _| {
                    visits.fetch_add(1, Ordering::Relaxed);
                    let mut waiting = waiting.lock().unwrap();
                    if speaks.load(Ordering::Relaxed) {
                        let _ = stream.write_all(b"DATABASE\n");
                    } else {
                        waiting.push(stream);
                    }
                })
            })
            .into();
        Database {
            port,
            stop,
            threads,
            visits,
            waiting,
            speaks,
        }
    }

    /// Greets whoever waits, and from now on whoever comes.
    pub(crate) fn speak(&self) {
        let mut waiting = self.waiting.lock().unwrap();
        self.speaks.store(true, Ordering::Relaxed);
        for mut stream in waiting.drain(..) {
            let _ = stream.write_all(b"DATABASE\n");
        }
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
            let _ = poll(
                &mut fds,
                Some(&Timespec {
                    tv_sec: 0,
                    tv_nsec: 20_000_000,
                }),
            );
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
        Agent::after(settings, Estate::default())
    }

    /// One that follows another, which gave it this.
    pub(crate) fn after(settings: Settings, estate: Estate) -> Self {
        let port = settings.listen_port;
        let right = settings.pin.as_deref().map(|pin| Right::wait(pin).unwrap());
        let loaded = Interceptor::load(settings).unwrap();
        let interceptor = Arc::new(loaded.attach(right, estate).unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Arc<Mutex<Vec<JoinHandle<()>>>> = Arc::default();
        let mut listeners = interceptor.take_listeners().unwrap();
        let origins = Origins::Kernel {
            interceptor: Arc::clone(&interceptor),
            cgroup_root: intercept::cgroup_root().unwrap(),
            digests: Digests::default(),
        };
        let accepting = {
            let (threads, stop) = (Arc::clone(&threads), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match listeners.try_recv() {
                        Ok(Listener {
                            netns,
                            v4,
                            v6,
                            closed,
                        }) => {
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
        Agent {
            interceptor,
            port,
            stop,
            threads,
            uninstall: true,
        }
    }

    /// Listens in the network namespace of the test's own thread.
    pub(crate) fn listen_here(&self) -> NetnsCookie {
        let netns = fs::File::open("/proc/thread-self/ns/net").unwrap();
        self.interceptor.listen(netns.into()).unwrap()
    }

    pub(crate) fn label(&self, cgroup: &Cgroup, workload: u32) {
        self.interceptor
            .label(cgroup.id(), WorkloadIndex(workload))
            .unwrap();
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

/// How many answered connections are kept open, and how long.
const PARTING: usize = 100;
const PARTED: Duration = Duration::from_millis(100);

fn answer(
    listener: TcpListener,
    netns: NetnsCookie,
    closed: Closed,
    origins: Origins,
    stop: Arc<AtomicBool>,
) -> JoinHandle<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    std::thread::spawn(move || {
        // Closed a little later: data that is on its way meets a socket, and no reset takes the
        // answer away again.
        let mut parting = VecDeque::new();
        while !stop.load(Ordering::Relaxed) && !closed.is_closed() {
            while parting.len() > PARTING
                || parting
                    .front()
                    .is_some_and(|(since, _): &(Instant, _)| since.elapsed() > PARTED)
            {
                parting.pop_front();
            }
            let mut fds = [PollFd::new(&listener, PollFlags::IN)];
            let _ = poll(
                &mut fds,
                Some(&Timespec {
                    tv_sec: 0,
                    tv_nsec: 10_000_000,
                }),
            );
            while let Ok((mut stream, from)) = listener.accept() {
                if let Ok(Origin { flow, .. }) = origins.take(netns, ClientAddr(from)) {
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
                    parting.push_back((Instant::now(), stream));
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

/// An agent that finds its workloads itself.
pub(crate) struct Governing {
    // Before the agent: enrolment ends first.
    pub(crate) enrolment: Enrolment,
    pub(crate) agent: Agent,
}

impl Governing {
    /// Workloads by name, each with its globs. Nothing is looked at again by itself for an hour,
    /// so that what is found is found by its signs.
    pub(crate) fn start(settings: Settings, workloads: &[(&str, &[String])]) -> Self {
        Governing::looking_every(Duration::from_secs(3_600), settings, workloads)
    }

    pub(crate) fn looking_every(
        reconcile: Duration,
        settings: Settings,
        workloads: &[(&str, &[String])],
    ) -> Self {
        let exec_parent = Path::new(settings.attach.file_name().unwrap()).join("exec");
        let named = settings.unix.iter().flatten().map(ToString::to_string);
        let unix_names = named
            .filter(|name| name.starts_with('/'))
            .map(PathBuf::from);
        let unix_names = unix_names.collect();
        let agent = Agent::start(settings);
        let rules = (0..)
            .zip(workloads)
            .map(|(index, (name, globs))| WorkloadRule {
                name: (*name).into(),
                globs: globs.to_vec(),
                index: WorkloadIndex(index),
            })
            .collect();
        let root = intercept::cgroup_root().unwrap();
        let settings = EnrolSettings {
            exec_parent,
            reconcile,
            unix_names,
            ..EnrolSettings::new(root, rules)
        };
        let governs: Arc<Interceptor> = Arc::clone(&agent.interceptor);
        let sightings = agent.interceptor.take_sightings();
        let port = agent.port;
        let enrolment = Enrolment::start(settings, governs, sightings).unwrap_or_else(|error| {
            let tcp = fs::read_to_string("/proc/net/tcp").unwrap();
            let hex = format!(":{port:04X} ");
            let lines: Vec<&str> = tcp.lines().filter(|line| line.contains(&hex)).collect();
            panic!("{error}: {lines:#?}")
        });
        Governing { enrolment, agent }
    }

    /// What the kernel has for a cgroup.
    pub(crate) fn label_of(&self, cgroup: &Cgroup) -> Option<u32> {
        let id = cgroup.id();
        let labels = self.agent.interceptor.labelled().unwrap();
        labels
            .into_iter()
            .find(|(at, _)| *at == id)
            .map(|(_, workload)| workload.0)
    }
}
