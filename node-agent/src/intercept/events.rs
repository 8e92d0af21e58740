//! What the kernel programs tell, typed, and the thread that listens to them.

use std::io;
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use node_agent_common::flow::{self, FlowEvent};
use node_agent_common::{layer, sighting};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tokio::sync::mpsc;

use super::tables::{Fields, Tables, comm_text, socket_addr};
use super::undeclared::{self, Met, Places};
use super::{InterceptError, Undeclared, WorkloadIndex, unix};
use crate::model::{CgroupId, NetnsCookie, Pid};

/// Who dialled, and whereto.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// Where the call was going.
    pub destination: SocketAddr,
    /// The caller's workload.
    pub workload: WorkloadIndex,
    /// The thread group.
    pub pid: Pid,
    /// Its user.
    pub uid: u32,
    /// Its name as the kernel keeps it.
    pub comm: String,
    /// Its cgroup.
    pub cgroup: CgroupId,
    /// The socket's network namespace.
    pub netns: NetnsCookie,
}

/// Why a call was refused in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedBecause {
    /// The protocol cannot be redirected, and the destination is guarded.
    Protocol(u32),
    /// The table of origins is full.
    TableFull,
    /// The agent's own port was dialled or bound.
    OwnPort,
    /// The kernel had no memory to keep the destination beside the socket.
    NoMemory,
    /// Too many connects of its workload wait for the agent.
    Quota,
    /// The destination is neither a database nor allowed, and all else is refused.
    Closed,
    /// Sockets of this kind cannot be governed.
    Socket(u32),
    /// Sockets of this family lead off the node, and no hook sees what they carry.
    Family(u32),
}

/// How somebody tried to get round the agent. Each way was stopped: the first four by the second
/// gate, which knows the process, the others below the sockets, where at most a cgroup is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// A packet to a guarded place that no connect had led to the agent, of this protocol.
    Packet(u32),
    /// A packet with IP options or a routing header.
    Header,
    /// A connection opened inwards from a protected address.
    Inward,
    /// A socket option that chooses the packets' route.
    Option,
    /// A packet to a guarded place, of this protocol, came out of a workload's network namespace.
    /// It need not be the workload's: whoever is in there shares its wire.
    Wire(u32),
    /// A packet to a protected address, of this protocol, was leaving the node and was not the
    /// agent's. The workload is that of nobody.
    Node(u32),
}

/// News of a call by a labelled caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It goes to the agent.
    Redirected(Dial),
    /// It failed with EPERM.
    Refused(RefusedBecause, Dial),
    /// Something got past the first gate and was stopped by the second. The process is that which
    /// made the socket, 0 when the socket is older than the label. At most ten a second of one
    /// workload are told; all are counted.
    Bypass(Bypass, Dial),
    /// The first bytes of a connection were a database's that nobody declared. The process is that
    /// which made the socket, 0 when that is not known. Told and counted as `Bypass` is.
    Undeclared(Undeclared, Dial),
    /// A unix socket that is not allowed was refused; its name as the caller spelt it. At most ten a
    /// second are told, together with refused families.
    RefusedUnix(String, Dial),
}

/// Where enrolment should look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// A labelled process started a program.
    Exec(Pid),
    /// A labelled process made a socket in a namespace without a listener.
    Socket(Pid, NetnsCookie),
    /// Some process was moved between cgroups, by this one.
    Moved(Pid),
    /// A process that was in this labelled cgroup was moved, or runs a program elsewhere.
    Left(Pid, CgroupId),
    /// A labelled process made another one.
    Forked(Pid),
    /// Sightings were lost: look at everything.
    Lost,
    /// A part of the redirect was gone and stands again: look for what got through, everywhere,
    /// and tell the number back.
    Gap(u64),
}

impl Event {
    fn dial(raw: &FlowEvent) -> Dial {
        let origin = &raw.origin;
        Dial {
            destination: socket_addr(origin.destination, origin.port),
            workload: WorkloadIndex(origin.workload),
            pid: Pid(origin.pid),
            uid: origin.uid,
            comm: comm_text(&origin.comm),
            cgroup: CgroupId(origin.cgroup),
            netns: NetnsCookie(raw.netns),
        }
    }

    /// A refusal of an optional layer; `None` for other news.
    fn of_layer(bytes: &[u8]) -> Option<Self> {
        let mut at = Fields(bytes);
        let kind = at.u32()?;
        if kind != layer::EVENT_REFUSED_FAMILY && kind != layer::EVENT_REFUSED_UNIX {
            return None;
        }
        let number = at.u32()?;
        let cgroup = CgroupId(at.u64()?);
        let workload = WorkloadIndex(at.u32()?.saturating_sub(1));
        let (pid, uid, _) = (at.u32()?, at.u32()?, at.u32()?);
        let dial = Dial {
            destination: SocketAddr::from(([0, 0, 0, 0], 0)),
            workload,
            pid: Pid(pid),
            uid,
            comm: comm_text(&at.bytes::<16>()?),
            cgroup,
            netns: NetnsCookie(0),
        };
        if kind == layer::EVENT_REFUSED_FAMILY {
            return Some(Event::Refused(RefusedBecause::Family(number), dial));
        }
        let name: [u8; 112] = at.bytes()?;
        let length = usize::try_from(number).ok();
        let name = length.and_then(|length| name.get(..length));
        Some(Event::RefusedUnix(
            unix::shown(name.unwrap_or_default()),
            dial,
        ))
    }

    fn read(raw: &FlowEvent) -> Option<Self> {
        let dial = Event::dial(raw);
        Some(match raw.kind {
            flow::EVENT_REDIRECTED => Event::Redirected(dial),
            flow::EVENT_REFUSED_PROTOCOL => {
                Event::Refused(RefusedBecause::Protocol(raw.protocol), dial)
            }
            flow::EVENT_REFUSED_FULL => Event::Refused(RefusedBecause::TableFull, dial),
            flow::EVENT_REFUSED_OWN_PORT => Event::Refused(RefusedBecause::OwnPort, dial),
            flow::EVENT_REFUSED_MEMORY => Event::Refused(RefusedBecause::NoMemory, dial),
            flow::EVENT_REFUSED_QUOTA => Event::Refused(RefusedBecause::Quota, dial),
            flow::EVENT_REFUSED_CLOSED => Event::Refused(RefusedBecause::Closed, dial),
            flow::EVENT_REFUSED_SOCKET => {
                Event::Refused(RefusedBecause::Socket(raw.protocol), dial)
            }
            flow::EVENT_BYPASS_PACKET => Event::Bypass(Bypass::Packet(raw.protocol), dial),
            flow::EVENT_BYPASS_HEADER => Event::Bypass(Bypass::Header, dial),
            flow::EVENT_BYPASS_INWARD => Event::Bypass(Bypass::Inward, dial),
            flow::EVENT_BYPASS_OPTION => Event::Bypass(Bypass::Option, dial),
            flow::EVENT_BYPASS_WIRE => Event::Bypass(Bypass::Wire(raw.protocol), dial),
            flow::EVENT_BYPASS_NODE => Event::Bypass(Bypass::Node(raw.protocol), dial),
            _ => return None,
        })
    }
}

impl Sighting {
    fn read(raw: &sighting::Sighting) -> Option<Self> {
        Some(match raw.kind {
            sighting::SIGHTING_EXEC => Sighting::Exec(Pid(raw.pid)),
            sighting::SIGHTING_SOCKET => Sighting::Socket(Pid(raw.pid), NetnsCookie(raw.netns)),
            sighting::SIGHTING_MOVED => Sighting::Moved(Pid(raw.pid)),
            sighting::SIGHTING_LEFT => Sighting::Left(Pid(raw.pid), CgroupId(raw.netns)),
            sighting::SIGHTING_FORKED => Sighting::Forked(Pid(raw.pid)),
            _ => return None,
        })
    }
}

/// How many events wait for a slow reader before they are dropped and counted.
const WAITING: usize = 4_096;

/// How often the table of origins is swept, and how old an entry must be then. Entries live from
/// the SYN to the accept; an old one belongs to a connection nobody will accept, whose close went
/// unheard because somebody else's program took the callback away.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
const SWEEP_AGE: Duration = Duration::from_secs(600);

/// Events do not wake the thread (until there are many): it looks by itself so often, in ns.
const GLANCE: i64 = 200_000_000;

/// The listening thread, stopped on drop.
#[derive(Debug)]
pub(super) struct Ear {
    stop: Arc<OwnedFd>,
    thread: Option<std::thread::JoinHandle<()>>,
    /// Events nobody read in time.
    pub(super) dropped: Arc<AtomicU64>,
    /// For sightings that no program tells of.
    pub(super) sightings: mpsc::Sender<Sighting>,
}

/// What the thread reads from.
pub(super) struct Rings {
    pub(super) events: RingBuf<MapData>,
    pub(super) sightings: RingBuf<MapData>,
}

impl Ear {
    pub(super) fn start(
        rings: Rings,
        tables: Arc<Tables>,
        places: Places,
    ) -> Result<(Self, mpsc::Receiver<Event>, mpsc::Receiver<Sighting>), InterceptError> {
        let (events, events_out) = mpsc::channel(WAITING);
        let (sightings, sightings_out) = mpsc::channel(WAITING);
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| {
            InterceptError::call("eventfd", &"stop", "raise the limit of open files")(e.into())
        })?;
        let stop = Arc::new(stop);
        let dropped = Arc::new(AtomicU64::new(0));
        let by_hand = sightings.clone();
        let listener = Listen {
            rings,
            tables,
            places,
            stop: Arc::clone(&stop),
            dropped: Arc::clone(&dropped),
            events,
            sightings,
        };
        let thread = std::thread::Builder::new()
            .name("kernel-news".into())
            .spawn(move || listener.run())
            .map_err(InterceptError::call(
                "clone",
                &"kernel-news",
                "raise the limit of threads",
            ))?;
        Ok((
            Ear {
                stop,
                thread: Some(thread),
                dropped,
                sightings: by_hand,
            },
            events_out,
            sightings_out,
        ))
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let told = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        if let (Ok(_), Some(thread)) = (told, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

struct Listen {
    rings: Rings,
    tables: Arc<Tables>,
    places: Places,
    stop: Arc<OwnedFd>,
    dropped: Arc<AtomicU64>,
    events: mpsc::Sender<Event>,
    sightings: mpsc::Sender<Sighting>,
}

impl Listen {
    fn run(mut self) {
        let mut missed = false;
        let mut lost_before = 0;
        let mut swept = std::time::Instant::now();
        loop {
            match self.wait() {
                Ok(Heard::Stop) => return,
                Ok(Heard::Something) => {}
                Err(error) => {
                    tracing::error!(%error, "poll on the kernel's rings failed; no more news of connects");
                    return;
                }
            }
            while let Some(item) = self.rings.sightings.next() {
                let Some(raw) = sighting_of(&item) else {
                    continue;
                };
                if let Some(sighting) = Sighting::read(&raw) {
                    missed |= self.sightings.try_send(sighting).is_err();
                }
            }
            let lost = self.tables.lost_sightings();
            missed |= lost > lost_before;
            lost_before = lost;
            // A lost sighting becomes one that says so: enrolment then looks at everything.
            if missed {
                missed = self.sightings.try_send(Sighting::Lost).is_err();
            }
            while let Some(item) = self.rings.events.next() {
                let event = match Met::read(&item) {
                    Some(met) => meet(&met, &self.places),
                    None => Event::of_layer(&item)
                        .or_else(|| event_of(&item).as_ref().and_then(Event::read)),
                };
                if let Some(event) = event
                    && self.events.try_send(event).is_err()
                {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
            // The next agent sweeps its own: two that count what waits would count past each other.
            if swept.elapsed() > SWEEP_EVERY && !self.tables.at_rest.load(Ordering::Acquire) {
                swept = std::time::Instant::now();
                self.tables.sweep(SWEEP_AGE);
                self.tables.forget_unheard();
            }
        }
    }

    fn wait(&self) -> io::Result<Heard> {
        let mut fds = [
            PollFd::new(&*self.stop, PollFlags::IN),
            PollFd::from_borrowed_fd(self.rings.sightings.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.rings.events.as_fd(), PollFlags::IN),
        ];
        let limit = Timespec {
            tv_sec: 0,
            tv_nsec: GLANCE,
        };
        match poll(&mut fds, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        let [stop, _, _] = &fds;
        Ok(if stop.revents().is_empty() {
            Heard::Something
        } else {
            Heard::Stop
        })
    }
}

/// Ends a refused connection, told of or not.
fn meet(met: &Met, places: &Places) -> Option<Event> {
    let ended = if met.undeclared.refused {
        undeclared::end(met, places)
    } else {
        Ok(())
    };
    let dial = met.told.then(|| Event::dial(&met.event))?;
    if let Err(error) = ended {
        // Refused all the same.
        tracing::warn!(
            %error, destination = %dial.destination,
            "a refused connection's owner is left waiting: it could not be ended; \
             `node-agent doctor` says whether this kernel can"
        );
    }
    Some(Event::Undeclared(met.undeclared, dial))
}

enum Heard {
    Something,
    Stop,
}

fn words<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.get(..N)?.try_into().ok()
}

fn sighting_of(bytes: &[u8]) -> Option<sighting::Sighting> {
    let raw: [u8; size_of::<sighting::Sighting>()] = words(bytes)?;
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = raw;
    Some(sighting::Sighting {
        kind: u32::from_ne_bytes([a, b, c, d]),
        pid: u32::from_ne_bytes([e, f, g, h]),
        netns: u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
    })
}

fn event_of(bytes: &[u8]) -> Option<FlowEvent> {
    super::tables::read_event(&words(bytes)?)
}
