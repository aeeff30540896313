//! Floor 1. What a TLS certificate says to a login: the hash that SCRAM binds to, and the name of its owner.
//!
//! Only as much DER as that takes. The bytes may be anybody's: whatever does not fit is None.

use ring::digest::{self, Algorithm, SHA256, SHA384, SHA512};

/// `tls-server-end-point` of RFC 5929: the certificate's hash, by the function of its own signature, but never MD5 or SHA-1.
/// None where the RFC defines none (Ed25519), or the function is not known: channel binding is not offered then.
pub fn end_point(certificate: &[u8]) -> Option<Box<[u8]>> {
    let (body, _) = element(SEQUENCE, certificate)?;
    let (_, rest) = element(SEQUENCE, body)?;
    let (signature, _) = element(SEQUENCE, rest)?;
    let (algorithm, parameters) = element(OBJECT, signature)?;
    let algorithm = match algorithm {
        RSA_PSS => pss_hash(parameters)?,
        other => SIGNATURES.iter().find(|(oid, _)| *oid == other)?.1,
    };
    Some(digest::digest(algorithm, certificate).as_ref().into())
}

/// The common name of the certificate's owner; of several the first, as Postgres takes it.
pub fn common_name(certificate: &[u8]) -> Option<String> {
    let (body, _) = element(SEQUENCE, certificate)?;
    let (mut rest, _) = element(SEQUENCE, body)?;
    if let Some((_, after)) = element(VERSION, rest) {
        rest = after;
    }
    // Serial number, signature, issuer and validity stand before the owner.
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE] {
        rest = element(tag, rest)?.1;
    }
    let (mut names, _) = element(SEQUENCE, rest)?;
    while !names.is_empty() {
        let (mut set, after) = element(SET, names)?;
        names = after;
        while !set.is_empty() {
            let (pair, after) = element(SEQUENCE, set)?;
            set = after;
            let (kind, value) = element(OBJECT, pair)?;
            if kind == COMMON_NAME {
                return text(value);
            }
        }
    }
    None
}

/// RSASSA-PSS names its hash in the parameters; without one it is SHA-1.
fn pss_hash(parameters: &[u8]) -> Option<&'static Algorithm> {
    let (fields, _) = element(SEQUENCE, parameters)?;
    let Some((hash, _)) = element(FIRST_FIELD, fields) else {
        return Some(&SHA256);
    };
    let (hash, _) = element(OBJECT, element(SEQUENCE, hash)?.0)?;
    HASHES.iter().find(|(oid, _)| *oid == hash).map(|(_, algorithm)| *algorithm)
}

/// A name with a NUL could be taken for a shorter one by whoever compares C strings.
fn text(value: &[u8]) -> Option<String> {
    let found = STRINGS.iter().find_map(|tag| element(*tag, value));
    let text = std::str::from_utf8(found?.0).ok()?;
    Some(text.to_owned()).filter(|text| !text.is_empty() && !text.contains('\0'))
}

/// Content of the first element, which must have this tag, and what follows it.
fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        // 0x80 is an indefinite length, which DER does not have.
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0_usize, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length).filter(|_| *found == tag)
}

const INTEGER: u8 = 0x02;
const OBJECT: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const FIRST_FIELD: u8 = 0xa0;

/// UTF8String, PrintableString, TeletexString, IA5String.
const STRINGS: [u8; 4] = [0x0c, 0x13, 0x14, 0x16];

const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];

/// MD5 and SHA-1 are replaced by SHA-256, as RFC 5929 says.
const SIGNATURES: [(&[u8], &Algorithm); 9] = [
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4], &SHA256),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5], &SHA256),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11], &SHA256),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12], &SHA384),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13], &SHA512),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1], &SHA256),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], &SHA256),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3], &SHA384),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4], &SHA512),
];

const HASHES: [(&[u8], &Algorithm); 4] = [
    (&[0x2b, 14, 3, 2, 26], &SHA256),
    (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1], &SHA256),
    (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2], &SHA384),
    (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3], &SHA512),
];
