//! Who has which address of the bridge and which ports of the machine.

use crate::engine::{Attachment, Binding, PortMapping, Protocol, TaskSpec};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// The length of the bridge's block: room for 65,533 containers.
pub(super) const LENGTH: u8 = 16;

/// The blocks that a bridge may have, in the order they are tried: Docker's, which
/// people expect, but for that of the default VPC.
const BLOCKS: std::ops::RangeInclusive<u8> = 17..=30;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Book {
    /// The first address of the block.
    network: Ipv4Addr,
    /// Whether the machine forwards packets only for us.
    pub(super) forwards: bool,
    /// The address given last, and the port. What is free again is given again as
    /// late as can be.
    last_address: u16,
    last_port: u16,
    /// By the short ids of tasks, and the positions of their containers.
    tasks: BTreeMap<String, BTreeMap<usize, Attachment>>,
}

/// A block of addresses: the first, and how many bits they share.
pub(super) type Block = (Ipv4Addr, u8);

impl Book {
    /// A book with nothing in it, if there is a block that the machine does not use.
    pub(super) fn new(used: &[Block]) -> Option<Self> {
        let candidates = BLOCKS.map(|second| Ipv4Addr::new(172, second, 0, 0));
        let overlap = |a: Block, b: Block| {
            let bits = u32::from(a.1.min(b.1)).min(32);
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            // The default route is for what is nowhere else.
            bits > 0 && u32::from(a.0) & mask == u32::from(b.0) & mask
        };
        let mut free = candidates
            .filter(|network| !used.iter().any(|block| overlap(*block, (*network, LENGTH))));
        let network = free.next()?;
        let tasks = BTreeMap::new();
        Some(Self { network, forwards: false, last_address: 1, last_port: 0, tasks })
    }

    /// The bridge's own address.
    pub(super) fn gateway(&self) -> Ipv4Addr {
        self.address(1)
    }

    fn address(&self, host: u16) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network) | u32::from(host))
    }

    /// The tasks that have anything.
    pub(super) fn tasks(&self) -> BTreeSet<String> {
        self.tasks.keys().cloned().collect()
    }

    /// What a task has.
    pub(super) fn of(&self, short_id: &str) -> Option<&BTreeMap<usize, Attachment>> {
        self.tasks.get(short_id)
    }

    /// Gives the containers of a task addresses and ports. `range` are the ports that
    /// may be given to who wants any, and `take` takes one from the machine, if it
    /// is free. A text is for the task's owner; what was taken by then is the
    /// caller's to give back.
    pub(super) fn attach(
        &mut self,
        task: &TaskSpec,
        range: (u16, u16),
        take: &mut impl FnMut(Protocol, u16) -> bool,
    ) -> Result<BTreeMap<usize, Attachment>, String> {
        let mut changed = self.clone();
        let mut given = BTreeMap::new();
        for (index, container) in task.containers.iter().enumerate() {
            if !task.is_bridged(container) {
                continue;
            }
            let ipv4 = changed.next_address(&given).ok_or("the bridge has no address left")?;
            let bindings = container.ports.iter().map(|it| changed.next_ports(it, range, take));
            let bindings = bindings.collect::<Result<_, _>>()?;
            let gateway = Some(changed.gateway());
            given.insert(index, Attachment { ipv4, gateway, bindings });
        }
        changed.tasks.insert(task.arn.short_id(), given.clone());
        *self = changed;
        Ok(given)
    }

    /// Notes which bindings of a task have their ports by IPv6 too: those of which `take`
    /// takes all.
    pub(super) fn add_ipv6(
        &mut self,
        short_id: &str,
        take: &mut impl FnMut(Protocol, u16) -> bool,
    ) -> BTreeMap<usize, Attachment> {
        let Some(given) = self.tasks.get_mut(short_id) else { return BTreeMap::new() };
        for binding in given.values_mut().flat_map(|at| &mut at.bindings) {
            let (first, last) = binding.host;
            binding.ipv6 = (first..=last).all(|port| take(binding.protocol, port));
        }
        given.clone()
    }

    /// Takes everything back from a task.
    pub(super) fn detach(&mut self, short_id: &str) -> Option<BTreeMap<usize, Attachment>> {
        self.tasks.remove(short_id)
    }

    fn next_address(&mut self, given: &BTreeMap<usize, Attachment>) -> Option<Ipv4Addr> {
        let all = self.tasks.values().flat_map(BTreeMap::values).chain(given.values());
        let used: BTreeSet<Ipv4Addr> = all.map(|at| at.ipv4).collect();
        // The first address is the bridge's; the last is everybody's.
        let later = self.last_address.saturating_add(1)..u16::MAX;
        let mut hosts = later.chain(2..=self.last_address);
        let free = hosts.find(|host| !used.contains(&self.address(*host)))?;
        self.last_address = free;
        Some(self.address(free))
    }

    fn next_ports(
        &mut self,
        mapping: &PortMapping,
        range: (u16, u16),
        take: &mut impl FnMut(Protocol, u16) -> bool,
    ) -> Result<Binding, String> {
        let PortMapping { container, is_range, protocol, .. } = *mapping;
        let more = container.1.saturating_sub(container.0);
        let bound = |first: u16| Binding {
            container,
            is_range,
            host: (first, first.saturating_add(more)),
            protocol,
            ipv6: false,
        };
        if let Some(first) = mapping.host {
            if take(protocol, first) {
                return Ok(bound(first));
            }
            return Err(format!("Bind for 0.0.0.0:{first} failed: port is already allocated"));
        }
        let later = self.last_port.saturating_add(1).max(range.0)..=range.1;
        for first in later.chain(range.0..=self.last_port.min(range.1)) {
            let Some(last) = first.checked_add(more).filter(|last| *last <= range.1) else {
                continue;
            };
            // One after another: a hole in the range means to go on behind it.
            if (first..=last).all(|port| take(protocol, port)) {
                self.last_port = last;
                return Ok(bound(first));
            }
        }
        Err("Bind for 0.0.0.0:0 failed: all ports are allocated".to_owned())
    }

    /// The rules for all this, in place of those that are there.
    ///
    /// Ports are looked for in packets to addresses of the machine itself, wherever
    /// they come from. A container that goes to a port of its own bridge's machine
    /// must come back the same way, hence the masquerade between containers.
    ///
    /// Where the machine forwarded nothing before us, `nics`, behind which the rest of
    /// the world is, still begin nothing that was not theirs to begin.
    pub(super) fn rules(&self, table: &str, bridge: &str, nics: &[String]) -> String {
        let mut elements = BTreeMap::from([(Protocol::Tcp, vec![]), (Protocol::Udp, vec![])]);
        for at in self.tasks.values().flat_map(BTreeMap::values) {
            for binding in &at.bindings {
                let list = elements.entry(binding.protocol).or_default();
                list.extend(
                    binding
                        .pairs()
                        .map(|(outside, inside)| format!("{outside} : {} . {inside}", at.ipv4)),
                );
            }
        }
        let (block, mut maps) = (format!("{}/{LENGTH}", self.network), String::new());
        for (protocol, list) in &elements {
            let protocol = protocol.as_str();
            let list = list.join(", ");
            let list = if list.is_empty() { list } else { format!("elements = {{ {list} }}; ") };
            _ = writeln!(
                maps,
                "map to_{protocol} {{ type inet_service : ipv4_addr . inet_service; {list}}}"
            );
        }
        let nics = nics.iter().map(|nic| format!("\"{nic}\"")).collect::<Vec<_>>().join(", ");
        let others = if self.forwards && !nics.is_empty() {
            format!(
                "iifname {{ {nics} }} oifname != \"{bridge}\" ct state new ct status & dnat == 0 drop"
            )
        } else {
            String::new()
        };
        format!(
            "table ip {table} {{}}\n\
             delete table ip {table}\n\
             table ip {table} {{\n\
             {maps}\
             chain ports {{\n\
             dnat ip addr . port to tcp dport map @to_tcp\n\
             dnat ip addr . port to udp dport map @to_udp\n\
             }}\n\
             chain arriving {{\n\
             type nat hook prerouting priority dstnat;\n\
             fib daddr type local jump ports\n\
             }}\n\
             chain leaving {{\n\
             type nat hook output priority -100;\n\
             fib daddr type local jump ports\n\
             }}\n\
             chain sources {{\n\
             type nat hook postrouting priority srcnat;\n\
             ip saddr {block} oifname != \"{bridge}\" masquerade\n\
             ip saddr {block} oifname \"{bridge}\" ct status dnat masquerade\n\
             ip saddr 127.0.0.0/8 oifname \"{bridge}\" masquerade\n\
             }}\n\
             chain strangers {{\n\
             type filter hook prerouting priority raw;\n\
             iifname \"{bridge}\" ip daddr 127.0.0.0/8 drop\n\
             }}\n\
             chain others {{\n\
             type filter hook forward priority filter;\n\
             {others}\n\
             }}\n\
             }}\n"
        )
    }
}

/// The destinations in `/proc/net/route`.
pub(super) fn routes(text: &str) -> Vec<Block> {
    let number = |word: &str| u32::from_str_radix(word, 16).ok().map(u32::swap_bytes);
    let block = |line: &str| {
        let mut words = line.split_whitespace();
        let (destination, mask) = (words.nth(1)?, words.nth(5)?);
        let length = u8::try_from(number(mask)?.count_ones()).ok()?;
        Some((Ipv4Addr::from(number(destination)?), length))
    };
    text.lines().skip(1).filter_map(block).collect()
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
