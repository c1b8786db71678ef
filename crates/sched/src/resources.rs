//! What a machine has, what a task needs, and what remains.
//!
//! What remains is never counted up and down: it is what was registered minus
//! what the tasks that are there need ([`Capacity::room`]). So it always adds up,
//! after any crash and whatever was lost. It may be negative: a machine that
//! comes back with less memory than its tasks have is short of some.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A transport protocol that host ports belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// Host ports. A number may be in use once for each protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ports(pub BTreeSet<(Protocol, u16)>);

impl Ports {
    /// The numbers that are in use for `protocol`, ascending.
    pub fn of(&self, protocol: Protocol) -> impl Iterator<Item = u16> {
        self.0.iter().filter(move |(of, _)| *of == protocol).map(|(_, port)| *port)
    }
}

/// What a machine brings when it registers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// CPU units, 1024 to a virtual CPU.
    pub cpu_units: i64,
    /// Memory that tasks may have, in MiB.
    pub memory_mib: i64,
    /// How many network interfaces tasks may have, or `None` if nothing limits it.
    pub enis: Option<i64>,
    /// GPUs. Which of them a task gets is for whoever starts it to say.
    #[serde(default)]
    pub gpus: i64,
    /// The host ports that the machine keeps for itself.
    pub reserved: Ports,
}

/// What one task needs of its machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// CPU units, 1024 to a virtual CPU.
    pub cpu_units: i64,
    /// Memory, in MiB.
    pub memory_mib: i64,
    /// Network interfaces of its own.
    pub enis: i64,
    /// GPUs.
    #[serde(default)]
    pub gpus: i64,
    /// Host ports.
    pub ports: Ports,
}

/// What remains of a machine's capacity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// CPU units.
    pub cpu_units: i64,
    /// Memory, in MiB.
    pub memory_mib: i64,
    /// Network interfaces, or `None` if nothing limits them.
    pub enis: Option<i64>,
    /// GPUs.
    pub gpus: i64,
    /// The host ports that are in use, by the machine itself or by a task.
    pub taken: Ports,
}

/// Something a task needs and a machine has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Fewer CPU units are left than the task needs.
    #[allow(missing_docs)]
    Cpu { needed: i64, left: i64 },
    /// Less memory is left than the task needs, in MiB.
    #[allow(missing_docs)]
    Memory { needed: i64, left: i64 },
    /// The port is in use.
    Port(Protocol, u16),
    /// No more network interfaces can be attached.
    #[allow(missing_docs)]
    Eni { needed: i64, left: i64 },
    /// Fewer GPUs are left than the task needs.
    #[allow(missing_docs)]
    Gpu { needed: i64, left: i64 },
}

impl Capacity {
    /// What `tenants` leave.
    pub fn room<'a>(&self, tenants: impl IntoIterator<Item = &'a Need>) -> Room {
        let mut room = Room {
            cpu_units: self.cpu_units,
            memory_mib: self.memory_mib,
            enis: self.enis,
            gpus: self.gpus,
            taken: self.reserved.clone(),
        };
        tenants.into_iter().for_each(|need| room.take(need));
        room
    }
}

impl Room {
    /// Lets a task in. Whether it fits is [`Self::shortages`]' business: a task
    /// that *is* there is subtracted whether there was room for it or not.
    pub fn take(&mut self, need: &Need) {
        self.cpu_units = self.cpu_units.saturating_sub(need.cpu_units);
        self.memory_mib = self.memory_mib.saturating_sub(need.memory_mib);
        self.enis = self.enis.map(|left| left.saturating_sub(need.enis));
        self.gpus = self.gpus.saturating_sub(need.gpus);
        self.taken.0.extend(&need.ports.0);
    }

    /// Whether a task with this need fits: it has no [`Self::shortages`].
    pub fn holds(&self, need: &Need) -> bool {
        need.cpu_units <= self.cpu_units.max(0)
            && need.memory_mib <= self.memory_mib.max(0)
            && self.enis.is_none_or(|left| need.enis <= left.max(0))
            && need.gpus <= self.gpus.max(0)
            && need.ports.0.is_disjoint(&self.taken.0)
    }

    /// Why a task with this need does not fit; nothing if it does.
    pub fn shortages(&self, need: &Need) -> Vec<Shortage> {
        let mut short = Vec::new();
        // A task that asks for no CPU fits even where tasks already have too
        // much of it, and likewise with the rest.
        if need.cpu_units > self.cpu_units.max(0) {
            short.push(Shortage::Cpu { needed: need.cpu_units, left: self.cpu_units });
        }
        if need.memory_mib > self.memory_mib.max(0) {
            short.push(Shortage::Memory { needed: need.memory_mib, left: self.memory_mib });
        }
        let in_use = need.ports.0.intersection(&self.taken.0);
        short.extend(in_use.map(|(protocol, port)| Shortage::Port(*protocol, *port)));
        if let Some(left) = self.enis
            && need.enis > left.max(0)
        {
            short.push(Shortage::Eni { needed: need.enis, left });
        }
        if need.gpus > self.gpus.max(0) {
            short.push(Shortage::Gpu { needed: need.gpus, left: self.gpus });
        }
        short
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn ports(numbers: &[u16]) -> Ports {
        Ports(numbers.iter().map(|port| (Protocol::Tcp, *port)).collect())
    }

    fn machine() -> Capacity {
        let reserved = ports(&[22]);
        Capacity { cpu_units: 2048, memory_mib: 4096, enis: Some(2), gpus: 1, reserved }
    }

    #[test]
    fn each_shortage_is_named() {
        let room = machine().room([]);
        let fits =
            Need { cpu_units: 2048, memory_mib: 4096, enis: 2, gpus: 1, ports: ports(&[80]) };
        assert_eq!(room.shortages(&fits), []);
        let too_much =
            Need { cpu_units: 2049, memory_mib: 4097, enis: 3, gpus: 2, ports: ports(&[22, 80]) };
        assert_eq!(
            room.shortages(&too_much),
            vec![
                Shortage::Cpu { needed: 2049, left: 2048 },
                Shortage::Memory { needed: 4097, left: 4096 },
                Shortage::Port(Protocol::Tcp, 22),
                Shortage::Eni { needed: 3, left: 2 },
                Shortage::Gpu { needed: 2, left: 1 },
            ]
        );
    }

    #[test]
    fn the_same_port_is_free_for_the_other_protocol() {
        let need = Need { ports: Ports([(Protocol::Udp, 22)].into()), ..Need::default() };
        assert_eq!(machine().room([]).shortages(&need), []);
    }

    #[test]
    fn a_machine_that_came_back_smaller_is_short_but_takes_who_asks_nothing() {
        let tenant = Need { cpu_units: 4096, ..Need::default() };
        let room = machine().room([&tenant]);
        assert_eq!(room.cpu_units, -2048);
        assert_eq!(room.shortages(&Need::default()), []);
    }

    fn need() -> impl Strategy<Value = Need> {
        let ports = proptest::collection::btree_set(0_u16..100, 0..3);
        (0..5000_i64, 0..5000_i64, 0..2_i64, 0..2_i64, ports).prop_map(
            |(cpu_units, memory_mib, enis, gpus, p)| {
                let ports = Ports(p.into_iter().map(|port| (Protocol::Tcp, port)).collect());
                Need { cpu_units, memory_mib, enis, gpus, ports }
            },
        )
    }

    proptest! {
        #[test]
        fn what_remains_and_what_is_taken_add_up(needs in proptest::collection::vec(need(), 0..8)) {
            let room = machine().room(&needs);
            let sum = |of: fn(&Need) -> i64| needs.iter().map(of).sum::<i64>();
            prop_assert_eq!(room.cpu_units + sum(|n| n.cpu_units), 2048);
            prop_assert_eq!(room.memory_mib + sum(|n| n.memory_mib), 4096);
            prop_assert_eq!(room.enis.map(|left| left + sum(|n| n.enis)), Some(2));
            prop_assert_eq!(room.gpus + sum(|n| n.gpus), 1);
        }

        #[test]
        fn whoever_fits_leaves_nobody_short(needs in proptest::collection::vec(need(), 0..8)) {
            let mut room = machine().room([]);
            for need in &needs {
                prop_assert_eq!(room.holds(need), room.shortages(need).is_empty());
                if room.holds(need) {
                    room.take(need);
                }
            }
            prop_assert!(room.cpu_units >= 0 && room.memory_mib >= 0 && room.enis >= Some(0));
            prop_assert!(room.gpus >= 0);
        }
    }
}
