//! Floor 0. What may be wrong with bytes from a peer, in Postgres's own words.

use std::fmt;

use super::diagnostics::SqlState;

/// A message that breaks the protocol. `Display` is the text for the client, the same that Postgres gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The length word is impossible, or over the limit of this phase or message.
    MessageLength,
    /// A byte was expected behind the end of the message.
    NoDataLeft,
    /// A number or a counted value goes over the end of the message.
    InsufficientData,
    /// A string has no NUL before the end of the message.
    InvalidString,
    /// Bytes are left over behind the last field.
    TrailingBytes,
    /// No frontend message has this tag.
    FrontendTag(u8),
    /// No backend message has this tag.
    BackendTag(u8),
    /// Describe of neither a statement nor a portal.
    DescribeSubtype(u8),
    /// Close of neither a statement nor a portal.
    CloseSubtype(u8),
    /// A negative argument size other than -1 in a FunctionCall.
    ArgumentSize(i32),
    /// A password message is not one string and nothing else.
    PasswordSize,
    /// A Bind names neither none, one, nor one result format per column.
    ResultFormats {
        /// Formats in the Bind.
        formats: usize,
        /// Columns of the result.
        columns: usize,
    },
    /// ReadyForQuery with a status that is none of `I`, `T`, `E`.
    TransactionStatus(u8),
    /// A startup packet too short for its code or too long for anything.
    StartupLength,
    /// Parameters of a startup packet that do not end where the packet ends.
    StartupLayout,
    /// A startup packet without a user name.
    NoUser,
    /// A major protocol version other than 3.
    UnsupportedProtocol {
        /// Major version asked for.
        major: u16,
        /// Minor version asked for.
        minor: u16,
    },
    /// A cancel secret of fewer than 4 or more than 256 bytes.
    CancelKeyLength,
}

impl Violation {
    /// The word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MessageLength => "message_length",
            Self::NoDataLeft => "no_data_left",
            Self::InsufficientData => "insufficient_data",
            Self::InvalidString => "invalid_string",
            Self::TrailingBytes => "trailing_bytes",
            Self::FrontendTag(_) => "frontend_tag",
            Self::BackendTag(_) => "backend_tag",
            Self::DescribeSubtype(_) => "describe_subtype",
            Self::CloseSubtype(_) => "close_subtype",
            Self::ArgumentSize(_) => "argument_size",
            Self::PasswordSize => "password_size",
            Self::ResultFormats { .. } => "result_formats",
            Self::TransactionStatus(_) => "transaction_status",
            Self::StartupLength => "startup_length",
            Self::StartupLayout => "startup_layout",
            Self::NoUser => "no_user",
            Self::UnsupportedProtocol { .. } => "unsupported_protocol",
            Self::CancelKeyLength => "cancel_key_length",
        }
    }

    /// The SQLSTATE that Postgres gives with this text.
    pub fn sqlstate(self) -> SqlState {
        match self {
            Self::UnsupportedProtocol { .. } => SqlState(*b"0A000"),
            Self::NoUser => SqlState(*b"28000"),
            Self::MessageLength
            | Self::NoDataLeft
            | Self::InsufficientData
            | Self::InvalidString
            | Self::TrailingBytes
            | Self::FrontendTag(_)
            | Self::BackendTag(_)
            | Self::DescribeSubtype(_)
            | Self::CloseSubtype(_)
            | Self::ArgumentSize(_)
            | Self::PasswordSize
            | Self::ResultFormats { .. }
            | Self::TransactionStatus(_)
            | Self::StartupLength
            | Self::StartupLayout
            | Self::CancelKeyLength => SqlState(*b"08P01"),
        }
    }

    /// Whether the stream cannot be followed any further. Otherwise the message's end is known,
    /// Postgres answers with ERROR and goes on, and so must we.
    pub fn is_fatal(self) -> bool {
        match self {
            Self::NoDataLeft
            | Self::InsufficientData
            | Self::InvalidString
            | Self::TrailingBytes
            | Self::DescribeSubtype(_)
            | Self::CloseSubtype(_)
            | Self::ArgumentSize(_)
            | Self::ResultFormats { .. } => false,
            Self::MessageLength
            | Self::FrontendTag(_)
            | Self::BackendTag(_)
            | Self::PasswordSize
            | Self::TransactionStatus(_)
            | Self::StartupLength
            | Self::StartupLayout
            | Self::NoUser
            | Self::UnsupportedProtocol { .. }
            | Self::CancelKeyLength => true,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MessageLength => f.write_str("invalid message length"),
            Self::NoDataLeft => f.write_str("no data left in message"),
            Self::InsufficientData => f.write_str("insufficient data left in message"),
            Self::InvalidString => f.write_str("invalid string in message"),
            Self::TrailingBytes => f.write_str("invalid message format"),
            Self::FrontendTag(tag) => write!(f, "invalid frontend message type {tag}"),
            Self::BackendTag(tag) => write!(f, "invalid backend message type {tag}"),
            Self::DescribeSubtype(byte) => write!(f, "invalid DESCRIBE message subtype {byte}"),
            Self::CloseSubtype(byte) => write!(f, "invalid CLOSE message subtype {byte}"),
            Self::ArgumentSize(size) => {
                write!(f, "invalid argument size {size} in function call message")
            }
            Self::PasswordSize => f.write_str("invalid password packet size"),
            Self::ResultFormats { formats, columns } => {
                write!(f, "bind message has {formats} result formats but query has {columns} columns")
            }
            Self::TransactionStatus(byte) => {
                write!(f, "invalid transaction status {byte} in ReadyForQuery")
            }
            Self::StartupLength => f.write_str("invalid length of startup packet"),
            Self::StartupLayout => f.write_str("invalid startup packet layout: expected terminator as last byte"),
            Self::NoUser => f.write_str("no PostgreSQL user name specified in startup packet"),
            Self::UnsupportedProtocol { major, minor } => {
                write!(f, "unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2")
            }
            Self::CancelKeyLength => f.write_str("invalid length of cancel key in cancel request packet"),
        }
    }
}

impl std::error::Error for Violation {}
