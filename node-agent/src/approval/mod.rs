//! IO. Approvals: a statement that a rule holds is brought to the desk, humans decide, and the desk mints
//! the [`Grant`] by which exactly that statement runs once.
//!
//! [`Case`] and `Book` are the rules of the game and know no clock and no file; [`Desk`] keeps them in a
//! store and tells sessions. Nothing is told before it is written down. `access/` is about policies that
//! are granted for a time.

mod access;
mod binding;
mod book;
mod case;
mod clerk;
mod desk;
mod gate;
mod preview;
mod request;
mod reviewer;
mod ruling;
mod settle;
mod store;
#[cfg(test)]
mod tests;
mod webhook;

pub use access::{ForWhom, InForce, RULE as ACCESS, Refusals, Refused, Wanted, Wants, time};
pub use binding::{Binder, Binding};
pub use book::{Bounds, Change, Step};
pub use case::{Case, Lapse, NotCounted, Says, Scope, State, Terms, Vote};
pub use desk::{Desk, DeskSettings};
pub use gate::{Gate, Gated, LONGEST_GATED, MOST_GATED, NotGated};
pub use preview::{Leave, NotPreviewed, Preview, Previewed, Sample, Wish, Wishes};
pub use request::{
    Changed, LONGEST_PARAM, LONGEST_TEXT, MOST_PARAMS, Matter, Request, Requester, Shown, Waits,
    Work,
};
pub use reviewer::{Reviewer, Via};
pub use ruling::{Asked, Grant, Pending, Rest, Told};
pub(crate) use ruling::{of_commit, refusal};
pub use store::StoreError;
pub use webhook::{Counts as WebhookCounts, WebhookError, Webhooks};
