//! Floor 4. Who a name stands for: a user of the configuration, or one that Postgres is asked about.

use std::collections::HashMap;
use std::sync::Arc;

use super::Session;
use crate::auth::StoredPassword;
use crate::catalog::AuthQuery;
use crate::error::Result;

/// `[auth] query` for each database; empty without one.
#[derive(Default)]
pub struct Queries {
    of: HashMap<String, Arc<AuthQuery>>,
    /// For the console, and for databases nobody has: the upstream URL's own.
    first: Option<Arc<AuthQuery>>,
}

impl Queries {
    /// In the order of the configuration's databases.
    pub fn new(queries: Vec<(String, Arc<AuthQuery>)>) -> Self {
        let first = queries.first().map(|(_, query)| Arc::clone(query));
        Self { of: queries.into_iter().collect(), first }
    }

    /// That of a database.
    pub fn get(&self, database: &str) -> Option<&Arc<AuthQuery>> {
        self.of.get(database).or(self.first.as_ref())
    }
}

/// What there is about a user.
pub(super) struct Known {
    /// The configuration or Postgres has the name.
    pub(super) exists: bool,
    /// None: no password is right.
    pub(super) stored: Option<StoredPassword>,
}

impl Session<'_> {
    /// The configuration goes first; Postgres is asked about names, and passwords, that it does not have.
    pub(super) async fn known(&self, user: &str, database: &str) -> Result<Known> {
        let config = &self.context.config;
        // For a database nobody has, any user of the name will do: the right answer then is that the database does not exist.
        let configured = match config.database(database) {
            Some(_) => config.user(database, user),
            None => config.user(database, user).or_else(|| config.users.iter().find(|known| known.name == user)),
        };
        let password = configured.and_then(|known| known.password.as_ref());
        if let Some(password) = password.filter(|password| !password.expose().is_empty()) {
            return Ok(Known { exists: true, stored: Some(StoredPassword::parse(password.expose())) });
        }
        let Some(query) = self.context.queries.get(database) else {
            return Ok(Known { exists: configured.is_some(), stored: None });
        };
        let answer = self.context.guard.ask(self.peer, query.find(user)).await?;
        Ok(Known { exists: configured.is_some() || answer.exists, stored: answer.stored().cloned() })
    }

    /// What is known of the user may be old: the next login asks Postgres again.
    pub(super) fn forget(&self, user: &str, database: &str) {
        if let Some(query) = self.context.queries.get(database) {
            query.forget(user);
        }
    }
}
