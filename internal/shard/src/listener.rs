//! A listening socket that the shards serve.

use std::net::TcpListener;
use std::sync::Arc;

use crate::command::ShardCommand;
use crate::shared_listener::SharedListener;

/// A listening socket that the shards serve. Dropping it closes the socket.
#[derive(Debug)]
pub struct ShardListener(pub(super) Arc<SharedListener<ShardCommand>>);

impl ShardListener {
    /// Takes the socket back. When this returns, no shard accepts from it any more; the connections
    /// in its backlog are left to the code that calls this. Returns `None` if it was taken before.
    pub fn close(&self) -> Option<TcpListener> {
        self.0.lock().take().map(|listener| listener.socket.into())
    }
}

impl Drop for ShardListener {
    fn drop(&mut self) {
        self.close();
    }
}
