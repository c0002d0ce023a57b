//! The built-in apps, tested against a real PostgreSQL and over real sockets.

mod echo_app;
mod grants;
mod hostile_schema;
mod messaging;
mod modules;
mod modules_emit;
mod modules_origins;
mod own_app;
mod shared_apps;
mod uninstall;
mod workspace;
