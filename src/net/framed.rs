//! Floor 3. Whole messages from a stream, for the parts of a connection where speed does not count: logins and settings.

use super::Stream;
use crate::wire::{Frame, Violation};
use std::{fmt, io};
use tokio::io::AsyncReadExt as _;

/// One message, copied out of the buffer.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub tag: u8,
    /// What comes behind the header.
    pub body: Vec<u8>,
}

/// Why there is no next message.
#[derive(Debug)]
pub enum Fault {
    /// The peer closed the connection.
    Closed,
    /// The connection broke.
    Io(io::Error),
    /// The bytes are no message, or one over the limit.
    Violation(Violation),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("connection closed by the peer"),
            Self::Io(error) => write!(f, "{error}"),
            Self::Violation(violation) => write!(f, "{violation}"),
        }
    }
}

impl std::error::Error for Fault {}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Takes the next message out of `inbox`, reading on as needed. The inbox never grows beyond `limit` and one read.
pub async fn next_message(stream: &mut Stream, inbox: &mut Vec<u8>, limit: usize) -> Result<Message, Fault> {
    loop {
        if let Some((frame, rest)) = Frame::split(inbox, limit).map_err(Fault::Violation)? {
            let message = Message { tag: frame.tag, body: frame.body.to_vec() };
            let taken = inbox.len() - rest.len();
            inbox.drain(..taken);
            return Ok(message);
        }
        read_more(stream, inbox).await?;
    }
}

/// One read of at most a few kilobytes behind what is there.
pub(crate) async fn read_more(stream: &mut Stream, inbox: &mut Vec<u8>) -> Result<(), Fault> {
    inbox.reserve(READ);
    match (&mut *stream).take(READ as u64).read_buf(inbox).await? {
        0 => Err(Fault::Closed),
        _ => Ok(()),
    }
}

/// Logins fit in one or two of these.
const READ: usize = 1024;
