use super::*;
use crate::engine::{ContainerSpec, Network, TaskArn};
use proptest::prelude::*;

const RANGE: (u16, u16) = (40000, 40009);

fn task(id: &str, containers: Vec<ContainerSpec>) -> TaskSpec {
    let arn = TaskArn::new(format!("arn:aws:ecs:us-east-1:1:task/c/{id}"));
    TaskSpec { network: Network::Bridge, containers, ..TaskSpec::new(arn) }
}

fn with(ports: Vec<PortMapping>) -> ContainerSpec {
    ContainerSpec { ports, ..ContainerSpec::default() }
}

fn port(container: (u16, u16), host: Option<u16>, protocol: Protocol) -> PortMapping {
    PortMapping { container, is_range: container.0 < container.1, host, protocol }
}

fn tcp(container: u16, host: Option<u16>) -> PortMapping {
    port((container, container), host, Protocol::Tcp)
}

/// A machine's ports.
#[derive(Default)]
struct Ports(BTreeSet<(Protocol, u16)>);

impl Ports {
    fn attach(
        &mut self,
        book: &mut Book,
        task: &TaskSpec,
    ) -> Result<BTreeMap<usize, Attachment>, String> {
        let mut after = self.0.clone();
        let given = book.attach(task, RANGE, &mut |protocol, at| after.insert((protocol, at)))?;
        self.0.extend(given.values().flat_map(Attachment::ports));
        Ok(given)
    }
}

#[test]
fn a_bridge_keeps_clear_of_what_the_machine_uses() {
    let text = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\n\
                docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\n\
                eth1\t000412AC\t00000000\t0001\t0\t0\t0\t00FFFFFF\n";
    let used = routes(text);
    assert_eq!(used[1], (Ipv4Addr::new(172, 17, 0, 0), 16));
    let book = Book::new(&used).expect("a block is free");
    assert_eq!(book.gateway(), Ipv4Addr::new(172, 19, 0, 1), "a part of 172.18.0.0/16 is used");
    assert_eq!(Book::new(&[(Ipv4Addr::new(172, 16, 0, 0), 12)]), None);
    assert_eq!(Book::new(&[]).map(|it| it.gateway()), Some(Ipv4Addr::new(172, 17, 0, 1)));
}

#[test]
fn ports_are_those_asked_for_or_any() {
    let mut book = Book::new(&[]).expect("a block");
    let mut ports = Ports::default();
    let web = with(vec![
        tcp(80, Some(8080)),
        tcp(81, None),
        port((90, 92), None, Protocol::Tcp),
        port((53, 53), None, Protocol::Udp),
    ]);
    let silent = ContainerSpec { offline: true, ..ContainerSpec::default() };
    let first = task("aaaaaaaaaaaa", vec![web.clone(), silent, with(vec![])]);
    let given = ports.attach(&mut book, &first).expect("there is room");
    assert_eq!(given.keys().copied().collect::<Vec<_>>(), [0, 2]);
    let hosts: Vec<_> = given[&0].bindings.iter().map(|binding| binding.host).collect();
    assert_eq!(hosts, [(8080, 8080), (40000, 40000), (40001, 40003), (40004, 40004)]);
    // All ports of a binding are had by IPv6, or none.
    let given = book.add_ipv6("aaaaaaaaaaaa", &mut |_, port| port != 40002);
    let ipv6: Vec<_> = given[&0].bindings.iter().map(|binding| binding.ipv6).collect();
    assert_eq!(ipv6, [true, true, false, true]);
    assert_eq!(book.of("aaaaaaaaaaaa"), Some(&given));
    let before = book.clone();
    let refused = ports.attach(&mut book, &task("bbbbbbbbbbbb", vec![web]));
    assert_eq!(refused, Err("Bind for 0.0.0.0:8080 failed: port is already allocated".to_owned()));
    assert_eq!(book, before, "who is refused has nothing");
    let many = with(vec![port((1, 7), None, Protocol::Tcp)]);
    let refused = ports.attach(&mut book, &task("bbbbbbbbbbbb", vec![many]));
    assert!(refused.is_err_and(|text| text.ends_with("all ports are allocated")));
    assert!(book.detach("aaaaaaaaaaaa").is_some() && book.detach("aaaaaaaaaaaa").is_none());
}

#[test]
fn the_rules_say_where_each_port_leads() {
    let mut book = Book::new(&[]).expect("a block");
    let web = with(vec![tcp(80, Some(8080)), port((90, 91), None, Protocol::Tcp)]);
    let given = Ports::default().attach(&mut book, &task("aaaaaaaaaaaa", vec![web]));
    assert!(given.is_ok());
    let nics = ["eth0".to_owned()];
    let rules = book.rules("lf-bridge", "lf-br", &nics);
    let expected = "map to_tcp { type inet_service : ipv4_addr . inet_service; elements = { \
                    8080 : 172.17.0.2 . 80, 40000 : 172.17.0.2 . 90, 40001 : 172.17.0.2 . 91 }; }";
    assert!(rules.contains(expected), "{rules}");
    assert!(!rules.contains("iifname { "), "who forwarded before still does");
    book.forwards = true;
    let rules = book.rules("lf-bridge", "lf-br", &nics);
    assert!(rules.contains("iifname { \"eth0\" } oifname != \"lf-br\" ct state new"), "{rules}");
}

proptest! {
    /// Tasks come and go: no two have an address or a port, and all that is free is
    /// to be had.
    #[test]
    fn nobody_has_what_another_has(turns in prop::collection::vec((0..6u8, 0..3u16, any::<bool>()), 1..60)) {
        let mut book = Book::new(&[]).expect("a block");
        let mut ports = Ports::default();
        for (which, more, comes) in turns {
            let id = format!("{which:012}");
            if !comes {
                let freed = book.detach(&id).unwrap_or_default();
                for port in freed.values().flat_map(Attachment::ports) {
                    ports.0.remove(&port);
                }
            } else if book.of(&id).is_none() {
                let web = with(vec![port((80, 80 + more), None, Protocol::Tcp)]);
                let free = 10 - ports.0.len();
                let given = ports.attach(&mut book, &task(&id, vec![web]));
                prop_assert!(given.is_ok() || free < 10, "an empty machine refuses nobody");
            }
            let all: Vec<_> = book.tasks.values().flat_map(BTreeMap::values).collect();
            let addresses: BTreeSet<_> = all.iter().map(|at| at.ipv4).collect();
            prop_assert_eq!(addresses.len(), all.len());
            prop_assert!(!addresses.contains(&book.gateway()));
            let bound: Vec<_> = all.iter().flat_map(|at| at.ports()).collect();
            let held: BTreeSet<_> = bound.iter().copied().collect();
            prop_assert_eq!(held.len(), bound.len());
            prop_assert_eq!(&held, &ports.0, "all that is held is somebody's");
            prop_assert!(held.iter().all(|(_, at)| (RANGE.0..=RANGE.1).contains(at)));
        }
    }
}
