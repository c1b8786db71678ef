//! Amazon's instance types: what each of them has.
//!
//! Nobody launches one here. But a machine may say that it is one, and is then held
//! to what that type has, so that what fails there fails here.

use std::sync::LazyLock;

/// One type a line, sorted by name, with a column for each field of [`InstanceType`]
/// in their order. An empty column is a fact that we do not have.
const TABLE: &str = include_str!("instance_types.tsv");

/// What an instance of some type has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceType {
    /// Its name, such as `m5.large`.
    pub name: &'static str,
    /// How many network interfaces can be attached, the primary one among them.
    pub interfaces: u32,
    /// How many IPv4 addresses each of them can have.
    pub ipv4_per_interface: u32,
    /// How many branch interfaces a trunk interface carries; 0 if there can be no
    /// trunk.
    pub branches: u32,
    /// How many network cards it has.
    pub cards: u32,
    /// What it runs under.
    pub platform: Platform,
    /// Virtual CPUs.
    pub vcpus: Option<u32>,
    /// Cores that they are threads of.
    pub cores: Option<u32>,
    /// Memory in MiB.
    pub memory_mib: Option<u64>,
    /// The architectures of programs that it runs, in EC2's words.
    pub architectures: Vec<&'static str>,
    /// Who makes its processors.
    pub manufacturer: Option<&'static str>,
    /// Whether its CPU performance comes in bursts, whether it is of the current
    /// generation, and whether it has disks of its own.
    pub traits: Option<Traits>,
}

/// What an instance runs under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Platform {
    Nitro,
    Xen,
    /// Nothing: the machine is the instance.
    Metal,
}

/// What can be said of a type with yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Traits {
    pub burstable: bool,
    pub current: bool,
    pub instance_storage: bool,
}

static TYPES: LazyLock<Vec<InstanceType>> = LazyLock::new(|| {
    let types: Vec<InstanceType> = TABLE.lines().filter_map(parse).collect();
    debug_assert_eq!(types.len(), TABLE.lines().count(), "every line is sound");
    types
});

/// All types that we know, sorted by name.
pub fn all() -> &'static [InstanceType] {
    &TYPES
}

/// The type of this name, if we know it.
pub fn find(name: &str) -> Option<&'static InstanceType> {
    let at = TYPES.binary_search_by(|known| known.name.cmp(name)).ok()?;
    TYPES.get(at)
}

fn parse(line: &'static str) -> Option<InstanceType> {
    let columns: Vec<&'static str> = line.split('\t').collect();
    let &[
        name,
        interfaces,
        ipv4,
        branches,
        cards,
        platform,
        vcpus,
        cores,
        memory,
        architectures,
        manufacturer,
        traits,
    ] = columns.as_slice()
    else {
        return None;
    };
    let known = !manufacturer.is_empty();
    Some(InstanceType {
        name,
        interfaces: interfaces.parse().ok()?,
        ipv4_per_interface: ipv4.parse().ok()?,
        branches: branches.parse().ok()?,
        cards: cards.parse().ok()?,
        platform: match platform {
            "nitro" => Platform::Nitro,
            "xen" => Platform::Xen,
            "metal" => Platform::Metal,
            _ => return None,
        },
        vcpus: vcpus.parse().ok(),
        cores: cores.parse().ok(),
        memory_mib: memory.parse().ok(),
        architectures: architectures.split(',').filter(|name| !name.is_empty()).collect(),
        manufacturer: known.then_some(manufacturer),
        traits: known.then(|| Traits {
            burstable: traits.contains('b'),
            current: traits.contains('c'),
            instance_storage: traits.contains('s'),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_found_by_its_name() {
        let large = find("m5.large").expect("known");
        assert_eq!((large.interfaces, large.ipv4_per_interface, large.branches), (3, 10, 9));
        assert_eq!((large.vcpus, large.memory_mib), (Some(2), Some(8192)));
        assert_eq!((large.platform, &large.architectures[..]), (Platform::Nitro, &["x86_64"][..]));
        assert_eq!(find("laptop"), None);
        let unknown = find("f1.2xlarge").expect("known");
        assert_eq!((unknown.interfaces, unknown.vcpus, unknown.traits), (4, None, None));
    }

    #[test]
    fn every_line_is_sound() {
        for line in TABLE.lines() {
            let known = parse(line).unwrap_or_else(|| panic!("not a type: {line}"));
            assert!(known.interfaces > 1 && known.ipv4_per_interface > 0, "{line}");
            assert!(known.cards > 0 && known.vcpus.is_none_or(|vcpus| vcpus > 0), "{line}");
        }
        assert!(all().is_sorted_by(|a, b| a.name < b.name), "names are searched for by halving");
    }
}
