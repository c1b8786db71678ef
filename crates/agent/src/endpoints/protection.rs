//! The protection of a task from being stopped when its service scales in or deploys:
//! `$ECS_AGENT_URI/task-protection/v1/state`.
//!
//! The control plane is asked in the name of the task's role, never in ours: whether
//! the task may is for its role to say. Bodies, answers and errors are the official
//! agent's.

use super::answer::{Answer, written};
use super::tags::PATIENCE;
use super::{Inside, routes};
use crate::api::CallError;
use crate::engine::{Task, TaskArn};
use crate::error::chain;
use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use wire::client::Call;
use wire::ecs;
use wire::sigv4::Credentials;

/// As long as a request may be.
const MAX_BODY: usize = 4096;

/// What a task wants of its protection.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    enabled: Option<bool>,
    minutes: Option<i64>,
}

/// What the control plane says of protections.
struct Said {
    protected: Vec<ecs::ProtectedTask>,
    failures: Vec<ecs::Failure>,
}

/// Whether the task is protected, and until when.
pub(super) async fn get(inside: &Inside, arn: &TaskArn, id: &str) -> Answer {
    let asked = async {
        let (task, credentials) = asker(inside, arn, id).await?;
        let call = ecs::GetTaskProtectionRequest {
            cluster: Some(task.spec.cluster.clone()),
            tasks: Some(vec![arn.as_str().to_owned()]),
        };
        let answer = ask(inside, arn, credentials, &call).await?;
        Ok(Said {
            protected: answer.protected_tasks.unwrap_or_default(),
            failures: answer.failures.unwrap_or_default(),
        })
    };
    asked.await.map_or_else(|refusal: Box<Answer>| *refusal, |said| told(arn, &said))
}

/// Protects the task, or ends that.
pub(super) async fn update(inside: &Inside, arn: &TaskArn, id: &str, body: Incoming) -> Answer {
    let invalid = |arn: Option<&TaskArn>, text: &str| {
        Box::new(error(StatusCode::BAD_REQUEST, arn, "InvalidParameterException", text, None))
    };
    let read = tokio::time::timeout(PATIENCE, Limited::new(body, MAX_BODY).collect()).await;
    let wish = read.ok().and_then(Result::ok).and_then(|body| wish(&body.to_bytes()));
    let asked = async {
        let wish =
            wish.ok_or_else(|| invalid(None, "UpdateTaskProtection: failed to decode request"))?;
        let task = known(inside, arn, id).await?;
        let Some(enabled) = wish.enabled else {
            let text = "Invalid request: does not contain 'ProtectionEnabled' field";
            return Err(invalid(Some(arn), text));
        };
        let credentials = credentials(inside, &task)?;
        // What does not fit the API's type is out of its bounds too.
        let minutes = |minutes| i32::try_from(minutes).unwrap_or(i32::MAX);
        let call = ecs::UpdateTaskProtectionRequest {
            cluster: Some(task.spec.cluster.clone()),
            expires_in_minutes: wish.minutes.map(minutes),
            protection_enabled: Some(enabled),
            tasks: Some(vec![arn.as_str().to_owned()]),
        };
        let answer = ask(inside, arn, credentials, &call).await?;
        Ok(Said {
            protected: answer.protected_tasks.unwrap_or_default(),
            failures: answer.failures.unwrap_or_default(),
        })
    };
    asked.await.map_or_else(|refusal: Box<Answer>| *refusal, |said| told(arn, &said))
}

/// Reads a request: an object with no other members than these two, whose names may be
/// written in any case, as Go reads them.
fn wish(body: &[u8]) -> Option<Wish> {
    let mut wish = Wish { enabled: None, minutes: None };
    let members: serde_json::Map<String, Value> = serde_json::from_slice(body).ok()?;
    for (name, value) in members {
        match (name.to_ascii_lowercase().as_str(), value) {
            ("protectionenabled", Value::Bool(enabled)) => wish.enabled = Some(enabled),
            ("expiresinminutes", Value::Number(minutes)) => wish.minutes = Some(minutes.as_i64()?),
            ("protectionenabled" | "expiresinminutes", Value::Null) => {}
            _ => return None,
        }
    }
    Some(wish)
}

async fn known(inside: &Inside, arn: &TaskArn, id: &str) -> Result<Task, Box<Answer>> {
    let task = inside.task(arn).await.filter(|task| routes::index(task, id).is_some());
    task.ok_or_else(|| {
        let text = "Failed to find a task for the request";
        Box::new(error(StatusCode::NOT_FOUND, None, "ResourceNotFoundException", text, None))
    })
}

fn credentials(inside: &Inside, task: &Task) -> Result<Credentials, Box<Answer>> {
    let id = task.spec.credentials_id.as_deref();
    let given = id.and_then(|id| inside.credentials.of(&task.spec.arn, id));
    let whole = given.and_then(|given| {
        Some(Credentials {
            access_key: given.access_key_id?,
            secret_key: given.secret_access_key?,
            session_token: given.session_token,
        })
    });
    whole.ok_or_else(|| {
        let text = "Invalid Request: no task IAM role credentials available for task";
        let arn = Some(&task.spec.arn);
        Box::new(error(StatusCode::FORBIDDEN, arn, "AccessDeniedException", text, None))
    })
}

async fn asker(
    inside: &Inside,
    arn: &TaskArn,
    id: &str,
) -> Result<(Task, Credentials), Box<Answer>> {
    let task = known(inside, arn, id).await?;
    let credentials = credentials(inside, &task)?;
    Ok((task, credentials))
}

async fn ask<T: Call>(
    inside: &Inside,
    arn: &TaskArn,
    credentials: Credentials,
    call: &T,
) -> Result<T::Response, Box<Answer>> {
    match tokio::time::timeout(PATIENCE, inside.api.call_as(credentials, call)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Box::new(refused(arn, error))),
        Err(_) => Err(Box::new(timed_out(arn))),
    }
}

fn timed_out(arn: &TaskArn) -> Answer {
    let text = "Timed out calling ECS Task Protection API";
    error(StatusCode::GATEWAY_TIMEOUT, Some(arn), "RequestCanceled", text, None)
}

fn refused(arn: &TaskArn, refusal: CallError) -> Answer {
    tracing::warn!(task = %arn, error = chain(&refusal), "a task's protection is not told");
    match refusal {
        CallError::Fault { fault, request_id } => {
            let status = StatusCode::from_u16(fault.status);
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            error(status, Some(arn), &fault.code, &fault.message, request_id.as_deref())
        }
        CallError::Network(_) => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            error(status, Some(arn), "ServerException", &chain(&refusal), None)
        }
    }
}

/// What the control plane said of one task, in the names of the agent's documents.
fn told(arn: &TaskArn, said: &Said) -> Answer {
    match (said.protected.as_slice(), said.failures.as_slice()) {
        (_, [failure]) => written(
            StatusCode::OK,
            &json!({ "failure": {
                "Arn": failure.arn, "Detail": failure.detail, "Reason": failure.reason,
            } }),
        ),
        ([task], []) => written(
            StatusCode::OK,
            &json!({ "protection": {
                "ExpirationDate": task.expiration_date.and_then(moment),
                "ProtectionEnabled": task.protection_enabled.unwrap_or_default(),
                "TaskArn": task.task_arn,
            } }),
        ),
        _ => {
            let (status, text) = (StatusCode::INTERNAL_SERVER_ERROR, "Unexpected error occurred");
            error(status, Some(arn), "ServerException", text, None)
        }
    }
}

/// As Go writes it: without a fraction where there is none.
fn moment(at: wire::Timestamp) -> Option<String> {
    at.iso8601().map(|text| text.replace(".000Z", "Z"))
}

fn error(
    status: StatusCode,
    arn: Option<&TaskArn>,
    code: &str,
    message: &str,
    request_id: Option<&str>,
) -> Answer {
    let mut document = json!({ "error": { "Code": code, "Message": message } });
    if let Some(arn) = arn {
        document["error"]["Arn"] = json!(arn.as_str());
    }
    if let Some(id) = request_id {
        document["requestID"] = json!(id);
    }
    written(status, &document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Fault;

    fn shown(answer: &Answer) -> (u16, Value) {
        (answer.status().as_u16(), serde_json::from_slice(answer.body()).expect("JSON"))
    }

    #[test]
    fn a_request_has_two_members_and_no_others() {
        for (body, wanted) in [
            (r#"{"ProtectionEnabled":true}"#, Some((Some(true), None))),
            (r#"{"protectionEnabled":false,"expiresInMinutes":5}"#, Some((Some(false), Some(5)))),
            (r#"{"ExpiresInMinutes":60}"#, Some((None, Some(60)))),
            (r#"{"ProtectionEnabled":null}"#, Some((None, None))),
            ("{}", Some((None, None))),
            ("", None),
            ("[]", None),
            (r#"{"ProtectionEnabled":"true"}"#, None),
            (r#"{"ProtectionEnabled":true,"ExpiresInMinutes":1.5}"#, None),
            (r#"{"ProtectionEnabled":true,"Task":"other"}"#, None),
        ] {
            let wanted = wanted.map(|(enabled, minutes)| Wish { enabled, minutes });
            assert_eq!(wish(body.as_bytes()), wanted, "{body}");
        }
    }

    #[test]
    fn answers_have_the_names_of_the_official_agent() {
        let arn = TaskArn::new("arn:t/1");
        let task = |until| ecs::ProtectedTask {
            task_arn: Some("arn:t/1".to_owned()),
            protection_enabled: Some(until > 0),
            expiration_date: (until > 0).then(|| wire::Timestamp::from_millis(until)),
        };
        let said = |protected, failures| shown(&told(&arn, &Said { protected, failures }));
        assert_eq!(
            said(vec![task(1_665_023_356_000)], vec![]),
            (
                200,
                json!({ "protection": {
                    "ExpirationDate": "2022-10-06T02:29:16Z", "ProtectionEnabled": true,
                    "TaskArn": "arn:t/1",
                } })
            )
        );
        assert_eq!(
            said(vec![task(0)], vec![]).1["protection"],
            json!({ "ExpirationDate": null, "ProtectionEnabled": false, "TaskArn": "arn:t/1" })
        );
        let failure = ecs::Failure {
            arn: Some("arn:t/1".to_owned()),
            detail: None,
            reason: Some("TASK_NOT_VALID".to_owned()),
        };
        let (arn_, reason) = ("arn:t/1", "TASK_NOT_VALID");
        assert_eq!(
            said(vec![], vec![failure]),
            (200, json!({ "failure": { "Arn": arn_, "Detail": null, "Reason": reason } }))
        );
        assert_eq!(said(vec![], vec![]).0, 500, "an answer about no task");
    }

    #[test]
    fn errors_pass_on_what_the_control_plane_said() {
        let arn = TaskArn::new("arn:t/1");
        let fault = Fault::client("ThrottlingException", "Rate exceeded");
        let refusal = CallError::Fault { fault, request_id: Some("r-1".to_owned()) };
        let (status, document) = shown(&refused(&arn, refusal));
        let error = json!({
            "Arn": "arn:t/1", "Code": "ThrottlingException", "Message": "Rate exceeded",
        });
        assert_eq!((status, document), (400, json!({ "requestID": "r-1", "error": error })));
        let (status, document) = shown(&timed_out(&arn));
        assert_eq!((status, &document["error"]["Code"]), (504, &json!("RequestCanceled")));
    }
}
