//! The layers of the workspace: who may depend on whom.
//!
//! The table is the architecture; a crate that is not in it has no place yet.

use super::Finding;
use super::metadata::Package;

/// Each crate with what it may depend on, from the bottom up.
const LAYERS: &[(&str, &[&str])] = &[
    ("ident", &[]),
    ("wire", &["ident"]),
    ("net", &["ident"]),
    ("nfnl", &[]),
    ("bpf", &[]),
    ("sched", &["ident"]),
    ("store", &["ident"]),
    ("store-sqlite", &["ident", "store"]),
    ("chassis", &["ident", "wire", "store"]),
    ("iam", &["ident", "wire", "store", "chassis"]),
    ("ec2", &["ident", "wire", "store", "chassis", "net"]),
    ("ecs", &["ident", "wire", "store", "chassis", "net", "sched", "iam", "ec2"]),
    ("agent", &["ident", "wire", "bpf"]),
    ("card", &["ident", "net", "nfnl", "bpf"]),
    (
        "sim",
        &[
            "ident", "wire", "net", "sched", "store", "chassis", "iam", "ec2", "ecs", "agent",
            "card",
        ],
    ),
    (
        "landfall",
        &[
            "ident",
            "wire",
            "net",
            "sched",
            "store",
            "store-sqlite",
            "chassis",
            "iam",
            "ec2",
            "ecs",
            "agent",
            "card",
        ],
    ),
    ("xtask", &[]),
];

/// Crates that tests of a node program must not see either: what the two share
/// they share through the kernel, and the control plane only over the wire.
const APART: &[(&str, &[&str])] = &[
    ("agent", &["card", "chassis", "iam", "ec2", "ecs", "store", "sched"]),
    ("card", &["agent", "chassis", "iam", "ec2", "ecs", "store", "sched"]),
];

pub(super) fn check(packages: &[Package]) -> Vec<Finding> {
    packages.iter().flat_map(check_one).collect()
}

fn check_one(package: &Package) -> Vec<Finding> {
    let name = package.name.as_str();
    let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
        let problem = "is in no layer; a new crate needs an ADR and a line in the table";
        return vec![Finding::new(name, problem)];
    };
    let apart = APART.iter().find(|(node, _)| *node == name).map_or(&[][..], |(_, others)| others);
    let ours = package.dependencies.iter().filter(|dependency| dependency.is_ours());
    let wrong = ours.filter(|dependency| {
        let other = dependency.name.as_str();
        if dependency.is_for_tests() { apart.contains(&other) } else { !allowed.contains(&other) }
    });
    let problem = |other: &str| format!("must not depend on {other}: the layers forbid it");
    wrong.map(|dependency| Finding::new(name, problem(&dependency.name))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::metadata::package;
    use super::*;

    #[test]
    fn dependencies_point_down() {
        for (name, dependencies, sound) in [
            ("wire", &[("ident", None)][..], true),
            ("ident", &[("wire", None)], false),
            ("ec2", &[("net", None), ("chassis", None)], true),
            ("ec2", &[("ecs", None)], false),
            ("ec2", &[("iam", None)], false),
            ("net", &[("sched", Some("build"))], false),
            ("net", &[("sched", Some("dev"))], true),
            ("agent", &[("card", Some("dev"))], false),
            ("card", &[("ecs", Some("dev"))], false),
            ("sim", &[("store-sqlite", None)], false),
            ("landfall", &[("store-sqlite", None)], true),
            ("landfall", &[("sim", None)], false),
            ("gadget", &[], false),
        ] {
            let findings = check(&[package(name, dependencies)]);
            assert_eq!(findings.is_empty(), sound, "{name} {dependencies:?}: {findings:?}");
        }
    }

    #[test]
    fn the_table_is_a_ladder() {
        for (at, (name, allowed)) in LAYERS.iter().enumerate() {
            for other in *allowed {
                let below = LAYERS.iter().take(at).any(|(layer, _)| layer == other);
                assert!(below, "{name} may depend on {other}, which is not below it");
            }
        }
    }
}
