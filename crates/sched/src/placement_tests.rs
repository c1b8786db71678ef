//! Placement: what is refused and why, and how copies are spread.

use super::*;
use crate::resources::{Ports, Protocol};
use alloc::borrow::ToOwned;
use alloc::string::ToString;
use alloc::vec;
use proptest::prelude::*;

fn id(number: u128) -> ContainerInstanceId {
    ContainerInstanceId::mint(number)
}

fn machine(number: u128, zones: &[&str]) -> Candidate {
    let capacity =
        Capacity { cpu_units: 2048, memory_mib: 4096, enis: Some(3), reserved: Ports::default() };
    Candidate {
        id: id(number),
        active: true,
        connected: true,
        zones: zones.iter().map(ToString::to_string).collect(),
        attributes: BTreeMap::from([
            ("ecs.capability.task-eni".to_owned(), None),
            ("ecs.os-type".to_owned(), Some("linux".to_owned())),
        ]),
        room: capacity.room([]),
        capacity,
        tasks: 0,
        kin: BTreeMap::new(),
    }
}

fn small() -> Demand {
    Demand {
        need: Need { cpu_units: 256, memory_mib: 512, ..Need::default() },
        ..Demand::default()
    }
}

fn in_zones(zones: &[&str]) -> Demand {
    Demand { zones: Some(zones.iter().map(ToString::to_string).collect()), ..small() }
}

fn demanding(name: &str, value: Option<&str>) -> Demand {
    let demanded = Demanded { name: name.to_owned(), value: value.map(ToOwned::to_owned) };
    Demand { attributes: [demanded].into(), ..small() }
}

fn needing(need: Need) -> Demand {
    Demand { need, ..Demand::default() }
}

#[test]
fn each_refusal_has_aws_code() {
    let here = || machine(1, &["a"]);
    let port = Ports([(Protocol::Tcp, 80)].into());
    let busy = {
        let mut busy = here();
        busy.room.take(&Need { ports: port.clone(), ..Need::default() });
        busy
    };
    let table: [(Candidate, Demand, &[&str]); 10] = [
        (here(), small(), &[]),
        (Candidate { active: false, ..here() }, small(), &["INACTIVE"]),
        (Candidate { connected: false, ..here() }, small(), &["AGENT"]),
        (here(), needing(Need { cpu_units: 4096, ..Need::default() }), &["RESOURCE:CPU"]),
        (here(), needing(Need { memory_mib: 8192, ..Need::default() }), &["RESOURCE:MEMORY"]),
        (here(), needing(Need { enis: 4, ..Need::default() }), &["RESOURCE:ENI"]),
        (busy, needing(Need { ports: port, ..Need::default() }), &["RESOURCE:PORTS"]),
        (here(), demanding("ecs.capability.gpu", None), &["ATTRIBUTE"]),
        (here(), demanding("ecs.os-type", Some("windows")), &["ATTRIBUTE"]),
        (here(), in_zones(&["b"]), &["ATTRIBUTE"]),
    ];
    for (candidate, demand, expected) in table {
        let reasons = refusals(&candidate, &demand);
        let codes: Vec<_> = reasons.iter().map(Reason::code).collect();
        assert_eq!(codes, expected, "{reasons:?}");
    }
}

#[test]
fn attributes_that_are_there_are_enough() {
    let here = machine(1, &["a"]);
    assert_eq!(refusals(&here, &demanding("ecs.os-type", Some("linux"))), []);
    assert_eq!(refusals(&here, &demanding("ecs.os-type", None)), []);
    assert_eq!(refusals(&here, &demanding("ecs.capability.task-eni", None)), []);
}

#[test]
fn copies_are_spread_over_zones_first() {
    // Two machines in zone a and one in b: b's gets every second task.
    let machines = vec![machine(1, &["a"]), machine(2, &["a"]), machine(3, &["b"])];
    let placement = place(machines, &small(), 4, 7);
    let count = |zone: &str| placement.places.iter().filter(|p| p.zone == zone).count();
    assert_eq!((count("a"), count("b")), (2, 2));
    assert_eq!(placement.refusals, []);
    let on = |n| placement.places.iter().filter(|p| p.instance == id(n)).count();
    assert_eq!((on(1), on(2)), (1, 1), "within a zone the least loaded comes first");
}

#[test]
fn a_machine_in_several_zones_uses_those_of_the_subnets() {
    let placement = place(vec![machine(1, &["a", "b", "c"])], &in_zones(&["b", "c"]), 4, 7);
    let zones: Vec<_> = placement.places.iter().map(|p| p.zone.as_str()).collect();
    assert_eq!(zones.iter().filter(|zone| **zone == "b").count(), 2, "{zones:?}");
    assert_eq!(zones.iter().filter(|zone| **zone == "c").count(), 2, "{zones:?}");
}

#[test]
fn without_subnets_a_task_is_where_its_machine_is() {
    let placement = place(vec![machine(1, &["b", "a"])], &small(), 3, 7);
    assert!(placement.places.iter().all(|place| place.zone == "b"));
}

#[test]
fn what_does_not_fit_says_why_for_every_machine() {
    let fat = needing(Need { memory_mib: 3000, ..Need::default() });
    let machines = vec![machine(1, &["a"]), Candidate { connected: false, ..machine(2, &["a"]) }];
    let placement = place(machines, &fat, 3, 7);
    assert_eq!(placement.places.len(), 1);
    let codes: Vec<_> = placement
        .refusals
        .iter()
        .map(|(at, reasons)| (at.clone(), reasons.first().map(Reason::code)))
        .collect();
    assert_eq!(codes, [(id(1), Some("RESOURCE:MEMORY")), (id(2), Some("AGENT"))]);
}

#[test]
fn no_machines_no_places_no_reasons() {
    assert_eq!(place(vec![], &small(), 2, 7), Placement::default());
}

#[test]
fn a_host_port_is_taken_once_per_machine() {
    let web = needing(Need { ports: Ports([(Protocol::Tcp, 80)].into()), ..Need::default() });
    let placement = place(vec![machine(1, &["a"]), machine(2, &["a"])], &web, 3, 7);
    assert_eq!(placement.places.len(), 2);
    assert_ne!(placement.places[0].instance, placement.places[1].instance);
}

#[test]
fn ties_are_the_seeds_to_break() {
    let chosen = |seed| {
        let machines = (0..8).map(|n| machine(n, &["a"])).collect();
        place(machines, &small(), 1, seed).places
    };
    let all: Vec<_> = (0..64).map(chosen).collect();
    let different: BTreeSet<_> = all.iter().map(|places| &places[0].instance).collect();
    assert!(different.len() > 4, "{} of 8 machines were ever chosen", different.len());
    assert_eq!(all, (0..64).map(chosen).collect::<Vec<_>>(), "the same seed, the same answer");
}

proptest! {
    #[test]
    fn nobody_is_crowded_and_nobody_is_turned_away_in_vain(
        rooms in proptest::collection::vec((0..3000_i64, 0..5000_i64, any::<bool>()), 1..6),
        copies in 1_u32..20,
        seed: u64,
    ) {
        let demand = small();
        let machines: Vec<_> = (0_u128..).zip(&rooms).map(|(n, (cpu, memory, connected))| {
            let mut machine = machine(n, &[if n % 2 == 0 { "a" } else { "b" }]);
            machine.capacity.cpu_units = *cpu;
            machine.capacity.memory_mib = *memory;
            machine.room = machine.capacity.room([]);
            Candidate { connected: *connected, ..machine }
        }).collect();
        let fit: i64 = machines.iter().filter(|m| m.connected)
            .map(|m| (m.room.cpu_units / 256).min(m.room.memory_mib / 512)).sum();
        let placement = place(machines.clone(), &demand, copies, seed);

        prop_assert_eq!(
            i64::try_from(placement.places.len()).expect("few"),
            fit.min(i64::from(copies))
        );
        for machine in &machines {
            let here = placement.places.iter().filter(|p| p.instance == machine.id).count();
            let room = machine.capacity.room(core::iter::repeat_n(&demand.need, here));
            prop_assert!(room.cpu_units >= 0 && room.memory_mib >= 0);
            prop_assert!(here == 0 || machine.connected);
        }
        let complete = placement.places.len() == copies as usize;
        prop_assert_eq!(placement.refusals.is_empty(), complete);
        prop_assert!(placement.refusals.iter().all(|(_, reasons)| !reasons.is_empty()));
    }
}
