//! What the keeper knows of this moment, in words.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::attend::Answers;
use super::confine::stands_apart;
use super::message::{CanaryTotals, Governed, Report};
use super::walls::gaps;
use crate::enrol::{Found, LabelledCgroup, Standing, Weight};

impl Answers {
    pub(super) fn report(&self) -> Report {
        let enrolment = self.enrolment();
        let labelled = enrolment.as_ref().map_or_else(Vec::new, |e| e.snapshot());
        let fault = self.door.canary.verdict().fault();
        // A workload is as well governed as its worst cgroup.
        let mut standings: BTreeMap<String, Standing> = BTreeMap::new();
        for one in &labelled {
            let standing = standing(one, fault.as_deref());
            let worst = standings.entry(one.workload.to_string());
            let worst = worst.or_insert(standing);
            *worst = (*worst).max(standing);
        }
        let (left_total, cut) = enrolment.as_ref().map_or((0, 0), |e| e.totals());
        let (dials, failures) = self.door.canary.totals();
        Report {
            governed: labelled
                .iter()
                .map(|one| governed(one, fault.as_deref()))
                .collect(),
            standings,
            fault,
            canary: CanaryTotals { dials, failures },
            broken: self.door.canary.broken(),
            left: enrolment.map_or_else(Vec::new, |e| e.left()),
            left_total,
            cut,
            degraded: self.degraded(),
            layers: self.interceptor.layers(),
            counters: self.interceptor.counters().ok(),
            entries: self.interceptor.entries().ok(),
            unread: self.door.unread.load(Ordering::Relaxed),
            unconfirmed: self.door.unconfirmed.load(Ordering::Relaxed),
            keeper: std::process::id(),
            replaced: self.replaced.load(Ordering::Relaxed),
        }
    }
}

impl Answers {
    /// What this kernel cannot do, and what the node does not keep to now.
    fn degraded(&self) -> Vec<String> {
        let node = self.interceptor.node_trouble().map(|why| {
            format!("the node does not keep to the agent as guard.node_wide says: {why}")
        });
        let kernel = self.interceptor.degraded().iter().cloned();
        let walls = gaps().into_iter().map(str::to_owned);
        let apart = (!stands_apart()).then(|| {
            "the keeper has no user of its own: any root of its process namespace may end it"
                .to_owned()
        });
        kernel.chain(node).chain(walls).chain(apart).collect()
    }
}

/// How well a cgroup is governed when also the canary and the listeners are asked.
fn standing(labelled: &LabelledCgroup, fault: Option<&str>) -> Standing {
    let deaf = labelled
        .namespaces
        .iter()
        .any(|namespace| namespace.problem.is_some());
    match (fault, deaf) {
        (Some(_), _) => Standing::Not,
        // Refused there, not let through; but not served either.
        (None, true) => labelled.standing.max(Standing::Partly),
        (None, false) => labelled.standing,
    }
}

/// A cgroup in words. Its name may be any bytes; what is shown of it is text.
fn governed(labelled: &LabelledCgroup, fault: Option<&str>) -> Governed {
    let unheard = labelled
        .namespaces
        .iter()
        .filter_map(|namespace| namespace.problem.clone());
    let found = |weight| {
        labelled
            .found
            .iter()
            .filter(move |found| found.reason.weight() == weight)
            .map(Found::text)
    };
    Governed {
        cgroup: labelled.path.display().to_string(),
        workload: labelled.workload.to_string(),
        namespaces: labelled.namespaces.len(),
        state: standing(labelled, fault).word().to_owned(),
        reasons: fault
            .map(str::to_owned)
            .into_iter()
            .chain(labelled.problem.clone())
            .chain(unheard)
            .chain(found(Weight::Partly))
            .collect(),
        notes: found(Weight::Said).collect(),
    }
}
