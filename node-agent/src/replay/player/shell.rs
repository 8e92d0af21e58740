//! IO. The terminal: keys in, pictures out, and given back as it was, whatever happens.

use std::io::{self, Stdout};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::style::Color;
use tokio::signal::unix::{SignalKind, signal};

use super::screen::Screen;
use super::state::Key;
use crate::record::Identities;
use crate::replay::{ReplayError, Verdict};

/// How long a picture stands when nothing happens.
const STILL: Duration = Duration::from_millis(80);

/// Plays a recording on the terminal until the viewer quits.
///
/// `speed`: it begins to play at once. `follow`: goes on as a session that is open does.
///
/// # Errors
/// The recording cannot be read, or the terminal not be used. The terminal is given back before.
pub fn play(
    path: &Path,
    identities: &Identities,
    speed: Option<f64>,
    follow: bool,
) -> Result<Verdict, ReplayError> {
    let mut screen = Screen::open(path, identities, speed, follow)?;
    let ended = signals()?;
    on_terminal(|terminal| watch(terminal, &mut screen, &ended))
}

/// Takes the terminal over, and gives it back: when `what` is over, and when it panics.
fn on_terminal<T>(
    what: impl FnOnce(&mut Terminal<CrosstermBackend<Stdout>>) -> Result<T, ReplayError>,
) -> Result<T, ReplayError> {
    let viewer = thread::current().id();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if thread::current().id() == viewer {
            restore(); // or what is said of it would be lost with the other screen
        }
        before(panic);
    }));
    let _taken = Taken::take()?;
    let mut terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
    what(&mut terminal)
}

fn watch(
    terminal: &mut Terminal<CrosstermBackend<Stdout>>,
    screen: &mut Screen,
    ended: &AtomicBool,
) -> Result<Verdict, ReplayError> {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|said| !said.is_empty());
    let mut last = Instant::now();
    loop {
        let now = Instant::now();
        screen.tick(now - last)?;
        last = now;
        let size = terminal.size()?;
        screen.prepare(ratatui::layout::Rect::new(0, 0, size.width, size.height))?;
        terminal.draw(|frame| {
            screen.draw(frame);
            if plain {
                for cell in &mut frame.buffer_mut().content {
                    cell.set_fg(Color::Reset).set_bg(Color::Reset);
                }
            }
        })?;
        let wait = if screen.busy() { Duration::ZERO } else { STILL };
        let mut wait_left = wait;
        // All keys that are there, then one picture.
        while event::poll(wait_left)? {
            wait_left = Duration::ZERO;
            if let Event::Key(pressed) = event::read()?
                && let Some(key) = key(pressed)
                && screen.key(key)?
            {
                return Ok(screen.verdict());
            }
        }
        if ended.load(Ordering::Relaxed) {
            return Ok(screen.verdict());
        }
    }
}

/// The terminal, taken over; given back when this goes.
struct Taken;

impl Taken {
    fn take() -> io::Result<Self> {
        enable_raw_mode()?;
        let taken = Taken;
        execute!(io::stdout(), EnterAlternateScreen)?;
        Ok(taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    // There is nobody to tell when it cannot be given back.
    let _ = disable_raw_mode();
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
}

/// Becomes true at the first signal that asks to end.
fn signals() -> io::Result<Arc<AtomicBool>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let entered = runtime.enter();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    drop(entered);
    let ended = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&ended);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = hang_up.recv() => {}
                    _ = interrupt.recv() => {}
                    _ = quit.recv() => {}
                }
            });
            tell.store(true, Ordering::Relaxed);
        })?;
    Ok(ended)
}

fn key(pressed: KeyEvent) -> Option<Key> {
    if pressed.kind == KeyEventKind::Release {
        return None;
    }
    let control = pressed.modifiers.contains(KeyModifiers::CONTROL);
    Some(match pressed.code {
        KeyCode::Char('c' | 'd') if control => Key::Interrupt,
        KeyCode::Char('f') if control => Key::PageDown,
        KeyCode::Char('b') if control => Key::PageUp,
        KeyCode::Char(_) if control => return None,
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Tab => Key::Tab,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;
    use crate::replay::showcase::everything;

    const CHILD: &str = "NODE_AGENT_TEST_TERMINAL";

    /// Within a terminal of its own (`script` makes one).
    fn child(how: &str) {
        println!("pid {} here", std::process::id());
        if how == "panic" {
            let ended = std::panic::catch_unwind(|| on_terminal::<()>(|_| panic!("as it would")));
            assert!(ended.is_err());
        } else {
            assert_eq!(
                play(Path::new(how), &Identities::none(), None, false).unwrap(),
                Verdict::Good
            );
        }
    }

    #[test]
    fn the_terminal_is_given_back_however_it_ends() {
        if let Ok(how) = std::env::var(CHILD) {
            return child(&how);
        }
        let dir = tempfile::tempdir().unwrap();
        let recording = everything().write(dir.path()).display().to_string();
        let name = "replay::player::shell::tests::the_terminal_is_given_back_however_it_ends";
        let this = std::env::current_exe().unwrap();
        let line = format!(
            "stty cols 100 rows 30; timeout --foreground 60 {} --exact {name} --nocapture; stty -a",
            this.display()
        );
        for (end, how) in [
            ("key", &*recording),
            ("signal", &*recording),
            ("panic", "panic"),
        ] {
            let mut inside = Command::new("script")
                .args(["-qfec", &line, "/dev/null"])
                .env("TERM", "xterm-256color")
                .env("SHELL", "/bin/sh")
                .env(CHILD, how)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut keys = inside.stdin.take().unwrap();
            let mut out = inside.stdout.take().unwrap();
            let mut told = String::new();
            let mut sent = end == "panic";
            let mut bytes = [0; 4096];
            loop {
                let got = out.read(&mut bytes).unwrap();
                if got == 0 {
                    break;
                }
                told.push_str(&String::from_utf8_lossy(&bytes[..got]));
                if !sent && told.contains("unbroken") {
                    sent = true;
                    if end == "key" {
                        keys.write_all(b"q").unwrap();
                    } else {
                        let pid = told.split("pid ").nth(1).unwrap();
                        let pid = pid.split(' ').next().unwrap().parse().unwrap();
                        kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
                    }
                }
            }
            inside.wait().unwrap();
            let (_, after) = told.split_once("\x1b[?1049h").expect("the other screen");
            let (_, after) = after.split_once("\x1b[?1049l").expect("and back");
            assert!(
                after.contains("\x1b[?25h"),
                "{end}: the cursor is seen: {after:?}"
            );
            for word in [" icanon", " echo "] {
                assert!(after.contains(word), "{end}: {after:?}");
            }
            assert_eq!(
                end == "panic",
                after.contains("as it would"),
                "{end}: {after:?}"
            );
        }
    }
}
