//! What the names of one database stand for, read over a connection of the agent's own.
//!
//! The texts sent here are the agent's, fixed at compile time: no permit is involved, and nothing
//! of a client's reaches this connection.

use std::any::Any;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::mask::{self, Attribute, Made, Relations, shape};
use crate::policy::{
    Classified, ColumnPattern, Glob, MaskRule, OwnCall, ResolvedNames, TagPattern, ViewColumn,
};
use crate::sql::{
    Analysis, Base, Carried, Columns, RelationName, RelationUse, Scope, Shape, StatementKind,
    TEMPORARY, Touch,
};
use crate::wire::{BackLogin, Wire};

use super::classify::{Comments, Former};
use super::definitions::{self, Definitions, Source};
use super::dial::{Endpoint, UpstreamError, dial};
use super::own::{Changes, Code};
use super::probe::{self, Probe};
use super::reach::{Edges, Reach};

/// The catalogue could not be read: what depends on it is refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The agent's own connection failed.
    #[error("the names of the database cannot be read: {0}")]
    Unreachable(Arc<str>),
    /// The database refused a question, or the login.
    #[error("the names of the database cannot be read: {0}")]
    Refused(Arc<str>),
    /// Reading on would cost more memory or time than one database is worth.
    #[error("the names of the database cannot be read: they are more than the agent holds ({0})")]
    TooLarge(&'static str),
}

impl From<UpstreamError> for CatalogueError {
    fn from(error: UpstreamError) -> Self {
        let refused = matches!(error, UpstreamError::Refused { .. });
        let words = error.to_string().into();
        match refused {
            true => CatalogueError::Refused(words),
            false => CatalogueError::Unreachable(words),
        }
    }
}

#[derive(Debug)]
pub(super) struct Relation {
    pub(super) schema: Arc<str>,
    pub(super) name: Arc<str>,
    stored: bool,
    pub(super) columns: HashMap<i16, Arc<str>>,
}

/// The names of one database at one moment.
#[derive(Debug, Default)]
pub struct Catalogue {
    version: u64,
    relations: HashMap<u32, Relation>,
    by_name: HashMap<Arc<str>, Vec<u32>>,
    schemas: HashSet<Box<str>>,
    reach: Reach,
    comments: Comments,
    /// Names from before, as far as readings have seen them.
    former: Former,
    /// What follows from these two, by relation.
    classified: HashMap<u32, Vec<Classified>>,
    /// Of `probe::PULSE`, asked before anything else.
    pulse: String,
    /// The first reading of those that all said so.
    since: u64,
    definitions: Definitions,
    changes: Changes,
    code: Code,
    /// Of `probe::BARE`.
    bare: HashSet<String>,
}

impl Catalogue {
    /// Differs whenever the catalogue was read anew.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether a reading of that version may have shown another schema: what the database told since is not all the
    /// same.
    pub fn changed_since(&self, version: u64) -> bool {
        self.since > version
    }

    /// What `probe::PULSE` said before it was read.
    pub fn pulse(&self) -> &str {
        &self.pulse
    }

    /// Remembers what relations and columns were called in the one that was read before, so that masks,
    /// which go by names, follow what is renamed.
    pub(super) fn follow(&mut self, before: Option<&Catalogue>) {
        self.since = match before {
            Some(before) if before.pulse == self.pulse => before.since,
            Some(_) | None => self.version,
        };
        if let Some(before) = before {
            self.former = before.former.grown(&before.relations, &self.relations);
        }
        self.classified = self.comments.classify(&self.former, &self.relations);
    }

    /// Each pattern and tag of a mask, and whether there is any column that it is about. What only had such a
    /// name before is none: the mask follows it for as long as the agent remembers.
    pub(super) fn matches(&self, mask: &MaskRule) -> Vec<(String, bool)> {
        let column = |pattern: &ColumnPattern| {
            let [schema, table, column] =
                [&pattern.schema, &pattern.table, &pattern.column].map(|part| Glob::new(part));
            let has = |relation: &Relation| {
                schema.matches(&relation.schema)
                    && table.matches(&relation.name)
                    && relation.columns.values().any(|name| column.matches(name))
            };
            match &table {
                Glob::Exact(name) => {
                    let named = self.by_name.get(&**name).into_iter().flatten();
                    named.filter_map(|oid| self.relations.get(oid)).any(has)
                }
                Glob::Any | Glob::Pattern(_) => self.relations.values().any(has),
            }
        };
        let tagged = |pattern: &TagPattern| {
            let mut all = self.classified.values().flatten();
            all.any(|one| one.tags.iter().any(|tag| pattern.matches(tag)))
        };
        let columns = mask.columns.iter().map(|pattern| {
            let ColumnPattern {
                schema,
                table,
                column: name,
            } = pattern;
            (format!("{schema}.{table}.{name}"), column(pattern))
        });
        let tags = mask.tags.iter().map(|tag| (tag.to_string(), tagged(tag)));
        columns.chain(tags).collect()
    }

    /// What the names in a text can stand for.
    ///
    /// Every schema of the scope that has the name counts as a candidate, in whatever order paths
    /// have them: an allow must cover all of them, a deny or a mask meets any. So a relation that comes
    /// or goes a moment later moves no name to where nobody looked.
    pub fn resolve(&self, analysis: &Analysis, scope: &Scope) -> ResolvedNames {
        let mut resolved = ResolvedNames::default();
        let mut seen: HashSet<&RelationName> = HashSet::new();
        let mut left: Vec<&crate::sql::StatementFacts> = analysis.judged().collect();
        while let Some(facts) = left.pop() {
            for used in &facts.relations {
                if seen.insert(&used.relation) {
                    let made =
                        |r: &RelationUse| r.touch == Touch::Define && r.relation == used.relation;
                    let creates = facts.kinds.contains(&StatementKind::Create)
                        && facts.relations.iter().any(made);
                    self.resolve_one(&used.relation, creates, scope, &mut resolved);
                }
                self.set_off(used, scope, &mut resolved);
            }
            for call in &facts.functions {
                let known = |own: &OwnCall| own.name == call.name && own.args == call.args;
                if let Some(own) = self.code.call(call, scope)
                    && !resolved.calls.iter().any(known)
                {
                    resolved.calls.push(own);
                }
            }
            for operator in &facts.operators {
                let behind = self.code.behind(operator, scope);
                if !behind.is_empty() && resolved.operators.iter().all(|(o, _)| o != operator) {
                    resolved.operators.push((operator.clone(), behind));
                }
            }
            for used in &facts.relations {
                let name = &used.relation.name;
                if self.bare.contains(name) && !resolved.bare.contains(name) {
                    resolved.bare.push(name.clone());
                }
            }
            for name in &facts.attributes {
                if self.code.is_no_function(name) && !resolved.attributes.contains(name) {
                    resolved.attributes.push(name.clone());
                }
            }
            for of in &facts.types {
                let functions = self.code.makes(of, scope);
                if !functions.is_empty() && resolved.types.iter().all(|(known, _)| known != of) {
                    resolved.types.push((of.clone(), functions));
                }
            }
            for column in facts
                .columns
                .iter()
                .filter(|used| !used.qualifier.is_empty())
            {
                let functions = self.code.field(&column.name, scope);
                if !functions.is_empty()
                    && !self.all_have(&facts.relations, &column.name, scope)
                    && resolved
                        .fields
                        .iter()
                        .all(|(known, _)| *known != column.name)
                {
                    resolved.fields.push((column.name.clone(), functions));
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

    /// Whether everything that a statement's names may stand for has a column of that name, so that no row
    /// of it calls a function by it.
    fn all_have(&self, relations: &[RelationUse], column: &str, scope: &Scope) -> bool {
        let has = |relation: &Relation| relation.columns.values().any(|name| **name == *column);
        !relations.is_empty()
            && relations.iter().all(|used| {
                let mut candidates = self.candidates(&used.relation, scope).peekable();
                candidates.peek().is_some() && candidates.all(|(_, relation)| has(relation))
            })
    }

    /// The relations that a name may stand for.
    fn candidates<'a>(
        &'a self,
        wanted: &'a RelationName,
        scope: &'a Scope,
    ) -> impl Iterator<Item = (u32, &'a Relation)> {
        let named = self.by_name.get(wanted.name.as_str());
        let relations = named.into_iter().flatten();
        let relations = relations.filter_map(|oid| Some((*oid, self.relations.get(oid)?)));
        relations.filter(move |(_, relation)| {
            let temporary = relation.schema.starts_with(OF_A_SESSION);
            match wanted.schema.as_deref() {
                Some(TEMPORARY) => temporary,
                Some(schema) => schema == &*relation.schema,
                // Those of other sessions are nowhere in this one's path.
                None if temporary => scope.temporary(),
                None => scope.reaches(&relation.schema),
            }
        })
    }

    fn resolve_one(
        &self,
        wanted: &RelationName,
        creates: bool,
        scope: &Scope,
        resolved: &mut ResolvedNames,
    ) {
        let mut schemas: Vec<String> = Vec::new();
        let mut reached: BTreeSet<(String, String)> = BTreeSet::new();
        let mut opaque = false;
        let mut views: Vec<ViewColumn> = Vec::new();
        if wanted.name == "*" {
            // Everything of a schema, or of all.
            let schema = wanted.schema.as_deref().filter(|schema| *schema != "*");
            let within = |one: &&Classified| schema.is_none_or(|schema| one.schema == schema);
            let all = self.classified.values().flatten().filter(within);
            all.for_each(|one| note(&mut resolved.classified, one));
        }
        for (oid, relation) in self.candidates(wanted, scope) {
            if !relation.stored && self.reach.from(oid).next().is_some() {
                views.extend(self.view_columns(oid));
            }
            // As statements name it: which session's it is, nobody writes.
            let schema = match relation.schema.starts_with(OF_A_SESSION) {
                true => TEMPORARY,
                false => &*relation.schema,
            };
            if schemas.iter().all(|known| known != schema) {
                schemas.push(schema.to_owned());
            }
            opaque |= self.reach.is_opaque(oid);
            for one in self.classified(oid) {
                note(&mut resolved.classified, one);
            }
            for source in self.reach.from(oid) {
                if let Some(source) = self.relations.get(&source) {
                    reached.insert((source.schema.to_string(), source.name.to_string()));
                }
            }
        }
        let unknown = schemas.is_empty();
        if wanted.schema.is_none() {
            // Made a moment ago, and perhaps not committed.
            if scope.made(&wanted.name) && schemas.iter().all(|known| known != TEMPORARY) {
                schemas.push(TEMPORARY.to_owned());
            } else if unknown && let Some(path) = scope.schemas() {
                let there = |schema: &str| self.schemas.contains(schema);
                if creates && scope.makes_temporary() {
                    schemas.push(TEMPORARY.to_owned());
                }
                match scope.only() {
                    // Where it is made, or was made by this session a moment ago.
                    Some(path) if creates || scope.created(&wanted.name) => {
                        schemas.extend(path.iter().find(|schema| there(schema)).cloned());
                    }
                    Some(_) | None => {
                        schemas.extend(path.filter(|schema| there(schema)).map(str::to_owned));
                    }
                }
            }
        }
        if unknown {
            resolved.unknown.push(wanted.clone());
            if wanted.schema.is_none() {
                self.find_elsewhere(wanted, scope, resolved);
            }
        }
        if schemas.is_empty() {
            return;
        }
        resolved.relations.push((wanted.clone(), schemas));
        if opaque {
            resolved.opaque.push(wanted.clone());
        }
        if !views.is_empty() {
            resolved.views.push((wanted.clone(), views));
        }
        if !reached.is_empty() {
            resolved
                .reaches
                .push((wanted.clone(), reached.into_iter().collect()));
        }
    }

    /// Schemas out of the path that have the name, and what it reaches there: to be suggested.
    fn find_elsewhere(&self, wanted: &RelationName, scope: &Scope, resolved: &mut ResolvedNames) {
        let named = self.by_name.get(wanted.name.as_str()).into_iter().flatten();
        let relations = named.filter_map(|oid| self.relations.get(oid));
        let mut schemas: Vec<String> = relations
            .map(|relation| &relation.schema)
            .filter(|schema| !schema.starts_with("pg_"))
            .take(ELSEWHERE)
            .map(|schema| schema.to_string())
            .collect();
        schemas.sort_unstable();
        for schema in &schemas {
            let there = RelationName {
                schema: Some(schema.clone()),
                name: wanted.name.clone(),
            };
            if resolved.relations.iter().all(|(known, _)| *known != there) {
                self.resolve_one(&there, false, scope, resolved);
            }
            for touch in [Touch::Insert, Touch::Update, Touch::Delete] {
                let relation = there.clone();
                self.set_off(&RelationUse { relation, touch }, scope, resolved);
            }
        }
        if !schemas.is_empty() {
            resolved.elsewhere.push((wanted.clone(), schemas));
        }
    }

    /// What a change of a relation changes further.
    fn set_off(&self, used: &RelationUse, scope: &Scope, resolved: &mut ResolvedNames) {
        if !matches!(used.touch, Touch::Insert | Touch::Update | Touch::Delete) {
            return;
        }
        let mut then: Vec<RelationUse> = Vec::new();
        for (oid, _) in self.candidates(&used.relation, scope) {
            // Through a view, or to the parts of a table, it is a change of those.
            for from in std::iter::once(oid).chain(self.reach.from(oid)) {
                for (to, touch) in self.changes.from(from, used.touch) {
                    let Some(relation) = self.relations.get(&to) else {
                        continue;
                    };
                    let relation = RelationName {
                        schema: Some(relation.schema.to_string()),
                        name: relation.name.to_string(),
                    };
                    let next = RelationUse { relation, touch };
                    if !then.contains(&next) {
                        then.push(next);
                    }
                }
            }
        }
        if !then.is_empty() && resolved.sets_off.iter().all(|(from, _)| from != used) {
            resolved.sets_off.push((used.clone(), then));
        }
    }
}

/// As many schemas out of the path are suggested.
const ELSEWHERE: usize = 4;

/// How the schemas of temporary relations begin, one for each session that has some.
const OF_A_SESSION: &str = "pg_temp_";

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
        let reached = self.reach.from(relation);
        reached
            .filter_map(|oid| self.relations.get(&oid))
            .map(|source| (&*source.schema, &*source.name))
            .collect()
    }

    fn classified(&self, relation: u32) -> Vec<&Classified> {
        if self.classified.is_empty() {
            return Vec::new();
        }
        let all = std::iter::once(relation).chain(self.reach.from(relation));
        all.filter_map(|oid| self.classified.get(&oid))
            .flatten()
            .collect()
    }

    fn opaque(&self, relation: u32) -> bool {
        self.reach.is_opaque(relation)
    }

    fn generated(&self, relation: u32, number: i16) -> bool {
        let known = self.relations.get(&relation);
        let name = known.and_then(|known| known.columns.get(&number));
        name.is_some_and(|name| self.definitions.of_generated(relation, name).is_some())
    }

    fn relation(&self, schema: &str, name: &str) -> Option<u32> {
        let named = self.by_name.get(name)?.iter().copied();
        let of = |oid: &u32| {
            self.relations
                .get(oid)
                .is_some_and(|r| *r.schema == *schema)
        };
        named.into_iter().find(of)
    }

    fn name(&self, relation: u32) -> Option<(&str, &str)> {
        let relation = self.relations.get(&relation)?;
        Some((&relation.schema, &relation.name))
    }

    fn columns(&self, relation: u32) -> Option<Vec<Arc<str>>> {
        let columns = &self.relations.get(&relation)?.columns;
        let mut columns: Vec<(&i16, &Arc<str>)> = columns.iter().collect();
        columns.sort_unstable();
        Some(columns.into_iter().map(|(_, name)| name.clone()).collect())
    }

    fn stored(&self, relation: u32) -> bool {
        self.relations.get(&relation).is_some_and(|r| r.stored)
    }

    fn ruled(&self, relation: u32) -> bool {
        self.definitions.has_rules(relation)
    }

    fn made(&self, relation: u32, column: &str) -> Made {
        match self.relations.get(&relation) {
            Some(known) if known.stored => self.stored_of(relation, column),
            Some(known) if known.columns.values().all(|name| **name != *column) => Made::Stored,
            Some(_) => self.view_of(relation, column),
            None => Made::Unknown,
        }
    }
}

/// Relations as definitions name them: by schema and name.
struct Whole<'a>(&'a Catalogue);

impl Columns for Whole<'_> {
    fn of(&self, relation: &RelationName) -> Option<Shape> {
        let schema = relation.schema.as_deref()?;
        shape(self.0, self.0.relation(schema, &relation.name)?)
    }
}

impl Catalogue {
    /// What a column of stored rows is made of. In a parent's rows the children's are.
    fn stored_of(&self, relation: u32, column: &str) -> Made {
        if !self.definitions.generates() {
            return Made::Stored;
        }
        let mut bases: Vec<Base> = Vec::new();
        for oid in std::iter::once(relation).chain(self.reach.from(relation)) {
            let sources = match self.definitions.of_generated(oid, column) {
                None => continue,
                Some(Source::Code) => return Made::Unknown,
                Some(Source::Columns(columns)) if columns.is_empty() => self.columns(oid),
                Some(Source::Columns(columns)) => Some(columns.clone()),
            };
            let (Some(sources), Some((schema, name))) = (sources, self.name(oid)) else {
                return Made::Unknown;
            };
            let of = Arc::new(RelationName {
                schema: Some(schema.to_owned()),
                name: name.to_owned(),
            });
            let others = sources.into_iter().filter(|source| **source != *column);
            bases.extend(others.map(|column| Base {
                relation: of.clone(),
                column,
            }));
        }
        match bases.is_empty() {
            true => Made::Stored,
            false => Made::Of(bases),
        }
    }

    /// The columns of what computes its rows. Of a foreign table nobody knows what they show.
    fn view_columns(&self, relation: u32) -> Vec<ViewColumn> {
        let names = || self.columns(relation).into_iter().flatten();
        let shown = self.definitions.shown(relation, || {
            let column = |name: Arc<str>| ViewColumn {
                from: mask::sources(self, relation, &name),
                name: name.to_string(),
            };
            names().map(column).collect()
        });
        match shown {
            Some(shown) => shown.to_vec(),
            None => {
                let column = |name: Arc<str>| ViewColumn {
                    name: name.to_string(),
                    from: None,
                };
                names().map(column).collect()
            }
        }
    }

    /// What a column of a view is made of. Of a foreign table nobody knows.
    fn view_of(&self, relation: u32, column: &str) -> Made {
        if self.reach.is_opaque(relation) {
            return Made::Unknown;
        }
        let (Some(columns), Some((lineage, materialised))) = (
            self.columns(relation),
            self.definitions.of_view(relation, &Whole(self)),
        ) else {
            return Made::Unknown;
        };
        let Some(carried) = lineage.fit(columns.iter().map(|name| &**name)) else {
            return Made::Unknown;
        };
        let mut both = columns.iter().zip(carried);
        let Some((_, Carried::Of(bases))) = both.find(|(name, _)| ***name == *column) else {
            return Made::Unknown;
        };
        // What a view below was when the rows were made, nobody knows any more.
        let is_stored = |base: &Base| {
            let schema = base.relation.schema.as_deref();
            let number = schema.and_then(|schema| self.relation(schema, &base.relation.name));
            number.is_some_and(|number| self.stored(number))
        };
        if materialised && !bases.iter().all(is_stored) {
            return Made::Unknown;
        }
        Made::Of(bases.iter().cloned().collect())
    }
}

fn note(list: &mut Vec<Classified>, one: &Classified) {
    if !list.contains(one) {
        list.push(one.clone());
    }
}

/// A connection on which it is asked again and again whether anything changed.
pub(super) struct Kept {
    /// A `Probe` of the shelf's protocol.
    connection: Box<dyn Any + Send>,
    used: Instant,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept(…)")
    }
}

/// After so long without a use a connection may have been forgotten on the way.
const KEPT: Duration = Duration::from_secs(20);

/// Asks whether anything changed, and nothing else: on the connection that was kept, or another one.
pub(super) async fn feel<W: Wire>(
    kept: Option<Kept>,
    endpoint: &Endpoint,
    login: BackLogin,
) -> Result<(String, Kept), CatalogueError> {
    let kept = kept.filter(|kept| kept.used.elapsed() < KEPT);
    if let Some(Ok(mut connection)) = kept.map(|kept| kept.connection.downcast::<Probe<W>>()) {
        connection.renew();
        // The server may have ended it; what another one says counts.
        if let Ok(pulse) = pulse(&mut connection).await {
            let used = Instant::now();
            return Ok((pulse, Kept { connection, used }));
        }
    }
    let dialled = dial::<W::Back>(endpoint, login).await?;
    let mut connection = Box::new(Probe::<W>::new(dialled, endpoint.address));
    let pulse = pulse(&mut connection).await?;
    let used = Instant::now();
    Ok((pulse, Kept { connection, used }))
}

async fn pulse<W: Wire>(connection: &mut Probe<W>) -> Result<String, CatalogueError> {
    let mut pulse = None;
    connection
        .each(probe::PULSE, |cells| {
            pulse = cells.first().copied().flatten().map(str::to_owned);
        })
        .await?;
    pulse.ok_or_else(|| CatalogueError::Unreachable("it does not say what changed".into()))
}

/// Reads the catalogue as one role of one server sees it.
pub(super) async fn fetch<W: Wire>(
    endpoint: &Endpoint,
    login: BackLogin,
    version: u64,
) -> Result<Catalogue, CatalogueError> {
    let dialled = dial::<W::Back>(endpoint, login).await?;
    let mut connection = Probe::<W>::new(dialled, endpoint.address);
    let mut catalogue = Catalogue {
        version,
        // First: what changes while the rest is read makes it another.
        pulse: pulse(&mut connection).await?,
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
    let mut comments = Comments::default();
    connection
        .each(probe::COMMENTS, |cells| comments.row(cells))
        .await?;
    catalogue.comments = comments;
    let mut edges = Edges::default();
    connection
        .each(probe::SOURCES, |cells| edges.row(cells))
        .await?;
    let mut code = Code::default();
    connection
        .each(probe::FUNCTIONS, |cells| code.function(cells))
        .await?;
    connection
        .each(probe::OPERATORS, |cells| code.operator(cells))
        .await?;
    connection
        .each(probe::TYPES, |cells| code.type_(cells))
        .await?;
    connection
        .each(probe::OF_ONE, |cells| code.of_one(cells))
        .await?;
    connection
        .each(probe::BARE, |cells| {
            let names = cells.iter().flatten().map(|name| (*name).to_owned());
            catalogue.bare.extend(names);
        })
        .await?;
    catalogue.code = code;
    let mut changes = Changes::default();
    connection
        .each(probe::CHANGES, |cells| changes.row(cells))
        .await?;
    catalogue.changes = changes;
    connection
        .each(probe::SCHEMAS, |cells| {
            if let [Some(schema)] = cells {
                catalogue.schemas.insert((*schema).into());
            }
        })
        .await?;
    let mut definitions = Definitions::default();
    connection
        .each(definitions::GENERATED, |cells| definitions.generated(cells))
        .await?;
    connection
        .each(definitions::RULED, |cells| definitions.ruled(cells))
        .await?;
    connection.each(definitions::NO_PATH, |_| {}).await?;
    let read = connection
        .each(definitions::VIEWS, |cells| definitions.view(cells))
        .await;
    match read {
        Ok(()) => connection.close().await,
        // A view that goes in that moment is an error. Those that were read are as good as before; of
        // the others nobody knows what they are made of.
        Err(error) => tracing::debug!(%error, "not all definitions of views can be read"),
    }
    catalogue.definitions = definitions;
    // Long enough for large databases to keep other sessions of an I/O thread waiting.
    catalogue.reach = tokio::task::spawn_blocking(move || edges.close())
        .await
        .map_err(|_lost| CatalogueError::Unreachable("the closure was lost".into()))?
        .map_err(|_| CatalogueError::TooLarge("views and partitions"))?;
    Ok(catalogue)
}

fn number(cell: Option<&str>) -> Option<u32> {
    cell?.parse().ok()
}

#[cfg(test)]
impl Relation {
    pub(super) fn of(schema: &str, name: &str, columns: &[(i16, &str)]) -> Self {
        let columns = columns.iter();
        Relation {
            schema: schema.into(),
            name: name.into(),
            stored: true,
            columns: columns.map(|(at, name)| (*at, (*name).into())).collect(),
        }
    }
}

#[cfg(test)]
impl Catalogue {
    /// One with these tables, and rows of `probe::FUNCTIONS` and `probe::OPERATORS`.
    pub(crate) fn of(
        version: u64,
        tables: &[(&str, &str)],
        functions: &[&[Option<&str>]],
        operators: &[&[Option<&str>]],
    ) -> Self {
        let mut catalogue = Catalogue::of_version(version, "");
        for (oid, (schema, name)) in (20_000..).zip(tables) {
            let (schema, name): (Arc<str>, Arc<str>) = ((*schema).into(), (*name).into());
            catalogue.schemas.insert((&*schema).into());
            catalogue.by_name.entry(name.clone()).or_default().push(oid);
            let relation = Relation {
                schema,
                name,
                stored: true,
                columns: HashMap::new(),
            };
            catalogue.relations.insert(oid, relation);
        }
        for row in functions {
            catalogue.code.function(row);
        }
        for row in operators {
            catalogue.code.operator(row);
        }
        catalogue
    }

    /// The same where a column of one of its tables has a comment.
    pub(crate) fn commented(mut self, table: &str, column: &str, comment: &str) -> Self {
        let oid = self.by_name.get(table).unwrap()[0];
        let relation = self.relations.get_mut(&oid).unwrap();
        relation.columns.insert(1, column.into());
        self.comments.put(oid, 1, comment);
        self.follow(None);
        self
    }

    /// An empty one.
    pub(super) fn of_version(version: u64, pulse: &str) -> Self {
        Catalogue {
            version,
            pulse: pulse.to_owned(),
            ..Catalogue::default()
        }
    }
}
