//! Floor 1. Tests. The RFC's own exchange, another implementation as the peer, and bytes nobody should send.

use super::*;
use crate::config::Secret;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use proptest::prelude::*;
use std::num::NonZeroU32;
use std::sync::Arc;

mod bound;
mod guesses;

const FEW: NonZeroU32 = NonZeroU32::new(16).unwrap();

fn verifier(password: &str) -> Arc<ScramVerifier> {
    Arc::new(ScramVerifier::derive(password.as_bytes(), b"0123456789abcdef", FEW))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_exchange_of_rfc_7677() {
    let salt = [0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81];
    let verifier = ScramVerifier::derive(b"pencil", &salt, DEFAULT_ITERATIONS);
    let mut server = ServerScram::new(Arc::new(verifier), true, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
    let Step::Continue(first) = server.step(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap() else { panic!("no challenge") };
    assert_eq!(text(&first), "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    let last = server
        .step(b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    let Ok(Step::Done { message, .. }) = last else { panic!("refused: {last:?}") };
    assert_eq!(text(&message), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

/// Runs an exchange of the peer's client with our server.
fn login_with_postgres_protocol(server: &mut ServerScram, password: &str, binding: ChannelBinding) -> Result<(), Refusal> {
    let mut client = ScramSha256::new(password.as_bytes(), binding);
    let Step::Continue(challenge) = server.step(client.message())? else { panic!("over too early") };
    client.update(&challenge).unwrap();
    let Step::Done { message, .. } = server.step(client.message())? else { panic!("not over") };
    client.finish(&message).unwrap();
    Ok(())
}

#[test]
fn postgres_protocol_logs_in_with_either_header_and_awkward_passwords() {
    for password in ["secret", "!.,=%$ ", "pä$$wörd", "a\u{7}b", "p=x,r=y"] {
        for binding in [ChannelBinding::unsupported(), ChannelBinding::unrequested()] {
            let mut server = ServerScram::new(verifier(password), true, "servernonce");
            assert_eq!(login_with_postgres_protocol(&mut server, password, binding), Ok(()), "{password}");
        }
    }
}

#[test]
fn a_wrong_password_and_an_unknown_user_look_alike() {
    let mut wrong = ServerScram::new(verifier("secret"), true, "servernonce");
    let mut unknown = ServerScram::new(Arc::new(ScramVerifier::mock(&[7; 32], "nobody")), false, "servernonce");
    for server in [&mut wrong, &mut unknown] {
        let refused = login_with_postgres_protocol(server, "guess", ChannelBinding::unsupported());
        assert_eq!(refused, Err(Refusal::WrongPassword));
    }
}

#[test]
fn an_unknown_user_is_refused_even_with_a_fitting_proof() {
    let mut server = ServerScram::new(verifier("secret"), false, "servernonce");
    let refused = login_with_postgres_protocol(&mut server, "secret", ChannelBinding::unsupported());
    assert_eq!(refused, Err(Refusal::WrongPassword));
}

/// Our client against our server; the client key that the server learns makes the next login without the password.
#[test]
fn our_client_logs_in_by_password_and_by_keys() {
    let verifier = verifier("secret");
    let by_password = |challenge: &Challenge| ClientKeys::derive(b"secret", &challenge.salt, challenge.iterations);
    let client_key = exchange(&verifier, by_password).unwrap();
    let keys = ClientKeys::new(client_key, verifier.server_key);
    assert_eq!(exchange(&verifier, |_| keys.clone()), Ok(client_key));
    let wrong = exchange(&verifier, |challenge| ClientKeys::derive(b"other", &challenge.salt, challenge.iterations));
    assert_eq!(wrong, Err(Refusal::WrongPassword));
}

fn exchange(verifier: &Arc<ScramVerifier>, keys: impl FnOnce(&Challenge) -> ClientKeys) -> Result<[u8; 32], Refusal> {
    let mut server = ServerScram::new(Arc::clone(verifier), true, "servernonce");
    let mut client = ClientScram::new("clientnonce", Binding::None);
    let Step::Continue(first) = server.step(&client.first())? else { panic!("over too early") };
    let challenge = client.challenge(&first)?;
    let proof = client.proof(&keys(&challenge));
    let Step::Done { message, client_key } = server.step(&proof)? else { panic!("not over") };
    client.verify(&message)?;
    Ok(client_key)
}

#[test]
fn our_client_sees_through_a_server_that_does_not_know_the_password() {
    let mut client = ClientScram::new("abc", Binding::None);
    let challenge = client.challenge(b"r=abcdef,s=c2FsdA==,i=16").unwrap();
    client.proof(&ClientKeys::derive(b"secret", &challenge.salt, challenge.iterations));
    let forged = b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    assert_eq!(client.verify(forged), Err(Refusal::WrongServer));
    assert_eq!(client.verify(b"v=AAAA"), Err(Refusal::WrongServer));
    assert_eq!(client.verify(b"e=other-error"), Err(Refusal::WrongPassword));
    assert!(matches!(client.verify(b"v=!"), Err(Refusal::Malformed(_))));
}

#[test]
fn our_client_refuses_challenges() {
    let refused = |challenge: &str| ClientScram::new("abc", Binding::None).challenge(challenge.as_bytes()).unwrap_err();
    assert_eq!(refused("r=abcdef,s=c2FsdA==,i=1000001"), Refusal::TooManyIterations);
    assert_eq!(refused("r=xyzdef,s=c2FsdA==,i=16"), Refusal::WrongNonce);
    assert_eq!(refused("r=abc,s=c2FsdA==,i=16"), Refusal::WrongNonce);
    for malformed in ["", "r=abcdef", "r=abcdef,s=,i=16", "r=abcdef,s=c2FsdA==,i=0", "r=abcdef,s=c2FsdA==,i=+5", "m=x,r=abcdef"] {
        assert!(matches!(refused(malformed), Refusal::Malformed(_)), "{malformed}");
    }
    assert!(matches!(refused(&format!("r=abc{},s=c2FsdA==,i=16", "x".repeat(2000))), Refusal::Malformed(_)));
    assert!(matches!(ClientScram::new("abc", Binding::None).verify(b"v=AAAA"), Err(Refusal::Malformed(_))));
}

#[test]
fn the_confirmed_header_must_be_the_one_sent() {
    for (sent, confirmed) in [("n,,", "eSws"), ("y,,", "biws"), ("n,,", "AAAA"), ("n,,", "")] {
        let mut server = ServerScram::new(verifier("secret"), true, "server");
        server.step(format!("{sent}n=,r=client").as_bytes()).unwrap();
        let last = format!("c={confirmed},r=clientserver,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        assert_eq!(server.step(last.as_bytes()), Err(Refusal::Header), "{sent} {confirmed}");
    }
}

#[test]
fn first_messages_that_are_refused() {
    let refused = |message: &str| ServerScram::new(verifier("x"), true, "server").step(message.as_bytes()).unwrap_err();
    for unsupported in ["n,a=joe,n=,r=abc", "n,,m=ext,n=,r=abc"] {
        assert!(matches!(refused(unsupported), Refusal::Unsupported(_)), "{unsupported}");
    }
    let long = format!("n,,n=,r={}", "x".repeat(1024));
    for malformed in [
        "",
        "n",
        "n,,",
        "x,,n=,r=abc",
        "p=tls-server-end-point,,n=,r=abc",
        "n,,r=abc",
        "n,,n=,r=",
        "n,,n=,r=a\u{7f}",
        "n,,n=,r=a,,",
        &long,
    ] {
        assert!(matches!(refused(malformed), Refusal::Malformed(_)), "{malformed}");
    }
}

#[test]
fn final_messages_that_are_refused() {
    let proof = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let cases = [
        (format!("c=biws,r=clientother,p={proof}"), Refusal::WrongNonce),
        (format!("c=biws,r=client,p={proof}"), Refusal::WrongNonce),
        (format!("c=biws,r=clientserver,p={proof}"), Refusal::WrongPassword),
        (format!("r=clientserver,p={proof}"), Refusal::Malformed("channel binding expected")),
        (format!("c=biws,p={proof}"), Refusal::Malformed("nonce expected")),
        ("c=biws,r=clientserver".into(), Refusal::Malformed("proof expected")),
        ("c=biws,r=clientserver,p=AAAA".into(), Refusal::Malformed("proof expected")),
        (String::new(), Refusal::Malformed("proof expected")),
    ];
    for (message, refusal) in cases {
        let mut server = ServerScram::new(verifier("secret"), true, "server");
        server.step(b"n,,n=,r=client").unwrap();
        assert_eq!(server.step(message.as_bytes()), Err(refusal), "{message}");
        assert!(server.step(message.as_bytes()).is_err(), "an exchange that failed is over");
    }
}

#[test]
fn verifiers_keep_their_text() {
    let verifier = verifier("secret");
    assert_eq!(ScramVerifier::parse(&verifier.to_string()).as_ref(), Some(&*verifier));
    let of_postgres = postgres_protocol::password::scram_sha_256(b"secret");
    assert!(ScramVerifier::parse(&of_postgres).unwrap().prove(b"secret").is_some());
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for bad in [
        String::new(),
        "SCRAM-SHA-256$".into(),
        format!("SCRAM-SHA-256$0:c2FsdA==${key}:{key}"),
        format!("SCRAM-SHA-256$4096:${key}:{key}"),
        format!("SCRAM-SHA-256$4096:c2FsdA==${key}:AAAA"),
        format!("SCRAM-SHA-256$4294967296:c2FsdA==${key}:{key}"),
    ] {
        assert_eq!(ScramVerifier::parse(&bad), None, "{bad}");
        assert!(matches!(StoredPassword::parse(&bad), StoredPassword::Plain(_)));
    }
}

#[test]
fn md5_is_that_of_postgres() {
    let salt = [1, 2, 3, 4];
    let expected = postgres_protocol::authentication::md5_hash(b"joe", b"secret", salt);
    let stored = md5_password("joe", b"secret");
    assert_eq!(md5_response(&stored, salt), expected);
    for kept in ["secret", &stored] {
        let kept = StoredPassword::parse(kept);
        assert!(kept.matches_md5("joe", salt, expected.as_bytes()));
        assert!(!kept.matches_md5("joe", [0; 4], expected.as_bytes()));
        assert!(!kept.matches_md5("jim", salt, b"md5"));
    }
}

fn matches(stored: &StoredPassword, user: &str, given: &[u8]) -> bool {
    matches!(stored.matches_cleartext(user, given), Matched::Yes(_))
}

#[test]
fn cleartext_against_each_stored_form() {
    for stored in ["secret".to_owned(), md5_password("joe", b"secret"), verifier("secret").to_string()] {
        let stored = StoredPassword::parse(&stored);
        assert!(matches(&stored, "joe", b"secret"), "{stored:?}");
        for wrong in [&b"Secret"[..], b"secre", b"secrets", b""] {
            assert!(!matches(&stored, "joe", wrong), "{stored:?}");
        }
    }
}

#[test]
fn secrets_do_not_print() {
    let shown =
        format!("{:?} {:?} {:?}", StoredPassword::parse("hunter2"), verifier("hunter2"), ClientKeys::new([9; 32], [9; 32]));
    assert!(!shown.contains("hunter2") && !shown.contains('9'), "{shown}");
}

#[test]
fn a_plain_password_is_derived_once_and_again_when_it_changes() {
    let verifiers = Verifiers::new([3; 32]);
    let stored = StoredPassword::parse("secret");
    let Found::Derive(pending) = verifiers.find("joe", Some(&stored)) else { panic!("already there") };
    let derived = Arc::new(pending.derive());
    pending.cell.set(Arc::clone(&derived)).unwrap();
    let Found::Ready { verifier, known: true } = verifiers.find("joe", Some(&stored)) else { panic!("forgotten") };
    assert!(Arc::ptr_eq(&verifier, &derived));
    let changed = StoredPassword::parse("other");
    assert!(matches!(verifiers.find("joe", Some(&changed)), Found::Derive(_)));
}

#[test]
fn an_unknown_name_keeps_its_salt_and_has_one_like_a_known_name() {
    let verifiers = Verifiers::new([3; 32]);
    let salt = |user: &str, stored: Option<&StoredPassword>| match verifiers.find(user, stored) {
        Found::Ready { verifier, known } => (verifier.salt.clone(), known),
        Found::Derive(pending) => (pending.derive().salt, true),
    };
    assert_eq!(salt("nobody", None), salt("nobody", None));
    assert_ne!(salt("nobody", None), salt("noone", None));
    let stored = StoredPassword::parse("secret");
    assert_eq!(salt("joe", None).0, salt("joe", Some(&stored)).0);
    assert!(!salt("joe", Some(&StoredPassword::parse(""))).1, "an empty password lets nobody in");
}

proptest! {
    #[test]
    fn no_bytes_from_a_client_panic(first in proptest::collection::vec(any::<u8>(), 0..64), last in "(c=(biws|eSws),)?(r=clientserver,)?[ -~]{0,60}") {
        let mut server = ServerScram::new(verifier("secret"), true, "server");
        let _ = server.step(&first);
        let mut server = ServerScram::new(verifier("secret"), true, "server");
        server.step(b"n,,n=,r=client").unwrap();
        prop_assert!(server.step(last.as_bytes()).is_err());
    }

    #[test]
    fn no_bytes_from_a_server_panic(first in "(r=abc[!-+]{0,9},)?(s=[a-zA-Z0-9+/]{0,8}={0,2},)?(i=[0-9]{0,12})?[ -~]{0,20}", last in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut client = ClientScram::new("abc", Binding::None);
        if client.challenge(first.as_bytes()).is_ok() {
            client.proof(&ClientKeys::new([1; 32], [2; 32]));
        }
        prop_assert!(client.verify(&last).is_err());
    }

    #[test]
    fn any_text_may_be_a_stored_password(text in "(SCRAM-SHA-256\\$|md5)?[ -~]{0,90}", given in ".{0,20}") {
        let stored = StoredPassword::parse(&text);
        if matches!(stored, StoredPassword::Plain(_)) {
            prop_assert_eq!(matches(&stored, "joe", given.as_bytes()), text == given);
        }
    }
}
