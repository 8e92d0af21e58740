//! Pure. JSON (RFC 8259): string by string, so that it stays JSON.

use super::cell::{Desk, Edit, Seen, With};
use super::scan::{Span, Within, scan};
use super::{Detectors, Look, secret};
use crate::policy::Detector;

impl Desk<'_> {
    pub(super) fn json(&mut self, look: &Look, json: &[u8], base: usize) -> Seen {
        // Where nothing is escaped, one pass over the whole finds what passes over its strings find.
        self.spans.clear();
        scan(json, Within::Itself, look.on, &mut self.spans);
        if self.spans.all().is_empty() && !json.contains(&b'\\') {
            return Seen::Same;
        }
        let mut seen = Seen::Same;
        let mut more = |own: Seen| seen = seen.and(own);
        // How long a value must be to be a secret, by the key before it.
        let mut secret = None;
        let mut at = 0;
        while at < json.len() {
            let between = count(json, at, |byte| byte != b'"');
            more(self.numbers(look, json, at, at + between, base));
            let begin = at + between + 1;
            let end = closing(json, begin);
            let Some(string) = json.get(begin..end) else {
                break;
            };
            let blanks = count(json, end + 1, |byte| byte.is_ascii_whitespace());
            let is_key = json.get(end + 1 + blanks) == Some(&b':');
            let is_secret = !is_key
                && look.on.has(Detector::Secret)
                && secret.is_some_and(|least| string.len() >= least)
                && !secret::is_placeholder(string);
            if is_secret {
                let span = Span {
                    start: begin,
                    end,
                    by: Detectors::default().with(Detector::Secret),
                };
                more(self.cover(look, span, json, base));
            } else {
                more(self.string(look, json, begin, end, base));
            }
            secret = is_key.then(|| secret::is_secrets_name(string)).flatten();
            at = end + 1;
        }
        seen
    }

    /// What stands between strings: of numbers, those of cards can be whole.
    fn numbers(&mut self, look: &Look, json: &[u8], from: usize, to: usize, base: usize) -> Seen {
        let between = json.get(from..to).unwrap_or_default();
        if between.len() < 13 {
            return Seen::Same;
        }
        self.spans.clear();
        scan(between, Within::Itself, look.on, &mut self.spans);
        let spans = std::mem::take(&mut self.spans);
        let mut seen = Seen::Same;
        for span in spans.all() {
            let treat = self.count(look, span.by);
            if !treat.masks() {
                continue;
            }
            if treat == super::Treat::Cell {
                seen = Seen::Cell;
                break;
            }
            let is_number =
                |byte: &&u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
            let before = between.get(..span.start).unwrap_or_default().iter().rev();
            let start = base + from + span.start - before.take_while(is_number).count();
            let behind = between.get(span.end..).unwrap_or_default().iter();
            let end = base + from + span.end + behind.take_while(is_number).count();
            // Two finds in what is no number after all.
            if self.edits.last().is_some_and(|last| last.end > start) {
                seen = Seen::Cell;
                break;
            }
            // In what is no JSON after all something else can have been found.
            let number = json.get(start - base..end - base).unwrap_or_default();
            let card = Detectors::default().with(Detector::Card);
            let with = if span.by == card && number.iter().all(|byte| is_number(&byte)) {
                With::Null
            } else {
                With::Stars { kept: 0 }
            };
            self.edits.push(Edit { start, end, with });
            seen = Seen::Edited;
        }
        self.spans = spans;
        seen
    }

    fn string(&mut self, look: &Look, json: &[u8], begin: usize, end: usize, base: usize) -> Seen {
        let string = json.get(begin..end).unwrap_or_default();
        if string.len() < 6 {
            return Seen::Same;
        }
        if !string.contains(&b'\\') {
            return self.text(look, string, base + begin, Within::Itself);
        }
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        Units(string).for_each(|unit| unit.put(&mut plain));
        self.spans.clear();
        scan(&plain, Within::Itself, look.on, &mut self.spans);
        self.plain = plain;
        if self.spans.all().is_empty() {
            return Seen::Same;
        }
        // From places in the plain text to places in the string: units are walked once for all finds.
        let spans = std::mem::take(&mut self.spans);
        let (mut units, mut raw, mut read) = (Units(string), 0, 0);
        let mut reach = |place: usize| {
            while read < place
                && let Some(unit) = units.next()
            {
                raw += unit.raw;
                read += unit.length;
            }
            raw
        };
        let mut seen = Seen::Same;
        for span in spans.all() {
            let span = Span {
                start: reach(span.start),
                end: reach(span.end),
                by: span.by,
            };
            seen = seen.and(self.cover(look, span, string, base + begin));
        }
        self.spans = spans;
        seen
    }
}

fn count(json: &[u8], from: usize, of: impl Fn(u8) -> bool) -> usize {
    let behind = json.get(from..).unwrap_or_default().iter();
    behind.take_while(|byte| of(**byte)).count()
}

/// Where the string ends that begins here.
fn closing(json: &[u8], begin: usize) -> usize {
    let mut at = begin;
    loop {
        at += count(json, at, |byte| !matches!(byte, b'"' | b'\\'));
        match json.get(at) {
            Some(b'\\') => at += 2,
            Some(_) => return at,
            None => return json.len(),
        }
    }
}

/// A character of a string, or an escape.
struct Unit {
    /// In the string.
    raw: usize,
    /// As plain text.
    bytes: [u8; 3],
    length: usize,
}

impl Unit {
    fn put(&self, plain: &mut Vec<u8>) {
        plain.extend(self.bytes.iter().take(self.length));
    }
}

struct Units<'t>(&'t [u8]);

impl Iterator for Units<'_> {
    type Item = Unit;

    fn next(&mut self) -> Option<Unit> {
        let one = |byte: u8, raw: usize| Unit {
            raw,
            bytes: [byte, 0, 0],
            length: 1,
        };
        let unit = match self.0 {
            [] => return None,
            [b'\\', b'u', a, b, c, d, ..] => {
                let digits = [a, b, c, d].map(|byte| char::from(*byte).to_digit(16));
                let code = digits
                    .iter()
                    .fold(0, |code, digit| code * 16 + digit.unwrap_or(0));
                let low = |shift: u32| 0x80 | u8::try_from(code >> shift & 0x3f).unwrap_or(0);
                match u8::try_from(code).ok().filter(u8::is_ascii) {
                    Some(byte) => one(byte, 6),
                    // Only that it is no ASCII counts; halves of pairs are as good.
                    None => Unit {
                        raw: 6,
                        bytes: [0xe0 | u8::try_from(code >> 12).unwrap_or(0), low(6), low(0)],
                        length: 3,
                    },
                }
            }
            [b'\\', escape, ..] => match escape {
                b'n' => one(b'\n', 2),
                b't' => one(b'\t', 2),
                b'r' => one(b'\r', 2),
                b'b' => one(8, 2),
                b'f' => one(12, 2),
                other => one(*other, 2),
            },
            [byte, ..] => one(*byte, 1),
        };
        self.0 = self.0.get(unit.raw..).unwrap_or_default();
        Some(unit)
    }
}
