//! IO. Who is signed in, and who is about to be: bounded, and over when its time is.

use std::collections::HashMap;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::model::UnixMillis;

/// What a browser shows; the table keeps only its digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    pub(super) fn of(shown: &str) -> Key {
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, shown.as_bytes()).as_ref());
        Key(key)
    }
}

/// 256 random bits, base64url. `None`: the system gives no randomness.
pub(super) fn random() -> Option<String> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// Things that are good for a time. Where there are too many, the oldest goes.
#[derive(Debug)]
pub(super) struct Table<T> {
    most: usize,
    kept: HashMap<Key, (UnixMillis, u64, T)>,
    turn: u64,
}

impl<T> Table<T> {
    pub(super) fn new(most: usize) -> Table<T> {
        Table {
            most,
            kept: HashMap::new(),
            turn: 0,
        }
    }

    /// Keeps something until then.
    pub(super) fn put(&mut self, key: Key, it: T, until: UnixMillis, now: UnixMillis) {
        if self.kept.len() >= self.most {
            self.kept.retain(|_, (until, ..)| *until > now);
        }
        if self.kept.len() >= self.most {
            let oldest = self.kept.iter().min_by_key(|(_, (_, turn, _))| *turn);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.kept.remove(&oldest);
            }
        }
        self.turn += 1;
        self.kept.insert(key, (until, self.turn, it));
    }

    /// Looks at it, while its time is.
    pub(super) fn get(&self, key: &Key, now: UnixMillis) -> Option<&T> {
        let (until, _, it) = self.kept.get(key)?;
        (*until > now).then_some(it)
    }

    /// Takes it out: nobody finds it again.
    pub(super) fn take(&mut self, key: &Key, now: UnixMillis) -> Option<T> {
        let (until, _, it) = self.kept.remove(key)?;
        (until > now).then_some(it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_what_is_over_is_gone() {
        let at = UnixMillis;
        let mut table = Table::new(2);
        for (name, until) in [("a", 10), ("b", 100), ("c", 100)] {
            table.put(Key::of(name), name, at(until), at(20));
        }
        // `a` was over, so that nothing else had to go.
        assert_eq!(table.get(&Key::of("a"), at(5)), None);
        assert_eq!(table.get(&Key::of("b"), at(20)), Some(&"b"));
        table.put(Key::of("d"), "d", at(100), at(20));
        assert_eq!(table.get(&Key::of("b"), at(20)), None);
        assert_eq!(table.get(&Key::of("c"), at(99)), Some(&"c"));
        assert_eq!(table.get(&Key::of("c"), at(100)), None);
        assert_eq!(table.take(&Key::of("d"), at(20)), Some("d"));
        assert_eq!(table.take(&Key::of("d"), at(20)), None);
    }
}
