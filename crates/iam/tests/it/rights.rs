use crate::{caller, instance, platform};
use chassis::{Authenticator as _, Principal};
use iam::Iam;

#[test]
fn who_may_do_what() {
    let iam = Iam::new(platform().store);
    let root = caller(Principal::Root);
    let node = caller(Principal::Instance(instance()));
    // Every operation that is served, and what else an agent asks for; whoever
    // adds one decides here what an instance may do.
    let mut asked: Vec<(&str, &str)> = vec![
        ("ecs", "Poll"),
        ("ecs", "StartTelemetrySession"),
        ("landfall", "ServeCard"),
        ("landfall", "Explain"),
        ("iam", "CreateAccessKey"),
        ("sts", "AssumeRole"),
    ];
    for service in wire::service::SERVICES {
        asked.extend(service.operations.iter().map(|operation| (service.name, operation.name)));
    }
    let allowed: Vec<String> = asked
        .iter()
        .inspect(|(service, operation)| assert!(iam.allows(&root, service, operation)))
        .filter(|(service, operation)| iam.allows(&node, service, operation))
        .map(|(service, operation)| format!("{service}:{operation}"))
        .collect();
    assert_eq!(
        allowed,
        [
            "ecs:Poll",
            "ecs:StartTelemetrySession",
            "landfall:ServeCard",
            "ecs:CreateCluster",
            "ecs:DeregisterContainerInstance",
            "ecs:DiscoverPollEndpoint",
            "ecs:ListTagsForResource",
            "ecs:RegisterContainerInstance",
            "ecs:SubmitAttachmentStateChanges",
            "ecs:SubmitContainerStateChange",
            "ecs:SubmitTaskStateChange",
            "ecs:TagResource",
            "ecs:UpdateContainerInstancesState",
            "sts:GetCallerIdentity",
        ]
    );
}

#[test]
fn what_is_almost_allowed_is_not() {
    let iam = Iam::new(platform().store);
    let node = caller(Principal::Instance(instance()));
    for (service, operation) in [
        ("ec2", "Poll"),
        ("ECS", "Poll"),
        ("ecs", "poll"),
        ("ecs", "PollX"),
        ("ecs", ""),
        ("", "Poll"),
        ("ecs", "ServeCard"),
        ("ecs", "-"),
        ("-", "-"),
    ] {
        assert!(!iam.allows(&node, service, operation), "{service}:{operation}");
    }
}
