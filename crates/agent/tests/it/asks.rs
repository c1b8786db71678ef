//! What a task, and the operator of the machine, can ask the agent.

#![allow(clippy::wildcard_enum_match_arm)] // Tests look for one kind among many.

use crate::control::{Control, INSTANCE, payload};
use crate::machine::{Machine, until};
use nix::sched::{CloneFlags, setns};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Asks from inside the namespace of a task, or from the machine's.
pub(crate) async fn ask(
    namespace: Option<PathBuf>,
    at: SocketAddr,
    request: String,
) -> (u16, Value) {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        if let Some(path) = namespace {
            let file = File::open(path).expect("a namespace");
            setns(file, CloneFlags::CLONE_NEWNET).expect("enters");
        }
        let limit = Duration::from_secs(20);
        let mut stream = TcpStream::connect_timeout(&at, limit).expect("connects");
        stream.set_read_timeout(Some(limit)).expect("a limit");
        stream.write_all(request.as_bytes()).expect("asks");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("is answered");
        drop(sender.send(answer));
    });
    let answer = receiver.await.expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    (status, serde_json::from_str(body).expect("JSON"))
}

pub(crate) fn request(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_asks_for_its_tags_and_its_protection_and_the_operator_for_all() {
    let mut machine = Machine::with_image().await;
    let mut control = Control::start().await;
    machine.config.endpoint.clone_from(&control.address);
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let operator = free.local_addr().expect("an address");
    drop(free);
    machine.config.introspection = Some(operator);
    let (stop, stopped) = watch::channel(false);
    let mut agents = JoinSet::new();
    agents.spawn(agent::run(machine.config.clone(), stopped));
    control.say.send(payload("RUNNING", "m1")).expect("a control plane");
    let change = control.change().await;
    assert_eq!(change["status"], "RUNNING");
    let (arn, cluster) = (change["task"].as_str().expect("an ARN"), &change["cluster"]);
    let id = change["containers"][0]["runtimeId"].as_str().expect("an id");

    let short_id = agent::engine::TaskArn::new(arn).short_id();
    let namespace = PathBuf::from(format!("/run/netns/{}-{short_id}", machine.config.prefix));
    let door = SocketAddr::from((agent::netns::TASK_ENDPOINT, 80));
    let inside = |method: &str, path: &str, body: &str| {
        ask(Some(namespace.clone()), door, request(method, path, body))
    };
    for version in ["v3", "v4"] {
        let (status, task) = inside("GET", &format!("/{version}/{id}/taskWithTags"), "").await;
        assert_eq!((status, &task["TaskTags"]), (200, &json!({ "team": "blue" })));
        assert_eq!(task["ContainerInstanceTags"], Value::Null);
        let problem = json!([{
            "ErrorField": "ContainerInstanceTags", "ErrorCode": "AccessDeniedException",
            "ErrorMessage": "not of the instance", "StatusCode": 400, "RequestId": "r-1",
            "ResourceARN": INSTANCE,
        }]);
        assert_eq!(task["Errors"], if version == "v4" { problem } else { Value::Null });
    }

    // With the key of the task's role, not with ours.
    let path = format!("/api/{id}/task-protection/v1/state");
    let protection = |enabled| {
        json!({ "protection": {
            "TaskArn": "a", "ProtectionEnabled": enabled, "ExpirationDate": null,
        } })
    };
    assert_eq!(inside("GET", &path, "").await, (200, protection(false)));
    let wish = r#"{"ProtectionEnabled":true,"ExpiresInMinutes":7}"#;
    assert_eq!(inside("PUT", &path, wish).await, (200, protection(true)));
    let asked = control
        .until(|seen| match seen {
            crate::control::Seen::Call(name, body) if name == "UpdateTaskProtection" => {
                Some(body.clone())
            }
            _ => None,
        })
        .await;
    let wanted = json!({
        "cluster": cluster, "tasks": [arn], "protectionEnabled": true, "expiresInMinutes": 7,
    });
    assert_eq!(asked, wanted);
    assert_eq!(inside("PUT", &path, "{}").await.0, 400);
    assert_eq!(inside("POST", &path, "{}").await.0, 405);
    assert_eq!(inside("GET", "/api/other/task-protection/v1/state", "").await.0, 404);

    let from_outside = |path: &str| ask(None, operator, request("GET", path, ""));
    let (_, metadata) = from_outside("/v1/metadata").await;
    assert_eq!(
        (&metadata["Cluster"], &metadata["ContainerInstanceArn"]),
        (&json!("default"), &json!(INSTANCE))
    );
    let (_, tasks) = from_outside("/v1/tasks").await;
    assert_eq!((&tasks["Tasks"][0]["Arn"], &tasks["Tasks"][1]), (&json!(arn), &Value::Null));
    for query in
        [format!("taskarn={arn}"), format!("dockerid={id}"), format!("dockerid={}", &id[..12])]
    {
        let (status, task) = from_outside(&format!("/v1/tasks?{query}")).await;
        assert_eq!(
            (status, &task["Arn"], &task["KnownStatus"]),
            (200, &json!(arn), &json!("RUNNING"))
        );
    }

    // What the container uses is told to it, to TCS and to Prometheus.
    let (_, stats) = inside("GET", &format!("/v4/{id}/stats"), "").await;
    assert!(stats["cpu_stats"]["cpu_usage"]["total_usage"].as_u64() > Some(0), "{stats}");
    assert!(stats["pids_stats"]["current"].as_u64() > Some(0), "{stats}");
    assert_eq!(stats["networks"], Value::Null, "it has none");
    let shown = || machine.config.exposition.render();
    let series =
        format!("family=\"web\",task=\"{}\",container=", arn.rsplit('/').next().expect("an id"));
    until("the use being shown", || shown().contains(&series)).await;
    assert!(shown().contains("landfall_container_memory_bytes{cluster=\"default\","));
    let told = control
        .until(|seen| match seen {
            crate::control::Seen::Frame("tcs", text) if text.contains("storageStatsSet") => {
                Some(text.clone())
            }
            _ => None,
        })
        .await;
    assert!(told.contains("writeSizeBytes") && !told.contains("networkStatsSet"), "{told}");

    control.say.send(payload("STOPPED", "m2")).expect("a control plane");
    assert_eq!(control.change().await["status"], "STOPPED");
    until("nothing being shown", || !shown().contains(&series)).await;
    stop.send(true).expect("an agent");
    agents.join_next().await.expect("an agent").expect("no panic").expect("ends well");
    agent::teardown(&machine.config, agent::Leave::Nothing).await.expect("torn down");
    assert_eq!(machine.traces(), [""; 0]);
}

/// What a machine's own port is used for is no business of its tasks.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_keeps_nobody_from_running_tasks() {
    let mut machine = Machine::with_image().await;
    let mut control = Control::start().await;
    machine.config.endpoint.clone_from(&control.address);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    machine.config.introspection = Some(taken.local_addr().expect("an address"));
    let (stop, stopped) = watch::channel(false);
    let mut agents = JoinSet::new();
    agents.spawn(agent::run(machine.config.clone(), stopped));
    control.say.send(payload("RUNNING", "m1")).expect("a control plane");
    assert_eq!(control.change().await["status"], "RUNNING");
    stop.send(true).expect("an agent");
    agents.join_next().await.expect("an agent").expect("no panic").expect("ends well");
}
