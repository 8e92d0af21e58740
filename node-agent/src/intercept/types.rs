//! The kernel's own description of its types (BTF, Documentation/bpf/btf.rst), as far as programs
//! that are loaded without a compiler ask: where a member lies, and which number a function has.

use std::fs;
use std::io;

/// The whole description, checked for its header only.
pub(super) struct Types {
    bytes: Vec<u8>,
    types: std::ops::Range<usize>,
    strings: std::ops::Range<usize>,
}

const MAGIC: u16 = 0xeb9f;

// Kinds.
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const INT: u32 = 1;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;
const ENUM64: u32 = 19;

/// The head of a description.
struct Head {
    name: u32,
    kind: u32,
    count: usize,
    /// Where what follows it begins, and where the next type does.
    from: usize,
    next: usize,
}

impl Types {
    /// Those of the running kernel.
    pub(super) fn of_kernel() -> io::Result<Self> {
        Types::read(fs::read("/sys/kernel/btf/vmlinux")?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no BTF of this machine's"))
    }

    fn read(bytes: Vec<u8>) -> Option<Self> {
        let header = usize::try_from(word(&bytes, 4)?).ok()?;
        if u16::from_ne_bytes(*bytes.first_chunk()?) != MAGIC {
            return None;
        }
        let part = |offset, length| {
            let start = header.checked_add(usize::try_from(word(&bytes, offset)?).ok()?)?;
            let end = start.checked_add(usize::try_from(word(&bytes, length)?).ok()?)?;
            (end <= bytes.len()).then_some(start..end)
        };
        let (types, strings) = (part(8, 12)?, part(16, 20)?);
        Some(Types {
            bytes,
            types,
            strings,
        })
    }

    /// Which number a function has.
    pub(super) fn function(&self, name: &str) -> Option<u32> {
        let mut number = 0_u32;
        self.walk(|this, head| {
            number = number.saturating_add(1);
            (head.kind == FUNC && this.is(head.name, name)).then_some(number)
        })
    }

    /// How many bytes before a member of a structure.
    pub(super) fn member(&self, structure: &str, member: &str) -> Option<u32> {
        self.walk(|this, head| {
            if head.kind != STRUCT || !this.is(head.name, structure) {
                return None;
            }
            (0..head.count).find_map(|at| {
                let from = head.from.checked_add(at.checked_mul(12)?)?;
                let name = word(&this.bytes, from)?;
                // Bits; a bit field would have its length in the highest byte.
                let bits = word(&this.bytes, from.checked_add(8)?)?;
                (this.is(name, member) && bits.is_multiple_of(8)).then_some(bits / 8)
            })
        })
    }

    fn walk<T>(&self, mut each: impl FnMut(&Self, &Head) -> Option<T>) -> Option<T> {
        let mut at = self.types.start;
        while at < self.types.end {
            let head = self.head(at)?;
            if let Some(found) = each(self, &head) {
                return Some(found);
            }
            at = head.next;
        }
        None
    }

    fn head(&self, at: usize) -> Option<Head> {
        let info = word(&self.bytes, at.checked_add(4)?)?;
        let kind = (info >> 24) & 0x1f;
        let count = usize::try_from(info & 0xffff).ok()?;
        let from = at.checked_add(12)?;
        let each = match kind {
            INT | VAR | DECL_TAG => return self.whole(at, kind, count, from, 4),
            ARRAY => return self.whole(at, kind, count, from, 12),
            STRUCT | UNION | DATASEC | ENUM64 => 12_usize,
            ENUM | FUNC_PROTO => 8,
            _ => 0,
        };
        self.whole(at, kind, count, from, count.checked_mul(each)?)
    }

    fn whole(&self, at: usize, kind: u32, count: usize, from: usize, more: usize) -> Option<Head> {
        Some(Head {
            name: word(&self.bytes, at)?,
            kind,
            count,
            from,
            next: from.checked_add(more)?,
        })
    }

    fn is(&self, offset: u32, name: &str) -> bool {
        let text = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.bytes.get(self.strings.clone())?.get(offset..))
            .unwrap_or_default();
        text.strip_prefix(name.as_bytes())
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `int`, `struct pair { int a; int bb; }`, `func run`.
    fn small() -> Vec<u8> {
        let strings = b"\0int\0pair\0a\0bb\0run\0";
        let types: Vec<u32> = [
            vec![1, INT << 24, 4, 32],
            vec![5, STRUCT << 24 | 2, 8, 10, 1, 0, 12, 1, 32],
            vec![0, FUNC_PROTO << 24 | 1, 0, 0, 1],
            vec![15, FUNC << 24, 3],
        ]
        .concat();
        let mut bytes = Vec::new();
        bytes.extend(MAGIC.to_ne_bytes());
        bytes.extend([1, 0]);
        let length = u32::try_from(types.len() * 4).unwrap();
        let text = u32::try_from(strings.len()).unwrap();
        for number in [24, 0, length, length, text] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend(types.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn members_and_functions_are_found_by_their_whole_names() {
        let types = Types::read(small()).unwrap();
        assert_eq!(types.member("pair", "a"), Some(0));
        assert_eq!(types.member("pair", "bb"), Some(4));
        assert_eq!(types.member("pair", "b"), None);
        assert_eq!(types.member("pai", "a"), None);
        assert_eq!(types.function("run"), Some(4));
        assert_eq!(types.function("int"), None);
    }

    #[test]
    fn a_description_that_is_cut_off_is_none() {
        let whole = small();
        for length in 0..whole.len() {
            let cut = whole.get(..length).unwrap().to_vec();
            assert!(Types::read(cut).is_none(), "{length}");
        }
    }
}
