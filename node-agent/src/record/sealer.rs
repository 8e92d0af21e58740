//! IO. Makes blocks of packed lines: as they are, or sealed where recordings are.

use std::io;

use super::chain::{Body, Chain, HEADER, Header, Shape};
use super::sealed::{DataKey, Recipients, section_bytes};
use super::standing::{STANDING, Standing};
use crate::model::UnixMillis;

/// Of one file, by one writer.
#[derive(Debug)]
pub(super) struct Sealer {
    recipients: Option<Recipients>,
    /// Made with this writer's first block, and gone with it.
    key: Option<DataKey>,
}

/// Lines that become a block.
pub(super) struct Packed<'a> {
    /// The lines, packed. Overwritten.
    pub(super) bytes: &'a mut Vec<u8>,
    /// Bytes that they unpack to.
    pub(super) raw: usize,
    pub(super) at: UnixMillis,
    pub(super) last: bool,
}

impl Sealer {
    /// `None`: blocks are written in clear.
    pub(super) fn new(recipients: Option<Recipients>) -> Self {
        Sealer {
            recipients,
            key: None,
        }
    }

    /// A new file.
    pub(super) fn create(&self, header: Header) -> (Chain, [u8; HEADER]) {
        match self.recipients {
            Some(_) => Chain::create_sealed(header),
            None => Chain::create(header),
        }
    }

    /// Appends a block to `out`; the first that is sealed begins with the key section.
    ///
    /// # Errors
    /// No randomness: the file can be gone on with by nobody who has this chain.
    pub(super) fn seal(
        &mut self,
        chain: &mut Chain,
        packed: Packed<'_>,
        standing: &Standing,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let Packed {
            bytes,
            raw,
            at,
            last,
        } = packed;
        let Some(recipients) = &self.recipients else {
            chain.seal(bytes, raw, at, last, out);
            return Ok(());
        };
        let keyed = self.key.is_none();
        let section = if keyed { section_bytes(recipients) } else { 0 };
        let shape = Shape {
            body: if keyed { Body::Keyed } else { Body::Sealed },
            payload: section + STANDING + DataKey::sealed_bytes(bytes.len()),
            raw,
            at,
            last,
        };
        let position = chain.position(&shape);
        let mut payload = Vec::with_capacity(shape.payload);
        let key = match &self.key {
            Some(key) => key,
            None => {
                let (key, section) = DataKey::fresh(recipients, &position)?;
                payload.extend_from_slice(&section);
                self.key.insert(key)
            }
        };
        let standing = standing.bytes();
        let bound = [&position[..], &standing[..]].concat();
        key.seal(chain.blocks(), &bound, bytes)?;
        payload.extend_from_slice(&standing);
        payload.extend_from_slice(bytes);
        chain.seal_as(&shape, &payload, out);
        Ok(())
    }
}
