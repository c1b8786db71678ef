//! The ways to run a definition that it is fit for.

use super::{external, fargate, managed};
use crate::records::Spec;

/// The launch types that the definition could be run with.
pub(crate) fn compatibilities(spec: &Spec) -> Vec<String> {
    // Its storage is Fargate's to give.
    let ec2 = spec.ephemeral_storage.is_none();
    let table = [
        ("EC2", ec2),
        ("FARGATE", fargate::check(spec).is_ok()),
        ("MANAGED_INSTANCES", managed::check(spec).is_ok()),
        ("EXTERNAL", external::check(spec).is_ok()),
    ];
    table.into_iter().filter(|(_, fit)| *fit).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::NetworkMode;
    use wire::ecs::{ContainerDefinition, EphemeralStorage};

    #[test]
    fn launch_types() {
        let web = ContainerDefinition { name: Some("web".to_owned()), ..Default::default() };
        let spec = |network_mode| Spec {
            network_mode,
            container_definitions: vec![web.clone()],
            ..Spec::default()
        };
        assert_eq!(compatibilities(&spec(NetworkMode::Awsvpc)), ["EC2"]);
        assert_eq!(compatibilities(&spec(NetworkMode::Bridge)), ["EC2", "EXTERNAL"]);
        let mut sized = spec(NetworkMode::Awsvpc);
        (sized.cpu, sized.memory) = (Some("256".to_owned()), Some("512".to_owned()));
        assert_eq!(compatibilities(&sized), ["EC2", "FARGATE", "MANAGED_INSTANCES"]);
        sized.container_definitions[0].privileged = Some(true);
        assert_eq!(compatibilities(&sized), ["EC2", "MANAGED_INSTANCES"]);
        sized.container_definitions[0].privileged = None;
        sized.ephemeral_storage = Some(EphemeralStorage { size_in_gi_b: Some(21) });
        assert_eq!(compatibilities(&sized), ["FARGATE"]);
    }
}
