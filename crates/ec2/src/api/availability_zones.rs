//! `DescribeAvailabilityZones`.

use super::filters::{Field, Filters, each, nothing, one};
use super::text;
use crate::error::Error;
use crate::records::Zone;
use crate::zones;
use chassis::Cx;
use ident::Region;
use wire::ec2 as shapes;

/// Shows the region's zones. All that there are take part without opting in.
pub(super) fn describe(
    cx: &Cx,
    request: shapes::DescribeAvailabilityZonesRequest,
) -> Result<shapes::DescribeAvailabilityZonesResult, Error> {
    let filters = Filters::parse(request.filters, FIELDS, |_| None)?;
    let names = request.zone_names.unwrap_or_default();
    let ids = request.zone_ids.unwrap_or_default();

    let region = &cx.scope().region;
    let all = zones::of(region);
    if let Some(name) = names.iter().find(|name| all.iter().all(|zone| zone.name != **name)) {
        return Err(Error::NoZone(name.clone()));
    }
    if let Some(id) = ids.iter().find(|id| all.iter().all(|zone| zone.id != **id)) {
        return Err(Error::NoZoneId(id.clone()));
    }
    let shown = all
        .into_iter()
        .filter(|zone| names.is_empty() || names.contains(&zone.name))
        .filter(|zone| ids.is_empty() || ids.contains(&zone.id))
        .map(|zone| show(region, zone))
        .filter(|zone| filters.pass(zone))
        .collect();
    Ok(shapes::DescribeAvailabilityZonesResult { availability_zones: Some(shown) })
}

const FIELDS: &[Field<shapes::AvailabilityZone>] = &[
    Field(&["group-long-name"], |zone| one(zone.group_long_name.as_ref())),
    Field(&["group-name"], |zone| one(zone.group_name.as_ref())),
    Field(&["message"], |zone| each(zone.messages.as_ref(), |message| message.message.clone())),
    Field(&["opt-in-status"], |zone| one(zone.opt_in_status.as_ref())),
    Field(&["parent-zone-id", "parent-zone-name"], nothing),
    Field(&["region-name"], |zone| one(zone.region_name.as_ref())),
    Field(&["state"], |zone| one(zone.state.as_ref())),
    Field(&["zone-id"], |zone| one(zone.zone_id.as_ref())),
    Field(&["zone-name"], |zone| one(zone.zone_name.as_ref())),
    Field(&["zone-type"], |zone| one(zone.zone_type.as_ref())),
];

fn show(region: &Region, zone: Zone) -> shapes::AvailabilityZone {
    shapes::AvailabilityZone {
        group_name: Some(format!("{region}-zg-1")),
        messages: Some(Vec::new()),
        network_border_group: text(region),
        opt_in_status: text("opt-in-not-required"),
        region_name: text(region),
        state: text("available"),
        zone_id: Some(zone.id),
        zone_name: Some(zone.name),
        zone_type: text("availability-zone"),
        ..Default::default()
    }
}
