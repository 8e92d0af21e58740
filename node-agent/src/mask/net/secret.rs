//! Pure. Keys and tokens: by the prefix that who gives them out put there to be found, by a name before them,
//! or by where a URL keeps a password.

use super::scan::{Text, Within};

/// Whether this is in what each token that `token` knows begins with, up to where its first `-` ends the word:
/// of those that have no digit and no `-` there, capitals and `_` are rarest.
pub(super) const fn marks(byte: u8) -> bool {
    matches!(byte, b'A' | b'B' | b'G' | b'S' | b'J' | b'_')
}

/// Whether something that `token` knows begins with these two letters: spares nearly all words the search.
pub(super) fn may_begin(first: u8, second: u8) -> bool {
    match first {
        b'A' => matches!(second, b'B' | b'C' | b'G' | b'I' | b'K' | b'S'),
        b'B' => second == b'E',
        b'G' => second == b'O',
        b'S' => second == b'G',
        b'd' => second == b'o',
        b'e' | b'p' => second == b'y',
        b'g' => matches!(second, b'h' | b'i' | b'l'),
        b'h' => second == b'f',
        b'n' => second == b'p',
        b'r' => second == b'k',
        b's' => matches!(second, b'h' | b'k'),
        b'w' => second == b'h',
        b'x' => matches!(second, b'a' | b'o'),
        b'y' => second == b'a',
        _ => false,
    }
}

/// A token: what it begins with, what it goes on with, and how long that is at least.
struct Token {
    prefix: &'static [u8],
    body: fn(u8) -> bool,
    least: usize,
    /// At most; longer is something else.
    most: usize,
}

const fn token_of(prefix: &'static [u8], body: fn(u8) -> bool, least: usize) -> Token {
    Token {
        prefix,
        body,
        least,
        most: usize::MAX,
    }
}

const fn exact(prefix: &'static [u8], body: fn(u8) -> bool, length: usize) -> Token {
    Token {
        prefix,
        body,
        least: length,
        most: length,
    }
}

fn capitals(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn letters(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

/// As in base 64 for URLs.
fn coded(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn dotted(byte: u8) -> bool {
    coded(byte) || byte == b'.'
}

const fn underlined(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// In the order of their first letters.
const TOKENS: &[Token] = &[
    // Amazon.
    exact(b"AKIA", capitals, 16),
    exact(b"ASIA", capitals, 16),
    exact(b"ABIA", capitals, 16),
    exact(b"ACCA", capitals, 16),
    // Google.
    exact(b"AIza", coded, 35),
    token_of(b"GOCSPX-", coded, 20),
    // age.
    token_of(b"AGE-SECRET-KEY-1", capitals, 50),
    // SendGrid.
    token_of(b"SG.", dotted, 40),
    // DigitalOcean.
    token_of(b"dop_v1_", hex, 60),
    token_of(b"doo_v1_", hex, 60),
    // GitHub, GitLab.
    token_of(b"ghp_", letters, 30),
    token_of(b"gho_", letters, 30),
    token_of(b"ghu_", letters, 30),
    token_of(b"ghs_", letters, 30),
    token_of(b"ghr_", letters, 30),
    token_of(b"github_pat_", underlined, 22),
    token_of(b"glpat-", coded, 20),
    // Hugging Face, npm, PyPI.
    token_of(b"hf_", letters, 30),
    token_of(b"npm_", letters, 36),
    token_of(b"pypi-", coded, 40),
    // Stripe.
    token_of(b"rk_live_", letters, 16),
    token_of(b"rk_test_", letters, 16),
    token_of(b"sk_live_", letters, 16),
    token_of(b"sk_test_", letters, 16),
    token_of(b"whsec_", letters, 24),
    // Model providers.
    token_of(b"sk-ant-", coded, 20),
    token_of(b"sk-proj-", coded, 20),
    token_of(b"sk-", letters, 32),
    // Shopify.
    token_of(b"shpat_", hex, 32),
    token_of(b"shpss_", hex, 32),
    // Slack.
    token_of(b"xoxa-", coded, 10),
    token_of(b"xoxb-", coded, 10),
    token_of(b"xoxe-", coded, 10),
    token_of(b"xoxo-", coded, 10),
    token_of(b"xoxp-", coded, 10),
    token_of(b"xoxr-", coded, 10),
    token_of(b"xoxs-", coded, 10),
    token_of(b"xapp-", coded, 10),
    // Google's short-lived ones.
    token_of(b"ya29.", coded, 20),
];

/// The token that begins with the word at a place. `no_jwt_before` is moved on so that no stretch is passed
/// over twice in search of one.
pub(super) fn token(
    text: Text<'_>,
    start: usize,
    no_jwt_before: &mut usize,
) -> Option<(usize, usize)> {
    let behind = text.behind(start);
    match behind.first()? {
        b'B' => return private_key(text, start),
        b'e' if behind.starts_with(b"eyJ") => {
            return jwt(text, start, no_jwt_before).map(|end| (start, end));
        }
        _ => {}
    }
    let token = TOKENS
        .iter()
        .find(|token| behind.starts_with(token.prefix))?;
    let begin = start + token.prefix.len();
    let length = text.run(begin, token.body);
    let good = (token.least..=token.most).contains(&length);
    (good && text.is_end(begin + length)).then_some((start, begin + length))
}

/// A JSON Web Token (RFC 7519): parts in base 64, of which the first begins as `{"` does.
fn jwt(text: Text<'_>, start: usize, no_jwt_before: &mut usize) -> Option<usize> {
    if start < *no_jwt_before {
        return None;
    }
    let head = text.run(start, coded);
    let dot = start + head;
    *no_jwt_before = dot;
    if head < 10 || text.at(dot) != Some(b'.') {
        return None;
    }
    let body = text.run(dot + 1, coded);
    let end = dot + 1 + body;
    if body < 10 || text.at(end) != Some(b'.') {
        *no_jwt_before = end;
        return None;
    }
    // The signature; of an encrypted one two parts more.
    let rest = text.run(end + 1, dotted);
    Some(end + 1 + rest)
}

/// What is in the armour of a private key (RFC 7468), with it.
fn private_key(text: Text<'_>, word: usize) -> Option<(usize, usize)> {
    const DASHES: &[u8] = b"-----";
    const LABEL: usize = 64;
    let behind = text.behind(word).strip_prefix(b"BEGIN ")?;
    let start = word.checked_sub(DASHES.len())?;
    if !text.behind(start).starts_with(DASHES) {
        return None;
    }
    let label = behind.iter().take(LABEL);
    let label = label.take_while(|byte| byte.is_ascii_uppercase() || **byte == b' ');
    let label = behind.get(..label.count())?;
    let is_private = label.ends_with(b"PRIVATE KEY") || label.ends_with(b"PRIVATE KEY BLOCK");
    let body = word + b"BEGIN ".len() + label.len();
    if !is_private || !text.behind(body).starts_with(DASHES) {
        return None;
    }
    let begun = body + DASHES.len();
    // A dash is in a body only where it ends; a quote or bracket is in none.
    let mut at = begun;
    loop {
        at += text.run(at, |byte| {
            !matches!(byte, b'-' | b'"' | b'\'' | b'<' | b'}')
        });
        let rest = text.behind(at);
        if let Some(end) = rest.strip_prefix(b"-----END ") {
            let label = end.iter().take(LABEL);
            let label = label.take_while(|byte| byte.is_ascii_uppercase() || **byte == b' ');
            let length = b"-----END ".len() + label.count();
            let dashes = text.run(at + length, |byte| byte == b'-').min(DASHES.len());
            return Some((start, at + length + dashes));
        }
        if rest.first() != Some(&b'-') {
            return Some((start, at));
        }
        at += 1;
    }
}

/// Names whose value is a secret: what they end with, small letters without `_` and `-`, and how long a value
/// is at least.
const NAMES: &[(&[u8], usize)] = &[
    (b"password", 4),
    (b"passwd", 4),
    (b"passphrase", 4),
    (b"pwd", 4),
    (b"secret", 8),
    (b"secretkey", 8),
    (b"secretaccesskey", 8),
    (b"apikey", 8),
    (b"privatekey", 8),
    (b"accesstoken", 8),
    (b"authtoken", 8),
    (b"refreshtoken", 8),
];

/// The longest of them, and some more.
const LONGEST: usize = 24;
/// Blanks that may stand around what is between a name and its value.
const BLANKS: usize = 16;

/// How long a value must be to be one, if the name is that of a secret.
pub(super) fn is_secrets_name(name: &[u8]) -> Option<usize> {
    // A last letter that no name has spares the rest.
    if !matches!(
        name.last()?.to_ascii_lowercase(),
        b'd' | b't' | b'y' | b'n' | b'e'
    ) {
        return None;
    }
    let mut letters = [0; LONGEST];
    let mut count = LONGEST;
    for byte in name
        .iter()
        .rev()
        .filter(|byte| !matches!(byte, b'_' | b'-'))
    {
        let Some(place) = count.checked_sub(1) else {
            break;
        };
        count = place;
        if let Some(letter) = letters.get_mut(place) {
            *letter = byte.to_ascii_lowercase();
        }
    }
    let letters = letters.get(count..)?;
    let known = NAMES.iter().find(|(known, _)| letters.ends_with(known));
    known.map(|(_, least)| *least)
}

/// Whether a value is only a place for one, or was covered.
pub(super) fn is_placeholder(value: &[u8]) -> bool {
    begins_a_place(value) || value.windows(3).any(|window| window == b"***")
}

fn begins_a_place(value: &[u8]) -> bool {
    let place = |byte: &u8| matches!(byte, b'*' | b'$' | b'%' | b'{' | b'<' | b'?' | b'=');
    value.first().is_none_or(place)
}

/// The secret that the word names: `password=…`, `"password": "…"`, `scheme://user:…@host`.
pub(super) fn named(text: Text<'_>, start: usize, end: usize) -> Option<(usize, usize)> {
    if text.at(end) == Some(b':') {
        return in_url(text, end);
    }
    let least = is_secrets_name(text.bytes.get(start..end)?)?;
    let mut at = end + usize::from(text.at(end) == Some(b'\\'));
    let quoted = matches!(text.at(at), Some(b'"' | b'\''));
    at += usize::from(quoted);
    at += text.run(at, |byte| byte.is_ascii_whitespace()).min(BLANKS);
    match text.at(at)? {
        b'=' => at += 1,
        b':' if quoted => at += 1,
        _ => return None,
    }
    at += text.run(at, |byte| byte.is_ascii_whitespace()).min(BLANKS);
    // A quote inside a quoted text has a backslash before it.
    let escaped = text.at(at) == Some(b'\\') && matches!(text.at(at + 1), Some(b'"' | b'\''));
    at += usize::from(escaped);
    if let Some(quote) = text.at(at).filter(|byte| matches!(byte, b'"' | b'\'')) {
        at += 1;
        if let Some(end) = closing(text, at, quote, escaped) {
            let value = text.bytes.get(at..end)?;
            let good = value.len() >= least && !is_placeholder(value);
            return good.then_some((at, end));
        }
    }
    let within = text.within;
    let length = text.run(at, |byte| match byte {
        b'"' | b'\'' | b'&' | b';' | b',' | b'<' => false,
        b')' | b'}' | b']' | b'\\' => within == Within::Itself,
        _ => !byte.is_ascii_whitespace(),
    });
    let value = text.bytes.get(at..at + length)?;
    (length >= least && !is_placeholder(value)).then_some((at, at + length))
}

/// Where the quoted value ends that begins here.
fn closing(text: Text<'_>, begin: usize, quote: u8, escaped: bool) -> Option<usize> {
    let mut at = begin;
    loop {
        at += text.run(at, |byte| byte != quote && byte != b'\\');
        match text.at(at)? {
            b'\\' if escaped && text.at(at + 1) == Some(quote) => return Some(at),
            b'\\' => at += 2,
            _ => return Some(at),
        }
    }
}

/// Longest part of a URL before its path that is looked at.
const AUTHORITY: usize = 1024;

/// The password of a URL whose `:` stands here.
fn in_url(text: Text<'_>, colon: usize) -> Option<(usize, usize)> {
    let mut at = colon + 1;
    for _ in 0..2 {
        at += usize::from(text.at(at) == Some(b'\\'));
        if text.at(at) != Some(b'/') {
            return None;
        }
        at += 1;
    }
    let behind = text.behind(at);
    let ends = |byte: &u8| {
        byte.is_ascii_whitespace()
            || matches!(byte, b'/' | b'?' | b'#' | b'"' | b'<' | b'>' | b'\\')
    };
    let length = behind
        .iter()
        .take(AUTHORITY)
        .take_while(|b| !ends(b))
        .count();
    let authority = behind.get(..length)?;
    let host = authority.iter().rposition(|byte| *byte == b'@')?;
    let user = authority.get(..host)?;
    let password = user.iter().position(|byte| *byte == b':')? + 1;
    let value = user.get(password..)?;
    (!begins_a_place(value)).then_some((at + password, at + host))
}

#[cfg(test)]
mod tests {
    use super::{TOKENS, marks, may_begin};

    #[test]
    fn no_token_is_passed_over_by_its_first_letters() {
        let known = TOKENS.iter().map(|token| token.prefix);
        for prefix in known.chain([&b"BEGIN "[..], b"eyJ"]) {
            assert!(may_begin(prefix[0], prefix[1]), "{prefix:?}");
            let word = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
            let count = prefix.iter().take_while(word).count();
            let marked = prefix[..count]
                .iter()
                .any(|b| marks(*b) || b.is_ascii_digit());
            let dash = prefix.get(count) == Some(&b'-');
            assert!(marked || dash, "{prefix:?}");
        }
    }
}
