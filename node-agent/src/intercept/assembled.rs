// SPDX-License-Identifier: Apache-2.0 OR MIT OR GPL-2.0-only
//! Two programs of the optional layers, written instruction by instruction.
//!
//! They are not in the object with the others for two reasons: the kernel runs either kind only of a
//! program that says it may be used under the GPL (this file may), and the loader knows neither
//! section nor attachment of the second. Each begins by asking whose task it is, as the object's
//! own programs do, and refuses nothing to a task without a label.

use std::os::fd::{AsRawFd, BorrowedFd};

use node_agent_common::layer::{
    CELL_FAMILIES, CELL_ODD, CELL_TOLD, CELL_UNIX, EVENT_REFUSED_FAMILY, EVENT_REFUSED_UNIX,
    Refusal, TOLD_EVERY_NANOS, UnixName,
};
use node_agent_common::rule::{FAMILIES, MAX_DEPTH};

/// What the kernel wants to read for these programs.
pub(super) const LICENSE: &std::ffi::CStr = c"Dual MIT/GPL";

/// The maps and the number that the programs have built in.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) labels: BorrowedFd<'a>,
    pub(super) cells: BorrowedFd<'a>,
    pub(super) events: BorrowedFd<'a>,
    pub(super) paths: BorrowedFd<'a>,
    pub(super) agent: u64,
}

/// Where the kernel's own side of a `bpf_sock_addr` has what is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// The pointer to the address.
    pub(super) address: u32,
    /// Its length.
    pub(super) length: u32,
}

/// How much of that structure is read.
pub(super) const LAYOUT_ROOM: u32 = 64;

// Registers. 6 to 9 survive calls; 10 is the end of the stack.
const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
const R4: u8 = 4;
const CONTEXT: u8 = 6;
const R7: u8 = 7;
const R8: u8 = 8;
const LABEL: u8 = 9;
const STACK: u8 = 10;

// Helpers (linux/bpf.h, `__BPF_FUNC_MAPPER`).
const MAP_LOOKUP: i32 = 1;
const KTIME: i32 = 5;
const PID_TGID: i32 = 14;
const UID_GID: i32 = 15;
const COMM: i32 = 16;
const CGROUP_ID: i32 = 80;
const READ_KERNEL: i32 = 113;
const READ_KERNEL_STRING: i32 = 115;
const ANCESTOR_CGROUP_ID: i32 = 123;
const RING_OUTPUT: i32 = 130;

// Places on the stack.
const SCRATCH: i16 = -8;
const REFUSAL: i16 = SCRATCH - size_of::<Refusal>() as i16;
const NAME: i16 = REFUSAL + std::mem::offset_of!(Refusal, name) as i16;
const KEY: i16 = REFUSAL - size_of::<UnixName>() as i16;
const KEY_NAME: i16 = KEY + std::mem::offset_of!(UnixName, name) as i16;
const LAYOUT: i16 = KEY - LAYOUT_ROOM as i16;

/// A place in the program, fixed when all of it is written.
#[derive(Clone, Copy)]
struct Mark(usize);

#[derive(Default)]
struct Assembler {
    code: Vec<u64>,
    marks: Vec<Option<usize>>,
    jumps: Vec<(usize, Mark)>,
}

impl Assembler {
    fn put(&mut self, operation: u8, to: u8, from: u8, offset: i16, number: i32) {
        let [low, high] = offset.to_ne_bytes();
        let [a, b, c, d] = number.to_ne_bytes();
        let registers = if cfg!(target_endian = "little") {
            to | from << 4
        } else {
            from | to << 4
        };
        self.code.push(u64::from_ne_bytes([
            operation, registers, low, high, a, b, c, d,
        ]));
    }

    fn mark(&mut self) -> Mark {
        self.marks.push(None);
        Mark(self.marks.len().saturating_sub(1))
    }

    fn here(&mut self, mark: Mark) {
        let at = self.code.len();
        if let Some(place) = self.marks.get_mut(mark.0) {
            *place = Some(at);
        }
    }

    fn jump(&mut self, operation: u8, register: u8, number: i32, mark: Mark) {
        self.jumps.push((self.code.len(), mark));
        self.put(operation, register, 0, 0, number);
    }

    fn go(&mut self, mark: Mark) {
        self.jump(0x05, 0, 0, mark);
    }

    fn if_equal(&mut self, register: u8, number: i32, mark: Mark) {
        self.jump(0x15, register, number, mark);
    }

    fn if_not_equal(&mut self, register: u8, number: i32, mark: Mark) {
        self.jump(0x55, register, number, mark);
    }

    fn if_below(&mut self, register: u8, number: i32, mark: Mark) {
        self.jump(0xa5, register, number, mark);
    }

    fn if_above(&mut self, register: u8, number: i32, mark: Mark) {
        self.jump(0x25, register, number, mark);
    }

    fn set(&mut self, register: u8, number: i32) {
        self.put(0xb7, register, 0, 0, number);
    }

    fn copy(&mut self, to: u8, from: u8) {
        self.put(0xbf, to, from, 0, 0);
    }

    fn add(&mut self, register: u8, number: i32) {
        self.put(0x07, register, 0, 0, number);
    }

    fn shift_right(&mut self, register: u8, bits: i32) {
        self.put(0x77, register, 0, 0, bits);
    }

    /// Keeps the low half.
    fn half(&mut self, register: u8) {
        self.put(0x67, register, 0, 0, 32);
        self.shift_right(register, 32);
    }

    fn load(&mut self, to: u8, base: u8, offset: i16) {
        self.put(0x79, to, base, offset, 0);
    }

    fn load_half(&mut self, to: u8, base: u8, offset: i16) {
        self.put(0x61, to, base, offset, 0);
    }

    fn load_byte(&mut self, to: u8, base: u8, offset: i16) {
        self.put(0x71, to, base, offset, 0);
    }

    fn store(&mut self, base: u8, offset: i16, from: u8) {
        self.put(0x7b, base, from, offset, 0);
    }

    fn store_half(&mut self, base: u8, offset: i16, from: u8) {
        self.put(0x63, base, from, offset, 0);
    }

    /// The address of a place on the stack.
    fn place(&mut self, register: u8, offset: i16) {
        self.copy(register, STACK);
        self.add(register, offset.into());
    }

    fn wide(&mut self, register: u8, source: u8, number: u64) {
        let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
        self.put(0x18, register, source, 0, i32::from_le_bytes([a, b, c, d]));
        self.put(0, 0, 0, 0, i32::from_le_bytes([e, f, g, h]));
    }

    fn map(&mut self, register: u8, map: BorrowedFd<'_>) {
        // BPF_PSEUDO_MAP_FD.
        self.wide(register, 1, u64::from(map.as_raw_fd().cast_unsigned()));
    }

    fn call(&mut self, helper: i32) {
        self.put(0x85, 0, 0, 0, helper);
    }

    fn leave(&mut self, answer: i32) {
        self.set(R0, answer);
        self.put(0x95, 0, 0, 0, 0);
    }

    /// Makes all of the stack that is used zero.
    fn clear(&mut self) {
        let mut at = SCRATCH;
        while at >= LAYOUT {
            self.put(0x7a, STACK, 0, at, 0);
            at -= 8;
        }
    }

    /// The cell's address in register 0, or on to the mark.
    fn cell(&mut self, parts: &Parts<'_>, cell: u32, without: Mark) {
        self.put(0x62, STACK, 0, SCRATCH, cell.cast_signed());
        self.map(R1, parts.cells);
        self.place(R2, SCRATCH);
        self.call(MAP_LOOKUP);
        self.if_equal(R0, 0, without);
    }

    fn count(&mut self, parts: &Parts<'_>, cell: u32) {
        let without = self.mark();
        self.cell(parts, cell, without);
        self.set(R1, 1);
        self.put(0xdb, R0, R1, 0, 0); // atomic
        self.here(without);
    }

    /// The label of the running task, of its outermost labelled ancestor, into its register; on to
    /// the mark for the agent itself and for what is not labelled.
    fn whose(&mut self, parts: &Parts<'_>, nobody: Mark) {
        self.call(CGROUP_ID);
        self.wide(R1, 0, parts.agent);
        self.jumps.push((self.code.len(), nobody));
        self.put(0x1d, R0, R1, 0, 0);
        let (again, found) = (self.mark(), self.mark());
        self.set(R8, 1);
        self.here(again);
        self.copy(R1, R8);
        self.call(ANCESTOR_CGROUP_ID);
        self.if_equal(R0, 0, nobody);
        self.store(STACK, SCRATCH, R0);
        self.map(R1, parts.labels);
        self.place(R2, SCRATCH);
        self.call(MAP_LOOKUP);
        self.if_not_equal(R0, 0, found);
        self.add(R8, 1);
        self.if_below(R8, MAX_DEPTH.saturating_add(1).cast_signed(), again);
        self.go(nobody);
        self.here(found);
        self.load_half(LABEL, R0, 0);
    }

    /// Tells of the refusal, unless one was told of a moment ago.
    fn tell(&mut self, parts: &Parts<'_>, kind: u32, number: u8) {
        let at = |offset: usize| REFUSAL + offset as i16;
        let quiet = self.mark();
        self.store_half(STACK, at(std::mem::offset_of!(Refusal, number)), number);
        self.cell(parts, CELL_TOLD, quiet);
        self.copy(R7, R0);
        self.call(KTIME);
        self.load(R1, R7, 0);
        self.copy(R2, R0);
        self.put(0x1f, R2, R1, 0, 0); // how long ago
        self.if_below(R2, TOLD_EVERY_NANOS, quiet);
        self.store(R7, 0, R0);
        self.set(R1, kind.cast_signed());
        self.store_half(STACK, at(0), R1);
        self.call(CGROUP_ID);
        self.store(STACK, at(std::mem::offset_of!(Refusal, cgroup)), R0);
        self.store_half(STACK, at(std::mem::offset_of!(Refusal, label)), LABEL);
        self.call(PID_TGID);
        self.shift_right(R0, 32);
        self.store_half(STACK, at(std::mem::offset_of!(Refusal, pid)), R0);
        self.call(UID_GID);
        self.store_half(STACK, at(std::mem::offset_of!(Refusal, uid)), R0);
        self.place(R1, at(std::mem::offset_of!(Refusal, comm)));
        self.set(R2, 16);
        self.call(COMM);
        self.map(R1, parts.events);
        self.place(R2, REFUSAL);
        self.set(R3, size_of::<Refusal>() as i32);
        self.set(R4, 0);
        self.call(RING_OUTPUT);
        self.here(quiet);
    }

    fn finish(mut self) -> Vec<u64> {
        for (at, mark) in std::mem::take(&mut self.jumps) {
            let to = self.marks.get(mark.0).copied().flatten();
            let distance = to.and_then(|to| {
                let to = i64::try_from(to).ok()?;
                i16::try_from(to - i64::try_from(at).ok()? - 1).ok()
            });
            if let (Some(distance), Some(code)) = (distance, self.code.get_mut(at)) {
                let [a, b, _, _, rest @ ..] = code.to_ne_bytes();
                let [low, high] = distance.to_ne_bytes();
                let [c, d, e, f] = rest;
                *code = u64::from_ne_bytes([a, b, low, high, c, d, e, f]);
            }
        }
        self.code
    }
}

/// `lsm/socket_create(family, type, protocol, kern)`: a labelled task makes sockets of no family
/// that leads off the node and that the other hooks do not see.
pub(super) fn socket_create(parts: &Parts<'_>) -> Vec<u64> {
    let mut asm = Assembler::default();
    let allow = asm.mark();
    asm.copy(CONTEXT, R1);
    asm.load(R7, CONTEXT, 0);
    asm.half(R7);
    for family in FAMILIES {
        asm.if_equal(R7, family.cast_signed(), allow);
    }
    asm.clear();
    // Whoever asks: it shows that the kernel runs this program at all.
    asm.count(parts, CELL_ODD);
    asm.load(R1, CONTEXT, 24);
    asm.half(R1);
    asm.if_not_equal(R1, 0, allow); // the kernel's own
    asm.whose(parts, allow);
    asm.count(parts, CELL_FAMILIES);
    asm.copy(R8, R7);
    asm.tell(parts, EVENT_REFUSED_FAMILY, R8);
    asm.leave(-libc::EPERM);
    asm.here(allow);
    asm.leave(0);
    asm.finish()
}

/// `connect()` and `sendto()` on unix sockets: a labelled task reaches the names it is allowed to,
/// letter by letter. Whatever cannot be read is not allowed.
pub(super) fn unix(parts: &Parts<'_>, layout: Layout) -> Vec<u64> {
    let mut asm = Assembler::default();
    let (allow, refuse, path, known) = (asm.mark(), asm.mark(), asm.mark(), asm.mark());
    asm.copy(CONTEXT, R1);
    asm.whose(parts, allow);
    asm.clear();
    asm.set(R8, 0);
    // The kernel's side of the context: to the verifier its address is a number like any other.
    asm.place(R1, LAYOUT);
    asm.set(R2, LAYOUT_ROOM.cast_signed());
    asm.copy(R3, CONTEXT);
    asm.call(READ_KERNEL);
    asm.if_not_equal(R0, 0, refuse);
    asm.load(R7, STACK, LAYOUT + layout.address as i16);
    asm.load_half(R8, STACK, LAYOUT + layout.length as i16);
    // The family, and a name of 1 to 108 bytes.
    asm.if_below(R8, 3, refuse);
    asm.if_above(R8, 110, refuse);
    asm.add(R8, -2);
    asm.place(R1, NAME);
    asm.copy(R2, R8);
    asm.copy(R3, R7);
    asm.add(R3, 2);
    asm.call(READ_KERNEL);
    asm.if_not_equal(R0, 0, refuse);
    asm.load_byte(R1, STACK, NAME);
    asm.if_not_equal(R1, 0, path);
    // An abstract name is all of its bytes, also zeroes at its end.
    asm.store_half(STACK, KEY, R8);
    asm.place(R1, KEY_NAME);
    asm.set(R2, 112);
    asm.place(R3, NAME);
    asm.call(READ_KERNEL);
    asm.go(known);
    // A path ends at its first zero byte, whatever is behind it.
    asm.here(path);
    asm.place(R1, KEY_NAME);
    asm.set(R2, 112);
    asm.place(R3, NAME);
    asm.call(READ_KERNEL_STRING);
    asm.here(known);
    asm.map(R1, parts.paths);
    asm.place(R2, KEY);
    asm.call(MAP_LOOKUP);
    asm.if_not_equal(R0, 0, allow);
    asm.here(refuse);
    asm.count(parts, CELL_UNIX);
    asm.tell(parts, EVENT_REFUSED_UNIX, R8);
    asm.leave(0);
    asm.here(allow);
    asm.leave(1);
    asm.finish()
}
