//! Pure. The `tls-server-end-point` channel binding (RFC 5929, section 4).

use aws_lc_rs::digest::{self, Algorithm, SHA256, SHA384, SHA512};
use x509_parser::oid_registry::{
    OID_HASH_SHA1, OID_NIST_HASH_SHA256, OID_NIST_HASH_SHA384, OID_NIST_HASH_SHA512,
    OID_PKCS1_MD5WITHRSAENC, OID_PKCS1_RSASSAPSS, OID_PKCS1_SHA1WITHRSA, OID_PKCS1_SHA256WITHRSA,
    OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA256,
    OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512, Oid,
};
use x509_parser::prelude::{AlgorithmIdentifier, FromDer, X509Certificate};
use x509_parser::signature_algorithm::SignatureAlgorithm;

/// ecdsa-with-SHA1, for which the registry has no constant: 1.2.840.10045.4.1 in DER.
const ECDSA_WITH_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01];

/// The hash of the server's certificate (DER) under the hash function of its signature algorithm;
/// MD5 and SHA-1 are replaced by SHA-256, as RFC 5929 says.
///
/// `None` where the RFC defines nothing (Ed25519, Ed448, SHA-224, unknown algorithms, bytes that
/// are no certificate): the caller then logs in without channel binding.
pub fn tls_server_end_point(leaf: &[u8]) -> Option<Vec<u8>> {
    let (rest, certificate) = X509Certificate::from_der(leaf).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let algorithm = hash_of(&certificate.signature_algorithm)?;
    Some(digest::digest(algorithm, leaf).as_ref().to_vec())
}

fn hash_of(signature: &AlgorithmIdentifier<'_>) -> Option<&'static Algorithm> {
    let oid = &signature.algorithm;
    let is = |known: &Oid<'_>| oid == known;
    if is(&OID_PKCS1_RSASSAPSS) {
        // The hash is a parameter here (RFC 4055, section 3.1).
        let Ok(SignatureAlgorithm::RSASSA_PSS(pss)) = SignatureAlgorithm::try_from(signature)
        else {
            return None;
        };
        let hash = pss.hash_algorithm_oid();
        return if *hash == OID_NIST_HASH_SHA256 || *hash == OID_HASH_SHA1 {
            Some(&SHA256)
        } else if *hash == OID_NIST_HASH_SHA384 {
            Some(&SHA384)
        } else if *hash == OID_NIST_HASH_SHA512 {
            Some(&SHA512)
        } else {
            None
        };
    }
    if is(&OID_PKCS1_SHA256WITHRSA)
        || is(&OID_SIG_ECDSA_WITH_SHA256)
        || is(&OID_PKCS1_MD5WITHRSAENC)
        || is(&OID_PKCS1_SHA1WITHRSA)
        || oid.as_bytes() == ECDSA_WITH_SHA1
    {
        Some(&SHA256)
    } else if is(&OID_PKCS1_SHA384WITHRSA) || is(&OID_SIG_ECDSA_WITH_SHA384) {
        Some(&SHA384)
    } else if is(&OID_PKCS1_SHA512WITHRSA) || is(&OID_SIG_ECDSA_WITH_SHA512) {
        Some(&SHA512)
    } else {
        None
    }
}
