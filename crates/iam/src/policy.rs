//! What principals may do.

use chassis::Principal;

/// What an instance may do, of [AWS's managed policy for container
/// instances](https://docs.aws.amazon.com/AmazonECS/latest/developerguide/instance_IAM_role.html):
/// what an agent calls about itself. Its tasks have no rights by way of it.
const ECS: &[&str] = &[
    "CreateCluster",
    "DeregisterContainerInstance",
    "DiscoverPollEndpoint",
    "ListTagsForResource",
    "Poll",
    "RegisterContainerInstance",
    "StartTelemetrySession",
    "SubmitAttachmentStateChanges",
    "SubmitContainerStateChange",
    "SubmitTaskStateChange",
    "TagResource",
    "UpdateContainerInstancesState",
];

/// The service name of what AWS has no API for.
const LANDFALL: &str = "landfall";
/// To be told what a card must do: the session that `ec2` serves.
const SERVE_CARD: &str = "ServeCard";

/// Whether `principal` may perform `service:operation` in its own account.
/// Whatever is not said to be allowed is not.
pub fn allows(principal: &Principal, service: &str, operation: &str) -> bool {
    match principal {
        Principal::Root => true,
        Principal::Instance(_) => match service {
            "ecs" => ECS.contains(&operation),
            // Whoever holds a key may ask whose it is; no policy can deny that.
            "sts" => operation == "GetCallerIdentity",
            LANDFALL => operation == SERVE_CARD,
            _ => false,
        },
    }
}
