//! Paths into a JSON document: the part of JSONPath (RFC 9535) that names values by where they are.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::PartMasker;

/// Longer paths are refused.
const LONGEST: usize = 512;
/// Paths of more steps are refused, and masks whose paths have more together.
pub const MOST_STEPS: usize = 256;

/// A mask by path: the values there are masked, the rest of the document is left as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonMask {
    /// Where the values are.
    pub paths: Vec<JsonPath>,
    /// What replaces each.
    pub with: PartMasker,
}

/// A path as written, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath {
    text: Box<str>,
    steps: Vec<PathStep>,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStep {
    /// How far down it looks.
    pub depth: Depth,
    /// What it takes there.
    pub select: Select,
}

/// How far down a step looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// At what is directly in the value: `.name`, `[*]`.
    Within,
    /// At what is anywhere in it: `..name`.
    Below,
}

/// What a step takes. Where a path and a document differ in whether there is an array, the value is
/// taken: a mask that looks too closely would show what was meant to be hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Select {
    /// `.name`, `['name']`: that member, also of the objects in an array.
    Name(Box<str>),
    /// `.*`: every member of an object and every element of an array.
    Members,
    /// `[*]`: every element of an array; what is no array, itself.
    Elements,
    /// `[7]`: that element of an array, from 0; for 0 also what is no array, itself.
    Element(u32),
}

impl JsonPath {
    /// Reads a path.
    ///
    /// # Errors
    /// It is no path, or one of a kind that is not supported (filters, slices, counting from the end).
    pub fn new(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("a path has at most {LONGEST} characters"));
        }
        let wrong = |why: &str| {
            format!("`{text}` is not a path such as $.ssn or $.contacts[*].email: {why}")
        };
        let mut rest = text
            .strip_prefix('$')
            .ok_or_else(|| wrong("it begins with $"))?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, behind) = one_step(rest).map_err(wrong)?;
            steps.push(step);
            rest = behind;
        }
        if steps.len() > MOST_STEPS {
            return Err(wrong("it has too many steps"));
        }
        Ok(JsonPath {
            text: text.into(),
            steps,
        })
    }

    /// Its steps; none: the whole document.
    pub fn steps(&self) -> &[PathStep] {
        &self.steps
    }
}

fn one_step(text: &str) -> Result<(PathStep, &str), &'static str> {
    let (depth, rest) = if let Some(rest) = text.strip_prefix("..") {
        (Depth::Below, rest)
    } else if let Some(rest) = text.strip_prefix('.') {
        if rest.starts_with('[') {
            return Err("a bracket follows a name without a dot");
        }
        (Depth::Within, rest)
    } else if text.starts_with('[') {
        (Depth::Within, text)
    } else {
        return Err("a step begins with a dot or a bracket");
    };
    let (select, rest) = if let Some(rest) = rest.strip_prefix('*') {
        (Select::Members, rest)
    } else if let Some(rest) = rest.strip_prefix('[') {
        let (select, rest) = in_brackets(rest)?;
        let rest = rest.strip_prefix(']').ok_or("a bracket is not closed")?;
        (select, rest)
    } else {
        // RFC 9535, section 2.5.1.1: what a name may have without quotes.
        let end = rest
            .find(|c: char| c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let (name, behind) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err("a name of other characters than letters, digits and _ is written ['so']");
        }
        (Select::Name(name.into()), behind)
    };
    Ok((PathStep { depth, select }, rest))
}

fn in_brackets(text: &str) -> Result<(Select, &str), &'static str> {
    if let Some(rest) = text.strip_prefix('*') {
        return Ok((Select::Elements, rest));
    }
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '\'' | '"')) else {
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (digits, rest) = text.split_at_checked(end).unwrap_or((text, ""));
        let number = digits
            .parse()
            .map_err(|_| "in brackets stands *, a number from 0, or a name in quotes")?;
        return Ok((Select::Element(number), rest));
    };
    let mut name = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some((_, escaped @ ('\\' | '\'' | '"'))) => name.push(escaped),
                Some(_) | None => return Err("only quotes and \\ are written behind a \\"),
            },
            end if end == quote => {
                let rest = text.get(at + 1..).unwrap_or_default();
                return Ok((Select::Name(name.into()), rest));
            }
            other => name.push(other),
        }
    }
    Err("a quote is not closed")
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for JsonPath {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for JsonPath {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = JsonPath;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path such as $.ssn or $.contacts[*].email")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<JsonPath, E> {
                JsonPath::new(text).map_err(E::custom)
            }
        }
        from.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_what_its_steps_are() {
        let name = |name: &str| Select::Name(name.into());
        let within = |select| PathStep {
            depth: Depth::Within,
            select,
        };
        let below = |select| PathStep {
            depth: Depth::Below,
            select,
        };
        for (text, steps) in [
            ("$", vec![]),
            ("$.ssn", vec![within(name("ssn"))]),
            ("$['a.b']", vec![within(name("a.b"))]),
            (
                r#"$["it\"s"].x_1"#,
                vec![within(name("it\"s")), within(name("x_1"))],
            ),
            (r"$['it\'s']", vec![within(name("it's"))]),
            ("$.straße", vec![within(name("straße"))]),
            (
                "$.contacts[*].email",
                vec![
                    within(name("contacts")),
                    within(Select::Elements),
                    within(name("email")),
                ],
            ),
            (
                "$[7][0]",
                vec![within(Select::Element(7)), within(Select::Element(0))],
            ),
            ("$.*", vec![within(Select::Members)]),
            ("$..ssn", vec![below(name("ssn"))]),
            ("$..*", vec![below(Select::Members)]),
            ("$..[*]", vec![below(Select::Elements)]),
        ] {
            let path = JsonPath::new(text).unwrap();
            assert_eq!(path.steps(), steps, "{text}");
            assert_eq!(path.to_string(), text);
        }
        for text in [
            "",
            "ssn",
            ".ssn",
            "$ssn",
            "$.",
            "$..",
            "$.a.",
            "$.1",
            "$.a-b",
            "$.[0]",
            "$[",
            "$[]",
            "$[-1]",
            "$[1:2]",
            "$[?(@.a)]",
            "$['a'",
            "$['a]",
            r"$['\n']",
            "$[99999999999]",
            "$.a b",
            "$ .a",
            "$[0",
            "$[*",
        ] {
            assert!(JsonPath::new(text).is_err(), "{text}");
        }
        assert!(JsonPath::new(&format!("${}", ".a".repeat(300))).is_err());
    }
}
