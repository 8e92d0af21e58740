//! Pure. Makes visible what a terminal, a browser or an editor would obey instead of show.

use std::borrow::Cow;
use std::fmt::Write as _;

/// A control character, a mark that changes direction or order, or something that takes no room:
/// what makes a text look like another one.
fn hides(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// The text with all such characters as escapes (`\n`, `\x1b`, `\u{202e}`): one harmless line.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(hides) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for piece in pieces(text) {
        match piece {
            Piece::Plain(plain) => shown.push_str(plain),
            Piece::Escaped(escape) => shown.push_str(&escape),
        }
    }
    Cow::Owned(shown)
}

/// A part of a text that is made visible.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// As it stands.
    Plain(&'a str),
    /// What stands for characters that would be obeyed or not be seen: `\x1b`. Drawn otherwise than
    /// the rest, it is told from a text that has these very letters.
    Escaped(String),
}

/// The parts of a text, in order. None of them hides anything.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let hidden = hides(first);
        let end = rest.find(|c| hides(c) != hidden).unwrap_or(rest.len());
        let (part, after) = rest.split_at_checked(end)?;
        rest = after;
        Some(if hidden {
            Piece::Escaped(part.chars().map(escape).collect())
        } else {
            Piece::Plain(part)
        })
    })
}

fn escape(c: char) -> String {
    match c {
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        c if c.is_ascii() => format!("\\x{:02x}", u32::from(c)),
        c => format!("\\u{{{:x}}}", u32::from(c)),
    }
}

/// A JSON document with all such characters as `\uXXXX`. In valid JSON they stand within strings
/// only, or between tokens as white space, which is left alone.
pub fn visible_json(json: &str) -> Cow<'_, str> {
    let odd = |c: char| hides(c) && c != '\n';
    if !json.contains(odd) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if odd(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        let cases = [
            ("plain ünïcode 漢", "plain ünïcode 漢"),
            ("\x1b]52;c;aGk=\x07", "\\x1b]52;c;aGk=\\x07"),
            ("a\rb\nc\td\0", "a\\rb\\nc\\td\\x00"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("admin\u{202e}nimda", "admin\\u{202e}nimda"),
            (
                "x\u{200b}y\u{2066}z\u{feff}",
                "x\\u{200b}y\\u{2066}z\\u{feff}",
            ),
            ("\x7f", "\\x7f"),
        ];
        for (text, shown) in cases {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn nothing_that_hides_is_left_in_anything() {
        bolero::check!()
            .with_type::<String>()
            .for_each(|text: &String| {
                assert!(!visible(text).contains(hides));
                let json = serde_json::to_string(text).unwrap();
                let shown = visible_json(&json);
                assert!(!shown.contains(hides));
                assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), *text);
            });
    }
}
