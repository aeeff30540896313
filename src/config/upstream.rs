//! Floor 0. `postgres://` URLs, read as libpq reads them, and refused where pgdial would have to ignore a part.

use std::fmt;
use std::path::PathBuf;

use super::mode::{ChannelBinding, TlsMode};
use super::secret::Secret;
use super::value::{Remedy, did_you_mean, word};

/// Where a database is, and as whom pgdial logs in there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The address.
    pub host: Host,
    /// The role.
    pub user: String,
    /// `None` = the server asks for none.
    pub password: Option<Secret<String>>,
    /// The name on the server.
    pub database: String,
    /// `sslmode` of the URL, else `[upstream] tls`.
    pub tls: TlsMode,
    /// `sslrootcert` of the URL, else `[upstream] tls_ca`; `None` = the built-in authorities.
    pub tls_ca: Option<PathBuf>,
    /// `channel_binding` of the URL.
    pub channel_binding: ChannelBinding,
}

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// Name or IP address (without brackets), and port.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// The directory of the socket `.s.PGSQL.<port>`.
    Unix {
        /// Directory.
        dir: PathBuf,
        /// The number in the socket's name.
        port: u16,
    },
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix { dir, port } => write!(f, "{}/.s.PGSQL.{port}", dir.display()),
        }
    }
}

/// For logs and error texts: no password.
impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}", self.user, self.host, self.database)
    }
}

/// The parts of a URL, decoded, before they are made into an [`Upstream`].
#[derive(Default)]
struct Parts {
    host: String,
    port: String,
    user: String,
    password: Option<String>,
    database: String,
    sslmode: Option<String>,
    sslrootcert: Option<String>,
    channel_binding: Option<String>,
}

impl Upstream {
    /// `tls` and `tls_ca` are what `[upstream]` says; the URL's own parameters go before them.
    pub(super) fn parse(url: &str, tls: TlsMode, tls_ca: Option<PathBuf>) -> Result<Self, Remedy> {
        let parts = split(url)?;
        let host = parts.host()?;
        if parts.user.is_empty() {
            return Err("name the user: postgres://user:password@host:5432/database".into());
        }
        let tls = match &parts.sslmode {
            Some(text) => word(text, TlsMode::ALL).map_err(|remedy| format!("sslmode: {remedy}"))?,
            None => tls,
        };
        let tls_ca = match parts.sslrootcert.as_deref() {
            Some("system") if tls != TlsMode::VerifyFull => {
                return Err("sslrootcert=system needs sslmode=verify-full".into());
            }
            Some("system") => None,
            Some(file) => Some(PathBuf::from(file)),
            None => tls_ca,
        };
        let channel_binding = match &parts.channel_binding {
            Some(text) => word(text, ChannelBinding::ALL).map_err(|remedy| format!("channel_binding: {remedy}"))?,
            None => ChannelBinding::Prefer,
        };
        if channel_binding == ChannelBinding::Require && (tls == TlsMode::Disable || matches!(host, Host::Unix { .. })) {
            return Err("channel_binding=require needs TLS: use sslmode=require or better, and no Unix socket".into());
        }
        let database = if parts.database.is_empty() { parts.user.clone() } else { parts.database };
        let password = parts.password.map(Secret::new);
        Ok(Self { host, user: parts.user, password, database, tls, tls_ca, channel_binding })
    }
}

impl Parts {
    fn host(&self) -> Result<Host, Remedy> {
        if self.host.contains(',') || self.port.contains(',') {
            return Err("one host only: pgdial does not choose among several; give it the one that takes writes".into());
        }
        let port = match self.port.as_str() {
            "" => 5432,
            text => match text.parse::<u16>() {
                Ok(port) if port > 0 => port,
                _ => return Err("the port must be a number from 1 to 65535".into()),
            },
        };
        match self.host.as_str() {
            "" => Err("name the host, or give the socket's directory as ?host=/var/run/postgresql".into()),
            dir if dir.starts_with('/') => Ok(Host::Unix { dir: PathBuf::from(dir), port }),
            host => Ok(Host::Tcp { host: host.to_owned(), port }),
        }
    }
}

/// `scheme://[user[:password]@][host][:port][/database][?name=value&...]`
fn split(url: &str) -> Result<Parts, Remedy> {
    let rest = url
        .strip_prefix("postgres://")
        .or_else(|| url.strip_prefix("postgresql://"))
        .ok_or("use the form postgres://user:password@host:5432/database")?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut parts = Parts { database: decode(path)?, ..Parts::default() };
    let address = match authority.split_once('@') {
        Some((_, address)) if address.contains('@') => {
            return Err("write an @ in the user or password as %40".into());
        }
        Some((login, address)) => {
            let (user, password) = match login.split_once(':') {
                Some((user, password)) => (user, Some(decode(password)?)),
                None => (login, None),
            };
            parts.user = decode(user)?;
            parts.password = password.filter(|password| !password.is_empty());
            address
        }
        None => authority,
    };
    split_address(address, &mut parts)?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        parameter(pair, &mut parts)?;
    }
    Ok(parts)
}

fn split_address(address: &str, parts: &mut Parts) -> Result<(), Remedy> {
    if address.contains(',') {
        // Parts::host says why.
        parts.host = address.to_owned();
        return Ok(());
    }
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, ""),
            Some((host, port)) if port.starts_with(':') => (host, port.trim_start_matches(':')),
            _ => return Err("an IPv6 address stands in brackets: [::1]:5432".into()),
        },
        None => match address.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address stands in brackets: [::1]:5432; a : in a password is written %3A, a / %2F".into());
            }
            Some((_, port)) if port.parse::<u16>().is_err() && !port.is_empty() => {
                return Err("the port must be a number from 1 to 65535; in a password, write / as %2F, @ as %40, ? as %3F".into());
            }
            Some(pair) => pair,
            None => (address, ""),
        },
    };
    parts.host = decode(host)?;
    parts.port = port.to_owned();
    Ok(())
}

const PARAMETERS: [&str; 8] = ["host", "port", "user", "password", "dbname", "sslmode", "sslrootcert", "channel_binding"];

fn parameter(pair: &str, parts: &mut Parts) -> Result<(), Remedy> {
    let (name, value) = pair.split_once('=').ok_or_else(|| format!("write {pair}=value, or leave it out"))?;
    let value = decode(value)?;
    match name {
        "host" => parts.host = value,
        "port" => parts.port = value,
        "user" => parts.user = value,
        "password" => parts.password = Some(value),
        "dbname" => parts.database = value,
        "sslmode" => parts.sslmode = Some(value),
        "sslrootcert" => parts.sslrootcert = Some(value),
        "channel_binding" => parts.channel_binding = Some(value),
        // What pgdial does anyway.
        "gssencmode" if value == "disable" || value == "prefer" => {}
        "gssencmode" => return Err(format!("{name}={value} is not supported: leave it out")),
        "application_name" | "options" => {
            return Err(format!("leave {name} out: each client's own {name} is passed on"));
        }
        "connect_timeout" => {
            return Err("leave connect_timeout out and set [pool] connect_timeout".into());
        }
        _ => {
            let hint = did_you_mean(name, PARAMETERS.into_iter());
            return Err(format!("leave the parameter {name} out{hint}; known are {}", PARAMETERS.join(", ")));
        }
    }
    Ok(())
}

/// `%41` to `A`; a `+` stays a plus, as in libpq.
fn decode(text: &str) -> Result<String, Remedy> {
    let bad = || "a % is written %25, and other special characters as % and two hex digits".to_owned();
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(bad());
        };
        out.push(u8::try_from(high * 16 + low).map_err(|_| bad())?);
    }
    match String::from_utf8(out) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(bad()),
    }
}

/// The URL with everything secret taken out; works on malformed ones too, and rather hides too much.
pub(super) fn redact(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return if url.is_empty() { String::new() } else { "***".into() };
    };
    let (login, rest) = rest.rsplit_once('@').map_or(("", rest), |(_, rest)| ("***@", rest));
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = place.split('/').next().unwrap_or("");
    let port_like = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    if login.is_empty() && authority.rsplit_once(':').is_some_and(|(_, port)| !port_like(port)) {
        return format!("{scheme}://***");
    }
    let mut out = format!("{scheme}://{login}{place}");
    for (nth, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        out.push(if nth == 0 { '?' } else { '&' });
        let name = pair.split_once('=').map_or("", |(name, _)| name);
        out.push_str(if PARAMETERS.contains(&name) && name != "password" { pair } else { "***" });
    }
    out
}
