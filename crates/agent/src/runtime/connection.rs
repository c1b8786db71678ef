//! A connection to containerd, which knows in which of its namespaces we live.

use super::Error;
use containerd_client::services::v1 as api;
use std::path::{Path, PathBuf};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

/// A connection. Clones share it; it mends itself if containerd restarts.
#[derive(Clone, Debug)]
pub struct Connection {
    channel: Channel,
    namespace: MetadataValue<Ascii>,
    socket: PathBuf,
}

impl Connection {
    /// Connects.
    pub async fn open(socket: &Path, namespace: &str) -> Result<Self, Error> {
        let namespace = namespace
            .parse()
            .map_err(|_| Error::Spec(format!("{namespace:?} cannot name a namespace")))?;
        let channel = containerd_client::connect(socket)
            .await
            .map_err(|source| Error::Connect { socket: socket.into(), source: Box::new(source) })?;
        Ok(Self { channel, namespace, socket: socket.to_owned() })
    }

    /// The socket it was opened on.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Our namespace.
    pub fn namespace(&self) -> &str {
        self.namespace.to_str().unwrap_or_default()
    }

    /// Addresses a message to our namespace.
    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("containerd-namespace", self.namespace.clone());
        request
    }

    /// The same, for something that a lease is to keep from the garbage collector.
    pub fn leased<T>(&self, message: T, lease: &str) -> tonic::Request<T> {
        let mut request = self.request(message);
        if let Ok(lease) = lease.parse() {
            request.metadata_mut().insert("containerd-lease", lease);
        }
        request
    }

    /// Container records.
    pub fn containers(&self) -> api::containers_client::ContainersClient<Channel> {
        api::containers_client::ContainersClient::new(self.channel.clone())
    }

    /// Processes of containers.
    pub fn tasks(&self) -> api::tasks_client::TasksClient<Channel> {
        api::tasks_client::TasksClient::new(self.channel.clone())
    }

    /// Root file systems.
    pub fn snapshots(&self) -> api::snapshots::snapshots_client::SnapshotsClient<Channel> {
        api::snapshots::snapshots_client::SnapshotsClient::new(self.channel.clone())
    }

    /// Blobs.
    pub fn content(&self) -> api::content_client::ContentClient<Channel> {
        api::content_client::ContentClient::new(self.channel.clone())
    }

    /// Unpacking.
    pub fn diff(&self) -> api::diff_client::DiffClient<Channel> {
        api::diff_client::DiffClient::new(self.channel.clone())
    }

    /// Image records.
    pub fn images(&self) -> api::images_client::ImagesClient<Channel> {
        api::images_client::ImagesClient::new(self.channel.clone())
    }

    /// Leases.
    pub fn leases(&self) -> api::leases_client::LeasesClient<Channel> {
        api::leases_client::LeasesClient::new(self.channel.clone())
    }

    /// Namespaces.
    pub fn namespaces(&self) -> api::namespaces_client::NamespacesClient<Channel> {
        api::namespaces_client::NamespacesClient::new(self.channel.clone())
    }

    /// What it is made of.
    pub fn introspection(&self) -> api::introspection_client::IntrospectionClient<Channel> {
        api::introspection_client::IntrospectionClient::new(self.channel.clone())
    }

    /// What containerd is.
    pub fn version(&self) -> api::version_client::VersionClient<Channel> {
        api::version_client::VersionClient::new(self.channel.clone())
    }
}
