//! Pure. One pass over a text. Nearly all bytes are looked at once, by their class alone; what may stand inside
//! a find, or right behind what names one, is handed to a detector, which looks at a bounded stretch, or at one
//! that is then behind it.

use super::{Detectors, email, iban, number, secret};
use crate::policy::Detector;

/// Letters, digits, `_`: of these are words.
const WORD: u8 = 1;
const LETTER: u8 = 2;
/// What makes a word worth looking at: digits, and letters that few words but tokens have.
const MARK: u8 = 4;
/// Means something by itself: `@`, `+`, `(`, `\`.
const SIGN: u8 = 8;
/// Makes the word before it the name of what is behind (`=`, `:`, quotes, also with a `\` before them), or the
/// beginning of a token (`-`).
const NAMES: u8 = 16;
const HOT: u8 = MARK | SIGN | NAMES;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let one = byte as u8;
        let mut class = 0;
        if one.is_ascii_digit() {
            class = WORD | MARK;
        } else if one.is_ascii_alphabetic() || one == b'_' {
            class = WORD | LETTER;
        }
        match one {
            b'@' | b'+' | b'(' => class |= SIGN,
            b'\\' => class |= SIGN | NAMES,
            b'=' | b':' | b'"' | b'\'' | b'-' => class |= NAMES,
            _ => {}
        }
        if secret::marks(one) {
            class |= MARK;
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
        done: 0,
    };
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let class = class(*byte);
        if class & HOT == 0 {
            at += 1;
            continue;
        }
        at = if class & MARK != 0 {
            pass.word(at)
        } else if class & NAMES != 0
            && let Some(behind) = pass.name(at)
        {
            behind
        } else if class & SIGN != 0 {
            pass.sign(*byte, at)
        } else {
            at + 1
        };
    }
}

struct Pass<'t, 's> {
    text: Text<'t>,
    on: Detectors,
    spans: &'s mut Spans,
    /// Up to here no JWT begins: its first part would have no dot behind it.
    no_jwt_before: usize,
    /// No word begins before this: the last find is there, or an escape.
    done: usize,
}

impl Pass<'_, '_> {
    /// Looks at a sign; gives where to go on.
    fn sign(&mut self, sign: u8, at: usize) -> usize {
        let text = self.text;
        let found = match sign {
            b'@' if self.on.has(Detector::Email) => {
                email::around(text, at).map(|(start, end)| (start, end, Detector::Email))
            }
            b'+' if self.on.has(Detector::Phone) => {
                number::international(text, at).map(|end| (at, end, Detector::Phone))
            }
            b'(' if self.on.has(Detector::Phone) => {
                number::bracketed(text, at).map(|end| (at, end, Detector::Phone))
            }
            // `\n4111…` is a line's end and a number, where a text was escaped.
            b'\\' => {
                let escape = matches!(text.at(at + 1), Some(b'n' | b't' | b'r' | b'b' | b'f'));
                self.done = at + 1 + usize::from(escape);
                return self.done;
            }
            _ => None,
        };
        found.map_or(at + 1, |(start, end, by)| self.take(start, end, by))
    }

    /// Where the word begins that goes on, or ends, at a place; and whether all of it so far are digits.
    fn begin(&self, at: usize) -> (usize, u8) {
        let mut bits = 0;
        let before = self.text.bytes.get(self.done..at).unwrap_or_default();
        let word = before.iter().rev().take_while(|byte| {
            let class = class(**byte);
            let inside = class & WORD != 0;
            if inside {
                bits |= class;
            }
            inside
        });
        (at - word.count(), bits)
    }

    /// Looks at the word that this place is in; gives where to go on.
    fn word(&mut self, at: usize) -> usize {
        let text = self.text;
        let (start, mut bits) = self.begin(at);
        let mut end = at;
        while let Some(byte) = text.at(end) {
            let class = class(byte);
            if class & WORD == 0 {
                break;
            }
            bits |= class;
            end += 1;
        }
        if bits & LETTER == 0 {
            return match number::at(text, start, end, self.on) {
                Some((end, by)) => self.take(start, end, by),
                None => end,
            };
        }
        if let Some(end) = self.token(start) {
            return end;
        }
        if self.on.has(Detector::Iban)
            && let Some(end) = iban::at(text, start)
        {
            return self.take(start, end, Detector::Iban);
        }
        end
    }

    /// Looks at the word that ends at this place; gives where to go on, if it found something.
    fn name(&mut self, at: usize) -> Option<usize> {
        if !self.on.has(Detector::Secret) {
            return None;
        }
        let (start, _) = self.begin(at);
        if start == at {
            return None;
        }
        if self.text.at(at) == Some(b'-') {
            return self.token(start);
        }
        let (from, to) = secret::named(self.text, start, at)?;
        self.take(from, to, Detector::Secret);
        // The `@` behind a URL's password is none of an address.
        self.done = to + usize::from(self.text.at(to) == Some(b'@'));
        Some(self.done)
    }

    fn token(&mut self, start: usize) -> Option<usize> {
        let (first, second) = (self.text.at(start)?, self.text.at(start + 1)?);
        if !self.on.has(Detector::Secret) || !secret::may_begin(first, second) {
            return None;
        }
        let (from, to) = secret::token(self.text, start, &mut self.no_jwt_before)?;
        Some(self.take(from, to, Detector::Secret))
    }

    /// Something was found: goes on behind it.
    fn take(&mut self, start: usize, end: usize, by: Detector) -> usize {
        self.spans.add(start, end, by);
        self.done = end;
        end
    }
}
