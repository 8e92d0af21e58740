//! Pure. Walks rows in PostgreSQL's DataRow layout (protocol section 55.7) and rewrites the masked
//! cells. The maskers below know nothing of this layout; another dialect's rows are another walk.

use bytes::{BufMut, BytesMut};

use super::cell::{Op, Written};
use super::net::{Desk, Finds, Seen};
use super::plan::MaskPlan;

/// A row frame could not be decoded under its plan: nothing of it is passed on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a row does not fit its plan: {0}")]
pub struct Undecodable(pub &'static str);

/// Type byte, length, column count.
const HEADER: usize = 1 + 4 + 2;

/// What a plan made of a run of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Went {
    /// Nothing: they are as they came, and nothing was written.
    Same,
    /// Other rows were written.
    Written,
}

/// Applies a plan to a run of whole PostgreSQL DataRow frames, appending to `out`. Stretches of
/// cells that pass are copied as they are; nothing is allocated but room in `out`.
///
/// # Errors
/// A frame is not a whole DataRow, or has other columns than the plan. `out` is then as before.
pub fn apply(plan: &MaskPlan, run: &[u8], out: &mut BytesMut) -> Result<(), Undecodable> {
    match work(plan, run, out, &mut Finds::default())? {
        Went::Same => out.extend_from_slice(run),
        Went::Written => {}
    }
    Ok(())
}

/// As `apply`, and counts what the content net finds. Writes nothing where no cell is changed.
pub(super) fn work(
    plan: &MaskPlan,
    run: &[u8],
    out: &mut BytesMut,
    finds: &mut Finds,
) -> Result<Went, Undecodable> {
    if plan.passes() {
        return Ok(Went::Same);
    }
    let before = out.len();
    let mut walk = Walk {
        plan,
        run,
        copied: 0,
        desk: Desk::new(finds),
        out,
    };
    let mut at = 0;
    while at < run.len() {
        match walk.one(at) {
            Ok(behind) => at = behind,
            Err(undecodable) => {
                out.truncate(before);
                return Err(undecodable);
            }
        }
    }
    if walk.copied == 0 {
        return Ok(Went::Same);
    }
    walk.copy_to(run.len());
    Ok(Went::Written)
}

struct Walk<'w, 'f> {
    plan: &'w MaskPlan,
    run: &'w [u8],
    /// So much of the run is in `out`, as it was or changed.
    copied: usize,
    desk: Desk<'f>,
    out: &'w mut BytesMut,
}

impl Walk<'_, '_> {
    /// Masks the frame that begins at a place of the run; gives where the next one does.
    fn one(&mut self, at: usize) -> Result<usize, Undecodable> {
        let rest = self.run.get(at..).unwrap_or_default();
        let Some((header, _)) = rest.split_first_chunk::<HEADER>() else {
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
            .and_then(|length| rest.split_at_checked(length))
        else {
            return Err(Undecodable("it is cut off"));
        };
        let end = self.run.len() - behind.len();
        let Some(mut cells) = frame.get(HEADER..) else {
            return Err(Undecodable("it is too short"));
        };
        let plan = self.plan;
        if usize::from(u16::from_be_bytes([e, f])) != plan.width() {
            return Err(Undecodable("it has another number of columns"));
        }
        // Where the frame begins in `out`, once a cell of it is changed.
        let mut start = None;
        for ((op, look), position) in plan.ops().zip(0..=u16::MAX) {
            let at_cell = end - cells.len();
            let (cell, after) = next_cell(cells)?;
            cells = after;
            let seen = match (op, look, cell) {
                (Op::Pass, None, _) | (Op::Pass, Some(_), None) => continue,
                (Op::Pass, Some(look), Some(cell)) => {
                    match self.desk.examine(look, position, cell) {
                        Seen::Same => continue,
                        seen => Some((look, seen)),
                    }
                }
                _ => None,
            };
            if start.is_none() {
                self.copy_to(at);
                start = Some(self.out.len());
            }
            self.copy_to(at_cell);
            self.copied = end - after.len();
            let (desk, out) = (&self.desk, &mut *self.out);
            write_cell(out, |out| match (seen, cell) {
                (Some((_, Seen::Edited)), Some(cell)) => {
                    desk.write(cell, out);
                    Written::Value
                }
                (Some((look, _)), cell) => look.whole().mask(cell, out),
                (None, cell) => op.mask(cell, out),
            })?;
        }
        if !cells.is_empty() {
            return Err(Undecodable("it has bytes behind its last cell"));
        }
        if let Some(start) = start {
            self.copy_to(end);
            let Ok(length) = i32::try_from(self.out.len() - start - 1) else {
                return Err(Undecodable("it would be too long"));
            };
            if let Some(place) = self.out.get_mut(start + 1..start + 5) {
                place.copy_from_slice(&length.to_be_bytes());
            }
        }
        Ok(end)
    }

    /// Copies what was not copied yet, up to a place of the run.
    fn copy_to(&mut self, place: usize) {
        if self.copied == 0 {
            self.out.reserve(self.run.len());
        }
        let rest = self.run.get(self.copied..place).unwrap_or_default();
        self.out.put_slice(rest);
        self.copied = place;
    }
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

fn write_cell(
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut) -> Written,
) -> Result<(), Undecodable> {
    let at = out.len();
    out.put_i32(-1);
    match write(out) {
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
    let behind = |run: &[u8]| {
        let (mut finds, mut sink) = (Finds::default(), BytesMut::new());
        let mut walk = Walk {
            plan: &plan,
            run,
            copied: 0,
            desk: Desk::new(&mut finds),
            out: &mut sink,
        };
        walk.one(0)
    };
    while !rest.is_empty() {
        rest = rest
            .get(behind(rest).unwrap_or(usize::MAX)..)
            .unwrap_or_default();
        let end = behind(masked);
        assert!(end.is_ok(), "what comes out is a row of the same width");
        masked = masked.get(end.unwrap_or(usize::MAX)..).unwrap_or_default();
    }
    assert!(masked.is_empty());
}
