//! IO. One socket from accept to close: origin, target, workload, then the session in the
//! target's dialect. No byte is read before all three are known.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::config::{Config, HostTable, WorkloadRule};
use crate::enrol::{CANARY, Canary};

use crate::model::{ClientAddr, Dialect, NetnsCookie, Refusal, RefusalCode, SessionId, Workload};
use crate::origin::{Flow, NoOrigin, Origins};
use crate::record::Why;
use crate::session::{self, Arrived, Reachable, Shared};
use crate::wire::pg::Pg;

/// A socket that was accepted and of which nothing else is known.
#[derive(Debug)]
pub struct Accepted {
    /// The stream; nothing of it was read.
    pub stream: TcpStream,
    /// Its peer.
    pub client: ClientAddr,
    /// The network namespace of the listener that accepted it.
    pub netns: NetnsCookie,
}

/// Logins under way at once, for one workload: far more than a pool opens, and few enough that one
/// workload's flood takes no room from the others.
const HALF_OPEN: usize = 1_000;

/// Counts logins under way, by workload.
#[derive(Debug, Default)]
pub struct HalfOpen(Mutex<HashMap<Arc<str>, Arc<Semaphore>>>);

impl HalfOpen {
    /// A place among the workload's logins until it is dropped; `None`: all are taken.
    fn enter(&self, workload: &Arc<str>) -> Option<OwnedSemaphorePermit> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all
            .entry(workload.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(HALF_OPEN)));
        own.clone().try_acquire_owned().ok()
    }
}

/// What connections are told apart by. Immutable but for the addresses of host names.
#[derive(Debug)]
pub struct Gate {
    /// What sessions share.
    pub shared: Arc<Shared>,
    /// Where sockets were going.
    pub origins: Origins,
    /// The configuration.
    pub config: Arc<Config>,
    /// Targets by name, with their TLS.
    pub reachable: HashMap<Arc<str>, Arc<Reachable>>,
    /// Workloads by the index the kernel keeps.
    pub workloads: Vec<Arc<WorkloadRule>>,
    /// Addresses of the targets' host names.
    pub hosts: watch::Receiver<Arc<HostTable>>,
    /// Logins under way.
    pub half_open: HalfOpen,
    /// What tries the redirect; `None` where there is none.
    pub canary: Option<Arc<Canary>>,
}

/// Serves one connection to its end.
pub async fn serve(gate: Arc<Gate>, accepted: Accepted) {
    let flow = match gate.origins.take(accepted.netns, accepted.client) {
        Ok(flow) => flow,
        Err(reason) => return close_unread(&gate, &accepted, &reason),
    };
    if flow.workload == CANARY {
        return greet_canary(&gate, accepted, &flow).await;
    }
    let at = usize::try_from(flow.workload.0).ok();
    let Some(rule) = at.and_then(|at| gate.workloads.get(at)) else {
        // A label that an earlier configuration left: nobody by that number is known now.
        let reason = NoOrigin::NoEntry {
            netns: accepted.netns,
            client: accepted.client,
        };
        return close_unread(&gate, &accepted, &reason);
    };
    let workload = Workload {
        name: rule.name.clone(),
        labels: rule.labels.clone(),
    };
    let Some(half_open) = gate.half_open.enter(&rule.name) else {
        // Not a word: whoever floods does not read it, and writing it would cost more than closing.
        tracing::warn!(client = %accepted.client, workload = %rule.name, "too many logins at once");
        return;
    };
    let hosts = gate.hosts.borrow().clone();
    let Some(target) = gate.config.target_for(flow.destination, &hosts) else {
        return turn_away(&gate, accepted.stream, &flow, &workload).await;
    };
    let Some(reachable) = gate.reachable.get(&target.name.0) else {
        return turn_away(&gate, accepted.stream, &flow, &workload).await;
    };
    let upstream = match &target.upstream.address {
        None => None,
        Some(named) => match hosts.upstream(named) {
            Some(address) => Some(address),
            None => return turn_away(&gate, accepted.stream, &flow, &workload).await,
        },
    };
    let Some(session) = fresh_id() else { return };
    let dialect = target.dialect;
    let name = target.name.to_string();
    let arrived = Arrived {
        session,
        stream: Some(accepted.stream),
        half_open: Some(half_open),
        client: accepted.client,
        flow,
        workload,
        rule: rule.clone(),
        reachable: reachable.clone(),
        upstream,
    };
    let why = match dialect {
        Dialect::Postgres => session::run::<Pg>(gate.shared.clone(), arrived).await,
        // The configuration check refuses such targets; a connection all the same is closed.
        Dialect::Mysql => Why::Fault("mysql is not available yet".to_owned()),
    };
    gate.shared
        .metrics
        .session_ended(&rule.name, &name, why.word());
    tracing::info!(%session, workload = %rule.name, target = %name, ?why, "session ended");
}

/// The canary hears the word that proves who answers, and nobody else does.
async fn greet_canary(gate: &Gate, mut accepted: Accepted, flow: &Flow) {
    use tokio::io::AsyncWriteExt;
    let canary = gate.canary.as_ref();
    let Some(word) = canary.and_then(|canary| canary.answer(flow.process.cgroup)) else {
        tracing::warn!(client = %accepted.client, cgroup = %flow.process.cgroup, "not the canary: closed unread");
        return;
    };
    // A canary that is gone by now hears nothing, and says so itself.
    let _ = accepted
        .stream
        .write_all(format!("{word}\n").as_bytes())
        .await;
}

/// No origin, or one that does not fit: whoever dialled the agent itself, or won a race, learns
/// nothing. Dropping the socket unread sends a reset.
fn close_unread(gate: &Gate, accepted: &Accepted, reason: &NoOrigin) {
    gate.shared.metrics.no_origin();
    if matches!(
        reason,
        NoOrigin::Unconfirmed { .. } | NoOrigin::Unasked { .. }
    ) {
        gate.shared.metrics.unconfirmed();
    }
    tracing::warn!(client = %accepted.client, netns = %accepted.netns, %reason, "closed unread");
}

/// A destination on a guarded port that no target declares: refused in the port's own language.
async fn turn_away(gate: &Arc<Gate>, stream: TcpStream, flow: &Flow, workload: &Workload) {
    gate.shared.metrics.undeclared();
    tracing::warn!(destination = %flow.destination, workload = %workload.name, "undeclared database");
    let refusal = Refusal::fatal(
        RefusalCode::Policy,
        format!(
            "{} is not a declared database, so nothing may connect to it",
            flow.destination
        ),
    )
    .hint("ask the operators to declare it as a target of the gateway");
    session::turn_away::<Pg>(&gate.shared, stream, flow, &refusal).await;
}

fn fresh_id() -> Option<SessionId> {
    let mut bytes = [0_u8; 8];
    // Without randomness there is no name that nobody else has: refuse rather than guess.
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(SessionId(u64::from_be_bytes(bytes)))
}
