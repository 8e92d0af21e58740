//! Pure. Where the player stands, and what each key does.

use super::steps::{Kind, Step, Steps};
use crate::model::UnixMillis;

/// How fast it can play.
pub(super) const SPEEDS: [f64; 9] = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
/// Nobody watches longer than this while nothing happens, milliseconds.
const WAIT: f64 = 2_000.0;
/// The longest text that can be typed.
const TYPED: usize = 200;

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Left,
    Right,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Tab,
    Enter,
    Escape,
    Backspace,
    /// Control and C.
    Interrupt,
}

/// What the keys do, for the help.
pub(super) const KEYS: [(&str, &str); 14] = [
    ("space", "play, pause"),
    ("← →", "statement before, next statement"),
    ("+ −", "faster, slower (0.25x to 64x)"),
    ("d D", "next denial or hold, the one before"),
    ("e E", "next error, the one before"),
    ("/", "search statements, values, errors"),
    ("n N", "next match, the one before"),
    (":", "go to a statement by its number"),
    ("g G", "beginning, end (Home, End)"),
    ("↑ ↓", "scroll a line (PgUp PgDn: a page)"),
    ("< >", "scroll tables sideways"),
    ("w", "cut long cells, or show them whole"),
    ("Tab", "show or hide the list"),
    ("q", "quit (Ctrl-C)"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Motion {
    Paused,
    Playing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Watching,
    Help,
    Searching(String),
    Going(String),
}

/// What the player wants of whoever holds the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Quit,
    Search(String),
    StopSearch,
}

/// How far the recording is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// So many parts of a hundred.
    Percent(u8),
    /// All there is, and more may come.
    Waiting,
    /// All.
    Whole,
}

/// What was searched for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Matches {
    pub(super) term: String,
    /// Steps, in order.
    pub(super) found: Vec<usize>,
    pub(super) whole: bool,
    /// The first one has been gone to.
    went: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    On,
    Back,
}

pub(super) struct Player {
    pub(super) steps: Steps,
    pub(super) at: usize,
    /// The session's own time.
    pub(super) now: f64,
    pub(super) motion: Motion,
    speed: usize,
    pub(super) mode: Mode,
    pub(super) reading: Reading,
    pub(super) matches: Option<Matches>,
    pub(super) message: Option<String>,
    /// Stay with the last step as more come.
    pub(super) live: bool,
    pub(super) list: bool,
    /// Cells are shown whole.
    pub(super) whole: bool,
    pub(super) scroll: usize,
    pub(super) side: usize,
    /// Lines of the page, and how many are seen at a time.
    extent: (usize, usize),
}

impl Player {
    /// `speed`: playing begins at once, with this one or the nearest there is.
    pub(super) fn new(speed: Option<f64>, live: bool) -> Self {
        let nearest = |wanted: f64| {
            let below = SPEEDS.iter().take_while(|speed| **speed <= wanted).count();
            below.saturating_sub(1)
        };
        Player {
            steps: Steps::default(),
            at: 0,
            now: 0.0,
            motion: match speed {
                Some(_) if !live => Motion::Playing,
                Some(_) | None => Motion::Paused,
            },
            speed: nearest(speed.unwrap_or(1.0)),
            mode: Mode::Watching,
            reading: Reading::Percent(0),
            matches: None,
            message: None,
            live,
            list: true,
            whole: false,
            scroll: 0,
            side: 0,
            extent: (0, 0),
        }
    }

    pub(super) fn speed(&self) -> f64 {
        SPEEDS.get(self.speed).copied().unwrap_or(1.0)
    }

    pub(super) fn step(&self) -> Option<&Step> {
        self.steps.get(self.at)
    }

    /// The statement has begun and, as far as has been played, not ended.
    pub(super) fn running(&self) -> bool {
        self.motion == Motion::Playing
            && self
                .step()
                .is_some_and(|step| self.now < step.end().0 as f64)
    }

    /// The page is so long, and so much of it is seen.
    pub(super) fn measure(&mut self, lines: usize, seen: usize) {
        self.extent = (lines, seen);
        self.scroll = self.scroll.min(lines.saturating_sub(seen));
    }

    /// More steps may be there.
    pub(super) fn grown(&mut self) {
        if self.live && self.steps.len() > 0 && self.at + 1 != self.steps.len() {
            self.go(self.steps.len() - 1);
            self.live = true;
        }
        if self.now == 0.0
            && let Some(first) = self.steps.get(0)
        {
            self.now = first.at.0 as f64;
        }
    }

    /// A step that holds what is searched for.
    pub(super) fn matched(&mut self, found: Vec<usize>, whole: bool) {
        let Some(matches) = &mut self.matches else {
            return;
        };
        matches.found = found;
        matches.whole = whole;
        if matches.went {
            return;
        }
        let here = self.at;
        let next = matches.found.iter().find(|step| **step >= here).copied();
        let first = matches.found.first().copied();
        match (next, first) {
            (Some(to), _) | (None, Some(to)) if next.is_some() || whole => {
                matches.went = true;
                self.go(to);
            }
            (None, None) if whole => {
                self.message = Some(format!("“{}” is nowhere in this session", matches.term));
            }
            (Some(_) | None, _) => {}
        }
    }

    /// Time passes, milliseconds.
    pub(super) fn tick(&mut self, millis: f64) {
        if self.motion == Motion::Paused || self.mode != Mode::Watching {
            return;
        }
        self.now += millis * self.speed();
        let next = self.steps.get(self.at + 1).copied();
        let here = self.step().map_or(0.0, |step| step.end().0 as f64);
        match next {
            None => {
                if self.now >= here && self.reading == Reading::Whole {
                    self.now = here;
                    self.motion = Motion::Paused;
                    self.message = Some("the end".to_owned());
                }
            }
            Some(next) => {
                let at = next.at.0 as f64;
                // While a statement runs the wait is part of what is watched; behind it, it is cut.
                let longest = WAIT * self.speed();
                if self.now > here && at - self.now > longest {
                    self.now = at - longest;
                }
                if self.now >= at {
                    let to = self.steps.at(UnixMillis(self.now as i64)).max(self.at + 1);
                    self.show(to);
                }
            }
        }
    }

    fn show(&mut self, at: usize) {
        self.at = at;
        self.scroll = 0;
        self.side = 0;
    }

    /// Goes to a step, and to its end.
    fn go(&mut self, at: usize) {
        let at = at.min(self.steps.len().saturating_sub(1));
        self.show(at);
        self.live = false;
        self.message = None;
        if let Some(step) = self.step() {
            self.now = step.end().0 as f64;
        }
    }

    fn find(&mut self, way: Way, what: &str, wanted: impl Fn(usize, &Step) -> bool) {
        let steps = self.steps.all().iter().enumerate();
        let found = match way {
            Way::On => steps
                .skip(self.at + 1)
                .find(|(at, step)| wanted(*at, step))
                .map(|(at, _)| at),
            Way::Back => steps
                .take(self.at)
                .rfind(|(at, step)| wanted(*at, step))
                .map(|(at, _)| at),
        };
        match found {
            Some(at) => self.go(at),
            None => {
                let side = match way {
                    Way::On => "after",
                    Way::Back => "before",
                };
                self.message = Some(format!("no {what} {side} this"));
            }
        }
    }

    fn next_match(&mut self, way: Way) {
        let Some(matches) = &self.matches else {
            self.message = Some("nothing was searched for: / does".to_owned());
            return;
        };
        let found = match way {
            Way::On => matches.found.iter().find(|at| **at > self.at),
            Way::Back => matches.found.iter().rfind(|at| **at < self.at),
        };
        match found.copied() {
            Some(at) => self.go(at),
            None => self.message = Some("no other match on this side".to_owned()),
        }
    }

    /// A key was pressed.
    pub(super) fn key(&mut self, key: Key) -> Option<Wish> {
        if key == Key::Interrupt {
            return Some(Wish::Quit);
        }
        match std::mem::replace(&mut self.mode, Mode::Watching) {
            Mode::Help => None,
            Mode::Searching(text) => self.typing(text, key, Mode::Searching),
            Mode::Going(text) => self.typing(text, key, Mode::Going),
            Mode::Watching => self.watching(key),
        }
    }

    fn typing(&mut self, mut text: String, key: Key, mode: fn(String) -> Mode) -> Option<Wish> {
        match key {
            Key::Escape => return None,
            Key::Enter => return self.typed(&mode(text)),
            Key::Backspace => {
                text.pop()?;
            }
            Key::Char(c) if text.chars().count() < TYPED => text.push(c),
            _ => {}
        }
        self.mode = mode(text);
        None
    }

    fn typed(&mut self, mode: &Mode) -> Option<Wish> {
        self.message = None;
        match mode {
            Mode::Searching(text) if text.is_empty() => {
                self.matches = None;
                Some(Wish::StopSearch)
            }
            Mode::Searching(text) => {
                self.matches = Some(Matches {
                    term: text.clone(),
                    ..Matches::default()
                });
                Some(Wish::Search(text.clone()))
            }
            Mode::Going(text) => {
                let seq = text.trim_start_matches('#').parse().ok();
                match seq.and_then(|seq| self.steps.of(seq)) {
                    Some(at) => self.go(at),
                    None if matches!(self.reading, Reading::Percent(_)) => {
                        self.message = Some(format!("#{text} is not read yet"));
                    }
                    None => self.message = Some(format!("there is no statement #{text}")),
                }
                None
            }
            Mode::Watching | Mode::Help => None,
        }
    }

    fn watching(&mut self, key: Key) -> Option<Wish> {
        match key {
            Key::Char('q') | Key::Interrupt => return Some(Wish::Quit),
            Key::Char('?') => self.mode = Mode::Help,
            Key::Char('/') => self.mode = Mode::Searching(String::new()),
            Key::Char(':' | '#') => self.mode = Mode::Going(String::new()),
            Key::Char(' ') => self.play_or_pause(),
            Key::Char('+' | '=' | ']') => self.speed = (self.speed + 1).min(SPEEDS.len() - 1),
            Key::Char('-' | '_' | '[') => self.speed = self.speed.saturating_sub(1),
            Key::Right | Key::Char('l') if self.at + 1 < self.steps.len() => self.go(self.at + 1),
            Key::Right | Key::Char('l') => self.message = Some("this is the last".to_owned()),
            Key::Left | Key::Char('h') => self.go(self.at.saturating_sub(1)),
            Key::Home | Key::Char('g') => self.go(0),
            Key::End | Key::Char('G') => {
                self.go(self.steps.len().saturating_sub(1));
                self.live = self.reading == Reading::Waiting;
            }
            Key::Char('d') => self.find(Way::On, "denial", |_, step| step.judged()),
            Key::Char('D') => self.find(Way::Back, "denial", |_, step| step.judged()),
            Key::Char('e') => self.find(Way::On, "error", |_, step| step.failed),
            Key::Char('E') => self.find(Way::Back, "error", |_, step| step.failed),
            Key::Char('n') => self.next_match(Way::On),
            Key::Char('N') => self.next_match(Way::Back),
            Key::Up | Key::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            Key::Down | Key::Char('j') => self.scroll_by(1),
            Key::PageUp => self.scroll = self.scroll.saturating_sub(self.extent.1.max(2) - 1),
            Key::PageDown => self.scroll_by(self.extent.1.max(2) - 1),
            Key::Char('<' | ',') => self.side = self.side.saturating_sub(8),
            Key::Char('>' | '.') => self.side = (self.side + 8).min(4_000),
            Key::Char('w') => self.whole = !self.whole,
            Key::Tab => self.list = !self.list,
            Key::Escape => self.message = None,
            Key::Char(_) | Key::Enter | Key::Backspace => {}
        }
        None
    }

    fn scroll_by(&mut self, lines: usize) {
        let (all, seen) = self.extent;
        self.scroll = (self.scroll + lines).min(all.saturating_sub(seen));
    }

    fn play_or_pause(&mut self) {
        self.message = None;
        self.motion = match self.motion {
            Motion::Playing => Motion::Paused,
            Motion::Paused => {
                let last = self.at + 1 >= self.steps.len() && self.reading == Reading::Whole;
                if last
                    && self
                        .steps
                        .get(self.at)
                        .is_some_and(|s| s.kind != Kind::Began)
                {
                    self.go(0);
                }
                if let Some(step) = self.step() {
                    self.now = self.now.max(step.at.0 as f64);
                }
                Motion::Playing
            }
        };
    }
}
