//! ECS, as SDKs speak to it.

use crate::now;
use async_trait::async_trait;
use serde_json::{Value, json};
use wire::ecs::{Api, RunTaskRequest, RunTaskResponse, Task, serve};
use wire::{Body, Fault, Request, Timestamp};

struct Shell;

#[async_trait]
impl Api<String> for Shell {
    async fn run_task(
        &self,
        cluster: &String,
        request: RunTaskRequest,
    ) -> Result<RunTaskResponse, Fault> {
        let tags = request.tags.unwrap_or_default();
        let task = Task {
            cluster_arn: Some(cluster.clone()),
            task_definition_arn: request.task_definition,
            group: tags.into_iter().next().and_then(|tag| tag.value),
            created_at: Some(Timestamp(1_500)),
            containers: Some(vec![]),
            last_status: Some("PROVISIONING".into()),
            ..Default::default()
        };
        Ok(RunTaskResponse { tasks: Some(vec![task]), ..Default::default() })
    }
}

fn ask(operation: &str, body: &str) -> Result<Value, Fault> {
    let request = Request { operation, id: "r-1", body: Body::Json(body.as_bytes()) };
    let answer = now(serve(&Shell, &"a-cluster".to_owned(), &request))?;
    Ok(serde_json::from_slice(&answer).expect("JSON"))
}

#[test]
fn there_and_back() {
    let body = json!({
        "taskDefinition": "web:1",
        "launchType": "EC2",
        "tags": [{ "key": "who", "value": "me" }],
        "invented": [null],
        "networkConfiguration": { "awsvpcConfiguration": { "subnets": ["subnet-1"] } },
    });
    let answer = ask("RunTask", &body.to_string()).expect("an answer");
    let task = json!({
        "clusterArn": "a-cluster",
        "taskDefinitionArn": "web:1",
        "group": "me",
        "createdAt": 1.5,
        "containers": [],
        "lastStatus": "PROVISIONING",
    });
    assert_eq!(answer, json!({ "tasks": [task] }), "what is absent is not null");
}

#[test]
fn refusals() {
    for (operation, body, code, message) in [
        (
            "RunTask",
            "{}",
            "InvalidParameterException",
            "1 validation error detected: Value null at 'taskDefinition' failed to satisfy \
             constraint: Member must not be null",
        ),
        (
            "RunTask",
            r#"{"taskDefinition": 5}"#,
            "SerializationException",
            "NUMBER_VALUE can not be converted to a String, at /taskDefinition",
        ),
        (
            "RunTask",
            r#"{"taskDefinition": "a", "launchType": "MOON"}"#,
            "InvalidParameterException",
            "1 validation error detected: Value 'MOON' at 'launchType' failed to satisfy \
             constraint: Member must satisfy enum value set: [EC2, FARGATE, EXTERNAL, \
             MANAGED_INSTANCES]",
        ),
        (
            "RunTask",
            r#"{"taskDefinition": "a", "networkConfiguration": {"awsvpcConfiguration": {}}}"#,
            "InvalidParameterException",
            "1 validation error detected: Value null at \
             'networkConfiguration.awsvpcConfiguration.subnets' failed to satisfy constraint: \
             Member must not be null",
        ),
        ("ListTasks", "{}", "UnknownOperationException", "Landfall does not serve ecs:ListTasks."),
        (
            "CreateService",
            "{}",
            "UnknownOperationException",
            "Landfall does not serve ecs:CreateService.",
        ),
        (
            "Fly",
            "{}",
            "UnknownOperationException",
            "The operation Fly is not known to this service.",
        ),
    ] {
        let fault = ask(operation, body).expect_err(body);
        assert_eq!((fault.status, &*fault.code, &*fault.message), (400, code, message));
    }
}

#[test]
fn values_of_enumerations_have_names() {
    assert_eq!(wire::ecs::network_mode::AWSVPC, "awsvpc");
    assert_eq!(wire::ecs::desired_status::STOPPED, "STOPPED");
    assert_eq!(wire::ecs::code::CLUSTER_NOT_FOUND_EXCEPTION, "ClusterNotFoundException");
}
