//! Floor 3. One task per pool that does what no client asks for: ends waits that took too long, closes what is old or dead,
//! keeps `min_idle` warm, dials again after a failure, probes the long idle.
//!
//! One tick for all of it instead of a timer per waiter: with thousands of waiters the timers would cost more than the pool.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::pool::{Connector, WeakPool};

/// How late a wait may end, and how long a dead idle server may stay.
pub const TICK: Duration = Duration::from_millis(100);

/// Ends with the pool: when nobody holds it any more, or when it is drained.
pub(super) async fn run<K: Connector>(pool: WeakPool<K>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(pool) = pool.upgrade() else { return };
        pool.tend(Instant::now());
        if pool.is_drained() {
            return;
        }
    }
}
