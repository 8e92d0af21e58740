//! Pure. What there is to step through: one small entry for each statement, whatever it brought back.

use crate::model::UnixMillis;
use crate::record::{Event, Login};
use crate::replay::told::Ruled;
use crate::replay::words;

/// What a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Who and where, with the login.
    Began,
    /// A login that was refused.
    Refused,
    /// A statement.
    Statement(Ruled),
    /// Something said beside the statements.
    Note,
    /// Something that this version does not know.
    Unknown,
    /// The end.
    Closed,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) kind: Kind,
    /// The statement; of what is none, the one before it.
    pub(super) seq: u64,
    /// When it began.
    pub(super) at: UnixMillis,
    /// When it was over; `None`: that is not told (yet).
    pub(super) over: Option<UnixMillis>,
    /// Its first event, counted from the recording's beginning.
    pub(super) first: u64,
    /// Its last one so far.
    pub(super) last: u64,
    /// It ended in an error.
    pub(super) failed: bool,
}

impl Step {
    /// Somebody will want to see it: refused, held, or so it would have been.
    pub(super) fn judged(&self) -> bool {
        match self.kind {
            Kind::Refused | Kind::Statement(Ruled::Denied | Ruled::Held | Ruled::Observed) => true,
            Kind::Began
            | Kind::Statement(Ruled::Allowed)
            | Kind::Note
            | Kind::Unknown
            | Kind::Closed => false,
        }
    }

    pub(super) fn end(&self) -> UnixMillis {
        self.over.unwrap_or(self.at).max(self.at)
    }
}

/// All steps, in order.
#[derive(Debug, Default)]
pub(super) struct Steps {
    steps: Vec<Step>,
    statements: u64,
    /// A note that came before its statement: which, and the note's number.
    early: Option<(u64, u64)>,
}

impl Steps {
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    pub(super) fn statements(&self) -> u64 {
        self.statements
    }

    pub(super) fn get(&self, at: usize) -> Option<&Step> {
        self.steps.get(at)
    }

    pub(super) fn all(&self) -> &[Step] {
        &self.steps
    }

    /// The step of a statement.
    pub(super) fn of(&self, seq: u64) -> Option<usize> {
        // What is no statement has the number of the one before it, and stands behind it.
        let at = self.steps.partition_point(|step| step.seq < seq);
        self.steps
            .get(at)
            .filter(|step| step.seq == seq)
            .map(|_| at)
    }

    /// The last step that has begun at a moment.
    pub(super) fn at(&self, now: UnixMillis) -> usize {
        self.steps
            .partition_point(|step| step.at <= now)
            .saturating_sub(1)
    }

    /// Adds what an event says. `number`: how many events were before it. Gives the step that it
    /// belongs to.
    pub(super) fn add(&mut self, number: u64, event: &Event) -> Option<usize> {
        let at = words::at(event);
        let seq = match event {
            Event::Rows(rows) => Some(rows.seq.0),
            Event::Finished(finished) => Some(finished.seq.0),
            Event::Note(note) => note.seq.map(|seq| seq.0),
            Event::Began(_)
            | Event::Login(_)
            | Event::Decided(_)
            | Event::Closed(_)
            | Event::Unknown(_) => None,
        };
        let kind = match event {
            Event::Began(_) => Kind::Began,
            Event::Login(login) => match &login.login {
                Login::Admitted { .. } => return self.belongs(0, number, at),
                Login::Refused(_) => Kind::Refused,
            },
            Event::Decided(decided) => Kind::Statement(Ruled::of(&decided.decision)),
            Event::Rows(_) => return self.belongs(self.of(seq?)?, number, None),
            Event::Finished(finished) => {
                let at = self.belongs(self.of(seq?)?, number, at)?;
                let step = self.steps.get_mut(at)?;
                step.failed |= finished.error.is_some();
                return Some(at);
            }
            Event::Note(_) => match seq {
                None => Kind::Note,
                Some(seq) => match self.of(seq) {
                    Some(at) => return self.belongs(at, number, None),
                    None => {
                        self.early.get_or_insert((seq, number));
                        return None;
                    }
                },
            },
            Event::Closed(_) => Kind::Closed,
            Event::Unknown(_) => Kind::Unknown,
        };
        let before = self.steps.last();
        let order = before.map_or(0, |step| step.seq);
        let mut first = number;
        let seq = match event {
            Event::Decided(decided) => {
                self.statements += 1;
                if let Some((seq, note)) = self.early.take()
                    && seq == decided.seq.0
                {
                    first = note;
                }
                // A file that counts otherwise is shown as it stands; steps stay in order.
                decided.seq.0.max(order)
            }
            _ => order,
        };
        let earliest = before.map_or(UnixMillis(i64::MIN), |step| step.at);
        self.steps.push(Step {
            kind,
            seq,
            // A clock that went back does not take the viewer along.
            at: at.unwrap_or(earliest).max(earliest),
            over: None,
            first,
            last: number,
            failed: false,
        });
        Some(self.steps.len() - 1)
    }

    fn belongs(&mut self, at: usize, number: u64, over: Option<UnixMillis>) -> Option<usize> {
        let step = self.steps.get_mut(at)?;
        step.last = number;
        step.over = over.or(step.over);
        Some(at)
    }
}
