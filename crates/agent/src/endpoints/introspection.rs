//! What runs here, for the operator of the machine: `http://127.0.0.1:51678`.
//!
//! It tells of all tasks, so it listens where tasks cannot reach it.

use super::answer::{Answer, found, nothing, parameter, plain, text, written};
use super::metadata::{self, Form};
use super::{Inside, Request, answer_all};
use crate::engine::{EngineState, Task, TaskArn};
use crate::runtime::Directories;
use http::{Method, StatusCode, Uri};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::net::TcpListener;

/// What may be done with this program.
const LICENSE: &str = include_str!("../../../../LICENSE");

/// An id of a container that is no longer than this may be the beginning of one.
const SHORT: usize = 12;

/// Answers whoever can connect.
pub(super) async fn serve(listener: TcpListener, inside: Arc<Inside>) -> Infallible {
    answer_all(&listener, "introspection", move |request| {
        let inside = inside.clone();
        async move { answer(&inside, request).await }
    })
    .await
}

async fn answer(inside: &Inside, request: Request) -> Answer {
    if request.method() != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here");
    }
    match request.uri().path() {
        "/v1/metadata" => found(json!({
            "Cluster": inside.machine.cluster,
            "ContainerInstanceArn": inside.identity().map(|it| it.instance),
            "Version": format!("Amazon ECS Agent - v{} ({})", crate::VERSION, crate::HASH),
        })),
        "/v1/tasks" => {
            let state = match inside.rim.get() {
                Some(rim) => rim.state().await,
                None => EngineState::default(),
            };
            let shown = |task: &Task| shown(task, &inside.directories(task));
            tasks(&state, request.uri(), shown)
        }
        "/license" => text(LICENSE),
        "/" => found(json!({ "AvailableCommands": ["/v1/metadata", "/v1/tasks", "/license"] })),
        _ => nothing(),
    }
}

/// All tasks, or the one that is asked for.
fn tasks(state: &EngineState, uri: &Uri, shown: impl Fn(&Task) -> Value) -> Answer {
    let found_one = |task: Option<&Task>| match task {
        Some(task) => found(shown(task)),
        None => empty(StatusCode::NOT_FOUND),
    };
    match (parameter(uri, "taskarn"), parameter(uri, "dockerid")) {
        (Some(_), Some(_)) => empty(StatusCode::BAD_REQUEST),
        (Some(arn), None) => {
            let arn = arn.replace("%3A", ":").replace("%3a", ":").replace("%2F", "/");
            found_one(state.tasks.get(&TaskArn::new(arn.replace("%2f", "/"))))
        }
        (None, Some(id)) => {
            let is = |known: &str| {
                known == id || (!id.is_empty() && id.len() <= SHORT && known.starts_with(id))
            };
            let of = |task: &&Task| task.containers.iter().any(|it| is(&it.runtime_id));
            let mut found = state.tasks.values().filter(of);
            let (first, second) = (found.next(), found.next());
            // A beginning that several have names none.
            found_one(first.filter(|_| second.is_none()))
        }
        (None, None) => {
            found(json!({ "Tasks": state.tasks.values().map(&shown).collect::<Vec<_>>() }))
        }
    }
}

/// What is said instead of a task.
fn empty(status: StatusCode) -> Answer {
    let task = json!({
        "Arn": "", "KnownStatus": "", "Family": "", "Version": "", "Containers": null,
    });
    written(status, &task)
}

/// A task in the form of this endpoint, which is older than the others.
fn shown(task: &Task, directories: &Directories) -> Value {
    let containers = (0..task.containers.len()).map(|index| {
        let mut whole = metadata::container(task, index, directories, Form::V4);
        if let Some(members) = whole.as_object_mut() {
            members.retain(|name, _| CONTAINER.contains(&name.as_str()));
        }
        whole
    });
    json!({
        "Arn": task.spec.arn.as_str(),
        "DesiredStatus": metadata::desired(task.desired),
        "KnownStatus": metadata::status(task.known()),
        "Family": task.spec.family,
        "Version": task.spec.version,
        "Containers": containers.collect::<Vec<_>>(),
    })
}

/// What this endpoint tells of a container.
const CONTAINER: [&str; 11] = [
    "DockerId",
    "DockerName",
    "Name",
    "Image",
    "ImageID",
    "CreatedAt",
    "StartedAt",
    "Ports",
    "Networks",
    "Volumes",
    "RestartCount",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{ContainerSpec, Desired, TaskSpec};

    fn state() -> EngineState {
        let mut state = EngineState::default();
        for id in ["aaaa0123456789", "aaaa9876543210"] {
            let web = ContainerSpec { name: "web".to_owned(), ..ContainerSpec::default() };
            let arn = TaskArn::new(format!("arn:aws:ecs:us-east-1:1:task/c/{id}"));
            let spec = TaskSpec {
                family: "f".to_owned(),
                version: "1".to_owned(),
                containers: vec![web],
                ..TaskSpec::new(arn.clone())
            };
            state.tasks.insert(arn, Task::new(spec, Desired::Running));
        }
        state
    }

    fn ask(query: &str) -> (u16, Value) {
        let uri: Uri = format!("/v1/tasks{query}").parse().expect("a path");
        let nowhere = Directories { own: "/v".into(), shared: "/s".into() };
        let answer = tasks(&state(), &uri, |task| shown(task, &nowhere));
        (answer.status().as_u16(), serde_json::from_slice(answer.body()).expect("JSON"))
    }

    #[test]
    fn tasks_are_found_by_arn_by_id_and_by_its_beginning() {
        let arn = "arn:aws:ecs:us-east-1:1:task/c/aaaa0123456789";
        assert_eq!(ask("").1["Tasks"].as_array().map(Vec::len), Some(2));
        assert_eq!(ask(&format!("?taskarn={arn}")).1["Arn"], arn);
        let encoded = arn.replace(':', "%3A").replace('/', "%2F");
        assert_eq!(ask(&format!("?taskarn={encoded}")).1["Arn"], arn);
        let (status, task) = ask("?dockerid=aaaa01234");
        assert_eq!((status, &task["Arn"]), (200, &json!(arn)));
        let id = task["Containers"][0]["DockerId"].as_str().expect("an id").to_owned();
        assert_eq!(ask(&format!("?dockerid={id}")).1["Arn"], arn);
        assert_eq!(task["KnownStatus"], "NONE");
        assert_eq!(task["Containers"][0]["Labels"], Value::Null, "not told here");
    }

    #[test]
    fn what_names_no_single_task_finds_none() {
        for (query, status) in [
            ("?dockerid=aaaa", 404),
            ("?dockerid=", 404),
            ("?dockerid=bbbb", 404),
            ("?taskarn=arn:none", 404),
            ("?taskarn=arn:none&dockerid=aaaa01234", 400),
        ] {
            let (seen, task) = ask(query);
            assert_eq!((seen, &task["Arn"]), (status, &json!("")), "{query}");
        }
    }
}
