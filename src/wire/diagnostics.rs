//! Floor 0. ErrorResponse and NoticeResponse: ours to write, a server's to read.

use std::fmt;

use super::Violation;
use super::backend::tag;
use super::body::{Body, message, put_string};

/// The five characters that programs go by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState(pub [u8; 5]);

impl SqlState {
    /// As text; `XX000` for bytes that no server sends.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XX000")
    }

    /// The first two characters.
    pub fn class(self) -> [u8; 2] {
        let [first, second, ..] = self.0;
        [first, second]
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqlState({self})")
    }
}

/// How bad it is. Fatal and Panic end the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the manual's words")]
pub enum Severity {
    Error,
    Fatal,
    Panic,
    Warning,
    Notice,
    Debug,
    Info,
    Log,
}

impl Severity {
    /// The word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Fatal => "fatal",
            Self::Panic => "panic",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Log => "log",
        }
    }

    /// The word on the wire, never translated.
    pub fn as_wire(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Panic => "PANIC",
            Self::Warning => "WARNING",
            Self::Notice => "NOTICE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Log => "LOG",
        }
    }

    /// From the word on the wire.
    pub fn from_wire(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"ERROR" => Self::Error,
            b"FATAL" => Self::Fatal,
            b"PANIC" => Self::Panic,
            b"WARNING" => Self::Warning,
            b"NOTICE" => Self::Notice,
            b"DEBUG" => Self::Debug,
            b"INFO" => Self::Info,
            b"LOG" => Self::Log,
            _ => return None,
        })
    }
}

/// An error or notice that pgdial itself raises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    /// How bad it is.
    pub severity: Severity,
    /// The code programs go by.
    pub sqlstate: SqlState,
    /// One line: what happened.
    pub message: &'a str,
    /// More about it.
    pub detail: Option<&'a str>,
    /// What to do about it.
    pub hint: Option<&'a str>,
}

impl Report<'_> {
    /// As an ErrorResponse.
    pub fn encode_error(&self, out: &mut Vec<u8>) {
        self.encode(tag::ERROR_RESPONSE, out);
    }

    /// As a NoticeResponse.
    pub fn encode_notice(&self, out: &mut Vec<u8>) {
        self.encode(tag::NOTICE_RESPONSE, out);
    }

    fn encode(&self, tag: u8, out: &mut Vec<u8>) {
        let severity = self.severity.as_wire();
        let fields = [
            (field::SEVERITY, Some(severity)),
            (field::SEVERITY_NONLOCALIZED, Some(severity)),
            (field::SQLSTATE, Some(self.sqlstate.as_str())),
            (field::MESSAGE, Some(self.message)),
            (field::DETAIL, self.detail),
            (field::HINT, self.hint),
        ];
        let present = fields.iter().filter_map(|&(code, text)| Some((code, text?.as_bytes())));
        encode_fields(tag, present, out);
    }
}

/// The fields of a message from a server. Checked when made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Reads the body of an ErrorResponse or NoticeResponse.
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        let mut rest = Body(body);
        let fields = rest.taken(|rest| {
            while *rest.0.first().ok_or(Violation::NoDataLeft)? != 0 {
                rest.byte()?;
                rest.string()?;
            }
            Ok(())
        })?;
        rest.byte()?;
        rest.end()?;
        Ok(Self(fields))
    }

    /// The same fields as an ErrorResponse.
    pub fn encode_error(&self, out: &mut Vec<u8>) {
        encode_fields(tag::ERROR_RESPONSE, self.iter(), out);
    }

    /// The same fields as a NoticeResponse.
    pub fn encode_notice(&self, out: &mut Vec<u8>) {
        encode_fields(tag::NOTICE_RESPONSE, self.iter(), out);
    }

    /// Codes and texts in order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut rest = Body(self.0);
        std::iter::from_fn(move || Some((rest.byte().ok()?, rest.string().ok()?)))
    }

    /// The text of one field, a code of [`field`].
    pub fn get(&self, code: u8) -> Option<&'a [u8]> {
        self.iter().find_map(|(found, text)| (found == code).then_some(text))
    }

    /// The SQLSTATE; `None` from servers that send none, or not five characters.
    pub fn sqlstate(&self) -> Option<SqlState> {
        self.get(field::SQLSTATE)?.try_into().ok().map(SqlState)
    }

    /// The one-line message; empty if the server sent none.
    pub fn message(&self) -> &'a [u8] {
        self.get(field::MESSAGE).unwrap_or_default()
    }

    /// How bad it is, from the field that is never translated; before 9.6 there was only the other one.
    pub fn severity(&self) -> Option<Severity> {
        let word = self.get(field::SEVERITY_NONLOCALIZED).or_else(|| self.get(field::SEVERITY))?;
        Severity::from_wire(word)
    }
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |(code, text)| (char::from(code), String::from_utf8_lossy(text));
        f.debug_map().entries(self.iter().map(text)).finish()
    }
}

/// Writes an ErrorResponse or NoticeResponse of any fields: for one that is edited on its way through.
pub fn encode_fields<'f>(tag: u8, fields: impl Iterator<Item = (u8, &'f [u8])>, out: &mut Vec<u8>) {
    message(tag, out, |out| {
        for (code, text) in fields {
            out.push(code);
            put_string(text, out);
        }
        out.push(0);
    });
}

/// Field codes.
#[allow(missing_docs, reason = "the manual's words")]
pub mod field {
    pub const SEVERITY: u8 = b'S';
    pub const SEVERITY_NONLOCALIZED: u8 = b'V';
    pub const SQLSTATE: u8 = b'C';
    pub const MESSAGE: u8 = b'M';
    pub const DETAIL: u8 = b'D';
    pub const HINT: u8 = b'H';
    pub const POSITION: u8 = b'P';
    pub const INTERNAL_POSITION: u8 = b'p';
    pub const INTERNAL_QUERY: u8 = b'q';
    pub const CONTEXT: u8 = b'W';
    pub const SCHEMA: u8 = b's';
    pub const TABLE: u8 = b't';
    pub const COLUMN: u8 = b'c';
    pub const DATA_TYPE: u8 = b'd';
    pub const CONSTRAINT: u8 = b'n';
    pub const FILE: u8 = b'F';
    pub const LINE: u8 = b'L';
    pub const ROUTINE: u8 = b'R';
}
