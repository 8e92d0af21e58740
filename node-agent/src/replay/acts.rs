//! Pure. Statements with how they ended, made of a session's events as they come.

use std::collections::VecDeque;

use crate::policy::Decision;
use crate::record::{Decided, Event, Finished, RecordedText};

/// A statement, and how it ended if that is known.
#[derive(Debug)]
pub(super) struct Act {
    pub(super) decided: Box<Decided>,
    pub(super) finished: Option<Finished>,
}

/// Statements that have not ended.
#[derive(Debug, Default)]
pub(super) struct Acts {
    waiting: VecDeque<Box<Decided>>,
    bytes: usize,
}

/// More do not wait; the oldest goes without its end.
const WAITING: usize = 4096;
/// Bytes of texts that wait.
const WAITING_BYTES: usize = 64 << 20;

fn bytes(decided: &Decided) -> usize {
    match &decided.text {
        RecordedText::Plain(text) | RecordedText::Cut { head: text, .. } => text.len(),
        RecordedText::Withheld { .. } => 0,
    }
}

impl Acts {
    /// Takes what an event says of statements; what is complete goes to `done`.
    pub(super) fn take(&mut self, event: Event, done: &mut VecDeque<Act>) {
        match event {
            Event::Decided(decided) => match &*decided.decision {
                // It never ran.
                Decision::Deny(_) => done.push_back(Act {
                    decided,
                    finished: None,
                }),
                Decision::Allow(_) | Decision::Hold(_) => {
                    self.bytes += bytes(&decided);
                    self.waiting.push_back(decided);
                    while self.waiting.len() > WAITING || self.bytes > WAITING_BYTES {
                        let Some(decided) = self.pop(0) else { break };
                        done.push_back(Act {
                            decided,
                            finished: None,
                        });
                    }
                }
            },
            Event::Finished(finished) => {
                let mut waiting = self.waiting.iter();
                let at = waiting.position(|decided| decided.seq == finished.seq);
                if let Some(decided) = at.and_then(|at| self.pop(at)) {
                    done.push_back(Act {
                        decided,
                        finished: Some(finished),
                    });
                }
            }
            Event::Began(_)
            | Event::Login(_)
            | Event::Rows(_)
            | Event::Note(_)
            | Event::Closed(_)
            | Event::Unknown(_) => {}
        }
    }

    fn pop(&mut self, at: usize) -> Option<Box<Decided>> {
        let decided = self.waiting.remove(at)?;
        self.bytes = self.bytes.saturating_sub(bytes(&decided));
        Some(decided)
    }

    /// What did not end.
    pub(super) fn rest(&mut self, done: &mut VecDeque<Act>) {
        self.bytes = 0;
        done.extend(self.waiting.drain(..).map(|decided| Act {
            decided,
            finished: None,
        }));
    }
}
