//! Pure. Rows written as copy data: CopyOutResponse, a CopyData message a row, CopyDone (protocol
//! section 55.2.7), in the text and CSV forms of COPY (documentation of COPY, "File Formats").
//!
//! Only masked rows are taken, so that no copy can be made of others. What the database itself would
//! have written for the same rows is written, byte for byte.

use bytes::{BufMut, BytesMut};

use crate::mask::{MaskedRows, Undecodable};
use crate::sql::{CopyForm, CopyLayout};
use crate::wire::copied::{Copied, CopiedCells};
use crate::wire::reader::Reader;
use crate::wire::{Garbled, Peer};

use super::frame;

/// Copy data begins: its head, and the line of names if the copy wants one.
pub(super) fn begin(copied: &Copied, out: &mut BytesMut) {
    let width = copied.width();
    frame::message(out, b'H', |out| {
        out.put_u8(0);
        // A result has no more columns than fit.
        out.put_u16(u16::try_from(width).unwrap_or(u16::MAX));
        out.put_bytes(0, width * 2);
    });
    if copied.layout.header {
        let columns = copied.columns.iter();
        let names = columns.map(|column| {
            let cells = match column.cells {
                // What forces quotes forces them around values.
                CopiedCells::Plain | CopiedCells::Quoted => CopiedCells::Plain,
                CopiedCells::LeftOut => CopiedCells::LeftOut,
            };
            Ok((cells, Some(column.name.as_bytes())))
        });
        // Names are at hand: nothing of them can be cut off.
        let _ = line(&copied.layout, width, names, out);
    }
}

/// Some rows, each as its line.
///
/// # Errors
/// They are no rows of this copy. `out` is then as before.
pub(super) fn rows(
    copied: &Copied,
    rows: &MaskedRows,
    out: &mut BytesMut,
) -> Result<(), Undecodable> {
    let before = out.len();
    let written = each(copied, rows.bytes(), out);
    if written.is_err() {
        out.truncate(before);
    }
    written
}

fn each(copied: &Copied, mut run: &[u8], out: &mut BytesMut) -> Result<(), Undecodable> {
    let width = copied.width();
    while !run.is_empty() {
        let span = frame::span_of(run, 1);
        let (row, behind) = run
            .split_at_checked(span)
            .filter(|(row, _)| row.first() == Some(&b'D'))
            .ok_or(Undecodable("it is no row"))?;
        run = behind;
        let garbled = |_: Garbled| Undecodable("it is cut off");
        let mut reader = Reader::new(Peer::Server, "a row", frame::body(row));
        let count = reader.u16().map_err(garbled)?;
        if usize::from(count) != copied.columns.len() {
            return Err(Undecodable("it has another number of columns"));
        }
        let cells = copied.columns.iter().map(|column| {
            let length = reader.u32().map_err(garbled)?;
            let cell = match length {
                u32::MAX => None,
                length => Some(reader.take(length as usize).map_err(garbled)?),
            };
            Ok((column.cells, cell))
        });
        line(&copied.layout, width, cells, out)?;
        reader
            .end()
            .map_err(|_| Undecodable("it has bytes behind its last cell"))?;
    }
    Ok(())
}

/// Copy data is over, and the statement with it.
pub(super) fn end(rows: u64, out: &mut BytesMut) {
    frame::message(out, b'c', |_| {});
    frame::message(out, b'C', |out| frame::text(out, &format!("COPY {rows}")));
}

fn line<'a>(
    layout: &CopyLayout,
    width: usize,
    cells: impl Iterator<Item = Result<(CopiedCells, Option<&'a [u8]>), Undecodable>>,
    out: &mut BytesMut,
) -> Result<(), Undecodable> {
    let mut failed = Ok(());
    frame::message(out, b'd', |out| {
        let mut first = true;
        for cell in cells {
            let (cells, cell) = match cell {
                Ok(cell) => cell,
                Err(error) => {
                    failed = Err(error);
                    return;
                }
            };
            if cells == CopiedCells::LeftOut {
                continue;
            }
            if !std::mem::take(&mut first) {
                out.put_u8(layout.delimiter);
            }
            match cell {
                None => out.put_slice(layout.null.as_bytes()),
                Some(cell) => match layout.form {
                    CopyForm::Text => escaped(layout.delimiter, cell, out),
                    CopyForm::Csv { quote, escape, .. } => {
                        // Names too, though none is NULL (CopyAttributeOutCSV).
                        let looks = cell == layout.null.as_bytes();
                        let ends = width == 1 && cell == b"\\.";
                        let parts = [layout.delimiter, quote, b'\n', b'\r'];
                        let needs = cells == CopiedCells::Quoted || looks || ends;
                        if needs || cell.iter().any(|byte| parts.contains(byte)) {
                            in_quotes(quote, escape, cell, out);
                        } else {
                            out.put_slice(cell);
                        }
                    }
                },
            }
        }
        out.put_u8(b'\n');
    });
    failed
}

fn escaped(delimiter: u8, cell: &[u8], out: &mut BytesMut) {
    let mut held = cell;
    let special = |byte: &u8| {
        matches!(byte, b'\\' | 0x08 | b'\t' | b'\n' | 0x0b | 0x0c | b'\r') || *byte == delimiter
    };
    while let Some(at) = held.iter().position(special) {
        let (plain, rest) = held.split_at(at);
        out.put_slice(plain);
        let Some((byte, behind)) = rest.split_first() else {
            return;
        };
        out.put_u8(b'\\');
        out.put_u8(match byte {
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0b => b'v',
            0x0c => b'f',
            b'\r' => b'r',
            other => *other,
        });
        held = behind;
    }
    out.put_slice(held);
}

fn in_quotes(quote: u8, escape: u8, cell: &[u8], out: &mut BytesMut) {
    out.put_u8(quote);
    for byte in cell {
        if *byte == quote || *byte == escape {
            out.put_u8(escape);
        }
        out.put_u8(*byte);
    }
    out.put_u8(quote);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mask::MaskPlan;
    use crate::wire::copied::CopiedColumn;

    type Row = Vec<Option<Vec<u8>>>;

    fn frames(rows: &[Row]) -> MaskedRows {
        let mut out = BytesMut::new();
        for row in rows {
            frame::message(&mut out, b'D', |out| {
                out.put_u16(u16::try_from(row.len()).unwrap());
                for cell in row {
                    match cell {
                        None => out.put_i32(-1),
                        Some(cell) => {
                            out.put_u32(u32::try_from(cell.len()).unwrap());
                            out.put_slice(cell);
                        }
                    }
                }
            });
        }
        MaskedRows::pass(&MaskPlan::passing(), out.freeze()).unwrap()
    }

    fn copied(layout: CopyLayout, cells: &[CopiedCells]) -> Copied {
        let column = |(at, cells): (usize, &CopiedCells)| CopiedColumn {
            name: format!("c{at}").into(),
            cells: *cells,
        };
        Copied {
            columns: cells.iter().enumerate().map(column).collect(),
            layout,
        }
    }

    fn text() -> CopyLayout {
        CopyLayout {
            form: CopyForm::Text,
            delimiter: b'\t',
            null: "\\N".to_owned(),
            header: false,
        }
    }

    fn csv() -> CopyLayout {
        CopyLayout {
            form: CopyForm::Csv {
                quote: b'"',
                escape: b'"',
                force: crate::sql::ForceQuote::All,
            },
            delimiter: b',',
            null: String::new(),
            header: false,
        }
    }

    /// What the copy data of some rows says.
    fn lines(copied: &Copied, of: &[Row]) -> Vec<u8> {
        let mut out = BytesMut::new();
        rows(copied, &frames(of), &mut out).unwrap();
        let (mut all, mut rest) = (Vec::new(), &out[..]);
        while !rest.is_empty() {
            let (one, behind) = rest.split_at(frame::span_of(rest, 1));
            assert_eq!(one[0], b'd');
            all.extend_from_slice(frame::body(one));
            rest = behind;
        }
        all
    }

    #[test]
    fn cells_are_written_as_the_server_writes_them() {
        use CopiedCells::{LeftOut, Plain, Quoted};
        let some = |cells: &[&str]| -> Row {
            cells
                .iter()
                .map(|cell| (*cell != "NULL").then(|| cell.as_bytes().to_vec()))
                .collect()
        };
        let bar = CopyLayout {
            delimiter: b'|',
            null: "x".to_owned(),
            ..text()
        };
        let odd = CopyLayout {
            form: CopyForm::Csv {
                quote: b'\'',
                escape: b'\\',
                force: crate::sql::ForceQuote::All,
            },
            delimiter: b';',
            null: "nil".to_owned(),
            header: false,
        };
        for (layout, columns, row, line) in [
            (
                text(),
                vec![Plain; 3],
                some(&["a", "NULL", ""]),
                "a\t\\N\t\n",
            ),
            (
                text(),
                vec![Plain; 2],
                some(&["\u{8}\t\n\u{b}\u{c}\r\\", "\u{1b}é|"]),
                "\\b\\t\\n\\v\\f\\r\\\\\t\u{1b}é|\n",
            ),
            (
                bar,
                vec![Plain; 3],
                some(&["a|b", "NULL", "\t"]),
                "a\\|b|x|\\t\n",
            ),
            (text(), vec![Plain], some(&["\\."]), "\\\\.\n"),
            (csv(), vec![Plain; 3], some(&["a", "NULL", ""]), "a,,\"\"\n"),
            (
                csv(),
                vec![Plain; 3],
                some(&["a,b", "a\"b", "a\nb"]),
                "\"a,b\",\"a\"\"b\",\"a\nb\"\n",
            ),
            (csv(), vec![Plain], some(&["\\."]), "\"\\.\"\n"),
            (csv(), vec![Plain; 2], some(&["\\.", "\r"]), "\\.,\"\r\"\n"),
            (
                csv(),
                vec![Quoted, Quoted],
                some(&["a", "NULL"]),
                "\"a\",\n",
            ),
            (
                odd.clone(),
                vec![Plain; 3],
                some(&["nil", "NULL", "a'\\"]),
                "'nil';nil;'a\\'\\\\'\n",
            ),
            (
                odd,
                vec![Plain, LeftOut, Plain],
                some(&["a\\", "b", "c"]),
                "a\\;c\n",
            ),
            (text(), vec![LeftOut, Plain], some(&["a", "b"]), "b\n"),
            (text(), vec![], some(&[]), "\n"),
        ] {
            let copied = copied(layout, &columns);
            assert_eq!(String::from_utf8(lines(&copied, &[row])).unwrap(), line);
        }
    }

    #[test]
    fn a_copy_has_its_head_its_names_and_its_end() {
        use CopiedCells::{LeftOut, Plain, Quoted};
        let layout = CopyLayout {
            header: true,
            ..csv()
        };
        let copied = copied(layout, &[Plain, LeftOut, Quoted]);
        let mut out = BytesMut::new();
        begin(&copied, &mut out);
        end(3, &mut out);
        assert_eq!(
            &out[..],
            b"H\0\0\0\x0b\0\0\x02\0\0\0\0d\0\0\0\x0ac0,c2\nc\0\0\0\x04C\0\0\0\x0bCOPY 3\0"
        );
    }

    #[test]
    fn rows_of_another_width_are_none_of_the_copy() {
        let copied = copied(text(), &[CopiedCells::Plain]);
        let mut out = BytesMut::from(&b"before"[..]);
        let row = |width: usize| vec![Some(b"a".to_vec()); width];
        assert!(rows(&copied, &frames(&[row(1), row(2)]), &mut out).is_err());
        assert!(rows(&copied, &frames(&[row(0)]), &mut out).is_err());
        assert_eq!(&out[..], b"before");
    }

    /// As COPY FROM reads its text form: cells, or what is wrong.
    fn read_text(data: &[u8], delimiter: u8, null: &[u8]) -> Vec<Row> {
        let mut all = Vec::new();
        let (mut row, mut raw, mut cell) = (Row::new(), Vec::new(), Vec::new());
        let mut bytes = data.iter().copied();
        while let Some(byte) = bytes.next() {
            if byte == b'\n' || byte == delimiter {
                let value = (raw != null).then(|| std::mem::take(&mut cell));
                cell.clear();
                raw.clear();
                row.push(value);
                if byte == b'\n' {
                    all.push(std::mem::take(&mut row));
                }
                continue;
            }
            raw.push(byte);
            if byte != b'\\' {
                cell.push(byte);
                continue;
            }
            let next = bytes.next().unwrap();
            raw.push(next);
            cell.push(match next {
                b'b' => 8,
                b't' => b'\t',
                b'n' => b'\n',
                b'v' => 11,
                b'f' => 12,
                b'r' => b'\r',
                other => other,
            });
        }
        assert!(row.is_empty() && raw.is_empty(), "a line has no end");
        all
    }

    /// As COPY FROM reads CSV.
    fn read_csv(data: &[u8], delimiter: u8, quote: u8, escape: u8, null: &[u8]) -> Vec<Row> {
        let mut all = Vec::new();
        let (mut row, mut cell, mut was_quoted, mut within) =
            (Row::new(), Vec::new(), false, false);
        let mut at = 0;
        while let Some(&byte) = data.get(at) {
            at += 1;
            if within {
                let next = data.get(at).copied();
                if byte == escape && next.is_some_and(|n| n == escape || n == quote) {
                    cell.extend(next);
                    at += 1;
                } else if byte == quote {
                    within = false;
                } else {
                    cell.push(byte);
                }
            } else if byte == delimiter || byte == b'\n' {
                let is_null = !was_quoted && cell == null;
                row.push((!is_null).then(|| std::mem::take(&mut cell)));
                cell.clear();
                was_quoted = false;
                if byte == b'\n' {
                    all.push(std::mem::take(&mut row));
                }
            } else if byte == quote {
                (within, was_quoted) = (true, true);
            } else {
                cell.push(byte);
            }
        }
        assert!(row.is_empty() && !within, "a line has no end");
        all
    }

    fn cell() -> impl Strategy<Value = Option<Vec<u8>>> {
        let byte = prop_oneof![
            3 => proptest::sample::select(b"\\.,;|'\"\t\n\r\x08\x0b\x0cNabx".to_vec()),
            1 => 1..=255_u8,
        ];
        proptest::option::weighted(0.8, proptest::collection::vec(byte, 0..6))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            rows in (1..4_usize).prop_flat_map(|width| {
                proptest::collection::vec(proptest::collection::vec(cell(), width), 0..5)
            }),
            delimiter in proptest::sample::select(b"\t,;|".to_vec()),
            quote in proptest::sample::select(b"\"'".to_vec()),
            escape in proptest::sample::select(b"\"'\\".to_vec()),
            null in proptest::sample::select(vec!["", "\\N", "NULL", "x"]),
        ) {
            let width = rows.first().map_or(1, Vec::len);
            let of = |layout| copied(layout, &vec![CopiedCells::Plain; width]);
            // In text form a NULL is told from a value by what no value is written as.
            let null_of_text = "\\N".to_owned();
            let layout = CopyLayout { form: CopyForm::Text, delimiter, null: null_of_text, header: false };
            let written = lines(&of(layout), &rows);
            prop_assert_eq!(read_text(&written, delimiter, b"\\N"), rows.clone());
            let force = crate::sql::ForceQuote::Named(Vec::new());
            let form = CopyForm::Csv { quote, escape, force };
            let layout = CopyLayout { form, delimiter, null: null.to_owned(), header: false };
            let written = lines(&of(layout), &rows);
            prop_assert_eq!(read_csv(&written, delimiter, quote, escape, null.as_bytes()), rows);
        }

        #[test]
        fn no_bytes_make_it_panic_and_no_cut_changes_what_is_written(
            rows in proptest::collection::vec(proptest::collection::vec(cell(), 2), 1..6),
            cut in any::<proptest::sample::Index>(),
            noise in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let copied = copied(csv(), &[CopiedCells::Plain; 2]);
            let (one, other) = rows.split_at(cut.index(rows.len()));
            let apart = [lines(&copied, one), lines(&copied, other)].concat();
            prop_assert_eq!(apart, lines(&copied, &rows));
            let noise = MaskedRows::pass(&MaskPlan::passing(), noise.into()).unwrap();
            let mut out = BytesMut::new();
            if super::rows(&copied, &noise, &mut out).is_err() {
                prop_assert!(out.is_empty());
            }
        }
    }
}
