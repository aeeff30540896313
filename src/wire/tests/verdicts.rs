//! Floor 0. The same verdicts as Postgres, in the same words. Texts and order of checks: tcop/postgres.c, libpq/pqformat.c.

use super::samples::leak;
use crate::pg::TransactionStatus;
use crate::wire::backend::{self, Authentication, BackendKeyData, Mechanisms, ReadyForQuery};
use crate::wire::diagnostics::Fields;
use crate::wire::frontend::{Bind, Message, Password};
use crate::wire::{Formats, Violation};

fn verdict(tag: u8, body: &'static [u8]) -> String {
    match Message::decode(tag, body) {
        Ok(message) => format!("{message:?}"),
        Err(violation) => format!("{} {violation}", violation.sqlstate()),
    }
}

#[test]
fn frontend_texts() {
    let cases: &[(u8, &[u8], &str)] = &[
        (b'Q', b"select 1", "08P01 invalid string in message"),
        (b'Q', b"", "08P01 invalid string in message"),
        (b'Q', b"select 1\0x", "08P01 invalid message format"),
        (b'P', b"s\0select 1\0\0", "08P01 insufficient data left in message"),
        (b'P', b"s\0select 1\0\0\x01\0\0\0", "08P01 insufficient data left in message"),
        (b'P', b"s\0select 1\0\0\0\0", "08P01 invalid message format"),
        (b'B', b"p", "08P01 invalid string in message"),
        (b'D', b"", "08P01 no data left in message"),
        (b'D', b"Xs\0", "08P01 invalid DESCRIBE message subtype 88"),
        (b'D', b"Xs\0more", "08P01 invalid message format"),
        (b'C', b"\x01\0", "08P01 invalid CLOSE message subtype 1"),
        (b'C', b"S", "08P01 invalid string in message"),
        (b'E', b"\0\0\0\0", "08P01 insufficient data left in message"),
        (b'E', b"\0\0\0\0\0\0", "08P01 invalid message format"),
        (b'S', b"x", "08P01 invalid message format"),
        (b'H', b"x", "08P01 invalid message format"),
        (b'F', b"\0\0\0\x01\0\0\0\x01\xff\xff\xff\xfe\0\0", "08P01 invalid argument size -2 in function call message"),
        (b'F', b"\0\0\0\x01\0\0\0\x01\0\0\0\x09x\0\0", "08P01 insufficient data left in message"),
        (b'y', b"", "08P01 invalid frontend message type 121"),
        (b'X', b"ignored", "Terminate"),
        (b'c', b"ignored", "CopyDone"),
    ];
    for (tag, body, expected) in cases {
        assert_eq!(verdict(*tag, body), *expected, "{} {body:?}", char::from(*tag));
    }
}

#[test]
fn bind_rest() {
    let parameters = |rest: &[u8]| Bind { portal: b"", statement: b"", rest: leak(rest) }.parameters();
    // one format, two values of which one NULL, two result formats: no verdict on whether they fit each other
    let rest = b"\0\x01\0\x01\0\x02\xff\xff\xff\xff\0\0\0\x02ab\0\x02\0\0\0\x01";
    let read = parameters(rest).unwrap();
    assert_eq!(read.formats.iter().collect::<Vec<_>>(), [1]);
    assert_eq!(read.values.iter().collect::<Vec<_>>(), [None, Some(&b"ab"[..])]);
    assert_eq!(read.result_formats.iter().collect::<Vec<_>>(), [0, 1]);
    for cut in 0..rest.len() {
        assert_eq!(parameters(&rest[..cut]), Err(Violation::InsufficientData), "{cut}");
    }
    assert_eq!(parameters(b"\0\0\0\0\0\0x"), Err(Violation::TrailingBytes));
    assert_eq!(parameters(b"\0\0\0\x01\xff\xff\xff\xfe\0\0"), Err(Violation::InsufficientData));
    assert_eq!(parameters(b"\0\0\0\x01\x7f\xff\xff\xff\0\0"), Err(Violation::InsufficientData));
}

#[test]
fn format_that_holds() {
    let formats = |bytes: &'static [u8]| Formats::from_bytes(bytes).unwrap();
    assert_eq!(formats(b"").of(3), 0);
    assert_eq!(formats(b"\0\x01").of(3), 1);
    assert_eq!(formats(b"\0\x01\0\0").of(0), 1);
    assert_eq!(formats(b"\0\x01\0\0").of(1), 0);
    assert_eq!(Formats::from_bytes(b"\0"), None);
}

#[test]
fn passwords() {
    let text = |data| Password { data }.text();
    assert_eq!(text(b"secret\0"), Ok(&b"secret"[..]));
    assert_eq!(text(b"\0"), Ok(&b""[..]));
    assert_eq!(text(b"secret"), Err(Violation::PasswordSize));
    assert_eq!(text(b"sec\0ret\0"), Err(Violation::PasswordSize));
    assert_eq!(format!("{:?}", Password { data: b"secret\0" }), "Password(7 bytes)");
}

#[test]
fn server_faults() {
    assert_eq!(ReadyForQuery::decode(b"E"), Ok(ReadyForQuery { status: TransactionStatus::Failed }));
    assert_eq!(ReadyForQuery::decode(b"X"), Err(Violation::TransactionStatus(b'X')));
    assert_eq!(ReadyForQuery::decode(b"II"), Err(Violation::TrailingBytes));
    assert_eq!(backend::Message::decode(b'?', b""), Err(Violation::BackendTag(b'?')));
    assert_eq!(BackendKeyData::decode(b"\0\0\0\x01abc"), Err(Violation::MessageLength));
    assert_eq!(BackendKeyData::decode(b"\0\0\0\x01"), Err(Violation::MessageLength));
    assert!(BackendKeyData::decode(&[1; 4 + 256]).is_ok());
    assert!(BackendKeyData::decode(&[1; 4 + 257]).is_err());
}

#[test]
fn error_without_sqlstate_is_still_an_error() {
    let fields = Fields::decode(b"SERROR\0Mno\0\0").unwrap();
    assert_eq!((fields.sqlstate(), fields.message()), (None, &b"no"[..]));
    assert_eq!(Fields::decode(b"C0A0\0\0").unwrap().sqlstate(), None);
    assert_eq!(Fields::decode(b"\0").unwrap().message(), b"");
    assert_eq!(Fields::decode(b""), Err(Violation::NoDataLeft));
    assert_eq!(Fields::decode(b"Mno\0"), Err(Violation::NoDataLeft));
    assert_eq!(Fields::decode(b"Mno"), Err(Violation::InvalidString));
}

#[test]
fn sasl_mechanisms() {
    let body = b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
    let Ok(Authentication::Sasl { mechanisms }) = Authentication::decode(body) else { panic!("not SASL") };
    assert_eq!(mechanisms, Mechanisms::SCRAM_SHA_256_PLUS);
    assert!(mechanisms.contains("SCRAM-SHA-256") && !mechanisms.contains("SCRAM"));
    assert_eq!(Authentication::decode(b"\0\0\0\x0aSCRAM-SHA-256\0"), Err(Violation::InvalidString));
}
