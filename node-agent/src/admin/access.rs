//! Access that a reviewer of this host gives unasked: to an identity, for a time, by a policy that can be
//! granted. Whether it counts is the desk's to say, as for everything else that reviewers do.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::connect_info::ConnectInfo;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::Admin;
use super::approvals::Listed;
use super::socket::{Caller, no};
use crate::approval::{
    ACCESS, Binder, Desk, Matter, Request, Requester, Scope, Terms, Waits, Wanted,
};
use crate::clock;
use crate::model::{
    CgroupId, ClientAddr, NetnsCookie, Pid, ProcessFacts, Reference, SessionId, StatementSeq,
    TargetName, UnixMillis, Workload,
};
use crate::policy::RuleRef;
use crate::sql::Purpose;

/// The longest name or reason, characters.
const LONGEST: usize = 300;

/// What `POST /v1/access` takes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gift {
    /// The policy.
    pub policy: String,
    /// To whom: the token's subject.
    pub to: String,
    /// Whose subject; needed where several issuers are configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The one workload in which it is in force; all of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// For how long, milliseconds; as usual when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<u64>,
    /// Why.
    pub reason: String,
}

pub(super) async fn give(
    State(admin): State<Arc<Admin>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Json(gift): Json<Gift>,
) -> Response {
    let reviewer = match admin.reviewer(&caller).await {
        Ok(reviewer) => reviewer,
        Err(refused) => return *refused,
    };
    let who = reviewer.recorded();
    let policy = gift.policy.clone();
    let time = gift.time;
    let note = gift.reason.clone();
    let request = match admin.wanted(gift, &who) {
        Ok(request) => request,
        Err(why) => return no(StatusCode::UNPROCESSABLE_ENTITY, why),
    };
    let terms = Terms {
        // As for an approval that says nothing of it: the usual time.
        scope: time.map_or(Scope::Once, Scope::Access),
        ..Terms::default()
    };
    let given = admin.desk.give(request, reviewer, terms, Some(note)).await;
    match given {
        Ok(case) => {
            let (id, state) = (case.request.id, case.told());
            tracing::info!(approval = %id, by = who, policy, state, "access was given");
            Json(Listed::of(case)).into_response()
        }
        Err(why) => {
            tracing::warn!(by = who, policy, %why, "a word about access does not count");
            no(StatusCode::CONFLICT, why.to_string())
        }
    }
}

impl Admin {
    /// What is given, as a request.
    fn wanted(&self, gift: Gift, by: &str) -> Result<Request, String> {
        for (what, text) in [
            ("policy", Some(&gift.policy)),
            ("user", Some(&gift.to)),
            ("issuer", gift.issuer.as_ref()),
            ("workload", gift.workload.as_ref()),
            ("reason", Some(&gift.reason)),
        ] {
            let Some(text) = text else { continue };
            if text.trim().is_empty() || text.chars().count() > LONGEST {
                return Err(format!("the {what} has 1 to {LONGEST} characters"));
            }
        }
        let policies = self.policies.load();
        let Some(policy) = policies.on_request(&gift.policy) else {
            let names: Vec<&str> = policies.all_on_request().map(|one| &*one.policy).collect();
            return Err(match names.as_slice() {
                [] => "no policy is granted on request: none has `access`".to_owned(),
                names => format!(
                    "policy {} is not granted on request; there are {}",
                    gift.policy,
                    names.join(", ")
                ),
            });
        };
        let issuer = match (gift.issuer, self.issuers.as_slice()) {
            (Some(issuer), issuers) if issuers.contains(&issuer) => issuer,
            (Some(issuer), _) => return Err(format!("{issuer} is no issuer of this agent")),
            (None, [only]) => only.clone(),
            (None, issuers) => {
                return Err(format!(
                    "say whose user it is, with --issuer: {}",
                    issuers.join(", ")
                ));
            }
        };
        let workload = gift.workload.map(Arc::<str>::from);
        let mut wanted = Wanted::of(policy, workload.clone());
        wanted.by = Some(by.to_owned());
        let id = Desk::new_name().ok_or("the system gives no randomness")?;
        let at = clock::now();
        let waits = i64::try_from(policy.waits).unwrap_or(0);
        let requester = Requester {
            issuer,
            subject: gift.to,
            groups: Vec::new(),
            claims: BTreeMap::new(),
            also: Vec::new(),
            workload: Workload {
                name: workload.unwrap_or_else(|| "*".into()),
                labels: BTreeMap::new(),
            },
            // Nobody has connected for it.
            process: ProcessFacts {
                pid: Pid(0),
                uid: 0,
                comm: String::new(),
                cgroup: CgroupId(0),
                netns: NetnsCookie(0),
                executable: None,
                digest: None,
            },
            client: ClientAddr(([0, 0, 0, 0], 0).into()),
            application: None,
            purpose: Some(Purpose {
                reason: Some(gift.reason),
                ..Purpose::default()
            }),
        };
        Ok(Request {
            id,
            // No statement: session 0 is nobody's.
            reference: Reference {
                session: SessionId(0),
                seq: StatementSeq(0),
            },
            at,
            lapses: UnixMillis(at.0.saturating_add(waits)),
            waits: Waits::Retry,
            requester,
            target: TargetName(policy.targets.join(", ").into()),
            database: "*".to_owned(),
            role: "*".to_owned(),
            rule: RuleRef {
                policy: policy.policy.clone(),
                rule: ACCESS.into(),
            },
            asks: policy.asks.clone(),
            policy_version: policies.version(),
            // Of its own: what was refused when somebody asked can be given all the same.
            binding: Binder::default().with("given", id.to_string()).bound(),
            shape: None,
            matter: Matter::Access(wanted),
        })
    }
}
