//! VPCs: showing them, [making and deleting](create) them, and their
//! [attributes].

pub(super) mod attributes;
pub(super) mod create;

use super::filters::{Field, Filters, each, nothing, one};
use super::listing::{Listing, Pages};
use super::{tags, text};
use crate::error::Error;
use crate::records;
use chassis::Cx;
use ident::Scope;
use std::sync::Arc;
use store::{Txn, View};
use wire::ec2 as shapes;

/// Shows VPCs.
pub(super) fn describe(
    cx: &Cx,
    request: shapes::DescribeVpcsRequest,
) -> Result<shapes::DescribeVpcsResult, Error> {
    let shapes::DescribeVpcsRequest { vpc_ids, filters, max_results, next_token, .. } = request;
    let filters = Filters::parse(filters, FIELDS, |vpc| vpc.tags.as_ref())?;
    let pages = Pages { max_results, next_token };
    let listing = Listing::parse(cx.scope(), "DescribeVpcs", vpc_ids, filters, &pages)?;

    let view = cx.view();
    let all = view.list::<records::Vpc>(cx.scope()).map(|vpc| show(&vpc));
    let page = listing.page(all, |vpc| vpc.vpc_id.as_ref(), Error::NoVpc)?;
    Ok(shapes::DescribeVpcsResult { vpcs: Some(page.items), next_token: page.next_token })
}

/// The VPC that a request names, to be changed.
fn find(txn: &Txn, scope: &Scope, id: Option<&str>) -> Result<Arc<records::Vpc>, Error> {
    let id = named(id)?;
    txn.get(scope, id).ok_or_else(|| Error::NoVpc(id.to_owned()))
}

/// The VPC that a request names, to be looked at.
fn find_in(view: &View, scope: &Scope, id: Option<&str>) -> Result<Arc<records::Vpc>, Error> {
    let id = named(id)?;
    view.get(scope, id).ok_or_else(|| Error::NoVpc(id.to_owned()))
}

fn named(id: Option<&str>) -> Result<&str, Error> {
    id.filter(|id| !id.is_empty()).ok_or(Error::Missing("vpcId"))
}

const FIELDS: &[Field<shapes::Vpc>] = &[
    Field(&["cidr", "cidr-block", "cidrBlock"], |vpc| one(vpc.cidr_block.as_ref())),
    Field(&["cidr-block-association.association-id"], |vpc| {
        each(vpc.cidr_block_association_set.as_ref(), |block| block.association_id.clone())
    }),
    Field(&["cidr-block-association.cidr-block"], |vpc| {
        each(vpc.cidr_block_association_set.as_ref(), |block| block.cidr_block.clone())
    }),
    Field(&["cidr-block-association.state"], |vpc| {
        each(vpc.cidr_block_association_set.as_ref(), |block| {
            block.cidr_block_state.as_ref()?.state.clone()
        })
    }),
    Field(&["dhcp-options-id", "dhcpOptionsId"], |vpc| one(vpc.dhcp_options_id.as_ref())),
    Field(
        &[
            "ipv6-cidr-block-association.association-id",
            "ipv6-cidr-block-association.ipv6-cidr-block",
            "ipv6-cidr-block-association.ipv6-pool",
            "ipv6-cidr-block-association.state",
        ],
        nothing,
    ),
    Field(&["is-default", "isDefault"], |vpc| one(vpc.is_default.as_ref())),
    Field(&["owner-id"], |vpc| one(vpc.owner_id.as_ref())),
    Field(&["state"], |vpc| one(vpc.state.as_ref())),
    Field(&["vpc-id"], |vpc| one(vpc.vpc_id.as_ref())),
];

fn show(vpc: &records::Vpc) -> shapes::Vpc {
    let blocks = vpc.net.cidrs.iter().enumerate().map(|(number, cidr)| {
        let digits = vpc.net.id.as_str().trim_start_matches("vpc-");
        // The first block's is the VPC's own number; others count on from it.
        let number = if number == 0 { String::new() } else { format!("-{number}") };
        shapes::VpcCidrBlockAssociation {
            association_id: Some(format!("vpc-cidr-assoc-{digits}{number}")),
            cidr_block: text(cidr),
            cidr_block_state: Some(shapes::VpcCidrBlockState {
                state: text("associated"),
                status_message: None,
            }),
        }
    });
    shapes::Vpc {
        cidr_block: vpc.net.cidrs.first().map(ToString::to_string),
        cidr_block_association_set: Some(blocks.collect()),
        dhcp_options_id: text("default"),
        instance_tenancy: text(match vpc.tenancy {
            records::Tenancy::Default => "default",
            records::Tenancy::Dedicated => "dedicated",
        }),
        ipv6_cidr_block_association_set: Some(Vec::new()),
        is_default: Some(vpc.is_default),
        owner_id: text(&vpc.scope.account),
        state: text("available"),
        tags: tags::show(&vpc.tags),
        vpc_id: text(&vpc.net.id),
        ..Default::default()
    }
}
