//! What is recorded is told while it is recorded.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::record::fixtures::{allow, began, decided, finished};
use crate::record::{Why, path_of};
use crate::replay::tests::{a_session, denial, login, recorder};

/// Lines as they come.
struct Lines(std::sync::mpsc::Sender<String>, Vec<u8>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for byte in bytes {
            if *byte == b'\n' {
                let line = String::from_utf8(std::mem::take(&mut self.1)).unwrap();
                let _ = self.0.send(line);
            } else {
                self.1.push(*byte);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Tailed {
    lines: Receiver<String>,
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Result<(), ReplayError>>,
}

impl Tailed {
    fn of(dir: &Path, only: Vec<PathBuf>, filter: Filter, style: Style) -> Self {
        let (sender, lines) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let (dir, stopped) = (dir.to_owned(), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut out = Lines(sender, Vec::new());
            tail(
                &dir,
                &only,
                &Identities::none(),
                &filter,
                style,
                &stopped,
                &mut out,
            )
        });
        Tailed {
            lines,
            stop,
            thread,
        }
    }

    /// The next line that has all of this.
    fn until(&self, parts: &[&str]) -> String {
        loop {
            let line = self
                .lines
                .recv_timeout(Duration::from_secs(20))
                .expect("a line in time");
            if parts.iter().all(|part| line.contains(part)) {
                return line;
            }
        }
    }

    fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap().unwrap();
        self.lines.try_iter().collect()
    }
}

/// Sessions come and go until one is told of: then the first look is over.
async fn under_way(recorder: &crate::record::Recorder, tailed: &Tailed) {
    for id in 100..200 {
        let probe = recorder.begin(began(id)).unwrap();
        probe.login(login("probe"));
        let _ = probe
            .decided(decided(1, "SELECT probe", allow()))
            .await
            .unwrap();
        probe.finished(finished(1, 500));
        probe.close(Why::ClientQuit);
        let until = Instant::now() + Duration::from_millis(500);
        while let Ok(line) = tailed
            .lines
            .recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            if line.contains("probe") {
                return;
            }
        }
    }
    panic!("nothing is told");
}

async fn block(recorder: &crate::record::Recorder, blocks: u64) {
    while recorder.stats().blocks < blocks {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn what_happens_from_now_on_is_told_and_what_was_before_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path());
    a_session(&recorder, 1, "SELECT over")
        .await
        .close(Why::ClientQuit);
    let open = a_session(&recorder, 2, "SELECT before").await;
    block(&recorder, 2).await;
    let tailed = Tailed::of(dir.path(), Vec::new(), Filter::default(), Style::Text);
    under_way(&recorder, &tailed).await;
    let _ = open
        .decided(decided(3, "SELECT after \u{1b}[2J", allow()))
        .await
        .unwrap();
    open.finished(finished(3, 2));
    let _ = open
        .decided(decided(4, "DROP TABLE t", denial()))
        .await
        .unwrap();
    open.close(Why::ClientQuit);
    let seen = tailed.until(&["s-0000000000000002#3"]);
    assert!(
        seen.contains("claude/alice  allow  SELECT after \\x1b[2J"),
        "{seen}"
    );
    tailed.until(&["#3", "done: 2 rows, 1.2 ms"]);
    tailed.until(&["#4", "DENY   DROP TABLE t  refused: DROP is not allowed"]);
    tailed.until(&["s-0000000000000002", "ends: quit"]);
    // One that begins and ends between two looks.
    a_session(&recorder, 3, "SELECT short")
        .await
        .close(Why::ClientQuit);
    tailed.until(&["s-0000000000000003#1", "SELECT short"]);
    tailed.until(&["s-0000000000000003", "ends"]);
    let rest = tailed.stop();
    assert!(
        rest.iter().all(|line| !line.contains("SELECT before")),
        "{rest:?}"
    );
    recorder.stop();
}

#[tokio::test]
async fn it_ends_with_the_sessions_that_were_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path());
    let session = a_session(&recorder, 1, "SELECT before").await;
    let other = a_session(&recorder, 2, "SELECT other").await;
    block(&recorder, 2).await;
    let path = path_of(dir.path(), SessionId(1));
    let filter = Filter {
        decision: Some(Ruling::Deny),
        ..Filter::default()
    };
    let tailed = Tailed::of(dir.path(), vec![path], filter, Style::Json);
    let mut lines = Vec::new();
    for seq in (3..).step_by(2) {
        let _ = session
            .decided(decided(seq, "SELECT 3", allow()))
            .await
            .unwrap();
        session.finished(finished(seq, 2));
        let _ = session
            .decided(decided(seq + 1, "DROP TABLE t", denial()))
            .await
            .unwrap();
        let _ = other
            .decided(decided(seq + 1, "DROP TABLE other", denial()))
            .await
            .unwrap();
        if let Ok(line) = tailed.lines.recv_timeout(Duration::from_millis(500)) {
            lines.push(line);
            break;
        }
    }
    session.close(Why::ClientQuit);
    let thread = tailed.thread;
    tokio::task::spawn_blocking(move || thread.join().unwrap().unwrap())
        .await
        .unwrap();
    lines.extend(tailed.lines.try_iter());
    for line in lines {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&line["event"], &line["text"]["plain"]),
            (&"decided".into(), &"DROP TABLE t".into())
        );
        assert_eq!(line["session"], "s-0000000000000001");
    }
    other.close(Why::ClientQuit);
    recorder.stop();
}

#[tokio::test]
async fn endings_that_are_asked_for_bring_their_statements() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = recorder(dir.path());
    let filter = Filter {
        min_rows: Some(100),
        ..Filter::default()
    };
    let tailed = Tailed::of(dir.path(), Vec::new(), filter, Style::Text);
    under_way(&recorder, &tailed).await;
    let session = recorder.begin(began(1)).unwrap();
    session.login(login("alice"));
    for (seq, rows) in [(1, 5), (2, 500), (3, 99)] {
        let _ = session
            .decided(decided(seq, &format!("SELECT {seq}"), allow()))
            .await
            .unwrap();
        session.finished(finished(seq, rows));
    }
    session.close(Why::ClientQuit);
    tailed.until(&["s-0000000000000001#2  claude/alice  allow  SELECT 2"]);
    tailed.until(&["s-0000000000000001#2", "done: 500 rows"]);
    assert_eq!(tailed.stop(), Vec::<String>::new());
    recorder.stop();
}
