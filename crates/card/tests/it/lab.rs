//! A machine for one test: a host's namespace, a card, and tasks.

use card::netns::Netns;
use card::{Card, Config, Resolvers, Work};
use ident::{Generation, Timestamp};
use net::flow::{FlowsAsked, FlowsTold};
use net::model::Eni;
use net::plan::{CardPlan, CardReport};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// How long something that must happen may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long something that must not happen is waited for.
const NEVER: Duration = Duration::from_millis(300);

pub(crate) struct Lab {
    pub(crate) host: Netns,
    pub(crate) card: Card,
    runtime: Runtime,
    directory: TempDir,
    resolvers: Resolvers,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::with_resolvers(&[])
    }

    /// A machine whose own resolvers are these.
    pub(crate) fn with_resolvers(resolvers: &[SocketAddr]) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "the kernel tests of the card need root");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let host = Netns::unnamed().expect("a namespace for the host");
        let directory = tempfile::tempdir().expect("a directory");
        let resolvers = Resolvers::At(resolvers.to_vec());
        let card = Card::new(config(&directory, &host, &resolvers));
        let lab = Self { host, card, runtime, directory, resolvers };
        sh(&lab.host, "ip link set lo up");
        lab
    }

    /// Applies a plan of which nothing must fail.
    pub(crate) fn apply(&mut self, plan: &CardPlan) -> Work {
        let report = self.try_apply(plan);
        assert_eq!(report.failed, std::collections::BTreeMap::new());
        assert_eq!(report.generation, plan.generation);
        let enis: usize = plan.vpcs.iter().map(|vpc| vpc.enis.len()).sum();
        assert_eq!(report.present.len(), enis);
        self.card.last_work()
    }

    pub(crate) fn try_apply(&mut self, plan: &CardPlan) -> CardReport {
        self.runtime.block_on(self.card.apply(plan)).expect("a report")
    }

    /// Runs something asynchronous with the card.
    pub(crate) fn with<T>(&mut self, work: impl AsyncFnOnce(&mut Card) -> T) -> T {
        self.runtime.block_on(work(&mut self.card))
    }

    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Replaces the card by one that knows nothing but what is on disk and in
    /// the kernel.
    pub(crate) fn restart(&mut self) {
        self.card = Card::new(self.config());
    }

    pub(crate) fn config(&self) -> Config {
        config(&self.directory, &self.host, &self.resolvers)
    }

    /// The flows of the interfaces that `plan` names.
    pub(crate) fn flows(&self, plan: &CardPlan, asked: &FlowsAsked) -> FlowsTold {
        self.runtime.block_on(self.card.seen().look(plan, asked, now())).expect("an answer")
    }

    /// The names of the namespaces that there are.
    pub(crate) fn routers(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.config().netns_dir) else { return vec![] };
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        paths
    }

    /// The only router.
    pub(crate) fn router(&self) -> Netns {
        let routers = self.routers();
        assert_eq!(routers.len(), 1, "{routers:?}");
        Netns::open(&routers[0]).expect("a router")
    }

    /// Everything that can be seen of what the card did, for comparison.
    pub(crate) fn dump(&self) -> String {
        // Whether there is a carrier is noticed late, and by nobody here. Neighbours are
        // listed in the order of a hash table, which making one anew may change. Of a
        // namespace that is about to be gone, `ip` complains.
        let look = "(ip -d link 2>/dev/null; ip -4 addr; ip -6 addr; ip -4 route show table all; \
                    ip -6 route show table all; ip neigh show nud permanent | sort; \
                    ip -6 neigh show proxy) | \
                    sed 's/NO-CARRIER,//; s/,LOWER_UP//; s/state [A-Z]*//; s/linkdown//'";
        let mut dump = sh(&self.host, look);
        for path in self.routers() {
            let router = Netns::open(&path).expect("a router");
            dump.push_str(&sh(&router, look));
            dump.push_str(&sh(&router, "nft -a -s list ruleset"));
        }
        dump
    }

    /// Takes an interface into a task of its own, as an ECS agent does.
    pub(crate) fn task(&self, eni: &Eni) -> Task {
        let address6 = eni.ipv6.first().copied();
        let netns = Netns::unnamed().expect("a namespace");
        let secondary = eni.secondary_ipv4.clone();
        let task = Task { netns, address: eni.ipv4, secondary, address6 };
        let name = link_with_mac(&self.host, eni).expect("the interface has appeared");
        let target = netns_path(&task.netns);
        sh(&self.host, &format!("ip link set {name} netns {target} name eth0"));
        let [a, b, c, _] = eni.ipv4.octets();
        task.sh(&format!(
            "ip link set lo up && ip addr add {}/24 dev eth0 && ip link set eth0 up && \
             ip route add default via {a}.{b}.{c}.1",
            eni.ipv4
        ));
        for address in &task.secondary {
            task.sh(&format!("ip addr add {address}/32 dev eth0"));
        }
        if let Some(address) = address6 {
            task.sh(&format!(
                "ip addr add {address}/64 dev eth0 nodad && \
                 ip -6 route add default via fe80::1 dev eth0"
            ));
        }
        // A link that has just come up drops packets until a worker of the kernel
        // has looked at it. TCP does not mind; a single packet does.
        let ready = |netns: &Netns, name: &str| {
            let links = sh(netns, "ip -o link");
            links.lines().any(|line| line.contains(name) && line.contains("state UP"))
        };
        let deadline = Instant::now() + PATIENCE;
        let routers: Vec<_> = self.routers().into_iter().map(Netns::open).collect();
        let routers: Vec<_> = routers.into_iter().flatten().collect();
        while !(ready(&task.netns, "eth0")
            && routers.iter().any(|router| ready(router, eni.id.as_str())))
        {
            assert!(Instant::now() < deadline, "the link never came up");
        }
        task
    }
}

/// The time as the kernel tells it of flows.
pub(crate) fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "the kernel's own clock is no other")]
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(i64::try_from(since.expect("after 1970").as_millis()).expect("before the end"))
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Also after a panic; what the card does not clean up is cleaned up here,
        // so that nothing stays on the machine.
        let torn_down = self.runtime.block_on(Card::new(self.config()).teardown());
        for path in self.routers() {
            let _best_effort = Netns::remove(&path);
        }
        if !std::thread::panicking() {
            torn_down.expect("teardown");
        }
    }
}

fn config(directory: &TempDir, host: &Netns, resolvers: &Resolvers) -> Config {
    Config {
        prefix: "test".to_owned(),
        state_dir: directory.path().join("state"),
        netns_dir: directory.path().join("netns"),
        host: host.clone(),
        period: Duration::from_millis(50),
        resolvers: resolvers.clone(),
        task_metadata: None,
    }
}

/// A path that leads any process to a namespace that has no name.
pub(crate) fn netns_path(netns: &Netns) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), netns.as_fd().as_raw_fd())
}

/// The name of the link that has the interface's hardware address, as an agent
/// looks for it.
pub(crate) fn link_with_mac(netns: &Netns, eni: &Eni) -> Option<String> {
    let links = sh(netns, "ip -o link");
    let mac = eni.mac.to_string();
    let line = links.lines().find(|line| line.contains(&mac))?;
    Some(line.split(": ").nth(1)?.split('@').next()?.to_owned())
}

/// Runs a shell command in a namespace and returns what it prints; it must
/// succeed.
pub(crate) fn sh(netns: &Netns, command: &str) -> String {
    let line = command.to_owned();
    let run = move || Command::new("sh").args(["-c", &line]).output();
    let output = netns.run_blocking(run).expect("the namespace").expect("a shell");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command}: {text}");
    text
}

/// A namespace with an interface.
pub(crate) struct Task {
    pub(crate) netns: Netns,
    pub(crate) address: Ipv4Addr,
    /// Its other IPv4 addresses.
    pub(crate) secondary: Vec<Ipv4Addr>,
    pub(crate) address6: Option<Ipv6Addr>,
}

impl Task {
    pub(crate) fn sh(&self, command: &str) -> String {
        sh(&self.netns, command)
    }

    /// Its IPv6 address, which it must have.
    pub(crate) fn v6(&self) -> Ipv6Addr {
        self.address6.expect("an IPv6 address")
    }

    /// A server on the task's own address. The kernel completes handshakes for
    /// as long as it is kept.
    pub(crate) fn listen(&self, port: u16) -> TcpListener {
        self.listen_at(self.address, port)
    }

    /// The same on any address of the task.
    pub(crate) fn listen_at(&self, address: impl Into<IpAddr>, port: u16) -> TcpListener {
        listen(&self.netns, address, port)
    }

    /// A socket for datagrams on the task's own address, that waits for them.
    pub(crate) fn bind_udp(&self, port: u16) -> UdpSocket {
        let address = SocketAddr::from((self.address, port));
        let socket = self.run(move || UdpSocket::bind(address)).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket
    }

    /// Opens a connection that must come about.
    pub(crate) fn connect(&self, to: &Task, port: u16) -> TcpStream {
        connect(&self.netns, to.address, port, PATIENCE).expect("a connection")
    }

    /// Tries to open a connection, and says whether it was dropped in silence.
    pub(crate) fn is_refused(&self, to: &Task, port: u16) -> bool {
        is_refused(&self.netns, to.address, port)
    }

    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.netns.run_blocking(work).expect("the namespace")
    }
}

pub(crate) fn listen(netns: &Netns, address: impl Into<IpAddr>, port: u16) -> TcpListener {
    let address = SocketAddr::from((address.into(), port));
    let bind = move || TcpListener::bind(address);
    netns.run_blocking(bind).expect("the namespace").expect("a listener")
}

pub(crate) fn connect(
    netns: &Netns,
    to: impl Into<IpAddr>,
    port: u16,
    patience: Duration,
) -> io::Result<TcpStream> {
    let address = SocketAddr::from((to.into(), port));
    let connect = move || TcpStream::connect_timeout(&address, patience);
    netns.run_blocking(connect).expect("the namespace")
}

pub(crate) fn is_refused(netns: &Netns, to: impl Into<IpAddr>, port: u16) -> bool {
    match connect(netns, to, port, NEVER) {
        Ok(_) => false,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => true,
        Err(error) => panic!("neither connected nor dropped in silence: {error}"),
    }
}

pub(crate) fn generation(card: &Card) -> Option<u64> {
    card.generation().map(|Generation(generation)| generation)
}
