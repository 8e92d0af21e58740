//! Pure. What a client says about the purpose of a statement: `reason`, `ticket` and `traceparent`, in a
//! comment that begins or ends the text, written as sqlcommenter writes it
//! (`/*ticket='OPS-12',reason='close%20duplicates'*/`), or in `application_name`
//! (`myapp;ticket=OPS-12;reason=close duplicates`). `wait=no` in the same places: where a human must decide, the
//! client does not wait. `access` in a comment asks for a policy that can be granted.
//!
//! All of it is the client's own claim: it is kept, and asked for, and vouches for nothing.

use serde::{Deserialize, Serialize};

/// A comment or a name longer than this is not read, bytes.
const LONGEST: usize = 4096;
/// Pairs in one comment.
const PAIRS: usize = 32;
/// Characters of a reason.
const REASON: usize = 200;
/// Characters of a ticket.
const TICKET: usize = 64;

/// Why somebody runs a statement, by their own word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Purpose {
    /// In a few words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The number of a ticket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// W3C trace context, 4.2 ("Traceparent Header").
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Where a human must decide it does not wait, and comes again with the same statement.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub later: bool,
    /// It asks for access: the reference of a statement that was refused, or `ask` beside that statement
    /// itself. Empty: it asks, and how cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<String>,
    /// Something was said that could not be read: what is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread: Option<String>,
}

impl Purpose {
    /// What the comments at the end and at the beginning of a text say; the one at the end comes
    /// first where both say it.
    ///
    /// Only the ends are looked at, so that a text without such a comment costs nothing. What ends
    /// with `*/` outside a comment is no statement, or ends with a comment of one line.
    pub fn of_text(text: &str) -> Purpose {
        let ended = text.trim_end_matches(|c: char| c.is_ascii_whitespace() || c == ';');
        let last = ended
            .strip_suffix("*/")
            .and_then(|head| Some(head.split_at_checked(head.rfind("/*")?)?.1))
            .and_then(|comment| comment.strip_prefix("/*"));
        let first = text.trim_ascii_start().strip_prefix("/*");
        let first = first.and_then(|rest| Some(rest.split_once("*/")?.0));
        let mut purpose = Purpose::default();
        for body in [last, first].into_iter().flatten() {
            purpose = purpose.or(&of_comment(body));
        }
        purpose
    }

    /// What an `application_name` says behind its first `;`.
    pub fn of_application(name: &str) -> Purpose {
        let mut purpose = Purpose::default();
        let Some((_, said)) = name.split_once(';') else {
            return purpose;
        };
        if said.len() > LONGEST {
            return unread("application_name is too long", false);
        }
        for pair in said.split(';').take(PAIRS) {
            if let Some((key, value)) = pair.split_once('=')
                && let Err(why) = purpose.put(key.trim(), value.trim())
            {
                purpose.unread = Some(why);
            }
        }
        // It would ask with every statement of the connection.
        purpose.access = None;
        purpose
    }

    /// What this leaves out, the other may say.
    #[must_use]
    pub fn or(self, other: &Purpose) -> Purpose {
        Purpose {
            reason: self.reason.or_else(|| other.reason.clone()),
            ticket: self.ticket.or_else(|| other.ticket.clone()),
            traceparent: self.traceparent.or_else(|| other.traceparent.clone()),
            later: self.later || other.later,
            access: self.access.or_else(|| other.access.clone()),
            unread: self.unread.or_else(|| other.unread.clone()),
        }
    }

    /// Nothing was said.
    pub fn is_empty(&self) -> bool {
        *self == Purpose::default()
    }

    /// Takes one pair, its value still percent-encoded. Other keys are somebody else's.
    fn put(&mut self, key: &str, value: &str) -> Result<(), String> {
        let place = match key {
            "reason" => &mut self.reason,
            "ticket" => &mut self.ticket,
            "traceparent" => &mut self.traceparent,
            "access" => &mut self.access,
            "wait" => {
                if value != "no" {
                    return Err("`wait` can only be `no`".to_owned());
                }
                self.later = true;
                return Ok(());
            }
            _ => return Ok(()),
        };
        if place.is_some() {
            return Err(format!("`{key}` is said twice"));
        }
        let value = decoded(value).ok_or_else(|| format!("`{key}` is not well encoded"))?;
        let value = value.trim();
        let most = if key == "ticket" { TICKET } else { REASON };
        if value.is_empty() {
            return Err(format!("`{key}` is empty"));
        }
        if value.chars().count() > most {
            return Err(format!("`{key}` is longer than {most} characters"));
        }
        if value.chars().any(char::is_control) {
            return Err(format!("`{key}` holds control characters"));
        }
        if key == "traceparent" && !is_traceparent(value) {
            return Err("`traceparent` is none".to_owned());
        }
        *place = Some(value.to_owned());
        Ok(())
    }
}

/// `asks`: what cannot be read is a request for access.
fn unread(why: &str, asks: bool) -> Purpose {
    Purpose {
        access: asks.then(String::new),
        unread: Some(why.to_owned()),
        ..Purpose::default()
    }
}

/// `key='value',key='value'`. A comment of other words says nothing.
fn of_comment(body: &str) -> Purpose {
    // Who means to ask for access is not to believe that the statement was an answer.
    let asks = body.contains("access") && {
        let words = body.chars().filter(|c| !c.is_ascii_whitespace());
        let words: String = words.take(LONGEST).collect();
        words.starts_with("access=") || words.contains(",access=")
    };
    let about = |key: &str| body.contains(key);
    if !asks
        && !["reason=", "ticket=", "traceparent=", "wait="]
            .into_iter()
            .any(about)
    {
        return Purpose::default();
    }
    if body.len() > LONGEST {
        return unread("the comment is too long", asks);
    }
    let mut purpose = Purpose::default();
    let mut rest = body.trim_ascii();
    for _ in 0..PAIRS {
        let Some((key, value, tail)) = pair(rest) else {
            return unread("the comment is not key='value',key='value'", asks);
        };
        if let Err(why) = purpose.put(key, &value) {
            return unread(&why, asks);
        }
        match tail.trim_ascii_start().strip_prefix(',') {
            Some(next) => rest = next.trim_ascii_start(),
            None if tail.trim_ascii().is_empty() => return purpose,
            None => return unread("the comment is not key='value',key='value'", asks),
        }
    }
    unread("the comment has too many pairs", asks)
}

/// One pair and what follows it. Inside the quotes a backslash hides the next character.
fn pair(text: &str) -> Option<(&str, String, &str)> {
    let (key, rest) = text.split_once('=')?;
    let key = key.trim_ascii_end();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-%".contains(c);
    if key.is_empty() || !key.chars().all(plain) {
        return None;
    }
    let inside = rest.trim_ascii_start().strip_prefix('\'')?;
    let mut value = String::new();
    let mut chars = inside.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' => return Some((key, value, inside.get(at + 1..)?)),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

/// Percent-decoding (RFC 3986, 2.1); a `+` stays one.
fn decoded(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// `version-trace-parent-flags`, lower-case hex, neither trace nor parent all noughts.
fn is_traceparent(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    let hex = |part: &str, length: usize| {
        part.len() == length
            && part
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let said = |part: &str| part.bytes().any(|b| b != b'0');
    match parts.as_slice() {
        [version, trace, parent, flags] => {
            hex(version, 2)
                && *version != "ff"
                && hex(trace, 32)
                && said(trace)
                && hex(parent, 16)
                && said(parent)
                && hex(flags, 2)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn said(reason: &str, ticket: &str) -> Purpose {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Purpose {
            reason: some(reason),
            ticket: some(ticket),
            ..Purpose::default()
        }
    }

    #[test]
    fn a_comment_at_either_end_says_why() {
        let table = [
            ("select 1 /*ticket='OPS-12'*/", said("", "OPS-12")),
            ("select 1 /*ticket='OPS-12'*/ ; \n", said("", "OPS-12")),
            (
                "/*reason='close%20it'*/ delete from t",
                said("close it", ""),
            ),
            (
                "select 1 /* action='list', ticket='7' , reason='it\\'s so' */",
                said("it's so", "7"),
            ),
            (
                "/*ticket='A-1',reason='first'*/ select 1 /*ticket='B-2'*/",
                said("first", "B-2"),
            ),
            ("select 1 /*reason='100%25 %C3%A4'*/", said("100% ä", "")),
            ("select 1 /*reason='a,b=c'*/", said("a,b=c", "")),
            ("select 1 /*reason='a+b'*/", said("a+b", "")),
            // Not at an end, or no comment.
            ("select /*ticket='OPS-12'*/ 1", Purpose::default()),
            ("select '/*ticket=''OPS-12''*/'", Purpose::default()),
            ("select 1", Purpose::default()),
            ("", Purpose::default()),
            ("*/", Purpose::default()),
            ("/*", Purpose::default()),
            ("/**/", Purpose::default()),
            ("select 1 /* why not */", Purpose::default()),
            ("select 1 /*controller='a',route='b'*/", Purpose::default()),
        ];
        for (text, expected) in table {
            assert_eq!(Purpose::of_text(text), expected, "{text}");
        }
        let traced = format!("select 1 /*traceparent='{TRACE}',tracestate='a%3D1'*/");
        assert_eq!(
            Purpose::of_text(&traced).traceparent.as_deref(),
            Some(TRACE)
        );
    }

    #[test]
    fn what_cannot_be_read_says_nothing_and_is_told() {
        let long = format!("select 1 /*reason='{}'*/", "x".repeat(REASON + 1));
        let longer = format!("select 1 /*reason='{}'*/", "x".repeat(LONGEST));
        let many = format!("select 1 /*{}ticket='1'*/", "a='b',".repeat(PAIRS));
        for text in [
            "select 1 /*ticket=OPS-12*/",
            "select 1 /*ticket='OPS-12*/",
            "select 1 /*ticket='OPS-12\\'*/",
            "select 1 /*ticket='a',ticket='b'*/",
            "select 1 /*ticket=''*/",
            "select 1 /*ticket='%20'*/",
            "select 1 /*ticket='%zz'*/",
            "select 1 /*ticket='%f'*/",
            "select 1 /*reason='%ff'*/",
            "select 1 /*reason='a%0Ab'*/",
            "select 1 /*ticket='a' reason='b'*/",
            "select 1 /*reason='a','b'*/",
            "select 1 /*traceparent='00-00000000000000000000000000000000-b7ad6b7169203331-01'*/",
            "select 1 /*traceparent='hello'*/",
            &long,
            &longer,
            &many,
        ] {
            let purpose = Purpose::of_text(text);
            assert!(purpose.unread.is_some(), "{text}");
            assert_eq!((purpose.reason, purpose.ticket), (None, None), "{text}");
        }
    }

    #[test]
    fn what_asks_for_access_is_taken_for_nothing_else() {
        for (text, said) in [
            ("/*access='s-1%232',reason='why'*/ select 1", Some("s-1#2")),
            ("/*access='s-1#2'*/ select 1", Some("s-1#2")),
            ("delete from t /*access='ask'*/;", Some("ask")),
            // It means to ask, and how cannot be read.
            ("/*access=ask*/ select 1", Some("")),
            ("/* access = 'ask */ select 1", Some("")),
            ("/*reason='x', access='%zz'*/ select 1", Some("")),
            ("/*access=''*/ select 1", Some("")),
            ("/*access='a',access='b'*/ select 1", Some("")),
            // Somebody else's words.
            ("/*data_access='yes'*/ select 1", None),
            ("/* data_access=yes */ select 1", None),
            ("select '/*access=''ask''*/'", None),
            ("select 1", None),
        ] {
            assert_eq!(Purpose::of_text(text).access.as_deref(), said, "{text}");
        }
        for name in ["a;access=ask", "a;access=s-1#2;reason=x"] {
            assert_eq!(Purpose::of_application(name).access, None, "{name}");
        }
    }

    #[test]
    fn an_application_name_says_why_behind_its_semicolon() {
        let table = [
            (
                "claude;ticket=OPS-12;reason=close it",
                said("close it", "OPS-12"),
            ),
            (
                "claude; ticket = OPS-12 ; reason=a%3Bb",
                said("a;b", "OPS-12"),
            ),
            (";ticket=1", said("", "1")),
            ("claude", Purpose::default()),
            ("ticket=OPS-12", Purpose::default()),
            ("claude;build=7", Purpose::default()),
        ];
        for (name, expected) in table {
            assert_eq!(Purpose::of_application(name), expected, "{name}");
        }
        assert!(Purpose::of_application("a;ticket=").unread.is_some());
        assert!(
            Purpose::of_application("a;ticket=1;ticket=2")
                .unread
                .is_some()
        );
    }
}
