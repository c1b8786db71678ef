//! Interfaces of the node itself.

use crate::lab::{Lab, PATIENCE, connect, is_refused, link_with_mac, sh};
use crate::world::{HTTP, World, anywhere, members, plan};
use net::model::Traffic;

#[test]
fn the_node_reaches_a_task_as_its_group_permits() {
    let mut lab = Lab::new();
    let mut world = World::new(1);
    let node = world.host_eni(1, 5, &[1]);
    let task = world.eni(2, 10, &[2]);
    world.group(1, &[], &[anywhere(Traffic::All)]);
    world.group(2, &[members(1, HTTP)], &[anywhere(Traffic::All)]);
    lab.apply(&world.plan(1));
    let name = link_with_mac(&lab.host, &node).expect("it stays");
    let link = sh(&lab.host, &format!("ip addr show {name}"));
    assert!(link.contains("mtu 9001") && link.contains("inet 10.0.1.5/24"), "{link}");
    assert!(link.contains("state UP"), "{link}");
    let routes = sh(&lab.host, "ip route");
    assert!(routes.contains(&format!("10.0.0.0/16 via 10.0.1.1 dev {name}")), "{routes}");

    let task = lab.task(&task);
    let _servers = (task.listen(80), task.listen(81));
    connect(&lab.host, task.address, 80, PATIENCE).expect("a connection");
    assert!(is_refused(&lab.host, task.address, 81));
    assert!(is_refused(&task.netns, node.ipv4, 80), "nothing may come in to the node");
    assert_eq!(lab.apply(&world.plan(1)).changes(), 0);
}

#[test]
fn an_interface_of_the_node_that_was_taken_away_is_made_again() {
    let mut lab = Lab::new();
    let mut world = World::new(1);
    let node = world.host_eni(1, 5, &[1]);
    world.group(1, &[], &[]);
    lab.apply(&world.plan(1));
    let before = lab.dump();
    let name = link_with_mac(&lab.host, &node).expect("it stays");
    for mischief in ["ip link del", "ip link set down", "ip addr flush dev", "ip route flush dev"] {
        sh(&lab.host, &format!("{mischief} {name}"));
        assert_ne!(lab.dump(), before);
        assert!(lab.apply(&world.plan(1)).changes() > 0, "{mischief}");
        assert_eq!(lab.apply(&world.plan(1)).changes(), 0, "{mischief}");
        let link = sh(&lab.host, &format!("ip addr show {name}; ip route"));
        assert!(link.contains("inet 10.0.1.5/24") && link.contains("10.0.0.0/16 via"), "{link}");
    }
}

#[test]
fn a_vpc_that_overlaps_what_the_machine_has_is_refused() {
    let mut lab = Lab::new();
    let mut world = World::new(1);
    let node = world.host_eni(1, 5, &[1]);
    let task = world.eni(1, 10, &[1]);
    world.group(1, &[], &[]);
    sh(
        &lab.host,
        "ip link add office type veth peer name office2 && \
                   ip addr add 10.0.7.1/24 dev office && ip link set office up",
    );
    let report = lab.try_apply(&world.plan(1));
    assert_eq!(report.present, std::slice::from_ref(&task.id), "a task's is in no one's way");
    let reason = &report.failed[&node.id];
    assert!(reason.contains("10.0.0.0/16") && reason.contains("10.0.7.0/24"), "{reason}");
    assert!(reason.contains("office"), "{reason}");
    assert_eq!(link_with_mac(&lab.host, &node), None);

    sh(&lab.host, "ip link del office");
    lab.apply(&world.plan(1));
    assert!(link_with_mac(&lab.host, &node).is_some());
}

#[test]
fn only_one_of_two_vpcs_with_the_same_addresses_can_have_the_node() {
    let mut lab = Lab::new();
    let (mut one, mut other) = (World::new(1), World::new(2));
    let (first, second) = (one.host_eni(1, 5, &[1]), other.host_eni(1, 6, &[1]));
    one.group(1, &[], &[]);
    other.group(1, &[], &[]);
    let both = plan(1, &[&one, &other]);
    let report = lab.try_apply(&both);
    assert_eq!(report.present, [first.id]);
    assert_eq!(report.failed.keys().collect::<Vec<_>>(), [&second.id]);
    lab.try_apply(&both);
    assert_eq!(lab.card.last_work().changes(), 0);
}
