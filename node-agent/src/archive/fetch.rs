//! IO. Brings recordings back from the archive, with the whole ledger and the node's public key, into a
//! directory of their own, where every command that reads recordings takes them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::place::{object_of, segment_of, session_of};
use super::sound::sum_of_first;
use super::store::{Lies, Store};
use super::transport;
use super::{ArchiveError, Settings};
use crate::model::{SessionId, UnixMillis};
use crate::record::ledger::{ledger_dir, segment_path};
use crate::record::{Blocks, Identities, path_of};

/// Which recordings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those that began at this moment or later.
    Since(UnixMillis),
    /// Those whose names begin so.
    Sessions(Vec<String>),
}

/// A recording that is in the directory now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Whose.
    pub session: SessionId,
    /// Where it lies.
    pub path: PathBuf,
    /// How long it is.
    pub bytes: u64,
    /// It lay there before.
    pub already: bool,
}

/// Brings recordings into a directory. What is in it already is not fetched again, what was begun is
/// continued, and what came is held against the checksum that was sent with it.
///
/// # Errors
/// The archive's and the disk's; and something that lies in the directory differs from the archive.
pub async fn fetch(
    settings: &Settings,
    which: &Which,
    to: &Path,
    told: &mut dyn FnMut(&Fetched),
) -> Result<usize, ArchiveError> {
    let own = |path: &Path| fs::canonicalize(path).ok();
    if own(to).is_some() && own(to) == own(&settings.dir) {
        return Err(ArchiveError::File {
            path: to.to_owned(),
            source: io::Error::other(
                "this is where the agent records: give a directory of its own with --to",
            ),
        });
    }
    let store = Store::open(settings, &transport::client(settings)?)?;
    let ledger = ledger_dir(to);
    let mut make = DirBuilder::new();
    make.recursive(true).mode(0o700);
    make.create(&ledger).map_err(ArchiveError::file(&ledger))?;

    let (mut wanted, mut parts) = (Vec::new(), Vec::new());
    store
        .list("", &mut |name, bytes| {
            if let Some(session) = session_of(Path::new(name)) {
                if might(which, session, name) {
                    wanted.push((session, name.to_owned(), bytes));
                }
            } else if let Some(segment) = segment_of(Path::new(name)) {
                parts.push((segment, name.to_owned()));
            }
        })
        .await?;
    if let Which::Sessions(names) = which {
        let there = |name: &&String| !wanted.iter().any(|(session, ..)| begins(*session, name));
        if let Some(missing) = names.iter().find(there) {
            return Err(ArchiveError::NotThere(missing.clone()));
        }
    }
    let mut count = 0;
    for (session, object, bytes) in wanted {
        let path = path_of(to, session);
        let already = bring(&store, &object, &path, Held::Whole).await?;
        if let Which::Since(moment) = which
            && began(&path).is_some_and(|began| began < *moment)
        {
            if !already {
                fs::remove_file(&path).map_err(ArchiveError::file(&path))?;
            }
            continue;
        }
        count += 1;
        told(&Fetched {
            session,
            path,
            bytes,
            already,
        });
    }
    // Behind the recordings, so that it knows all of them.
    for (segment, object) in parts {
        bring(
            &store,
            &object,
            &segment_path(&ledger, segment),
            Held::Beginning,
        )
        .await?;
    }
    bring(
        &store,
        "node-key.pub",
        &to.join("node-key.pub"),
        Held::Beginning,
    )
    .await?;
    Ok(count)
}

/// By its name alone.
fn might(which: &Which, session: SessionId, name: &str) -> bool {
    match which {
        Which::All => true,
        // The names sort as their days do.
        Which::Since(moment) => {
            let first = object_of(SessionId(0), *moment);
            name.get(..10) >= first.get(..10)
        }
        Which::Sessions(names) => names.iter().any(|name| begins(session, name)),
    }
}

fn begins(session: SessionId, name: &str) -> bool {
    name.len() > 2 && session.to_string().starts_with(name)
}

fn began(path: &Path) -> Option<UnixMillis> {
    let blocks = Blocks::open(File::open(path).ok()?, Identities::none()).ok()?;
    Some(blocks.header().began)
}

/// What may lie in the directory already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// The object.
    Whole,
    /// The object as it was, which has grown since.
    Beginning,
}

/// Brings one object; `true`: it was here.
async fn bring(store: &Store, object: &str, path: &Path, held: Held) -> Result<bool, ArchiveError> {
    let here = || ArchiveError::file(path);
    let Some(lies) = store.look(object).await? else {
        return Err(ArchiveError::NotThere(store.name(object)));
    };
    let Some(sha256) = lies.sha256.clone() else {
        return Err(ArchiveError::Differs {
            object: store.name(object),
            why: "it has no checksum: this agent did not put it there".to_owned(),
        });
    };
    match File::open(path) {
        Ok(file) => {
            let length = file.metadata().map_err(here())?.len();
            let sum = sum_of_first(&file, length).map_err(here())?;
            if length == lies.bytes && sum.as_ref() == Some(&sha256) {
                return Ok(true);
            }
            if held == Held::Whole {
                return Err(ArchiveError::Differs {
                    object: store.name(object),
                    why: format!("{} is another file; move it away", path.display()),
                });
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(here()(error)),
    }
    let part = part_of(path);
    // One that was begun is continued; should it be of another object, the checksum tells, and it
    // is fetched from its beginning.
    for _ in 0..2 {
        download(store, object, &lies, &part).await?;
        let file = File::open(&part).map_err(here())?;
        if sum_of_first(&file, lies.bytes).map_err(here())?.as_ref() != Some(&sha256) {
            fs::remove_file(&part).map_err(here())?;
            continue;
        }
        if held == Held::Beginning {
            grown(store, object, path, &file)?;
        }
        file.sync_all().map_err(here())?;
        fs::rename(&part, path).map_err(here())?;
        return Ok(false);
    }
    Err(ArchiveError::Differs {
        object: store.name(object),
        why: "its contents are not what its checksum says".to_owned(),
    })
}

/// What lies here already must be the beginning of what came.
fn grown(store: &Store, object: &str, path: &Path, came: &File) -> Result<(), ArchiveError> {
    let here = || ArchiveError::file(path);
    let old = match File::open(path) {
        Ok(old) => old,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(here()(error)),
    };
    let length = old.metadata().map_err(here())?.len();
    let mut came = came;
    io::Seek::rewind(&mut came).map_err(here())?;
    let begins_so = sum_of_first(came, length).map_err(here())?;
    if begins_so.is_some() && begins_so == sum_of_first(&old, length).map_err(here())? {
        return Ok(());
    }
    Err(ArchiveError::Differs {
        object: store.name(object),
        why: format!(
            "{} is not what it was before; it belongs to another node, or one was changed",
            path.display()
        ),
    })
}

async fn download(
    store: &Store,
    object: &str,
    lies: &Lies,
    part: &Path,
) -> Result<(), ArchiveError> {
    let here = || ArchiveError::file(part);
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(part)
        .map_err(here())?;
    let mut at = file.metadata().map_err(here())?.len();
    if at > lies.bytes {
        file.set_len(0).map_err(here())?;
        at = 0;
    }
    while at < lies.bytes {
        let piece = store.piece(object, at, lies.bytes).await?;
        if piece.is_empty() {
            return Err(ArchiveError::Differs {
                object: store.name(object),
                why: format!("it ends after {at} bytes"),
            });
        }
        file.write_all(&piece).map_err(here())?;
        at += piece.len() as u64;
    }
    Ok(())
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_chosen_by_their_names_and_days() {
        let name = object_of(SessionId(0xab), UnixMillis(1_767_225_600_000));
        let day = |moment| might(&Which::Since(UnixMillis(moment)), SessionId(0xab), &name);
        assert!(day(1_767_225_600_000 + 3_600_000), "its header says more");
        assert!(day(1_767_225_599_999) && !day(1_767_225_600_000 + 86_400_000));
        let named = |name: &str| begins(SessionId(0xab), name);
        assert!(named("s-00000000000000ab") && named("s-0000"));
        assert!(!named("s-") && !named("") && !named("s-01"));
    }
}
