//! IO. Recordings by name.

use std::path::{Path, PathBuf};

use super::ReplayError;
use crate::model::SessionId;
pub(super) use crate::record::session_of;
use crate::record::{path_of, recordings};

/// All recordings of a directory, in no order of meaning.
pub fn all(dir: &Path) -> Result<Vec<PathBuf>, ReplayError> {
    recordings(dir).map_err(|source| ReplayError::read(dir, source))
}

/// The recording of a session, by its id or by the beginning of it if only one has it. A name is
/// compared, never made a path of.
pub fn find(dir: &Path, name: &str) -> Result<PathBuf, ReplayError> {
    let hex = name.strip_prefix("s-").unwrap_or(name).to_ascii_lowercase();
    if hex.is_empty() || hex.len() > 16 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(ReplayError::NotAName(name.to_owned()));
    }
    if let Ok(session) = hex.parse::<SessionId>() {
        let path = path_of(dir, session);
        if path.is_file() {
            return Ok(path);
        }
    }
    let wanted = format!("s-{hex}");
    let mut found: Vec<_> = all(dir)?
        .into_iter()
        .filter(|path| session_of(path).is_some_and(|id| id.to_string().starts_with(&wanted)))
        .collect();
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(ReplayError::NotFound(wanted)),
        (Some(only), true) => Ok(only),
        (Some(last), false) => Err(ReplayError::Ambiguous {
            name: wanted,
            found: found
                .iter()
                .chain([&last])
                .take(5)
                .filter_map(|path| Some(session_of(path)?.to_string()))
                .collect(),
        }),
    }
}
