//! Pure. The words between an agent that governs and the next one, which takes over from it. They
//! are of two versions of this program: each says which words it knows, and neither goes on with
//! one that it does not understand.

use serde::{Deserialize, Serialize};

use crate::model::CgroupId;

/// Changes whenever a word's meaning does.
pub(super) const VERSION: u32 = 1;

/// The longest message, bytes: some tens of thousands of workloads' names.
pub(super) const BOUND: usize = 1 << 20;

/// What the next agent says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum ToBefore {
    /// It is ready for all that there is. Said once, first.
    TakeOver { version: u32 },
}

/// What the agent before it says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum ToNext {
    /// It gives nothing, and goes on as it did.
    No { why: String },
    /// It gives what follows. It runs in this cgroup, and these are the workloads that its labels
    /// are numbered after.
    Yes {
        version: u32,
        cgroup: CgroupId,
        workloads: Vec<String>,
    },
    /// One before it still serves in this cgroup, and has ended when the socket beside this has.
    Before { cgroup: CgroupId },
    /// A listening socket of some network namespace, beside this.
    Listening,
    /// The listening sockets for the command line and for the pages, beside this.
    Operators,
    /// That was all. Beside this the right to the pins, unless it was let go: from now on the next
    /// agent governs, and the one before changes nothing any more.
    All,
}

/// Do labels of the agent before mean the same to this one? Else a connection that waits would be
/// taken for another workload's. Those that only one of them knows are nobody's.
pub(super) fn same_numbers(before: &[String], now: &[String]) -> bool {
    before.iter().zip(now).all(|(before, now)| before == now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_mean_the_same_as_long_as_no_number_is_another_workload_s() {
        let names = |words: &str| -> Vec<String> { words.split(' ').map(str::to_owned).collect() };
        for (before, now, same) in [
            ("a b", "a b", true),
            ("a b", "a b c", true),
            ("a b c", "a b", true),
            ("a b", "b a", false),
            ("a b", "b", false),
            ("a b", "new a b", false),
        ] {
            assert_eq!(
                same_numbers(&names(before), &names(now)),
                same,
                "{before}, {now}"
            );
        }
    }

    /// Whatever comes is understood to the last byte, or not at all.
    fn read<T: serde::de::DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(
        bytes: &[u8],
    ) {
        if let Ok(message) = serde_json::from_slice::<T>(bytes) {
            let again = serde_json::to_vec(&message).unwrap();
            assert_eq!(serde_json::from_slice::<T>(&again).unwrap(), message);
        }
    }

    #[test]
    fn fuzz_the_words_of_a_succession() {
        bolero::check!().for_each(|bytes: &[u8]| {
            read::<ToBefore>(bytes);
            read::<ToNext>(bytes);
        });
    }

    #[test]
    fn a_word_with_more_in_it_than_is_known_is_none() {
        for text in [
            r#"{"take_over":{"version":1,"force":true}}"#,
            r#"{"take_over":{}}"#,
            r#"{"take_over":{"version":-1}}"#,
            r#"{"yes":{"version":1,"cgroup":1,"workloads":[],"more":1}}"#,
            r#""yes""#,
            r#""everything""#,
            "",
        ] {
            assert!(serde_json::from_str::<ToBefore>(text).is_err(), "{text}");
            assert!(serde_json::from_str::<ToNext>(text).is_err(), "{text}");
        }
    }
}
