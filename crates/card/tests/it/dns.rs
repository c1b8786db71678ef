//! The resolver of a VPC, as tasks find it.

use crate::lab::{Lab, PATIENCE, Task, sh};
use crate::world::{DOMAIN, World, plan};
use card::netns::Netns;
use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::time::Instant;

const RESOLVER: &str = "10.0.0.2";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let name = Name::from_ascii(format!("{name}.")).expect("a name");
    message.add_query(Query::query(name, kind));
    message
}

/// An answer in words: what was found, or why nothing was.
fn told(message: &Message) -> String {
    assert_eq!(message.metadata.id, 4711);
    assert!(message.metadata.recursion_available);
    let found: Vec<String> = message.answers.iter().map(|it| it.data.to_string()).collect();
    let code = message.metadata.response_code;
    if code == ResponseCode::NoError { found.join(" ") } else { code.to_string() }
}

/// A socket with which to ask from inside a namespace.
fn client(netns: &Netns, server: IpAddr) -> UdpSocket {
    let any = if server.is_ipv4() { "0.0.0.0" } else { "::" };
    let at = SocketAddr::new(ip(any), 0);
    let socket = netns.run_blocking(move || UdpSocket::bind(at)).expect("the namespace");
    let socket = socket.expect("a socket");
    socket.connect(SocketAddr::new(server, 53)).expect("an address");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

fn ask_message(netns: &Netns, server: &str, question: &Message) -> Message {
    let socket = client(netns, ip(server));
    socket.send(&question.to_vec().expect("a message")).expect("sent");
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).expect("an answer");
    Message::from_vec(&buffer[..length]).expect("a message")
}

fn ask(netns: &Netns, server: &str, name: &str, kind: RecordType) -> String {
    told(&ask_message(netns, server, &question(name, kind)))
}

fn ask_by_tcp(netns: &Netns, name: &str, kind: RecordType) -> String {
    let at = SocketAddr::new(ip(RESOLVER), 53);
    let stream = netns.run_blocking(move || TcpStream::connect_timeout(&at, PATIENCE));
    let mut stream = stream.expect("the namespace").expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut answers = vec![];
    // One connection is good for several questions.
    for _ in 0..2 {
        send_framed(&mut stream, &question(name, kind));
        answers.push(told(&read_framed(&mut stream).expect("an answer")));
    }
    assert_eq!(answers[0], answers[1]);
    answers.remove(0)
}

fn send_framed(stream: &mut TcpStream, message: &Message) {
    let bytes = message.to_vec().expect("a message");
    let length = u16::try_from(bytes.len()).expect("short").to_be_bytes();
    stream.write_all(&[&length[..], &bytes].concat()).expect("sent");
}

fn read_framed(stream: &mut TcpStream) -> Option<Message> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut bytes = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut bytes).ok()?;
    Some(Message::from_vec(&bytes).expect("a message"))
}

/// Whether nobody answers at all.
fn is_silent(netns: &Netns, server: &str) -> bool {
    let socket = client(netns, ip(server));
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let question = question("example.com", RecordType::A).to_vec().expect("a message");
    socket.send(&question).is_err() || socket.recv(&mut [0; 512]).is_err()
}

/// The machine's own resolver: what it was asked for, and how often.
struct Upstream {
    at: SocketAddr,
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Upstream {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let at = listener.local_addr().expect("an address");
        let socket = UdpSocket::bind(at).expect("the same port");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let asked = Arc::new(Mutex::new(BTreeMap::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (book, ended) = (Arc::clone(&asked), Arc::clone(&stop));
        let by_udp = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let Some(mut reply) = answer(&book, &buffer[..length]) else { continue };
                if reply.answers.len() > 10 {
                    reply = reply.truncate();
                }
                socket.send_to(&reply.to_vec().expect("a message"), from).expect("sent");
            }
        });
        let (book, ended) = (Arc::clone(&asked), Arc::clone(&stop));
        let by_tcp = std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                while let Some(question) = read_framed(&mut stream) {
                    let question = question.to_vec().expect("a message");
                    let reply = answer(&book, &question).expect("nothing secret by TCP");
                    send_framed(&mut stream, &reply);
                }
            }
        });
        Self { at, asked, stop, threads: vec![by_udp, by_tcp] }
    }

    fn times_asked(&self, name: &str) -> usize {
        self.asked.lock().expect("the book").get(&format!("{name}.")).copied().unwrap_or(0)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _woken = TcpStream::connect(self.at);
        for thread in self.threads.drain(..) {
            let _ended = thread.join();
        }
    }
}

fn answer(book: &Mutex<BTreeMap<String, usize>>, question: &[u8]) -> Option<Message> {
    let question = Message::from_vec(question).expect("a message");
    let query = question.queries[0].clone();
    let name = query.name().to_string();
    *book.lock().expect("the book").entry(name.clone()).or_default() += 1;
    let mut reply = Message::response(question.metadata.id, OpCode::Query);
    reply.add_query(query.clone());
    let record = |data| Record::from_rdata(query.name().clone(), 300, data);
    match name.as_str() {
        "silent.example." => return None,
        "web.example." if query.query_type() == RecordType::A => {
            reply.add_answer(record(RData::A(A::new(192, 0, 2, 7))));
        }
        "big.example." => {
            let long = |n: u8| TXT::new(vec![format!("{n:0100}")]);
            reply.add_answers((0..40).map(|n| record(RData::TXT(long(n)))));
        }
        "broken.example." => reply.metadata.response_code = ResponseCode::ServFail,
        _ => reply.metadata.response_code = ResponseCode::NXDomain,
    }
    Some(reply)
}

#[test]
fn a_vpc_answers_from_its_own_names_and_asks_the_machines_resolvers_for_others() {
    let upstream = Upstream::new();
    let mut lab = Lab::with_resolvers(&[upstream.at]);
    let (mut one, mut other) = (World::dual_stack(1), World::dual_stack(2));
    let (a, _) = (one.eni(1, 10, &[]), one.eni(1, 11, &[]));
    one.secondary(&a.id, &[20]);
    let (b, _) = (other.eni(1, 10, &[]), other.eni(2, 12, &[]));
    (one.names, other.names) = (Some(true), Some(true));
    lab.apply(&plan(1, &[&one, &other]));
    let (a, b) = (lab.task(&a).netns, lab.task(&b).netns);

    // The same addresses in both, and not the same names.
    for (host, in_one, in_other) in [
        ("ip-10-0-1-10", "10.0.1.10", "10.0.1.10"),
        ("ip-10-0-1-20", "10.0.1.20", "Non-Existent Domain"),
        ("ip-10-0-1-11", "10.0.1.11", "Non-Existent Domain"),
        ("ip-10-0-2-12", "Non-Existent Domain", "10.0.2.12"),
    ] {
        let name = format!("{host}.{DOMAIN}");
        for server in [RESOLVER, "169.254.169.253", "fd00:ec2::253"] {
            assert_eq!(ask(&a, server, &name, RecordType::A), in_one, "{name} by {server}");
            assert_eq!(ask(&b, server, &name, RecordType::A), in_other, "{name} by {server}");
        }
        assert_eq!(ask_by_tcp(&a, &name, RecordType::A), in_one);
        assert_eq!(ask_by_tcp(&b, &name, RecordType::A), in_other);
    }
    let reverse = |netns, name| ask(netns, RESOLVER, name, RecordType::PTR);
    let expected = format!("ip-10-0-1-11.{DOMAIN}.");
    assert_eq!(reverse(&a, "11.1.0.10.in-addr.arpa"), expected);
    assert_eq!(reverse(&b, "11.1.0.10.in-addr.arpa"), "Non-Existent Domain");

    // Everything else is asked for once, and remembered for both.
    for netns in [&a, &b] {
        assert_eq!(ask(netns, RESOLVER, "web.example", RecordType::A), "192.0.2.7");
        assert_eq!(ask(netns, RESOLVER, "web.example", RecordType::AAAA), "Non-Existent Domain");
        assert_eq!(ask(netns, RESOLVER, "no.example", RecordType::A), "Non-Existent Domain");
        assert_eq!(ask(netns, RESOLVER, "broken.example", RecordType::A), "Server Failure");
    }
    assert_eq!(upstream.times_asked("web.example"), 3, "the address was remembered");
    assert_eq!(upstream.times_asked(&format!("ip-10-0-2-12.{DOMAIN}")), 0, "no name got out");

    // What is long is cut off, unless there is room for it.
    let big = question("big.example", RecordType::TXT);
    let short = ask_message(&a, RESOLVER, &big);
    assert!(short.metadata.truncation && short.to_vec().expect("a message").len() <= 512);
    let mut extended = big;
    extended.set_edns(Edns::new());
    extended.edns.as_mut().expect("an extension").set_max_payload(1400);
    let longer = ask_message(&a, RESOLVER, &extended);
    assert!(longer.metadata.truncation && longer.answers.len() > short.answers.len());
    assert!(longer.edns.is_some());
    assert_eq!(ask_by_tcp(&a, "big.example", RecordType::TXT).split(' ').count(), 40);
}

#[test]
fn a_resolver_that_is_silent_delays_nobody_else_and_is_given_up() {
    let upstream = Upstream::new();
    let mut lab = Lab::with_resolvers(&[upstream.at]);
    let mut world = World::new(1);
    let eni = world.eni(1, 10, &[]);
    world.names = Some(true);
    lab.apply(&world.plan(1));
    let task = lab.task(&eni).netns;
    let socket = client(&task, ip(RESOLVER));
    let started = Instant::now();
    socket
        .send(&question("silent.example", RecordType::A).to_vec().expect("a message"))
        .expect("sent");
    let name = format!("ip-10-0-1-10.{DOMAIN}");
    assert_eq!(ask(&task, RESOLVER, &name, RecordType::A), "10.0.1.10");
    assert_eq!(ask(&task, RESOLVER, "web.example", RecordType::A), "192.0.2.7");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).expect("an answer");
    let answer = Message::from_vec(&buffer[..length]).expect("a message");
    assert_eq!(told(&answer), "Server Failure");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn what_is_no_question_harms_nobody() {
    let mut lab = Lab::new();
    let mut world = World::new(1);
    let eni = world.eni(1, 10, &[]);
    world.names = Some(true);
    lab.apply(&world.plan(1));
    let task = lab.task(&eni).netns;
    let name = format!("ip-10-0-1-10.{DOMAIN}");
    assert_eq!(
        ask(&task, RESOLVER, "web.example", RecordType::A),
        "Server Failure",
        "nobody to ask"
    );

    let good = question(&name, RecordType::A);
    let mut status = good.clone();
    status.metadata.op_code = OpCode::Status;
    assert_eq!(told(&ask_message(&task, RESOLVER, &status)), "Not Implemented");
    let mut double = good.clone();
    double.add_query(good.queries[0].clone());
    assert_eq!(told(&ask_message(&task, RESOLVER, &double)), "Form Error");
    let socket = client(&task, ip(RESOLVER));
    let (mut nonsense, mut reply) = (good.to_vec().expect("a message"), good.clone());
    nonsense.truncate(20);
    reply.metadata.message_type = MessageType::Response;
    let mut buffer = [0; 512];
    socket.send(&nonsense).expect("sent");
    let length = socket.recv(&mut buffer).expect("an answer");
    let answer = Message::from_vec(&buffer[..length]).expect("a message");
    let code = answer.metadata.response_code;
    assert_eq!((answer.metadata.id, code), (4711, ResponseCode::FormErr));
    for silent in [vec![], vec![0; 5], reply.to_vec().expect("a message")] {
        socket.send(&silent).expect("sent");
    }
    socket.send(&good.to_vec().expect("a message")).expect("sent");
    let length = socket.recv(&mut buffer).expect("an answer");
    let answer = Message::from_vec(&buffer[..length]).expect("a message");
    assert_eq!(told(&answer), "10.0.1.10", "the first that deserves one");
}

#[test]
fn an_interface_may_send_so_many_packets_a_second_and_others_do_not_mind() {
    let mut lab = Lab::new();
    let mut world = World::new(1);
    let (a, b) = (world.eni(1, 10, &[]), world.eni(1, 11, &[]));
    world.names = Some(true);
    lab.apply(&world.plan(1));
    let (a, b) = (lab.task(&a).netns, lab.task(&b).netns);
    let name = format!("ip-10-0-1-10.{DOMAIN}");
    let socket = client(&a, ip(RESOLVER));
    let question = question(&name, RecordType::A).to_vec().expect("a message");
    let started = Instant::now();
    let mut answers: u64 = 0;
    // Little by little, so that no buffer runs over.
    for _ in 0..64 {
        for _ in 0..64 {
            socket.send(&question).expect("sent");
        }
        socket.set_read_timeout(Some(Duration::from_millis(5))).expect("a timeout");
        while socket.recv(&mut [0; 512]).is_ok() {
            answers += 1;
        }
        assert_eq!(ask(&b, RESOLVER, &name, RecordType::A), "10.0.1.10");
    }
    let most = 1024 * (started.elapsed().as_secs() + 1);
    assert!((1000..=most).contains(&answers) && answers < 4096, "{answers} of at most {most}");
}

#[test]
fn the_machine_is_told_names_of_its_vpc_and_nothing_is_passed_on_for_it() {
    let upstream = Upstream::new();
    let mut lab = Lab::with_resolvers(&[upstream.at]);
    let mut world = World::new(1);
    world.host_eni(1, 10, &[]);
    world.eni(1, 11, &[]);
    world.names = Some(true);
    lab.apply(&world.plan(1));
    let name = format!("ip-10-0-1-11.{DOMAIN}");
    assert_eq!(ask(&lab.host, RESOLVER, &name, RecordType::A), "10.0.1.11");
    assert_eq!(ask(&lab.host, RESOLVER, "web.example", RecordType::A), "Query Refused");
    assert_eq!(upstream.times_asked("web.example"), 0);
}

/// Applies the plan again and again until the resolver answers.
fn await_answer(lab: &mut Lab, task: &Task, name: &str) {
    let deadline = Instant::now() + PATIENCE;
    while is_silent(&task.netns, RESOLVER) {
        assert!(Instant::now() < deadline, "the resolver never answered");
        lab.with(async |card| card.reapply().await).expect("a plan").expect("applied");
    }
    assert_eq!(ask(&task.netns, RESOLVER, name, RecordType::A), "10.0.1.10");
}

#[test]
fn a_resolver_lives_as_long_as_its_router_and_comes_back() {
    let mut lab = Lab::new();
    let mut world = World::new(1);
    let eni = world.eni(1, 10, &[]);
    lab.apply(&world.plan(1));
    let task = lab.task(&eni);
    let name = format!("ip-10-0-1-10.{DOMAIN}");
    assert!(is_silent(&task.netns, RESOLVER), "the VPC has none");

    // Somebody has its place: names do not work, and the rest does.
    world.names = Some(true);
    let anywhere: SocketAddr = "0.0.0.0:53".parse().expect("an address");
    let squatter = lab.router().run_blocking(move || UdpSocket::bind(anywhere));
    let squatter = squatter.expect("the namespace").expect("a socket");
    lab.apply(&world.plan(2));
    assert!(is_silent(&task.netns, RESOLVER));
    drop(squatter);
    await_answer(&mut lab, &task, &name);
    assert_eq!(lab.apply(&world.plan(2)).changes(), 0);

    // A new card, and no control plane.
    lab.restart();
    assert!(is_silent(&task.netns, RESOLVER));
    await_answer(&mut lab, &task, &name);

    world.names = Some(false);
    lab.apply(&world.plan(3));
    assert_eq!(ask(&task.netns, RESOLVER, &name, RecordType::A), "Non-Existent Domain");
    world.names = None;
    lab.apply(&world.plan(4));
    assert!(is_silent(&task.netns, RESOLVER));
    let sockets = sh(&lab.router(), "ss -Hlntu");
    assert_eq!(sockets, "", "nothing listens any more");

    world.names = Some(true);
    lab.apply(&world.plan(5));
    assert_eq!(ask(&task.netns, RESOLVER, &name, RecordType::A), "10.0.1.10");
    world.remove(&eni.id);
    lab.apply(&world.plan(6));
    assert_eq!(lab.routers(), [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn a_plan_of_before_there_were_resolvers_still_counts() {
    let mut world = World::new(1);
    world.eni(1, 10, &[]);
    let plan = world.plan(1);
    let text = serde_json::to_string(&plan).expect("written");
    assert!(!text.contains("dns"), "{text}");
    let read: net::plan::CardPlan = serde_json::from_str(&text).expect("read");
    assert_eq!((read.vpcs[0].dns.clone(), read.clone()), (None, plan));
    let named = Ipv4Addr::new(10, 0, 1, 10);
    world.names = Some(true);
    let dns = world.plan(2).vpcs[0].dns.clone().expect("a resolver");
    assert_eq!((dns.domain.as_str(), dns.named), (DOMAIN, vec![named]));
}
