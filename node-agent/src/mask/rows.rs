//! Pure. Walks rows in PostgreSQL's DataRow layout (protocol section 55.7) and rewrites the masked
//! cells. The maskers below know nothing of this layout; another dialect's rows are another walk.

use bytes::{BufMut, BytesMut};

use super::cell::{Op, Written};
use super::plan::MaskPlan;

/// A row frame could not be decoded under its plan: nothing of it is passed on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a row does not fit its plan: {0}")]
pub struct Undecodable(pub &'static str);

/// Type byte, length, column count.
const HEADER: usize = 1 + 4 + 2;

/// Applies a plan to a run of whole PostgreSQL DataRow frames, appending to `out`. Stretches of
/// cells that pass are copied as they are; nothing is allocated but room in `out`.
///
/// # Errors
/// A frame is not a whole DataRow, or has other columns than the plan. `out` is then as before.
pub fn apply(plan: &MaskPlan, run: &[u8], out: &mut BytesMut) -> Result<(), Undecodable> {
    if plan.passes() {
        out.extend_from_slice(run);
        return Ok(());
    }
    let before = out.len();
    out.reserve(run.len());
    let mut rest = run;
    while !rest.is_empty() {
        match one(plan, rest, out) {
            Ok(behind) => rest = behind,
            Err(undecodable) => {
                out.truncate(before);
                return Err(undecodable);
            }
        }
    }
    Ok(())
}

/// Masks the first frame of `run`; gives what is behind it.
fn one<'a>(plan: &MaskPlan, run: &'a [u8], out: &mut BytesMut) -> Result<&'a [u8], Undecodable> {
    let Some((header, _)) = run.split_first_chunk::<HEADER>() else {
        return Err(Undecodable("it is cut off"));
    };
    let [kind, a, b, c, d, e, f] = *header;
    if kind != b'D' {
        return Err(Undecodable("it is no row"));
    }
    // The length counts itself but not the type byte.
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    let Some((frame, behind)) = length
        .checked_add(1)
        .and_then(|length| run.split_at_checked(length))
    else {
        return Err(Undecodable("it is cut off"));
    };
    let Some(mut cells) = frame.get(HEADER..) else {
        return Err(Undecodable("it is too short"));
    };
    if usize::from(u16::from_be_bytes([e, f])) != plan.width() {
        return Err(Undecodable("it has another number of columns"));
    }

    let start = out.len();
    // What passes is copied in stretches: `held` is the part of the frame not copied yet.
    let mut held = frame;
    for op in plan.ops() {
        let at_cell = cells;
        let (cell, after) = next_cell(cells)?;
        cells = after;
        if *op == Op::Pass {
            continue;
        }
        let stretch = held.len() - at_cell.len();
        out.put_slice(held.get(..stretch).unwrap_or_default());
        held = after;
        write_cell(op, cell, out)?;
    }
    if !cells.is_empty() {
        return Err(Undecodable("it has bytes behind its last cell"));
    }
    out.put_slice(held);
    let Ok(length) = i32::try_from(out.len() - start - 1) else {
        return Err(Undecodable("it would be too long"));
    };
    if let Some(place) = out.get_mut(start + 1..start + 5) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Ok(behind)
}

type Cell<'a> = Option<&'a [u8]>;

fn next_cell(cells: &[u8]) -> Result<(Cell<'_>, &[u8]), Undecodable> {
    let Some((length, rest)) = cells.split_first_chunk::<4>() else {
        return Err(Undecodable("a cell is cut off"));
    };
    match i32::from_be_bytes(*length) {
        -1 => Ok((None, rest)),
        length => {
            let length = usize::try_from(length).map_err(|_| Undecodable("a cell's length"))?;
            let (cell, rest) = rest
                .split_at_checked(length)
                .ok_or(Undecodable("a cell is cut off"))?;
            Ok((Some(cell), rest))
        }
    }
}

fn write_cell(op: &Op, cell: Cell<'_>, out: &mut BytesMut) -> Result<(), Undecodable> {
    let at = out.len();
    out.put_i32(-1);
    match op.mask(cell, out) {
        // A masker that gave up half way leaves nothing behind.
        Written::Null => out.truncate(at + 4),
        Written::Value => {
            let length = i32::try_from(out.len() - at - 4)
                .map_err(|_| Undecodable("a cell would be too long"))?;
            if let Some(place) = out.get_mut(at..at + 4) {
                place.copy_from_slice(&length.to_be_bytes());
            }
        }
    }
    Ok(())
}

/// The body of the fuzz target: the first bytes choose a plan, the rest is the run. Must not panic;
/// what comes out must be rows of the same number and width, and nothing on an error.
#[cfg(any(test, feature = "fuzzing"))]
pub fn fuzz_mask_rows(bytes: &[u8]) {
    use crate::model::{Format, Secret};
    use crate::policy::{DateUnit, JsonMask, JsonPath, Masker, PartMasker};

    let Some((&[width, seed], run)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let key = super::MaskKey::new(&Secret::new([7; 32]));
    let maskers = [
        Masker::Redact,
        Masker::Null,
        Masker::KeepLast(4),
        Masker::KeepFirst(u32::MAX),
        Masker::Hash,
        Masker::Token,
        Masker::DateTrunc(DateUnit::Year),
        Masker::DateTrunc(DateUnit::Month),
        Masker::Json(JsonMask {
            paths: ["$.a", "$..b[*].c"]
                .iter()
                .filter_map(|path| JsonPath::new(path).ok())
                .collect(),
            with: PartMasker::KeepLast(1),
        }),
    ];
    let types = [
        25, 1042, 21, 23, 20, 2950, 1082, 1114, 1184, 114, 3802, 17, 99_999, 700, 701, 1700, 869,
        650, 829, 774, 1083, 1266, 1186, 1560, 1562, 142, 1009, 1007, 3807, 1231, 1187, 1001,
    ];
    let mut state = usize::from(seed);
    let mut pick = |count: usize| {
        state = state.wrapping_mul(31).wrapping_add(17);
        (state >> 3) % count
    };
    let ops = (0..usize::from(width % 8))
        .map(|_| {
            let format = if pick(2) == 0 {
                Format::Text
            } else {
                Format::Binary
            };
            let masker = maskers.get(pick(maskers.len()));
            let type_id = types.get(pick(types.len())).copied().unwrap_or_default();
            let passes = pick(4) == 0;
            masker
                .filter(|_| !passes)
                .map_or(Op::Pass, |m| Op::of(m, type_id, format, &key))
        })
        .collect();
    let plan = MaskPlan::of_ops(ops);
    let mut out = BytesMut::from(&b"before"[..]);
    if apply(&plan, run, &mut out).is_err() {
        assert_eq!(out, &b"before"[..]);
        return;
    }
    if plan.passes() {
        return;
    }
    let (mut rest, mut masked) = (run, out.get(6..).unwrap_or_default());
    while !rest.is_empty() {
        let mut again = BytesMut::new();
        rest = one(&plan, rest, &mut again).unwrap_or_default();
        let mut sink = BytesMut::new();
        let behind = one(&plan, masked, &mut sink);
        assert!(behind.is_ok(), "what comes out is a row of the same width");
        masked = behind.unwrap_or_default();
    }
    assert!(masked.is_empty());
}
