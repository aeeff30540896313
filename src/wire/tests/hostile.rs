//! Floor 0. Cut, bent and random bytes: a verdict each time, never a panic, never more memory than the input asks for.

use proptest::collection::vec;
use proptest::prelude::*;

use super::samples::{any_text, backend_message, frontend_message};
use crate::wire::frontend::{self, SaslInitialResponse};
use crate::wire::{Frame, Header, Violation, backend, startup};

/// Reads everything a frontend body can be read as, lists to their ends.
fn read_frontend(tag: u8, body: &[u8]) -> Result<Vec<u8>, Violation> {
    let message = frontend::Message::decode(tag, body)?;
    let mut out = Vec::new();
    message.encode(&mut out);
    let again = frontend::Message::decode(tag, &out[Header::LEN..]);
    assert_eq!(again, Ok(message), "what is accepted is understood the same when passed on");
    if let frontend::Message::Bind(bind) = message
        && let Ok(parameters) = bind.parameters()
    {
        assert_eq!(parameters.values.iter().count(), parameters.values.len());
        let mut rest = Vec::new();
        parameters.encode(&mut rest);
        assert_eq!(rest, bind.rest);
    }
    if let frontend::Message::Password(password) = message {
        let _ = password.text();
        let _ = SaslInitialResponse::decode(password.data);
    }
    Ok(out)
}

fn read_backend(tag: u8, body: &[u8]) -> Result<Vec<u8>, Violation> {
    let message = backend::Message::decode(tag, body)?;
    let mut out = Vec::new();
    message.encode(&mut out);
    let again = backend::Message::decode(tag, &out[Header::LEN..]);
    assert_eq!(again.as_ref(), Ok(&message));
    if let backend::Message::RowDescription(columns) = message {
        assert_eq!(columns.iter().count(), columns.len());
    }
    let _ = format!("{message:?}");
    Ok(out)
}

proptest! {
    #[test]
    fn frontend_cut_anywhere(message in frontend_message(any_text())) {
        let mut out = Vec::new();
        message.encode(&mut out);
        for cut in 0..out.len() {
            prop_assert_eq!(Frame::split(&out[..cut], usize::MAX), Ok(None));
            if cut >= Header::LEN {
                let shorter = frontend::Message::decode(out[0], &out[Header::LEN..cut]);
                prop_assert_ne!(shorter, Ok(message));
                let _ = read_frontend(out[0], &out[Header::LEN..cut]);
            }
        }
    }

    #[test]
    fn backend_cut_anywhere(message in backend_message(any_text())) {
        let mut out = Vec::new();
        message.encode(&mut out);
        for cut in 0..out.len() {
            prop_assert_eq!(Frame::split(&out[..cut], usize::MAX), Ok(None));
            if cut >= Header::LEN {
                let shorter = backend::Message::decode(out[0], &out[Header::LEN..cut]);
                prop_assert_ne!(shorter.as_ref(), Ok(&message));
                let _ = read_backend(out[0], &out[Header::LEN..cut]);
            }
        }
    }

    #[test]
    fn frontend_bent(message in frontend_message(any_text()), at in any::<prop::sample::Index>(), byte: u8) {
        let mut out = Vec::new();
        message.encode(&mut out);
        if out.len() > Header::LEN {
            let body = &mut out[Header::LEN..];
            body[at.index(body.len())] = byte;
        }
        let read = read_frontend(out[0], &out[Header::LEN..]);
        // a NUL in the reason of a CopyFail leaves bytes behind it, which Postgres ignores too
        if let Ok(written) = read && !matches!(message, frontend::Message::CopyFail(_)) {
            prop_assert_eq!(written, out);
        }
    }

    #[test]
    fn backend_bent(message in backend_message(any_text()), at in any::<prop::sample::Index>(), byte: u8) {
        let mut out = Vec::new();
        message.encode(&mut out);
        if out.len() > Header::LEN {
            let body = &mut out[Header::LEN..];
            body[at.index(body.len())] = byte;
        }
        let read = read_backend(out[0], &out[Header::LEN..]);
        if let Ok(written) = read && !matches!(message, backend::Message::Authentication(_)) {
            prop_assert_eq!(written, out);
        }
    }

    #[test]
    fn random_bytes(tag: u8, bytes in vec(any::<u8>(), 0..200)) {
        let _ = read_frontend(tag, &bytes);
        let _ = read_backend(tag, &bytes);
        let _ = Header::peek(&bytes);
        if let Ok(Some((frame, rest))) = Frame::split(&bytes, usize::MAX) {
            prop_assert_eq!(frame.body.len() + Header::LEN + rest.len(), bytes.len());
        }
        if let Ok(Some((_, len))) = startup::decode(&bytes) {
            prop_assert!(len <= bytes.len());
        }
    }

    /// Bodies of mostly zeros and small numbers get further into the decoders than even noise does.
    #[test]
    fn small_numbers(tag: u8, bytes in vec(prop_oneof![Just(0_u8), 0_u8..5, Just(255), any::<u8>()], 0..60)) {
        let _ = read_frontend(tag, &bytes);
        let _ = read_backend(tag, &bytes);
    }
}

#[test]
fn header_lengths() {
    let header = |word: u32| {
        let mut buf = vec![b'Q'];
        buf.extend_from_slice(&word.to_be_bytes());
        Header::peek(&buf)
    };
    for word in [0, 3, Header::MAX_WORD + 1, 1 << 31, u32::MAX] {
        assert_eq!(header(word), Err(Violation::MessageLength), "{word}");
    }
    assert_eq!(header(4), Ok(Some(Header { tag: b'Q', len: 5 })));
    assert_eq!(header(Header::MAX_WORD).unwrap().unwrap().body_len(), (1 << 30) - 1);
    assert_eq!(Header::peek(b"Q\0\0\0"), Ok(None));
}

#[test]
fn limits_hold_before_the_body_has_arrived() {
    let buf = b"S\0\0\x27\x11"; // 10001
    let limit = frontend::limit(b'S').unwrap();
    assert_eq!(Frame::split(buf, limit), Err(Violation::MessageLength));
    let buf = b"S\0\0\x27\x10";
    assert_eq!(Frame::split(buf, limit), Ok(None));
    assert_eq!(frontend::limit(b'p'), Err(Violation::FrontendTag(b'p')));
    assert_eq!(frontend::limit(0), Err(Violation::FrontendTag(0)));
}

#[test]
fn counts_without_their_items() {
    // 65535 parameters, values, columns or names announced, none there
    for tag in 0..=u8::MAX {
        for body in [&b"\xff\xff"[..], b"\0\0\xff\xff", b"\0\0\0\0\xff\xff", b"\0\0\0\0\xff\xff\xff\xff"] {
            let _ = read_frontend(tag, body);
            let _ = read_backend(tag, body);
        }
    }
    assert_eq!(backend::DataRow::decode(b"\xff\xff"), Err(Violation::InsufficientData));
    let negotiate = backend::NegotiateProtocolVersion::decode(b"\0\x03\0\x02\xff\xff\xff\xffx\0");
    assert_eq!(negotiate, Err(Violation::InvalidString));
}
