//! IO. Listeners, limits, drain.
