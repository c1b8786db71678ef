//! The whole agent against a control plane that speaks just enough.

#![allow(clippy::wildcard_enum_match_arm)] // Tests look for one kind among many.

use crate::machine::{IMAGE, Machine, written};
use agent::engine::TaskArn;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

pub(crate) const INSTANCE: &str =
    "arn:aws:ecs:us-east-1:000000000000:container-instance/default/aaaa";

/// The task of every [`payload`].
const TASK: &str =
    "arn:aws:ecs:us-east-1:000000000000:task/default/0123456789abcdef0123456789abcdef";

/// What the agent does, in order.
#[derive(Debug)]
pub(crate) enum Seen {
    /// Of an operation, with a body.
    Call(String, Value),
    Opened(String),
    Frame(&'static str, String),
}

pub(crate) struct Control {
    pub(crate) address: String,
    seen: mpsc::UnboundedReceiver<Seen>,
    /// Frames for ACS.
    pub(crate) say: mpsc::UnboundedSender<Value>,
    _tasks: JoinSet<()>,
}

impl Control {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let (tell, seen) = mpsc::unbounded_channel();
        let (say, said) = mpsc::unbounded_channel();
        let said = Arc::new(Mutex::new(said));
        let mut tasks = JoinSet::new();
        let own = address.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accepts");
                connections.spawn(serve(stream, own.clone(), tell.clone(), said.clone()));
            }
        });
        Self { address, seen, say, _tasks: tasks }
    }

    /// Waits for something, passing over the rest.
    pub(crate) async fn until<T>(&mut self, mut wanted: impl FnMut(&Seen) -> Option<T>) -> T {
        let found = async {
            loop {
                let seen = self.seen.recv().await.expect("a control plane");
                if let Some(found) = wanted(&seen) {
                    return found;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(40), found).await.expect("in time")
    }

    pub(crate) async fn frame(&mut self, kind: &str) -> Value {
        self.until(|seen| match seen {
            Seen::Frame("acs", text) => {
                let frame: Value = serde_json::from_str(text).ok()?;
                (frame["type"] == kind).then(|| frame["message"].clone())
            }
            _ => None,
        })
        .await
    }

    pub(crate) async fn change(&mut self) -> Value {
        self.until(|seen| match seen {
            Seen::Call(name, body) if name == "SubmitTaskStateChange" => Some(body.clone()),
            _ => None,
        })
        .await
    }
}

async fn serve(
    mut stream: TcpStream,
    own: String,
    tell: mpsc::UnboundedSender<Seen>,
    said: Arc<Mutex<mpsc::UnboundedReceiver<Value>>>,
) {
    let mut head = [0; 16];
    while stream.peek(&mut head).await.expect("peeks") < head.len() {
        tokio::task::yield_now().await;
    }
    if head.starts_with(b"GET ") {
        websocket(stream, tell, said).await;
        return;
    }
    // One call after another on a connection that is kept.
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let text = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        let original = String::from_utf8_lossy(&buffer[..end]).into_owned();
        let header = |name: &str| {
            let at = text.find(&format!("\r\n{name}: "))? + name.len() + 4;
            original[at..].lines().next().map(str::to_owned)
        };
        assert!(header("authorization").is_some_and(|a| a.contains("/us-east-1/ecs/aws4_request")));
        let length: usize = header("content-length").and_then(|n| n.parse().ok()).expect("length");
        while buffer.len() < end + length {
            stream.read_buf(&mut buffer).await.expect("reads");
        }
        let body: Value = serde_json::from_slice(&buffer[end..end + length]).expect("JSON");
        buffer.drain(..end + length);
        let key = header("authorization").expect("signed");
        let key = key.split("Credential=").nth(1).and_then(|rest| rest.split('/').next());
        let target = header("x-amz-target").expect("a target");
        let name = target.rsplit('.').next().expect("a name").to_owned();
        let answer = match name.as_str() {
            "RegisterContainerInstance" => json!({ "containerInstance": {
                "containerInstanceArn": INSTANCE, "attributes": body["attributes"],
            } }),
            "DiscoverPollEndpoint" => json!({
                "endpoint": format!("{own}/acs/"), "telemetryEndpoint": format!("{own}/tcs"),
            }),
            "ListTagsForResource" if body["resourceArn"] == INSTANCE => json!({
                "__type": "AccessDeniedException", "message": "not of the instance",
            }),
            "ListTagsForResource" => json!({ "tags": [{ "key": "team", "value": "blue" }] }),
            "GetTaskProtection" | "UpdateTaskProtection" => json!({
                "failures": [],
                // By whose key it was asked is told in the answer.
                "protectedTasks": [{
                    "taskArn": key, "protectionEnabled": body["protectionEnabled"] == true,
                }],
            }),
            _ => json!({ "acknowledgment": "ok" }),
        };
        tell.send(Seen::Call(name, body)).expect("a test");
        let status = if answer["__type"].is_null() { "200 OK" } else { "400 Bad Request" };
        let answer = answer.to_string();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.1\r\n\
             x-amzn-requestid: r-1\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        stream.write_all(answer.as_bytes()).await.expect("writes");
    }
}

async fn websocket(
    stream: TcpStream,
    tell: mpsc::UnboundedSender<Seen>,
    said: Arc<Mutex<mpsc::UnboundedReceiver<Value>>>,
) {
    use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
    let mut which = "tcs";
    #[expect(clippy::result_large_err, reason = "tungstenite's own type")]
    let look = |request: &Request, response: Response| {
        assert!(request.headers().contains_key("authorization"), "unsigned");
        if request.uri().path() == "/acs/ws" {
            which = "acs";
        }
        tell.send(Seen::Opened(request.uri().to_string())).expect("a test");
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, look).await.expect("upgrades");
    loop {
        let next = async {
            if which == "acs" {
                said.lock().await.recv().await
            } else {
                std::future::pending().await
            }
        };
        tokio::select! {
            frame = socket.next() => match frame {
                Some(Ok(Message::Text(text))) => {
                    if tell.send(Seen::Frame(which, text.to_string())).is_err() {
                        return;
                    }
                    if which == "tcs" {
                        let ack = json!({ "type": "AckPublishMetric", "message": {} });
                        socket.send(Message::text(ack.to_string())).await.expect("sends");
                    }
                }
                Some(Ok(_)) => {}
                _ => return,
            },
            frame = next => {
                let Some(frame) = frame else { return };
                // An order to hang up, for tests.
                if frame.is_null() {
                    return;
                }
                socket.send(Message::text(frame.to_string())).await.expect("sends");
            }
        }
    }
}

pub(crate) fn payload(desired: &str, id: &str) -> Value {
    json!({ "type": "PayloadMessage", "message": {
        "clusterArn": "arn:aws:ecs:us-east-1:000000000000:cluster/default",
        "containerInstanceArn": INSTANCE, "messageId": id, "seqNum": 3, "generatedAt": 1,
        "tasks": [{
            "arn": TASK,
            "family": "web", "version": "1", "desiredStatus": desired, "networkMode": "none",
            "roleCredentials": {
                "credentialsId": "c1", "roleArn": "r", "accessKeyId": "a", "secretAccessKey": "s",
                "sessionToken": "t", "expiration": "2030-01-01T00:00:00Z",
            },
            "containers": [{
                "name": "web", "image": IMAGE, "essential": true, "cpu": 10, "memory": 32,
                "command": ["sh", "-c", "trap 'exit 6' TERM; echo $AWS_REGION; while :; do sleep 0.05; done"],
            }],
        }],
    } })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_agent_takes_a_task_from_acs_and_reports_it() {
    let mut machine = Machine::with_image().await;
    let mut control = Control::start().await;
    machine.config.endpoint.clone_from(&control.address);
    let (stop, stopped) = watch::channel(false);
    let mut agents = JoinSet::new();
    agents.spawn(agent::run(machine.config.clone(), stopped.clone()));

    let registered = control
        .until(|seen| match seen {
            Seen::Call(name, body) if name == "RegisterContainerInstance" => Some(body.clone()),
            _ => None,
        })
        .await;
    assert_eq!(registered["containerInstanceArn"], Value::Null);
    let names: Vec<&str> = registered["attributes"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|a| a["name"].as_str())
        .collect();
    assert!(names.contains(&"ecs.capability.task-eni"), "{names:?}");
    assert_eq!(registered["totalResources"][0]["name"], "CPU");

    let mut paths = Vec::new();
    let mut metrics = String::new();
    while paths.len() < 2 || metrics.is_empty() {
        match control.until(|seen| Some(format!("{seen:?}"))).await {
            text if text.starts_with("Opened") => paths.push(text),
            text if text.contains("PublishMetricsRequest") => metrics = text,
            _ => {}
        }
    }
    let acs = paths.iter().find(|path| path.contains("/acs/ws?")).expect("ACS");
    assert!(acs.contains("sendCredentials=true") && acs.contains("protocolVersion=2"), "{acs}");
    assert!(metrics.contains("Authorization: AWS4-HMAC-SHA256"), "{metrics}");
    assert!(metrics.contains("\\\"idle\\\":true"), "{metrics}");

    let beat =
        json!({ "type": "HeartbeatMessage", "message": { "messageId": "h", "healthy": true } });
    control.say.send(beat).expect("a control plane");
    assert_eq!(control.frame("HeartbeatAckRequest").await["messageId"], "h");
    control.say.send(payload("RUNNING", "m1")).expect("a control plane");
    let ack = control.frame("AckRequest").await;
    assert_eq!((&ack["messageId"], &ack["containerInstance"]), (&json!("m1"), &json!(INSTANCE)));
    assert_eq!(control.frame("IAMRoleCredentialsAckRequest").await["credentialsId"], "c1");
    let change = control.change().await;
    assert_eq!(change["status"], "RUNNING");
    assert_eq!(change["containers"][0]["containerName"], "web");

    // A new agent is the same instance, and its task has not noticed.
    stop.send(true).expect("an agent");
    agents.join_next().await.expect("an agent").expect("no panic").expect("ends well");
    stop.send(false).expect("a channel");
    agents.spawn(agent::run(machine.config.clone(), stopped));
    let again = control
        .until(|seen| match seen {
            Seen::Call(name, body) if name == "RegisterContainerInstance" => Some(body.clone()),
            _ => None,
        })
        .await;
    assert_eq!(again["containerInstanceArn"], INSTANCE);
    control
        .until(|seen| matches!(seen, Seen::Opened(path) if path.contains("/acs/")).then_some(()))
        .await;
    let manifest = json!({ "type": "TaskManifestMessage", "message": {
        "messageId": "f", "clusterArn": "c", "containerInstanceArn": INSTANCE, "timeline": 9,
        "generatedAt": 1, "tasks": [],
    } });
    control.say.send(manifest).expect("a control plane");
    let offered = control.frame("TaskStopVerificationMessage").await;
    assert_eq!(offered["stopCandidates"].as_array().map(Vec::len), Some(1));
    // A shell that has not come to its trap yet would not hear the signal.
    written(&machine, &TaskArn::new(TASK), "web", "us-east-1").await;
    control.say.send(payload("STOPPED", "m2")).expect("a control plane");
    let change = control.change().await;
    assert_eq!(change["status"], "STOPPED");
    assert_eq!(change["containers"][0]["exitCode"], 6);
    assert_eq!(change["reason"], "");
    stop.send(true).expect("an agent");
    agents.join_next().await.expect("an agent").expect("no panic").expect("ends well");
    agent::teardown(&machine.config, agent::Leave::Nothing).await.expect("torn down");
    assert_eq!(machine.traces(), [""; 0]);
}
