//! What containers use: measured every few seconds while they run, and told to TCS,
//! to the tasks themselves and to Prometheus.
//!
//! There is one [`Meter`], so that all three tell the same; what it measured of a
//! container goes when the container has ended, and nothing else accumulates. What
//! tasks have written is measured apart, by [`Storage`], because it takes longer.

mod exposition;
mod storage;
mod traffic;

pub use exposition::Exposition;
#[cfg(test)]
pub(crate) use storage::Written;
pub(crate) use storage::{AllWritten, Storage};
pub(crate) use traffic::{Counters, Traffic};

use crate::clock;
use crate::engine::{Known, Network, Task};
use crate::netns::Networks;
use crate::rim::Rim;
use crate::runtime::{Containers, Usage};
use ident::Timestamp;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// Between measurements. They are cheap, but nobody reads single seconds.
const PERIOD: Duration = Duration::from_secs(5);
/// Over less time than this no rate is told: it would be chance.
const SHORTEST: Duration = Duration::from_secs(1);

/// What was measured last, by the runtime's names of the containers.
pub(crate) type Readings = BTreeMap<String, Reading>;

/// The latest of a container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    /// Whose it is.
    pub(crate) whose: Whose,
    /// What was measured.
    pub(crate) now: Sample,
    /// And the time before, if it ran then.
    pub(crate) before: Option<Sample>,
}

/// The names of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Whose {
    /// The cluster's name.
    pub(crate) cluster: String,
    /// The family of the task's definition.
    pub(crate) family: String,
    /// The task's id.
    pub(crate) task: String,
    /// The container's name.
    pub(crate) container: String,
}

/// One measurement of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// When.
    pub(crate) at: Timestamp,
    /// By its cgroup.
    pub(crate) usage: Usage,
    /// CPU time of the whole machine since it started, idle or not, in nanoseconds.
    pub(crate) system_nanos: u64,
    /// Through the interfaces of its namespace; of one that a task's containers share,
    /// its part of it. None where there is no interface, or only the machine's.
    pub(crate) traffic: Option<Traffic>,
}

impl Sample {
    /// Received and sent bytes a second since `before`.
    pub(crate) fn rates(&self, before: &Self) -> Option<(f64, f64)> {
        let passed = self.at.since(before.at);
        if passed < SHORTEST {
            return None;
        }
        let (now, then) = (self.traffic.as_ref()?.total(), before.traffic.as_ref()?.total());
        #[allow(clippy::cast_precision_loss)]
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / passed.as_secs_f64();
        Some((rate(now.rx_bytes, then.rx_bytes), rate(now.tx_bytes, then.tx_bytes)))
    }
}

impl Reading {
    /// What to compare a sample with that was taken `now`.
    pub(crate) fn earlier(&self, now: Timestamp) -> Option<&Sample> {
        let both = [Some(&self.now), self.before.as_ref()];
        both.into_iter().flatten().find(|sample| now.since(sample.at) >= SHORTEST)
    }
}

/// Measures.
pub(crate) struct Meter {
    containers: Arc<dyn Containers>,
    networks: Arc<dyn Networks>,
    readings: watch::Sender<Arc<Readings>>,
}

impl Meter {
    /// One that has measured nothing yet.
    pub(crate) fn new(containers: Arc<dyn Containers>, networks: Arc<dyn Networks>) -> Self {
        Self { containers, networks, readings: watch::Sender::default() }
    }

    /// Where what is measured can be read.
    pub(crate) fn readings(&self) -> watch::Receiver<Arc<Readings>> {
        self.readings.subscribe()
    }

    /// Measures what runs, for as long as it is let, and writes it to `exposition` too.
    pub(crate) async fn run(&self, rim: &Rim, exposition: &Exposition) -> Infallible {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let state = rim.state().await;
            let mut before = Arc::unwrap_or_clone(self.readings.borrow().clone());
            let mut readings = Readings::new();
            for task in state.tasks.values() {
                for (index, now) in self.samples(task).await {
                    let Some(container) = task.containers.get(index) else { continue };
                    let id = &container.runtime_id;
                    let before = before.remove(id).map(|reading| reading.now);
                    let whose = whose(task, index);
                    readings.insert(id.clone(), Reading { whose, now, before });
                }
            }
            let readings = Arc::new(readings);
            exposition.show(readings.clone());
            self.readings.send_replace(readings);
        }
    }

    /// Measures the containers of a task that run.
    pub(crate) async fn samples(&self, task: &Task) -> BTreeMap<usize, Sample> {
        let running =
            |index: &usize| task.containers.get(*index).is_some_and(|c| c.known == Known::Running);
        let indices: Vec<usize> = (0..task.containers.len()).filter(running).collect();
        let rooms: BTreeMap<usize, PathBuf> = indices
            .iter()
            .filter_map(|index| Some((*index, self.networks.path(&task.spec, *index)?)))
            .collect();
        let traffic = traffic::of(rooms.values().cloned().collect()).await;
        // In bridge mode each has its own.
        let sharing = match task.spec.network {
            Network::Awsvpc(_) | Network::Isolated => {
                task.spec.containers.iter().filter(|spec| !spec.internal).count().max(1)
            }
            Network::Bridge | Network::Host => 1,
        };
        let sharing = u64::try_from(sharing).unwrap_or(1);
        let system_nanos = fs::read_to_string("/proc/stat").map_or(0, |text| system_nanos(&text));
        let mut samples = BTreeMap::new();
        for index in indices {
            let Some(container) = task.containers.get(index) else { continue };
            let Some(usage) = self.containers.usage(&container.runtime_id).await else { continue };
            let room = rooms.get(&index).and_then(|path| traffic.get(path));
            let traffic = room.filter(|all| !all.0.is_empty()).map(|all| all.part(sharing));
            samples.insert(index, Sample { at: clock::now(), usage, system_nanos, traffic });
        }
        samples
    }
}

fn whose(task: &Task, index: usize) -> Whose {
    let cluster = task.spec.cluster.rsplit('/').next().unwrap_or_default();
    let container = task.containers.get(index).map(|c| c.name.clone());
    Whose {
        cluster: cluster.to_owned(),
        family: task.spec.family.clone(),
        task: task.spec.arn.id(),
        container: container.unwrap_or_default(),
    }
}

/// The CPU time that the first line of `/proc/stat` tells, in nanoseconds. The guests'
/// is in the others already.
fn system_nanos(text: &str) -> u64 {
    /// The unit of the line: a hundredth of a second, on every machine.
    const TICK: u64 = 10_000_000;
    let line = text.lines().next().and_then(|line| line.strip_prefix("cpu "));
    let numbers = line.unwrap_or_default().split_whitespace().take(8);
    numbers.filter_map(|number| number.parse::<u64>().ok()).sum::<u64>().saturating_mul(TICK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: i64, received: u64) -> Sample {
        let counters = Counters { rx_bytes: received, tx_bytes: 1, ..Counters::default() };
        let traffic = Some(Traffic([("eth0".to_owned(), counters)].into()));
        Sample { at: Timestamp(at), traffic, ..Sample::default() }
    }

    #[test]
    fn rates_are_told_over_a_second_or_more() {
        assert_eq!(sample(3000, 700).rates(&sample(1000, 100)), Some((300.0, 0.0)));
        assert_eq!(sample(1500, 700).rates(&sample(1000, 100)), None);
        assert_eq!(sample(3000, 0).rates(&sample(1000, 100)), Some((0.0, 0.0)), "made anew");
        let (now, before) = (sample(6000, 2), Some(sample(1000, 1)));
        let reading = Reading { whose: Whose::default(), now, before };
        let earlier = |at| reading.earlier(Timestamp(at)).map(|sample| sample.at.0);
        assert_eq!(earlier(7000), Some(6000));
        assert_eq!(earlier(6500), Some(1000));
        assert_eq!(earlier(1500), None);
    }

    #[test]
    fn the_machine_has_spent_what_its_first_line_says() {
        let text = "cpu  1 2 3 4 5 6 7 8 100 100\ncpu0 9 9 9 9 9 9 9 9 0 0\n";
        assert_eq!(system_nanos(text), 360_000_000);
        assert_eq!(system_nanos(""), 0);
    }
}
