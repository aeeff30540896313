//! Floor 0. Messages a client sends. Each knows its body (`decode`) and its whole message (`encode`).

use super::Violation;
use super::body::{Body, message, put_count, put_i16, put_i32, put_string, put_u32};
use super::lists::{Formats, Oids, Values, write_values};
use crate::pg::Oid;

pub use super::authentication::{MAX_AUTHENTICATION, Password, SaslInitialResponse, password};

/// Type bytes.
#[allow(missing_docs, reason = "the manual's words")]
pub mod tag {
    pub const BIND: u8 = b'B';
    pub const CLOSE: u8 = b'C';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_FAIL: u8 = b'f';
    pub const DESCRIBE: u8 = b'D';
    pub const EXECUTE: u8 = b'E';
    pub const FLUSH: u8 = b'H';
    pub const FUNCTION_CALL: u8 = b'F';
    pub const PARSE: u8 = b'P';
    pub const PASSWORD: u8 = b'p';
    pub const QUERY: u8 = b'Q';
    pub const SYNC: u8 = b'S';
    pub const TERMINATE: u8 = b'X';
}

/// The largest length word Postgres accepts for a message after login; an unknown tag is a violation.
#[inline]
pub fn limit(tag: u8) -> Result<usize, Violation> {
    match tag {
        tag::QUERY | tag::PARSE | tag::BIND | tag::FUNCTION_CALL | tag::COPY_DATA => Ok(0x3fff_fffe),
        tag::SYNC | tag::FLUSH | tag::EXECUTE | tag::DESCRIBE | tag::CLOSE => Ok(10_000),
        tag::TERMINATE | tag::COPY_DONE | tag::COPY_FAIL => Ok(10_000),
        _ => Err(Violation::FrontendTag(tag)),
    }
}

/// Any message of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the message of that name")]
pub enum Message<'a> {
    Bind(Bind<'a>),
    Close(Close<'a>),
    CopyData(CopyData<'a>),
    CopyDone,
    CopyFail(CopyFail<'a>),
    Describe(Describe<'a>),
    Execute(Execute<'a>),
    Flush,
    FunctionCall(FunctionCall<'a>),
    Parse(Parse<'a>),
    Password(Password<'a>),
    Query(Query<'a>),
    Sync,
    Terminate,
}

impl<'a> Message<'a> {
    /// Reads the body of a message with this tag.
    pub fn decode(tag: u8, body: &'a [u8]) -> Result<Self, Violation> {
        match tag {
            tag::BIND => Bind::decode(body).map(Self::Bind),
            tag::CLOSE => Close::decode(body).map(Self::Close),
            tag::COPY_DATA => CopyData::decode(body).map(Self::CopyData),
            tag::COPY_DONE => Ok(Self::CopyDone), // Postgres does not look into it, nor into Terminate
            tag::COPY_FAIL => CopyFail::decode(body).map(Self::CopyFail),
            tag::DESCRIBE => Describe::decode(body).map(Self::Describe),
            tag::EXECUTE => Execute::decode(body).map(Self::Execute),
            tag::FLUSH => Body(body).end().map(|()| Self::Flush),
            tag::FUNCTION_CALL => FunctionCall::decode(body).map(Self::FunctionCall),
            tag::PARSE => Parse::decode(body).map(Self::Parse),
            tag::PASSWORD => Password::decode(body).map(Self::Password),
            tag::QUERY => Query::decode(body).map(Self::Query),
            tag::SYNC => Body(body).end().map(|()| Self::Sync),
            tag::TERMINATE => Ok(Self::Terminate),
            _ => Err(Violation::FrontendTag(tag)),
        }
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bind(message) => message.encode(out),
            Self::Close(message) => message.encode(out),
            Self::CopyData(message) => message.encode(out),
            Self::CopyDone => copy_done(out),
            Self::CopyFail(message) => message.encode(out),
            Self::Describe(message) => message.encode(out),
            Self::Execute(message) => message.encode(out),
            Self::Flush => flush(out),
            Self::FunctionCall(message) => message.encode(out),
            Self::Parse(message) => message.encode(out),
            Self::Password(message) => message.encode(out),
            Self::Query(message) => message.encode(out),
            Self::Sync => sync(out),
            Self::Terminate => terminate(out),
        }
    }
}

/// Query: text, possibly of several statements, run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// The text without its NUL.
    pub text: &'a [u8],
}

impl<'a> Query<'a> {
    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        let mut body = Body(body);
        let text = body.string()?;
        body.end()?;
        Ok(Self { text })
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(tag::QUERY, out, |out| put_string(self.text, out));
    }
}

/// Parse: make a prepared statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The statement's name; empty is the unnamed one.
    pub name: &'a [u8],
    /// The text without its NUL.
    pub text: &'a [u8],
    /// Declared parameter types; 0 leaves one to Postgres.
    pub types: Oids<'a>,
}

impl<'a> Parse<'a> {
    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        let mut body = Body(body);
        let name = body.string()?;
        let text = body.string()?;
        let types = Oids::read(&mut body)?;
        body.end()?;
        Ok(Self { name, text, types })
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(tag::PARSE, out, |out| {
            put_string(self.name, out);
            put_string(self.text, out);
            self.types.write(out);
        });
    }
}

/// Bind: give a statement its parameters and make a portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The portal's name; empty is the unnamed one.
    pub portal: &'a [u8],
    /// The statement's name; empty is the unnamed one.
    pub statement: &'a [u8],
    /// Formats, parameters and result formats as sent, unchecked: to pass on, or to read with `parameters`.
    pub rest: &'a [u8],
}

impl<'a> Bind<'a> {
    /// Reads the two names. Postgres looks the statement up before it reads on, so neither do we.
    #[inline]
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        let mut body = Body(body);
        let portal = body.string()?;
        let statement = body.string()?;
        Ok(Self { portal, statement, rest: body.0 })
    }

    /// Reads and checks the rest.
    pub fn parameters(&self) -> Result<Parameters<'a>, Violation> {
        Parameters::decode(self.rest)
    }

    /// Appends the whole message.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(tag::BIND, out, |out| {
            put_string(self.portal, out);
            put_string(self.statement, out);
            out.extend_from_slice(self.rest);
        });
    }
}

/// What a Bind holds behind its names. Whether the number of formats fits that of values is left to
/// Postgres, which says so in terms of the statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Parameters<'a> {
    /// Formats of the values: none, one for all, or one each.
    pub formats: Formats<'a>,
    /// The values.
    pub values: Values<'a>,
    /// Formats wanted of the result's columns: none, one for all, or one each.
    pub result_formats: Formats<'a>,
}

impl<'a> Parameters<'a> {
    /// Reads [`Bind::rest`].
    pub fn decode(rest: &'a [u8]) -> Result<Self, Violation> {
        let mut body = Body(rest);
        let formats = Formats::read(&mut body)?;
        let values = Values::read(&mut body)?;
        let result_formats = Formats::read(&mut body)?;
        body.end()?;
        Ok(Self { formats, values, result_formats })
    }

    /// Appends them as they stand in a Bind.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.formats.write(out);
        self.values.write(out);
        self.result_formats.write(out);
    }
}

/// Appends a Bind made from parts.
pub fn bind<'v>(
    portal: &[u8],
    statement: &[u8],
    formats: &[i16],
    values: impl ExactSizeIterator<Item = Option<&'v [u8]>>,
    result_formats: &[i16],
    out: &mut Vec<u8>,
) {
    message(tag::BIND, out, |out| {
        put_string(portal, out);
        put_string(statement, out);
        put_formats(formats, out);
        write_values(values, out);
        put_formats(result_formats, out);
    });
}

fn put_formats(formats: &[i16], out: &mut Vec<u8>) {
    put_count(formats.len(), out);
    formats.iter().for_each(|&format| put_i16(format, out));
}

/// What Describe and Close are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A prepared statement.
    Statement,
    /// A portal.
    Portal,
}

impl Target {
    /// The word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::Portal => "portal",
        }
    }

    fn as_byte(self) -> u8 {
        match self {
            Self::Statement => b'S',
            Self::Portal => b'P',
        }
    }

    /// The whole body of a Describe or Close. The subtype is judged last, as in Postgres.
    #[inline]
    fn decode(body: &[u8], refused: fn(u8) -> Violation) -> Result<(Self, &[u8]), Violation> {
        let mut body = Body(body);
        let byte = body.byte()?;
        let name = body.string()?;
        body.end()?;
        match byte {
            b'S' => Ok((Self::Statement, name)),
            b'P' => Ok((Self::Portal, name)),
            _ => Err(refused(byte)),
        }
    }
}

/// Describe: ask for a statement's parameters and columns, or a portal's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Describe<'a> {
    /// Of what.
    pub target: Target,
    /// Its name.
    pub name: &'a [u8],
}

impl<'a> Describe<'a> {
    /// Reads the body.
    #[inline]
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        let (target, name) = Target::decode(body, Violation::DescribeSubtype)?;
        Ok(Self { target, name })
    }

    /// Appends the whole message.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(tag::DESCRIBE, out, |out| {
            out.push(self.target.as_byte());
            put_string(self.name, out);
        });
    }
}

/// Close: drop a statement or portal; one that does not exist is no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close<'a> {
    /// Of what.
    pub target: Target,
    /// Its name.
    pub name: &'a [u8],
}

impl<'a> Close<'a> {
    /// Reads the body.
    #[inline]
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        let (target, name) = Target::decode(body, Violation::CloseSubtype)?;
        Ok(Self { target, name })
    }

    /// Appends the whole message.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(tag::CLOSE, out, |out| {
            out.push(self.target.as_byte());
            put_string(self.name, out);
        });
    }
}

/// Execute: run a portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execute<'a> {
    /// The portal's name.
    pub portal: &'a [u8],
    /// Rows after which it is suspended; 0 or less runs it to its end.
    pub max_rows: i32,
}

impl<'a> Execute<'a> {
    /// Reads the body.
    #[inline]
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        let mut body = Body(body);
        let portal = body.string()?;
        let max_rows = body.i32()?;
        body.end()?;
        Ok(Self { portal, max_rows })
    }

    /// Appends the whole message.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(tag::EXECUTE, out, |out| {
            put_string(self.portal, out);
            put_i32(self.max_rows, out);
        });
    }
}

/// FunctionCall: run a function by its id; large objects of JDBC and libpq come this way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionCall<'a> {
    /// The function.
    pub function: Oid,
    /// Formats of the arguments: none, one for all, or one each.
    pub formats: Formats<'a>,
    /// The arguments.
    pub arguments: Values<'a>,
    /// Format wanted of the result.
    pub result_format: i16,
}

impl<'a> FunctionCall<'a> {
    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        let mut body = Body(body);
        let function = Oid(body.u32()?);
        let formats = Formats::read(&mut body)?;
        let arguments = Values::read_sized(&mut body, Violation::ArgumentSize)?;
        let result_format = body.i16()?;
        body.end()?;
        Ok(Self { function, formats, arguments, result_format })
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(tag::FUNCTION_CALL, out, |out| {
            put_u32(self.function.0, out);
            self.formats.write(out);
            self.arguments.write(out);
            put_i16(self.result_format, out);
        });
    }
}

/// CopyData: any piece of a COPY stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyData<'a> {
    /// The piece; it need not end where a row ends.
    pub data: &'a [u8],
}

impl<'a> CopyData<'a> {
    /// Takes the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        Ok(Self { data: body })
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(tag::COPY_DATA, out, |out| out.extend_from_slice(self.data));
    }
}

/// CopyFail: the client gives up its COPY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyFail<'a> {
    /// The reason, which becomes part of Postgres's error.
    pub message: &'a [u8],
}

impl<'a> CopyFail<'a> {
    /// Reads the body. Postgres does not mind what stands behind the reason.
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        let message = Body(body).string()?;
        Ok(Self { message })
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(tag::COPY_FAIL, out, |out| put_string(self.message, out));
    }
}

/// Appends a Sync.
pub fn sync(out: &mut Vec<u8>) {
    message(tag::SYNC, out, |_| ());
}

/// Appends a Flush.
pub fn flush(out: &mut Vec<u8>) {
    message(tag::FLUSH, out, |_| ());
}

/// Appends a Terminate.
pub fn terminate(out: &mut Vec<u8>) {
    message(tag::TERMINATE, out, |_| ());
}

/// Appends a CopyDone.
pub fn copy_done(out: &mut Vec<u8>) {
    message(tag::COPY_DONE, out, |_| ());
}
