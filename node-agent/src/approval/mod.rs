//! IO. Held statements. For now nobody can give an approval.
