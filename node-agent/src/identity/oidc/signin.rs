//! Signing a human in: the authorization code flow of OpenID Connect Core 1.0, section 3.1, with PKCE
//! (RFC 7636, S256). The browser carries a code; what counts is the ID token that the issuer gives for
//! it, verified as every other token is, and made for this very sign-in by its nonce.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::{StatusCode, Url};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::discover::Fetcher;
use super::{Issuers, KeyTimes, json};
use crate::clock;
use crate::identity::{IdentityError, IssuerRules};
use crate::model::{Secret, UnixMillis, User};

/// How long the issuer's endpoints are used before they are asked for again.
const ENDPOINTS: Duration = Duration::from_secs(300);
/// The least time between two questions for them while they fail, whoever would sign in.
const BETWEEN: Duration = Duration::from_secs(2);
/// The longest code and the largest file of a secret, bytes.
const LONGEST_CODE: usize = 4096;
const LONGEST_SECRET: u64 = 4096;
/// How far the clocks of issuer and agent may differ, ms.
const SKEW: i64 = 30_000;
/// What of an ID token is looked at beside what every token has.
const CLAIMS: [&str; 3] = ["nonce", "azp", "auth_time"];

/// Why nobody is signed in. No variant holds a code, a token or a secret.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The issuer is out of reach, or does not say where to sign in.
    #[error("the issuer cannot be used now: {0}")]
    Issuer(String),
    /// The agent's own half is wrong.
    #[error("the console is not set up well: {0}")]
    Setup(String),
    /// The issuer gives nothing for the code.
    #[error("the issuer takes the sign-in for none of its own ({0}); sign in again")]
    Code(String),
    /// The ID token.
    #[error("the issuer's word about you cannot be taken: {0}")]
    Token(#[from] IdentityError),
    /// The ID token was made for another sign-in.
    #[error("the issuer's word about you belongs to another sign-in; sign in again")]
    Nonce,
    /// The ID token was made for another client.
    #[error("the issuer's word about you was made for another program (azp)")]
    Party,
    /// The issuer says that the credentials were given in the future.
    #[error("the issuer's clock is ahead: compare it with this node's")]
    Ahead,
}

/// One issuer, at which humans sign in to one client.
pub struct SignIn {
    fetcher: Fetcher,
    issuers: Issuers,
    client: String,
    secret_file: Option<PathBuf>,
    redirect: String,
    endpoints: Mutex<Known>,
}

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignIn")
            .field("issuer", &self.fetcher.issuer())
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Known {
    endpoints: Option<(Arc<Endpoints>, Instant)>,
    failed: Option<(String, Instant)>,
}

struct Endpoints {
    authorize: Url,
    token: Url,
    /// The issuer wants the client's secret in the form and not in a header.
    secret_in_form: bool,
}

/// A sign-in that has begun: kept by the agent, and never shown to a browser but for the state.
#[derive(Debug)]
pub struct Begun {
    /// Comes back with the code.
    pub state: Secret<String>,
    nonce: Secret<String>,
    verifier: Secret<String>,
}

/// Somebody signed in.
#[derive(Debug)]
pub struct Finished {
    /// Who.
    pub user: User,
    /// When they last gave their credentials, where the issuer says so.
    pub at: Option<UnixMillis>,
}

impl SignIn {
    /// `rules`: the issuer's; its audience is the client's name there. `redirect`: the URL to which the
    /// issuer sends the browser back.
    ///
    /// # Errors
    /// `Setup`: the rules cannot be used.
    pub fn new(
        rules: IssuerRules,
        secret_file: Option<PathBuf>,
        redirect: String,
    ) -> Result<SignIn, IdentityError> {
        let rules = IssuerRules {
            claims: CLAIMS.map(str::to_owned).to_vec(),
            ..rules
        };
        let fetcher = Fetcher::new(&rules).map_err(|what| IdentityError::Setup {
            issuer: rules.url.clone(),
            what,
        })?;
        Ok(SignIn {
            client: rules.audience.clone(),
            issuers: Issuers::new(vec![rules], KeyTimes::default())?,
            fetcher,
            secret_file,
            redirect,
            endpoints: Mutex::default(),
        })
    }

    /// Begins one: where to send the browser, and what to keep. `longest`: how old the credentials'
    /// giving may be; `anew`: they are to be given now.
    ///
    /// # Errors
    /// The issuer cannot be asked where to sign in; or no randomness.
    pub async fn begin(&self, longest: Duration, anew: bool) -> Result<(Url, Begun), SignInError> {
        let endpoints = self.endpoints().await?;
        let begun = Begun {
            state: random()?,
            nonce: random()?,
            verifier: random()?,
        };
        let challenge = digest(&SHA256, begun.verifier.expose().as_bytes());
        let mut url = endpoints.authorize.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client)
            .append_pair("redirect_uri", &self.redirect)
            .append_pair("scope", "openid profile email")
            .append_pair("state", begun.state.expose())
            .append_pair("nonce", begun.nonce.expose())
            .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(challenge))
            .append_pair("code_challenge_method", "S256")
            // Section 3.1.2.1: with it the ID token must say when the credentials were given.
            .append_pair("max_age", &longest.as_secs().to_string());
        if anew {
            url.query_pairs_mut().append_pair("prompt", "login");
        }
        Ok((url, begun))
    }

    /// The other half: the code that came back, for who it stands.
    ///
    /// # Errors
    /// Nobody is signed in; says why.
    pub async fn finish(&self, begun: &Begun, code: &str) -> Result<Finished, SignInError> {
        if code.is_empty() || code.len() > LONGEST_CODE {
            return Err(SignInError::Code("no code of a usable length".to_owned()));
        }
        let endpoints = self.endpoints().await?;
        let secret = self.secret()?;
        let mut form = form([
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect),
            ("code_verifier", begun.verifier.expose()),
            ("client_id", &self.client),
        ]);
        let mut header = None;
        if let Some(secret) = &secret {
            if endpoints.secret_in_form {
                let more = self::form([("client_secret", secret.expose().as_str())]);
                form = Secret::new(format!("{}&{}", form.expose(), more.expose()));
            } else {
                // RFC 6749, 2.3.1: both are form-encoded first.
                let pair = format!("{}:{}", encoded(&self.client), encoded(secret.expose()));
                let basic = STANDARD.encode(Secret::new(pair).expose());
                header = Some(Secret::new(format!("Basic {basic}")));
            }
        }
        let sent = self
            .fetcher
            .send(&endpoints.token, header.as_ref(), &form)
            .await;
        let (status, body) = sent.map_err(SignInError::Issuer)?;
        let members = json::object(&body).unwrap_or_default();
        if status != StatusCode::OK {
            return Err(SignInError::Code(refused(status, &members)));
        }
        let Some(Value::String(token)) = members.get("id_token") else {
            let what = format!("{} gives no id_token", endpoints.token);
            return Err(SignInError::Issuer(what));
        };
        let user = self.issuers.authenticate(Secret::new(token.clone()));
        self.finished(user.await?, begun)
    }

    fn finished(&self, mut user: User, begun: &Begun) -> Result<Finished, SignInError> {
        // A random value of 256 bits that is used once: how long the comparison takes tells nothing.
        let nonce = user.claims.remove("nonce");
        if nonce.as_ref().and_then(Value::as_str) != Some(begun.nonce.expose()) {
            return Err(SignInError::Nonce);
        }
        if let Some(party) = user.claims.remove("azp")
            && party.as_str() != Some(&self.client)
        {
            return Err(SignInError::Party);
        }
        let at = user.claims.remove("auth_time");
        let at = at.as_ref().and_then(Value::as_i64).filter(|at| *at > 0);
        let at = at.map(|seconds| UnixMillis(seconds.saturating_mul(1000)));
        if at.is_some_and(|at| at.0 > clock::now().0.saturating_add(SKEW)) {
            return Err(SignInError::Ahead);
        }
        Ok(Finished { user, at })
    }

    /// Where the issuer's endpoints are. One asks at a time.
    async fn endpoints(&self) -> Result<Arc<Endpoints>, SignInError> {
        let mut known = self.endpoints.lock().await;
        if let Some((endpoints, came)) = &known.endpoints
            && came.elapsed() < ENDPOINTS
        {
            return Ok(endpoints.clone());
        }
        if let Some((why, when)) = &known.failed
            && when.elapsed() < BETWEEN
        {
            return Err(SignInError::Issuer(why.clone()));
        }
        match self.ask_endpoints().await {
            Ok(endpoints) => {
                let endpoints = Arc::new(endpoints);
                *known = Known {
                    endpoints: Some((endpoints.clone(), Instant::now())),
                    failed: None,
                };
                Ok(endpoints)
            }
            Err(why) => {
                known.failed = Some((why.clone(), Instant::now()));
                Err(SignInError::Issuer(why))
            }
        }
    }

    async fn ask_endpoints(&self) -> Result<Endpoints, String> {
        let members = self.fetcher.discover().await?;
        let offers = |word: &str| {
            let ways = members.get("token_endpoint_auth_methods_supported");
            let ways = ways.and_then(Value::as_array);
            ways.is_some_and(|ways| ways.iter().any(|way| way == word))
        };
        Ok(Endpoints {
            authorize: self.fetcher.endpoint(&members, "authorization_endpoint")?,
            token: self.fetcher.endpoint(&members, "token_endpoint")?,
            // Discovery 1.0, section 3: without a list it is the header.
            secret_in_form: offers("client_secret_post") && !offers("client_secret_basic"),
        })
    }

    /// Read each time: it is replaced while the agent runs.
    fn secret(&self) -> Result<Option<Secret<String>>, SignInError> {
        use std::io::Read as _;
        let Some(path) = &self.secret_file else {
            return Ok(None);
        };
        let wrong =
            |what: &dyn fmt::Display| SignInError::Setup(format!("{}: {what}", path.display()));
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(LONGEST_SECRET).read_to_string(&mut text))
            .map_err(|error| wrong(&error))?;
        let text = Secret::new(text);
        let secret = text.expose().trim_end_matches(['\n', '\r']);
        if secret.is_empty() {
            return Err(wrong(&"it is empty"));
        }
        Ok(Some(Secret::new(secret.to_owned())))
    }
}

/// The issuer's error, where it is one of the few words of RFC 6749, section 5.2; nothing else of what
/// it says is shown.
fn refused(status: StatusCode, members: &Map<String, Value>) -> String {
    const WORDS: [&str; 6] = [
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    ];
    let said = members.get("error").and_then(Value::as_str);
    match WORDS.into_iter().find(|word| said == Some(word)) {
        Some(word) => word.to_owned(),
        None => format!("status {}", status.as_u16()),
    }
}

/// 256 random bits, base64url.
fn random() -> Result<Secret<String>, SignInError> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| SignInError::Setup("the system gives no randomness".to_owned()))?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
}

/// `application/x-www-form-urlencoded`.
fn form<const N: usize>(pairs: [(&str, &str); N]) -> Secret<String> {
    let pairs = pairs.map(|(name, value)| format!("{name}={}", encoded(value)));
    Secret::new(pairs.join("&"))
}

/// Everything but RFC 3986's unreserved characters as `%XX`.
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut shown = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                shown.push(char::from(byte));
            }
            _ => {
                let _ = write!(shown, "%{byte:02X}"); // a String takes everything
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_says_what_it_was_given_and_nothing_more() {
        let form = form([("code", "a b&c=d/ü"), ("x", "~-._9Z")]);
        assert_eq!(form.expose(), "code=a%20b%26c%3Dd%2F%C3%BC&x=~-._9Z");
    }

    #[test]
    fn of_an_issuer_s_error_only_the_words_of_the_standard_are_shown() {
        for (body, shown) in [
            (r#"{"error":"invalid_grant"}"#, "invalid_grant"),
            (r#"{"error":"<b>secret</b>"}"#, "status 400"),
            ("{}", "status 400"),
        ] {
            let members = json::object(body.as_bytes()).unwrap();
            assert_eq!(refused(StatusCode::BAD_REQUEST, &members), shown);
        }
    }
}
