//! Floor 0. What is counted: counters, histograms, the table of shapes, and every metric's name, once (`families`).
//!
//! Recording is one relaxed atomic addition: no lock, no allocation, no clock (durations come in as arguments).
//! Reading takes a copy ([`Stats`]) that is not one instant's truth, but no number in it is ever torn or goes back.

mod counters;
mod families;
mod histogram;
mod label;
mod shapes;
mod stats;

pub use counters::{
    CacheCounters, ClientCounters, Counter, Counters, Gauge, PlanCounters, PoolCounters, Rejected, TrafficCounters,
};
pub use families::{FAMILIES, Family, Sample, Type, Value};
pub use histogram::{Bucket, Histogram, SmallHistogram, Snapshot};
pub use label::{Label, Labelled, LabelledGauge, words};
pub use shapes::{ShapeStats, ShapeTable};
pub use stats::{
    CacheStats, ClientStats, Fence, Latencies, LatencyStats, Pinned, PlanStats, Pool, PoolStats, Shape, Stats, TrafficStats,
    Words,
};

/// Implements [`Label`] for an enum without fields, from its `as_str()`: `label!(NoCache: Off, NoRule, Fence);`.
///
/// The variants must be listed in the order of their declaration; a missing one does not compile.
#[macro_export]
macro_rules! label {
    ($type:ident : $($variant:ident),+ $(,)?) => {
        impl $crate::metrics::Label for $type {
            const ALL: &'static [Self] = &[$(Self::$variant),+];
            fn as_str(self) -> &'static str {
                // A variant that is not listed above would never be shown: it must not compile.
                match self { $(Self::$variant => Self::as_str(self)),+ }
            }
            fn index(self) -> usize {
                self as usize
            }
        }
    };
}
