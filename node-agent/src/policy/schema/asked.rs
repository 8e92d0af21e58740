//! Asks a type what it takes: a deserializer that walks down a path, answers each type on the way
//! with what leads to the next step, and gives back what the type at the end asked for.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer,
    MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

/// One step down into a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The value of a struct's key.
    Field(&'static str),
    /// What a list holds.
    Item,
    /// What a map holds.
    Value,
    /// What comes with a word.
    Variant(&'static str),
}

/// What a type asks its deserializer for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Struct {
        name: &'static str,
        fields: &'static [&'static str],
    },
    Words {
        name: &'static str,
        words: &'static [&'static str],
    },
    List,
    Map,
    /// With what it says that it expects.
    Text {
        form: String,
    },
    Number,
    Flag,
    /// It did not say, or a word has nothing with it.
    Anything,
}

/// The answer travels as the error.
#[derive(Debug)]
struct Found(Asked);

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Found {}

impl de::Error for Found {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Found(Asked::Anything)
    }
}

/// What the type at a path below `T` takes.
pub(super) fn ask<'de, T: Deserialize<'de>>(path: &[Step]) -> Asked {
    match T::deserialize(At(path)) {
        Err(Found(asked)) => asked,
        Ok(_) => Asked::Anything,
    }
}

/// At the beginning of what is left of a path.
#[derive(Clone, Copy)]
struct At<'p>(&'p [Step]);

impl<'p> At<'p> {
    /// Goes on if there is a step, else the answer is found.
    fn step(self, asked: Asked) -> Result<(Step, At<'p>), Found> {
        match self.0 {
            [step, rest @ ..] => Ok((*step, At(rest))),
            [] => Err(Found(asked)),
        }
    }
}

impl<'de> Deserializer<'de> for At<'_> {
    type Error = Found;

    /// A type that takes what there is says what it expects.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Found> {
        self.deserialize_str(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Found> {
        let (step, rest) = self.step(Asked::Struct { name, fields })?;
        match step {
            Step::Field(field) => visitor.visit_map(One {
                key: Some(field),
                rest,
            }),
            Step::Item | Step::Value | Step::Variant(_) => Err(Found(Asked::Anything)),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Found> {
        let (_, rest) = self.step(Asked::Map)?;
        visitor.visit_map(One {
            key: Some("a-key"),
            rest,
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Found> {
        let (_, rest) = self.step(Asked::List)?;
        visitor.visit_seq(One { key: None, rest })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Found> {
        let (step, rest) = self.step(Asked::Words { name, words })?;
        match step {
            Step::Variant(word) => visitor.visit_enum(One {
                key: Some(word),
                rest,
            }),
            Step::Field(_) | Step::Item | Step::Value => Err(Found(Asked::Anything)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Found> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Found> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Found> {
        let expected: &dyn Expected = &visitor;
        let form = expected.to_string();
        Err(Found(Asked::Text { form }))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Found> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Found> {
        Err(Found(Asked::Flag))
    }

    fn deserialize_u32<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Found> {
        Err(Found(Asked::Number))
    }

    fn deserialize_u64<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Found> {
        Err(Found(Asked::Number))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u128 f32 f64 char bytes byte_buf unit unit_struct tuple
        tuple_struct identifier ignored_any
    }
}

/// A map of one key, a list of one element, a word: with what is left of the path behind it.
struct One<'p> {
    key: Option<&'static str>,
    rest: At<'p>,
}

fn word(key: Option<&'static str>) -> StrDeserializer<'static, Found> {
    key.unwrap_or_default().into_deserializer()
}

impl<'de> MapAccess<'de> for One<'_> {
    type Error = Found;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Found> {
        seed.deserialize(word(self.key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Found> {
        seed.deserialize(self.rest)
    }
}

impl<'de> SeqAccess<'de> for One<'_> {
    type Error = Found;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Found> {
        seed.deserialize(self.rest).map(Some)
    }
}

impl<'de> EnumAccess<'de> for One<'_> {
    type Error = Found;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Found> {
        Ok((seed.deserialize(word(self.key))?, self))
    }
}

impl<'de> VariantAccess<'de> for One<'_> {
    type Error = Found;

    fn unit_variant(self) -> Result<(), Found> {
        Err(Found(Asked::Anything))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Found> {
        seed.deserialize(self.rest)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Found> {
        Err(Found(Asked::Anything))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Found> {
        self.rest.deserialize_struct("", fields, visitor)
    }
}
