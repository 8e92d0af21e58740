//! IO. Reads a recording and plays it.
