//! What containers use, in the form of Docker's statistics, as far as it is known.

use super::Inside;
use crate::clock;
use crate::engine::{Known, Task};
use serde_json::{Map, Value, json};

/// The statistics of all containers of a task, by the runtime's names for them.
pub(super) async fn task(inside: &Inside, task: &Task) -> Value {
    let mut all = Map::new();
    for (index, one) in task.containers.iter().enumerate() {
        all.insert(one.runtime_id.clone(), container(inside, task, index).await);
    }
    Value::Object(all)
}

/// The statistics of a container; `null` unless it runs, as the official agent has
/// it.
pub(super) async fn container(inside: &Inside, task: &Task, index: usize) -> Value {
    let (Some(container), Some(spec)) =
        (task.containers.get(index), task.spec.containers.get(index))
    else {
        return Value::Null;
    };
    if container.known != Known::Running {
        return Value::Null;
    }
    let Some(usage) = inside.containers.usage(&container.runtime_id).await else {
        return Value::Null;
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    json!({
        "id": container.runtime_id,
        "name": container.runtime_id,
        "read": wire::Timestamp::from(clock::now()).iso8601(),
        "cpu_stats": {
            "cpu_usage": { "total_usage": usage.cpu_nanos },
            "online_cpus": cores,
        },
        "memory_stats": {
            "usage": usage.memory_bytes,
            "limit": spec.memory_mib.or(task.spec.memory_mib).map(|mib| mib << 20),
        },
    })
}
