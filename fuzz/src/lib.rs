//! Fuzz targets as plain functions: bytes in, a panic if a promise is broken.

use pgdial::wire::{Frame, Header, Oids, backend, diagnostics, frontend, startup as packets};

/// A target: its name, what it does with bytes, and inputs to begin from.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All targets.
pub const TARGETS: [Target; 3] = [
    ("startup", startup, startup_seeds),
    ("frontend", frontend, frontend_seeds),
    ("backend", backend, backend_seeds),
];

/// Startup packets back to back, as before and after an SSLRequest.
pub fn startup(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some((packet, len))) = packets::decode(rest) {
        assert!((8..=packets::MAX_LEN + 4).contains(&len));
        if let packets::Packet::Startup(message) = packet {
            let mut again = Vec::new();
            message.encode(&mut again);
            assert_eq!(again, &rest[..len]);
            let _ = (message.user(), message.database());
            if let Some(answer) = message.negotiate() {
                answer.encode(&mut again);
                assert_eq!(
                    backend::NegotiateProtocolVersion::decode(&again[len + 5..]),
                    Ok(answer)
                );
            }
        }
        rest = &rest[len..];
    }
}

/// A client's stream after login.
pub fn frontend(data: &[u8]) {
    each_frame(data, |frame| {
        let Ok(message) = frontend::Message::decode(frame.tag, frame.body) else {
            return;
        };
        let mut again = Vec::new();
        message.encode(&mut again);
        assert_eq!(
            frontend::Message::decode(frame.tag, &again[Header::LEN..]),
            Ok(message)
        );
        if let frontend::Message::Bind(bind) = message
            && let Ok(parameters) = bind.parameters()
        {
            let mut rest = Vec::new();
            parameters.encode(&mut rest);
            assert_eq!(rest, bind.rest);
            assert_eq!(parameters.values.iter().count(), parameters.values.len());
        }
    });
}

/// A server's stream.
pub fn backend(data: &[u8]) {
    each_frame(data, |frame| {
        let Ok(message) = backend::Message::decode(frame.tag, frame.body) else {
            return;
        };
        let mut again = Vec::new();
        message.encode(&mut again);
        assert_eq!(
            backend::Message::decode(frame.tag, &again[Header::LEN..]).as_ref(),
            Ok(&message)
        );
        if let backend::Message::RowDescription(columns) = message {
            assert_eq!(columns.iter().count(), columns.len());
            let mut out = Vec::new();
            assert!(backend::RowDescription::with_formats(frame.body, &[1], &mut out).is_ok());
            assert_eq!(out.len(), again.len());
        }
    });
}

fn each_frame(data: &[u8], mut see: impl FnMut(Frame<'_>)) {
    let mut rest = data;
    while let Ok(Some((frame, behind))) = Frame::split(rest, usize::MAX) {
        assert_eq!(Header::LEN + frame.body.len() + behind.len(), rest.len());
        see(frame);
        rest = behind;
    }
}

fn startup_seeds() -> Vec<Vec<u8>> {
    let mut stream = Vec::new();
    packets::ssl_request(&mut stream);
    packets::gss_enc_request(&mut stream);
    let parameters = [
        ("user", "me"),
        ("database", "app"),
        ("options", "-c a=b"),
        ("_pq_.x", "1"),
    ];
    packets::startup(packets::Version::V3_2, parameters, &mut stream);
    let mut cancel = Vec::new();
    let key = pgdial::pg::BackendKey {
        pid: 7,
        secret: [9; 32].into(),
    };
    packets::cancel(&key, &mut cancel);
    vec![stream, cancel]
}

fn frontend_seeds() -> Vec<Vec<u8>> {
    let mut extended = Vec::new();
    let types = Oids::from_bytes(b"\0\0\0\x17\0\0\0\x19").unwrap_or_default();
    frontend::Parse {
        name: b"s",
        text: b"select $1",
        types,
    }
    .encode(&mut extended);
    let values = [None, Some(&b"42"[..])];
    frontend::bind(b"p", b"s", &[0, 1], values.into_iter(), &[1], &mut extended);
    frontend::Describe {
        target: frontend::Target::Portal,
        name: b"p",
    }
    .encode(&mut extended);
    frontend::Execute {
        portal: b"p",
        max_rows: 10,
    }
    .encode(&mut extended);
    frontend::Close {
        target: frontend::Target::Statement,
        name: b"s",
    }
    .encode(&mut extended);
    frontend::sync(&mut extended);
    let mut others = Vec::new();
    frontend::Query { text: b"select 1" }.encode(&mut others);
    others.extend_from_slice(b"F\0\0\0\x15\0\0\0\x01\0\x01\0\x01\0\x01\0\0\0\x01x\0\0");
    frontend::CopyData { data: b"1\t2\n" }.encode(&mut others);
    frontend::CopyFail { message: b"no" }.encode(&mut others);
    frontend::password(b"secret", &mut others);
    vec![extended, others]
}

fn backend_seeds() -> Vec<Vec<u8>> {
    let mut login = Vec::new();
    let mechanisms = backend::Mechanisms::SCRAM_SHA_256_PLUS;
    backend::Authentication::Sasl { mechanisms }.encode(&mut login);
    backend::Authentication::Md5Password { salt: [1; 4] }.encode(&mut login);
    backend::ParameterStatus {
        name: b"TimeZone",
        value: b"UTC",
    }
    .encode(&mut login);
    backend::BackendKeyData {
        pid: 7,
        secret: &[9; 4],
    }
    .encode(&mut login);
    let mut rows = Vec::new();
    rows.extend_from_slice(b"T\0\0\0\x1a\0\x01x\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0");
    backend::data_row([None, Some(&b"42"[..])].into_iter(), &mut rows);
    backend::CommandComplete { tag: b"SELECT 1" }.encode(&mut rows);
    backend::ready_for_query(pgdial::pg::TransactionStatus::Idle, &mut rows);
    let mut others = Vec::new();
    let error = [(b'S', &b"ERROR"[..]), (b'C', b"42601"), (b'M', b"no")];
    diagnostics::encode_fields(backend::tag::ERROR_RESPONSE, error.into_iter(), &mut others);
    backend::NotificationResponse {
        pid: 7,
        channel: b"c",
        payload: b"",
    }
    .encode(&mut others);
    others.extend_from_slice(b"G\0\0\0\x0b\0\0\x02\0\0\0\x01");
    vec![login, rows, others]
}

#[test]
fn seeds_are_whole() {
    let mut seen = 0;
    for seed in frontend_seeds() {
        each_frame(&seed, |frame| {
            assert!(
                frontend::Message::decode(frame.tag, frame.body).is_ok(),
                "{frame:?}"
            );
            seen += Header::LEN + frame.body.len();
        });
    }
    for seed in backend_seeds() {
        each_frame(&seed, |frame| {
            assert!(
                backend::Message::decode(frame.tag, frame.body).is_ok(),
                "{frame:?}"
            );
            seen += Header::LEN + frame.body.len();
        });
    }
    let all = frontend_seeds().into_iter().chain(backend_seeds());
    assert_eq!(seen, all.map(|seed| seed.len()).sum());
    TARGETS
        .iter()
        .for_each(|(_, target, seeds)| seeds().iter().for_each(|seed| target(seed)));
}
