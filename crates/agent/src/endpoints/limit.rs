//! How often a task may ask.

use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// Requests a second, and at once after a pause: the official agent's numbers.
const RATE: f64 = 40.0;
const BURST: f64 = 60.0;

/// A bucket of tokens, one for each request, that fills again.
pub(super) struct Limit(Mutex<(f64, Instant)>);

impl Limit {
    pub(super) fn new() -> Self {
        Self(Mutex::new((BURST, Instant::now())))
    }

    /// Whether one more request is answered now.
    pub(super) fn admits(&self) -> bool {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
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

    #[tokio::test(start_paused = true)]
    async fn sixty_at_once_and_forty_a_second() {
        let limit = Limit::new();
        let admitted = |times: usize| (0..times).filter(|_| limit.admits()).count();
        assert_eq!(admitted(100), 60);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(admitted(100), 20);
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(admitted(100), 60, "no more are saved up");
    }
}
