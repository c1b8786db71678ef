//! How large packets may be, and who says so.

use crate::lab::{Lab, PATIENCE, netns_path};
use crate::world::{World, from};
use card::netns::Netns;
use net::model::Traffic;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
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
