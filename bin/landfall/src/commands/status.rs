//! `landfall status`: what runs, asked through the public APIs.

use super::{AnyError, access, block_on, down};
use crate::cli::Output;
use crate::client::Client;
use crate::layout::Layout;
use crate::terminal::{Tone, paint, short, table, text};
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
    if output.json {
        let all = json!({
            "endpoint": format!("http://{}", access.listen),
            "region": access.region,
            "pid": pid.as_raw(),
            "prefix": layout.prefix,
            "clusters": clusters,
            "containerInstances": instances,
            "tasks": tasks,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_a_dash() {
        assert_eq!(task_row(&json!({"taskArn": "arn:x:task/default/abc"}))[..3], ["abc", "-", "-"]);
        let instance = json!({"remainingResources": [{"name": "CPU", "integerValue": 7}]});
        assert_eq!(instance_row(&instance)[3..], ["away", "7", "-"]);
    }
}
