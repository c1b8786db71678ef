//! Placement: what is refused and why, and how copies are spread.

use super::Strategy;
use super::*;
use crate::query::parse;
use crate::resources::{Capacity, Ports, Protocol};
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec;
use ident::Timestamp;
use proptest::prelude::*;

fn id(number: u128) -> ContainerInstanceId {
    ContainerInstanceId::mint(number)
}

fn machine(number: u128, zones: &[&str]) -> Candidate {
    let capacity =
        Capacity { cpu_units: 2048, memory_mib: 4096, enis: Some(3), ..Capacity::default() };
    let host = Host {
        id: id(number),
        active: true,
        connected: true,
        zones: zones.iter().map(ToString::to_string).collect(),
        attributes: BTreeMap::from([
            ("ecs.capability.task-eni".to_owned(), None),
            ("ecs.os-type".to_owned(), Some("linux".to_owned())),
        ]),
        capacity,
        ec2_instance: None,
        agent_version: None,
        registered_at: Timestamp(0),
    };
    Candidate::new(Arc::new(host))
}

/// A machine that differs.
fn other(number: u128, zones: &[&str], change: impl FnOnce(&mut Host)) -> Candidate {
    let mut host = Host::clone(&machine(number, zones).host);
    change(&mut host);
    Candidate::new(Arc::new(host))
}

fn run(machines: Vec<Candidate>, demand: &Demand, copies: u32, seed: u64) -> Placement {
    place(&mut machines.into_iter().map(Arc::new).collect(), demand, copies, seed)
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
    let table: [(Candidate, Demand, &[&str]); 11] = [
        (here(), small(), &[]),
        (other(1, &["a"], |host| host.active = false), small(), &["INACTIVE"]),
        (other(1, &["a"], |host| host.connected = false), small(), &["AGENT"]),
        (here(), needing(Need { cpu_units: 4096, ..Need::default() }), &["RESOURCE:CPU"]),
        (here(), needing(Need { memory_mib: 8192, ..Need::default() }), &["RESOURCE:MEMORY"]),
        (here(), needing(Need { enis: 4, ..Need::default() }), &["RESOURCE:ENI"]),
        (here(), needing(Need { gpus: 1, ..Need::default() }), &["RESOURCE:GPU"]),
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
    let placement = run(machines, &small(), 4, 7);
    let count = |zone: &str| placement.places.iter().filter(|p| p.zone == zone).count();
    assert_eq!((count("a"), count("b")), (2, 2));
    assert_eq!(placement.refusals, []);
    let on = |n| placement.places.iter().filter(|p| p.instance == id(n)).count();
    assert_eq!((on(1), on(2)), (1, 1), "within a zone the least loaded comes first");
}

#[test]
fn a_machine_in_several_zones_uses_those_of_the_subnets() {
    let placement = run(vec![machine(1, &["a", "b", "c"])], &in_zones(&["b", "c"]), 4, 7);
    let zones: Vec<_> = placement.places.iter().map(|p| p.zone.as_str()).collect();
    assert_eq!(zones.iter().filter(|zone| **zone == "b").count(), 2, "{zones:?}");
    assert_eq!(zones.iter().filter(|zone| **zone == "c").count(), 2, "{zones:?}");
}

#[test]
fn without_subnets_a_task_is_where_its_machine_is() {
    let placement = run(vec![machine(1, &["b", "a"])], &small(), 3, 7);
    assert!(placement.places.iter().all(|place| place.zone == "b"));
}

#[test]
fn what_does_not_fit_says_why_for_every_machine() {
    let fat = needing(Need { memory_mib: 3000, ..Need::default() });
    let machines = vec![machine(1, &["a"]), other(2, &["a"], |host| host.connected = false)];
    let placement = run(machines, &fat, 3, 7);
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
    assert_eq!(run(vec![], &small(), 2, 7), Placement::default());
}

#[test]
fn a_host_port_is_taken_once_per_machine() {
    let web = needing(Need { ports: Ports([(Protocol::Tcp, 80)].into()), ..Need::default() });
    let placement = run(vec![machine(1, &["a"]), machine(2, &["a"])], &web, 3, 7);
    assert_eq!(placement.places.len(), 2);
    assert_ne!(placement.places[0].instance, placement.places[1].instance);
}

#[test]
fn ties_are_the_seeds_to_break() {
    let chosen = |seed| {
        let machines = (0..8).map(|n| machine(n, &["a"])).collect();
        run(machines, &small(), 1, seed).places
    };
    let all: Vec<_> = (0..64).map(chosen).collect();
    let different: BTreeSet<_> = all.iter().map(|places| &places[0].instance).collect();
    assert!(different.len() > 4, "{} of 8 machines were ever chosen", different.len());
    assert_eq!(all, (0..64).map(chosen).collect::<Vec<_>>(), "the same seed, the same answer");
}

fn with(strategies: &[Strategy]) -> Demand {
    Demand { group: "g".to_owned(), strategies: strategies.to_vec(), ..small() }
}

fn over(name: &str) -> Strategy {
    Strategy::Spread(Over::Attribute(name.to_owned()))
}

/// How many copies went to each of the machines 1 to 3.
fn counts(placement: &Placement) -> [usize; 3] {
    [1, 2, 3].map(|n| placement.places.iter().filter(|p| p.instance == id(n)).count())
}

#[test]
fn binpack_fills_one_machine_after_another() {
    let machines = || {
        let small = other(1, &["a"], |host| host.capacity.cpu_units = 1024);
        let tight = other(2, &["b"], |host| host.capacity.memory_mib = 1024);
        vec![small, tight, machine(3, &["c"])]
    };
    let by = |resource, copies| {
        counts(&run(machines(), &with(&[Strategy::Binpack(resource)]), copies, 7))
    };
    assert_eq!(by(Resource::Cpu, 4), [4, 0, 0], "least CPU left");
    assert_eq!(by(Resource::Memory, 2), [0, 2, 0], "least memory left");
    assert_eq!(by(Resource::Memory, 3).iter().sum::<usize>(), 3, "and then the others");
}

#[test]
fn spread_counts_the_tasks_of_the_group() {
    let mut busy = machine(1, &["a"]);
    let need = Need::default();
    let tenant = |group| Tenant { group, zone: "a", need: &need, running: true };
    for group in ["g", "g", "other", "other"] {
        busy.admit(&tenant(group));
    }
    let machines = || vec![busy.clone(), machine(2, &["a"]), machine(3, &["b"])];
    let instances = with(&[Strategy::Spread(Over::Instances)]);
    assert_eq!(counts(&run(machines(), &instances, 4, 7)), [0, 2, 2]);
    let zones = with(&[over(ZONE)]);
    assert_eq!(counts(&run(machines(), &zones, 2, 7)), [0, 0, 2], "zone a has two already");
    let others = Demand { group: "new".to_owned(), ..instances };
    assert_eq!(counts(&run(machines(), &others, 3, 7)), [1, 1, 1], "other groups do not count");
}

#[test]
fn tasks_are_spread_over_any_attribute() {
    let rack = |number, rack: &str| {
        other(number, &["a"], |host| {
            host.attributes.insert("rack".to_owned(), Some(rack.to_owned()));
        })
    };
    let machines = vec![rack(1, "r1"), rack(2, "r1"), rack(3, "r2")];
    let [one, two, three] = counts(&run(machines, &with(&[over("rack")]), 6, 7));
    assert_eq!((one + two, three), (3, 3));
}

#[test]
fn later_strategies_decide_what_earlier_ones_leave_open() {
    let machines = || {
        let tight = other(2, &["a"], |host| host.capacity.memory_mib = 2048);
        vec![machine(1, &["a"]), tight, machine(3, &["b"])]
    };
    let pack = Strategy::Binpack(Resource::Memory);
    let spread_first = run(machines(), &with(&[over(ZONE), pack.clone()]), 4, 7);
    assert_eq!(counts(&spread_first), [0, 2, 2]);
    let pack_first = run(machines(), &with(&[pack, over(ZONE)]), 4, 7);
    assert_eq!(counts(&pack_first), [0, 4, 0]);
}

#[test]
fn random_uses_all_machines_and_repeats_itself() {
    let machines = || vec![machine(1, &["a"]), machine(2, &["a"]), machine(3, &["b"])];
    let all: Vec<_> =
        (0..40).map(|seed| counts(&run(machines(), &with(&[Strategy::Random]), 1, seed))).collect();
    for n in 0..3 {
        let times = all.iter().filter(|counts| counts[n] == 1).count();
        assert!((5..30).contains(&times), "machine {n} was chosen {times} times of 40");
    }
    let again = run(machines(), &with(&[Strategy::Random]), 5, 3);
    assert_eq!(again, run(machines(), &with(&[Strategy::Random]), 5, 3));
}

#[test]
fn distinct_instances_take_one_of_a_group_each() {
    let mut busy = machine(1, &["a"]);
    let need = Need::default();
    busy.admit(&Tenant { group: "g", zone: "a", need: &need, running: true });
    let demand = Demand { distinct: true, ..with(&[]) };
    let placement = run(vec![busy, machine(2, &["a"]), machine(3, &["b"])], &demand, 3, 7);
    assert_eq!(counts(&placement), [0, 1, 1]);
    assert_eq!(placement.refusals.len(), 3);
    for (_, reasons) in placement.refusals {
        let codes: Vec<_> = reasons.iter().map(Reason::code).collect();
        assert_eq!(codes, ["DistinctInstance placement constraint unsatisfied."]);
    }
}

#[test]
fn expressions_choose_machines_and_see_earlier_copies() {
    let member_of = |texts: &[&str]| Demand {
        member_of: texts.iter().map(|text| parse(text).expect("sound")).collect(),
        ..with(&[])
    };
    let machines = || vec![machine(1, &["a"]), other(2, &["b"], |host| host.attributes.clear())];
    let linux = member_of(&["attribute:ecs.os-type == linux"]);
    assert_eq!(counts(&run(machines(), &linux, 2, 7)), [2, 0, 0]);
    let both = member_of(&["attribute:ecs.os-type == linux", "runningTasksCount > 0"]);
    let placement = run(machines(), &both, 1, 7);
    let codes = |at: usize| placement.refusals[at].1.iter().map(Reason::code).collect::<Vec<_>>();
    assert_eq!(codes(0), ["MemberOf placement constraint unsatisfied."]);
    assert_eq!(codes(1).len(), 2, "each constraint is named");
    let alone = member_of(&["not(task:group == g)"]);
    assert_eq!(counts(&run(machines(), &alone, 3, 7)), [1, 1, 0]);
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
            other(n, &[if n % 2 == 0 { "a" } else { "b" }], |host| {
                host.capacity.cpu_units = *cpu;
                host.capacity.memory_mib = *memory;
                host.connected = *connected;
            })
        }).collect();
        let fit: i64 = machines.iter().filter(|m| m.host.connected)
            .map(|m| (m.room.cpu_units / 256).min(m.room.memory_mib / 512)).sum();
        let placement = run(machines.clone(), &demand, copies, seed);

        prop_assert_eq!(
            i64::try_from(placement.places.len()).expect("few"),
            fit.min(i64::from(copies))
        );
        for machine in &machines {
            let here = placement.places.iter().filter(|p| p.instance == machine.host.id).count();
            let room = machine.host.capacity.room(core::iter::repeat_n(&demand.need, here));
            prop_assert!(room.cpu_units >= 0 && room.memory_mib >= 0);
            prop_assert!(here == 0 || machine.host.connected);
        }
        let complete = placement.places.len() == copies as usize;
        prop_assert_eq!(placement.refusals.is_empty(), complete);
        prop_assert!(placement.refusals.iter().all(|(_, reasons)| !reasons.is_empty()));
    }
}
