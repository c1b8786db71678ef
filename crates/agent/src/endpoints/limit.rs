//! How often a task may ask.

use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// Requests a second, and at once after a pause: the official agent's numbers.
const RATE: f64 = 40.0;
const BURST: f64 = 60.0;

/// A bucket of tokens, one for each request, that fills again.
pub(super) struct Limit(Mutex<(f64, Instant)>);

impl Limit {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new((BURST, now)))
    }

    /// Whether one more request is answered now.
    pub(super) fn admits(&self, now: Instant) -> bool {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.duration_since(bucket.1).as_secs_f64();
        let tokens = (bucket.0 + passed * RATE).min(BURST);
        let admits = tokens >= 1.0;
        *bucket = (if admits { tokens - 1.0 } else { tokens }, now);
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn sixty_at_once_and_forty_a_second() {
        let begin = Instant::now();
        let limit = Limit::new(begin);
        let admitted = |after: Duration| (0..100).filter(|_| limit.admits(begin + after)).count();
        assert_eq!(admitted(Duration::ZERO), 60);
        assert_eq!(admitted(Duration::from_millis(500)), 20);
        assert_eq!(admitted(Duration::from_hours(1)), 60, "no more are saved up");
    }
}
