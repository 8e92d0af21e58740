//! The JSON Schema of the policy format, for editors and for other programs.
//!
//! Nothing of the structure is written here: `asked.rs` asks the parser's own types what they take
//! (keys, lists, words), the statement words come from `words.rs`, and `keys.rs` adds what a type
//! cannot say: what each key means, and what must not be empty. A test fails where a key of the
//! parser has no meaning here, or a meaning no key.

use serde_json::{Map, Value, json};

use super::document::Document;
use super::meanings;
use super::words::{GROUPS, KINDS};

mod asked;
mod keys;

use asked::{Asked, Step, ask};
use keys::{CONDITIONS, FORMS, Filled, KEYS, Key, PARTS, WORDS, WORDS_OF};

/// The schema, draft 2020-12.
pub fn schema() -> Value {
    let mut writer = Writer::default();
    let root = writer.of(&mut Vec::new());
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A policy of node-agent",
        "description": "Who may do what to which target. Deny beats approve beats allow beats the default, which is deny.",
    });
    if let (Value::Object(schema), Value::Object(root)) = (&mut schema, root) {
        schema.extend(root);
        schema.insert("$defs".to_owned(), Value::Object(writer.definitions));
    }
    schema
}

/// The keys and their words, Markdown.
pub(super) fn reference() -> String {
    let mut text = String::from(
        "\n## Keys\n\nWhat a document holds, by part. The same for editors: \
         [policy.schema.json](policy.schema.json).\n\n| In | Key | Needed | Means |\n| --- | --- | --- | --- |\n",
    );
    for key in KEYS {
        let part = PARTS.iter().find(|(name, _)| *name == key.of);
        let words: Vec<String> = WORDS
            .iter()
            .filter(|(of, ..)| Some(*of) == words_of(key))
            .map(|(_, word, means)| format!("`{word}`: {means}"))
            .collect();
        text.push_str(&format!(
            "| {} | `{}` | {} | {} |\n",
            part.map_or("", |(_, told)| told),
            key.name,
            if key.required { "yes" } else { "" },
            [&[key.means.to_owned()], &words[..]].concat().join("<br>")
        ));
    }
    text
}

/// Which words a key takes.
fn words_of(key: &Key) -> Option<&'static str> {
    let found = WORDS_OF
        .iter()
        .find(|(of, name, _)| *of == key.of && *name == key.name);
    found.map(|(_, _, words)| *words)
}

#[derive(Default)]
struct Writer {
    /// Every struct below the document, by the parser's name for it.
    definitions: Map<String, Value>,
}

impl Writer {
    /// The schema of what stands at a path.
    fn of(&mut self, path: &mut Vec<Step>) -> Value {
        match ask::<Document>(path) {
            Asked::Struct { name, fields } => self.structure(path, name, fields),
            Asked::Words { name, words } => self.words(path, name, words),
            Asked::List => {
                let items = self.below(path, Step::Item);
                json!({ "type": "array", "items": items })
            }
            Asked::Map => {
                let values = self.below(path, Step::Value);
                json!({ "type": "object", "additionalProperties": values })
            }
            Asked::Text { form } => text(&form),
            Asked::Number => json!({ "type": "integer", "minimum": 0 }),
            Asked::Flag => json!({ "type": "boolean" }),
            // Nothing is known of it: nothing is refused.
            Asked::Anything => json!({}),
        }
    }

    fn below(&mut self, path: &mut Vec<Step>, step: Step) -> Value {
        path.push(step);
        let schema = self.of(path);
        path.pop();
        schema
    }

    fn structure(
        &mut self,
        path: &mut Vec<Step>,
        name: &'static str,
        fields: &'static [&'static str],
    ) -> Value {
        let reference = json!({ "$ref": format!("#/$defs/{name}") });
        if !path.is_empty() && self.definitions.contains_key(name) {
            return reference;
        }
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in fields {
            let mut schema = self.below(path, Step::Field(field));
            if let Some(key) = key(name, field) {
                if key.required {
                    required.push(json!(field));
                }
                fill(&mut schema, key.filled);
                describe(&mut schema, key.means);
            }
            properties.insert((*field).to_owned(), schema);
        }
        let mut schema = json!({
            "type": "object",
            "additionalProperties": false,
            "properties": properties,
        });
        if !required.is_empty() {
            put(&mut schema, "required", Value::Array(required));
        }
        if name == "Subject" {
            put(&mut schema, "minProperties", json!(1));
        }
        let more = CONDITIONS.iter().filter(|(of, _)| *of == name);
        let more: Vec<Value> = more
            .filter_map(|(_, text)| serde_json::from_str(text).ok())
            .collect();
        if !more.is_empty() {
            put(&mut schema, "allOf", Value::Array(more));
        }
        if path.is_empty() {
            return schema;
        }
        self.definitions.insert(name.to_owned(), schema);
        reference
    }

    fn words(
        &mut self,
        path: &mut Vec<Step>,
        name: &'static str,
        words: &'static [&'static str],
    ) -> Value {
        let all = words.iter().map(|word| {
            let means = meaning(name, word);
            let payload = {
                path.push(Step::Variant(word));
                let payload = ask::<Document>(path);
                path.pop();
                payload
            };
            let mut schema = match payload {
                // A word alone. YAML takes an unquoted `null` for no value at all.
                Asked::Anything if *word == "null" => json!({ "enum": [word, null] }),
                Asked::Anything => json!({ "const": word }),
                Asked::Struct { .. }
                | Asked::Words { .. }
                | Asked::List
                | Asked::Map
                | Asked::Text { .. }
                | Asked::Number
                | Asked::Flag => {
                    let value = self.below(path, Step::Variant(word));
                    json!({
                        "type": "object",
                        "additionalProperties": false,
                        "required": [word],
                        "properties": { *word: value },
                    })
                }
            };
            describe(&mut schema, means);
            schema
        });
        let all: Vec<Value> = all.collect();
        json!({ "oneOf": all })
    }
}

fn key(of: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.of == of && key.name == name)
}

fn meaning(of: &str, word: &str) -> &'static str {
    WORDS
        .iter()
        .find(|(name, w, _)| *name == of && *w == word)
        .map_or("", |(_, _, means)| means)
}

fn put(schema: &mut Value, key: &str, value: Value) {
    if let Value::Object(schema) = schema {
        schema.insert(key.to_owned(), value);
    }
}

fn describe(schema: &mut Value, means: &str) {
    if !means.is_empty() {
        put(schema, "description", json!(means));
    }
}

fn fill(schema: &mut Value, filled: Filled) {
    match filled {
        Filled::AsLikes => {}
        Filled::Items => put(schema, "minItems", json!(1)),
        Filled::Letters => put(schema, "minLength", json!(1)),
    }
}

/// A text, by what the parser says that it expects.
fn text(form: &str) -> Value {
    if form == "a statement word" {
        return statements();
    }
    let known = FORMS.iter().find(|(expects, _)| *expects == form);
    known
        .and_then(|(_, schema)| serde_json::from_str(schema).ok())
        .unwrap_or_else(|| json!({ "type": "string", "description": form }))
}

/// The statement words, from the parser's own tables.
fn statements() -> Value {
    let groups = GROUPS
        .iter()
        .map(|(name, _)| json!({ "const": name, "description": meanings::group(name) }));
    let kinds = KINDS
        .iter()
        .filter(|(_, word)| !GROUPS.iter().any(|(name, _)| name == word));
    let kinds =
        kinds.map(|(kind, word)| json!({ "const": word, "description": meanings::kind(*kind) }));
    let every = json!({ "const": "*", "description": "all; in an allow rule all but `opaque`" });
    let all: Vec<Value> = [every].into_iter().chain(groups).chain(kinds).collect();
    json!({ "oneOf": all })
}

#[cfg(test)]
mod tests;
