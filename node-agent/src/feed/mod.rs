//! IO. Follows policy files, compiles them, publishes the newest good set.
