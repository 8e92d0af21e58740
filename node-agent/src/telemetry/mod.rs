//! IO. Logs and metrics.
