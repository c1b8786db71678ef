//! How much of the machine a container may use.

use super::devices;
use super::spec::Parts;
use crate::engine::ContainerSpec;
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

/// The `resources` of a specification.
pub(super) fn of(container: &ContainerSpec, parts: &Parts<'_>) -> Value {
    let shares = if container.cpu == 0 { 2 } else { container.cpu.clamp(2, 262_144) };
    let mut rules = vec![json!({ "allow": container.privileged, "access": "rwm" })];
    rules.extend(devices::rules(&parts.nodes));
    let mut resources = json!({ "cpu": { "shares": shares }, "devices": rules });
    let limit = container.memory_mib.filter(|mib| *mib > 0).map(|mib| mib.max(4) * MIB);
    let reservation = container.memory_reservation_mib.filter(|mib| *mib > 0).map(|mib| mib * MIB);
    let mut memory = serde_json::Map::new();
    if let Some(limit) = limit {
        memory.insert("limit".to_owned(), json!(limit));
        if parts.counts_swap {
            // Memory and swap together. Unasked, Docker gives as much swap as memory.
            let double = i64::try_from(limit.saturating_mul(2)).unwrap_or(i64::MAX);
            memory.insert("swap".to_owned(), json!(container.memory_swap.unwrap_or(double)));
        }
    }
    if let Some(reservation) = reservation {
        memory.insert("reservation".to_owned(), json!(reservation));
    }
    // The unified tree has no such setting.
    if let Some(swappiness) = container.swappiness.filter(|_| !parts.unified) {
        memory.insert("swappiness".to_owned(), json!(swappiness));
    }
    if !memory.is_empty() {
        resources["memory"] = Value::Object(memory);
    }
    resources
}
