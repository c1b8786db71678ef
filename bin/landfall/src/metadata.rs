//! The instance metadata of this machine: what it is told of itself, and the
//! credentials of its role.

use crate::cli::Up;
use crate::commands::AnyError;
use crate::layout::Layout;
use async_trait::async_trait;
use card::imds::{Facts, Interface, Metadata, Role, RoleCredentials};
use chassis::{Platform, Shutdown};
use ec2::identity::{Signer, document};
use ec2::records::{Eni, Instance, SecurityGroup, Subnet, Vpc};
use iam::machine_roles;
use ident::{InstanceId, Scope};
use serde_json::json;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::View;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The image that a machine counts as having: it was not made from one.
const IMAGE: &str = "ami-00000000000000000";

/// The key that signs what machines are told of themselves, made on the first start.
pub(crate) fn signer(layout: &Layout) -> Result<Signer, AnyError> {
    let path = layout.identity();
    match fs::read(&path) {
        Ok(bytes) => Ok(Signer::from_pkcs8(&bytes)?),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let signer = Signer::generate()?;
            keep(&path, &signer.to_pkcs8()?)?;
            Ok(signer)
        }
        Err(error) => Err(error.into()),
    }
}

/// Keeps a secret for root's eyes only, all of it or nothing.
fn keep(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let aside = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&aside, path)
}

/// The metadata of the machine, if anybody is to be told.
pub(crate) fn of(
    up: &Up,
    platform: &Platform,
    scope: &Scope,
    instance: &InstanceId,
    signer: &Signer,
) -> Result<Option<Arc<Metadata>>, AnyError> {
    if up.imds.is_none() && !up.task_imds {
        return Ok(None);
    }
    let facts = facts(&platform.store.view(), scope, instance, signer)?;
    let role = MachineRole {
        platform: platform.clone(),
        scope: scope.clone(),
        instance: instance.clone(),
    };
    let mut key = [0; 32];
    for half in key.chunks_mut(16) {
        half.copy_from_slice(&platform.bits().to_be_bytes());
    }
    Ok(Some(Arc::new(Metadata::new(&facts, Arc::new(role), &key))))
}

/// Serves the metadata to programs on the machine, if they are to be told.
pub(crate) async fn serve(
    programs: &mut JoinSet<()>,
    up: &Up,
    metadata: Option<Arc<Metadata>>,
    shutdown: &Shutdown,
) {
    let (Some(address), Some(metadata)) = (up.imds, metadata) else { return };
    // Somebody else may have the port; that is no reason for tasks not to run.
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%address, %error, "the instance metadata is not served");
            return;
        }
    };
    let stop = shutdown.clone();
    programs.spawn(async move {
        tokio::select! {
            () = stop.requested() => {}
            () = card::imds::serve(listener, metadata) => {}
        }
    });
}

fn facts(
    view: &View,
    scope: &Scope,
    instance: &InstanceId,
    signer: &Signer,
) -> Result<Facts, AnyError> {
    let found = || {
        let machine = view.get::<Instance>(scope, instance.as_str())?;
        let eni = view.get::<Eni>(scope, machine.primary_eni.as_str())?;
        let vpc = view.get::<Vpc>(scope, eni.net.vpc.as_str())?;
        let subnet = view.get::<Subnet>(scope, eni.net.subnet.as_str())?;
        Some((machine, eni, vpc, subnet))
    };
    let (machine, eni, vpc, subnet) = found().ok_or("this machine has no place in a VPC")?;
    let (account, region) = (&scope.account, &scope.region);
    let zone = machine.zones.first().cloned().ok_or("this machine stands in no zone")?;
    let groups = eni.net.groups.iter().filter_map(|id| {
        let group = view.get::<SecurityGroup>(scope, id.as_str())?;
        Some((id.clone(), group.name.clone()))
    });
    let launched = wire::Timestamp::from(machine.launched_at).iso8601().unwrap_or_default();
    let kind = (IMAGE, std::env::consts::ARCH);
    let text = document(&machine, &eni, kind, &launched);
    let signature = signer.sign(&text)?;
    let partition = region.partition();
    let role = machine_roles::ROLE;
    Ok(Facts {
        instance: machine.id.clone(),
        account: account.clone(),
        image: IMAGE.to_owned(),
        instance_type: machine.instance_type.clone(),
        region: region.to_string(),
        partition: partition.to_owned(),
        zone: (zone.name, zone.id),
        interface: Interface {
            eni: eni.net.id.clone(),
            mac: eni.net.mac,
            ipv4: eni.net.ipv4,
            host_name: ec2::eni::private_dns_name(region, eni.net.ipv4),
            vpc: (vpc.net.id.clone(), vpc.net.cidrs.clone()),
            subnet: (subnet.net.id.clone(), subnet.net.cidr),
            groups: groups.collect(),
        },
        role: role.to_owned(),
        profile: format!("arn:{partition}:iam::{account}:instance-profile/{role}"),
        identity: (text, signature),
    })
}

/// The role that the machine acts in.
#[derive(Debug)]
struct MachineRole {
    platform: Platform,
    scope: Scope,
    instance: InstanceId,
}

#[async_trait]
impl Role for MachineRole {
    async fn credentials(&self) -> Result<RoleCredentials, String> {
        let made = machine_roles::issue(&self.platform, &self.scope, &self.instance).await;
        let session = made.map_err(|error| error.to_string())?;
        let time = |at| wire::Timestamp::from(at).iso8601().unwrap_or_default();
        let document = json!({
            "Code": "Success",
            "LastUpdated": time(session.created),
            "Type": "AWS-HMAC",
            "AccessKeyId": session.id,
            "SecretAccessKey": session.secret.reveal(),
            "Token": session.token.reveal(),
            "Expiration": time(session.expires),
        });
        let good_for: Duration = session.expires.since(session.created);
        Ok(RoleCredentials { document: document.to_string(), good_for })
    }
}
