//! The built-in apps, tested against a real PostgreSQL and over real sockets.

mod messaging;
mod modules;
mod workspace;
