//! Floor 3. The startup packet and what follows it, up to ReadyForQuery.

use super::{Dialed, Login, broken};
use crate::auth::{ClientKeys, ClientScram, Refusal, SCRAM_SHA_256, md5_password, md5_response};
use crate::error::{Error, Kind, Result};
use crate::net::{Fault, Message, Stream, next_message, nonce};
use crate::pg::BackendKey;
use crate::wire::backend::{Authentication, BackendKeyData, ParameterStatus, tag};
use crate::wire::diagnostics::{Fields, field};
use crate::wire::frontend::{Password, SaslInitialResponse, password};
use crate::wire::startup::{self, Version};
use std::io;
use tokio::io::AsyncWriteExt as _;

/// The longest message of a login.
pub(super) const MAX_MESSAGE: usize = 64 * 1024;
/// The most messages of a login: a dozen settings, some notices.
const MAX_MESSAGES: usize = 1000;

/// Sends the startup packet and answers what is asked.
pub(super) async fn log_in(stream: Stream, login: &Login) -> Result<Dialed> {
    let mut session = Session {
        dialed: Dialed { stream, key: None, parameters: Vec::new(), leftover: Vec::new() },
        login,
        scram: None,
        welcome: false,
        messages: 0,
    };
    session.send(&startup_packet(login)).await?;
    while !session.welcome {
        session.authenticate().await?;
    }
    while session.settle().await? {}
    Ok(session.dialed)
}

fn startup_packet(login: &Login) -> Vec<u8> {
    let own = [("user", &*login.user), ("database", &*login.database)];
    let others = login.parameters.iter().map(|(name, value)| (&**name, &**value));
    let others = others.filter(|(name, _)| !matches!(*name, "user" | "database"));
    let mut packet = Vec::new();
    startup::startup(Version::V3_0, own.into_iter().chain(others), &mut packet);
    packet
}

struct Session<'a> {
    dialed: Dialed,
    login: &'a Login,
    scram: Option<ClientScram>,
    welcome: bool,
    messages: usize,
}

impl Session<'_> {
    /// One message before AuthenticationOk.
    async fn authenticate(&mut self) -> Result<()> {
        let message = self.next().await?;
        match message.tag {
            tag::AUTHENTICATION => {
                let asked = Authentication::decode(&message.body).map_err(|error| broken(Fault::Violation(error)))?;
                self.answer(asked).await
            }
            tag::ERROR_RESPONSE => Err(refused(&message.body)),
            // We ask for 3.0 and for no options, so there is nothing to negotiate.
            tag::NOTICE_RESPONSE | tag::NEGOTIATE_PROTOCOL_VERSION => Ok(()),
            _ => Err(unexpected()),
        }
    }

    async fn answer(&mut self, asked: Authentication<'_>) -> Result<()> {
        match asked {
            Authentication::Ok => self.accept(),
            Authentication::CleartextPassword => {
                let given = self.password()?.as_bytes().to_vec();
                self.send_password(&given).await
            }
            Authentication::Md5Password { salt } => {
                let stored = md5_password(&self.login.user, self.password()?.as_bytes());
                self.send_password(md5_response(&stored, salt).as_bytes()).await
            }
            Authentication::Sasl { mechanisms } if mechanisms.contains(SCRAM_SHA_256) => self.begin_scram().await,
            Authentication::SaslContinue { data } => self.prove(data).await,
            Authentication::SaslFinal { data } => {
                let scram = self.scram.take().ok_or_else(unexpected)?;
                scram.verify(data).map_err(distrusted)
            }
            Authentication::Sasl { .. }
            | Authentication::KerberosV5
            | Authentication::Gss
            | Authentication::GssContinue { .. }
            | Authentication::Sspi
            | Authentication::Unsupported(_) => {
                Err(Error::new(Kind::Connect, "Postgres asks for an authentication method that pgdial does not have")
                    .with_hint("Use scram-sha-256, md5, password, cert-free TLS or trust in pg_hba.conf for pgdial."))
            }
        }
    }

    /// A SCRAM exchange that was begun must have been ended by the server's own proof.
    fn accept(&mut self) -> Result<()> {
        if self.scram.is_some() {
            return Err(distrusted(Refusal::WrongServer));
        }
        self.welcome = true;
        Ok(())
    }

    fn password(&self) -> Result<&str> {
        let password = self.login.password.as_ref().map(|password| password.expose().as_str());
        password.filter(|password| !password.is_empty()).ok_or_else(|| {
            Error::new(
                Kind::Connect,
                format!("Postgres asks for the password of \"{}\", and none is configured", self.login.user),
            )
            .with_hint("Put the password into the upstream URL or into [[user]].")
        })
    }

    async fn send_password(&mut self, text: &[u8]) -> Result<()> {
        let mut out = Vec::new();
        password(text, &mut out);
        self.send(&out).await
    }

    async fn begin_scram(&mut self) -> Result<()> {
        self.password()?;
        let scram = ClientScram::new(&nonce()?);
        let mut out = Vec::new();
        let first = scram.first();
        SaslInitialResponse { mechanism: SCRAM_SHA_256.as_bytes(), data: Some(&first) }.encode(&mut out);
        self.scram = Some(scram);
        self.send(&out).await
    }

    async fn prove(&mut self, challenge: &[u8]) -> Result<()> {
        let challenge = self.scram.as_mut().ok_or_else(unexpected)?.challenge(challenge).map_err(distrusted)?;
        let kept = self.login.keys.lock().clone().filter(|(of, _)| *of == challenge);
        let keys = match kept {
            Some((_, keys)) => keys,
            None => {
                let (password, of) = (self.password()?.to_owned(), challenge.clone());
                let derive = move || ClientKeys::derive(password.as_bytes(), &of.salt, of.iterations);
                // Milliseconds of hashing, which must not stall the clients of this thread.
                let keys = tokio::task::spawn_blocking(derive).await;
                let keys = keys.map_err(|error| Error::new(Kind::Internal, "key derivation failed").with_source(error))?;
                *self.login.keys.lock() = Some((challenge, keys.clone()));
                keys
            }
        };
        let proof = self.scram.as_mut().ok_or_else(unexpected)?.proof(&keys);
        let mut out = Vec::new();
        Password { data: &proof }.encode(&mut out);
        self.send(&out).await
    }

    /// One message between AuthenticationOk and ReadyForQuery; false at the end.
    async fn settle(&mut self) -> Result<bool> {
        let message = self.next().await?;
        match message.tag {
            tag::PARAMETER_STATUS => note_parameter(&mut self.dialed.parameters, &message.body).map(|()| true),
            tag::BACKEND_KEY_DATA => {
                let key = BackendKeyData::decode(&message.body).map_err(|error| broken(Fault::Violation(error)))?;
                self.dialed.key = Some(BackendKey { pid: key.pid, secret: key.secret.into() });
                Ok(true)
            }
            tag::NOTICE_RESPONSE | tag::NEGOTIATE_PROTOCOL_VERSION => Ok(true),
            tag::ERROR_RESPONSE => Err(refused(&message.body)),
            tag::READY_FOR_QUERY => Ok(false),
            _ => Err(unexpected()),
        }
    }

    async fn next(&mut self) -> Result<Message> {
        self.messages += 1;
        if self.messages > MAX_MESSAGES {
            return Err(unexpected());
        }
        let message = next_message(&mut self.dialed.stream, &mut self.dialed.leftover, MAX_MESSAGE).await;
        message.map_err(broken)
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        send(&mut self.dialed.stream, bytes).await.map_err(|error| broken(error.into()))
    }
}

pub(super) async fn send(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// The last value counts; the place is that of the first.
pub(super) fn note_parameter(parameters: &mut Vec<(Box<str>, Box<str>)>, body: &[u8]) -> Result<()> {
    let status = ParameterStatus::decode(body).map_err(|error| broken(Fault::Violation(error)))?;
    let (name, value) = (text(status.name), text(status.value));
    match parameters.iter_mut().find(|(known, _)| *known == name) {
        Some((_, old)) => *old = value,
        None => parameters.push((name, value)),
    }
    Ok(())
}

fn text(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}

/// The server's own words, for whoever waits for this connection.
pub(super) fn refused(body: &[u8]) -> Error {
    let Ok(fields) = Fields::decode(body) else {
        return broken(Fault::Violation(crate::wire::Violation::InvalidString));
    };
    let message = String::from_utf8_lossy(fields.message()).into_owned();
    let sqlstate = fields.sqlstate().unwrap_or_else(|| Kind::Connect.sqlstate());
    let error = Error::new(Kind::Connect, message).with_sqlstate(sqlstate).fatal();
    match fields.get(field::HINT) {
        Some(hint) => error.with_hint(String::from_utf8_lossy(hint).into_owned()),
        None => error,
    }
}

fn unexpected() -> Error {
    Error::new(Kind::Connect, "Postgres sent an unexpected message during login")
}

fn distrusted(refusal: Refusal) -> Error {
    Error::new(Kind::Connect, "SCRAM authentication with Postgres failed").with_source(refusal)
}
