//! `ExplainPlacement`: RunTask, but for its effects.

use crate::api::run_task::{self, Considered};
use crate::{Error, fleets, names, placing};
use chassis::Cx;
use ident::ContainerInstanceId;
use sched::placement::{Fleet, Placement, Reason, refusals};
use wire::ecs::{
    AwsVpcConfiguration, NetworkConfiguration, PlacementConstraint, PlacementStrategy,
    RunTaskRequest,
};
use wire::landfall::{
    ExplainPlacementRequest, ExplainPlacementResponse, InstanceVerdict, Place, Refusal,
};

pub(super) async fn explain(
    cx: &Cx,
    request: ExplainPlacementRequest,
) -> Result<ExplainPlacementResponse, Error> {
    let wish = run_task::read(cx, as_run_task(request))?;
    // It may have to furnish a region with its default VPC to know its subnets.
    let rehearsal = cx.store().rehearsal();
    rehearsal
        .transact(|txn| {
            let definition = run_task::definition_of(cx, txn, &wish)?;
            let Considered { which, demand, .. } = run_task::consider(cx, txn, &wish, &definition)?;
            let asked = (wish.count, wish.seed);
            let Placement { places, refusals: after } =
                fleets::place(txn, cx.scope(), &which, &demand, asked);
            let arn = |id: &ContainerInstanceId| {
                names::instance_arn(cx.scope(), &wish.cluster, id).to_string()
            };
            let places = places.into_iter().map(|place| Place {
                container_instance_arn: Some(arn(&place.instance)),
                availability_zone: Some(place.zone).filter(|zone| !zone.is_empty()),
            });
            let places = places.collect();
            let fleet = fleets::of(txn, cx.scope(), &which);
            // If not all copies find a place, it is the next one that is explained.
            let verdicts = if after.is_empty() {
                let machines = fleet.into_iter().flat_map(Fleet::iter);
                machines.map(|it| (it.host.id.clone(), refusals(it, &demand))).collect()
            } else {
                after
            };
            let verdict = |(id, reasons): (_, Vec<Reason>)| InstanceVerdict {
                container_instance_arn: Some(arn(&id)),
                ec2_instance_id: fleet.and_then(|fleet| fleet.get(&id)?.host.ec2_instance.clone()),
                fits: Some(reasons.is_empty()),
                refusals: Some(reasons.iter().map(refusal).collect()),
            };
            Ok(ExplainPlacementResponse {
                places: Some(places),
                instances: Some(verdicts.into_iter().map(verdict).collect()),
            })
        })
        .await
}

fn refusal(reason: &Reason) -> Refusal {
    Refusal { code: Some(reason.code().to_owned()), detail: Some(placing::detail(reason)) }
}

fn as_run_task(request: ExplainPlacementRequest) -> RunTaskRequest {
    let network = request.subnets.map(|subnets| NetworkConfiguration {
        awsvpc_configuration: Some(AwsVpcConfiguration {
            subnets: Some(subnets),
            security_groups: request.security_groups,
            assign_public_ip: None,
        }),
    });
    let constraints = request.placement_constraints.map(|constraints| {
        let one = |it: wire::landfall::PlacementConstraint| PlacementConstraint {
            expression: it.expression,
            r#type: it.r#type,
        };
        constraints.into_iter().map(one).collect()
    });
    let strategy = request.placement_strategy.map(|strategies| {
        let one = |it: wire::landfall::PlacementStrategy| PlacementStrategy {
            field: it.field,
            r#type: it.r#type,
        };
        strategies.into_iter().map(one).collect()
    });
    RunTaskRequest {
        cluster: request.cluster,
        count: request.count,
        group: request.group,
        launch_type: request.launch_type,
        network_configuration: network,
        placement_constraints: constraints,
        placement_strategy: strategy,
        task_definition: request.task_definition,
        ..RunTaskRequest::default()
    }
}
