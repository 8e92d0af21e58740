//! Pure. One cell: what its type holds is looked into, and finds become edits.

use bytes::{BufMut, BytesMut};

use super::scan::{Span, Spans, Within, scan};
use super::{Detectors, Finds, Look, Reading, Treat};

/// What stands for a find.
const STARS: &[u8] = b"***";

/// What looking into a cell came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mask) enum Seen {
    /// The cell stays as it is.
    Same,
    /// `Desk::write` writes what it becomes.
    Edited,
    /// All of it is to be covered.
    Cell,
}

impl Seen {
    /// Both, of parts of one cell.
    pub(super) fn and(self, other: Seen) -> Seen {
        match (self, other) {
            (Seen::Cell, _) | (_, Seen::Cell) => Seen::Cell,
            (Seen::Edited, _) | (_, Seen::Edited) => Seen::Edited,
            (Seen::Same, Seen::Same) => Seen::Same,
        }
    }
}

/// A stretch of a cell, and what stands there instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) with: With,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum With {
    /// Stars, and so many of the stretch's last letters and digits.
    Stars { kept: usize },
    /// JSON's `null`.
    Null,
    /// The length of what is behind it, big-endian.
    Length(i32),
}

impl Edit {
    pub(super) fn length(&self) -> usize {
        match self.with {
            With::Stars { kept } => STARS.len() + kept,
            With::Null => b"null".len(),
            With::Length(_) => 4,
        }
    }
}

/// Where cells are looked into, one after the other. Allocates only when something is found.
#[derive(Debug)]
pub(in crate::mask) struct Desk<'f> {
    pub(super) spans: Spans,
    pub(super) edits: Vec<Edit>,
    /// A JSON string without its escapes.
    pub(super) plain: Vec<u8>,
    finds: &'f mut Finds,
    column: u16,
}

impl<'f> Desk<'f> {
    pub(in crate::mask) fn new(finds: &'f mut Finds) -> Self {
        Desk {
            spans: Spans::default(),
            edits: Vec::new(),
            plain: Vec::new(),
            finds,
            column: 0,
        }
    }

    /// Looks into a cell of the column at this position.
    pub(in crate::mask) fn examine(&mut self, look: &Look, column: u16, cell: &[u8]) -> Seen {
        self.edits.clear();
        self.column = column;
        match self.read(look, look.reading, cell, 0, 0) {
            Seen::Same | Seen::Edited if self.edits.is_empty() => Seen::Same,
            seen => seen,
        }
    }

    /// Appends the cell that was examined last, with its edits.
    pub(in crate::mask) fn write(&self, cell: &[u8], out: &mut BytesMut) {
        let mut done = 0;
        for edit in &self.edits {
            out.put_slice(cell.get(done..edit.start).unwrap_or_default());
            match edit.with {
                With::Stars { kept } => {
                    out.put_slice(STARS);
                    // What stands between them is left out: nothing of a find is found again.
                    let find = cell.get(edit.start..edit.end).unwrap_or_default();
                    let letters = find.iter().filter(|byte| byte.is_ascii_alphanumeric());
                    let covered = letters.clone().count().saturating_sub(kept);
                    out.extend(letters.skip(covered));
                }
                With::Null => out.put_slice(b"null"),
                With::Length(length) => out.put_i32(length),
            }
            done = edit.end;
        }
        out.put_slice(cell.get(done..).unwrap_or_default());
    }

    /// Looks into a value that stands at `base` of the cell, `depth` levels down.
    pub(super) fn read(
        &mut self,
        look: &Look,
        reading: Reading,
        value: &[u8],
        base: usize,
        depth: u8,
    ) -> Seen {
        // Nothing that is looked for is shorter.
        if value.len() < 6 {
            return Seen::Same;
        }
        match reading {
            Reading::Text => self.text(look, value, base, Within::Itself),
            Reading::Literal => self.text(look, value, base, Within::Brackets),
            Reading::JsonLiteral => self.all_or_nothing(look, value),
            Reading::Json => self.json(look, value, base),
            Reading::Jsonb => match value.split_first() {
                Some((1, json)) => self.json(look, json, base + 1),
                _ => self.all_or_nothing(look, value),
            },
            Reading::Array => self.array(look, value, base, depth),
            Reading::Row => self.row(look, value, base, depth),
            Reading::Unknown => self.unknown(look, value, base, depth),
        }
    }

    pub(super) fn text(&mut self, look: &Look, text: &[u8], base: usize, within: Within) -> Seen {
        self.spans.clear();
        scan(text, within, look.on, &mut self.spans);
        if self.spans.all().is_empty() {
            return Seen::Same;
        }
        let spans = std::mem::take(&mut self.spans);
        let seen = spans.all().iter().fold(Seen::Same, |seen, span| {
            seen.and(self.cover(look, *span, text, base))
        });
        self.spans = spans;
        seen
    }

    /// Counts what was found in a stretch, and covers it.
    pub(super) fn cover(&mut self, look: &Look, span: Span, text: &[u8], base: usize) -> Seen {
        let stretch = text.get(span.start..span.end).unwrap_or_default();
        let kept = match self.count(look, span.by) {
            Treat::Off | Treat::Report => return Seen::Same,
            Treat::Cell => return Seen::Cell,
            Treat::Redact => 0,
            Treat::KeepLast(kept) if span.by.are_numbers() => tail(stretch, kept),
            Treat::KeepLast(_) => 0,
        };
        self.edits.push(Edit {
            start: base + span.start,
            end: base + span.end,
            with: With::Stars { kept },
        });
        Seen::Edited
    }

    pub(super) fn count(&mut self, look: &Look, by: Detectors) -> Treat {
        let treat = look.net.treat(by);
        self.finds.add(self.column, by, treat.masks());
        treat
    }

    /// Looks into what cannot be changed in part.
    pub(super) fn all_or_nothing(&mut self, look: &Look, value: &[u8]) -> Seen {
        self.spans.clear();
        scan(value, Within::Brackets, look.on, &mut self.spans);
        let spans = std::mem::take(&mut self.spans);
        let seen = spans.all().iter().fold(Seen::Same, |seen, span| {
            if self.count(look, span.by).masks() {
                Seen::Cell
            } else {
                seen
            }
        });
        self.spans = spans;
        seen
    }
}

/// How many of a find's last letters and digits are kept: none where at least half of it would show, or where
/// it is more than letters, digits, and what stands between groups of them.
fn tail(find: &[u8], kept: u32) -> usize {
    let kept = usize::try_from(kept).unwrap_or(usize::MAX);
    let letters = find.iter().filter(|byte| byte.is_ascii_alphanumeric());
    let signs = |byte: &u8| matches!(byte, b' ' | b'-' | b'.' | b'/' | b'(' | b')' | b'+');
    let plain = (find.iter()).all(|byte| byte.is_ascii_alphanumeric() || signs(byte));
    if plain && letters.count() > kept.saturating_mul(2) {
        kept
    } else {
        0
    }
}
