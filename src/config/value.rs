//! Floor 0. Single values: durations, sizes, table names, address ranges. Each parser's error is the remedy.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// What to do about a bad value.
pub(super) type Remedy = String;

/// An enum whose values are words.
pub(super) trait Word: Copy + 'static {
    fn all() -> &'static [Self];
    fn word(self) -> &'static str;
}

/// How long a cached result counts as fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// This long, if nothing invalidates it.
    For(Duration),
    /// Until invalidated.
    Forever,
}

impl Ttl {
    /// The shorter of the two: a query over several tables gets the strictest of their rules.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        match (self, other) {
            (Self::For(a), Self::For(b)) => Self::For(a.min(b)),
            (Self::Forever, shorter) | (shorter, Self::Forever) => shorter,
        }
    }
}

/// One entry of a rule's `tables`, folded as Postgres folds identifiers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableName {
    /// `*`
    All,
    /// `name` or `schema.name`
    Named {
        /// `None` = in whichever schema.
        schema: Option<String>,
        /// The relation.
        name: String,
    },
}

impl TableName {
    /// Is this relation meant?
    pub fn matches(&self, schema: &str, relation: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named { schema: own, name } => name == relation && own.as_deref().is_none_or(|own| own == schema),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Named { schema: Some(schema), name } => write!(f, "{schema}.{name}"),
            Self::Named { schema: None, name } => f.write_str(name),
        }
    }
}

/// Where a client comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressMatch {
    /// Anywhere.
    Any,
    /// The Unix socket.
    Unix,
    /// A range of addresses.
    Range {
        /// Its first address.
        network: IpAddr,
        /// How many leading bits count.
        bits: u8,
    },
}

impl AddressMatch {
    /// `None` is a peer on the Unix socket. An IPv4 client that came in over an IPv6 socket counts as IPv4.
    pub fn contains(&self, peer: Option<IpAddr>) -> bool {
        match (self, peer.map(|address| address.to_canonical())) {
            (Self::Any, _) | (Self::Unix, None) => true,
            (Self::Range { network: IpAddr::V4(network), bits }, Some(IpAddr::V4(address))) => {
                network.to_bits() & mask_v4(*bits) == address.to_bits() & mask_v4(*bits)
            }
            (Self::Range { network: IpAddr::V6(network), bits }, Some(IpAddr::V6(address))) => {
                network.to_bits() & mask_v6(*bits) == address.to_bits() & mask_v6(*bits)
            }
            (Self::Unix | Self::Range { .. }, _) => false,
        }
    }
}

/// What stands before the IPv4 address in `::ffff:10.0.0.1`.
const MAPPED_BITS: u8 = 96;

fn mask_v4(bits: u8) -> u32 {
    u32::MAX.checked_shl(u32::from(32 - bits.min(32))).unwrap_or(0)
}

fn mask_v6(bits: u8) -> u128 {
    u128::MAX.checked_shl(u32::from(128 - bits.min(128))).unwrap_or(0)
}

/// A word of the enum, or the list of words with the nearest first.
pub(super) fn word<T: Word>(text: &str, allowed: &[T]) -> Result<T, Remedy> {
    let found = allowed.iter().copied().find(|value| value.word() == text);
    found.ok_or_else(|| {
        let words: Vec<_> = allowed.iter().map(|value| value.word()).collect();
        format!("use one of {}{}", words.join(", "), did_you_mean(text, words.iter().copied()))
    })
}

/// "5s", "100ms", "1h 30m", "0s".
pub(super) fn duration(text: &str) -> Result<Duration, Remedy> {
    humantime::parse_duration(text).map_err(|_| r#"use a number with its unit, such as "500ms", "5s", "10m" or "1h""#.to_owned())
}

/// A duration, or "forever".
pub(super) fn ttl(text: &str) -> Result<Ttl, Remedy> {
    if text == "forever" {
        return Ok(Ttl::Forever);
    }
    duration(text).map(Ttl::For).map_err(|remedy| format!(r#"{remedy}, or "forever" = until invalidated"#))
}

/// "256MiB".
pub(super) fn size(text: &str) -> Result<u64, Remedy> {
    text.parse::<bytesize::ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| r#"use a number with its unit, such as "512KiB", "256MiB" or "2GiB""#.to_owned())
}

/// "127.0.0.1:6432"; names are refused because an address that changes with a name server is no place to listen.
pub(super) fn socket_address(text: &str, example: &str) -> Result<SocketAddr, Remedy> {
    let remedy = |why: &str| Err(format!("{why}use an IP address and a port, such as \"{example}\""));
    match text.parse::<SocketAddr>() {
        Ok(address) => Ok(address),
        Err(_) if text.starts_with('*') || text.starts_with(':') => remedy("every IPv4 address is 0.0.0.0: "),
        Err(_) if text.starts_with("localhost") => remedy("localhost is 127.0.0.1 or [::1]: "),
        Err(_) if text.parse::<IpAddr>().is_ok() => remedy("the port is missing: "),
        Err(_) => remedy(""),
    }
}

/// "*", "unix", "10.0.0.0/8", "::1".
pub(super) fn address_match(text: &str) -> Result<AddressMatch, Remedy> {
    let remedy = || r#"use "*", "unix", an address, or a range such as "10.0.0.0/8" or "fd00::/8""#.to_owned();
    match text {
        "*" => return Ok(AddressMatch::Any),
        "unix" => return Ok(AddressMatch::Unix),
        _ => {}
    }
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| remedy())?)),
        None => (text, None),
    };
    let network: IpAddr = address.parse().map_err(|_| remedy())?;
    let most = if network.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(most);
    if bits > most {
        return Err(format!("a range of this family has at most /{most}"));
    }
    // Clients that came in so are compared as IPv4: a rule that is written so is to meet them.
    let mapped = if let IpAddr::V6(v6) = network { v6.to_ipv4_mapped() } else { None };
    let (network, bits) = match (mapped, bits.checked_sub(MAPPED_BITS)) {
        (Some(v4), Some(bits)) => (IpAddr::V4(v4), bits),
        _ => (network, bits),
    };
    let network = match network {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask_v4(bits))),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask_v6(bits))),
    };
    Ok(AddressMatch::Range { network, bits })
}

/// `orders`, `public.orders`, `public."Orders"`, `*`.
pub(super) fn table_name(text: &str) -> Result<TableName, Remedy> {
    let remedy =
        || r#"use a name as in SQL: "orders", "public.orders", "public.\"Orders\"", or "*" alone for every table"#.to_owned();
    if text == "*" {
        return Ok(TableName::All);
    }
    let (first, rest) = identifier(text).ok_or_else(remedy)?;
    if rest.is_empty() {
        return Ok(TableName::Named { schema: None, name: first });
    }
    let (name, rest) = rest.strip_prefix('.').and_then(identifier).ok_or_else(remedy)?;
    if !rest.is_empty() {
        return Err(remedy());
    }
    Ok(TableName::Named { schema: Some(first), name })
}

/// One SQL identifier from the front. Unquoted ones fold ASCII to lower case, as Postgres does in UTF-8 databases.
fn identifier(text: &str) -> Option<(String, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted_identifier(quoted);
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    let starts_well = name.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
    starts_well.then(|| (name.to_ascii_lowercase(), rest))
}

/// After the opening quote; `""` is a quote.
fn quoted_identifier(mut text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    loop {
        let (part, rest) = text.split_once('"')?;
        name.push_str(part);
        match rest.strip_prefix('"') {
            Some(rest) => {
                name.push('"');
                text = rest;
            }
            None if name.is_empty() => return None,
            None => return Some((name, rest)),
        }
    }
}

/// The candidate that looks most like `text`.
pub(super) fn nearest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(text, candidate), candidate))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// "; did you mean x?", if anything comes close.
pub(super) fn did_you_mean<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    match nearest(text, candidates) {
        Some(candidate) if strsim::jaro_winkler(text, candidate) > 0.75 => {
            format!("; did you mean {candidate}?")
        }
        _ => String::new(),
    }
}
