//! Floor 0. Messages a server sends. Each knows its body (`decode`) and its whole message (`encode`).

use super::Violation;
use super::body::{Body, message, put_i32, put_string, put_value};
use super::diagnostics::Fields;
use super::lists::{Formats, Oids};
use super::startup::SECRET_LEN;
use crate::pg::TransactionStatus;

pub use super::authentication::{Authentication, Mechanisms};
pub use super::rows::{Column, Columns, DataRow, RowDescription, data_row, row_description};

/// Type bytes.
#[allow(missing_docs, reason = "the manual's words")]
pub mod tag {
    pub const AUTHENTICATION: u8 = b'R';
    pub const BACKEND_KEY_DATA: u8 = b'K';
    pub const BIND_COMPLETE: u8 = b'2';
    pub const CLOSE_COMPLETE: u8 = b'3';
    pub const COMMAND_COMPLETE: u8 = b'C';
    pub const COPY_BOTH_RESPONSE: u8 = b'W';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_IN_RESPONSE: u8 = b'G';
    pub const COPY_OUT_RESPONSE: u8 = b'H';
    pub const DATA_ROW: u8 = b'D';
    pub const EMPTY_QUERY_RESPONSE: u8 = b'I';
    pub const ERROR_RESPONSE: u8 = b'E';
    pub const FUNCTION_CALL_RESPONSE: u8 = b'V';
    pub const NEGOTIATE_PROTOCOL_VERSION: u8 = b'v';
    pub const NO_DATA: u8 = b'n';
    pub const NOTICE_RESPONSE: u8 = b'N';
    pub const NOTIFICATION_RESPONSE: u8 = b'A';
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    pub const PARAMETER_STATUS: u8 = b'S';
    pub const PARSE_COMPLETE: u8 = b'1';
    pub const PORTAL_SUSPENDED: u8 = b's';
    pub const READY_FOR_QUERY: u8 = b'Z';
    pub const ROW_DESCRIPTION: u8 = b'T';
}

/// Any message of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the message of that name")]
pub enum Message<'a> {
    Authentication(Authentication<'a>),
    BackendKeyData(BackendKeyData<'a>),
    BindComplete,
    CloseComplete,
    CommandComplete(CommandComplete<'a>),
    CopyBothResponse(CopyResponse<'a>),
    CopyData(&'a [u8]),
    CopyDone,
    CopyInResponse(CopyResponse<'a>),
    CopyOutResponse(CopyResponse<'a>),
    DataRow(DataRow<'a>),
    EmptyQueryResponse,
    ErrorResponse(Fields<'a>),
    FunctionCallResponse(FunctionCallResponse<'a>),
    NegotiateProtocolVersion(NegotiateProtocolVersion<'a>),
    NoData,
    NoticeResponse(Fields<'a>),
    NotificationResponse(NotificationResponse<'a>),
    ParameterDescription(ParameterDescription<'a>),
    ParameterStatus(ParameterStatus<'a>),
    ParseComplete,
    PortalSuspended,
    ReadyForQuery(ReadyForQuery),
    RowDescription(RowDescription<'a>),
}

impl<'a> Message<'a> {
    /// Reads the body of a message with this tag.
    pub fn decode(tag: u8, body: &'a [u8]) -> Result<Self, Violation> {
        match tag {
            tag::AUTHENTICATION => Authentication::decode(body).map(Self::Authentication),
            tag::BACKEND_KEY_DATA => BackendKeyData::decode(body).map(Self::BackendKeyData),
            tag::BIND_COMPLETE => empty(body, Self::BindComplete),
            tag::CLOSE_COMPLETE => empty(body, Self::CloseComplete),
            tag::COMMAND_COMPLETE => CommandComplete::decode(body).map(Self::CommandComplete),
            tag::COPY_BOTH_RESPONSE => CopyResponse::decode(body).map(Self::CopyBothResponse),
            tag::COPY_DATA => Ok(Self::CopyData(body)),
            tag::COPY_DONE => empty(body, Self::CopyDone),
            tag::COPY_IN_RESPONSE => CopyResponse::decode(body).map(Self::CopyInResponse),
            tag::COPY_OUT_RESPONSE => CopyResponse::decode(body).map(Self::CopyOutResponse),
            tag::DATA_ROW => DataRow::decode(body).map(Self::DataRow),
            tag::EMPTY_QUERY_RESPONSE => empty(body, Self::EmptyQueryResponse),
            tag::ERROR_RESPONSE => Fields::decode(body).map(Self::ErrorResponse),
            tag::FUNCTION_CALL_RESPONSE => FunctionCallResponse::decode(body).map(Self::FunctionCallResponse),
            tag::NEGOTIATE_PROTOCOL_VERSION => NegotiateProtocolVersion::decode(body).map(Self::NegotiateProtocolVersion),
            tag::NO_DATA => empty(body, Self::NoData),
            tag::NOTICE_RESPONSE => Fields::decode(body).map(Self::NoticeResponse),
            tag::NOTIFICATION_RESPONSE => NotificationResponse::decode(body).map(Self::NotificationResponse),
            tag::PARAMETER_DESCRIPTION => ParameterDescription::decode(body).map(Self::ParameterDescription),
            tag::PARAMETER_STATUS => ParameterStatus::decode(body).map(Self::ParameterStatus),
            tag::PARSE_COMPLETE => empty(body, Self::ParseComplete),
            tag::PORTAL_SUSPENDED => empty(body, Self::PortalSuspended),
            tag::READY_FOR_QUERY => ReadyForQuery::decode(body).map(Self::ReadyForQuery),
            tag::ROW_DESCRIPTION => RowDescription::decode(body).map(Self::RowDescription),
            _ => Err(Violation::BackendTag(tag)),
        }
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Authentication(message) => message.encode(out),
            Self::BackendKeyData(message) => message.encode(out),
            Self::BindComplete => bind_complete(out),
            Self::CloseComplete => close_complete(out),
            Self::CommandComplete(message) => message.encode(out),
            Self::CopyBothResponse(message) => message.encode(tag::COPY_BOTH_RESPONSE, out),
            Self::CopyData(data) => copy_data(data, out),
            Self::CopyDone => copy_done(out),
            Self::CopyInResponse(message) => message.encode(tag::COPY_IN_RESPONSE, out),
            Self::CopyOutResponse(message) => message.encode(tag::COPY_OUT_RESPONSE, out),
            Self::DataRow(message) => message.encode(out),
            Self::EmptyQueryResponse => empty_query(out),
            Self::ErrorResponse(fields) => fields.encode_error(out),
            Self::FunctionCallResponse(message) => message.encode(out),
            Self::NegotiateProtocolVersion(message) => message.encode(out),
            Self::NoData => no_data(out),
            Self::NoticeResponse(fields) => fields.encode_notice(out),
            Self::NotificationResponse(message) => message.encode(out),
            Self::ParameterDescription(message) => message.encode(out),
            Self::ParameterStatus(message) => message.encode(out),
            Self::ParseComplete => parse_complete(out),
            Self::PortalSuspended => portal_suspended(out),
            Self::ReadyForQuery(message) => message.encode(out),
            Self::RowDescription(message) => message.encode(out),
        }
    }
}

fn empty<T>(body: &[u8], message: T) -> Result<T, Violation> {
    Body(body).end().map(|()| message)
}

/// BackendKeyData: what a client needs to cancel. Some servers never send it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BackendKeyData<'a> {
    /// Process id.
    pub pid: i32,
    /// Secret, 4 to 256 bytes.
    pub secret: &'a [u8],
}

impl<'a> BackendKeyData<'a> {
    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        let mut body = Body(body);
        let pid = body.i32()?;
        let secret = body.0;
        SECRET_LEN.contains(&secret.len()).then_some(Self { pid, secret }).ok_or(Violation::MessageLength)
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(tag::BACKEND_KEY_DATA, out, |out| {
            put_i32(self.pid, out);
            out.extend_from_slice(self.secret);
        });
    }
}

impl std::fmt::Debug for BackendKeyData<'_> {
    /// The secret must not reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BackendKeyData(pid {})", self.pid)
    }
}

/// ParameterStatus: the value a reported setting has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterStatus<'a> {
    /// The setting.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> ParameterStatus<'a> {
    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        let mut body = Body(body);
        let name = body.string()?;
        let value = body.string()?;
        body.end()?;
        Ok(Self { name, value })
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(tag::PARAMETER_STATUS, out, |out| {
            put_string(self.name, out);
            put_string(self.value, out);
        });
    }
}

/// ReadyForQuery: the group is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyForQuery {
    /// Where the transaction stands.
    pub status: TransactionStatus,
}

impl ReadyForQuery {
    /// Reads the body.
    #[inline]
    pub fn decode(body: &[u8]) -> Result<Self, Violation> {
        let mut body = Body(body);
        let byte = body.byte()?;
        body.end()?;
        let status = TransactionStatus::from_byte(byte).ok_or(Violation::TransactionStatus(byte))?;
        Ok(Self { status })
    }

    /// Appends the whole message.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(tag::READY_FOR_QUERY, out, |out| out.push(self.status.as_byte()));
    }
}

/// CommandComplete: a statement has succeeded, but not yet its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandComplete<'a> {
    /// What was done to how many rows: `INSERT 0 1`.
    pub tag: &'a [u8],
}

impl<'a> CommandComplete<'a> {
    /// Reads the body.
    #[inline]
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        let mut body = Body(body);
        let tag = body.string()?;
        body.end()?;
        Ok(Self { tag })
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(tag::COMMAND_COMPLETE, out, |out| put_string(self.tag, out));
    }

    /// The number at the end of the body: `SELECT 5`, `INSERT 0 1`.
    pub fn rows(body: &[u8]) -> u64 {
        let digits = body.iter().rev().skip(1).take_while(|byte| byte.is_ascii_digit());
        digits
            .take(18)
            .enumerate()
            .map(|(place, digit)| u64::from(digit - b'0') * 10_u64.pow(u32::try_from(place).unwrap_or(0)))
            .sum()
    }
}

/// ParameterDescription: the types a statement's parameters turned out to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterDescription<'a> {
    /// The types.
    pub types: Oids<'a>,
}

impl<'a> ParameterDescription<'a> {
    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        let mut body = Body(body);
        let types = Oids::read(&mut body)?;
        body.end()?;
        Ok(Self { types })
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(tag::PARAMETER_DESCRIPTION, out, |out| self.types.write(out));
    }
}

/// NotificationResponse: a NOTIFY on a channel the session listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotificationResponse<'a> {
    /// The process that notified.
    pub pid: i32,
    /// The channel.
    pub channel: &'a [u8],
    /// The payload, often empty.
    pub payload: &'a [u8],
}

impl<'a> NotificationResponse<'a> {
    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        let mut body = Body(body);
        let pid = body.i32()?;
        let channel = body.string()?;
        let payload = body.string()?;
        body.end()?;
        Ok(Self { pid, channel, payload })
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(tag::NOTIFICATION_RESPONSE, out, |out| {
            put_i32(self.pid, out);
            put_string(self.channel, out);
            put_string(self.payload, out);
        });
    }
}

/// NegotiateProtocolVersion: what of the client's wishes is not supported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegotiateProtocolVersion<'a> {
    /// The version that will be spoken, as a full protocol number.
    pub newest_minor: i32,
    /// Names of `_pq_.` options not known.
    pub unknown: Vec<&'a [u8]>,
}

impl<'a> NegotiateProtocolVersion<'a> {
    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        let mut body = Body(body);
        let newest_minor = body.i32()?;
        let count = body.u32()?;
        // no capacity from the count: the vector grows with names that are really there
        let unknown = (0..count).map(|_| body.string()).collect::<Result<_, _>>()?;
        body.end()?;
        Ok(Self { newest_minor, unknown })
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(tag::NEGOTIATE_PROTOCOL_VERSION, out, |out| {
            put_i32(self.newest_minor, out);
            put_i32(i32::try_from(self.unknown.len()).unwrap_or(i32::MAX), out);
            self.unknown.iter().for_each(|name| put_string(name, out));
        });
    }
}

/// CopyInResponse, CopyOutResponse and CopyBothResponse: three tags, one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyResponse<'a> {
    /// 0 text, 1 binary.
    pub overall_format: u8,
    /// The format of each column.
    pub formats: Formats<'a>,
}

impl<'a> CopyResponse<'a> {
    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        let mut body = Body(body);
        let overall_format = body.byte()?;
        let formats = Formats::read(&mut body)?;
        body.end()?;
        Ok(Self { overall_format, formats })
    }

    /// Appends the whole message, with one of the three tags.
    pub fn encode(&self, tag: u8, out: &mut Vec<u8>) {
        message(tag, out, |out| {
            out.push(self.overall_format);
            self.formats.write(out);
        });
    }
}

/// FunctionCallResponse: what a FunctionCall gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionCallResponse<'a> {
    /// The result; `None` is NULL.
    pub value: Option<&'a [u8]>,
}

impl<'a> FunctionCallResponse<'a> {
    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        let mut body = Body(body);
        let value = body.value()?;
        body.end()?;
        Ok(Self { value })
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(tag::FUNCTION_CALL_RESPONSE, out, |out| put_value(self.value, out));
    }
}

/// Appends a ParseComplete.
pub fn parse_complete(out: &mut Vec<u8>) {
    message(tag::PARSE_COMPLETE, out, |_| ());
}

/// Appends a BindComplete.
pub fn bind_complete(out: &mut Vec<u8>) {
    message(tag::BIND_COMPLETE, out, |_| ());
}

/// Appends a CloseComplete.
pub fn close_complete(out: &mut Vec<u8>) {
    message(tag::CLOSE_COMPLETE, out, |_| ());
}

/// Appends a NoData.
pub fn no_data(out: &mut Vec<u8>) {
    message(tag::NO_DATA, out, |_| ());
}

/// Appends a PortalSuspended.
pub fn portal_suspended(out: &mut Vec<u8>) {
    message(tag::PORTAL_SUSPENDED, out, |_| ());
}

/// Appends an EmptyQueryResponse.
pub fn empty_query(out: &mut Vec<u8>) {
    message(tag::EMPTY_QUERY_RESPONSE, out, |_| ());
}

/// Appends a CopyData.
pub fn copy_data(data: &[u8], out: &mut Vec<u8>) {
    message(tag::COPY_DATA, out, |out| out.extend_from_slice(data));
}

/// Appends a CopyDone.
pub fn copy_done(out: &mut Vec<u8>) {
    message(tag::COPY_DONE, out, |_| ());
}

/// Appends a ReadyForQuery.
pub fn ready_for_query(status: TransactionStatus, out: &mut Vec<u8>) {
    ReadyForQuery { status }.encode(out);
}
