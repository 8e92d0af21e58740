//! Pure. Which session settings a client may give at start-up, in its parameters and in `options`.
//!
//! An allow-list: a setting that is not known to be harmless to what a statement *means* is
//! refused, since the statement is judged by its text. `options` is taken apart by PostgreSQL's own
//! rules (`pg_split_opts`, `-c name=value`, `--name=value`) and falls under the same list.

use crate::model::{Refusal, RefusalCode};

/// The settings that pass, in the spelling that goes up. Names are compared without case, as the
/// database does. A search_path is as good here as in SET: the session asks the database for the one that
/// came of it.
const ALLOWED: &[&str] = &[
    "application_name",
    "bytea_output",
    "client_encoding",
    "DateStyle",
    "extra_float_digits",
    "geqo",
    "idle_in_transaction_session_timeout",
    "IntervalStyle",
    "jit",
    "lock_timeout",
    "search_path",
    "statement_timeout",
    "TimeZone",
];

/// What the client gave, checked.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) list: Vec<(String, String)>,
    pub(super) application: Option<String>,
}

impl Settings {
    /// Adds one setting. `Err`: why it may not be.
    pub(super) fn add(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        let Some(known) = ALLOWED
            .iter()
            .find(|known| known.eq_ignore_ascii_case(name))
        else {
            return Err(refuse(name));
        };
        let twice = match *known {
            "application_name" => self.application.is_some(),
            known => self.list.iter().any(|(name, _)| name == known),
        };
        if twice {
            // The database would take the last, another reader the first.
            return Err(refusal(format!(
                "the setting {known} is given twice at start-up"
            )));
        }
        match *known {
            "application_name" => self.application = Some(value.to_owned()),
            "client_encoding" => {
                if !is_utf8(value) {
                    return Err(refusal(format!(
                        "the client encoding {} is not supported",
                        shown(value)
                    ))
                    .hint("use client_encoding=UTF8"));
                }
                self.list.push(((*known).to_owned(), "UTF8".to_owned()));
            }
            known => self.list.push((known.to_owned(), value.to_owned())),
        }
        Ok(())
    }

    /// Adds what `options` says.
    pub(super) fn add_options(&mut self, options: &str) -> Result<(), Refusal> {
        let mut words = split(options)?.into_iter();
        while let Some(word) = words.next() {
            let setting = if let Some(long) = word.strip_prefix("--") {
                long.to_owned()
            } else if word == "-c" {
                words.next().ok_or_else(|| {
                    refusal("the start-up options end behind -c, without a setting".to_owned())
                })?
            } else if let Some(short) = word.strip_prefix("-c") {
                short.to_owned()
            } else {
                return Err(refusal(format!(
                    "the start-up option {} is not accepted",
                    shown(&word)
                ))
                .hint("only -c name=value and --name=value are"));
            };
            let Some((name, value)) = setting.split_once('=') else {
                return Err(refusal(format!(
                    "the start-up option {} has no value",
                    shown(&setting)
                )));
            };
            // As the server's ParseLongOption does.
            self.add(&name.replace('-', "_"), value)?;
        }
        Ok(())
    }
}

/// `pg_split_opts`: words end at white space, a backslash makes the next character ordinary.
fn split(options: &str) -> Result<Vec<String>, Refusal> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        match character {
            // isspace() in the C locale.
            ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' => words.extend(word.take()),
            '\\' => match characters.next() {
                Some(next) => word.get_or_insert_default().push(next),
                None => {
                    return Err(refusal(
                        "the start-up options end in a backslash".to_owned(),
                    ));
                }
            },
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

/// The database reads an encoding's name without case and without anything but letters and digits.
fn is_utf8(value: &str) -> bool {
    let plain: String = value
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|character| character.to_ascii_lowercase())
        .collect();
    plain == "utf8" || plain == "unicode"
}

fn refusal(message: String) -> Refusal {
    Refusal::fatal(RefusalCode::Unsupported, message)
}

/// A name or value of the client's, short enough for a message.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

fn refuse(name: &str) -> Refusal {
    if name.eq_ignore_ascii_case("replication") {
        return refusal("replication connections are not supported".to_owned());
    }
    refusal(format!(
        "the setting {} is not accepted at start-up",
        shown(name)
    ))
    .hint(format!("accepted are {}", ALLOWED.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Result<Vec<(String, String)>, String> {
        let mut settings = Settings::default();
        settings
            .add_options(text)
            .map_err(|refusal| refusal.message)?;
        Ok(settings.list)
    }

    #[test]
    fn options_are_taken_apart_as_the_database_does() {
        for (text, expected) in [
            ("", &[][..]),
            ("  \t ", &[]),
            ("-c geqo=off", &[("geqo", "off")]),
            ("-cgeqo=off", &[("geqo", "off")]),
            ("--geqo=off", &[("geqo", "off")]),
            ("--statement-timeout=5s", &[("statement_timeout", "5s")]),
            (
                "-c timezone=Europe/Berlin -c GEQO=on",
                &[("TimeZone", "Europe/Berlin"), ("geqo", "on")],
            ),
            (r"-c datestyle=ISO,\ MDY", &[("DateStyle", "ISO, MDY")]),
            (r"-c datestyle=a\\b", &[("DateStyle", r"a\b")]),
            ("-c lock_timeout=", &[("lock_timeout", "")]),
        ] {
            let expected: Vec<_> = expected
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect();
            assert_eq!(options(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn options_that_change_what_a_statement_means_are_refused() {
        for text in [
            "-crole=admin",
            "--session-authorization=admin",
            r"-c ro\le=admin",
            "-c role=admin",
            "-c session_preload_libraries=evil",
            "-c standard_conforming_strings=off",
            "-c backslash_quote=on",
            "-c client_encoding=SJIS",
            "-c",
            "-c geqo",
            "-e",
            "-d 5",
            "geqo=off",
            "-c geqo=on -c geqo=off",
            "-c geqo=on\\",
        ] {
            assert!(options(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_spelling_of_utf8_is_one() {
        for value in ["UTF8", "utf8", "UTF-8", "'utf-8'", "Unicode", "utf_8"] {
            let mut settings = Settings::default();
            settings.add("client_encoding", value).unwrap();
            assert_eq!(
                settings.list,
                [("client_encoding".to_owned(), "UTF8".to_owned())]
            );
        }
        for value in ["SJIS", "SQL_ASCII", "LATIN1", "", "utf16", "auto"] {
            assert!(
                Settings::default().add("client_encoding", value).is_err(),
                "{value}"
            );
        }
    }

    #[test]
    fn what_is_not_on_the_list_is_refused_with_a_way_out() {
        for name in [
            "role",
            "ROLE",
            "session_authorization",
            "session_preload_libraries",
            "local_preload_libraries",
            "standard_conforming_strings",
            "replication",
            "default_transaction_read_only",
            "made.up",
            "",
        ] {
            let refusal = Settings::default().add(name, "x").unwrap_err();
            assert!(refusal.fatal, "{name}");
            assert_eq!(refusal.hint.is_none(), name == "replication", "{name}");
        }
    }

    #[test]
    fn a_setting_given_twice_is_refused_in_any_spelling() {
        let mut settings = Settings::default();
        settings.add("TimeZone", "UTC").unwrap();
        assert!(settings.add("timezone", "CET").is_err());
        settings.add("application_name", "psql").unwrap();
        assert!(settings.add_options("-c application_name=other").is_err());
    }
}
