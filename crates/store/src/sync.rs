//! Locks that survive a panic.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, even if someone panicked with the lock held. What we guard is only
/// changed once the fallible part is over, so it is sound after a panic; the
/// body of a transaction is other people's code, and its panic is theirs.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
