//! Floor 4. A server that stays with its client counts among the pinned ones, of which there may be so many.

use crate::error::{Error, Kind};
use crate::session::Pin;

use super::Relay;

impl Relay {
    /// Between transactions: counts the pin, or ends the client that holds one too many.
    pub(super) fn count_pins(&mut self) {
        let Some(lease) = self.lease.as_mut() else { return };
        let pins = self.engine.pins();
        if pins.is_empty() {
            lease.set_pinned(false);
            return;
        }
        // In session mode every client has its server, which is what was asked for.
        let counts = !pins.has(Pin::SessionMode) && !lease.is_pinned();
        if !counts || self.ending.is_some() || !self.engine.is_quiet() || lease.set_pinned(true) {
            return;
        }
        let reasons: Vec<&str> = pins.iter().map(Pin::as_str).collect();
        let ways: Vec<&str> = pins.iter().map(way_out).collect();
        let text = format!(
            "too many pinned clients: pool {} can spare no server for this one, which must keep its own ({})",
            lease.pool().name(),
            reasons.join(", ")
        );
        let hint = format!("{} Or raise [pool] max_pinned or size.", ways.join(" "));
        self.refuse(&Error::new(Kind::Limit, text).with_hint(hint));
    }
}

/// How an application does without the pin.
fn way_out(pin: Pin) -> &'static str {
    match pin {
        Pin::SessionMode => "Use [pool] mode = \"transaction\".",
        Pin::OpaqueSettings => "Change settings with SET, not in functions by names that are computed.",
        Pin::TempTable => "Create temporary tables ON COMMIT DROP, or drop them soon.",
        Pin::HoldCursor => "Close cursors WITH HOLD soon.",
        Pin::AdvisoryLock => "Use pg_advisory_xact_lock(), or unlock soon.",
        Pin::Listen => "Use LISTEN outside functions.",
        Pin::SqlPrepare => "Prepare statements by protocol, or DEALLOCATE them soon.",
        Pin::Backend => "Do without LOAD and setseed().",
        Pin::Sequence => "Use INSERT .. RETURNING instead of currval() and lastval().",
        Pin::Opaque => "Avoid dynamic SQL in functions and DO.",
        Pin::ParseSettings => "Do not prepare statements after SET LOCAL.",
    }
}
