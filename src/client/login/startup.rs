//! Floor 4. The packets before the first message: TLS or not, cancel or session.

use super::proof::forbidden;
use super::{Next, Session, gone, violation};
use crate::config::TlsMode;
use crate::error::{Error, Kind, Result, SqlState};
use crate::net::tls::{self, Acceptor};
use crate::net::{Fault, Stream, framed};
use crate::wire::Violation;
use crate::wire::startup::{self, StartupMessage};
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;

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
    async fn answer_tls(&mut self) -> Result<Option<Arc<Acceptor>>> {
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

    /// A client that begins with TLS, without asking first. What it sends is looked at only where TLS is to be had.
    pub(super) async fn asks_directly(&self) -> Option<Arc<Acceptor>> {
        let acceptor = self.context.tls.clone()?;
        match &self.stream {
            Stream::Tcp(stream) => tls::is_direct(stream).await.unwrap_or(false).then_some(acceptor),
            Stream::Unix(_) | Stream::ServerTls(_) | Stream::ClientTls(_) => None,
        }
    }

    /// After a failed handshake there is nobody who could read an error.
    pub(super) async fn encrypt(mut self, acceptor: &Acceptor, directly: bool) -> Result<Self> {
        self.stream = match self.stream {
            Stream::Tcp(stream) => {
                let accepted = if directly { acceptor.accept_direct(stream).await } else { acceptor.accept(stream).await };
                accepted.map_err(|error| Error::new(Kind::Protocol, "the TLS handshake failed").with_source(error))?
            }
            other @ (Stream::Unix(_) | Stream::ServerTls(_) | Stream::ClientTls(_)) => other,
        };
        self.end_point = acceptor.end_point.clone();
        // Within TLS there is neither TLS nor GSSAPI encryption to ask for.
        (self.tls_asked, self.gss_asked) = (true, true);
        Ok(self)
    }

    /// `[listen] tls = "require"` is about the network: a Unix socket needs none.
    pub(super) fn check_encryption(&self) -> Result<()> {
        let mode = self.context.config.listen.tls;
        let required = matches!(mode, TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull);
        match &self.stream {
            Stream::Tcp(_) if required => Err(forbidden("this server accepts only encrypted connections".into())
                .with_hint("Connect with sslmode=require, or set [listen] tls = \"prefer\".")),
            // A certificate that was shown has been checked.
            stream @ (Stream::ServerTls(_) | Stream::ClientTls(_))
                if mode == TlsMode::VerifyCa && stream.peer_certificate().is_none() =>
            {
                Err(no_certificate())
            }
            Stream::Tcp(_) | Stream::Unix(_) | Stream::ServerTls(_) | Stream::ClientTls(_) => Ok(()),
        }
    }
}

pub(super) fn no_certificate() -> Error {
    forbidden("connection requires a valid client certificate".into())
        .with_hint("Give the client a certificate of [listen] tls_client_ca, with sslcert and sslkey.")
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
