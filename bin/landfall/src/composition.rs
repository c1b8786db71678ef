//! One machine's Landfall, put together in reading order: the state, the control
//! plane on top of it, and the node programs that obey it.

use crate::card_link;
use crate::cli::Up;
use crate::commands::AnyError;
use crate::extension::Extension;
use crate::layout::{Access, Layout, read_json, write_json};
use crate::metadata;
use agent::images::{Limits, PullBehavior, Registries};
use chassis::idempotency::Sweeper;
use chassis::{
    Authenticator, Controller, Edge, Options, Platform, Quotas, Service, Shutdown, Supervisor,
    Tenancy,
};
use ident::{AccountId, InstanceId, Scope};
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::{Registry, Store};
use store_sqlite::backup::BackupError;
use store_sqlite::{OpenError, SqliteBackend};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use wire::sigv4::Credentials;

/// How many reports of the card may wait for a connection.
const REPORTS: usize = 8;
/// How many bytes of disk the output of one container may take.
const MAX_OUTPUT: u64 = 64 << 20;
/// How long everything has to end once it is asked to.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(15);

/// What this machine is, from one start to the next.
#[derive(Debug, Serialize, Deserialize)]
struct Machine {
    scope: Scope,
    /// The EC2 instance.
    instance: InstanceId,
    /// The socket of the containerd that its agent uses, if not a private one.
    containerd: Option<PathBuf>,
}

/// What a running Landfall can be asked by a signal.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// Why everything has ended.
enum Ended {
    /// It was asked to.
    Asked,
    /// There is a backup to take up in place of the state.
    Restoring,
}

/// Every kind of record that the state may hold.
pub(crate) fn registry() -> Registry {
    [chassis::records, iam::records, ec2::records, ecs::records]
        .into_iter()
        .fold(Registry::new(), |registry, add| add(registry))
}

/// Every service there is, answering at `public_url`.
pub(crate) fn services(
    iam: &Arc<iam::Iam>,
    public_url: &str,
    identity: Option<ec2::identity::Verifier>,
    cards: &ec2::CardSocket,
) -> [Arc<dyn Service>; 5] {
    let iam = || Arc::clone(iam);
    let ecs = ecs::Ecs { public_url: public_url.to_owned(), identity };
    [
        Arc::new(chassis::service::Ecs(Arc::new(ecs))),
        Arc::new(chassis::service::Ec2(Arc::new(ec2::Ec2))),
        Arc::new(chassis::service::Iam(iam())),
        Arc::new(chassis::service::Sts(iam())),
        Arc::new(chassis::service::Landfall(Arc::new(Extension { cards: cards.clone() }))),
    ]
}

/// Runs the control plane, the agent and the card until a signal asks to stop.
/// Tasks are left running: they end by StopTask, or by `landfall down`.
///
/// SIGHUP ends all of it too, and begins again with the state that `landfall
/// restore` has staged: nothing in the program outlives the state it was made of.
pub(crate) async fn run(layout: &Layout, up: &Up) -> Result<(), AnyError> {
    let mut signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        hangup: signal(SignalKind::hangup())?,
    };
    loop {
        if adopt(layout).await? {
            tracing::warn!("the state was restored from a backup");
        }
        match Box::pin(serve(layout, up, &mut signals)).await? {
            Ended::Asked => return Ok(()),
            Ended::Restoring => {}
        }
    }
}

/// Takes up what is staged, once the last request that still reads the state has
/// let go of it.
async fn adopt(layout: &Layout) -> Result<bool, AnyError> {
    let limit = Instant::now() + SHUTDOWN_LIMIT;
    loop {
        match store_sqlite::backup::adopt(&layout.database()) {
            Err(BackupError::Source(OpenError::InUse { .. })) if Instant::now() < limit => {
                sleep(Duration::from_millis(20)).await;
            }
            adopted => return Ok(adopted?),
        }
    }
}

/// One life of the program, from its state to the signal that ends it.
async fn serve(layout: &Layout, up: &Up, signals: &mut Signals) -> Result<Ended, AnyError> {
    let region = chassis::regions::named(&up.region)
        .ok_or_else(|| format!("AWS has no region {}: give one that it has", up.region))?;
    let scope = Scope { account: AccountId::first(), region };

    let platform = open(layout, up).await?;

    // Who there is from the first start: the root user, and this machine, whose
    // registration furnishes its region with a default VPC.
    let root = iam::bootstrap(&platform, &scope.account).await?;
    let instance = machine(layout, up, &platform, &scope).await?;
    let node = iam::node_key(&platform, &scope, &instance.id).await?;
    let signer = metadata::signer(layout)?;
    let metadata = metadata::of(up, &platform, &scope, &instance.id, &signer)?;

    // The front door.
    let listener = TcpListener::bind(up.listen)
        .await
        .map_err(|error| format!("cannot serve on {}: {error}", up.listen))?;
    let listen = listener.local_addr()?;
    let endpoint = format!("http://{listen}");
    let (agents, cards) = (ecs::acs::Sessions::default(), ec2::CardSocket::new());
    let iam = Arc::new(iam::Iam::new(platform.store.clone()));
    let exposition = agent::Exposition::default();
    let shown = exposition.clone();
    let edge = Edge::new(platform.clone(), Arc::clone(&iam) as Arc<dyn Authenticator>)
        .services(services(&iam, &endpoint, Some(signer.verifier()), &cards))
        .socket(Arc::new(cards))
        .socket(Arc::new(ecs::acs::AcsService::new(agents.clone())))
        .socket(Arc::new(ecs::tcs::TcsService::default()))
        .exposing(Arc::new(move || shown.render()))
        .options(Options { accept_any_credentials: up.accept_any_credentials });
    // What tasks have is ended before the network that they have it in.
    let tenancies: Vec<Box<dyn Tenancy>> =
        vec![Box::new(ecs::tenancy::Evict), Box::new(ec2::Evict)];
    let settings = ecs::Settings { agent_grace: up.agent_grace, retention: up.retention };
    let supervisor = Supervisor::new(platform.clone())
        .with([Box::new(Sweeper) as Box<dyn Controller>])
        .with([Box::new(iam::sessions::Sweeper) as Box<dyn Controller>])
        .with([Box::new(iam::Closer::new(tenancies)) as Box<dyn Controller>])
        .with(ecs::controllers(&agents, settings));

    // The node.
    let credentials = Credentials {
        access_key: node.access_key_id.clone(),
        secret_key: node.secret.reveal().to_owned(),
        session_token: None,
    };
    let client = wire::client::Client {
        endpoint: endpoint.parse()?,
        region: up.region.clone(),
        credentials: credentials.clone(),
    };
    let card_config = card_config(layout, up, metadata.as_ref())?;
    let card = card::Card::new(card_config);
    let seen = card.seen();
    let (plan_sender, plans) = watch::channel(None);
    let (report_sender, reports) = mpsc::channel(REPORTS);
    let card_endpoint = format!("{endpoint}{}", ec2::card::PATH).parse()?;
    let agent = agent::Config {
        cluster: up.cluster.clone(),
        region: up.region.clone(),
        endpoint: endpoint.clone(),
        credentials,
        engine: engine(up),
        introspection: up.introspection.0,
        exposition: exposition.clone(),
        zone_id: instance.zones.first().map(|zone| zone.id.clone()),
        seed: u64::from(std::process::id()),
        ..up.images.apply(agent_config(layout)?)
    };

    announce(layout, listen, &up.region, &root)?;
    let (trigger, shutdown) = Shutdown::new();
    let (agent_stop, agent_stopping) = watch::channel(false);
    let mut programs = JoinSet::new();
    programs.spawn(edge.serve(listener, shutdown.clone()));
    programs.spawn(supervisor.run(shutdown.clone()));
    // The card ends when nobody can send it a plan any more.
    let stop = shutdown.clone();
    programs.spawn(async move {
        tokio::select! {
            () = stop.requested() => {}
            () = card_link::run(client, card_endpoint, plan_sender, reports, seen) => {}
        }
    });
    programs.spawn(card::run(card, plans, report_sender));
    metadata::serve(&mut programs, up, metadata, &shutdown).await;
    programs.spawn(async move {
        if let Err(error) = Box::pin(agent::run(agent, agent_stopping)).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the agent ended");
        }
    });

    let outcome = tokio::select! {
        _ = signals.terminate.recv() => Ok(Ended::Asked),
        _ = signals.interrupt.recv() => Ok(Ended::Asked),
        _ = signals.hangup.recv() => Ok(Ended::Restoring),
        ended = programs.join_next() => Err(match ended {
            Some(Err(error)) => format!("a part of Landfall died: {error}"),
            _ => "a part of Landfall ended".to_owned(),
        }),
    };
    tracing::info!("going down; tasks stay up");
    trigger.shut_down();
    agent_stop.send_replace(true);
    let ended = async { while programs.join_next().await.is_some() {} };
    if timeout(SHUTDOWN_LIMIT, ended).await.is_err() {
        tracing::warn!("not everything ended in time");
    }
    outcome.map_err(AnyError::from)
}

/// The state, and what is around it. Opening it also makes sure that no other Landfall
/// has it.
async fn open(layout: &Layout, up: &Up) -> Result<Platform, AnyError> {
    let quotas = Quotas::new(up.rules_per_security_group, up.security_groups_per_interface)?;
    let backend = SqliteBackend::open(&layout.database())?;
    let store = Store::open(Box::new(backend), registry()).await?;
    Ok(Platform { quotas, ..Platform::new(store) })
}

/// How the card of this machine is set.
fn card_config(
    layout: &Layout,
    up: &Up,
    metadata: Option<&Arc<card::imds::Metadata>>,
) -> Result<card::Config, AnyError> {
    let mut config = card::Config::new(&layout.card_prefix(), layout.card())?;
    if !up.resolvers.is_empty() {
        config.resolvers = card::Resolvers::At(up.resolvers.clone());
    }
    config.task_metadata = metadata.filter(|_| up.task_imds).cloned();
    Ok(config)
}

/// Removes what the node programs made on the machine, running or not. One that
/// cannot be removed does not keep the other.
pub(crate) async fn teardown(layout: &Layout, leave: agent::Leave) -> Result<(), AnyError> {
    let containers = agent::teardown(&agent_config(layout)?, leave).await;
    let config = card::Config::new(&layout.card_prefix(), layout.card())?;
    let network = card::Card::new(config).teardown().await;
    containers?;
    Ok(network?)
}

/// Where the agent of this installation has its things. Whom it speaks to, and as
/// whom, is for [`run`] to say.
pub(crate) fn agent_config(layout: &Layout) -> Result<agent::Config, AnyError> {
    let machine: Option<Machine> = read_json(&layout.machine())?;
    Ok(agent::Config {
        cluster: String::new(),
        region: String::new(),
        endpoint: String::new(),
        credentials: Credentials {
            access_key: String::new(),
            secret_key: String::new(),
            session_token: None,
        },
        data_dir: layout.agent(),
        run_dir: layout.run.clone(),
        containerd: machine.and_then(|machine| machine.containerd),
        prefix: layout.prefix.clone(),
        identity_document: String::new(),
        identity_signature: String::new(),
        cpu: None,
        memory_mib: None,
        image_pull_behavior: PullBehavior::PreferCached,
        registries: Registries::default(),
        image_limits: Limits::default(),
        engine: agent::engine::Settings::default(),
        max_output: MAX_OUTPUT,
        introspection: None,
        exposition: agent::Exposition::default(),
        storage_pause: Duration::from_mins(1),
        zone_id: None,
        attributes: Vec::new(),
        seed: 0,
    })
}

/// What the agent's engine is told.
fn engine(up: &Up) -> agent::engine::Settings {
    let (pull_from, cleanup_wait) = (up.images.pull_from, up.task_cleanup_wait);
    agent::engine::Settings { pull_from, cleanup_wait }
}

/// The instance that this machine is, made on the first start in its region.
async fn machine(
    layout: &Layout,
    up: &Up,
    platform: &Platform,
    scope: &Scope,
) -> Result<ec2::records::Instance, AnyError> {
    let remembered: Option<Machine> = read_json(&layout.machine())?;
    let before = remembered.filter(|machine| machine.scope == *scope).map(|m| m.instance);
    let zones = (!up.zones.is_empty()).then(|| up.zones.clone());
    let instance_type = up.instance_type.clone();
    let described = ec2::Machine { instance: before, zones, instance_type };
    let instance = ec2::instances::register(platform, scope, described).await?;
    let machine = Machine {
        scope: scope.clone(),
        instance: instance.id.clone(),
        containerd: up.containerd.clone(),
    };
    write_json(&layout.machine(), &machine)?;
    Ok(instance)
}

/// Leaves word for the other commands: how to reach us, and which process we are.
fn announce(
    layout: &Layout,
    listen: SocketAddr,
    region: &str,
    root: &iam::Key,
) -> Result<(), AnyError> {
    let access = Access {
        listen,
        region: region.to_owned(),
        key_id: root.access_key_id.clone(),
        secret: root.secret.reveal().to_owned(),
    };
    write_json(&layout.access(), &access)?;
    fs::write(layout.pid(), std::process::id().to_string())?;
    tracing::info!(%listen, region, "serving the AWS APIs");
    Ok(())
}
