//! Pure. PostgreSQL, protocol 3.0 and 3.2.
//!
//! `greeting`, `settings` and `login` are the words until login, `front` and `back` the two
//! machines that use them; `reset` makes a connection what it was at login. `command` and `answer` are the words after login; `prepared` (names),
//! `queue` (answers outstanding) and `bulk` (copy data) are the memory of the dialogue `talk`, of
//! which `hear` is the client's half, `listen` the database's and `deny` our own word. `count`,
//! `estimate` and `counting` are what goes round a statement whose changes are counted; `instead` is
//! rows asked for in place of a copy, and `copied` writes them as one. `own` is what the agent itself asks
//! before a COMMIT that is held, and `aside` what it asks beside a session.

use crate::model::Dialect;
use crate::wire::Wire;

mod frame;
mod refusal;
mod cancel;
mod settings;
mod greeting;
mod login;
mod front;
mod back;
mod reset;
mod command;
mod answer;
mod prepared;
mod queue;
mod estimate;
mod count;
mod bulk;
mod copied;
mod instead;
mod own;
mod talk;
mod deny;
mod counting;
mod hear;
mod listen;
pub mod aside;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
#[cfg(test)]
mod tests;

pub use back::Back;
pub use estimate::expected;
pub use front::Front;
pub use refusal::sqlstate;
pub use reset::Reset;
pub use talk::Talk;

/// Every error of the agent's own, for the generated reference: SQLSTATE, name, meaning.
pub fn errors() -> impl Iterator<Item = (&'static str, String, &'static str)> {
    refusal::MEANINGS.iter().map(|(code, means)| {
        let name = serde_json::to_value(code).ok();
        let name = name
            .and_then(|name| name.as_str().map(str::to_owned))
            .unwrap_or_default();
        (sqlstate(*code), name, *means)
    })
}

/// PostgreSQL.
#[derive(Debug)]
pub struct Pg;

impl Wire for Pg {
    const DIALECT: Dialect = Dialect::Postgres;
    type Front = Front;
    type Back = Back;
    type Reset = Reset;
    type Talk<S: Clone + Send + 'static, E: Send + 'static> = Talk<S, E>;
}
