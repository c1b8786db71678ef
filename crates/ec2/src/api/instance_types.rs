//! `DescribeInstanceTypes`.
//!
//! What is shown of a type is what we have a fact for; the rest is left out. A filter
//! on what is left out is refused, because no answer to it would be true.

use super::filters::{Field, Filters, each, one};
use super::listing::{Listing, Pages};
use super::text;
use crate::error::Error;
use crate::instance_types::{InstanceType, Platform, all};
use chassis::Cx;
use wire::ec2 as shapes;

/// Shows instance types. All are taken to be in every region, so that
/// `IncludeUnsupportedInRegion` adds none.
pub(super) fn describe(
    cx: &Cx,
    request: shapes::DescribeInstanceTypesRequest,
) -> Result<shapes::DescribeInstanceTypesResult, Error> {
    for filter in request.filters.iter().flatten() {
        let name = filter.name.as_deref();
        if let Some(unknown) = UNKNOWN.iter().find(|unknown| name == Some(unknown)) {
            return Err(Error::Unsupported(unknown));
        }
    }
    let filters = Filters::parse(request.filters, FIELDS, |_| None)?;
    let pages = Pages { max_results: request.max_results, next_token: request.next_token };
    let listing = Listing::parse(
        cx.scope(),
        "DescribeInstanceTypes",
        request.instance_types,
        filters,
        &pages,
    )?;

    let shown = all().iter().map(show);
    let page = listing.page(shown, |kind| kind.instance_type.as_ref(), Error::NoInstanceType)?;
    Ok(shapes::DescribeInstanceTypesResult {
        instance_types: Some(page.items),
        next_token: page.next_token,
    })
}

type Info = shapes::InstanceTypeInfo;

fn network<T: ToString>(
    kind: &Info,
    value: impl Fn(&shapes::NetworkInfo) -> Option<&T>,
) -> Vec<String> {
    one(kind.network_info.as_ref().and_then(value))
}

fn vcpus<T: ToString>(kind: &Info, value: impl Fn(&shapes::VCpuInfo) -> Option<&T>) -> Vec<String> {
    one(kind.v_cpu_info.as_ref().and_then(value))
}

const FIELDS: &[Field<Info>] = &[
    Field(&["bare-metal"], |kind| one(kind.bare_metal.as_ref())),
    Field(&["burstable-performance-supported"], |kind| {
        one(kind.burstable_performance_supported.as_ref())
    }),
    Field(&["current-generation"], |kind| one(kind.current_generation.as_ref())),
    Field(&["hypervisor"], |kind| one(kind.hypervisor.as_ref())),
    Field(&["instance-storage-supported"], |kind| one(kind.instance_storage_supported.as_ref())),
    Field(&["instance-type"], |kind| one(kind.instance_type.as_ref())),
    Field(&["memory-info.size-in-mib"], |kind| {
        one(kind.memory_info.as_ref().and_then(|memory| memory.size_in_mi_b.as_ref()))
    }),
    Field(&["network-info.ipv4-addresses-per-interface"], |kind| {
        network(kind, |network| network.ipv4_addresses_per_interface.as_ref())
    }),
    Field(&["network-info.maximum-network-cards"], |kind| {
        network(kind, |network| network.maximum_network_cards.as_ref())
    }),
    Field(&["network-info.maximum-network-interfaces"], |kind| {
        network(kind, |network| network.maximum_network_interfaces.as_ref())
    }),
    Field(&["processor-info.supported-architecture"], |kind| {
        let processor = kind.processor_info.as_ref();
        each(processor.and_then(|it| it.supported_architectures.as_ref()), |it| Some(it.clone()))
    }),
    Field(&["vcpu-info.default-cores"], |kind| vcpus(kind, |vcpus| vcpus.default_cores.as_ref())),
    Field(&["vcpu-info.default-threads-per-core"], |kind| {
        vcpus(kind, |vcpus| vcpus.default_threads_per_core.as_ref())
    }),
    Field(&["vcpu-info.default-vcpus"], |kind| vcpus(kind, |vcpus| vcpus.default_v_cpus.as_ref())),
];

/// The filters on what we have no facts for.
const UNKNOWN: &[&str] = &[
    "auto-recovery-supported",
    "dedicated-hosts-supported",
    "ebs-info.attachment-limit-type",
    "ebs-info.ebs-optimized-info.baseline-bandwidth-in-mbps",
    "ebs-info.ebs-optimized-info.baseline-iops",
    "ebs-info.ebs-optimized-info.baseline-throughput-in-mbps",
    "ebs-info.ebs-optimized-info.maximum-bandwidth-in-mbps",
    "ebs-info.ebs-optimized-info.maximum-iops",
    "ebs-info.ebs-optimized-info.maximum-throughput-in-mbps",
    "ebs-info.ebs-optimized-support",
    "ebs-info.encryption-support",
    "ebs-info.maximum-ebs-attachments",
    "ebs-info.nvme-support",
    "free-tier-eligible",
    "hibernation-supported",
    "instance-storage-info.disk.count",
    "instance-storage-info.disk.size-in-gb",
    "instance-storage-info.disk.type",
    "instance-storage-info.encryption-support",
    "instance-storage-info.nvme-support",
    "instance-storage-info.total-size-in-gb",
    "network-info.bandwidth-weightings",
    "network-info.efa-info.maximum-efa-interfaces",
    "network-info.efa-supported",
    "network-info.ena-support",
    "network-info.encryption-in-transit-supported",
    "network-info.flexible-ena-queues-support",
    "network-info.ipv6-addresses-per-interface",
    "network-info.ipv6-supported",
    "network-info.network-performance",
    "nitro-enclaves-support",
    "nitro-tpm-info.supported-versions",
    "nitro-tpm-support",
    "processor-info.supported-features",
    "processor-info.sustained-clock-speed-in-ghz",
    "reboot-migration-support",
    "supported-boot-mode",
    "supported-root-device-type",
    "supported-usage-class",
    "supported-virtualization-type",
    "vcpu-info.valid-cores",
    "vcpu-info.valid-threads-per-core",
];

fn show(kind: &InstanceType) -> Info {
    let narrow = |number: u32| i32::try_from(number).ok();
    let threads = || kind.vcpus?.checked_div(kind.cores?);
    let known = !kind.architectures.is_empty();
    Info {
        bare_metal: Some(kind.platform == Platform::Metal),
        burstable_performance_supported: kind.traits.map(|traits| traits.burstable),
        current_generation: kind.traits.map(|traits| traits.current),
        hypervisor: match kind.platform {
            Platform::Nitro => text("nitro"),
            Platform::Xen => text("xen"),
            Platform::Metal => None,
        },
        instance_storage_supported: kind.traits.map(|traits| traits.instance_storage),
        instance_type: text(kind.name),
        memory_info: kind
            .memory_mib
            .map(|memory| shapes::MemoryInfo { size_in_mi_b: i64::try_from(memory).ok() }),
        network_info: Some(shapes::NetworkInfo {
            ipv4_addresses_per_interface: narrow(kind.ipv4_per_interface),
            maximum_network_cards: narrow(kind.cards),
            maximum_network_interfaces: narrow(kind.interfaces),
            ..Default::default()
        }),
        processor_info: known.then(|| shapes::ProcessorInfo {
            manufacturer: kind.manufacturer.map(str::to_owned),
            supported_architectures: Some(
                kind.architectures.iter().map(ToString::to_string).collect(),
            ),
            ..Default::default()
        }),
        v_cpu_info: kind.vcpus.map(|vcpus| shapes::VCpuInfo {
            default_cores: kind.cores.and_then(narrow),
            default_threads_per_core: threads().and_then(narrow),
            default_v_cpus: narrow(vcpus),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::api::tests::{all, ask, only};
    use crate::testing::World;

    fn names(form: &[(&str, &str)]) -> Vec<String> {
        let xml = ask(&World::new(), "DescribeInstanceTypes", form).expect("shown");
        all(&xml, "instanceType").into_iter().map(str::to_owned).collect()
    }

    fn refusal(form: &[(&str, &str)]) -> String {
        let fault = ask(&World::new(), "DescribeInstanceTypes", form).expect_err("refused");
        format!("{}: {}", fault.code, fault.message)
    }

    #[test]
    fn a_type_is_shown_with_what_we_know_of_it() {
        let ask = |name| {
            ask(&World::new(), "DescribeInstanceTypes", &[("InstanceType.1", name)]).expect("shown")
        };
        let xml = ask("m5.large");
        for (field, value) in [
            ("instanceType", "m5.large"),
            ("maximumNetworkInterfaces", "3"),
            ("ipv4AddressesPerInterface", "10"),
            ("defaultVCpus", "2"),
            ("defaultCores", "1"),
            ("defaultThreadsPerCore", "2"),
            ("sizeInMiB", "8192"),
            ("hypervisor", "nitro"),
            ("bareMetal", "false"),
        ] {
            assert_eq!(only(&xml, field), value, "{field}");
        }
        let metal = ask("i3.metal");
        assert_eq!(only(&metal, "bareMetal"), "true");
        for unknown in ["hypervisor", "vCpuInfo", "memoryInfo", "processorInfo"] {
            assert!(!metal.contains(unknown), "{metal}");
        }
    }

    #[test]
    fn filters_choose_among_what_is_shown() {
        let two = [("Filter.1.Name", "instance-type"), ("Filter.1.Value.1", "m5.?large")];
        assert_eq!(names(&two), ["m5.xlarge"]);
        let small = [
            ("Filter.1.Name", "instance-type"),
            ("Filter.1.Value.1", "m5*"),
            ("Filter.2.Name", "vcpu-info.default-vcpus"),
            ("Filter.2.Value.1", "2"),
            ("Filter.3.Name", "instance-storage-supported"),
            ("Filter.3.Value.1", "false"),
            ("Filter.4.Name", "processor-info.supported-architecture"),
            ("Filter.4.Value.1", "x86_64"),
        ];
        assert_eq!(names(&small), ["m5.large", "m5a.large", "m5n.large", "m5zn.large"]);
        let nothing = [("Filter.1.Name", "memory-info.size-in-mib"), ("Filter.1.Value.1", "1")];
        assert_eq!(names(&nothing), Vec::<String>::new());
        let usage = [("Filter.1.Name", "supported-usage-class"), ("Filter.1.Value.1", "spot")];
        assert_eq!(
            refusal(&usage),
            "UnsupportedOperation: Landfall does not support supported-usage-class yet."
        );
    }

    #[test]
    fn what_is_no_type_is_named() {
        let form = [("InstanceType.1", "m5.large"), ("InstanceType.2", "laptop")];
        assert_eq!(
            refusal(&form),
            "InvalidInstanceType: The following supplied instance types do not exist: [laptop]"
        );
    }

    #[test]
    fn pages_show_each_type_once() {
        let world = World::new();
        let (mut seen, mut token) = (Vec::new(), None);
        loop {
            let mut form = vec![("MaxResults", "100")];
            form.extend(token.as_deref().map(|token| ("NextToken", token)));
            let xml = ask(&world, "DescribeInstanceTypes", &form).expect("a page");
            seen.extend(all(&xml, "instanceType").into_iter().map(str::to_owned));
            token = all(&xml, "nextToken").first().map(|token| (*token).to_owned());
            if token.is_none() {
                break;
            }
        }
        let known: Vec<_> = crate::instance_types::all().iter().map(|kind| kind.name).collect();
        assert_eq!(seen, known);
    }
}
