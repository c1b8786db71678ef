//! What an image is made of, as registries and archives write it down.

use super::ImageConfig;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A reference to a blob, as manifests have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Platform {
    #[serde(default)]
    pub(super) os: String,
    #[serde(default)]
    pub(super) architecture: String,
}

/// A manifest or an index: which, its members tell.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) config: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) manifests: Vec<Descriptor>,
    /// What Docker's first schema has for layers. It names no configuration.
    #[serde(default, skip_serializing)]
    pub(super) fs_layers: Vec<serde_json::Value>,
}

/// This machine's architecture, as images name it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Manifest {
    /// Why there is nothing in it for this machine.
    pub(super) fn lack(&self) -> String {
        let arch = architecture();
        if !self.fs_layers.is_empty() {
            return "it is of schema version 1, which nobody takes any more: push it again with a \
                    Docker of today"
                .to_owned();
        }
        if self.manifests.is_empty() {
            return "it is the manifest of no image".to_owned();
        }
        let known = self.manifests.iter().filter_map(|d| d.platform.as_ref());
        let known = known.map(|p| format!("{}/{}", p.os, p.architecture));
        let known = known.collect::<Vec<_>>().join(", ");
        let has = if known.is_empty() { "none".to_owned() } else { known };
        format!("no matching manifest for linux/{arch} in the manifest list entries, but {has}")
    }

    /// The manifest in this index that fits this machine.
    pub(super) fn choose(&self) -> Option<&Descriptor> {
        let arch = architecture();
        let fits = |d: &&Descriptor| {
            d.platform.as_ref().is_some_and(|p| p.os == "linux" && p.architecture == arch)
        };
        // An index of one that does not name its platform is taken at its word.
        let only = || Some(&self.manifests[0]).filter(|d| d.platform.is_none());
        match self.manifests.len() {
            0 => None,
            1 => self.manifests.iter().find(fits).or_else(only),
            _ => self.manifests.iter().find(fits),
        }
    }
}

/// The part of an image's configuration that matters for unpacking and running it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ConfigFile {
    pub(super) config: Option<ImageConfig>,
    pub(super) rootfs: RootFs,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RootFs {
    pub(super) diff_ids: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_asked_for_this_machine() {
        let entry = |digest: &str, architecture: &str| Descriptor {
            digest: digest.to_owned(),
            platform: Some(Platform { os: "linux".into(), architecture: architecture.into() }),
            ..Descriptor::default()
        };
        let index = Manifest {
            manifests: vec![entry("a", "s390x"), entry("b", "amd64"), entry("c", "arm64")],
            ..Manifest::default()
        };
        let chosen = index.choose().map(|d| d.digest.as_str());
        assert_eq!(chosen, Some(if cfg!(target_arch = "x86_64") { "b" } else { "c" }));
        let other = Manifest { manifests: vec![entry("a", "s390x")], ..Manifest::default() };
        assert_eq!(other.choose(), None);
    }
}
