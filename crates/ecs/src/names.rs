//! What things are called: ARNs out, names and ARNs in.
//!
//! Wherever ECS takes an identifier it takes either the short form or the ARN.
//! An ARN of another account or region names nothing that this request can see.

use crate::Error;
use ident::{Arn, ClusterName, ContainerInstanceId, Family, Scope, TaskId};

const SERVICE: &str = "ecs";

/// The ARN of a cluster.
pub fn cluster_arn(scope: &Scope, cluster: &ClusterName) -> Arn {
    Arn::new(SERVICE, scope, format!("cluster/{cluster}"))
}

/// The ARN of a task.
pub fn task_arn(scope: &Scope, cluster: &ClusterName, task: &TaskId) -> Arn {
    Arn::new(SERVICE, scope, format!("task/{cluster}/{task}"))
}

/// The ARN of a container instance.
pub fn instance_arn(scope: &Scope, cluster: &ClusterName, id: &ContainerInstanceId) -> Arn {
    Arn::new(SERVICE, scope, format!("container-instance/{cluster}/{id}"))
}

/// The ARN of a task definition.
pub(crate) fn definition_arn(scope: &Scope, family: &Family, revision: u32) -> Arn {
    Arn::new(SERVICE, scope, format!("task-definition/{family}:{revision}"))
}

/// The ARN of a container of a task.
pub(crate) fn container_arn(scope: &Scope, cluster: &ClusterName, task: &TaskId, id: &str) -> Arn {
    Arn::new(SERVICE, scope, format!("container/{cluster}/{task}/{id}"))
}

/// The ARN of an attachment.
pub fn attachment_arn(scope: &Scope, id: &ident::AttachmentId) -> Arn {
    Arn::new(SERVICE, scope, format!("attachment/{id}"))
}

/// The cluster that a request names, `default` if it names none.
pub(crate) fn cluster(scope: &Scope, text: Option<&str>) -> Result<ClusterName, Error> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(ClusterName::default());
    };
    let name = short(scope, "cluster", text)?;
    name.parse().map_err(|_| Error::invalid("Invalid cluster name."))
}

/// The task that a request names. If the ARN says in which cluster, it must be
/// the request's: otherwise the task is not found there.
pub(crate) fn task(scope: &Scope, cluster: &ClusterName, text: &str) -> Result<TaskId, Error> {
    let name = short(scope, "task", text)?;
    let (said, id) = in_cluster(name);
    match id.parse() {
        Ok(id) if said.is_none_or(|said| said == cluster.as_str()) => Ok(id),
        Ok(_) => Err(Error::NoTask { cluster: cluster.clone(), task: id.to_owned() }),
        Err(_) => Err(Error::invalid("The taskId length should be one of [32,36]")),
    }
}

/// The container instance that a request names.
pub(crate) fn instance(
    scope: &Scope,
    cluster: &ClusterName,
    text: &str,
) -> Result<ContainerInstanceId, Error> {
    let name = short(scope, "container-instance", text)?;
    let (said, id) = in_cluster(name);
    let id = id.parse().ok().filter(|_| said.is_none_or(|said| said == cluster.as_str()));
    id.ok_or_else(|| Error::NoContainerInstance(text.to_owned()))
}

/// The name of the service that a request names. ARNs of before 2018 do not say its
/// cluster.
pub(crate) fn service<'t>(
    scope: &Scope,
    cluster: &ClusterName,
    text: &'t str,
) -> Result<&'t str, Error> {
    let (said, name) = in_cluster(short(scope, "service", text)?);
    let here = said.is_none_or(|said| said == cluster.as_str()) && !name.is_empty();
    here.then_some(name).ok_or_else(|| Error::NoService(text.to_owned()))
}

/// A container instance with the cluster it says it is in, as agents name it.
pub(crate) fn instance_from_arn(
    scope: &Scope,
    text: &str,
) -> Option<(ClusterName, ContainerInstanceId)> {
    let name = short(scope, "container-instance", text).ok()?;
    let (cluster, id) = in_cluster(name);
    Some((cluster?.parse().ok()?, id.parse().ok()?))
}

/// A task with the cluster it says it is in, as agents name it.
pub(crate) fn task_from_arn(scope: &Scope, text: &str) -> Option<(ClusterName, TaskId)> {
    let name = text.starts_with("arn:").then(|| short(scope, "task", text).ok())??;
    let (cluster, id) = in_cluster(name);
    Some((cluster?.parse().ok()?, id.parse().ok()?))
}

/// A task definition that a request names: a family, and perhaps which revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DefinitionName {
    pub(crate) family: Family,
    /// The newest active one if there is none.
    pub(crate) revision: Option<u32>,
}

/// The task definition that a request names.
pub(crate) fn definition(scope: &Scope, text: &str) -> Result<DefinitionName, Error> {
    let name = short(scope, "task-definition", text)?;
    let (family, revision) = match name.split_once(':') {
        None => (name, None),
        Some((family, number)) => {
            // Digits alone: Rust would read a sign too.
            let digits = number.bytes().all(|byte| byte.is_ascii_digit());
            let revision = number.parse().ok().filter(|revision| digits && *revision > 0);
            let bad = || Error::refused(format!("Invalid revision number. Number: {number}"));
            (family, Some(revision.ok_or_else(bad)?))
        }
    };
    let family =
        family.parse().map_err(|_| Error::refused("Invalid task definition identifier."))?;
    Ok(DefinitionName { family, revision })
}

/// What the ARN of a thing with tags names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Cluster(ClusterName),
    Definition(Family, u32),
    Task(ClusterName, TaskId),
    Instance(ClusterName, ContainerInstanceId),
    /// A service or a task set of this cluster.
    Service(ClusterName),
    /// Something else that has tags on AWS and does not exist here.
    Other,
}

/// The thing with tags that a request names, by its ARN alone. ARNs of before
/// 2018, which do not say the cluster, are not taken.
pub(crate) fn resource(scope: &Scope, text: &str) -> Result<Resource, Error> {
    let malformed = || malformed(text);
    let (kind, name) = ours(scope, text)?.split_once('/').ok_or_else(malformed)?;
    let placed = || {
        let (cluster, rest) = name
            .split_once('/')
            .ok_or_else(|| Error::invalid("Long arn format must be used for tagging operations"))?;
        Ok::<_, Error>((cluster.parse().map_err(|_| malformed())?, rest))
    };
    match kind {
        "cluster" => Ok(Resource::Cluster(name.parse().map_err(|_| malformed())?)),
        "task-definition" => match definition(scope, text) {
            Ok(DefinitionName { family, revision: Some(revision) }) => {
                Ok(Resource::Definition(family, revision))
            }
            Ok(_) | Err(_) => Err(malformed()),
        },
        "task" => {
            let (cluster, id) = placed()?;
            Ok(Resource::Task(cluster, id.parse().map_err(|_| malformed())?))
        }
        "container-instance" => {
            let (cluster, id) = placed()?;
            Ok(Resource::Instance(cluster, id.parse().map_err(|_| malformed())?))
        }
        "service" | "task-set" => Ok(Resource::Service(placed()?.0)),
        "capacity-provider" | "daemon" | "daemon-task-definition" => Ok(Resource::Other),
        _ => Err(malformed()),
    }
}

/// What follows the kind in an ARN of this account and region, or the text
/// itself if it is not an ARN.
fn short<'t>(scope: &Scope, kind: &str, text: &'t str) -> Result<&'t str, Error> {
    if !text.starts_with("arn:") {
        return Ok(text);
    }
    let rest = ours(scope, text)?.strip_prefix(kind).and_then(|rest| rest.strip_prefix('/'));
    rest.ok_or_else(|| malformed(text))
}

fn malformed(text: &str) -> Error {
    Error::invalid(format!("Invalid identifier: {text}"))
}

/// The resource in an ARN of this account and region.
fn ours<'t>(scope: &Scope, text: &'t str) -> Result<&'t str, Error> {
    let arn: Arn = text.parse().map_err(|_| malformed(text))?;
    if arn.service != SERVICE {
        return Err(malformed(text));
    }
    if arn.scope.account != scope.account {
        return Err(Error::invalid(format!(
            "Invalid identifier: Identifier is for {}. Your accountId is {}",
            arn.scope.account, scope.account
        )));
    }
    if arn.scope.region != scope.region {
        return Err(Error::invalid(format!(
            "Invalid identifier: Unexpected region {}. Your region is {}",
            arn.scope.region, scope.region
        )));
    }
    // The borrowed text rather than the parsed copy: it has to outlive this call.
    Ok(text.splitn(6, ':').last().unwrap_or_default())
}

fn in_cluster(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((cluster, id)) => (Some(cluster), id),
        None => (None, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scope;

    const TASK: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn names_and_arns_mean_the_same() {
        let scope = scope();
        let prefix = format!("arn:aws:ecs:{}:{}", scope.region, scope.account);
        let web: ClusterName = "web".parse().expect("a name");
        for text in
            [TASK.to_owned(), format!("{prefix}:task/web/{TASK}"), format!("{prefix}:task/{TASK}")]
        {
            assert_eq!(task(&scope, &web, &text).expect("a task").as_str(), TASK);
        }
        assert_eq!(cluster(&scope, None).expect("default"), ClusterName::default());
        assert_eq!(cluster(&scope, Some(&format!("{prefix}:cluster/web"))).expect("web"), web);
        let named = definition(&scope, &format!("{prefix}:task-definition/f:3")).expect("named");
        assert_eq!(named, definition(&scope, "f:3").expect("named"));
        assert_eq!(named.revision, Some(3));
    }

    #[test]
    fn what_lies_elsewhere_is_not_here() {
        let scope = scope();
        let web: ClusterName = "web".parse().expect("a name");
        let other = format!("arn:aws:ecs:{}:{}:task/api/{TASK}", scope.region, scope.account);
        assert!(matches!(task(&scope, &web, &other), Err(Error::NoTask { .. })));
        let (account, region) = (&scope.account, &scope.region);
        for text in [
            format!("arn:aws:ecs:{region}:999999999999:cluster/web"),
            format!("arn:aws:ecs:mars-north-1:{account}:cluster/web"),
            format!("arn:aws:ecs:{region}:{account}:task/web"),
            format!("arn:aws:ec2:{region}:{account}:cluster/web"),
            "arn:aws:ecs".to_owned(),
            "a b".to_owned(),
        ] {
            let refused = cluster(&scope, Some(&text)).expect_err(&text).fault();
            assert_eq!(refused.code, "InvalidParameterException", "{text}");
        }
        for text in ["f:x", "f:0", "f:-1", "f:+1", "f:", "f:1:2", "a b", ":3"] {
            let refused = definition(&scope, text).expect_err(text).fault();
            assert_eq!(refused.code, "ClientException", "{text}");
        }
    }
}
