//! The rules themselves: import order, purity, where `unsafe` may stand, and which rooms know no
//! database's dialect.

use super::Fault;
use super::names::{self, Names};
use super::rooms::{File, Kind, Rooms};

/// What a pure file may not name, and why. A path is matched by its beginning.
const IMPURE: &[(&[&str], &str)] = &[
    (&["tokio"], "the runtime"),
    (&["tokio_rustls"], "sockets"),
    (&["reqwest"], "sockets"),
    (&["hyper"], "sockets"),
    (&["hyper_util"], "sockets"),
    (&["axum"], "sockets"),
    (&["aya"], "the kernel"),
    (&["libc"], "the kernel"),
    (&["rustix"], "the kernel"),
    (&["std", "net", "TcpStream"], "sockets"),
    (&["std", "net", "TcpListener"], "sockets"),
    (&["std", "net", "UdpSocket"], "sockets"),
    (&["std", "net", "ToSocketAddrs"], "name resolution"),
    (&["std", "net", "*"], "sockets"),
    (&["std", "os"], "the kernel"),
    (&["std", "fs"], "files"),
    (&["std", "io", "stdin"], "files"),
    (&["std", "io", "stdout"], "files"),
    (&["std", "io", "stderr"], "files"),
    (&["std", "time", "Instant"], "a clock"),
    (&["std", "time", "SystemTime"], "a clock"),
    (&["std", "time", "*"], "a clock"),
    (&["time", "OffsetDateTime", "now_utc"], "a clock"),
    (&["time", "OffsetDateTime", "now_local"], "a clock"),
    (&["std", "env"], "the environment"),
    (&["std", "process"], "processes"),
    (&["std", "thread"], "threads"),
    (&["crate", "clock"], "a clock"),
    (&["rand"], "randomness"),
    (&["getrandom"], "randomness"),
    (&["fastrand"], "randomness"),
    (&["aws_lc_rs", "rand"], "randomness"),
    (&["tracing"], "logging"),
    (&["log"], "logging"),
    (&["println"], "output"),
    (&["eprintln"], "output"),
    (&["print"], "output"),
    (&["eprint"], "output"),
];

/// A pure file that may name what others may not, and why.
const EXCEPTED: &[(&str, &str, &str)] = &[(
    "node-agent/src/sql/second/mod.rs",
    "threads",
    "a nested text is parsed on a larger stack, by a thread that is joined before the call returns",
)];

/// Rooms that serve every database alike.
const NEUTRAL: &[&str] = &["session", "policy", "mask", "record", "approval"];

/// A neutral room's file that may know a dialect, and why.
const KNOWS_A_DIALECT: &[(&str, &str)] = &[(
    "node-agent/src/mask/rows.rs",
    "a mask rewrites cells inside the dialect's own row frames",
)];

/// Names of PostgreSQL's messages that mean nothing else.
const MESSAGES: &[&str] = &[
    "AuthenticationOk",
    "AuthenticationSASL",
    "BackendKeyData",
    "BindComplete",
    "CancelRequest",
    "CloseComplete",
    "CommandComplete",
    "CopyBothResponse",
    "CopyData",
    "CopyDone",
    "CopyFail",
    "CopyInResponse",
    "CopyOutResponse",
    "DataRow",
    "EmptyQueryResponse",
    "ErrorResponse",
    "FunctionCallResponse",
    "GSSENCRequest",
    "NegotiateProtocolVersion",
    "NoticeResponse",
    "NotificationResponse",
    "ParameterDescription",
    "ParameterStatus",
    "ParseComplete",
    "PortalSuspended",
    "ReadyForQuery",
    "RowDescription",
    "SASLInitialResponse",
    "SSLRequest",
    "StartupMessage",
];

/// Rooms that may hold `unsafe`.
const UNSAFE: &[&str] = &["intercept"];

/// Every broken rule of a crate with rooms.
pub(super) fn judge(crate_: &Rooms) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in &crate_.files {
        let names = names::read(&file.syntax);
        let room = file.room.and_then(|index| crate_.rooms.get(index));
        let mut found = Vec::new();
        if let Some(index) = file.room {
            order(file, index, crate_, &names, &mut found);
        }
        if let Some(room) = room {
            if room.kind == Kind::Pure && file.kind == Some(Kind::Io) {
                found.push((1, format!("claims IO inside the pure room {}", room.name)));
            }
            if file.kind.unwrap_or(room.kind) == Kind::Pure || room.kind == Kind::Pure {
                purity(file, &names, &mut found);
            }
            if NEUTRAL.contains(&room.name.as_str()) {
                neutrality(file, &names, &mut found);
            }
        }
        if !room.is_some_and(|room| UNSAFE.contains(&room.name.as_str())) {
            no_unsafe(&names, &mut found);
        }
        faults.extend(tidy(file, found));
    }
    faults
}

/// `unsafe` anywhere in these files but one.
pub(super) fn judge_unsafe_outside(files: &[File], granted: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.path != granted) {
        let mut found = Vec::new();
        no_unsafe(&names::read(&file.syntax), &mut found);
        faults.extend(tidy(file, found));
    }
    faults
}

/// One line for each broken rule, though a name may be used many times.
fn tidy(file: &File, mut found: Vec<(usize, String)>) -> Vec<Fault> {
    found.sort();
    let mut said: Vec<String> = Vec::new();
    found.retain(|(_, says)| {
        let new = !said.contains(says);
        said.push(says.clone());
        new
    });
    let fault = |(line, says)| Fault {
        file: file.path.clone(),
        line,
        says,
    };
    found.into_iter().map(fault).collect()
}

/// A room imports only rooms declared above it.
fn order(
    file: &File,
    index: usize,
    crate_: &Rooms,
    names: &Names,
    found: &mut Vec<(usize, String)>,
) {
    for named in &names.paths {
        let path = absolute(file, &named.path);
        let Some(other) = path.as_deref().and_then(|path| room_of(path, crate_)) else {
            continue;
        };
        if other <= index {
            continue;
        }
        let name = |at: usize| crate_.rooms.get(at).map_or("?", |room| room.name.as_str());
        found.push((
            named.line,
            format!(
                "{} imports {}, which lib.rs declares below it",
                name(index),
                name(other)
            ),
        ));
    }
}

/// The room that a path from the crate's root enters.
fn room_of(path: &[String], crate_: &Rooms) -> Option<usize> {
    let (first, rest) = path.split_first()?;
    if first != "crate" {
        return None;
    }
    let second = rest.first()?;
    crate_.rooms.iter().position(|room| &room.name == second)
}

/// A path with `self` and `super` resolved; `None` when it does not start in this crate.
fn absolute(file: &File, path: &[String]) -> Option<Vec<String>> {
    let first = path.first()?.as_str();
    if first == "crate" {
        return Some(path.to_vec());
    }
    if first != "self" && first != "super" {
        return None;
    }
    let inside = file.path.split("/src/").nth(1)?.strip_suffix(".rs")?;
    let mut here: Vec<&str> = inside.split('/').collect();
    if matches!(here.last(), Some(&"mod" | &"lib" | &"main")) {
        here.pop();
    }
    let mut rest = path;
    while let Some((word, after)) = rest.split_first() {
        match word.as_str() {
            "self" => {}
            "super" => {
                here.pop();
            }
            _ => break,
        }
        rest = after;
    }
    let root = std::iter::once("crate".to_owned());
    Some(
        root.chain(here.into_iter().map(str::to_owned))
            .chain(rest.iter().cloned())
            .collect(),
    )
}

fn purity(file: &File, names: &Names, found: &mut Vec<(usize, String)>) {
    for named in &names.paths {
        let same = |(start, _): &&(&[&str], &str)| {
            let path = named
                .path
                .iter()
                .map(|word| if word == "core" { "std" } else { word.as_str() });
            start.len() <= named.path.len() && start.iter().copied().eq(path.take(start.len()))
        };
        let excepted = |what: &str| {
            EXCEPTED
                .iter()
                .any(|(path, name, _)| *path == file.path && *name == what)
        };
        if let Some((start, what)) = IMPURE.iter().find(same)
            && !excepted(what)
        {
            found.push((
                named.line,
                format!("pure, yet names {} ({what})", start.join("::")),
            ));
        }
    }
    if let Some(line) = names.asyncs.first() {
        found.push((*line, "pure, yet async".to_owned()));
    }
}

fn neutrality(file: &File, names: &Names, found: &mut Vec<(usize, String)>) {
    if KNOWS_A_DIALECT.iter().any(|(path, _)| *path == file.path) {
        return;
    }
    for named in &names.paths {
        let path = absolute(file, &named.path).unwrap_or_default();
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        if let ["crate", "wire", dialect @ ("pg" | "mysql"), ..] = words.as_slice() {
            found.push((
                named.line,
                format!("names wire::{dialect}; this room serves every database"),
            ));
        }
    }
    for (word, line) in &names.words {
        if MESSAGES.contains(&word.as_str()) {
            found.push((
                *line,
                format!("names PostgreSQL's {word}; this room serves every database"),
            ));
        }
    }
}

fn no_unsafe(names: &Names, found: &mut Vec<(usize, String)>) {
    for line in &names.unsafes {
        found.push((
            *line,
            "unsafe outside intercept/ and node-agent-common/src/pod.rs".to_owned(),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::super::rooms::{self, Room};
    use super::*;

    /// Judges one file among the rooms model (pure), wire (pure), clock (IO), intercept (IO),
    /// record (IO), session (IO).
    fn judged(path: &str, text: &str) -> Vec<String> {
        let room = |name: &str, kind| Room {
            name: name.to_owned(),
            kind,
        };
        let rooms = vec![
            room("model", Kind::Pure),
            room("wire", Kind::Pure),
            room("clock", Kind::Io),
            room("intercept", Kind::Io),
            room("record", Kind::Io),
            room("session", Kind::Io),
        ];
        let mut file = rooms::parse(text, &format!("node-agent/src/{path}")).unwrap();
        let first = path.split('/').next().unwrap().trim_end_matches(".rs");
        file.room = rooms.iter().position(|room| room.name == first);
        let faults = judge(&Rooms {
            rooms,
            files: vec![file],
        });
        faults
            .into_iter()
            .map(|fault| format!("{}: {}", fault.line, fault.says))
            .collect()
    }

    #[test]
    fn what_breaks_a_rule_is_found_and_what_keeps_it_is_not() {
        // (file, its text, what is said; empty: nothing)
        let table: &[(&str, &str, &str)] = &[
            (
                "session/mod.rs",
                "//! IO. x\nuse crate::record::Receipt;",
                "",
            ),
            (
                "record/mod.rs",
                "//! IO. x\nuse crate::session::Session;",
                "2: record imports session",
            ),
            (
                "record/a.rs",
                "use crate::{model, session as s};",
                "1: record imports session",
            ),
            (
                "record/a.rs",
                "fn f() { crate::session::run() }",
                "1: record imports session",
            ),
            (
                "record/a.rs",
                "fn f() { x!(crate::session::run()) }",
                "1: record imports session",
            ),
            (
                "record/a.rs",
                "fn f() { super::super::session::run() }",
                "1: record imports session",
            ),
            ("record/a.rs", "fn f() { super::session::run() }", ""),
            (
                "record/a.rs",
                "// crate::session\nconst A: &str = \"crate::session\";",
                "",
            ),
            (
                "record/a.rs",
                "#[cfg(test)]\nmod tests { use crate::session::S; }",
                "",
            ),
            (
                "record/a.rs",
                "#[cfg(any(test, fuzzing))]\nmod t { use crate::session::S; }",
                "2: record imports session",
            ),
            (
                "wire/a.rs",
                "use std::net::{IpAddr, SocketAddr};\nuse std::time::Duration;",
                "",
            ),
            (
                "wire/a.rs",
                "use std::net::TcpStream;",
                "1: pure, yet names std::net::TcpStream",
            ),
            (
                "wire/a.rs",
                "use std::net;\nfn f(s: net::TcpStream) {}",
                "2: pure, yet names std::net::TcpStream",
            ),
            (
                "wire/a.rs",
                "use std::time as t;\nfn f() { t::Instant::now(); }",
                "2: pure, yet names std::time::Instant",
            ),
            (
                "wire/a.rs",
                "fn f() { let _ = std::fs::read(\"x\"); }",
                "1: pure, yet names std::fs",
            ),
            (
                "wire/a.rs",
                "fn f() { tracing::info!(\"x\") }",
                "1: pure, yet names tracing",
            ),
            ("wire/a.rs", "async fn f() {}", "1: pure, yet async"),
            ("wire/a.rs", "fn f() { x!(a.await) }", "1: pure, yet async"),
            (
                "wire/a.rs",
                "fn f() { println!(\"x\") }",
                "1: pure, yet names println",
            ),
            (
                "wire/a.rs",
                "use crate::clock::now;",
                "1: pure, yet names crate::clock",
            ),
            (
                "wire/a.rs",
                "//! IO. I open files.\n",
                "1: claims IO inside the pure room wire",
            ),
            (
                "record/chain.rs",
                "//! Pure. x\nuse std::fs::File;",
                "2: pure, yet names std::fs",
            ),
            ("record/sink.rs", "//! IO. x\nuse std::fs::File;", ""),
            (
                "record/a.rs",
                "fn f() { unsafe { g() } }",
                "1: unsafe outside",
            ),
            (
                "record/a.rs",
                "unsafe impl Send for A {}",
                "1: unsafe outside",
            ),
            (
                "record/a.rs",
                "fn f() { m!(unsafe { g() }) }",
                "1: unsafe outside",
            ),
            ("intercept/a.rs", "fn f() { unsafe { g() } }", ""),
            ("session/a.rs", "use crate::wire::Wire;", ""),
            (
                "session/a.rs",
                "use crate::wire::pg::Front;",
                "1: names wire::pg",
            ),
            (
                "session/a.rs",
                "use crate::wire;\nfn f(a: wire::pg::A) {}",
                "2: names wire::pg",
            ),
            (
                "session/a.rs",
                "enum A { DataRow }",
                "1: names PostgreSQL's DataRow",
            ),
            ("session/a.rs", "/// A DataRow.\nstruct A;", ""),
            (
                "main.rs",
                "fn main() { unsafe { g() } }",
                "1: unsafe outside",
            ),
        ];
        for (path, text, expected) in table {
            let said = judged(path, text);
            if expected.is_empty() {
                assert!(said.is_empty(), "{path}: {text}: {said:?}");
            } else {
                let all = said.join("\n");
                assert!(
                    all.contains(expected),
                    "{path}: {text}: said {all:?}, not {expected:?}"
                );
            }
        }
    }

    #[test]
    fn a_fault_is_said_once_for_a_file() {
        let said = judged(
            "wire/a.rs",
            "use std::fs;\nfn f() { fs::read(1); fs::read(2); }",
        );
        assert_eq!(said.len(), 1, "{said:?}");
    }

    #[test]
    fn unsafe_in_the_common_crate_is_granted_to_one_file() {
        let file = |name: &str| rooms::parse("unsafe impl Pod for A {}", name).unwrap();
        let files = [file("c/src/pod.rs"), file("c/src/flow.rs")];
        let faults = judge_unsafe_outside(&files, "c/src/pod.rs");
        assert_eq!(faults.len(), 1);
        assert_eq!(faults.first().unwrap().file, "c/src/flow.rs");
    }
}
