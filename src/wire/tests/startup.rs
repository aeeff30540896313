//! Floor 0. Startup packets: what Postgres accepts, what it refuses, and what it says about versions.

use proptest::collection::vec;
use proptest::prelude::*;

use super::samples::{any_text, body_of};
use crate::pg::BackendKey;
use crate::wire::Violation;
use crate::wire::backend::NegotiateProtocolVersion;
use crate::wire::startup::{self, MAX_LEN, Packet, StartupMessage, Version, decode, negotiate};

const NONE: [(&str, &str); 0] = [];

fn packet(number: u32, rest: &[u8]) -> Vec<u8> {
    let len = u32::try_from(8 + rest.len()).unwrap();
    [&len.to_be_bytes()[..], &number.to_be_bytes(), rest].concat()
}

fn message(rest: &[u8]) -> Result<StartupMessage, Violation> {
    match decode(&packet(Version::V3_0.number(), rest)) {
        Ok(Some((Packet::Startup(message), _))) => Ok(message),
        Err(violation) => Err(violation),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn round_trip(minor: u16, parameters in vec((any_text(), any_text()), 0..8)) {
        let version = Version { major: 3, minor };
        let written: Vec<_> = parameters.into_iter().filter(|(name, _)| !name.is_empty()).collect();
        let mut out = Vec::new();
        startup::startup(version, written.iter().copied(), &mut out);
        for cut in 0..out.len() {
            prop_assert_eq!(decode(&out[..cut]), Ok(None));
        }
        let len = out.len();
        out.extend_from_slice(b"behind");
        let Ok(Some((Packet::Startup(read), taken))) = decode(&out) else { panic!("not a startup message") };
        prop_assert_eq!(taken, len);
        prop_assert_eq!(read.version, version);
        prop_assert_eq!(read.parameters().collect::<Vec<_>>(), written.clone());
        prop_assert_eq!(StartupMessage::new(version, written), read.clone());
        let mut again = Vec::new();
        read.encode(&mut again);
        prop_assert_eq!(&again, &out[..len]);
    }

    #[test]
    fn random_packet(rest in vec(prop_oneof![Just(0_u8), any::<u8>()], 0..300), number: u32) {
        let version = Version { major: 3, minor: 0 }.number();
        for number in [number, version, startup::code::CANCEL_REQUEST] {
            if let Ok(Some((Packet::Startup(message), len))) = decode(&packet(number, &rest)) {
                prop_assert_eq!(len, 8 + rest.len());
                let _ = (message.user(), message.database(), message.negotiate(), format!("{message:?}"));
                let mut again = Vec::new();
                message.encode(&mut again);
                prop_assert_eq!(again, packet(number, &rest));
            }
        }
    }

    #[test]
    fn cancel(pid: i32, secret in vec(any::<u8>(), 4..=256)) {
        let key = BackendKey { pid, secret: secret.into() };
        let mut out = Vec::new();
        startup::cancel(&key, &mut out);
        for cut in 0..out.len() {
            prop_assert_eq!(decode(&out[..cut]), Ok(None));
        }
        let len = out.len();
        prop_assert_eq!(decode(&out), Ok(Some((Packet::Cancel(key), len))));
    }
}

#[test]
fn requests() {
    let mut out = Vec::new();
    startup::ssl_request(&mut out);
    startup::gss_enc_request(&mut out);
    assert_eq!(out, b"\0\0\0\x08\x04\xd2\x16\x2f\0\0\0\x08\x04\xd2\x16\x30");
    assert_eq!(decode(&out), Ok(Some((Packet::SslRequest, 8))));
    assert_eq!(decode(&out[8..]), Ok(Some((Packet::GssEncRequest, 8))));
}

#[test]
fn lengths_are_judged_at_once() {
    for len in [0, 1, 7, 10_005, 1 << 31, u32::MAX] {
        assert_eq!(decode(&len.to_be_bytes()), Err(Violation::StartupLength), "{len}");
    }
    assert_eq!(decode(b"GET "), Err(Violation::StartupLength));
    assert_eq!(decode(b"\x16\x03\x01\x02"), Err(Violation::StartupLength));
    assert_eq!(decode(&[0, 0, 0x27]), Ok(None));

    let mut out = Vec::new();
    startup::startup(Version::V3_0, [("user", "u".repeat(MAX_LEN - 11))], &mut out);
    assert_eq!(out.len(), MAX_LEN + 4);
    assert!(matches!(decode(&out), Ok(Some(_))));
}

#[test]
fn layout() {
    let refused = Err(Violation::StartupLayout);
    assert_eq!(message(b""), refused);
    assert_eq!(message(b"user\0"), refused);
    assert_eq!(message(b"user\0me"), refused);
    assert_eq!(message(b"user\0me\0"), refused);
    assert_eq!(message(b"user\0me\0\0\0"), refused);
    assert_eq!(message(b"\0user\0me\0\0"), refused);
    assert!(message(b"user\0me\0\0").is_ok());
    assert_eq!(Violation::StartupLayout.to_string(), "invalid startup packet layout: expected terminator as last byte");
}

#[test]
fn cancel_secrets() {
    for (len, accepted) in [(0, false), (3, false), (4, true), (32, true), (256, true), (257, false)] {
        let buf = packet(startup::code::CANCEL_REQUEST, &[&[0, 0, 0, 9][..], &vec![7; len]].concat());
        assert_eq!(matches!(decode(&buf), Ok(Some((Packet::Cancel(_), _)))), accepted, "{len}");
    }
    let short = packet(startup::code::CANCEL_REQUEST, &[0, 0]);
    assert_eq!(decode(&short), Err(Violation::InsufficientData));
}

#[test]
fn user_and_database() {
    let read = message(b"user\0me\0database\0\0application_name\0x\0user\0you\0\0").unwrap();
    assert_eq!(read.user(), Ok(&b"you"[..]));
    assert_eq!(read.database(), Ok(&b"you"[..]));
    assert_eq!(read.get("application_name"), Some(&b"x"[..]));
    assert_eq!(read.get("options"), None);

    for nobody in [&b"\0"[..], b"user\0\0\0", b"database\0d\0\0"] {
        assert_eq!(message(nobody).unwrap().user(), Err(Violation::NoUser));
    }
    assert_eq!(Violation::NoUser.sqlstate().as_str(), "28000");

    let long = StartupMessage::new(Version::V3_0, [("user", "u".repeat(70)), ("database", "d".repeat(64))]);
    assert_eq!(long.user().unwrap().len(), 63);
    assert_eq!(long.database().unwrap(), "d".repeat(63).as_bytes());
}

#[test]
fn versions() {
    let answer = |minor, options: &[&'static [u8]]| {
        negotiate(Version { major: 3, minor }, options.iter().copied()).map(|answer| (answer.newest_minor, answer.unknown))
    };
    const V3_0: i32 = 196_608;
    const V3_2: i32 = 196_610;
    assert_eq!(answer(0, &[]), None);
    assert_eq!(answer(2, &[]), None);
    assert_eq!(answer(1, &[]), Some((V3_0, vec![])));
    assert_eq!(answer(3, &[]), Some((V3_2, vec![])));
    assert_eq!(answer(9999, &[]), Some((V3_2, vec![])));
    assert_eq!(answer(u16::MAX, &[]), Some((V3_2, vec![])));
    assert_eq!(answer(0, &[b"_pq_.a"]), Some((V3_0, vec![&b"_pq_.a"[..]])));
    assert_eq!(answer(2, &[b"_pq_.a", b"_pq_.b"]), Some((V3_2, vec![&b"_pq_.a"[..], b"_pq_.b"])));
}

#[test]
fn protocol_options_are_found() {
    let parameters = [("user", "me"), ("_pq_.compression", "on"), ("_pq", "x"), ("_pq_.", "y")];
    let read = StartupMessage::new(Version::V3_2, parameters);
    let answer = read.negotiate().unwrap();
    assert_eq!(answer.unknown, [&b"_pq_.compression"[..], b"_pq_."]);
    let body = body_of(|out| answer.encode(out));
    assert_eq!(body, b"\0\x03\0\x02\0\0\0\x02_pq_.compression\0_pq_.\0");
    assert_eq!(NegotiateProtocolVersion::decode(body), Ok(answer));
    assert_eq!(StartupMessage::new(Version::V3_0, NONE).negotiate(), None);
}

#[test]
fn other_major_versions() {
    for (number, version) in [(0x0002_0000, "2.0"), (0x0004_0000, "4.0"), (0, "0.0"), (80_877_105, "1234.5681")] {
        let violation = decode(&packet(number, b"\0")).unwrap_err();
        assert_eq!(violation.to_string(), format!("unsupported frontend protocol {version}: server supports 3.0 to 3.2"));
        assert_eq!(violation.sqlstate().as_str(), "0A000");
        assert!(violation.is_fatal());
    }
}
