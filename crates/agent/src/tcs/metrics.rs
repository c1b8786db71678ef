//! What containers use: sampled, and put into the statistics TCS wants.

use super::TASKS_PER_FRAME;
use crate::api::Identity;
use crate::clock;
use crate::engine::{EngineState, Known};
use crate::rim::Rim;
use crate::runtime::{Containers, Usage};
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
    /// CPU time is a rate, so it takes two.
    before: Option<(Timestamp, Usage)>,
    cpu: Statistics,
    memory: Statistics,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Statistics {
    count: i32,
    min: f64,
    max: f64,
    sum: f64,
}

impl Statistics {
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
}

impl Series {
    fn add(&mut self, now: Timestamp, usage: Usage, cores: f64) {
        const MIB: f64 = 1_048_576.0;
        #[allow(clippy::cast_precision_loss)]
        let (memory, cpu_nanos) = (usage.memory_bytes as f64 / MIB, |u: u64| u as f64);
        self.memory.add(memory);
        if let Some((then, before)) = self.before.filter(|(then, _)| *then < now) {
            let spent = cpu_nanos(usage.cpu_nanos.saturating_sub(before.cpu_nanos));
            let passed = now.since(then).as_secs_f64() * 1e9;
            // Of the whole machine: 100 is every core.
            self.cpu.add(100.0 * spent / passed / cores);
        }
        self.before = Some((now, usage));
    }
}

impl Samples {
    /// Takes a sample of every container that runs.
    pub(super) async fn take(&mut self, rim: &Rim, containers: &dyn Containers) {
        let state = rim.state().await;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let cores = f64::from(u32::try_from(cores).unwrap_or(1));
        let all = state.tasks.values().flat_map(|task| &task.containers);
        let running: Vec<&str> = all
            .filter(|container| container.known == Known::Running)
            .map(|container| container.runtime_id.as_str())
            .collect();
        self.containers.retain(|id, _| running.contains(&id.as_str()));
        for id in running {
            if let Some(usage) = containers.usage(id).await {
                self.containers.entry(id.to_owned()).or_default().add(clock::now(), usage, cores);
            }
        }
    }

    /// The frames that say what was sampled, and a fresh start.
    pub(super) fn drain(
        &mut self,
        state: &EngineState,
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
                    let (cpu, memory) =
                        (std::mem::take(&mut series.cpu), std::mem::take(&mut series.memory));
                    // One sample is no rate yet.
                    let cpu_stats_set = Some(cpu.set()?);
                    let memory_stats_set = memory.set();
                    let container_name = Some(container.name.clone());
                    let counted = spec.restart_policy.as_ref().map(|_| tcs::RestartStatsSet {
                        restart_count: Some(i32::try_from(container.restarts).unwrap_or(i32::MAX)),
                    });
                    Some(tcs::ContainerMetric {
                        container_name,
                        restart_stats_set: counted,
                        cpu_stats_set,
                        memory_stats_set,
                        ..tcs::ContainerMetric::default()
                    })
                });
            let containers: Vec<_> = containers.collect();
            if !containers.is_empty() {
                metrics.push(tcs::TaskMetric {
                    container_metrics: Some(containers),
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

    #[test]
    fn cpu_is_a_share_of_the_whole_machine() {
        let mut series = Series::default();
        let usage =
            |seconds: u64| Usage { cpu_nanos: seconds * 1_000_000_000, memory_bytes: 1 << 20 };
        series.add(Timestamp(0), usage(0), 2.0);
        assert_eq!(series.cpu.count, 0, "a rate takes two samples");
        series.add(Timestamp(10_000), usage(10), 2.0);
        assert!((series.cpu.sum - 50.0).abs() < 1e-9, "one of two cores, all the time");
        assert_eq!(series.memory.count, 2);
    }

    #[test]
    fn an_idle_instance_says_so() {
        let (cluster, instance) = ("c".to_owned(), "i".to_owned());
        let identity = Identity { cluster, instance, runtime: String::new() };
        let state = EngineState::default();
        let frames = Samples::default().drain(&state, &identity, "m", Timestamp(1));
        let [Message::PublishMetricsRequest(frame)] = &frames[..] else { panic!("one frame") };
        let metadata = frame.metadata.as_ref().expect("metadata");
        assert_eq!((metadata.idle, metadata.fin), (Some(true), Some(true)));
        assert_eq!(frame.task_metrics, None);
    }
}
