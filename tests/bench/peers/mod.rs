//! Other servers.
