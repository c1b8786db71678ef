//! Fetching the models: what botocore knows, less its prose, less what we do
//! not serve.
//!
//! botocore is where AWS publishes its models first and completely, and pip is
//! how it is distributed, so pip fetches it. This is the one chore that needs
//! the network, and nobody has to run it but who adds an operation.

use super::model::{self, Model};
use crate::Problem;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;
use std::process::Command;

/// The models are those of this release; see `models/README.md`.
const BOTOCORE: &str = "1.44.5";

/// Services whose models come from botocore, with the version of their API.
const SERVICES: [(&str, &str); 4] =
    [("ec2", "2016-11-15"), ("ecs", "2014-11-13"), ("iam", "2010-05-08"), ("sts", "2011-06-15")];

/// Members that the official agent sends and botocore's model lacks: service, shape,
/// member, and the shape that the member has.
const UNPUBLISHED: [(&str, &str, &str, &str); 1] =
    [("ecs", "RegisterContainerInstanceRequest", "clientToken", "String")];

/// Rewrites `models/<service>.json` for every service of AWS.
pub(crate) fn fetch(root: &Path) -> Result<(), Problem> {
    let unpacked = root.join("target/botocore").join(BOTOCORE);
    if !unpacked.exists() {
        download(&unpacked)?;
    }
    for (service, version) in SERVICES {
        let data = unpacked.join("botocore/data").join(service).join(version);
        let whole: Model = serde_json::from_slice(&read(&data)?)?;
        let mut part = reduce(whole, &model::served(root, service)?)?;
        add_unpublished(&mut part, service)?;
        let mut text = serde_json::to_string_pretty(&part)?;
        text.push('\n');
        std::fs::write(root.join(format!("models/{service}.json")), text)?;
        println!("models/{service}.json: {} shapes", part.shapes.len());
    }
    Ok(())
}

fn download(into: &Path) -> Result<(), Problem> {
    let status = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target"])
        .arg(into)
        .arg(format!("botocore=={BOTOCORE}"))
        .status()?;
    if status.success() { Ok(()) } else { Err(format!("pip failed: {status}").into()) }
}

/// The model in `directory`; botocore keeps it compressed since 1.32.
fn read(directory: &Path) -> Result<Vec<u8>, Problem> {
    let plain = directory.join("service-2.json");
    if plain.exists() {
        return Ok(std::fs::read(plain)?);
    }
    let packed = std::fs::File::open(directory.join("service-2.json.gz"))?;
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut text)?;
    Ok(text)
}

/// `whole` without the operations we do not serve, and the shapes only they use.
fn reduce(mut whole: Model, served: &[model::Served]) -> Result<Model, Problem> {
    let wanted: BTreeSet<&str> = served.iter().map(|one| one.name.as_str()).collect();
    if let Some(unknown) = wanted.iter().find(|name| !whole.operations.contains_key(**name)) {
        return Err(format!("there is no operation {unknown}").into());
    }
    let (kept, dropped): (Vec<_>, Vec<_>) =
        whole.operations.into_iter().partition(|(name, _)| wanted.contains(name.as_str()));
    whole.operations = kept.into_iter().collect();
    whole.unserved = dropped.into_iter().map(|(name, _)| name).collect();
    let reachable = whole.closure(whole.operations.values().flat_map(|operation| {
        let ends = operation.input.iter().chain(&operation.output);
        ends.chain(&operation.errors).map(|reference| reference.shape.as_str())
    }))?;
    whole.shapes.retain(|name, _| reachable.contains(name));
    Ok(whole)
}

/// Gives the shapes of `service` what [`UNPUBLISHED`] has for them.
fn add_unpublished(model: &mut Model, service: &str) -> Result<(), Problem> {
    for (_, shape, member, of) in UNPUBLISHED.iter().filter(|one| one.0 == service) {
        let known = model.shapes.get_mut(*shape).ok_or_else(|| format!("no shape {shape}"))?;
        let reference = model::Reference { shape: (*of).to_owned(), ..Default::default() };
        if known.members.insert((*member).to_owned(), reference).is_some() {
            return Err(format!("botocore has {shape}.{member} by now").into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unserved_operations_leave_their_names_only() {
        let whole = || -> Model {
            serde_json::from_str(
                r#"{"metadata": {"apiVersion": "1", "protocol": "json"},
                    "operations": {"Go": {"input": {"shape": "In"}}, "Stay": {"input": {"shape": "No"}}},
                    "shapes": {"In": {"type": "structure"}, "No": {"type": "structure"}}}"#,
            )
            .expect("a model")
        };
        let served = |name: &str| vec![model::Served { name: name.into(), client: false }];
        let part = reduce(whole(), &served("Go")).expect("reduced");
        assert_eq!(part.unserved, ["Stay"]);
        assert_eq!(part.shapes.keys().collect::<Vec<_>>(), ["In"]);
        assert!(reduce(whole(), &served("Fly")).is_err(), "a typing error is found");
    }
}
