//! IO. Certificates, the acceptor for clients, the connector to databases.
