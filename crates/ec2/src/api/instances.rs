//! `DescribeInstances`.

use super::filters::{Field, Filters, each, moment, nothing, one};
use super::listing::{Listing, Pages};
use super::network_interfaces::{ECS, address_name, attachment_status, show_groups, status};
use super::{tags, text};
use crate::error::Error;
use crate::records::{self, BY_INSTANCE, Eni};
use chassis::Cx;
use ident::InstanceId;
use std::sync::Arc;
use store::View;
use wire::ec2 as shapes;

/// Shows the machines, each in a reservation of its own.
pub(super) fn describe(
    cx: &Cx,
    request: shapes::DescribeInstancesRequest,
) -> Result<shapes::DescribeInstancesResult, Error> {
    let ids = request.instance_ids.filter(|ids| !ids.is_empty());
    if let Some(id) = ids.iter().flatten().find(|id| id.parse::<InstanceId>().is_err()) {
        return Err(Error::MalformedInstanceId(id.clone()));
    }
    if ids.is_some() && request.max_results.is_some() {
        return Err(Error::Combination(
            "The parameter instancesSet cannot be used with the parameter maxResults".to_owned(),
        ));
    }
    let filters = Filters::parse(request.filters, FIELDS, |shown| shown.instance.tags.as_ref())?;
    let pages = Pages { max_results: request.max_results, next_token: request.next_token };
    let listing = Listing::parse(cx.scope(), "DescribeInstances", ids, filters, &pages)?;

    let view = cx.view();
    let owner = cx.scope().account.to_string();
    let all = view.list::<records::Instance>(cx.scope()).map(|instance| {
        let enis = interfaces(&view, &instance);
        Shown {
            reservation: reservation_id(&instance.id),
            owner: owner.clone(),
            instance: show(&view, &instance, &enis),
            enis,
        }
    });
    let page = listing.page(all, |shown| shown.instance.instance_id.as_ref(), Error::NoInstance)?;
    let reservations = page.items.into_iter().map(Shown::reservation).collect();
    Ok(shapes::DescribeInstancesResult {
        reservations: Some(reservations),
        next_token: page.next_token,
    })
}

/// An instance, what its reservation says, and its interfaces, of which filters may
/// ask what an answer does not have.
struct Shown {
    reservation: String,
    owner: String,
    instance: shapes::Instance,
    enis: Vec<Arc<Eni>>,
}

impl Shown {
    fn reservation(self) -> shapes::Reservation {
        shapes::Reservation {
            groups: Some(Vec::new()),
            instances: Some(vec![self.instance]),
            owner_id: Some(self.owner),
            requester_id: None,
            reservation_id: Some(self.reservation),
        }
    }

    fn interfaces<T: ToString>(
        &self,
        value: impl Fn(&shapes::InstanceNetworkInterface) -> Option<T>,
    ) -> Vec<String> {
        each(self.instance.network_interfaces.as_ref(), |eni| {
            value(eni).map(|value| value.to_string())
        })
    }

    fn addresses<T: ToString>(
        &self,
        value: impl Fn(&shapes::InstancePrivateIpAddress) -> Option<T>,
    ) -> Vec<String> {
        let enis = self.instance.network_interfaces.iter().flatten();
        let all = enis.flat_map(|eni| eni.private_ip_addresses.iter().flatten());
        all.filter_map(|address| value(address).map(|value| value.to_string())).collect()
    }

    fn interface_tags(&self, part: fn(shapes::Tag) -> Option<String>) -> Vec<String> {
        let tags = self.enis.iter().filter_map(|eni| tags::show(&eni.tags));
        tags.flatten().filter_map(part).collect()
    }

    fn dns_options<T: ToString>(
        &self,
        value: impl Fn(&shapes::PrivateDnsNameOptionsResponse) -> Option<&T>,
    ) -> Vec<String> {
        one(self.instance.private_dns_name_options.as_ref().and_then(value))
    }

    fn attachments<T: ToString>(
        &self,
        value: impl Fn(&shapes::InstanceNetworkInterfaceAttachment) -> Option<T>,
    ) -> Vec<String> {
        self.interfaces(|eni| value(eni.attachment.as_ref()?))
    }
}

const FIELDS: &[Field<Shown>] = &[
    Field(&["architecture"], |shown| one(shown.instance.architecture.as_ref())),
    Field(&["availability-zone"], |shown| {
        let placement = shown.instance.placement.as_ref();
        one(placement.and_then(|placement| placement.availability_zone.as_ref()))
    }),
    Field(&["availability-zone-id"], |shown| {
        let placement = shown.instance.placement.as_ref();
        one(placement.and_then(|placement| placement.availability_zone_id.as_ref()))
    }),
    Field(&["client-token"], |shown| one(shown.instance.client_token.as_ref())),
    Field(&["dns-name"], |shown| one(shown.instance.public_dns_name.as_ref())),
    Field(&["ebs-optimized"], |shown| one(shown.instance.ebs_optimized.as_ref())),
    Field(&["ena-support"], |shown| one(shown.instance.ena_support.as_ref())),
    Field(&["instance-id"], |shown| one(shown.instance.instance_id.as_ref())),
    Field(&["instance-state-code"], |shown| {
        one(shown.instance.state.as_ref().and_then(|state| state.code.as_ref()))
    }),
    Field(&["instance-state-name"], |shown| {
        one(shown.instance.state.as_ref().and_then(|state| state.name.as_ref()))
    }),
    Field(&["instance-type"], |shown| one(shown.instance.instance_type.as_ref())),
    Field(&["instance.group-id", "group-id"], |shown| {
        each(shown.instance.security_groups.as_ref(), |group| group.group_id.clone())
    }),
    Field(&["instance.group-name", "group-name"], |shown| {
        each(shown.instance.security_groups.as_ref(), |group| group.group_name.clone())
    }),
    Field(&["launch-index"], |shown| one(shown.instance.ami_launch_index.as_ref())),
    Field(&["launch-time"], |shown| moment(shown.instance.launch_time)),
    Field(&["monitoring-state"], |shown| {
        one(shown.instance.monitoring.as_ref().and_then(|monitoring| monitoring.state.as_ref()))
    }),
    Field(&["network-interface.addresses.primary"], |shown| {
        shown.addresses(|address| address.primary)
    }),
    Field(&["network-interface.addresses.private-dns-name"], |shown| {
        shown.addresses(|address| address.private_dns_name.clone())
    }),
    Field(&["network-interface.addresses.private-ip-address"], |shown| {
        shown.addresses(|address| address.private_ip_address.clone())
    }),
    Field(&["network-interface.attachment.attach-time"], |shown| {
        shown.attachments(|attachment| attachment.attach_time?.iso8601())
    }),
    Field(&["network-interface.attachment.attachment-id"], |shown| {
        shown.attachments(|attachment| attachment.attachment_id.clone())
    }),
    Field(&["network-interface.attachment.delete-on-termination"], |shown| {
        shown.attachments(|attachment| attachment.delete_on_termination)
    }),
    Field(&["network-interface.attachment.device-index"], |shown| {
        shown.attachments(|attachment| attachment.device_index)
    }),
    Field(&["network-interface.attachment.instance-id"], |shown| {
        one(shown.instance.instance_id.as_ref())
    }),
    Field(&["network-interface.attachment.instance-owner-id"], |shown| one(Some(&shown.owner))),
    Field(&["network-interface.attachment.network-card-index"], |shown| {
        shown.attachments(|attachment| attachment.network_card_index)
    }),
    Field(&["network-interface.attachment.status"], |shown| {
        shown.attachments(|attachment| attachment.status.clone())
    }),
    Field(&["network-interface.availability-zone"], |shown| {
        let placement = shown.instance.placement.as_ref();
        one(placement.and_then(|placement| placement.availability_zone.as_ref()))
    }),
    Field(&["network-interface.description"], |shown| {
        shown.interfaces(|eni| eni.description.clone())
    }),
    Field(&["network-interface.group-id"], |shown| {
        let enis = shown.instance.network_interfaces.iter().flatten();
        enis.flat_map(|eni| each(eni.groups.as_ref(), |group| group.group_id.clone())).collect()
    }),
    Field(&["network-interface.group-name"], |shown| {
        let enis = shown.instance.network_interfaces.iter().flatten();
        enis.flat_map(|eni| each(eni.groups.as_ref(), |group| group.group_name.clone())).collect()
    }),
    Field(&["network-interface.mac-address"], |shown| {
        shown.interfaces(|eni| eni.mac_address.clone())
    }),
    Field(&["network-interface.network-interface-id"], |shown| {
        shown.interfaces(|eni| eni.network_interface_id.clone())
    }),
    Field(&["network-interface.owner-id", "owner-id"], |shown| one(Some(&shown.owner))),
    Field(&["network-interface.private-dns-name"], |shown| {
        shown.interfaces(|eni| eni.private_dns_name.clone())
    }),
    Field(&["network-interface.operator.managed"], |shown| {
        shown.interfaces(|eni| eni.operator.as_ref()?.managed)
    }),
    Field(&["network-interface.private-ip-address"], |shown| {
        shown.interfaces(|eni| eni.private_ip_address.clone())
    }),
    Field(&["network-interface.requester-id"], |shown| {
        let managed = shown.enis.iter().filter(|eni| eni.requester_managed);
        managed.map(|_| ECS.to_owned()).collect()
    }),
    Field(&["network-interface.requester-managed"], |shown| {
        shown.enis.iter().map(|eni| eni.requester_managed.to_string()).collect()
    }),
    Field(&["network-interface.tag-key"], |shown| shown.interface_tags(|tag| tag.key)),
    Field(&["network-interface.tag-value"], |shown| shown.interface_tags(|tag| tag.value)),
    Field(&["network-interface.source-dest-check"], |shown| {
        shown.interfaces(|eni| eni.source_dest_check)
    }),
    Field(&["network-interface.status"], |shown| shown.interfaces(|eni| eni.status.clone())),
    Field(&["network-interface.subnet-id"], |shown| shown.interfaces(|eni| eni.subnet_id.clone())),
    Field(&["network-interface.vpc-id"], |shown| shown.interfaces(|eni| eni.vpc_id.clone())),
    Field(&["operator.managed"], |shown| {
        one(shown.instance.operator.as_ref().and_then(|operator| operator.managed.as_ref()))
    }),
    Field(&["placement-group-name"], |shown| {
        let placement = shown.instance.placement.as_ref();
        one(placement.and_then(|placement| placement.group_name.as_ref()))
    }),
    Field(&["platform-details"], |shown| one(shown.instance.platform_details.as_ref())),
    Field(&["private-dns-name"], |shown| one(shown.instance.private_dns_name.as_ref())),
    Field(&["private-dns-name-options.enable-resource-name-dns-a-record"], |shown| {
        shown.dns_options(|options| options.enable_resource_name_dns_a_record.as_ref())
    }),
    Field(&["private-dns-name-options.enable-resource-name-dns-aaaa-record"], |shown| {
        shown.dns_options(|options| options.enable_resource_name_dns_aaaa_record.as_ref())
    }),
    Field(&["private-dns-name-options.hostname-type"], |shown| {
        shown.dns_options(|options| options.hostname_type.as_ref())
    }),
    Field(&["private-ip-address"], |shown| one(shown.instance.private_ip_address.as_ref())),
    Field(&["reservation-id"], |shown| one(Some(&shown.reservation))),
    Field(&["source-dest-check"], |shown| one(shown.instance.source_dest_check.as_ref())),
    Field(&["subnet-id"], |shown| one(shown.instance.subnet_id.as_ref())),
    Field(&["tenancy"], |shown| {
        let placement = shown.instance.placement.as_ref();
        one(placement.and_then(|placement| placement.tenancy.as_ref()))
    }),
    Field(&["virtualization-type"], |shown| one(shown.instance.virtualization_type.as_ref())),
    Field(&["vpc-id"], |shown| one(shown.instance.vpc_id.as_ref())),
    Field(
        &[
            "affinity",
            "block-device-mapping.attach-time",
            "block-device-mapping.delete-on-termination",
            "block-device-mapping.device-name",
            "block-device-mapping.status",
            "block-device-mapping.volume-id",
            "boot-mode",
            "capacity-reservation-id",
            "capacity-reservation-specification.capacity-reservation-preference",
            "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-id",
            "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-resource-group-arn",
            "current-instance-boot-mode",
            "enclave-options.enabled",
            "hibernation-options.configured",
            "host-id",
            "hypervisor",
            "iam-instance-profile.arn",
            "iam-instance-profile.id",
            "image-id",
            "instance-lifecycle",
            "ip-address",
            "ipv6-address",
            "kernel-id",
            "key-name",
            "maintenance-options.auto-recovery",
            "metadata-options.http-endpoint",
            "metadata-options.http-protocol-ipv4",
            "metadata-options.http-protocol-ipv6",
            "metadata-options.http-put-response-hop-limit",
            "metadata-options.http-tokens",
            "metadata-options.instance-metadata-tags",
            "metadata-options.state",
            "network-interface.addresses.association.allocation-id",
            "network-interface.addresses.association.association-id",
            "network-interface.addresses.association.carrier-ip",
            "network-interface.addresses.association.customer-owned-ip",
            "network-interface.addresses.association.ip-owner-id",
            "network-interface.addresses.association.public-dns-name",
            "network-interface.addresses.association.public-ip",
            "network-interface.association.allocation-id",
            "network-interface.association.association-id",
            "network-interface.association.carrier-ip",
            "network-interface.association.customer-owned-ip",
            "network-interface.association.ip-owner-id",
            "network-interface.association.public-dns-name",
            "network-interface.association.public-ip",
            "network-interface.deny-all-igw-traffic",
            "network-interface.ipv4-prefixes.ipv4-prefix",
            "network-interface.ipv6-address",
            "network-interface.ipv6-addresses.ipv6-address",
            "network-interface.ipv6-addresses.is-primary-ipv6",
            "network-interface.ipv6-native",
            "network-interface.ipv6-prefixes.ipv6-prefix",
            "network-interface.operator.principal",
            "network-interface.outpost-arn",
            "network-interface.public-dns-name",
            "network-performance-options.bandwidth-weighting",
            "operator.principal",
            "outpost-arn",
            "placement-partition-number",
            "platform",
            "product-code",
            "product-code.type",
            "ramdisk-id",
            "reason",
            "requester-id",
            "root-device-name",
            "root-device-type",
            "spot-instance-request-id",
            "state-reason-code",
            "state-reason-message",
            "tpm-support",
            "usage-operation",
            "usage-operation-update-time",
        ],
        nothing,
    ),
];

/// The instance's interfaces in the order of their places.
fn interfaces(view: &View, instance: &records::Instance) -> Vec<Arc<Eni>> {
    let all = view.by(&instance.scope, BY_INSTANCE, instance.id.as_str());
    let mut enis: Vec<Arc<Eni>> = all.collect();
    enis.sort_by_key(|eni| eni.attachment.as_ref().map(|attachment| attachment.device_index));
    enis
}

fn show(view: &View, instance: &records::Instance, enis: &[Arc<Eni>]) -> shapes::Instance {
    let scope = &instance.scope;
    let primary = enis.iter().find(|eni| eni.net.id == instance.primary_eni);
    let zone = instance.zones.first();
    shapes::Instance {
        ami_launch_index: Some(0),
        block_device_mappings: Some(Vec::new()),
        client_token: text(""),
        ebs_optimized: Some(false),
        ena_support: Some(true),
        instance_id: text(&instance.id),
        instance_type: instance.instance_type.clone(),
        launch_time: Some(instance.launched_at.into()),
        monitoring: Some(shapes::Monitoring { state: text("disabled"), ..Default::default() }),
        network_interfaces: Some(enis.iter().map(|eni| show_interface(view, eni)).collect()),
        operator: Some(shapes::OperatorResponse { managed: Some(false), ..Default::default() }),
        placement: Some(shapes::Placement {
            availability_zone: zone.map(|zone| zone.name.clone()),
            availability_zone_id: zone.map(|zone| zone.id.clone()),
            group_name: text(""),
            tenancy: text("default"),
            ..Default::default()
        }),
        platform_details: text("Linux/UNIX"),
        private_dns_name: primary.and_then(|eni| eni.private_dns_name.clone()),
        private_dns_name_options: Some(shapes::PrivateDnsNameOptionsResponse {
            enable_resource_name_dns_a_record: Some(false),
            enable_resource_name_dns_aaaa_record: Some(false),
            hostname_type: text("ip-name"),
        }),
        private_ip_address: primary.map(|eni| eni.net.ipv4.to_string()),
        product_codes: Some(Vec::new()),
        public_dns_name: text(""),
        security_groups: primary.map(|eni| show_groups(view, scope, &eni.net.groups)),
        source_dest_check: primary.map(|eni| eni.net.source_dest_check),
        // A machine that is known is running: whether it can be reached is the
        // business of status checks.
        state: Some(shapes::InstanceState { code: Some(16), name: text("running") }),
        state_transition_reason: text(""),
        subnet_id: text(&instance.subnet),
        tags: tags::show(&instance.tags),
        virtualization_type: text("hvm"),
        vpc_id: text(&instance.vpc),
        ..Default::default()
    }
}

fn show_interface(view: &View, eni: &Eni) -> shapes::InstanceNetworkInterface {
    shapes::InstanceNetworkInterface {
        attachment: eni.attachment.as_ref().map(|attachment| {
            shapes::InstanceNetworkInterfaceAttachment {
                attach_time: Some(attachment.attached_at.into()),
                attachment_id: text(&attachment.id),
                delete_on_termination: Some(attachment.delete_on_termination),
                device_index: i32::try_from(attachment.device_index).ok(),
                network_card_index: Some(0),
                status: text(attachment_status(attachment)),
                ..Default::default()
            }
        }),
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
                .map(|address| shapes::InstancePrivateIpAddress {
                    association: None,
                    primary: Some(address == eni.net.ipv4),
                    private_dns_name: address_name(eni, address),
                    private_ip_address: text(address),
                })
                .collect(),
        ),
        source_dest_check: Some(eni.net.source_dest_check),
        status: text(status(eni)),
        subnet_id: text(&eni.net.subnet),
        vpc_id: text(&eni.net.vpc),
        ..Default::default()
    }
}

/// Nobody launched the machine, so its reservation is one only by name.
fn reservation_id(instance: &InstanceId) -> String {
    format!("r-{}", instance.as_str().trim_start_matches("i-"))
}
