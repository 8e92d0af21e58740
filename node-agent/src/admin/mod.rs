//! IO. Health, metrics, status, live sessions.
