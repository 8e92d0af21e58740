//! IO. The console: where reviewers sign in with their browsers, look at what is held, and decide; and
//! where auditors look at sessions. Pages are documents and forms, without any script.
//!
//! It is served on loopback, to whoever puts a proxy with TLS before it. What counts is the reviewer's
//! sign-in (`sign.rs`), that a form is the console's own (`guard.rs`), and the desk's own rules.

mod access;
mod case;
mod decide;
mod guard;
mod layout;
mod lists;
mod preview;
mod recordings;
mod sign;
mod table;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Redirect};
use axum::routing::{get, post};
use tokio::sync::Semaphore;

use super::Admin;
use crate::approval::Reviewer;
use crate::clock;
use crate::config;
use crate::identity::{Begun, SignIn};
use crate::model::UnixMillis;
use table::{Key, Table};

/// Reviewers who are signed in at once, and those who are about to be.
const MOST_SESSIONS: usize = 1024;
const MOST_SIGN_INS: usize = 4096;
/// The largest form, bytes.
const LARGEST_FORM: usize = 16 << 10;
/// Recordings that are read at once.
const READERS: usize = 2;

const STYLE: &str = include_str!("style.css");

/// The console.
#[derive(Debug)]
pub struct Console {
    settings: config::Console,
    sign_in: SignIn,
    recordings: PathBuf,
    admin: Arc<Admin>,
    signed: Mutex<Table<Arc<Signed>>>,
    signing: Mutex<Table<Signing>>,
    readers: Arc<Semaphore>,
}

/// A reviewer who is signed in.
#[derive(Debug)]
struct Signed {
    reviewer: Reviewer,
    /// When they last gave their credentials to the issuer, by its word.
    at: Option<UnixMillis>,
    /// Stands in every form of theirs, and nobody else can know it.
    token: String,
}

/// A sign-in that has begun.
#[derive(Debug)]
struct Signing {
    begun: Begun,
    /// Where to go afterwards: a path of the console.
    next: String,
    /// It was to be done anew.
    anew: bool,
    /// What it takes the place of.
    instead_of: Option<Key>,
}

impl Console {
    /// `recordings`: where they lie.
    pub fn new(
        settings: config::Console,
        sign_in: SignIn,
        recordings: PathBuf,
        admin: Arc<Admin>,
    ) -> Console {
        Console {
            settings,
            sign_in,
            recordings,
            admin,
            signed: Mutex::new(Table::new(MOST_SESSIONS)),
            signing: Mutex::new(Table::new(MOST_SIGN_INS)),
            readers: Arc::new(Semaphore::new(READERS)),
        }
    }

    /// Where the issuer sends browsers back to, of the console at this URL.
    pub fn callback(url: &str) -> String {
        format!("{url}/console/callback")
    }

    /// Its pages, all below `/console`.
    pub(super) fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/console", get(lists::pending))
            .route("/console/", get(|| async { Redirect::to("/console") }))
            .route("/console/style.css", get(style))
            .route("/console/sign-in", get(sign::begin))
            .route("/console/callback", get(sign::back))
            .route("/console/sign-out", post(sign::out))
            .route("/console/history", get(lists::history))
            .route("/console/requests/{id}", get(case::page))
            .route("/console/requests/{id}/preview", post(preview::preview))
            .route("/console/requests/{id}/approve", post(decide::approve))
            .route("/console/requests/{id}/refuse", post(decide::refuse))
            .route("/console/requests/{id}/revoke", post(decide::revoke))
            .route("/console/sessions", get(lists::live))
            .route("/console/recordings", get(recordings::list))
            .route("/console/recordings/{id}", get(recordings::replay))
            .route("/console/{*page}", get(layout::nothing_here))
            .layer(DefaultBodyLimit::max(LARGEST_FORM))
            .layer(from_fn_with_state(self.clone(), guard::guard))
            .with_state(self)
    }

    fn signed(&self) -> MutexGuard<'_, Table<Arc<Signed>>> {
        self.signed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signing(&self) -> MutexGuard<'_, Table<Signing>> {
        self.signing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether they gave their credentials a short time ago.
    fn is_fresh(&self, signed: &Signed) -> bool {
        let fresh = i64::try_from(self.settings.fresh.as_millis()).unwrap_or(i64::MAX);
        signed
            .at
            .is_some_and(|at| clock::now().0.saturating_sub(at.0) <= fresh)
    }

    /// Whether they may look at sessions.
    fn is_auditor(&self, signed: &Signed) -> bool {
        let groups = &signed.reviewer.groups;
        groups
            .iter()
            .any(|group| self.settings.auditors.contains(group))
    }
}

async fn style() -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/css; charset=utf-8")];
    (kind, [crate::replay::STYLE, STYLE].concat())
}
