//! Which path is what.

use super::answer::{Answer, fault, found, nothing, parameter, plain};
use super::metadata::{self, Form};
use super::{Asker, Inside, Request, protection, stats, tags};
use crate::engine::{Task, TaskArn};
use http::{Method, StatusCode};
use serde_json::json;

/// Answers a request of a container of whoever is behind the door.
pub(super) async fn answer(inside: &Inside, asker: &Asker, request: Request) -> Answer {
    let (head, body) = request.into_parts();
    let uri = &head.uri;
    let parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let task = match asker {
        Asker::Task(task) => Some(task.clone()),
        Asker::Machine => guest(inside, &parts, parameter(uri, "id")),
    };
    let Some(task) = &task else { return stranger(&parts) };
    if let ["api", id, "task-protection", "v1", "state"] = *parts {
        return match head.method {
            Method::GET => protection::get(inside, task, id).await,
            Method::PUT => protection::update(inside, task, id, body).await,
            _ => plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and PUT are answered here"),
        };
    }
    if head.method != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here");
    }
    match *parts {
        ["v2", "credentials"] => credentials(inside, task, None),
        ["v2", "credentials", id] => credentials(inside, task, Some(id)),
        ["v1", "credentials"] => credentials(inside, task, parameter(uri, "id")),
        _ => document(inside, task, &parts).await,
    }
}

/// The task in the machine's network that a path is about, by an id that only the task
/// was told.
fn guest(inside: &Inside, parts: &[&str], parameter: Option<&str>) -> Option<TaskArn> {
    let has = |id: &str| inside.guest(|task| inside.credentials.of(task, id).is_some());
    match *parts {
        ["v2", "credentials", id] => has(id),
        ["v1", "credentials"] => has(parameter?),
        ["v3" | "v4" | "api", id, ..] => {
            let of = |task: &TaskArn| id.rsplit_once('-').is_some_and(|(it, _)| it == task.id());
            inside.guest(of)
        }
        _ => None,
    }
}

/// What one hears whose path is about no task in the machine's network.
fn stranger(parts: &[&str]) -> Answer {
    match *parts {
        ["v1" | "v2", "credentials"] => no_id(),
        ["v2", "credentials", _] => no_such_id(),
        ["v3" | "v4" | "api", id, ..] => unknown(id),
        _ => nothing(),
    }
}

fn no_id() -> Answer {
    fault(StatusCode::BAD_REQUEST, "NoIdInRequest", "the path ends without an ID")
}

fn no_such_id() -> Answer {
    fault(StatusCode::BAD_REQUEST, "InvalidIdInRequest", "no task here has such an ID")
}

/// Something about the task or one of its containers.
async fn document(inside: &Inside, arn: &TaskArn, parts: &[&str]) -> Answer {
    let Some(task) = inside.task(arn).await else {
        return plain(StatusCode::NOT_FOUND, "the task is over");
    };
    let of_task = |form| found(inside.shown(&task, form));
    let of_container = |id: &str, form| match index(&task, id) {
        Some(index) => found(metadata::container(&task, index, &inside.directories(&task), form)),
        None => unknown(id),
    };
    match *parts {
        ["v2", "metadata"] => of_task(Form::V2),
        ["v2", "metadataWithTags"] => found(tags::task(inside, &task, Form::V2).await),
        ["v2", "metadata", id] => of_container(id, Form::V2),
        ["v2", "stats"] => found(stats::task(inside, &task, Form::V2).await),
        ["v2", "stats", id] => stats_of(inside, &task, id, Form::V2).await,
        [version @ ("v3" | "v4"), id, ref rest @ ..] => {
            let form = if version == "v3" { Form::V3 } else { Form::V4 };
            if index(&task, id).is_none() {
                return unknown(id);
            }
            match *rest {
                [] => of_container(id, form),
                ["task"] => of_task(form),
                ["taskWithTags"] => found(tags::task(inside, &task, form).await),
                ["stats"] => stats_of(inside, &task, id, form).await,
                ["task", "stats"] => found(stats::task(inside, &task, form).await),
                // None has any: they are elastic inference's, which is no more.
                ["associations", _] => found(json!({ "Associations": [] })),
                _ => nothing(),
            }
        }
        _ => nothing(),
    }
}

async fn stats_of(inside: &Inside, task: &Task, id: &str, form: Form) -> Answer {
    match index(task, id) {
        Some(index) => found(stats::container(inside, task, index, form).await),
        None => unknown(id),
    }
}

/// The position of the container that the runtime calls `id`.
pub(super) fn index(task: &Task, id: &str) -> Option<usize> {
    task.containers.iter().position(|container| container.runtime_id == id)
}

/// The credentials of the task's role, if `id` is what its containers were told.
fn credentials(inside: &Inside, task: &TaskArn, id: Option<&str>) -> Answer {
    let Some(id) = id.filter(|id| !id.is_empty()) else {
        return no_id();
    };
    let Some(given) = inside.credentials.of(task, id) else {
        return no_such_id();
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

fn unknown(id: &str) -> Answer {
    plain(StatusCode::NOT_FOUND, &format!("the task has no container {id}"))
}
