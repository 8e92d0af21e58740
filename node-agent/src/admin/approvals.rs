//! Held statements over the unix socket: lists for operators, words for those users of this host whom the
//! configuration names as reviewers.
//!
//! Who decides is the user that the kernel names, and never a process of a labelled workload: a workload
//! that runs as a reviewer's user does not approve what workloads ask for (fail closed: also where nobody
//! can say whose process it is).

use std::sync::Arc;

use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::approval::{Case, NotCounted, Reviewer, Says, Via};
use crate::model::ApprovalId;

use super::Admin;
use super::socket::{Caller, no};

/// What `GET /v1/approvals` answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listed {
    /// A request and its state.
    #[serde(flatten)]
    pub case: Case,
    /// The state in words.
    pub told: String,
}

/// What a reviewer says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Yes, on terms, or no.
    Says {
        /// Which.
        says: Says,
        /// In a few words.
        #[serde(default)]
        note: Option<String>,
    },
    /// It is taken back.
    Revoke,
}

/// Cases that one list holds at most.
const MOST: usize = 1000;

pub(super) fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/v1/approvals", get(list))
        .route("/v1/approvals/{id}", get(show))
        .route("/v1/approvals/{id}", post(say))
        .route("/v1/approvals/{id}/preview", post(preview))
        .route("/v1/access", post(super::access::give))
}

#[derive(Debug, Deserialize)]
struct Which {
    #[serde(default)]
    all: bool,
}

async fn list(
    State(admin): State<Arc<Admin>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Query(which): Query<Which>,
) -> Response {
    if let Err(refused) = admin.may_read(&caller) {
        return *refused;
    }
    let cases = admin.desk.list(which.all, MOST).await;
    Json(cases.into_iter().map(Listed::of).collect::<Vec<_>>()).into_response()
}

async fn show(
    State(admin): State<Arc<Admin>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path(id): Path<String>,
) -> Response {
    if let Err(refused) = admin.may_read(&caller) {
        return *refused;
    }
    let Ok(id) = id.parse::<ApprovalId>() else {
        return no(StatusCode::BAD_REQUEST, "no request has such a name");
    };
    match admin.desk.find(id).await {
        Some(case) => Json(Listed::of(case)).into_response(),
        None => no(StatusCode::NOT_FOUND, NotCounted::Unknown.to_string()),
    }
}

async fn say(
    State(admin): State<Arc<Admin>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path(id): Path<String>,
    Json(word): Json<Word>,
) -> Response {
    let reviewer = match admin.reviewer(&caller).await {
        Ok(reviewer) => reviewer,
        Err(refused) => return *refused,
    };
    let Ok(id) = id.parse::<ApprovalId>() else {
        return no(StatusCode::BAD_REQUEST, "no request has such a name");
    };
    let who = reviewer.recorded();
    let counted = match word {
        Word::Says { says, note } => admin.desk.vote(id, reviewer, says, note).await,
        Word::Revoke => admin.desk.revoke(id, reviewer).await,
    };
    match counted {
        Ok(case) => {
            tracing::info!(approval = %id, by = who, state = case.told(), "an approval was decided on");
            Json(Listed::of(case)).into_response()
        }
        Err(why) => {
            tracing::warn!(approval = %id, by = who, %why, "a word about an approval does not count");
            no(StatusCode::CONFLICT, why.to_string())
        }
    }
}

/// Has a held statement run and rolled back, for who may decide it.
async fn preview(
    State(admin): State<Arc<Admin>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path(id): Path<String>,
) -> Response {
    let reviewer = match admin.reviewer(&caller).await {
        Ok(reviewer) => reviewer,
        Err(refused) => return *refused,
    };
    let Ok(id) = id.parse::<ApprovalId>() else {
        return no(StatusCode::BAD_REQUEST, "no request has such a name");
    };
    let who = reviewer.recorded();
    match admin.desk.preview(id, reviewer).await {
        Ok(preview) => {
            tracing::info!(approval = %id, by = who, came_of_it = preview.words(), "a held statement was previewed");
            Json(preview).into_response()
        }
        Err(why) => {
            tracing::warn!(approval = %id, by = who, %why, "a held statement was not previewed");
            no(StatusCode::CONFLICT, why.to_string())
        }
    }
}

impl Listed {
    pub(super) fn of(case: Case) -> Listed {
        Listed {
            told: case.told(),
            case,
        }
    }
}

impl Admin {
    /// Reviewers of this host read as operators do.
    fn may_read(&self, caller: &Caller) -> Result<(), Box<Response>> {
        if self.local.iter().any(|local| local.uid == caller.uid) {
            return Ok(());
        }
        caller
            .refused("see what is held, beside the reviewers that approvals.local names")
            .map_or(Ok(()), |refused| Err(Box::new(refused)))
    }

    pub(super) async fn reviewer(&self, caller: &Caller) -> Result<Reviewer, Box<Response>> {
        let forbidden = |why: String| Box::new(no(StatusCode::FORBIDDEN, why));
        let Some(local) = self.local.iter().find(|local| local.uid == caller.uid) else {
            return Err(forbidden(format!(
                "user {} of this host is no reviewer: name it in approvals.local, with the groups that rules ask",
                caller.uid
            )));
        };
        let pid = caller
            .pid
            .ok_or_else(|| forbidden("the kernel does not say which process asks".to_owned()))?;
        // Without the kernel there are no workloads.
        if let Some(keeper) = &self.keeper {
            match keeper.whose(pid, caller.uid).await {
                Ok(None) => {}
                Ok(Some(workload)) => {
                    tracing::warn!(%pid, workload, "a labelled process tried to decide about an approval");
                    return Err(forbidden(format!(
                        "this process belongs to workload {workload}, and no workload decides what workloads may do"
                    )));
                }
                Err(error) => return Err(forbidden(error.to_string())),
            }
        }
        Ok(Reviewer {
            name: local.name.clone(),
            issuer: None,
            groups: local.groups.clone(),
            also: local.also.clone(),
            via: Via::Cli,
        })
    }
}
