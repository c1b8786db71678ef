//! Which path is what.

use super::metadata::{self, Form};
use super::{Inside, stats};
use crate::engine::{Task, TaskArn};
use http::{Method, Response, StatusCode, Uri, header};
use serde_json::{Value, json};

/// An answer that is written in full.
type Answer = Response<Vec<u8>>;

/// Answers a request of a container of `task`.
pub(super) async fn answer(inside: &Inside, task: &TaskArn, method: &Method, uri: &Uri) -> Answer {
    if method != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here");
    }
    let parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    match *parts {
        ["v2", "credentials"] => credentials(inside, task, None),
        ["v2", "credentials", id] => credentials(inside, task, Some(id)),
        ["v1", "credentials"] => credentials(inside, task, parameter(uri, "id")),
        _ => document(inside, task, &parts).await,
    }
}

/// What a task that asks too often hears.
pub(super) fn too_many() -> Answer {
    plain(StatusCode::TOO_MANY_REQUESTS, "too many requests: ask less often")
}

/// Something about the task or one of its containers.
async fn document(inside: &Inside, arn: &TaskArn, parts: &[&str]) -> Answer {
    let Some(task) = inside.task(arn).await else {
        return plain(StatusCode::NOT_FOUND, "the task is over");
    };
    let of_task = |form| found(metadata::task(&task, form));
    let of_container = |id: &str, form| match index(&task, id) {
        Some(index) => found(metadata::container(&task, index, form)),
        None => unknown(id),
    };
    match *parts {
        ["v2", "metadata" | "metadataWithTags"] => of_task(Form::V2),
        ["v2", "metadata", id] => of_container(id, Form::V2),
        ["v2", "stats"] => found(stats::task(inside, &task).await),
        ["v2", "stats", id] => stats_of(inside, &task, id).await,
        [version @ ("v3" | "v4"), id, ref rest @ ..] => {
            let form = if version == "v3" { Form::V3 } else { Form::V4 };
            if index(&task, id).is_none() {
                return unknown(id);
            }
            match *rest {
                [] => of_container(id, form),
                ["task" | "taskWithTags"] => of_task(form),
                ["stats"] => stats_of(inside, &task, id).await,
                ["task", "stats"] => found(stats::task(inside, &task).await),
                // None has any: they are elastic inference's, which is no more.
                ["associations", _] => found(json!({ "Associations": [] })),
                _ => nothing(),
            }
        }
        _ => nothing(),
    }
}

async fn stats_of(inside: &Inside, task: &Task, id: &str) -> Answer {
    match index(task, id) {
        Some(index) => found(stats::container(inside, task, index).await),
        None => unknown(id),
    }
}

/// The position of the container that the runtime calls `id`.
fn index(task: &Task, id: &str) -> Option<usize> {
    task.containers.iter().position(|container| container.runtime_id == id)
}

/// The credentials of the task's role, if `id` is what its containers were told.
fn credentials(inside: &Inside, task: &TaskArn, id: Option<&str>) -> Answer {
    let Some(id) = id.filter(|id| !id.is_empty()) else {
        return fault(StatusCode::BAD_REQUEST, "NoIdInRequest", "the path ends without an ID");
    };
    let Some(given) = inside.credentials.of(task, id) else {
        return fault(StatusCode::BAD_REQUEST, "InvalidIdInRequest", "the task has no such ID");
    };
    let (Some(access), Some(secret)) = (&given.access_key_id, &given.secret_access_key) else {
        let text = "there are no credentials for this ID yet";
        return fault(StatusCode::SERVICE_UNAVAILABLE, "CredentialsUninitialized", text);
    };
    found(json!({
        "RoleArn": given.role_arn,
        "AccessKeyId": access,
        "SecretAccessKey": secret,
        "Token": given.session_token,
        "Expiration": given.expiration,
    }))
}

fn parameter<'u>(uri: &'u Uri, name: &str) -> Option<&'u str> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn found(document: impl Into<Value>) -> Answer {
    written(StatusCode::OK, &document.into())
}

fn unknown(id: &str) -> Answer {
    plain(StatusCode::NOT_FOUND, &format!("the task has no container {id}"))
}

fn nothing() -> Answer {
    plain(StatusCode::NOT_FOUND, "there is nothing at this path")
}

fn plain(status: StatusCode, text: &str) -> Answer {
    written(status, &json!(text))
}

/// A refusal in the form that SDKs read.
fn fault(status: StatusCode, code: &str, message: &str) -> Answer {
    let code = json!({ "code": code, "message": message, "HTTPErrorCode": status.as_u16() });
    written(status, &code)
}

fn written(status: StatusCode, document: &Value) -> Answer {
    let mut answer = Response::new(document.to_string().into_bytes());
    *answer.status_mut() = status;
    let kind = header::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}
