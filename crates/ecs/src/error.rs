//! Why an ECS operation was refused, or failed.
//!
//! `Display` is for our logs. What a client sees is a [`Fault`], and
//! [`Error::fault`] is the only place where our errors acquire AWS's names and
//! texts. Causes travel in `source()`, never inside a message, so that each is
//! printed once.

use chassis::paging::PagingError;
use ident::{ClusterName, ContainerInstanceId, InstanceId};
use store::StoreError;
use wire::Fault;
use wire::ecs::code;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such cluster in the caller's account and region.
    #[error("cluster {0} does not exist")]
    NoCluster(ClusterName),

    /// No such task, or none the caller may know about.
    #[error("task {task} does not exist in cluster {cluster}")]
    #[allow(missing_docs)]
    NoTask { cluster: ClusterName, task: String },

    /// No such container instance in the cluster.
    #[error("container instance {0} does not exist")]
    NoContainerInstance(String),

    /// A task definition that cannot be described because there is none.
    #[error("task definition {0} does not exist")]
    NoDefinition(String),

    /// A task definition that cannot be run because there is none.
    #[error("task definition {0}, which is to be run, does not exist")]
    NothingToRun(String),

    /// Services are not there yet, so none can be named.
    #[error("service {0} does not exist")]
    NoService(String),

    /// The cluster has not a single container instance to run a task on.
    #[error("cluster {0} has no container instances")]
    NoContainerInstances(ClusterName),

    /// The request is malformed. The text is for the person who sent it.
    #[error("{0}")]
    Invalid(String),

    /// The request is well-formed and refused. The text is for whom sent it.
    #[error("{0}")]
    Refused(String),

    /// AWS would do this and Landfall does not yet. Said aloud, because the
    /// alternative is a task that silently is not what was asked for.
    #[error("{0} is not supported yet")]
    Unsupported(String),

    /// The client token came with another request before.
    #[error("client token {0:?} was used for another request")]
    TokenReused(String),

    /// The cluster cannot be deleted while it has these.
    #[error("the cluster has {0} yet")]
    InUse(Content),

    /// No such container instance to have attributes.
    #[error("attribute target {0} does not exist")]
    NoTarget(String),

    /// A user may give a resource ten attributes.
    #[error("{0} has too many attributes")]
    TooManyAttributes(String),

    /// An ARN names nothing that there is.
    #[error("the resource does not exist")]
    NoResource,

    /// A user may give a resource fifty tags.
    #[error("the resource has too many tags")]
    TooManyTags,

    /// The caller may not do this. The text is for whom sent it.
    #[error("{0}")]
    Denied(String),

    /// An instance speaks for another, or for none that it is.
    #[error("instance {0} may only speak for itself")]
    NotYours(InstanceId),

    /// The agent's container instance is not one that we know as active. The name
    /// of the fault is what makes agents forget that they were it.
    #[error("container instance {0} is not active")]
    Inactive(String),

    /// A machine came again as another type than it was. The text is what agents
    /// look for, to give up.
    #[error("container instance {instance} was a {before}")]
    #[allow(missing_docs)]
    TypeChanged { instance: ContainerInstanceId, before: String },

    /// A page that cannot be turned to.
    #[error("the page cannot be shown")]
    Page(#[from] PagingError),

    /// EC2 cannot provide the network that a task asks for.
    #[error("the network was refused")]
    Network(#[from] ec2::Error),

    /// A value of ours does not serialize, which is a mistake in the program.
    #[error("a value could not be encoded")]
    Encoding(#[from] serde_json::Error),

    /// The state store would not take the change. The request may be retried.
    #[error("state store refused the change")]
    Store(#[from] StoreError),
}

/// What keeps a cluster from being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Content {
    ContainerInstances,
    Tasks,
}

impl std::fmt::Display for Content {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::ContainerInstances => "container instances",
            Self::Tasks => "tasks",
        })
    }
}

impl Error {
    /// A parameter is wrong.
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }

    /// Something about the request is wrong.
    pub(crate) fn refused(text: impl Into<String>) -> Self {
        Self::Refused(text.into())
    }

    /// The same refusal where AWS has a `ClientException` for it.
    pub(crate) fn of_client(self) -> Self {
        if let Self::Invalid(text) = self { Self::Refused(text) } else { self }
    }

    /// We do not do that yet.
    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported(what.into())
    }

    /// How this error looks on the wire.
    pub fn fault(&self) -> Fault {
        let invalid =
            |text: &str| Fault::client(code::INVALID_PARAMETER_EXCEPTION, text.to_owned());
        let client = |text: &str| Fault::client(code::CLIENT_EXCEPTION, text.to_owned());
        match self {
            Self::NoCluster(_) => {
                Fault::client(code::CLUSTER_NOT_FOUND_EXCEPTION, "Cluster not found.")
            }
            Self::NoTask { .. } => invalid("The referenced task was not found."),
            Self::NoContainerInstance(_) => {
                invalid("The referenced container instance was not found.")
            }
            Self::NoDefinition(_) => client("Unable to describe task definition."),
            Self::NothingToRun(_) => client("TaskDefinition not found."),
            Self::NoService(_) => {
                Fault::client(code::SERVICE_NOT_FOUND_EXCEPTION, "Service not found.")
            }
            Self::NoContainerInstances(_) => {
                invalid("No Container Instances were found in your cluster.")
            }
            Self::Invalid(text) => invalid(text),
            Self::Refused(text) => client(text),
            Self::Unsupported(what) => client(&format!("Landfall does not support {what} yet.")),
            Self::TokenReused(_) => Fault::client(
                code::CONFLICT_EXCEPTION,
                "The provided clientToken is already in use with a different request.",
            ),
            Self::InUse(Content::ContainerInstances) => Fault::client(
                code::CLUSTER_CONTAINS_CONTAINER_INSTANCES_EXCEPTION,
                "The Cluster cannot be deleted while Container Instances are active or draining.",
            ),
            Self::InUse(Content::Tasks) => Fault::client(
                code::CLUSTER_CONTAINS_TASKS_EXCEPTION,
                "The Cluster cannot be deleted while Tasks are active.",
            ),
            Self::NoTarget(target) => Fault::client(
                code::TARGET_NOT_FOUND_EXCEPTION,
                format!("The specified target was not found: {target}"),
            ),
            Self::TooManyAttributes(target) => Fault::client(
                code::ATTRIBUTE_LIMIT_EXCEEDED_EXCEPTION,
                format!(
                    "You can apply up to 10 custom attributes for each resource. Remove existing \
                     attributes of {target} with DeleteAttributes."
                ),
            ),
            Self::NoResource => Fault::client(
                code::RESOURCE_NOT_FOUND_EXCEPTION,
                "The specified resource was not found.",
            ),
            Self::TooManyTags => Fault::client(
                code::LIMIT_EXCEEDED_EXCEPTION,
                "A resource can have at most 50 tags.",
            ),
            Self::Denied(text) => Fault::denied(code::ACCESS_DENIED_EXCEPTION, text.clone()),
            Self::NotYours(_) => Fault::denied(
                code::ACCESS_DENIED_EXCEPTION,
                "An instance may only act on its own container instance and tasks.",
            ),
            Self::Inactive(_) => Fault::client(
                "InactiveInstanceException",
                "InactiveInstanceException: The container instance is not active.",
            ),
            Self::TypeChanged { instance, before } => client(&format!(
                "Container instance type changes are not supported. Container instance {instance} \
                 was previously registered as {before}."
            )),
            Self::Page(PagingError::Token) => invalid("Invalid token."),
            Self::Page(PagingError::Size { min, max }) => {
                invalid(&format!("maxResults must be between {min} and {max}."))
            }
            Self::Network(error) => network(error),
            Self::Encoding(_) | Self::Store(_) => unavailable(),
        }
    }
}

fn unavailable() -> Fault {
    Fault::server(code::SERVER_EXCEPTION, "Service Unavailable. Please try again later.")
}

/// EC2's errors in ECS's words. ECS quotes EC2's text with its code behind it.
#[allow(clippy::wildcard_enum_match_arm)] // The rest of EC2's errors never comes this way.
fn network(error: &ec2::Error) -> Fault {
    let invalid = |text: String| Fault::client(code::INVALID_PARAMETER_EXCEPTION, text);
    let quote = |what: &str, id: &str| {
        let ec2 = error.fault();
        invalid(format!(
            "Error retrieving {what} information for [{id}]: {} (ErrorCode: {})",
            ec2.message, ec2.code
        ))
    };
    match error {
        ec2::Error::NoSubnet(id) => quote("subnet", id),
        ec2::Error::NoGroup(id) => quote("security group", id),
        ec2::Error::NoSubnets => invalid("subnets can not be empty.".to_owned()),
        ec2::Error::TooManySubnets(_) => invalid("subnets can have at most 16 items.".to_owned()),
        ec2::Error::TooManyGroups(_) => {
            invalid("securityGroups can have at most 5 items.".to_owned())
        }
        ec2::Error::SeveralVpcs { .. } => {
            invalid("All subnets must belong to the same VPC.".to_owned())
        }
        ec2::Error::GroupOutsideVpc { group, vpc } => invalid(format!(
            "Security group {group} does not appear to belong to the same VPC {vpc} as the subnets."
        )),
        ec2::Error::NoAddress(subnet) => Fault::client(
            code::CLIENT_EXCEPTION,
            format!(
                "The subnet '{subnet}' has insufficient free IP addresses. \
                 (ErrorCode: InsufficientFreeAddressesInSubnet)"
            ),
        ),
        ec2::Error::Store(_) => unavailable(),
        other => {
            let ec2 = other.fault();
            Fault { code: code::CLIENT_EXCEPTION.into(), ..ec2 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn our_troubles_stay_ours() {
        let error = Error::from(StoreError::Contended { attempts: 8 });
        assert_eq!(error.fault().status, 500);
        assert!(!error.fault().message.contains("contended"));
        assert!(!error.to_string().contains("contended"), "the cause is in source()");
        assert!(error.source().expect("a cause").to_string().contains("contended"));
    }

    #[test]
    fn ec2_is_quoted_as_ecs_does() {
        let error = Error::from(ec2::Error::NoSubnet("subnet-1".to_owned()));
        assert_eq!(
            error.fault().message,
            "Error retrieving subnet information for [subnet-1]: The subnet ID 'subnet-1' does \
             not exist (ErrorCode: InvalidSubnetID.NotFound)"
        );
    }
}
