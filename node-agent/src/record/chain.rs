//! Pure. The file: a header, then blocks, each bound to everything before it by BLAKE3.
//!
//! ```text
//! header (32)  magic 8 · version u16 · flags u16 · zero u32 · session u64 · began i64 ms
//! block  (80)  payload length u32 · raw length u32 · flags u32 · zero u32 · number u64 · at i64 ms ·
//!              check 16 · hash 32
//!              payload (zstd: lines of JSON) · payload length again u32
//! ```
//!
//! All numbers little endian. `check` is over the previous hash and the fields before it, so that a
//! changed length is told from a file that merely ends early. `hash` is over `check` and the
//! payload; it is the previous hash of the next block. The first previous hash is the header's.
//! The length at the end lets a reader find the last block from the end of the file.

use crate::model::{SessionId, UnixMillis};

/// What a file of this layout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One session's events.
    Recording,
    /// A segment of the ledger.
    Ledger,
}

impl Kind {
    /// How such a file begins. With the header it is the root of the chain, so that no block of the
    /// one kind follows in a file of the other.
    fn magic(self) -> [u8; 8] {
        match self {
            Kind::Recording => *b"\x89NAREC\r\n",
            Kind::Ledger => *b"\x89NALED\r\n",
        }
    }
}

/// The layout that this version writes and reads.
const VERSION: u16 = 1;
/// Bytes of the file's header.
pub const HEADER: usize = 32;
/// Bytes before a block's payload.
pub const BLOCK_HEAD: usize = 80;
/// Bytes after a block's payload.
pub const BLOCK_TAIL: usize = 4;
/// The largest payload, packed or not, bytes. Bounds what a hostile file can make a reader hold.
pub const BLOCK_CAP: usize = 16 << 20;

const FLAG_LAST: u32 = 1;

/// What does not fit, at the first place where it does not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block {block} (byte {offset}): {what}")]
pub struct Damage {
    /// Which block, from 0; the file's own header counts with block 0.
    pub block: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// What is wrong.
    pub what: Wrong,
}

/// What is wrong with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Not this format at all.
    #[error("this is not a recording")]
    Magic,
    /// Written by a later version.
    #[error("written in layout {0}; this version reads layout {VERSION}")]
    Version(u16),
    /// The file's header has a field that this version never writes.
    #[error("the header was changed")]
    Header,
    /// The block's head is not the one that followed the block before: changed, moved, or a block
    /// before it is missing.
    #[error("does not follow what comes before it: changed, moved, or something before it is gone")]
    Head,
    /// A length above the cap, signed as it is.
    #[error("claims to be larger than {BLOCK_CAP} bytes")]
    Size,
    /// The payload is not the one that was written.
    #[error("its contents were changed")]
    Payload,
    /// The length after the payload is not the one before it.
    #[error("its end was changed")]
    Tail,
    /// The payload does not unpack to what was promised.
    #[error("its contents do not unpack")]
    Packing,
    /// The file bears the name of another session than its header.
    #[error("the file was renamed: it is another session's recording")]
    Renamed,
    /// Something follows the last block.
    #[error("something was added after the end")]
    AfterEnd,
    /// The block is not signed by this node.
    #[error("its signature is not by the node's key")]
    Signature,
}

/// The file's header, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose recording it is.
    pub session: SessionId,
    /// When it was begun.
    pub began: UnixMillis,
}

/// A block's head, read and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of its payload.
    pub payload: usize,
    /// Bytes that it unpacks to.
    pub raw: usize,
    /// Its number, from 0.
    pub number: u64,
    /// When it was sealed, by the wall clock.
    pub at: UnixMillis,
    /// Nothing follows it.
    pub last: bool,
    check: [u8; 16],
}

/// A block's head, read and not checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peeked {
    pub(super) payload: u32,
    pub(super) number: u64,
    pub(super) at: UnixMillis,
    pub(super) last: bool,
    pub(super) hash: [u8; 32],
}

/// The running end of the chain: the same for who writes and who verifies.
#[derive(Clone, Debug)]
pub struct Chain {
    previous: [u8; 32],
    next: u64,
    offset: u64,
    ended: bool,
}

impl Chain {
    /// A new file: its chain and its header's bytes.
    pub fn create(header: Header) -> (Chain, [u8; HEADER]) {
        Chain::create_as(Kind::Recording, header)
    }

    /// The same for a file of either kind.
    pub fn create_as(kind: Kind, header: Header) -> (Chain, [u8; HEADER]) {
        let mut bytes = [0; HEADER];
        let mut field = Fields(&mut bytes);
        field.put(&kind.magic());
        field.put(&VERSION.to_le_bytes());
        field.put(&[0; 6]);
        field.put(&header.session.0.to_le_bytes());
        field.put(&header.began.0.to_le_bytes());
        (Chain::after(&bytes), bytes)
    }

    /// May a file that begins with these bytes, and has no more, become one of this kind?
    pub(super) fn may_begin(kind: Kind, bytes: &[u8]) -> bool {
        let magic = kind.magic();
        bytes.iter().zip(&magic).all(|(have, want)| have == want)
    }

    /// Reads a recording's header.
    pub fn open(bytes: &[u8; HEADER]) -> Result<(Chain, Header), Damage> {
        Chain::open_as(Kind::Recording, bytes)
    }

    /// Reads the header of a file of either kind.
    pub fn open_as(kind: Kind, bytes: &[u8; HEADER]) -> Result<(Chain, Header), Damage> {
        let wrong = |what| Damage {
            block: 0,
            offset: 0,
            what,
        };
        let mut rest = &bytes[..];
        if take::<8>(&mut rest) != Some(kind.magic()) {
            return Err(wrong(Wrong::Magic));
        }
        let version = u16::from_le_bytes(take(&mut rest).unwrap_or_default());
        if version != VERSION {
            return Err(wrong(Wrong::Version(version)));
        }
        if take::<6>(&mut rest) != Some([0; 6]) {
            return Err(wrong(Wrong::Header));
        }
        let session = SessionId(u64::from_le_bytes(take(&mut rest).unwrap_or_default()));
        let began = UnixMillis(i64::from_le_bytes(take(&mut rest).unwrap_or_default()));
        Ok((Chain::after(bytes), Header { session, began }))
    }

    fn after(header: &[u8; HEADER]) -> Chain {
        let previous = *blake3::hash(header).as_bytes();
        Chain {
            previous,
            next: 0,
            offset: HEADER as u64,
            ended: false,
        }
    }

    /// The hash that stands for everything so far.
    pub fn hash(&self) -> &[u8; 32] {
        &self.previous
    }

    /// How many blocks there were.
    pub fn blocks(&self) -> u64 {
        self.next
    }

    /// Where the next block begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The last block was seen.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Appends a block to `out`. `payload` is `raw` bytes of lines, packed; both within
    /// `BLOCK_CAP`.
    pub fn seal(
        &mut self,
        payload: &[u8],
        raw: usize,
        at: UnixMillis,
        last: bool,
        out: &mut Vec<u8>,
    ) {
        let mut head = [0; BLOCK_HEAD];
        let mut field = Fields(&mut head);
        let length = u32::try_from(payload.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes();
        field.put(&length);
        field.put(&u32::try_from(raw).unwrap_or(u32::MAX).to_le_bytes());
        field.put(&(if last { FLAG_LAST } else { 0 }).to_le_bytes());
        field.put(&[0; 4]);
        field.put(&self.next.to_le_bytes());
        field.put(&at.0.to_le_bytes());
        let check = self.check(&head);
        let hash = sum(&check, payload);
        let mut field = Fields(head.get_mut(32..).unwrap_or_default());
        field.put(&check);
        field.put(&hash);
        out.extend_from_slice(&head);
        out.extend_from_slice(payload);
        out.extend_from_slice(&length);
        self.advance(hash, payload.len(), last);
    }

    /// Reads a block's head. Only after this its lengths are worth anything.
    pub fn head(&self, bytes: &[u8; BLOCK_HEAD]) -> Result<Head, Damage> {
        let wrong = |what| Damage {
            block: self.next,
            offset: self.offset,
            what,
        };
        if self.ended {
            return Err(wrong(Wrong::AfterEnd));
        }
        let mut rest = &bytes[..];
        let payload = u32::from_le_bytes(take(&mut rest).unwrap_or_default()) as usize;
        let raw = u32::from_le_bytes(take(&mut rest).unwrap_or_default()) as usize;
        let flags = u32::from_le_bytes(take(&mut rest).unwrap_or_default());
        let zero = take::<4>(&mut rest);
        let number = u64::from_le_bytes(take(&mut rest).unwrap_or_default());
        let at = UnixMillis(i64::from_le_bytes(take(&mut rest).unwrap_or_default()));
        let check: [u8; 16] = take(&mut rest).unwrap_or_default();
        if check != self.check(bytes)
            || number != self.next
            || zero != Some([0; 4])
            || flags & !FLAG_LAST != 0
        {
            return Err(wrong(Wrong::Head));
        }
        if payload > BLOCK_CAP || raw > BLOCK_CAP {
            return Err(wrong(Wrong::Size));
        }
        Ok(Head {
            payload,
            raw,
            number,
            at,
            last: flags == FLAG_LAST,
            check,
        })
    }

    /// What a block's head says, whatever stands before it. Nothing of it is checked.
    pub(super) fn peek(bytes: &[u8; BLOCK_HEAD]) -> Option<Peeked> {
        let mut rest = &bytes[..];
        let payload = u32::from_le_bytes(take(&mut rest)?);
        let _raw = take::<4>(&mut rest)?;
        let flags = u32::from_le_bytes(take(&mut rest)?);
        let zero = take::<4>(&mut rest)?;
        let number = u64::from_le_bytes(take(&mut rest)?);
        let at = UnixMillis(i64::from_le_bytes(take(&mut rest)?));
        let _check = take::<16>(&mut rest)?;
        let hash = take(&mut rest)?;
        (zero == [0; 4] && flags & !FLAG_LAST == 0).then_some(Peeked {
            payload,
            number,
            at,
            last: flags == FLAG_LAST,
            hash,
        })
    }

    /// Checks the payload and the end that follow a head, and moves on.
    pub fn body(
        &mut self,
        head: &Head,
        bytes: &[u8; BLOCK_HEAD],
        payload: &[u8],
        tail: [u8; BLOCK_TAIL],
    ) -> Result<(), Damage> {
        let wrong = |what| Damage {
            block: self.next,
            offset: self.offset,
            what,
        };
        let hash = sum(&head.check, payload);
        if bytes.get(48..) != Some(&hash[..]) {
            return Err(wrong(Wrong::Payload));
        }
        if u32::from_le_bytes(tail) as usize != head.payload {
            return Err(wrong(Wrong::Tail));
        }
        self.advance(hash, head.payload, head.last);
        Ok(())
    }

    /// Something stands where the next block would: nothing may, after the last one.
    pub fn more(&self) -> Result<(), Damage> {
        if self.ended {
            return Err(Damage {
                block: self.next,
                offset: self.offset,
                what: Wrong::AfterEnd,
            });
        }
        Ok(())
    }

    fn check(&self, head: &[u8; BLOCK_HEAD]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"node-agent recording, head");
        hasher.update(&self.previous);
        hasher.update(head.get(..32).unwrap_or_default());
        let hash = hasher.finalize();
        hash.as_bytes()
            .first_chunk::<16>()
            .copied()
            .unwrap_or_default()
    }

    fn advance(&mut self, hash: [u8; 32], payload: usize, last: bool) {
        self.previous = hash;
        self.next += 1;
        self.offset += (BLOCK_HEAD + payload + BLOCK_TAIL) as u64;
        self.ended = last;
    }
}

fn sum(check: &[u8; 16], payload: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"node-agent recording, block");
    hasher.update(check);
    hasher.update(payload);
    *hasher.finalize().as_bytes()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (chunk, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*chunk)
}

/// Whether a block that begins with this head says that nothing follows it. Unproven: whoever acts
/// on it must not believe more than that.
pub(super) fn claims_last(head: &[u8; BLOCK_HEAD]) -> bool {
    let mut rest = head.get(8..12).unwrap_or_default();
    take(&mut rest).map(u32::from_le_bytes) == Some(FLAG_LAST)
}

/// Writes fixed fields one after the other.
struct Fields<'a>(&'a mut [u8]);

impl Fields<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let rest = std::mem::take(&mut self.0);
        if let Some((field, after)) = rest.split_at_mut_checked(bytes.len()) {
            field.copy_from_slice(bytes);
            self.0 = after;
        }
    }
}
