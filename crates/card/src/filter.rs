//! The rules of a router as values: what they should be, and what takes one set
//! of them to another.
//!
//! The packet's way through them:
//!
//! ```text
//! prerouting  has it the addresses of the interface it comes from?
//! input       is it for a service that the interface may use?  -> passed
//! forward     is its flow known?          marked, -> passed
//!             egress gate                 chain of the sender, by iifname
//!             is its flow untracked?      marked, and passed on
//!             ingress gate                chain of the receiver, by oifname -> passed
//! ```
//!
//! What does not pass goes to `kept-in` or `kept-out`, which count it and note whose
//! it was ([`refused`]).
//!
//! An interface's chain jumps to one chain per group and direction, shared by all
//! interfaces in the group, so that a changed rule changes one chain. A group's
//! egress chain *marks* a packet that it permits; its ingress chain sends it to
//! `passed`. Both default to refusal.

use crate::gate;
use crate::names;
use crate::refused;
use crate::rules::{Element, Field, Maps, Part, Rule, State, Step, Verdict, link_name, octets};
use net::judge::{self, Gate};
use net::plan::{EniPlan, VpcPlan};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The two tables that a router has, both of the name `landfall`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Table {
    /// The one for ARP.
    Arp,
    /// The one for both IP versions.
    Inet,
}

/// A chain or a set: its table and its own name.
pub(crate) type Name = (Table, String);

/// The rules of one router.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Filter {
    counters: BTreeSet<String>,
    sets: BTreeMap<Name, Set>,
    chains: BTreeMap<Name, Chain>,
}

/// A set or a map.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Set {
    /// What its keys are made of.
    pub(crate) parts: &'static [Part],
    /// What it maps them to.
    pub(crate) maps: Maps,
    /// Whether its elements are ranges.
    pub(crate) ranges: bool,
    /// Whether packets add elements, which then are the kernel's affair alone.
    pub(crate) fed: Option<Fed>,
    pub(crate) elements: BTreeSet<Element>,
}

/// How packets may feed a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fed {
    /// The most elements that it takes.
    pub(crate) size: u32,
    /// How long an element stays, in milliseconds.
    pub(crate) millis: u64,
}

/// Where a chain hooks in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Hook {
    /// ARP that arrives.
    ArpInput,
    /// Everything that arrives, before the tracker sees it.
    Prerouting,
    /// What is for the router.
    Input,
    /// What passes through it.
    Forward,
    /// What it says itself. The only one that refuses nothing by itself.
    Output,
}

/// A chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Chain {
    /// Where it hooks in, if it does.
    pub(crate) hook: Option<Hook>,
    pub(crate) rules: Vec<Rule>,
}

/// One thing to do to the rules in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    /// Removes both tables, whether they are there or not, and adds empty ones.
    Afresh,
    AddCounter(&'a str),
    DeleteCounter(&'a str),
    AddSet(&'a Name, &'a Set),
    DeleteSet(&'a Name),
    AddElements(&'a Name, Maps, Vec<&'a Element>),
    DeleteElements(&'a Name, Maps, Vec<&'a Element>),
    AddChain(&'a str, Table, Option<Hook>),
    FlushChain(&'a Name),
    DeleteChain(&'a str, Table),
    AddRule(&'a Name, &'a Rule),
}

/// The mark of a packet that the sender's groups permit.
pub(crate) const PERMITTED: u32 = 1;
/// The mark of a packet whose flow was permitted when it began: those that follow it may go
/// the fast way ([`crate::fastpath`]).
pub(crate) const KNOWN: u32 = 2;

/// The marks of a flow that the interface which began it, or the other one, does not
/// track: see [`crate::untracked`].
pub(crate) const UNTRACKED_OUT: u32 = 1;
pub(crate) const UNTRACKED_IN: u32 = 2;

/// The chain whose name says which rules are in force.
const MARKER: &str = "in-force-";

/// What a counter of an interface counts, with the suffix of its name.
pub(crate) const COUNTED: [&str; 4] = ["tx", "tx-drop", "rx", "rx-drop"];

const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const ROUTER_SOLICITATION: u8 = 133;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

const SENDER4: &[Part] = &[Part::Link, Part::Ether, Part::V4];
const SENDER6: &[Part] = &[Part::Link, Part::Ether, Part::V6];
const SERVICE4: &[Part] = &[Part::Link, Part::V4, Part::Protocol, Part::Port];
const SERVICE6: &[Part] = &[Part::Link, Part::V6, Part::Protocol, Part::Port];

impl Filter {
    /// The rules that a router obeying `plan` needs.
    pub(crate) fn of(plan: &VpcPlan) -> Self {
        let mut filter = Self::default();
        filter.lay_out();
        for eni in &plan.enis {
            filter.add_eni(plan, eni);
        }
        for address in plan.own_addresses().filter(IpAddr::is_ipv6) {
            filter.element("own6", Element::of(&[&octets(address)]));
        }
        for group in &plan.groups {
            let mut out = Vec::new();
            for rule in &group.egress {
                for mut steps in gate::matching(plan, rule, gate::Side::Destination) {
                    steps.extend([Step::SetMark(PERMITTED), Step::Verdict(Verdict::Return)]);
                    out.push(steps);
                }
            }
            filter.chain(&format!("egress-{}", group.group), out);
            let mut into = Vec::new();
            for rule in &group.ingress {
                for mut steps in gate::matching(plan, rule, gate::Side::Source) {
                    steps.push(Step::goto("passed"));
                    into.push(steps);
                }
            }
            filter.chain(&format!("ingress-{}", group.group), into);
        }
        for (name, set) in gate::address_sets(plan) {
            filter.sets.insert((Table::Inet, name), set);
        }
        filter
    }

    /// What every router has.
    fn lay_out(&mut self) {
        use Field::{ArpEtherSource, ArpSource, EtherSource, InLink, OutLink};
        use Maps::{Counters, Nothing, Verdicts};
        let mut set = |table, name: &str, parts, maps| {
            let set = Set { parts, maps, ranges: false, fed: None, elements: BTreeSet::new() };
            self.sets.insert((table, name.to_owned()), set);
        };
        set(Table::Arp, "senders", SENDER4, Nothing);
        set(Table::Inet, "senders4", SENDER4, Nothing);
        set(Table::Inet, "senders6", SENDER6, Nothing);
        set(Table::Inet, "nics", &[Part::Link, Part::Ether], Nothing);
        set(Table::Inet, "forwarders", &[Part::Link, Part::Ether], Nothing);
        set(Table::Inet, "own6", &[Part::V6], Nothing);
        set(Table::Inet, "services4", SERVICE4, Nothing);
        set(Table::Inet, "services6", SERVICE6, Nothing);
        set(Table::Inet, "egress", &[Part::Link], Verdicts);
        set(Table::Inet, "ingress", &[Part::Link], Verdicts);
        set(Table::Inet, "untracked-out", &[Part::Link], Verdicts);
        set(Table::Inet, "untracked-in", &[Part::Link], Verdicts);
        for counted in COUNTED {
            set(Table::Inet, counted, &[Part::Link], Counters);
        }

        let accept = || Step::Verdict(Verdict::Accept);
        let drop = || Step::Verdict(Verdict::Drop);
        let within = |fields: &[Field], set: &str| Step::In(fields.to_vec(), set.to_owned());
        let protocol = |number| Step::Is(Field::Protocol, vec![number]);
        let is_v4 = || Step::same_family(Ipv4Addr::UNSPECIFIED.into());
        let is_v6 = || Step::same_family(Ipv6Addr::UNSPECIFIED.into());
        let count = |field, map: &str| Step::Count(field, map.to_owned());

        let sender = within(&[InLink, ArpEtherSource, ArpSource], "senders");
        self.base(Table::Arp, "input", Hook::ArpInput, vec![vec![sender, accept()]]);

        let link_local = Step::Prefix(Field::Source6, vec![0xfe, 0x80], 10);
        let nobody = Step::Is(Field::Source6, vec![0; 16]);
        let nic = || within(&[InLink, EtherSource], "nics");
        // Before the tracker: a forged packet shall leave no trace there.
        let prerouting = vec![
            // What neighbours say to each other is nobody's traffic.
            vec![is_v6(), link_local, Step::goto("neighbours")],
            vec![is_v6(), nobody, Step::goto("neighbours")],
            // The kernel itself takes no IPv4 from one of its own addresses.
            vec![is_v6(), within(&[Field::Source6], "own6"), Step::goto("kept-in")],
            vec![is_v4(), within(&[InLink, EtherSource, Field::Source4], "senders4"), accept()],
            vec![is_v6(), within(&[InLink, EtherSource, Field::Source6], "senders6"), accept()],
            vec![within(&[InLink, EtherSource], "forwarders"), accept()],
            vec![Step::goto("kept-in")],
        ];
        self.base(Table::Inet, "prerouting", Hook::Prerouting, prerouting);
        let asks = |kind| vec![protocol(ICMPV6), Step::Is(Field::IcmpType, vec![kind])];
        let said = [ROUTER_SOLICITATION, NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT];
        let neighbours = said.map(|kind| [asks(kind), vec![nic(), accept()]].concat());
        let mut neighbours = neighbours.to_vec();
        neighbours.push(vec![drop()]);
        self.chain("neighbours", neighbours);

        // Little in the router itself is for anybody.
        let mut input: Vec<Rule> =
            said.map(|kind| [vec![is_v6()], asks(kind), vec![accept()]].concat()).to_vec();
        for (family, destination, set) in [
            (is_v4(), Field::Destination4, "services4"),
            (is_v6(), Field::Destination6, "services6"),
        ] {
            for number in [gate::TCP, UDP] {
                let fields = [InLink, destination, Field::Protocol, Field::DestinationPort];
                let asked = within(&fields, set);
                input.push(vec![family.clone(), protocol(number), asked, Step::goto("passed")]);
            }
        }
        self.base(Table::Inet, "input", Hook::Input, input);
        let answers = vec![Step::IsNot(Field::Protocol, vec![ICMPV6]), count(OutLink, "rx")];
        self.base(Table::Inet, "output", Hook::Output, vec![answers]);

        let not_icmp = |number| Step::IsNot(Field::Protocol, vec![number]);
        let not_permitted = Step::IsNot(Field::Mark, PERMITTED.to_ne_bytes().to_vec());
        let forward = vec![
            vec![Step::SetMark(0)],
            vec![Step::Tracked(State::Known), Step::SetMark(KNOWN), Step::goto("passed")],
            // ICMP that is no request opens no flow; the rules may still permit it,
            // as they do on EC2.
            vec![
                Step::Tracked(State::Invalid),
                not_icmp(ICMP),
                not_icmp(ICMPV6),
                Step::goto("kept-in"),
            ],
            vec![Step::Dispatch(InLink, "egress".to_owned())],
            vec![not_permitted, Step::goto("kept-in")],
            // A mark on a flow that does not come about is gone with it.
            vec![Step::Dispatch(InLink, "untracked-out".to_owned())],
            vec![Step::Dispatch(OutLink, "untracked-in".to_owned())],
            vec![Step::Dispatch(OutLink, "ingress".to_owned())],
            vec![Step::goto("kept-out")],
        ];
        self.base(Table::Inet, "forward", Hook::Forward, forward);
        let as_sent = || vec![count(InLink, "tx")];
        self.chain("passed", vec![as_sent(), vec![count(OutLink, "rx")], vec![accept()]]);
        let counted = vec![vec![count(InLink, "tx-drop")]];
        self.chain("kept-in", [counted, refused::noted(refused::KEPT_IN, InLink)].concat());
        // The sender did send it; it was the receiver's groups that refused.
        let counted = vec![as_sent(), vec![count(OutLink, "rx-drop")]];
        self.chain("kept-out", [counted, refused::noted(refused::KEPT_OUT, OutLink)].concat());
        for (name, set) in refused::sets() {
            self.sets.insert((Table::Inet, name), set);
        }
    }

    fn base(&mut self, table: Table, name: &str, hook: Hook, rules: Vec<Rule>) {
        self.chains.insert((table, name.to_owned()), Chain { hook: Some(hook), rules });
    }

    fn chain(&mut self, name: &str, rules: Vec<Rule>) {
        self.chains.insert((Table::Inet, name.to_owned()), Chain { hook: None, rules });
    }

    fn element(&mut self, set: &str, element: Element) {
        self.element_of(Table::Inet, set, element);
    }

    fn element_of(&mut self, table: Table, set: &str, element: Element) {
        if let Some(set) = self.sets.get_mut(&(table, set.to_owned())) {
            set.elements.insert(element);
        }
    }

    fn add_eni(&mut self, plan: &VpcPlan, eni: &EniPlan) {
        let link = link_name(&names::card_end(&eni.eni));
        let (id, mac) = (&eni.eni, eni.mac.0);
        // Asking whether an address is free comes from no address.
        let asking = eni.ipv4.map(|_| Ipv4Addr::UNSPECIFIED);
        for address in eni.ipv4_addresses().chain(asking) {
            let says = Element::of(&[&link, &mac, &address.octets()]);
            self.element_of(Table::Arp, "senders", says);
        }
        self.element("nics", Element::of(&[&link, &mac]));
        if eni.source_dest_check {
            for address in eni.addresses() {
                let set = if address.is_ipv4() { "senders4" } else { "senders6" };
                self.element(set, Element::of(&[&link, &mac, &octets(address)]));
            }
        } else {
            self.element("forwarders", Element::of(&[&link, &mac]));
        }
        for service in &eni.services {
            let (protocols, port) = service.listens();
            for address in plan.service_addresses(*service) {
                let set = if address.is_ipv4() { "services4" } else { "services6" };
                for protocol in protocols {
                    let (to, port) = (octets(address), port.to_be_bytes());
                    self.element(set, Element::of(&[&link, &to, &[*protocol], &port]));
                }
            }
        }
        for counted in COUNTED {
            let counter = format!("{id}-{counted}");
            self.counters.insert(counter.clone());
            self.element(counted, Element::of(&[&link]).to(counter));
        }
        for direction in ["egress", "ingress"] {
            let mut rules = Vec::new();
            for group in &eni.groups {
                // A chain that is jumped to must exist, so a group that the plan
                // does not know gets an empty one.
                let chain = format!("{direction}-{group}");
                self.chains.entry((Table::Inet, chain.clone())).or_default();
                rules.push(vec![Step::Verdict(Verdict::Jump(chain))]);
                if direction == "egress" {
                    let permitted = Step::Is(Field::Mark, PERMITTED.to_ne_bytes().to_vec());
                    rules.push(vec![permitted, Step::Verdict(Verdict::Return)]);
                }
            }
            let chain = format!("{direction}-{id}");
            self.chain(&chain, rules);
            self.element(direction, Element::of(&[&link]).to(chain));
        }
        for (gate, side, map, mark) in [
            (Gate::Egress, gate::Side::Destination, "untracked-out", UNTRACKED_OUT),
            (Gate::Ingress, gate::Side::Source, "untracked-in", UNTRACKED_IN),
        ] {
            let rules: BTreeSet<_> = judge::untracked(plan, eni, gate).collect();
            let marked = |steps: Rule| [steps, vec![Step::MarkFlow(mark)]].concat();
            let rules = rules.iter().flat_map(|rule| gate::matching(plan, rule, side));
            let rules: Vec<Rule> = rules.map(marked).collect();
            if !rules.is_empty() {
                // Interfaces of the same groups have one chain.
                let mut hasher = DefaultHasher::new();
                rules.hash(&mut hasher);
                let chain = format!("{map}-{:016x}", hasher.finish());
                self.chain(&chain, rules);
                self.element(map, Element::of(&[&link]).to(chain));
            }
        }
    }

    /// What makes the kernel have these rules, in one transaction: from `old`, or
    /// from whatever is there if that is `None`.
    ///
    /// Objects that stay are not touched, so counters go on counting.
    pub(crate) fn changes<'a>(
        &'a self,
        old: Option<(&'a Self, &'a str)>,
        marker: &'a str,
        nothing: &'a Self,
    ) -> Vec<Change<'a>> {
        let mut changes = Vec::new();
        let old = if let Some((old, old_marker)) = old {
            changes.push(Change::DeleteChain(old_marker, Table::Arp));
            old
        } else {
            changes.push(Change::Afresh);
            nothing
        };
        changes.push(Change::AddChain(marker, Table::Arp, None));

        // First everything that may be referred to, empty.
        changes.extend(self.counters.difference(&old.counters).map(|new| Change::AddCounter(new)));
        for (name, set) in &self.sets {
            if !old.sets.contains_key(name) {
                changes.push(Change::AddSet(name, set));
            }
        }
        for (name, chain) in &self.chains {
            if !old.chains.contains_key(name) {
                changes.push(Change::AddChain(&name.1, name.0, chain.hook));
            }
        }
        // Then whatever referred to something that will go.
        for (name, chain) in &old.chains {
            if self.chains.get(name) != Some(chain) {
                changes.push(Change::FlushChain(name));
            }
        }
        for (name, set) in &old.sets {
            let kept = self.sets.get(name);
            let gone =
                set.elements.iter().filter(|e| !kept.is_some_and(|s| s.elements.contains(e)));
            let gone: Vec<_> = gone.collect();
            if !gone.is_empty() {
                changes.push(Change::DeleteElements(name, set.maps, gone));
            }
        }
        // Then what is new.
        for (name, set) in &self.sets {
            let had = old.sets.get(name);
            let new = set.elements.iter().filter(|e| !had.is_some_and(|s| s.elements.contains(e)));
            let new: Vec<_> = new.collect();
            if !new.is_empty() {
                changes.push(Change::AddElements(name, set.maps, new));
            }
        }
        for (name, chain) in &self.chains {
            if old.chains.get(name) != Some(chain) {
                changes.extend(chain.rules.iter().map(|rule| Change::AddRule(name, rule)));
            }
        }
        // And at last nothing refers any more to what is gone.
        let gone = old.chains.keys().filter(|name| !self.chains.contains_key(*name));
        changes.extend(gone.map(|(table, name)| Change::DeleteChain(name, *table)));
        let gone = old.sets.keys().filter(|name| !self.sets.contains_key(*name));
        changes.extend(gone.map(Change::DeleteSet));
        changes.extend(old.counters.difference(&self.counters).map(|c| Change::DeleteCounter(c)));
        changes
    }

    /// The name of the marker chain for these rules, loaded as generation
    /// `genid` of the namespace's rules.
    pub(crate) fn marker(&self, genid: u32) -> String {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        format!("{MARKER}{:016x}-{genid}", hasher.finish())
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
