//! Floor 4. Accepts clients, and gives each a task.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::net::Listener;

use super::gate::Gate;
use super::login::LoginContext;
use super::session;

/// Accepts until `stop`. The listening socket is closed then, so that clients find somebody else at once.
pub async fn listen(listener: Listener, context: Arc<ArcSwap<LoginContext>>, gate: Arc<Gate>, mut stop: watch::Receiver<bool>) {
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let entry = gate.enter();
        tokio::spawn(session::serve(stream, peer, context.load_full(), Arc::clone(&gate), entry));
    }
}
