//! IO. Where was this socket really going.
