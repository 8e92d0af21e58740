//! Addresses that a worker named as the targets': held, whoever would have them forgotten.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::intercept::Prefix;

/// How long an address stays protected after it is no longer named: a workload may still hold it.
const HELD: Duration = Duration::from_secs(24 * 3600);
/// Addresses held at once; the kernel's table has room for three times as many, in all forms.
const ROOM: usize = 4_096;

/// What is held, by address: since when it is no longer named; `None`: it still is.
#[derive(Debug, Default)]
pub(super) struct Named(HashMap<IpAddr, Option<Instant>>);

/// What was named and is not held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NotHeld {
    /// Above what there is room for.
    beyond: usize,
    /// Not one address but many: names never stand for that.
    wide: usize,
}

impl fmt::Display for NotHeld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NotHeld { beyond, wide } = self;
        if *beyond > 0 {
            write!(
                f,
                "{beyond} addresses of host names are not protected, but on guarded ports: {ROOM} are \
                 held for a day after they were last named; give the targets whose names change so \
                 much their `addresses`"
            )?;
        }
        if *wide > 0 {
            let and = if *beyond > 0 { "; " } else { "" };
            write!(f, "{and}{wide} prefixes are not what a name stands for")?;
        }
        Ok(())
    }
}

impl Named {
    /// What an earlier keeper protected counts as named until now.
    pub(super) fn found(there: impl IntoIterator<Item = Prefix>, now: Instant) -> Self {
        let hosts = there.into_iter().filter(is_host);
        Named(hosts.map(|one| (one.address(), Some(now))).collect())
    }

    /// These are named now, and no others. What no longer is, is held for a day; what was held so
    /// long is forgotten.
    ///
    /// # Errors
    /// Some are not held. The others are.
    pub(super) fn name(&mut self, named: &[Prefix], now: Instant) -> Result<(), NotHeld> {
        self.0
            .retain(|_, left| left.is_none_or(|left| now.saturating_duration_since(left) < HELD));
        let hosts: HashSet<IpAddr> = named
            .iter()
            .filter(|one| is_host(one))
            .map(Prefix::address)
            .collect();
        for (address, left) in &mut self.0 {
            if !hosts.contains(address) {
                left.get_or_insert(now);
            }
        }
        let mut not = NotHeld {
            beyond: 0,
            wide: named.iter().filter(|one| !is_host(one)).count(),
        };
        for address in hosts {
            let full = self.0.len() >= ROOM;
            match self.0.get_mut(&address) {
                Some(left) => *left = None,
                None if full => not.beyond = not.beyond.saturating_add(1),
                None => {
                    self.0.insert(address, None);
                }
            }
        }
        if not == NotHeld::default() {
            Ok(())
        } else {
            Err(not)
        }
    }

    /// All that is held.
    pub(super) fn all(&self) -> impl Iterator<Item = Prefix> {
        self.0.keys().map(|address| Prefix::host(*address))
    }
}

fn is_host(prefix: &Prefix) -> bool {
    *prefix == Prefix::host(prefix.address())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(named: &Named) -> Vec<String> {
        let mut all: Vec<_> = named.all().map(|one| one.address().to_string()).collect();
        all.sort();
        all
    }

    fn prefixes(texts: &[&str]) -> Vec<Prefix> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_no_longer_named_is_held_for_a_day_whoever_names() {
        let start = Instant::now();
        let hours = |hours: u64| start + Duration::from_secs(hours * 3600);
        let mut named = Named::found(prefixes(&["10.0.0.1/32", "10.0.0.0/8"]), start);
        assert_eq!(held(&named), ["10.0.0.1"], "what is wider was declared");
        named
            .name(&prefixes(&["10.0.0.2/32", "fd00::1/128"]), hours(1))
            .unwrap();
        assert_eq!(held(&named), ["10.0.0.1", "10.0.0.2", "fd00::1"]);
        // Another worker, or the same after it was taken over, would have them forgotten.
        named.name(&[], hours(2)).unwrap();
        named.name(&[], hours(23)).unwrap();
        assert_eq!(held(&named), ["10.0.0.1", "10.0.0.2", "fd00::1"]);
        named.name(&prefixes(&["fd00::1/128"]), hours(25)).unwrap();
        assert_eq!(
            held(&named),
            ["10.0.0.2", "fd00::1"],
            "a day is over for the first"
        );
        named.name(&[], hours(26)).unwrap();
        named.name(&[], hours(49)).unwrap();
        assert_eq!(
            held(&named),
            ["fd00::1"],
            "named again, its day began again"
        );
    }

    #[test]
    fn more_than_there_is_room_for_is_refused_in_words_and_drives_nothing_out() {
        let start = Instant::now();
        let address = |n: usize| {
            Prefix::host(IpAddr::from(
                (0x0a00_0000_u32 + u32::try_from(n).unwrap()).to_be_bytes(),
            ))
        };
        let mut named = Named::default();
        let first: Vec<_> = (0..ROOM).map(address).collect();
        named.name(&first, start).unwrap();
        let others: Vec<_> = (ROOM..ROOM + 3).map(address).collect();
        let refused = named.name(&others, start).unwrap_err();
        assert!(refused.to_string().starts_with("3 addresses"), "{refused}");
        assert_eq!(named.all().count(), ROOM);
        assert!(first.iter().all(|one| named.all().any(|held| held == *one)));

        let refused = named.name(&prefixes(&["0.0.0.0/0"]), start).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "1 prefixes are not what a name stands for"
        );
    }
}
