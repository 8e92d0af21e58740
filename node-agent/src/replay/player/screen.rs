//! IO. The player with its recording, on any screen: what is looked at is read when it is.

use std::path::Path;
use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::layout::Rect;

use super::draw::{self, Bar, Places, Shown};
use super::page::{Layout, Page};
use super::state::{Key, Player, Reading, Wish};
use super::tape::{Content, Tape};
use crate::record::{Event, Identities, Login};
use crate::replay::read::State;
use crate::replay::{ReplayError, Verdict};

/// How long reading or searching may take between two pictures.
const SLICE: Duration = Duration::from_millis(25);

/// Whether the recording goes on being read when it ends.
pub(super) struct Screen {
    player: Player,
    tape: Tape,
    title: String,
    state: State,
    shown: Option<Picture>,
    content: Content,
    page: Page,
    first: usize,
    labels: Vec<String>,
    bars: Vec<Bar>,
    places: Places,
    bars_of: (usize, u16, u64),
    /// The last event of the first step when the title was made of it.
    titled: Option<u64>,
}

/// What the page was made of: when this changes, it is made anew.
#[derive(Clone, Debug, PartialEq)]
struct Picture {
    at: usize,
    last: u64,
    places: Places,
    whole: bool,
    running: bool,
    term: String,
    reading: Reading,
}

impl Screen {
    pub(super) fn open(
        path: &Path,
        identities: &Identities,
        speed: Option<f64>,
        follow: bool,
    ) -> Result<Self, ReplayError> {
        let tape = Tape::open(path, identities, follow)?;
        Ok(Screen {
            player: Player::new(speed, follow),
            title: String::new(),
            state: tape.state(),
            tape,
            shown: None,
            content: Content::default(),
            page: Page::default(),
            first: 0,
            labels: Vec::new(),
            bars: Vec::new(),
            places: Places::default(),
            bars_of: (0, 0, 0),
            titled: None,
        })
    }

    /// Reads on, searches on; time passes.
    pub(super) fn tick(&mut self, passed: Duration) -> Result<(), ReplayError> {
        let until = Instant::now() + SLICE;
        if self.player.reading != Reading::Whole {
            self.player.reading = self.tape.read_on(&mut self.player.steps, until)?;
            self.state = self.tape.state();
            self.player.grown();
        }
        if let Some((found, whole)) = self.tape.search_on(until)? {
            self.player.matched(found, whole);
        }
        self.player.tick(passed.as_secs_f64() * 1e3);
        Ok(())
    }

    /// Something is still being read or is moving: the next picture is wanted soon.
    pub(super) fn busy(&self) -> bool {
        matches!(self.player.reading, Reading::Percent(_)) || self.searching()
    }

    fn searching(&self) -> bool {
        self.player
            .matches
            .as_ref()
            .is_some_and(|matches| !matches.whole)
    }

    /// A key was pressed. `true`: to quit.
    pub(super) fn key(&mut self, key: Key) -> Result<bool, ReplayError> {
        match self.player.key(key) {
            Some(Wish::Quit) => return Ok(true),
            Some(Wish::Search(term)) => self.tape.search(&term)?,
            Some(Wish::StopSearch) => self.tape.stop_search(),
            None => {}
        }
        Ok(false)
    }

    /// Makes ready what is to be seen on a screen of this size.
    pub(super) fn prepare(&mut self, area: Rect) -> Result<(), ReplayError> {
        self.places = draw::places(area, self.player.list);
        let steps = self.player.steps.len();
        self.entitle()?;
        let Some(step) = self.player.step().copied() else {
            return Ok(());
        };
        let term = self.player.matches.as_ref();
        let picture = Picture {
            at: self.player.at,
            last: step.last,
            places: self.places,
            whole: self.player.whole,
            running: self.player.running(),
            term: term.map_or(String::new(), |matches| matches.term.to_lowercase()),
            reading: match self.player.reading {
                // It is said at the top; the page need not be made anew for it.
                Reading::Percent(_) => Reading::Percent(0),
                other => other,
            },
        };
        if self.shown.as_ref() != Some(&picture) {
            let same = self
                .shown
                .as_ref()
                .is_some_and(|shown| (shown.at, shown.last) == (picture.at, picture.last));
            if !same {
                self.content = self.tape.look(&step)?;
            }
            let margin = self.places.margin;
            self.page = Layout {
                width: usize::from(self.places.page.width),
                margin: usize::from(margin.map_or(0, |margin| margin.width)),
                narrow: margin.is_none(),
                whole: picture.whole,
                running: picture.running,
                term: &picture.term,
                session: self.state.session,
                state: &self.state,
            }
            .page(&self.content);
            self.shown = Some(picture);
        }
        let height = usize::from(self.places.page.height);
        self.player.measure(self.page.rows.len(), height);
        if let Some(list) = self.places.list {
            let rows = usize::from(list.height);
            let most = steps.saturating_sub(rows);
            self.first = self.player.at.saturating_sub(rows / 2).min(most);
            self.labels = self
                .tape
                .labels(&self.player.steps, self.first, self.first + rows)?;
        }
        let wide = self.places.time.width.saturating_sub(2);
        let of = (steps, wide, self.state.progress.events);
        if self.bars_of != of {
            self.bars = draw::bars(&self.player, wide);
            self.bars_of = of;
        }
        Ok(())
    }

    /// `alice@example.com · claude → orders`, once that is known.
    fn entitle(&mut self) -> Result<(), ReplayError> {
        let Some(first) = self.player.steps.get(0).copied() else {
            return Ok(());
        };
        if self.titled == Some(first.last) {
            return Ok(());
        }
        self.titled = Some(first.last);
        for event in self.tape.look(&first)?.others {
            match event {
                Event::Began(began) => {
                    self.title = format!("{} → {}", began.workload.name, began.target.0);
                }
                Event::Login(login) => {
                    if let Login::Admitted { principal, .. } = &login.login {
                        self.title = format!("{} · {}", principal.user.subject, self.title);
                    }
                }
                Event::Decided(_)
                | Event::Rows(_)
                | Event::Finished(_)
                | Event::Note(_)
                | Event::Closed(_)
                | Event::Unknown(_) => {}
            }
        }
        Ok(())
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let shown = Shown {
            places: self.places,
            title: &self.title,
            state: &self.state,
            page: &self.page,
            labels: (self.first, &self.labels),
            bars: &self.bars,
        };
        draw::draw(frame, &self.player, &shown);
    }

    /// What was found of the recording, as far as it was read.
    pub(super) fn verdict(&self) -> Verdict {
        self.state.verdict()
    }

    #[cfg(test)]
    pub(super) fn player(&self) -> &Player {
        &self.player
    }
}
