//! The ECS API, as far as an agent calls it.

mod register;

pub use register::resources;

use crate::backoff::{Backoff, Jitter};
use crate::clock;
use crate::config::Config;
use crate::engine::{Binding, Known, Report};
use crate::error::Error;
use crate::rim::Reporter;
use async_trait::async_trait;
use http::Uri;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use wire::Fault;
use wire::client::{Call, Client, response};
use wire::ecs;
use wire::sigv4::Credentials;

/// For one answer.
const TIMEOUT: Duration = Duration::from_mins(1);
/// Reports under way at once.
const PARALLEL: usize = 10;

/// Who we are to the control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The cluster, as it was configured.
    pub cluster: String,
    /// Our ARN.
    pub instance: String,
    /// What runs the containers, in the form that the protocol wants.
    pub runtime: String,
    /// The availability zone that the control plane says this machine is in.
    pub zone: Option<String>,
    /// The VPC, likewise.
    pub vpc: Option<String>,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The service said no.
    #[error("{}: {}", .fault.code, .fault.message)]
    #[allow(missing_docs)]
    Fault { fault: Fault, request_id: Option<String> },
    /// The service did not answer.
    #[error("no answer")]
    Network(#[from] reqwest::Error),
}

impl CallError {
    /// A fault without an answer of the service's.
    fn ours(fault: Fault) -> Self {
        Self::Fault { fault, request_id: None }
    }

    /// Whether asking the same again could be answered otherwise.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Network(_) => true,
            Self::Fault { fault, .. } => {
                fault.status >= 500
                    || matches!(&*fault.code, "ThrottlingException" | "LimitExceededException")
            }
        }
    }

    fn is(&self, code: &str) -> bool {
        matches!(self, Self::Fault { fault, .. } if fault.code == code)
    }
}

/// The API.
pub struct Api {
    http: reqwest::Client,
    client: Client,
    jitter: Mutex<Jitter>,
    reports: Semaphore,
}

impl Api {
    /// The API at the configured endpoint.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let endpoint: Uri = config
            .endpoint
            .parse()
            .map_err(|_| Error::Config(format!("{:?} is no endpoint", config.endpoint)))?;
        let http = reqwest::Client::builder();
        // Where there is no TLS, a machine need not have a store of certificates.
        let is_plain = endpoint.scheme_str() == Some("http");
        let http = if is_plain { http.tls_certs_only([]) } else { http };
        let http = http
            .timeout(TIMEOUT)
            // The endpoint is on our own network, and we read no environment.
            .no_proxy()
            .user_agent(concat!("Landfall Agent - v", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::Config(crate::error::chain(&error)))?;
        let (region, credentials) = (config.region.clone(), config.credentials.clone());
        let client = Client { endpoint, region, credentials };
        let jitter = Mutex::new(Jitter::new(config.seed));
        Ok(Self { http, client, jitter, reports: Semaphore::new(PARALLEL) })
    }

    /// What signs.
    pub fn client(&self) -> &Client {
        &self.client
    }

    fn jitter(&self) -> Jitter {
        self.jitter.lock().unwrap_or_else(PoisonError::into_inner).fork()
    }

    /// One call, once.
    pub async fn call<T: Call>(&self, call: &T) -> Result<T::Response, CallError> {
        self.call_with(&self.client, call).await
    }

    /// One call, once, in the name of somebody else.
    pub async fn call_as<T: Call>(
        &self,
        credentials: Credentials,
        call: &T,
    ) -> Result<T::Response, CallError> {
        self.call_with(&Client { credentials, ..self.client.clone() }, call).await
    }

    async fn call_with<T: Call>(
        &self,
        client: &Client,
        call: &T,
    ) -> Result<T::Response, CallError> {
        let request = client.request(call, clock::now()).map_err(CallError::ours)?;
        let answer = self.http.execute(reqwest::Request::try_from(request)?).await?;
        let status = answer.status();
        let headers = answer.headers().clone();
        let mut whole = http::Response::new(answer.bytes().await?.to_vec());
        *whole.status_mut() = status;
        *whole.headers_mut() = headers;
        response::<T>(&whole).map_err(|fault| {
            let id = whole.headers().get("x-amzn-requestid").and_then(|id| id.to_str().ok());
            CallError::Fault { fault, request_id: id.map(str::to_owned) }
        })
    }

    /// One call, again and again while its failure may pass.
    pub async fn persist<T: Call>(&self, call: &T) -> Result<T::Response, CallError> {
        let mut jitter = self.jitter();
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(30), 20);
        loop {
            match self.call(call).await {
                Err(error) if error.is_passing() => {
                    let error = crate::error::chain(&error);
                    tracing::warn!(operation = T::OPERATION, error, "trying again");
                    tokio::time::sleep(backoff.next(&mut jitter)).await;
                }
                other => return other,
            }
        }
    }

    /// Where ACS and TCS are.
    pub async fn discover(&self, identity: &Identity) -> Result<(String, String), CallError> {
        let request = ecs::DiscoverPollEndpointRequest {
            cluster: Some(identity.cluster.clone()),
            container_instance: Some(identity.instance.clone()),
        };
        let answer = self.persist(&request).await?;
        let missing = || {
            let text = "DiscoverPollEndpoint named no endpoint".to_owned();
            CallError::ours(Fault::new(500, "ServerException", text))
        };
        let acs = answer.endpoint.ok_or_else(missing)?;
        let tcs = answer.telemetry_endpoint.ok_or_else(missing)?;
        Ok((acs, tcs))
    }
}

fn status(known: Known) -> &'static str {
    match known {
        Known::Running => "RUNNING",
        Known::Stopped => "STOPPED",
        Known::None | Known::Pulled | Known::Created => "PENDING",
    }
}

fn bindings(binding: &Binding) -> impl Iterator<Item = ecs::NetworkBinding> {
    binding.addresses().map(|address| bound_at(address, binding))
}

fn bound_at(address: &str, binding: &Binding) -> ecs::NetworkBinding {
    let range = |(first, last): (u16, u16)| format!("{first}-{last}");
    let mut shown = ecs::NetworkBinding {
        bind_ip: Some(address.to_owned()),
        protocol: Some(binding.protocol.as_str().to_owned()),
        ..Default::default()
    };
    if binding.is_range {
        shown.container_port_range = Some(range(binding.container));
        shown.host_port_range = Some(range(binding.host));
    } else {
        shown.container_port = Some(i32::from(binding.container.0));
        shown.host_port = Some(i32::from(binding.host.0));
    }
    shown
}

fn change(report: &Report) -> ecs::SubmitTaskStateChangeRequest {
    let moment = |at: Option<ident::Timestamp>| at.map(|at| wire::Timestamp::from_millis(at.0));
    let containers = report.containers.iter().map(|container| ecs::ContainerStateChange {
        container_name: Some(container.name.clone()),
        exit_code: container.exit_code,
        image_digest: container.image_digest.clone(),
        network_bindings: Some(container.bindings.iter().flat_map(bindings).collect())
            .filter(|bindings: &Vec<_>| !bindings.is_empty()),
        reason: container.reason.clone(),
        runtime_id: Some(container.runtime_id.clone()),
        status: Some(status(container.status).to_owned()),
    });
    ecs::SubmitTaskStateChangeRequest {
        attachments: None,
        cluster: Some(report.cluster.clone()),
        containers: Some(containers.collect()),
        execution_stopped_at: moment(report.execution_stopped_at),
        managed_agents: None,
        pull_started_at: moment(report.pull_started_at),
        pull_stopped_at: moment(report.pull_stopped_at),
        reason: Some(report.reason.clone()),
        status: Some(status(report.status).to_owned()),
        task: Some(report.task.as_str().to_owned()),
    }
}

/// The engine reports a task's changes one after another, so order needs no
/// queue here, and the number of tasks bounds what can wait.
#[async_trait]
impl Reporter for Api {
    async fn submit(&self, report: &Report) {
        let mut jitter = self.jitter();
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(30), 20);
        let request = change(report);
        loop {
            let answer = {
                let Ok(_permit) = self.reports.acquire().await else { return };
                self.call(&request).await
            };
            match answer {
                Ok(_) => return,
                // The control plane will never take it; to insist would hold up what follows.
                Err(error) if error.is("InvalidParameterException") => {
                    let error = crate::error::chain(&error);
                    tracing::warn!(task = %report.task, error, "a report is dropped");
                    return;
                }
                Err(error) => {
                    let error = crate::error::chain(&error);
                    tracing::warn!(task = %report.task, error, "reporting again");
                    tokio::time::sleep(backoff.next(&mut jitter)).await;
                }
            }
        }
    }
}
