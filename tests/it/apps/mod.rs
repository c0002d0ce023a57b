//! The other systems' clients, with real sockets and a real database.

mod workspace;
