//! Floor 0. Tests of the error table: these codes are an interface, drivers' retry rules read them.

use super::*;

fn wire(error: &Error) -> Vec<u8> {
    let mut out = Vec::new();
    error.encode(&mut out);
    out
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn each_kind_has_its_sqlstate_level_and_fate() {
    use Fate::{Close, Keep, Reset};
    use Severity::{Error, Fatal};
    let table: [(Kind, &[u8; 5], Severity, Fate); 15] = [
        (Kind::Protocol, b"08P01", Fatal, Close),
        (Kind::Auth, b"28P01", Fatal, Keep),
        (Kind::Unsupported, b"0A000", Error, Keep),
        (Kind::Config, b"F0000", Fatal, Keep),
        (Kind::Connect, b"08001", Error, Close),
        (Kind::CheckoutTimeout, b"53300", Error, Keep),
        (Kind::QueryTimeout, b"57014", Fatal, Close),
        (Kind::IdleInTransaction, b"25P03", Fatal, Reset),
        (Kind::IdleSession, b"57P05", Fatal, Keep),
        (Kind::ServerLost, b"08006", Fatal, Close),
        (Kind::ClientGone, b"08006", Fatal, Close),
        (Kind::Draining, b"57P01", Fatal, Keep),
        (Kind::TooLarge, b"54000", Fatal, Close),
        (Kind::Limit, b"53300", Fatal, Keep),
        (Kind::Internal, b"XX000", Fatal, Close),
    ];
    assert_eq!(table.map(|row| row.0), Kind::ALL, "the table lists every kind once, in order");
    for (kind, sqlstate, level, fate) in table {
        assert_eq!(kind.sqlstate(), SqlState(*sqlstate), "{kind}");
        assert_eq!(kind.level(), level, "{kind}");
        assert_eq!(kind.fate(), fate, "{kind}");
    }
}

#[test]
fn words_are_distinct_and_snake_case() {
    let mut words: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert!(words.iter().all(|word| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), Kind::ALL.len());
}

#[test]
fn the_response_has_postgres_layout() {
    let error = Error::new(Kind::CheckoutTimeout, "no server became free within 5s").with_hint("raise [pool] size");
    let mut expected = Vec::new();
    expected.extend_from_slice(b"SERROR\0VERROR\0C53300\0Mno server became free within 5s\0Hraise [pool] size\0\0");
    let len = (expected.len() + 4) as u32;
    let mut message = vec![b'E'];
    message.extend_from_slice(&len.to_be_bytes());
    message.extend_from_slice(&expected);
    assert_eq!(wire(&error), message);
}

#[test]
fn a_source_never_reaches_the_client() {
    let source = std::io::Error::other("password=hunter2");
    let error = Error::new(Kind::Connect, "cannot reach Postgres").with_source(source);
    assert!(!contains(&wire(&error), b"hunter2"));
    assert!(!error.to_string().contains("hunter2"));
    assert_eq!(StdError::source(&error).map(ToString::to_string).as_deref(), Some("password=hunter2"));
}

#[test]
fn a_nul_in_a_text_cannot_forge_a_field() {
    let response = wire(&Error::new(Kind::Protocol, "bad name a\0C00000"));
    assert!(contains(&response, b"Mbad name a\0"));
    assert!(!contains(&response, b"\0C00000"));
}

#[test]
fn before_the_session_starts_every_error_is_fatal() {
    let error = Error::new(Kind::Connect, "cannot reach Postgres").fatal();
    assert_eq!(error.level(), Severity::Fatal);
    assert!(contains(&wire(&error), b"SFATAL\0VFATAL\0C08001\0"));
}

#[test]
fn a_narrower_sqlstate_replaces_the_kinds_own() {
    let error = Error::new(Kind::Auth, "no such database").with_sqlstate(SqlState(*b"3D000"));
    assert_eq!(error.kind(), Kind::Auth);
    assert!(contains(&wire(&error), b"C3D000\0"));
}

#[test]
fn a_violation_keeps_its_words_and_code() {
    let violation = Violation::MessageLength;
    let error = Error::from(violation);
    assert_eq!(error.kind(), Kind::Protocol);
    assert_eq!(error.sqlstate(), violation.sqlstate());
    assert_eq!(error.message(), violation.to_string());
    assert_eq!(error.level(), Severity::Fatal);
    assert_eq!(Error::from(Violation::TrailingBytes).level(), Severity::Error);
}
