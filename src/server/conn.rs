//! Floor 3. A connection to Postgres as the pool keeps it: the socket, and what is known of the session on it.

mod scrub;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Acquire};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::engine::Server;
use crate::net::{Idle, Stream};
use crate::wire::backend::{DataRow, tag};
use crate::wire::{Header, frontend};

use super::card::Place;
use super::pool::{Inspection, PooledConn};

/// One server connection.
pub struct ServerConn {
    /// The socket.
    pub stream: Stream,
    /// What is known of the session; with the engine while the connection is leased.
    pub state: Option<Box<Server>>,
    /// What the console says of it.
    pub card: Place,
    /// Changes of the defaults (ALTER ROLE .. SET) that its session has seen at its beginning.
    pub opened: u64,
    /// The same of the newest server of its set: older ones are not given to anybody any more.
    pub newest: Arc<AtomicU64>,
}

impl ServerConn {
    /// Sends it and waits for ReadyForQuery 'I'. `None`: that did not come; else the one value of the row that came, if any.
    async fn answer(&mut self, message: &[u8]) -> Option<Option<Vec<u8>>> {
        if self.stream.write_all(message).await.is_err() || self.stream.flush().await.is_err() {
            return None;
        }
        let mut buf = Vec::with_capacity(256);
        let mut value = None;
        loop {
            match Header::peek(&buf) {
                Ok(Some(header)) if buf.len() >= header.len => {
                    let body = buf.get(Header::LEN..header.len).unwrap_or_default();
                    match header.tag {
                        tag::READY_FOR_QUERY => return (body == b"I" && buf.len() == header.len).then_some(value),
                        tag::DATA_ROW => value = DataRow::decode(body).ok()?.iter().next().flatten().map(<[u8]>::to_vec),
                        tag::ROW_DESCRIPTION | tag::COMMAND_COMPLETE => {}
                        // Whoever gets it next is told of changed parameters by its own login; a notice is for nobody. Refused,
                        // by a client's statement_timeout say, it has told nothing.
                        tag::NOTICE_RESPONSE | tag::ERROR_RESPONSE => {}
                        _ => return None,
                    }
                    drop(buf.drain(..header.len));
                }
                Ok(Some(header)) if header.len > PROBE_MAX => return None,
                Ok(_) => match self.stream.read_buf(&mut buf).await {
                    Ok(n) if n > 0 => {}
                    Ok(_) | Err(_) => return None,
                },
                Err(_) => return None,
            }
        }
    }
}

impl PooledConn for Box<ServerConn> {
    fn is_usable(&mut self) -> bool {
        let clean = self.state.as_ref().is_some_and(|state| state.ledger.is_idle() && !state.spoiled);
        clean && self.opened >= self.newest.load(Acquire) && self.stream.idle() == Idle::Quiet
    }

    async fn probe(&mut self) -> bool {
        let mut message = Vec::with_capacity(Header::LEN);
        frontend::sync(&mut message);
        tokio::time::timeout(PROBE_LIMIT, self.answer(&message)).await.is_ok_and(|answer| answer.is_some())
    }

    async fn inspect(&mut self) -> Inspection {
        let Some(state) = self.state.as_mut() else { return Inspection::Dead };
        // A simple Query drops it.
        state.unnamed = None;
        let mut message = Vec::new();
        frontend::Query { text: scrub::question(state).as_bytes() }.encode(&mut message);
        match tokio::time::timeout(PROBE_LIMIT, self.answer(&message)).await {
            Ok(Some(found)) => found
                .filter(|found| !found.is_empty())
                .map_or(Inspection::Clean, |found| Inspection::Unclean(String::from_utf8_lossy(&found).into())),
            Ok(None) | Err(_) => Inspection::Dead,
        }
    }

    fn close(mut self) {
        let mut message = Vec::with_capacity(Header::LEN);
        frontend::terminate(&mut message);
        let mut cx = Context::from_waker(Waker::noop());
        // Best effort: a server that does not take five bytes at once finds out by the closed socket.
        if let Poll::Ready(Ok(_)) = std::pin::Pin::new(&mut self.stream).poll_write(&mut cx, &message) {
            let _ = std::pin::Pin::new(&mut self.stream).poll_flush(&mut cx);
        }
    }
}

/// Nothing that a server says on its own is longer.
const PROBE_MAX: usize = 64 * 1024;
const PROBE_LIMIT: Duration = Duration::from_secs(5);
