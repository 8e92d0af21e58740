//! Pure. JSON documents: the values at some paths are masked, the rest stays byte for byte.
//!
//! `paths.rs` follows paths, `walk.rs` reads the document once and writes it again, `part.rs` masks one
//! value. A document that does not parse (RFC 8259), or is nested too deep, or too large, is redacted
//! whole: nobody knows then where its values are.

mod part;
mod paths;
mod walk;

use bytes::{BufMut, BytesMut};

pub(super) use paths::Paths;

use super::cell::{REDACTED, Written};
use super::types::Document;

/// Larger documents are redacted whole, bytes.
const LARGEST: usize = 8 << 20;

/// What stands for a document that is not shown.
pub(super) fn redacted(document: Document) -> &'static [u8] {
    match document {
        Document::Json => b"null",
        Document::Versioned => b"\x01null",
        Document::Text => REDACTED,
    }
}

/// Appends the document with the values at the paths masked.
pub(super) fn mask(paths: &Paths, document: Document, value: &[u8], out: &mut BytesMut) -> Written {
    let start = out.len();
    if masked(paths, document, value, out).is_none() {
        out.truncate(start);
        out.put_slice(redacted(document));
    }
    Written::Value
}

fn masked(paths: &Paths, document: Document, value: &[u8], out: &mut BytesMut) -> Option<()> {
    let text = match document {
        Document::Json | Document::Text => value,
        Document::Versioned => {
            let text = value.strip_prefix(b"\x01")?;
            out.put_u8(1);
            text
        }
    };
    if text.len() > LARGEST {
        return None;
    }
    walk::walk(paths, std::str::from_utf8(text).ok()?, out)
}

#[cfg(test)]
mod tests;
