//! A small installation that is asked things, whatever they are: the bounded test
//! beside it asks what is kept, and `make fuzz` what its coverage leads it to.
//!
//! What is asked is text. A line is a request: a target and its JSON, or a form. Lines
//! follow one another on the same state; `$TASK` and its like stand for what there is.
//! Behind a request that is no panic may be one that is: so the records are read again
//! from their bytes, the controllers look at them, and the agent and the card are told
//! what follows.

use chassis::fake::{ManualClock, SeededEntropy};
use chassis::service::{Ec2, Ecs, Iam, Sts};
use chassis::{Caller, Cx, Platform, Principal, Service, Tenancy};
use ec2::CardSession;
use ec2::records::{Eni, SecurityGroup, Subnet};
use ecs::acs::{AcsSession, Sessions};
use ecs::records::{ContainerInstance, Task};
use ecs::tcs::TcsSession;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method};
use ident::{AccountId, InstanceId, Scope, Timestamp};
use std::future::Future;
use std::sync::{Arc, OnceLock};
use store::{
    Backend, Commit, Encoded, MemoryBackend, Registry, Revision, Store, StoreError, Write,
};
use wire::protocol::identify;
use wire::{Fault, Protocol, Request, acs, tcs};

/// How many requests follow one another.
const MANY: usize = 6;
const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// What there is from the beginning.
const BEGINNING: &[&str] = &[
    "AmazonEC2ContainerServiceV20141113.CreateCluster {}",
    r#"AmazonEC2ContainerServiceV20141113.RegisterContainerInstance {"totalResources": [{"name": "CPU", "type": "INTEGER", "integerValue": 2048}, {"name": "MEMORY", "type": "INTEGER", "integerValue": 4096}, {"name": "PORTS", "type": "STRINGSET", "stringSetValue": ["22", "51678"]}, {"name": "PORTS_UDP", "type": "STRINGSET", "stringSetValue": []}], "attributes": [{"name": "com.amazonaws.ecs.capability.docker-remote-api.1.18"}, {"name": "com.amazonaws.ecs.capability.docker-remote-api.1.21"}, {"name": "ecs.capability.container-health-check"}, {"name": "ecs.capability.task-eni"}, {"name": "ecs.os-type", "value": "linux"}, {"name": "ecs.cpu-architecture", "value": "x86_64"}]}"#,
    r#"AmazonEC2ContainerServiceV20141113.RegisterTaskDefinition {"family": "web", "networkMode": "awsvpc", "containerDefinitions": [{"name": "web", "image": "web:1", "cpu": 128, "memory": 64, "portMappings": [{"containerPort": 80}]}]}"#,
    r#"AmazonEC2ContainerServiceV20141113.RegisterTaskDefinition {"family": "batch", "networkMode": "host", "containerDefinitions": [{"name": "batch", "image": "batch:1", "memory": 64}]}"#,
    "AmazonEC2ContainerServiceV20141113.RunTask {\"taskDefinition\": \"web\", \"networkConfiguration\": {\"awsvpcConfiguration\": {\"subnets\": [\"$SUBNET\"]}}}",
    "Action=CreateNetworkInterface&Version=2016-11-15&SubnetId=$SUBNET&Description=spare",
    "Action=CreateRole&Version=2010-05-08&RoleName=reader&AssumeRolePolicyDocument=%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C%22Principal%22%3A%22%2A%22%2C%22Action%22%3A%22sts%3AAssumeRole%22%7D%7D",
];

/// The beginning, as it was written.
struct Prepared {
    records: Vec<Write>,
    words: Vec<(&'static str, String)>,
    host: InstanceId,
}

/// See the module.
pub(crate) struct Asked {
    backend: MemoryBackend,
    platform: Platform,
    services: [Arc<dyn Service>; 4],
    words: Vec<(&'static str, String)>,
    host: InstanceId,
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("the store commits inline")
}

fn scope() -> Scope {
    Scope { account: AccountId::first(), region: "us-east-1".parse().expect("a region") }
}

fn registry() -> Registry {
    ecs::records(ec2::records(iam::records(chassis::records(Registry::new()))))
}

fn prepare() -> Prepared {
    let mut asked = Asked::on(MemoryBackend::new(), Vec::new(), InstanceId::mint(1));
    let platform = asked.platform.clone();
    ready(iam::bootstrap(&platform, &scope().account)).expect("an account");
    let machine = ec2::Machine {
        instance: Some(asked.host.clone()),
        zones: None,
        instance_type: Some("t3.medium".to_owned()),
    };
    ready(ec2::instances::register(&platform, &scope(), machine)).expect("a machine");
    for line in BEGINNING {
        let view = platform.store.view();
        if let Some(subnet) = view.list::<Subnet>(&scope()).next() {
            asked.words = vec![("$SUBNET", subnet.net.id.to_string())];
        }
        let answered = asked.request(line.as_bytes()).expect("it is for a service of ours");
        answered.unwrap_or_else(|fault| panic!("{line}: {fault}"));
        // As soon as there is an instance, its agent is there.
        if let Some(instance) = platform.store.view().list::<ContainerInstance>(&scope()).next() {
            let seat = Sessions::default().open(&scope(), &instance.id, "s-0");
            let version = ecs::records::VersionInfo::default();
            ready(ecs::acs::connect(&platform, &seat, &version)).expect("connected");
        }
    }
    let view = platform.store.view();
    let instance = view.list::<ContainerInstance>(&scope()).next().expect("an instance");
    let task = view.list::<Task>(&scope()).next().expect("a task");
    let subnet = view.list::<Subnet>(&scope()).next().expect("a subnet");
    let group = view.list::<SecurityGroup>(&scope()).next().expect("a group");
    let spare = |eni: &Arc<Eni>| eni.description == "spare";
    let eni = view.list::<Eni>(&scope()).find(spare).expect("an interface");
    // No word is the beginning of another.
    let words = vec![
        ("$CONTAINER", ecs::instance_arn(&scope(), &instance.cluster, &instance.id).to_string()),
        ("$ENI", eni.net.id.to_string()),
        ("$GROUP", group.id.to_string()),
        ("$HOST", asked.host.to_string()),
        ("$SUBNET", subnet.net.id.to_string()),
        ("$TASK", task.arn().to_string()),
        ("$VPC", subnet.net.vpc.to_string()),
    ];
    let loaded = asked.backend.load().expect("in memory");
    let records = loaded.records.into_iter().map(|it| Write {
        key: it.key,
        value: Some(Encoded { version: it.version, bytes: it.bytes }),
    });
    Prepared { records: records.collect(), words, host: asked.host }
}

/// What became of the lines.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) answered: usize,
    pub(crate) refused: Vec<Fault>,
}

impl Asked {
    /// At the beginning.
    pub(crate) fn new() -> Self {
        static PREPARED: OnceLock<Prepared> = OnceLock::new();
        let prepared = PREPARED.get_or_init(prepare);
        let mut backend = MemoryBackend::new();
        let writes = prepared.records.clone();
        let all = Commit { revision: Revision(1), guards: Vec::new(), writes };
        backend.commit(&[all]).expect("an empty backend takes it");
        Self::on(backend, prepared.words.clone(), prepared.host.clone())
    }

    fn on(backend: MemoryBackend, words: Vec<(&'static str, String)>, host: InstanceId) -> Self {
        let store = Store::open_inline(Box::new(backend.clone()), registry());
        let platform = Platform {
            store: store.expect("what was written can be read"),
            clock: Arc::new(ManualClock::at(NOW)),
            entropy: Arc::new(SeededEntropy::new(7)),
            quotas: chassis::Quotas::default(),
        };
        let iam = Arc::new(iam::Iam::new(platform.store.clone()));
        let services: [Arc<dyn Service>; 4] = [
            Arc::new(Ecs(Arc::new(ecs::Ecs {
                public_url: "http://10.0.0.1:4566".to_owned(),
                identity: None,
            }))),
            Arc::new(Ec2(Arc::new(ec2::Ec2))),
            Arc::new(Iam(Arc::clone(&iam) as _)),
            Arc::new(Sts(iam)),
        ];
        Self { backend, platform, services, words, host }
    }

    fn meant(&self, line: &[u8]) -> Vec<u8> {
        let mut text = String::from_utf8_lossy(line).into_owned();
        if !text.contains('$') {
            return line.to_vec();
        }
        for (word, thing) in &self.words {
            text = text.replace(word, thing);
        }
        text.into_bytes()
    }

    /// What a request is answered; nothing if it is for nobody here.
    fn request(&self, line: &[u8]) -> Option<Result<Vec<u8>, Fault>> {
        let line = self.meant(line);
        let mut headers = HeaderMap::new();
        let body = if line.starts_with(b"Action=") {
            &line
        } else {
            let space = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
            let (target, body) = line.split_at(space);
            headers.insert("x-amz-target", HeaderValue::from_bytes(target).ok()?);
            body
        };
        let call = match identify(&Method::POST, &headers, "", body, None) {
            Ok(call) => call,
            Err((_, fault)) => return Some(Err(fault)),
        };
        let service = self.services.iter().find(|it| it.table().name == call.service.name)?;
        let agents = ["Discover", "RegisterContainer", "Submit"];
        let is_agents = agents.iter().any(|begin| call.operation.starts_with(begin));
        let principal =
            if is_agents { Principal::Instance(self.host.clone()) } else { Principal::Root };
        let caller = Caller { scope: scope(), principal, access_key: "AKIDEXAMPLE".to_owned() };
        let cx = Cx { platform: self.platform.clone(), caller, request_id: "r-1".to_owned() };
        let request = Request { operation: &call.operation, id: "r-1", body: call.body(body) };
        let served = ready(service.serve(&cx, request));
        if let (Ok(answer), Protocol::Json11) = (&served, call.service.protocol) {
            serde_json::from_slice::<serde_json::Value>(answer).expect("an answer is JSON");
        }
        Some(served)
    }

    /// Asks what the lines say, one after another, and then looks at what is left.
    pub(crate) fn ask(lines: &[u8]) -> Outcome {
        let asked = Self::new();
        let mut outcome = Outcome::default();
        for line in lines.split(|byte| *byte == b'\n').take(MANY) {
            match asked.request(line) {
                None => {}
                Some(Ok(_)) => outcome.answered += 1,
                Some(Err(fault)) => {
                    assert!((400..500).contains(&fault.status), "{fault}");
                    assert!(!fault.code.is_empty() && !fault.message.is_empty(), "{fault}");
                    outcome.refused.push(fault);
                }
            }
        }
        if outcome.answered > 0 {
            Self::on(asked.backend, asked.words, asked.host).look();
        }
        outcome
    }

    /// What follows from the state, for everybody whom it concerns.
    fn look(&self) {
        let settings = ecs::Settings::default();
        let mut controllers = ecs::controllers(&Sessions::default(), settings);
        controllers.push(Box::new(chassis::idempotency::Sweeper));
        let tenancies: Vec<Box<dyn Tenancy>> =
            vec![Box::new(ecs::tenancy::Evict), Box::new(ec2::Evict)];
        controllers.push(Box::new(iam::Closer::new(tenancies)));
        let view = self.platform.store.view();
        drop(CardSession::new(scope(), self.host.clone()).poll(&view));
        self.agents();
        for controller in &controllers {
            let done = ready(controller.reconcile(&self.platform));
            done.unwrap_or_else(|error| panic!("{}: {error}", controller.name()));
        }
    }

    /// What the agents of all instances are told.
    fn agents(&self) {
        let view = self.platform.store.view();
        for instance in view.list::<ContainerInstance>(&scope()) {
            for frame in AcsSession::new(&instance, "s-0", NOW).poll(&view, NOW) {
                frame.encode().expect("it can be said");
            }
        }
    }

    /// Says the lines as the agent of the one instance, to both services.
    pub(crate) fn hear(lines: &[u8]) {
        let asked = Self::new();
        let view = asked.platform.store.view();
        let Some(instance) = view.list::<ContainerInstance>(&scope()).next() else { return };
        let mut session = AcsSession::new(&instance, "s-0", NOW);
        let telemetry = TcsSession::new(NOW);
        for line in lines.split(|byte| *byte == b'\n').take(MANY) {
            let text = String::from_utf8_lossy(&asked.meant(line)).into_owned();
            if let Ok(frame) = acs::Message::decode(&text) {
                session.on_frame(&asked.platform.store.view(), &frame, NOW);
            }
            for frame in session.poll(&asked.platform.store.view(), NOW) {
                frame.encode().expect("it can be said");
            }
            let Ok((answer, news)) = telemetry.on_frame(&text) else { continue };
            answer.map(|answer: tcs::Message| answer.encode().expect("it can be said"));
            if let Some(news) = news {
                let noted = asked.platform.store.transact(|txn| {
                    ecs::tcs::record(txn, &scope(), &instance.id, &news);
                    Ok::<_, StoreError>(())
                });
                ready(noted).expect("noted");
            }
        }
        Self::on(asked.backend, asked.words, asked.host).look();
    }
}
