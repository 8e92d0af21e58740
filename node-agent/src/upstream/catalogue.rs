//! What the names of one database stand for, read over a connection of the agent's own.
//!
//! The texts sent here are the agent's, fixed at compile time: no permit is involved, and nothing
//! of a client's reaches this connection.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::time::timeout;

use crate::mask::{Attribute, Relations};
use crate::model::TargetName;
use crate::policy::ResolvedNames;
use crate::sql::{Analysis, RelationName};
use crate::wire::{BackLogin, Wire};

use super::dial::{Endpoint, UpstreamError, dial};
use super::probe;

/// How long a catalogue is believed without asking again.
const BELIEVED: Duration = Duration::from_secs(30);
/// The shortest time between two readings that a workload can cause.
const AT_MOST_EVERY: Duration = Duration::from_millis(250);
/// How long one reading may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The catalogue could not be read: what depends on it is refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The agent's own connection failed.
    #[error("the names of the database cannot be read: {0}")]
    Unreachable(Arc<str>),
}

impl From<UpstreamError> for CatalogueError {
    fn from(error: UpstreamError) -> Self {
        CatalogueError::Unreachable(error.to_string().into())
    }
}

#[derive(Debug)]
struct Relation {
    schema: Arc<str>,
    name: Arc<str>,
    stored: bool,
    columns: HashMap<i16, Arc<str>>,
}

/// The names of one database at one moment.
#[derive(Debug, Default)]
pub struct Catalogue {
    version: u64,
    relations: HashMap<u32, Relation>,
    by_name: HashMap<Arc<str>, Vec<u32>>,
    /// Everything a relation's rows can come from: a view's sources, a parent's children, and a
    /// child's parents (a mask stated for the parent holds for the child). Transitive.
    reaches: HashMap<u32, Vec<u32>>,
}

impl Catalogue {
    /// Differs whenever the catalogue was read anew.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What the names in a text can stand for. A name that is not in the catalogue is left out:
    /// policy treats it as unknown.
    ///
    /// Every schema that has the name counts as a candidate, whatever the session's search_path
    /// says at the moment: an allow must cover all of them, a deny or a mask meets any.
    pub fn resolve(&self, analysis: &Analysis) -> ResolvedNames {
        let mut resolved = ResolvedNames::default();
        let mut seen: HashSet<&RelationName> = HashSet::new();
        let mut left: Vec<&crate::sql::StatementFacts> = analysis.statements.iter().collect();
        while let Some(facts) = left.pop() {
            for used in &facts.relations {
                if seen.insert(&used.relation) {
                    self.resolve_one(&used.relation, &mut resolved);
                }
            }
            for effect in &facts.effects {
                if let crate::sql::Effect::Prepares { inner, .. }
                | crate::sql::Effect::Declares { inner, .. } = effect
                {
                    left.push(inner);
                }
            }
        }
        resolved
    }

    fn resolve_one(&self, wanted: &RelationName, resolved: &mut ResolvedNames) {
        let Some(oids) = self.by_name.get(wanted.name.as_str()) else {
            return;
        };
        let mut schemas = Vec::new();
        let mut reached: BTreeSet<(String, String)> = BTreeSet::new();
        for oid in oids {
            let Some(relation) = self.relations.get(oid) else {
                continue;
            };
            if wanted
                .schema
                .as_deref()
                .is_some_and(|schema| schema != &*relation.schema)
            {
                continue;
            }
            schemas.push(relation.schema.to_string());
            for source in self.reaches.get(oid).into_iter().flatten() {
                if let Some(source) = self.relations.get(source) {
                    reached.insert((source.schema.to_string(), source.name.to_string()));
                }
            }
        }
        if schemas.is_empty() {
            return;
        }
        resolved.relations.push((wanted.clone(), schemas));
        if !reached.is_empty() {
            resolved
                .reaches
                .push((wanted.clone(), reached.into_iter().collect()));
        }
    }
}

impl Relations for Catalogue {
    fn attribute(&self, relation: u32, number: i16) -> Option<Attribute<'_>> {
        let relation = self.relations.get(&relation)?;
        Some(Attribute {
            schema: &relation.schema,
            table: &relation.name,
            column: relation.columns.get(&number)?,
            stored: relation.stored,
        })
    }

    fn ancestors(&self, relation: u32) -> Vec<(&str, &str)> {
        let reached = self.reaches.get(&relation).into_iter().flatten();
        reached
            .filter_map(|oid| self.relations.get(oid))
            .map(|source| (&*source.schema, &*source.name))
            .collect()
    }
}

/// One database's catalogue, shared by its sessions.
#[derive(Debug)]
pub struct Lookup {
    endpoint: Endpoint,
    login: BackLogin,
    newest: ArcSwapOption<(Instant, Arc<Catalogue>)>,
    stale: AtomicBool,
    reading: tokio::sync::Mutex<()>,
    versions: AtomicU64,
}

impl Lookup {
    /// The catalogue, read if there is none yet, or it is old, or was said to be stale.
    pub async fn current<W: Wire>(&self) -> Result<Arc<Catalogue>, CatalogueError> {
        if let Some(fresh) = self.fresh() {
            return Ok(fresh);
        }
        let _one_reader = self.reading.lock().await;
        if let Some(fresh) = self.fresh() {
            return Ok(fresh); // another session read it meanwhile
        }
        self.read::<W>().await
    }

    /// A newer catalogue than `seen`: something was met that it does not know. Bounded in rate; the
    /// same catalogue comes back when it was read just now.
    pub async fn newer<W: Wire>(&self, seen: u64) -> Result<Arc<Catalogue>, CatalogueError> {
        let _one_reader = self.reading.lock().await;
        if let Some(newest) = &*self.newest.load() {
            let just_read = newest.0.elapsed() < AT_MOST_EVERY;
            if newest.1.version > seen || just_read {
                return Ok(newest.1.clone());
            }
        }
        self.read::<W>().await
    }

    /// A session changed the catalogue.
    pub fn changed(&self) {
        self.stale.store(true, Ordering::Release);
    }

    fn fresh(&self) -> Option<Arc<Catalogue>> {
        if self.stale.load(Ordering::Acquire) {
            return None;
        }
        let newest = self.newest.load();
        let newest = newest.as_ref()?;
        (newest.0.elapsed() < BELIEVED).then(|| newest.1.clone())
    }

    async fn read<W: Wire>(&self) -> Result<Arc<Catalogue>, CatalogueError> {
        // Cleared before reading: a change during the reading marks it stale again.
        self.stale.store(false, Ordering::Release);
        let version = self.versions.fetch_add(1, Ordering::Relaxed) + 1;
        let begun = Instant::now();
        let read = timeout(PATIENCE, self.fetch::<W>(version)).await;
        match read {
            Ok(Ok(catalogue)) => {
                let catalogue = Arc::new(catalogue);
                self.newest
                    .store(Some(Arc::new((begun, catalogue.clone()))));
                Ok(catalogue)
            }
            Ok(Err(error)) => {
                self.changed();
                Err(error.into())
            }
            Err(_elapsed) => {
                self.changed();
                Err(CatalogueError::Unreachable(
                    "the database took too long".into(),
                ))
            }
        }
    }

    async fn fetch<W: Wire>(&self, version: u64) -> Result<Catalogue, UpstreamError> {
        let dialled = dial::<W::Back>(&self.endpoint, self.login.clone()).await?;
        let mut connection = probe::Probe::<W>::new(dialled, self.endpoint.address);
        let mut catalogue = Catalogue {
            version,
            ..Catalogue::default()
        };
        connection
            .each(probe::RELATIONS, |cells| {
                let [oid, schema, name, kind] = cells else {
                    return;
                };
                let (Some(oid), Some(schema), Some(name), Some(kind)) =
                    (number(*oid), *schema, *name, *kind)
                else {
                    return;
                };
                let name: Arc<str> = name.into();
                catalogue.by_name.entry(name.clone()).or_default().push(oid);
                let relation = Relation {
                    schema: schema.into(),
                    name,
                    stored: matches!(kind, "r" | "p" | "t"),
                    columns: HashMap::new(),
                };
                catalogue.relations.insert(oid, relation);
            })
            .await?;
        let mut spellings: HashSet<Arc<str>> = HashSet::new();
        connection
            .each(probe::COLUMNS, |cells| {
                let [oid, number_, name] = cells else { return };
                let (Some(oid), Some(attribute), Some(name)) = (
                    number(*oid),
                    number_.and_then(|n| n.parse::<i16>().ok()),
                    *name,
                ) else {
                    return;
                };
                let name = spellings.get(name).cloned().unwrap_or_else(|| {
                    let name: Arc<str> = name.into();
                    spellings.insert(name.clone());
                    name
                });
                if let Some(relation) = catalogue.relations.get_mut(&oid) {
                    relation.columns.insert(attribute, name);
                }
            })
            .await?;
        let mut edges: HashMap<u32, Vec<u32>> = HashMap::new();
        connection
            .each(probe::SOURCES, |cells| {
                let [from, to] = cells else { return };
                if let (Some(from), Some(to)) = (number(*from), number(*to)) {
                    edges.entry(from).or_default().push(to);
                }
            })
            .await?;
        connection.close().await;
        catalogue.reaches = closure(&edges);
        Ok(catalogue)
    }
}

fn number(cell: Option<&str>) -> Option<u32> {
    cell?.parse().ok()
}

/// Everything reachable from each node, itself left out. Iterative; cycles are harmless.
fn closure(edges: &HashMap<u32, Vec<u32>>) -> HashMap<u32, Vec<u32>> {
    let mut all = HashMap::with_capacity(edges.len());
    for start in edges.keys() {
        let mut seen = BTreeSet::new();
        let mut left = vec![*start];
        while let Some(node) = left.pop() {
            for next in edges.get(&node).into_iter().flatten() {
                if next != start && seen.insert(*next) {
                    left.push(*next);
                }
            }
        }
        all.insert(*start, seen.into_iter().collect());
    }
    all
}

/// The catalogues of all databases that sessions have asked for.
#[derive(Debug, Default)]
pub struct Catalogues {
    open: Mutex<HashMap<(TargetName, String, String), Arc<Lookup>>>,
}

impl Catalogues {
    /// The catalogue of one database as one role sees it.
    pub fn of(&self, target: &TargetName, endpoint: &Endpoint, login: &BackLogin) -> Arc<Lookup> {
        let key = (target.clone(), login.database.clone(), login.user.clone());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let lookup = open.entry(key).or_insert_with(|| {
            Arc::new(Lookup {
                endpoint: endpoint.clone(),
                login: BackLogin {
                    settings: Vec::new(),
                    ..login.clone()
                },
                newest: ArcSwapOption::empty(),
                stale: AtomicBool::new(false),
                reading: tokio::sync::Mutex::new(()),
                versions: AtomicU64::new(0),
            })
        });
        lookup.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_over_a_view_reaches_the_table_and_a_cycle_ends() {
        let edges = HashMap::from([(1, vec![2]), (2, vec![3]), (4, vec![5]), (5, vec![4])]);
        let all = closure(&edges);
        assert_eq!(all[&1], vec![2, 3]);
        assert_eq!(all[&4], vec![5]);
    }
}
