//! IO. The recording as something to go back and forth in, with flat memory: it is read on once, for
//! the steps, and again from the nearest mark for whatever is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::state::Reading;
use super::steps::{Kind, Step, Steps};
use crate::record::{Event, Identities};
use crate::replay::read::{Mark, Recording, Said, State};
use crate::replay::told::Told;
use crate::replay::{ReplayError, list, verify, words};

/// How many marks there are at most. When there are more, every other one is let go.
const MARKS: usize = 128;
/// What they may hold together, bytes about.
const MARKS_WEIGHT: usize = 32 << 20;
/// How many beginnings of statements are kept for the list.
const LABELS: usize = 1024;

/// What a step shows.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// The statement, if it is one.
    pub(super) told: Told,
    /// What belongs to none.
    pub(super) others: Vec<Event>,
}

/// A recording that is open for looking.
pub(super) struct Tape {
    path: PathBuf,
    identities: Identities,
    ahead: Recording,
    behind: Recording,
    /// How many events `ahead` and `behind` have told.
    read: u64,
    looked: u64,
    marks: Vec<Mark>,
    /// Blocks between two marks.
    apart: u64,
    bytes: u64,
    labels: BTreeMap<usize, String>,
    search: Option<Search>,
    follow: bool,
}

struct Search {
    recording: Recording,
    term: String,
    told: u64,
    found: BTreeSet<usize>,
    steps: Steps,
}

impl Tape {
    pub(super) fn open(
        path: &Path,
        identities: &Identities,
        follow: bool,
    ) -> Result<Self, ReplayError> {
        let ahead = Recording::open(path, identities)?;
        let behind = Recording::open(path, identities)?;
        let marks = ahead.mark().into_iter().collect();
        Ok(Tape {
            path: path.to_owned(),
            identities: identities.clone(),
            ahead,
            behind,
            read: 0,
            looked: 0,
            marks,
            apart: 1,
            bytes: std::fs::metadata(path).map_or(0, |file| file.len()),
            labels: BTreeMap::new(),
            search: None,
            follow,
        })
    }

    /// What verification says by now.
    pub(super) fn state(&self) -> State {
        let mut state = self.ahead.state();
        if state.outcome.is_some() {
            verify::named(&self.path, &mut state);
        }
        state
    }

    /// Reads on until there is no more or it is time to draw.
    pub(super) fn read_on(
        &mut self,
        steps: &mut Steps,
        until: Instant,
    ) -> Result<Reading, ReplayError> {
        loop {
            self.mark();
            match self.ahead.next()? {
                Said::Event(event) => {
                    steps.add(self.read, &event);
                    self.read += 1;
                }
                Said::End if self.follow && self.ahead.again()? => return Ok(Reading::Waiting),
                Said::End => return Ok(Reading::Whole),
            }
            if self.read.is_multiple_of(64) && Instant::now() >= until {
                let state = self.ahead.state();
                let percent = state.bytes.saturating_mul(100) / self.bytes.max(1);
                return Ok(Reading::Percent(
                    u8::try_from(percent.min(99)).unwrap_or(99),
                ));
            }
        }
    }

    fn mark(&mut self) {
        let Some(mark) = self.ahead.mark() else {
            return;
        };
        let far = self
            .marks
            .last()
            .is_none_or(|last| mark.blocks() >= last.blocks() + self.apart);
        if !far {
            return;
        }
        self.marks.push(mark);
        let weight: usize = self.marks.iter().map(Mark::weight).sum();
        if self.marks.len() > MARKS || (weight > MARKS_WEIGHT && self.marks.len() > 2) {
            let mut number = 0_usize;
            self.marks.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.apart = self.apart.saturating_mul(2);
        }
    }

    /// Puts `behind` before an event, from the nearest mark unless it is nearer.
    fn seek(&mut self, event: u64) -> Result<(), ReplayError> {
        let near = self.marks.partition_point(|mark| mark.events() <= event);
        let mark = near.checked_sub(1).and_then(|at| self.marks.get(at));
        let from = mark.map_or(0, Mark::events);
        if (self.looked > event || self.looked < from)
            && let Some(mark) = mark
        {
            self.behind.go(mark)?;
            self.looked = mark.events();
        }
        while self.looked < event {
            match self.behind.next()? {
                Said::Event(_) => self.looked += 1,
                Said::End => {
                    if !self.go_on()? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Event>, ReplayError> {
        loop {
            match self.behind.next()? {
                Said::Event(event) => {
                    self.looked += 1;
                    return Ok(Some(*event));
                }
                Said::End => {
                    if !self.go_on()? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// `behind` met an end that `ahead` has passed since.
    fn go_on(&mut self) -> Result<bool, ReplayError> {
        Ok(self.looked < self.read && self.behind.again()?)
    }

    /// What a step shows.
    pub(super) fn look(&mut self, step: &Step) -> Result<Content, ReplayError> {
        let mut content = Content::default();
        self.seek(step.first)?;
        while self.looked <= step.last {
            let Some(event) = self.next()? else { break };
            let belongs = match (&event, step.kind) {
                (Event::Decided(decided), Kind::Statement(_)) => {
                    content.told.decided.is_none() && decided.seq.0 == step.seq
                        || self.looked == step.first + 1
                }
                (Event::Rows(rows), Kind::Statement(_)) => rows.seq.0 == step.seq,
                (Event::Finished(finished), Kind::Statement(_)) => finished.seq.0 == step.seq,
                (Event::Note(note), Kind::Statement(_)) => {
                    note.seq.is_some_and(|seq| seq.0 == step.seq)
                }
                (_, Kind::Statement(_)) => false,
                (_, Kind::Began | Kind::Refused | Kind::Note | Kind::Unknown | Kind::Closed) => {
                    let own = self.looked == step.first + 1 || self.looked == step.last + 1;
                    if own {
                        content.others.push(event);
                    }
                    continue;
                }
            };
            if belongs {
                content.told.add(event);
            }
        }
        Ok(content)
    }

    /// How some steps begin, for the list.
    pub(super) fn labels(
        &mut self,
        steps: &Steps,
        from: usize,
        to: usize,
    ) -> Result<Vec<String>, ReplayError> {
        if self.labels.len() > LABELS {
            self.labels.clear();
        }
        let mut labels = Vec::new();
        for at in from..to.min(steps.len()) {
            let Some(step) = steps.get(at) else { break };
            if let Some(label) = self.labels.get(&at) {
                labels.push(label.clone());
                continue;
            }
            let label = match step.kind {
                Kind::Began => "session begins".to_owned(),
                Kind::Refused => "login refused".to_owned(),
                Kind::Closed => "session ends".to_owned(),
                Kind::Note | Kind::Unknown | Kind::Statement(_) => {
                    self.seek(step.first)?;
                    let mut label = String::new();
                    while self.looked <= step.last {
                        match self.next()? {
                            Some(Event::Decided(decided)) => {
                                label = list::first_words(&decided.text)
                            }
                            Some(Event::Note(note)) if step.kind == Kind::Note => label = note.text,
                            Some(Event::Unknown(unknown)) => {
                                label = format!("unknown event {}", unknown.kind);
                            }
                            Some(_) => continue,
                            None => {}
                        }
                        break;
                    }
                    label
                }
            };
            self.labels.insert(at, label.clone());
            labels.push(label);
        }
        Ok(labels)
    }

    /// Begins to search.
    pub(super) fn search(&mut self, term: &str) -> Result<(), ReplayError> {
        self.search = Some(Search {
            recording: Recording::open(&self.path, &self.identities)?,
            term: term.to_lowercase(),
            told: 0,
            found: BTreeSet::new(),
            steps: Steps::default(),
        });
        Ok(())
    }

    pub(super) fn stop_search(&mut self) {
        self.search = None;
    }

    /// Searches on. Gives the steps that were found, when there is news, and whether that is all.
    pub(super) fn search_on(
        &mut self,
        until: Instant,
    ) -> Result<Option<(Vec<usize>, bool)>, ReplayError> {
        let Some(search) = &mut self.search else {
            return Ok(None);
        };
        let before = search.found.len();
        let mut whole = false;
        loop {
            let Said::Event(event) = search.recording.next()? else {
                whole = true;
                break;
            };
            let step = search.steps.add(search.told, &event);
            search.told += 1;
            if let Some(step) = step
                && !search.found.contains(&step)
                && words::mentions(&event, &search.term)
            {
                search.found.insert(step);
            }
            if search.told.is_multiple_of(64) && Instant::now() >= until {
                break;
            }
        }
        let news = whole || search.found.len() > before;
        let found = news.then(|| (search.found.iter().copied().collect(), whole));
        if whole {
            self.search = None;
        }
        Ok(found)
    }
}
