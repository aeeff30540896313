//! Floor 3. The connection that listens for all clients of a database.
//!
//! ```text
//!   asleep ── somebody wants to listen ── dial ── rounds of LISTEN, UNLISTEN and catching up ── nobody listens ── asleep
//!                                                 └── lost: every client that listens is told ──────────────────┘
//! ```
//! One round is under way at a time; what is asked for meanwhile is done in the next. Postgres delivers all that is
//! committed before it says ReadyForQuery, so whoever waited for a round has missed nothing when it is over. Every now and
//! then an empty round finds out whether the connection still lives.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::dial::{Dialed, Login, Target, dial};
use super::dialer::Account;
use crate::error::{Error, Kind, Result};
use crate::listen::{Hub, Passage, Work};
use crate::wire::Header;
use crate::wire::backend::tag;
use crate::wire::diagnostics::Fields;
use crate::wire::frontend::{self, Query};

/// The listener of one database.
pub struct Fanout {
    hub: Arc<Hub>,
    target: Target,
    login: Login,
    database: String,
}

struct Link<'a> {
    hub: &'a Hub,
    dialed: Dialed,
    /// The round that is under way, and when it is given up.
    round: Option<(Work, Instant)>,
    /// The round was refused.
    refused: bool,
    probe_at: Instant,
}

impl Fanout {
    /// For the database of this name. Nothing is opened before somebody listens.
    pub fn new(hub: Arc<Hub>, database: &str, target: Target, account: Account) -> Self {
        let own = [("application_name", "pgdial listen"), ("client_encoding", "UTF8")];
        let parameters = own.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let login = Login::new(&account.user, account.credentials, &account.database, parameters);
        Self { hub, target, login, database: database.to_owned() }
    }

    /// Listens for good: the task ends by being aborted.
    pub async fn run(self) {
        loop {
            self.hub.is_due().await;
            if let Err(error) = self.serve().await {
                let clients = self.hub.lost();
                tracing::warn!(database = self.database, %error, clients, "the connection that listens for clients was lost");
                sleep(PAUSE).await;
            }
        }
    }

    /// Until nobody listens any more.
    async fn serve(&self) -> Result<()> {
        let Some(first) = self.hub.work() else { return Ok(()) };
        let dialed = match timeout(CONNECT_TIMEOUT, dial(&self.target, &self.login)).await {
            Ok(Ok(dialed)) => dialed,
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(Error::new(Kind::Connect, "Postgres did not accept a connection in time")),
        };
        tracing::info!(database = self.database, "listening for clients");
        let mut link = Link { hub: &self.hub, dialed, round: None, refused: false, probe_at: Instant::now() + PROBE_EVERY };
        link.begin(first).await?;
        while link.step().await? {}
        tracing::info!(database = self.database, "nobody listens any more");
        let mut end = Vec::new();
        frontend::terminate(&mut end);
        // It ends either way.
        let _ = link.dialed.stream.write_all(&end).await;
        Ok(())
    }
}

impl Link<'_> {
    /// False: nobody has listened for a while.
    async fn step(&mut self) -> Result<bool> {
        if self.round.is_none()
            && let Some(work) = self.hub.work()
        {
            self.begin(work).await?;
        }
        let due = self.round.as_ref().map_or(self.probe_at, |(_, end)| *end);
        let free = self.round.is_none();
        self.dialed.leftover.reserve(READ_MIN);
        tokio::select! {
            read = self.dialed.stream.read_buf(&mut self.dialed.leftover) => match read {
                Ok(n) if n > 0 => self.hear()?,
                Ok(_) => return Err(lost("Postgres closed the connection")),
                Err(error) => return Err(lost("the connection broke").with_source(error)),
            },
            () = self.hub.is_due(), if free => {}
            () = sleep_until(due) => {
                if !free {
                    return Err(lost("Postgres did not answer in time"));
                }
                if self.hub.size() == (0, 0) {
                    return Ok(false);
                }
                self.begin(Work::default()).await?;
            }
        }
        Ok(true)
    }

    async fn begin(&mut self, work: Work) -> Result<()> {
        let mut out = Vec::new();
        Query { text: &work.text() }.encode(&mut out);
        // Before it is written: what is dropped half-way tells those who wait.
        self.round = Some((work, Instant::now() + ANSWER_TIMEOUT));
        self.refused = false;
        match timeout(ANSWER_TIMEOUT, write(&mut self.dialed, &out)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(lost("the connection broke").with_source(error)),
            Err(_) => Err(lost("Postgres did not read in time")),
        }
    }

    /// Deals with all messages that are there.
    fn hear(&mut self) -> Result<()> {
        let inbox = std::mem::take(&mut self.dialed.leftover);
        let mut rest = &*inbox;
        loop {
            let header = match Header::peek(rest) {
                Ok(Some(header)) if header.len <= MESSAGE_MAX => header,
                Ok(None) => break,
                Ok(Some(_)) | Err(_) => return Err(lost("Postgres sent a message of impossible length")),
            };
            let (Some(body), Some(behind)) = (rest.get(Header::LEN..header.len), rest.get(header.len..)) else { break };
            self.message(header.tag, body)?;
            rest = behind;
        }
        self.dialed.leftover = rest.to_vec();
        Ok(())
    }

    fn message(&mut self, message: u8, body: &[u8]) -> Result<()> {
        match message {
            tag::NOTIFICATION_RESPONSE if self.hub.deliver(body) => {}
            tag::READY_FOR_QUERY => {
                let Some((work, _)) = self.round.take() else { return Err(lost("an answer that nobody asked for")) };
                self.probe_at = Instant::now() + PROBE_EVERY;
                self.hub.done(work, if self.refused { Passage::Closed } else { Passage::Open });
            }
            tag::ERROR_RESPONSE => self.refuse(body)?,
            tag::COMMAND_COMPLETE | tag::EMPTY_QUERY_RESPONSE | tag::NOTICE_RESPONSE | tag::PARAMETER_STATUS => {}
            _ => return Err(lost("Postgres sent an unexpected message")),
        }
        Ok(())
    }

    /// On a standby nobody may listen: the clients are told so by their own servers.
    fn refuse(&mut self, body: &[u8]) -> Result<()> {
        let fields = Fields::decode(body).map_err(|_| lost("Postgres sent an error that cannot be read"))?;
        let text = String::from_utf8_lossy(fields.message()).into_owned();
        if self.round.is_none() || !matches!(fields.severity(), Some(crate::wire::diagnostics::Severity::Error)) {
            return Err(lost("Postgres ended the connection").with_source(Error::new(Kind::ServerLost, text)));
        }
        tracing::warn!(error = text, "LISTEN was refused");
        self.refused = true;
        Ok(())
    }
}

/// Reads meanwhile: Postgres may have to get rid of notifications before it takes anything.
async fn write(dialed: &mut Dialed, out: &[u8]) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(&mut dialed.stream);
    let mut written = pin!(async {
        writer.write_all(out).await?;
        writer.flush().await
    });
    loop {
        tokio::select! {
            done = &mut written => return done,
            read = reader.read_buf(&mut dialed.leftover) => if read? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn lost(what: &'static str) -> Error {
    Error::new(Kind::ServerLost, what)
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that is cut without a word is noticed after this and an answer's time.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// Before the next attempt, after a failure.
const PAUSE: Duration = Duration::from_millis(100);
const READ_MIN: usize = 16 * 1024;
/// A notification is at most 8000 bytes and a channel's name; errors and notices are not much longer.
const MESSAGE_MAX: usize = 256 * 1024;
