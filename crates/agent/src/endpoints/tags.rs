//! The document about a task with the tags that it and its instance have.
//!
//! The control plane is asked for them in this instance's name, each time: tags change
//! while a task runs. What it does not tell is missing from the document, and the
//! fourth version says why.

use super::Inside;
use super::metadata::Form;
use crate::api::CallError;
use crate::engine::Task;
use crate::error::chain;
use serde_json::{Map, Value, json};
use std::time::Duration;
use wire::ecs;

/// For the control plane: the official agent's number.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);

/// What there is to say of the tags of one thing.
type Told = Result<Vec<ecs::Tag>, CallError>;

/// The document about a task, with tags.
pub(super) async fn task(inside: &Inside, task: &Task, form: Form) -> Value {
    let instance = inside.identity().map(|it| it.instance);
    let (of_instance, of_task) = tokio::join!(
        async {
            match &instance {
                Some(arn) => of(inside, arn).await,
                None => Some(Ok(Vec::new())),
            }
        },
        of(inside, task.spec.arn.as_str())
    );
    let mut document = inside.shown(task, form);
    let instance = instance.unwrap_or_default();
    add(&mut document, "ContainerInstanceTags", &instance, of_instance, form);
    add(&mut document, "TaskTags", task.spec.arn.as_str(), of_task, form);
    document
}

/// The tags of what `arn` names; none if nobody tells in time.
async fn of(inside: &Inside, arn: &str) -> Option<Told> {
    let call = ecs::ListTagsForResourceRequest { resource_arn: Some(arn.to_owned()) };
    let told = tokio::time::timeout(PATIENCE, inside.api.call(&call)).await.ok()?;
    Some(told.map(|answer| answer.tags.unwrap_or_default()))
}

/// Writes what was told of `field`, or why nothing was.
fn add(document: &mut Value, field: &str, arn: &str, told: Option<Told>, form: Form) {
    let mut problem = json!({ "ErrorField": field, "ResourceARN": arn });
    match told {
        Some(Ok(tags)) => {
            let pairs = tags
                .into_iter()
                .filter_map(|tag| Some((tag.key?, Value::from(tag.value.unwrap_or_default()))));
            let tags: Map<String, Value> = pairs.collect();
            if !tags.is_empty() {
                document[field] = Value::Object(tags);
            }
            return;
        }
        Some(Err(CallError::Fault { fault, request_id })) => {
            problem["ErrorCode"] = json!(fault.code);
            problem["ErrorMessage"] = json!(fault.message);
            problem["StatusCode"] = json!(fault.status);
            if let Some(id) = request_id {
                problem["RequestId"] = json!(id);
            }
        }
        Some(Err(error @ CallError::Network(_))) => {
            problem["ErrorMessage"] = json!(chain(&error));
        }
        None => problem["ErrorMessage"] = json!("Timed out calling ECS ListTagsForResource API"),
    }
    tracing::warn!(%problem, "a task is not told all tags");
    if form == Form::V4 {
        match document["Errors"].as_array_mut() {
            Some(problems) => problems.push(problem),
            None => document["Errors"] = json!([problem]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Fault;

    fn tag(key: &str, value: &str) -> ecs::Tag {
        ecs::Tag { key: Some(key.to_owned()), value: Some(value.to_owned()) }
    }

    fn denied() -> Told {
        let fault = Fault::client("AccessDeniedException", "no");
        Err(CallError::Fault { fault, request_id: Some("r".to_owned()) })
    }

    #[test]
    fn tags_are_a_map_and_left_out_when_there_are_none() {
        let mut document = json!({});
        add(&mut document, "TaskTags", "t", Some(Ok(vec![tag("a", "1"), tag("b", "")])), Form::V3);
        add(&mut document, "ContainerInstanceTags", "i", Some(Ok(vec![])), Form::V3);
        assert_eq!(document, json!({ "TaskTags": { "a": "1", "b": "" } }));
    }

    #[test]
    fn the_fourth_version_says_what_is_missing_and_why() {
        let mut document = json!({});
        add(&mut document, "ContainerInstanceTags", "i", Some(denied()), Form::V4);
        add(&mut document, "TaskTags", "t", None, Form::V4);
        let expected = json!({ "Errors": [
            {
                "ErrorField": "ContainerInstanceTags", "ResourceARN": "i",
                "ErrorCode": "AccessDeniedException", "ErrorMessage": "no",
                "StatusCode": 400, "RequestId": "r",
            },
            {
                "ErrorField": "TaskTags", "ResourceARN": "t",
                "ErrorMessage": "Timed out calling ECS ListTagsForResource API",
            },
        ] });
        assert_eq!(document, expected);
        let mut document = json!({});
        add(&mut document, "TaskTags", "t", Some(denied()), Form::V3);
        assert_eq!(document, json!({}), "earlier versions have no word for it");
    }
}
