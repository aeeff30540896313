//! Floor 5. Reads what the functions of each database leave behind in sessions, where clients share them.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::catalog::RoutineWatcher;
use crate::config::{self, PoolMode};
use crate::engine::Shared;
use crate::query::Routines;
use crate::server::Target;

use super::cached::Control;

/// Where a watcher publishes.
pub(super) type Published = Arc<ArcSwapOption<Routines>>;

/// Lets the engines of a database ask for its routines, if its mode has use for them.
pub(super) fn publish(shared: &mut Shared, mode: PoolMode) -> Option<Published> {
    if mode == PoolMode::Session {
        return None;
    }
    let published = Published::default();
    let asked = Arc::clone(&published);
    shared.routines = Box::new(move || asked.load_full());
    Some(published)
}

/// Begins to read.
pub(super) fn watch(
    shared: &Arc<Shared>,
    section: &config::Database,
    target: &Target,
    every: Duration,
    published: Published,
) -> RoutineWatcher {
    let Control { mut server, tls } = Control::new(section, target);
    server.application_name("pgdial functions");
    let (wanted, counted) = (Arc::clone(&shared.routines_wanted), Arc::clone(shared));
    let defaults = Arc::clone(&shared.defaults);
    RoutineWatcher::spawn(server, tls, every, Arc::new(move || counted.schema_generation()), defaults, wanted, published)
}
