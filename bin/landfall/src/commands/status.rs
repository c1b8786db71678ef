//! `landfall status`: what runs, asked through the public APIs.

use super::{AnyError, access, block_on, down};
use crate::cli::Output;
use crate::client::Client;
use crate::composition;
use crate::layout::Layout;
use crate::terminal::{Tone, paint, short, table, text};
use agent::images::Transfer;
use serde_json::{Value, json};

/// Prints clusters, instances and tasks.
pub(crate) fn run(layout: &Layout, output: &Output) -> Result<(), AnyError> {
    let access = access(layout)?;
    let Some(pid) = down::running(layout) else {
        return Err("Landfall does not run: start it with `landfall up --detach`".into());
    };
    let client = Client::new(&access)?;
    let (clusters, instances, tasks) = block_on(async {
        Ok((client.clusters().await?, client.container_instances().await?, client.tasks().await?))
    })?;
    let flat = |by_cluster: Vec<(String, Vec<Value>)>| -> Vec<Value> {
        by_cluster.into_iter().flat_map(|(_, items)| items).collect()
    };
    let (instances, tasks) = (flat(instances), flat(tasks));
    // What AWS has no API for: this machine's agent says it to whoever may read its files.
    let pulls = agent::transfers(&composition::agent_config(layout)?)?;
    if output.json {
        let all = json!({
            "endpoint": format!("http://{}", access.listen),
            "region": access.region,
            "pid": pid.as_raw(),
            "prefix": layout.prefix,
            "clusters": clusters,
            "containerInstances": instances,
            "tasks": tasks,
            "pulls": pulls,
        });
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    println!("Landfall serves {} on http://{} (pid {pid})\n", access.region, access.listen);
    print!(
        "{}",
        table(
            &["CLUSTER", "STATUS", "INSTANCES", "RUNNING", "PENDING"],
            &rows(&clusters, cluster_row)
        )
    );
    println!();
    print!(
        "{}",
        table(
            &["INSTANCE", "EC2", "STATUS", "AGENT", "CPU FREE", "MEMORY FREE"],
            &rows(&instances, instance_row)
        )
    );
    if !tasks.is_empty() {
        println!();
        print!("{}", table(&["TASK", "DEFINITION", "ADDRESS", "STATUS"], &rows(&tasks, task_row)));
    }
    if !pulls.is_empty() {
        println!();
        let rows: Vec<_> = pulls.iter().map(pull_row).collect();
        print!("{}", table(&["PULLING", "DONE", "OF"], &rows));
    }
    Ok(())
}

fn rows(items: &[Value], row: fn(&Value) -> Vec<String>) -> Vec<Vec<String>> {
    items.iter().map(row).collect()
}

fn cluster_row(cluster: &Value) -> Vec<String> {
    [
        "clusterName",
        "status",
        "registeredContainerInstancesCount",
        "runningTasksCount",
        "pendingTasksCount",
    ]
    .map(|field| text(&cluster[field]))
    .to_vec()
}

fn instance_row(instance: &Value) -> Vec<String> {
    let free = |name: &str| {
        let resources = instance["remainingResources"].as_array();
        let found = resources.and_then(|all| all.iter().find(|resource| resource["name"] == name));
        found.map_or_else(|| "-".to_owned(), |resource| text(&resource["integerValue"]))
    };
    let agent = if instance["agentConnected"] == true { "connected" } else { "away" };
    vec![
        short(&instance["containerInstanceArn"]),
        text(&instance["ec2InstanceId"]),
        text(&instance["status"]),
        agent.to_owned(),
        free("CPU"),
        free("MEMORY"),
    ]
}

fn task_row(task: &Value) -> Vec<String> {
    let status = text(&task["lastStatus"]);
    let tone = match status.as_str() {
        "RUNNING" => Tone::Good,
        "STOPPED" => Tone::Bad,
        _ => Tone::Poor,
    };
    vec![
        short(&task["taskArn"]),
        short(&task["taskDefinitionArn"]),
        text(&task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"]),
        paint(tone, &status),
    ]
}

fn pull_row(pull: &Transfer) -> Vec<String> {
    // Before the registry has said how large it is.
    let of = if pull.bytes_total == 0 { "-".to_owned() } else { size(pull.bytes_total) };
    vec![pull.image.clone(), size(pull.bytes_done), of]
}

/// Bytes in MiB, to the tenth.
fn size(bytes: u64) -> String {
    let tenths = u128::from(bytes) * 10 / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulls_are_shown_in_mebibytes() {
        let mut pull = Transfer {
            image: "docker.io/library/busybox:1".to_owned(),
            started_at: ident::Timestamp(0),
            bytes_done: 0,
            bytes_total: 0,
        };
        assert_eq!(pull_row(&pull)[1..], ["0.0 MiB", "-"]);
        (pull.bytes_done, pull.bytes_total) = (1_600_000, 1 << 30);
        assert_eq!(pull_row(&pull)[1..], ["1.5 MiB", "1024.0 MiB"]);
    }

    #[test]
    fn what_is_missing_is_a_dash() {
        assert_eq!(task_row(&json!({"taskArn": "arn:x:task/default/abc"}))[..3], ["abc", "-", "-"]);
        let instance = json!({"remainingResources": [{"name": "CPU", "integerValue": 7}]});
        assert_eq!(instance_row(&instance)[3..], ["away", "7", "-"]);
    }
}
