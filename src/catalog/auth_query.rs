//! Floor 3. `[auth] query`: what Postgres knows of users that the configuration does not.
//!
//! It runs on a control connection, as the upstream URL's own user, under a search_path that no client can influence, and
//! one at a time: a flood of logins asks Postgres no more than one connection can. An answer is kept for [`KEPT`], so that an
//! application that opens a hundred connections asks once, and a changed password is honoured a moment later.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_postgres::types::{FromSql, Kind as TypeKind, Type};
use tokio_postgres::{Client, NoTls, Row, Statement};
use tokio_rustls::rustls::ClientConfig;
use tracing::warn;

use super::tls::MakeRustls;
use crate::auth::StoredPassword;
use crate::error::{Error, Kind, Result};

/// Asks one database.
pub struct AuthQuery {
    name: String,
    server: tokio_postgres::Config,
    tls: Option<Arc<ClientConfig>>,
    query: String,
    link: tokio::sync::Mutex<Option<Link>>,
    answers: Mutex<LruCache<Box<str>, (Answer, Instant), foldhash::fast::RandomState>>,
    warned: Mutex<Option<Instant>>,
}

struct Link {
    client: Client,
    statement: Statement,
}

/// What is known of a user.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// There is a row.
    pub exists: bool,
    /// None: no password, and so none that could be right.
    stored: Option<StoredPassword>,
    /// Microseconds since 2000, as Postgres counts.
    valid_until: Option<i64>,
}

impl Answer {
    /// What the password is compared with; None once VALID UNTIL has passed.
    pub fn stored(&self) -> Option<&StoredPassword> {
        let expired = self.valid_until.is_some_and(|until| until <= now_in_postgres());
        self.stored.as_ref().filter(|_| !expired)
    }
}

impl AuthQuery {
    /// Connects when it is first asked. `tls`: as the pool's own; None = without TLS.
    pub fn new(name: &str, mut server: tokio_postgres::Config, tls: Option<Arc<ClientConfig>>, query: &str) -> Self {
        server.application_name("pgdial auth_query").connect_timeout(LIMIT);
        Self {
            name: name.to_owned(),
            server,
            tls,
            query: query.to_owned(),
            link: tokio::sync::Mutex::new(None),
            answers: Mutex::new(LruCache::with_hasher(MOST, foldhash::fast::RandomState::default())),
            warned: Mutex::new(None),
        }
    }

    /// The database that it asks.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The query it was made with.
    pub fn text(&self) -> &str {
        &self.query
    }

    /// Looks a user up. An error says only that it could not be asked: the reasons are for the log.
    pub async fn find(&self, user: &str) -> Result<Answer> {
        // No role can have such a name, and Postgres would cut it or complain.
        if user.len() > NAME || user.contains('\0') {
            return Ok(Answer::default());
        }
        if let Some(answer) = self.kept(user) {
            return Ok(answer);
        }
        let reason = match timeout(LIMIT, self.ask_in_turn(user)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(reason)) => reason,
            Err(_) => format!("no answer within {LIMIT:?}"),
        };
        self.warn(&reason);
        Err(Error::new(Kind::Connect, "pgdial could not ask Postgres about this user")
            .with_hint("[auth] query failed; pgdial's log says why.")
            .fatal())
    }

    /// A password did not fit: it may have been changed, so the next login asks again.
    pub fn forget(&self, user: &str) {
        self.answers.lock().pop(user);
    }

    fn kept(&self, user: &str) -> Option<Answer> {
        let mut answers = self.answers.lock();
        answers.get(user).filter(|(_, asked)| asked.elapsed() < KEPT).map(|(answer, _)| answer.clone())
    }

    async fn ask_in_turn(&self, user: &str) -> Result<Answer, String> {
        let mut link = self.link.lock().await;
        // Whoever was first may have asked about the same user.
        if let Some(answer) = self.kept(user) {
            return Ok(answer);
        }
        // The answer is as old as the question.
        let asked = Instant::now();
        // Taken out while in use: a question that is given up half-way takes its connection along.
        let known = link.take().filter(|link| !link.client.is_closed());
        let was_open = known.is_some();
        let mut open = match known {
            Some(link) => link,
            None => self.connect().await?,
        };
        let answer = match ask(&open, user).await {
            Ok(answer) => answer,
            Err(_) if was_open => {
                // The connection may have died, or the statement been overtaken by DDL.
                open = self.connect().await?;
                ask(&open, user).await?
            }
            Err(reason) => return Err(reason),
        };
        *link = Some(open);
        self.answers.lock().put(user.into(), (answer.clone(), asked));
        Ok(answer)
    }

    async fn connect(&self) -> Result<Link, String> {
        let client = match &self.tls {
            Some(tls) => {
                let (client, connection) = self.server.connect(MakeRustls::new(Arc::clone(tls))).await.map_err(reason)?;
                tokio::spawn(connection);
                client
            }
            None => {
                let (client, connection) = self.server.connect(NoTls).await.map_err(reason)?;
                tokio::spawn(connection);
                client
            }
        };
        client.batch_execute(SETTINGS).await.map_err(reason)?;
        let statement = client.prepare(&self.query).await.map_err(reason)?;
        check(&statement)?;
        Ok(Link { client, statement })
    }

    /// Not more than one line in a while: it fails for every login or for none.
    fn warn(&self, reason: &str) {
        let mut warned = self.warned.lock();
        if warned.is_none_or(|last| last.elapsed() >= BETWEEN_LINES) {
            *warned = Some(Instant::now());
            warn!(reason, "[auth] query failed: users that are not in the configuration cannot log in");
        }
    }
}

/// That it can be run at all, said once and in words.
fn check(statement: &Statement) -> Result<(), String> {
    let is_text = |wanted: &Type| <&str as FromSql<'_>>::accepts(wanted);
    let [parameter] = statement.params() else {
        return Err(format!("it must have one parameter, $1, the user's name, and has {}", statement.params().len()));
    };
    if !is_text(parameter) {
        return Err(format!("$1 is compared with a {parameter}: it must be a text or name"));
    }
    let types: Vec<&Type> = statement.columns().iter().map(tokio_postgres::Column::type_).collect();
    let good = match types.as_slice() {
        [name, password] => is_text(name) && is_text(password),
        [name, password, until] => is_text(name) && is_text(password) && Moment::accepts(until),
        _ => false,
    };
    if good {
        return Ok(());
    }
    let found: Vec<_> = types.iter().map(ToString::to_string).collect();
    Err(format!(
        "it must give user name, password and, if there is a third column, VALID UNTIL as timestamptz; it gives ({})",
        found.join(", ")
    ))
}

async fn ask(link: &Link, user: &str) -> Result<Answer, String> {
    let rows = link.client.query(&link.statement, &[&user]).await.map_err(reason)?;
    match rows.as_slice() {
        [] => Ok(Answer::default()),
        [row] => read(row, user),
        _ => Err(format!("it gives {} rows for one user", rows.len())),
    }
}

fn read(row: &Row, user: &str) -> Result<Answer, String> {
    let name: Option<&str> = row.try_get(0).map_err(reason)?;
    match name {
        // A function with OUT columns that finds nobody gives one row of NULLs.
        None => return Ok(Answer::default()),
        Some(name) if name != user => return Err("it gives another user than it was asked for".into()),
        Some(_) => {}
    }
    let stored: Option<&str> = row.try_get(1).map_err(reason)?;
    let stored = stored.filter(|text| !text.is_empty()).map(StoredPassword::parse);
    let valid_until: Option<Moment> = if row.len() > 2 { row.try_get(2).map_err(reason)? } else { None };
    Ok(Answer { exists: true, stored, valid_until: valid_until.map(|moment| moment.0) })
}

/// Microseconds since 2000; both infinities are the ends of the range.
struct Moment(i64);

impl<'a> FromSql<'a> for Moment {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(i64::from_be_bytes(raw.try_into()?)))
    }

    fn accepts(kind: &Type) -> bool {
        *kind.kind() == TypeKind::Simple && matches!(*kind, Type::TIMESTAMPTZ)
    }
}

fn now_in_postgres() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX).saturating_sub(BEFORE_2000)
}

/// Postgres's own words, without what stands in a row.
#[allow(clippy::needless_pass_by_value, reason = "it is made for map_err")]
fn reason(error: tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(refusal) => format!("{} ({})", refusal.message(), refusal.code().code()),
        None => match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

/// What a client, a role or a database has set must not decide whose functions run. pg_temp would be searched first if it
/// were not named.
const SETTINGS: &str = "SET search_path = pg_catalog, pg_temp; SET statement_timeout = '5s'";
/// How old an answer may be.
const KEPT: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(5);
const BETWEEN_LINES: Duration = Duration::from_secs(10);
const MOST: NonZeroUsize = match NonZeroUsize::new(10_000) {
    Some(most) => most,
    None => NonZeroUsize::MIN,
};
/// NAMEDATALEN - 1.
const NAME: usize = 63;
const BEFORE_2000: i64 = 946_684_800_000_000;
