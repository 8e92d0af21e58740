//! Pure. Cells as text, binary ones by their declared type where that is certain.

use std::borrow::Cow;

use crate::model::{ColumnHead, Format};
use crate::record::RecordedCell;

use super::visible::visible;

/// Types whose binary form is their text: char, name, text, json, xml, unknown, bpchar, varchar.
const TEXTS: [u32; 8] = [18, 19, 25, 114, 142, 705, 1042, 1043];

/// One cell, as one visible line of at most `width` characters (0: any).
pub(super) fn show(cell: &RecordedCell, column: Option<&ColumnHead>, width: usize) -> String {
    let whole = match cell {
        RecordedCell::Null => "NULL".to_owned(),
        RecordedCell::Text(text) => visible(text).into_owned(),
        RecordedCell::Begins { text, length } => {
            format!("{}… (of {length} bytes)", visible(text))
        }
        RecordedCell::Long(length) => format!("({length} bytes, not kept)"),
        RecordedCell::Binary(hex) => column
            .filter(|column| column.format == Format::Binary)
            .and_then(|column| decode(column.type_id, &bytes(hex)?))
            .unwrap_or_else(|| format!("\\x{hex}")),
    };
    shorten(whole, width)
}

/// A value to be searched or exported: text as it is, other values as they are shown. `None`: NULL, or not
/// kept. Where the type is not known, what can be text is taken for text.
pub(super) fn plain<'a>(
    cell: &'a RecordedCell,
    column: Option<&ColumnHead>,
) -> Option<Cow<'a, str>> {
    match cell {
        RecordedCell::Null | RecordedCell::Long(_) => None,
        RecordedCell::Text(text) | RecordedCell::Begins { text, .. } => Some(Cow::Borrowed(text)),
        RecordedCell::Binary(hex) => {
            let texts = column.is_none_or(|column| TEXTS.contains(&column.type_id));
            let text = bytes(hex).filter(|_| texts).and_then(|bytes| {
                let text = String::from_utf8(bytes).ok()?;
                let typed = column.is_some()
                    || !text.contains(|c: char| c.is_control() && !c.is_whitespace());
                typed.then_some(text)
            });
            Some(Cow::Owned(text.unwrap_or_else(|| show(cell, column, 0))))
        }
    }
}

fn shorten(text: String, width: usize) -> String {
    let length = text.chars().count();
    if width == 0 || length <= width {
        return text;
    }
    let kept: String = text.chars().take(width).collect();
    format!("{kept}… (+{})", length - width)
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = hex
        .chars()
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect();
    let (pairs, rest) = digits.as_deref()?.as_chunks::<2>();
    rest.is_empty()
        .then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// PostgreSQL's binary forms of its commonest types (`pg_type.dat`; each type's `send` function).
fn decode(type_id: u32, bytes: &[u8]) -> Option<String> {
    let text = match type_id {
        16 => match bytes {
            [0] => "f".to_owned(),
            [1] => "t".to_owned(),
            _ => return None,
        },
        20 => i64::from_be_bytes(bytes.try_into().ok()?).to_string(),
        21 => i16::from_be_bytes(bytes.try_into().ok()?).to_string(),
        23 => i32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        26 => u32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        700 => f32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        701 => f64::from_be_bytes(bytes.try_into().ok()?).to_string(),
        id if TEXTS.contains(&id) => visible(std::str::from_utf8(bytes).ok()?).into_owned(),
        // jsonb: a version, then text
        3802 => match bytes.split_first()? {
            (1, text) => visible(std::str::from_utf8(text).ok()?).into_owned(),
            _ => return None,
        },
        2950 => uuid(bytes.try_into().ok()?),
        1082 => super::when::day(i32::from_be_bytes(bytes.try_into().ok()?))?,
        1114 => super::when::micros(i64::from_be_bytes(bytes.try_into().ok()?))?,
        1184 => format!(
            "{}+00",
            super::when::micros(i64::from_be_bytes(bytes.try_into().ok()?))?
        ),
        _ => return None,
    };
    Some(text)
}

fn uuid(bytes: [u8; 16]) -> String {
    let number = u128::from_be_bytes(bytes);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        number >> 96,
        (number >> 80) & 0xffff,
        (number >> 64) & 0xffff,
        (number >> 48) & 0xffff,
        number & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ColumnOrigin;

    #[test]
    fn binary_cells_read_as_their_type() {
        let cases = [
            (23, "0000002a", "42"),
            (20, "ffffffffffffffff", "-1"),
            (16, "01", "t"),
            (25, "1b5b", "\\x1b["),
            (
                2950,
                "00112233445566778899aabbccddeeff",
                "00112233-4455-6677-8899-aabbccddeeff",
            ),
            (1082, "00000001", "2000-01-02"),
            (1114, "0000000000000000", "2000-01-01 00:00:00"),
            (1184, "0000000000000001", "2000-01-01 00:00:00.000001+00"),
            (17, "00ff", "\\x00ff"),
            (23, "00", "\\x00"),
        ];
        for (type_id, hex, shown) in cases {
            let column = ColumnHead {
                name: "c".into(),
                origin: ColumnOrigin::Unknown,
                type_id,
                format: Format::Binary,
            };
            assert_eq!(
                show(&RecordedCell::Binary(hex.into()), Some(&column), 0),
                shown
            );
        }
    }

    #[test]
    fn a_cell_that_is_cut_says_so() {
        assert_eq!(
            show(&RecordedCell::Text("0123456789".into()), None, 4),
            "0123… (+6)"
        );
    }
}
