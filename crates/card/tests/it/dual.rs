//! IPv6: dual-stack interfaces and those without IPv4.

use crate::lab::{Lab, PATIENCE, Task, connect, is_refused, link_with_mac, sh};
use crate::packets::{Probe, Receiver, Sender};
use crate::world::{HTTP, World, anywhere, from, members};
use net::judge::Content;
use net::model::{Eni, Rule, Traffic};
use nix::sys::socket::SockProtocol;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;
use tokio::time::Instant;

const UDP: Content = Content::Udp { port: 9 };

fn open_rules() -> [Rule; 2] {
    [anywhere(Traffic::All), from("::/0", Traffic::All)]
}

fn open_world() -> (World, Eni, Eni) {
    let mut world = World::dual_stack(1);
    let (a, b) = (world.eni(1, 10, &[1]), world.eni(1, 11, &[1]));
    world.group(1, &open_rules(), &open_rules());
    (world, a, b)
}

/// The kernel lists addresses in the order of their making.
fn sorted(dump: &str) -> Vec<&str> {
    let mut lines: Vec<_> = dump.lines().collect();
    lines.sort_unstable();
    lines
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
    }
}

#[test]
fn each_version_has_its_own_permissions() {
    let mut lab = Lab::new();
    let mut world = World::dual_stack(1);
    let (a, b) = (world.eni(1, 10, &[1]), world.eni(1, 11, &[2]));
    let c = world.eni(2, 10, &[1]);
    world.group(1, &[], &open_rules());
    world.group(2, &[anywhere(HTTP)], &[]);
    lab.apply(&world.plan(1));
    let (a, b, c) = (lab.task(&a), lab.task(&b), lab.task(&c));
    let _servers = (b.listen(80), b.listen_at(b.v6(), 80), b.listen_at(b.v6(), 81));
    a.connect(&b, 80);
    assert!(is_refused(&a.netns, b.v6(), 80), "0.0.0.0/0 is IPv4");
    world.group(2, &[from("fd00:0:0:1::/64", HTTP)], &[]);
    lab.apply(&world.plan(2));
    assert!(a.is_refused(&b, 80));
    connect(&a.netns, b.v6(), 80, PATIENCE).expect("a neighbour is let in");
    assert!(is_refused(&a.netns, b.v6(), 81), "to one port");
    assert!(is_refused(&c.netns, b.v6(), 80), "another subnet is not");
    world.group(2, &[members(1, HTTP)], &[]);
    lab.apply(&world.plan(3));
    a.connect(&b, 80);
    connect(&c.netns, b.v6(), 80, PATIENCE).expect("a member is let in, by either version");
    assert_eq!(lab.apply(&world.plan(3)).changes(), 0);
}

#[test]
fn an_interface_without_ipv4_works() {
    let mut lab = Lab::new();
    let (world, a, b) = open_world();
    let mut plan = world.plan(1);
    let vpc = &mut plan.vpcs[0];
    for eni in &mut vpc.enis {
        eni.ipv4 = None;
    }
    for subnet in &mut vpc.subnets {
        (subnet.cidr, subnet.gateway) = (None, None);
    }
    (vpc.cidrs, vpc.members) = (vec![], [].into());
    lab.apply(&plan);
    let (task_a, task_b) = (lab.task(&a), lab.task(&b));
    let _servers = (task_b.listen(80), task_b.listen_at(task_b.v6(), 80));
    connect(&task_a.netns, task_b.v6(), 80, PATIENCE).expect("a connection");
    // IPv4 addresses that nobody gave them are of no use, to whom they may seem theirs.
    let stranger = connect(&task_a.netns, task_b.address, 80, Duration::from_millis(300));
    stranger.expect_err("there is no IPv4");
    assert_eq!(lab.apply(&plan).changes(), 0);
}

#[test]
fn a_task_finds_its_router_by_asking() {
    let mut lab = Lab::new();
    let (mut world, a, _) = open_world();
    let far = world.eni(2, 20, &[1]);
    lab.apply(&world.plan(1));
    let (task, far) = (lab.task(&a), lab.task(&far));
    let _server = far.listen_at(far.v6(), 80);
    // As the official agent leaves it: the address, and no gateway.
    task.sh("ip -6 route del default; sysctl -qw net.ipv6.conf.eth0.router_solicitation_delay=0 \
             net.ipv6.conf.eth0.addr_gen_mode=0 net.ipv6.conf.eth0.accept_dad=0; \
             ip link set eth0 down; ip link set eth0 up; ip addr add fd00:0:0:1::10/64 dev eth0 nodad");
    until("no route came", || task.sh("ip -6 route show default").contains("proto ra"));
    let route = task.sh("ip -6 route show default");
    assert!(route.contains("via fe80::1 dev eth0"), "{route}");
    assert!(
        route.contains("mtu 9001")
            || task.sh("cat /proc/sys/net/ipv6/conf/eth0/mtu").contains("9001")
    );
    connect(&task.netns, far.v6(), 80, PATIENCE).expect("it leads there");
    // And it made up no address of its own.
    let addresses = task.sh("ip -6 -o addr show dev eth0 scope global");
    assert_eq!(addresses.lines().count(), 1, "{addresses}");
}

/// Makes the task ask the network whether anybody has the address, and says
/// whether somebody does.
fn is_taken(task: &Task, address: &str) -> bool {
    task.sh(&format!("ip addr add {address}/128 dev eth0"));
    let state = || task.sh(&format!("ip -6 addr show dev eth0 to {address}"));
    until("it was never decided", || !state().contains("tentative") || state().contains("failed"));
    let taken = state().contains("dadfailed");
    task.sh(&format!("ip addr del {address}/128 dev eth0"));
    taken
}

#[test]
fn addresses_are_answered_for_by_whom_the_plan_says() {
    let mut lab = Lab::new();
    let (world, a, _) = open_world();
    lab.apply(&world.plan(1));
    let task = lab.task(&a);
    task.sh("sysctl -qw net.ipv6.conf.eth0.accept_dad=1 net.ipv6.conf.eth0.dad_transmits=1");
    assert!(is_taken(&task, "fd00:0:0:1::11"), "another interface has it");
    assert!(is_taken(&task, "fd00:0:0:1::1"), "the router has it");
    assert!(!is_taken(&task, "fd00:0:0:1::77"), "nobody has it");
    task.sh("ip addr del fd00:0:0:1::10/64 dev eth0");
    assert!(!is_taken(&task, "fd00:0:0:1::10"), "it is its own");
}

#[test]
fn a_question_in_somebody_elses_name_gets_no_answer() {
    let mut lab = Lab::new();
    let (world, a, b) = open_world();
    lab.apply(&world.plan(1));
    let (task_a, task_b) = (lab.task(&a), lab.task(&b));
    task_a.sh("ip addr add fd00:0:0:1::77/128 dev eth0 nodad");
    let sender = Sender::of(&task_a);
    let receiver = Receiver::of_v6(&task_b, SockProtocol::Udp);
    let honest = Probe::new(&task_a, task_b.v6(), UDP, 2);
    let state = || task_a.sh(&format!("ip -6 neigh show {} dev eth0", task_b.v6()));
    let source: IpAddr = "fd00:0:0:1::77".parse().expect("an address");
    sender.send(&Probe { source, number: 1, ..honest });
    until("it was not given up", || {
        assert!(!state().contains("REACHABLE"), "{}", state());
        state().contains("FAILED")
    });
    sender.send(&honest);
    assert_eq!(receiver.next().0, 2);
}

#[test]
fn another_source_or_hardware_address_is_dropped() {
    let mut lab = Lab::new();
    let (mut world, a, b) = open_world();
    let c = world.eni(1, 12, &[1]);
    let at = world.enis.iter_mut().find(|eni| eni.id == c.id).expect("it was added");
    at.source_dest_check = false;
    lab.apply(&world.plan(1));
    let (task_a, task_b, task_c) = (lab.task(&a), lab.task(&b), lab.task(&c));
    let receiver = Receiver::of_v6(&task_b, SockProtocol::Udp);
    let (sender, forwarder) = (Sender::of(&task_a), Sender::of(&task_c));
    let honest = Probe::new(&task_a, task_b.v6(), UDP, 3);
    // So that the router is known, and the forged ones really leave.
    sender.send(&Probe { number: 0, ..honest });
    assert_eq!(receiver.next().0, 0);
    for (number, forged) in [(1, "fd00:0:0:1::12"), (2, "2001:db8::1")] {
        let source: IpAddr = forged.parse().expect("an address");
        sender.send(&Probe { source, number, ..honest });
    }
    sender.send(&honest);
    assert_eq!(receiver.next().0, 3, "the forged ones went before and did not arrive");
    // With the check off a stranger's address passes, but never the router's.
    let routers: Ipv6Addr = "fd00:0:0:1::1".parse().expect("an address");
    forwarder.send(&Probe { source: routers.into(), number: 4, ..honest });
    let source: IpAddr = "2001:db8::1".parse().expect("an address");
    forwarder.send(&Probe { source, number: 5, ..honest });
    assert_eq!(receiver.next().0, 5);

    task_a.sh("ip link set eth0 promisc on; ip link set eth0 address 02:00:00:99:99:99");
    let link = sh(&lab.router(), &format!("ip -o link | grep {}", a.id));
    let router = link.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next());
    let router = router.expect("the card end's hardware address");
    task_a.sh(&format!("ip neigh replace {} lladdr {router} dev eth0 nud permanent", task_b.v6()));
    sender.send(&Probe { number: 6, ..honest });
    task_a.sh(&format!(
        "ip link set eth0 address {}; \
        ip neigh replace {} lladdr {router} dev eth0 nud permanent",
        a.mac,
        task_b.v6()
    ));
    sender.send(&Probe { number: 7, ..honest });
    assert_eq!(receiver.next().0, 7, "the sixth had another hardware address");
}

#[test]
fn a_packet_of_9001_bytes_passes_whole() {
    let mut lab = Lab::new();
    let (mut world, a, _) = open_world();
    let far = world.eni(2, 20, &[1]);
    lab.apply(&world.plan(1));
    let (task, far) = (lab.task(&a), lab.task(&far));
    let receiver = Receiver::of_v6(&far, SockProtocol::Udp);
    Sender::of(&task).send(&Probe { length: 9001, ..Probe::new(&task, far.v6(), UDP, 1) });
    assert_eq!(receiver.next(), (1, 9001 - 40));
}

#[test]
fn what_was_meddled_with_is_repaired_and_what_left_the_plan_goes() {
    let mut lab = Lab::new();
    let (mut world, a, _) = open_world();
    let before_ipv6 = {
        let mut plain = world.clone();
        plain.enis.iter_mut().for_each(|eni| eni.ipv6.clear());
        lab.apply(&plain.plan(1));
        lab.dump()
    };
    lab.apply(&world.plan(2));
    let before = lab.dump();
    assert!(before.contains("fd00:0:0:1::10") && !before_ipv6.contains("fd00:0:0:1::10"));
    let router = lab.router();
    let links = sh(&router, &format!("ip -o link | grep {}", a.id));
    let card_end = links.split(": ").nth(1).and_then(|name| name.split('@').next());
    let card_end = card_end.expect("a card end").to_owned();
    for mischief in [
        "ip -6 route flush table main".to_owned(),
        "ip -6 route add fd00:0:0:9::/64 dev lo".to_owned(),
        "ip addr add fd00:0:0:1::99/128 dev lo".to_owned(),
        format!("ip addr del fe80::1/128 dev {card_end}"),
        format!("ip addr del fd00:0:0:1::1/128 dev {card_end}"),
        format!("ip -6 neigh flush nud permanent dev {card_end}"),
        format!("ip -6 neigh del proxy fd00:0:0:1::11 dev {card_end}"),
        format!("ip -6 neigh add proxy fd00:0:0:1::99 dev {card_end}"),
        format!("ip link set {card_end} down"),
        "echo 0 > /proc/sys/net/ipv6/conf/all/forwarding".to_owned(),
        "echo 0 > /proc/sys/net/ipv6/conf/all/proxy_ndp".to_owned(),
        "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6".to_owned(),
    ] {
        sh(&router, &mischief);
        assert!(lab.apply(&world.plan(2)).changes() > 0, "{mischief}");
        assert_eq!(lab.apply(&world.plan(2)).changes(), 0, "{mischief}");
        assert_eq!(sorted(&lab.dump()), sorted(&before), "{mischief}");
    }
    world.enis.iter_mut().for_each(|eni| eni.ipv6.clear());
    lab.apply(&world.plan(3));
    let network = |dump: &str| -> Vec<String> {
        let all = dump.lines().map(str::trim);
        all.filter(|line| line.contains("fd00:") && !line.contains('#')).map(String::from).collect()
    };
    assert_eq!(network(&lab.dump()), network(&before_ipv6));
}

#[test]
fn the_node_reaches_a_task_and_finds_no_way_out_there() {
    let mut lab = Lab::new();
    let mut world = World::dual_stack(1);
    let node = world.host_eni(1, 5, &[1]);
    let task = world.eni(2, 10, &[2]);
    world.group(1, &[], &open_rules());
    world.group(2, &[members(1, HTTP)], &[]);
    lab.apply(&world.plan(1));
    let task = lab.task(&task);
    let _server = task.listen_at(task.v6(), 80);
    connect(&lab.host, task.v6(), 80, PATIENCE).expect("a connection");
    let name = link_with_mac(&lab.host, &node).expect("it stays");
    let routes = sh(&lab.host, "ip -6 route");
    assert!(routes.contains(&format!("fd00::/56 via fd00:0:0:1::1 dev {name}")), "{routes}");
    assert!(!routes.contains("default"), "{routes}");
    for mischief in
        ["ip link set down", "ip -6 addr flush scope global dev", "ip -6 route flush dev"]
    {
        sh(&lab.host, &format!("{mischief} {name}"));
        assert!(lab.apply(&world.plan(1)).changes() > 0, "{mischief}");
        assert_eq!(lab.apply(&world.plan(1)).changes(), 0, "{mischief}");
        connect(&lab.host, task.v6(), 80, PATIENCE).expect("a connection");
    }
}
