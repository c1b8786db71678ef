//! Images that come through the interface of the task that wants them.

use crate::line::{Fault, Line};
use crate::machine::{Machine, container, end, last, task, unique, until};
use crate::pulls::UNREACHABLE;
use crate::registry::Registry;
use agent::engine::{Eni, Network, PullFrom, TaskSpec};
use agent::images::PullBehavior;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

const GATEWAY: &str = "10.96.0.1";

/// A rule of the machine, until it is dropped: nobody who comes from elsewhere gets
/// through to this port.
struct Forbidden(String);

impl Forbidden {
    fn port(port: u16) -> Self {
        let table = unique("lft");
        nft(&format!(
            "table inet {table} {{\nchain in {{\ntype filter hook input priority 0;\n\
             iif != lo tcp dport {port} reject with tcp reset\n}}\n}}\n"
        ));
        Self(table)
    }
}

impl Drop for Forbidden {
    fn drop(&mut self) {
        nft(&format!("delete table inet {}", self.0));
    }
}

fn nft(rules: &str) {
    let done = Command::new("nft").arg(rules).output().expect("these tests need nft");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Resolves every name to one address, for as long as it lives.
async fn resolver(address: Ipv4Addr) -> JoinSet<()> {
    let socket = UdpSocket::bind((address, 53)).await.expect("port 53");
    let mut resolving = JoinSet::new();
    resolving.spawn(async move {
        let mut bytes = [0; 512];
        while let Ok((length, who)) = socket.recv_from(&mut bytes).await {
            // The header, then one question: a name in parts, which an empty one ends,
            // its type and its class.
            let Some(end) = bytes[12..length].iter().position(|byte| *byte == 0) else { continue };
            let question = &bytes[12..12 + end + 5];
            let is_a = question[end + 1..end + 3] == [0, 1];
            let mut answer = bytes[..2].to_vec();
            answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
            answer.extend(question);
            if is_a {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                answer.extend(address.octets());
            }
            drop(socket.send_to(&answer, who).await);
        }
    });
    resolving
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_comes_through_the_tasks_interface_if_it_is_to() {
    let mut machine = Machine::new();
    machine.config.image_pull_behavior = PullBehavior::Always;
    let registry = Registry::start(&machine).await;
    registry.push(&machine, "team/app:1", &[]);
    // Each task gets an address of the network that this one is made with.
    let eni = machine.eni(GATEWAY, "10.96.0.7");
    let gateway: Ipv4Addr = GATEWAY.parse().expect("an address");
    let line = Line::to(&registry, GATEWAY, Fault::None).await;
    let resolving = resolver(gateway).await;
    let names = [format!("{GATEWAY}:{}", line.port), format!("registry.test:{}", line.port)];
    machine.config.registries.insecure = names.to_vec();
    let wish = |name: &str, eni: &Eni| -> TaskSpec {
        let mut web = container("web", &["true"]);
        web.image = format!("{name}/team/app:1");
        let eni = Eni { name_servers: vec![gateway.into()], ..eni.clone() };
        task(Network::Awsvpc(eni), vec![web])
    };
    let forbidden = Forbidden::port(line.port);

    let mut agent = machine.agent().await;
    let from_the_machine = wish(&names[0], &eni);
    agent.run(from_the_machine.clone()).await;
    agent.running().await;
    agent.stopped().await;
    agent.finished(&from_the_machine.arn).await;
    assert!(line.callers().iter().all(|who| *who == IpAddr::V4(gateway)), "{:?}", line.callers());
    agent.crash().await;

    machine.config.engine.pull_from = PullFrom::Task;
    let mut agent = machine.agent().await;
    let before = line.callers().len();
    let eni = machine.eni(GATEWAY, "10.96.0.8");
    let refused = wish(&names[0], &eni);
    agent.run(refused.clone()).await;
    let report = agent.stopped().await;
    let reason = last(&report, "web").reason.clone().expect("a reason");
    assert!(reason.starts_with(UNREACHABLE), "{reason}");
    assert_eq!(line.callers().len(), before, "nobody came through");
    agent.finished(&refused.arn).await;

    drop(forbidden);
    let eni = machine.eni(GATEWAY, "10.96.0.9");
    let by_name = wish(&names[1], &eni);
    agent.run(by_name.clone()).await;
    agent.running().await;
    agent.stopped().await;
    agent.finished(&by_name.arn).await;
    let ours: IpAddr = "10.96.0.9".parse().expect("an address");
    let callers = line.callers().split_off(before);
    assert!(!callers.is_empty() && callers.iter().all(|who| *who == ours), "{callers:?}");
    drop(resolving);
    end(machine, agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_given_up_leaves_nobody_inside() {
    let mut machine = Machine::new();
    machine.config.engine.pull_from = PullFrom::Task;
    let registry = Registry::start(&machine).await;
    registry.push(&machine, "team/app:1", &[]);
    let eni = machine.eni("10.97.0.1", "10.97.0.7");
    let line = Line::to(&registry, "10.97.0.1", Fault::Stalls(64)).await;
    let name = format!("10.97.0.1:{}", line.port);
    machine.config.registries.insecure = vec![name.clone()];
    let mut agent = machine.agent().await;
    let mut web = container("web", &["true"]);
    web.image = format!("{name}/team/app:1");
    let spec = task(Network::Awsvpc(eni), vec![web]);
    agent.run(spec.clone()).await;
    until("it is asked", || line.carried() > 0).await;
    assert_eq!(inside(), 1);
    agent.stop(spec.clone()).await;
    agent.stopped().await;
    agent.finished(&spec.arn).await;
    until("the thread is gone", || inside() == 0).await;
    end(machine, agent).await;
}

/// How many threads of ours are in the network of a task.
fn inside() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").expect("threads").flatten();
    let names = threads.filter_map(|t| std::fs::read_to_string(t.path().join("comm")).ok());
    names.filter(|name| name.trim() == "inside").count()
}
