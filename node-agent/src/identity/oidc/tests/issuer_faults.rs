//! A real issuer over HTTP on loopback, and what it may do to us.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::claims_with;
use super::keys::{Signer, jwks};
use crate::identity::oidc::{Algorithm, IssuerRules, TokenRefused};
use crate::identity::{IdentityError, Issuers, KeyTimes};
use crate::model::{Secret, User};

/// What the issuer answers when asked for its keys.
#[derive(Clone)]
enum Mood {
    Keys(String),
    Down,
    Hangs,
    Redirects,
    Endless,
}

struct Idp {
    url: String,
    mood: Mutex<Mood>,
    discovery: Mutex<Option<String>>,
    asked: AtomicUsize,
    passed: Mutex<Duration>,
}

impl Idp {
    async fn start(keys: String) -> Arc<Idp> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let idp = Arc::new(Idp {
            url: format!("http://{}", listener.local_addr().unwrap()),
            mood: Mutex::new(Mood::Keys(keys)),
            discovery: Mutex::new(None),
            asked: AtomicUsize::new(0),
            passed: Mutex::new(Duration::ZERO),
        });
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys_document))
            .with_state(Arc::clone(&idp));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        idp
    }

    fn becomes(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn rules(&self) -> IssuerRules {
        IssuerRules {
            allow_http_loopback: true,
            ..IssuerRules::new(&self.url, "node-agent")
        }
    }

    fn issuers(self: &Arc<Self>) -> Issuers {
        let (start, idp) = (Instant::now(), Arc::clone(self));
        let now = move || start + *idp.passed.lock().unwrap();
        Issuers::with_clock(vec![self.rules()], KeyTimes::default(), Arc::new(now)).unwrap()
    }

    /// Lets time pass for everybody who asks this issuer.
    fn pass(&self, time: Duration) {
        *self.passed.lock().unwrap() += time;
    }

    fn token(&self, signer: &Signer) -> Secret<String> {
        let now = crate::clock::now().0 / 1000;
        let times = json!({ "iss": self.url, "iat": now, "nbf": now, "exp": now + 600 });
        Secret::new(signer.token(&claims_with(times)))
    }
}

async fn discovery(State(idp): State<Arc<Idp>>) -> Response {
    let own = json!({ "issuer": idp.url, "jwks_uri": format!("{}/keys", idp.url) }).to_string();
    idp.discovery
        .lock()
        .unwrap()
        .clone()
        .unwrap_or(own)
        .into_response()
}

async fn keys_document(State(idp): State<Arc<Idp>>) -> Response {
    idp.asked.fetch_add(1, Ordering::SeqCst);
    let mood = idp.mood.lock().unwrap().clone();
    match mood {
        Mood::Keys(keys) => keys.into_response(),
        Mood::Down => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mood::Hangs => std::future::pending().await,
        Mood::Redirects => {
            (StatusCode::FOUND, [(LOCATION, format!("{}/keys", idp.url))]).into_response()
        }
        Mood::Endless => "x".repeat(300 * 1024).into_response(),
    }
}

fn is_alice(user: Result<User, IdentityError>) {
    assert_eq!(user.unwrap().subject, "alice");
}

#[tokio::test]
async fn ten_thousand_unknown_keys_cost_one_fetch_and_no_good_login() {
    let signer = Signer::new(Algorithm::EdDSA, "k1");
    let idp = Idp::start(jwks(&[&signer])).await;
    let issuers = idp.issuers();
    assert!(issuers.warm().await.is_empty());
    assert_eq!(idp.asked(), 1);
    idp.pass(Duration::from_secs(31));

    let stranger = Signer::new(Algorithm::EdDSA, "nobody");
    let mut logins = tokio::task::JoinSet::new();
    for number in 0..10_000 {
        let issuers = issuers.clone();
        let (token, good) = if number % 100 == 0 {
            (idp.token(&signer), true)
        } else {
            (idp.token(&stranger), false)
        };
        logins.spawn(async move { (issuers.authenticate(&token).await, good) });
    }
    while let Some(login) = logins.join_next().await {
        let (user, good) = login.unwrap();
        if good {
            is_alice(user);
        } else {
            let refused = user.unwrap_err();
            assert!(
                matches!(refused, IdentityError::Refused(TokenRefused::KeyUnknown(_))),
                "{refused}"
            );
        }
    }
    assert_eq!(idp.asked(), 2, "one for the start, one for the flood");
}

#[tokio::test]
async fn a_new_key_is_found_by_the_first_token_that_needs_it() {
    let old = Signer::new(Algorithm::ES256, "old");
    let new = Signer::new(Algorithm::ES256, "new");
    let idp = Idp::start(jwks(&[&old])).await;
    let issuers = idp.issuers();
    is_alice(issuers.authenticate(&idp.token(&old)).await);
    idp.becomes(Mood::Keys(jwks(&[&new])));
    // Too early to ask again; afterwards it is asked once, and the old key is withdrawn.
    assert!(issuers.authenticate(&idp.token(&new)).await.is_err());
    assert_eq!(idp.asked(), 1);
    idp.pass(Duration::from_secs(31));
    is_alice(issuers.authenticate(&idp.token(&new)).await);
    assert_eq!(idp.asked(), 2);
    assert!(issuers.authenticate(&idp.token(&old)).await.is_err());
    assert_eq!(idp.asked(), 2);
}

#[tokio::test]
async fn good_keys_outlive_a_broken_issuer_for_a_while_and_no_longer() {
    let signer = Signer::new(Algorithm::RS256, "k1");
    let good = jwks(&[&signer]);
    let idp = Idp::start(good.clone()).await;
    let issuers = idp.issuers();
    is_alice(issuers.authenticate(&idp.token(&signer)).await);
    let moods = [
        Mood::Down,
        Mood::Keys("<html>".to_owned()),
        Mood::Keys(r#"{"keys":[]}"#.to_owned()),
        Mood::Endless,
        Mood::Redirects,
    ];
    let mut asked = idp.asked();
    for mood in moods {
        idp.becomes(mood);
        idp.pass(Duration::from_secs(600)); // older than `refresh`: asked in the background
        is_alice(issuers.authenticate(&idp.token(&signer)).await);
        // The next unknown key waits for that fetch (one at a time), so it has ended after it.
        let stranger = Signer::new(Algorithm::EdDSA, "nobody");
        assert!(issuers.authenticate(&idp.token(&stranger)).await.is_err());
        assert_eq!(idp.asked(), asked + 1);
        asked = idp.asked();
        is_alice(issuers.authenticate(&idp.token(&signer)).await);
    }
    idp.pass(Duration::from_secs(4 * 3600));
    let refused = issuers.authenticate(&idp.token(&signer)).await.unwrap_err();
    assert!(matches!(refused, IdentityError::NoKeys { .. }), "{refused}");
    // And it comes back by itself.
    idp.becomes(Mood::Keys(good));
    idp.pass(Duration::from_secs(6));
    is_alice(issuers.authenticate(&idp.token(&signer)).await);
}

#[tokio::test]
async fn without_keys_nobody_is_let_in_and_the_reason_is_said() {
    let signer = Signer::new(Algorithm::EdDSA, "k1");
    let idp = Idp::start(jwks(&[&signer])).await;
    let fault = async |mood: Mood, discovery: Option<String>| {
        idp.becomes(mood);
        *idp.discovery.lock().unwrap() = discovery;
        let refused = idp
            .issuers()
            .authenticate(&idp.token(&signer))
            .await
            .unwrap_err();
        assert!(matches!(refused, IdentityError::NoKeys { .. }), "{refused}");
        refused.to_string()
    };
    let keys = || Mood::Keys(jwks(&[&signer]));
    assert!(fault(Mood::Down, None).await.contains("status 503"));
    assert!(fault(Mood::Redirects, None).await.contains("status 302"));
    assert!(
        fault(Mood::Endless, None)
            .await
            .contains("longer than 256 KiB")
    );
    assert!(
        fault(Mood::Keys("{}".to_owned()), None)
            .await
            .contains("not a set of keys")
    );
    let other =
        json!({ "issuer": "https://other.example", "jwks_uri": format!("{}/keys", idp.url) });
    assert!(
        fault(keys(), Some(other.to_string()))
            .await
            .contains("another issuer")
    );
    let elsewhere = json!({ "issuer": idp.url, "jwks_uri": "http://192.0.2.1/keys" });
    assert!(
        fault(keys(), Some(elsewhere.to_string()))
            .await
            .contains("must be https")
    );
    let file = json!({ "issuer": idp.url, "jwks_uri": "file:///etc/passwd" });
    assert!(
        fault(keys(), Some(file.to_string()))
            .await
            .contains("must be https")
    );
    assert!(
        fault(keys(), Some("rubbish".to_owned()))
            .await
            .contains("not a JSON object")
    );
}

#[tokio::test]
async fn an_issuer_that_hangs_is_given_up_and_asked_only_once() {
    let signer = Signer::new(Algorithm::EdDSA, "k1");
    let idp = Idp::start(jwks(&[&signer])).await;
    idp.becomes(Mood::Hangs);
    let issuers = idp.issuers();
    let mut logins = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (issuers, token) = (issuers.clone(), idp.token(&signer));
        logins.spawn(async move { issuers.authenticate(&token).await });
    }
    while let Some(login) = logins.join_next().await {
        let refused = login.unwrap().unwrap_err().to_string();
        assert!(refused.contains("no answer within 5 s"), "{refused}");
    }
    assert_eq!(idp.asked(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_does_not_waste_the_fetch() {
    let signer = Signer::new(Algorithm::EdDSA, "k1");
    let idp = Idp::start(jwks(&[&signer])).await;
    let issuers = idp.issuers();
    let token = idp.token(&signer);
    let login = issuers.authenticate(&token);
    // Polled once, so that the fetch is under way, then dropped.
    tokio::select! {
        biased;
        _ = login => panic!("answered at once"),
        () = std::future::ready(()) => {}
    }
    is_alice(issuers.authenticate(&idp.token(&signer)).await);
    assert_eq!(idp.asked(), 1);
}

#[tokio::test]
async fn two_audiences_of_one_issuer_share_its_keys() {
    let signer = Signer::new(Algorithm::EdDSA, "k1");
    let idp = Idp::start(jwks(&[&signer])).await;
    let second = IssuerRules {
        audience: "second".to_owned(),
        ..idp.rules()
    };
    let issuers = Issuers::new(vec![idp.rules(), second.clone()], KeyTimes::default()).unwrap();
    is_alice(issuers.authenticate(&idp.token(&signer)).await);
    let now = crate::clock::now().0 / 1000;
    let claims = claims_with(
        json!({ "iss": idp.url, "aud": "second", "iat": now, "nbf": now, "exp": now + 60 }),
    );
    is_alice(
        issuers
            .authenticate(&Secret::new(signer.token(&claims)))
            .await,
    );
    assert_eq!(idp.asked(), 1);

    let twice = Issuers::new(vec![second.clone(), second.clone()], KeyTimes::default());
    assert!(twice.unwrap_err().to_string().contains("listed twice"));
    let plain = IssuerRules {
        allow_http_loopback: false,
        ..second.clone()
    };
    assert!(Issuers::new(vec![plain], KeyTimes::default()).is_err());
    let none = IssuerRules {
        algorithms: Vec::new(),
        ..second
    };
    assert!(Issuers::new(vec![none], KeyTimes::default()).is_err());
}
