//! Pure. The configuration file: raw as written, then checked and resolved.
