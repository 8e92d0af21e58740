//! Budgets: what one identity may do in a span of time, in all its sessions on this node together.
//!
//! The ledger reads no clock: it is told the time, in milliseconds since some beginning.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One budget of one policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Budget {
    /// Whose.
    pub policy: Arc<str>,
    /// Of what.
    pub of: Spent,
    /// In which span.
    pub per: Per,
    /// How much.
    pub most: u64,
}

/// What a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spent {
    /// Statements that were let through.
    Statements,
    /// Rows delivered.
    RowsReturned,
    /// Bytes of rows delivered.
    BytesReturned,
    /// Rows changed, counted before they are committed.
    RowsAffected,
    /// Statements that masks refused: what is learned of a masked value by trying is bounded.
    MaskRefusals,
}

/// The span of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "self-explanatory")]
pub enum Per {
    Minute,
    Hour,
    Day,
}

impl Per {
    const fn millis(self) -> u64 {
        match self {
            Per::Minute => 60_000,
            Per::Hour => 3_600_000,
            Per::Day => 86_400_000,
        }
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Spent::Statements => "statements",
            Spent::RowsReturned => "rows_returned",
            Spent::BytesReturned => "bytes_returned",
            Spent::RowsAffected => "rows_affected",
            Spent::MaskRefusals => "mask_refusals",
        })
    }
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Per::Minute => "minute",
            Per::Hour => "hour",
            Per::Day => "day",
        })
    }
}

/// Its key in the document: `rows_returned_per_hour`.
impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_per_{}", self.of, self.per)
    }
}

/// Into so many parts a span is divided: what was spent is forgotten part by part.
const PARTS: u64 = 12;

/// What was spent under one budget by one identity. A part is forgotten once all of it lies a whole
/// span back, so in no span of time more is spent than the budget says; room comes back up to a
/// twelfth of the span later than it could.
#[derive(Clone, Debug, Default)]
struct Account {
    /// (number of the part, spent in it), oldest first; at most `PARTS` + 1.
    parts: Vec<(u64, u64)>,
}

impl Account {
    fn forget(&mut self, now: u64, per: Per) {
        let current = now / (per.millis() / PARTS);
        self.parts
            .retain(|(part, _)| part.saturating_add(PARTS) >= current);
    }

    fn spent(&self) -> u64 {
        self.parts
            .iter()
            .fold(0, |sum: u64, (_, spent)| sum.saturating_add(*spent))
    }

    fn room(&self, most: u64) -> u64 {
        most.saturating_sub(self.spent())
    }

    fn add(&mut self, now: u64, per: Per, amount: u64) {
        let current = now / (per.millis() / PARTS);
        match self.parts.last_mut() {
            // A clock that went back adds to the newest part.
            Some((part, spent)) if *part >= current => *spent = spent.saturating_add(amount),
            Some(_) | None => self.parts.push((current, amount)),
        }
    }

    /// Milliseconds until there is room for `amount` of `most`; for more than all of it, until nothing is
    /// spent.
    fn wait(&self, now: u64, per: Per, most: u64, amount: u64) -> u64 {
        let length = per.millis() / PARTS;
        let enough = most.saturating_sub(amount);
        let mut spent = self.spent();
        let mut wait = 0;
        for (part, amount) in &self.parts {
            if spent <= enough {
                return wait;
            }
            spent = spent.saturating_sub(*amount);
            let gone = part.saturating_add(PARTS + 1).saturating_mul(length);
            wait = gone.saturating_sub(now);
        }
        // A budget of nothing never has room.
        if most == 0 { per.millis() } else { wait }
    }
}

/// A budget that has no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// It is spent.
    Spent {
        /// Which.
        budget: Budget,
        /// Milliseconds until it has room again; those of its span where it never has.
        wait: u64,
    },
    /// More identities have budgets than can be kept: nobody can say what this one has spent.
    Crowded,
}

/// Who spends: the issuer's word.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// `iss`.
    pub issuer: Arc<str>,
    /// `sub`.
    pub subject: Arc<str>,
}

type Key = (Identity, Arc<str>, Spent, Per);

/// What everybody has spent. Bounded; what was spent is kept by the policy's name, so that another version of
/// the policy finds it.
#[derive(Debug)]
pub struct Ledger {
    accounts: HashMap<Key, Account>,
    most: usize,
}

impl Default for Ledger {
    fn default() -> Self {
        Ledger::of(ACCOUNTS)
    }
}

/// Accounts at a time. Each takes less than a kilobyte.
const ACCOUNTS: usize = 16_384;

impl Ledger {
    /// At most so many accounts.
    pub fn of(most: usize) -> Self {
        Ledger {
            accounts: HashMap::new(),
            most,
        }
    }

    /// Takes up to `amount` of every budget that counts `what`, the same from each: as much as the one
    /// with the least room has. Gives how much, and the budget that stopped it from being all.
    pub fn take(
        &mut self,
        who: &Identity,
        budgets: &[Budget],
        what: Spent,
        amount: u64,
        now: u64,
    ) -> (u64, Option<Exhausted>) {
        let mut granted = amount;
        let mut least = None;
        for budget in budgets.iter().filter(|budget| budget.of == what) {
            match self.account(who, budget, now) {
                Ok(account) => {
                    let room = account.room(budget.most);
                    if room < granted {
                        (granted, least) = (room, Some(budget));
                    }
                }
                Err(crowded) => return (0, Some(crowded)),
            }
        }
        self.charge(who, budgets, what, granted, now);
        let stopped = least.map(|budget| self.spent(who, budget, 1, now));
        (granted, stopped)
    }

    /// All of it, or nothing.
    pub fn take_all(
        &mut self,
        who: &Identity,
        budgets: &[Budget],
        what: Spent,
        amount: u64,
        now: u64,
    ) -> Result<(), Exhausted> {
        for budget in budgets.iter().filter(|budget| budget.of == what) {
            if self.account(who, budget, now)?.room(budget.most) < amount {
                return Err(self.spent(who, budget, amount, now));
            }
        }
        self.charge(who, budgets, what, amount, now);
        Ok(())
    }

    /// The first budget of any kind that has no room left.
    pub fn exhausted(&mut self, who: &Identity, budgets: &[Budget], now: u64) -> Option<Exhausted> {
        budgets
            .iter()
            .find_map(|budget| match self.account(who, budget, now) {
                Ok(account) if account.room(budget.most) > 0 => None,
                Ok(_) => Some(self.spent(who, budget, 1, now)),
                Err(crowded) => Some(crowded),
            })
    }

    /// Spends, whether there is room or not. What has no account by now is not kept: whoever asked for
    /// room before was refused for it.
    pub fn charge(
        &mut self,
        who: &Identity,
        budgets: &[Budget],
        what: Spent,
        amount: u64,
        now: u64,
    ) {
        if amount == 0 {
            return;
        }
        for budget in budgets.iter().filter(|budget| budget.of == what) {
            if let Ok(account) = self.account(who, budget, now) {
                account.add(now, budget.per, amount);
            }
        }
    }

    /// There is no room for so much: when there is.
    fn spent(&mut self, who: &Identity, budget: &Budget, amount: u64, now: u64) -> Exhausted {
        match self.account(who, budget, now) {
            Ok(account) => Exhausted::Spent {
                budget: budget.clone(),
                wait: account.wait(now, budget.per, budget.most, amount),
            },
            Err(crowded) => crowded,
        }
    }

    fn account(
        &mut self,
        who: &Identity,
        budget: &Budget,
        now: u64,
    ) -> Result<&mut Account, Exhausted> {
        let key = (
            who.clone(),
            Arc::clone(&budget.policy),
            budget.of,
            budget.per,
        );
        if self.accounts.len() >= self.most && !self.accounts.contains_key(&key) {
            self.accounts.retain(|(_, _, _, per), account| {
                account.forget(now, *per);
                !account.parts.is_empty()
            });
            if self.accounts.len() >= self.most {
                return Err(Exhausted::Crowded);
            }
        }
        let account = self.accounts.entry(key).or_default();
        account.forget(now, budget.per);
        Ok(account)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn who(subject: &str) -> Identity {
        Identity {
            issuer: "https://issuer.example".into(),
            subject: subject.into(),
        }
    }

    fn budget(of: Spent, per: Per, most: u64) -> Budget {
        Budget {
            policy: "p".into(),
            of,
            per,
            most,
        }
    }

    #[test]
    fn a_budget_is_one_identity_s_own_and_says_when_it_goes_on() {
        let mut ledger = Ledger::default();
        let three = [budget(Spent::Statements, Per::Minute, 3)];
        let (alice, bob) = (who("alice"), who("bob"));
        for now in [0, 1000, 2000] {
            assert_eq!(
                ledger.take_all(&alice, &three, Spent::Statements, 1, now),
                Ok(())
            );
        }
        let Err(Exhausted::Spent { wait, budget }) =
            ledger.take_all(&alice, &three, Spent::Statements, 1, 30_000)
        else {
            panic!("a fourth");
        };
        assert_eq!(budget.to_string(), "statements_per_minute");
        assert_eq!(wait, 35_000);
        assert_eq!(
            ledger.take_all(&bob, &three, Spent::Statements, 1, 30_000),
            Ok(())
        );
        assert!(
            ledger
                .take_all(&alice, &three, Spent::Statements, 1, 64_999)
                .is_err()
        );
        assert_eq!(
            ledger.take_all(&alice, &three, Spent::Statements, 1, 65_000),
            Ok(())
        );
    }

    #[test]
    fn the_budget_with_the_least_room_says_how_much() {
        let mut ledger = Ledger::default();
        let alice = who("alice");
        let both = [
            budget(Spent::RowsReturned, Per::Hour, 100),
            budget(Spent::RowsReturned, Per::Minute, 10),
            budget(Spent::Statements, Per::Minute, 1),
        ];
        let (granted, stopped) = ledger.take(&alice, &both, Spent::RowsReturned, 8, 0);
        assert_eq!((granted, stopped), (8, None));
        let (granted, stopped) = ledger.take(&alice, &both, Spent::RowsReturned, 8, 0);
        assert_eq!(granted, 2);
        assert!(
            matches!(stopped, Some(Exhausted::Spent { budget, .. }) if budget.per == Per::Minute)
        );
        assert!(matches!(
            ledger.exhausted(&alice, &both, 0),
            Some(Exhausted::Spent { budget, .. }) if budget.per == Per::Minute
        ));
        assert_eq!(ledger.exhausted(&alice, &both, 65_000), None);
        // Of what is all or nothing, nothing was taken.
        assert!(
            ledger
                .take_all(&alice, &both, Spent::RowsReturned, 11, 65_000)
                .is_err()
        );
        assert_eq!(
            ledger
                .take(&alice, &both, Spent::RowsReturned, 10, 65_000)
                .0,
            10
        );
    }

    #[test]
    fn another_version_of_a_policy_finds_what_was_spent() {
        let mut ledger = Ledger::default();
        let alice = who("alice");
        ledger.charge(
            &alice,
            &[budget(Spent::Statements, Per::Day, 5)],
            Spent::Statements,
            5,
            0,
        );
        let more = [budget(Spent::Statements, Per::Day, 6)];
        assert_eq!(ledger.take(&alice, &more, Spent::Statements, 9, 1).0, 1);
    }

    #[test]
    fn a_full_ledger_refuses_the_newcomer_and_forgets_the_idle() {
        let mut ledger = Ledger::of(2);
        let one = [budget(Spent::Statements, Per::Minute, 9)];
        for name in ["a", "b"] {
            assert!(
                ledger
                    .take_all(&who(name), &one, Spent::Statements, 1, 0)
                    .is_ok()
            );
        }
        assert_eq!(
            ledger.take_all(&who("c"), &one, Spent::Statements, 1, 0),
            Err(Exhausted::Crowded)
        );
        assert_eq!(ledger.take(&who("c"), &one, Spent::Statements, 1, 0).0, 0);
        assert!(
            ledger
                .take_all(&who("a"), &one, Spent::Statements, 1, 1)
                .is_ok()
        );
        assert!(
            ledger
                .take_all(&who("c"), &one, Spent::Statements, 1, 70_000)
                .is_ok()
        );
    }

    #[test]
    fn a_budget_of_nothing_never_has_room() {
        let mut ledger = Ledger::default();
        let none = [budget(Spent::RowsAffected, Per::Hour, 0)];
        assert!(ledger.exhausted(&who("a"), &none, 0).is_some());
        assert!(
            ledger
                .take_all(&who("a"), &none, Spent::RowsAffected, 1, 0)
                .is_err()
        );
        assert!(
            ledger
                .take_all(&who("a"), &none, Spent::RowsAffected, 0, 0)
                .is_ok()
        );
    }

    proptest! {
        #[test]
        fn in_no_span_more_is_spent_than_the_budget_says(
            steps in prop::collection::vec((0_u64..20_000, 1_u64..8), 1..200),
        ) {
            let mut ledger = Ledger::default();
            let ten = [budget(Spent::Statements, Per::Minute, 10)];
            let alice = who("alice");
            let (mut now, mut taken) = (0, Vec::new());
            for (pause, amount) in steps {
                now += pause;
                let (granted, stopped) = ledger.take(&alice, &ten, Spent::Statements, amount, now);
                prop_assert_eq!(granted == amount, stopped.is_none());
                if let Some(Exhausted::Spent { wait, .. }) = stopped {
                    // What is promised holds: there is room then, if nobody else takes it.
                    let mut later = Ledger { accounts: ledger.accounts.clone(), most: 9 };
                    prop_assert!(later.take(&alice, &ten, Spent::Statements, 1, now + wait).0 == 1);
                }
                taken.push((now, granted));
            }
            for (at, _) in &taken {
                let within = taken.iter().filter(|(t, _)| t >= at && *t < at + 60_000);
                prop_assert!(within.map(|(_, amount)| amount).sum::<u64>() <= 10);
            }
        }
    }
}
