//! What vagrant/inside.sh reports about a run.

/// How the tests ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Names of tests that failed.
    failed: Vec<String>,
    /// Why tests were skipped.
    pub(crate) skipped: Vec<String>,
    /// How many tests passed; `None` when the run did not come to its end.
    ended: Option<usize>,
}

impl Outcome {
    /// Reads the lines `failed TEST`, `skipped WHY` and, last, `end PASSED FAILED SKIPPED`.
    pub(super) fn read(report: &str) -> Self {
        let mut outcome = Self::default();
        for line in report.lines() {
            match line.trim().split_once(' ') {
                Some(("failed", test)) => outcome.failed.push(test.to_owned()),
                Some(("skipped", reason)) => outcome.skipped.push(reason.to_owned()),
                Some(("end", counts)) => {
                    let counts: Vec<usize> = counts
                        .split(' ')
                        .filter_map(|count| count.parse().ok())
                        .collect();
                    // A report that contradicts itself is not one of a run that ended.
                    if let [passed, failed, _] = *counts.as_slice()
                        && failed == outcome.failed.len()
                    {
                        outcome.ended = Some(passed);
                    }
                }
                _ => {}
            }
        }
        outcome
    }

    /// Whether the run came to its end, something ran, and nothing failed. A run in which no test
    /// ran shows nothing.
    pub(crate) fn passed(&self) -> bool {
        self.failed.is_empty() && self.ended.is_some_and(|passed| passed > 0)
    }

    /// In words.
    pub(crate) fn told(&self) -> String {
        match self.ended {
            None => "the machine ended before its tests did".to_owned(),
            Some(0) if self.failed.is_empty() => "no test ran".to_owned(),
            Some(passed) if self.failed.is_empty() => {
                format!("{passed} passed, {} skipped", self.skipped.len())
            }
            Some(passed) => format!("{passed} passed, FAILED {}", self.failed.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_that_came_to_its_end_with_tests_and_without_failures_passed() {
        let table = [
            ("end 2 0 0\r\n", true, "2 passed, 0 skipped"),
            (
                "skipped t: why\r\nend 2 0 1\r\n",
                true,
                "2 passed, 1 skipped",
            ),
            ("skipped t: why\r\nend 0 0 1\r\n", false, "no test ran"),
            ("", false, "the machine ended before its tests did"),
            (
                "end 2 1 0\r\n",
                false,
                "the machine ended before its tests did",
            ),
            ("failed t\r\nend 2 1 0\r\n", false, "2 passed, FAILED t"),
            ("end\r\n", false, "the machine ended before its tests did"),
        ];
        for (report, passed, told) in table {
            let outcome = Outcome::read(report);
            assert_eq!(outcome.passed(), passed, "{report}");
            assert_eq!(outcome.told(), told, "{report}");
        }
    }

    #[test]
    fn reasons_of_skips_are_kept() {
        let outcome = Outcome::read("skipped t: needs 6.7\r\nend 1 0 1\r\n");
        assert_eq!(outcome.skipped, ["t: needs 6.7"]);
    }
}
