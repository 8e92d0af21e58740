//! One pass over a document.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use super::part;
use super::paths::{Next, Paths, Place, Value};

/// Documents nested deeper are redacted whole: reading one takes the stack.
const DEEPEST: usize = 64;

/// Appends the document with the values at the paths masked; `None`: it is no document.
pub(super) fn walk(paths: &Paths, text: &str, out: &mut BytesMut) -> Option<()> {
    let mut walk = Walk {
        paths,
        text,
        at: 0,
        copied: 0,
        out,
    };
    walk.blank();
    let (next, masker) = paths.at_root(walk.kind());
    walk.value(next, masker, 0)?;
    walk.blank();
    if walk.at != text.len() {
        return None;
    }
    walk.copy(text.len())
}

struct Walk<'a> {
    paths: &'a Paths,
    text: &'a str,
    at: usize,
    /// Up to here it is in `out`.
    copied: usize,
    out: &'a mut BytesMut,
}

impl<'a> Walk<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek() == Some(byte)).then(|| self.at += 1)
    }

    fn kind(&self) -> Value {
        match self.peek() {
            Some(b'[') => Value::Array,
            Some(_) | None => Value::Other,
        }
    }

    fn copy(&mut self, end: usize) -> Option<()> {
        self.out
            .put_slice(self.text.get(self.copied..end)?.as_bytes());
        self.copied = end;
        Some(())
    }

    /// Reads the value that begins here; masks it, or what is in it.
    fn value(
        &mut self,
        next: Next,
        masker: Option<crate::policy::PartMasker>,
        depth: usize,
    ) -> Option<()> {
        let Some(masker) = masker else {
            return self.inner(next, depth);
        };
        let start = self.at;
        self.copy(start)?;
        // Whatever is in it goes with it; it is read only to know where it ends.
        self.inner(Next::default(), depth)?;
        part::mask(
            masker,
            self.text.get(start..self.at)?,
            &self.paths.key,
            self.out,
        )?;
        self.copied = self.at;
        Some(())
    }

    fn inner(&mut self, next: Next, depth: usize) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        match self.peek()? {
            b'{' => self.object(next, depth),
            b'[' => self.array(next, depth),
            b'"' => self.string().map(|_| ()),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.number(),
        }
    }

    fn object(&mut self, next: Next, depth: usize) -> Option<()> {
        self.take(b'{')?;
        self.blank();
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            self.blank();
            let name = self.string()?;
            self.blank();
            self.take(b':')?;
            self.blank();
            let (below, masker) = if next.is_empty() {
                (next, None)
            } else {
                let name = unescaped(name)?;
                self.paths.at(next, Place::Member(&name), self.kind())
            };
            self.value(below, masker, depth + 1)?;
            self.blank();
            if self.take(b',').is_none() {
                return self.take(b'}');
            }
        }
    }

    fn array(&mut self, next: Next, depth: usize) -> Option<()> {
        self.take(b'[')?;
        self.blank();
        if self.take(b']').is_some() {
            return Some(());
        }
        let mut number = 0;
        loop {
            self.blank();
            let (below, masker) = if next.is_empty() {
                (next, None)
            } else {
                self.paths.at(next, Place::Element(number), self.kind())
            };
            self.value(below, masker, depth + 1)?;
            number += 1;
            self.blank();
            if self.take(b',').is_none() {
                return self.take(b']');
            }
        }
    }

    /// A string, with what is between its quotes.
    fn string(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let start = self.at;
        let bytes = self.text.as_bytes();
        loop {
            let rest = bytes.get(self.at..)?;
            self.at += memchr::memchr2(b'"', b'\\', rest)?;
            if self.peek()? == b'"' {
                let inner = self.text.get(start..self.at)?;
                self.at += 1;
                return Some(inner);
            }
            let digits = match *bytes.get(self.at + 1)? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 0,
                b'u' => 4,
                _ => return None,
            };
            self.at += 2;
            let escaped = bytes.get(self.at..self.at + digits)?;
            if !escaped.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            self.at += digits;
        }
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.text
            .get(self.at..)?
            .starts_with(word)
            .then(|| self.at += word.len())
    }

    fn number(&mut self) -> Option<()> {
        self.take(b'-');
        let digits = |walk: &mut Self| {
            let start = walk.at;
            while walk.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                walk.at += 1;
            }
            (walk.at > start).then_some(())
        };
        digits(self)?;
        if self.take(b'.').is_some() {
            digits(self)?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            digits(self)?;
        }
        Some(())
    }
}

/// What stands between quotes, read; `None`: an escape that is none.
pub(super) fn unescaped(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('\\') {
        return Some(Cow::Borrowed(text));
    }
    let mut read = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        read.push_str(plain);
        let escaped = escape.chars().next()?;
        rest = escape.get(1..)?;
        read.push(match escaped {
            '"' | '\\' | '/' => escaped,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let (unit, behind) = utf16(rest)?;
                rest = behind;
                if (0xd800..0xdc00).contains(&unit) {
                    let (low, behind) = utf16(rest.strip_prefix("\\u")?)?;
                    rest = behind;
                    let pair = char::decode_utf16([unit, low]).next()?;
                    pair.ok()?
                } else {
                    char::from_u32(u32::from(unit))?
                }
            }
            _ => return None,
        });
    }
    read.push_str(rest);
    Some(Cow::Owned(read))
}

fn utf16(text: &str) -> Option<(u16, &str)> {
    let (digits, behind) = text.split_at_checked(4)?;
    let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let unit = u16::from_str_radix(digits, 16).ok()?;
    hex.then_some((unit, behind))
}
