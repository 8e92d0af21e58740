//! Pure. One pass over a text. Most bytes are looked at once, by their class alone; a word that may begin or
//! name something is handed to a detector, which looks at a bounded stretch, or at one that is then behind it.

use super::{Detectors, email, iban, number, secret};
use crate::policy::Detector;

/// Letters, digits, `_`.
const WORD: u8 = 1;
const DIGIT: u8 = 2;
/// Means something by itself: `@`, `+`, `(`, `\`.
const SIGN: u8 = 4;
/// Begins a token that is known by its first letters.
const START: u8 = 8;
/// Makes the word before it the name of what is behind: `=`, `:`, quotes, also with a `\` before them.
const NAMES: u8 = 16;
/// Words that are no numbers.
const LETTER: u8 = 32;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let one = byte as u8;
        let mut class = 0;
        if one.is_ascii_digit() {
            class = WORD | DIGIT;
        } else if one.is_ascii_alphabetic() || one == b'_' {
            class = WORD | LETTER;
        }
        match one {
            b'@' | b'+' | b'(' => class |= SIGN,
            b'\\' => class |= SIGN | NAMES,
            b'=' | b':' | b'"' | b'\'' => class |= NAMES,
            _ => {}
        }
        let mut at = 0;
        while at < secret::STARTS.len() {
            #[allow(
                clippy::indexing_slicing,
                reason = "evaluated by the compiler, which checks it"
            )]
            if secret::STARTS[at] == one {
                class |= START;
            }
            at += 1;
        }
        #[allow(
            clippy::indexing_slicing,
            reason = "evaluated by the compiler, which checks it"
        )]
        {
            table[byte] = class;
        }
        byte += 1;
    }
    table
}

fn class(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or_default()
}

/// A stretch of a text in which something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    /// By these.
    pub(super) by: Detectors,
}

/// Stretches in the order of the text, none over another.
#[derive(Debug, Default)]
pub(super) struct Spans(Vec<Span>);

impl Spans {
    /// Adds one that may begin before the end of the last ones: they become one.
    fn add(&mut self, start: usize, end: usize, by: Detector) {
        let mut span = Span {
            start,
            end,
            by: Detectors::default().with(by),
        };
        while let Some(last) = self.0.last().filter(|last| last.end > span.start) {
            span.start = span.start.min(last.start);
            span.end = span.end.max(last.end);
            span.by = span.by.union(last.by);
            self.0.pop();
        }
        self.0.push(span);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn all(&self) -> &[Span] {
        &self.0
    }
}

/// What a text stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    /// It is the whole.
    Itself,
    /// Something whose quotes, braces and brackets must stay.
    Brackets,
}

/// A text before the detectors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'t> {
    pub(super) bytes: &'t [u8],
    pub(super) within: Within,
}

impl<'t> Text<'t> {
    pub(super) fn at(&self, place: usize) -> Option<u8> {
        self.bytes.get(place).copied()
    }

    /// What is before a place: the nearest byte first.
    pub(super) fn before(&self, place: usize) -> impl Iterator<Item = u8> + use<'t> {
        let before = self.bytes.get(..place).unwrap_or_default();
        before.iter().rev().copied()
    }

    pub(super) fn behind(&self, place: usize) -> &'t [u8] {
        self.bytes.get(place..).unwrap_or_default()
    }

    /// How many bytes from here on are of a kind.
    pub(super) fn run(&self, place: usize, of: impl Fn(u8) -> bool) -> usize {
        let behind = self.behind(place).iter();
        behind.take_while(|byte| of(**byte)).count()
    }

    /// Whether a word ends before this place.
    pub(super) fn is_end(&self, place: usize) -> bool {
        self.at(place).is_none_or(|byte| class(byte) & WORD == 0)
    }
}

/// Finds what these detectors know. Takes time in proportion to the text's length, whatever it holds.
pub(super) fn scan(bytes: &[u8], within: Within, on: Detectors, spans: &mut Spans) {
    let text = Text { bytes, within };
    let mut pass = Pass {
        text,
        on,
        spans,
        no_jwt_before: 0,
    };
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let first = class(*byte);
        if first & WORD == 0 {
            at = if first & SIGN == 0 {
                at + 1
            } else {
                pass.sign(*byte, at)
            };
            continue;
        }
        let start = at;
        let (mut bits, mut behind) = (first, 0);
        at += 1;
        while let Some(byte) = bytes.get(at) {
            let class = class(*byte);
            if class & WORD == 0 {
                behind = class;
                break;
            }
            bits |= class;
            at += 1;
        }
        if (first & START) | (bits & DIGIT) | (behind & NAMES) != 0 {
            at = pass.word(start, at, bits, behind);
        }
    }
}

struct Pass<'t, 's> {
    text: Text<'t>,
    on: Detectors,
    spans: &'s mut Spans,
    /// Up to here no JWT begins: its first part would have no dot behind it.
    no_jwt_before: usize,
}

impl Pass<'_, '_> {
    /// Looks at a sign; gives where to go on.
    fn sign(&mut self, sign: u8, at: usize) -> usize {
        let found = match sign {
            b'@' if self.on.has(Detector::Email) => {
                email::around(self.text, at).map(|(start, end)| (start, end, Detector::Email))
            }
            b'+' if self.on.has(Detector::Phone) => {
                number::international(self.text, at).map(|end| (at, end, Detector::Phone))
            }
            b'(' if self.on.has(Detector::Phone) => {
                number::bracketed(self.text, at).map(|end| (at, end, Detector::Phone))
            }
            // `\n4111…` is a line's end and a number, where a text was escaped.
            b'\\' => {
                return match self.text.at(at + 1) {
                    Some(b'n' | b't' | b'r' | b'b' | b'f') => at + 2,
                    _ => at + 1,
                };
            }
            _ => None,
        };
        self.take(found).unwrap_or(at + 1)
    }

    /// Looks at a word; gives where to go on.
    fn word(&mut self, start: usize, end: usize, bits: u8, behind: u8) -> usize {
        let text = self.text;
        if bits & LETTER == 0 {
            let found = number::at(text, start, end, self.on);
            return self
                .take(found.map(|(to, by)| (start, to, by)))
                .unwrap_or(end);
        }
        if self.on.has(Detector::Secret) {
            let token = secret::token(text, start, &mut self.no_jwt_before);
            let found = token.map(|(from, to)| (from, to, Detector::Secret));
            if let Some(to) = self.take(found) {
                return to;
            }
            if behind & NAMES != 0
                && let Some((from, to)) = secret::named(text, start, end)
            {
                self.spans.add(from, to, Detector::Secret);
                // The `@` behind a URL's password is none of an address.
                return to + usize::from(text.at(to) == Some(b'@'));
            }
        }
        if bits & DIGIT != 0 && self.on.has(Detector::Iban) {
            let found = iban::at(text, start).map(|to| (start, to, Detector::Iban));
            if let Some(to) = self.take(found) {
                return to;
            }
        }
        end
    }

    fn take(&mut self, found: Option<(usize, usize, Detector)>) -> Option<usize> {
        let (start, end, by) = found?;
        self.spans.add(start, end, by);
        Some(end)
    }
}
