//! Floor 3. The answers to what Postgres asks for before it lets us in.

use super::login::{Session, send_failed, unexpected};
use crate::auth::{
    Binding, ClientKeys, ClientScram, Credential, Refusal, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, end_point, md5_password,
    md5_response,
};
use crate::config::ChannelBinding;
use crate::error::{Error, Kind, Result, SqlState};
use crate::net::nonce;
use crate::wire::backend::{Authentication, Mechanisms};
use crate::wire::frontend::{Password, SaslInitialResponse, password};

impl Session<'_> {
    /// One request of the server's.
    pub(super) async fn answer(&mut self, asked: Authentication<'_>) -> Result<()> {
        match asked {
            Authentication::Ok => self.accept(),
            Authentication::CleartextPassword => {
                self.binding_is_optional()?;
                let Credential::Password(given) = &self.credential else {
                    return Err(self.lacks("the password itself"));
                };
                let given = given.expose().as_bytes().to_vec();
                self.send_password(&given).await
            }
            Authentication::Md5Password { salt } => {
                self.binding_is_optional()?;
                let stored = match &self.credential {
                    Credential::Password(given) => md5_password(&self.login.user, given.expose().as_bytes()),
                    Credential::Md5(stored) => stored.to_string(),
                    Credential::None | Credential::Keys(..) => return Err(self.lacks("an md5 hash of the password")),
                };
                self.send_password(md5_response(&stored, salt).as_bytes()).await
            }
            Authentication::Sasl { mechanisms } => self.begin_scram(mechanisms).await,
            Authentication::SaslContinue { data } => self.prove(data).await,
            Authentication::SaslFinal { data } => {
                let scram = self.scram.take().ok_or_else(unexpected)?;
                self.bound = scram.is_bound();
                scram.verify(data).map_err(distrusted)
            }
            Authentication::KerberosV5
            | Authentication::Gss
            | Authentication::GssContinue { .. }
            | Authentication::Sspi
            | Authentication::Unsupported(_) => Err(unknown_method()),
        }
    }

    /// A SCRAM exchange that was begun must have been ended by the server's own proof.
    fn accept(&mut self) -> Result<()> {
        if self.scram.is_some() {
            return Err(distrusted(Refusal::WrongServer));
        }
        self.binding_is_optional()?;
        self.welcome = true;
        Ok(())
    }

    /// A server that asks for less than channel binding may be somebody in between who cannot do it.
    fn binding_is_optional(&self) -> Result<()> {
        if self.channel_binding != ChannelBinding::Require || self.bound {
            return Ok(());
        }
        Err(Error::new(Kind::Connect, "channel_binding=require, but Postgres does not log us in by SCRAM-SHA-256-PLUS")
            .with_hint("It needs TLS, scram-sha-256 in pg_hba.conf, and a password stored as SCRAM-SHA-256."))
    }

    async fn begin_scram(&mut self, offered: Mechanisms<'_>) -> Result<()> {
        if !matches!(self.credential, Credential::Password(_) | Credential::Keys(..)) {
            return Err(self.lacks("a SCRAM proof"));
        }
        let binding = self.binding(offered)?;
        let mechanism = binding.mechanism();
        let scram = ClientScram::new(&nonce()?, binding);
        let mut out = Vec::new();
        let first = scram.first();
        SaslInitialResponse { mechanism: mechanism.as_bytes(), data: Some(&first) }.encode(&mut out);
        self.scram = Some(scram);
        self.send(&out).await
    }

    /// As libpq chooses, but for certificates that have no hash to bind to: libpq gives up there, we log in unbound.
    fn binding(&self, offered: Mechanisms<'_>) -> Result<Binding> {
        let wanted = self.channel_binding != ChannelBinding::Disable;
        let certificate = self.dialed.stream.peer_certificate();
        let (plus, plain) = (offered.contains(SCRAM_SHA_256_PLUS), offered.contains(SCRAM_SHA_256));
        match certificate.filter(|_| wanted) {
            Some(certificate) if plus => {
                if let Some(hash) = end_point(certificate) {
                    return Ok(Binding::EndPoint(hash));
                }
                self.binding_is_optional()?;
                if plain { Ok(Binding::None) } else { Err(unknown_method()) }
            }
            other => {
                self.binding_is_optional()?;
                match other {
                    _ if !plain => Err(unknown_method()),
                    Some(_) => Ok(Binding::NotOffered),
                    None => Ok(Binding::None),
                }
            }
        }
    }

    async fn prove(&mut self, challenge: &[u8]) -> Result<()> {
        let challenge = self.scram.as_mut().ok_or_else(unexpected)?.challenge(challenge).map_err(distrusted)?;
        let credentials = &self.login.credentials;
        let keys = match (&self.credential, credentials.derived(&challenge)) {
            (Credential::Keys(verifier, keys), _) if verifier.fits(&challenge) => keys.clone(),
            (Credential::Keys(..), _) => return Err(outdated(&self.login.user)),
            (Credential::Password(_), Some(keys)) => keys,
            (Credential::Password(given), None) => {
                let (password, of) = (given.clone(), challenge.clone());
                let derive = move || ClientKeys::derive(password.expose().as_bytes(), &of.salt, of.iterations);
                // Milliseconds of hashing, which must not stall the clients of this thread.
                let keys = tokio::task::spawn_blocking(derive).await;
                let keys = keys.map_err(|error| Error::new(Kind::Internal, "key derivation failed").with_source(error))?;
                credentials.derive(challenge, keys.clone(), given);
                keys
            }
            (Credential::None | Credential::Md5(_), _) => return Err(self.lacks("a SCRAM proof")),
        };
        let proof = self.scram.as_mut().ok_or_else(unexpected)?.proof(&keys);
        let mut out = Vec::new();
        Password { data: &proof }.encode(&mut out);
        self.send(&out).await
    }

    async fn send_password(&mut self, text: &[u8]) -> Result<()> {
        let mut out = Vec::new();
        password(text, &mut out);
        self.send(&out).await
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        super::login::send(&mut self.dialed.stream, bytes).await.map_err(send_failed)
    }

    fn lacks(&self, what: &str) -> Error {
        let user = &self.login.user;
        let (text, hint) = match &self.credential {
            Credential::None => (
                format!("Postgres asks for the password of \"{user}\", and pgdial knows none"),
                "Put the password into the upstream URL or into [[user]], or let the user log in to pgdial by scram-sha-256.",
            ),
            held @ (Credential::Password(_) | Credential::Md5(_) | Credential::Keys(..)) => (
                format!("Postgres asks for {what} of \"{user}\", and pgdial has only the {} of that user", held.as_str()),
                "Use the same authentication method in pg_hba.conf and in pgdial, or put the password into [[user]].",
            ),
        };
        Error::new(Kind::Connect, text).with_hint(hint)
    }
}

/// The keys that a login has shown are of no use against another salt.
fn outdated(user: &str) -> Error {
    let text = format!("the password of \"{user}\" in Postgres is not the one that was used to log in to pgdial");
    Error::new(Kind::Connect, text)
        .with_sqlstate(SqlState(*b"28P01"))
        .with_hint("Log in again. If that does not help: the verifier in [[user]] must be that of pg_authid, salt included.")
}

fn unknown_method() -> Error {
    Error::new(Kind::Connect, "Postgres asks for an authentication method that pgdial does not have")
        .with_hint("Use scram-sha-256, md5, password, cert-free TLS or trust in pg_hba.conf for pgdial.")
}

fn distrusted(refusal: Refusal) -> Error {
    Error::new(Kind::Connect, "SCRAM authentication with Postgres failed").with_source(refusal)
}
