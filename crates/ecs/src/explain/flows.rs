//! `DescribeFlows`: what passes the account's interfaces and what does not. The kernel
//! knows, the card of each machine looks, and here it is said whose it is.

use super::path::Asked;
use crate::records::Task;
use crate::{Error, names};
use chassis::Cx;
use ec2::CardSocket;
use ec2::records::Eni;
use futures::future::join_all;
use ident::{EniId, InstanceId};
use net::flow::{Action, Direction, Flow};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use wire::landfall::{DescribeFlowsRequest, DescribeFlowsResponse, flow_action, flow_direction};

pub(super) async fn describe(
    cx: &Cx,
    cards: &CardSocket,
    request: &DescribeFlowsRequest,
) -> Result<DescribeFlowsResponse, Error> {
    let (scope, view) = (cx.scope(), cx.view());
    let cluster = names::cluster(scope, request.cluster.as_deref())?;
    let target = request.target.as_deref().filter(|target| !target.is_empty());
    let address = target.and_then(|target| target.parse::<IpAddr>().ok());
    let only = match target.filter(|_| address.is_none()) {
        Some(target) => Asked { view: &view, scope, cluster: &cluster }.end(target, None)?.0,
        None => None,
    };
    let enis: Vec<Arc<Eni>> = match only {
        Some(eni) => vec![eni],
        None => view.list::<Eni>(scope).collect(),
    };
    let mut by_instance: BTreeMap<InstanceId, BTreeSet<EniId>> = BTreeMap::new();
    for eni in &enis {
        if let Some(instance) = eni.instance().filter(|_| eni.wanted()) {
            by_instance.entry(instance.clone()).or_default().insert(eni.net.id.clone());
        }
    }
    let asking = by_instance.into_iter().map(|(instance, enis)| async move {
        let told = cards.flows(scope, &instance, enis, address).await;
        (instance, told)
    });
    let told = join_all(asking).await;

    let now = cx.now();
    let enis: BTreeMap<&EniId, &Arc<Eni>> = enis.iter().map(|eni| (&eni.net.id, eni)).collect();
    let tasks: BTreeMap<EniId, Arc<Task>> = view
        .list::<Task>(scope)
        .filter_map(|task| Some((task.interface.as_ref()?.eni.clone(), task)))
        .collect();
    let mut response = DescribeFlowsResponse { truncated: Some(false), ..Default::default() };
    let (mut flows, mut unreachable) = (Vec::new(), Vec::new());
    for (instance, told) in told {
        let Some(told) = told else {
            unreachable.push(instance.to_string());
            continue;
        };
        response.truncated = Some(told.is_cut || response.truncated == Some(true));
        for flow in told.flows {
            let Some(eni) = enis.get(&flow.eni).filter(|eni| is_its_own(eni, &flow)) else {
                continue;
            };
            let task = tasks.get(&flow.eni).map(|task| task.arn().to_string());
            flows.push(shown(&flow, eni, task, now));
        }
    }
    // The newest last, as in a log.
    flows.sort_by_key(|flow| flow.start);
    response.flows = Some(flows);
    response.unreachable = Some(unreachable);
    Ok(response)
}

/// Whether the flow is the interface's, and not of one that had its address before.
fn is_its_own(eni: &Eni, flow: &Flow) -> bool {
    let attached = eni.attachment.as_ref().map(|attachment| attachment.attached_at);
    flow.start.is_none_or(|start| attached.is_some_and(|attached| start >= attached))
}

fn shown(
    flow: &Flow,
    eni: &Eni,
    task: Option<String>,
    now: ident::Timestamp,
) -> wire::landfall::Flow {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let action = match flow.action {
        Action::Accept => flow_action::ACCEPT,
        Action::Reject => flow_action::REJECT,
    };
    let direction = match flow.direction {
        Direction::Egress => flow_direction::EGRESS,
        Direction::Ingress => flow_direction::INGRESS,
    };
    wire::landfall::Flow {
        interface_id: Some(eni.net.id.to_string()),
        task_arn: task,
        vpc_id: Some(eni.net.vpc.to_string()),
        srcaddr: Some(flow.source.to_string()),
        dstaddr: Some(flow.destination.to_string()),
        srcport: Some(flow.source_port.into()),
        dstport: Some(flow.destination_port.into()),
        protocol: Some(flow.protocol.into()),
        packets: flow.counted.map(|counted| number(counted.packets)),
        bytes: flow.counted.map(|counted| number(counted.bytes)),
        // Unix seconds, as in flow logs.
        start: flow.start.map(|start| start.0.div_euclid(1000)),
        end: Some(now.0.div_euclid(1000)),
        action: Some(action.to_owned()),
        flow_direction: Some(direction.to_owned()),
    }
}
