//! What tasks write to disk.

#![allow(clippy::wildcard_enum_match_arm)] // Tests look for one kind among many.

use crate::asks::{ask, request};
use crate::control::{Control, Seen, payload};
use crate::machine::{Machine, until};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::sync::watch;
use tokio::task::JoinSet;

const MIB: u64 = 1 << 20;

/// Writes 8 MiB into the layer and 4 into the volume, and takes back the 8 when asked to.
const SCRIPT: &str = "trap 'exit 6' TERM; dd if=/dev/zero of=/layer bs=1M count=8; \
                      dd if=/dev/zero of=/own/file bs=1M count=4; \
                      until test -e /own/go; do sleep 0.1; done; rm /layer; \
                      while :; do sleep 0.05; done";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_task_writes_into_layers_and_volumes_of_its_own_is_told() {
    let mut machine = Machine::with_image().await;
    let mut control = Control::start().await;
    machine.config.endpoint.clone_from(&control.address);
    let (stop, stopped) = watch::channel(false);
    let mut agents = JoinSet::new();
    agents.spawn(agent::run(machine.config.clone(), stopped));
    let mut wish = payload("RUNNING", "m1");
    let task = &mut wish["message"]["tasks"][0];
    task["volumes"] = json!([{ "name": "own", "type": "host", "host": {} }]);
    task["containers"][0]["mountPoints"] =
        json!([{ "sourceVolume": "own", "containerPath": "/own" }]);
    task["containers"][0]["command"] = json!(["sh", "-c", SCRIPT]);
    let arn = task["arn"].as_str().expect("an ARN").to_owned();
    control.say.send(wish).expect("a control plane");
    let change = control.change().await;
    assert_eq!(change["status"], "RUNNING");

    let id = arn.rsplit('/').next().expect("an id").to_owned();
    let series =
        format!("landfall_task_storage_bytes{{cluster=\"default\",family=\"web\",task=\"{id}\"}} ");
    let shown = || {
        let text = machine.config.exposition.render();
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.map(|bytes| bytes.parse::<u64>().expect("a number"))
    };
    let both = 12 * MIB..13 * MIB;
    until("what was written being shown", || shown().is_some_and(|it| both.contains(&it))).await;

    let runtime_id = change["containers"][0]["runtimeId"].as_str().expect("an id").to_owned();
    let short_id = agent::engine::TaskArn::new(&arn).short_id();
    let namespace = PathBuf::from(format!("/run/netns/{}-{short_id}", machine.config.prefix));
    let door = SocketAddr::from((agent::netns::TASK_ENDPOINT, 80));
    let metadata = async |version: &str, path: &str| {
        let request = request("GET", &format!("/{version}/{runtime_id}/{path}"), "");
        ask(Some(namespace.clone()), door, request).await.1
    };
    for path in ["task", "taskWithTags"] {
        let task = metadata("v4", path).await;
        assert_eq!(task["EphemeralStorageMetrics"], json!({ "Utilized": 12 }), "{task}");
    }
    assert_eq!(metadata("v3", "task").await["EphemeralStorageMetrics"], Value::Null);

    let told = |seen: &Seen| match seen {
        Seen::Frame("tcs", text) => {
            let frame: Value = serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()?;
            let task = &frame["message"]["taskMetrics"][0];
            task["ephemeralStorageMetrics"]["bytesUtilized"]["sum"].as_u64()
        }
        _ => None,
    };
    let bytes = control.until(told).await;
    assert!(both.contains(&bytes), "{bytes}");

    let own = machine.config.data_dir.join("tasks").join(&id).join("volumes/own");
    std::fs::write(own.join("go"), "").expect("written");
    let volume = 4 * MIB..5 * MIB;
    until("it being less again", || shown().is_some_and(|it| volume.contains(&it))).await;

    control.say.send(payload("STOPPED", "m2")).expect("a control plane");
    assert_eq!(control.change().await["status"], "STOPPED");
    until("nothing being shown", || shown().is_none()).await;
    stop.send(true).expect("an agent");
    agents.join_next().await.expect("an agent").expect("no panic").expect("ends well");
    agent::teardown(&machine.config, agent::Leave::Nothing).await.expect("torn down");
    assert_eq!(machine.traces(), [""; 0]);
}
