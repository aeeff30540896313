//! Floor 3. The startup packet and what follows it, up to ReadyForQuery.

use super::{Dialed, Login, broken};
use crate::auth::{ClientScram, Credential};
use crate::config::ChannelBinding;
use crate::error::{Error, Kind, Result};
use crate::net::{Fault, Message, Stream, next_message};
use crate::pg::BackendKey;
use crate::wire::Header;
use crate::wire::backend::{Authentication, BackendKeyData, ParameterStatus, tag};
use crate::wire::diagnostics::{self, Fields, field};
use crate::wire::startup::{self, Version};
use std::io;
use tokio::io::AsyncWriteExt as _;

/// The longest message of a login.
pub(super) const MAX_MESSAGE: usize = 64 * 1024;
/// So much of what a server says at login is repeated to clients.
const MAX_NOTICES: usize = 8 * 1024;
/// The most messages of a login: a dozen settings, some notices.
const MAX_MESSAGES: usize = 1000;

/// Sends the startup packet and answers what is asked.
pub(super) async fn log_in(stream: Stream, login: &Login, channel_binding: ChannelBinding) -> Result<Dialed> {
    let mut session = Session {
        dialed: Dialed { stream, key: None, parameters: Vec::new(), notices: Vec::new(), leftover: Vec::new() },
        login,
        credential: login.credentials.current(),
        channel_binding,
        scram: None,
        bound: false,
        welcome: false,
        messages: 0,
    };
    send(&mut session.dialed.stream, &startup_packet(login)).await.map_err(send_failed)?;
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

/// One login under way.
pub(super) struct Session<'a> {
    pub(super) dialed: Dialed,
    pub(super) login: &'a Login,
    /// As it was at the beginning: another login may bring a newer one meanwhile.
    pub(super) credential: Credential,
    pub(super) channel_binding: ChannelBinding,
    pub(super) scram: Option<ClientScram>,
    pub(super) bound: bool,
    pub(super) welcome: bool,
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
            tag::NOTICE_RESPONSE => {
                note_notice(&mut self.dialed.notices, &message.body);
                Ok(true)
            }
            tag::NEGOTIATE_PROTOCOL_VERSION => Ok(true),
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

fn note_notice(notices: &mut Vec<u8>, body: &[u8]) {
    if let Ok(fields) = Fields::decode(body)
        && notices.len() + body.len() + Header::LEN <= MAX_NOTICES
    {
        diagnostics::encode_fields(tag::NOTICE_RESPONSE, fields.iter(), notices);
    }
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

pub(super) fn unexpected() -> Error {
    Error::new(Kind::Connect, "Postgres sent an unexpected message during login")
}

pub(super) fn send_failed(error: io::Error) -> Error {
    broken(error.into())
}
