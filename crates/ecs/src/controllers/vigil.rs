//! Since when agents could have reached us.
//!
//! What the state says of an agent that is away is silent about us: the process
//! may have been down, or its machine asleep. Nobody else can know that, so it is
//! remembered here, and only here.

use ident::Timestamp;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A longer time without a look is a time in which we were not there. Well above
/// what a controller waits between two rounds, even after failures.
const LAPSE: Duration = Duration::from_mins(1);

/// See the module. It is kept by looking again and again.
#[derive(Debug, Default)]
pub(super) struct Vigil(Mutex<Option<Looked>>);

#[derive(Clone, Copy, Debug)]
struct Looked {
    since: Timestamp,
    last: Timestamp,
}

impl Vigil {
    /// Notes that we are there now, and says since when we have been.
    pub(super) fn look(&self, now: Timestamp) -> Timestamp {
        // A panic leaves an older look, which is true too.
        let mut looked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that goes back tells as little as one that leaps forward.
        let unbroken = looked.filter(|it| it.last <= now && now.since(it.last) < LAPSE);
        let since = unbroken.map_or(now, |it| it.since);
        *looked = Some(Looked { since, last: now });
        since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_anew_whenever_it_was_broken() {
        let vigil = Vigil::default();
        let begin = Timestamp(1_800_000_000_000);
        assert_eq!(vigil.look(begin), begin);
        let steady = begin.after(LAPSE.saturating_sub(Duration::from_millis(1)));
        assert_eq!(vigil.look(steady), begin);
        let late = steady.after(LAPSE);
        assert_eq!(vigil.look(late), late, "nobody looked for too long");
        assert_eq!(vigil.look(steady), steady, "the clock went back");
        assert_eq!(vigil.look(steady), steady);
    }
}
