//! What a rule wants to be told before it allows: a reason, a ticket.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::sql::Purpose;

/// `require: { reason: true, ticket: '[A-Z]+-[0-9]+' }`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Require {
    /// A reason must be given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reason: bool,
    /// A ticket must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<TicketPattern>,
}

/// `true`, or a regular expression that the whole ticket must match.
#[derive(Clone)]
pub struct TicketPattern {
    /// As written; `None`: any.
    text: Option<String>,
    whole: Option<regex_lite::Regex>,
}

/// The longest expression, bytes.
const LONGEST: usize = 256;

impl TicketPattern {
    fn read(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("the expression is longer than {LONGEST} bytes"));
        }
        let alone = regex_lite::Regex::new(text);
        let whole = alone.and_then(|_| regex_lite::Regex::new(&format!("^(?:{text})$")));
        let whole = whole.map_err(|error| format!("`{text}` is no regular expression: {error}"))?;
        Ok(TicketPattern {
            text: Some(text.to_owned()),
            whole: Some(whole),
        })
    }

    fn fits(&self, ticket: &str) -> bool {
        self.whole
            .as_ref()
            .is_none_or(|whole| whole.is_match(ticket))
    }
}

impl PartialEq for TicketPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for TicketPattern {}

impl fmt::Debug for TicketPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketPattern({:?})", self.text)
    }
}

impl<'de> Deserialize<'de> for TicketPattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = TicketPattern;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, or a regular expression")
            }
            fn visit_bool<E: de::Error>(self, any: bool) -> Result<TicketPattern, E> {
                if any {
                    Ok(TicketPattern {
                        text: None,
                        whole: None,
                    })
                } else {
                    Err(E::custom("leave `ticket` out where none is required"))
                }
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<TicketPattern, E> {
                TicketPattern::read(text).map_err(E::custom)
            }
        }
        from.deserialize_any(Visitor)
    }
}

impl Serialize for TicketPattern {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.text {
            Some(text) => to.serialize_str(text),
            None => to.serialize_bool(true),
        }
    }
}

/// What a rule and its document want together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    reason: bool,
    /// All of them must fit.
    tickets: Vec<TicketPattern>,
}

/// What is missing of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) reason: bool,
    /// Nothing was given, or what was given does not fit.
    pub(super) ticket: Option<Ticket>,
}

/// What is wrong with a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ticket {
    NotGiven,
    DoesNotFit,
}

/// What tickets look like elsewhere: the first that fits stands in the example.
const EXAMPLES: &[&str] = &[
    "OPS-12",
    "12",
    "#12",
    "123456",
    "OPS12",
    "INC0012345",
    "CHG0012345",
    "ops-12",
    "gh-12",
    "GH-12",
];

impl Wanted {
    pub(super) fn new(document: Option<&Require>, rule: Option<&Require>) -> Self {
        let both = || [document, rule].into_iter().flatten();
        Wanted {
            reason: both().any(|require| require.reason),
            tickets: both()
                .filter_map(|require| require.ticket.clone())
                .collect(),
        }
    }

    /// `None`: nothing.
    pub(super) fn missing(&self, purpose: &Purpose) -> Option<Missing> {
        let ticket = if self.tickets.is_empty() {
            None
        } else {
            match &purpose.ticket {
                None => Some(Ticket::NotGiven),
                Some(ticket) if self.tickets.iter().all(|pattern| pattern.fits(ticket)) => None,
                Some(_) => Some(Ticket::DoesNotFit),
            }
        };
        let reason = self.reason && purpose.reason.is_none();
        (reason || ticket.is_some()).then_some(Missing { reason, ticket })
    }

    /// A purpose that fits, for an example: what was given stays. `None`: no ticket is known that
    /// would.
    pub(super) fn example(&self, given: &Purpose) -> Option<Purpose> {
        let ticket = match self.tickets.as_slice() {
            [] => given.ticket.clone(),
            patterns => {
                let fits = |ticket: &&str| patterns.iter().all(|pattern| pattern.fits(ticket));
                let known = given.ticket.as_deref().into_iter();
                let found = known.chain(EXAMPLES.iter().copied()).find(|t| fits(t));
                Some(found?.to_owned())
            }
        };
        let reason = match &given.reason {
            None if self.reason => Some("why it is needed".to_owned()),
            given => given.clone(),
        };
        Some(Purpose {
            later: given.later,
            reason,
            ticket,
            traceparent: None,
            access: None,
            unread: None,
        })
    }

    /// The expressions, for a sentence.
    pub(super) fn patterns(&self) -> Vec<&str> {
        self.tickets
            .iter()
            .filter_map(|pattern| pattern.text.as_deref())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purpose(reason: Option<&str>, ticket: Option<&str>) -> Purpose {
        Purpose {
            reason: reason.map(str::to_owned),
            ticket: ticket.map(str::to_owned),
            ..Purpose::default()
        }
    }

    fn require(reason: bool, ticket: Option<&str>) -> Require {
        Require {
            reason,
            ticket: ticket.map(|text| TicketPattern::read(text).unwrap()),
        }
    }

    #[test]
    fn a_ticket_fits_as_a_whole() {
        let wanted = Wanted::new(None, Some(&require(false, Some("[A-Z]+-[0-9]+|none"))));
        for (ticket, missing) in [
            (Some("OPS-12"), None),
            (Some("none"), None),
            (Some("xOPS-12"), Some(Ticket::DoesNotFit)),
            (Some("OPS-12;drop"), Some(Ticket::DoesNotFit)),
            (Some("OPS-12\n"), Some(Ticket::DoesNotFit)),
            (None, Some(Ticket::NotGiven)),
        ] {
            let found = wanted.missing(&purpose(None, ticket));
            assert_eq!(found.and_then(|m| m.ticket), missing, "{ticket:?}");
        }
    }

    #[test]
    fn rule_and_document_are_both_heard() {
        let document = require(true, Some("OPS-.*"));
        let rule = require(false, Some(".*-12"));
        let wanted = Wanted::new(Some(&document), Some(&rule));
        assert!(
            wanted
                .missing(&purpose(Some("x"), Some("OPS-12")))
                .is_none()
        );
        assert!(wanted.missing(&purpose(None, Some("OPS-12"))).is_some());
        assert!(
            wanted
                .missing(&purpose(Some("x"), Some("OPS-13")))
                .is_some()
        );
        let example = wanted.example(&purpose(None, None)).unwrap();
        assert!(wanted.missing(&example).is_none(), "{example:?}");
        let odd = Wanted::new(None, Some(&require(false, Some("zebra"))));
        assert_eq!(odd.example(&purpose(None, None)), None);
        assert!(
            Wanted::new(None, None)
                .missing(&Purpose::default())
                .is_none()
        );
    }

    #[test]
    fn an_expression_that_is_none_is_an_error_of_the_document() {
        for bad in ["[", "a)(b", "(?P<x", "*"] {
            assert!(TicketPattern::read(bad).is_err(), "{bad}");
        }
        assert!(TicketPattern::read(&"x".repeat(LONGEST + 1)).is_err());
    }
}
