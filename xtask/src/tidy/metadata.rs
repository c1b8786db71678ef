//! What cargo knows about the workspace.

use crate::Problem;
use serde::Deserialize;
use std::path::Path;
use std::process::Command;

#[derive(Debug, Deserialize)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) manifest_path: String,
    pub(super) dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    /// `dev` or `build`; a normal dependency has none.
    pub(super) kind: Option<String>,
    /// Only members of the workspace are found by path.
    pub(super) path: Option<String>,
    #[serde(default)]
    pub(super) uses_default_features: bool,
    #[serde(default)]
    pub(super) features: Vec<String>,
}

impl Dependency {
    pub(super) fn is_ours(&self) -> bool {
        self.path.is_some()
    }

    pub(super) fn is_for_tests(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

pub(super) fn read(root: &Path) -> Result<Vec<Package>, Problem> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root)
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(serde_json::from_slice::<Metadata>(&output.stdout)?.packages)
}

#[cfg(test)]
pub(super) fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
    let dependency = |(name, kind): &(&str, Option<&str>)| Dependency {
        name: (*name).into(),
        kind: kind.map(Into::into),
        path: Some("/here".into()),
        uses_default_features: true,
        features: Vec::new(),
    };
    Package {
        name: name.into(),
        manifest_path: format!("/repo/crates/{name}/Cargo.toml"),
        dependencies: dependencies.iter().map(dependency).collect(),
    }
}
