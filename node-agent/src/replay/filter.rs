//! Pure. Which sessions, and which statements in them.

use super::entry::Entry;
use super::touched;
use crate::model::UnixMillis;
use crate::policy::{Decision, RuleRef};
use crate::record::{Decided, Finished, Login};

/// Which sessions. Every field that is set must fit. The decision, the rule and the table are of one
/// statement's own, where single statements are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The workload's name.
    pub workload: Option<String>,
    /// The user's subject.
    pub user: Option<String>,
    /// A group of the user's.
    pub group: Option<String>,
    /// The target's name.
    pub target: Option<String>,
    /// The database's name.
    pub database: Option<String>,
    /// Went on at this moment or later.
    pub since: Option<UnixMillis>,
    /// Began before.
    pub until: Option<UnixMillis>,
    /// Only sessions with a denial (or a refused login).
    pub denied: bool,
    /// Only sessions that are open now.
    pub open: bool,
    /// With a statement of which this was decided; a refused login counts as a denial.
    pub decision: Option<Ruling>,
    /// With a statement of which this rule spoke.
    pub rule: Option<RulePattern>,
    /// With a statement that touches such a table.
    pub table: Option<TablePattern>,
    /// With a statement that delivered so many rows.
    pub min_rows: Option<u64>,
    /// With an error of the database.
    pub error: Option<ErrorCode>,
    /// Ended for this reason: a word of `Why::word`.
    pub why: Option<String>,
}

/// What was decided of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "self-explanatory")]
pub enum Ruling {
    Allow,
    Hold,
    Deny,
}

impl Ruling {
    /// Of this decision.
    pub fn of(decision: &Decision) -> Self {
        match decision {
            Decision::Allow(_) => Ruling::Allow,
            Decision::Hold(_) => Ruling::Hold,
            Decision::Deny(_) => Ruling::Deny,
        }
    }

    /// `allow`, `hold`, `deny`.
    pub fn word(self) -> &'static str {
        match self {
            Ruling::Allow => "allow",
            Ruling::Hold => "hold",
            Ruling::Deny => "deny",
        }
    }
}

/// `policy/rule`, or a rule's name alone; `*` stands for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulePattern(pub String);

impl RulePattern {
    /// Does it stand for this `policy/rule`?
    pub fn fits(&self, rule: &str) -> bool {
        if self.0.contains('/') {
            return like(&self.0, rule);
        }
        rule.split_once('/')
            .is_some_and(|(_, name)| like(&self.0, name))
    }
}

/// `schema.table`, or a table's name alone; `*` stands for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePattern(pub String);

impl TablePattern {
    /// Does it stand for this name as a text writes it? Where the text has no schema, only the
    /// pattern's last part is compared: which schema was meant is not in the text, and evidence is
    /// better shown than left out.
    pub fn fits(&self, name: &str) -> bool {
        match (self.0.rsplit_once('.'), name.rsplit_once('.')) {
            (Some(_), Some(_)) | (None, None) => like(&self.0, name),
            (Some((_, last)), None) => like(last, name),
            (None, Some((_, last))) => like(&self.0, last),
        }
    }
}

/// Any error, or those whose SQLSTATE begins so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorCode(pub String);

impl ErrorCode {
    /// Is it one of these?
    pub fn fits(&self, code: &str) -> bool {
        code.starts_with(&self.0)
    }
}

/// `*` stands for any characters, `?` for one. In time of the product of both lengths at most.
fn like(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while let Some(c) = text.get(t) {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(want) if *want == '?' || want == c => {
                p += 1;
                t += 1;
            }
            Some(_) | None => {
                let Some((at, from)) = star else {
                    return false;
                };
                star = Some((at, from + 1));
                p = at + 1;
                t = from + 1;
            }
        }
    }
    pattern
        .get(p..)
        .is_none_or(|rest| rest.iter().all(|c| *c == '*'))
}

impl Filter {
    /// Does the session fit? One that was not opened fits what cannot be known of it: evidence is better
    /// shown than left out.
    pub fn session(&self, entry: &Entry) -> bool {
        if entry.unopened {
            let known = Filter {
                workload: self.workload.clone(),
                since: self.since,
                until: self.until,
                denied: self.denied,
                open: self.open,
                decision: self.decision,
                ..Filter::default()
            };
            return known.known(entry);
        }
        self.known(entry)
    }

    fn known(&self, entry: &Entry) -> bool {
        self.who(
            &entry.workload,
            entry.user.as_deref(),
            &entry.groups,
            entry.target.as_ref().map(|target| &*target.0),
            entry.database.as_deref(),
        ) && self
            .since
            .is_none_or(|since| entry.live || entry.last >= since)
            && self.until.is_none_or(|until| entry.began < until)
            && (!self.denied || entry.has(Ruling::Deny))
            && (!self.open || entry.live)
            && self.decision.is_none_or(|ruling| entry.has(ruling))
            && self.rule.as_ref().is_none_or(|pattern| {
                entry.beyond || entry.rules.keys().any(|rule| pattern.fits(rule))
            })
            && self.table.as_ref().is_none_or(|pattern| {
                entry.beyond || entry.tables.keys().any(|table| pattern.fits(table))
            })
            && self.min_rows.is_none_or(|rows| entry.most_rows >= rows)
            && self.error.as_ref().is_none_or(|wanted| {
                entry.beyond || entry.errors.keys().any(|code| wanted.fits(code))
            })
            && self
                .why
                .as_ref()
                .is_none_or(|wanted| entry.why.as_ref().is_some_and(|why| why.word() == wanted))
    }

    /// Does who asks, and where, fit?
    pub(super) fn who(
        &self,
        workload: &str,
        user: Option<&str>,
        groups: &[String],
        target: Option<&str>,
        database: Option<&str>,
    ) -> bool {
        let is = |wanted: &Option<String>, have: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| have == Some(wanted))
        };
        is(&self.workload, Some(workload))
            && is(&self.user, user)
            && self
                .group
                .as_ref()
                .is_none_or(|group| groups.contains(group))
            && is(&self.target, target)
            && is(&self.database, database)
    }

    /// Does the moment fit?
    pub fn moment(&self, at: UnixMillis) -> bool {
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
    }

    /// Does a login of this outcome fit, by what it was decided?
    pub(super) fn of_login(&self, login: &Login) -> bool {
        let ruling = match login {
            Login::Admitted { .. } => Ruling::Allow,
            Login::Refused(_) => Ruling::Deny,
        };
        (!self.denied || ruling == Ruling::Deny)
            && self.decision.is_none_or(|wanted| wanted == ruling)
    }

    /// Does an execution that ended so fit?
    pub(super) fn ended(&self, finished: &Finished) -> bool {
        self.min_rows.is_none_or(|rows| finished.rows >= rows)
            && self.error.as_ref().is_none_or(|wanted| {
                let error = finished.error.as_ref();
                error.is_some_and(|(code, _)| wanted.fits(code))
            })
    }

    /// Does it ask for anything of single statements but their moment?
    pub(super) fn of_statements(&self) -> bool {
        self.denied
            || self.decision.is_some()
            || self.rule.is_some()
            || self.table.is_some()
            || self.of_endings()
    }

    /// Does it ask for how executions ended?
    pub(super) fn of_endings(&self) -> bool {
        self.min_rows.is_some() || self.error.is_some()
    }

    /// Does a single statement fit: its moment, decision, rules and tables?
    pub fn statement(&self, decided: &Decided) -> bool {
        let ruling = Ruling::of(&decided.decision);
        self.moment(decided.at)
            && (!self.denied || ruling == Ruling::Deny)
            && self.decision.is_none_or(|wanted| wanted == ruling)
            && self.rule.as_ref().is_none_or(|pattern| {
                let mut fits = false;
                let mut fit = |rule: &RuleRef| fits |= pattern.fits(&touched::rule_name(rule));
                touched::rules(&decided.decision, &mut fit);
                touched::masks(&decided.decision, &mut fit);
                fits
            })
            && self.table.as_ref().is_none_or(|pattern| {
                let mut fits = false;
                touched::relations(&decided.analysis, &mut |used| {
                    fits |= pattern.fits(&touched::name(&used.relation));
                });
                fits
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_names() {
        for (pattern, text, fits) in [
            ("sales.*", "sales.orders", true),
            ("sales.*", "hr.orders", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b", false),
            ("a?c", "aéc", true),
            ("", "a", false),
            ("**a**", "bab", true),
        ] {
            assert_eq!(like(pattern, text), fits, "{pattern} {text}");
        }
        for (pattern, name, fits) in [
            ("sales.orders", "sales.orders", true),
            ("sales.orders", "orders", true),
            ("sales.orders", "hr.orders", false),
            ("orders", "sales.orders", true),
            ("orders", "sales.customers", false),
        ] {
            assert_eq!(
                TablePattern(pattern.into()).fits(name),
                fits,
                "{pattern} {name}"
            );
        }
        for (pattern, rule, fits) in [
            ("never", "story/never", true),
            ("story/*", "story/never", true),
            ("other/*", "story/never", false),
            ("story", "story/never", false),
        ] {
            assert_eq!(
                RulePattern(pattern.into()).fits(rule),
                fits,
                "{pattern} {rule}"
            );
        }
    }

    #[test]
    fn a_pattern_made_to_be_slow_is_not() {
        let pattern = "*a".repeat(200) + "b";
        assert!(!like(&pattern, &"a".repeat(5_000)));
    }
}
