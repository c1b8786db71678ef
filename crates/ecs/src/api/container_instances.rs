//! `RegisterContainerInstance`, `DescribeContainerInstances`,
//! `ListContainerInstances`.

use super::clusters::{found_or_made, plain};
use super::{existing, known_cluster, paging};
use crate::account_settings::{SettingName, effective};
use crate::facts::FactsOf;
use crate::records::{
    BY_CLUSTER, BY_EC2_INSTANCE, ContainerInstance, InstanceStatus, VersionInfo, tags,
};
use crate::{Error, names, placing, show};
use chassis::idempotency::{self, Digest, Key, Seen};
use chassis::{Cx, Principal};
use ec2::identity::Verifier;
use ident::{AttachmentId, ClusterName, ContainerInstanceId, InstanceId, Tags, Timestamp};
use sched::placement::{TRUNK_ID, ZONE};
use sched::resources::{Capacity, Ports, Protocol};
use std::collections::{BTreeMap, BTreeSet};
use store::{Txn, View};
use wire::ecs::{self, PlatformDevice, RegisterContainerInstanceRequest, Resource};

/// As many attributes as a machine may have: an agent's capabilities and those
/// that its owner gives it are well below.
const MAX_ATTRIBUTES: usize = 500;
/// As long as their names and values may be.
const LONGEST: usize = 128;
/// As many devices as a machine may have, and as many other resources.
const MAX_DEVICES: usize = 64;
/// As long as a client token may be.
const MAX_TOKEN: usize = 64;

/// What a registration says of the machine besides its attributes, where its
/// identity document says it: kept when the machine comes again without one.
const FROM_DOCUMENT: [&str; 3] = ["ecs.cpu-architecture", INSTANCE_TYPE, "ecs.ami-id"];
/// The attribute that an instance's type is.
const INSTANCE_TYPE: &str = "ecs.instance-type";
/// The attribute by which an agent says that it can do with a trunk interface.
const CAN_TRUNK: &str = "ecs.capability.task-eni-trunking";

/// What a client token is remembered with.
const OPERATION: &str = "RegisterContainerInstance";

/// What a machine says of itself.
struct Machine {
    cluster: ClusterName,
    /// What it was before, if it remembers.
    known_as: Option<ContainerInstanceId>,
    /// Which EC2 instance it is, as proven by its signature.
    ec2_instance: Option<InstanceId>,
    capacity: Capacity,
    other_resources: Vec<Resource>,
    attributes: BTreeMap<String, Option<String>>,
    version_info: VersionInfo,
    tags: Tags,
    /// The request's token, with what it stands for.
    token: Option<(String, Digest)>,
}

/// Takes a machine into a cluster, or notes what a known one says of itself.
pub(crate) async fn register_container_instance(
    cx: &Cx,
    request: RegisterContainerInstanceRequest,
) -> Result<ecs::RegisterContainerInstanceResponse, Error> {
    let machine = read(cx, request)?;
    let (now, fresh) = (cx.now(), ContainerInstanceId::mint(cx.bits()));

    let shown = cx.store().transact(|txn| {
        cluster_for(cx, txn, &machine.cluster, now)?;
        let known_as = match &machine.known_as {
            Some(id) => Some(id.clone()),
            None => by_token(cx, txn, &machine, now)?,
        };
        let instance = match &known_as {
            Some(id) => again(cx, txn, &machine, id)?,
            None => anew(cx, txn, &machine, &fresh, now),
        };
        if let (None, Some((token, digest))) = (&known_as, &machine.token) {
            let key = Key { scope: cx.scope(), operation: OPERATION, token };
            idempotency::remember(txn, &key, digest.clone(), instance.id.to_string(), now);
        }
        txn.put(instance.clone());
        Ok::<_, Error>(show::instance(txn.view(), &instance, &["TAGS".to_owned()]))
    });

    Ok(ecs::RegisterContainerInstanceResponse { container_instance: Some(shown.await?) })
}

fn read(cx: &Cx, request: RegisterContainerInstanceRequest) -> Result<Machine, Error> {
    let scope = cx.scope();
    let cluster = names::cluster(scope, request.cluster.as_deref())?;
    let known_as = match request.container_instance_arn.as_deref().filter(|arn| !arn.is_empty()) {
        None => None,
        Some(arn) => Some(names::instance(scope, &cluster, arn)?),
    };
    let ec2_instance = match &cx.caller.principal {
        Principal::Instance(id) => Some(id.clone()),
        Principal::Root | Principal::Role(_) => None,
    };
    let (capacity, mut other_resources) = resources(request.total_resources.unwrap_or_default())?;
    other_resources.extend(gpus(&request.platform_devices.unwrap_or_default())?);
    let document = said_by(
        request.instance_identity_document.as_deref(),
        request.instance_identity_document_signature.as_deref(),
    )?;
    of_the_caller(cx, &document)?;
    let mut attributes = document.attributes();
    let sent = request.attributes.unwrap_or_default();
    let long = |text: &Option<String>| text.as_deref().is_some_and(|t| t.chars().count() > LONGEST);
    if sent.len() > MAX_ATTRIBUTES || sent.iter().any(|a| long(&a.name) || long(&a.value)) {
        return Err(Error::invalid(format!(
            "An instance can have at most {MAX_ATTRIBUTES} attributes, of names and values with at \
             most {LONGEST} characters."
        )));
    }
    let sent = sent.into_iter();
    attributes.extend(sent.filter_map(|a| Some((a.name?, a.value.filter(|v| !v.is_empty())))));
    // That there is a trunk is not the machine's to say.
    attributes.remove(TRUNK_ID);
    let version = request.version_info.unwrap_or_default();
    let token = request.client_token.filter(|token| !token.is_empty());
    if token.as_deref().is_some_and(|token| token.chars().count() > MAX_TOKEN) {
        return Err(Error::invalid(format!("clientToken longer than {MAX_TOKEN}.")));
    }
    // A token stands for a machine in a cluster. What the machine says of itself may
    // differ when it asks again.
    let digest = idempotency::digest(&(&cluster, cx.caller.arn()))?;
    Ok(Machine {
        cluster,
        known_as,
        ec2_instance,
        capacity,
        other_resources,
        attributes,
        version_info: VersionInfo {
            agent_version: version.agent_version,
            agent_hash: version.agent_hash,
            docker_version: version.docker_version,
        },
        tags: tags(request.tags)?,
        token: token.map(|token| (token, digest)),
    })
}

fn resources(all: Vec<Resource>) -> Result<(Capacity, Vec<Resource>), Error> {
    let mut capacity = Capacity::default();
    let mut others = vec![];
    for resource in all {
        let number = resource.integer_value.map(i64::from).unwrap_or_default();
        match resource.name.as_deref().unwrap_or_default() {
            "CPU" => capacity.cpu_units = number,
            "MEMORY" => capacity.memory_mib = number,
            "PORTS" => reserve(&mut capacity.reserved, Protocol::Tcp, &resource)?,
            "PORTS_UDP" => reserve(&mut capacity.reserved, Protocol::Udp, &resource)?,
            _ => others.push(resource),
        }
    }
    if capacity.cpu_units < 0 || capacity.memory_mib < 0 {
        return Err(Error::invalid("totalResources must not be negative."));
    }
    if others.len() > MAX_DEVICES {
        return Err(Error::invalid(format!(
            "totalResources can have at most {MAX_DEVICES} others."
        )));
    }
    Ok((capacity, others))
}

fn reserve(ports: &mut Ports, protocol: Protocol, resource: &Resource) -> Result<(), Error> {
    for text in resource.string_set_value.iter().flatten() {
        let port = text.parse().map_err(|_| Error::invalid(format!("Invalid port '{text}'.")))?;
        ports.0.insert((protocol, port));
    }
    Ok(())
}

/// A machine's GPUs, as the resource that AWS shows for them: a set of their ids.
fn gpus(devices: &[PlatformDevice]) -> Result<Option<Resource>, Error> {
    if devices.len() > MAX_DEVICES {
        return Err(Error::invalid(format!(
            "platformDevices can have at most {MAX_DEVICES} items."
        )));
    }
    let mut ids = BTreeSet::new();
    for device in devices {
        let kind = device.r#type.as_deref().unwrap_or_default();
        if kind != "GPU" {
            return Err(Error::invalid(format!(
                "Platform device type '{kind}' is not supported. Use GPU."
            )));
        }
        let id = device.id.as_deref().unwrap_or_default();
        if id.is_empty() || id.chars().count() > LONGEST || !ids.insert(id.to_owned()) {
            return Err(Error::invalid(format!(
                "The ids of platformDevices must differ and have 1 to {LONGEST} characters."
            )));
        }
    }
    Ok((!ids.is_empty()).then(|| Resource {
        name: Some("GPU".to_owned()),
        r#type: Some("STRINGSET".to_owned()),
        double_value: Some(0.0),
        long_value: Some(0),
        integer_value: Some(0),
        string_set_value: Some(ids.into_iter().collect()),
    }))
}

/// What an instance identity document says that is of use here.
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Document {
    instance_id: Option<String>,
    architecture: Option<String>,
    instance_type: Option<String>,
    image_id: Option<String>,
}

impl Document {
    fn attributes(self) -> BTreeMap<String, Option<String>> {
        let values = [self.architecture, self.instance_type, self.image_id];
        let table = FROM_DOCUMENT.into_iter().zip(values);
        let there = table.filter(|(_, value)| value.is_some());
        there.map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// Refuses an instance identity document that was not signed by us. To have none is
/// allowed, as it is at AWS: what has no EC2 has none.
pub(crate) fn prove_identity(
    verifier: Option<&Verifier>,
    request: &RegisterContainerInstanceRequest,
) -> Result<(), Error> {
    let document = request.instance_identity_document.as_deref().unwrap_or_default();
    let signature = request.instance_identity_document_signature.as_deref().unwrap_or_default();
    let is_ours = verifier.is_some_and(|verifier| verifier.knows(document, signature));
    if document.is_empty() || is_ours {
        return Ok(());
    }
    Err(Error::refused("The identity document and identity document signature were not valid."))
}

/// What an instance identity document says, if there is one: [`prove_identity`] was
/// there before. There is nothing that a signature could sign if there is no document.
fn said_by(document: Option<&str>, signature: Option<&str>) -> Result<Document, Error> {
    match (document.unwrap_or_default(), signature.unwrap_or_default()) {
        ("", "") => Ok(Document::default()),
        ("", _) => Err(Error::invalid(
            "instanceIdentityDocumentSignature must come with the instanceIdentityDocument that \
             it signs.",
        )),
        (document, _) => Ok(serde_json::from_str(document).unwrap_or_default()),
    }
}

/// Nobody registers with the document of another of our instances. A document of
/// a machine that we do not know, such as one of AWS's own, says what it is and not
/// who.
fn of_the_caller(cx: &Cx, document: &Document) -> Result<(), Error> {
    let Some(id) = document.instance_id.as_deref().and_then(|id| id.parse::<InstanceId>().ok())
    else {
        return Ok(());
    };
    let known = cx.view().get::<ec2::records::Instance>(cx.scope(), id.as_str()).is_some();
    let own = matches!(&cx.caller.principal, Principal::Instance(caller) if *caller == id);
    if known && !own { Err(Error::NotYours(id)) } else { Ok(()) }
}

/// What a machine became that asked for the same before, if it heard no answer.
fn by_token(
    cx: &Cx,
    txn: &Txn,
    machine: &Machine,
    now: Timestamp,
) -> Result<Option<ContainerInstanceId>, Error> {
    let Some((token, digest)) = &machine.token else { return Ok(None) };
    let key = Key { scope: cx.scope(), operation: OPERATION, token };
    let id = match idempotency::recall(txn, &key, digest, now) {
        Seen::Never => return Ok(None),
        Seen::Same { outcome } => outcome,
        Seen::Different => return Err(Error::TokenReused(token.clone())),
    };
    let known = txn.get::<ContainerInstance>(cx.scope(), &id);
    let known = known.filter(|known| known.status != InstanceStatus::Inactive);
    Ok(known.map(|known| known.id.clone()))
}

/// The cluster must exist; only `default` comes into being by being used.
fn cluster_for(cx: &Cx, txn: &mut Txn, name: &ClusterName, now: Timestamp) -> Result<(), Error> {
    if *name != ClusterName::default() {
        return existing(txn.view(), cx.scope(), name).map(drop);
    }
    let plain = plain(cx, txn.view(), name.clone(), now);
    found_or_made(txn, plain);
    Ok(())
}

/// A machine that we know. Its ARN stays what it is; the agent insists on that.
/// One that remembers what is no more is told so, and may come anew.
fn again(
    cx: &Cx,
    txn: &Txn,
    machine: &Machine,
    id: &ContainerInstanceId,
) -> Result<ContainerInstance, Error> {
    let known = txn
        .get::<ContainerInstance>(cx.scope(), id.as_str())
        .filter(|known| known.cluster == machine.cluster)
        .filter(|known| known.status != InstanceStatus::Inactive)
        .ok_or_else(|| Error::Inactive(id.to_string()))?;
    if let Some(caller) = &machine.ec2_instance
        && known.ec2_instance.as_ref() != Some(caller)
    {
        return Err(Error::NotYours(caller.clone()));
    }
    let mut capacity = machine.capacity.clone();
    let ec2_instance = known.ec2_instance.clone();
    let mut attributes =
        described(txn.view(), cx, ec2_instance.as_ref(), &machine.attributes, &mut capacity);
    let kept = known.custom.iter().map(String::as_str).chain(FROM_DOCUMENT);
    for name in kept {
        // The agent's word stands even here: it wants to hear it again.
        if let Some(value) = known.attributes.get(name) {
            attributes.entry(name.to_owned()).or_insert_with(|| value.clone());
        }
    }
    if let (Some(Some(before)), Some(Some(after))) =
        (known.attributes.get(INSTANCE_TYPE), attributes.get(INSTANCE_TYPE))
        && before != after
    {
        return Err(Error::TypeChanged { instance: id.clone(), before: before.clone() });
    }
    Ok(ContainerInstance {
        capacity,
        other_resources: machine.other_resources.clone(),
        attributes,
        version_info: newer(&machine.version_info, &known.version_info),
        version: known.version.saturating_add(1),
        ..ContainerInstance::clone(&known)
    })
}

/// A machine that we do not know, or that forgot who it was. An EC2 instance has
/// one agent: what it was before is gone, and its tasks will be told.
fn anew(
    cx: &Cx,
    txn: &mut Txn,
    machine: &Machine,
    fresh: &ContainerInstanceId,
    now: Timestamp,
) -> ContainerInstance {
    let scope = cx.scope();
    if let Some(ec2_instance) = &machine.ec2_instance {
        let before = txn.by::<ContainerInstance>(scope, BY_EC2_INSTANCE, ec2_instance.as_str());
        for old in before.filter(|old| old.status != InstanceStatus::Inactive) {
            txn.put(ContainerInstance {
                status: InstanceStatus::Inactive,
                session: None,
                session_changed_at: now,
                version: old.version.saturating_add(1),
                ..ContainerInstance::clone(&old)
            });
        }
    }
    let mut capacity = machine.capacity.clone();
    let ec2_instance = machine.ec2_instance.clone();
    if let Some(id) = &ec2_instance {
        let trunk = wants_trunk(cx, txn.view(), machine).then(|| AttachmentId::mint(cx.bits()));
        ec2::instances::trunk(txn, scope, id, trunk);
    }
    let attributes =
        described(txn.view(), cx, ec2_instance.as_ref(), &machine.attributes, &mut capacity);
    ContainerInstance {
        scope: scope.clone(),
        id: fresh.clone(),
        cluster: machine.cluster.clone(),
        ec2_instance,
        registered_at: now,
        status: InstanceStatus::Active,
        session: None,
        session_changed_at: now,
        capacity,
        other_resources: machine.other_resources.clone(),
        attributes,
        custom: BTreeSet::new(),
        version_info: machine.version_info.clone(),
        tags: machine.tags.clone(),
        health: vec![],
        deregistered: false,
        version: 1,
    }
}

/// Whether a machine that registers is to have a trunk interface. It keeps what is
/// decided now for as long as it is this container instance, whatever becomes of the
/// setting.
fn wants_trunk(cx: &Cx, view: &View, machine: &Machine) -> bool {
    let setting = effective(view, cx.scope(), &cx.caller.arn(), SettingName::AwsvpcTrunking);
    setting == "enabled" && machine.attributes.contains_key(CAN_TRUNK)
}

/// The attributes of a machine: what EC2 knows of it, and what its agent sent.
/// The agent's word stands, because it wants to hear it again unchanged.
fn described(
    view: &View,
    cx: &Cx,
    ec2_instance: Option<&InstanceId>,
    sent: &BTreeMap<String, Option<String>>,
    capacity: &mut Capacity,
) -> BTreeMap<String, Option<String>> {
    let mut all = BTreeMap::new();
    let known =
        ec2_instance.and_then(|id| view.get::<ec2::records::Instance>(cx.scope(), id.as_str()));
    if let Some(known) = known {
        let table = [
            (ZONE, known.zones.first().map(|zone| zone.name.clone())),
            ("ecs.vpc-id", Some(known.vpc.to_string())),
            ("ecs.subnet-id", Some(known.subnet.to_string())),
            (INSTANCE_TYPE, known.instance_type.clone()),
            (TRUNK_ID, known.trunk.as_ref().map(ToString::to_string)),
        ];
        let there = table.into_iter().filter(|(_, value)| value.is_some());
        all.extend(there.map(|(name, value)| (name.to_owned(), value)));
        capacity.enis = ec2::eni_limits::for_tasks(&known);
    }
    all.extend(sent.clone());
    all
}

/// What an agent says of itself now, and where it says nothing, what it said.
fn newer(now: &VersionInfo, before: &VersionInfo) -> VersionInfo {
    let choose = |a: &Option<String>, b: &Option<String>| a.clone().or_else(|| b.clone());
    VersionInfo {
        agent_version: choose(&now.agent_version, &before.agent_version),
        agent_hash: choose(&now.agent_hash, &before.agent_hash),
        docker_version: choose(&now.docker_version, &before.docker_version),
    }
}

/// Shows container instances by id or ARN.
pub(crate) fn describe_container_instances(
    cx: &Cx,
    request: ecs::DescribeContainerInstancesRequest,
) -> Result<ecs::DescribeContainerInstancesResponse, Error> {
    let scope = cx.scope();
    let view = cx.view();
    let cluster = known_cluster(&view, scope, request.cluster.as_deref())?;
    let wanted = super::wanted(request.container_instances, "Container instances")?;
    let include = request.include.unwrap_or_default();

    let (mut instances, mut failures) = (vec![], vec![]);
    for text in wanted {
        let id = match names::instance(scope, &cluster.name, &text) {
            Ok(id) => id,
            Err(Error::NoContainerInstance(_)) => {
                failures.push(show::missing(&text));
                continue;
            }
            Err(other) => return Err(other),
        };
        let found = view.get::<ContainerInstance>(scope, id.as_str());
        match found.filter(|found| found.cluster == cluster.name) {
            Some(found) => instances.push(show::instance(&view, &found, &include)),
            None => failures.push(show::missing(&names::instance_arn(scope, &cluster.name, &id))),
        }
    }
    Ok(ecs::DescribeContainerInstancesResponse {
        container_instances: Some(instances),
        failures: Some(failures),
    })
}

/// Names container instances: those that are not gone, unless a status is asked for.
pub(crate) fn list_container_instances(
    cx: &Cx,
    request: ecs::ListContainerInstancesRequest,
) -> Result<ecs::ListContainerInstancesResponse, Error> {
    let scope = cx.scope();
    let view = cx.view();
    let cluster = known_cluster(&view, scope, request.cluster.as_deref())?;
    let filter = request.filter.filter(|filter| !filter.is_empty());
    let filter = filter.map(|filter| placing::expression(&filter)).transpose()?;
    let list = "ListContainerInstances";
    let paging = paging(cx, list, request.max_results, request.next_token.as_ref())?;
    let all =
        view.by::<ContainerInstance>(scope, BY_CLUSTER, cluster.name.as_str()).filter(|instance| {
            match request.status.as_deref() {
                Some(status) => instance.status.as_str() == status,
                None => instance.status != InstanceStatus::Inactive,
            }
        });
    let all = all.filter(|instance| {
        let facts = FactsOf { view: &view, instance };
        filter.as_ref().is_none_or(|filter| filter.selects(&facts))
    });
    let page = paging.page(all, |instance| instance.id.to_string());
    Ok(ecs::ListContainerInstancesResponse {
        container_instance_arns: Some(page.items.iter().map(|i| i.arn().to_string()).collect()),
        next_token: page.next_token,
    })
}
