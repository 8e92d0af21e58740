//! IO. Where recordings lie: one directory, one file a session, named by the session's id and
//! nothing else. A recording that is being written is locked by its writer.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock, syncfs};

use super::recorder::Settle;
use crate::model::SessionId;

/// How many closed files may wait for their sync; what is beyond is covered by one `syncfs`.
const SETTLING: usize = 64;
/// How long others that close are waited for, so that many are settled at once.
const GATHERING: Duration = Duration::from_millis(20);

/// Makes files for sessions. Files in the product, files that fail on demand in tests.
pub(super) trait Shelf: Send {
    fn create(&mut self, session: SessionId) -> io::Result<Box<dyn Volume>>;
}

/// One session's file.
pub(super) trait Volume: Send {
    /// Writes all of it at an offset; after an error the same bytes are written there again.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// What was written so far is brought to the disk, soon and elsewhere.
    fn settle(&self) {}
    /// The session is over.
    fn close(self: Box<Self>);
}

/// The path of a session's recording.
pub fn path_of(dir: &Path, session: SessionId) -> PathBuf {
    dir.join(format!("{session}.rec"))
}

/// The session that the path of a recording stands for.
pub fn session_of(path: &Path) -> Option<SessionId> {
    path.file_name()?
        .to_str()?
        .strip_suffix(".rec")?
        .parse()
        .ok()
}

/// All recordings of a directory, by name.
///
/// # Errors
/// The directory cannot be read.
pub fn recordings(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if session_of(&path).is_some() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The recording is being written at this moment.
pub fn is_live(file: &File) -> bool {
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            let _ = flock(file, FlockOperation::Unlock); // closing the file unlocks it as well
            false
        }
        Err(error) => error == rustix::io::Errno::WOULDBLOCK,
    }
}

/// Recordings as files.
pub(super) struct FileShelf {
    dir: Arc<Path>,
    settler: Option<SyncSender<File>>,
}

impl FileShelf {
    /// Makes the directory if need be (for its owner only) and sees that files can be made in it.
    pub(super) fn open(dir: &Path, settle: Settle) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let probe = dir.join(format!(".probe-{}", std::process::id()));
        fs::write(&probe, b"")?;
        fs::remove_file(&probe)?;
        let dir: Arc<Path> = dir.into();
        let settler = match settle {
            Settle::Never => None,
            Settle::OnClose => {
                let (sender, closed) = sync_channel(SETTLING);
                let dir = File::open(&dir)?;
                thread::Builder::new()
                    .name("record-settle".to_owned())
                    .spawn(move || settle_closed(&dir, &closed))?;
                Some(sender)
            }
        };
        Ok(FileShelf { dir, settler })
    }
}

impl FileShelf {
    /// Makes a volume of a file that is no recording, settled as recordings are.
    pub(super) fn volumes(&self) -> impl FnMut(File) -> Box<dyn Volume> + Send + 'static {
        let settler = self.settler.clone();
        move |file| {
            let settler = settler.clone();
            Box::new(FileVolume { file, settler })
        }
    }
}

/// A volume that is brought to the disk by whoever writes it.
pub(super) fn unsettled(file: File) -> Box<dyn Volume> {
    let settler = None;
    Box::new(FileVolume { file, settler })
}

impl Shelf for FileShelf {
    fn create(&mut self, session: SessionId) -> io::Result<Box<dyn Volume>> {
        let path = path_of(&self.dir, session);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        if let Err(error) = lock(&file) {
            let _ = fs::remove_file(&path); // or the next attempt finds it there
            return Err(error);
        }
        Ok(Box::new(FileVolume {
            file,
            settler: self.settler.clone(),
        }))
    }
}

/// A reader who asks `is_live` holds the lock for a moment.
pub(super) fn lock(file: &File) -> io::Result<()> {
    for _ in 0..20 {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) => thread::sleep(Duration::from_millis(1)),
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::other(
        "somebody else holds the lock of this file",
    ))
}

struct FileVolume {
    file: File,
    settler: Option<SyncSender<File>>,
}

impl Volume for FileVolume {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn settle(&self) {
        if let Some(settler) = &self.settler
            && let Ok(file) = self.file.try_clone()
        {
            let _ = settler.try_send(file); // a full queue is cut short by `syncfs`
        }
    }

    fn close(self: Box<Self>) {
        let FileVolume { file, settler } = *self;
        if let Some(settler) = settler {
            // A full queue is cut short by `syncfs`, which covers this file too.
            let _ = settler.try_send(file);
        }
    }
}

/// Brings closed recordings to the disk, away from the writer. Many at once go in one `syncfs`.
fn settle_closed(dir: &File, closed: &Receiver<File>) {
    while let Ok(first) = closed.recv() {
        let mut files = vec![first];
        let until = Instant::now() + GATHERING;
        while files.len() < SETTLING
            && let Ok(file) = closed.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            files.push(file);
        }
        let result = if files.len() > 8 {
            syncfs(dir).map_err(io::Error::from)
        } else {
            files
                .iter()
                .try_for_each(File::sync_data)
                .and_then(|()| dir.sync_all())
        };
        if let Err(error) = result {
            tracing::error!(%error, "closed recordings could not be brought to the disk");
        }
    }
}
