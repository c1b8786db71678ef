//! `CreateCluster`, `DescribeClusters`, `ListClusters`.

use super::paging;
use crate::records::{Cluster, tags};
use crate::{Error, names, show};
use chassis::Cx;
use ident::ClusterName;
use store::Txn;
use wire::ecs;

/// Makes a cluster, or finds it made: asking twice is asking once.
pub(crate) async fn create_cluster(
    cx: &Cx,
    request: ecs::CreateClusterRequest,
) -> Result<ecs::CreateClusterResponse, Error> {
    let name = match request.cluster_name.as_deref() {
        None => ClusterName::default(),
        Some(name) => name.parse().map_err(|_| Error::invalid("Invalid cluster name."))?,
    };
    sound(&request)?;
    let said = Said::of(&request);
    let now = cx.now();
    let wanted = Cluster {
        scope: cx.scope().clone(),
        name,
        created_at: now,
        tags: tags(request.tags)?,
        settings: request.settings.unwrap_or_else(default_settings),
        configuration: request.configuration,
        capacity_providers: request.capacity_providers.unwrap_or_default(),
        default_strategy: request.default_capacity_provider_strategy.unwrap_or_default(),
        service_connect_namespace: request.service_connect_defaults.and_then(|d| d.namespace),
    };

    let shown = cx.store().transact(|txn| {
        let cluster = found_or_made(txn, wanted.clone());
        if !said.fits(&wanted, &cluster) {
            return Err(Error::invalid(
                "Arguments on this idempotent request are inconsistent with arguments used in \
                 previous request(s).",
            ));
        }
        let include = ["SETTINGS", "TAGS", "CONFIGURATIONS"].map(str::to_owned);
        Ok::<_, Error>(show::cluster(txn.view(), &cluster, &include))
    });

    Ok(ecs::CreateClusterResponse { cluster: Some(shown.await?) })
}

/// Which parameters a request gave: those must be the cluster's if there is one.
/// Agents ask for the cluster they are in and say nothing but its name.
#[derive(Clone, Copy, Debug)]
struct Said {
    settings: bool,
    configuration: bool,
    providers: bool,
    strategy: bool,
    namespace: bool,
}

impl Said {
    fn of(request: &ecs::CreateClusterRequest) -> Self {
        Self {
            settings: request.settings.is_some(),
            configuration: request.configuration.is_some(),
            providers: request.capacity_providers.is_some(),
            strategy: request.default_capacity_provider_strategy.is_some(),
            namespace: request.service_connect_defaults.is_some(),
        }
    }

    fn fits(self, wanted: &Cluster, found: &Cluster) -> bool {
        (!self.settings || wanted.settings == found.settings)
            && (!self.configuration || wanted.configuration == found.configuration)
            && (!self.providers || wanted.capacity_providers == found.capacity_providers)
            && (!self.strategy || wanted.default_strategy == found.default_strategy)
            && (!self.namespace
                || wanted.service_connect_namespace == found.service_connect_namespace)
    }
}

/// Checks what a cluster is to be like.
fn sound(request: &ecs::CreateClusterRequest) -> Result<(), Error> {
    for setting in request.settings.iter().flatten() {
        let value = setting.value.as_deref().unwrap_or_default();
        if !matches!(value, "enabled" | "disabled" | "enhanced") {
            return Err(Error::invalid(format!(
                "Invalid value '{value}' for the setting containerInsights."
            )));
        }
    }
    // Those of AWS are in every account; nobody can make others here yet.
    let providers = || request.capacity_providers.iter().flatten();
    if providers().any(|name| !matches!(name.as_str(), "FARGATE" | "FARGATE_SPOT")) {
        return Err(Error::invalid(
            "The specified capacity provider was not found. Specify a valid name or ARN and try \
             again.",
        ));
    }
    let mut strategy = request.default_capacity_provider_strategy.iter().flatten();
    if strategy.any(|item| !providers().any(|name| Some(name) == item.capacity_provider.as_ref())) {
        return Err(Error::invalid(
            "The specified capacity provider strategy cannot contain a capacity provider that is \
             not associated with the cluster. Associate the capacity provider with the cluster \
             and try again.",
        ));
    }
    Ok(())
}

/// The cluster of this name: the one there is, else `wanted`.
pub(crate) fn found_or_made(txn: &mut Txn, wanted: Cluster) -> Cluster {
    if let Some(found) = txn.get::<Cluster>(&wanted.scope, wanted.name.as_str()) {
        return Cluster::clone(&found);
    }
    txn.put(wanted.clone());
    wanted
}

/// What AWS sets if nobody does.
fn default_settings() -> Vec<ecs::ClusterSetting> {
    vec![ecs::ClusterSetting {
        name: Some("containerInsights".to_owned()),
        value: Some("disabled".to_owned()),
    }]
}

/// Shows clusters by name; `default` if none is named.
pub(crate) fn describe_clusters(
    cx: &Cx,
    request: ecs::DescribeClustersRequest,
) -> Result<ecs::DescribeClustersResponse, Error> {
    let wanted = request.clusters.filter(|list| !list.is_empty());
    let wanted = wanted.unwrap_or_else(|| vec![ClusterName::default().to_string()]);
    let wanted = super::wanted(Some(wanted), "Clusters")?;
    let include = request.include.unwrap_or_default();

    let view = cx.view();
    let (mut clusters, mut failures) = (vec![], vec![]);
    for text in wanted {
        let name = names::cluster(cx.scope(), Some(&text))?;
        match view.get::<Cluster>(cx.scope(), name.as_str()) {
            Some(cluster) => clusters.push(show::cluster(&view, &cluster, &include)),
            None => failures.push(show::missing(&names::cluster_arn(cx.scope(), &name))),
        }
    }
    Ok(ecs::DescribeClustersResponse { clusters: Some(clusters), failures: Some(failures) })
}

/// Names the clusters.
pub(crate) fn list_clusters(
    cx: &Cx,
    request: &ecs::ListClustersRequest,
) -> Result<ecs::ListClustersResponse, Error> {
    let paging = paging("ListClusters", request.max_results, request.next_token.as_ref())?;
    let view = cx.view();
    let page = paging.page(view.list::<Cluster>(cx.scope()), |cluster| cluster.name.to_string());
    Ok(ecs::ListClustersResponse {
        cluster_arns: Some(page.items.iter().map(|cluster| cluster.arn().to_string()).collect()),
        next_token: page.next_token,
    })
}
