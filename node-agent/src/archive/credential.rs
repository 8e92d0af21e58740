//! IO. The archive's credential: from a file of the form that AWS's own tools read, or from the
//! environment.

use std::io::Read;
use std::path::Path;

use super::ArchiveError;
use crate::model::Secret;

/// The largest file, bytes.
const LARGEST: u64 = 64 << 10;

/// What signs requests.
#[derive(Debug)]
pub(super) struct Credential {
    pub(super) id: String,
    pub(super) key: Secret<String>,
    pub(super) token: Option<Secret<String>>,
}

/// Reads it anew.
pub(super) fn read(file: Option<&Path>) -> Result<Credential, ArchiveError> {
    let Some(path) = file else {
        let word = |name: &str| std::env::var(name).ok().filter(|word| !word.is_empty());
        let (Some(id), Some(key)) = (word("AWS_ACCESS_KEY_ID"), word("AWS_SECRET_ACCESS_KEY"))
        else {
            return Err(ArchiveError::Credential(
                "the environment has none".to_owned(),
            ));
        };
        return Ok(Credential {
            id,
            key: Secret::new(key),
            token: word("AWS_SESSION_TOKEN").map(Secret::new),
        });
    };
    let bad = |why: &dyn std::fmt::Display| {
        ArchiveError::Credential(format!("{}: {why}", path.display()))
    };
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LARGEST).read_to_string(&mut text))
        .map_err(|error| bad(&error))?;
    let text = Secret::new(text);
    parse(text.expose()).ok_or_else(|| {
        bad(&"it has no aws_access_key_id and aws_secret_access_key in its first section")
    })
}

/// The first section, or what stands before any.
fn parse(text: &str) -> Option<Credential> {
    let (mut id, mut key, mut token) = (None, None, None);
    let mut sections = 0;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            sections += 1;
            if sections > 1 || id.is_some() {
                break;
            }
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let value = value.trim();
        match name.trim() {
            _ if value.is_empty() => {}
            "aws_access_key_id" => id = Some(value.to_owned()),
            "aws_secret_access_key" => key = Some(Secret::new(value.to_owned())),
            "aws_session_token" => token = Some(Secret::new(value.to_owned())),
            _ => {}
        }
    }
    Some(Credential {
        id: id?,
        key: key?,
        token,
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn the_first_section_counts_and_nothing_of_it_is_printed() {
        let text = "# a comment\n[default]\naws_access_key_id = AKIA\n\
                    aws_secret_access_key=se=cret\naws_session_token = tok\n\
                    [other]\naws_access_key_id = OTHER\naws_secret_access_key = OTHER\n";
        let read = parse(text).unwrap();
        assert_eq!(
            (read.id.as_str(), read.key.expose().as_str()),
            ("AKIA", "se=cret")
        );
        assert_eq!(read.token.as_ref().unwrap().expose(), "tok");
        let printed = format!("{read:?}");
        assert!(
            !printed.contains("se=cret") && !printed.contains("\"tok\""),
            "{printed}"
        );
        assert!(parse("aws_access_key_id = A\n").is_none());
        assert!(parse("aws_access_key_id = A\naws_secret_access_key = \n").is_none());
        assert!(parse("aws_access_key_id = A\naws_secret_access_key = B").is_some());
    }
}
