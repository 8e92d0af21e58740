//! From a text to a decision: analysed once, names resolved when they matter, judged by one
//! snapshot of the policies.

use std::sync::Arc;

use moka::sync::Cache;

use crate::clock;
use crate::model::{Dialect, Refusal, RefusalCode};
use crate::policy::{Decision, Denial, Question, ResolvedNames, decide};
use crate::record::Why;
use crate::sql::{
    Analysis, Purpose, Second, Sureness, analyze, changes_reading, expand_named, runs_by_name,
    shape, stands_for_its_shape,
};
use crate::wire::{Text, Wire};

use super::execution::{Prepared, Verdict};
use super::names::Needed;
use super::pump::Session;

/// Bytes of texts that the cache of analyses may hold.
const CACHED_BYTES: u64 = 32 << 20;
/// Texts longer than this are analysed off the I/O threads.
const LONG: usize = 8 << 10;
/// Texts longer than this are not worth keeping.
const CACHED_TEXT: usize = 16 << 10;

/// Analyses of texts, by their exact bytes. An analysis depends on nothing but the text, so it is
/// shared by all sessions; a decision never is.
#[derive(Debug)]
pub struct Analyses {
    kept: Cache<(Dialect, Text), Arc<Analysis>>,
}

impl Default for Analyses {
    fn default() -> Self {
        let weigher = |key: &(Dialect, Text), _: &Arc<Analysis>| {
            u32::try_from(key.1.as_str().len().saturating_mul(8).saturating_add(512))
                .unwrap_or(u32::MAX)
        };
        Analyses {
            kept: Cache::builder()
                .weigher(weigher)
                .max_capacity(CACHED_BYTES)
                .build(),
        }
    }
}

impl Analyses {
    /// What the text does; looked for under its shape too, if it has one.
    pub async fn of(&self, dialect: Dialect, text: &Text, shape: Option<&Text>) -> Arc<Analysis> {
        let length = text.as_str().len();
        for known in shape.into_iter().chain([text]) {
            if let Some(kept) = self.kept.get(&(dialect, known.clone())) {
                return kept;
            }
        }
        let analysis = if length > LONG {
            let text = text.clone();
            let analysed =
                tokio::task::spawn_blocking(move || analyze(dialect, text.as_str())).await;
            // A lost analysis is an unknown text, and the unknown is refused.
            Arc::new(analysed.unwrap_or_else(|_| Analysis {
                statements: Vec::new(),
                sureness: Sureness::Opaque("the analysis did not finish".to_owned()),
                second: Second::Unasked,
            }))
        } else {
            Arc::new(analyze(dialect, text.as_str()))
        };
        if length <= CACHED_TEXT {
            let shape = shape.filter(|_| stands_for_its_shape(&analysis));
            // Kept under a copy of its own: the frame it came in is not held by the cache.
            let key = shape.cloned().unwrap_or_else(|| text.detached());
            self.kept.insert((dialect, key), analysis.clone());
        }
        analysis
    }
}

impl<W: Wire> Session<W> {
    /// The text with what it does; SQL-level EXECUTE and FETCH count as what they run.
    pub(super) async fn prepared(&mut self, text: &Text) -> Arc<Prepared> {
        if let Some(last) = self.known.last(text) {
            return last;
        }
        let said = Purpose::of_text(text.as_str());
        // Texts of one shape share a verdict, and a verdict may hang on what is said beside the text.
        let shape = said.is_empty().then(|| shape(text.as_str())).flatten();
        let shape = shape.map(Text::from);
        let purpose = self.purpose_with(said);
        if let Some(last) = shape.as_ref().and_then(|shape| self.known.last(shape)) {
            return Arc::new(last.like(text.detached()));
        }
        let text = text.detached();
        let analyses = &self.shared.analyses;
        let analysis = analyses.of(W::DIALECT, &text, shape.as_ref()).await;
        if runs_by_name(&analysis) {
            return self.with_named(text, analysis, purpose);
        }
        let key = shape.filter(|_| stands_for_its_shape(&analysis));
        let key = key.unwrap_or_else(|| text.clone());
        let prepared = Arc::new(Prepared::new(text, analysis, purpose));
        self.known.keep(key, &prepared);
        prepared
    }

    /// A statement as it is about to run: names may stand for something else than when it was
    /// prepared.
    pub(super) fn at_execution(&self, prepared: &Arc<Prepared>) -> Arc<Prepared> {
        match &prepared.by_name {
            None => prepared.clone(),
            Some(alone) => self.with_named(
                prepared.text.clone(),
                alone.clone(),
                prepared.purpose.clone(),
            ),
        }
    }

    /// What is said beside a text, and what it leaves out, beside the connection.
    fn purpose_with(&self, said: Purpose) -> Option<Arc<Purpose>> {
        match &self.purpose {
            own if said.is_empty() => own.clone(),
            Some(own) => Some(Arc::new(said.or(own))),
            None => Some(Arc::new(said)),
        }
    }

    /// Adds what a named statement does to a text that runs it by name. Names change, so this is
    /// made anew each time and never kept. Unknown names leave the analysis unsure.
    ///
    /// Where the text does not say why, what it runs may have said so when it was made.
    fn with_named(
        &self,
        text: Text,
        alone: Arc<Analysis>,
        purpose: Option<Arc<Purpose>>,
    ) -> Arc<Prepared> {
        let purpose = purpose.or_else(|| {
            let mut names = alone.statements.iter().flat_map(|facts| facts.runs());
            names.find_map(|name| {
                let named = self.link.named(name).or_else(|| self.link.cursor(name));
                named.and_then(|named| named.purpose.clone())
            })
        });
        let whole = expand_named(&alone, |name| {
            let named = self.link.named(name).or_else(|| self.link.cursor(name));
            named.and_then(|named| named.analysis.statements.first())
        });
        Arc::new(Prepared::by_name(text, alone, Arc::new(whole), purpose))
    }

    /// Judges. The verdict is kept with the text while nothing it hangs on changes.
    pub(super) async fn decide(&mut self, prepared: &Arc<Prepared>) -> Result<Verdict, Why> {
        let policies = self.policies();
        let version = policies.version();
        if let Some(setting) = changes_reading(&prepared.analysis) {
            let refusal = Refusal::new(
                RefusalCode::Unsupported,
                format!("{setting} stays as it is: statements are read one way only"),
            );
            return Ok(self.denied(
                version,
                refusal.hint("send UTF-8; write backslashes in E'…' strings"),
            ));
        }
        let needs_names = self.known.needs_names(
            &policies,
            &self.principal,
            &self.arrived.reachable.target.name,
        );
        let mut unknown = false;
        let (names, catalogue_version) = if needs_names == Needed::No {
            (self.known.no_names(), 0)
        } else {
            match self.names(prepared).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(session = %self.id, %error, "names cannot be resolved");
                    if needs_names == Needed::ToDecide {
                        return Ok(self.unresolved(version));
                    }
                    // What only observes takes the names for unknown, for this time.
                    unknown = true;
                    (self.known.no_names(), 0)
                }
            }
        };
        if let Some(kept) = prepared.verdict()
            && *kept.policy_version == *version
            && kept.catalogue_version == catalogue_version
            && !unknown
        {
            return Ok(kept);
        }
        let question = Question {
            principal: self.principal.clone(),
            target: self.arrived.reachable.target.name.clone(),
            database: self.database.clone(),
            role: self.role.clone(),
            application: self.application.clone(),
            purpose: prepared.purpose.as_deref().cloned().unwrap_or_default(),
            analysis: prepared.analysis.clone(),
            names: names.clone(),
            now: clock::now(),
        };
        let decision = decide(&policies, &question);
        let fleeting = match &decision {
            Decision::Allow(allow) => allow.fleeting,
            Decision::Deny(denial) => denial.fleeting,
            Decision::Hold(_) => true,
        };
        let verdict = Verdict {
            policy_version: version,
            catalogue_version,
            names,
            decision: Arc::new(decision),
        };
        if !fleeting && !unknown {
            prepared.keep(verdict.clone());
        }
        Ok(verdict)
    }

    /// Rules and masks hang on what names stand for. A statement whose names cannot be looked up
    /// is refused, whatever it says: a view may show what a rule hides.
    fn unresolved(&self, policy_version: Arc<str>) -> Verdict {
        let refusal = Refusal::new(
            RefusalCode::Upstream,
            "the database's catalogue cannot be read now, so nobody can say what the statement's \
             names stand for",
        );
        self.denied(policy_version, refusal.hint("try again in a moment"))
    }

    /// Refused by the agent itself, whatever policy says.
    fn denied(&self, policy_version: Arc<str>, refusal: Refusal) -> Verdict {
        let denial = Denial {
            rule: None,
            refusal,
            fleeting: true,
        };
        Verdict {
            policy_version,
            catalogue_version: 0,
            names: self.known.no_names(),
            decision: Arc::new(Decision::Deny(denial)),
        }
    }

    async fn names(
        &mut self,
        prepared: &Arc<Prepared>,
    ) -> Result<(Arc<ResolvedNames>, u64), crate::upstream::CatalogueError> {
        let catalogue = self.lookup.current::<W>().await?;
        if let Some(kept) = prepared.verdict()
            && kept.catalogue_version == catalogue.version()
        {
            return Ok((kept.names, catalogue.version()));
        }
        let names = catalogue.resolve(&prepared.analysis);
        let all: usize = prepared.analysis.judged().map(|s| s.relations.len()).sum();
        if names.relations.len() >= all {
            return Ok((Arc::new(names), catalogue.version()));
        }
        // A name the catalogue does not have may be new.
        let newer = self.lookup.newer::<W>(catalogue.version()).await?;
        Ok((Arc::new(newer.resolve(&prepared.analysis)), newer.version()))
    }
}
