//! What is said to a card, and what its answers mean. No network, no clock.
//!
//! Everything here follows from the state and the message at hand, so a session
//! may end at any point and another take over, on another control plane, and
//! reports may come late or twice. What makes that safe is that a plan's
//! generation is the revision of the state it was made from:
//!
//! - An interface that was released at revision *d* is in no plan of *d* or
//!   later. A card refuses a plan that is older than the one it has. So once it
//!   reports a generation of at least *d* without the interface, it never has it
//!   again, and its address may be somebody else's.
//! - An id is never used twice, so a report that an interface is in place is true
//!   of that interface whenever it was sent; except of one that a user attaches,
//!   which may have been there before. Of that only reports on a plan count that
//!   was made after it was attached.

use crate::eni::recount;
use crate::records::{
    AttachmentStatus, BY_INSTANCE, BY_VPC, Eni, Instance, SecurityGroup, Subnet, Vpc,
};
use ident::{EniId, Generation, InstanceId, Scope, VpcId};
use net::compile::{Dns, VpcView, card_plan};
use net::plan::{CardPlan, CardReport, EniUser, VpcPlan};
use net::{model, names};
use std::collections::BTreeSet;
use std::sync::Arc;
use store::{MAX_OPERATIONS, Store, StoreError, Txn, View};

/// For how many interfaces one transaction keeps what a card says: each takes up to two
/// of its writes.
const AT_ONCE: usize = MAX_OPERATIONS / 2;

/// The conversation with the card of one instance.
#[derive(Clone, Debug)]
pub struct CardSession {
    scope: Scope,
    instance: InstanceId,
    /// What this session said last. A new session says everything again.
    said: Option<CardPlan>,
}

impl CardSession {
    /// A conversation in which nothing was said yet.
    pub fn new(scope: Scope, instance: InstanceId) -> Self {
        Self { scope, instance, said: None }
    }

    /// The instance whose card it is.
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// The plan to send now, if there is something to say.
    pub fn poll(&mut self, view: &View) -> Option<CardPlan> {
        let plan = plan_for(view, &self.scope, &self.instance);
        let news = match &self.said {
            None => true,
            Some(said) => said.vpcs != plan.vpcs || self.awaits_newer(view, said.generation),
        };
        if !news {
            return None;
        }
        self.said = Some(plan.clone());
        Some(plan)
    }

    /// Takes in what the card says. A report that says nothing new writes nothing; one
    /// that says much is kept in parts, each of which is true by itself.
    pub async fn on_report(&self, store: &Store, report: &CardReport) -> Result<(), StoreError> {
        while store.transact(|txn| Ok::<_, StoreError>(self.keep(txn, report))).await? == AT_ONCE {}
        Ok(())
    }

    /// Keeps the next part of a report: for how many interfaces it said something new.
    fn keep(&self, txn: &mut Txn, report: &CardReport) -> usize {
        let (scope, instance) = (&self.scope, self.instance.as_str());
        let enis: Vec<Arc<Eni>> = txn.view().by(scope, BY_INSTANCE, instance).collect();
        let mut kept = 0;
        for eni in enis {
            if kept == AT_ONCE {
                break;
            }
            let id = &eni.net.id;
            let heard = Heard::of(id, report);
            let written = txn.view().written::<Eni>(scope, id.as_str());
            let of_now = written.is_some_and(|at| report.generation.0 >= at.0);
            match eni.attachment_status() {
                Some(AttachmentStatus::Attaching) if eni.is_users() && !of_now => {}
                Some(AttachmentStatus::Attaching) => {
                    if let Some(next) = while_attaching(&eni, heard) {
                        rewrite(txn, id, scope, next);
                        kept += 1;
                    }
                }
                Some(AttachmentStatus::Detaching) => {
                    if of_now && heard == Heard::Absent {
                        leave(txn, &eni);
                        kept += 1;
                    }
                }
                // A card that lost an interface makes it again; nobody is served
                // by a task that flickers with it.
                Some(AttachmentStatus::Attached) | None => {}
            }
        }
        kept
    }

    /// Whether an interface is leaving of which a card that has `said` cannot say
    /// that it never comes back, or has come of which it cannot say that it is
    /// not what was there before. It is asked by a newer plan, even an equal one.
    fn awaits_newer(&self, view: &View, said: Generation) -> bool {
        view.by::<Eni>(&self.scope, BY_INSTANCE, self.instance.as_str())
            .filter(|eni| match eni.attachment_status() {
                Some(AttachmentStatus::Detaching) => true,
                Some(AttachmentStatus::Attaching) => eni.is_users(),
                Some(AttachmentStatus::Attached) | None => false,
            })
            .filter_map(|eni| view.written::<Eni>(&self.scope, eni.net.id.as_str()))
            .any(|written| written.0 > said.0)
    }
}

/// What a report says of one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard<'a> {
    Present,
    Failed(&'a str),
    Absent,
}

impl<'a> Heard<'a> {
    /// Trouble outweighs presence: half an interface is none.
    fn of(eni: &EniId, report: &'a CardReport) -> Self {
        match report.failed.get(eni) {
            Some(reason) => Self::Failed(reason),
            None if report.present.contains(eni) => Self::Present,
            None => Self::Absent,
        }
    }
}

/// An attachment's next status and failure.
type Next = (AttachmentStatus, Option<String>);

/// What the report changes for an interface that is being attached.
fn while_attaching(eni: &Eni, heard: Heard<'_>) -> Option<Next> {
    // A task is stopped as soon as its interface has failed, so that is final.
    // The machine's own and users' are tried again for as long as they are wanted.
    if eni.requester_managed && eni.failure().is_some() {
        return None;
    }
    match heard {
        Heard::Present => Some((AttachmentStatus::Attached, None)),
        Heard::Failed(reason) if eni.failure() != Some(reason) => {
            Some((AttachmentStatus::Attaching, Some(reason.to_owned())))
        }
        Heard::Failed(_) | Heard::Absent => None,
    }
}

/// What an interface becomes that its instance has no more: a task's goes, and a
/// user's may be attached anew.
fn leave(txn: &mut Txn, eni: &Eni) {
    if eni.requester_managed {
        txn.delete::<Eni>(&eni.scope, eni.net.id.as_str());
    } else {
        txn.put(Eni { attachment: None, ..eni.clone() });
        if let Some(instance) = eni.instance() {
            recount(txn, &eni.scope, instance);
        }
    }
}

fn rewrite(txn: &mut Txn, id: &EniId, scope: &Scope, (status, failure): Next) {
    let Some(found) = txn.get::<Eni>(scope, id.as_str()) else { return };
    let mut eni = Eni::clone(&found);
    if let Some(attachment) = &mut eni.attachment {
        attachment.status = status;
        attachment.failure = failure;
    }
    txn.put(eni);
}

/// Everything that the instance's node must have, as of this state. The
/// generation is the state's revision, which is durable and never goes back.
pub fn plan_for(view: &View, scope: &Scope, instance: &InstanceId) -> CardPlan {
    let generation = Generation(view.revision().0);
    let Some(host) = view.get::<Instance>(scope, instance.as_str()) else {
        return CardPlan { generation, vpcs: Vec::new() };
    };
    let here: Vec<Arc<Eni>> =
        view.by::<Eni>(scope, BY_INSTANCE, instance.as_str()).filter(|eni| eni.wanted()).collect();
    let user = |eni: &Eni| {
        if eni.net.id == host.primary_eni { EniUser::Host } else { EniUser::Task }
    };
    let local = here.iter().map(|eni| (eni.net.id.clone(), user(eni))).collect();
    let vpcs: BTreeSet<VpcId> = here.iter().map(|eni| eni.net.vpc.clone()).collect();
    let parts: Vec<Parts> = vpcs.iter().filter_map(|vpc| Parts::of(view, scope, vpc)).collect();
    let views: Vec<VpcView<'_>> = parts.iter().map(Parts::view).collect();
    card_plan(generation, &views, &local)
}

/// What the router of a VPC would be told if all of it were on one node, for who
/// wants to know what becomes of a packet.
pub fn plan_of(view: &View, scope: &Scope, vpc: &VpcId) -> Option<VpcPlan> {
    let parts = Parts::of(view, scope, vpc)?;
    let local = parts.enis.iter().map(|eni| (eni.net.id.clone(), EniUser::Task)).collect();
    let plan = card_plan(Generation(view.revision().0), &[parts.view()], &local);
    plan.vpcs.into_iter().next()
}

/// One VPC's records, held for as long as a plan is made from them.
struct Parts {
    vpc: Arc<Vpc>,
    subnets: Vec<Arc<Subnet>>,
    enis: Vec<Arc<Eni>>,
    groups: Vec<model::SecurityGroup>,
    domain: String,
}

impl Parts {
    fn of(view: &View, scope: &Scope, vpc: &VpcId) -> Option<Self> {
        let id = vpc.as_str();
        Some(Self {
            vpc: view.get(scope, id)?,
            subnets: view.by(scope, BY_VPC, id).collect(),
            // An interface leaves its groups when it is released, not when its
            // card has caught up: what it still sends is nobody's any more.
            enis: view.by::<Eni>(scope, BY_VPC, id).filter(|eni| eni.wanted()).collect(),
            groups: view.by::<SecurityGroup>(scope, BY_VPC, id).map(|group| group.net()).collect(),
            domain: names::domain(scope.region.as_str()),
        })
    }

    fn view(&self) -> VpcView<'_> {
        VpcView {
            vpc: &self.vpc.net,
            subnets: self.subnets.iter().map(|subnet| &subnet.net).collect(),
            enis: self.enis.iter().map(|eni| &eni.net).collect(),
            groups: self.groups.iter().collect(),
            // Nobody can make one yet.
            prefix_lists: Vec::new(),
            dns: self
                .vpc
                .enable_dns_support
                .then_some(Dns { domain: &self.domain, has_names: self.vpc.enable_dns_hostnames }),
        }
    }
}
