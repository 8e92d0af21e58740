//! The issuer's keys, one for each algorithm, and their public halves as a JWK set.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::token::Claims;

/// The algorithms it can sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alg {
    /// RSA, PKCS #1 v1.5, SHA-256.
    RS256,
    /// ECDSA on P-256, SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

impl Alg {
    /// As it stands in a token's header.
    pub fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
        }
    }
}

impl FromStr for Alg {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "RS256" => Self::RS256,
            "ES256" => Self::ES256,
            "EdDSA" => Self::EdDSA,
            other => bail!("{other}: the algorithms are RS256, ES256 and EdDSA"),
        })
    }
}

/// A key for each algorithm, as PKCS #8.
#[derive(Clone)]
pub struct KeySet {
    rs256: Vec<u8>,
    es256: Vec<u8>,
    eddsa: Vec<u8>,
}

impl KeySet {
    /// New keys.
    pub fn fresh() -> Result<Self> {
        let random = SystemRandom::new();
        let rsa = rsa::KeyPair::generate(rsa::KeySize::Rsa2048)
            .ok()
            .context("RSA key")?;
        let rs256 = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&rsa)
            .ok()
            .context("RSA key")?;
        let es256 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            .ok()
            .context("P-256 key")?;
        let eddsa = Ed25519KeyPair::generate_pkcs8(&random)
            .ok()
            .context("Ed25519 key")?;
        Ok(Self {
            rs256: rs256.as_ref().to_vec(),
            es256: es256.as_ref().to_vec(),
            eddsa: eddsa.as_ref().to_vec(),
        })
    }

    /// The keys in a directory, made on the first call.
    pub fn kept_in(state: &Path) -> Result<Self> {
        fs::create_dir_all(state).with_context(|| format!("cannot make {}", state.display()))?;
        if let Ok(keys) = Self::read(state) {
            return Ok(keys);
        }
        let keys = Self::fresh()?;
        for (name, key) in [
            ("rs256.der", &keys.rs256),
            ("es256.der", &keys.es256),
            ("eddsa.der", &keys.eddsa),
        ] {
            fs::write(state.join(name), key)?;
        }
        Ok(keys)
    }

    /// The keys that are already in a directory.
    pub fn read(state: &Path) -> Result<Self> {
        let read = |name: &str| {
            let file = state.join(name);
            fs::read(&file).with_context(|| {
                format!(
                    "no {}: `issuer --listen … --state …` makes it",
                    file.display()
                )
            })
        };
        Ok(Self {
            rs256: read("rs256.der")?,
            es256: read("es256.der")?,
            eddsa: read("eddsa.der")?,
        })
    }

    /// The public keys (RFC 7517).
    pub(super) fn public(&self) -> Result<Value> {
        let (n, e) = self.rsa_numbers()?;
        let ec = self.ecdsa()?;
        // An uncompressed point: 4, x, y.
        let point = ec
            .public_key()
            .as_ref()
            .get(1..65)
            .context("a P-256 point")?;
        let ed = self.ed25519()?;
        let named = |alg: Alg, mut key: Value| {
            key["kid"] = json!(self.kid(alg));
            key["use"] = json!("sig");
            key["alg"] = json!(alg.name());
            key
        };
        Ok(json!({ "keys": [
            named(Alg::RS256, json!({ "kty": "RSA", "n": b64(&n), "e": b64(&e) })),
            named(Alg::ES256, json!({ "kty": "EC", "crv": "P-256", "x": b64(&point[..32]), "y": b64(&point[32..]) })),
            named(Alg::EdDSA, json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(ed.public_key().as_ref()) })),
        ]}))
    }

    /// The name of a key: the start of its digest, so that a new key has a new name.
    pub fn kid(&self, alg: Alg) -> String {
        let key = match alg {
            Alg::RS256 => &self.rs256,
            Alg::ES256 => &self.es256,
            Alg::EdDSA => &self.eddsa,
        };
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key);
        format!(
            "{}-{}",
            alg.name().to_lowercase(),
            b64(&digest.as_ref()[..6])
        )
    }

    /// A signed token (RFC 7515, compact).
    pub fn sign(&self, alg: Alg, claims: &Claims) -> Result<String> {
        let header = json!({ "alg": alg.name(), "typ": "JWT", "kid": self.kid(alg) });
        self.sign_with_header(alg, &header, &claims.to_json())
    }

    /// A token with any header and any body, signed with the key of `alg` whatever the header says.
    pub fn sign_with_header(&self, alg: Alg, header: &Value, body: &Value) -> Result<String> {
        let signed = format!("{}.{}", b64(header.to_string()), b64(body.to_string()));
        let signature = self.signature(alg, signed.as_bytes())?;
        Ok(format!("{signed}.{}", b64(signature)))
    }

    fn signature(&self, alg: Alg, message: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        Ok(match alg {
            Alg::RS256 => {
                let key = self.rsa()?;
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .ok()
                    .context("RSA signature")?;
                signature
            }
            Alg::ES256 => {
                let signature = self.ecdsa()?.sign(&random, message);
                signature.ok().context("P-256 signature")?.as_ref().to_vec()
            }
            Alg::EdDSA => self.ed25519()?.sign(message).as_ref().to_vec(),
        })
    }

    fn rsa(&self) -> Result<RsaKeyPair> {
        RsaKeyPair::from_pkcs8(&self.rs256)
            .ok()
            .context("the RSA key is damaged")
    }

    fn ecdsa(&self) -> Result<EcdsaKeyPair> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.es256)
            .ok()
            .context("the P-256 key is damaged")
    }

    fn ed25519(&self) -> Result<Ed25519KeyPair> {
        Ed25519KeyPair::from_pkcs8(&self.eddsa)
            .ok()
            .context("the Ed25519 key is damaged")
    }

    /// Modulus and exponent, from RSAPublicKey (RFC 8017, A.1.1): a sequence of two integers.
    fn rsa_numbers(&self) -> Result<(Vec<u8>, Vec<u8>)> {
        let key = self.rsa()?;
        let (sequence, _) = der(key.public_key().as_ref(), 0x30)?;
        let (modulus, rest) = der(sequence, 0x02)?;
        let (exponent, _) = der(rest, 0x02)?;
        let bare = |number: &[u8]| {
            let zeros = number.iter().take_while(|byte| **byte == 0).count();
            number[zeros..].to_vec()
        };
        Ok((bare(modulus), bare(exponent)))
    }
}

/// One DER value with this tag, and what follows it.
fn der(input: &[u8], tag: u8) -> Result<(&[u8], &[u8])> {
    let (&seen, rest) = input.split_first().context("DER ends")?;
    if seen != tag {
        bail!("DER tag {seen:#x} instead of {tag:#x}");
    }
    let (&first, rest) = rest.split_first().context("DER ends")?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest
            .split_at_checked(usize::from(first & 0x7f))
            .context("DER ends")?;
        (
            bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
            rest,
        )
    };
    rest.split_at_checked(length).context("DER ends")
}

/// Base64url without padding.
pub(super) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
