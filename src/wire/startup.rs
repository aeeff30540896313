//! Floor 0. What a client may send before the first tagged message: no tag, a length word, a code or version.

use std::fmt;

use super::Violation;
use super::backend::NegotiateProtocolVersion;
use super::body::{Body, counted, put_i32, put_string, put_u32};
use crate::pg::BackendKey;

/// The longest startup packet without its length word, as in Postgres.
pub const MAX_LEN: usize = 10_000;

/// Secrets of BackendKeyData and CancelRequest: 4 bytes in protocol 3.0, up to 256 in 3.2.
pub const SECRET_LEN: std::ops::RangeInclusive<usize> = 4..=256;

/// A startup packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// The client asks for TLS: one byte, `S` or `N`, is the answer.
    SslRequest,
    /// The client asks for GSSAPI encryption: one byte, `G` or `N`, is the answer.
    GssEncRequest,
    /// The client asks to cancel what another connection runs; there is no answer.
    Cancel(BackendKey),
    /// The client begins a session.
    Startup(StartupMessage),
}

/// Reads one startup packet and says how many bytes it took; `None` while it is incomplete.
/// The length is judged as soon as its four bytes are there, so nobody buffers what would be refused.
pub fn decode(buf: &[u8]) -> Result<Option<(Packet, usize)>, Violation> {
    let Some(&word) = buf.first_chunk() else {
        return Ok(None);
    };
    let len = u32::from_be_bytes(word) as usize;
    if !(8..=MAX_LEN + 4).contains(&len) {
        return Err(Violation::StartupLength);
    }
    let Some(packet) = buf.get(4..len) else {
        return Ok(None);
    };
    let mut body = Body(packet);
    let packet = match body.u32()? {
        code::CANCEL_REQUEST => decode_cancel(body)?,
        code::SSL_REQUEST => Packet::SslRequest,
        code::GSS_ENC_REQUEST => Packet::GssEncRequest,
        number => Packet::Startup(StartupMessage::decode(Version::from_number(number), body)?),
    };
    Ok(Some((packet, len)))
}

fn decode_cancel(mut body: Body<'_>) -> Result<Packet, Violation> {
    let pid = body.i32()?;
    if SECRET_LEN.contains(&body.0.len()) {
        Ok(Packet::Cancel(BackendKey { pid, secret: body.0.into() }))
    } else {
        Err(Violation::CancelKeyLength)
    }
}

/// A protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// 3 ever since Postgres 7.4.
    pub major: u16,
    /// 0, or 2 since Postgres 18.
    pub minor: u16,
}

impl Version {
    /// What every client and server speaks.
    pub const V3_0: Self = Self { major: 3, minor: 0 };
    /// Longer cancel secrets.
    pub const V3_2: Self = Self { major: 3, minor: 2 };

    /// From the word on the wire.
    pub fn from_number(number: u32) -> Self {
        let [a, b, c, d] = number.to_be_bytes();
        Self { major: u16::from_be_bytes([a, b]), minor: u16::from_be_bytes([c, d]) }
    }

    /// The word on the wire.
    pub fn number(self) -> u32 {
        u32::from(self.major) << 16 | u32::from(self.minor)
    }

    /// The version we speak with a client that asked for this one: 3.2 from 3.2 on, else 3.0.
    /// 3.1 does not exist: the number was skipped for the sake of poolers that claimed it wrongly.
    pub fn spoken(self) -> Self {
        if self >= Self::V3_2 { Self::V3_2 } else { Self::V3_0 }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What to tell a client whose wishes we do not know in full: `None` for 3.0 and 3.2 without unknown `_pq_.` options.
/// To be sent once, before authentication begins.
pub fn negotiate<'a>(requested: Version, unknown: impl IntoIterator<Item = &'a [u8]>) -> Option<NegotiateProtocolVersion<'a>> {
    let unknown: Vec<_> = unknown.into_iter().collect();
    let newest = requested.spoken();
    (newest != requested || !unknown.is_empty())
        .then(|| NegotiateProtocolVersion { newest_minor: newest.number().cast_signed(), unknown })
}

/// StartupMessage: a version and parameters. One allocation of the packet's size, however many parameters it holds.
#[derive(Clone, PartialEq, Eq)]
pub struct StartupMessage {
    /// The version the client asks for; its major version is 3.
    pub version: Version,
    /// Names and values, each with its NUL; checked when made.
    parameters: Box<[u8]>,
}

impl StartupMessage {
    /// From parts. Parameters with an empty name are left out: that would end the list.
    pub fn new<N: AsRef<[u8]>, V: AsRef<[u8]>>(version: Version, parameters: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut bytes = Vec::new();
        put_parameters(parameters, &mut bytes);
        Self { version, parameters: bytes.into() }
    }

    fn decode(version: Version, mut body: Body<'_>) -> Result<Self, Violation> {
        if version.major != 3 {
            return Err(Violation::UnsupportedProtocol { major: version.major, minor: version.minor });
        }
        let parameters = body.taken(|body| {
            while *body.0.first().ok_or(Violation::StartupLayout)? != 0 {
                body.string().and_then(|_| body.string()).map_err(|_| Violation::StartupLayout)?;
            }
            Ok(())
        })?;
        match body.0 {
            [0] => Ok(Self { version, parameters: parameters.into() }),
            _ => Err(Violation::StartupLayout),
        }
    }

    /// Names and values in the order they were sent, `user`, `database`, `options` and `_pq_.` ones included.
    pub fn parameters(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = Body(&self.parameters);
        std::iter::from_fn(move || Some((rest.string().ok()?, rest.string().ok()?)))
    }

    /// The value of one parameter; of several the last, as in Postgres.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.parameters().filter(|(found, _)| *found == name.as_bytes()).last().map(|(_, value)| value)
    }

    /// The user, cut to the length of a Postgres name as Postgres cuts it.
    pub fn user(&self) -> Result<&[u8], Violation> {
        self.get("user").filter(|user| !user.is_empty()).map(cut_name).ok_or(Violation::NoUser)
    }

    /// The database, which is the user's name when none is given.
    pub fn database(&self) -> Result<&[u8], Violation> {
        match self.get("database") {
            Some(database) if !database.is_empty() => Ok(cut_name(database)),
            _ => self.user(),
        }
    }

    /// Whether the client wants to be sent the write-ahead log. `None`: Postgres would not understand the value.
    pub fn replication(&self) -> Option<Replication> {
        let Some(value) = self.get("replication") else { return Some(Replication::No) };
        if value == b"database" {
            return Some(Replication::Logical);
        }
        // Postgres's booleans: any unique beginning of the words, in any case.
        let value = value.to_ascii_lowercase();
        let begins = |word: &str, least: usize| value.len() >= least && word.as_bytes().starts_with(&value);
        if value == b"0" || begins("false", 1) || begins("no", 1) || begins("off", 2) {
            Some(Replication::No)
        } else if value == b"1" || begins("true", 1) || begins("yes", 1) || begins("on", 2) {
            Some(Replication::Physical)
        } else {
            None
        }
    }

    /// Names of protocol options. pgdial knows none, and neither does any Postgres up to 18.
    pub fn protocol_options(&self) -> impl Iterator<Item = &[u8]> {
        self.parameters().map(|(name, _)| name).filter(|name| name.starts_with(b"_pq_."))
    }

    /// What to tell the client about its version and protocol options, if anything.
    pub fn negotiate(&self) -> Option<NegotiateProtocolVersion<'_>> {
        negotiate(self.version, self.protocol_options())
    }

    /// The whole packet.
    pub fn encode(&self, out: &mut Vec<u8>) {
        startup(self.version, self.parameters(), out);
    }
}

/// What the startup parameter `replication` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replication {
    /// An ordinary session.
    No,
    /// The log of the whole server; the name of the database means nothing.
    Physical,
    /// Replication commands beside SQL, in one database.
    Logical,
}

impl Replication {
    /// Log field.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Physical => "physical",
            Self::Logical => "logical",
        }
    }
}

impl fmt::Debug for StartupMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |(name, value)| (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        write!(f, "StartupMessage {} ", self.version)?;
        f.debug_map().entries(self.parameters().map(text)).finish()
    }
}

fn cut_name(name: &[u8]) -> &[u8] {
    name.get(..63).unwrap_or(name)
}

/// Writes a StartupMessage.
pub fn startup<N: AsRef<[u8]>, V: AsRef<[u8]>>(
    version: Version,
    parameters: impl IntoIterator<Item = (N, V)>,
    out: &mut Vec<u8>,
) {
    counted(out, |out| {
        put_u32(version.number(), out);
        put_parameters(parameters, out);
        out.push(0);
    });
}

/// Writes a CancelRequest.
pub fn cancel(key: &BackendKey, out: &mut Vec<u8>) {
    counted(out, |out| {
        put_u32(code::CANCEL_REQUEST, out);
        put_i32(key.pid, out);
        out.extend_from_slice(&key.secret);
    });
}

/// Writes an SSLRequest.
pub fn ssl_request(out: &mut Vec<u8>) {
    counted(out, |out| put_u32(code::SSL_REQUEST, out));
}

/// Writes a GSSENCRequest.
pub fn gss_enc_request(out: &mut Vec<u8>) {
    counted(out, |out| put_u32(code::GSS_ENC_REQUEST, out));
}

fn put_parameters<N: AsRef<[u8]>, V: AsRef<[u8]>>(parameters: impl IntoIterator<Item = (N, V)>, out: &mut Vec<u8>) {
    for (name, value) in parameters {
        if name.as_ref().first().is_some_and(|&first| first != 0) {
            put_string(name.as_ref(), out);
            put_string(value.as_ref(), out);
        }
    }
}

/// Versions that are no versions: requests in a startup packet's clothes.
pub mod code {
    /// CancelRequest.
    pub const CANCEL_REQUEST: u32 = 80_877_102;
    /// SSLRequest.
    pub const SSL_REQUEST: u32 = 80_877_103;
    /// GSSENCRequest.
    pub const GSS_ENC_REQUEST: u32 = 80_877_104;
}
