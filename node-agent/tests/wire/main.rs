//! The wire, seen from outside: dialogues that a reviewer can read.

#[cfg(test)]
mod dialogues;
#[cfg(test)]
mod script;
