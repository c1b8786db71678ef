//! What a task is made of: its definition with the overrides of one launch.

use crate::Error;
use crate::definition::{memory, parse_memory, task_cpu};
use crate::records::{Container, ContainerStatus, Health, NetworkMode, Spec};
use ident::AttachmentId;
use sched::lifecycle::Needs;
use sched::placement::Demanded;
use sched::resources::{Need, Ports, Protocol};
use std::collections::BTreeSet;
use wire::ecs::{ContainerDefinition, ContainerOverride, ResourceRequirement, TaskOverride};

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Launch<'a> {
    spec: &'a Spec,
    overrides: &'a TaskOverride,
    need: Need,
}

impl<'a> Launch<'a> {
    /// The launch, if the overrides fit the definition and we can obey both.
    pub(crate) fn new(spec: &'a Spec, overrides: &'a TaskOverride) -> Result<Self, Error> {
        if let Some(what) = crate::definition::unsupported(spec) {
            return Err(Error::unsupported(what));
        }
        let beyond = [
            ("the override of ephemeralStorage", overrides.ephemeral_storage.is_some()),
            (
                "inferenceAcceleratorOverrides",
                overrides.inference_accelerator_overrides.as_ref().is_some_and(|o| !o.is_empty()),
            ),
        ];
        if let Some((what, _)) = beyond.into_iter().find(|(_, there)| *there) {
            return Err(Error::unsupported(what));
        }
        let mut named = BTreeSet::new();
        for over in overrides.container_overrides.iter().flatten() {
            container_override(spec, over)?;
            if !named.insert(over.name.as_deref()) {
                let name = over.name.as_deref().unwrap_or_default();
                return Err(Error::invalid(format!(
                    "Several overrides for container named {name}."
                )));
            }
        }
        let mut launch = Self { spec, overrides, need: Need::default() };
        launch.need = launch.share()?;
        Ok(launch)
    }

    /// Which phases the task stops at.
    pub(crate) fn needs(&self) -> Needs {
        Needs { eni: self.spec.network_mode == NetworkMode::Awsvpc, targets: false }
    }

    /// The ARN of the role that the task's containers act in.
    pub(crate) fn role(&self) -> Option<&'a str> {
        let over = self.overrides.task_role_arn.as_deref();
        over.or(self.spec.task_role_arn.as_deref()).filter(|arn| !arn.is_empty())
    }

    /// The ARN of the role that the agent acts in for the task.
    pub(crate) fn execution_role(&self) -> Option<&'a str> {
        let over = self.overrides.execution_role_arn.as_deref();
        over.or(self.spec.execution_role_arn.as_deref()).filter(|arn| !arn.is_empty())
    }

    /// The task's share of the machine.
    pub(crate) fn need(&self) -> &Need {
        &self.need
    }

    fn share(&self) -> Result<Need, Error> {
        let bad = |what: &str| Error::refused(format!("Invalid '{what}' setting for task."));
        let cpu = self.overrides.cpu.as_ref().or(self.spec.cpu.as_ref());
        let mib = self.overrides.memory.as_ref().or(self.spec.memory.as_ref());
        let cpu_units = match cpu {
            Some(text) => task_cpu(text).ok_or_else(|| bad("cpu"))?,
            None => self.each().map(|(it, over)| cpu_of(it, over)).map(i64::from).sum(),
        };
        let memory_mib = match mib {
            Some(text) => parse_memory(text).ok_or_else(|| bad("memory"))?,
            None => self.each().map(|(it, over)| reserved_of(it, over)).map(i64::from).sum(),
        };
        let enis = i64::from(self.needs().eni);
        let gpus = self.gpus().fold(0, |sum: i64, many| sum.saturating_add(many.into()));
        Ok(Need { cpu_units, memory_mib, enis, gpus, ports: self.host_ports() })
    }

    /// How many GPUs each container is to have, in the order of the definition.
    pub(crate) fn gpus(&self) -> impl Iterator<Item = u32> {
        self.each().map(|(definition, over)| {
            let replaced = over.and_then(|over| over.resource_requirements.as_ref());
            let wanted = replaced.or(definition.resource_requirements.as_ref());
            wanted.into_iter().flatten().filter_map(gpus_of).fold(0, u32::saturating_add)
        })
    }

    /// The host ports that the task wants to have. The dynamic ones are chosen by
    /// the agent, and in awsvpc mode there are none.
    fn host_ports(&self) -> Ports {
        if self.spec.network_mode == NetworkMode::Awsvpc {
            return Ports::default();
        }
        let mappings = self.spec.container_definitions.iter().flat_map(|it| &it.port_mappings);
        let fixed = mappings.flatten().filter_map(|mapping| {
            let udp = mapping.protocol.as_deref() == Some("udp");
            let port = u16::try_from(mapping.host_port?).ok().filter(|port| *port > 0)?;
            Some((if udp { Protocol::Udp } else { Protocol::Tcp }, port))
        });
        Ports(fixed.collect())
    }

    /// The attributes that the machine must have.
    pub(crate) fn demanded(&self) -> BTreeSet<Demanded> {
        let capability = |name| Demanded { name, value: None };
        let mut all: BTreeSet<Demanded> =
            crate::definition::capabilities(self.spec).into_iter().map(capability).collect();
        let platform = self.spec.runtime_platform.as_ref();
        if let Some(architecture) = platform.and_then(|p| p.cpu_architecture.as_deref()) {
            all.insert(Demanded {
                name: "ecs.cpu-architecture".to_owned(),
                value: Some(architecture.to_ascii_lowercase()),
            });
        }
        if let Some(family) = platform.and_then(|p| p.operating_system_family.as_deref()) {
            let os = if family.starts_with("WINDOWS") { "windows" } else { "linux" };
            all.insert(Demanded { name: "ecs.os-type".to_owned(), value: Some(os.to_owned()) });
        }
        all
    }

    /// The task's containers before anything happened to them.
    pub(crate) fn containers(&self, bits: impl Fn() -> u128) -> Vec<Container> {
        self.each()
            .map(|(definition, over)| Container {
                id: AttachmentId::mint(bits()).to_string(),
                name: definition.name.clone().unwrap_or_default(),
                image: definition.image.clone().unwrap_or_default(),
                image_digest: None,
                runtime_id: None,
                status: ContainerStatus::Pending,
                exit_code: None,
                reason: None,
                network_bindings: vec![],
                health: Health::Unknown,
                cpu: cpu_of(definition, over),
                memory: over.and_then(|o| o.memory).or(definition.memory),
                memory_reservation: over
                    .and_then(|o| o.memory_reservation)
                    .or(definition.memory_reservation),
                health_checked: definition.health_check.is_some(),
                essential: definition.essential.unwrap_or(true),
                gpu_ids: vec![],
            })
            .collect()
    }

    /// Each container with its override, if it has one.
    fn each(
        &self,
    ) -> impl Iterator<Item = (&'a ContainerDefinition, Option<&'a ContainerOverride>)> {
        let overrides = self.overrides;
        self.spec.container_definitions.iter().map(|definition| {
            let name = definition.name.as_deref().unwrap_or_default();
            (definition, override_of(overrides, name))
        })
    }
}

/// The override of the container of this name.
pub(crate) fn override_of<'a>(
    overrides: &'a TaskOverride,
    name: &str,
) -> Option<&'a ContainerOverride> {
    overrides.container_overrides.iter().flatten().find(|o| o.name.as_deref() == Some(name))
}

fn container_override(spec: &Spec, over: &ContainerOverride) -> Result<(), Error> {
    let name = over.name.as_deref().unwrap_or_default();
    let mut all = spec.container_definitions.iter();
    let Some(definition) = all.find(|it| it.name.as_deref() == Some(name)) else {
        return Err(Error::invalid(format!(
            "Override for container named {name} is not a container in the TaskDefinition."
        )));
    };
    let numbers = [over.cpu, over.memory, over.memory_reservation];
    if numbers.into_iter().flatten().any(|number| number < 0) {
        return Err(Error::invalid(format!("Invalid override for container named {name}.")));
    }
    memory(
        name,
        over.memory.or(definition.memory),
        over.memory_reservation.or(definition.memory_reservation),
    )?;
    let unnamed = |it: &wire::ecs::KeyValuePair| it.name.as_deref().is_none_or(str::is_empty);
    if over.environment.iter().flatten().any(unnamed) {
        return Err(Error::invalid(format!(
            "An environment variable in the override for container named {name} has no name."
        )));
    }
    let given = |length: Option<usize>| length.is_some_and(|length| length > 0);
    let files = over.environment_files.as_ref().map(Vec::len);
    if given(files) {
        return Err(Error::unsupported("the override of environmentFiles"));
    }
    for wanted in over.resource_requirements.iter().flatten() {
        if !is_whole_gpus(wanted) {
            return Err(Error::unsupported("a resource requirement other than whole GPUs"));
        }
        if gpus_of(wanted).is_none() {
            return Err(Error::invalid(format!(
                "Invalid number of GPUs in the override for container named {name}."
            )));
        }
    }
    Ok(())
}

/// Whether GPUs are wanted that nobody else has at the same time.
pub(crate) fn is_whole_gpus(wanted: &ResourceRequirement) -> bool {
    wanted.r#type.as_deref() == Some("GPU") && wanted.sharing_strategy.is_none()
}

/// How many GPUs are wanted: a positive number.
fn gpus_of(wanted: &ResourceRequirement) -> Option<u32> {
    wanted.value.as_deref()?.parse().ok().filter(|many| *many > 0)
}

fn cpu_of(definition: &ContainerDefinition, over: Option<&ContainerOverride>) -> i32 {
    over.and_then(|o| o.cpu).or(definition.cpu).unwrap_or(0)
}

/// What a container counts for: its soft limit, else its hard one.
fn reserved_of(definition: &ContainerDefinition, over: Option<&ContainerOverride>) -> i32 {
    let soft = over.and_then(|o| o.memory_reservation).or(definition.memory_reservation);
    soft.or_else(|| over.and_then(|o| o.memory)).or(definition.memory).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ecs::PortMapping;

    fn spec() -> Spec {
        let container = |name: &str, memory, reservation| ContainerDefinition {
            name: Some(name.to_owned()),
            cpu: Some(128),
            memory,
            memory_reservation: reservation,
            ..Default::default()
        };
        Spec {
            network_mode: NetworkMode::Host,
            container_definitions: vec![
                container("web", Some(256), None),
                container("log", Some(512), Some(64)),
            ],
            ..Spec::default()
        }
    }

    #[test]
    fn a_task_needs_what_its_containers_need_unless_it_says() {
        let (spec, overrides) = (spec(), TaskOverride::default());
        let need = Launch::new(&spec, &overrides).expect("sound").need().clone();
        assert_eq!((need.cpu_units, need.memory_mib, need.enis), (256, 320, 0));

        let sized = Spec {
            cpu: Some("512".to_owned()),
            memory: Some("1024".to_owned()),
            network_mode: NetworkMode::Awsvpc,
            ..spec
        };
        let need = Launch::new(&sized, &overrides).expect("sound").need().clone();
        assert_eq!((need.cpu_units, need.memory_mib, need.enis), (512, 1024, 1));

        let smaller = TaskOverride { memory: Some("0.5 GB".to_owned()), ..TaskOverride::default() };
        let need = Launch::new(&sized, &smaller).expect("sound").need().clone();
        assert_eq!((need.cpu_units, need.memory_mib), (512, 512));
    }

    #[test]
    fn overrides_reach_the_container_they_name() {
        let over = |name: &str| TaskOverride {
            container_overrides: Some(vec![ContainerOverride {
                name: Some(name.to_owned()),
                cpu: Some(1),
                memory_reservation: Some(6),
                ..Default::default()
            }]),
            ..TaskOverride::default()
        };
        let (spec, web) = (spec(), over("web"));
        let launch = Launch::new(&spec, &web).expect("sound");
        let need = launch.need();
        assert_eq!((need.cpu_units, need.memory_mib), (129, 70));
        let containers = launch.containers(|| 7);
        assert_eq!((containers[0].cpu, containers[0].memory_reservation), (1, Some(6)));
        assert_eq!(containers[1].cpu, 128);
        let fault = Launch::new(&spec, &over("db")).expect_err("no db").fault();
        assert_eq!(
            fault.message,
            "Override for container named db is not a container in the TaskDefinition."
        );
    }

    #[test]
    fn only_fixed_ports_of_the_host_are_asked_for() {
        let mut spec = spec();
        let port = |host, protocol: &str| PortMapping {
            container_port: Some(80),
            host_port: Some(host),
            protocol: Some(protocol.to_owned()),
            ..Default::default()
        };
        spec.container_definitions[0].port_mappings =
            Some(vec![port(8080, "tcp"), port(0, "tcp"), port(53, "udp")]);
        let overrides = TaskOverride::default();
        let ports = |spec: &Spec| Launch::new(spec, &overrides).expect("sound").host_ports();
        let wanted = [(Protocol::Tcp, 8080), (Protocol::Udp, 53)];
        assert_eq!(ports(&spec), Ports(wanted.into()));
        spec.network_mode = NetworkMode::Awsvpc;
        assert_eq!(ports(&spec), Ports::default());
    }
}
