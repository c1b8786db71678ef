//! What containers use, for Prometheus.
//!
//! Labels are a cluster's name, a family, the id of a task and the name of a
//! container. All that is told is of containers that run and of tasks that are not over,
//! so there are never more series than those have.

use super::{AllWritten, Readings, Whose};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where an agent shows what its containers use. Clones are of one and the same.
#[derive(Clone, Debug, Default)]
pub struct Exposition(Arc<Mutex<Shown>>);

/// What there is to show.
#[derive(Clone, Debug, Default)]
struct Shown {
    readings: Arc<Readings>,
    written: Arc<AllWritten>,
}

/// The names of our series and how each is had.
type Family = (&'static str, &'static str, fn(&super::Sample) -> Option<f64>);

const FAMILIES: [Family; 12] = [
    ("cpu_seconds_total", "counter", |s| Some(float(s.usage.cpu_nanos) / 1e9)),
    ("memory_bytes", "gauge", |s| Some(float(s.usage.memory_bytes))),
    ("storage_read_bytes_total", "counter", |s| Some(float(s.usage.read_bytes()))),
    ("storage_written_bytes_total", "counter", |s| Some(float(s.usage.written_bytes()))),
    ("network_receive_bytes_total", "counter", |s| network(s, |c| c.rx_bytes)),
    ("network_receive_packets_total", "counter", |s| network(s, |c| c.rx_packets)),
    ("network_receive_errors_total", "counter", |s| network(s, |c| c.rx_errors)),
    ("network_receive_dropped_total", "counter", |s| network(s, |c| c.rx_dropped)),
    ("network_transmit_bytes_total", "counter", |s| network(s, |c| c.tx_bytes)),
    ("network_transmit_packets_total", "counter", |s| network(s, |c| c.tx_packets)),
    ("network_transmit_errors_total", "counter", |s| network(s, |c| c.tx_errors)),
    ("network_transmit_dropped_total", "counter", |s| network(s, |c| c.tx_dropped)),
];

fn network(sample: &super::Sample, which: fn(&super::Counters) -> u64) -> Option<f64> {
    sample.traffic.as_ref().map(|traffic| float(which(&traffic.total())))
}

#[allow(clippy::cast_precision_loss)]
fn float(number: u64) -> f64 {
    number as f64
}

impl Exposition {
    /// Shows these, and no others any more.
    pub(crate) fn show(&self, readings: Arc<Readings>) {
        self.shown().readings = readings;
    }

    /// The same of what tasks have written.
    pub(crate) fn show_written(&self, written: Arc<AllWritten>) {
        self.shown().written = written;
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is shown, in the text format of Prometheus.
    pub fn render(&self) -> String {
        let Shown { readings, written } = self.shown().clone();
        let mut text = String::new();
        for (name, kind, of) in FAMILIES {
            let values = readings.values().filter_map(|it| Some((&it.whose, of(&it.now)?)));
            for (position, (whose, value)) in values.enumerate() {
                // A string takes whatever is written to it.
                if position == 0 {
                    _ = writeln!(text, "# TYPE landfall_container_{name} {kind}");
                }
                _ = writeln!(text, "landfall_container_{name}{{{}}} {value}", labels(whose));
            }
        }
        for (position, written) in written.values().enumerate() {
            if position == 0 {
                _ = writeln!(text, "# TYPE landfall_task_storage_bytes gauge");
            }
            let (labels, bytes) = (labels(&written.whose), written.bytes);
            _ = writeln!(text, "landfall_task_storage_bytes{{{labels}}} {bytes}");
        }
        text
    }
}

fn labels(whose: &Whose) -> String {
    let pairs = [
        ("cluster", &whose.cluster),
        ("family", &whose.family),
        ("task", &whose.task),
        ("container", &whose.container),
    ];
    // What is of a whole task names no container.
    let named = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    let pairs: Vec<_> = named.map(|(name, it)| format!("{name}=\"{}\"", escaped(it))).collect();
    pairs.join(",")
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::TaskArn;
    use crate::runtime::Usage;
    use crate::usage::storage::Written;
    use crate::usage::{Counters, Reading, Sample, Traffic};

    fn readings(name: &str, traffic: Option<Traffic>) -> Arc<Readings> {
        let whose = Whose {
            cluster: "default".to_owned(),
            family: "web".to_owned(),
            task: "0123".to_owned(),
            container: name.to_owned(),
        };
        let usage = Usage { cpu_nanos: 1_500_000_000, memory_bytes: 1 << 20, ..Usage::default() };
        let now = Sample { usage, traffic, ..Sample::default() };
        Arc::new([(name.to_owned(), Reading { whose, now, before: None })].into())
    }

    #[test]
    fn what_runs_is_shown_and_what_has_ended_is_not() {
        let exposition = Exposition::default();
        assert_eq!(exposition.render(), "");
        let counters = Counters { rx_bytes: 7, tx_dropped: 2, ..Counters::default() };
        let traffic = Traffic([("eth0".to_owned(), counters)].into());
        exposition.show(readings("first", Some(traffic)));
        let text = exposition.clone().render();
        let labels = "{cluster=\"default\",family=\"web\",task=\"0123\",container=\"first\"}";
        for wanted in [
            format!("landfall_container_cpu_seconds_total{labels} 1.5\n"),
            format!("landfall_container_memory_bytes{labels} 1048576\n"),
            format!("landfall_container_network_receive_bytes_total{labels} 7\n"),
            format!("landfall_container_network_transmit_dropped_total{labels} 2\n"),
            "# TYPE landfall_container_cpu_seconds_total counter\n".to_owned(),
        ] {
            assert!(text.contains(&wanted), "{wanted} in {text}");
        }
        exposition.show(readings("a\"b\\", None));
        let text = exposition.render();
        assert!(text.contains(r#"container="a\"b\\""#) && !text.contains("first"), "{text}");
        assert!(!text.contains("network"), "it has none: {text}");
    }

    #[test]
    fn what_a_task_has_written_is_shown_of_the_task() {
        let exposition = Exposition::default();
        let whose = Whose {
            cluster: "default".to_owned(),
            family: "web".to_owned(),
            task: "0123".to_owned(),
            container: String::new(),
        };
        let arn = TaskArn::new("arn:aws:ecs:us-east-1:1:task/default/0123");
        exposition.show_written(Arc::new([(arn, Written { whose, bytes: 4096 })].into()));
        assert_eq!(
            exposition.render(),
            "# TYPE landfall_task_storage_bytes gauge\n\
             landfall_task_storage_bytes{cluster=\"default\",family=\"web\",task=\"0123\"} 4096\n"
        );
    }
}
