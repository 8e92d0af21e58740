//! Pure. Statements and logins as OCSF events: Datastore Activity (class 6005) of OCSF 1.3.0, with the
//! profile `security_control` for what was decided. <https://schema.ocsf.io/1.3.0/classes/datastore_activity>

use serde_json::{Map, Value, json};

use super::super::cell;
use super::super::filter::Ruling;
use super::super::touched;
use super::{About, Act};
use crate::model::{Digest, Refusal, StatementSeq, UnixMillis};
use crate::policy::{Decision, RuleRef};
use crate::record::{End, LoggedIn, Login, RecordedText};
use crate::sql::{Analysis, StatementKind};

/// The schema's version that these events follow.
const VERSION: &str = "1.3.0";

/// The class's activities that occur here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Activity {
    Other,
    Query,
    Read,
    Create,
    Write,
    Update,
    Delete,
    Connect,
}

impl Activity {
    fn id(self) -> u32 {
        match self {
            Activity::Read => 1,
            Activity::Update => 2,
            Activity::Connect => 3,
            Activity::Query => 4,
            Activity::Write => 5,
            Activity::Create => 6,
            Activity::Delete => 7,
            Activity::Other => 99,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Activity::Read => "Read",
            Activity::Update => "Update",
            Activity::Connect => "Connect",
            Activity::Query => "Query",
            Activity::Write => "Write",
            Activity::Create => "Create",
            Activity::Delete => "Delete",
            Activity::Other => "Other",
        }
    }
}

fn of_kind(kind: StatementKind) -> Activity {
    use StatementKind as K;
    match kind {
        K::Select | K::Show | K::Explain | K::Fetch | K::Declare => Activity::Query,
        K::CopyOut => Activity::Read,
        K::Insert | K::CopyIn | K::Merge => Activity::Write,
        K::Update | K::Alter => Activity::Update,
        K::Create => Activity::Create,
        K::Delete | K::Truncate | K::Drop => Activity::Delete,
        K::Lock
        | K::CopyFile
        | K::CopyProgram
        | K::Maintain
        | K::Vacuum
        | K::Grant
        | K::Role
        | K::Admin
        | K::Transaction
        | K::TwoPhase
        | K::Set
        | K::SetIdentity
        | K::Prepare
        | K::Execute
        | K::Deallocate
        | K::CloseCursor
        | K::Discard
        | K::Listen
        | K::Notify
        | K::Do
        | K::Call
        | K::DefineCode
        | K::Opaque => Activity::Other,
    }
}

/// Of several kinds the one that does most.
fn activity(analysis: &Analysis) -> Activity {
    let kinds = analysis.statements.iter().flat_map(|one| &one.kinds);
    kinds
        .map(|kind| of_kind(*kind))
        .max()
        .unwrap_or(Activity::Other)
}

/// How it went, as `status_id` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Unknown,
    Success,
    Failure,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Allowed,
    Blocked,
}

struct Event {
    at: UnixMillis,
    seq: StatementSeq,
    activity: Activity,
    status: Status,
    action: Action,
    rest: Map<String, Value>,
}

fn event(about: &About, event: Event) -> Value {
    let (id, name) = (event.activity.id(), event.activity.name());
    let (status_id, status) = match event.status {
        Status::Unknown => (0, "Unknown"),
        Status::Success => (1, "Success"),
        Status::Failure => (2, "Failure"),
    };
    // Both names and numbers are the profile's.
    let (action_id, action, disposition_id, disposition) = match event.action {
        Action::Allowed => (1, "Allowed", 1, "Allowed"),
        Action::Blocked => (2, "Denied", 2, "Blocked"),
    };
    let (severity_id, severity) = match (event.action, event.status) {
        (Action::Blocked, _) => (3, "Medium"),
        (Action::Allowed, Status::Failure) => (2, "Low"),
        (Action::Allowed, Status::Success | Status::Unknown) => (1, "Informational"),
    };
    let mut all = Map::new();
    let mut put = |key: &str, value: Value| {
        all.insert(key.to_owned(), value);
    };
    put(
        "metadata",
        json!({
            "version": VERSION,
            "product": {
                "name": "node-agent",
                "vendor_name": "node-agent",
                "version": env!("CARGO_PKG_VERSION"),
            },
            "profiles": ["security_control"],
            "log_name": "sessions",
            "uid": format!("{}#{}", about.session, event.seq),
            "correlation_uid": about.session,
            "sequence": event.seq,
        }),
    );
    put("category_uid", json!(6));
    put("category_name", json!("Application Activity"));
    put("class_uid", json!(6005));
    put("class_name", json!("Datastore Activity"));
    put("activity_id", json!(id));
    put("activity_name", json!(name));
    put("type_uid", json!(600_500 + id));
    put("type_name", json!(format!("Datastore Activity: {name}")));
    put("time", json!(event.at));
    put("severity_id", json!(severity_id));
    put("severity", json!(severity));
    put("status_id", json!(status_id));
    put("status", json!(status));
    put("action_id", json!(action_id));
    put("action", json!(action));
    put("disposition_id", json!(disposition_id));
    put("disposition", json!(disposition));
    put("actor", actor(about));
    let began = about.began.as_deref();
    let workload = began.map_or("unknown", |began| &*began.workload.name);
    put(
        "src_endpoint",
        match began {
            Some(began) => json!({
                "name": workload,
                "ip": began.client.0.ip(),
                "port": began.client.0.port(),
            }),
            None => json!({ "name": workload }),
        },
    );
    if let Some(began) = began {
        put(
            "dst_endpoint",
            json!({
                "svc_name": began.target.0,
                "ip": began.destination.0.ip(),
                "port": began.destination.0.port(),
            }),
        );
    }
    let mut database = Map::new();
    database.insert("type_id".into(), json!(1));
    database.insert("type".into(), json!("Relational"));
    // One of both is always known, or the file is no whole recording.
    database.insert(
        "uid".into(),
        json!(began.map_or("unknown", |began| &*began.target.0)),
    );
    if let Some(name) = about.database() {
        database.insert("name".into(), json!(name));
    }
    put("database", Value::Object(database));
    all.extend(event.rest);
    Value::Object(all)
}

fn actor(about: &About) -> Value {
    let mut actor = Map::new();
    let mut session = json!({ "uid": about.session });
    if let (Some(user), Some(session)) = (about.user(), session.as_object_mut()) {
        let groups: Vec<_> = user
            .groups
            .iter()
            .map(|name| json!({ "name": name }))
            .collect();
        actor.insert(
            "user".into(),
            json!({
                "name": user.subject,
                "uid": user.subject,
                "domain": user.issuer,
                "groups": groups,
            }),
        );
        session.insert("issuer".into(), json!(user.issuer));
        session.insert("expiration_time".into(), json!(user.expires));
    }
    if let Some(LoggedIn {
        login: Login::Admitted {
            application: Some(name),
            ..
        },
        ..
    }) = about.login.as_deref()
    {
        actor.insert("app_name".into(), json!(name));
    }
    if let Some(began) = &about.began {
        let process = &began.process;
        let mut told = json!({ "pid": process.pid, "name": process.comm });
        if let (Some(path), Some(told)) = (&process.executable, told.as_object_mut()) {
            let name = path.rsplit('/').next().unwrap_or(path);
            let mut file = json!({ "path": path, "name": name, "type_id": 1 });
            if let (Some(Digest::Blake3(hex)), Some(file)) = (&process.digest, file.as_object_mut())
            {
                // OCSF 1.3.0 knows no BLAKE3: algorithm 99, other, with its name.
                let hash = json!({ "algorithm_id": 99, "algorithm": "BLAKE3", "value": hex });
                file.insert("hashes".into(), json!([hash]));
            }
            told.insert("file".into(), file);
        }
        actor.insert("process".into(), told);
        if let Some(session) = session.as_object_mut() {
            session.insert("created_time".into(), json!(began.at));
        }
    }
    actor.insert("session".into(), session);
    Value::Object(actor)
}

pub(super) fn login(about: &About, login: &LoggedIn) -> Value {
    let mut rest = Map::new();
    let (status, action) = match &login.login {
        Login::Admitted {
            role,
            tls,
            wished_role,
            ..
        } => {
            let told = json!({ "role": role, "wished_role": wished_role, "tls": tls });
            rest.insert("unmapped".into(), told);
            (Status::Success, Action::Allowed)
        }
        Login::Refused(refusal) => {
            refused(refusal, &mut rest);
            (Status::Failure, Action::Blocked)
        }
    };
    rest.insert("type_id".into(), json!(1));
    rest.insert("type".into(), json!("Database"));
    event(
        about,
        Event {
            at: login.at,
            seq: StatementSeq(0),
            activity: Activity::Connect,
            status,
            action,
            rest,
        },
    )
}

fn refused(refusal: &Refusal, rest: &mut Map<String, Value>) {
    rest.insert("status_detail".into(), json!(refusal.message));
    rest.insert("message".into(), json!(refusal.message));
}

fn by(rule: &RuleRef, version: &str, rest: &mut Map<String, Value>) {
    rest.insert(
        "policy".into(),
        json!({ "name": rule.policy, "version": version }),
    );
    let uid = touched::rule_name(rule);
    rest.insert(
        "firewall_rule".into(),
        json!({ "name": rule.rule, "uid": uid }),
    );
}

pub(super) fn act(about: &About, act: &Act) -> Value {
    let (decided, finished) = (&act.decided, act.finished.as_ref());
    let mut rest = Map::new();
    let mut unmapped = Map::new();
    let action = match (&*decided.decision, finished) {
        (Decision::Deny(denial), _) => {
            refused(&denial.refusal, &mut rest);
            Action::Blocked
        }
        // Nobody let it run.
        (Decision::Hold(_), None) => Action::Blocked,
        (Decision::Hold(_), Some(_)) | (Decision::Allow(_), _) => Action::Allowed,
    };
    let mut rules = Vec::new();
    touched::rules(&decided.decision, &mut |rule| rules.push(rule));
    if let Some(first) = rules.first() {
        by(first, &decided.policy_version, &mut rest);
    }
    let status = match (finished.map(|finished| finished.end), action) {
        (Some(End::Done | End::Suspended), _) => Status::Success,
        (Some(End::Failed | End::Skipped | End::Stopped | End::Undone | End::Cut), _)
        | (None, Action::Blocked) => Status::Failure,
        (None, Action::Allowed) => Status::Unknown,
    };
    if let Some(finished) = finished {
        rest.insert("start_time".into(), json!(decided.at));
        rest.insert("end_time".into(), json!(finished.at));
        rest.insert("duration".into(), json!(finished.micros / 1000));
        if let Some((code, message)) = &finished.error {
            rest.insert("status_code".into(), json!(code));
            rest.insert("status_detail".into(), json!(message));
        }
        unmapped.insert("rows".into(), json!(finished.rows));
        unmapped.insert("bytes".into(), json!(finished.bytes));
        unmapped.insert("microseconds".into(), json!(finished.micros));
        unmapped.insert("command_tags".into(), json!(finished.tags));
        unmapped.insert("end".into(), json!(finished.end));
        let masks: Vec<_> = finished
            .masked
            .iter()
            .map(|(_, rule)| touched::rule_name(rule))
            .collect();
        unmapped.insert("masks".into(), json!(masks));
        unmapped.insert("found".into(), json!(finished.found));
        unmapped.insert("rows_changed".into(), json!(finished.changed));
    }
    let text = match &decided.text {
        RecordedText::Plain(text) => text.clone(),
        RecordedText::Cut { head, .. } => format!("{head}…"),
        RecordedText::Withheld { hash, length } => {
            format!("(withheld: {length} bytes, BLAKE3 {hash})")
        }
    };
    let uid = format!("{}#{}", about.session, decided.seq);
    rest.insert(
        "query_info".into(),
        json!({
            "query_string": text,
            "query_time": decided.at,
            "uid": uid,
        }),
    );
    let mut tables = Vec::new();
    touched::relations(&decided.analysis, &mut |used| {
        let told = (
            touched::name(&used.relation).into_owned(),
            touched::touch(used.touch),
        );
        if !tables.contains(&told) {
            tables.push(told);
        }
    });
    let only = match tables.as_slice() {
        [(only, _), more @ ..] if more.iter().all(|(name, _)| name == only) => Some(only),
        _ => None,
    };
    let (type_id, type_) = match only {
        Some(name) => {
            rest.insert("table".into(), json!({ "name": name }));
            (3, "Table")
        }
        None => (1, "Database"),
    };
    rest.insert("type_id".into(), json!(type_id));
    rest.insert("type".into(), json!(type_));
    let tables: Vec<_> = tables
        .iter()
        .map(|(name, touch)| json!({ "name": name, "touch": touch }))
        .collect();
    unmapped.insert("tables".into(), json!(tables));
    unmapped.insert(
        "decision".into(),
        json!(Ruling::of(&decided.decision).word()),
    );
    let rules: Vec<_> = rules.into_iter().map(touched::rule_name).collect();
    unmapped.insert("rules".into(), json!(rules));
    unmapped.insert("policy_version".into(), json!(decided.policy_version));
    let params: Vec<_> = decided
        .params
        .iter()
        .map(|value| json!(cell::plain(value, None)))
        .collect();
    unmapped.insert("parameters".into(), json!(params));
    if let Some(purpose) = decided.purpose.as_deref() {
        unmapped.insert("purpose".into(), json!(purpose));
    }
    rest.insert("unmapped".into(), Value::Object(unmapped));
    event(
        about,
        Event {
            at: decided.at,
            seq: decided.seq,
            activity: activity(&decided.analysis),
            status,
            action,
            rest,
        },
    )
}
