//! What the columns of a result are made of, by the text that asked for it: looked into only where a
//! mask could matter, and kept with the text; and with it the plan that was made of that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::mask::{self, MaskPlan};
use crate::model::{Dialect, ResultHead};
use crate::policy::{Obligations, ResolvedNames, Trace};
use crate::sql::Lineage;
use crate::upstream::Catalogue;
use crate::wire::Text;

use super::verdict::Prepared;

/// Texts longer than this are gone through off the I/O threads.
const LONG: usize = 8 << 10;

/// The last lineage of a text, and the last plan of a result. Texts of one shape share them: they differ
/// in numbers alone, of which no column is made.
#[derive(Clone, Debug, Default)]
pub(super) struct Traces(Arc<Mutex<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    lineage: Option<Kept>,
    plan: Option<Planned>,
}

#[derive(Debug)]
struct Kept {
    catalogue: u64,
    names: Arc<ResolvedNames>,
    lineage: Arc<Lineage>,
}

/// A plan, with all that it was made of beside the text. One that met something unknown is not kept.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) catalogue: u64,
    /// The very ones, not others that are equal: they are held here, so nothing else can be at their
    /// place.
    pub(super) obligations: Arc<Obligations>,
    pub(super) head: Arc<ResultHead>,
    pub(super) plan: Arc<MaskPlan>,
}

impl Traces {
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self, catalogue: u64, names: &Arc<ResolvedNames>) -> Option<Arc<Lineage>> {
        let memory = self.lock();
        let kept = memory.lineage.as_ref()?;
        let same = kept.catalogue == catalogue
            && (Arc::ptr_eq(&kept.names, names) || kept.names == *names);
        same.then(|| kept.lineage.clone())
    }

    fn keep(&self, kept: Kept) {
        self.lock().lineage = Some(kept);
    }

    /// The plan that was made of the same.
    pub(super) fn planned(
        &self,
        catalogue: u64,
        obligations: &Arc<Obligations>,
        head: &Arc<ResultHead>,
    ) -> Option<Arc<MaskPlan>> {
        let memory = self.lock();
        let kept = memory.plan.as_ref()?;
        let same = kept.catalogue == catalogue
            && Arc::ptr_eq(&kept.obligations, obligations)
            && (Arc::ptr_eq(&kept.head, head) || kept.head == *head);
        same.then(|| kept.plan.clone())
    }

    pub(super) fn keep_plan(&self, planned: Planned) {
        self.lock().plan = Some(planned);
    }
}

/// Whether a session has definitions that no catalogue shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    None,
    /// Made, and not committed.
    Pending,
}

/// The lineage of a statement's result by one catalogue: of the text that was sent, by the names
/// that it was judged with.
pub(super) async fn lineage(
    dialect: Dialect,
    statement: &Prepared,
    obligations: &Obligations,
    own: Own,
    catalogue: &Arc<Catalogue>,
) -> Arc<Lineage> {
    let names = match (&obligations.trace, own) {
        (Trace::By(names), Own::None) => names,
        (Trace::Nothing, _) | (Trace::By(_), Own::Pending) => {
            return Arc::new(Lineage::unknown());
        }
    };
    let version = catalogue.version();
    if let Some(kept) = statement.traced.kept(version, names) {
        return kept;
    }
    let lineage = Arc::new(traced(dialect, &statement.text, names, catalogue).await);
    statement.traced.keep(Kept {
        catalogue: version,
        names: names.clone(),
        lineage: lineage.clone(),
    });
    lineage
}

async fn traced(
    dialect: Dialect,
    text: &Text,
    names: &Arc<ResolvedNames>,
    catalogue: &Arc<Catalogue>,
) -> Lineage {
    if text.as_str().len() <= LONG {
        return mask::traced(dialect, text.as_str(), names, &**catalogue);
    }
    let (text, names, catalogue) = (text.clone(), names.clone(), catalogue.clone());
    let traced = move || mask::traced(dialect, text.as_str(), &names, &*catalogue);
    let traced = tokio::task::spawn_blocking(traced).await;
    // A lost one is as one that nobody can follow.
    traced.unwrap_or_else(|_| Lineage::unknown())
}
