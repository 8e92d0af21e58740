//! What a process and its children have used, from /proc.

use std::fs;

/// Clock ticks in a second; fixed for user space on every Linux.
const TICKS: f64 = 100.0;

/// CPU seconds of a process and its descendants so far.
pub(super) fn cpu_seconds(id: u32) -> f64 {
    family(id)
        .into_iter()
        .map(|id| stat(id).map_or(0.0, |stat| stat.ticks as f64 / TICKS))
        .sum()
}

/// KiB of memory of a process and its descendants: now, and at most so far.
pub(super) fn memory_kib(id: u32) -> (u64, u64) {
    let one = |id: u32| {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        (of("VmRSS:").unwrap_or(0), of("VmHWM:").unwrap_or(0))
    };
    family(id)
        .into_iter()
        .map(one)
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

struct Stat {
    parent: u32,
    ticks: u64,
}

fn stat(id: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// The name in the second field may hold spaces and brackets: everything counts from its end.
fn parse(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| words.get(at)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(1)?).ok()?,
        ticks: number(11)? + number(12)?,
    })
}

fn family(id: u32) -> Vec<u32> {
    let mut all = vec![id];
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .collect();
    let parents: Vec<(u32, u32)> = ids
        .into_iter()
        .filter_map(|id| Some((id, stat(id)?.parent)))
        .collect();
    let mut next = 0;
    while let Some(parent) = all.get(next).copied() {
        all.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(child, _)| *child),
        );
        next += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let line = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 100 1 1";
        let stat = parse(line).unwrap();
        assert_eq!((stat.parent, stat.ticks), (7, 200));
    }

    #[test]
    fn this_process_uses_memory() {
        let (now, most) = memory_kib(std::process::id());
        assert!(now > 0 && most >= now / 2, "{now} {most}");
    }
}
