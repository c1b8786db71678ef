//! From service models to the Rust of `crates/wire`.
//!
//! The output is committed, so that a build needs no generator and a change of
//! it can be reviewed; `--check` fails when it is not what would be generated.
//! Each part of the output has its module here: the structs and enumerations
//! ([`shapes`]), the tables that drive checking and XML ([`schema`]), the trait
//! and its dispatch ([`api`]), the frames of the agent protocol ([`frames`]).

mod api;
mod frames;
pub(crate) mod model;
pub(crate) mod models;
mod names;
mod schema;
mod shapes;

use crate::Problem;
use model::Model;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Services that answer requests.
const SERVICES: [&str; 5] = ["ec2", "ecs", "iam", "landfall", "sts"];
/// Protocols of frames over a websocket.
const FRAMES: [&str; 2] = ["acs", "tcs"];

/// Which ways a shape travels, and so which of serde's traits it derives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ways {
    read: bool,
    written: bool,
}

/// Generates, and writes what differs.
pub(crate) fn write(root: &Path) -> Result<(), Problem> {
    for (path, text) in generate(root)? {
        if std::fs::read_to_string(&path).ok().as_deref() == Some(&text) {
            continue;
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, text)?;
        println!("{}", path.strip_prefix(root).unwrap_or(&path).display());
    }
    Ok(())
}

/// Generates, and fails if anything differs.
pub(crate) fn check(root: &Path) -> Result<(), Problem> {
    let stale = stale(root)?;
    if stale.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = stale.iter().map(|path| path.display().to_string()).collect();
    Err(format!("not as generated, run `cargo xtask codegen`:\n  {}", names.join("\n  ")).into())
}

/// The committed files that are not as they would be generated.
pub(crate) fn stale(root: &Path) -> Result<Vec<PathBuf>, Problem> {
    let differs = |(path, text): &(PathBuf, String)| {
        std::fs::read_to_string(path).ok().as_ref() != Some(text)
    };
    let paths = generate(root)?.into_iter().filter(differs).map(|(path, _)| path);
    Ok(paths.map(|path| path.strip_prefix(root).map(Path::to_path_buf).unwrap_or(path)).collect())
}

/// Every generated file with its text.
fn generate(root: &Path) -> Result<Vec<(PathBuf, String)>, Problem> {
    let mut files = Vec::new();
    for name in SERVICES {
        let model = Model::read(root, name)?.completed();
        let service = Service { name, model: &model, served: &model::served(root, name)? };
        files.push((format!("{name}/generated.rs"), service.main()?));
        files.push((format!("{name}/generated_schema.rs"), schema::file(&service)?));
    }
    for name in FRAMES {
        files
            .push((format!("{name}/generated.rs"), frames::file(name, &Model::read(root, name)?)?));
    }
    let directory = root.join("crates/wire/src");
    let format = |(name, text): (String, String)| Ok((directory.join(name), rustfmt(root, &text)?));
    files.into_iter().map(format).collect()
}

/// A service under generation.
struct Service<'a> {
    name: &'a str,
    model: &'a Model,
    served: &'a [model::Served],
}

impl Service<'_> {
    fn main(&self) -> Result<String, Problem> {
        for served in self.served {
            self.operation(&served.name)?;
        }
        let mut text = String::from(HEADER);
        // AWS's names are what they are, and its prose stays at AWS.
        text.push_str(
            "#![allow(missing_docs, clippy::struct_field_names, clippy::too_many_lines)]\n\n",
        );
        text.push_str(&api::generate(self)?);
        text.push_str(&shapes::generate(self.model, &self.ways()?, json_case(self.model))?);
        Ok(text)
    }

    fn operation(&self, name: &str) -> Result<&model::Operation, Problem> {
        let found = self.model.operations.get(name);
        found.ok_or_else(|| format!("{}.json lacks {name}: fetch the models", self.name).into())
    }

    fn input(&self, name: &str) -> Result<&str, Problem> {
        let input = self.operation(name)?.input.as_ref();
        input.map(|r| r.shape.as_str()).ok_or_else(|| format!("{name} takes nothing").into())
    }

    fn output(&self, name: &str) -> Result<&str, Problem> {
        let output = self.operation(name)?.output.as_ref();
        output.map(|r| r.shape.as_str()).ok_or_else(|| format!("{name} answers nothing").into())
    }

    /// Every shape that is in use, and the ways it travels: requests are read
    /// and answers written, but it is the other way round where we are the
    /// client.
    fn ways(&self) -> Result<BTreeMap<String, Ways>, Problem> {
        let mut ways = BTreeMap::<String, Ways>::new();
        for served in self.served {
            for shape in self.model.closure([self.input(&served.name)?])? {
                let way = ways.entry(shape).or_default();
                way.read = true;
                way.written |= served.client;
            }
            for shape in self.model.closure([self.output(&served.name)?])? {
                let way = ways.entry(shape).or_default();
                way.written = true;
                way.read |= served.client;
            }
        }
        Ok(ways)
    }

    /// The shapes that requests are made of.
    fn inputs(&self) -> Result<BTreeSet<String>, Problem> {
        let names: Result<Vec<&str>, Problem> =
            self.served.iter().map(|served| self.input(&served.name)).collect();
        self.model.closure(names?)
    }
}

const HEADER: &str = "// Generated by `cargo xtask codegen` from `models/`; do not edit.\n\n";

/// Members are `camelCase` in the JSON services and `PascalCase` in the others.
fn json_case(model: &Model) -> names::Case {
    match model.metadata.protocol.as_str() {
        "json" => names::Case::Camel,
        _ => names::Case::Pascal,
    }
}

fn rustfmt(root: &Path, text: &str) -> Result<String, Problem> {
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--emit", "stdout", "--quiet", "--config-path"])
        .arg(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    // rustfmt reads everything before it writes anything, so this cannot lock up.
    child.stdin.take().ok_or("no stdin")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err("rustfmt refused the generated code".into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
