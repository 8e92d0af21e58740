//! Pure. Row frames as delivered, taken apart into cells. The one file of this room that knows what
//! a row looks like; a new dialect adds an arm in `read`.

use std::mem;

use super::RecordedCell;
use crate::model::{Dialect, Format, ResultHead};

/// The rows of one statement, which may come in pieces.
#[derive(Debug)]
pub(super) struct RowReader {
    dialect: Dialect,
    cell_cap: usize,
    /// The beginning of a frame whose end has not come. Bounded by what the recorder lets in.
    pending: Vec<u8>,
}

impl RowReader {
    pub(super) fn new(dialect: Dialect, cell_cap: usize) -> Self {
        RowReader {
            dialect,
            cell_cap,
            pending: Vec::new(),
        }
    }

    /// Takes delivered bytes and appends the rows that are whole.
    pub(super) fn feed(
        &mut self,
        head: Option<&ResultHead>,
        bytes: &[u8],
        rows: &mut Vec<Vec<RecordedCell>>,
    ) {
        if self.pending.is_empty() {
            let rest = self.whole(head, bytes, rows);
            self.pending.extend_from_slice(rest);
            return;
        }
        let mut joined = mem::take(&mut self.pending);
        joined.extend_from_slice(bytes);
        let rest = self.whole(head, &joined, rows);
        let begins = joined.len() - rest.len();
        joined.drain(..begins);
        self.pending = joined;
    }

    /// The statement is over, or its cap is reached: what is there of a row is told as such.
    pub(super) fn end(&mut self, head: Option<&ResultHead>, rows: &mut Vec<Vec<RecordedCell>>) {
        let pending = mem::take(&mut self.pending);
        if let Some((tag, length, body)) = opening(&pending) {
            rows.push(self.read(head, tag, body, length));
        }
    }

    fn whole<'a>(
        &self,
        head: Option<&ResultHead>,
        mut input: &'a [u8],
        rows: &mut Vec<Vec<RecordedCell>>,
    ) -> &'a [u8] {
        while let Some((tag, length, rest)) = opening(input) {
            let Some((body, after)) = rest.split_at_checked(length) else {
                break;
            };
            rows.push(self.read(head, tag, body, length));
            input = after;
        }
        input
    }

    /// One frame's body of `length` bytes, or the beginning of it.
    fn read(
        &self,
        head: Option<&ResultHead>,
        tag: u8,
        body: &[u8],
        length: usize,
    ) -> Vec<RecordedCell> {
        match (self.dialect, tag) {
            (Dialect::Postgres, b'D') => self.data_row(head, body),
            // Copy data, and whatever else was let through: one cell.
            (Dialect::Postgres | Dialect::Mysql, _) => {
                let whole = body.len();
                vec![RecordedCell::delivered(
                    Format::Text,
                    body,
                    length.max(whole),
                    self.cell_cap,
                )]
            }
        }
    }

    /// PostgreSQL's DataRow: a count, then each cell's length (-1 is NULL) and bytes.
    fn data_row(&self, head: Option<&ResultHead>, body: &[u8]) -> Vec<RecordedCell> {
        let mut cells = Vec::new();
        let Some((_, mut input)) = body.split_first_chunk::<2>() else {
            return cells;
        };
        while let Some((length, rest)) = input.split_first_chunk::<4>() {
            let format = head
                .and_then(|head| head.columns.get(cells.len()))
                .map_or(Format::Text, |column| column.format);
            let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
                cells.push(RecordedCell::Null);
                input = rest;
                continue;
            };
            let Some((value, after)) = rest.split_at_checked(length) else {
                // The cap fell into this cell.
                cells.push(RecordedCell::delivered(format, rest, length, self.cell_cap));
                break;
            };
            cells.push(RecordedCell::delivered(
                format,
                value,
                length,
                self.cell_cap,
            ));
            input = after;
        }
        cells
    }
}

/// Tag, body length and what follows the frame's head.
fn opening(input: &[u8]) -> Option<(u8, usize, &[u8])> {
    let (tag, rest) = input.split_first()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    // The length counts itself. A shorter one cannot come from the wire room, and stops us.
    let length = usize::try_from(u32::from_be_bytes(*length))
        .ok()?
        .checked_sub(4)?;
    Some((*tag, length, rest))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A DataRow frame.
    pub(crate) fn data_row(cells: &[Option<&[u8]>]) -> Vec<u8> {
        let mut body = (cells.len() as u16).to_be_bytes().to_vec();
        for cell in cells {
            body.extend(cell.map_or(-1, |c| c.len() as i32).to_be_bytes());
            body.extend(cell.unwrap_or_default());
        }
        let mut frame = vec![b'D'];
        frame.extend((body.len() as u32 + 4).to_be_bytes());
        frame.extend(body);
        frame
    }

    fn text(text: &str) -> RecordedCell {
        RecordedCell::Text(text.to_owned())
    }

    #[test]
    fn rows_come_out_the_same_however_they_are_cut() {
        let mut bytes = data_row(&[Some(b"1"), None]);
        bytes.extend(data_row(&[Some(b"22"), Some(b"")]));
        let expected = vec![
            vec![text("1"), RecordedCell::Null],
            vec![text("22"), text("")],
        ];
        for cut in 0..=bytes.len() {
            let mut reader = RowReader::new(Dialect::Postgres, 100);
            let mut rows = Vec::new();
            reader.feed(None, &bytes[..cut], &mut rows);
            reader.feed(None, &bytes[cut..], &mut rows);
            reader.end(None, &mut rows);
            assert_eq!(rows, expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_row_cut_by_the_cap_says_how_long_its_cell_was() {
        let bytes = data_row(&[Some(b"abc"), Some(b"0123456789")]);
        let mut reader = RowReader::new(Dialect::Postgres, 100);
        let mut rows = Vec::new();
        reader.feed(None, &bytes[..bytes.len() - 3], &mut rows);
        assert!(rows.is_empty());
        reader.end(None, &mut rows);
        let begins = |text: &str, length| RecordedCell::Begins {
            text: text.to_owned(),
            length,
        };
        assert_eq!(rows, [vec![text("abc"), begins("0123456", 10)]]);
        // Above the cap of a cell, of copy data, and of what is cut within a character or is no text.
        let row = data_row(&[Some("äöü".as_bytes()), Some(b"\xff\xfe\xfd\xfc\xfb\xfa")]);
        let mut reader = RowReader::new(Dialect::Postgres, 5);
        let mut rows = Vec::new();
        reader.feed(None, &row, &mut rows);
        assert_eq!(rows, [vec![begins("äö", 6), RecordedCell::Long(6)]]);
        let mut rows = Vec::new();
        reader.feed(None, b"d\0\0\0\x0c1\tAda\tx\n", &mut rows);
        reader.feed(None, b"d\0\0\0\x0c2\tB", &mut rows);
        reader.end(None, &mut rows);
        assert_eq!(rows, [vec![begins("1\tAda", 8)], vec![begins("2\tB", 8)]]);
    }

    #[test]
    fn any_bytes_are_read_without_harm() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let mut reader = RowReader::new(Dialect::Postgres, 16);
            let mut rows = Vec::new();
            reader.feed(None, bytes, &mut rows);
            reader.end(None, &mut rows);
        });
    }
}
