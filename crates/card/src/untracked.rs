//! Flows that security groups do not track, as EC2 documents it: they end when the rules
//! no longer permit them.
//!
//! The kernel tracks every flow, and what it knows passes without a rule being asked. A
//! flow that an interface would not track on EC2 is marked by the rules when it begins;
//! and after rules have gone, the card looks at the marked ones and has those forgotten
//! that are no longer permitted. So packets of known flows cost what they always did.

use crate::filter::{UNTRACKED_IN, UNTRACKED_OUT};
use crate::flows::{self, Tracked, Tuple};
use crate::gate::{TCP, UDP};
use net::judge::{Content, Flow, Gate, Packet, permits, untracked};
use net::plan::{EniPlan, VpcPlan};
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

/// Ends the marked flows that `plan` does not permit, in the calling thread's namespace;
/// says how many there were.
pub(crate) fn cut(plan: &VpcPlan) -> io::Result<usize> {
    flows::forget(|flow| is_over(plan, flow))
}

/// Whether an interface that both plans have lost a rule that left flows untracked.
pub(crate) fn narrows(before: &VpcPlan, plan: &VpcPlan) -> bool {
    let rules = |plan: &VpcPlan, eni: &EniPlan, gate| -> BTreeSet<_> {
        untracked(plan, eni, gate).collect()
    };
    // Most plans are about interfaces that come and go.
    let changed = before.groups.iter().filter(|group| !plan.groups.contains(group));
    let changed: BTreeSet<_> = changed.map(|group| &group.group).collect();
    before.enis.iter().any(|old| {
        let Some(new) = plan.enis.iter().find(|eni| eni.eni == old.eni) else { return false };
        let concerned =
            old.groups != new.groups || old.groups.iter().any(|it| changed.contains(it));
        let narrower = |gate| !rules(before, old, gate).is_subset(&rules(plan, new, gate));
        concerned && [Gate::Egress, Gate::Ingress].into_iter().any(narrower)
    })
}

/// Whether an interface that does not track the flow no longer lets it or its answers
/// pass.
fn is_over(plan: &VpcPlan, flow: &Tracked) -> bool {
    let owner =
        |address: IpAddr| plan.enis.iter().find(|eni| eni.addresses().any(|o| o == address));
    let tuple = flow.tuple;
    let refuses = |eni: &EniPlan, gate: Gate| {
        let passes = |gate, tuple| {
            packet(eni, tuple)
                .is_some_and(|packet| permits(plan, eni, gate, &packet).next().is_some())
        };
        !(passes(gate, tuple) && passes(gate.opposite(), tuple.reversed()))
    };
    let ends = [
        (UNTRACKED_OUT, tuple.source, Gate::Egress),
        (UNTRACKED_IN, tuple.destination, Gate::Ingress),
    ];
    ends.into_iter().any(|(mark, address, gate)| {
        flow.mark & mark != 0 && owner(address).is_some_and(|eni| refuses(eni, gate))
    })
}

/// A packet of a flow, as the rules see it.
fn packet(eni: &EniPlan, tuple: Tuple) -> Option<Packet> {
    let port = tuple.destination_port;
    let content = match tuple.protocol {
        TCP => Content::Tcp { port },
        UDP => Content::Udp { port },
        _ => return None,
    };
    let (source, destination) = (tuple.source, tuple.destination);
    let (sender, mac) = (eni.eni.clone(), eni.mac);
    Some(Packet { sender, mac, source, destination, content, flow: Flow::New })
}
