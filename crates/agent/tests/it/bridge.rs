//! Containers on the machine's bridge.

use crate::machine::{Agent, Machine, conclude, container, end, ip, last, task, until, written};
use agent::engine::{
    Binding, ContainerSpec, Known, Link, Network, PortMapping, Protocol, Report, TaskSpec,
};
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Output};
use std::time::Duration;

fn port(inside: u16, host: Option<u16>, protocol: Protocol) -> PortMapping {
    PortMapping { container: (inside, inside), is_range: false, host, protocol }
}

/// A container that answers at port 80 with its name.
fn server(name: &str, ports: Vec<PortMapping>) -> ContainerSpec {
    let script = "mkdir /www; cat /etc/hostname > /www/index.html; exec httpd -f -p 80 -h /www";
    let hostname = Some(name.to_owned());
    ContainerSpec { ports, hostname, ..container(name, &["sh", "-c", script]) }
}

fn binding(report: &Report, name: &str, at: usize) -> Binding {
    last(report, name).bindings[at].clone()
}

/// What the page of a server says, or why there is none.
fn get(address: Ipv4Addr, port: u16) -> Result<String, std::io::Error> {
    let address = SocketAddrV4::new(address, port);
    let mut stream = TcpStream::connect_timeout(&address.into(), Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut whole = String::new();
    stream.read_to_string(&mut whole)?;
    Ok(whole.rsplit("\r\n").next().unwrap_or_default().trim().to_owned())
}

fn run(words: &[&str]) -> Output {
    Command::new(words[0]).args(&words[1..]).output().expect("runs")
}

/// What there is of the machine's bridge in the kernel: rules and links.
fn kernel(machine: &Machine) -> String {
    let table = format!("{}-bridge", machine.config.prefix);
    let table = run(&["nft", "list", "table", "ip", &table]).stdout;
    let links = run(&["ip", "-brief", "link", "show", "type", "bridge"]).stdout;
    String::from_utf8_lossy(&table).into_owned() + &String::from_utf8_lossy(&links)
}

/// Listens at port 53 in a namespace, as a container would.
fn listen(namespace: &str) -> UdpSocket {
    let namespace = File::open(format!("/run/netns/{namespace}")).expect("a namespace");
    let inside = std::thread::spawn(move || {
        setns(&namespace, CloneFlags::CLONE_NEWNET).expect("entered");
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53)).expect("a socket")
    });
    let ear = inside.join().expect("no panic");
    ear.set_read_timeout(Some(Duration::from_millis(200))).expect("a limit");
    ear
}

/// A neighbour of the machine, behind a link of its own.
struct Neighbour {
    name: String,
    /// The machine's end of the link.
    near: String,
}

impl Neighbour {
    const MACHINE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

    fn new(machine: &Machine) -> Self {
        let name = format!("{}world", machine.config.prefix);
        let near = format!("n{}", machine.config.prefix);
        let far = "far";
        ip(&["netns", "add", &name]);
        let this = Self { name, near };
        let near = &this.near;
        ip(&["link", "add", near, "type", "veth", "peer", "name", far, "netns", &this.name]);
        ip(&["address", "add", "198.51.100.1/30", "dev", near]);
        ip(&["link", "set", near, "up"]);
        ip(&["-n", &this.name, "address", "add", "198.51.100.2/30", "dev", far]);
        ip(&["-n", &this.name, "link", "set", far, "up"]);
        this
    }

    fn get(&self, port: u16) -> String {
        let url = format!("http://198.51.100.1:{port}/");
        let words = ["ip", "netns", "exec", &self.name, "busybox", "wget", "-q", "-O", "-", &url];
        String::from_utf8_lossy(&run(&words).stdout).trim().to_owned()
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        for words in [["link", "delete", &self.near], ["netns", "delete", &self.name]] {
            drop(Command::new("ip").args(words).output());
        }
    }
}

async fn begun(agent: &mut Agent, spec: &TaskSpec) -> Report {
    agent.run(spec.clone()).await;
    agent.running().await
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_of_the_machine_lead_to_containers_for_everybody() {
    let machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    let world = Neighbour::new(&machine);
    let range =
        PortMapping { container: (80, 82), is_range: true, host: None, protocol: Protocol::Tcp };
    let web = server("web", vec![port(80, Some(18080), Protocol::Tcp), range]);
    // It asks the other by both its links, and by the port of the machine.
    let script = r"web=$(sed -n 's/\tweb$//p' /etc/hosts)
        store=$(sed -n 's/\tstore web$//p' /etc/hosts)
        machine=$(ip route | sed -n 's/default via \([0-9.]*\).*/\1/p')
        for at in $web:80 $store:80 $machine:18080; do
            until wget -q -O - http://$at/; do sleep 0.1; done
        done
        env; echo done; sleep 100";
    let asks = ContainerSpec {
        links: vec![
            Link { container: "web".into(), alias: "web".into() },
            Link { container: "web".into(), alias: "store".into() },
        ],
        ..container("asks", &["sh", "-c", script])
    };
    let spec = task(Network::Bridge, vec![web, asks]);
    let report = begun(&mut agent, &spec).await;
    assert_eq!(binding(&report, "web", 0).host, (18080, 18080));
    let dynamic = binding(&report, "web", 1);
    assert_eq!((dynamic.container, dynamic.host.1 - dynamic.host.0), ((80, 82), 2));

    let log = written(&machine, &spec.arn, "asks", "done").await;
    assert_eq!(log.lines().filter(|line| *line == "web").count(), 3, "{log}");
    assert!(log.contains("STORE_PORT_80_TCP_PORT=80") && log.contains("WEB_NAME=/asks/web"));
    for address in [Ipv4Addr::LOCALHOST, Neighbour::MACHINE] {
        for port in [18080, dynamic.host.0] {
            assert_eq!(get(address, port).expect("an answer"), "web", "{address}:{port}");
        }
    }
    assert_eq!((world.get(18080), world.get(dynamic.host.0)), ("web".into(), "web".into()));
    assert_eq!(world.get(18081), "", "what is mapped by nobody leads nowhere");
    drop(world);
    conclude(machine, agent, spec).await;
    assert!(get(Ipv4Addr::LOCALHOST, 18080).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_reach_the_world_as_the_machine() {
    let machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    let world = Neighbour::new(&machine);
    let script = "wget -q -O - http://198.51.100.2:7000/; echo done; sleep 100";
    let words = ["netns", "exec", &world.name, "busybox", "httpd", "-f", "-p", "7000"];
    let mut listener = Command::new("ip").args(words).spawn().expect("a listener");
    let out = container("out", &["sh", "-c", script]);
    let off = ContainerSpec {
        offline: true,
        ..container("off", &["sh", "-c", "ip -4 address; echo done; sleep 100"])
    };
    let spec = task(Network::Bridge, vec![out, off]);
    begun(&mut agent, &spec).await;
    let hidden = || {
        let flows = std::fs::read_to_string("/proc/net/nf_conntrack").expect("flows");
        // The answer went to the machine's own address.
        let reply = "src=198.51.100.2 dst=198.51.100.1";
        flows.lines().any(|flow| flow.contains(" src=172.") && flow.contains(reply))
    };
    until("the flow is seen", hidden).await;
    let log = written(&machine, &spec.arn, "off", "done").await;
    assert!(!log.contains("eth0") && log.contains("127.0.0.1"), "{log}");
    drop(listener.kill());
    drop(listener.wait());
    drop(world);
    conclude(machine, agent, spec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_is_one_containers_until_its_task_ends() {
    let machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    let first =
        task(Network::Bridge, vec![server("web", vec![port(80, Some(18080), Protocol::Tcp)])]);
    begun(&mut agent, &first).await;
    let second =
        task(Network::Bridge, vec![server("two", vec![port(80, Some(18080), Protocol::Tcp)])]);
    agent.run(second.clone()).await;
    let report = agent.stopped().await;
    let text =
        "CannotStartContainerError: Bind for 0.0.0.0:18080 failed: port is already allocated";
    assert_eq!(report.reason, text);
    // Nor can anybody else on the machine have it.
    assert!(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 18080)).is_err());
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 18090)).expect("free");
    let third =
        task(Network::Bridge, vec![server("web", vec![port(80, Some(18090), Protocol::Tcp)])]);
    agent.run(third).await;
    assert_eq!(agent.stopped().await.reason, text.replace("18080", "18090"));
    drop(taken);

    agent.stop(first.clone()).await;
    agent.stopped().await;
    agent.finished(&first.arn).await;
    assert!(!kernel(&machine).contains("18080"), "{}", kernel(&machine));
    let again =
        task(Network::Bridge, vec![server("web", vec![port(80, Some(18080), Protocol::Tcp)])]);
    begun(&mut agent, &again).await;
    until("the server answers", || get(Ipv4Addr::LOCALHOST, 18080).is_ok_and(|it| it == "web"))
        .await;
    conclude(machine, agent, again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_to_a_port_reaches_who_has_it_now() {
    let machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    sender.connect((Ipv4Addr::LOCALHOST, 15353)).expect("a port");
    for text in ["first", "second"] {
        let ports = vec![port(53, Some(15353), Protocol::Udp)];
        let idle = ContainerSpec { ports, ..container("idle", &["sleep", "100"]) };
        let spec = task(Network::Bridge, vec![idle]);
        begun(&mut agent, &spec).await;
        let ear = listen(&format!("{}-{}.0", machine.config.prefix, spec.arn.short_id()));
        let heard = || {
            let mut bytes = [0; 64];
            drop(sender.send(text.as_bytes()));
            ear.recv(&mut bytes).is_ok_and(|length| bytes[..length] == *text.as_bytes())
        };
        until("it is heard", heard).await;
        drop(ear);
        agent.stop(spec.clone()).await;
        agent.stopped().await;
        agent.finished(&spec.arn).await;
    }
    end(machine, agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_begins_again_finds_the_bridge_as_it_was() {
    let machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    let web = server("web", vec![port(80, None, Protocol::Tcp), port(53, None, Protocol::Udp)]);
    let spec = task(Network::Bridge, vec![web]);
    let before = begun(&mut agent, &spec).await;
    let at = binding(&before, "web", 0).host.0;
    agent.crash().await;
    // No agent is needed for that.
    until("the server answers", || get(Ipv4Addr::LOCALHOST, at).is_ok_and(|it| it == "web")).await;
    // Somebody's script flushes what it does not know.
    let table = format!("{}-bridge", machine.config.prefix);
    run(&["nft", "delete", "table", "ip", &table]);
    let mut agent = machine.agent().await;
    until("the server answers", || get(Ipv4Addr::LOCALHOST, at).is_ok_and(|it| it == "web")).await;
    until("its port is held", || TcpListener::bind((Ipv4Addr::UNSPECIFIED, at)).is_err()).await;
    let state = agent.rim.state().await;
    let found = state.tasks[&spec.arn].containers[0].clone();
    assert_eq!(found.known, Known::Running);
    until("its place is known", || {
        found.attachment.as_ref().is_some_and(|it| it.bindings[0].host.0 == at)
    })
    .await;
    agent.stop(spec.clone()).await;
    // Whether the first report had been taken is unknown to it.
    while agent.report().await.status != Known::Stopped {}
    agent.finished(&spec.arn).await;
    end(machine, agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_bridge() {
    let machine = Machine::with_image().await;
    let mut agent = machine.agent().await;
    let web = server("web", vec![port(80, Some(18080), Protocol::Tcp)]);
    let spec = task(Network::Bridge, vec![web]);
    begun(&mut agent, &spec).await;
    let config = machine.config.clone();
    let bridges =
        || String::from_utf8_lossy(&run(&["ip", "-4", "-brief", "address"]).stdout).into_owned();
    let block = bridges()
        .lines()
        .find(|line| line.contains("172.") && line.contains(".0.1/16"))
        .map(str::to_owned);
    let bridge = block.expect("a bridge").split_whitespace().next().expect("a name").to_owned();
    assert!(kernel(&machine).contains(&bridge) && config.run_dir.join("bridge.json").exists());
    end(machine, agent).await;
    let tables = run(&["nft", "list", "tables"]).stdout;
    assert!(!String::from_utf8_lossy(&tables).contains(&config.prefix));
    assert!(!bridges().contains(&bridge) && !config.run_dir.exists());
}
