//! IO. The ledger in the archive, which is never behind the recordings that it vouches for, and the
//! key that it is verified with.

use std::fs::{self, File};
use std::io;

use object_store::PutMode;

use super::ArchiveError;
use super::place::segment_of;
use super::round::{Archiver, Told};
use super::sound;
use super::store::{Lies, PART, Store, sum_of};
use crate::record::ledger::{SegmentId, StretchEnd, ledger_dir, read_segment, segments};

impl Archiver {
    /// The ledger as far as it is written, and the key that it is verified with.
    pub(super) async fn vouch(
        &mut self,
        store: &Store,
        told: &dyn Fn(&Told),
    ) -> Result<(), ArchiveError> {
        if !self.key_is_there {
            self.send_key(store).await?;
            self.key_is_there = true;
        }
        let ledger = ledger_dir(&self.settings.dir);
        let here = |source| ArchiveError::file(&ledger)(source);
        for path in segments(&ledger).map_err(here)? {
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(here(error)),
            };
            let length = file.metadata().map_err(here)?.len();
            let Some(segment) = segment_of(&path) else {
                continue;
            };
            let unchanged = |lies: &Lies| lies.bytes == length;
            if self.pushed.get(&segment).is_some_and(unchanged) {
                continue;
            }
            let stretch = read_segment(&path, None, &mut |_, _| {}).map_err(here)?;
            // Of one that is being written, its whole blocks; what was changed goes as it is.
            let bytes = match stretch.end {
                StretchEnd::Damaged(_) => length,
                _ => stretch.mark.bytes.min(length),
            };
            self.send_segment(store, segment, &file, bytes, told)
                .await?;
        }
        Ok(())
    }

    async fn send_segment(
        &mut self,
        store: &Store,
        segment: SegmentId,
        file: &File,
        bytes: u64,
        told: &dyn Fn(&Told),
    ) -> Result<(), ArchiveError> {
        let object = format!("ledger/{segment}.led");
        let here = |source| ArchiveError::file(&object)(source);
        let lies = match self.pushed.get(&segment) {
            Some(lies) => Some(lies.clone()),
            None => store.look(&object).await?,
        };
        if let Some(lies) = &lies {
            // A ledger only grows: what is there is the beginning of what is here, or one was changed.
            let mut from_the_start = file.try_clone().map_err(here)?;
            io::Seek::rewind(&mut from_the_start).map_err(here)?;
            let same = sound::sum_of_first(&from_the_start, lies.bytes).map_err(here)?;
            if bytes < lies.bytes || same.is_none() || same != lies.sha256 {
                if self.segments_differ.insert(segment) {
                    told(&Told::LedgerDiffers { segment });
                }
                return Ok(());
            }
            self.segments_differ.remove(&segment);
            if lies.bytes == bytes {
                self.pushed.insert(segment, lies.clone());
                return Ok(());
            }
        }
        let mut from_the_start = file.try_clone().map_err(here)?;
        io::Seek::rewind(&mut from_the_start).map_err(here)?;
        let Some(sum) = sound::sum_of_first(&from_the_start, bytes).map_err(here)? else {
            return Ok(()); // it was cut since; the next round sees
        };
        let sent = store.send(&object, file, bytes, &sum, PutMode::Overwrite);
        sent.await?;
        let lies = Lies {
            bytes,
            sha256: Some(sum),
        };
        self.pushed.insert(segment, lies);
        Ok(())
    }

    /// All keys that this node ever signed with: one that is new joins those that are there.
    async fn send_key(&self, store: &Store) -> Result<(), ArchiveError> {
        const OBJECT: &str = "node-key.pub";
        let path = &self.settings.key_file;
        let own = fs::read(path).map_err(ArchiveError::file(path))?;
        let all = match store.look(OBJECT).await? {
            None => own,
            Some(lies) => {
                let there = store.piece(OBJECT, 0, lies.bytes.clamp(1, PART)).await?;
                if memchr::memmem::find(&there, &own).is_some() {
                    return Ok(());
                }
                [&there[..], &own].concat()
            }
        };
        let sum = sum_of(&all);
        store.put(OBJECT, all, &sum, PutMode::Overwrite).await
    }
}
