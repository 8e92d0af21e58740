//! Two outputs, statement by statement. `psql -a` echoes every line that it reads: between the
//! echoes stands what each line brought.

use std::collections::BTreeMap;

/// What one line of a file brought, differently in two runs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// The number of the line in its file, from 0.
    pub(super) line: usize,
    /// The line itself: the last of its statement.
    pub(super) statement: String,
    /// What it brought in the first run.
    pub(super) first: String,
    /// What it brought in the second.
    pub(super) second: String,
}

/// The lines of `text` that brought different things. Equal outputs have none, and outputs that
/// differ have at least one: the parts make up the whole.
pub(super) fn differences(text: &[u8], first: &[u8], second: &[u8]) -> Vec<Difference> {
    if first == second {
        return Vec::new();
    }
    let (firsts, seconds) = (parts(text, first), parts(text, second));
    let mut lines: Vec<usize> = firsts.keys().chain(seconds.keys()).copied().collect();
    lines.sort_unstable();
    lines.dedup();
    let source = lines_of(text);
    let none: &[&[u8]] = &[];
    lines
        .into_iter()
        .filter_map(|line| {
            let of = |parts: &BTreeMap<usize, Vec<&[u8]>>| {
                parts.get(&line).map_or(none, Vec::as_slice).concat()
            };
            let (first, second) = (of(&firsts), of(&seconds));
            (first != second).then(|| Difference {
                line,
                statement: shown(source.get(line).copied().unwrap_or_default()),
                first: shown(&first),
                second: shown(&second),
            })
        })
        .collect()
}

/// The output, cut before each echo: by the number of the echoed line. What stands before the first
/// echo goes with the first line.
fn parts<'a>(text: &[u8], output: &'a [u8]) -> BTreeMap<usize, Vec<&'a [u8]>> {
    let output = lines_of(output);
    let mut parts: BTreeMap<usize, Vec<&[u8]>> = BTreeMap::new();
    let (mut begun, mut current, mut behind) = (0, 0, 0);
    for (number, line) in lines_of(text).into_iter().enumerate() {
        if line.trim_ascii().is_empty() {
            // An empty line of a table looks the same.
            continue;
        }
        // The echo of a line may be missing, behind \quit for one.
        let Some(echo) = output[behind..].iter().position(|said| *said == line) else {
            continue;
        };
        let echo = behind + echo;
        let part = parts.entry(current).or_default();
        part.extend(&output[begun..echo]);
        (begun, current, behind) = (echo, number, echo + 1);
    }
    parts.entry(current).or_default().extend(&output[begun..]);
    parts
}

/// The lines, each with its end.
fn lines_of(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

/// For people: the suite holds bytes of many encodings.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"select 1;\n\nselect\n 2;\nselect 1;\n";
    const SAID: &[u8] = b"select 1;\n a\n\n\nselect\n 2;\n b\nselect 1;\n a\n";

    #[test]
    fn equal_outputs_do_not_differ() {
        assert_eq!(differences(TEXT, SAID, SAID), []);
    }

    #[test]
    fn a_difference_is_told_by_the_statement_that_brought_it() {
        let other = b"select 1;\n a\n\n\nselect\n 2;\nERROR\nselect 1;\n c\n";
        let found = differences(TEXT, SAID, other);
        let told: Vec<_> = found
            .iter()
            .map(|d| (d.line, d.statement.as_str()))
            .collect();
        assert_eq!(told, [(3, " 2;"), (4, "select 1;")]);
        assert!(found[0].second.ends_with("ERROR"));
    }

    #[test]
    fn no_difference_is_lost() {
        for other in [
            &b""[..],
            b"select 1;\n",
            b"psql: error\n",
            b"select 1;\n a\n\n\nselect\n 2;\n b\nselect 1;\n a\nmore\n",
            b"before\nselect 1;\n a\n\n\nselect\n 2;\n b\nselect 1;\n a\n",
            b"select 1;\n a\n\nselect\n 2;\n b\nselect 1;\n a\n",
            b"select 1;\n a\n\n\nselect\n 2;\n b\nselect 1;\n a",
        ] {
            assert!(!differences(TEXT, SAID, other).is_empty(), "{other:?}");
        }
    }
}
