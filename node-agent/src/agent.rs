//! IO. The composition root.
