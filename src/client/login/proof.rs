//! Floor 4. The client proves who it is, by the method that the configuration wants.

use super::Session;
use crate::auth::{Found, Refusal, SCRAM_SHA_256, ScramVerifier, ServerScram, Step, StoredPassword};
use crate::config::AuthMethod;
use crate::error::{Error, Kind, Result, SqlState};
use crate::net::{nonce, random};

use crate::wire::backend::{Authentication, Mechanisms};
use crate::wire::frontend::{MAX_AUTHENTICATION, Password, SaslInitialResponse};
use std::sync::Arc;

/// PG_MAX_SASL_MESSAGE_LENGTH and room for the mechanism's name.
const MAX_SASL: usize = 1024 + 64;

impl Session<'_> {
    /// Ends with AuthenticationOk in the buffer.
    pub(super) async fn prove(&mut self, user: &str, database: &str) -> Result<()> {
        let stored = self.stored_password(user, database);
        let method = self.context.config.auth_method(database, user, self.peer.ip());
        match (method, &stored) {
            (AuthMethod::Trust, _) => self.trust(user, database)?,
            (AuthMethod::Password, _) => self.cleartext(user, stored).await?,
            // A SCRAM verifier cannot serve md5; like Postgres, the better method is used.
            (AuthMethod::ScramSha256, _) | (AuthMethod::Md5, Some(StoredPassword::Scram(_))) => {
                self.scram(user, stored.as_ref()).await?;
            }
            (AuthMethod::Md5, _) => self.md5(user, stored.as_ref()).await?,
            (AuthMethod::Cert, _) => {
                return Err(Error::new(Kind::Unsupported, "authentication by certificate is not supported").fatal());
            }
        }
        Authentication::Ok.encode(&mut self.out);
        Ok(())
    }

    /// For a database nobody has, any user of the name will do: the right answer then is that the database does not exist.
    fn stored_password(&self, user: &str, database: &str) -> Option<StoredPassword> {
        let config = &self.context.config;
        let known = match config.database(database) {
            Some(_) => config.user(database, user),
            None => config.user(database, user).or_else(|| config.users.iter().find(|known| known.name == user)),
        };
        let password = known?.password.as_ref()?;
        Some(StoredPassword::parse(password.expose())).filter(|_| !password.expose().is_empty())
    }

    /// As in Postgres the role must exist even where nobody asks for a proof.
    fn trust(&self, user: &str, database: &str) -> Result<()> {
        let config = &self.context.config;
        if config.user(database, user).is_some() || config.database(database).is_none() {
            return Ok(());
        }
        let error = Error::new(Kind::Auth, format!("role \"{user}\" does not exist"));
        Err(error
            .with_sqlstate(SqlState(*b"28000"))
            .with_hint("pgdial knows the users of its config file and of its upstream URLs."))
    }

    async fn cleartext(&mut self, user: &str, stored: Option<StoredPassword>) -> Result<()> {
        Authentication::CleartextPassword.encode(&mut self.out);
        let given = self.password_text().await?;
        let name = user.to_owned();
        let matches = move || stored.is_some_and(|stored| stored.matches_cleartext(&name, &given));
        // A verifier costs milliseconds of hashing, which must not stall the clients of this thread.
        if off_thread(matches).await? { Ok(()) } else { Err(wrong_password(user)) }
    }

    async fn md5(&mut self, user: &str, stored: Option<&StoredPassword>) -> Result<()> {
        let salt = random()?;
        Authentication::Md5Password { salt }.encode(&mut self.out);
        let given = self.password_text().await?;
        let matches = stored.is_some_and(|stored| stored.matches_md5(user, salt, &given));
        if matches { Ok(()) } else { Err(wrong_password(user)) }
    }

    async fn password_text(&mut self) -> Result<Vec<u8>> {
        let body = self.password_message(MAX_AUTHENTICATION).await?;
        let text = Password { data: &body }.text().map_err(super::violation)?;
        if text.is_empty() {
            return Err(Error::new(Kind::Auth, "empty password returned by client"));
        }
        Ok(text.to_vec())
    }

    async fn scram(&mut self, user: &str, stored: Option<&StoredPassword>) -> Result<()> {
        let (verifier, known) = self.verifier(user, stored).await?;
        let mut server = ServerScram::new(verifier, known, &nonce()?);
        Authentication::Sasl { mechanisms: Mechanisms::SCRAM_SHA_256 }.encode(&mut self.out);
        let mut answer = self.first_answer().await?;
        loop {
            match server.step(&answer).map_err(|refusal| refused(refusal, user))? {
                Step::Continue(data) => Authentication::SaslContinue { data: &data }.encode(&mut self.out),
                Step::Done { message, .. } => {
                    Authentication::SaslFinal { data: &message }.encode(&mut self.out);
                    return Ok(());
                }
            }
            answer = self.password_message(MAX_SASL).await?;
        }
    }

    async fn verifier(&self, user: &str, stored: Option<&StoredPassword>) -> Result<(Arc<ScramVerifier>, bool)> {
        match self.context.verifiers.find(user, stored) {
            Found::Ready { verifier, known } => Ok((verifier, known)),
            Found::Derive(pending) => {
                let deriver = Arc::clone(&pending);
                let derive = || async { off_thread(move || deriver.derive()).await.map(Arc::new) };
                let verifier = pending.cell.get_or_try_init(derive).await?;
                Ok((Arc::clone(verifier), true))
            }
        }
    }

    /// A client may leave its first message out; it is then asked for with an empty challenge.
    async fn first_answer(&mut self) -> Result<Vec<u8>> {
        let body = self.password_message(MAX_SASL).await?;
        let initial = SaslInitialResponse::decode(&body).map_err(super::violation)?;
        if initial.mechanism != SCRAM_SHA_256.as_bytes() {
            return Err(Error::new(Kind::Protocol, "client selected an invalid SASL authentication mechanism"));
        }
        match initial.data {
            Some(data) => Ok(data.to_vec()),
            None => {
                Authentication::SaslContinue { data: b"" }.encode(&mut self.out);
                self.password_message(MAX_SASL).await
            }
        }
    }
}

async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::new(Kind::Internal, "password check failed").with_source(error))
}

fn refused(refusal: Refusal, user: &str) -> Error {
    if refusal == Refusal::WrongPassword { wrong_password(user) } else { refusal.into() }
}

fn wrong_password(user: &str) -> Error {
    Error::new(Kind::Auth, format!("password authentication failed for user \"{user}\""))
}
