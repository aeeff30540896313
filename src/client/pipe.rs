//! Floor 4. Reading and writing without waiting.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::io::{AsyncReadExt, AsyncWrite};

use crate::net::Stream;

use super::buffers::CHUNK;

/// With so much waiting to be written to one side, nothing more is read from the other.
pub(super) const HIGH_WATER: usize = 64 * 1024;

/// Fills `buffer` from its beginning. `Ok(0)` is the end.
pub(super) fn poll_read(stream: &mut Stream, cx: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<io::Result<usize>> {
    buffer.clear();
    // A vector that is full would be read into 64 bytes at a time.
    buffer.reserve(CHUNK);
    pin!(stream.read_buf(buffer)).poll(cx)
}

/// Writes `relay` behind `pending`. What does not fit now stays in `pending`. Gives the number of bytes written.
pub(super) fn write_on(stream: &mut Stream, cx: &mut Context<'_>, pending: &mut Vec<u8>, relay: &[u8]) -> usize {
    let mut rest = relay;
    if pending.is_empty() && !rest.is_empty() {
        match Pin::new(&mut *stream).poll_write(cx, rest) {
            Poll::Ready(Ok(n)) => rest = rest.get(n..).unwrap_or_default(),
            // The error comes again at the next flush, which knows what to do.
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
    }
    pending.extend_from_slice(rest);
    relay.len() - rest.len()
}

/// Writes what is pending, and gives the number of bytes written. None: the peer is gone.
pub(super) fn flush(stream: &mut Stream, cx: &mut Context<'_>, pending: &mut Vec<u8>) -> Option<usize> {
    let mut sent = 0;
    let alive = loop {
        let rest = pending.get(sent..).unwrap_or_default();
        if rest.is_empty() {
            break true;
        }
        match Pin::new(&mut *stream).poll_write(cx, rest) {
            Poll::Ready(Ok(n)) if n > 0 => sent += n,
            Poll::Ready(_) => break false,
            Poll::Pending => break true,
        }
    };
    if !alive {
        pending.clear();
    } else if sent == pending.len() {
        pending.clear();
        if pending.capacity() > 2 * CHUNK {
            *pending = Vec::new();
        }
    } else {
        pending.drain(..sent);
    }
    if stream.is_tls() && matches!(Pin::new(stream).poll_flush(cx), Poll::Ready(Err(_))) {
        return None;
    }
    alive.then_some(sent)
}

pub(super) fn shutdown(stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    Pin::new(stream).poll_shutdown(cx)
}
