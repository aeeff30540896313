//! Floor 0. The messages of a login, both directions. A server's have one tag and are told apart by a number;
//! a client's have one tag and are told apart by what the server asked for.

use std::fmt;

use super::Violation;
use super::body::{Body, message, put_i32, put_string, put_value};
use super::{backend, frontend};

/// An Authentication message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// The client is who it says.
    Ok,
    /// Asks for Kerberos V5; no server does any more.
    KerberosV5,
    /// Asks for the password itself.
    CleartextPassword,
    /// Asks for a digest of password, user and salt.
    Md5Password {
        /// The salt.
        salt: [u8; 4],
    },
    /// Asks for GSSAPI.
    Gss,
    /// More of GSSAPI or SSPI.
    GssContinue {
        /// What the library made.
        data: &'a [u8],
    },
    /// Asks for SSPI.
    Sspi,
    /// Asks for SASL by one of these mechanisms.
    Sasl {
        /// Names, the best first.
        mechanisms: Mechanisms<'a>,
    },
    /// SASL challenge.
    SaslContinue {
        /// What the mechanism made.
        data: &'a [u8],
    },
    /// SASL outcome.
    SaslFinal {
        /// What the mechanism made.
        data: &'a [u8],
    },
    /// Something that no client we know of supports.
    Unsupported(i32),
}

impl<'a> Authentication<'a> {
    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        let mut body = Body(body);
        match body.i32()? {
            0 => body.end().map(|()| Self::Ok),
            2 => body.end().map(|()| Self::KerberosV5),
            3 => body.end().map(|()| Self::CleartextPassword),
            5 => {
                let salt = body.chunk()?;
                body.end().map(|()| Self::Md5Password { salt })
            }
            7 => body.end().map(|()| Self::Gss),
            8 => Ok(Self::GssContinue { data: body.0 }),
            9 => body.end().map(|()| Self::Sspi),
            10 => Mechanisms::decode(body).map(|mechanisms| Self::Sasl { mechanisms }),
            11 => Ok(Self::SaslContinue { data: body.0 }),
            12 => Ok(Self::SaslFinal { data: body.0 }),
            other => Ok(Self::Unsupported(other)),
        }
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (code, data): (i32, &[u8]) = match self {
            Self::Ok => (0, &[]),
            Self::KerberosV5 => (2, &[]),
            Self::CleartextPassword => (3, &[]),
            Self::Md5Password { salt } => (5, salt),
            Self::Gss => (7, &[]),
            Self::GssContinue { data } => (8, data),
            Self::Sspi => (9, &[]),
            Self::Sasl { mechanisms } => return sasl(mechanisms.iter(), out),
            Self::SaslContinue { data } => (11, data),
            Self::SaslFinal { data } => (12, data),
            Self::Unsupported(code) => (*code, &[]),
        };
        message(backend::tag::AUTHENTICATION, out, |out| {
            put_i32(code, out);
            out.extend_from_slice(data);
        });
    }
}

/// Names of SASL mechanisms. Checked when made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mechanisms<'a>(&'a [u8]);

impl<'a> Mechanisms<'a> {
    /// SCRAM-SHA-256 alone: what a server offers without TLS.
    pub const SCRAM_SHA_256: Mechanisms<'static> = Mechanisms(b"SCRAM-SHA-256\0");
    /// With channel binding first: what a server offers over TLS.
    pub const SCRAM_SHA_256_PLUS: Mechanisms<'static> = Mechanisms(b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0");

    fn decode(mut body: Body<'a>) -> Result<Self, Violation> {
        let names = body.taken(|body| {
            while *body.0.first().ok_or(Violation::InvalidString)? != 0 {
                body.string()?;
            }
            Ok(())
        })?;
        body.byte()?;
        body.end()?;
        Ok(Self(names))
    }

    /// The names, the server's favourite first.
    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = Body(self.0);
        std::iter::from_fn(move || rest.string().ok())
    }

    /// Whether one is on offer.
    pub fn contains(self, name: &str) -> bool {
        self.iter().any(|offered| offered == name.as_bytes())
    }
}

impl fmt::Debug for Mechanisms<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(String::from_utf8_lossy)).finish()
    }
}

fn sasl<'m>(mechanisms: impl Iterator<Item = &'m [u8]>, out: &mut Vec<u8>) {
    message(backend::tag::AUTHENTICATION, out, |out| {
        put_i32(10, out);
        mechanisms.for_each(|name| put_string(name, out));
        out.push(0);
    });
}

/// The largest length word of a password or SASL message, as in Postgres: it is sent before anyone is trusted.
pub const MAX_AUTHENTICATION: usize = 65_535;

/// PasswordMessage, SASLInitialResponse, SASLResponse or GSSResponse: one tag, told apart by what was asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Password<'a> {
    /// The raw body.
    pub data: &'a [u8],
}

impl<'a> Password<'a> {
    /// Takes the body; also a SASLResponse.
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        Ok(Self { data: body })
    }

    /// Appends the whole message; also a SASLResponse.
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(frontend::tag::PASSWORD, out, |out| out.extend_from_slice(self.data));
    }

    /// The body as a password or md5 response: one string that ends where the body ends.
    pub fn text(&self) -> Result<&'a [u8], Violation> {
        let mut body = Body(self.data);
        let text = body.string().map_err(|_| Violation::PasswordSize)?;
        body.end().map_err(|_| Violation::PasswordSize)?;
        Ok(text)
    }
}

impl fmt::Debug for Password<'_> {
    /// It must not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Password({} bytes)", self.data.len())
    }
}

/// Appends a PasswordMessage with a password or md5 response.
pub fn password(text: &[u8], out: &mut Vec<u8>) {
    message(frontend::tag::PASSWORD, out, |out| put_string(text, out));
}

/// SASLInitialResponse: the first `p` of a SASL exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaslInitialResponse<'a> {
    /// The mechanism chosen.
    pub mechanism: &'a [u8],
    /// The client's first message, if it sends one along.
    pub data: Option<&'a [u8]>,
}

impl<'a> SaslInitialResponse<'a> {
    /// Reads the body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Violation> {
        let mut body = Body(body);
        let mechanism = body.string()?;
        let data = body.value()?;
        body.end()?;
        Ok(Self { mechanism, data })
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        message(frontend::tag::PASSWORD, out, |out| {
            put_string(self.mechanism, out);
            put_value(self.data, out);
        });
    }
}
