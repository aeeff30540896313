//! Floor 2. One message of the client: how much of it must be there before it is looked at, and how long it may be.

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Kind};
use crate::query::Statement;
use crate::wire::Header;
use crate::wire::frontend::{self, tag};

/// Messages up to this length are looked at whole; of longer ones only the head is, where a head is enough.
const WHOLE_MAX: usize = 64 * 1024;
/// Query and Parse are needed whole: the one to be read, the other to be repeated on another server.
pub(super) const TEXT_MAX: usize = 16 * 1024 * 1024;
/// Postgres's PQ_SMALL_MESSAGE_LIMIT, for the messages that are short by nature.
const SMALL_MAX: usize = 10_000;

/// One message of the client: where it lies, and its body as far as it is there.
#[derive(Clone)]
pub(super) struct Message<'a> {
    pub(super) tag: u8,
    pub(super) range: Range<usize>,
    pub(super) body: &'a [u8],
    /// Length of the message on the wire, when not all of it is there.
    pub(super) whole_len: usize,
    /// What its text does: found out at most once, by whoever asks first.
    pub(super) class: OnceCell<Arc<Statement>>,
}

impl Message<'_> {
    pub(super) fn is_whole(&self) -> bool {
        self.range.len() == self.whole_len
    }
}

/// Whether Postgres knows messages of this kind.
pub(super) fn is_known(message: u8) -> bool {
    frontend::limit(message).is_ok()
}

/// The header, if such a message may come and be that long.
pub(super) fn check_kind(header: Option<Header>) -> Result<Option<Header>, Error> {
    let Some(header) = header else { return Ok(None) };
    let limit = match header.tag {
        tag::CLOSE | tag::DESCRIBE | tag::EXECUTE | tag::FLUSH | tag::SYNC | tag::TERMINATE | tag::COPY_DONE => SMALL_MAX,
        tag::QUERY | tag::PARSE | tag::BIND | tag::FUNCTION_CALL | tag::COPY_DATA | tag::COPY_FAIL => usize::MAX,
        other => return Err(Error::new(Kind::Protocol, format!("invalid frontend message type {other}"))),
    };
    if header.len > limit {
        return Err(Error::new(Kind::Protocol, "invalid message length"));
    }
    Ok(Some(header))
}

/// How many bytes of a message must be there before it is looked at.
pub(super) fn enough_of(header: Header) -> Result<usize, Error> {
    match header.tag {
        tag::COPY_DATA => Ok(Header::LEN),
        tag::PARSE if header.len > TEXT_MAX => Err(Error::new(
            Kind::TooLarge,
            format!("a statement of {} bytes is too long to be prepared; the limit is {TEXT_MAX} bytes", header.len),
        )
        .with_hint("Send it as a simple query, or pass long values as parameters.")),
        tag::QUERY | tag::PARSE if header.len <= TEXT_MAX => Ok(header.len),
        _ => Ok(header.len.min(WHOLE_MAX)),
    }
}
