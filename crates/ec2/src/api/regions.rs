//! `DescribeRegions`.

use super::filters::{Field, Filters, one};
use super::text;
use crate::error::Error;
use chassis::Cx;
use chassis::regions::{self, Place};
use ident::Region;
use wire::ec2 as shapes;

/// Shows the regions of the caller's partition. Every account takes part in all of
/// them, so that `AllRegions` adds none.
pub(super) fn describe(
    cx: &Cx,
    request: shapes::DescribeRegionsRequest,
) -> Result<shapes::DescribeRegionsResult, Error> {
    let filters = Filters::parse(request.filters, FIELDS, |_| None)?;
    let names = request.region_names.unwrap_or_default();

    let partition = cx.scope().region.partition();
    let all: Vec<shapes::Region> = regions::ALL
        .iter()
        .filter_map(|place| Some((place, regions::named(place.name)?)))
        .filter(|(_, region)| region.partition() == partition)
        .map(|(place, region)| show(place, &region))
        .collect();
    let has = |name: &String| all.iter().any(|region| region.region_name.as_ref() == Some(name));
    if let Some(name) = names.iter().find(|name| !has(name)) {
        return Err(Error::Invalid(format!("Invalid region provided: {name}")));
    }
    let shown = all
        .into_iter()
        .filter(|region| {
            names.is_empty() || region.region_name.as_ref().is_some_and(|name| names.contains(name))
        })
        .filter(|region| filters.pass(region))
        .collect();
    Ok(shapes::DescribeRegionsResult { regions: Some(shown) })
}

const FIELDS: &[Field<shapes::Region>] = &[
    Field(&["endpoint"], |region| one(region.endpoint.as_ref())),
    Field(&["opt-in-status"], |region| one(region.opt_in_status.as_ref())),
    Field(&["region-name"], |region| one(region.region_name.as_ref())),
];

fn show(place: &Place, region: &Region) -> shapes::Region {
    let domain = if region.partition() == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
    shapes::Region {
        endpoint: Some(format!("ec2.{region}.{domain}")),
        opt_in_status: text(if place.opt_in { "opted-in" } else { "opt-in-not-required" }),
        region_name: text(region),
        ..Default::default()
    }
}
