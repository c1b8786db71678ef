//! What principals may do.

use crate::document::{Ask, Verdict};
use crate::managed;
use crate::records::{Account, directory};
use crate::roles::{judge, named};
use crate::sessions::Session;
use chassis::{Caller, Principal};
use store::View;

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

/// What is left of that while the account is being deleted: to hear what to stop,
/// and to say that it has stopped. Nothing new may come.
const ECS_CLOSING: &[&str] = &[
    "DiscoverPollEndpoint",
    "Poll",
    "StartTelemetrySession",
    "SubmitAttachmentStateChanges",
    "SubmitContainerStateChange",
    "SubmitTaskStateChange",
];

/// The service name of what AWS has no API for.
const LANDFALL: &str = "landfall";
/// To be told what a card must do: the session that `ec2` serves.
const SERVE_CARD: &str = "ServeCard";

/// Whether `caller` may perform `service:operation` in its own account. Whatever
/// is not said to be allowed is not.
pub fn allows(view: &View, caller: &Caller, service: &str, operation: &str) -> bool {
    match &caller.principal {
        Principal::Root => true,
        // Whoever holds a key may ask whose it is; no policy can deny that.
        Principal::Role(_) if service == "sts" && operation == "GetCallerIdentity" => true,
        Principal::Role(session) => {
            let (account, region) = (&caller.scope.account, &caller.scope.region);
            // IAM and STS are everywhere, and so are their ARNs.
            let here = if matches!(service, "iam" | "sts") { "" } else { region.as_str() };
            let action = format!("{service}:{operation}");
            let place = [region.partition(), service, here, account.as_str()];
            let ask = Ask { action: &action, place };
            named(view, account, &session.role)
                .filter(|role| role.id == session.role_id)
                .is_some_and(|role| role.judge(&ask) == Verdict::Allowed)
                && cut_down(view, &caller.access_key, &ask)
        }
        Principal::Instance(_) => match service {
            "ecs" if is_closing(view, caller) => ECS_CLOSING.contains(&operation),
            "ecs" => ECS.contains(&operation),
            // Whoever holds a key may ask whose it is; no policy can deny that.
            "sts" => operation == "GetCallerIdentity",
            LANDFALL => operation == SERVE_CARD,
            _ => false,
        },
    }
}

/// Whether the caller's account is being deleted.
fn is_closing(view: &View, caller: &Caller) -> bool {
    let account = view.get::<Account>(&directory(), caller.scope.account.as_str());
    account.is_some_and(|account| account.closing.is_some())
}

/// Whether the policies that the session was made with, if any, let it.
fn cut_down(view: &View, access_key: &str, ask: &Ask<'_>) -> bool {
    let Some(session) = view.get::<Session>(&directory(), access_key) else { return false };
    let arns = session.policy_arns.iter().filter_map(|arn| managed::name(arn));
    let mut documents = arns.filter_map(managed::document).chain(session.policies.iter().cloned());
    let whole = session.policies.is_empty() && session.policy_arns.is_empty();
    whole || judge(&mut documents, ask) == Verdict::Allowed
}
