//! The roles that AWS's services act in.

/// What their paths begin with.
pub(crate) const PATH: &str = "/aws-service-role/";

/// What is known of a service's role.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linked {
    service: &'static str,
    pub(crate) role: &'static str,
    pub(crate) policy: &'static str,
    pub(crate) description: &'static str,
    pub(crate) takes_suffix: bool,
}

const ALL: &[Linked] = &[
    Linked {
        service: "autoscaling.amazonaws.com",
        role: "AWSServiceRoleForAutoScaling",
        policy: "AutoScalingServiceRolePolicy",
        description: "Default Service-Linked Role enables access to AWS Services and Resources \
                      used or managed by Auto Scaling",
        takes_suffix: true,
    },
    Linked {
        service: "ecs.amazonaws.com",
        role: "AWSServiceRoleForECS",
        policy: "AmazonECSServiceRolePolicy",
        description: "Role to enable Amazon ECS to manage your cluster.",
        takes_suffix: false,
    },
    Linked {
        service: "ecs.application-autoscaling.amazonaws.com",
        role: "AWSServiceRoleForApplicationAutoScaling_ECSService",
        policy: "AWSApplicationAutoscalingECSServicePolicy",
        description: "",
        takes_suffix: false,
    },
    Linked {
        service: "elasticloadbalancing.amazonaws.com",
        role: "AWSServiceRoleForElasticLoadBalancing",
        policy: "AWSElasticLoadBalancingServiceRolePolicy",
        description: "Allows ELB to call AWS services on your behalf.",
        takes_suffix: false,
    },
];

/// The role of this service.
pub(crate) fn known(service: &str) -> Option<&'static Linked> {
    ALL.iter().find(|linked| linked.service == service)
}

/// That the service, and nobody else, assumes it.
pub(crate) fn trust(service: &str) -> String {
    serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Service": service },
            "Action": "sts:AssumeRole",
        }],
    })
    .to_string()
}
