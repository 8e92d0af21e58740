//! Real handshakes, over an in-memory pipe.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, SignatureAlgorithm};
use rustls::client::Resumption;
use rustls::{ClientConfig, HandshakeKind, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{
    ClientTls, NodeCa, Opening, Prefixed, TlsError, UpstreamConnector, UpstreamTls, provider,
    tls_server_end_point,
};

const DIALLED: &str = "10.0.7.4";

fn client_tls(dir: &Path) -> Arc<ClientTls> {
    Arc::new(ClientTls::new(NodeCa::open_or_make(dir).unwrap()))
}

fn trusting(pem: &str, alpn: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    config
}

/// A client that verifies `name` against the agent; gives what either side says.
async fn dial(
    tls: &Arc<ClientTls>,
    config: ClientConfig,
    name: &str,
    opening: Opening,
) -> (Result<HandshakeKind, String>, Result<(), TlsError>) {
    let (near, far) = duplex(1 << 16);
    let server = tokio::spawn({
        let tls = Arc::clone(tls);
        async move {
            let names = ["orders.db.internal".to_owned()];
            let mut stream = tls
                .accept(far, DIALLED.parse().unwrap(), &names, opening)
                .await?;
            let mut word = [0; 5];
            stream.read_exact(&mut word).await.ok();
            stream.write_all(&word).await.ok();
            stream.shutdown().await.ok();
            Ok(())
        }
    });
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let client = async {
        let mut stream = TlsConnector::from(Arc::new(config))
            .connect(name, near)
            .await
            .map_err(|e| e.to_string())?;
        stream
            .write_all(b"hello")
            .await
            .map_err(|e| e.to_string())?;
        let mut back = Vec::new();
        stream
            .read_to_end(&mut back)
            .await
            .map_err(|e| e.to_string())?;
        assert_eq!(back, b"hello");
        Ok(stream.get_ref().1.handshake_kind().unwrap())
    };
    (client.await, server.await.unwrap())
}

#[tokio::test]
async fn a_client_verifies_the_name_or_the_address_it_dialled() {
    let dir = tempfile::tempdir().unwrap();
    let tls = client_tls(dir.path());
    // Named by the configuration, any other name, and the bare address (no SNI is sent for it).
    for name in ["orders.db.internal", "ORDERS.example.org", DIALLED] {
        let (client, server) = dial(&tls, trusting(tls.ca_pem(), &[]), name, Opening::Asked).await;
        assert!(client.is_ok(), "{name}: {client:?}");
        assert!(server.is_ok(), "{name}: {server:?}");
    }
}

#[tokio::test]
async fn another_address_or_another_authority_is_refused_by_the_client() {
    let dir = tempfile::tempdir().unwrap();
    let tls = client_tls(dir.path());
    let (client, server) = dial(
        &tls,
        trusting(tls.ca_pem(), &[]),
        "10.0.7.5",
        Opening::Asked,
    )
    .await;
    assert!(
        client.unwrap_err().contains("not valid for name"),
        "the address was not the dialled one"
    );
    assert!(matches!(server, Err(TlsError::Handshake { .. })));

    let other = tempfile::tempdir().unwrap();
    let stranger = client_tls(other.path());
    let (client, _) = dial(
        &tls,
        trusting(stranger.ca_pem(), &[]),
        "orders.db.internal",
        Opening::Asked,
    )
    .await;
    assert!(client.is_err());
}

#[tokio::test]
async fn without_a_name_the_leaf_carries_the_configured_names_too() {
    let dir = tempfile::tempdir().unwrap();
    let tls = client_tls(dir.path());
    let mut config = trusting(tls.ca_pem(), &[]);
    config.enable_sni = false;
    let (client, _) = dial(&tls, config, "orders.db.internal", Opening::Asked).await;
    assert!(client.is_ok(), "{client:?}");
}

#[tokio::test]
async fn direct_tls_needs_the_right_alpn() {
    let dir = tempfile::tempdir().unwrap();
    let tls = client_tls(dir.path());
    let offer: [(&[&[u8]], bool); 4] = [
        (&[b"postgresql"], true),
        (&[b"h2", b"postgresql"], true),
        (&[b"h2", b"http/1.1"], false),
        (&[], false),
    ];
    for (alpn, good) in offer {
        let (_, server) = dial(
            &tls,
            trusting(tls.ca_pem(), alpn),
            "orders.db.internal",
            Opening::Direct,
        )
        .await;
        assert_eq!(server.is_ok(), good, "{alpn:?}: {server:?}");
    }
    // After SSLRequest an offered ALPN is not held against the client.
    let asked = trusting(tls.ca_pem(), &[b"postgresql"]);
    let (client, _) = dial(&tls, asked, "orders.db.internal", Opening::Asked).await;
    assert!(client.is_ok(), "{client:?}");
}

#[tokio::test]
async fn a_session_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let tls = client_tls(dir.path());
    let mut config = trusting(tls.ca_pem(), &[]);
    config.resumption = Resumption::in_memory_sessions(8);
    let (first, _) = dial(&tls, config.clone(), "orders.db.internal", Opening::Asked).await;
    assert_eq!(first, Ok(HandshakeKind::Full));
    let (second, _) = dial(&tls, config, "orders.db.internal", Opening::Asked).await;
    assert_eq!(second, Ok(HandshakeKind::Resumed));
}

#[tokio::test]
async fn tls_1_2_works() {
    let dir = tempfile::tempdir().unwrap();
    let tls = client_tls(dir.path());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(tls.ca_pem().as_bytes()).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (client, _) = dial(&tls, config, "orders.db.internal", Opening::Asked).await;
    assert!(client.is_ok(), "{client:?}");
}

#[test]
fn the_authority_is_made_once_and_its_key_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let first = NodeCa::open_or_make(dir.path()).unwrap();
    let again = NodeCa::open_or_make(dir.path()).unwrap();
    assert_eq!(first.ca_pem(), again.ca_pem());
    let mode = |name: &str| {
        fs::metadata(dir.path().join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!((mode("node-ca.pem"), mode("ca.pem")), (0o600, 0o644));
    let public = fs::read_to_string(dir.path().join("ca.pem")).unwrap();
    assert_eq!(public, first.ca_pem());
    assert!(!public.contains("PRIVATE"));
    let mut left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["ca.pem", "node-ca.pem"]);
}

#[test]
fn an_unfit_authority_is_refused_with_the_mend() {
    let dir = tempfile::tempdir().unwrap();
    NodeCa::open_or_make(dir.path()).unwrap();
    let private = dir.path().join("node-ca.pem");
    fs::set_permissions(&private, fs::Permissions::from_mode(0o644)).unwrap();
    let open = || NodeCa::open_or_make(dir.path()).unwrap_err().to_string();
    assert!(open().contains("chmod 600"));
    fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).unwrap();

    let other = tempfile::tempdir().unwrap();
    NodeCa::open_or_make(other.path()).unwrap();
    let mixed = NodeCa::from_files(&other.path().join("ca.pem"), &private).unwrap_err();
    assert!(mixed.to_string().contains("does not belong"));

    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["x".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let plain = dir.path().join("leaf.pem");
    fs::write(&plain, leaf.pem()).unwrap();
    assert!(
        NodeCa::from_files(&plain, &private)
            .unwrap_err()
            .to_string()
            .contains("authority")
    );

    fs::write(&private, "rubbish").unwrap();
    assert!(open().contains("no certificate in it"));
}

#[tokio::test]
async fn bytes_read_before_the_handshake_are_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let tls = client_tls(dir.path());
    let (near, mut far) = duplex(1 << 16);
    let config = trusting(tls.ca_pem(), &[b"postgresql"]);
    let client = tokio::spawn(async move {
        let name = ServerName::try_from("orders.db.internal").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, near)
            .await
    });
    let mut seen = vec![0; 100];
    far.read_exact(&mut seen).await.unwrap();
    let stream = Prefixed::new(Bytes::from(seen), far);
    let address: IpAddr = DIALLED.parse().unwrap();
    let accepted = tls.accept(stream, address, &[], Opening::Direct).await;
    assert!(accepted.is_ok(), "{accepted:?}");
    assert!(client.await.unwrap().is_ok());
}

/// A database with a certificate for `names`, and what it signs with.
struct Database {
    authority: String,
    leaf: CertificateDer<'static>,
    acceptor: TlsAcceptor,
}

fn database(names: &[&str], algorithm: &'static SignatureAlgorithm) -> Database {
    let ca_key = KeyPair::generate_for(algorithm).unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = rcgen::CertifiedIssuer::self_signed(ca, ca_key).unwrap();
    let key = KeyPair::generate_for(algorithm).unwrap();
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let leaf = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    Database {
        authority: authority.pem(),
        leaf: leaf.der().clone(),
        acceptor: acceptor(leaf.der().clone(), &key),
    }
}

fn acceptor(leaf: CertificateDer<'static>, key: &KeyPair) -> TlsAcceptor {
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn reach(
    connector: &UpstreamConnector,
    acceptor: &TlsAcceptor,
    name: &str,
) -> Result<tokio_rustls::client::TlsStream<DuplexStream>, TlsError> {
    let (near, far) = duplex(1 << 16);
    let acceptor = acceptor.clone();
    let server = tokio::spawn(async move { acceptor.accept(far).await.map(drop) });
    let reached = connector.connect(near, name).await;
    drop(server.await.unwrap());
    reached
}

#[tokio::test]
async fn the_database_is_verified_by_name_and_by_address() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("roots.pem");
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_RSA_SHA256,
        &rcgen::PKCS_ED25519,
    ] {
        let db = database(&["orders.db.internal", "10.0.7.4"], algorithm);
        fs::write(&file, &db.authority).unwrap();
        let full = UpstreamConnector::new(UpstreamTls::VerifyFull, Some(&file))
            .unwrap()
            .unwrap();
        assert!(full.verified());
        for (name, good) in [
            ("orders.db.internal", true),
            ("10.0.7.4", true),
            ("orders.db.internal.evil.org", false),
            ("10.0.7.5", false),
        ] {
            let reached = reach(&full, &db.acceptor, name).await;
            assert_eq!(reached.is_ok(), good, "{name}: {reached:?}");
        }
        // The public web's authorities do not vouch for it; `require` takes it, unverified.
        let web = UpstreamConnector::new(UpstreamTls::VerifyFull, None)
            .unwrap()
            .unwrap();
        assert!(
            reach(&web, &db.acceptor, "orders.db.internal")
                .await
                .is_err()
        );
        let require = UpstreamConnector::new(UpstreamTls::Require, None)
            .unwrap()
            .unwrap();
        assert!(!require.verified());
        let stream = reach(&require, &db.acceptor, "whatever.example")
            .await
            .unwrap();
        assert_eq!(
            UpstreamConnector::end_point(&stream),
            tls_server_end_point(&db.leaf)
        );
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_trusted_when_it_is_the_one_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.pem");
    let make = |names: &[&str]| {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained); // as `openssl req -x509` does
        let certificate = params.self_signed(&key).unwrap();
        (certificate.pem(), acceptor(certificate.der().clone(), &key))
    };
    let (pem, server) = make(&["orders.db.internal"]);
    let (_, impostor) = make(&["orders.db.internal"]);
    fs::write(&file, pem).unwrap();
    let full = UpstreamConnector::new(UpstreamTls::VerifyFull, Some(&file))
        .unwrap()
        .unwrap();
    assert!(reach(&full, &server, "orders.db.internal").await.is_ok());
    assert!(reach(&full, &server, "other.db.internal").await.is_err());
    assert!(reach(&full, &impostor, "orders.db.internal").await.is_err());
}

#[test]
fn disable_makes_no_connector_and_rubbish_is_not_trusted() {
    assert!(
        UpstreamConnector::new(UpstreamTls::Disable, None)
            .unwrap()
            .is_none()
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("empty.pem");
    fs::write(&file, "").unwrap();
    assert!(UpstreamConnector::new(UpstreamTls::VerifyFull, Some(&file)).is_err());
    assert!(UpstreamConnector::new(UpstreamTls::VerifyFull, Some(&dir.path().join("no"))).is_err());
}

#[test]
fn the_end_point_hash_follows_the_signature_algorithm() {
    use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
    for (algorithm, hash) in [
        (&rcgen::PKCS_RSA_SHA256, Some(&SHA256)),
        (&rcgen::PKCS_RSA_SHA384, Some(&SHA384)),
        (&rcgen::PKCS_RSA_SHA512, Some(&SHA512)),
        (&rcgen::PKCS_ECDSA_P256_SHA256, Some(&SHA256)),
        (&rcgen::PKCS_ECDSA_P384_SHA384, Some(&SHA384)),
        (&rcgen::PKCS_ED25519, None),
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let leaf = CertificateParams::new(["x".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let want = hash.map(|h| digest(h, leaf.der()).as_ref().to_vec());
        assert_eq!(tls_server_end_point(leaf.der()), want, "{algorithm:?}");
        let mut longer = leaf.der().to_vec();
        longer.push(0);
        assert_eq!(
            tls_server_end_point(&longer),
            None,
            "bytes after the certificate"
        );
    }
    assert_eq!(tls_server_end_point(b"not a certificate"), None);
}

#[test]
fn the_end_point_hash_equals_what_openssl_computes() {
    // `openssl x509 -outform der | openssl dgst -sha384` (or -sha256) of certificates it made:
    // RSA-PSS with SHA-384, whose hash is a parameter, and ECDSA with SHA-1, which SHA-256 replaces.
    for (pem, want) in [
        (
            PSS_SHA384,
            "bb7426d37cbbbc2c8da8843264f3d2e678e3622a89c719dd30bb7e841d95e17d\
             bb0dfb94c4dd50425d53591769ab6175",
        ),
        (
            ECDSA_SHA1,
            "ad430459ea67a5f339bc6744b36c03528514aafd40517378051774f312fd0750",
        ),
    ] {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let hash = tls_server_end_point(&der).unwrap();
        assert_eq!(
            hash.iter().map(|b| format!("{b:02x}")).collect::<String>(),
            want
        );
    }
}

const PSS_SHA384: &str = "\
-----BEGIN CERTIFICATE-----
MIIDaTCCAhygAwIBAgIUcDARmsQzdwOiQ/Hg7wxCIBLl0Q4wQgYJKoZIhvcNAQEK
MDWgDzANBglghkgBZQMEAgIFAKEcMBoGCSqGSIb3DQEBCDANBglghkgBZQMEAgIF
AKIEAgIAzjAOMQwwCgYDVQQDDANwc3MwIBcNMjYxMTIxMDQyODAxWhgPMjEyNjEw
MjgwNDI4MDFaMA4xDDAKBgNVBAMMA3BzczCCASIwDQYJKoZIhvcNAQEBBQADggEP
ADCCAQoCggEBALHMC+CY2odLcv7d12crTwCiWea0XFS/GIaotXhO/nX5n4RfGV/O
GuSU1fk1k8FdCUscyyhz6uCFkrqbrx3iifvkWQVZ96635zlUp9xDpEsGcMn+Ei6l
+4r87xQC4KhNzlwxqubx4TdnXYAoFmmx3AZHsHC1Gd28mcH8+75BEcoOclGucpX4
tkzl0NsmRDuadDNFsQNRsumEMdPQsQMpAmWA8AEodGynVACRWgQF+MTsMphaWEKV
piHOy8mP8l6oxOwjU1P3PaZBnw7k4HF0DdEYM/LZbJmMrsdIlHO7XBBf83SL3ROZ
yuU0Q2UvFaLqnwH48yH9NodO8Y9XB2ywMM0CAwEAAaNTMFEwHQYDVR0OBBYEFFNU
VV8gPyi7RLNpxieG6Yr9dkFPMB8GA1UdIwQYMBaAFFNUVV8gPyi7RLNpxieG6Yr9
dkFPMA8GA1UdEwEB/wQFMAMBAf8wQgYJKoZIhvcNAQEKMDWgDzANBglghkgBZQME
AgIFAKEcMBoGCSqGSIb3DQEBCDANBglghkgBZQMEAgIFAKIEAgIAzgOCAQEASzin
9cp0n38Lz+2ZoNe2JOV3XajlqUSTOsN9xiGjkMOaQM0gj5ppQGg2LBcbN1kAA3qS
pkwe4lKBUHF6x0N2Do1Y7V3zjl4ZlzCNdhKvl/bwyK6VP7B27T7au8DKGxz0euRt
bgdi8roSfbTX4e/dFWGJN05usdGH8fEqeI/u/duOrLX4uO53bmDM4aJjlvJqSWXn
XrmpaU5mmIutuztfpvGaJIOSYwyUGwUaME7sTjmfH9BG94jkv2HQbChhIO99xrBb
7NN90IizmKcQ0BDKXV3FH/i8GhYNLYHa8ZbRbm4Hbe9ZQkgwPudpWKnEkLkTmOTK
/Ecz/p0CAkUV6udE4w==
-----END CERTIFICATE-----
";

const ECDSA_SHA1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBczCCARqgAwIBAgIUVy/N3bDJTUuD2vODB6CeUM0ZJ58wCQYHKoZIzj0EATAP
MQ0wCwYDVQQDDARzaGExMCAXDTI2MTEyMTA0MjgwMVoYDzIxMjYxMDI4MDQyODAx
WjAPMQ0wCwYDVQQDDARzaGExMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEj69D
S/B6s4nKE6z/HedXq4CDiSsW/iXNTpCvBMswUIMTKvx2cOeNls7B1HElupFYzo7j
n6uh9qy+8yMXD6OtmKNTMFEwHQYDVR0OBBYEFNh8+jZS9ZhGT6ba95ad4bue5wQA
MB8GA1UdIwQYMBaAFNh8+jZS9ZhGT6ba95ad4bue5wQAMA8GA1UdEwEB/wQFMAMB
Af8wCQYHKoZIzj0EAQNIADBFAiBMX3sHCVZPJOEOq+HNjeHFyFhRz0gdFOzSvGiM
m1eb6gIhAIyYs7uX69c2SLJtxfbRDs6Zd9HMYO4j93lyw9sMzXB0
-----END CERTIFICATE-----
";
