//! What is found out about a held statement beside its session, over connections of the agent's own: how many rows
//! it is expected to be about, which runs nothing; and what a preview takes. Both only of what is
//! understood whole, is one statement, and calls nothing but what the server has of its own and writes nothing
//! (fail closed).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::mask::Relations;
use crate::policy::ResolvedNames;
use crate::sql::{
    Analysis, Effect, FunctionClass, RelationName, Scope, StatementFacts, StatementKind, Sureness,
    classify_function,
};
use crate::upstream::{Catalogue, Double, Expecting};
use crate::wire::{Asked, Params, Phase, Text, Wire};

use super::pump::Session;
use super::verdict::Prepared;

/// How long the database may take to say how many rows it expects, with all that is done for it.
const ESTIMATE: Duration = Duration::from_secs(2);
/// Relations that one statement may name or reach.
const RELATIONS: usize = 1000;
/// SETs of a session that are said again on a connection beside it.
const SETS: usize = 32;

/// The settings of a session, for a connection beside it.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// Those of its login.
    pub(super) login: Vec<(String, String)>,
    /// The SETs that it has sent since; `None`: what it has set cannot be said again.
    pub(super) since: Option<Vec<Text>>,
    /// Something was sent, and the database has not said since that it is ready: what that did may hang on a Sync
    /// that is still to come.
    pub(super) unended: bool,
}

impl Settings {
    pub(super) fn of_login(login: Vec<(String, String)>) -> Box<Self> {
        Box::new(Settings {
            login,
            since: Some(Vec::new()),
            unended: false,
        })
    }

    /// A text is about to run. `alone`: as a simple query, outside a transaction, with nothing before it that is not
    /// answered.
    pub(super) fn runs(&mut self, prepared: &Prepared, alone: bool) {
        use StatementKind::{Call, Discard, Do, Set, SetIdentity};
        self.unended = true;
        let analysis = &prepared.analysis;
        let sets = |facts: &StatementFacts| {
            let kinds = &mut facts.kinds.iter();
            kinds.any(|kind| matches!(kind, Set | SetIdentity | Discard | Do | Call))
                || facts.effects.iter().any(|effect| matches!(effect, Effect::Sets { .. }))
                // Code of the owner's may set what it likes.
                || facts.functions.iter().any(|function| {
                    let schema = function.schema.as_deref();
                    classify_function(schema, &function.name, function.args) != FunctionClass::Pure
                        && !facts.attributes.contains(&function.name)
                })
        };
        let understood = analysis.sureness == Sureness::Complete;
        if understood && !analysis.judged().any(sets) {
            return;
        }
        let plain = match analysis.statements.as_slice() {
            [facts] => facts.kinds == [Set],
            _ => false,
        };
        match &mut self.since {
            Some(since) if understood && alone && plain && since.len() < SETS => {
                since.push(prepared.text.detached());
            }
            since => *since = None,
        }
    }
}

/// A statement with all that is needed to look at it from beside its session. Owns what it has: its session
/// goes on meanwhile.
pub(super) struct Beside {
    pub(super) text: Text,
    pub(super) params: Option<Params>,
    analysis: Arc<Analysis>,
    names: ResolvedNames,
    pub(super) relations: Vec<u32>,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) double: Double,
}

impl Beside {
    /// Whether its names stand for the same by this path, and for one thing each.
    pub(super) fn same_by(&self, path: &str) -> bool {
        let scope = Scope::of_path(path, &self.double.login.user);
        let names = self.catalogue.resolve(&self.analysis, &scope);
        names == self.names
            && names
                .relations
                .iter()
                .all(|(_, schemas)| schemas.len() == 1)
    }

    async fn rows<W: Wire>(&self) -> Option<u64> {
        let same_by = |path: &str| self.same_by(path);
        let expecting = Expecting {
            text: &self.text,
            params: self.params.as_ref(),
            relations: &self.relations,
            same_by: &same_by,
        };
        expecting.rows::<W>(&self.double).await
    }
}

impl<W: Wire> Session<W> {
    /// A statement as it can be looked at from beside the session.
    ///
    /// # Errors
    /// Why it cannot.
    pub(super) async fn beside(
        &mut self,
        asked: &Asked<Arc<Prepared>>,
        prepared: &Arc<Prepared>,
    ) -> Result<Beside, String> {
        let since = self.settings_made.since.clone();
        let since =
            since.ok_or("its session has made settings that cannot be made again beside it")?;
        let params = match &asked.phase {
            Phase::Execute { params, .. } => Some(params.clone()),
            Phase::Run { .. } | Phase::Prepare { .. } => None,
        };
        let catalogue = self.lookup.current::<W>().await;
        let catalogue = catalogue.map_err(|_| "the database's catalogue cannot be read now")?;
        let analysis = prepared.analysis.clone();
        let scope = self.scope.within(&analysis);
        let names = catalogue.resolve(&analysis, &scope);
        known(prepared, &names)?;
        let relations = relations(&analysis, &names, &catalogue)?;
        let (endpoint, mut login) = self.lookup.access();
        login.settings.clone_from(&self.settings_made.login);
        Ok(Beside {
            text: prepared.text.clone(),
            params,
            analysis,
            names,
            relations,
            catalogue,
            double: Double {
                endpoint,
                login,
                since,
            },
        })
    }

    /// How many rows the database expects a statement to change or give. `None`: nobody knows, or not in time.
    pub(super) async fn expected(
        &mut self,
        asked: &Asked<Arc<Prepared>>,
        prepared: &Arc<Prepared>,
    ) -> Option<u64> {
        let rows = async {
            let beside = self.beside(asked, prepared).await.ok()?;
            beside.rows::<W>().await
        };
        timeout(ESTIMATE, rows).await.ok()?
    }
}

/// Whether a statement reads or changes rows, and nothing else.
fn plain(kind: &StatementKind) -> bool {
    changes(kind) || matches!(kind, StatementKind::Select)
}

pub(super) fn changes(kind: &StatementKind) -> bool {
    use StatementKind::{Delete, Insert, Merge, Update};
    matches!(kind, Insert | Update | Delete | Merge)
}

/// Whether a text is one statement that reads or changes rows and, by what its names stand for, calls nothing but
/// functions of the server's own that write nothing.
///
/// # Errors
/// Why not.
fn known(prepared: &Prepared, names: &ResolvedNames) -> Result<(), String> {
    let analysis = &prepared.analysis;
    if analysis.sureness != Sureness::Complete || prepared.by_name.is_some() {
        return Err("it is not understood whole".to_owned());
    }
    if analysis.statements.len() != 1 {
        return Err("it is more than one statement".to_owned());
    }
    for facts in analysis.judged() {
        if facts.kinds.is_empty() || !facts.kinds.iter().all(plain) {
            return Err("it does more than read and change rows".to_owned());
        }
        if !facts.effects.is_empty() {
            return Err("it changes something of its session".to_owned());
        }
        let calls = facts.functions.iter().find(|function| {
            let schema = function.schema.as_deref();
            let class = classify_function(schema, &function.name, function.args);
            class != FunctionClass::Pure && !facts.is_a_column(function, &names.attributes)
        });
        if let Some(function) = calls {
            return Err(format!(
                "it calls {}, of which nobody knows what it does",
                function.name
            ));
        }
    }
    let code = [
        (names.calls.is_empty(), "a function"),
        (names.operators.is_empty(), "an operator"),
        (names.types.is_empty(), "a type"),
        (names.fields.is_empty(), "a name behind a dot"),
        (names.opaque.is_empty(), "a view"),
    ];
    for (none, what) in code {
        if !none {
            return Err(format!("{what} of it runs code of the database's owner"));
        }
    }
    if !names.unknown.is_empty() {
        return Err("the catalogue does not know all of its names".to_owned());
    }
    Ok(())
}

/// The object ids of everything that a statement names or reaches, or that is changed with it.
fn relations(
    analysis: &Analysis,
    names: &ResolvedNames,
    catalogue: &Catalogue,
) -> Result<Vec<u32>, String> {
    let mut named: Vec<(&str, &str)> = Vec::new();
    let written = analysis.judged().flat_map(|facts| &facts.relations);
    let set_off = names.sets_off.iter().flat_map(|(_, then)| then);
    for used in written.chain(set_off) {
        let RelationName { schema, name } = &used.relation;
        let found = names
            .relations
            .iter()
            .find(|(written, _)| *written == used.relation);
        match (schema, found.map(|(_, schemas)| schemas.as_slice())) {
            (Some(schema), _) => named.push((schema, name)),
            (None, Some([schema])) => named.push((schema, name)),
            (None, _) => return Err("it is not certain what its names stand for".to_owned()),
        }
    }
    for (_, bases) in &names.reaches {
        named.extend(
            bases
                .iter()
                .map(|(schema, table)| (schema.as_str(), table.as_str())),
        );
    }
    let mut ids = Vec::with_capacity(named.len());
    for (schema, name) in named {
        let id = catalogue.relation(schema, name);
        ids.push(id.ok_or("the catalogue does not know all of its tables")?);
    }
    ids.sort_unstable();
    ids.dedup();
    let more: Vec<u32> = ids
        .iter()
        .flat_map(|id| catalogue.ancestors(*id))
        .filter_map(|(schema, name)| catalogue.relation(schema, name))
        .collect();
    ids.extend(more);
    ids.sort_unstable();
    ids.dedup();
    if ids.len() > RELATIONS {
        return Err("it reaches too many tables".to_owned());
    }
    Ok(ids)
}
