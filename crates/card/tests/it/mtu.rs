//! How large packets may be, and who says so.

use crate::lab::{Lab, PATIENCE, netns_path};
use crate::world::{World, from};
use card::netns::Netns;
use net::model::Traffic;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use tokio::time::Instant;

#[test]
fn an_error_about_a_narrow_path_comes_back_though_no_rule_permits_it() {
    let mut lab = Lab::new();
    let mut world = World::new(1);
    let (a, b) = (world.eni(1, 10, &[1]), world.eni(1, 11, &[2]));
    let nine = Traffic::Udp { from: 9, to: 9 };
    world.group(1, &[], &[from("10.0.0.0/16", nine)]);
    world.group(2, &[from("10.0.0.0/16", nine)], &[]);
    lab.apply(&world.plan(1));
    let (task_a, task_b) = (lab.task(&a), lab.task(&b));
    // Behind the second task is somebody on a link of 1500 bytes, as a container on
    // a bridge is.
    let inner = Netns::unnamed().expect("a namespace");
    let path = netns_path(&inner);
    task_b.sh(&format!(
        "sysctl -qw net.ipv4.ip_forward=1 && \
         ip link add in0 mtu 1500 type veth peer name c0 netns {path} && \
         ip addr add 192.168.77.1/24 dev in0 && ip link set in0 up && \
         nft 'table ip nat {{ chain pre {{ type nat hook prerouting priority -100; \
         udp dport 9 dnat to 192.168.77.2; }}; }}'"
    ));
    crate::lab::sh(&inner, "ip addr add 192.168.77.2/24 dev c0 && ip link set c0 up");
    let at = SocketAddr::from((Ipv4Addr::new(192, 168, 77, 2), 9));
    let server = inner.run_blocking(move || UdpSocket::bind(at)).expect("the namespace");
    let server = server.expect("a socket");
    server.set_read_timeout(Some(PATIENCE)).expect("a timeout");

    let client = task_a.bind_udp(4321);
    let mut buffer = [0; 9000];
    client.send_to(&[1; 100], (b.ipv4, 9)).expect("sent");
    assert_eq!(server.recv(&mut buffer).expect("what is small passes"), 100);
    // Too large for the last link, and not to be cut.
    client.send_to(&[2; 3000], (b.ipv4, 9)).expect("sent");
    let deadline = Instant::now() + PATIENCE;
    while !task_a.sh(&format!("ip route get {}", b.ipv4)).contains("mtu 1500") {
        assert!(Instant::now() < deadline, "the error never came");
    }
    // The next one is sent in parts, which the router puts together and takes apart.
    client.send_to(&[3; 3000], (b.ipv4, 9)).expect("sent");
    assert_eq!(server.recv(&mut buffer).expect("it arrives"), 3000);
    assert_eq!(buffer[..3000], [3; 3000]);
}

/// What is outside: a link of the machine's to somebody, and one of 1500 bytes between.
fn outside(lab: &Lab) -> (Netns, Netns) {
    let [hop, far] = [(), ()].map(|()| Netns::unnamed().expect("a namespace"));
    let (to_hop, to_far) = (netns_path(&hop), netns_path(&far));
    crate::lab::sh(
        &lab.host,
        &format!(
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 && \
             ip link add up0 mtu 1500 type veth peer name up1 mtu 1500 netns {to_hop} && \
             ip addr add 192.0.2.1/24 dev up0 && ip addr add 2001:db8::1/64 dev up0 nodad && \
             ip link set up0 up && ip route add 198.51.100.0/24 via 192.0.2.2 && \
             ip -6 route add 2001:db8:1::/64 via 2001:db8::2 && \
             nft 'table inet out {{ chain pre {{ type nat hook prerouting priority -100; \
             ip daddr 10.0.0.0/16 tcp dport 9 dnat ip to 198.51.100.2; \
             ip6 daddr fd00::/56 tcp dport 9 dnat ip6 to 2001:db8:1::2; }}; }}'"
        ),
    );
    crate::lab::sh(
        &hop,
        &format!(
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 && \
             ip addr add 192.0.2.2/24 dev up1 && ip addr add 2001:db8::2/64 dev up1 nodad && \
             ip link set up1 up && ip route add default via 192.0.2.1 && \
             ip -6 route add default via 2001:db8::1 && \
             ip link add down0 mtu 9001 type veth peer name down1 mtu 9001 netns {to_far} && \
             ip addr add 198.51.100.1/24 dev down0 && \
             ip addr add 2001:db8:1::1/64 dev down0 nodad && ip link set down0 up"
        ),
    );
    crate::lab::sh(
        &far,
        "ip addr add 198.51.100.2/24 dev down1 && ip addr add 2001:db8:1::2/64 dev down1 nodad && \
         ip link set down1 up && ip route add default via 198.51.100.1 && \
         ip -6 route add default via 2001:db8:1::1",
    );
    (hop, far)
}

#[test]
fn tcp_finds_the_width_of_what_the_machine_forwards_to() {
    const LENGTH: usize = 1 << 20;
    let mut lab = Lab::new();
    let mut world = World::dual_stack(1);
    let (a, host) = (world.eni(1, 10, &[1]), world.host_eni(1, 5, &[2]));
    let nine = Traffic::Tcp { from: 9, to: 9 };
    world.group(1, &[], &[from("10.0.0.0/16", nine), from("fd00::/56", nine)]);
    world.group(2, &[from("10.0.0.0/16", nine), from("fd00::/56", nine)], &[]);
    lab.apply(&world.plan(1));
    let task = lab.task(&a);
    let (_hop, far) = outside(&lab);
    let v6 = host.ipv6[0];
    for (version, to, at) in
        [("-4", IpAddr::V4(host.ipv4), "198.51.100.2"), ("-6", IpAddr::V6(v6), "2001:db8:1::2")]
    {
        // The machine's own interface is one of the VPC's, and as wide as they are.
        let route = task.sh(&format!("ip {version} route get {to}"));
        assert!(!route.contains("mtu"), "nobody has said anything yet: {route}");
        let at: IpAddr = at.parse().expect("an address");
        let server = crate::lab::listen(&far, at, 9);
        let mut near = crate::lab::connect(&task.netns, to, 9, PATIENCE).expect("connected");
        let (mut heard, _) = server.accept().expect("accepted");
        heard.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // Both ends are wide, so nothing but an error can say what is between them.
        let writer = std::thread::spawn(move || near.write_all(&vec![7; LENGTH]).map(|()| near));
        let mut bytes = vec![0; LENGTH];
        heard.read_exact(&mut bytes).expect("all of it arrives");
        assert_eq!(bytes, vec![7; LENGTH]);
        writer.join().expect("it ended").expect("all was sent");
        let route = task.sh(&format!("ip {version} route get {to}"));
        assert!(route.contains("mtu 1500"), "{route}");
    }
}
