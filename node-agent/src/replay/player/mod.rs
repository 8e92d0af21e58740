//! IO. The player: a recording on a terminal, statement by statement.
//!
//! What is seen is decided without a terminal: `steps.rs` says what there is to step through,
//! `state.rs` where the player stands and what each key does, `page.rs` lays a step out and `draw.rs`
//! puts all of it on a screen of any size; every recorded text goes through `ink.rs`. `tape.rs` reads
//! the recording: once on, for the steps, and again from the nearest mark for what is looked at, so
//! that memory grows with the number of statements and not with what they brought back. `screen.rs`
//! joins the two, and `shell.rs` is the terminal.

mod draw;
mod ink;
mod page;
mod screen;
mod shell;
mod state;
mod steps;
mod tape;

pub use shell::play;

#[cfg(test)]
mod tests;
