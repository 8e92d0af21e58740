//! The wire, seen from outside: dialogues that a reviewer can read.

mod dialogues;
mod script;
