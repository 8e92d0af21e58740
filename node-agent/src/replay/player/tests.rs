//! The player on screens of several sizes, without a terminal.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::screen::Screen;
use super::state::{Key, Motion, Player, Reading, Wish};
use super::steps::Steps;
use super::tape::Tape;
use crate::model::SessionId;
use crate::record::fixtures::{allow, began, decided, finished};
use crate::record::{Identities, Recorder, RecorderSettings, Settle, Why, path_of};
use crate::replay::showcase::{NASTY, everything, harm, long};
use crate::replay::visible;

const WIDE: (u16, u16) = (132, 30);
const NARROW: (u16, u16) = (60, 24);

struct Seen {
    screen: Screen,
    dir: tempfile::TempDir,
}

fn settle(screen: &mut Screen) {
    for _ in 0..10_000 {
        screen.tick(Duration::ZERO).unwrap();
        if !screen.busy() {
            return;
        }
    }
    panic!("it reads for ever");
}

fn seen(write: impl FnOnce(&std::path::Path) -> PathBuf) -> Seen {
    let dir = tempfile::tempdir().unwrap();
    let mut screen = Screen::open(&write(dir.path()), &Identities::none(), None, false).unwrap();
    settle(&mut screen);
    Seen { screen, dir }
}

fn keys(text: &str) -> Vec<Key> {
    let named = |c| match c {
        '→' => Key::Right,
        '←' => Key::Left,
        '↓' => Key::Down,
        '↑' => Key::Up,
        '⏎' => Key::Enter,
        '⎋' => Key::Escape,
        '⌫' => Key::Backspace,
        '⇥' => Key::Tab,
        c => Key::Char(c),
    };
    text.chars().map(named).collect()
}

impl Seen {
    fn press(&mut self, text: &str) -> &mut Self {
        for key in keys(text) {
            assert!(!self.screen.key(key).unwrap());
            settle(&mut self.screen);
        }
        self
    }

    fn picture(&mut self, (width, height): (u16, u16)) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let size = ratatui::layout::Rect::new(0, 0, width, height);
        self.screen.prepare(size).unwrap();
        terminal.draw(|frame| self.screen.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer();
        for cell in buffer.content() {
            let symbol = cell.symbol();
            assert_eq!(visible(symbol), symbol, "the terminal would obey it");
        }
        let rows = buffer.content().chunks(usize::from(width));
        let rows = rows.map(|row| {
            let mut text = String::new();
            let mut skip = 0;
            for cell in row {
                if skip > 0 {
                    skip -= 1; // behind a wide character
                    continue;
                }
                text.push_str(cell.symbol());
                skip = unicode_width::UnicodeWidthStr::width(cell.symbol()).saturating_sub(1);
            }
            text.trim_end().to_owned()
        });
        // The chain's hash is of the packed bytes.
        let state = Tape::open(&self.path(), &Identities::none(), false);
        let mut text = rows.collect::<Vec<_>>().join("\n");
        if let Ok(mut tape) = state {
            let _ = tape.read_on(
                &mut Steps::default(),
                Instant::now() + Duration::from_secs(60),
            );
            let hash = tape.state().hash;
            for length in (12..=64).rev() {
                for from in 0..=64 - length {
                    let part = &hash[from..from + length];
                    text = text.replace(part, &"H".repeat(length));
                }
            }
        }
        text
    }

    fn path(&self) -> PathBuf {
        let mut files = std::fs::read_dir(self.dir.path()).unwrap();
        files.next().unwrap().unwrap().path()
    }
}

#[test]
fn it_begins_with_who_and_where() {
    let mut seen = seen(|dir| everything().write(dir));
    insta::assert_snapshot!("begins_wide", seen.picture(WIDE));
    insta::assert_snapshot!("begins_narrow", seen.picture(NARROW));
}

#[test]
fn results_are_tables_with_masked_columns_named_in_the_margin() {
    let mut seen = seen(|dir| everything().write(dir));
    seen.press(":2⏎");
    insta::assert_snapshot!("results_wide", seen.picture(WIDE));
    insta::assert_snapshot!("results_narrow", seen.picture(NARROW));
}

#[test]
fn a_denial_shows_what_the_client_was_told() {
    let mut seen = seen(|dir| everything().write(dir));
    seen.press("d");
    insta::assert_snapshot!("denial_wide", seen.picture(WIDE));
    insta::assert_snapshot!("denial_narrow", seen.picture(NARROW));
}

#[test]
fn an_error_is_shown_as_the_client_saw_it() {
    let mut seen = seen(|dir| everything().write(dir));
    seen.press("e⇥");
    insta::assert_snapshot!("error_without_list", seen.picture(WIDE));
}

#[test]
fn the_end_says_what_verification_found() {
    let mut seen = seen(|dir| everything().write(dir));
    seen.press("G");
    insta::assert_snapshot!("end", seen.picture(WIDE));
}

#[test]
fn the_help_names_every_key() {
    let mut seen = seen(|dir| everything().write(dir));
    seen.press("?");
    insta::assert_snapshot!("help", seen.picture((80, 24)));
}

#[test]
fn a_search_finds_statements_values_and_errors() {
    let mut seen = seen(|dir| everything().write(dir));
    seen.press("/LABELS⏎");
    assert_eq!(seen.screen.player().at, 3, "an insert names them");
    seen.press("n");
    assert_eq!(seen.screen.player().at, 4);
    insta::assert_snapshot!("search", seen.picture(WIDE));
    seen.press("n");
    assert!(seen.screen.player().message.is_some());
    seen.press("/grace⏎");
    assert_eq!(
        seen.screen.player().at,
        2,
        "a value, before here: the search goes round"
    );
    seen.press("/57014⏎");
    assert_eq!(seen.screen.player().matches.as_ref().unwrap().found, [10]);
    seen.press("/nothing of the kind⏎");
    assert!(seen.picture(WIDE).contains("is nowhere in this session"));
}

#[test]
fn nothing_recorded_is_obeyed_by_the_terminal() {
    let mut seen = seen(|dir| harm().write(dir));
    let mut all = String::new();
    for _ in 0..seen.screen.player().steps.len() {
        for size in [WIDE, NARROW, (300, 80), (20, 5), (1, 1)] {
            all.push_str(&seen.picture(size)); // each picture is looked through
        }
        seen.press("→");
    }
    seen.press(&format!("/{}⏎", NASTY.replace(['\r', '\0'], "")));
    seen.picture(WIDE);
    for shown in [
        "\\x1b]52;c;aGk=\\x07",
        "\\u{202e}b\\rc\\x00\\u{9b}31m</script>",
    ] {
        assert!(all.contains(shown), "{shown}");
    }
}

fn paused() -> Player {
    let mut player = Player::new(None, false);
    for (number, event) in everything().events.iter().enumerate() {
        player.steps.add(number as u64, event);
    }
    player.reading = Reading::Whole;
    player.grown();
    player
}

#[test]
fn each_key_does_what_the_help_says() {
    // Steps: 0 beginning, 1..=8 statements, 9 a note, 10 statement 9, 11 the end.
    for (pressed, at, speed) in [
        ("", 0, 1.0),
        ("→→", 2, 1.0),
        ("→→←", 1, 1.0),
        ("←", 0, 1.0),
        ("G→", 11, 1.0),
        ("Gg", 0, 1.0),
        ("d", 5, 1.0),
        ("dd", 6, 1.0),
        ("ddd", 8, 1.0),
        ("dddd", 8, 1.0),
        ("GD", 8, 1.0),
        ("e", 3, 1.0),
        ("ee", 10, 1.0),
        ("GEE", 3, 1.0),
        (":4⏎", 4, 1.0),
        (":#9⏎", 10, 1.0),
        (":99⏎", 0, 1.0),
        (":4⎋", 0, 1.0),
        (":45⌫⏎", 4, 1.0),
        (":⌫→", 1, 1.0),
        ("++", 0, 4.0),
        ("+++++++++", 0, 64.0),
        ("---", 0, 0.25),
        ("?→", 0, 1.0),
    ] {
        let mut player = paused();
        for key in keys(pressed) {
            assert_eq!(player.key(key), None, "{pressed}");
        }
        assert_eq!((player.at, player.speed()), (at, speed), "{pressed}");
        assert_eq!(player.motion, Motion::Paused);
    }
}

#[test]
fn quitting_and_searching_are_wishes() {
    for (pressed, wish) in [
        ("q", Some(Wish::Quit)),
        ("/a⏎", Some(Wish::Search("a".into()))),
        ("/q", None),
        ("/⏎", Some(Wish::StopSearch)),
        ("⎋", None),
    ] {
        let mut player = paused();
        let told = keys(pressed)
            .into_iter()
            .filter_map(|key| player.key(key))
            .next();
        assert_eq!(told, wish, "{pressed}");
    }
    let mut player = paused();
    player.key(Key::Char('/'));
    assert_eq!(player.key(Key::Interrupt), Some(Wish::Quit));
}

#[test]
fn played_it_takes_the_time_it_took_and_waits_are_cut() {
    let mut player = paused();
    player.key(Key::Char(' '));
    assert!(player.running(), "the login takes 12 ms");
    player.tick(12.0);
    assert_eq!((player.at, player.running()), (0, false));
    player.tick(210.0);
    assert_eq!(player.at, 1);
    // 1.4 s to the next, at once at 64x.
    for _ in 0..6 {
        player.key(Key::Char('+'));
    }
    player.tick(22.0);
    assert_eq!(player.at, 2);
    let mut slow = paused();
    slow.key(Key::Char(' '));
    for _ in 0..500 {
        slow.tick(50.0);
        if slow.motion == Motion::Paused {
            break;
        }
    }
    assert_eq!(
        (slow.at, slow.motion),
        (11, Motion::Paused),
        "to the end, and then it rests"
    );
    // Six seconds of nothing between two statements are two.
    let mut waits = paused();
    for key in keys(":4⏎ ") {
        waits.key(key);
    }
    waits.tick(1.0);
    waits.tick(1_990.0);
    assert_eq!(waits.at, 4);
    waits.tick(20.0);
    assert_eq!(waits.at, 5);
}

#[test]
fn what_is_looked_at_is_found_wherever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = long(dir.path(), 9_000, 20);
    let mut tape = Tape::open(&path, &Identities::none(), false).unwrap();
    let mut steps = Steps::default();
    let far = Instant::now() + Duration::from_secs(600);
    assert_eq!(tape.read_on(&mut steps, far).unwrap(), Reading::Whole);
    assert_eq!(steps.len(), 9_002);
    for seq in [9_000_u64, 1, 4_500, 4_499, 7, 8_999, 2_000, 2_001, 3_000] {
        let step = *steps.get(steps.of(seq).unwrap()).unwrap();
        let content = tape.look(&step).unwrap();
        let told = content.told.decided.unwrap();
        assert_eq!(told.seq.0, seq);
        let rows: usize = content
            .told
            .results
            .iter()
            .map(|result| result.rows.len())
            .sum();
        assert_eq!(rows, if seq % 1000 == 0 { 0 } else { 20 });
        let labels = tape.labels(&steps, seq as usize, seq as usize + 1).unwrap();
        assert!(
            labels[0].ends_with(&format!("WHERE id > {seq}")),
            "{labels:?}"
        );
    }
}

#[test]
fn a_long_session_is_played_in_little_memory() {
    const CHILD: &str = "NODE_AGENT_TEST_LONG_PLAY";
    if let Some(path) = std::env::var_os(CHILD) {
        let mut screen = Screen::open(
            std::path::Path::new(&path),
            &Identities::none(),
            None,
            false,
        )
        .unwrap();
        settle(&mut screen);
        for text in ["G", "/name of 7⏎", "g", ":3000⏎"] {
            for key in keys(text) {
                screen.key(key).unwrap();
                settle(&mut screen);
                screen
                    .prepare(ratatui::layout::Rect::new(0, 0, 120, 40))
                    .unwrap();
            }
        }
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .unwrap();
        println!("peak {peak}");
        return;
    }
    let peak = |statements, rows| -> u64 {
        let dir = tempfile::tempdir().unwrap();
        let path = long(dir.path(), statements, rows);
        let name = "replay::player::tests::a_long_session_is_played_in_little_memory";
        let out = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, &path)
            .output()
            .unwrap();
        let told = String::from_utf8(out.stdout).unwrap();
        let line = told
            .lines()
            .find(|line| line.contains("VmHWM"))
            .expect(&told);
        let digits: String = line.chars().filter(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    };
    // The same number of statements, thirty times the rows.
    let (few, many) = (peak(4_000, 2), peak(4_000, 60));
    assert!(
        many < few + 40 * 1024,
        "{many} KiB, with few rows {few} KiB"
    );
}

#[tokio::test]
async fn an_open_session_is_followed_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(RecorderSettings {
        settle: Settle::Never,
        ..RecorderSettings::new(dir.path())
    })
    .unwrap();
    let session = recorder.begin(began(1)).unwrap();
    let _ = session
        .decided(decided(1, "SELECT 1", allow()))
        .await
        .unwrap();
    let path = path_of(dir.path(), SessionId(1));
    let wait = |screen: &mut Screen, is: &dyn Fn(&Screen) -> bool| {
        let begun = Instant::now();
        while !is(screen) {
            assert!(begun.elapsed() < Duration::from_secs(30), "nothing came");
            screen.tick(Duration::ZERO).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    while recorder.stats().blocks == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut screen = Screen::open(&path, &Identities::none(), None, true).unwrap();
    wait(&mut screen, &|screen| {
        screen.player().steps.statements() == 1
    });
    assert_eq!(screen.player().at, 1, "it stays with the last");
    session.finished(finished(1, 0));
    let _ = session
        .decided(decided(2, "SELECT 2", allow()))
        .await
        .unwrap();
    wait(&mut screen, &|screen| screen.player().at == 2);
    screen
        .prepare(ratatui::layout::Rect::new(0, 0, 100, 20))
        .unwrap();
    screen.key(Key::Left).unwrap();
    session.close(Why::ClientQuit);
    recorder.stop();
    wait(&mut screen, &|screen| {
        screen.player().reading == Reading::Whole
    });
    assert_eq!(screen.player().at, 1, "whoever went back is left there");
    assert_eq!(screen.player().steps.len(), 4);
}
