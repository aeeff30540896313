//! Floor 1. Tests of channel binding, of what is read from certificates, and of logins made with another login's keys.

use super::*;

/// Runs an exchange of our client with our server. The client takes `seen` for the server's certificate.
fn exchange(offered: Option<&[u8]>, plus: bool, seen: Binding) -> Result<(), Refusal> {
    let verifier = verifier("secret");
    let mut server = ServerScram::new(verifier, true, "servernonce");
    if let Some(end_point) = offered {
        server = server.over_tls(end_point.into(), plus);
    }
    let mut client = ClientScram::new("clientnonce", seen);
    let Step::Continue(first) = server.step(&client.first())? else { panic!("over too early") };
    let challenge = client.challenge(&first)?;
    let proof = client.proof(&ClientKeys::derive(b"secret", &challenge.salt, challenge.iterations));
    let Step::Done { message, .. } = server.step(&proof)? else { panic!("not over") };
    client.verify(&message)
}

#[test]
fn a_bound_login_fits_one_certificate_only() {
    let bound = |hash: &[u8]| Binding::EndPoint(hash.into());
    assert_eq!(exchange(Some(b"ours"), true, bound(b"ours")), Ok(()));
    assert_eq!(exchange(Some(b"ours"), true, bound(b"another's")), Err(Refusal::ChannelBinding));
    assert_eq!(exchange(Some(b"ours"), false, Binding::None), Ok(()));
    assert_eq!(exchange(None, false, Binding::NotOffered), Ok(()));
}

#[test]
fn an_offer_that_was_taken_away_is_noticed() {
    assert_eq!(exchange(Some(b"ours"), false, Binding::NotOffered), Err(Refusal::Downgrade));
    let error = Error::from(Refusal::Downgrade);
    assert_eq!(&error.sqlstate().0, b"28000");
}

#[test]
fn mechanism_and_header_must_agree() {
    for (plus, first) in [
        (true, "n,,n=,r=abc"),
        (true, "y,,n=,r=abc"),
        (true, "p=tls-unique,,n=,r=abc"),
        (true, "p=tls-server-end-point,"),
        (true, "p="),
        (false, "p=tls-server-end-point,,n=,r=abc"),
    ] {
        let mut server = ServerScram::new(verifier("secret"), true, "server").over_tls((*b"ours").into(), plus);
        assert!(matches!(server.step(first.as_bytes()), Err(Refusal::Malformed(_))), "{plus} {first}");
    }
    let mut server = ServerScram::new(verifier("secret"), true, "server").over_tls((*b"ours").into(), true);
    let refused = server.step(b"p=tls-server-end-point,a=joe,n=,r=abc");
    assert!(matches!(refused, Err(Refusal::Unsupported(_))));
}

#[test]
fn another_implementation_binds_too() {
    let mut server = ServerScram::new(verifier("secret"), true, "servernonce").over_tls((*b"ours").into(), true);
    let binding = ChannelBinding::tls_server_end_point(b"ours".to_vec());
    assert_eq!(login_with_postgres_protocol(&mut server, "secret", binding), Ok(()));
    let mut server = ServerScram::new(verifier("secret"), true, "servernonce").over_tls((*b"ours").into(), true);
    let binding = ChannelBinding::tls_server_end_point(b"theirs".to_vec());
    assert_eq!(login_with_postgres_protocol(&mut server, "secret", binding), Err(Refusal::ChannelBinding));
    let mut server = ServerScram::new(verifier("secret"), true, "servernonce").over_tls((*b"ours").into(), false);
    assert_eq!(login_with_postgres_protocol(&mut server, "secret", ChannelBinding::unrequested()), Err(Refusal::Downgrade));
}

fn certificate(algorithm: &'static rcgen::SignatureAlgorithm, names: &[(rcgen::DnType, &str)]) -> Vec<u8> {
    let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in names {
        parameters.distinguished_name.push(kind.clone(), *value);
    }
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    parameters.self_signed(&key).unwrap().der().to_vec()
}

#[test]
fn the_end_point_is_hashed_as_the_certificate_is_signed() {
    let lengths =
        [(&rcgen::PKCS_ECDSA_P256_SHA256, Some(32)), (&rcgen::PKCS_ECDSA_P384_SHA384, Some(48)), (&rcgen::PKCS_ED25519, None)];
    for (algorithm, length) in lengths {
        let hash = end_point(&certificate(algorithm, &[]));
        assert_eq!(hash.map(|hash| hash.len()), length, "{algorithm:?}");
    }
}

#[test]
fn the_common_name_is_the_owners() {
    use rcgen::DnType::{CommonName, OrganizationName};
    let name = |names: &[(rcgen::DnType, &str)]| common_name(&certificate(&rcgen::PKCS_ECDSA_P256_SHA256, names));
    assert_eq!(name(&[(OrganizationName, "pgdial"), (CommonName, "alice")]).as_deref(), Some("alice"));
    assert_eq!(name(&[(CommonName, "älice")]).as_deref(), Some("älice"));
    assert_eq!(name(&[(OrganizationName, "alice")]), None);
    assert_eq!(name(&[(CommonName, "")]), None);
    assert_eq!(name(&[(CommonName, "alice\0.evil")]), None, "a NUL would hide the rest");
}

#[test]
fn a_verifier_must_be_that_of_postgres_to_be_of_use_there() {
    let ours = verifier("secret");
    let fits = |salt: &[u8], iterations| ours.fits(&Challenge { salt: salt.to_vec(), iterations });
    assert!(fits(b"0123456789abcdef", FEW));
    assert!(!fits(b"another salt", FEW) && !fits(b"0123456789abcdef", DEFAULT_ITERATIONS));
}

#[test]
fn what_a_login_brings_replaces_what_older_logins_brought_but_not_the_configuration() {
    let keys = |password: &str| {
        let verifier = verifier(password);
        let keys = verifier.prove(password.as_bytes()).unwrap();
        Credential::Keys(verifier, keys)
    };
    let learned = Credentials::configured(None);
    assert_eq!(learned.current().as_str(), "none");
    learned.learn(keys("old"));
    learned.learn(Credential::None);
    assert_eq!(learned.current().as_str(), "keys");
    learned.learn(Credential::Password(Secret::new("new".into())));
    assert_eq!(learned.current().as_str(), "password");

    let fixed = Credentials::configured(Some("secret"));
    fixed.learn(keys("other"));
    assert!(matches!(fixed.current(), Credential::Password(password) if password.expose() == "secret"));

    let old = verifier("old");
    let of_verifier = Credentials::configured(Some(&old.to_string()));
    of_verifier.learn(keys("old"));
    of_verifier.configure(Some(&old.to_string()));
    assert_eq!(of_verifier.current().as_str(), "keys", "a reload that changes nothing forgets nothing");
    of_verifier.configure(Some(&verifier("new").to_string()));
    assert_eq!(of_verifier.current().as_str(), "none", "the old password's keys are of no more use");
}

proptest! {
    #[test]
    fn no_bytes_for_a_certificate_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..400) {
        let _ = (end_point(&bytes), common_name(&bytes));
        let mut real = certificate(&rcgen::PKCS_ECDSA_P256_SHA256, &[(rcgen::DnType::CommonName, "alice")]);
        real.truncate(cut);
        let _ = (end_point(&real), common_name(&real));
        real.append(&mut bytes);
        let _ = (end_point(&real), common_name(&real));
    }
}
