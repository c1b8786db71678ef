//! The rules of a router as values: what they should be, and what takes one set
//! of them to another.
//!
//! The packet's way through them:
//!
//! ```text
//! prerouting  has it the addresses of the interface it comes from?
//! forward     is its flow known?          -> passed
//!             egress gate                 chain of the sender, by iifname
//!             ingress gate                chain of the receiver, by oifname -> passed
//! ```
//!
//! An interface's chain jumps to one chain per group and direction, shared by all
//! interfaces in the group, so that a changed rule changes one chain. A group's
//! egress chain *marks* a packet that it permits; its ingress chain sends it to
//! `passed`. Both default to refusal.

use crate::names;
use ipnet::IpNet;
use net::model::{Peer, Rule, Traffic};
use net::plan::{EniPlan, VpcPlan};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The rules of one router. Names are whole, as `nft` takes them: family, table,
/// name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Filter {
    counters: BTreeSet<String>,
    sets: BTreeMap<String, Set>,
    chains: BTreeMap<String, Chain>,
}

/// A set or a map.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Set {
    /// `set` or `map`.
    kind: &'static str,
    /// What its elements are.
    of: &'static str,
    elements: BTreeSet<String>,
}

/// A chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Chain {
    /// Where it hooks in, if it does.
    hook: &'static str,
    rules: Vec<String>,
}

/// A verdict has been given: the sender's groups permit the packet.
const PERMITTED: &str = "meta mark 0x1";

const INET: &str = "inet landfall";
const ARP: &str = "arp landfall";

/// The chain whose name says which rules are in force.
const MARKER: &str = "in-force-";

/// What a counter of an interface counts, with the suffix of its name.
pub(crate) const COUNTED: [&str; 4] = ["tx", "tx-drop", "rx", "rx-drop"];

impl Filter {
    /// The rules that a router obeying `plan` needs.
    pub(crate) fn of(plan: &VpcPlan) -> Self {
        let mut filter = Self::default();
        filter.lay_out();
        for eni in &plan.enis {
            filter.add_eni(eni);
        }
        for group in &plan.groups {
            let out = group.egress.iter().filter_map(|rule| {
                Some(format!("{} meta mark set 0x1 return", matching(plan, rule, "daddr")?))
            });
            filter.chain(&format!("egress-{}", group.group), out.collect());
            let into = group
                .ingress
                .iter()
                .filter_map(|rule| Some(format!("{} goto passed", matching(plan, rule, "saddr")?)));
            filter.chain(&format!("ingress-{}", group.group), into.collect());
        }
        for (group, addresses) in &plan.members {
            let v4 = addresses.iter().filter(|address| address.is_ipv4());
            let elements = v4.map(ToString::to_string).collect();
            let set = Set { kind: "set", of: "type ipv4_addr", elements };
            filter.sets.insert(format!("{INET} members-{group}"), set);
        }
        filter
    }

    /// What every router has.
    fn lay_out(&mut self) {
        let mut set = |name: String, kind, of| {
            self.sets.insert(name, Set { kind, of, elements: BTreeSet::new() });
        };
        set(format!("{ARP} senders"), "set", "type ifname . ether_addr . ipv4_addr");
        set(format!("{INET} senders"), "set", "type ifname . ether_addr . ipv4_addr");
        set(format!("{INET} forwarders"), "set", "type ifname . ether_addr");
        set(format!("{INET} egress"), "map", "type ifname : verdict");
        set(format!("{INET} ingress"), "map", "type ifname : verdict");
        for counted in COUNTED {
            set(format!("{INET} {counted}"), "map", "type ifname : counter");
        }

        let arp = ["iifname . arp saddr ether . arp saddr ip @senders accept"];
        self.base(ARP, "input", "type filter hook input priority 0; policy drop;", &arp);
        self.base(
            INET,
            "prerouting",
            // Before the tracker: a forged packet shall leave no trace there.
            "type filter hook prerouting priority raw; policy drop;",
            &[
                // There is no IPv6 yet, and its chatter is nobody's traffic.
                "meta nfproto ipv6 drop",
                "iifname . ether saddr . ip saddr @senders accept",
                "iifname . ether saddr @forwarders accept",
                "goto kept-in",
            ],
        );
        // Nothing in the router itself is for anybody.
        self.base(INET, "input", "type filter hook input priority filter; policy drop;", &[]);
        self.base(
            INET,
            "forward",
            "type filter hook forward priority filter; policy drop;",
            &[
                "meta mark set 0x0",
                "ct state { established, related } goto passed",
                // ICMP that is no request opens no flow; the rules may still
                // permit it, as they do on EC2.
                "ct state invalid meta l4proto != icmp goto kept-in",
                "iifname vmap @egress",
                "meta mark != 0x1 goto kept-in",
                "oifname vmap @ingress",
                "goto kept-out",
            ],
        );
        let list = |rules: &[&str]| rules.iter().map(ToString::to_string).collect();
        let as_sent = "counter name iifname map @tx";
        let passed = [as_sent, "counter name oifname map @rx", "accept"];
        self.chain("passed", list(&passed));
        self.chain("kept-in", list(&["counter name iifname map @tx-drop", "drop"]));
        // The sender did send it; it was the receiver's groups that refused.
        self.chain("kept-out", list(&[as_sent, "counter name oifname map @rx-drop", "drop"]));
    }

    fn base(&mut self, table: &str, name: &str, hook: &'static str, rules: &[&str]) {
        let rules = rules.iter().map(ToString::to_string).collect();
        self.chains.insert(format!("{table} {name}"), Chain { hook, rules });
    }

    fn chain(&mut self, name: &str, rules: Vec<String>) {
        self.chains.insert(format!("{INET} {name}"), Chain { hook: "", rules });
    }

    fn element(&mut self, set: &str, element: String) {
        if let Some(set) = self.sets.get_mut(set) {
            set.elements.insert(element);
        }
    }

    fn add_eni(&mut self, eni: &EniPlan) {
        let link = format!("\"{}\"", names::card_end(&eni.eni));
        let (id, mac, ipv4) = (&eni.eni, eni.mac, eni.ipv4);
        // Asking whether an address is free comes from no address.
        for address in [ipv4.to_string(), "0.0.0.0".to_owned()] {
            self.element(&format!("{ARP} senders"), format!("{link} . {mac} . {address}"));
        }
        if eni.source_dest_check {
            self.element(&format!("{INET} senders"), format!("{link} . {mac} . {ipv4}"));
        } else {
            self.element(&format!("{INET} forwarders"), format!("{link} . {mac}"));
        }
        for counted in COUNTED {
            self.counters.insert(format!("{INET} {id}-{counted}"));
            self.element(&format!("{INET} {counted}"), format!("{link} : \"{id}-{counted}\""));
        }
        for direction in ["egress", "ingress"] {
            let mut rules = Vec::new();
            for group in &eni.groups {
                // A chain that is jumped to must exist, so a group that the plan
                // does not know gets an empty one.
                let chain = format!("{INET} {direction}-{group}");
                self.chains.entry(chain).or_default();
                rules.push(format!("jump {direction}-{group}"));
                if direction == "egress" {
                    rules.push(format!("{PERMITTED} return"));
                }
            }
            self.chain(&format!("{direction}-{id}"), rules);
            let verdict = format!("{link} : jump {direction}-{id}");
            self.element(&format!("{INET} {direction}"), verdict);
        }
    }

    /// What `nft` must be told to make the kernel have these rules, in one
    /// transaction: from `old`, or from whatever is there if that is `None`.
    ///
    /// Objects that stay are not touched, so counters go on counting.
    pub(crate) fn script(&self, old: Option<(&Self, &str)>, marker: &str) -> String {
        let mut script = String::new();
        let mut say = |line: std::fmt::Arguments<'_>| {
            // Writing to a string cannot fail.
            let _infallible = writeln!(script, "{line}");
        };
        let nothing = Self::default();
        let old = if let Some((old, old_marker)) = old {
            say(format_args!("delete chain {ARP} {old_marker}"));
            old
        } else {
            for table in [INET, ARP] {
                // Adding first makes deleting possible whether it exists or not.
                say(format_args!("add table {table}"));
                say(format_args!("delete table {table}"));
                say(format_args!("add table {table}"));
            }
            &nothing
        };
        say(format_args!("add chain {ARP} {marker}"));

        // First everything that may be referred to, empty.
        for counter in self.counters.difference(&old.counters) {
            say(format_args!("add counter {counter}"));
        }
        for (name, Set { kind, of, .. }) in &self.sets {
            if !old.sets.contains_key(name) {
                say(format_args!("add {kind} {name} {{ {of}; }}"));
            }
        }
        for (name, Chain { hook, .. }) in &self.chains {
            if !old.chains.contains_key(name) {
                let hook = if hook.is_empty() { String::new() } else { format!(" {{ {hook} }}") };
                say(format_args!("add chain {name}{hook}"));
            }
        }
        // Then whatever referred to something that will go.
        for (name, chain) in &old.chains {
            if self.chains.get(name) != Some(chain) {
                say(format_args!("flush chain {name}"));
            }
        }
        let none = BTreeSet::new();
        for (name, set) in &old.sets {
            let kept = self.sets.get(name).map_or(&none, |set| &set.elements);
            elements(&mut say, "delete", name, set.elements.difference(kept));
        }
        // Then what is new.
        for (name, set) in &self.sets {
            let had = old.sets.get(name).map_or(&none, |set| &set.elements);
            elements(&mut say, "add", name, set.elements.difference(had));
        }
        for (name, chain) in &self.chains {
            if old.chains.get(name) != Some(chain) {
                for rule in &chain.rules {
                    say(format_args!("add rule {name} {rule}"));
                }
            }
        }
        // And at last nothing refers any more to what is gone.
        for name in old.chains.keys().filter(|name| !self.chains.contains_key(*name)) {
            say(format_args!("delete chain {name}"));
        }
        for (name, Set { kind, .. }) in &old.sets {
            if !self.sets.contains_key(name) {
                say(format_args!("delete {kind} {name}"));
            }
        }
        for counter in old.counters.difference(&self.counters) {
            say(format_args!("delete counter {counter}"));
        }
        script
    }

    /// The name of the marker chain for these rules, loaded as generation
    /// `genid` of the namespace's rules.
    pub(crate) fn marker(&self, genid: u32) -> String {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        format!("{MARKER}{:016x}-{genid}", hasher.finish())
    }
}

fn elements<'a>(
    say: &mut impl FnMut(std::fmt::Arguments<'_>),
    verb: &str,
    set: &str,
    elements: impl Iterator<Item = &'a String>,
) {
    let list: Vec<&str> = elements.map(String::as_str).collect();
    if !list.is_empty() {
        say(format_args!("{verb} element {set} {{ {} }}", list.join(", ")));
    }
}

/// What matches the packets that a rule permits, or `None` if none can be: IPv6
/// does not get here, and a group that nobody described has no members.
fn matching(plan: &VpcPlan, rule: &Rule, side: &str) -> Option<String> {
    let traffic = match rule.traffic {
        Traffic::All => String::new(),
        Traffic::Tcp { from, to } => ports("tcp", from, to)?,
        Traffic::Udp { from, to } => ports("udp", from, to)?,
        Traffic::Icmp { kind: None, .. } => "meta l4proto icmp ".to_owned(),
        Traffic::Icmp { kind: Some(kind), code: None } => format!("icmp type {kind} "),
        Traffic::Icmp { kind: Some(kind), code: Some(code) } => {
            format!("icmp type {kind} icmp code {code} ")
        }
        Traffic::Icmpv6 { .. } => return None,
        Traffic::Protocol(number) => format!("meta l4proto {number} "),
    };
    let peer = match &rule.peer {
        Peer::Cidr(IpNet::V4(block)) if block.prefix_len() == 0 => "meta nfproto ipv4".to_owned(),
        Peer::Cidr(IpNet::V4(block)) => format!("ip {side} {}", block.trunc()),
        Peer::Group(group) if plan.members.contains_key(group) => {
            format!("ip {side} @members-{group}")
        }
        Peer::Cidr(IpNet::V6(_)) | Peer::Group(_) => return None,
    };
    Some(format!("{traffic}{peer}"))
}

fn ports(protocol: &str, from: u16, to: u16) -> Option<String> {
    match (from, to) {
        (0, u16::MAX) => Some(format!("meta l4proto {protocol} ")),
        (from, to) if from == to => Some(format!("{protocol} dport {from} ")),
        (from, to) if from < to => Some(format!("{protocol} dport {from}-{to} ")),
        (_, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ident::{EniId, SecurityGroupId, SubnetId, VpcId};
    use net::mac::MacAddress;
    use net::plan::{EniUser, GroupPlan};
    use std::net::{IpAddr, Ipv4Addr};

    fn rule(traffic: Traffic, peer: &str) -> Rule {
        Rule { traffic, peer: Peer::Cidr(peer.parse().expect("a block")) }
    }

    fn plan() -> VpcPlan {
        let (web, db) = (SecurityGroupId::mint(1), SecurityGroupId::mint(2));
        let from_db = Rule { traffic: Traffic::All, peer: Peer::Group(db.clone()) };
        VpcPlan {
            vpc: VpcId::mint(1),
            vni: 1,
            cidrs: vec![],
            subnets: vec![],
            enis: vec![EniPlan {
                eni: EniId::mint(1),
                mac: MacAddress([2, 0, 0, 0, 0, 1]),
                subnet: SubnetId::mint(1),
                ipv4: Ipv4Addr::new(10, 0, 1, 10),
                user: EniUser::Task,
                groups: vec![web.clone(), SecurityGroupId::mint(9)],
                source_dest_check: true,
            }],
            groups: vec![GroupPlan {
                group: web,
                ingress: vec![rule(Traffic::Tcp { from: 80, to: 81 }, "10.0.0.0/16"), from_db],
                egress: vec![rule(Traffic::All, "0.0.0.0/0"), rule(Traffic::All, "::/0")],
            }],
            members: BTreeMap::from([(db, vec![IpAddr::V4(Ipv4Addr::new(10, 0, 2, 2))])]),
        }
    }

    fn lines(script: &str) -> BTreeSet<&str> {
        script.lines().collect()
    }

    #[test]
    fn rules_become_matches() {
        let plan = plan();
        let tcp = |from, to| Traffic::Tcp { from, to };
        let icmp = |kind, code| Traffic::Icmp { kind, code };
        for (traffic, expected) in [
            (Traffic::All, Some("ip saddr 10.1.0.0/16")),
            (tcp(80, 80), Some("tcp dport 80 ip saddr 10.1.0.0/16")),
            (tcp(80, 90), Some("tcp dport 80-90 ip saddr 10.1.0.0/16")),
            (tcp(0, 65535), Some("meta l4proto tcp ip saddr 10.1.0.0/16")),
            (tcp(90, 80), None),
            (Traffic::Udp { from: 0, to: 9 }, Some("udp dport 0-9 ip saddr 10.1.0.0/16")),
            (icmp(None, None), Some("meta l4proto icmp ip saddr 10.1.0.0/16")),
            (icmp(Some(8), None), Some("icmp type 8 ip saddr 10.1.0.0/16")),
            (icmp(Some(3), Some(4)), Some("icmp type 3 icmp code 4 ip saddr 10.1.0.0/16")),
            (Traffic::Icmpv6 { kind: None, code: None }, None),
            (Traffic::Protocol(50), Some("meta l4proto 50 ip saddr 10.1.0.0/16")),
        ] {
            let rule = rule(traffic, "10.1.0.0/16");
            assert_eq!(matching(&plan, &rule, "saddr").as_deref(), expected, "{traffic:?}");
        }
        for (peer, expected) in [
            ("0.0.0.0/0", Some("meta nfproto ipv4")),
            ("10.1.2.3/16", Some("ip daddr 10.1.0.0/16")),
            ("::/0", None),
        ] {
            let rule = rule(Traffic::All, peer);
            assert_eq!(matching(&plan, &rule, "daddr").as_deref(), expected, "{peer}");
        }
        let stranger = Peer::Group(SecurityGroupId::mint(7));
        let rule = Rule { traffic: Traffic::All, peer: stranger };
        assert_eq!(matching(&plan, &rule, "saddr"), None, "nobody knows its members");
    }

    #[test]
    fn a_changed_rule_changes_one_chain() {
        let old = Filter::of(&plan());
        let mut changed = plan();
        changed.groups[0].ingress.remove(0);
        let script = Filter::of(&changed).script(Some((&old, "in-force-1")), "in-force-2");
        let ingress = format!("inet landfall ingress-{}", SecurityGroupId::mint(1));
        let db = SecurityGroupId::mint(2);
        assert_eq!(
            lines(&script),
            BTreeSet::from([
                "delete chain arp landfall in-force-1",
                "add chain arp landfall in-force-2",
                &format!("flush chain {ingress}"),
                &format!("add rule {ingress} ip saddr @members-{db} goto passed"),
            ])
        );
    }

    #[test]
    fn a_new_member_changes_one_set() {
        let old = Filter::of(&plan());
        let mut changed = plan();
        for addresses in changed.members.values_mut() {
            *addresses = vec![IpAddr::V4(Ipv4Addr::new(10, 0, 2, 3))];
        }
        let script = Filter::of(&changed).script(Some((&old, "in-force-1")), "in-force-2");
        let set = format!("inet landfall members-{}", SecurityGroupId::mint(2));
        assert_eq!(
            lines(&script),
            BTreeSet::from([
                "delete chain arp landfall in-force-1",
                "add chain arp landfall in-force-2",
                &format!("delete element {set} {{ 10.0.2.2 }}"),
                &format!("add element {set} {{ 10.0.2.3 }}"),
            ])
        );
    }

    #[test]
    fn from_nothing_the_tables_are_made_anew() {
        let script = Filter::of(&plan()).script(None, "in-force-1");
        assert!(script.starts_with(
            "add table inet landfall\ndelete table inet landfall\nadd table inet landfall\n"
        ));
        assert!(!script.contains("flush"), "{script}");
    }

    #[test]
    fn the_marker_tells_rules_and_generations_apart() {
        let one = Filter::of(&plan());
        let other = Filter::of(&VpcPlan { enis: vec![], ..plan() });
        assert_eq!(one.marker(3), Filter::of(&plan()).marker(3));
        assert_ne!(one.marker(3), one.marker(4));
        assert_ne!(one.marker(3), other.marker(3));
        assert!(one.marker(u32::MAX).len() < 128);
    }
}
