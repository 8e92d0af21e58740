//! What the rows of each relation can come from, and whose masks hold for it.

use std::collections::{HashMap, HashSet};

/// The most steps along edges that one closure may take: about a second of work. A database of
/// honest make needs a small part of it.
const STEPS: usize = 8 << 20;

/// The closure would have more steps than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// How relations hang together, as the database says.
///
/// The two directions are kept apart: rows come *down* from sources and children, a mask holds *up*
/// from parents. Followed as one, each of n partitions would reach all its siblings.
#[derive(Debug, Default)]
pub(super) struct Edges {
    /// What a relation's rows come from: of a view what it reads, of a parent its children.
    below: HashMap<u32, Vec<u32>>,
    /// The parents of partitions and inheriting tables.
    parents: HashMap<u32, Vec<u32>>,
    /// Views whose rows code makes.
    coded: HashSet<u32>,
}

impl Edges {
    /// A view (or a rule) reads a relation.
    fn reads(&mut self, view: u32, source: u32) {
        self.below.entry(view).or_default().push(source);
    }

    /// A table is a partition of, or inherits from, another.
    fn inherits(&mut self, child: u32, parent: u32) {
        self.below.entry(parent).or_default().push(child);
        self.parents.entry(child).or_default().push(parent);
    }

    /// A view calls code whose reading nothing shows.
    fn calls(&mut self, view: u32) {
        self.coded.insert(view);
    }

    /// One row of `probe::SOURCES`. What cannot be placed counts as what shows least.
    pub(super) fn row(&mut self, cells: &[Option<&str>]) {
        let number = |at: usize| cells.get(at).copied().flatten()?.parse().ok();
        let (Some(from), Some(to)) = (number(0), number(1)) else {
            return;
        };
        match cells.get(2).copied().flatten() {
            Some("reads") => self.reads(from, to),
            Some("inherits") => self.inherits(from, to),
            Some(_) | None => self.calls(from),
        }
    }

    /// Follows all edges. Iterative, and cycles are harmless.
    ///
    /// # Errors
    /// It would take more than `STEPS`.
    pub(super) fn close(&self) -> Result<Reach, TooMany> {
        self.close_within(STEPS)
    }

    fn close_within(&self, steps: usize) -> Result<Reach, TooMany> {
        let mut left = Steps(steps);
        let mut reach = Reach::default();
        let starts: HashSet<&u32> = self
            .below
            .keys()
            .chain(self.parents.keys())
            .chain(&self.coded)
            .collect();
        for &start in starts {
            let mut down = HashSet::from([start]);
            follow(&self.below, vec![start], &mut down, &mut left)?;
            if down.iter().any(|one| self.coded.contains(one)) {
                reach.opaque.insert(start);
            }
            let mut all = down.clone();
            follow(
                &self.parents,
                down.into_iter().collect(),
                &mut all,
                &mut left,
            )?;
            all.remove(&start);
            let mut all: Box<[u32]> = all.into_iter().collect();
            all.sort_unstable();
            reach.of.insert(start, all);
        }
        Ok(reach)
    }
}

/// Steps that are left.
struct Steps(usize);

fn follow(
    edges: &HashMap<u32, Vec<u32>>,
    mut left: Vec<u32>,
    seen: &mut HashSet<u32>,
    steps: &mut Steps,
) -> Result<(), TooMany> {
    while let Some(node) = left.pop() {
        for next in edges.get(&node).into_iter().flatten() {
            steps.0 = steps.0.checked_sub(1).ok_or(TooMany)?;
            if seen.insert(*next) {
                left.push(*next);
            }
        }
    }
    Ok(())
}

/// The closure of `Edges`.
#[derive(Debug, Default)]
pub(super) struct Reach {
    of: HashMap<u32, Box<[u32]>>,
    opaque: HashSet<u32>,
}

impl Reach {
    /// Everything that a relation's rows can come from or whose masks hold for it, itself left
    /// out.
    pub(super) fn from(&self, relation: u32) -> impl Iterator<Item = u32> {
        self.of.get(&relation).into_iter().flatten().copied()
    }

    /// Whether code makes its rows, or those of a view that it reads.
    pub(super) fn is_opaque(&self, relation: u32) -> bool {
        self.opaque.contains(&relation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(reach: &Reach, relation: u32) -> Vec<u32> {
        reach.from(relation).collect()
    }

    #[test]
    fn a_view_over_a_view_reaches_the_table_and_a_cycle_ends() {
        let mut edges = Edges::default();
        for (view, source) in [(1, 2), (2, 3), (4, 5), (5, 4)] {
            edges.reads(view, source);
        }
        let reach = edges.close().unwrap();
        assert_eq!(reached(&reach, 1), [2, 3]);
        assert_eq!(reached(&reach, 4), [5]);
    }

    #[test]
    fn a_partition_reaches_its_parents_and_never_its_siblings() {
        let mut edges = Edges::default();
        // 1 is parted into 2 and 3, 3 into 31 and 32; 9 is a view over 31; 8 one over 3.
        for (child, parent) in [(2, 1), (3, 1), (31, 3), (32, 3)] {
            edges.inherits(child, parent);
        }
        edges.reads(9, 31);
        edges.reads(8, 3);
        let reach = edges.close().unwrap();
        for (relation, wanted) in [
            (1, vec![2, 3, 31, 32]),
            (2, vec![1]),
            (3, vec![1, 31, 32]),
            (31, vec![1, 3]),
            (9, vec![1, 3, 31]),
            (8, vec![1, 3, 31, 32]),
        ] {
            assert_eq!(reached(&reach, relation), wanted, "{relation}");
        }
    }

    #[test]
    fn ten_thousand_partitions_take_steps_in_proportion() {
        let mut edges = Edges::default();
        for child in 0..10_000 {
            edges.inherits(child, 1_000_000);
        }
        let reach = edges.close_within(50_000).unwrap();
        assert_eq!(reached(&reach, 77), [1_000_000]);
        assert_eq!(reach.from(1_000_000).count(), 10_000);
    }

    #[test]
    fn what_would_take_too_many_steps_is_an_error() {
        let mut edges = Edges::default();
        for view in 0..100 {
            for source in 0..view {
                edges.reads(view, source);
            }
        }
        assert!(edges.close_within(1_000).is_err());
        assert!(edges.close().is_ok());
    }

    #[test]
    fn whatever_reads_a_view_made_by_code_is_as_opaque_as_that_view() {
        let mut edges = Edges::default();
        edges.calls(1);
        edges.reads(2, 1);
        edges.reads(3, 2);
        edges.reads(4, 5);
        edges.reads(1, 5);
        let reach = edges.close().unwrap();
        for (relation, opaque) in [(1, true), (2, true), (3, true), (4, false), (5, false)] {
            assert_eq!(reach.is_opaque(relation), opaque, "{relation}");
        }
    }
}
