//! The other systems, against a real PostgreSQL and over real sockets.

mod messaging;
mod modules;
mod workspace;
