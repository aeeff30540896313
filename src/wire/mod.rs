//! Floor 0. Bytes to messages and back.
//!
//! Only this module knows what a message looks like. Reading order: [`Header`] cuts a stream into messages,
//! [`startup`] reads what comes before the first of them, [`frontend`] and [`backend`] hold one type per message
//! and direction, [`diagnostics`] the fields of ErrorResponse and NoticeResponse.
//!
//! Decoding borrows from the input, allocates nothing on the data path, checks as Postgres does and never panics.
//! Strings are bytes: they are in the client's encoding, which need not be UTF-8.

mod authentication;
pub mod backend;
mod body;
pub mod diagnostics;
pub mod frontend;
mod lists;
mod rows;
pub mod startup;
#[cfg(test)]
mod tests;
mod violation;

pub use lists::{Formats, Oids, Values, ValuesIter};
pub use violation::Violation;

/// The five bytes in front of every message but the startup packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The message's type. `C`, `D` and `S` mean different things per direction.
    pub tag: u8,
    /// The whole message on the wire: tag, length word and body.
    pub len: usize,
}

impl Header {
    /// Bytes a header takes.
    pub const LEN: usize = 5;

    /// The largest length word any peer may send: Postgres builds messages of up to 1 GiB - 1 in memory and
    /// counts the word itself on top. Clients have lower limits, see [`frontend::limit`].
    pub const MAX_WORD: u32 = (1 << 30) + 3;

    /// Reads a header without taking it; `None` while fewer than five bytes have arrived.
    #[inline]
    pub fn peek(buf: &[u8]) -> Result<Option<Self>, Violation> {
        let Some(&[tag, a, b, c, d]) = buf.first_chunk() else {
            return Ok(None);
        };
        let word = u32::from_be_bytes([a, b, c, d]);
        if (4..=Self::MAX_WORD).contains(&word) {
            Ok(Some(Self { tag, len: 1 + word as usize }))
        } else {
            Err(Violation::MessageLength)
        }
    }

    /// The body's size.
    #[inline]
    pub fn body_len(self) -> usize {
        self.len.saturating_sub(Self::LEN)
    }

    /// Refuses a length word over `limit`: to be called before memory for the body is set aside.
    #[inline]
    pub fn within(self, limit: usize) -> Result<Self, Violation> {
        if self.len <= limit.saturating_add(1) { Ok(self) } else { Err(Violation::MessageLength) }
    }
}

/// A whole message that lies in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The message's type.
    pub tag: u8,
    /// What comes behind the header.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Cuts the first message off a buffer and gives it with the rest; `None` while it is incomplete.
    /// `limit` bounds the length word, so a caller never waits for what it would not accept.
    #[inline]
    pub fn split(buf: &'a [u8], limit: usize) -> Result<Option<(Self, &'a [u8])>, Violation> {
        let Some(header) = Header::peek(buf)? else {
            return Ok(None);
        };
        let Some((message, rest)) = buf.split_at_checked(header.within(limit)?.len) else {
            return Ok(None);
        };
        Ok(message.get(Header::LEN..).map(|body| (Self { tag: header.tag, body }, rest)))
    }
}
