//! What reviewers are asked about a statement, what a grant for it is bound to, and what its client is told
//! meanwhile.

use std::sync::Arc;

use crate::approval::{Binder, Binding, Desk, Grant, Matter, Request, Requester, Waits};
use crate::clock;
use crate::model::{Refusal, UnixMillis};
use crate::policy::Hold;
use crate::sql::shape;
use crate::wire::{Asked, Talk, Wire};

use super::execution::Execution;
use super::hold::{Brought, Held};
use super::pump::Session;
use super::shown::{parts, shown};
use super::verdict::{Prepared, Verdict};

impl<W: Wire> Session<W> {
    /// A notice for the client that waits.
    pub(super) fn tell_held(&mut self, held: &Held, how: &str) {
        // Behind half a message there is no place for one.
        if self.link.inside_message() {
            return;
        }
        let left = held.lapses.0.saturating_sub(clock::now().0).max(0);
        let left = match (left + 999) / 1000 {
            seconds @ ..=119 => format!("{seconds} s"),
            seconds => format!("{} min", seconds / 60),
        };
        let rule = &held.hold.rule;
        let what = match held.commit {
            true => "the COMMIT",
            false => "it",
        };
        let message = format!(
            "{what} {how}: rule {}/{} wants it approved, as {}, within {left}",
            rule.policy,
            rule.rule,
            held.pending.id()
        );
        let itself = held
            .itself
            .map(|why| format!("it is held itself, before it runs, and not its COMMIT: {why}; "));
        let detail = format!(
            "{}asked: {}; reference {}; cancel the statement to withdraw it",
            itself.unwrap_or_default(),
            held.hold.asks.reviewers,
            self.reference()
        );
        W::Talk::<Arc<Prepared>, Execution>::tell(&message, Some(&detail), &mut self.out);
    }

    /// A notice for the client that has waited.
    pub(super) fn tell_granted(&mut self, grant: &Grant) {
        if self.link.inside_message() {
            return;
        }
        let message = format!("it was approved, as {}, and runs", grant.id());
        let detail = format!("{}; by {}", grant.terms(), grant.by().join(", "));
        W::Talk::<Arc<Prepared>, Execution>::tell(&message, Some(&detail), &mut self.out);
    }

    /// What reviewers are asked.
    pub(super) async fn request(&mut self, brought: &Brought) -> Result<Request, Box<Refusal>> {
        let Brought {
            asked,
            prepared,
            verdict,
            hold,
            ..
        } = brought;
        let cannot = |why: &str| Box::new(crate::approval::refusal(&hold.rule, why));
        let mut shown = shown(asked, prepared, verdict).map_err(cannot)?;
        shown.before = self.before(asked);
        let bound = self.bound(asked, prepared, hold, verdict).await?;
        self.asking(prepared, hold, verdict, Matter::Statement(shown), bound)
    }

    /// The same, of whatever waits.
    pub(super) fn asking(
        &self,
        prepared: &Prepared,
        hold: &Hold,
        verdict: &Verdict,
        matter: Matter,
        (binding, shape): (Binding, Option<Binding>),
    ) -> Result<Request, Box<Refusal>> {
        let cannot = |why: &str| Box::new(crate::approval::refusal(&hold.rule, why));
        let mut requester = Requester::of(
            &self.principal,
            &self.arrived.flow.process,
            self.arrived.client,
        );
        requester.application = self.application.clone();
        requester.purpose = prepared.purpose.as_deref().cloned();
        let later = prepared.purpose.as_ref().is_some_and(|said| said.later);
        let at = clock::now();
        let timeout = match hold.asks.timeout_seconds {
            Some(seconds) => seconds.saturating_mul(1000),
            None => u64::try_from(self.shared.desk.timeout().as_millis()).unwrap_or(u64::MAX),
        };
        let timeout = i64::try_from(timeout).unwrap_or(i64::MAX);
        // No randomness: a name that could be guessed, or met twice, is none.
        let id = Desk::new_name().ok_or_else(|| cannot("the system gives no randomness"))?;
        Ok(Request {
            id,
            reference: self.reference(),
            at,
            lapses: UnixMillis(at.0.saturating_add(timeout)),
            waits: if later { Waits::Retry } else { Waits::Held },
            requester,
            target: self.arrived.reachable.target.name.clone(),
            database: self.database.clone(),
            role: self.role.clone(),
            matter,
            rule: hold.rule.clone(),
            asks: hold.asks.clone(),
            policy_version: verdict.policy_version.clone(),
            binding,
            shape,
        })
    }

    /// What a grant for this statement is bound to now, and what one for its shape is.
    pub(super) async fn bound(
        &mut self,
        asked: &Asked<Arc<Prepared>>,
        prepared: &Arc<Prepared>,
        hold: &Hold,
        verdict: &Verdict,
    ) -> Result<(Binding, Option<Binding>), Box<Refusal>> {
        let cannot = |why: &str| Box::new(crate::approval::refusal(&hold.rule, why));
        // As the database has them from this moment on: what was read a moment ago is not enough, and as
        // after a definition of this session's own, nothing that was is taken.
        self.lookup.changed();
        let catalogue = self.lookup.current::<W>().await.map_err(|error| {
            tracing::warn!(session = %self.id, %error, "names cannot be resolved");
            cannot("the database's catalogue cannot be read now; try again in a moment")
        })?;
        let scope = self.scope.within(&prepared.analysis);
        let names = catalogue.resolve(&prepared.analysis, &scope);
        // Whatever a grant reaches, it was given for what the names stood for then, under those settings.
        let place = self
            .place(hold, verdict)
            .with("settings", self.settings)
            .with("definitions", catalogue.pulse())
            .names(Some(&names))
            .map_err(|_| cannot("what its names stand for cannot be written down"))?;
        let shaped = shape(prepared.text.as_str());
        let shaped = shaped.map(|shape| place.clone().with("shape", shape).bound());
        let exact = parts(asked, place.with("text", prepared.text.as_str()));
        Ok((exact.bound(), shaped))
    }

    /// Who asks, where, by which rule.
    pub(super) fn place(&self, hold: &Hold, verdict: &Verdict) -> Binder {
        let user = &self.principal.user;
        Binder::default()
            .with("issuer", &user.issuer)
            .with("subject", &user.subject)
            .with("workload", self.principal.workload.name.as_bytes())
            .with("target", self.arrived.reachable.target.name.0.as_bytes())
            .with("database", &self.database)
            .with("role", &self.role)
            .with("rule", format!("{}\0{}", hold.rule.policy, hold.rule.rule))
            .with("policies", verdict.policy_version.as_bytes())
    }
}
