//! What passed and what did not, told per interface as VPC flow logs do.
//!
//! What passed is what the connection tracker and the fast path know of it. What did not
//! is what the rules have noted ([`crate::refused`]). All of that is the kernel's own, so
//! that nobody has to watch packets for somebody who may ask one day.

use crate::card::Config;
use crate::error::CardError;
use crate::fastpath::FastPaths;
use crate::flows::{self, Tracked, Tuple};
use crate::names;
use crate::netns::Netns;
use crate::refused::{self, KEPT_IN, KEPT_OUT, Refused};
use ident::{EniId, Timestamp};
use net::flow::{Action, Counted, Direction, Flow, FlowsAsked, FlowsTold, MOST_FLOWS};
use net::plan::{CardPlan, VpcPlan};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

/// Looks at the flows of a card's interfaces, beside the card and without it.
#[derive(Clone, Debug)]
pub struct Seen {
    prefix: String,
    netns_dir: PathBuf,
    fast_paths: FastPaths,
}

impl Seen {
    /// For the interfaces of a card that is configured like this and has these.
    pub(crate) fn new(config: &Config, fast_paths: &FastPaths) -> Self {
        Self {
            prefix: config.prefix.clone(),
            netns_dir: config.netns_dir.clone(),
            fast_paths: fast_paths.clone(),
        }
    }

    /// The flows that were asked for, of the interfaces that `plan` names, as of `now`.
    /// A VPC whose router is not there has none.
    pub async fn look(
        &self,
        plan: &CardPlan,
        asked: &FlowsAsked,
        now: Timestamp,
    ) -> Result<FlowsTold, CardError> {
        let mut newest = Newest::default();
        for vpc in &plan.vpcs {
            let router = names::router(&self.prefix, &vpc.vpc);
            let path = self.netns_dir.join(&router);
            if !Netns::is_named(&path) {
                continue;
            }
            let teller = Teller::new(vpc, asked.clone(), now);
            let fast_paths = self.fast_paths.clone();
            let looked = Netns::open(&path)?
                .run(move || teller.look(&fast_paths.carried(&router)?, newest))
                .await?;
            newest = looked.map_err(|source| CardError::Conntrack { source })?;
        }
        let is_cut = newest.is_cut;
        let flows = newest.heap.into_sorted_vec().into_iter().map(|by_start| by_start.0.flow);
        Ok(FlowsTold { number: asked.number, flows: flows.collect(), is_cut })
    }
}

/// The flows that began last; those that nobody knows the beginning of began first.
#[derive(Debug, Default)]
struct Newest {
    heap: BinaryHeap<Reverse<ByStart>>,
    is_cut: bool,
}

#[derive(Debug)]
struct ByStart {
    flow: Flow,
}

impl ByStart {
    fn key(&self) -> impl Ord + '_ {
        let flow = &self.flow;
        let ports = (flow.source_port, flow.destination_port);
        (flow.start, &flow.eni, flow.direction, flow.source, flow.destination, ports)
    }
}

impl Ord for ByStart {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for ByStart {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByStart {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ByStart {}

impl Newest {
    fn add(&mut self, flow: Flow) {
        self.heap.push(Reverse(ByStart { flow }));
        if self.heap.len() > MOST_FLOWS {
            self.heap.pop();
            self.is_cut = true;
        }
    }
}

/// Tells the flows of one VPC by interface.
struct Teller {
    asked: FlowsAsked,
    now: Timestamp,
    by_address: BTreeMap<IpAddr, EniId>,
    by_link: BTreeMap<String, EniId>,
    /// What the VPC offers itself is not in flow logs either.
    services: BTreeSet<IpAddr>,
}

/// What is the same of a flow wherever it is seen from.
#[derive(Clone, Copy)]
struct Carried {
    tuple: Tuple,
    counted: Option<Counted>,
    start: Option<Timestamp>,
}

impl Teller {
    fn new(vpc: &VpcPlan, asked: FlowsAsked, now: Timestamp) -> Self {
        let by_address = vpc.enis.iter();
        let by_address =
            by_address.flat_map(|eni| eni.addresses().map(move |own| (own, eni.eni.clone())));
        let by_link = vpc.enis.iter().map(|eni| (names::card_end(&eni.eni), eni.eni.clone()));
        Self {
            by_address: by_address.collect(),
            by_link: by_link.collect(),
            services: vpc.own_addresses().collect(),
            asked,
            now,
        }
    }

    /// Runs in the router.
    fn look(&self, fast: &HashMap<Tuple, Counted>, mut newest: Newest) -> io::Result<Newest> {
        flows::tracked(|tracked| self.passed(&tracked, fast, &mut newest))?;
        refused::remembered(KEPT_IN, |it| self.kept(Direction::Egress, &it, &mut newest))?;
        refused::remembered(KEPT_OUT, |it| self.kept(Direction::Ingress, &it, &mut newest))?;
        Ok(newest)
    }

    /// A flow that passed left its sender and came to its receiver, and so did what was
    /// answered. The tracker does not see what went the fast way.
    fn passed(&self, tracked: &Tracked, fast: &HashMap<Tuple, Counted>, newest: &mut Newest) {
        let start = tracked.start;
        let carried = |tuple: Tuple, counted: Option<Counted>| {
            let more = fast.get(&tuple).copied().unwrap_or_default();
            let counted = counted.map(|counted| Counted {
                packets: counted.packets + more.packets,
                bytes: counted.bytes + more.bytes,
            });
            Carried { tuple, counted, start }
        };
        let there = carried(tracked.tuple, tracked.sent);
        let back = carried(tracked.tuple.reversed(), tracked.answered);
        for carried in [there, back] {
            // Of what nobody counted, nobody knows whether there was any.
            if carried.counted.is_some_and(|counted| counted.packets == 0) {
                continue;
            }
            let ends = [
                (carried.tuple.source, Direction::Egress),
                (carried.tuple.destination, Direction::Ingress),
            ];
            for (address, direction) in ends {
                if let Some(eni) = self.by_address.get(&address) {
                    self.tell(eni, direction, Action::Accept, carried, newest);
                }
            }
        }
    }

    fn kept(&self, direction: Direction, refused: &Refused, newest: &mut Newest) {
        let Some(eni) = self.by_link.get(&refused.link) else { return };
        let (tuple, start) = (refused.tuple, Some(refused.start(self.now)));
        let carried = Carried { tuple, counted: Some(refused.counted), start };
        self.tell(eni, direction, Action::Reject, carried, newest);
        // What the receiver refused had left its sender.
        if let (Direction::Ingress, Some(sender)) = (direction, self.by_address.get(&tuple.source))
        {
            self.tell(sender, Direction::Egress, Action::Accept, carried, newest);
        }
    }

    fn tell(
        &self,
        eni: &EniId,
        direction: Direction,
        action: Action,
        carried: Carried,
        newest: &mut Newest,
    ) {
        let Carried { tuple, counted, start } = carried;
        let ends = [tuple.source, tuple.destination];
        let is_asked = self.asked.enis.is_empty() || self.asked.enis.contains(eni);
        let is_about = self.asked.address.is_none_or(|address| ends.contains(&address));
        if !is_asked || !is_about || ends.iter().any(|end| self.services.contains(end)) {
            return;
        }
        newest.add(Flow {
            eni: eni.clone(),
            direction,
            action,
            protocol: tuple.protocol,
            source: tuple.source,
            destination: tuple.destination,
            source_port: tuple.source_port,
            destination_port: tuple.destination_port,
            counted,
            start,
        });
    }
}
