//! Which target an original destination stands for.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{Config, Target};
use crate::model::{OriginalDst, TargetName};

/// The addresses that the targets' host names stand for. Filled by `feed::hosts`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostTable {
    by_addr: HashMap<IpAddr, Vec<TargetName>>,
}

impl HostTable {
    /// Adds an address of a target. IPv4-mapped addresses become IPv4.
    pub fn insert(&mut self, addr: IpAddr, target: TargetName) {
        let names = self.by_addr.entry(addr.to_canonical()).or_default();
        if !names.contains(&target) {
            names.push(target);
        }
    }

    /// The targets that claim an address.
    pub fn targets(&self, addr: IpAddr) -> &[TargetName] {
        self.by_addr
            .get(&addr.to_canonical())
            .map_or(&[], Vec::as_slice)
    }

    /// Every address and the targets that claim it, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, &[TargetName])> {
        self.by_addr
            .iter()
            .map(|(addr, names)| (*addr, names.as_slice()))
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        self.by_addr.len()
    }

    /// Nothing has been resolved.
    pub fn is_empty(&self) -> bool {
        self.by_addr.is_empty()
    }
}

impl Config {
    /// The target that a destination stands for.
    ///
    /// A resolved host name is more particular than any prefix; among prefixes the longest wins.
    /// `None` when nothing claims the destination, and also when two targets claim it through
    /// their host names: which credential and policy would apply is then anybody's guess, so the
    /// connection is refused.
    pub fn target_for(&self, destination: OriginalDst, resolved: &HostTable) -> Option<&Target> {
        let addr = destination.0.ip().to_canonical();
        let port = destination.0.port();
        let names = resolved.targets(addr);
        let mut named = self
            .targets
            .iter()
            .filter(|t| t.port == port && names.contains(&t.name));
        if let Some(first) = named.next() {
            return if named.next().is_none() {
                Some(first)
            } else {
                None
            };
        }
        // The check has refused two targets with the same prefix and port, so the longest is one.
        self.targets
            .iter()
            .filter(|t| t.port == port)
            .flat_map(|t| t.addresses.iter().map(move |p| (p, t)))
            .filter(|(p, _)| p.contains(addr))
            .max_by_key(|(p, _)| p.len)
            .map(|(_, t)| t)
    }
}
