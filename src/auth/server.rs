//! Floor 1. SCRAM-SHA-256 as the server: pgdial towards its clients.
//!
//! ```text
//!   ClientFirst --client-first / server-first--> ClientFinal --client-final / server-final--> Over
//! ```
//! Any message that is not exactly what its state expects ends the exchange.

use super::scram::{Hash, ScramVerifier, attributes, expect, hash_from_base64, is_nonce, sha256, sign, xor};
use super::{Refusal, same_secret};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;

/// Postgres's PG_MAX_SASL_MESSAGE_LENGTH. It bounds the nonce too.
const MAX_MESSAGE: usize = 1024;

/// What to send next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// AuthenticationSASLContinue.
    Continue(Vec<u8>),
    /// AuthenticationSASLFinal; the client has proved that it knows the password.
    Done {
        /// Its body.
        message: Vec<u8>,
        /// With the verifier's server key this logs in at Postgres in the client's name, without the password.
        client_key: [u8; 32],
    },
}

/// One exchange with one client.
#[derive(Debug)]
pub struct ServerScram {
    verifier: Arc<ScramVerifier>,
    known: bool,
    nonce: Box<str>,
    channel: Channel,
    state: State,
}

/// What the exchange runs over, and what the client has chosen.
#[derive(Debug, Default)]
struct Channel {
    /// Our certificate's [`super::end_point`]: without it channel binding was not offered.
    end_point: Option<Box<[u8]>>,
    /// The client has chosen the mechanism with channel binding.
    plus: bool,
}

/// The only kind of channel binding that Postgres has.
pub(super) const BOUND_HEADER: &str = "p=tls-server-end-point,,";

#[derive(Debug)]
enum State {
    ClientFirst,
    ClientFinal { gs2_header: Vec<u8>, first_messages: Vec<u8>, nonce: Vec<u8> },
    Over,
}

impl ServerScram {
    /// `known` is false for a mock verifier: the exchange then runs to its end and fails there.
    /// `nonce` is printable ASCII without a comma, fresh for each exchange.
    pub fn new(verifier: Arc<ScramVerifier>, known: bool, nonce: &str) -> Self {
        Self { verifier, known, nonce: nonce.into(), channel: Channel::default(), state: State::ClientFirst }
    }

    /// Channel binding was offered: `end_point` is that of our certificate, `plus` says whether the client has chosen it.
    #[must_use]
    pub fn over_tls(mut self, end_point: Box<[u8]>, plus: bool) -> Self {
        self.channel = Channel { end_point: Some(end_point), plus };
        self
    }

    /// Takes the client's next message.
    pub fn step(&mut self, message: &[u8]) -> Result<Step, Refusal> {
        if message.len() > MAX_MESSAGE {
            return Err(Refusal::Malformed("message too long"));
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::ClientFirst => self.first(message),
            State::ClientFinal { gs2_header, first_messages, nonce } => self.last(message, &gs2_header, first_messages, &nonce),
            State::Over => Err(Refusal::Malformed("the exchange is over")),
        }
    }

    fn first(&mut self, message: &[u8]) -> Result<Step, Refusal> {
        let (gs2_header, bare) = self.channel.split(message)?;
        let client_nonce = client_nonce(bare)?;
        let nonce = [client_nonce, self.nonce.as_bytes()].concat();
        let mut reply = b"r=".to_vec();
        reply.extend_from_slice(&nonce);
        let (salt, iterations) = (STANDARD.encode(&self.verifier.salt), self.verifier.iterations);
        reply.extend_from_slice(format!(",s={salt},i={iterations}").as_bytes());
        self.state = State::ClientFinal { gs2_header: gs2_header.to_vec(), first_messages: [bare, b",", &reply].concat(), nonce };
        Ok(Step::Continue(reply))
    }

    fn last(&self, message: &[u8], gs2_header: &[u8], first: Vec<u8>, nonce: &[u8]) -> Result<Step, Refusal> {
        let (without_proof, proof) = split_proof(message)?;
        let mut items = attributes(without_proof);
        let binding = expect(&mut items, b'c').ok_or(Refusal::Malformed("channel binding expected"))?;
        self.channel.confirm(gs2_header, binding)?;
        let confirmed = expect(&mut items, b'r').ok_or(Refusal::Malformed("nonce expected"))?;
        if !same_secret(confirmed, nonce) {
            return Err(Refusal::WrongNonce);
        }
        let mut auth_message = first;
        auth_message.push(b',');
        auth_message.extend_from_slice(without_proof);
        self.prove(&proof, &auth_message)
    }

    /// An unknown name takes the same way as a wrong password.
    fn prove(&self, proof: &Hash, auth_message: &[u8]) -> Result<Step, Refusal> {
        let client_key = xor(proof, &sign(&self.verifier.stored_key, &[auth_message]));
        let fits = same_secret(&sha256(&client_key), &self.verifier.stored_key);
        let signature = sign(&self.verifier.server_key, &[auth_message]);
        if !(fits & self.known) {
            return Err(Refusal::WrongPassword);
        }
        let message = format!("v={}", STANDARD.encode(signature)).into_bytes();
        Ok(Step::Done { message, client_key })
    }
}

impl Channel {
    /// The header, and the rest.
    fn split<'m>(&self, message: &'m [u8]) -> Result<(&'m [u8], &'m [u8]), Refusal> {
        if message.first() == Some(&b'p') {
            return self.split_bound(message);
        }
        let (header, bare) = message.split_at_checked(3).ok_or(Refusal::Malformed("too short"))?;
        match header {
            b"n,," | b"y,," if self.plus => Err(Refusal::Malformed("channel binding was chosen, and its data is missing")),
            // "I could bind, you did not offer it": then somebody has changed the offer.
            b"y,," if self.end_point.is_some() => Err(Refusal::Downgrade),
            b"n,," | b"y,," => Ok((header, bare)),
            [b'n' | b'y', b',', b'a'] => Err(Refusal::Unsupported("client uses authorization identity, but it is not supported")),
            _ => Err(Refusal::Malformed("unexpected channel-binding flag")),
        }
    }

    fn split_bound<'m>(&self, message: &'m [u8]) -> Result<(&'m [u8], &'m [u8]), Refusal> {
        if !self.plus {
            return Err(Refusal::Malformed("channel binding was not chosen"));
        }
        if !message.starts_with(b"p=tls-server-end-point,") {
            return Err(Refusal::Malformed("unsupported SCRAM channel-binding type"));
        }
        match message.split_at_checked(BOUND_HEADER.len()) {
            Some((header, bare)) if header == BOUND_HEADER.as_bytes() => Ok((header, bare)),
            Some(_) => Err(Refusal::Unsupported("client uses authorization identity, but it is not supported")),
            None => Err(Refusal::Malformed("too short")),
        }
    }

    /// Compared with what this client did send: `n,,` and `y,,` are both right without a binding, but not one for the other.
    fn confirm(&self, header: &[u8], confirmed: &[u8]) -> Result<(), Refusal> {
        let data = self.end_point.as_deref().filter(|_| self.plus).unwrap_or_default();
        match confirmed == STANDARD.encode([header, data].concat()).as_bytes() {
            true => Ok(()),
            false if self.plus => Err(Refusal::ChannelBinding),
            false => Err(Refusal::Header),
        }
    }
}

/// The user name in here is ignored, as Postgres does: the startup packet's counts.
fn client_nonce(bare: &[u8]) -> Result<&[u8], Refusal> {
    if bare.starts_with(b"m=") {
        return Err(Refusal::Unsupported("client requires an unsupported SCRAM extension"));
    }
    let mut items = attributes(bare);
    expect(&mut items, b'n').ok_or(Refusal::Malformed("user name expected"))?;
    let nonce = expect(&mut items, b'r').ok_or(Refusal::Malformed("nonce expected"))?;
    let extensions_valid = items.all(|item| item.is_some());
    if !is_nonce(nonce) || !extensions_valid {
        return Err(Refusal::Malformed("non-printable characters in nonce"));
    }
    Ok(nonce)
}

/// The proof is the last attribute; what stands before it is part of what it proves.
fn split_proof(message: &[u8]) -> Result<(&[u8], Hash), Refusal> {
    let malformed = Refusal::Malformed("proof expected");
    let at = message.iter().rposition(|byte| *byte == b',').ok_or(malformed)?;
    let (without_proof, proof) = message.split_at_checked(at).ok_or(malformed)?;
    let proof = proof.strip_prefix(b",p=").and_then(hash_from_base64).ok_or(malformed)?;
    Ok((without_proof, proof))
}
