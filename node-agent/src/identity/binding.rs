//! Pure. Ties the issuer's word to the kernel's.

use super::IdentityError;
use crate::model::User;

/// Checks that a verified user may be this workload.
///
/// `expected` is the subject that the workload's configuration demands; `*` in it stands for any
/// run of characters (`system:serviceaccount:agents:*`). `None` demands nothing: any user of a
/// trusted issuer may then come from this workload, which the configuration has to want.
///
/// # Errors
/// `OtherWorkload`: a token that was stolen from another workload, or a wrong configuration. The
/// kernel's word wins.
pub fn bind_workload(user: &User, expected: Option<&str>) -> Result<(), IdentityError> {
    match expected {
        None => Ok(()),
        Some(pattern) if fits(pattern.as_bytes(), user.subject.as_bytes()) => Ok(()),
        Some(_) => Err(IdentityError::OtherWorkload),
    }
}

/// Whether `text` fits `pattern`, whose only special character is `*`. Quadratic at worst, and
/// both are short.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let mut parts = pattern.split(|&b| b == b'*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        if part.is_empty() {
            continue;
        }
        let Some(at) = rest.windows(part.len()).position(|window| window == part) else {
            return false;
        };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UnixMillis;

    #[test]
    fn a_subject_fits_its_workload_or_is_refused() {
        for (pattern, subject, good) in [
            (None, "anyone", true),
            (Some("repo:acme/app"), "repo:acme/app", true),
            (Some("repo:acme/app"), "repo:acme/app2", false),
            (Some("repo:acme/app"), "xrepo:acme/app", false),
            (
                Some("system:serviceaccount:agents:*"),
                "system:serviceaccount:agents:claude",
                true,
            ),
            (
                Some("system:serviceaccount:agents:*"),
                "system:serviceaccount:other:claude",
                false,
            ),
            (Some("a*b*c"), "a-b-c", true),
            (Some("a*b*c"), "a-c-b", false),
            (Some("a*a"), "a", false),
            (Some("ab*ba"), "aba", false),
            (Some("*"), "", true),
            (Some("**"), "x", true),
            (Some(""), "x", false),
            (Some("*.x"), "y.x.z", false),
        ] {
            let user = User {
                issuer: "i".to_owned(),
                subject: subject.to_owned(),
                groups: Vec::new(),
                claims: Default::default(),
                also: Vec::new(),
                expires: UnixMillis(0),
            };
            assert_eq!(
                bind_workload(&user, pattern).is_ok(),
                good,
                "{pattern:?} {subject}"
            );
        }
    }
}
