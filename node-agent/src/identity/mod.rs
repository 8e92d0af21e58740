//! IO. Who is calling: workload token reading and OIDC.
