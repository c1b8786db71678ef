//! Counting what the edge does, in one place.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What has been asked of this process since it started.
///
/// Only names from our own tables become labels, so that no client can make it
/// grow.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<Label, Count>>,
    panics: AtomicU64,
    connections: AtomicI64,
    sockets: AtomicI64,
}

/// What requests are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    /// The service: `ecs`, or `-` if that never became clear.
    pub service: &'static str,
    /// The operation, or `-`.
    pub operation: &'static str,
    /// The HTTP status of the answer.
    pub status: u16,
}

/// How many, and how long they took together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many requests.
    pub requests: u64,
    /// The sum of the times from the first byte of the request's head to the
    /// answer.
    pub spent: Duration,
}

/// Something that exists for a while, counted while it does.
#[derive(Debug)]
pub(crate) struct Gauge<'m>(&'m AtomicI64);

impl Metrics {
    /// The requests so far.
    pub fn requests(&self) -> BTreeMap<Label, Count> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often a handler panicked. Each time is a bug.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    pub(crate) fn request(&self, label: Label, spent: Duration) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let count = requests.entry(label).or_default();
        count.requests += 1;
        count.spent += spent;
    }

    pub(crate) fn panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connection(&self) -> Gauge<'_> {
        Gauge::up(&self.connections)
    }

    pub(crate) fn socket(&self) -> Gauge<'_> {
        Gauge::up(&self.sockets)
    }

    /// All of it in the text format of Prometheus.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut line = |args: std::fmt::Arguments<'_>| {
            // A string takes whatever is written to it.
            let _ = text.write_fmt(args);
        };
        line(format_args!("# TYPE landfall_requests_total counter\n"));
        let requests = self.requests();
        for (Label { service, operation, status }, count) in &requests {
            line(format_args!(
                "landfall_requests_total{{service=\"{service}\",operation=\"{operation}\",\
                 status=\"{status}\"}} {}\n",
                count.requests
            ));
        }
        line(format_args!("# TYPE landfall_request_seconds_total counter\n"));
        for (Label { service, operation, status }, count) in &requests {
            line(format_args!(
                "landfall_request_seconds_total{{service=\"{service}\",\
                 operation=\"{operation}\",status=\"{status}\"}} {:.6}\n",
                count.spent.as_secs_f64()
            ));
        }
        for (name, kind, value) in [
            ("panics_total", "counter", i64::try_from(self.panics()).unwrap_or(i64::MAX)),
            ("connections", "gauge", self.connections.load(Ordering::Relaxed)),
            ("sockets", "gauge", self.sockets.load(Ordering::Relaxed)),
        ] {
            line(format_args!("# TYPE landfall_{name} {kind}\nlandfall_{name} {value}\n"));
        }
        text
    }
}

impl<'m> Gauge<'m> {
    fn up(gauge: &'m AtomicI64) -> Self {
        gauge.fetch_add(1, Ordering::Relaxed);
        Self(gauge)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_can_be_read() {
        let metrics = Metrics::default();
        let label = Label { service: "ecs", operation: "RunTask", status: 200 };
        metrics.request(label, Duration::from_millis(2));
        metrics.request(label, Duration::from_millis(3));
        metrics.panic();
        drop(metrics.connection());
        let _open = metrics.socket();
        let text = metrics.render();
        for wanted in [
            "landfall_requests_total{service=\"ecs\",operation=\"RunTask\",status=\"200\"} 2\n",
            "operation=\"RunTask\",status=\"200\"} 0.005000\n",
            "landfall_panics_total 1\n",
            "landfall_connections 0\n",
            "landfall_sockets 1\n",
        ] {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
    }
}
