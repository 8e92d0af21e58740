//! Pure. The file: a header, then blocks, each bound to everything before it by BLAKE3.
//!
//! ```text
//! header (32)  magic 8 · version u16 · flags u16 · zero u32 · session u64 · began i64 ms
//! block  (80)  payload length u32 · raw length u32 · flags u32 · zero u32 · number u64 · at i64 ms ·
//!              check 16 · hash 32
//!              payload (zstd: lines of JSON) · payload length again u32
//! ```
//!
//! Flags of a block: 1, it is the last; 4, its payload is sealed with the data key of the last key
//! section (`sealed/section.rs`); 2, with 4, it begins with that key section. A recording goes from clear
//! blocks to sealed ones, and from one key section to the next, at any block: who goes on with the
//! recording of an agent that died has not its data key, and begins a section of its own. A recording
//! that is sealed from its beginning has version 2 in its header, and every other file version 1.
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
/// The same, of a recording whose first block begins with a key section. An older version says that it cannot
/// read it.
const VERSION_SEALED: u16 = 2;
/// Bytes of the file's header.
pub const HEADER: usize = 32;
/// Bytes before a block's payload.
pub const BLOCK_HEAD: usize = 80;
/// Bytes of a position.
pub(super) const POSITION: usize = 64;
/// Bytes after a block's payload.
pub const BLOCK_TAIL: usize = 4;
/// The largest payload, packed or not, bytes. Bounds what a hostile file can make a reader hold.
pub const BLOCK_CAP: usize = 16 << 20;

const FLAG_LAST: u32 = 1;
const FLAG_KEYS: u32 = 2;
const FLAG_SEALED: u32 = 4;

/// What the payload of a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Packed lines.
    Clear,
    /// A key section, and packed lines sealed with its key.
    Keyed,
    /// Packed lines, sealed with the key of a section before.
    Sealed,
}

/// All that a block's head says of its payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) body: Body,
    /// Bytes of the payload.
    pub(super) payload: usize,
    /// Bytes that it unpacks to.
    pub(super) raw: usize,
    pub(super) at: UnixMillis,
    pub(super) last: bool,
}

impl Shape {
    fn flags(&self) -> u32 {
        let last = if self.last { FLAG_LAST } else { 0 };
        last | match self.body {
            Body::Clear => 0,
            Body::Keyed => FLAG_KEYS | FLAG_SEALED,
            Body::Sealed => FLAG_SEALED,
        }
    }
}

/// `None`: flags that this version never writes.
fn meaning(flags: u32) -> Option<(Body, bool)> {
    let body = match flags & !FLAG_LAST {
        0 => Body::Clear,
        FLAG_SEALED => Body::Sealed,
        both if both == FLAG_KEYS | FLAG_SEALED => Body::Keyed,
        _ => return None,
    };
    Some((body, flags & FLAG_LAST != 0))
}

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
    #[error("written in layout {0}; this version reads layouts {VERSION} and {VERSION_SEALED}")]
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
    /// A key section that is none, or a sealed block without one before it.
    #[error("its keys make no sense")]
    Keys,
    /// The data key for one of the recipients is not the one that was put there.
    #[error("the key in it was changed, or put there by somebody else")]
    Wrap,
    /// The payload was not sealed with the data key, or not for this place.
    #[error("its contents do not open with its key: changed, moved, or made by somebody else")]
    Sealed,
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
    /// What its payload is.
    pub body: Body,
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
        Chain::create_version(Kind::Recording, VERSION, header)
    }

    /// The same for a recording whose first block begins with a key section.
    pub fn create_sealed(header: Header) -> (Chain, [u8; HEADER]) {
        Chain::create_version(Kind::Recording, VERSION_SEALED, header)
    }

    /// The same for a file of either kind.
    pub fn create_as(kind: Kind, header: Header) -> (Chain, [u8; HEADER]) {
        Chain::create_version(kind, VERSION, header)
    }

    fn create_version(kind: Kind, version: u16, header: Header) -> (Chain, [u8; HEADER]) {
        let mut bytes = [0; HEADER];
        let mut field = Fields(&mut bytes);
        field.put(&kind.magic());
        field.put(&version.to_le_bytes());
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
        let known = match kind {
            Kind::Recording => version == VERSION || version == VERSION_SEALED,
            Kind::Ledger => version == VERSION,
        };
        if !known {
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
        let shape = Shape {
            body: Body::Clear,
            payload: payload.len(),
            raw,
            at,
            last,
        };
        self.seal_as(&shape, payload, out);
    }

    /// Where the next block will stand, if it has this shape: what its contents are bound to when
    /// they are sealed. The hash of all before it, and the fields of its head.
    pub(super) fn position(&self, shape: &Shape) -> [u8; POSITION] {
        let mut head = [0; 32];
        let mut field = Fields(&mut head);
        let word = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        field.put(&word(shape.payload));
        field.put(&word(shape.raw));
        field.put(&shape.flags().to_le_bytes());
        field.put(&[0; 4]);
        field.put(&self.next.to_le_bytes());
        field.put(&shape.at.0.to_le_bytes());
        join(&self.previous, &head)
    }

    /// Appends a block of this shape to `out`.
    pub(super) fn seal_as(&mut self, shape: &Shape, payload: &[u8], out: &mut Vec<u8>) {
        let position = self.position(shape);
        let mut head = [0; BLOCK_HEAD];
        let mut field = Fields(&mut head);
        field.put(position.get(32..).unwrap_or_default());
        let check = check(&position);
        let hash = sum(&check, payload);
        field.put(&check);
        field.put(&hash);
        out.extend_from_slice(&head);
        out.extend_from_slice(payload);
        out.extend_from_slice(head.get(..BLOCK_TAIL).unwrap_or_default());
        self.advance(hash, payload.len(), shape.last);
    }

    /// Where a block with this head stands; see `position`.
    pub(super) fn position_of(&self, head: &[u8; BLOCK_HEAD]) -> [u8; POSITION] {
        let mut fields = [0; 32];
        Fields(&mut fields).put(head.get(..32).unwrap_or_default());
        join(&self.previous, &fields)
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
        let honest = check == self::check(&self.position_of(bytes))
            && number == self.next
            && zero == Some([0; 4]);
        let Some((body, last)) = meaning(flags).filter(|_| honest) else {
            return Err(wrong(Wrong::Head));
        };
        if payload > BLOCK_CAP || raw > BLOCK_CAP {
            return Err(wrong(Wrong::Size));
        }
        Ok(Head {
            payload,
            raw,
            number,
            at,
            last,
            body,
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
        let (_, last) = meaning(flags).filter(|_| zero == [0; 4])?;
        Some(Peeked {
            payload,
            number,
            at,
            last,
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

    fn advance(&mut self, hash: [u8; 32], payload: usize, last: bool) {
        self.previous = hash;
        self.next += 1;
        self.offset += (BLOCK_HEAD + payload + BLOCK_TAIL) as u64;
        self.ended = last;
    }
}

fn join(previous: &[u8; 32], head: &[u8; 32]) -> [u8; POSITION] {
    let mut position = [0; POSITION];
    let mut field = Fields(&mut position);
    field.put(previous);
    field.put(head);
    position
}

fn check(position: &[u8; POSITION]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"node-agent recording, head");
    hasher.update(position);
    let hash = hasher.finalize();
    hash.as_bytes()
        .first_chunk::<16>()
        .copied()
        .unwrap_or_default()
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
    let flags = take(&mut rest).map(u32::from_le_bytes);
    flags.and_then(meaning).is_some_and(|(_, last)| last)
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
