//! IO. Loads and attaches the kernel programs and owns their maps. The only `unsafe`.
