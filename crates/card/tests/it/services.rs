//! What the VPC itself offers at link-local addresses, and to whom.

use crate::lab::{Lab, PATIENCE, Task, connect, is_refused, listen, sh};
use crate::world::{World, anywhere, from};
use net::model::{Service, Traffic};
use std::net::{IpAddr, SocketAddr, UdpSocket};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Asks something by UDP and waits for the same back.
fn is_answered(task: &Task, server: &UdpSocket, to: IpAddr) -> bool {
    let any = if to.is_ipv4() { ip("0.0.0.0") } else { ip("::") };
    let socket = task.run(move || UdpSocket::bind(SocketAddr::new(any, 0))).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.send_to(b"?", SocketAddr::new(to, 53)).expect("sent");
    let mut buffer = [0; 8];
    let Ok((length, from)) = server.recv_from(&mut buffer) else { return false };
    server.send_to(&buffer[..length], from).expect("answered");
    socket.recv_from(&mut buffer).expect("the answer arrives").1.ip() == to
}

#[test]
fn services_are_reached_by_whom_they_are_configured_for_and_no_rule_is_asked() {
    let mut lab = Lab::new();
    let mut world = World::dual_stack(1);
    let (a, b) = (world.eni(1, 10, &[1]), world.eni(1, 11, &[1]));
    world.group(1, &[], &[]);
    world.serve(&a.id, &[Service::Resolver, Service::Metadata]);
    lab.apply(&world.plan(1));
    let router = lab.router();
    let (task_a, task_b) = (lab.task(&a), lab.task(&b));

    let v4 = ["169.254.169.253", "10.0.0.2"];
    for text in [v4[0], v4[1], "fd00:ec2::253"] {
        let at = SocketAddr::new(ip(text), 53);
        let server = router.run_blocking(move || UdpSocket::bind(at)).expect("the namespace");
        let server = server.expect("the router has the address");
        server.set_read_timeout(Some(std::time::Duration::from_millis(300))).expect("a timeout");
        assert!(is_answered(&task_a, &server, at.ip()), "{text}");
        assert!(!is_answered(&task_b, &server, at.ip()), "{text} is not for everybody");
    }
    for text in ["169.254.169.254", "fd00:ec2::254"] {
        let _servers = [80, 81].map(|port| listen(&router, ip(text), port));
        connect(&task_a.netns, ip(text), 80, PATIENCE).expect("a connection");
        assert!(is_refused(&task_a.netns, ip(text), 81), "{text} has one port");
        assert!(is_refused(&task_b.netns, ip(text), 80), "{text} is not for everybody");
    }
    let _server = listen(&router, ip("10.0.1.1"), 80);
    assert!(is_refused(&task_a.netns, ip("10.0.1.1"), 80), "the gateway is no service");

    // Configured away while the flow is known: blocked all the same.
    let _server = listen(&router, ip("169.254.169.254"), 80);
    world.serve(&a.id, &[Service::Resolver]);
    world.serve(&b.id, &[Service::Metadata]);
    lab.apply(&world.plan(2));
    assert!(is_refused(&task_a.netns, ip("169.254.169.254"), 80));
    connect(&task_b.netns, ip("169.254.169.254"), 80, PATIENCE).expect("a connection");

    // Nobody may use them any more, and the router has no such address.
    world.serve(&a.id, &[]);
    world.serve(&b.id, &[]);
    lab.apply(&world.plan(3));
    let addresses = sh(&router, "ip -o addr show dev lo");
    assert!(!addresses.contains("169.254") && !addresses.contains("fd00:ec2"), "{addresses}");
    assert_eq!(lab.apply(&world.plan(3)).changes(), 0);
}

#[test]
fn a_tasks_own_endpoint_is_its_own_and_is_nowhere_else() {
    let mut lab = Lab::new();
    let mut world = World::new(1);
    let (a, b) = (world.eni(1, 10, &[1]), world.eni(1, 11, &[1]));
    let open = [anywhere(Traffic::All)];
    world.group(1, &open, &open);
    lab.apply(&world.plan(1));
    let (a, b) = (lab.task(&a), lab.task(&b));
    // As the agent serves credentials and metadata: on `lo`, inside.
    let endpoint = ip("169.254.170.2");
    for task in [&a, &b] {
        task.sh("ip addr add 169.254.170.2/32 dev lo");
    }
    let (_at_a, at_b) = (listen(&a.netns, endpoint, 80), listen(&b.netns, endpoint, 81));
    connect(&a.netns, endpoint, 80, PATIENCE).expect("its own");
    let refused = connect(&a.netns, endpoint, 81, PATIENCE).expect_err("not the other's");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "it is its own kernel");
    drop(at_b);

    // Without its own, nobody else's.
    a.sh("ip addr del 169.254.170.2/32 dev lo");
    assert!(is_refused(&a.netns, endpoint, 80));
    // Nor as a route of its own making would have it.
    let peer = b.address;
    a.sh(&format!("ip route add 169.254.170.2 via {peer}"));
    let _server = listen(&b.netns, endpoint, 80);
    assert!(is_refused(&a.netns, endpoint, 80), "what is for nobody goes nowhere");
    b.sh("ip addr add 169.254.169.254/32 dev lo");
    let _imds = listen(&b.netns, ip("169.254.169.254"), 80);
    assert!(is_refused(&a.netns, ip("169.254.169.254"), 80), "nobody plays the metadata");
}

#[test]
fn a_prefix_list_is_followed_where_rules_refer_to_it() {
    let mut lab = Lab::new();
    let mut world = World::dual_stack(1);
    let (a, b, c) = (world.eni(1, 10, &[1]), world.eni(1, 11, &[2]), world.eni(2, 20, &[1]));
    world.group(1, &[], &[anywhere(Traffic::All), from("::/0", Traffic::All)]);
    world.group(2, &[crate::world::listed(1, crate::world::HTTP)], &[]);
    world.prefix_list(1, &["10.0.1.0/28", "10.0.1.4/30", "fd00:0:0:2::/64"]);
    lab.apply(&world.plan(1));
    let (a, b, c) = (lab.task(&a), lab.task(&b), lab.task(&c));
    let _servers = (b.listen(80), b.listen_at(b.v6(), 80));
    a.connect(&b, 80);
    assert!(c.is_refused(&b, 80));
    assert!(is_refused(&a.netns, b.v6(), 80));
    connect(&c.netns, b.v6(), 80, PATIENCE).expect("it is listed by IPv6");

    world.prefix_list(1, &["10.0.2.0/24", "10.0.3.0/24", "255.255.255.255/32", "::/0"]);
    lab.apply(&world.plan(2));
    assert!(a.is_refused(&b, 80));
    c.connect(&b, 80);
    connect(&a.netns, b.v6(), 80, PATIENCE).expect("everybody is listed by IPv6");
    let rules = sh(&lab.router(), "nft list ruleset");
    assert!(rules.contains("10.0.2.0/23"), "{rules}");
    assert_eq!(lab.apply(&world.plan(2)).changes(), 0);
    world.prefix_list(1, &[]);
    lab.apply(&world.plan(3));
    assert!(c.is_refused(&b, 80));
    assert!(!sh(&lab.router(), "nft list ruleset").contains("list4-"));
}
