//! IO. Which cgroups are labelled right now.
