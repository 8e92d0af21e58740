//! Are the attachments still the ones that were made? Whoever detaches a link or puts another
//! program in its place is not stopped by this, but noticed.

use std::io;

use super::interceptor::Interceptor;
use super::object::HOOKS;
use super::sys::Link;
use super::tables::locked;
use crate::model::CgroupId;

/// One attachment, as the kernel tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The program's name.
    pub program: &'static str,
    /// The link's number; never used twice.
    pub link: u32,
    /// The number of the program behind it.
    pub loaded: u32,
    /// The cgroup it is attached to; 0 when it is detached.
    pub cgroup: CgroupId,
    /// The number of the link that is pinned in its place; `None` where nothing is, or should be.
    pub pinned: Option<u32>,
}

impl Interceptor {
    /// All attachments, asked of the kernel.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn attachments(&self) -> io::Result<Vec<Attachment>> {
        let directory = self.settings().pin.as_deref();
        locked(&self.links)
            .iter()
            .zip(&HOOKS)
            .map(|(link, hook)| {
                let facts = link.facts()?;
                let pinned = match directory {
                    None => None,
                    Some(directory) => match Link::pinned(&directory.join(hook.pin))? {
                        Some(pinned) => Some(pinned.facts()?.id),
                        None => None,
                    },
                };
                Ok(Attachment {
                    program: hook.program,
                    link: facts.id,
                    loaded: facts.program,
                    cgroup: facts.cgroup,
                    pinned,
                })
            })
            .collect()
    }

    /// Do the attachments stand as they stood? Says in words which does not.
    ///
    /// # Errors
    /// The first difference.
    pub fn intact(&self, before: &[Attachment]) -> Result<(), String> {
        let now = self
            .attachments()
            .map_err(|error| format!("the kernel does not tell of the links: {error}"))?;
        if now.len() != before.len() || now.is_empty() {
            return Err("the kernel programs were uninstalled".to_owned());
        }
        for (now, before) in now.iter().zip(before) {
            let program = now.program;
            if now.cgroup.0 == 0 {
                return Err(format!("the link of {program} is detached"));
            }
            if now.loaded != before.loaded {
                return Err(format!("another program stands in the place of {program}"));
            }
            if now.pinned != before.pinned {
                return Err(format!("the pin of {program} is gone or another's"));
            }
        }
        Ok(())
    }
}
