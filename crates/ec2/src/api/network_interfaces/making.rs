//! `CreateNetworkInterface`, `ModifyNetworkInterfaceAttribute` and
//! `DeleteNetworkInterface`.

use super::{address, find, refuse, secondary_count, show};
use crate::api::tags;
use crate::awsvpc::{default_group, group};
use crate::eni::{self, Draft, Purpose};
use crate::eni_limits::may_have_addresses;
use crate::error::Error;
use crate::records::{Eni, EniAttachment, Subnet};
use chassis::idempotency::{self, Key, Seen};
use chassis::{Cx, Quotas};
use ident::{Scope, SecurityGroupId, VpcId};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use store::Txn;
use wire::ec2 as shapes;

/// How long a client token may be, in characters.
const MAX_TOKEN: usize = 64;
/// How long a description may be, in characters.
const MAX_DESCRIPTION: usize = 255;

/// Makes an interface that is attached to nothing yet.
pub(in crate::api) async fn create(
    cx: &Cx,
    request: shapes::CreateNetworkInterfaceRequest,
) -> Result<shapes::CreateNetworkInterfaceResult, Error> {
    only_what_we_have(&request)?;
    // Whether it only asks is no part of what it asks for.
    let request = shapes::CreateNetworkInterfaceRequest { dry_run: None, ..request };
    let digest = idempotency::digest(&format!("{request:?}"))
        .map_err(|_| Error::Invalid("The request cannot be remembered.".to_owned()))?;
    let addresses = addresses(&request)?;
    let token = request.client_token.filter(|token| !token.is_empty());
    if token.as_ref().is_some_and(|token| token.chars().count() > MAX_TOKEN || !token.is_ascii()) {
        return Err(Error::Invalid(format!(
            "The client token must be at most {MAX_TOKEN} ASCII characters."
        )));
    }
    let description = sound_description(request.description.unwrap_or_default())?;
    let tags = tags::read(request.tag_specifications, "network-interface")?;
    let subnet_id = request.subnet_id.ok_or(Error::Missing("subnetId"))?;
    let groups = request.groups.unwrap_or_default();
    let scope = cx.scope();
    let key =
        token.as_deref().map(|token| Key { scope, operation: "CreateNetworkInterface", token });

    let network_interface = cx
        .store()
        .transact(|txn| {
            if let Some(key) = &key {
                match idempotency::recall(txn, key, &digest, cx.now()) {
                    Seen::Never => {}
                    // As it is now, which need not be as it was made.
                    Seen::Same { outcome } => {
                        let made = txn.get::<Eni>(scope, &outcome).ok_or(Error::NoEni(outcome))?;
                        return Ok(show(txn.view(), &made));
                    }
                    Seen::Different => return Err(Error::TokenReused),
                }
            }
            let subnet = txn
                .get::<Subnet>(scope, &subnet_id)
                .ok_or_else(|| Error::NoSubnet(subnet_id.clone()))?;
            let draft = Draft {
                scope,
                subnet: &subnet.net.id,
                address: addresses.primary,
                secondary: addresses.secondary.clone(),
                groups: groups_of(txn, scope, &subnet.net.vpc, &groups, cx.platform.quotas)?,
                purpose: Purpose::User,
                description: description.clone(),
                tags: tags.clone(),
                now: cx.now(),
            };
            let made = eni::create(txn, draft, &mut || cx.bits())?;
            if let Some(key) = &key {
                idempotency::remember(txn, key, digest.clone(), made.net.id.as_str(), cx.now());
            }
            Ok::<_, Error>(show(txn.view(), &made))
        })
        .await?;
    Ok(shapes::CreateNetworkInterfaceResult {
        client_token: token,
        network_interface: Some(network_interface),
    })
}

fn only_what_we_have(request: &shapes::CreateNetworkInterfaceRequest) -> Result<(), Error> {
    let some = |count: Option<i32>| count.is_some_and(|count| count != 0);
    refuse(&[
        ("connectionTrackingSpecification", request.connection_tracking_specification.is_some()),
        ("enablePrimaryIpv6", request.enable_primary_ipv6 == Some(true)),
        // All that it can say is that the interface is of a special kind.
        ("interfaceType", request.interface_type.is_some()),
        ("ipv4PrefixCount", some(request.ipv4_prefix_count)),
        ("ipv4Prefixes", request.ipv4_prefixes.iter().flatten().next().is_some()),
        ("ipv6AddressCount", some(request.ipv6_address_count)),
        ("ipv6Addresses", request.ipv6_addresses.iter().flatten().next().is_some()),
        ("ipv6PrefixCount", some(request.ipv6_prefix_count)),
        ("ipv6Prefixes", request.ipv6_prefixes.iter().flatten().next().is_some()),
        ("operator", request.operator.is_some()),
    ])
}

/// The addresses of an interface that is to be made: which each is to be, if not any.
struct Addresses {
    primary: Option<Ipv4Addr>,
    secondary: Vec<Option<Ipv4Addr>>,
}

/// What the request says about addresses. It can name the primary one in two ways,
/// and it either lists the secondary ones or says how many there are to be.
fn addresses(request: &shapes::CreateNetworkInterfaceRequest) -> Result<Addresses, Error> {
    let both = |one: &str, other: &str| {
        Error::Combination(format!("The parameter {one} cannot be used with the parameter {other}"))
    };
    let chosen = request.private_ip_address.as_deref().map(address).transpose()?;
    let listed = request.private_ip_addresses.iter().flatten();
    let (primaries, others): (Vec<_>, Vec<_>) = listed.partition(|it| it.primary == Some(true));
    let primary = match (chosen, &primaries[..]) {
        (None, [only]) => only.private_ip_address.as_deref().map(address).transpose()?,
        (None, []) if !others.is_empty() => {
            return Err(Error::Invalid(
                "A primary private IP address must be specified.".to_owned(),
            ));
        }
        (chosen, []) => chosen,
        (Some(_), [_, ..]) => return Err(both("privateIpAddress", "privateIpAddresses")),
        (None, [_, _, ..]) => {
            return Err(Error::Invalid(
                "Only one primary private IP address can be specified.".to_owned(),
            ));
        }
    };
    let named = others.iter().map(|it| it.private_ip_address.as_deref());
    let named = named.map(|text| address(text.ok_or(Error::Missing("privateIpAddress"))?));
    let named: Vec<Ipv4Addr> = named.collect::<Result<_, Error>>()?;
    let count = secondary_count(request.secondary_private_ip_address_count)?.unwrap_or(0);
    if count > 0 && !named.is_empty() {
        return Err(both("secondaryPrivateIpAddressCount", "privateIpAddresses"));
    }
    if !may_have_addresses(None, 1 + named.len()) {
        return Err(Error::TooManyAddresses);
    }
    let any = std::iter::repeat_n(None, count);
    Ok(Addresses { primary, secondary: named.into_iter().map(Some).chain(any).collect() })
}

fn sound_description(text: String) -> Result<String, Error> {
    if text.chars().count() > MAX_DESCRIPTION {
        return Err(Error::Invalid(format!(
            "The description must be at most {MAX_DESCRIPTION} characters long."
        )));
    }
    Ok(text)
}

/// The groups of this VPC that these ids mean; none means the default group.
fn groups_of(
    txn: &Txn,
    scope: &Scope,
    vpc: &VpcId,
    ids: &[String],
    quotas: Quotas,
) -> Result<BTreeSet<SecurityGroupId>, Error> {
    if ids.is_empty() {
        return Ok(BTreeSet::from([default_group(txn, scope, vpc)?]));
    }
    let groups: BTreeSet<_> =
        ids.iter().map(|id| group(txn, scope, vpc, id)).collect::<Result<_, _>>()?;
    if groups.len() > quotas.security_groups_per_interface() {
        Err(Error::TooManyGroups(groups.len()))
    } else {
        Ok(groups)
    }
}

/// The one attribute that a request is to change.
enum Change {
    Description(String),
    Groups(Vec<String>),
    SourceDestCheck(bool),
    DeleteOnTermination { attachment: String, value: bool },
}

/// Changes one attribute of an interface.
pub(in crate::api) async fn modify(
    cx: &Cx,
    request: shapes::ModifyNetworkInterfaceAttributeRequest,
) -> Result<shapes::ModifyNetworkInterfaceAttributeResponse, Error> {
    let id = request.network_interface_id.clone();
    let change = change(request)?;
    let scope = cx.scope();
    cx.store()
        .transact(|txn| {
            let found = find(txn, scope, id.as_deref())?;
            if found.requester_managed {
                return Err(Error::Managed(found.net.id.clone()));
            }
            let mut eni = Eni::clone(&found);
            match &change {
                Change::Description(text) => eni.description.clone_from(text),
                Change::Groups(ids) => {
                    eni.net.groups =
                        groups_of(txn, scope, &found.net.vpc, ids, cx.platform.quotas)?;
                    let subnet = txn.get::<Subnet>(scope, found.net.subnet.as_str());
                    if let Some(subnet) = subnet.filter(|_| eni.net.groups != found.net.groups) {
                        // As it is, for those who delete one of the groups meanwhile.
                        txn.put(Subnet::clone(&subnet));
                    }
                }
                Change::SourceDestCheck(on) => eni.net.source_dest_check = *on,
                Change::DeleteOnTermination { attachment, value } => {
                    let present = eni.attachment.filter(|it| it.id.as_str() == attachment);
                    let present = present.ok_or_else(|| Error::NoAttachment(attachment.clone()))?;
                    eni.attachment =
                        Some(EniAttachment { delete_on_termination: *value, ..present });
                }
            }
            if eni != *found {
                txn.put(eni);
            }
            Ok::<_, Error>(())
        })
        .await?;
    Ok(shapes::ModifyNetworkInterfaceAttributeResponse {})
}

fn change(request: shapes::ModifyNetworkInterfaceAttributeRequest) -> Result<Change, Error> {
    let attachment = request.attachment.as_ref();
    refuse(&[
        ("associatePublicIpAddress", request.associate_public_ip_address.is_some()),
        ("associatedSubnetIds", request.associated_subnet_ids.iter().flatten().next().is_some()),
        (
            "attachment.defaultEnaQueueCount",
            attachment.is_some_and(|it| it.default_ena_queue_count.is_some()),
        ),
        ("attachment.enaQueueCount", attachment.is_some_and(|it| it.ena_queue_count.is_some())),
        ("connectionTrackingSpecification", request.connection_tracking_specification.is_some()),
        ("enaSrdSpecification", request.ena_srd_specification.is_some()),
        ("enablePrimaryIpv6", request.enable_primary_ipv6.is_some()),
    ])?;
    let mut changes = Vec::new();
    if let Some(attachment) = request.attachment {
        let value = attachment.delete_on_termination;
        changes.push(Change::DeleteOnTermination {
            attachment: attachment.attachment_id.ok_or(Error::Missing("attachmentId"))?,
            value: value.ok_or(Error::Missing("deleteOnTermination"))?,
        });
    }
    if let Some(description) = request.description {
        let text = sound_description(description.value.unwrap_or_default())?;
        changes.push(Change::Description(text));
    }
    if let Some(groups) = request.groups.filter(|groups| !groups.is_empty()) {
        changes.push(Change::Groups(groups));
    }
    if let Some(check) = request.source_dest_check {
        changes.push(Change::SourceDestCheck(check.value.ok_or(Error::Missing("value"))?));
    }
    if changes.len() > 1 {
        return Err(Error::Combination("Fields for multiple attribute types specified".to_owned()));
    }
    changes.pop().ok_or_else(|| Error::Combination("No attributes specified.".to_owned()))
}

/// Deletes an interface that is attached to nothing.
pub(in crate::api) async fn delete(
    cx: &Cx,
    request: shapes::DeleteNetworkInterfaceRequest,
) -> Result<shapes::DeleteNetworkInterfaceResponse, Error> {
    let scope = cx.scope();
    cx.store()
        .transact(|txn| {
            let eni = find(txn, scope, request.network_interface_id.as_deref())?;
            if eni.requester_managed {
                return Err(Error::Managed(eni.net.id.clone()));
            }
            if eni.attachment.is_some() {
                return Err(Error::Attached(eni.net.id.clone()));
            }
            txn.delete::<Eni>(scope, eni.net.id.as_str());
            Ok::<_, Error>(())
        })
        .await?;
    Ok(shapes::DeleteNetworkInterfaceResponse {})
}
