//! Floor 1. SCRAM-SHA-256 as the client: pgdial towards Postgres, from a password or from keys.
//!
//! The slow part stands outside the machine: [`ClientScram::challenge`] says salt and rounds, the caller derives the keys where
//! that disturbs nobody (or has them already), [`ClientScram::proof`] goes on.

use super::scram::{ClientKeys, MAX_ITERATIONS, attributes, decimal, expect, is_nonce, sha256, sign, xor};
use super::{Refusal, same_secret};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::num::NonZeroU32;

/// libpq bounds authentication messages alike.
const MAX_MESSAGE: usize = 2000;

/// What the server wants the password hashed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Salt, any length.
    pub salt: Vec<u8>,
    /// Rounds, at most [`MAX_ITERATIONS`].
    pub iterations: NonZeroU32,
}

/// How an exchange is tied to the TLS connection it runs over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Not at all: no TLS, or it is not wanted.
    None,
    /// The server did not offer it. It is told so, and can see whether somebody took its offer away.
    NotOffered,
    /// To the server's certificate, by its [`super::end_point`].
    EndPoint(Box<[u8]>),
}

impl Binding {
    /// The mechanism to ask for.
    pub fn mechanism(&self) -> &'static str {
        match self {
            Self::None | Self::NotOffered => super::SCRAM_SHA_256,
            Self::EndPoint(_) => super::SCRAM_SHA_256_PLUS,
        }
    }

    fn header(&self) -> &'static str {
        match self {
            Self::None => "n,,",
            Self::NotOffered => "y,,",
            Self::EndPoint(_) => super::server::BOUND_HEADER,
        }
    }

    /// What is proved to be the same on both sides.
    fn confirmed(&self) -> String {
        let data: &[u8] = if let Self::EndPoint(hash) = self { hash } else { &[] };
        STANDARD.encode([self.header().as_bytes(), data].concat())
    }
}

/// One exchange with one server.
pub struct ClientScram {
    binding: Binding,
    bare: String,
    nonce: Box<str>,
    server_first: Vec<u8>,
    confirmed_nonce: Vec<u8>,
    server_signature: Option<[u8; 32]>,
}

impl ClientScram {
    /// `nonce` is printable ASCII without a comma, fresh for each exchange.
    pub fn new(nonce: &str, binding: Binding) -> Self {
        Self {
            binding,
            // Postgres takes the user from the startup packet; libpq sends none here either.
            bare: format!("n=,r={nonce}"),
            nonce: nonce.into(),
            server_first: Vec::new(),
            confirmed_nonce: Vec::new(),
            server_signature: None,
        }
    }

    /// Is it tied to the server's certificate?
    pub fn is_bound(&self) -> bool {
        matches!(self.binding, Binding::EndPoint(_))
    }

    /// The body of SASLInitialResponse.
    pub fn first(&self) -> Vec<u8> {
        format!("{}{}", self.binding.header(), self.bare).into_bytes()
    }

    /// Takes AuthenticationSASLContinue.
    pub fn challenge(&mut self, server_first: &[u8]) -> Result<Challenge, Refusal> {
        if server_first.len() > MAX_MESSAGE || !self.server_first.is_empty() {
            return Err(Refusal::Malformed("unexpected server-first-message"));
        }
        let mut items = attributes(server_first);
        let nonce = expect(&mut items, b'r').ok_or(Refusal::Malformed("nonce expected"))?;
        let fresh = nonce.strip_prefix(self.nonce.as_bytes()).ok_or(Refusal::WrongNonce)?;
        if !is_nonce(fresh) {
            return Err(Refusal::WrongNonce);
        }
        let salt = expect(&mut items, b's').and_then(|salt| STANDARD.decode(salt).ok());
        let salt = salt.filter(|salt| !salt.is_empty()).ok_or(Refusal::Malformed("salt expected"))?;
        let iterations = expect(&mut items, b'i').and_then(decimal).ok_or(Refusal::Malformed("iteration count expected"))?;
        if iterations.get() > MAX_ITERATIONS {
            return Err(Refusal::TooManyIterations);
        }
        self.server_first = server_first.to_vec();
        self.confirmed_nonce = nonce.to_vec();
        Ok(Challenge { salt, iterations })
    }

    /// The body of SASLResponse. The keys must be those of the challenge.
    pub fn proof(&mut self, keys: &ClientKeys) -> Vec<u8> {
        let mut message = format!("c={},r=", self.binding.confirmed()).into_bytes();
        message.extend_from_slice(&self.confirmed_nonce);
        let auth_message = [self.bare.as_bytes(), b",", &self.server_first, b",", &message].concat();
        let signature = sign(&sha256(&keys.client_key), &[&auth_message]);
        self.server_signature = Some(sign(&keys.server_key, &[&auth_message]));
        message.extend_from_slice(b",p=");
        message.extend_from_slice(STANDARD.encode(xor(&keys.client_key, &signature)).as_bytes());
        message
    }

    /// Takes AuthenticationSASLFinal: does the server know the password too?
    pub fn verify(&self, server_final: &[u8]) -> Result<(), Refusal> {
        if server_final.starts_with(b"e=") {
            return Err(Refusal::WrongPassword);
        }
        let expected = self.server_signature.ok_or(Refusal::Malformed("unexpected server-final-message"))?;
        let given = server_final.strip_prefix(b"v=").and_then(|text| text.split(|byte| *byte == b',').next());
        let given = given.and_then(|text| STANDARD.decode(text).ok());
        let given = given.ok_or(Refusal::Malformed("server signature expected"))?;
        if same_secret(&given, &expected) { Ok(()) } else { Err(Refusal::WrongServer) }
    }
}
