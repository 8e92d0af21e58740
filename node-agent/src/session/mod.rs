//! IO. One session: login, the command loop, the answer relay.
