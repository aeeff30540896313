//! Floor 3. Sockets: TCP, Unix and TLS behind one [`Stream`], and whole messages cut from it.

pub(crate) mod framed;
mod listener;
mod random;
mod stream;
pub mod tls;
mod verify;

#[cfg(test)]
mod tests;

pub use framed::{Fault, Message, next_message};
pub use listener::Listener;
pub use random::{nonce, random};
pub use stream::{Idle, Peer, Stream, TcpOptions};
