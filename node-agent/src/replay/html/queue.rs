//! Pure. Brings together what belongs to one statement. Clients may send many statements before
//! they read an answer: their events then stand mixed.

use std::collections::VecDeque;
use std::io::{self, Write};

use super::statement;
use crate::model::{SessionId, StatementSeq};
use crate::policy::Decision;
use crate::record::Event;
use crate::replay::told::Told;

/// How many statements wait for their end at a time.
const WAITING: usize = 256;
/// What they hold together, bytes about.
const WEIGHT: usize = 24 << 20;

pub(super) struct Queue {
    session: SessionId,
    waiting: VecDeque<Item>,
    /// What was said of a statement before it was decided.
    early: Vec<Event>,
}

enum Item {
    Statement { told: Told, over: bool },
    Aside(Event),
}

impl Queue {
    pub(super) fn new(session: SessionId) -> Self {
        Queue {
            session,
            waiting: VecDeque::new(),
            early: Vec::new(),
        }
    }

    /// Takes an event, and writes what is whole.
    pub(super) fn take(&mut self, event: Event, out: &mut dyn Write) -> io::Result<()> {
        match &event {
            Event::Began(_) | Event::Login(_) | Event::Closed(_) => return Ok(()),
            Event::Unknown(_) => self.waiting.push_back(Item::Aside(event)),
            Event::Note(note) => match note.seq {
                None => self.waiting.push_back(Item::Aside(event)),
                Some(seq) => self.belongs(seq, event),
            },
            Event::Decided(decided) => {
                let over = match &*decided.decision {
                    Decision::Deny(_) => true,
                    Decision::Allow(_) | Decision::Hold(_) => false,
                };
                let seq = decided.seq;
                let mut told = Told::default();
                for early in std::mem::take(&mut self.early) {
                    match &early {
                        Event::Note(note) if note.seq == Some(seq) => told.add(early),
                        _ => self.waiting.push_back(Item::Aside(early)),
                    }
                }
                told.add(event);
                self.waiting.push_back(Item::Statement { told, over });
            }
            Event::Rows(rows) => self.belongs(rows.seq, event),
            Event::Finished(finished) => {
                let seq = finished.seq;
                self.belongs(seq, event);
                // Databases answer in order: what was asked before has no more to come.
                let known = self.place(seq);
                for item in self.waiting.iter_mut().take(known.map_or(0, |at| at + 1)) {
                    if let Item::Statement { over, .. } = item {
                        *over = true;
                    }
                }
            }
        }
        self.write(false, out)
    }

    /// Writes what is left.
    pub(super) fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let early = std::mem::take(&mut self.early);
        self.waiting.extend(early.into_iter().map(Item::Aside));
        self.write(true, out)?;
        writeln!(out, "</section>")
    }

    fn place(&self, seq: StatementSeq) -> Option<usize> {
        self.waiting.iter().rposition(|item| match item {
            Item::Statement { told, .. } => told.seq() == Some(seq),
            Item::Aside(_) => false,
        })
    }

    fn belongs(&mut self, seq: StatementSeq, event: Event) {
        let place = self.place(seq);
        match place.and_then(|at| self.waiting.get_mut(at)) {
            Some(Item::Statement { told, .. }) => told.add(event),
            Some(Item::Aside(_)) | None => match &event {
                Event::Note(_) if self.early.len() < WAITING => self.early.push(event),
                _ => {
                    let mut told = Told::default();
                    told.add(event);
                    self.waiting.push_back(Item::Statement { told, over: true });
                }
            },
        }
    }

    fn write(&mut self, all: bool, out: &mut dyn Write) -> io::Result<()> {
        loop {
            let crowded = self.waiting.len() > WAITING || self.weight() > WEIGHT;
            let ready = match self.waiting.front() {
                None => return Ok(()),
                Some(Item::Aside(_)) => true,
                Some(Item::Statement { over, .. }) => *over,
            };
            if !(ready || all || crowded) {
                return Ok(());
            }
            match self.waiting.pop_front() {
                Some(Item::Statement { told, .. }) => statement::write(&told, self.session, out)?,
                Some(Item::Aside(event)) => statement::aside(&event, out)?,
                None => return Ok(()),
            }
        }
    }

    fn weight(&self) -> usize {
        // A single one is bounded by itself.
        if self.waiting.len() < 4 {
            return 0;
        }
        let weights = self.waiting.iter().map(|item| match item {
            Item::Statement { told, .. } => told.weight(),
            Item::Aside(_) => 0,
        });
        weights.sum()
    }
}
