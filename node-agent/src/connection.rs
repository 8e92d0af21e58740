//! IO. One socket from accept to close.
