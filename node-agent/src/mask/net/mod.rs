//! Pure. The content net: looks into the texts of columns that no mask is on, for what looks like personal
//! data or a key, and covers it there.
//!
//! A second layer. A mask goes by where a value comes from and cannot be written around; the net goes by what
//! a value looks like, and who may write SQL can make it look otherwise. So it finds what nobody thought of,
//! and says where, so that a mask can be put on.
//!
//! `scan.rs` passes over a cell once and hands what may begin something to the detectors (`email.rs`,
//! `number.rs`, `iban.rs`, `secret.rs`), which look at a bounded stretch. `cell.rs` knows what a cell's type
//! holds (`json.rs` and `binary.rs` the types with texts inside) and turns finds into edits, such that the
//! cell stays valid: a find inside a JSON string leaves a JSON string, a bare JSON number becomes `null`, the
//! lengths inside a binary array are those of its new elements. Where nothing is found nothing is allocated
//! and nothing copied.
//!
//! Not looked into: numbers, dates, `bytea`, and all other built-in types that hold no text; digits of an
//! int8 or numeric column may be a card's, and want a mask of their own.

mod binary;
mod cell;
mod email;
mod iban;
mod json;
mod number;
mod scan;
mod secret;

use super::cell::Op;
use super::key::MaskKey;
use crate::model::Format;
use crate::policy::{ContentMasker, ContentMode, ContentRule, Detector, Masker};

pub(super) use cell::{Desk, Seen};
use scan::{Spans, Within, scan};

/// What happens to what one detector finds. Later ones show less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Treat {
    /// It does not look.
    #[default]
    Off,
    /// It is counted, and left.
    Report,
    /// `***` and so many characters, where enough is covered.
    KeepLast(u32),
    /// `***`.
    Redact,
    /// The whole cell is covered.
    Cell,
}

impl Treat {
    fn of(rule: &ContentRule) -> Treat {
        match (rule.mode, rule.with) {
            (ContentMode::Report, _) => Treat::Report,
            (ContentMode::Mask, ContentMasker::KeepLast(kept)) => Treat::KeepLast(kept),
            (ContentMode::Mask, ContentMasker::Redact) => Treat::Redact,
            (ContentMode::Mask, ContentMasker::Cell) => Treat::Cell,
        }
    }

    /// Of two, the one that shows less: nets are added up, and adding one must never show more.
    fn stronger(self, other: Treat) -> Treat {
        let rank = |treat: Treat| match treat {
            Treat::Off => (0, 0),
            Treat::Report => (1, 0),
            Treat::KeepLast(kept) => (2, u32::MAX - kept),
            Treat::Redact => (3, 0),
            Treat::Cell => (4, 0),
        };
        if rank(other) > rank(self) {
            other
        } else {
            self
        }
    }

    fn masks(self) -> bool {
        match self {
            Treat::Off | Treat::Report => false,
            Treat::KeepLast(_) | Treat::Redact | Treat::Cell => true,
        }
    }
}

/// What each detector does in one column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Net([Treat; Detector::ALL.len()]);

impl Net {
    /// The detectors that look.
    fn on(&self) -> Detectors {
        let looking = Detector::ALL
            .iter()
            .zip(&self.0)
            .filter(|(_, treat)| **treat != Treat::Off);
        looking.fold(Detectors::default(), |set, (detector, _)| {
            set.with(*detector)
        })
    }

    /// What happens to a stretch that all of these found something in.
    fn treat(&self, by: Detectors) -> Treat {
        let of = Detector::ALL.iter().zip(&self.0);
        of.filter(|(detector, _)| by.has(**detector))
            .fold(Treat::Off, |treat, (_, own)| treat.stronger(*own))
    }
}

/// A set of detectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Detectors(u8);

impl Detectors {
    const fn with(self, detector: Detector) -> Self {
        Detectors(self.0 | 1 << detector as u8)
    }

    const fn has(self, detector: Detector) -> bool {
        self.0 & (1 << detector as u8) != 0
    }

    /// Whether all find numbers of a kind, of which the last digits tell little.
    const fn are_numbers(self) -> bool {
        let others = Detectors(0).with(Detector::Email).with(Detector::Secret);
        self.0 & others.0 == 0
    }

    const fn union(self, other: Self) -> Self {
        Detectors(self.0 | other.0)
    }
}

/// How the net looks into the cells of one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    reading: Reading,
    net: Net,
    on: Detectors,
    /// What covers a whole cell.
    whole: Op,
}

impl Look {
    /// How these rules together look into cells of this type and format; `None`: not at all.
    pub(super) fn of<'a>(
        rules: impl Iterator<Item = &'a ContentRule>,
        type_id: u32,
        format: Format,
        key: &MaskKey,
    ) -> Option<Look> {
        let reading = Reading::of(type_id, format)?;
        let mut net = Net::default();
        for rule in rules {
            let treat = Treat::of(rule);
            for (detector, own) in Detector::ALL.iter().zip(&mut net.0) {
                if rule.detect.contains(detector) {
                    *own = own.stronger(treat);
                }
            }
        }
        let on = net.on();
        (on != Detectors::default()).then_some(Look {
            reading,
            net,
            on,
            whole: Op::of(&Masker::Redact, type_id, format, key),
        })
    }

    /// What covers a whole cell.
    pub(super) fn whole(&self) -> &Op {
        &self.whole
    }

    /// Whether it may change a cell.
    pub(super) fn masks(&self) -> bool {
        self.net.0.iter().any(|treat| treat.masks())
    }
}

/// What a cell holds, as far as texts go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// A text.
    Text,
    /// A text with texts inside, between quotes, braces and commas.
    Literal,
    /// The same with JSON inside: nothing is replaced within it.
    JsonLiteral,
    /// JSON.
    Json,
    /// A version byte and JSON.
    Jsonb,
    /// A binary array.
    Array,
    /// A binary row.
    Row,
    /// A binary value of a type that is not built in: a row, an array, a text, or what only its
    /// type knows.
    Unknown,
}

impl Reading {
    /// OIDs of `pg_type.dat`, which never change; what is made later has higher ones.
    fn of(type_id: u32, format: Format) -> Option<Reading> {
        let text = format == Format::Text;
        let reading = match type_id {
            // name, text, xml, unknown, bpchar, varchar, refcursor, cstring: one form in both formats.
            19 | 25 | 142 | 705 | 1042 | 1043 | 1790 | 2275 => Reading::Text,
            114 => Reading::Json,
            3802 if text => Reading::Json,
            3802 => Reading::Jsonb,
            // Arrays of json and jsonb.
            199 | 3807 if text => Reading::JsonLiteral,
            // jsonpath, tsvector, tsquery.
            4072 | 3614 | 3615 if text => Reading::Literal,
            4072 | 3614 | 3615 => Reading::Unknown,
            // Arrays of the above, and of rows.
            143 | 199 | 1003 | 1009 | 1014 | 1015 | 1263 | 2201 | 2287 | 3643 | 3645 | 3807
            | 4073
                if !text =>
            {
                Reading::Array
            }
            143 | 1003 | 1009 | 1014 | 1015 | 1263 | 2201 | 2249 | 2287 | 3643 | 3645 | 4073 => {
                if text {
                    Reading::Literal
                } else {
                    Reading::Row
                }
            }
            0..10_000 => return None,
            _ if text => Reading::Literal,
            _ => Reading::Unknown,
        };
        Some(reading)
    }
}

/// What a value is as a whole, but for blanks around it; `None`: nothing that a detector knows.
pub fn detected(value: &str) -> Option<Detector> {
    let value = value.trim();
    let mut spans = Spans::default();
    let all = Detector::ALL.into_iter();
    let on = all.fold(Detectors::default(), Detectors::with);
    scan(value.as_bytes(), Within::Itself, on, &mut spans);
    match spans.all() {
        [span] if span.end - span.start == value.len() => {
            Detector::ALL.into_iter().find(|one| span.by.has(*one))
        }
        _ => None,
    }
}

/// What was found in some rows: how often, by column and detector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finds(Vec<Find>);

/// Finds of one detector in one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Find {
    /// The column's position, from 0.
    pub column: u16,
    /// What it looks like.
    pub detector: Detector,
    /// Whether it was covered.
    pub covered: bool,
    /// How often.
    pub count: u64,
}

impl Finds {
    /// Nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was found.
    pub fn iter(&self) -> impl Iterator<Item = &Find> {
        self.0.iter()
    }

    fn add(&mut self, column: u16, by: Detectors, covered: bool) {
        for detector in Detector::ALL.into_iter().filter(|one| by.has(*one)) {
            let same = |find: &&mut Find| {
                (find.column, find.detector, find.covered) == (column, detector, covered)
            };
            match self.0.iter_mut().find(same) {
                Some(find) => find.count += 1,
                None => self.0.push(Find {
                    column,
                    detector,
                    covered,
                    count: 1,
                }),
            }
        }
    }
}

#[cfg(any(test, feature = "fuzzing"))]
mod fuzzing;
#[cfg(any(test, feature = "fuzzing"))]
pub use fuzzing::fuzz_content_net;

#[cfg(test)]
mod in_rows;
#[cfg(test)]
mod tests;
