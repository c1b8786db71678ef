//! The control plane at size: simulated instances and tasks by the real handlers,
//! on the real store, behind the real edge.
//!
//! Instances are records whose agents are said to be connected; no agent speaks.
//! Tasks use network mode `none`: a VPC has not the addresses for a hundred
//! thousand interfaces. What is printed is JSON, one object a line, for
//! `tests/bench` to show beside its rivals.
//!
//! usage: cargo bench --package landfall --bench crowd [-- INSTANCES TASKS_EACH]

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock and runs its own server")]

use chassis::{Caller, Cx, Edge, Platform, Principal, Query, Shutdown, Socket, SocketService as _};
use ecs::acs::{AcsService, Sessions};
use ecs::records::{AgentSession, ContainerInstance};
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ident::{AccountId, ClusterName, Scope};
use sched::placement::{Demand, Over, Resource, Strategy, place};
use sched::resources::Need;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Registry, Store, StoreError};
use store_sqlite::SqliteBackend;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use wire::client::{Call, Client};
use wire::ecs::{self as shapes, Api};
use wire::landfall::CreateAccountRequest;
use wire::sigv4::Credentials;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const REGION: &str = "us-east-1";
const CLUSTER: &str = "crowd";
/// How many callers ask at once where throughput is measured.
const CALLERS: usize = 32;
/// How many times ten places are looked for.
const ROUNDS: u64 = 500;
/// How many requests a latency is measured by.
const SAMPLES: usize = 2000;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|word| word.parse().ok());
    let instances: usize = numbers.next().unwrap_or(10_000);
    let each: usize = numbers.next().unwrap_or(10);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(measure(instances, each));
}

async fn measure(instances: usize, each: usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state.db");
    let empty = resident_kib();
    let world = World::new(open(&path).await, instances).await;
    let before = resident_kib();
    let tasks = instances * each;
    let rate = world.fill(tasks).await;
    let after = resident_kib();
    print(
        "durable",
        &json!({
            "instances": instances, "tasks": tasks, "tasks_per_s": rate,
            "bytes_per_instance": (before - empty) * 1024 / instances,
            "bytes_per_task": (after - before) * 1024 / tasks,
        }),
    );
    for callers in [1, CALLERS] {
        let per_s = world.commits("alone", callers).await;
        print("commits", &json!({ "callers": callers, "sessions": 0, "per_s": per_s }));
    }
    world.placements().await;
    world.accounts().await;
    world.over_http().await;
    let sessions = world.agents().await;
    let per_s = world.commits("among-agents", CALLERS).await;
    print(
        "commits",
        &json!({ "callers": CALLERS, "sessions": sessions.len() / 2, "per_s": per_s }),
    );
    drop((sessions, world));

    let began = Instant::now();
    let store = open(&path).await;
    let records = format!("{:?}", store.view());
    print("start", &json!({ "ms": began.elapsed().as_millis(), "view": records }));
    drop(store);

    // Growth, on stores that are thrown away: the same load per instance. Last, since
    // what they leave to the allocator would hide what a task takes.
    for part in [10, 5, 2, 1] {
        let size = instances / part;
        let world = World::new(Store::in_memory(registry()), size).await;
        let rate = world.fill(size * each).await;
        print(
            "in memory",
            &json!({ "instances": size, "tasks": size * each, "tasks_per_s": rate }),
        );
    }
}

fn registry() -> Registry {
    [chassis::records, iam::records, ec2::records, ::ecs::records]
        .into_iter()
        .fold(Registry::new(), |registry, add| add(registry))
}

/// Opens the state as the program does, once whoever had it has let go of it.
async fn open(path: &Path) -> Store {
    let backend = loop {
        match SqliteBackend::open(path) {
            Err(store_sqlite::OpenError::InUse { .. }) => tokio::task::yield_now().await,
            opened => break opened.expect("the database opens"),
        }
    };
    Store::open(Box::new(backend), registry()).await.expect("the state is sound")
}

struct World {
    platform: Platform,
    cx: Cx,
    ecs: ::ecs::Ecs,
}

impl World {
    /// A cluster with this many connected instances.
    async fn new(store: Store, instances: usize) -> Self {
        let platform = Platform::new(store);
        let account = AccountId::first();
        let scope = Scope { account, region: REGION.parse().expect("a region") };
        let cx = Cx {
            platform: platform.clone(),
            caller: Caller { scope, principal: Principal::Root, access_key: "AKIA".to_owned() },
            request_id: "bench".to_owned(),
        };
        let ecs = ::ecs::Ecs { public_url: "http://127.0.0.1:4566".to_owned(), identity: None };
        let world = Self { platform, cx, ecs };
        world.cluster(CLUSTER).await;
        let container = shapes::ContainerDefinition {
            name: Some("web".to_owned()),
            image: Some("web".to_owned()),
            cpu: Some(64),
            memory: Some(64),
            ..Default::default()
        };
        let definition = shapes::RegisterTaskDefinitionRequest {
            family: Some("web".to_owned()),
            network_mode: Some("none".to_owned()),
            container_definitions: Some(vec![container]),
            ..Default::default()
        };
        world.ecs.register_task_definition(&world.cx, definition).await.expect("registered");
        each(instances, CALLERS, |number| world.instance(number)).await;
        world
    }

    async fn cluster(&self, name: &str) {
        let request = shapes::CreateClusterRequest {
            cluster_name: Some(name.to_owned()),
            ..Default::default()
        };
        self.ecs.create_cluster(&self.cx, request).await.expect("created");
    }

    /// Registers an instance, and says that its agent is there.
    async fn instance(&self, number: usize) {
        let resource = |name: &str, value| shapes::Resource {
            name: Some(name.to_owned()),
            r#type: Some("INTEGER".to_owned()),
            integer_value: Some(value),
            ..Default::default()
        };
        let attribute = |name: &str, value: Option<String>| shapes::Attribute {
            name: Some(name.to_owned()),
            value,
            ..Default::default()
        };
        let request = shapes::RegisterContainerInstanceRequest {
            cluster: Some(CLUSTER.to_owned()),
            total_resources: Some(vec![resource("CPU", 8192), resource("MEMORY", 16384)]),
            attributes: Some(vec![
                attribute("com.amazonaws.ecs.capability.docker-remote-api.1.18", None),
                attribute("com.amazonaws.ecs.capability.docker-remote-api.1.25", None),
                attribute("rack", Some(format!("r{}", number % 40))),
            ]),
            ..Default::default()
        };
        let answer = self.ecs.register_container_instance(&self.cx, request).await;
        let arn =
            answer.expect("registered").container_instance.and_then(|i| i.container_instance_arn);
        let arn = arn.expect("has an ARN");
        let id = arn.rsplit('/').next().expect("ends with an id");
        let connected = self.platform.store.transact(|txn| {
            let found = txn.get::<ContainerInstance>(self.cx.scope(), id).expect("is there");
            txn.put(ContainerInstance {
                session: Some(AgentSession { id: format!("session-{number}") }),
                ..ContainerInstance::clone(&found)
            });
            Ok::<_, StoreError>(())
        });
        connected.await.expect("connected");
    }

    /// Starts this many tasks, ten at a time, and says how many a second that were.
    async fn fill(&self, tasks: usize) -> usize {
        let began = Instant::now();
        each(tasks / 10, CALLERS, |_| {
            let (ecs, cx) = (self.ecs.clone(), self.cx.clone());
            // On the threads that requests are served by, as if it had come there.
            let served = tokio::spawn(async move { ecs.run_task(&cx, run(10)).await });
            async {
                let answer = served.await.expect("served").expect("run");
                assert_eq!(answer.failures, Some(vec![]), "there is room for all");
            }
        })
        .await;
        rate(tasks, began.elapsed())
    }

    /// Decisions alone, ten copies each, as strategies and constraints differ.
    async fn placements(&self) {
        let cluster: ClusterName = CLUSTER.parse().expect("a name");
        let over = |name: &str| Strategy::Spread(Over::Attribute(name.to_owned()));
        let distinct = Demand { distinct: true, ..demand(&[]) };
        let kinds = [
            ("default", demand(&[])),
            ("spread over instances", demand(&[Strategy::Spread(Over::Instances)])),
            (
                "spread over racks, binpack",
                demand(&[over("rack"), Strategy::Binpack(Resource::Memory)]),
            ),
            ("binpack", demand(&[Strategy::Binpack(Resource::Cpu)])),
            ("random", demand(&[Strategy::Random])),
            ("distinctInstance", distinct),
        ];
        for (name, demand) in kinds {
            let fleet = self.platform.store.transact(|txn| {
                let fleet = ::ecs::fleets::of(txn, self.cx.scope(), &(cluster.clone(), false));
                Ok::<_, StoreError>(fleet.cloned().expect("there are instances"))
            });
            let mut fleet = fleet.await.expect("read");
            fleet.arrange(&demand);
            let began = Instant::now();
            for seed in 0..ROUNDS {
                let placement = place(&mut fleet, &demand, 10, seed);
                assert_eq!(placement.places.len(), 10, "there is room for all");
            }
            let placed = usize::try_from(ROUNDS * 10).expect("few");
            print(
                "placements",
                &json!({ "strategy": name, "per_s": rate(placed, began.elapsed()) }),
            );
        }
    }

    /// How long it takes to have a fresh account with its key, durable.
    async fn accounts(&self) {
        let mut times = Vec::with_capacity(SAMPLES);
        for _ in 0..SAMPLES {
            let began = Instant::now();
            iam::accounts::create(&self.cx, CreateAccountRequest::default())
                .await
                .expect("created");
            times.push(began.elapsed());
        }
        times.sort_unstable();
        let at = |share: usize| times[SAMPLES * share / 1000].as_micros();
        print("account", &json!({ "p50_us": at(500), "p99_us": at(990) }));
    }

    /// Small transactions of this many callers, in durable commits a second.
    async fn commits(&self, name: &str, callers: usize) -> usize {
        let began = Instant::now();
        let make = |n| async move { self.cluster(&format!("{name}-{callers}-{n}")).await };
        each(SAMPLES, callers, make).await;
        rate(SAMPLES, began.elapsed())
    }

    /// Has each instance's agent open its session and hear what its tasks are. They end
    /// with what is returned.
    async fn agents(&self) -> JoinSet<()> {
        let service = AcsService::new(Sessions::default());
        let view = self.platform.store.view();
        let mut sessions = JoinSet::new();
        for instance in view.list::<ContainerInstance>(self.cx.scope()) {
            let (socket, mut peer) = Socket::pair();
            let arn = ::ecs::instance_arn(self.cx.scope(), &instance.cluster, &instance.id);
            let query = Query::from([("containerInstanceArn".to_owned(), arn.to_string())]);
            let (service, cx) = (service.clone(), self.cx.clone());
            sessions.spawn(async move { service.serve(cx, query, socket).await });
            assert!(peer.recv().await.is_some(), "the agent is told which tasks it has");
            sessions.spawn(async move { while peer.recv().await.is_some() {} });
        }
        sessions
    }

    /// Latencies by one connection, and throughput by several, through the edge.
    async fn over_http(&self) {
        let key = iam::bootstrap(&self.platform, &AccountId::first()).await.expect("a key");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}/", listener.local_addr().expect("bound"));
        let (trigger, shutdown) = Shutdown::new();
        let edge =
            Edge::new(self.platform.clone(), Arc::new(iam::Iam::new(self.platform.store.clone())))
                .service(chassis::service::Ecs(Arc::new(self.ecs.clone())));
        let serving = tokio::spawn(edge.serve(listener, shutdown));
        let asker = Asker {
            http: Http::builder(TokioExecutor::new()).build_http(),
            signer: Client {
                endpoint: endpoint.parse().expect("a URI"),
                region: REGION.to_owned(),
                credentials: Credentials {
                    access_key: key.access_key_id,
                    secret_key: key.secret.reveal().to_owned(),
                    session_token: None,
                },
            },
        };
        let answer = self.ecs.run_task(&self.cx, run(10)).await.expect("run");
        let arns: Vec<String> =
            answer.tasks.into_iter().flatten().filter_map(|task| task.task_arn).collect();
        let run_one = serde_json::to_vec(&json!({
            "cluster": CLUSTER, "taskDefinition": "web", "count": 1
        }));
        let describe = json!({ "cluster": CLUSTER, "tasks": arns[..1] });
        let describe_ten = json!({ "cluster": CLUSTER, "tasks": arns });
        let list = json!({ "cluster": CLUSTER, "maxResults": 100 });
        let bodies = [
            ("RunTask", "RunTask", run_one.expect("JSON")),
            ("DescribeTasks", "DescribeTasks", serde_json::to_vec(&describe).expect("JSON")),
            (
                "DescribeTasks of 10",
                "DescribeTasks",
                serde_json::to_vec(&describe_ten).expect("JSON"),
            ),
            ("ListTasks", "ListTasks", serde_json::to_vec(&list).expect("JSON")),
        ];
        for (name, operation, body) in &bodies {
            for callers in [1, CALLERS] {
                let began = Instant::now();
                let mut times: Vec<Duration> = stream::iter(0..SAMPLES)
                    .map(|_| asker.call(operation, body))
                    .buffer_unordered(callers)
                    .collect()
                    .await;
                let per_s = rate(SAMPLES, began.elapsed());
                times.sort_unstable();
                let at = |share: usize| times[SAMPLES * share / 1000].as_micros();
                print(
                    "http",
                    &json!({
                        "call": name, "callers": callers, "per_s": per_s,
                        "p50_us": at(500), "p99_us": at(990),
                    }),
                );
            }
        }
        trigger.shut_down();
        serving.await.expect("served");
    }
}

/// What a task of the crowd demands, in a group of its own.
fn demand(strategies: &[Strategy]) -> Demand {
    Demand {
        group: "new".to_owned(),
        need: Need { cpu_units: 64, memory_mib: 64, ..Need::default() },
        strategies: strategies.to_vec(),
        ..Demand::default()
    }
}

/// A client of the edge.
struct Asker {
    http: Http<HttpConnector, Full<Bytes>>,
    signer: Client,
}

impl Asker {
    /// Makes one call and says how long it took, signing included.
    async fn call(&self, operation: &str, body: &[u8]) -> Duration {
        let began = Instant::now();
        let now = chassis::Clock::now(&chassis::SystemClock);
        let service = <shapes::CreateClusterRequest as Call>::service();
        let request = self.signer.post(service, operation, body.to_vec(), now).expect("signed");
        let request = request.map(|body| Full::new(Bytes::from(body)));
        let answer = self.http.request(request).await.expect("answered");
        assert!(answer.status().is_success(), "{operation}: {}", answer.status());
        answer.into_body().collect().await.expect("read");
        began.elapsed()
    }
}

fn run(count: i32) -> shapes::RunTaskRequest {
    shapes::RunTaskRequest {
        cluster: Some(CLUSTER.to_owned()),
        task_definition: Some("web".to_owned()),
        count: Some(count),
        ..Default::default()
    }
}

/// Does `work` for each number below `count`, `width` of them at a time.
async fn each<F: Future<Output = ()>>(count: usize, width: usize, work: impl Fn(usize) -> F) {
    stream::iter(0..count).map(work).buffer_unordered(width).collect::<Vec<()>>().await;
}

fn rate(count: usize, took: Duration) -> usize {
    let micros = usize::try_from(took.as_micros()).unwrap_or(usize::MAX).max(1);
    count * 1_000_000 / micros
}

fn print(what: &str, numbers: &serde_json::Value) {
    println!("{}", json!({ "what": what, "numbers": numbers }));
}

/// Resident memory of this process.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number")
}
