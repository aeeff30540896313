//! Floor 0. Counters by outcome: an enum's `as_str()` word is the label's value.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use super::counters::{Counter, Gauge};

/// An outcome enum whose words are label values. Implemented by [`crate::label!`].
pub trait Label: Copy + 'static {
    /// Every variant, in the order of declaration.
    const ALL: &'static [Self];
    /// The word in metrics, logs and docs.
    fn as_str(self) -> &'static str;
    /// The position in `ALL`.
    fn index(self) -> usize;
}

/// One counter for each variant of `L`.
pub struct Labelled<L> {
    counters: Box<[Counter]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label> Labelled<L> {
    /// Counts one.
    pub fn inc(&self, label: L) {
        self.add(label, 1);
    }

    /// Counts `n`.
    pub fn add(&self, label: L, n: u64) {
        if let Some(counter) = self.counters.get(label.index()) {
            counter.add(n);
        }
    }

    /// One label's count.
    pub fn get(&self, label: L) -> u64 {
        self.counters.get(label.index()).map_or(0, Counter::get)
    }

    /// Over all labels.
    pub fn total(&self) -> u64 {
        self.counters.iter().map(Counter::get).sum()
    }

    /// Word to count, zeros included: a series that appears only with its first event has no rate for it.
    pub fn snapshot(&self) -> BTreeMap<&'static str, u64> {
        words::<L>().zip(self.counters.iter().map(Counter::get)).collect()
    }
}

impl<L: Label> Default for Labelled<L> {
    fn default() -> Self {
        Self { counters: L::ALL.iter().map(|_| Counter::default()).collect(), label: PhantomData }
    }
}

/// One gauge for each variant of `L`.
pub struct LabelledGauge<L> {
    gauges: Box<[Gauge]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label> LabelledGauge<L> {
    /// One more.
    pub fn up(&self, label: L) {
        if let Some(gauge) = self.gauges.get(label.index()) {
            gauge.up();
        }
    }

    /// One less.
    pub fn down(&self, label: L) {
        if let Some(gauge) = self.gauges.get(label.index()) {
            gauge.down();
        }
    }

    /// Over all labels.
    pub fn total(&self) -> u64 {
        self.gauges.iter().map(Gauge::get).sum()
    }

    /// Word to value, zeros included.
    pub fn snapshot(&self) -> BTreeMap<&'static str, u64> {
        words::<L>().zip(self.gauges.iter().map(Gauge::get)).collect()
    }
}

impl<L: Label> Default for LabelledGauge<L> {
    fn default() -> Self {
        Self { gauges: L::ALL.iter().map(|_| Gauge::default()).collect(), label: PhantomData }
    }
}

/// The words of a label type.
pub fn words<L: Label>() -> impl Iterator<Item = &'static str> {
    L::ALL.iter().map(|label| label.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    enum Colour {
        Red,
        Green,
    }

    impl Colour {
        fn as_str(self) -> &'static str {
            match self {
                Self::Red => "red",
                Self::Green => "green",
            }
        }
    }

    crate::label!(Colour: Red, Green);

    #[test]
    fn counts_by_word_zeros_included() {
        let counts = Labelled::<Colour>::default();
        counts.inc(Colour::Green);
        counts.add(Colour::Green, 4);
        assert_eq!(counts.snapshot(), BTreeMap::from([("red", 0), ("green", 5)]));
        assert_eq!(counts.total(), 5);
        assert_eq!(counts.get(Colour::Green), 5);
    }

    #[test]
    fn a_gauge_goes_down_but_never_below_zero() {
        let gauges = LabelledGauge::<Colour>::default();
        gauges.up(Colour::Red);
        gauges.down(Colour::Red);
        gauges.down(Colour::Red);
        assert_eq!(gauges.snapshot(), BTreeMap::from([("red", 0), ("green", 0)]));
        gauges.up(Colour::Green);
        assert_eq!(gauges.total(), 1);
    }

    #[test]
    fn index_is_the_position() {
        for (position, label) in Colour::ALL.iter().enumerate() {
            assert_eq!(label.index(), position);
        }
    }
}
