//! `CreateCluster`, `DeleteCluster`, `UpdateCluster`, `UpdateClusterSettings`,
//! `DescribeClusters`, `ListClusters`.
//!
//! A deleted cluster is shown as INACTIVE for a while and is otherwise not there:
//! no request finds it, and its name is free.

use super::{existing, paging};
use crate::account_settings::{SettingName, effective};
use crate::error::Content;
use crate::records::{Cluster, TasksOf, tags};
use crate::{Error, names, show, view};
use chassis::Cx;
use ident::{ClusterName, Tags, Timestamp};
use sched::lifecycle::Phase;
use store::{Txn, View};
use wire::ecs;

/// As many capacity providers as a cluster or a strategy may name.
const MAX_PROVIDERS: usize = 20;
/// As long as a namespace's name or ARN may be.
const MAX_NAMESPACE: usize = 1024;

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
        deleted_at: None,
        tags: tags(request.tags)?,
        settings: request.settings.unwrap_or_default(),
        configuration: request.configuration,
        capacity_providers: request.capacity_providers.unwrap_or_default(),
        default_strategy: request.default_capacity_provider_strategy.unwrap_or_default(),
        service_connect_namespace: request.service_connect_defaults.and_then(|d| d.namespace),
    };

    let shown = cx.store().transact(|txn| {
        let mut fresh = wanted.clone();
        if fresh.settings.is_empty() {
            fresh.settings = default_settings(cx, txn.view());
        }
        let cluster = found_or_made(txn, fresh);
        if !said.fits(&wanted, &cluster) {
            return Err(Error::invalid(
                "Arguments on this idempotent request are inconsistent with arguments used in \
                 previous request(s).",
            ));
        }
        Ok::<_, Error>(show::cluster(txn.view(), &cluster, &everything()))
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
            settings: request.settings.as_ref().is_some_and(|list| !list.is_empty()),
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
    sound_settings(request.settings.as_deref().unwrap_or_default())?;
    if let Some(configuration) = &request.configuration {
        sound_configuration(configuration)?;
    }
    if let Some(defaults) = &request.service_connect_defaults {
        let namespace = defaults.namespace.as_deref().unwrap_or_default();
        if namespace.is_empty() {
            return Err(Error::invalid(
                "The namespace of serviceConnectDefaults can not be empty.",
            ));
        }
        sound_namespace(namespace)?;
    }
    sound_providers(
        request.capacity_providers.as_deref().unwrap_or_default(),
        request.default_capacity_provider_strategy.as_deref().unwrap_or_default(),
    )
}

fn sound_settings(settings: &[ecs::ClusterSetting]) -> Result<(), Error> {
    if settings.len() > 1 {
        return Err(Error::invalid(
            "Duplicate cluster settings are not allowed: containerInsights",
        ));
    }
    for setting in settings {
        if setting.name.is_none() {
            return Err(Error::invalid("The name of a cluster setting can not be null."));
        }
        let value = setting.value.as_deref().unwrap_or_default();
        if !SettingName::ContainerInsights.values().contains(&value) {
            return Err(Error::invalid(format!(
                "Invalid value '{value}' for the setting containerInsights."
            )));
        }
    }
    Ok(())
}

/// Where the output of ExecuteCommand goes is said if and only if it is to go
/// elsewhere than the task's own log.
fn sound_configuration(configuration: &ecs::ClusterConfiguration) -> Result<(), Error> {
    let Some(execute) = &configuration.execute_command_configuration else { return Ok(()) };
    let elsewhere = execute.logging.as_deref() == Some("OVERRIDE");
    let Some(log) = &execute.log_configuration else {
        if elsewhere {
            return Err(Error::invalid(
                "A logConfiguration must be specified when logging is OVERRIDE.",
            ));
        }
        return Ok(());
    };
    if !elsewhere {
        return Err(Error::invalid(
            "A logConfiguration can only be specified when logging is OVERRIDE.",
        ));
    }
    let given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    let (group, bucket) = (given(&log.cloud_watch_log_group_name), given(&log.s3_bucket_name));
    if !group && !bucket {
        return Err(Error::invalid(
            "A logConfiguration must have a cloudWatchLogGroupName or an s3BucketName.",
        ));
    }
    if !group && log.cloud_watch_encryption_enabled == Some(true) {
        return Err(Error::invalid(
            "A cloudWatchLogGroupName must be specified when cloudWatchEncryptionEnabled is true.",
        ));
    }
    if !bucket && (given(&log.s3_key_prefix) || log.s3_encryption_enabled == Some(true)) {
        return Err(Error::invalid(
            "An s3BucketName must be specified with s3KeyPrefix and s3EncryptionEnabled.",
        ));
    }
    Ok(())
}

fn sound_namespace(namespace: &str) -> Result<(), Error> {
    if namespace.chars().count() > MAX_NAMESPACE {
        return Err(Error::invalid(format!("namespace longer than {MAX_NAMESPACE}.")));
    }
    Ok(())
}

fn sound_providers(
    providers: &[String],
    strategy: &[ecs::CapacityProviderStrategyItem],
) -> Result<(), Error> {
    if providers.len() > MAX_PROVIDERS || strategy.len() > MAX_PROVIDERS {
        return Err(Error::invalid(format!(
            "A cluster and a capacity provider strategy can have at most {MAX_PROVIDERS} capacity \
             providers."
        )));
    }
    // Those of AWS are in every account; nobody can make others here yet.
    if providers.iter().any(|name| !matches!(name.as_str(), "FARGATE" | "FARGATE_SPOT")) {
        return Err(Error::invalid(
            "The specified capacity provider was not found. Specify a valid name or ARN and try \
             again.",
        ));
    }
    let associated = |item: &ecs::CapacityProviderStrategyItem| {
        item.capacity_provider.as_ref().is_some_and(|name| providers.contains(name))
    };
    if !strategy.iter().all(associated) {
        return Err(Error::invalid(
            "The specified capacity provider strategy cannot contain a capacity provider that is \
             not associated with the cluster. Associate the capacity provider with the cluster \
             and try again.",
        ));
    }
    let mut names: Vec<_> = strategy.iter().map(|item| &item.capacity_provider).collect();
    names.sort();
    if names.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(Error::invalid(
            "The specified capacity provider strategy cannot contain a capacity provider twice.",
        ));
    }
    if strategy.iter().filter(|item| item.base.is_some_and(|base| base > 0)).count() > 1 {
        return Err(Error::invalid(
            "Only one capacity provider in a capacity provider strategy can have a base defined.",
        ));
    }
    Ok(())
}

/// A cluster of which nothing but the name was said.
pub(crate) fn plain(cx: &Cx, view: &View, name: ClusterName, now: Timestamp) -> Cluster {
    Cluster {
        scope: cx.scope().clone(),
        name,
        created_at: now,
        deleted_at: None,
        tags: Tags::default(),
        settings: default_settings(cx, view),
        configuration: None,
        capacity_providers: vec![],
        default_strategy: vec![],
        service_connect_namespace: None,
    }
}

/// The cluster of this name: the one there is, else `wanted`.
pub(crate) fn found_or_made(txn: &mut Txn, wanted: Cluster) -> Cluster {
    let found = txn.get::<Cluster>(&wanted.scope, wanted.name.as_str());
    if let Some(found) = found.filter(|cluster| cluster.is_active()) {
        return Cluster::clone(&found);
    }
    txn.put(wanted.clone());
    wanted
}

/// What a cluster is set to if its maker says nothing: what the account settings
/// of the maker say.
fn default_settings(cx: &Cx, view: &View) -> Vec<ecs::ClusterSetting> {
    let insights = SettingName::ContainerInsights;
    vec![ecs::ClusterSetting {
        name: Some(insights.as_str().to_owned()),
        value: Some(effective(view, cx.scope(), &cx.caller.arn(), insights)),
    }]
}

/// Deletes a cluster that nothing is in.
pub(crate) async fn delete_cluster(
    cx: &Cx,
    request: ecs::DeleteClusterRequest,
) -> Result<ecs::DeleteClusterResponse, Error> {
    let scope = cx.scope();
    let name = names::cluster(scope, request.cluster.as_deref())?;
    let now = cx.now();
    let shown = cx.store().transact(|txn| {
        let mut cluster = Cluster::clone(&*existing(txn.view(), scope, &name)?);
        if view::instances(txn.view(), scope, &name).next().is_some() {
            return Err(Error::InUse(Content::ContainerInstances));
        }
        if TasksOf::cluster(txn.view(), scope, &name).any(|task| task.phase != Phase::Stopped) {
            return Err(Error::InUse(Content::Tasks));
        }
        cluster.deleted_at = Some(now);
        txn.put(cluster.clone());
        Ok(show::cluster(txn.view(), &cluster, &everything()))
    });
    Ok(ecs::DeleteClusterResponse { cluster: Some(shown.await?) })
}

/// Changes what a cluster was made with; what the request does not say stays.
pub(crate) async fn update_cluster(
    cx: &Cx,
    request: ecs::UpdateClusterRequest,
) -> Result<ecs::UpdateClusterResponse, Error> {
    let settings = request.settings.unwrap_or_default();
    sound_settings(&settings)?;
    if let Some(configuration) = &request.configuration {
        sound_configuration(configuration)?;
    }
    let namespace = request.service_connect_defaults.and_then(|defaults| defaults.namespace);
    sound_namespace(namespace.as_deref().unwrap_or_default())?;
    let cluster = change(cx, request.cluster.as_deref(), |cluster| {
        if !settings.is_empty() {
            cluster.settings.clone_from(&settings);
        }
        if let Some(configuration) = &request.configuration {
            cluster.configuration = Some(configuration.clone());
        }
        if let Some(namespace) = &namespace {
            // Naming none is how one takes it away.
            cluster.service_connect_namespace =
                Some(namespace.clone()).filter(|name| !name.is_empty());
        }
    });
    Ok(ecs::UpdateClusterResponse { cluster: Some(cluster.await?) })
}

/// Changes a cluster's settings.
pub(crate) async fn update_cluster_settings(
    cx: &Cx,
    request: ecs::UpdateClusterSettingsRequest,
) -> Result<ecs::UpdateClusterSettingsResponse, Error> {
    let settings = request.settings.unwrap_or_default();
    if settings.is_empty() {
        return Err(Error::invalid("settings can not be empty."));
    }
    sound_settings(&settings)?;
    let cluster = change(cx, request.cluster.as_deref(), |cluster| {
        cluster.settings.clone_from(&settings);
    });
    Ok(ecs::UpdateClusterSettingsResponse { cluster: Some(cluster.await?) })
}

async fn change(
    cx: &Cx,
    cluster: Option<&str>,
    change: impl Fn(&mut Cluster) + Send,
) -> Result<ecs::Cluster, Error> {
    let name = names::cluster(cx.scope(), cluster)?;
    let shown = cx.store().transact(|txn| {
        let mut cluster = Cluster::clone(&*existing(txn.view(), cx.scope(), &name)?);
        change(&mut cluster);
        txn.put(cluster.clone());
        Ok::<_, Error>(show::cluster(txn.view(), &cluster, &everything()))
    });
    shown.await
}

/// What those who change a cluster are shown of it.
fn everything() -> [String; 3] {
    ["SETTINGS", "TAGS", "CONFIGURATIONS"].map(str::to_owned)
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
    let paging = paging(cx, "ListClusters", request.max_results, request.next_token.as_ref())?;
    let view = cx.view();
    let active = view.list::<Cluster>(cx.scope()).filter(|cluster| cluster.is_active());
    let page = paging.page(active, |cluster| cluster.name.to_string());
    Ok(ecs::ListClustersResponse {
        cluster_arns: Some(page.items.iter().map(|cluster| cluster.arn().to_string()).collect()),
        next_token: page.next_token,
    })
}
