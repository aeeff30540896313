//! Floor 2. Client bytes on their way to a server: passed on where they lie, or copied behind what was written before.

use std::ops::Range;

/// Collects verbatim frames as one range of the input, as long as nothing else has to be written between or before them.
pub(super) struct Route<'a> {
    pub(super) input: &'a [u8],
    relay: Range<usize>,
}

impl<'a> Route<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self { input, relay: 0..0 }
    }

    /// `range` goes on as it is.
    pub(super) fn verbatim(&mut self, range: Range<usize>, out: &mut Vec<u8>) {
        if self.relay.is_empty() && out.is_empty() {
            self.relay = range;
        } else if !self.relay.is_empty() && self.relay.end == range.start {
            self.relay.end = range.end;
        } else {
            self.settle(out);
            out.extend_from_slice(self.input.get(range).unwrap_or_default());
        }
    }

    /// Something of our own is to be written now: what was relayed so far goes before it.
    pub(super) fn settle(&mut self, out: &mut Vec<u8>) {
        let relay = std::mem::replace(&mut self.relay, 0..0);
        out.extend_from_slice(self.input.get(relay).unwrap_or_default());
    }

    pub(super) fn into_relay(self) -> Range<usize> {
        self.relay
    }
}
