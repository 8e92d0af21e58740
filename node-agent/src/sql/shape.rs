//! Pure. Texts that differ only in numbers: one analysis serves them all.
//!
//! A client of the simple protocol writes its values into the text, so that no text comes twice.
//! What an analysis finds does not hang on the value of a whole number that is compared with, or
//! added to, a column; so the digits of such numbers are made alike, and the text is known by what
//! is left. Everything keeps its place (each digit becomes a 0), and whatever is not plainly such
//! a number stays as it is: two texts that are too different only cost a second parse.

use super::{Analysis, Sureness};

/// Longer texts are not worth it.
const LONGEST: usize = 4 << 10;
/// Whole numbers of so many digits have one type (int4), whatever their value.
const DIGITS: usize = 9;

/// What came before, outside white space.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// An identifier or a word; it may be a column.
    Name,
    /// An operator behind a name.
    NameOperator,
    /// Anything else.
    Other,
}

/// The text with the digits of such numbers made 0. `None`: it has none, or something in it (a
/// comment, a dollar, a backslash, a string with a prefix) that this does not read.
pub fn shape(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    if bytes.len() > LONGEST {
        return None;
    }
    let mut shaped = bytes.to_vec();
    let mut changed = false;
    let mut before = Before::Nothing;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let end = match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {
                at += 1;
                continue;
            }
            b'\'' | b'"' => {
                let end = quoted(bytes, at)?;
                before = if byte == b'"' {
                    Before::Name
                } else {
                    Before::Other
                };
                end
            }
            b'0'..=b'9' => {
                let end = run(bytes, at, |byte| word(byte) || byte == b'.');
                let digits = bytes.get(at..end).unwrap_or_default();
                let plain = digits.len() <= DIGITS && digits.iter().all(u8::is_ascii_digit);
                if plain
                    && before == Before::NameOperator
                    && let Some(span) = shaped.get_mut(at..end)
                {
                    span.fill(b'0');
                    changed = true;
                }
                before = Before::Other;
                end
            }
            _ if word(byte) => {
                let end = run(bytes, at, |byte| word(byte) || byte == b'.');
                // E'…', U&'…', B'…', N'…': other rules hold inside.
                if matches!(bytes.get(end), Some(b'\'' | b'"' | b'&')) {
                    return None;
                }
                before = Before::Name;
                end
            }
            _ if operator(byte) => {
                let end = run(bytes, at, operator);
                let known = matches!(
                    bytes.get(at..end).unwrap_or_default(),
                    b"=" | b"<" | b">" | b"<=" | b">=" | b"<>" | b"+" | b"-"
                );
                before = if known && before == Before::Name {
                    Before::NameOperator
                } else {
                    Before::Other
                };
                // Comments are made of operators.
                let token = bytes.get(at..end).unwrap_or_default();
                if token.windows(2).any(|pair| pair == b"--" || pair == b"/*") {
                    return None;
                }
                end
            }
            b'(' | b')' | b',' | b';' | b'.' | b'[' | b']' | b':' => {
                before = Before::Other;
                at + 1
            }
            _ => return None,
        };
        at = end;
    }
    if changed {
        String::from_utf8(shaped).ok()
    } else {
        None
    }
}

/// Whether an analysis may stand for every text of its shape: it is whole, and does nothing to the
/// session that a value could matter to.
pub fn stands_for_its_shape(analysis: &Analysis) -> bool {
    analysis.sureness == Sureness::Complete
        && analysis.statements.iter().all(|facts| {
            // What a copy is asked for by has its values in it.
            facts.effects.is_empty() && !facts.secret && !facts.moves && facts.copy.is_none()
        })
}

/// Part of an identifier (every byte beyond ASCII is), a word or a number.
fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Part of an operator (PostgreSQL, 4.1.3).
fn operator(byte: u8) -> bool {
    matches!(
        byte,
        b'+' | b'-'
            | b'*'
            | b'/'
            | b'<'
            | b'>'
            | b'='
            | b'~'
            | b'!'
            | b'@'
            | b'#'
            | b'%'
            | b'^'
            | b'&'
            | b'|'
            | b'`'
            | b'?'
    )
}

/// Where the run of such bytes that begins at `at` ends.
fn run(bytes: &[u8], at: usize, of: impl Fn(u8) -> bool) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| of(**byte)).count()
}

/// Where a quoted thing ends. A doubled quote inside ends one and begins the next.
fn quoted(bytes: &[u8], at: usize) -> Option<usize> {
    let quote = *bytes.get(at)?;
    let rest = bytes.get(at + 1..)?;
    let inside = rest.iter().position(|byte| *byte == quote)?;
    if rest.get(..inside)?.contains(&b'\\') {
        return None;
    }
    Some(at + inside + 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::analyze;
    use super::*;
    use crate::model::Dialect;

    #[test]
    fn only_numbers_beside_columns_are_made_alike() {
        let table = [
            (
                "SELECT abalance FROM a WHERE aid = 12345;",
                Some("SELECT abalance FROM a WHERE aid = 00000;"),
            ),
            (
                "update a set b = b + 17 where c.d>=3 and \"E\" < 4",
                Some("update a set b = b + 00 where c.d>=0 and \"E\" < 0"),
            ),
            // The same place in the text, for what is told by place.
            ("select 1 where a=1", Some("select 1 where a=0")),
            // A value that is looked at, or may be.
            ("select 1 where 1=1", None),
            ("select a from t order by 1", None),
            ("select a from t limit 10", None),
            ("select f(1, 2)", None),
            ("select a from t where b in (1, 2)", None),
            // Other types, other tokens.
            ("select a from t where b = 1.5", None),
            ("select a from t where b = 1e5", None),
            ("select a from t where b = 12345678901", None),
            ("select a from t where b = 0x1F", None),
            ("select a1 from t2 where b3 is null", None),
            ("select a from t where b = '17'", None),
            // Not read.
            ("select a from t where b = 1 -- c = 2", None),
            ("select a from t where b = 1 /* c = 2 */", None),
            ("select $$ where b = 1 $$", None),
            ("select a from t where b = 1 and c = E'\\''", None),
            ("select a from t where b = 1 and c = $1", None),
            ("select a from t where b = 1 and c = 'x\\'", None),
            ("select a from t where b = 1 and c = 'x", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(shape(text).as_deref(), expected, "{text}");
        }
    }

    /// Statements in which `#` is a number that may be made alike.
    const TEXTS: &[&str] = &[
        "select a, b from s.t where c = # and d <> # or e.f < #",
        "select * from t where a = # group by 1 order by 2 limit 3",
        "select count(*) from t having max(a) > # and b = #",
        "with x as (delete from t where a = # returning *) select * from x where b = #",
        "insert into t (a, b) select c + #, 'lit' from u where d = #",
        "update t set a = #, b = b - # where c = 'it''s' and d = #",
        "delete from t where a = #",
        "select set_config('a', 'b', c = #)",
        "select (select x from y where z = #) from t where a = #::text::int",
        "select a from t where a = # union select b from u where c = # for update",
        "select \"a = 5\".b from \"a = 5\" where \"c 7\" = #",
        "set work_mem = #",
        "select a from t where a = #; drop table b; select c from d where e = #",
        "explain analyze delete from t where a = #",
        "declare c cursor for select a from t where b = #",
    ];

    proptest! {
        #[test]
        fn what_is_found_does_not_hang_on_the_numbers(
            text in proptest::sample::select(TEXTS), numbers in proptest::collection::vec(0_u32..999_999_999, 4),
        ) {
            let mut numbers = numbers.iter().cycle();
            let written: String = text
                .split('#')
                .map(str::to_owned)
                .reduce(|left, right| format!("{left}{}{right}", numbers.next().unwrap()))
                .unwrap();
            let shaped = shape(&written).unwrap();
            prop_assert_eq!(shaped.len(), written.len());
            let analysis = analyze(Dialect::Postgres, &written);
            if stands_for_its_shape(&analysis) {
                prop_assert_eq!(&analyze(Dialect::Postgres, &shaped), &analysis);
            }
            // Settings keep their values: such a text is never known by its shape.
            if text.starts_with("set") || text.contains("set_config") || text.starts_with("declare") {
                prop_assert!(!stands_for_its_shape(&analysis));
            }
        }
    }
}
