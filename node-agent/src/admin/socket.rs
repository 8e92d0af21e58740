//! The unix socket: status and live sessions. The kernel says who asks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};

use crate::model::{Pid, SessionId};

use super::serve::{Rooms, serve};
use super::{Admin, approvals};

/// Connections at once: of those who may ask anything, and of everybody else.
const ROOMS: usize = 64;

/// The largest answer the command line takes.
const ANSWER_BYTES: usize = 64 << 20;

/// How often a question is asked again that broke off.
const AGAIN: u32 = 3;

/// The admin socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// It cannot be made or reached.
    #[error("{path}: {source} (does the agent run, and may you use its socket?)")]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The talk failed.
    #[error("the agent's admin socket broke off: {0}")]
    Broken(String),
    /// The agent said no.
    #[error("{0}")]
    Refused(String),
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) uid: u32,
    pub(super) pid: Option<Pid>,
}

impl Caller {
    fn at(stream: &UnixStream) -> Self {
        // Nobody in particular: may do nothing that asks who it is.
        let nobody = u32::MAX;
        let peer = stream.peer_cred().ok();
        let pid = peer.and_then(|peer| u32::try_from(peer.pid()?).ok());
        Caller {
            uid: peer.map_or(nobody, |peer| peer.uid()),
            pid: pid.filter(|pid| *pid != 0).map(Pid),
        }
    }

    fn operates(&self) -> bool {
        self.uid == 0 || self.uid == rustix::process::geteuid().as_raw()
    }

    /// What is said to who is neither root nor the agent's own user and would do `what`.
    pub(super) fn refused(&self, what: &str) -> Option<Response> {
        if self.operates() {
            return None;
        }
        let words = format!("only root and the agent's user may {what}");
        Some(no(StatusCode::FORBIDDEN, words))
    }
}

/// Serves until the task is dropped.
pub async fn serve_socket(admin: Arc<Admin>, listener: UnixListener) {
    let reviewers: Vec<u32> = admin.local.iter().map(|local| local.uid).collect();
    let router = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/sessions", get(sessions))
        .route("/v1/sessions/{id}/kill", post(kill))
        .merge(approvals::routes())
        .with_state(admin);
    let (theirs, others) = (Rooms::of(ROOMS), Rooms::of(ROOMS));
    serve(listener, router, |stream| {
        let caller = Caller::at(stream);
        let known = caller.operates() || reviewers.contains(&caller.uid);
        (
            caller,
            if known {
                theirs.clone()
            } else {
                others.clone()
            },
        )
    })
    .await;
}

pub(super) fn no(status: StatusCode, why: impl Into<String>) -> Response {
    (status, why.into()).into_response()
}

async fn status(
    State(admin): State<Arc<Admin>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
) -> Response {
    if let Some(refused) = caller.refused("ask this") {
        return refused;
    }
    Json(admin.status().await).into_response()
}

async fn sessions(
    State(admin): State<Arc<Admin>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
) -> Response {
    if let Some(refused) = caller.refused("ask this") {
        return refused;
    }
    Json(admin.live.list()).into_response()
}

async fn kill(
    State(admin): State<Arc<Admin>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    UrlPath(id): UrlPath<String>,
) -> Response {
    if let Some(refused) = caller.refused("end sessions") {
        return refused;
    }
    let Ok(id) = id.parse::<SessionId>() else {
        return no(StatusCode::BAD_REQUEST, "no session has such a name");
    };
    if admin.live.kill(id) {
        tracing::info!(session = %id, uid = caller.uid, "session ended by an operator");
        Json(serde_json::json!({ "killed": id })).into_response()
    } else {
        no(StatusCode::NOT_FOUND, format!("no live session {id}"))
    }
}

/// One question over the socket, for the command line. A worker that dies takes the question along;
/// what only reads is asked again, and the next one answers.
///
/// # Errors
/// No socket, no answer, or a refusal in the agent's words.
pub async fn ask<T: DeserializeOwned>(
    path: &Path,
    method: hyper::Method,
    uri: &str,
    body: Option<String>,
) -> Result<T, AdminError> {
    let mut again = if method == hyper::Method::GET {
        AGAIN
    } else {
        0
    };
    loop {
        match ask_once(path, method.clone(), uri, body.clone()).await {
            Err(AdminError::Broken(_)) if again > 0 => again -= 1,
            answer => return answer,
        }
    }
}

async fn ask_once<T: DeserializeOwned>(
    path: &Path,
    method: hyper::Method,
    uri: &str,
    body: Option<String>,
) -> Result<T, AdminError> {
    let failed = |source| AdminError::Socket {
        path: path.to_owned(),
        source,
    };
    let broken = |error: &dyn std::fmt::Display| AdminError::Broken(error.to_string());
    let stream = UnixStream::connect(path).await.map_err(failed)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| broken(&e))?;
    let driver = tokio::spawn(connection);
    let request = hyper::Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "node-agent")
        .header("content-type", "application/json")
        .body(Full::new(bytes::Bytes::from(body.unwrap_or_default())))
        .map_err(|e| broken(&e))?;
    let answer = sender.send_request(request).await.map_err(|e| broken(&e))?;
    let status = answer.status();
    let limited = http_body_util::Limited::new(answer.into_body(), ANSWER_BYTES);
    let body = limited.collect().await.map_err(|e| broken(&e))?.to_bytes();
    driver.abort();
    if !status.is_success() {
        return Err(AdminError::Refused(
            String::from_utf8_lossy(&body).into_owned(),
        ));
    }
    serde_json::from_slice(&body).map_err(|e| broken(&e))
}
