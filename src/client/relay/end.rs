//! Floor 4. The end of a session: the server is cleaned and given back, or closed.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use crate::error::{Error, Kind};

use super::super::pipe;
use super::{Relay, Wait};

impl Relay {
    /// The session is over: clean the server, or close it.
    pub(super) async fn finish(&mut self) {
        self.slot.set_waiting(false);
        self.wait = Wait::Replies;
        let farewell = std::mem::take(&mut self.engine.client_out);
        self.engine.hang_up();
        let cleaned = tokio::time::timeout(CLEAN_LIMIT, std::future::poll_fn(|cx| self.clean(cx))).await;
        if cleaned.is_err() {
            let _told = self.engine.server_lost(Error::new(Kind::ServerLost, "the server did not finish its clean-up"));
        }
        self.release();
        self.lease = None;
        // Whether it arrives is the client's affair.
        let _ = tokio::time::timeout(FAREWELL_LIMIT, self.part(farewell)).await;
    }

    /// The last bytes for the client, and the end of its stream.
    async fn part(&mut self, farewell: Vec<u8>) {
        if !self.client_eof && !farewell.is_empty() {
            let said = self.stream.write_all(&farewell).await;
            self.meter.client_got(if said.is_ok() { farewell.len() } else { 0 });
        }
        let _ = std::future::poll_fn(|cx| pipe::shutdown(&mut self.stream, cx)).await;
    }

    /// Runs what the engine still has to say to the server.
    fn clean(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut buffer = self.buffers.take();
        loop {
            self.engine.client_out.clear();
            self.flush_server(cx);
            if self.lease.is_none() || self.engine.wants_release() || !self.engine.is_cleaning() {
                break;
            }
            let Some(lease) = self.lease.as_mut() else { break };
            match pipe::poll_read(&mut lease.stream, cx, &mut buffer) {
                Poll::Pending => {
                    self.buffers.put(buffer);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(n)) if n > 0 => self.clean_step(&buffer),
                Poll::Ready(_) => drop(self.engine.server_lost(Error::new(Kind::ServerLost, "closed"))),
            }
        }
        self.buffers.put(buffer);
        Poll::Ready(())
    }

    fn clean_step(&mut self, fresh: &[u8]) {
        self.server_inbox.extend_from_slice(fresh);
        let input = std::mem::take(&mut self.server_inbox);
        match self.engine.on_server(&input, Instant::now()) {
            Ok(taken) => self.server_inbox = input.get(taken.consumed..).unwrap_or_default().to_vec(),
            Err(error) => drop(self.engine.server_lost(error)),
        }
    }
}

/// For DISCARD ALL after a client has gone.
const CLEAN_LIMIT: Duration = Duration::from_secs(5);
/// For a client to read why its session has ended.
const FAREWELL_LIMIT: Duration = Duration::from_secs(5);
