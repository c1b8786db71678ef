//! `DescribeVpcAttribute` and `ModifyVpcAttribute`.

use super::find_in;
use crate::error::Error;
use crate::records::Vpc;
use chassis::Cx;
use wire::ec2 as shapes;

/// A setting of a VPC that has an operation of its own.
#[derive(Clone, Copy)]
enum Attribute {
    DnsHostnames,
    DnsSupport,
    UsageMetrics,
}

/// Shows one attribute.
pub(in crate::api) fn describe(
    cx: &Cx,
    request: shapes::DescribeVpcAttributeRequest,
) -> Result<shapes::DescribeVpcAttributeResult, Error> {
    let shapes::DescribeVpcAttributeRequest { attribute, vpc_id, .. } = request;
    let attribute = match attribute.as_deref() {
        None | Some("") => return Err(Error::Missing("attribute")),
        Some("enableDnsHostnames") => Attribute::DnsHostnames,
        Some("enableDnsSupport") => Attribute::DnsSupport,
        Some("enableNetworkAddressUsageMetrics") => Attribute::UsageMetrics,
        Some(other) => {
            return Err(Error::Invalid(format!(
                "Value ({other}) for parameter attribute is invalid. Unknown attribute."
            )));
        }
    };
    let vpc = find_in(&cx.view(), cx.scope(), vpc_id.as_deref())?;
    let mut shown = shapes::DescribeVpcAttributeResult {
        vpc_id: Some(vpc.net.id.to_string()),
        ..Default::default()
    };
    let value = |value| Some(shapes::AttributeBooleanValue { value: Some(value) });
    match attribute {
        Attribute::DnsHostnames => shown.enable_dns_hostnames = value(vpc.enable_dns_hostnames),
        Attribute::DnsSupport => shown.enable_dns_support = value(vpc.enable_dns_support),
        Attribute::UsageMetrics => {
            shown.enable_network_address_usage_metrics =
                value(vpc.enable_network_address_usage_metrics);
        }
    }
    Ok(shown)
}

/// Changes one attribute. Interfaces that there are keep the names they have.
pub(in crate::api) async fn modify(
    cx: &Cx,
    request: shapes::ModifyVpcAttributeRequest,
) -> Result<shapes::ModifyVpcAttributeResponse, Error> {
    let asked = [
        (Attribute::DnsHostnames, request.enable_dns_hostnames),
        (Attribute::DnsSupport, request.enable_dns_support),
        (Attribute::UsageMetrics, request.enable_network_address_usage_metrics),
    ];
    let mut asked = asked.into_iter().filter_map(|(it, value)| Some((it, value?.value?)));
    let (attribute, value) = match (asked.next(), asked.next()) {
        (Some(one), None) => one,
        (None, _) => return Err(Error::Combination("No attributes specified.".to_owned())),
        (Some(_), Some(_)) => {
            return Err(Error::Combination(
                "Only one attribute can be modified at a time.".to_owned(),
            ));
        }
    };
    let scope = cx.scope();
    cx.store()
        .transact(|txn| {
            let found = super::find(txn, scope, request.vpc_id.as_deref())?;
            let mut vpc = Vpc::clone(&found);
            match attribute {
                Attribute::DnsHostnames if value && !vpc.enable_dns_support => {
                    return Err(Error::Combination(
                        "DNS hostnames can only be enabled in a VPC that has DNS support."
                            .to_owned(),
                    ));
                }
                Attribute::DnsHostnames => vpc.enable_dns_hostnames = value,
                Attribute::DnsSupport => vpc.enable_dns_support = value,
                Attribute::UsageMetrics => vpc.enable_network_address_usage_metrics = value,
            }
            if vpc != *found {
                txn.put(vpc);
            }
            Ok::<_, Error>(())
        })
        .await?;
    Ok(shapes::ModifyVpcAttributeResponse {})
}
