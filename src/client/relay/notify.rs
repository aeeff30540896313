//! Floor 4. What the connection that listens for all clients brings, and waiting for it.

use std::task::{Context, Poll};
use std::time::Instant;

use crate::engine::Want;
use crate::listen::Trouble;

use super::super::pipe::HIGH_WATER;
use super::{Relay, Wait};

impl Relay {
    /// Hands over notifications, if the client is between transactions.
    pub(super) fn notify_turn(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(mailbox) = self.engine.mailbox() else { return false };
        mailbox.set_waker(cx.waker());
        if self.ending.is_some() {
            return false;
        }
        if let Some((trouble, error)) = self.engine.trouble() {
            let client = self.slot.key().pid;
            match trouble {
                Trouble::Full => {
                    tracing::warn!(client, reason = trouble.as_str(), "a listening client is cut off: it does not read")
                }
                Trouble::Lost | Trouble::Encoding => {
                    tracing::debug!(client, reason = trouble.as_str(), "a listening client is cut off")
                }
            }
            self.refuse(&error);
            return true;
        }
        self.engine.deliver_notifications(HIGH_WATER)
    }

    /// The server's bytes stay where they are until the gate opens.
    pub(super) fn hold_at(&mut self, want: Want) {
        if let Want::Gate(gate) = want {
            self.hold = Some(Box::pin(gate.passed()));
        }
    }

    /// Goes on with what the server has sent, if the gate has opened.
    pub(super) fn hold_turn(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Some(hold) = self.hold.as_mut() else { return false };
        let Poll::Ready(passage) = hold.as_mut().poll(cx) else { return false };
        self.hold = None;
        self.engine.gate_passed(passage);
        self.feed_server(&mut Vec::new(), cx, now);
        true
    }

    /// Goes on with what the client has sent, if the gate has opened.
    pub(super) fn gate_turn(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Wait::Gate(gate) = &mut self.wait else { return false };
        let Poll::Ready(passage) = gate.as_mut().poll(cx) else { return false };
        self.engine.gate_passed(passage);
        self.wait = Wait::Input { room: 0 };
        self.feed_inbox(cx, now);
        self.maybe_release();
        true
    }
}
