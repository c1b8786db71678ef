//! What containers use, put into the statistics that TCS wants.

use super::TASKS_PER_FRAME;
use crate::api::Identity;
use crate::engine::EngineState;
use crate::usage::{AllWritten, Counters, Reading, Readings};
use ident::Timestamp;
use std::collections::BTreeMap;
use wire::tcs::{self, Message};

/// The samples since the last publication.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// By the runtime's name of the container.
    containers: BTreeMap<String, Series>,
}

#[derive(Debug, Default)]
struct Series {
    /// Of the last sample, so that none counts twice.
    last: Option<Timestamp>,
    since: Statistics,
}

/// What was sampled of a container since the last publication.
#[derive(Clone, Debug, Default, PartialEq)]
struct Statistics {
    cpu: Spread,
    memory: Spread,
    read: Counts,
    written: Counts,
    /// In the order of [`NETWORK`]; empty while there is no interface.
    network: [Counts; NETWORK.len()],
    received_a_second: Spread,
    sent_a_second: Spread,
}

/// What is told of the interfaces.
const NETWORK: [fn(&Counters) -> u64; 8] = [
    |c| c.rx_bytes,
    |c| c.rx_dropped,
    |c| c.rx_errors,
    |c| c.rx_packets,
    |c| c.tx_bytes,
    |c| c.tx_dropped,
    |c| c.tx_errors,
    |c| c.tx_packets,
];

/// Some measure's values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Spread {
    count: i32,
    min: f64,
    max: f64,
    sum: f64,
}

impl Spread {
    fn add(&mut self, value: f64) {
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = if self.count == 0 { value } else { self.max.max(value) };
        self.sum += value;
        self.count += 1;
    }

    fn set(self) -> Option<tcs::CWStatsSet> {
        (self.count > 0).then_some(tcs::CWStatsSet {
            max: Some(self.max),
            min: Some(self.min),
            sample_count: Some(self.count),
            sum: Some(self.sum),
        })
    }

    fn double_set(self) -> Option<tcs::UDoubleCWStatsSet> {
        (self.count > 0).then_some(tcs::UDoubleCWStatsSet {
            max: Some(self.max),
            min: Some(self.min),
            sample_count: Some(self.count),
            sum: Some(self.sum),
        })
    }
}

/// Some counter's values. What does not fit the wire's type is told beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counts {
    count: i64,
    min: u64,
    max: u64,
    sum: u64,
}

impl Counts {
    fn add(&mut self, value: u64) {
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.sum = self.sum.saturating_add(value);
        self.count += 1;
    }

    fn set(self) -> Option<tcs::ULongStatsSet> {
        let split = |value: u64| {
            let over = value.saturating_sub(i64::MAX.unsigned_abs());
            let most = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            (Some(most(value)), Some(most(over)))
        };
        let ((max, overflow_max), (min, overflow_min), (sum, overflow_sum)) =
            (split(self.max), split(self.min), split(self.sum));
        (self.count > 0).then_some(tcs::ULongStatsSet {
            max,
            min,
            overflow_max,
            overflow_min,
            overflow_sum,
            sample_count: Some(self.count),
            sum,
        })
    }
}

impl Statistics {
    fn add(&mut self, reading: &Reading, cores: f64) {
        const MIB: f64 = 1_048_576.0;
        #[allow(clippy::cast_precision_loss)]
        let float = |number: u64| number as f64;
        let now = &reading.now;
        self.memory.add(float(now.usage.memory_bytes) / MIB);
        self.read.add(now.usage.read_bytes());
        self.written.add(now.usage.written_bytes());
        if let Some(traffic) = &now.traffic {
            let total = traffic.total();
            for (counts, of) in self.network.iter_mut().zip(NETWORK) {
                counts.add(of(&total));
            }
        }
        // What is a rate takes two.
        let Some(before) = reading.before.as_ref().filter(|before| before.at < now.at) else {
            return;
        };
        let spent = float(now.usage.cpu_nanos.saturating_sub(before.usage.cpu_nanos));
        let passed = now.at.since(before.at).as_secs_f64() * 1e9;
        // Of the whole machine: 100 is every core.
        self.cpu.add(100.0 * spent / passed / cores);
        if let Some((received, sent)) = now.rates(before) {
            self.received_a_second.add(received);
            self.sent_a_second.add(sent);
        }
    }

    fn network(&self) -> Option<tcs::NetworkStatsSet> {
        let [
            rx_bytes,
            rx_dropped,
            rx_errors,
            rx_packets,
            tx_bytes,
            tx_dropped,
            tx_errors,
            tx_packets,
        ] = self.network.map(Counts::set);
        rx_bytes.as_ref()?;
        Some(tcs::NetworkStatsSet {
            rx_bytes,
            rx_bytes_per_second: self.received_a_second.double_set(),
            rx_dropped,
            rx_errors,
            rx_packets,
            tx_bytes,
            tx_bytes_per_second: self.sent_a_second.double_set(),
            tx_dropped,
            tx_errors,
            tx_packets,
        })
    }

    fn storage(&self) -> Option<tcs::StorageStatsSet> {
        let (read, written) = (self.read.set()?, self.written.set()?);
        Some(tcs::StorageStatsSet { read_size_bytes: Some(read), write_size_bytes: Some(written) })
    }
}

impl Samples {
    /// Takes in what was measured, unless it has it.
    pub(super) fn take(&mut self, readings: &Readings) {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let cores = f64::from(u32::try_from(cores).unwrap_or(1));
        self.containers.retain(|id, _| readings.contains_key(id));
        for (id, reading) in readings {
            let series = self.containers.entry(id.clone()).or_default();
            if series.last != Some(reading.now.at) {
                series.last = Some(reading.now.at);
                series.since.add(reading, cores);
            }
        }
    }

    /// The frames that say what was sampled, and what of each task's disk was counted
    /// last; and a fresh start.
    pub(super) fn drain(
        &mut self,
        state: &EngineState,
        written: &AllWritten,
        identity: &Identity,
        id: &str,
        now: Timestamp,
    ) -> Vec<Message> {
        let mut metrics: Vec<tcs::TaskMetric> = Vec::new();
        for task in state.tasks.values() {
            let all = task.spec.containers.iter().zip(&task.containers);
            let containers =
                all.filter(|(spec, _)| !spec.internal).filter_map(|(spec, container)| {
                    let series = self.containers.get_mut(&container.runtime_id)?;
                    let since = std::mem::take(&mut series.since);
                    // One sample is no rate yet.
                    let cpu_stats_set = Some(since.cpu.set()?);
                    let container_name = Some(container.name.clone());
                    let counted = spec.restart_policy.as_ref().map(|_| tcs::RestartStatsSet {
                        restart_count: Some(i32::try_from(container.restarts).unwrap_or(i32::MAX)),
                    });
                    Some(tcs::ContainerMetric {
                        container_name,
                        restart_stats_set: counted,
                        cpu_stats_set,
                        memory_stats_set: since.memory.set(),
                        network_stats_set: since.network(),
                        storage_stats_set: since.storage(),
                        ..tcs::ContainerMetric::default()
                    })
                });
            let containers: Vec<_> = containers.collect();
            if !containers.is_empty() {
                let utilized = written.get(&task.spec.arn).and_then(|written| {
                    let mut counts = Counts::default();
                    counts.add(written.bytes);
                    counts.set()
                });
                let storage = utilized
                    .map(|bytes| tcs::EphemeralStorageMetrics { bytes_utilized: Some(bytes) });
                metrics.push(tcs::TaskMetric {
                    container_metrics: Some(containers),
                    ephemeral_storage_metrics: storage,
                    task_arn: Some(task.spec.arn.as_str().to_owned()),
                    task_definition_family: Some(task.spec.family.clone()),
                    task_definition_version: Some(task.spec.version.clone()),
                    ..tcs::TaskMetric::default()
                });
            }
        }
        let idle = metrics.is_empty();
        let mut frames: Vec<Vec<tcs::TaskMetric>> =
            metrics.chunks(TASKS_PER_FRAME).map(<[_]>::to_vec).collect();
        if idle {
            frames.push(Vec::new());
        }
        let last = frames.len() - 1;
        let frame = |(position, tasks): (usize, Vec<tcs::TaskMetric>)| -> Message {
            tcs::PublishMetricsRequest {
                metadata: Some(tcs::MetricsMetadata {
                    cluster: Some(identity.cluster.clone()),
                    container_instance: Some(identity.instance.clone()),
                    fin: Some(position == last),
                    idle: Some(idle),
                    message_id: Some(id.to_owned()),
                }),
                task_metrics: Some(tasks).filter(|_| !idle),
                timestamp: Some(wire::Timestamp::from_millis(now.0)),
                instance_metrics: None,
            }
            .into()
        };
        frames.into_iter().enumerate().map(frame).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{ContainerSpec, Desired, Task, TaskArn, TaskSpec};
    use crate::runtime::{Disk, Usage};
    use crate::usage::{Sample, Traffic, Whose, Written};

    fn reading(before: Sample, now: Sample) -> Readings {
        [("t-0".to_owned(), Reading { whose: Whose::default(), now, before: Some(before) })].into()
    }

    fn sample(seconds: i64, cpu: u64, bytes: u64) -> Sample {
        let disk = Disk { major: 8, minor: 0, read_bytes: bytes, written_bytes: 2 * bytes };
        let counters = Counters { rx_bytes: bytes, tx_dropped: 3, ..Counters::default() };
        Sample {
            at: Timestamp(seconds * 1000),
            usage: Usage {
                cpu_nanos: cpu * 1_000_000_000,
                memory_bytes: 1 << 20,
                disks: vec![disk],
                ..Usage::default()
            },
            traffic: Some(Traffic([("eth0".to_owned(), counters)].into())),
            ..Sample::default()
        }
    }

    #[test]
    fn cpu_is_a_share_of_the_whole_machine() {
        let mut statistics = Statistics::default();
        let (now, before) = (sample(0, 0, 0), None);
        statistics.add(&Reading { whose: Whose::default(), now, before }, 2.0);
        assert_eq!(statistics.cpu.count, 0, "a rate takes two samples");
        let (now, before) = (sample(10, 10, 0), Some(sample(0, 0, 0)));
        statistics.add(&Reading { whose: Whose::default(), now, before }, 2.0);
        assert!((statistics.cpu.sum - 50.0).abs() < 1e-9, "one of two cores, all the time");
        assert_eq!(statistics.memory.count, 2);
    }

    #[test]
    fn network_and_storage_are_told_as_counters_and_rates() {
        let container = ContainerSpec { name: "web".to_owned(), ..ContainerSpec::default() };
        let spec = TaskSpec {
            containers: vec![container],
            ..TaskSpec::new(TaskArn::new("arn:aws:ecs:us-east-1:1:task/c/t"))
        };
        let mut state = EngineState::default();
        let mut task = Task::new(spec, Desired::Running);
        task.containers[0].runtime_id = "t-0".to_owned();
        state.tasks.insert(task.spec.arn.clone(), task);
        let (cluster, instance) = ("c".to_owned(), "i".to_owned());
        let identity = Identity { cluster, instance, ..Identity::default() };
        let mut samples = Samples::default();
        samples.take(&reading(sample(0, 0, 0), sample(5, 1, 1000)));
        samples.take(&reading(sample(5, 1, 1000), sample(10, 1, 3000)));
        samples.take(&reading(sample(5, 1, 1000), sample(10, 1, 3000)));
        let whose = Whose::default();
        let arn = TaskArn::new("arn:aws:ecs:us-east-1:1:task/c/t");
        let written = [(arn, Written { whose, bytes: 4096 })].into();
        let frames = samples.drain(&state, &written, &identity, "m", Timestamp(1));
        let [Message::PublishMetricsRequest(frame)] = &frames[..] else { panic!("one frame") };
        let told = serde_json::to_value(&frame.task_metrics).expect("JSON");
        let storage = &told[0]["ephemeralStorageMetrics"]["bytesUtilized"];
        assert_eq!((&storage["sum"], &storage["sampleCount"]), (&4096.into(), &1.into()));
        let told = &told[0]["containerMetrics"][0];
        let counts = |min: u64, max: u64, sum: u64| {
            serde_json::json!({
                "min": min, "max": max, "sum": sum, "sampleCount": 2,
                "overflowMin": 0, "overflowMax": 0, "overflowSum": 0,
            })
        };
        let (network, storage) = (&told["networkStatsSet"], &told["storageStatsSet"]);
        assert_eq!(network["rxBytes"], counts(1000, 3000, 4000), "what was told twice counts once");
        assert_eq!(network["txDropped"], counts(3, 3, 6));
        let rate =
            serde_json::json!({ "min": 200.0, "max": 400.0, "sum": 600.0, "sampleCount": 2 });
        assert_eq!(network["rxBytesPerSecond"], rate);
        assert_eq!(storage["readSizeBytes"], counts(1000, 3000, 4000));
        assert_eq!(storage["writeSizeBytes"], counts(2000, 6000, 8000));
        let frames = samples.drain(&state, &written, &identity, "m", Timestamp(1));
        let [Message::PublishMetricsRequest(frame)] = &frames[..] else { panic!("one frame") };
        assert_eq!(frame.task_metrics, None, "all was told");
    }

    #[test]
    fn what_is_too_large_for_the_wire_is_told_beside_it() {
        let mut counts = Counts::default();
        counts.add(1);
        counts.add(i64::MAX.unsigned_abs() + 5);
        let set = counts.set().expect("counted");
        assert_eq!((set.max, set.overflow_max), (Some(i64::MAX), Some(5)));
        assert_eq!((set.min, set.overflow_min), (Some(1), Some(0)));
        assert_eq!((set.sum, set.overflow_sum), (Some(i64::MAX), Some(6)));
    }

    #[test]
    fn an_idle_instance_says_so() {
        let (cluster, instance) = ("c".to_owned(), "i".to_owned());
        let identity = Identity { cluster, instance, ..Identity::default() };
        let state = EngineState::default();
        let frames =
            Samples::default().drain(&state, &AllWritten::new(), &identity, "m", Timestamp(1));
        let [Message::PublishMetricsRequest(frame)] = &frames[..] else { panic!("one frame") };
        let metadata = frame.metadata.as_ref().expect("metadata");
        assert_eq!((metadata.idle, metadata.fin), (Some(true), Some(true)));
        assert_eq!(frame.task_metrics, None);
    }
}
