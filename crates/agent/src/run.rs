//! The agent, put together.

use crate::acs::Acs;
use crate::api::{Api, CallError, Identity};
use crate::backoff::{Backoff, Jitter};
use crate::config::Config;
use crate::credentials::Credentials;
use crate::endpoints::{Doors, Machine, Meters};
use crate::error::{Error, chain};
use crate::host::Host;
use crate::rim::{Rim, Tools};
use crate::runtime::Containers;
use crate::socket::SocketError;
use crate::tcs::Tcs;
use crate::usage::{AllWritten, Meter, Readings, Storage};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A connection that lasted this long was a good one.
const GOOD: Duration = Duration::from_mins(1);

/// Runs the agent until `shutdown` becomes true. Its tasks go on.
pub async fn run(config: Config, mut shutdown: watch::Receiver<bool>) -> Result<(), Error> {
    let host = Host::open(&config).await?;
    let runtime = format!("containerd: {}", host.containers.version().await?);
    let api = Arc::new(Api::new(&config)?);
    let containers: Arc<dyn Containers> = host.containers.clone();
    let credentials = Arc::new(Credentials::default());
    let meter = Arc::new(Meter::new(containers.clone(), host.networks.clone()));
    let storage =
        Arc::new(Storage::new(containers.clone(), host.state.clone(), config.storage_pause));
    let doors = Arc::new(Doors::new(
        host.networks.clone(),
        Meters { meter: meter.clone(), storage: storage.clone() },
        credentials.clone(),
        api.clone(),
        Machine {
            cluster: config.cluster.clone(),
            zone_id: config.zone_id.clone(),
            state: host.state.clone(),
            shared_volumes: config.shared_volumes(),
        },
    ));
    let tools = Tools {
        containers: containers.clone(),
        networks: doors.clone(),
        reporter: api.clone(),
        state: host.state.clone(),
        environment: BTreeMap::from([
            ("AWS_REGION".to_owned(), config.region.clone()),
            ("AWS_DEFAULT_REGION".to_owned(), config.region.clone()),
        ]),
        settings: config.engine,
    };
    // Tasks of before are looked after even while the control plane is away.
    let (rim, worker) = tokio::select! {
        started = Rim::start(tools) => started?,
        never = host.keep_containerd() => match never {},
        _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
    };
    let engine = rim.clone();
    let (opened, asked) = (doors.clone(), config.introspection);
    let opening = async move {
        opened.lead_to(engine).await;
        opened.tell_operator(asked).await
    };
    let (cleaned, limits) = (rim.clone(), config.image_limits);
    let (metered, exposition) = (rim.clone(), config.exposition.clone());
    let output = crate::output::keep(config.tasks_dir(), config.max_output);
    let agent = Agent {
        jitter: Jitter::new(config.seed ^ u64::from(std::process::id())),
        credentials,
        doors,
        runtime,
        config,
        api,
        rim,
        readings: meter.readings(),
        written: storage.written(),
    };
    tokio::select! {
        ended = agent.stay_connected() => ended,
        () = worker.run(shutdown.clone()) => Ok(()),
        never = host.keep_containerd() => match never {},
        never = host.keep_books() => match never {},
        never = host.clean_up(&cleaned, limits) => match never {},
        never = output => match never {},
        never = meter.run(&metered, &exposition) => match never {},
        never = storage.run(&metered, &exposition) => match never {},
        never = opening => match never {},
        _ = shutdown.wait_for(|stop| *stop) => Ok(()),
    }
}

struct Agent {
    config: Config,
    api: Arc<Api>,
    rim: Rim,
    readings: watch::Receiver<Arc<Readings>>,
    written: watch::Receiver<Arc<AllWritten>>,
    credentials: Arc<Credentials>,
    doors: Arc<Doors>,
    runtime: String,
    jitter: Jitter,
}

impl Agent {
    /// Registers, connects, and does so again whenever the control plane has
    /// forgotten us.
    async fn stay_connected(mut self) -> Result<(), Error> {
        let mut anew = false;
        let mut first = true;
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1), 20);
        loop {
            let identity = self.api.register(&self.config, &self.runtime, anew).await?;
            self.doors.registered(&identity);
            self.serve(&identity, &mut first).await;
            tracing::warn!(instance = identity.instance, "deregistered; registering anew");
            anew = true;
            tokio::time::sleep(backoff.next(&mut self.jitter)).await;
        }
    }

    /// Keeps both connections until one is told that this instance is no more.
    async fn serve(&mut self, identity: &Identity, first: &mut bool) {
        let acs = Acs {
            client: self.api.client().clone(),
            identity: identity.clone(),
            rim: self.rim.clone(),
            credentials: self.credentials.clone(),
            memory: self.config.data_dir.join("acs.sequence"),
        };
        let tcs = Tcs {
            client: self.api.client().clone(),
            identity: identity.clone(),
            rim: self.rim.clone(),
            readings: self.readings.clone(),
            written: self.written.clone(),
        };
        let (one, other) = (self.jitter.fork(), self.jitter.fork());
        tokio::select! {
            () = self.keep_acs(&acs, first, one) => {}
            () = self.keep_tcs(&tcs, other) => {}
        }
    }

    async fn keep_acs(&self, acs: &Acs, first: &mut bool, mut jitter: Jitter) {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_mins(2), 15);
        loop {
            let begun = Instant::now();
            let mut connected = false;
            let ended = match self.api.discover(&acs.identity).await {
                Ok((endpoint, _)) => {
                    acs.converse(&endpoint, *first, &mut jitter, || connected = true).await
                }
                Err(error) => Err(undiscovered(&error)),
            };
            *first &= !connected;
            self.forget_credentials().await;
            if pause("ACS", ended, begun, &mut backoff, &mut jitter).await {
                return;
            }
        }
    }

    async fn keep_tcs(&self, tcs: &Tcs, mut jitter: Jitter) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1), 20);
        loop {
            let begun = Instant::now();
            let ended = match self.api.discover(&tcs.identity).await {
                Ok((_, endpoint)) => tcs.converse(&endpoint, &mut jitter, || ()).await,
                Err(error) => Err(undiscovered(&error)),
            };
            if pause("TCS", ended, begun, &mut backoff, &mut jitter).await {
                return;
            }
        }
    }

    async fn forget_credentials(&self) {
        let state = self.rim.state().await;
        let lives = |task: &_| state.tasks.get(task).is_none_or(|t| t.finished_at.is_none());
        self.credentials.retain(lives);
    }
}

fn undiscovered(error: &CallError) -> SocketError {
    let text = chain(error);
    if text.contains("InactiveInstanceException") {
        SocketError::Inactive
    } else {
        SocketError::Refused { status: 0, body: text }
    }
}

/// Waits as long as the end of a connection calls for. `true` if there is no
/// point in another.
async fn pause(
    which: &str,
    ended: Result<(), SocketError>,
    begun: Instant,
    backoff: &mut Backoff,
    jitter: &mut Jitter,
) -> bool {
    if begun.elapsed() >= GOOD {
        backoff.reset();
    }
    match ended {
        Err(SocketError::Inactive) => return true,
        Ok(()) => tracing::info!("{which} closed the connection"),
        Err(error) if error.is_close() => tracing::info!("{which} closed the connection"),
        Err(error) => {
            let pause = backoff.next(jitter);
            tracing::warn!(error = chain(&error), ?pause, "{which} connection failed");
            tokio::time::sleep(pause).await;
            return false;
        }
    }
    // Closed in good order: at once, but not in a spin.
    if begun.elapsed() < Duration::from_secs(1) {
        tokio::time::sleep(backoff.next(jitter)).await;
    }
    false
}
