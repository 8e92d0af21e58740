//! From a text to a decision: analysed once, names resolved when they matter, judged by one
//! snapshot of the policies.

use std::sync::Arc;

use moka::sync::Cache;

use crate::clock;
use crate::model::{Dialect, Refusal, RefusalCode};
use crate::policy::{Decision, Denial, Needed, PolicySet, Question, ResolvedNames};
use crate::record::Why;
use crate::sql::{
    Analysis, Named, Purpose, Second, Sureness, analyze, changes_reading, expand_named,
    runs_by_name, shape, stands_for_its_shape,
};
use crate::upstream::names_are_used;
use crate::wire::{Text, Wire};

use super::pump::Session;
use super::verdict::{Circumstances, FoundIn, Prepared, Verdict};

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
        if let Some(seen) = self.known.texts.seen(text, text) {
            return seen;
        }
        let said = Purpose::of_text(text.as_str());
        // Texts of one shape share a verdict, and a verdict may hang on what is said beside the text.
        let shape = said.is_empty().then(|| shape(text.as_str())).flatten();
        let shape = shape.map(Text::from);
        let purpose = self.purpose_with(said);
        if let Some(shape) = &shape
            && let Some(seen) = self.known.texts.seen(text, shape)
        {
            return seen;
        }
        let text = text.detached();
        let analyses = &self.shared.analyses;
        let analysis = analyses.of(W::DIALECT, &text, shape.as_ref()).await;
        if runs_by_name(&analysis) {
            return self.with_named(text, analysis, purpose);
        }
        self.known.texts.learn(text, shape, analysis, purpose)
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
                let named = self.named(name);
                named.and_then(|named| named.purpose.clone())
            })
        });
        let whole = expand_named(&alone, |name| {
            let named = self.named(name);
            named.and_then(|named| named.analysis.statements.first())
        });
        let touched = {
            let mut names = alone.statements.iter().flat_map(|facts| facts.runs());
            names.any(|name| self.named(name).is_some_and(|named| named.touched))
        };
        let whole = Prepared::by_name(text, alone, Arc::new(whole), purpose);
        Arc::new(whole.touching(touched))
    }

    /// What a name stands for now.
    fn named(&self, name: Named<'_>) -> Option<&Arc<Prepared>> {
        match name {
            Named::Statement(name) => self.link.named(name),
            Named::Cursor(name) => self.link.cursor(name),
        }
    }

    /// Judges. The verdict is kept with the text while nothing it hangs on changes.
    pub(super) async fn decide(&mut self, prepared: &Arc<Prepared>) -> Result<Verdict, Why> {
        let policies = self.policies();
        let version = policies.version();
        let mut granted = self.in_force(&policies, clock::now());
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
        let needs = self.known.needs(
            &policies,
            &self.principal,
            &self.arrived.reachable.target.name,
            &granted,
        );
        let needed = match names_are_used(&prepared.analysis) {
            true => needs.relations.max(needs.calls),
            false => needs.relations,
        };
        // A connection that may be kept is looked after: a view can run what its reader does not name.
        let needed = match self.keeping {
            Some(_) => needed.max(Needed::ToObserve),
            None => needed,
        };
        let mut circumstances = Some(Circumstances {
            policies: version.clone(),
            names: None,
            granted: Vec::new(),
        });
        let names = if needed == Needed::No {
            self.known.no_names()
        } else {
            match self.names(prepared, &policies).await {
                Ok((names, found_in)) => {
                    if let Some(circumstances) = &mut circumstances {
                        circumstances.names = Some(found_in);
                    }
                    names
                }
                Err(error) => {
                    tracing::warn!(session = %self.id, %error, "names cannot be resolved");
                    if needed == Needed::ToDecide {
                        return Ok(self.unresolved(version));
                    }
                    // What only observes takes the names for unknown, for this time.
                    circumstances = None;
                    self.known.no_names()
                }
            }
        };
        // A grant that ended while names were looked up is none any more; one that came meanwhile is for the
        // next statement, since names were not looked up for it.
        let now = clock::now();
        if !granted.is_empty() {
            let still = self.in_force(&policies, now);
            granted.retain(|one| still.contains(one));
        }
        if let Some(circumstances) = &mut circumstances {
            circumstances.granted.clone_from(&granted);
        }
        let ask = |names| Question {
            principal: self.principal.clone(),
            target: self.arrived.reachable.target.name.clone(),
            database: self.database.clone(),
            role: self.role.clone(),
            application: self.application.clone(),
            purpose: prepared.purpose.as_deref().cloned().unwrap_or_default(),
            analysis: prepared.analysis.clone(),
            names,
            access: granted,
            now,
        };
        Ok(prepared.judged(&policies, circumstances, names, ask))
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
    pub(super) fn denied(&self, policy_version: Arc<str>, refusal: Refusal) -> Verdict {
        let denial = Denial {
            rule: None,
            refusal,
            fleeting: true,
        };
        Verdict {
            policy_version,
            names: self.known.no_names(),
            catalogue: None,
            decision: Arc::new(Decision::Deny(denial)),
            leaves_no_trace: false,
            judged: None,
            policy: None,
            granted: Vec::new(),
            offered: Arc::default(),
        }
    }

    /// What the names of a text stand for, and by which catalogue and scope.
    async fn names(
        &mut self,
        prepared: &Arc<Prepared>,
        policies: &PolicySet,
    ) -> Result<(Arc<ResolvedNames>, FoundIn), crate::upstream::CatalogueError> {
        let catalogue = self.lookup.current::<W>().await?;
        if self.known.looked_at.as_ref() != Some(&(catalogue.version(), policies.version())) {
            self.known.looked_at = Some((catalogue.version(), policies.version()));
            for lost in self.lookup.lost(&catalogue, policies) {
                self.tell(&lost);
            }
        }
        let found_in = (catalogue.version(), self.scope.version());
        if let Some(kept) = prepared.names(found_in) {
            return Ok((kept, found_in));
        }
        let scope = self.scope.within(&prepared.analysis);
        let names = catalogue.resolve(&prepared.analysis, &scope);
        // `schema.*` is no name.
        if names.unknown.iter().all(|unknown| unknown.name == "*") {
            return Ok((Arc::new(names), found_in));
        }
        // A name the catalogue does not have may be new.
        let newer = self.lookup.newer::<W>(catalogue.version()).await?;
        let names = newer.resolve(&prepared.analysis, &scope);
        Ok((Arc::new(names), (newer.version(), self.scope.version())))
    }
}
