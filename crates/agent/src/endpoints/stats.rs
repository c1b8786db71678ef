//! What containers use, in the form of Docker's statistics, as far as it is known.

use super::Inside;
use super::metadata::Form;
use crate::engine::Task;
use crate::usage::{Counters, Sample};
use ident::Timestamp;
use serde_json::{Map, Value, json};

/// The statistics of all containers of a task, by the runtime's names for them.
pub(super) async fn task(inside: &Inside, task: &Task, form: Form) -> Value {
    let samples = inside.meters.meter.samples(task).await;
    let all = task.containers.iter().enumerate().map(|(index, container)| {
        let now = samples.get(&index);
        (container.runtime_id.clone(), of(inside, task, index, now, form))
    });
    Value::Object(all.collect())
}

/// The statistics of a container; `null` unless it runs, as the official agent has
/// it.
pub(super) async fn container(inside: &Inside, task: &Task, index: usize, form: Form) -> Value {
    let samples = inside.meters.meter.samples(task).await;
    of(inside, task, index, samples.get(&index), form)
}

fn of(inside: &Inside, task: &Task, index: usize, now: Option<&Sample>, form: Form) -> Value {
    let (Some(container), Some(spec), Some(now)) =
        (task.containers.get(index), task.spec.containers.get(index), now)
    else {
        return Value::Null;
    };
    let readings = inside.meters.meter.readings();
    let reading = readings.borrow().get(&container.runtime_id).cloned();
    let before = reading.as_ref().and_then(|reading| reading.earlier(now.at));
    let limit = spec.memory_mib.or(task.spec.memory_mib).map(|mib| mib << 20);
    document(&container.runtime_id, limit, now, before, form)
}

/// The statistics, and what changed since some moment before, if there is one.
fn document(
    id: &str,
    limit: Option<u64>,
    now: &Sample,
    before: Option<&Sample>,
    form: Form,
) -> Value {
    let usage = &now.usage;
    let operations = usage.disks.iter().flat_map(|disk| {
        [("read", disk.read_bytes), ("write", disk.written_bytes)].map(|(op, value)| {
            json!({ "major": disk.major, "minor": disk.minor, "op": op, "value": value })
        })
    });
    let mut shown = json!({
        "id": id,
        "name": id,
        "read": moment(now.at),
        "preread": moment(before.map_or(Timestamp(0), |before| before.at)),
        "pids_stats": { "current": usage.processes },
        "blkio_stats": { "io_service_bytes_recursive": operations.collect::<Vec<_>>() },
        "cpu_stats": cpu(now),
        "precpu_stats": before.map_or_else(|| cpu(&Sample::default()), cpu),
        // Docker counts the page cache, and says how much of it that is.
        "memory_stats": {
            "usage": usage.memory_bytes.saturating_add(usage.cache_bytes),
            "stats": { "cache": usage.cache_bytes, "inactive_file": usage.cache_bytes },
            "limit": limit,
        },
    });
    let Some(traffic) = &now.traffic else { return shown };
    let networks = traffic.0.iter().map(|(name, counters)| (name.clone(), network(counters)));
    shown["networks"] = Value::Object(networks.collect::<Map<_, _>>());
    if form == Form::V4
        && let Some((received, sent)) = before.and_then(|before| now.rates(before))
    {
        shown["network_rate_stats"] =
            json!({ "rx_bytes_per_sec": received, "tx_bytes_per_sec": sent });
    }
    shown
}

fn cpu(sample: &Sample) -> Value {
    let usage = &sample.usage;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    json!({
        "cpu_usage": {
            "total_usage": usage.cpu_nanos,
            "usage_in_usermode": usage.user_nanos,
            "usage_in_kernelmode": usage.kernel_nanos,
        },
        "system_cpu_usage": sample.system_nanos,
        "online_cpus": cores,
    })
}

fn network(counters: &Counters) -> Value {
    json!({
        "rx_bytes": counters.rx_bytes,
        "rx_packets": counters.rx_packets,
        "rx_errors": counters.rx_errors,
        "rx_dropped": counters.rx_dropped,
        "tx_bytes": counters.tx_bytes,
        "tx_packets": counters.tx_packets,
        "tx_errors": counters.tx_errors,
        "tx_dropped": counters.tx_dropped,
    })
}

fn moment(at: Timestamp) -> Option<String> {
    wire::Timestamp::from(at).iso8601()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Disk, Usage};
    use crate::usage::Traffic;

    fn sample(at: i64, bytes: u64) -> Sample {
        let disk = Disk { major: 8, minor: 1, read_bytes: bytes, written_bytes: 5 };
        let counters = Counters { rx_bytes: bytes, rx_packets: 2, ..Counters::default() };
        Sample {
            at: Timestamp(at),
            usage: Usage {
                cpu_nanos: 9,
                user_nanos: 5,
                kernel_nanos: 4,
                memory_bytes: 70,
                cache_bytes: 30,
                processes: 3,
                disks: vec![disk],
            },
            system_nanos: 1000,
            traffic: Some(Traffic([("eth0".to_owned(), counters)].into())),
        }
    }

    #[test]
    fn statistics_are_dockers_with_rates_in_the_fourth_version() {
        let (now, before) = (sample(3000, 500), sample(1000, 100));
        let shown = document("t-0", Some(1 << 20), &now, Some(&before), Form::V4);
        let rates = json!({ "rx_bytes_per_sec": 200.0, "tx_bytes_per_sec": 0.0 });
        assert_eq!(shown["network_rate_stats"], rates);
        assert_eq!(shown["networks"]["eth0"]["rx_bytes"], 500);
        assert_eq!(shown["networks"]["eth0"]["rx_packets"], 2);
        let storage = json!([
            { "major": 8, "minor": 1, "op": "read", "value": 500 },
            { "major": 8, "minor": 1, "op": "write", "value": 5 },
        ]);
        assert_eq!(shown["blkio_stats"]["io_service_bytes_recursive"], storage);
        assert_eq!(shown["memory_stats"]["usage"], 100);
        assert_eq!(shown["memory_stats"]["limit"], 1 << 20);
        assert_eq!(shown["cpu_stats"]["cpu_usage"]["usage_in_kernelmode"], 4);
        assert_eq!(shown["precpu_stats"]["system_cpu_usage"], 1000);
        assert_eq!(
            (&shown["read"], &shown["preread"]),
            (&json!("1970-01-01T00:00:03.000Z"), &json!("1970-01-01T00:00:01.000Z"),)
        );
        for form in [Form::V2, Form::V3] {
            let shown = document("t-0", None, &now, Some(&before), form);
            assert_eq!(shown["network_rate_stats"], Value::Null);
        }
        let alone = Sample { traffic: None, ..sample(3000, 0) };
        let shown = document("t-0", None, &alone, None, Form::V4);
        assert_eq!(
            (&shown["networks"], &shown["network_rate_stats"]),
            (&Value::Null, &Value::Null)
        );
    }
}
