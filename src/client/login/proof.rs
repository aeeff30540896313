//! Floor 4. The client proves who it is, by the method that the configuration wants.

use super::Session;
use super::known::Known;
use crate::auth::{
    Credential, Found, Matched, Refusal, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramVerifier, ServerScram, Step, StoredPassword,
    common_name,
};
use crate::config::AuthMethod;
use crate::error::{Error, Kind, Result, SqlState};
use crate::net::{Peer, nonce, random};
use crate::wire::backend::{Authentication, Mechanisms};
use crate::wire::frontend::{MAX_AUTHENTICATION, Password, SaslInitialResponse};
use std::sync::Arc;

/// PG_MAX_SASL_MESSAGE_LENGTH and room for the mechanism's name.
const MAX_SASL: usize = 1024 + 64;

impl Session<'_> {
    /// Ends with AuthenticationOk in the buffer, and gives what speaks for the user at Postgres.
    pub(super) async fn prove(&mut self, user: &str, database: &str) -> Result<Credential> {
        let method = self.context.config.auth_method(database, user, self.peer.ip());
        if method == AuthMethod::Reject {
            return Err(self.rejected(user, database));
        }
        let Known { exists, stored } = self.known(user, database).await?;
        let by_stored = || stored.as_ref().map(Credential::of_stored).unwrap_or_default();
        let outcome = match (method, &stored) {
            (AuthMethod::Trust | AuthMethod::Reject, _) => Ok(by_stored()),
            (AuthMethod::Peer, _) => self.peer(user).await.map(|()| by_stored()),
            (AuthMethod::Cert, _) => self.certificate(user).map(|()| by_stored()),
            (AuthMethod::Password, _) => self.cleartext(user, stored).await,
            // A SCRAM verifier cannot serve md5; like Postgres, the better method is used.
            (AuthMethod::ScramSha256, _) | (AuthMethod::Md5, Some(StoredPassword::Scram(_))) => {
                self.scram(user, stored.as_ref()).await
            }
            // Most roles of Postgres have one: who has none, or does not exist, must not be seen by the question.
            (AuthMethod::Md5, None) if self.context.config.auth.query.is_some() => self.scram(user, None).await,
            (AuthMethod::Md5, _) => self.md5(user, stored.as_ref()).await,
        };
        let credential = outcome.inspect_err(|_| self.forget(user, database))?;
        if !exists && self.context.config.database(database).is_some() {
            return Err(no_role(user));
        }
        Authentication::Ok.encode(&mut self.out);
        Ok(credential)
    }

    /// Postgres's words for the same line in pg_hba.conf.
    fn rejected(&self, user: &str, database: &str) -> Error {
        let host = self.peer.ip().map_or_else(|| "[local]".to_owned(), |address| address.to_string());
        let encryption = if self.stream.is_tls() { "SSL encryption" } else { "no encryption" };
        let text =
            format!("pgdial rejects connection for host \"{host}\", user \"{user}\", database \"{database}\", {encryption}");
        forbidden(text).with_hint("See [[auth.rule]] and [auth] method in pgdial's configuration.")
    }

    /// The owner of the process at the other end of the socket has the user's name.
    async fn peer(&self, user: &str) -> Result<()> {
        let Peer::Unix { uid: Some(uid) } = self.peer else {
            return Err(forbidden(format!("peer authentication failed for user \"{user}\""))
                .with_hint("The method \"peer\" works over a Unix socket only."));
        };
        let accounts = tokio::fs::read(ACCOUNTS).await.unwrap_or_default();
        match account(&accounts, uid) {
            Some(name) if name == user.as_bytes() => Ok(()),
            found => {
                let found = found.map_or_else(|| "has no name".into(), |name| format!("is {}", String::from_utf8_lossy(name)));
                let reason = format!("the client's system user {uid} {found} in {ACCOUNTS}");
                Err(forbidden(format!("peer authentication failed for user \"{user}\"")).with_source(reason))
            }
        }
    }

    /// The certificate was checked when TLS began; here only its owner's name counts.
    fn certificate(&self, user: &str) -> Result<()> {
        let Some(certificate) = self.stream.peer_certificate() else {
            return Err(super::startup::no_certificate());
        };
        match common_name(certificate) {
            Some(name) if name == user => Ok(()),
            found => {
                let reason = format!("the certificate's common name is {:?}", found.unwrap_or_default());
                Err(forbidden(format!("certificate authentication failed for user \"{user}\"")).with_source(reason))
            }
        }
    }

    async fn cleartext(&mut self, user: &str, stored: Option<StoredPassword>) -> Result<Credential> {
        Authentication::CleartextPassword.encode(&mut self.out);
        let given = self.password_text().await?;
        let (name, mock) = (user.to_owned(), self.context.verifiers.mock(user));
        // A verifier costs milliseconds of hashing. A name nobody has costs as much.
        let check = move || match stored {
            Some(stored) => stored.matches_cleartext(&name, &given),
            None => mock.prove(&given).map_or(Matched::No, |_| Matched::No),
        };
        let guard = &self.context.guard;
        let verdict = async {
            match guard.hash(check).await? {
                Matched::Yes(credential) => Ok(credential),
                Matched::No => Err(wrong_password(user)),
            }
        };
        guard.judge(self.peer, user, verdict).await
    }

    async fn md5(&mut self, user: &str, stored: Option<&StoredPassword>) -> Result<Credential> {
        let salt = random()?;
        Authentication::Md5Password { salt }.encode(&mut self.out);
        let given = self.password_text().await?;
        let matching = stored.filter(|stored| stored.matches_md5(user, salt, &given));
        let verdict = async { matching.map(Credential::of_stored).ok_or_else(|| wrong_password(user)) };
        self.context.guard.judge(self.peer, user, verdict).await
    }

    async fn password_text(&mut self) -> Result<Vec<u8>> {
        let body = self.password_message(MAX_AUTHENTICATION).await?;
        let text = Password { data: &body }.text().map_err(super::violation)?;
        if text.is_empty() {
            return Err(Error::new(Kind::Auth, "empty password returned by client"));
        }
        Ok(text.to_vec())
    }

    async fn scram(&mut self, user: &str, stored: Option<&StoredPassword>) -> Result<Credential> {
        let (verifier, known) = self.verifier(user, stored).await?;
        let end_point = self.end_point.clone();
        let mechanisms = if end_point.is_some() { Mechanisms::SCRAM_SHA_256_PLUS } else { Mechanisms::SCRAM_SHA_256 };
        Authentication::Sasl { mechanisms }.encode(&mut self.out);
        let (plus, first) = self.first_answer(end_point.is_some()).await?;
        let mut server = ServerScram::new(Arc::clone(&verifier), known, &nonce()?);
        if let Some(end_point) = end_point {
            server = server.over_tls(end_point, plus);
        }
        match server.step(&first)? {
            Step::Continue(data) => Authentication::SaslContinue { data: &data }.encode(&mut self.out),
            Step::Done { .. } => return Err(Error::new(Kind::Internal, "SCRAM ended at its beginning")),
        }
        let last = self.password_message(MAX_SASL).await?;
        let verdict = async { server.step(&last).map_err(|refusal| refused(refusal, user)) };
        let Step::Done { message, client_key } = self.context.guard.judge(self.peer, user, verdict).await? else {
            return Err(Error::new(Kind::Internal, "SCRAM goes on after its end"));
        };
        Authentication::SaslFinal { data: &message }.encode(&mut self.out);
        Ok(match stored {
            Some(StoredPassword::Scram(_)) => {
                let keys = verifier.keys(client_key);
                Credential::Keys(verifier, keys)
            }
            Some(stored @ (StoredPassword::Plain(_) | StoredPassword::Md5(_))) => Credential::of_stored(stored),
            None => Credential::None,
        })
    }

    async fn verifier(&self, user: &str, stored: Option<&StoredPassword>) -> Result<(Arc<ScramVerifier>, bool)> {
        match self.context.verifiers.find(user, stored) {
            Found::Ready { verifier, known } => Ok((verifier, known)),
            Found::Derive(pending) => self.context.guard.derive(&pending).await.map(|verifier| (verifier, true)),
        }
    }

    /// Whether the client has chosen channel binding, and its first message. It may leave that out; it is then asked for with
    /// an empty challenge.
    async fn first_answer(&mut self, offered: bool) -> Result<(bool, Vec<u8>)> {
        let body = self.password_message(MAX_SASL).await?;
        let initial = SaslInitialResponse::decode(&body).map_err(super::violation)?;
        let plus = initial.mechanism == SCRAM_SHA_256_PLUS.as_bytes();
        if initial.mechanism != SCRAM_SHA_256.as_bytes() && !(plus && offered) {
            return Err(Error::new(Kind::Protocol, "client selected an invalid SASL authentication mechanism"));
        }
        match initial.data {
            Some(data) => Ok((plus, data.to_vec())),
            None => {
                Authentication::SaslContinue { data: b"" }.encode(&mut self.out);
                self.password_message(MAX_SASL).await.map(|data| (plus, data))
            }
        }
    }
}

fn refused(refusal: Refusal, user: &str) -> Error {
    if refusal == Refusal::WrongPassword { wrong_password(user) } else { refusal.into() }
}

fn wrong_password(user: &str) -> Error {
    Error::new(Kind::Auth, format!("password authentication failed for user \"{user}\""))
}

/// As in Postgres the role must exist even where nobody asks for a proof.
fn no_role(user: &str) -> Error {
    forbidden(format!("role \"{user}\" does not exist"))
        .with_hint("pgdial knows the users of its config file, of its upstream URLs and of [auth] query.")
}

pub(super) fn forbidden(text: String) -> Error {
    Error::new(Kind::Auth, text).with_sqlstate(SqlState(*b"28000"))
}

/// The name of a system user. The file alone is asked: directories that are reached by other means are not known here.
fn account(accounts: &[u8], uid: u32) -> Option<&[u8]> {
    let uid = uid.to_string();
    accounts.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number == uid.as_bytes() && !name.is_empty()).then_some(name)
    })
}

const ACCOUNTS: &str = "/etc/passwd";
