//! The apps of other systems, with a real Postgres and real sockets.

mod modules;
