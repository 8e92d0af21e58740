//! Pure. Rows asked for in place of a statement, in the extended protocol: under a name of the
//! agent's own, so that no statement or portal of the client's is touched. All of it is in the
//! transaction of the Execute that it stands for, and fails with it.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::answer::{Described, Kind};
use super::frame;

/// Our prepared statement and portal. No client can give a name that begins so.
const OURS: &str = "node-agent rows";

/// What is said around the rows.
#[derive(Debug)]
pub(super) struct Instead {
    stage: Stage,
    /// The head of the rows.
    pub(super) described: Option<Arc<Described>>,
}

/// Which answer comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To this of what is said before.
    Before(usize),
    /// The rows, and their end.
    Rows,
    /// To this of what is said behind.
    Behind(usize),
    Over,
}

const BEFORE: &[Kind] = &[
    Kind::CloseComplete,
    Kind::CloseComplete,
    Kind::ParseComplete,
    Kind::BindComplete,
    Kind::RowDescription,
];
const BEHIND: &[Kind] = &[Kind::CloseComplete, Kind::CloseComplete];

impl Instead {
    /// Asks for the rows of a text, in text form.
    pub(super) fn ask(text: &str, up: &mut BytesMut) -> Self {
        about(b'C', b'P', up);
        about(b'C', b'S', up);
        frame::message(up, b'P', |up| {
            frame::text(up, OURS);
            frame::text(up, text);
            up.put_u16(0);
        });
        frame::message(up, b'B', |up| {
            frame::text(up, OURS);
            frame::text(up, OURS);
            up.put_bytes(0, 6);
        });
        about(b'D', b'P', up);
        frame::message(up, b'E', |up| {
            frame::text(up, OURS);
            up.put_u32(0);
        });
        about(b'C', b'P', up);
        about(b'C', b'S', up);
        Instead {
            stage: Stage::Before(0),
            described: None,
        }
    }

    /// Takes an answer to what is said around the rows; `None`: it is one of their own.
    pub(super) fn step(&mut self, kind: Kind) -> Option<Result<(), &'static str>> {
        let (script, at) = match self.stage {
            Stage::Before(at) => (BEFORE, at),
            Stage::Behind(at) => (BEHIND, at),
            Stage::Over => return Some(Err("nothing: no answer was outstanding")),
            Stage::Rows => return None,
        };
        if script.get(at) != Some(&kind) {
            return Some(Err("what is said around the rows of a copy"));
        }
        let last = at + 1 == script.len();
        self.stage = match self.stage {
            Stage::Before(_) if last => Stage::Rows,
            Stage::Before(at) => Stage::Before(at + 1),
            Stage::Behind(_) if last => Stage::Over,
            Stage::Behind(at) => Stage::Behind(at + 1),
            Stage::Rows | Stage::Over => self.stage,
        };
        Some(Ok(()))
    }

    /// The rows are over.
    pub(super) fn ran(&mut self) {
        self.stage = Stage::Behind(0);
    }

    /// Nothing of it is outstanding.
    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }
}

fn about(kind: u8, which: u8, up: &mut BytesMut) {
    frame::message(up, kind, |up| {
        up.put_u8(which);
        frame::text(up, OURS);
    });
}
