//! Pure. PostgreSQL's binary arrays and rows (array_send, record_send): lengths and values, in place of which
//! others of other lengths can stand.

use super::cell::{Desk, Edit, Seen, With};
use super::scan::Within;
use super::{Look, Reading};
use crate::model::Format;

/// How far down arrays in rows in arrays are looked into; beyond it, as into what is not understood.
const DEPTH: u8 = 4;
/// Dimensions that an array can have.
const DIMENSIONS: i32 = 6;

/// Big-endian words, and bytes.
struct Words<'v> {
    value: &'v [u8],
    at: usize,
}

impl<'v> Words<'v> {
    fn word(&mut self) -> Option<i32> {
        let word = self.value.get(self.at..)?.first_chunk::<4>()?;
        self.at += 4;
        Some(i32::from_be_bytes(*word))
    }

    /// A length and so many bytes; `None` inside: NULL.
    fn element(&mut self) -> Option<Option<&'v [u8]>> {
        let length = self.word()?;
        if length == -1 {
            return Some(None);
        }
        let end = self.at.checked_add(usize::try_from(length).ok()?)?;
        let bytes = self.value.get(self.at..end)?;
        self.at = end;
        Some(Some(bytes))
    }

    fn is_over(&self) -> bool {
        self.at == self.value.len()
    }
}

/// The elements of a binary array, if it is one: their type, how many, and where they begin.
fn array(value: &[u8]) -> Option<(u32, u64, usize)> {
    let mut words = Words { value, at: 0 };
    let (dimensions, nulls, of) = (words.word()?, words.word()?, words.word()?);
    if !(0..=DIMENSIONS).contains(&dimensions) || !matches!(nulls, 0 | 1) {
        return None;
    }
    let mut count: u64 = u64::from(dimensions > 0);
    for _ in 0..dimensions {
        count = count.checked_mul(u64::try_from(words.word()?).ok()?)?;
        words.word()?;
    }
    let begin = words.at;
    for _ in 0..count {
        words.element()?;
    }
    words
        .is_over()
        .then_some((of.cast_unsigned(), count, begin))
}

/// How many columns a binary row has, if it is one.
fn row(value: &[u8]) -> Option<i32> {
    let mut words = Words { value, at: 0 };
    let columns = words.word()?;
    for _ in 0..columns {
        words.word()?;
        words.element()?;
    }
    (columns >= 0 && words.is_over()).then_some(columns)
}

impl Desk<'_> {
    pub(super) fn array(&mut self, look: &Look, value: &[u8], base: usize, depth: u8) -> Seen {
        let Some((of, count, begin)) = array(value).filter(|_| depth < DEPTH) else {
            return self.all_or_nothing(look, value);
        };
        let Some(reading) = Reading::of(of, Format::Binary) else {
            return Seen::Same;
        };
        let mut words = Words { value, at: begin };
        let mut seen = Seen::Same;
        for _ in 0..count {
            match self.element(look, reading, &mut words, base, depth) {
                Seen::Same => {}
                Seen::Edited => seen = Seen::Edited,
                Seen::Cell => return Seen::Cell,
            }
        }
        seen
    }

    pub(super) fn row(&mut self, look: &Look, value: &[u8], base: usize, depth: u8) -> Seen {
        let Some(columns) = row(value).filter(|_| depth < DEPTH) else {
            return self.all_or_nothing(look, value);
        };
        let mut words = Words { value, at: 4 };
        let mut seen = Seen::Same;
        for _ in 0..columns {
            let of = words.word().unwrap_or_default().cast_unsigned();
            let own = match Reading::of(of, Format::Binary) {
                Some(reading) => self.element(look, reading, &mut words, base, depth),
                None => {
                    words.element();
                    Seen::Same
                }
            };
            match own {
                Seen::Same => {}
                Seen::Edited => seen = Seen::Edited,
                Seen::Cell => return Seen::Cell,
            }
        }
        seen
    }

    /// A length and a value: where the value is changed, its length is.
    fn element(
        &mut self,
        look: &Look,
        reading: Reading,
        words: &mut Words<'_>,
        base: usize,
        depth: u8,
    ) -> Seen {
        let place = words.at;
        let Some(Some(value)) = words.element() else {
            return Seen::Same;
        };
        let mark = self.edits.len();
        self.edits.push(Edit {
            start: base + place,
            end: base + place + 4,
            with: With::Length(0),
        });
        let seen = self.read(look, reading, value, base + place + 4, depth + 1);
        let own = self.edits.get(mark + 1..).unwrap_or_default();
        if own.is_empty() {
            self.edits.truncate(mark);
            return seen;
        }
        let (gone, come) = own.iter().fold((0, 0), |(gone, come), edit| {
            (gone + edit.end - edit.start, come + edit.length())
        });
        let length = i32::try_from(value.len() - gone + come);
        match (length, self.edits.get_mut(mark)) {
            (Ok(length), Some(edit)) => edit.with = With::Length(length),
            _ => return Seen::Cell,
        }
        seen
    }

    /// A binary value of a type that is not built in. A text would not pass for an array or a row: its first
    /// letters would be a number far beyond its length.
    pub(super) fn unknown(&mut self, look: &Look, value: &[u8], base: usize, depth: u8) -> Seen {
        if array(value).is_some_and(|(_, count, _)| count > 0) {
            return self.array(look, value, base, depth);
        }
        if row(value).is_some_and(|columns| columns > 0) {
            return self.row(look, value, base, depth);
        }
        let printed = !value.iter().any(|b| *b < b' ' && !b.is_ascii_whitespace());
        if printed && std::str::from_utf8(value).is_ok() {
            return self.text(look, value, base, Within::Brackets);
        }
        self.all_or_nothing(look, value)
    }
}
