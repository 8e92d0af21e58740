//! Pure. Arrays: each element is masked by itself, NULL elements stay NULL, dimensions stay.
//!
//! Text form: braces within braces, elements between commas, quoted where they must be, in front
//! `[2:4]=` where an index does not begin at 1 (`array_out` in PostgreSQL's `arrayfuncs.c`). Binary
//! form: count of dimensions, whether there are NULLs, the elements' type, four bytes each; per
//! dimension its length and first index, four bytes each; then the elements, each behind its length, -1
//! for NULL (`array_send` there).

use bytes::{BufMut, BytesMut};

use super::cell::{Op, Written};
use crate::model::Format;

/// `MAXDIM` of PostgreSQL's `array.h`.
const DIMENSIONS: usize = 6;

/// By how many bytes an array may grow: stand-ins can be longer than what they stand for.
const GROWTH: usize = 1 << 20;

/// What is done to the elements of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Elements {
    pub(super) op: Op,
    /// Their type.
    pub(super) type_id: u32,
    pub(super) format: Format,
}

/// Appends an array whose elements are masked. One that is not in the form its type says, or
/// would grow by more than `GROWTH`, becomes NULL.
pub(super) fn mask(elements: &Elements, value: &[u8], out: &mut BytesMut) -> Written {
    let written = match elements.format {
        Format::Text => mask_text(&elements.op, value, out),
        Format::Binary => mask_binary(elements, value, out),
    };
    written.map_or(Written::Null, |()| Written::Value)
}

fn mask_binary(elements: &Elements, value: &[u8], out: &mut BytesMut) -> Option<()> {
    let (dimensions, rest) = int(value)?;
    let (has_null, rest) = int(rest)?;
    let (type_id, mut rest) = rest.split_first_chunk::<4>()?;
    let dimensions = usize::try_from(dimensions).ok()?;
    if dimensions > DIMENSIONS
        || !matches!(has_null, 0 | 1)
        || u32::from_be_bytes(*type_id) != elements.type_id
    {
        return None;
    }
    let mut count = i64::from(dimensions > 0);
    for _ in 0..dimensions {
        let (length, behind) = int(rest)?;
        let (_first, behind) = int(behind)?;
        if length < 0 {
            return None;
        }
        count = count.checked_mul(i64::from(length))?;
        rest = behind;
    }
    let start = out.len();
    out.put_slice(value.get(..value.len() - rest.len())?);
    let mut nulls = has_null == 1;
    for _ in 0..count {
        if out.len() - start > value.len() + GROWTH {
            return None;
        }
        let (length, behind) = int(rest)?;
        let cell = if length == -1 {
            rest = behind;
            None
        } else {
            let (cell, behind) = behind.split_at_checked(usize::try_from(length).ok()?)?;
            rest = behind;
            Some(cell)
        };
        let at = out.len();
        out.put_i32(-1);
        match cell.map(|cell| elements.op.mask(Some(cell), out)) {
            None | Some(Written::Null) => {
                nulls = true;
                out.truncate(at + 4);
            }
            Some(Written::Value) => {
                let length = i32::try_from(out.len() - at - 4).ok()?;
                out.get_mut(at..at + 4)?
                    .copy_from_slice(&length.to_be_bytes());
            }
        }
    }
    // A masker may have made the first NULL of it.
    out.get_mut(start + 4..start + 8)?
        .copy_from_slice(&i32::from(nulls).to_be_bytes());
    rest.is_empty().then_some(())
}

fn int(value: &[u8]) -> Option<(i32, &[u8])> {
    let (number, rest) = value.split_first_chunk::<4>()?;
    Some((i32::from_be_bytes(*number), rest))
}

fn mask_text(op: &Op, value: &[u8], out: &mut BytesMut) -> Option<()> {
    let start = out.len();
    let mut rest = value;
    if value.first() == Some(&b'[') {
        let equals = value.iter().position(|byte| *byte == b'=')?;
        let (bounds, behind) = value.split_at_checked(equals + 1)?;
        let shape = |byte: &u8| byte.is_ascii_digit() || b"[]:-=".contains(byte);
        if !bounds.iter().all(shape) {
            return None;
        }
        out.put_slice(bounds);
        rest = behind;
    }
    if rest == b"{}" {
        out.put_slice(rest);
        return Some(());
    }
    let mut depth = 0_usize;
    let (mut element, mut masked) = (Vec::new(), BytesMut::new());
    loop {
        if out.len() - start > value.len() + GROWTH {
            return None;
        }
        // Here begins an array or an element.
        if let Some(inner) = rest.strip_prefix(b"{") {
            depth += 1;
            if depth > DIMENSIONS {
                return None;
            }
            out.put_u8(b'{');
            rest = inner;
            continue;
        }
        if depth == 0 {
            return None;
        }
        let (quoted, behind) = read_element(rest, &mut element)?;
        rest = behind;
        masked.clear();
        if quoted == Quoted::No && element == b"NULL" {
            out.put_slice(b"NULL");
        } else {
            match op.mask(Some(&element), &mut masked) {
                Written::Null => out.put_slice(b"NULL"),
                Written::Value => put_quoted(&masked, out),
            }
        }
        // Behind an element or an array comes the next, or the end of what holds it.
        loop {
            let (next, behind) = rest.split_first()?;
            rest = behind;
            out.put_u8(*next);
            match next {
                b',' => break,
                b'}' => {
                    depth -= 1;
                    if depth == 0 {
                        return rest.is_empty().then_some(());
                    }
                }
                _ => return None,
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quoted {
    Yes,
    No,
}

/// Reads one element without its quotes; gives what is behind it.
fn read_element<'a>(text: &'a [u8], element: &mut Vec<u8>) -> Option<(Quoted, &'a [u8])> {
    element.clear();
    let Some(mut rest) = text.strip_prefix(b"\"") else {
        let special = |byte: &u8| b",{}\"\\".contains(byte);
        let end = text.iter().position(special)?;
        let (plain, behind) = text.split_at_checked(end)?;
        element.extend_from_slice(plain);
        return (!plain.is_empty()).then_some((Quoted::No, behind));
    };
    loop {
        let stop = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        let (plain, behind) = rest.split_at_checked(stop)?;
        element.extend_from_slice(plain);
        match behind {
            [b'"', behind @ ..] => return Some((Quoted::Yes, behind)),
            [b'\\', escaped, behind @ ..] => {
                element.push(*escaped);
                rest = behind;
            }
            _ => return None,
        }
    }
}

/// Quotes always: what needs none may have them.
fn put_quoted(element: &[u8], out: &mut BytesMut) {
    out.put_u8(b'"');
    for byte in element {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(*byte);
    }
    out.put_u8(b'"');
}
