//! Pure. What a sealed block says in clear: what the agent must know of a recording that it cannot
//! read any more, to go on with it. Numbers, and nothing that anybody said.
//!
//! ```text
//! standing (64)  last statement u64 · what was told u64 (1: the beginning, 2: the login) ·
//!                statements · denied · held · failed · rows · bytes (u64 each), up to this block
//! ```

use super::{Event, Totals};
use crate::model::StatementSeq;

/// Bytes of it.
pub(super) const STANDING: usize = 64;

const BEGAN: u64 = 1;
const LOGIN: u64 = 2;

/// How far a recording has come with a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The highest number of a statement; 0: none was decided.
    pub last: StatementSeq,
    /// The beginning was told.
    pub began: bool,
    /// The login was told.
    pub login: bool,
    /// Sums.
    pub totals: Totals,
}

impl Standing {
    /// Adds what an event says.
    pub(super) fn count(&mut self, event: &Event) {
        self.totals.count(event);
        match event {
            Event::Began(_) => self.began = true,
            Event::Login(_) => self.login = true,
            Event::Decided(decided) => self.last = self.last.max(decided.seq),
            Event::Rows(_)
            | Event::Finished(_)
            | Event::Note(_)
            | Event::Closed(_)
            | Event::Unknown(_) => {}
        }
    }

    pub(super) fn bytes(&self) -> [u8; STANDING] {
        let told = if self.began { BEGAN } else { 0 } | if self.login { LOGIN } else { 0 };
        let Totals {
            statements,
            denied,
            held,
            failed,
            rows,
            bytes,
        } = self.totals;
        let mut all = [0; STANDING];
        let words = [
            self.last.0,
            told,
            statements,
            denied,
            held,
            failed,
            rows,
            bytes,
        ];
        for (room, word) in all.chunks_exact_mut(8).zip(words) {
            room.copy_from_slice(&word.to_le_bytes());
        }
        all
    }

    pub(super) fn read(bytes: &[u8; STANDING]) -> Standing {
        let mut words = bytes.chunks_exact(8).map(|word| {
            word.first_chunk()
                .map_or(0, |word| u64::from_le_bytes(*word))
        });
        let mut next = || words.next().unwrap_or(0);
        let (last, told) = (StatementSeq(next()), next());
        Standing {
            last,
            began: told & BEGAN != 0,
            login: told & LOGIN != 0,
            totals: Totals {
                statements: next(),
                denied: next(),
                held: next(),
                failed: next(),
                rows: next(),
                bytes: next(),
            },
        }
    }
}
