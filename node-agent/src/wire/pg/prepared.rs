//! Pure. What the client's names stand for.
//!
//! The table must agree with the database's own at the moment the database reads a message, not at
//! the moment we do: with pipelining the two are far apart. So each name keeps the value that the
//! database has confirmed and the changes that are still unanswered, in order. A change is
//! confirmed when its answer comes, and withdrawn when it failed or was skipped.
//!
//! A message that uses a name is certain of its meaning in two cases. Either the name was changed
//! earlier in the same segment (up to the next Sync): had that change failed, the database would
//! skip this message too. Or nothing about the name is unanswered. In every other case the message
//! waits: a Parse of a name that is taken fails, and after the next Sync the name has its *old*
//! meaning, which nobody can know before the answer.

use std::collections::{HashMap, VecDeque};

/// A name. The unnamed one is empty and takes no memory.
pub(super) type Name = Box<[u8]>;

/// PostgreSQL compares at most this many bytes of a name (NAMEDATALEN less one): two longer names
/// with one beginning are the same name to the database, and must not be two to us.
pub(super) const LONGEST_NAME: usize = 63;

/// One name's history.
struct Line<T> {
    confirmed: Option<T>,
    /// Unanswered changes: the segment they belong to, and the new value.
    changes: VecDeque<(u64, Option<T>)>,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Line {
            confirmed: None,
            changes: VecDeque::new(),
        }
    }
}

impl<T> Line<T> {
    fn spent(&self) -> bool {
        self.confirmed.is_none() && self.changes.is_empty()
    }
}

/// What a name stands for, as a message in a given segment sees it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a, T> {
    /// This. `fresh`: by a change in the same segment.
    Known { value: &'a mut T, fresh: bool },
    /// Nothing.
    Unknown { fresh: bool },
    /// Nobody knows before more answers are in.
    Later,
}

/// All names of one kind.
pub(super) struct Names<T> {
    unnamed: Line<T>,
    named: HashMap<Name, Line<T>>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Names {
            unnamed: Line::default(),
            named: HashMap::new(),
        }
    }
}

impl<T> Names<T> {
    fn line_mut(&mut self, name: &[u8]) -> Option<&mut Line<T>> {
        match name {
            [] => Some(&mut self.unnamed),
            name => self.named.get_mut(name),
        }
    }

    /// How many names are in use.
    pub(super) fn len(&self) -> usize {
        self.named.len()
    }

    /// What `name` stands for to a message in `segment`.
    pub(super) fn find(&mut self, name: &[u8], segment: u64) -> Found<'_, T> {
        let Some(line) = self.line_mut(name) else {
            return Found::Unknown { fresh: false };
        };
        let fresh = !line.changes.is_empty();
        let value = match line.changes.back_mut() {
            Some((made, value)) if *made == segment => value,
            Some(_) => return Found::Later,
            None => &mut line.confirmed,
        };
        match value {
            Some(value) => Found::Known { value, fresh },
            None => Found::Unknown { fresh },
        }
    }

    /// As `find`, to look only; nothing when it is not certain.
    pub(super) fn certain(&self, name: &[u8], segment: u64) -> Option<&T> {
        let line = match name {
            [] => &self.unnamed,
            name => self.named.get(name)?,
        };
        match line.changes.back() {
            Some((made, value)) if *made == segment => value.as_ref(),
            Some(_) => None,
            None => line.confirmed.as_ref(),
        }
    }

    /// A message that changes `name` goes to the database.
    pub(super) fn change(&mut self, name: &[u8], segment: u64, value: Option<T>) {
        let line = match name {
            [] => &mut self.unnamed,
            name => self.named.entry(name.into()).or_default(),
        };
        line.changes.push_back((segment, value));
    }

    /// The oldest change of `name` was answered well. Gives the value it replaced.
    pub(super) fn confirm(&mut self, name: &[u8]) -> Option<T> {
        let line = self.line_mut(name)?;
        let old = match line.changes.pop_front() {
            Some((_, value)) => std::mem::replace(&mut line.confirmed, value),
            None => None,
        };
        self.tidy(name);
        old
    }

    /// The oldest change of `name` failed or was skipped. Gives the value that never came to be.
    pub(super) fn withdraw(&mut self, name: &[u8]) -> Option<T> {
        let line = self.line_mut(name)?;
        let never = line.changes.pop_front().and_then(|(_, value)| value);
        self.tidy(name);
        never
    }

    /// The value that the database has confirmed: what the message now being answered was about.
    pub(super) fn confirmed(&self, name: &[u8]) -> Option<&T> {
        match name {
            [] => self.unnamed.confirmed.as_ref(),
            name => self.named.get(name)?.confirmed.as_ref(),
        }
    }

    /// As `confirmed`, to write.
    pub(super) fn confirmed_mut(&mut self, name: &[u8]) -> Option<&mut T> {
        self.line_mut(name)?.confirmed.as_mut()
    }

    /// The database changed the name without a message of its own (SQL, or the end of a portal).
    /// Gives the value it replaced.
    pub(super) fn set(&mut self, name: &[u8], value: Option<T>) -> Option<T> {
        let line = match name {
            [] => &mut self.unnamed,
            name => self.named.entry(name.into()).or_default(),
        };
        let old = std::mem::replace(&mut line.confirmed, value);
        self.tidy(name);
        old
    }

    /// The database dropped, of all confirmed values, those that `keep` does not keep.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&[u8], &T) -> bool) {
        if self
            .unnamed
            .confirmed
            .as_ref()
            .is_some_and(|value| !keep(b"", value))
        {
            self.unnamed.confirmed = None;
        }
        self.named.retain(|name, line| {
            if line
                .confirmed
                .as_ref()
                .is_some_and(|value| !keep(name, value))
            {
                line.confirmed = None;
            }
            !line.spent()
        });
    }

    fn tidy(&mut self, name: &[u8]) {
        if !name.is_empty() && self.named.get(name).is_some_and(Line::spent) {
            self.named.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(names: &mut Names<u32>, segment: u64) -> Option<Option<u32>> {
        match names.find(b"a", segment) {
            Found::Known { value, .. } => Some(Some(*value)),
            Found::Unknown { .. } => Some(None),
            Found::Later => None,
        }
    }

    #[test]
    fn a_name_changed_in_the_same_segment_is_certain() {
        let mut names = Names::default();
        names.change(b"a", 1, Some(10));
        assert_eq!(seen(&mut names, 1), Some(Some(10)));
        names.change(b"a", 1, None);
        assert_eq!(seen(&mut names, 1), Some(None));
        names.change(b"a", 1, Some(11));
        assert_eq!(seen(&mut names, 1), Some(Some(11)));
    }

    #[test]
    fn behind_a_sync_an_unanswered_change_is_not_trusted() {
        let mut names = Names::default();
        names.set(b"a", Some(1));
        names.change(b"a", 1, Some(2));
        assert_eq!(seen(&mut names, 2), None);
        assert_eq!(names.certain(b"a", 2), None);
        // The Parse failed, since the name was taken: the old meaning stands.
        assert_eq!(names.withdraw(b"a"), Some(2));
        assert_eq!(seen(&mut names, 2), Some(Some(1)));
    }

    #[test]
    fn changes_are_confirmed_in_their_order() {
        let mut names = Names::default();
        names.change(b"a", 1, Some(1));
        names.change(b"a", 1, None);
        names.change(b"a", 2, Some(3));
        assert_eq!(names.confirm(b"a"), None);
        assert_eq!(names.confirmed(b"a"), Some(&1));
        assert_eq!(names.confirm(b"a"), Some(1));
        assert_eq!(seen(&mut names, 3), None);
        assert_eq!(names.confirm(b"a"), None);
        assert_eq!(seen(&mut names, 3), Some(Some(3)));
    }

    #[test]
    fn names_that_stand_for_nothing_take_no_room() {
        let mut names = Names::default();
        for name in 0..100_u32 {
            names.change(&name.to_be_bytes(), 1, Some(name));
        }
        assert_eq!(names.len(), 100);
        for name in 0..50_u32 {
            names.withdraw(&name.to_be_bytes());
        }
        for name in 50..100_u32 {
            names.confirm(&name.to_be_bytes());
        }
        assert_eq!(names.len(), 50);
        names.retain(|_, value| *value >= 90);
        assert_eq!(names.len(), 10);
    }

    #[test]
    fn the_unnamed_one_is_not_counted() {
        let mut names = Names::default();
        names.change(b"", 1, Some(1));
        assert_eq!(names.len(), 0);
        names.confirm(b"");
        assert_eq!(names.confirmed(b""), Some(&1));
        names.retain(|_, _| false);
        assert_eq!(names.confirmed(b""), None);
    }
}
