//! IO. The database: dial, log in, name catalogue, execute with a permit.
