//! Pure. E-mail addresses: what stands around an `@`.

use super::scan::Text;

/// Longest local part and domain (RFC 5321, 4.5.3.1).
const LOCAL: usize = 64;
const DOMAIN: usize = 253;

/// The address around the `@` at a place: where it begins and ends.
pub(super) fn around(text: Text<'_>, at: usize) -> Option<(usize, usize)> {
    let length = domain(text, at + 1)?;
    let start = local(text, at)?;
    Some((start, at + 1 + length))
}

fn local(text: Text<'_>, at: usize) -> Option<usize> {
    let count = text.before(at).take(LOCAL).take_while(|b| is_local(*b));
    let mut start = at - count.count();
    // Behind a backslash the first letter belongs to an escape.
    let escaped = text.before(start).next() == Some(b'\\');
    if escaped && matches!(text.at(start), Some(b'n' | b't' | b'r' | b'b' | b'f')) {
        start += 1;
    }
    // What only leads the word on is none of it, nor is half a character.
    let lead = |byte: u8| matches!(byte, b'.' | b'-' | b'\'' | b'%' | 0x80..=0xbf);
    start += text.run(start, lead);
    let name = text.bytes.get(start..at).unwrap_or_default();
    // `git@host:path` names a place, not a person.
    (!name.is_empty() && name != b"git").then_some(start)
}

fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-' | b'\'')
        || !byte.is_ascii()
}

/// How long the domain is that begins here.
fn domain(text: Text<'_>, at: usize) -> Option<usize> {
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || !byte.is_ascii();
    let whole = text.behind(at);
    let mut end = 0;
    let mut good = None;
    for (dots, label) in whole
        .get(..whole.len().min(DOMAIN))
        .unwrap_or(whole)
        .split(|b| *b == b'.')
        .enumerate()
    {
        let length = label.iter().take_while(|byte| is_label(**byte)).count();
        let own = label.get(..length).unwrap_or_default();
        if own.is_empty() || own.starts_with(b"-") {
            break;
        }
        if dots > 0
            && let Some(top) = top(own)
        {
            good = Some(end + top);
        }
        if length < label.len() {
            break;
        }
        end += length + 1;
    }
    let mut good = good?;
    // A character is not cut.
    good += text.run(at + good, |byte| matches!(byte, 0x80..=0xbf));
    Some(good)
}

/// How much of a label can be a top-level domain: at least two letters, and what is glued to them.
fn top(label: &[u8]) -> Option<usize> {
    let letters = label.iter().take_while(|b| b.is_ascii_alphabetic());
    let letters = letters.count();
    if letters >= 2 {
        let next = label.get(letters).copied();
        // Text of another script goes on where the address ends.
        let over = next.is_some_and(|byte| !byte.is_ascii());
        return Some(if over { letters } else { label.len() });
    }
    let foreign = |byte: &u8| !byte.is_ascii() || byte.is_ascii_alphabetic();
    (letters == 0 && label.iter().all(foreign)).then_some(label.len())
}
