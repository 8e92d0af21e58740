//! IO. Requests and what became of them, in one file (redb), so that tickets and grants outlive the
//! agent. Only the desk's thread uses it.

use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Case, Change};
use crate::model::ApprovalId;

/// Cases by their name, JSON.
const CASES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("cases");
/// What happened, in order, JSON. Numbered from 1.
const CHANGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("changes");
/// How far each reader of the changes has come.
const CURSORS: TableDefinition<'_, &str, u64> = TableDefinition::new("cursors");

/// The file's name in the state directory's `approvals`.
const FILE: &str = "approvals.redb";

/// The store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another agent has it: it is given over when that one stops or is taken over from.
    #[error("{0} is held by another agent")]
    Held(PathBuf),
    /// Anything else.
    #[error("{path}: {why}")]
    Fault {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// The open store.
#[derive(Debug)]
pub(super) struct Store {
    database: Database,
    path: PathBuf,
}

/// What is written at once.
#[derive(Debug, Default)]
pub(super) struct Writes {
    pub(super) cases: Vec<Case>,
    pub(super) forgotten: Vec<ApprovalId>,
    pub(super) changes: Vec<Change>,
    /// Changes before this one are not needed any more.
    pub(super) keep_from: u64,
    pub(super) cursors: Vec<(String, u64)>,
}

impl Writes {
    pub(super) fn is_empty(&self) -> bool {
        self.cases.is_empty()
            && self.forgotten.is_empty()
            && self.changes.is_empty()
            && self.cursors.is_empty()
    }
}

/// Whoever may write the file can grant what they like, and whoever may read it sees what is asked.
fn private(file: &std::fs::File) -> Result<(), String> {
    let about = file.metadata().map_err(|error| error.to_string())?;
    if about.uid() != rustix::process::geteuid().as_raw() || about.mode() & 0o022 != 0 {
        return Err(
            "others may have written it, and nobody knows who granted what: move it away"
                .to_owned(),
        );
    }
    if about.mode() & 0o077 != 0 {
        let own = std::fs::Permissions::from_mode(0o600);
        file.set_permissions(own)
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

impl Store {
    /// Opens or makes it.
    ///
    /// # Errors
    /// Another agent has it, or it cannot be read: then nothing is approved.
    pub(super) fn open(dir: &Path) -> Result<Store, StoreError> {
        let path = dir.join(FILE);
        let fault = |why: &dyn std::fmt::Display| StoreError::Fault {
            path: path.clone(),
            why: why.to_string(),
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| fault(&error))?;
        private(&file).map_err(|why| fault(&why))?;
        let opened = redb::backends::FileBackend::new(file).and_then(|file| {
            Database::builder()
                .set_cache_size(4 << 20)
                .create_with_backend(file)
        });
        let database = match opened {
            Ok(database) => database,
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => return Err(StoreError::Held(path)),
            Err(error) => return Err(fault(&error)),
        };
        let store = Store { database, path };
        // Readers find the tables from here on.
        store.write(&Writes::default())?;
        Ok(store)
    }

    fn fault(&self, why: impl Into<redb::Error>) -> StoreError {
        StoreError::Fault {
            path: self.path.clone(),
            why: why.into().to_string(),
        }
    }

    fn garbled(&self, why: &serde_json::Error) -> StoreError {
        StoreError::Fault {
            path: self.path.clone(),
            why: format!("what it holds cannot be read: {why}"),
        }
    }

    /// Everything in it.
    pub(super) fn cases(&self) -> Result<Vec<Case>, StoreError> {
        let read = self.database.begin_read().map_err(|e| self.fault(e))?;
        let table = read.open_table(CASES).map_err(|e| self.fault(e))?;
        let mut cases = Vec::new();
        for row in table.iter().map_err(|e| self.fault(e))? {
            let (_, value) = row.map_err(|e| self.fault(e))?;
            // One that cannot be read is none that anything could run by.
            match serde_json::from_slice(value.value()) {
                Ok(case) => cases.push(case),
                Err(error) => tracing::error!(%error, "a stored approval cannot be read"),
            }
        }
        Ok(cases)
    }

    /// The number of the last change; 0: there is none.
    pub(super) fn last_change(&self) -> Result<u64, StoreError> {
        let read = self.database.begin_read().map_err(|e| self.fault(e))?;
        let table = read.open_table(CHANGES).map_err(|e| self.fault(e))?;
        let last = table.last().map_err(|e| self.fault(e))?;
        Ok(last.map_or(0, |(seq, _)| seq.value()))
    }

    /// Changes behind `after`, at most so many.
    pub(super) fn changes(&self, after: u64, most: usize) -> Result<Vec<Change>, StoreError> {
        let read = self.database.begin_read().map_err(|e| self.fault(e))?;
        let table = read.open_table(CHANGES).map_err(|e| self.fault(e))?;
        let rows = table
            .range(after.saturating_add(1)..)
            .map_err(|e| self.fault(e))?;
        let mut changes = Vec::new();
        for row in rows.take(most) {
            let (_, value) = row.map_err(|e| self.fault(e))?;
            changes.push(serde_json::from_slice(value.value()).map_err(|e| self.garbled(&e))?);
        }
        Ok(changes)
    }

    /// How far a reader of the changes has come.
    pub(super) fn cursor(&self, reader: &str) -> Result<Option<u64>, StoreError> {
        let read = self.database.begin_read().map_err(|e| self.fault(e))?;
        let table = read.open_table(CURSORS).map_err(|e| self.fault(e))?;
        let at = table.get(reader).map_err(|e| self.fault(e))?;
        Ok(at.map(|at| at.value()))
    }

    /// Writes all of it, or nothing. On disk when it returns.
    pub(super) fn write(&self, writes: &Writes) -> Result<(), StoreError> {
        let write = self.database.begin_write().map_err(|e| self.fault(e))?;
        {
            let mut cases = write.open_table(CASES).map_err(|e| self.fault(e))?;
            for case in &writes.cases {
                let line = serde_json::to_vec(case).map_err(|e| self.garbled(&e))?;
                cases
                    .insert(case.request.id.0, line.as_slice())
                    .map_err(|e| self.fault(e))?;
            }
            for id in &writes.forgotten {
                cases.remove(id.0).map_err(|e| self.fault(e))?;
            }
            let mut changes = write.open_table(CHANGES).map_err(|e| self.fault(e))?;
            for change in &writes.changes {
                let line = serde_json::to_vec(change).map_err(|e| self.garbled(&e))?;
                changes
                    .insert(change.seq, line.as_slice())
                    .map_err(|e| self.fault(e))?;
            }
            if writes.keep_from > 0 {
                changes
                    .retain_in(..writes.keep_from, |_, _| false)
                    .map_err(|e| self.fault(e))?;
            }
            let mut cursors = write.open_table(CURSORS).map_err(|e| self.fault(e))?;
            for (reader, at) in &writes.cursors {
                cursors
                    .insert(reader.as_str(), at)
                    .map_err(|e| self.fault(e))?;
            }
        }
        write.commit().map_err(|e| self.fault(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_write_grants_nothing_and_what_they_may_read_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let mode = || std::fs::metadata(&path).unwrap().mode() & 0o777;
        let set = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
        drop(Store::open(dir.path()).unwrap());
        assert_eq!(mode(), 0o600);
        set(0o644).unwrap();
        drop(Store::open(dir.path()).unwrap());
        assert_eq!(mode(), 0o600);
        for open in [0o620, 0o602, 0o666] {
            set(open).unwrap();
            let refused = Store::open(dir.path()).unwrap_err();
            assert!(refused.to_string().contains("move it away"), "{refused}");
        }
    }
}
