//! How much of the machine a container may use.

use super::devices::{self, Node};
use crate::engine::ContainerSpec;
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

/// The `resources` of a specification, where the machine has one cgroup tree or not, and
/// counts swap or not.
pub(super) fn of(container: &ContainerSpec, nodes: &[Node], unified: bool, swap: bool) -> Value {
    let shares = if container.cpu == 0 { 2 } else { container.cpu.clamp(2, 262_144) };
    let mut rules = vec![json!({ "allow": container.privileged, "access": "rwm" })];
    rules.extend(devices::rules(nodes));
    let mut resources = json!({ "cpu": { "shares": shares }, "devices": rules });
    let limit = container.memory_mib.filter(|mib| *mib > 0).map(|mib| mib.max(4) * MIB);
    let reservation = container.memory_reservation_mib.filter(|mib| *mib > 0).map(|mib| mib * MIB);
    let mut memory = serde_json::Map::new();
    if let Some(limit) = limit {
        memory.insert("limit".to_owned(), json!(limit));
        if swap {
            // Memory and swap together. Unasked, Docker gives as much swap as memory.
            let double = i64::try_from(limit.saturating_mul(2)).unwrap_or(i64::MAX);
            memory.insert("swap".to_owned(), json!(container.memory_swap.unwrap_or(double)));
        }
    }
    if let Some(reservation) = reservation {
        memory.insert("reservation".to_owned(), json!(reservation));
    }
    // The unified tree has no such setting.
    if let Some(swappiness) = container.swappiness.filter(|_| !unified) {
        memory.insert("swappiness".to_owned(), json!(swappiness));
    }
    if !memory.is_empty() {
        resources["memory"] = Value::Object(memory);
    }
    resources
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(unified: bool, swap: bool, wish: &ContainerSpec) -> Value {
        of(wish, &[], unified, swap)["memory"].take()
    }

    #[test]
    fn limits_are_those_that_the_machine_can_hold() {
        let wish = || ContainerSpec {
            memory_mib: Some(64),
            memory_reservation_mib: Some(32),
            swappiness: Some(10),
            ..ContainerSpec::default()
        };
        let (hard, soft) = (64 * MIB, 32 * MIB);
        let one = memory(true, true, &wish());
        assert_eq!(one, json!({ "limit": hard, "swap": 2 * hard, "reservation": soft }));
        let many = json!({ "limit": hard, "reservation": soft, "swappiness": 10 });
        assert_eq!(memory(false, false, &wish()), many, "swap that is not counted is not limited");
        let least = ContainerSpec { memory_mib: Some(6), ..ContainerSpec::default() };
        assert_eq!(memory(true, true, &least), json!({ "limit": 6 * MIB, "swap": 12 * MIB }));
        let without = ContainerSpec { memory_swap: i64::try_from(hard).ok(), ..wish() };
        assert_eq!(memory(true, true, &without)["swap"], json!(hard));
        assert_eq!(memory(true, true, &ContainerSpec::default()), Value::Null);
    }

    #[test]
    fn cpu_shares_are_at_least_what_the_kernel_takes() {
        let shares = |cpu| {
            let wish = ContainerSpec { cpu, ..ContainerSpec::default() };
            of(&wish, &[], true, true)["cpu"]["shares"].take()
        };
        let taken = [0, 1, 2, 100, 1 << 20].map(shares);
        assert_eq!(taken, [2, 2, 2, 100, 262_144].map(|shares| json!(shares)));
    }
}
