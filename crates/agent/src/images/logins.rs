//! Logins that the machine has for registries, in a file as `docker login` writes it and
//! as the official agent takes it (`ECS_ENGINE_AUTH_DATA` of the type `dockercfg`):
//! `{"auths": {"HOST:PORT": {"auth": "base64 of NAME:PASSWORD"}}}`, or with `username` and
//! `password` instead (its type `docker`).
//!
//! It is read for each pull, so that a password may change, as those of cloud registries
//! do every few hours. Programs that keep passwords elsewhere (`credHelpers`,
//! `credsStore`) are not asked, and identity tokens not exchanged.

use super::trouble::PullError;
use crate::engine::RegistryLogin;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default, with = "wire::blob")]
    auth: Option<Vec<u8>>,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

impl Entry {
    fn login(self) -> io::Result<RegistryLogin> {
        let Some(auth) = self.auth.filter(|auth| !auth.is_empty()) else {
            let Self { username, password, .. } = self;
            let is_none = username.is_empty() && password.is_empty();
            let login = RegistryLogin::Basic { username, password };
            return Ok(if is_none { RegistryLogin::Anonymous } else { login });
        };
        let text = String::from_utf8(auth).ok();
        let parts = text.as_ref().and_then(|text| text.split_once(':'));
        let (username, password) =
            parts.ok_or_else(|| io::Error::other("a login is not NAME:PASSWORD in base64"))?;
        Ok(RegistryLogin::Basic { username: username.into(), password: password.into() })
    }
}

/// The login that a file has for this registry, named as references name it.
pub(super) fn of(path: &Path, registry: &str) -> Result<RegistryLogin, PullError> {
    let read = || {
        // What the parser complains of may quote a password, so only the place is told.
        let bad = |error: serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            io::Error::other(format!("line {line}, column {column} is not as Docker writes it"))
        };
        let file: File = serde_json::from_slice(&fs::read(path)?).map_err(bad)?;
        let entry = file.auths.into_iter().find(|(name, _)| host(name) == host(registry));
        entry.map_or(Ok(RegistryLogin::Anonymous), |(_, entry)| entry.login())
    };
    read().map_err(|problem| PullError::Logins { path: path.to_owned(), problem })
}

/// Whom a name means, which may be that of an address too; Docker Hub has several.
fn host(name: &str) -> &str {
    let name = name.split_once("://").map_or(name, |(_, rest)| rest);
    match name.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_found_as_docker_finds_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("config.json");
        let file = serde_json::json!({
            "auths": {
                "https://index.docker.io/v1/": { "auth": "aHViOmE6Yg==" },
                "r.example:5000": { "username": "u", "password": "p", "email": "" },
                "http://plain.example": { "auth": "eDp5" },
                "helped.example": {},
            },
            "credHelpers": { "helped.example": "pass" },
        });
        fs::write(&path, file.to_string()).expect("written");
        let found = |registry: &str| match of(&path, registry).expect("readable") {
            RegistryLogin::Anonymous => None,
            RegistryLogin::Basic { username, password } => Some(format!("{username} {password}")),
        };
        assert_eq!(found("docker.io").as_deref(), Some("hub a:b"));
        assert_eq!(found("r.example:5000").as_deref(), Some("u p"));
        assert_eq!(found("plain.example").as_deref(), Some("x y"));
        for nobodys in ["r.example", "example:5000", "helped.example", "v1"] {
            assert_eq!(found(nobodys), None, "{nobodys}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_without_its_passwords() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("config.json");
        let told = || crate::error::chain(&of(&path, "r").expect_err("unreadable"));
        assert!(told().contains("config.json cannot be used: No such file"), "{}", told());
        for bad in [r#"{"auths": "secret"}"#, r#"{"auths": {"r": {"auth": "c2VjcmV0"}}}"#] {
            fs::write(&path, bad).expect("written");
            assert!(told().contains("config.json cannot be used: "), "{}", told());
            assert!(!told().contains("secret"), "{}", told());
        }
    }
}
