//! How many rows the database expects a statement to change, by EXPLAIN, which runs nothing. But whoever plans
//! evaluates what does not hang on rows, so that functions which are said not to write are run: where any but the
//! server's own could be met, nobody asks (fail closed).

use bytes::BytesMut;

use crate::wire::pg::aside::{cells, explain};
use crate::wire::pg::expected as rows_of;
use crate::wire::{Params, Text, Transaction, Wire};

use super::aside::{Aside, AsideError, Double, ids, texts};

/// The largest plan that is read, bytes.
const PLAN: usize = 4 << 20;

/// Whether nothing of these relations can have the server run code of the database's owner while it plans:
/// defaults, policies, checks, indexes, statistics, rules, and casts to types of the owner's. `RELATIONS` stands
/// for their object ids. What an extension brings is as the server's own. Asked where the path is the server's alone.
const GUARD: &str = "select not exists (\
      select from pg_catalog.pg_depend d where ( \
        d.classid = 'pg_attrdef'::regclass and exists (select from pg_catalog.pg_attrdef x \
            where x.oid = d.objid and x.adrelid = any (RELATIONS)) \
        or d.classid = 'pg_policy'::regclass and exists (select from pg_catalog.pg_policy x \
            where x.oid = d.objid and x.polrelid = any (RELATIONS)) \
        or d.classid = 'pg_constraint'::regclass and exists (select from pg_catalog.pg_constraint x \
            where x.oid = d.objid and x.conrelid = any (RELATIONS)) \
        or d.classid = 'pg_rewrite'::regclass and exists (select from pg_catalog.pg_rewrite x \
            where x.oid = d.objid and x.ev_class = any (RELATIONS)) \
        or d.classid = 'pg_statistic_ext'::regclass and exists (select from pg_catalog.pg_statistic_ext x \
            where x.oid = d.objid and x.stxrelid = any (RELATIONS)) \
        or d.classid = 'pg_class'::regclass and (d.objid = any (RELATIONS) \
            or exists (select from pg_catalog.pg_index x \
            where x.indexrelid = d.objid and x.indrelid = any (RELATIONS)))) \
      and d.refclassid in ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass) \
      and d.refobjid >= 16384 \
      and not exists (select from pg_catalog.pg_depend e where e.classid = d.refclassid \
          and e.objid = d.refobjid and e.deptype = 'e')) \
    and not exists ( \
      select from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid \
        left join pg_catalog.pg_type b \
          on b.oid = case when t.typelem <> 0 then t.typelem else t.typbasetype end \
      where a.attrelid = any (RELATIONS) and a.attnum > 0 and not a.attisdropped \
        and coalesce(b.oid, t.oid) >= 16384 and coalesce(b.typtype, t.typtype) <> 'e' \
        and not exists (select from pg_catalog.pg_depend e \
            where e.classid = 'pg_type'::regclass and e.objid = coalesce(b.oid, t.oid) \
              and e.deptype = 'e'))";

/// A statement of which somebody wants to know how many rows it is about.
pub struct Expecting<'a> {
    /// One statement, which calls nothing but the server's own functions.
    pub text: &'a Text,
    /// As bound; `None`: it was sent as a text.
    pub params: Option<&'a Params>,
    /// Everything that it names or reaches.
    pub relations: &'a [u32],
    /// Whether its names stand for the same by this `search_path`.
    pub same_by: &'a (dyn Fn(&str) -> bool + Sync),
}

impl Expecting<'_> {
    /// The rows that the database expects. `None`: it does not say, or was not asked.
    pub async fn rows<W: Wire>(&self, double: &Double) -> Option<u64> {
        match self.asked::<W>(double).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::debug!(%error, "nobody says how many rows a statement is about");
                None
            }
        }
    }

    async fn asked<W: Wire>(&self, double: &Double) -> Result<Option<u64>, AsideError> {
        let mut aside = Aside::<W>::open(double).await?;
        let guard = GUARD.replace("RELATIONS", &ids(self.relations));
        let seen = aside.ask(&looked_at(&guard)).await?;
        let seen = texts(&seen)?;
        let fit = match seen.as_slice() {
            [guarded, path] => {
                let path = path.first().and_then(Option::as_deref);
                guarded.first().and_then(Option::as_deref) == Some("t")
                    && path.is_some_and(|path| (self.same_by)(path))
            }
            _ => false,
        };
        if !fit {
            aside.close().await;
            return Ok(None);
        }
        let begun = aside
            .ask("begin read only; set local statement_timeout = '1500ms'")
            .await?;
        if begun.ready != Some(Transaction::Open) {
            return Ok(None);
        }
        let mut up = BytesMut::new();
        explain(self.text.as_str(), self.params, &mut up);
        let plan = aside.talk(&up, PLAN).await?;
        let mut rows = None;
        if plan.failed.is_none() {
            cells(&plan.rows, |cells| {
                if let [Some(plan)] = cells {
                    rows = rows_of(plan);
                }
            })?;
        }
        aside.ask("rollback").await?;
        aside.close().await;
        Ok(rows)
    }
}

/// A question where the path is the server's alone, and behind it the path of the session: both in their one row.
pub(super) fn looked_at(question: &str) -> String {
    format!(
        "begin read only; set local search_path to pg_catalog; {question}; rollback; \
         select pg_catalog.current_setting('search_path')"
    )
}
