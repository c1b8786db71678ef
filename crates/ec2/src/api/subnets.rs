//! Subnets: showing them, and [making, changing and deleting](change) them.

pub(super) mod change;

use super::filters::{Field, Filters, nothing, one};
use super::listing::{Listing, Pages};
use super::{tags, text};
use crate::error::Error;
use crate::records::{self, BY_SUBNET, Eni};
use chassis::Cx;
use ident::Arn;
use store::View;
use wire::ec2 as shapes;

/// Shows subnets.
pub(super) fn describe(
    cx: &Cx,
    request: shapes::DescribeSubnetsRequest,
) -> Result<shapes::DescribeSubnetsResult, Error> {
    let shapes::DescribeSubnetsRequest { subnet_ids, filters, max_results, next_token, .. } =
        request;
    let filters = Filters::parse(filters, FIELDS, |subnet| subnet.tags.as_ref())?;
    let pages = Pages { max_results, next_token };
    let listing = Listing::parse(cx.scope(), "DescribeSubnets", subnet_ids, filters, &pages)?;

    let view = cx.view();
    let all = view.list::<records::Subnet>(cx.scope()).map(|subnet| show(&view, &subnet));
    let page = listing.page(all, |subnet| subnet.subnet_id.as_ref(), Error::NoSubnet)?;
    Ok(shapes::DescribeSubnetsResult { subnets: Some(page.items), next_token: page.next_token })
}

const FIELDS: &[Field<shapes::Subnet>] = &[
    Field(&["availability-zone", "availabilityZone"], |subnet| {
        one(subnet.availability_zone.as_ref())
    }),
    Field(&["availability-zone-id", "availabilityZoneId"], |subnet| {
        one(subnet.availability_zone_id.as_ref())
    }),
    Field(&["available-ip-address-count"], |subnet| {
        one(subnet.available_ip_address_count.as_ref())
    }),
    Field(&["cidr", "cidr-block", "cidrBlock"], |subnet| one(subnet.cidr_block.as_ref())),
    Field(
        &[
            "customer-owned-ipv4-pool",
            "enable-lni-at-device-index",
            "ipv6-cidr-block-association.association-id",
            "ipv6-cidr-block-association.ipv6-cidr-block",
            "ipv6-cidr-block-association.state",
            "outpost-arn",
        ],
        nothing,
    ),
    Field(&["default-for-az", "defaultForAz"], |subnet| one(subnet.default_for_az.as_ref())),
    Field(&["enable-dns64"], |subnet| one(subnet.enable_dns64.as_ref())),
    Field(&["ipv6-native"], |subnet| one(subnet.ipv6_native.as_ref())),
    Field(&["map-customer-owned-ip-on-launch"], |subnet| {
        one(subnet.map_customer_owned_ip_on_launch.as_ref())
    }),
    Field(&["map-public-ip-on-launch"], |subnet| one(subnet.map_public_ip_on_launch.as_ref())),
    Field(&["owner-id"], |subnet| one(subnet.owner_id.as_ref())),
    Field(&["private-dns-name-options-on-launch.hostname-type"], |subnet| {
        let options = subnet.private_dns_name_options_on_launch.as_ref();
        one(options.and_then(|options| options.hostname_type.as_ref()))
    }),
    Field(&["private-dns-name-options-on-launch.enable-resource-name-dns-a-record"], |subnet| {
        let options = subnet.private_dns_name_options_on_launch.as_ref();
        one(options.and_then(|options| options.enable_resource_name_dns_a_record.as_ref()))
    }),
    Field(&["private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record"], |subnet| {
        let options = subnet.private_dns_name_options_on_launch.as_ref();
        one(options.and_then(|options| options.enable_resource_name_dns_aaaa_record.as_ref()))
    }),
    Field(&["state"], |subnet| one(subnet.state.as_ref())),
    Field(&["subnet-arn", "subnetArn"], |subnet| one(subnet.subnet_arn.as_ref())),
    Field(&["subnet-id"], |subnet| one(subnet.subnet_id.as_ref())),
    Field(&["vpc-id"], |subnet| one(subnet.vpc_id.as_ref())),
];

fn show(view: &View, subnet: &records::Subnet) -> shapes::Subnet {
    let id = &subnet.net.id;
    let enis = view.by::<Eni>(&subnet.scope, BY_SUBNET, id.as_str());
    let taken: usize = enis.map(|eni| eni.net.ipv4_addresses().count()).sum();
    let free = net::address::available(&subnet.net, u32::try_from(taken).unwrap_or(u32::MAX));
    shapes::Subnet {
        assign_ipv6_address_on_creation: Some(false),
        availability_zone: text(&subnet.zone.name),
        availability_zone_id: text(&subnet.zone.id),
        available_ip_address_count: Some(i32::try_from(free).unwrap_or(i32::MAX)),
        cidr_block: text(subnet.net.cidr),
        default_for_az: Some(subnet.default_for_az),
        enable_dns64: Some(false),
        ipv6_cidr_block_association_set: Some(Vec::new()),
        ipv6_native: Some(false),
        map_customer_owned_ip_on_launch: Some(false),
        map_public_ip_on_launch: Some(subnet.map_public_ip_on_launch),
        owner_id: text(&subnet.scope.account),
        private_dns_name_options_on_launch: Some(shapes::PrivateDnsNameOptionsOnLaunch {
            enable_resource_name_dns_a_record: Some(false),
            enable_resource_name_dns_aaaa_record: Some(false),
            hostname_type: text("ip-name"),
        }),
        state: text("available"),
        subnet_arn: text(Arn::new("ec2", &subnet.scope, format!("subnet/{id}"))),
        subnet_id: text(id),
        tags: tags::show(&subnet.tags),
        vpc_id: text(&subnet.net.vpc),
        ..Default::default()
    }
}
