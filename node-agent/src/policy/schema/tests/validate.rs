//! As much of JSON Schema 2020-12 as the policy schema uses. A keyword that is not known here is a
//! fault, so that nothing is taken for checked that is not.

use serde_json::{Map, Value};

/// What a value breaks of a schema, each with its place.
pub(super) fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    judge(schema, schema, value, "", &mut faults);
    faults
}

fn good(root: &Value, schema: &Value, value: &Value) -> bool {
    let mut faults = Vec::new();
    judge(root, schema, value, "", &mut faults);
    faults.is_empty()
}

fn judge(root: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let words = match schema {
        Value::Bool(true) => return,
        Value::Object(words) => words,
        _ => {
            faults.push(format!("{at}: not wanted"));
            return;
        }
    };
    for (word, wants) in words {
        let mut wrong = |what: &str| faults.push(format!("{at}: {what} {wants}"));
        match word.as_str() {
            "$schema" | "$defs" | "title" | "description" | "examples" | "then" | "else" => {}
            "$ref" => {
                let pointer = wants.as_str().unwrap().strip_prefix('#').unwrap();
                judge(root, root.pointer(pointer).unwrap(), value, at, faults);
            }
            "type" => {
                let of = |one: &Value| is(one.as_str().unwrap(), value);
                if !wants
                    .as_array()
                    .map_or_else(|| of(wants), |all| all.iter().any(of))
                {
                    wrong("not of type");
                }
            }
            "const" if wants != value => wrong("not"),
            "enum" if !wants.as_array().unwrap().contains(value) => wrong("none of"),
            "const" | "enum" => {}
            "minimum" => {
                if value.as_i64().is_some_and(|n| n < wants.as_i64().unwrap()) {
                    wrong("less than");
                }
            }
            "minLength" => {
                let least = wants.as_u64().unwrap() as usize;
                if value
                    .as_str()
                    .is_some_and(|text| text.chars().count() < least)
                {
                    wrong("shorter than");
                }
            }
            "maxLength" => {
                let most = wants.as_u64().unwrap() as usize;
                if value
                    .as_str()
                    .is_some_and(|text| text.chars().count() > most)
                {
                    wrong("longer than");
                }
            }
            "minItems" => {
                let least = wants.as_u64().unwrap() as usize;
                if value.as_array().is_some_and(|list| list.len() < least) {
                    wrong("fewer than");
                }
            }
            "minProperties" => {
                let least = wants.as_u64().unwrap() as usize;
                if value.as_object().is_some_and(|map| map.len() < least) {
                    wrong("fewer than");
                }
            }
            "pattern" => {
                let pattern = regex_lite::Regex::new(wants.as_str().unwrap()).unwrap();
                if value.as_str().is_some_and(|text| !pattern.is_match(text)) {
                    wrong("does not match");
                }
            }
            "required" => {
                for key in wants.as_array().unwrap() {
                    let key = key.as_str().unwrap();
                    if value.as_object().is_some_and(|map| !map.contains_key(key)) {
                        faults.push(format!("{at}: no {key}"));
                    }
                }
            }
            "properties" | "additionalProperties" => keys(root, words, word, value, at, faults),
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    judge(root, wants, item, &format!("{at}/{i}"), faults);
                }
            }
            "allOf" => {
                for one in wants.as_array().unwrap() {
                    judge(root, one, value, at, faults);
                }
            }
            "anyOf" | "oneOf" => {
                let all = wants.as_array().unwrap();
                let fitting = all.iter().filter(|one| good(root, one, value)).count();
                if fitting == 0 || (word == "oneOf" && fitting > 1) {
                    faults.push(format!("{at}: {value} fits {fitting} of {word}"));
                }
            }
            "if" => {
                let branch = if good(root, wants, value) {
                    "then"
                } else {
                    "else"
                };
                if let Some(branch) = words.get(branch) {
                    judge(root, branch, value, at, faults);
                }
            }
            unknown => faults.push(format!("{at}: the schema's keyword {unknown} is not known")),
        }
    }
}

fn keys(
    root: &Value,
    words: &Map<String, Value>,
    word: &str,
    value: &Value,
    at: &str,
    faults: &mut Vec<String>,
) {
    let known = words.get("properties").and_then(Value::as_object);
    for (key, inner) in value.as_object().into_iter().flatten() {
        let own = known.and_then(|known| known.get(key));
        let schema = match (own, word) {
            (Some(own), "properties") => own,
            (None, "additionalProperties") => &words[word],
            _ => continue,
        };
        judge(root, schema, inner, &format!("{at}/{key}"), faults);
    }
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("type {other}"),
    }
}
