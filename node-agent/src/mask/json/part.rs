//! One value of a document, masked.

use std::fmt::Write;

use bytes::{BufMut, BytesMut};

use super::super::cell::{REDACTED, Written, first, last};
use super::super::key::MaskKey;
use super::super::{date, numeric, token};
use super::walk::unescaped;
use crate::policy::PartMasker;

/// Appends what stands for a value. Where a masker has nothing to offer to its kind, that is `null`;
/// `null` itself stays, except where it would be told apart from a redacted value.
pub(super) fn mask(
    masker: PartMasker,
    value: &str,
    key: &MaskKey,
    out: &mut BytesMut,
) -> Option<()> {
    if masker == PartMasker::Redact {
        out.put_slice(b"\"");
        out.put_slice(REDACTED);
        out.put_slice(b"\"");
        return Some(());
    }
    let start = out.len();
    let written = match value.as_bytes().first()? {
        b'"' => {
            let text = value.strip_prefix('"')?.strip_suffix('"')?;
            // An escape that is none has nothing behind it that could be masked.
            unescaped(text).and_then(|text| string(masker, &text, key, out))
        }
        b'-' | b'0'..=b'9' if masker == PartMasker::Token => {
            numeric::token_of_json(key, value.as_bytes(), out)
        }
        _ => None,
    };
    if written.is_none() {
        out.truncate(start);
        out.put_slice(b"null");
    }
    Some(())
}

fn string(masker: PartMasker, text: &str, key: &MaskKey, out: &mut BytesMut) -> Option<()> {
    let kept = |kept: u32| usize::try_from(kept).unwrap_or(usize::MAX);
    out.put_u8(b'"');
    match masker {
        PartMasker::Null | PartMasker::Redact => return None,
        PartMasker::KeepLast(n) => {
            out.put_slice(REDACTED);
            escape(last(text.as_bytes(), kept(n)), out)?;
        }
        PartMasker::KeepFirst(n) => {
            escape(first(text.as_bytes(), kept(n)), out)?;
            out.put_slice(REDACTED);
        }
        PartMasker::Hash => {
            let hex = key.hash(text.as_bytes()).to_hex();
            out.put_slice(hex.as_bytes().get(..32)?);
        }
        PartMasker::Token => {
            let mut stand_in = BytesMut::with_capacity(text.len());
            match token::text(key, text.as_bytes(), &mut stand_in) {
                Written::Null => return None,
                Written::Value => escape(&stand_in, out)?,
            }
        }
        PartMasker::DateTrunc(unit) => date::cut_in_document(unit, text, out)?,
    }
    out.put_u8(b'"');
    Some(())
}

/// Appends characters as they stand between quotes (RFC 8259, section 7).
fn escape(text: &[u8], out: &mut BytesMut) -> Option<()> {
    for character in std::str::from_utf8(text).ok()?.chars() {
        match character {
            '"' | '\\' => write!(out, "\\{character}").ok()?,
            '\0'..='\u{1f}' => write!(out, "\\u{:04x}", u32::from(character)).ok()?,
            _ => out.write_char(character).ok()?,
        }
    }
    Some(())
}
