//! Floor 3. Who may ask, and who may change something.
//!
//! The endpoint listens on loopback by default and a browser on that machine can reach it for any web page. Three things keep
//! such pages out: a Host that is a name of somebody else's is refused (DNS rebinding makes a page same-origin with us, but not
//! change the name it was loaded under); a changing call that carries an Origin is refused; and it must be JSON, which no
//! HTML form can send.

use std::net::{IpAddr, SocketAddr};

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, ORIGIN};

/// A refusal: status and why.
pub(super) type Refusal = (StatusCode, &'static str);

/// Refuses what a web page could have been tricked into reading. Peers elsewhere are not checked: they use whatever name leads here.
pub(super) fn may_read(headers: &HeaderMap, peer: SocketAddr) -> Result<(), Refusal> {
    if !is_loopback(peer) || headers.get(HOST).is_none() || has_own_host(headers) {
        return Ok(());
    }
    Err((StatusCode::MISDIRECTED_REQUEST, "the Host header must be an address or localhost"))
}

/// Refuses a changing call unless it has the token, or there is none and the peer is on this machine.
pub(super) fn may_change(headers: &HeaderMap, peer: SocketAddr, token: Option<&str>) -> Result<(), Refusal> {
    match token {
        Some(token) if !has_token(headers, token) => {
            return Err((StatusCode::UNAUTHORIZED, "needs Authorization: Bearer with the token of [admin]"));
        }
        None if !is_loopback(peer) => {
            return Err((StatusCode::FORBIDDEN, "without [admin] token only this machine may change anything"));
        }
        None if !has_own_host(headers) => {
            return Err((StatusCode::MISDIRECTED_REQUEST, "the Host header must be an address or localhost"));
        }
        Some(_) | None => {}
    }
    if headers.contains_key(ORIGIN) {
        return Err((StatusCode::FORBIDDEN, "not from a web page"));
    }
    if !is_json(headers) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "needs Content-Type: application/json"));
    }
    Ok(())
}

fn is_loopback(peer: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback()
}

fn has_own_host(headers: &HeaderMap) -> bool {
    let Some(host) = text(headers, &HOST) else {
        return false;
    };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = text(headers, &CONTENT_TYPE).and_then(|value| value.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn has_token(headers: &HeaderMap, token: &str) -> bool {
    let given = text(headers, &AUTHORIZATION).and_then(|value| value.split_once(' '));
    given.is_some_and(|(scheme, given)| scheme.eq_ignore_ascii_case("bearer") && is_equal(given.trim(), token))
}

/// Compares digests, so that the time taken tells neither the length nor the first byte that differs.
fn is_equal(a: &str, b: &str) -> bool {
    let digest = |text: &str| ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let (a, b) = (digest(a), digest(b));
    a.as_ref().iter().zip(b.as_ref()).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    // Two values of one of these headers are somebody's trick: then there is none.
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.to_str().ok())?
}
