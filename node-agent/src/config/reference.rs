//! Every key, for the generated reference.

use super::raw::{
    Key, Raw, RawApprovals, RawCredential, RawGroupCredential, RawGuard, RawIdentity, RawIssuer,
    RawListen, RawLog, RawRecording, RawTarget, RawTargetLimits, RawTls, RawUpstream, RawWorkload,
};

/// The keys of one map of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Where the map stands, such as `targets[].upstream`; empty for the file itself.
    pub path: &'static str,
    /// Its keys, in the order they are best read.
    pub keys: &'static [Key],
}

/// All of them.
pub fn reference() -> Vec<Section> {
    let at = |path, keys| Section { path, keys };
    vec![
        at("", Raw::KEYS),
        at("listen", RawListen::KEYS),
        at("guard", RawGuard::KEYS),
        at("identity", RawIdentity::KEYS),
        at("identity.issuers[]", RawIssuer::KEYS),
        at("targets[]", RawTarget::KEYS),
        at("targets[].upstream", RawUpstream::KEYS),
        at("targets[].credential", RawCredential::KEYS),
        at("targets[].credential.groups[]", RawGroupCredential::KEYS),
        at("targets[].limits", RawTargetLimits::KEYS),
        at("workloads[]", RawWorkload::KEYS),
        at("recording", RawRecording::KEYS),
        at("approvals", RawApprovals::KEYS),
        at("log", RawLog::KEYS),
        at("tls", RawTls::KEYS),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_map_that_a_key_announces_is_described() {
        let sections = reference();
        for section in &sections {
            for key in section.keys {
                assert!(
                    key.doc.iter().any(|line| !line.trim().is_empty()),
                    "{}",
                    key.name
                );
                let inner = match section.path {
                    "" => key.name.to_owned(),
                    path => format!("{path}.{}", key.name),
                };
                let named = |path: String| sections.iter().any(|s| s.path == path);
                if key.form.starts_with("map") && !key.form.starts_with("map of") {
                    assert!(named(inner.clone()), "{inner} is a map without a section");
                } else if key.form == "list" || key.form.starts_with("list,") {
                    let scalars = key.form.contains("[RS256");
                    assert!(
                        scalars || named(format!("{inner}[]")),
                        "{inner} has no section"
                    );
                }
            }
        }
    }

    /// Serde's own list of a struct's fields, so that a rename cannot part the two.
    fn fields_of<'de, T: serde::Deserialize<'de>>() -> &'static [&'static str] {
        struct Ask<'a>(&'a mut &'static [&'static str]);
        impl<'de> serde::Deserializer<'de> for Ask<'_> {
            type Error = serde::de::value::Error;
            fn deserialize_any<V: serde::de::Visitor<'de>>(
                self,
                _: V,
            ) -> Result<V::Value, Self::Error> {
                Err(serde::de::Error::custom("asked"))
            }
            fn deserialize_struct<V: serde::de::Visitor<'de>>(
                self,
                _: &'static str,
                fields: &'static [&'static str],
                _: V,
            ) -> Result<V::Value, Self::Error> {
                *self.0 = fields;
                Err(serde::de::Error::custom("asked"))
            }
            serde::forward_to_deserialize_any! {
                bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option
                unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
                ignored_any
            }
        }
        let mut fields: &'static [&'static str] = &[];
        assert!(T::deserialize(Ask(&mut fields)).is_err());
        fields
    }

    #[test]
    fn the_reference_names_exactly_the_keys_that_are_read() {
        let read: [(&str, &[&str]); 15] = [
            ("", fields_of::<Raw>()),
            ("listen", fields_of::<RawListen>()),
            ("guard", fields_of::<RawGuard>()),
            ("identity", fields_of::<RawIdentity>()),
            ("identity.issuers[]", fields_of::<RawIssuer>()),
            ("targets[]", fields_of::<RawTarget>()),
            ("targets[].upstream", fields_of::<RawUpstream>()),
            ("targets[].credential", fields_of::<RawCredential>()),
            (
                "targets[].credential.groups[]",
                fields_of::<RawGroupCredential>(),
            ),
            ("targets[].limits", fields_of::<RawTargetLimits>()),
            ("workloads[]", fields_of::<RawWorkload>()),
            ("recording", fields_of::<RawRecording>()),
            ("approvals", fields_of::<RawApprovals>()),
            ("log", fields_of::<RawLog>()),
            ("tls", fields_of::<RawTls>()),
        ];
        let described: Vec<(&str, Vec<&str>)> = reference()
            .iter()
            .map(|s| (s.path, s.keys.iter().map(|k| k.name).collect()))
            .collect();
        let read: Vec<(&str, Vec<&str>)> = read
            .into_iter()
            .map(|(path, fields)| (path, fields.to_vec()))
            .collect();
        assert_eq!(described, read);
    }
}
