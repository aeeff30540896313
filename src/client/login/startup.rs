//! Floor 4. The packets before the first message: TLS or not, cancel or session.

use super::{Next, Session, gone, violation};
use crate::config::TlsMode;
use crate::error::{Error, Kind, Result, SqlState};
use crate::net::{Fault, Stream, framed, tls};
use crate::wire::Violation;
use crate::wire::startup::{self, StartupMessage};
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::rustls::ServerConfig;

impl Session<'_> {
    /// Each kind of encryption may be asked for once; asking again is an unknown protocol version, as for Postgres.
    pub(super) async fn first_packet(&mut self) -> Result<Next> {
        loop {
            match self.packet().await? {
                None => return Ok(Next::Closed),
                Some(startup::Packet::SslRequest) if !self.tls_asked => {
                    self.tls_asked = true;
                    if let Some(config) = self.answer_tls().await? {
                        return Ok(Next::Encrypt(config));
                    }
                }
                Some(startup::Packet::GssEncRequest) if !self.gss_asked => {
                    self.gss_asked = true;
                    self.answer(b'N').await?;
                }
                Some(startup::Packet::SslRequest) => return Err(unsupported(5679)),
                Some(startup::Packet::GssEncRequest) => return Err(unsupported(5680)),
                Some(startup::Packet::Cancel(key)) => return Ok(Next::Cancel(key)),
                Some(startup::Packet::Startup(message)) => return Ok(Next::Enter(message)),
            }
        }
    }

    /// None when the peer closes before a packet is whole: port probes do, and clients that wanted TLS.
    async fn packet(&mut self) -> Result<Option<startup::Packet>> {
        loop {
            if let Some((packet, len)) = startup::decode(&self.inbox).map_err(violation)? {
                self.inbox.drain(..len);
                return Ok(Some(packet));
            }
            match framed::read_more(&mut self.stream, &mut self.inbox).await {
                Ok(()) => {}
                Err(Fault::Closed) if self.inbox.is_empty() => return Ok(None),
                Err(fault) => return Err(gone(fault)),
            }
        }
    }

    /// What to encrypt with, once the client has been told. Over a Unix socket Postgres has no TLS either.
    async fn answer_tls(&mut self) -> Result<Option<Arc<ServerConfig>>> {
        let config = self.context.tls.clone().filter(|_| matches!(self.stream, Stream::Tcp(_)));
        self.answer(if config.is_some() { b'S' } else { b'N' }).await?;
        Ok(config)
    }

    /// What came behind the request was sent before the answer, so it is not encrypted and may be a third party's.
    async fn answer(&mut self, byte: u8) -> Result<()> {
        if !self.inbox.is_empty() {
            return Err(Error::new(Kind::Protocol, "received unencrypted data after SSL or GSSAPI encryption request")
                .with_hint("This could be either a client-software bug or evidence of an attempted man-in-the-middle attack."));
        }
        self.stream.write_all(&[byte]).await.map_err(|error| gone(error.into()))
    }

    /// After a failed handshake there is nobody who could read an error.
    pub(super) async fn encrypt(self, config: Arc<ServerConfig>) -> Result<Self> {
        let stream = match self.stream {
            Stream::Tcp(stream) => tls::accept(config, stream).await.map_err(|error| {
                let message = format!("the TLS handshake with {} failed", self.peer);
                Error::new(Kind::ClientGone, message).with_source(error)
            })?,
            other @ (Stream::Unix(_) | Stream::ServerTls(_) | Stream::ClientTls(_)) => other,
        };
        // Within TLS there is no GSSAPI encryption to ask for.
        Ok(Self { stream, gss_asked: true, ..self })
    }

    /// `[listen] tls = "require"` is about the network: a Unix socket needs none.
    pub(super) fn check_encryption(&self) -> Result<()> {
        let required = matches!(self.context.config.listen.tls, TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull);
        if !required || !matches!(self.stream, Stream::Tcp(_)) {
            return Ok(());
        }
        Err(Error::new(Kind::Auth, "this server accepts only encrypted connections")
            .with_sqlstate(SqlState(*b"28000"))
            .with_hint("Connect with sslmode=require, or set [listen] tls = \"prefer\"."))
    }
}

/// What pgdial cannot be asked for.
pub(super) fn check(startup: &StartupMessage) -> Result<()> {
    startup.user().map_err(violation)?;
    if startup.replication().is_some() {
        return Ok(());
    }
    let value = String::from_utf8_lossy(startup.get("replication").unwrap_or_default()).into_owned();
    Err(Error::new(Kind::Protocol, format!("invalid value for parameter \"replication\": \"{value}\""))
        .with_sqlstate(SqlState(*b"22023"))
        .with_hint("Valid values are: \"false\", 0, \"true\", 1, \"database\"."))
}

fn unsupported(minor: u16) -> Error {
    violation(Violation::UnsupportedProtocol { major: 1234, minor }).fatal()
}
