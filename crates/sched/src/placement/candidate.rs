//! A machine that a task might go to, with what is on it already.

use super::fleet::Alike;
use super::text_hash;
use crate::query::Facts;
use crate::resources::{Capacity, Need, Room};
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use ident::{ContainerInstanceId, Timestamp};

/// What a machine is, whatever runs on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its id.
    pub id: ContainerInstanceId,
    /// Whether it takes tasks: its status is ACTIVE.
    pub active: bool,
    /// Whether its agent has a session with us.
    pub connected: bool,
    /// The availability zones it stands in; its own zone is the first. A machine
    /// at home may stand in all of them.
    pub zones: Vec<String>,
    /// Its attributes: name and, if it has one, value.
    pub attributes: BTreeMap<String, Option<String>>,
    /// What it registered.
    pub capacity: Capacity,
    /// The EC2 instance that it is, if it is one.
    pub ec2_instance: Option<String>,
    /// The agent's version, if it said one.
    pub agent_version: Option<String>,
    /// When it registered.
    pub registered_at: Timestamp,
}

/// How full a machine is: its load, its tasks, and the memory it has left, negated.
/// The least is preferred, in this order.
pub(super) type Fullness = [i64; 3];

/// A task on a machine, as far as placement looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Tenant<'a> {
    /// The group it belongs to.
    pub group: &'a str,
    /// The zone it is in.
    pub zone: &'a str,
    /// Its share of the machine.
    pub need: &'a Need,
    /// Whether it is RUNNING.
    pub running: bool,
}

/// See the module. Everything here follows from the host and its tenants.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The machine.
    pub host: Arc<Host>,
    /// What its tasks leave of its capacity.
    pub room: Room,
    /// How many tasks it has.
    pub tasks: u32,
    /// How many of them are RUNNING.
    pub running: u32,
    /// How many tasks it has of each group and zone, in order.
    kin: Vec<Kin>,
    /// What decides between it and its equals: a hash of its id.
    pub(super) tie: u64,
    /// Its class.
    pub(super) alike: Alike,
}

/// Tasks of one group in one zone. A list of these is smaller than maps of maps,
/// and a machine has few.
#[derive(Clone, Debug, PartialEq)]
struct Kin {
    group: String,
    zone: String,
    count: u32,
}

impl Candidate {
    /// The machine with nothing on it.
    pub fn new(host: Arc<Host>) -> Self {
        let room = host.capacity.room([]);
        let tie = text_hash(host.id.as_str(), 0);
        let alike = Alike::new(Arc::clone(&host));
        Self { host, room, tasks: 0, running: 0, kin: Vec::new(), tie, alike }
    }

    /// The same machine with nothing on it.
    #[must_use]
    pub fn vacated(&self) -> Self {
        Self {
            host: Arc::clone(&self.host),
            room: self.host.capacity.room([]),
            tasks: 0,
            running: 0,
            kin: Vec::new(),
            tie: self.tie,
            alike: self.alike.clone(),
        }
    }

    /// Lets a task in, whether it fits or not.
    pub fn admit(&mut self, tenant: &Tenant<'_>) {
        self.room.take(tenant.need);
        self.tasks = self.tasks.saturating_add(1);
        self.running = self.running.saturating_add(u32::from(tenant.running));
        let at = self.kin.binary_search_by(|kin| {
            (kin.group.as_str(), kin.zone.as_str()).cmp(&(tenant.group, tenant.zone))
        });
        match at.map(|at| self.kin.get_mut(at)) {
            Ok(Some(kin)) => kin.count = kin.count.saturating_add(1),
            Ok(None) => {}
            Err(at) => self.kin.insert(
                at,
                Kin { group: tenant.group.to_owned(), zone: tenant.zone.to_owned(), count: 1 },
            ),
        }
    }

    /// How many tasks of `group` it has.
    pub fn kin(&self, group: &str) -> u32 {
        self.kin_by_zone(group).map(|(_, count)| count).sum()
    }

    /// The same, by zone.
    pub(super) fn kin_by_zone(&self, group: &str) -> impl Iterator<Item = (&str, u32)> + Clone {
        let before = self.kin.partition_point(|kin| kin.group.as_str() < group);
        let rest = self.kin.get(before..).unwrap_or_default();
        let here = rest.partition_point(|kin| kin.group == group);
        rest.iter().take(here).map(|kin| (kin.zone.as_str(), kin.count))
    }

    /// The groups that it has tasks of, in order.
    pub(super) fn groups(&self) -> impl Iterator<Item = &str> {
        self.kin.chunk_by(|a, b| a.group == b.group).filter_map(|kin| Some(&*kin.first()?.group))
    }

    /// What the default of ECS goes by.
    pub(super) fn fullness(&self) -> Fullness {
        [self.load(), i64::from(self.tasks), self.room.memory_mib.saturating_neg()]
    }

    /// How full it is, in thousandths of what it has most of in use.
    fn load(&self) -> i64 {
        let share = |whole: i64, left: i64| {
            let used = whole.saturating_sub(left).saturating_mul(1000);
            used.checked_div(whole).unwrap_or(0)
        };
        let cpu = share(self.host.capacity.cpu_units, self.room.cpu_units);
        let memory = share(self.host.capacity.memory_mib, self.room.memory_mib);
        cpu.max(memory)
    }
}

impl Facts for Candidate {
    fn agent_connected(&self) -> bool {
        self.host.connected
    }

    fn agent_version(&self) -> Option<&str> {
        self.host.agent_version.as_deref()
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        Some(self.host.attributes.get(name)?.as_deref().unwrap_or_default())
    }

    fn ec2_instance(&self) -> Option<&str> {
        self.host.ec2_instance.as_deref()
    }

    fn registered_at(&self) -> Timestamp {
        self.host.registered_at
    }

    fn running_tasks(&self) -> u32 {
        self.running
    }

    fn any_group(&self, wanted: &mut dyn FnMut(&str) -> bool) -> bool {
        self.groups().any(wanted)
    }
}
