//! Floor 5. The result cache of each database: its catalog, its feed, and the fences whose outcome is open.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::cache::{Cache, Counter, Database, Rules, Settings};
use crate::config::{self, CacheMode, Config};
use crate::engine::CacheShared;
use crate::error::Result;
use crate::query::Snapshot;
use crate::server::Target;

/// All of them.
pub(super) struct Caches {
    cache: Option<Cache>,
    databases: Vec<Database>,
    catalogs: Vec<Arc<ArcSwapOption<Snapshot>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Caches {
    /// One store for the whole process, if any database wants it.
    pub(super) fn new(config: &Config) -> Self {
        let wanted = config.databases.iter().any(|database| database.cache != CacheMode::Off);
        let settings = Settings {
            memory: config.cache.memory,
            max_result: config.cache.max_result,
            observe: config.cache.mode == CacheMode::Observe,
        };
        let cache = wanted.then(|| Cache::new(settings, Counter::default()));
        Self { cache, databases: Vec::new(), catalogs: Vec::new(), tasks: Vec::new() }
    }

    /// The cache of one database, unless it is off there.
    pub(super) fn open(&mut self, config: &Config, section: &config::Database, _target: &Target) -> Result<Option<CacheShared>> {
        if section.cache == CacheMode::Off {
            return Ok(None);
        }
        let Some(cache) = self.cache.as_ref() else { return Ok(None) };
        let database = cache.database(&section.name);
        let catalog = Arc::new(ArcSwapOption::empty());
        self.databases.push(database.clone());
        self.catalogs.push(Arc::clone(&catalog));
        Ok(Some(CacheShared::new(database, Rules::new(&config.cache), Box::new(move || catalog.load_full()))))
    }

    /// What the statistics need.
    pub(super) fn handles(&self) -> Handles {
        Handles {
            cache: self.cache.clone(),
            databases: Arc::new(self.databases.clone()),
            catalogs: Arc::new(self.catalogs.clone()),
        }
    }

    /// Ends the background tasks.
    pub(super) fn stop(&self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// Read by the statistics, purged by the operator.
#[derive(Clone)]
pub(super) struct Handles {
    pub(super) cache: Option<Cache>,
    pub(super) databases: Arc<Vec<Database>>,
    pub(super) catalogs: Arc<Vec<Arc<ArcSwapOption<Snapshot>>>>,
}
