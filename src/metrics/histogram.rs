//! Floor 0. Latency histograms: fixed memory, one relaxed addition per bucket, sum and (rarely) maximum.
//!
//! Log-linear: each power of two of microseconds is cut into `2^BITS` equal buckets. With 4 bits a value read back from the middle of
//! its bucket is at most 3 % off; percentiles are interpolated inside the bucket. Values of 134 s and more share the last bucket;
//! the maximum stays exact.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The histogram of the process-wide latencies: 3 % resolution, 3 KiB.
pub type Histogram = LogLinear<4, 384>;

/// The histogram of one query shape: 6 % resolution, 1.5 KiB, so that a thousand of them stay small.
pub type SmallHistogram = LogLinear<3, 200>;

/// Values are below `2^OCTAVES` microseconds (134 s).
const OCTAVES: u32 = 27;

/// A histogram with `2^BITS` buckets for each power of two; `N` is `(OCTAVES - BITS + 1) << BITS`, checked at compile time.
pub struct LogLinear<const BITS: u32, const N: usize> {
    buckets: [AtomicU64; N],
    sum_us: AtomicU64,
    max_us: AtomicU64,
}

impl<const BITS: u32, const N: usize> LogLinear<BITS, N> {
    const FITS: () = assert!(N == ((OCTAVES - BITS + 1) << BITS) as usize, "N must be (OCTAVES - BITS + 1) << BITS");

    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        self.record_us(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts one duration in microseconds.
    pub fn record_us(&self, us: u64) {
        if let Some(bucket) = self.buckets.get(index::<BITS>(us).min(N - 1)) {
            bucket.fetch_add(1, Relaxed);
        }
        self.sum_us.fetch_add(us, Relaxed);
        // A plain load first: the maximum moves a handful of times, a read-modify-write would move the cache line each time.
        if us > self.max_us.load(Relaxed) {
            self.max_us.fetch_max(us, Relaxed);
        }
    }

    /// A copy of what was counted.
    pub fn snapshot(&self) -> Snapshot {
        let mut buckets = Vec::new();
        for (i, bucket) in self.buckets.iter().enumerate() {
            let count = bucket.load(Relaxed);
            if count > 0 {
                buckets.push(Bucket { from_us: lower::<BITS>(i), to_us: lower::<BITS>(i + 1), count });
            }
        }
        Snapshot { buckets, sum_us: self.sum_us.load(Relaxed), max_us: self.max_us.load(Relaxed) }
    }
}

impl<const BITS: u32, const N: usize> Default for LogLinear<BITS, N> {
    fn default() -> Self {
        let () = Self::FITS;
        Self { buckets: array::from_fn(|_| AtomicU64::new(0)), sum_us: AtomicU64::new(0), max_us: AtomicU64::new(0) }
    }
}

/// The bucket of a value: exact below `2^BITS`, then the highest set bit and the `BITS` bits after it.
fn index<const BITS: u32>(us: u64) -> usize {
    if us < (1 << BITS) {
        return us as usize;
    }
    let octave = 63 - us.leading_zeros();
    let within = (us >> (octave - BITS)) as usize & ((1 << BITS) - 1);
    (((octave - BITS + 1) as usize) << BITS) + within
}

/// The smallest value of a bucket.
fn lower<const BITS: u32>(i: usize) -> u64 {
    let (row, within) = ((i >> BITS) as u32, (i & ((1 << BITS) - 1)) as u64);
    match row.checked_sub(1) {
        None => within,
        Some(shift) => ((1 << BITS) + within) << shift,
    }
}

/// One bucket that is not empty: `from_us <= value < to_us`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Smallest value.
    pub from_us: u64,
    /// First value that is not in it.
    pub to_us: u64,
    /// How many.
    pub count: u64,
}

/// A copy of a histogram: its buckets that are not empty, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Not empty, ascending.
    pub buckets: Vec<Bucket>,
    /// Sum of all values.
    pub sum_us: u64,
    /// The greatest value, exactly.
    pub max_us: u64,
}

impl Snapshot {
    /// How many values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.count).sum()
    }

    /// The mean, 0 when empty.
    pub fn mean_us(&self) -> u64 {
        self.sum_us.checked_div(self.count()).unwrap_or(0)
    }

    /// The value that `share` (0.0 to 1.0) of all values do not exceed; 0 when empty.
    pub fn percentile_us(&self, share: f64) -> u64 {
        let wanted = (self.count() as f64 * share.clamp(0.0, 1.0)).ceil().max(1.0);
        let mut before = 0.0;
        for bucket in &self.buckets {
            let count = bucket.count as f64;
            if before + count >= wanted {
                let part = (wanted - before) / count;
                let width = bucket.to_us.saturating_sub(bucket.from_us).saturating_sub(1) as f64;
                return bucket.from_us.saturating_add((width * part).round() as u64).min(self.max_us);
            }
            before += count;
        }
        0
    }

    /// For each power of two from `2^first` to `2^last` microseconds: how many values were below it. Exact, since
    /// a power of two is always a bucket's edge.
    pub fn cumulative(&self, first: u32, last: u32) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut rest = self.buckets.iter().peekable();
        let mut below = 0;
        (first..=last).map(move |octave| {
            let edge = 1_u64.checked_shl(octave).unwrap_or(u64::MAX);
            while let Some(bucket) = rest.next_if(|bucket| bucket.to_us <= edge) {
                below += bucket.count;
            }
            (edge, below)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_and_buckets_join() {
        for i in 0..383 {
            assert_eq!(index::<4>(lower::<4>(i)), i);
            assert_eq!(index::<4>(lower::<4>(i + 1) - 1), i, "the last value of bucket {i}");
        }
        assert_eq!(index::<4>((1 << OCTAVES) - 1), 383);
        assert!(size_of::<Histogram>() <= 4096);
        assert!(size_of::<SmallHistogram>() <= 2048);
    }

    #[test]
    fn one_value_reads_back_within_three_percent() {
        for us in [0, 1, 15, 16, 17, 99, 1_000, 33_333, 1_000_000, 99_999_999] {
            let histogram = Histogram::default();
            histogram.record_us(us);
            histogram.record_us(us * 2); // so that the maximum does not give the answer away
            let read = histogram.snapshot().percentile_us(0.5) as f64;
            assert!((read - us as f64).abs() <= us as f64 * 0.0625, "{us} read as {read}");
        }
    }

    #[test]
    fn percentiles_of_a_ramp() {
        let histogram = Histogram::default();
        for us in 1..=10_000 {
            histogram.record(Duration::from_micros(us));
        }
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.count(), snapshot.max_us, snapshot.mean_us()), (10_000, 10_000, 5_000));
        for (share, expected) in [(0.5, 5_000.0), (0.9, 9_000.0), (0.99, 9_900.0), (0.999, 9_990.0)] {
            let read = snapshot.percentile_us(share) as f64;
            assert!((read - expected).abs() / expected < 0.03, "p{share}: {read}");
        }
        assert_eq!(snapshot.percentile_us(1.0), 10_000);
    }

    #[test]
    fn empty_is_zero_and_huge_is_kept_in_the_last_bucket() {
        let histogram = Histogram::default();
        assert_eq!(histogram.snapshot().percentile_us(0.99), 0);
        assert_eq!(histogram.snapshot().mean_us(), 0);
        histogram.record(Duration::from_secs(86_400));
        histogram.record(Duration::MAX);
        assert_eq!(histogram.snapshot().count(), 2);
        assert_eq!(histogram.snapshot().max_us, u64::MAX);
    }

    #[test]
    fn cumulative_counts_are_exact_at_powers_of_two() {
        let histogram = Histogram::default();
        for us in [0, 7, 8, 1023, 1024, 70_000_000] {
            histogram.record_us(us);
        }
        let snapshot = histogram.snapshot();
        let below: Vec<_> = snapshot.cumulative(3, 26).filter(|(edge, _)| [8, 16, 1024, 2048, 1 << 26].contains(edge)).collect();
        assert_eq!(below, [(8, 2), (16, 3), (1024, 4), (2048, 5), (1 << 26, 5)]);
    }
}
