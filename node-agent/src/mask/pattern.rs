//! Pure. Column patterns against names.

use crate::policy::ColumnPattern;

/// Whether the pattern names this column. Names are in the server's folded spelling, so they are
/// compared exactly; `*` stands for any run of characters within a part.
pub(super) fn names(pattern: &ColumnPattern, schema: &str, table: &str, column: &str) -> bool {
    of_table(pattern, schema, table) && fits(&pattern.column, column)
}

/// Whether the pattern names some column of this table.
pub(super) fn of_table(pattern: &ColumnPattern, schema: &str, table: &str) -> bool {
    fits(&pattern.schema, schema) && fits(&pattern.table, table)
}

/// Whether one part of a pattern fits a name.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        let Some((_, behind)) = text.split_once(part) else {
            return false;
        };
        text = behind;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (pattern, text, good) in [
            ("ssn", "ssn", true),
            ("ssn", "SSN", false),
            ("ssn", "ssn2", false),
            ("ssn*", "ssn2", true),
            ("*ssn", "my_ssn", true),
            ("*ssn*", "ssn", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("ab*ba", "aba", false),
            ("*", "", true),
            ("**", "x", true),
            ("", "", true),
            ("", "x", false),
            ("é*", "éa", true),
        ] {
            assert_eq!(fits(pattern, text), good, "{pattern} {text}");
        }
    }
}
