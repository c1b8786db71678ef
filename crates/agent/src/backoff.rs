//! Pauses between attempts, and the jitter that keeps a thousand agents from
//! returning in step.

use std::time::Duration;

/// A source of jitter: small, fast, seeded, and good enough for timers.
#[derive(Clone, Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    /// A source that `seed` determines.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another source, which what this one gives from now on does not depend on.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// The next number (SplitMix64).
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A span from zero to less than `most`.
    pub(crate) fn upto(&mut self, most: Duration) -> Duration {
        let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX).max(1);
        Duration::from_millis(self.next() % millis)
    }
}

/// Pauses that grow.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    /// Each pause is the one before times this, in tenths.
    growth: u32,
    current: Duration,
}

impl Backoff {
    /// Pauses from `first` to `most`, each `growth` tenths of the one before.
    pub(crate) fn new(first: Duration, most: Duration, growth: u32) -> Self {
        Self { first, most, growth, current: first }
    }

    /// The next pause, up to a fifth longer by chance.
    pub(crate) fn next(&mut self, jitter: &mut Jitter) -> Duration {
        let pause = self.current;
        self.current = (self.current * self.growth / 10).min(self.most);
        pause + jitter.upto(pause / 5)
    }

    /// Starts again.
    pub(crate) fn reset(&mut self) {
        self.current = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_differ_by_chance() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, 4 * second, 20);
        let mut jitter = Jitter::new(1);
        let pauses: Vec<u64> = (0..4).map(|_| backoff.next(&mut jitter).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 4]);
        backoff.reset();
        assert!(backoff.next(&mut jitter) < Duration::from_millis(1200));
        assert_ne!(Jitter::new(1).next(), Jitter::new(2).next());
    }
}
