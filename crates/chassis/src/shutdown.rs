//! How the parts of a process are told to stop.

use tokio::sync::watch;

/// Asks every [`Shutdown`] made with it to stop: when triggered, or dropped.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// A wish to stop, shared by whoever must hear of it.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// A wish that nobody has uttered yet, and the means to.
    pub fn new() -> (Trigger, Self) {
        let (sender, receiver) = watch::channel(false);
        (Trigger(sender), Self(receiver))
    }

    /// Whether the time has come.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Waits until the time has come.
    pub async fn requested(&self) {
        // An error means that the trigger is gone, and with it the process's owner.
        drop(self.0.clone().wait_for(|requested| *requested).await);
    }
}

impl Trigger {
    /// Asks everybody to stop.
    pub fn shut_down(&self) {
        self.0.send_replace(true);
    }
}
