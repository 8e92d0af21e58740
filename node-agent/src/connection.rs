//! IO. One connection from the keeper's hand to its close: workload, target, then the session in
//! the target's dialect. No byte is read before both are known.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::config::{Config, HostTable, WorkloadRule};
use crate::keeper::Handed;
use crate::model::{Dialect, Refusal, RefusalCode, SessionId, Workload};
use crate::origin::Flow;
use crate::record::Why;
use crate::session::{self, Arrived, Reachable, Shared};
use crate::wire::pg::Pg;

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
}

/// Serves one connection to its end.
pub async fn serve(gate: Arc<Gate>, handed: Handed) {
    let Handed {
        stream,
        client,
        flow,
        ticket,
    } = handed;
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::warn!(%error, %client, "a connection was lost");
            return;
        }
    };
    // Until this returns: the keeper counts the connection among those being served.
    let ticket = Arc::new(ticket);
    let at = usize::try_from(flow.workload.0).ok();
    let Some(rule) = at.and_then(|at| gate.workloads.get(at)) else {
        // The keeper hands over none such: it reads the same configuration.
        tracing::error!(%client, workload = flow.workload.0, "a workload that nobody knows");
        return;
    };
    let workload = Workload {
        name: rule.name.clone(),
        labels: rule.labels.clone(),
    };
    let Some(half_open) = gate.half_open.enter(&rule.name) else {
        // Not a word: whoever floods does not read it, and writing it would cost more than closing.
        tracing::warn!(%client, workload = %rule.name, "too many logins at once");
        return;
    };
    let hosts = gate.hosts.borrow().clone();
    let Some(target) = gate.config.target_for(flow.destination, &hosts) else {
        return turn_away(&gate, stream, &flow, &workload).await;
    };
    let Some(reachable) = gate.reachable.get(&target.name.0) else {
        return turn_away(&gate, stream, &flow, &workload).await;
    };
    let upstream = match &target.upstream.address {
        None => None,
        Some(named) => match hosts.upstream(named) {
            Some(address) => Some(address),
            None => return turn_away(&gate, stream, &flow, &workload).await,
        },
    };
    let Some(session) = fresh_id() else { return };
    let dialect = target.dialect;
    let name = target.name.to_string();
    let arrived = Arrived {
        session,
        stream: Some(stream),
        ticket: ticket.clone(),
        half_open: Some(half_open),
        client,
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
