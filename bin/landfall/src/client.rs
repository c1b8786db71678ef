//! A client of a running Landfall, which it speaks to as any AWS tool would.

use crate::commands::AnyError;
use crate::layout::Access;
use chassis::Clock as _;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use wire::sigv4::Credentials;

/// How many things one Describe call may name (the ECS API's limit).
const DESCRIBE_LIMIT: usize = 100;

/// See the module.
pub(crate) struct Client {
    http: Http<HttpConnector, Full<Bytes>>,
    signer: wire::client::Client,
}

impl Client {
    /// A client that acts as the root user of the installation.
    pub(crate) fn new(access: &Access) -> Result<Self, AnyError> {
        Ok(Self {
            http: Http::builder(TokioExecutor::new()).build_http(),
            signer: wire::client::Client {
                endpoint: format!("http://{}/", access.listen).parse()?,
                region: access.region.clone(),
                credentials: Credentials {
                    access_key: access.key_id.clone(),
                    secret_key: access.secret.clone(),
                    session_token: None,
                },
            },
        })
    }

    /// Whether the APIs are served.
    pub(crate) async fn health(&self) -> Result<(), AnyError> {
        let uri = format!("{}_landfall/health", self.signer.endpoint);
        let request = http::Request::get(uri).body(Vec::new())?;
        self.send(request).await.map(drop)
    }

    /// One call of the ECS API, by the operation's name, as JSON.
    pub(crate) async fn ecs(&self, operation: &str, request: &Value) -> Result<Value, AnyError> {
        self.call(&wire::ecs::SERVICE, operation, request).await
    }

    /// One call of what AWS has no API for.
    pub(crate) async fn landfall(
        &self,
        operation: &str,
        request: &Value,
    ) -> Result<Value, AnyError> {
        self.call(&wire::landfall::SERVICE, operation, request).await
    }

    /// All accounts.
    pub(crate) async fn accounts(&self) -> Result<Vec<Value>, AnyError> {
        let mut request = json!({});
        let mut all = Vec::new();
        loop {
            let answer = self.landfall("ListAccounts", &request).await?;
            all.extend(items(&answer, "accounts"));
            match answer.get("nextToken") {
                Some(Value::String(token)) => request["nextToken"] = token.clone().into(),
                _ => return Ok(all),
            }
        }
    }

    async fn call(
        &self,
        service: &'static wire::Service,
        operation: &str,
        request: &Value,
    ) -> Result<Value, AnyError> {
        let body = serde_json::to_vec(request)?;
        let now = chassis::SystemClock.now();
        let request = self.signer.post(service, operation, body, now)?;
        Ok(serde_json::from_slice(&self.send(request).await?)?)
    }

    /// The clusters, described.
    pub(crate) async fn clusters(&self) -> Result<Vec<Value>, AnyError> {
        let arns = self.list("ListClusters", "clusterArns", &json!({})).await?;
        let mut clusters = Vec::new();
        for names in arns.chunks(DESCRIBE_LIMIT) {
            let answer = self.ecs("DescribeClusters", &json!({ "clusters": names })).await?;
            clusters.extend(items(&answer, "clusters"));
        }
        Ok(clusters)
    }

    /// The container instances of each cluster, described.
    pub(crate) async fn container_instances(&self) -> Result<Vec<(String, Vec<Value>)>, AnyError> {
        self.in_clusters(
            ("ListContainerInstances", "containerInstanceArns"),
            ("DescribeContainerInstances", "containerInstances"),
        )
        .await
    }

    /// The tasks of each cluster that are wanted, described.
    pub(crate) async fn tasks(&self) -> Result<Vec<(String, Vec<Value>)>, AnyError> {
        self.in_clusters(("ListTasks", "taskArns"), ("DescribeTasks", "tasks")).await
    }

    /// Cluster and ARN of every task that is not stopped yet.
    pub(crate) async fn unstopped_tasks(&self) -> Result<Vec<(String, String)>, AnyError> {
        let mut arns = Vec::new();
        for cluster in self.list("ListClusters", "clusterArns", &json!({})).await? {
            for wish in ["RUNNING", "STOPPED"] {
                let filter = json!({ "cluster": cluster, "desiredStatus": wish });
                let listed = self.list("ListTasks", "taskArns", &filter).await?;
                for names in listed.chunks(DESCRIBE_LIMIT) {
                    let request = json!({ "cluster": cluster, "tasks": names });
                    let answer = self.ecs("DescribeTasks", &request).await?;
                    let unstopped =
                        items(&answer, "tasks").filter(|task| task["lastStatus"] != "STOPPED");
                    arns.extend(unstopped.filter_map(|task| {
                        Some((cluster.clone(), task["taskArn"].as_str()?.to_owned()))
                    }));
                }
            }
        }
        Ok(arns)
    }

    async fn in_clusters(
        &self,
        (list, arns): (&str, &str),
        (describe, member): (&str, &str),
    ) -> Result<Vec<(String, Vec<Value>)>, AnyError> {
        let mut found = Vec::new();
        for cluster in self.list("ListClusters", "clusterArns", &json!({})).await? {
            let mut described = Vec::new();
            let listed = self.list(list, arns, &json!({ "cluster": cluster })).await?;
            for names in listed.chunks(DESCRIBE_LIMIT) {
                let request = json!({ "cluster": cluster, member: names });
                let answer = self.ecs(describe, &request).await?;
                described.extend(items(&answer, member));
            }
            found.push((cluster, described));
        }
        Ok(found)
    }

    /// Every page of a List call.
    async fn list(
        &self,
        operation: &str,
        member: &str,
        filter: &Value,
    ) -> Result<Vec<String>, AnyError> {
        let mut request = filter.clone();
        let mut all = Vec::new();
        loop {
            let answer = self.ecs(operation, &request).await?;
            all.extend(items(&answer, member).filter_map(|arn| arn.as_str().map(str::to_owned)));
            match answer.get("nextToken") {
                Some(Value::String(token)) => request["nextToken"] = token.clone().into(),
                _ => return Ok(all),
            }
        }
    }

    async fn send(&self, request: http::Request<Vec<u8>>) -> Result<Vec<u8>, AnyError> {
        let answer = self.http.request(request.map(|body| Full::new(body.into()))).await?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes().to_vec();
        if head.status.is_success() {
            return Ok(body);
        }
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        let why = said["message"].as_str().or_else(|| said["__type"].as_str());
        Err(why.map_or_else(|| head.status.to_string(), str::to_owned).into())
    }
}

pub(crate) fn items<'a>(answer: &'a Value, member: &str) -> impl Iterator<Item = Value> + use<'a> {
    answer[member].as_array().into_iter().flatten().cloned()
}
