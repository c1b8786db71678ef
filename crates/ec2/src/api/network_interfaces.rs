//! Network interfaces: showing them. They are made, changed and deleted in
//! [`making`], attached and detached in [`attaching`], and get and lose addresses in
//! [`assigning`].

pub(super) mod assigning;
pub(super) mod attaching;
pub(super) mod making;

use super::filters::{Field, Filters, each, moment, nothing, one};
use super::listing::{Listing, Pages};
use super::{tags, text};
use crate::eni::private_dns_name;
use crate::eni_limits::MOST_ADDRESSES;
use crate::error::Error;
use crate::records::{self, AttachmentStatus, Eni, SecurityGroup};
use chassis::Cx;
use ident::{EniId, Scope, SecurityGroupId};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use store::{Txn, View};
use wire::ec2 as shapes;

/// The name under which ECS asks for the interfaces of tasks.
pub(super) const ECS: &str = "amazon-ecs";

/// Shows network interfaces, those of tasks among them.
pub(super) fn describe(
    cx: &Cx,
    request: shapes::DescribeNetworkInterfacesRequest,
) -> Result<shapes::DescribeNetworkInterfacesResult, Error> {
    let ids = request.network_interface_ids.filter(|ids| !ids.is_empty());
    if ids.is_some() && request.max_results.is_some() {
        return Err(Error::Combination(
            "The parameter networkInterfaceIdSet cannot be used with the parameter maxResults"
                .to_owned(),
        ));
    }
    if let Some(id) = ids.iter().flatten().find(|id| id.parse::<EniId>().is_err()) {
        return Err(Error::MalformedEniId(id.clone()));
    }
    let filters = Filters::parse(request.filters, FIELDS, |eni| eni.tag_set.as_ref())?;
    let pages = Pages { max_results: request.max_results, next_token: request.next_token };
    let listing = Listing::parse(cx.scope(), "DescribeNetworkInterfaces", ids, filters, &pages)?;

    let view = cx.view();
    let all = view.list::<Eni>(cx.scope()).map(|eni| show(&view, &eni));
    let page = listing.page(all, |eni| eni.network_interface_id.as_ref(), Error::NoEni)?;
    Ok(shapes::DescribeNetworkInterfacesResult {
        network_interfaces: Some(page.items),
        next_token: page.next_token,
    })
}

/// The interface that a request names.
fn find(txn: &Txn, scope: &Scope, id: Option<&str>) -> Result<Arc<Eni>, Error> {
    let text = id.ok_or(Error::Missing("networkInterfaceId"))?;
    let id: EniId = text.parse().map_err(|_| Error::MalformedEniId(text.to_owned()))?;
    txn.get(scope, id.as_str()).ok_or_else(|| Error::NoEni(text.to_owned()))
}

/// An address that a request names.
fn address(text: &str) -> Result<Ipv4Addr, Error> {
    text.parse().map_err(|_| Error::Invalid(format!("invalid value for parameter address: {text}")))
}

/// How many secondary addresses a request wants, where it says so.
fn secondary_count(count: Option<i32>) -> Result<Option<usize>, Error> {
    let Some(count) = count else { return Ok(None) };
    let number = usize::try_from(count).map_err(|_| {
        Error::Invalid(format!(
            "Value ({count}) for parameter secondaryPrivateIpAddressCount is invalid."
        ))
    })?;
    // The primary one has its place too.
    if number >= MOST_ADDRESSES { Err(Error::TooManyAddresses) } else { Ok(Some(number)) }
}

/// Refuses a parameter that is there and that we would have to obey.
fn refuse(asked: &[(&'static str, bool)]) -> Result<(), Error> {
    match asked.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(Error::Unsupported(name)),
        None => Ok(()),
    }
}

const FIELDS: &[Field<shapes::NetworkInterface>] = &[
    Field(
        &[
            "addresses.association.owner-id",
            "addresses.association.public-ip",
            "association.allocation-id",
            "association.association-id",
            "association.ip-owner-id",
            "association.public-dns-name",
            "association.public-ip",
            "ipv6-addresses.ipv6-address",
        ],
        nothing,
    ),
    Field(&["addresses.primary"], |eni| {
        each(eni.private_ip_addresses.as_ref(), |address| Some(address.primary?.to_string()))
    }),
    Field(&["addresses.private-ip-address", "private-ip-address"], |eni| {
        each(eni.private_ip_addresses.as_ref(), |address| address.private_ip_address.clone())
    }),
    Field(&["attachment.attach-time"], |eni| {
        moment(eni.attachment.as_ref().and_then(|attachment| attachment.attach_time))
    }),
    Field(&["attachment.attachment-id"], |eni| {
        one(eni.attachment.as_ref().and_then(|attachment| attachment.attachment_id.as_ref()))
    }),
    Field(&["attachment.delete-on-termination"], |eni| {
        one(eni
            .attachment
            .as_ref()
            .and_then(|attachment| attachment.delete_on_termination.as_ref()))
    }),
    Field(&["attachment.device-index"], |eni| {
        one(eni.attachment.as_ref().and_then(|attachment| attachment.device_index.as_ref()))
    }),
    Field(&["attachment.instance-id"], |eni| {
        one(eni.attachment.as_ref().and_then(|attachment| attachment.instance_id.as_ref()))
    }),
    Field(&["attachment.instance-owner-id"], |eni| {
        one(eni.attachment.as_ref().and_then(|attachment| attachment.instance_owner_id.as_ref()))
    }),
    Field(&["attachment.status"], |eni| {
        one(eni.attachment.as_ref().and_then(|attachment| attachment.status.as_ref()))
    }),
    Field(&["availability-zone"], |eni| one(eni.availability_zone.as_ref())),
    Field(&["availability-zone-id"], |eni| one(eni.availability_zone_id.as_ref())),
    Field(&["description"], |eni| one(eni.description.as_ref())),
    Field(&["group-id"], |eni| each(eni.groups.as_ref(), |group| group.group_id.clone())),
    Field(&["group-name"], |eni| each(eni.groups.as_ref(), |group| group.group_name.clone())),
    Field(&["interface-type"], |eni| one(eni.interface_type.as_ref())),
    Field(&["mac-address"], |eni| one(eni.mac_address.as_ref())),
    Field(&["network-interface-id"], |eni| one(eni.network_interface_id.as_ref())),
    Field(&["operator.managed"], |eni| {
        one(eni.operator.as_ref().and_then(|operator| operator.managed.as_ref()))
    }),
    Field(&["operator.principal"], nothing),
    Field(&["owner-id"], |eni| one(eni.owner_id.as_ref())),
    Field(&["private-dns-name"], |eni| one(eni.private_dns_name.as_ref())),
    Field(&["requester-id"], |eni| one(eni.requester_id.as_ref())),
    Field(&["requester-managed"], |eni| one(eni.requester_managed.as_ref())),
    Field(&["source-dest-check"], |eni| one(eni.source_dest_check.as_ref())),
    Field(&["status"], |eni| one(eni.status.as_ref())),
    Field(&["subnet-id"], |eni| one(eni.subnet_id.as_ref())),
    Field(&["vpc-id"], |eni| one(eni.vpc_id.as_ref())),
];

fn show(view: &View, eni: &Eni) -> shapes::NetworkInterface {
    shapes::NetworkInterface {
        attachment: eni.attachment.as_ref().map(|attachment| show_attachment(eni, attachment)),
        availability_zone: text(&eni.zone.name),
        availability_zone_id: text(&eni.zone.id),
        description: text(&eni.description),
        groups: Some(show_groups(view, &eni.scope, &eni.net.groups)),
        interface_type: text("interface"),
        ipv6_addresses: Some(Vec::new()),
        mac_address: text(eni.net.mac),
        network_interface_id: text(&eni.net.id),
        operator: Some(shapes::OperatorResponse { managed: Some(false), ..Default::default() }),
        owner_id: text(&eni.scope.account),
        private_dns_name: eni.private_dns_name.clone(),
        private_ip_address: text(eni.net.ipv4),
        private_ip_addresses: Some(
            eni.net
                .ipv4_addresses()
                .map(|address| shapes::NetworkInterfacePrivateIpAddress {
                    association: None,
                    primary: Some(address == eni.net.ipv4),
                    private_dns_name: address_name(eni, address),
                    private_ip_address: text(address),
                })
                .collect(),
        ),
        requester_id: eni.requester_managed.then(|| ECS.to_owned()),
        requester_managed: Some(eni.requester_managed),
        source_dest_check: Some(eni.net.source_dest_check),
        status: text(status(eni)),
        subnet_id: text(&eni.net.subnet),
        tag_set: tags::show(&eni.tags),
        vpc_id: text(&eni.net.vpc),
        ..Default::default()
    }
}

/// The name of one of the interface's addresses, if its VPC gives names.
pub(super) fn address_name(eni: &Eni, address: Ipv4Addr) -> Option<String> {
    eni.private_dns_name.as_ref().map(|_| private_dns_name(&eni.scope.region, address))
}

fn show_attachment(
    eni: &Eni,
    attachment: &records::EniAttachment,
) -> shapes::NetworkInterfaceAttachment {
    shapes::NetworkInterfaceAttachment {
        attach_time: Some(attachment.attached_at.into()),
        attachment_id: text(&attachment.id),
        delete_on_termination: Some(attachment.delete_on_termination),
        device_index: i32::try_from(attachment.device_index).ok(),
        instance_id: text(&attachment.instance),
        instance_owner_id: text(&eni.scope.account),
        network_card_index: Some(0),
        status: text(attachment_status(attachment)),
        ..Default::default()
    }
}

/// The interface's status, which follows from its attachment's.
pub(super) fn status(eni: &Eni) -> &'static str {
    match eni.attachment_status() {
        None => "available",
        Some(AttachmentStatus::Attaching) => "attaching",
        Some(AttachmentStatus::Attached) => "in-use",
        Some(AttachmentStatus::Detaching) => "detaching",
    }
}

/// An attachment's status in EC2's words.
pub(super) fn attachment_status(attachment: &records::EniAttachment) -> &'static str {
    match attachment.status {
        AttachmentStatus::Attaching => "attaching",
        AttachmentStatus::Attached => "attached",
        AttachmentStatus::Detaching => "detaching",
    }
}

/// Security groups by id and name.
pub(super) fn show_groups(
    view: &View,
    scope: &Scope,
    groups: &BTreeSet<SecurityGroupId>,
) -> Vec<shapes::GroupIdentifier> {
    groups
        .iter()
        .map(|id| shapes::GroupIdentifier {
            group_id: text(id),
            group_name: view
                .get::<SecurityGroup>(scope, id.as_str())
                .map(|group| group.name.clone()),
        })
        .collect()
}

#[cfg(test)]
#[path = "network_interfaces_tests.rs"]
mod tests;
