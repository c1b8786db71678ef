//! What the search finds is what looking at every machine finds.

use super::super::fleet::Order;
use super::super::tree::Summary;
use super::super::{Host, Over, Resource, Strategy, Tenant, ZONE, place};
use super::*;
use crate::query::parse;
use crate::resources::{Capacity, Need, Ports, Protocol};
use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec;
use ident::{ContainerInstanceId, Timestamp};
use proptest::prelude::{Just, any, prop_oneof, proptest};
use proptest::strategy::Strategy as Choice;
use proptest::{collection, prop_assert, prop_assert_eq, sample};

const GROUPS: [&str; 3] = ["g", "h", "service:s"];
const ZONES: [&str; 3] = ["a", "b", "c"];

/// A task that is on a machine: group, zone, need, and whether it runs.
type Occupant = (usize, usize, Need, bool);

#[derive(Clone, Debug)]
struct Machine {
    number: u128,
    zones: Vec<usize>,
    rack: Option<u8>,
    trunk: bool,
    fit: (bool, bool),
    capacity: Capacity,
    tenants: Vec<Occupant>,
}

impl Machine {
    fn candidate(&self) -> Arc<Candidate> {
        let mut attributes = BTreeMap::from([("ecs.os-type".to_owned(), Some("linux".to_owned()))]);
        attributes.extend(self.rack.map(|rack| ("rack".to_owned(), Some(format!("r{rack}")))));
        if self.trunk {
            // Half of the trunks share a name, so that spreading over it matters.
            let trunk = format!("eni-{}", self.number / 2);
            attributes.insert("ecs.awsvpc-trunk-id".to_owned(), Some(trunk));
        }
        let mut candidate = Candidate::new(Arc::new(Host {
            id: ContainerInstanceId::mint(self.number),
            active: self.fit.0,
            connected: self.fit.1,
            zones: self.zones.iter().map(|zone| ZONES[*zone].to_owned()).collect(),
            attributes,
            capacity: self.capacity.clone(),
            ec2_instance: None,
            agent_version: None,
            registered_at: Timestamp(0),
        }));
        for (group, zone, need, running) in &self.tenants {
            let zone = self.zones[zone % self.zones.len()];
            candidate.admit(&Tenant {
                group: GROUPS[*group],
                zone: ZONES[zone],
                need,
                running: *running,
            });
        }
        Arc::new(candidate)
    }
}

fn need() -> impl Choice<Value = Need> {
    let ports = collection::btree_set(80_u16..83, 0..2);
    let gpus = prop_oneof![3 => Just(0), 1 => 1..3_i64];
    (0..4_i64, 0..4_i64, 0..2_i64, gpus, ports).prop_map(|(cpu, memory, enis, gpus, ports)| Need {
        cpu_units: cpu * 256,
        memory_mib: memory * 512,
        enis,
        gpus,
        ports: Ports(ports.into_iter().map(|port| (Protocol::Tcp, port)).collect()),
    })
}

fn machine() -> impl Choice<Value = Machine> {
    let zones = sample::subsequence(vec![0_usize, 1, 2], 1..=3);
    let mostly = || prop_oneof![8 => Just(true), 1 => Just(false)];
    let enis = proptest::option::of(0..4_i64);
    let capacity = (0..5_i64, 0..5_i64, enis, 0..4_i64).prop_map(|(cpu, memory, enis, gpus)| {
        let reserved = Ports::default();
        Capacity { cpu_units: cpu * 512, memory_mib: memory * 1024, enis, gpus, reserved }
    });
    let tenants = collection::vec((0_usize..3, 0_usize..3, need(), any::<bool>()), 0..4);
    let rack = proptest::option::of(0_u8..3);
    (0_u128..24, zones, rack, any::<bool>(), (mostly(), mostly()), capacity, tenants).prop_map(
        |(number, zones, rack, trunk, fit, capacity, tenants)| Machine {
            number,
            zones,
            rack,
            trunk,
            fit,
            capacity,
            tenants,
        },
    )
}

fn strategy() -> impl Choice<Value = Strategy> {
    let over = |name: &str| Strategy::Spread(Over::Attribute(name.to_owned()));
    sample::select(vec![
        Strategy::Random,
        Strategy::Binpack(Resource::Cpu),
        Strategy::Binpack(Resource::Memory),
        Strategy::Spread(Over::Instances),
        over(ZONE),
        over("rack"),
        over("ecs.awsvpc-trunk-id"),
    ])
}

fn demand() -> impl Choice<Value = Demand> {
    let zones = proptest::option::of(sample::subsequence(ZONES.to_vec(), 1..=3));
    let expressions = sample::subsequence(
        vec![
            "attribute:rack != r1",
            "runningTasksCount < 2",
            "not(task:group == h)",
            "attribute:ecs.awsvpc-trunk-id exists",
        ],
        0..=1,
    );
    let strategies = collection::vec(strategy(), 0..4);
    (need(), zones, any::<bool>(), expressions, strategies).prop_map(
        |(need, zones, distinct, expressions, strategies)| Demand {
            group: "g".to_owned(),
            need,
            attributes: BTreeSet::new(),
            zones: zones.map(|zones| zones.into_iter().map(ToOwned::to_owned).collect()),
            distinct,
            member_of: expressions.iter().map(|text| parse(text).expect("sound")).collect(),
            strategies,
        },
    )
}

proptest! {
    #[test]
    fn each_copy_goes_where_the_best_score_is(
        machines in collection::vec(machine(), 0..40),
        gone in collection::btree_set(0_u128..24, 0..6),
        demand in demand(),
        copies in 1_u32..8,
        seed: u64,
        arranged in proptest::option::of(any::<bool>()),
    ) {
        // Later machines of a number take the place of earlier ones.
        let mut fleet: Fleet = machines.iter().map(Machine::candidate).collect();
        let mut plain: BTreeMap<_, _> =
            machines.iter().map(|machine| (machine.number, machine.candidate())).collect();
        if arranged == Some(true) {
            fleet.arrange(&demand);
        }
        for number in &gone {
            fleet.remove(&ContainerInstanceId::mint(*number));
            plain.remove(number);
        }
        if arranged == Some(false) {
            fleet.arrange(&demand);
        }
        let placement = place(&mut fleet, &demand, copies, seed);

        let chance = Chance { class: 0, pivot: 0, seed: 0 };
        for found in &placement.places {
            let afresh: Fleet = plain.values().cloned().collect();
            let scores = Scores::new(&afresh, &demand);
            let score = |machine: &Candidate, zone: &str| {
                scores.of(machine, &Summary::of(0, machine), zone, chance).0
            };
            let best = plain
                .values()
                .filter(|machine| takes(machine, &demand))
                .flat_map(|machine| zones(&machine.host, &demand).map(|zone| score(machine, zone)))
                .min();
            let taker = plain.values_mut().find(|machine| machine.host.id == found.instance);
            let taker = taker.expect("one of the machines");
            prop_assert!(takes(taker, &demand));
            prop_assert!(zones(&taker.host, &demand).any(|zone| *zone == found.zone));
            prop_assert_eq!(Some(score(taker, &found.zone)), best);
            Arc::make_mut(taker).admit(&Tenant {
                group: &demand.group,
                zone: &found.zone,
                need: &demand.need,
                running: false,
            });
        }
        let after: Fleet = plain.values().cloned().collect();
        prop_assert!(fleet == after, "each copy was let in");
        let complete = placement.places.len() == usize::try_from(copies).expect("few");
        prop_assert!(complete || !plain.values().any(|machine| takes(machine, &demand)));
        let refused = if complete { 0 } else { plain.len() };
        prop_assert_eq!(placement.refusals.len(), refused);
    }

    #[test]
    fn a_fleet_is_what_its_machines_are_however_it_came_about(
        machines in collection::vec(machine(), 0..60),
        gone in collection::btree_set(0_u128..24, 0..12),
    ) {
        let packing = |by| Demand { strategies: vec![Strategy::Binpack(by)], ..Demand::default() };
        let packings = [packing(Resource::Cpu), packing(Resource::Memory)];
        let mut fleet = Fleet::default();
        fleet.arrange(&packings[0]);
        let mut plain = BTreeMap::new();
        for machine in &machines {
            fleet.put(&machine.candidate());
            plain.insert(machine.number, machine.candidate());
        }
        for number in &gone {
            fleet.remove(&ContainerInstanceId::mint(*number));
            plain.remove(number);
        }
        let mut afresh: Fleet = plain.values().cloned().collect();
        for demand in &packings {
            afresh.arrange(demand);
            fleet.arrange(demand);
        }
        prop_assert!(fleet == afresh);
        let shape = |(_, class): (&Alike, &Class)| {
            let orders = [Order::Cpu, Order::Memory, Order::Tie];
            let trees = orders.map(|order| class.tree(order));
            let kin: Vec<_> = GROUPS.iter().map(|group| class.kin(group)).collect();
            format!("{trees:?} {kin:?}")
        };
        let shapes = [&fleet, &afresh].map(|fleet| fleet.classes().map(shape).collect::<Vec<_>>());
        prop_assert_eq!(&shapes[0], &shapes[1], "the trees are the same, with all their sums");
    }
}
