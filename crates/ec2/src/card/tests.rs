//! Cards that are slow, repeat themselves, fail, and come back.

use super::session::{CardSession, plan_for};
use crate::api::tests::{ask, only};
use crate::error::Error;
use crate::records::{AttachmentStatus, BY_SUBNET, Eni};
use crate::task_eni::{self, TaskEni, release};
use crate::testing::{World, now};
use ident::{EniId, Generation, InstanceId, SubnetId};
use net::model::Service;
use net::plan::{CardPlan, CardReport, EniPlan, EniUser};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use store::Revision;

/// A card that has obeyed the plan entirely.
fn obeyed(plan: &CardPlan) -> CardReport {
    let present = plan.vpcs.iter().flat_map(|vpc| &vpc.enis).map(|eni| eni.eni.clone()).collect();
    CardReport { generation: plan.generation, present, failed: BTreeMap::new() }
}

fn report(world: &World, session: &CardSession, report: &CardReport) {
    now(session.on_report(world.cx.store(), report)).expect("kept");
}

fn state(world: &World, eni: &EniId) -> TaskEni {
    task_eni::state(&world.view(), world.cx.scope(), eni)
}

fn revision(world: &World) -> Revision {
    world.view().revision()
}

/// A world with a machine, a session with its card, and a task's interface.
struct Scene {
    world: World,
    session: CardSession,
    instance: InstanceId,
    eni: EniId,
}

fn scene() -> Scene {
    let world = World::new();
    let instance = world.machine().id;
    let subnet = world.subnets()[0].net.id.clone();
    let eni = world.provision(&instance, &subnet).expect("provisioned").net.id;
    let session = CardSession::new(world.cx.scope().clone(), instance.clone());
    Scene { world, session, instance, eni }
}

impl Scene {
    fn poll(&mut self) -> Option<CardPlan> {
        self.session.poll(&self.world.view())
    }

    fn hear(&self, heard: &CardReport) {
        report(&self.world, &self.session, heard);
    }

    fn release(&self) {
        let scope = self.world.cx.scope();
        self.world.transact(|txn| release(txn, scope, &self.eni)).expect("released");
    }

    fn state(&self) -> TaskEni {
        state(&self.world, &self.eni)
    }
}

#[test]
fn a_task_interface_is_attached_and_goes() {
    let mut scene = scene();
    let plan = scene.poll().expect("a first plan");
    let enis = &plan.vpcs[0].enis;
    let user = |eni: &EniId| enis.iter().find(|plan| plan.eni == *eni).map(|plan| plan.user);
    assert_eq!((enis.len(), user(&scene.eni)), (2, Some(EniUser::Task)));
    assert!(enis.iter().any(|eni| eni.user == EniUser::Host));
    assert_eq!(scene.state(), TaskEni::Attaching);
    assert_eq!(scene.poll(), None, "nothing has changed");

    scene.hear(&obeyed(&plan));
    assert_eq!(scene.state(), TaskEni::Attached);
    assert_eq!(scene.poll(), None, "what the card said is no news to it");

    scene.release();
    assert_eq!(scene.state(), TaskEni::Detaching);
    scene.hear(&obeyed(&plan));
    assert_eq!(scene.state(), TaskEni::Detaching, "the report is of before");

    let without = scene.poll().expect("a plan without it");
    assert!(without.generation > plan.generation);
    assert_eq!(without.vpcs[0].enis.len(), 1);
    let lingering = CardReport { generation: without.generation, ..obeyed(&plan) };
    scene.hear(&lingering);
    assert_eq!(scene.state(), TaskEni::Detaching, "the card still has it");
    scene.hear(&obeyed(&without));
    assert_eq!(scene.state(), TaskEni::Gone);
    scene.release();
}

#[test]
fn a_card_hears_of_its_vpcs_names_as_the_vpc_is_set() {
    let mut scene = scene();
    let vpc = scene.world.subnets()[0].net.vpc.to_string();
    let modify = |scene: &Scene, name: &str, value: &str| {
        let form = [("VpcId", vpc.as_str()), (name, value)];
        ask(&scene.world, "ModifyVpcAttribute", &form).expect("modified");
    };
    let heard = |scene: &mut Scene| {
        let plan = scene.poll().expect("a plan").vpcs.remove(0);
        let resolver = plan.enis.iter().map(|eni| eni.services.contains(&Service::Resolver));
        let resolver: BTreeSet<bool> = resolver.collect();
        let mut all: Vec<Ipv4Addr> = plan.enis.iter().flat_map(EniPlan::ipv4_addresses).collect();
        all.sort();
        assert_eq!(resolver, [plan.dns.is_some()].into(), "all the same");
        plan.dns.map(|dns| (dns.domain, dns.named == all, dns.named.len()))
    };
    let domain = || "ec2.internal".to_owned();
    assert_eq!(heard(&mut scene), Some((domain(), true, 2)));
    modify(&scene, "EnableDnsHostnames.Value", "false");
    assert_eq!(heard(&mut scene), Some((domain(), false, 0)));
    modify(&scene, "EnableDnsSupport.Value", "false");
    assert_eq!(heard(&mut scene), None);
}

/// More interfaces come and go at once than one transaction may write.
#[test]
fn a_report_may_say_more_than_a_transaction_may_write() {
    let mut scene = scene();
    let subnet = scene.world.subnets()[0].net.id.clone();
    let more = |scene: &Scene| {
        scene.world.provision(&scene.instance, &subnet).expect("provisioned").net.id
    };
    let all: Vec<EniId> = (0..300).map(|_| more(&scene)).collect();
    let is = |scene: &Scene, wanted: &TaskEni| {
        all.iter().filter(|eni| state(&scene.world, eni) == *wanted).count()
    };
    let plan = scene.poll().expect("a plan");
    scene.hear(&obeyed(&plan));
    assert_eq!(is(&scene, &TaskEni::Attached), all.len());
    let scope = scene.world.cx.scope().clone();
    for eni in &all {
        scene.world.transact(|txn| release(txn, &scope, eni)).expect("released");
    }
    let plan = scene.poll().expect("a plan without them");
    scene.hear(&obeyed(&plan));
    assert_eq!(is(&scene, &TaskEni::Gone), all.len());

    (0..300).for_each(|_| drop(more(&scene)));
    let gone = || {
        let body =
            |txn: &mut store::Txn| Ok(crate::instances::deregister(txn, &scope, &scene.instance));
        scene.world.transact(body).expect("kept")
    };
    assert_eq!([gone(), gone(), gone()], [false, false, true]);
    assert_eq!(scene.world.view().count::<Eni>(&scope), 0);
}

#[test]
fn the_same_report_again_writes_nothing() {
    let mut scene = scene();
    let plan = scene.poll().expect("a plan");
    scene.hear(&obeyed(&plan));
    let before = revision(&scene.world);
    for _ in 0..3 {
        scene.hear(&obeyed(&plan));
        scene.hear(&CardReport::default());
    }
    assert_eq!(revision(&scene.world), before);
}

#[test]
fn a_failure_is_final_for_a_task_and_keeps_its_reason() {
    let mut scene = scene();
    let plan = scene.poll().expect("a plan");
    let reason = "RTNETLINK answers: no buffer space".to_owned();
    let mut failed = obeyed(&plan);
    failed.present.retain(|eni| *eni != scene.eni);
    failed.failed.insert(scene.eni.clone(), reason.clone());
    scene.hear(&failed);
    assert_eq!(scene.state(), TaskEni::Failed(reason.clone()));

    scene.hear(&obeyed(&plan));
    assert_eq!(scene.state(), TaskEni::Failed(reason), "a late success changes nothing");
    let without = scene.poll().expect("a plan that gives up");
    assert_eq!(without.vpcs[0].enis.len(), 1);

    // Releasing changes no plan, and yet the card must be asked.
    scene.hear(&obeyed(&without));
    scene.release();
    scene.hear(&obeyed(&without));
    assert_eq!(scene.state(), TaskEni::Detaching);
    let again = scene.poll().expect("the same plan, newer");
    assert_eq!(again.vpcs, without.vpcs);
    scene.hear(&obeyed(&again));
    assert_eq!(scene.state(), TaskEni::Gone);
}

#[test]
fn the_machines_own_interface_is_tried_again() {
    let mut scene = scene();
    let plan = scene.poll().expect("a plan");
    let host = plan.vpcs[0].enis.iter().find(|eni| eni.user == EniUser::Host);
    let host = host.expect("the machine's").eni.clone();
    let status = |scene: &Scene| {
        let eni = scene.world.view().get::<Eni>(scene.world.cx.scope(), host.as_str());
        let eni = eni.expect("the machine's");
        (eni.attachment_status(), eni.failure().map(str::to_owned))
    };
    let mut failed = obeyed(&plan);
    failed.failed.insert(host.clone(), "busy".to_owned());
    scene.hear(&failed);
    assert_eq!(status(&scene), (Some(AttachmentStatus::Attaching), Some("busy".to_owned())));
    let before = revision(&scene.world);
    scene.hear(&failed);
    assert_eq!(revision(&scene.world), before);
    assert_eq!(scene.poll(), None, "it is still wanted");
    scene.hear(&obeyed(&plan));
    assert_eq!(status(&scene), (Some(AttachmentStatus::Attached), None));
}

#[test]
fn a_card_speaks_for_its_own_instance_alone() {
    let mut scene = scene();
    let plan = scene.poll().expect("a plan");
    let other = scene.world.machine().id;
    let stranger = CardSession::new(scene.world.cx.scope().clone(), other);
    report(&scene.world, &stranger, &obeyed(&plan));
    assert_eq!(scene.state(), TaskEni::Attaching);
    scene.release();
    let future = CardReport { generation: Generation(u64::MAX), ..CardReport::default() };
    report(&scene.world, &stranger, &future);
    assert_eq!(scene.state(), TaskEni::Detaching);
}

#[test]
fn an_old_sessions_late_report_frees_no_address() {
    let mut scene = scene();
    // A session that said its last before the interface was made.
    let world = World::new();
    let instance = world.machine().id;
    let mut old = CardSession::new(world.cx.scope().clone(), instance.clone());
    let empty = old.poll(&world.view()).expect("a plan");
    scene.world = world;
    scene.eni = scene
        .world
        .provision(&instance, &scene.world.subnets()[0].net.id)
        .expect("provisioned")
        .net
        .id;
    scene.session = CardSession::new(scene.world.cx.scope().clone(), instance);
    let plan = scene.poll().expect("a plan");
    scene.hear(&obeyed(&plan));
    scene.release();
    report(&scene.world, &old, &obeyed(&empty));
    assert_eq!(scene.state(), TaskEni::Detaching, "the card has it still");
}

#[test]
fn with_the_instance_goes_everything_of_it() {
    let mut scene = scene();
    let plan = scene.poll().expect("a plan");
    scene.hear(&obeyed(&plan));
    let scope = scene.world.cx.scope().clone();
    let deregister = || {
        scene.world.transact(|txn| Ok(crate::instances::deregister(txn, &scope, &scene.instance)))
    };
    assert!(deregister().expect("gone"));
    assert!(deregister().expect("gone already"));
    assert_eq!(scene.state(), TaskEni::Gone);
    assert_eq!(scene.world.view().count::<Eni>(&scope), 0);
    assert_eq!(scene.session.poll(&scene.world.view()).expect("a plan of nothing").vpcs, []);
}

/// What may happen, and to which of several.
#[derive(Clone, Debug)]
enum Step {
    Provision(usize),
    Release(usize),
    /// A user makes an interface with this many addresses and one.
    Make(usize),
    /// A user's interface gets this address of the small subnet, wherever it is now.
    Move {
        which: usize,
        to: u8,
    },
    /// A user's interface gets any other address.
    Assign(usize),
    /// A user's interface loses its last secondary address, or else goes.
    Lose(usize),
    /// A session looks whether there is something to say.
    Poll(usize),
    /// Some plan on its way arrives; the card fails at some of it.
    Plan {
        which: usize,
        fails: u8,
    },
    /// Some report on its way arrives, and perhaps will again.
    Report {
        which: usize,
        again: bool,
    },
    /// A card connects anew. What was said on the old connection may arrive yet.
    Reconnect(usize),
    /// The control plane forgets what it has not written down.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<usize>().prop_map(Step::Provision),
        5 => any::<usize>().prop_map(Step::Release),
        2 => (0..3_usize).prop_map(Step::Make),
        3 => (any::<usize>(), 3..16_u8).prop_map(|(which, to)| Step::Move { which, to }),
        2 => any::<usize>().prop_map(Step::Assign),
        5 => any::<usize>().prop_map(Step::Lose),
        8 => any::<usize>().prop_map(Step::Poll),
        8 => (any::<usize>(), any::<u8>()).prop_map(|(which, fails)| Step::Plan { which, fails }),
        8 => (any::<usize>(), any::<bool>())
            .prop_map(|(which, again)| Step::Report { which, again }),
        1 => any::<usize>().prop_map(Step::Reconnect),
        1 => Just(Step::Restart),
    ]
}

/// A node's card, as it is told to be: it refuses plans of the past, and has what
/// its plan says.
struct Card {
    instance: InstanceId,
    session: CardSession,
    generation: Generation,
    has: BTreeMap<EniId, (SubnetId, Ipv4Addr)>,
}

struct Afternoon {
    world: World,
    subnet: SubnetId,
    cards: Vec<Card>,
    tasks: Vec<EniId>,
    /// Interfaces of users.
    users: Vec<EniId>,
    plans: Vec<(usize, CardPlan)>,
    reports: Vec<(CardSession, CardReport)>,
}

impl Afternoon {
    fn new() -> Self {
        let world = World::new();
        let subnet = world.shrink_first_subnet();
        let card = |_| {
            let instance = world.machine().id;
            let session = CardSession::new(world.cx.scope().clone(), instance.clone());
            Card { instance, session, generation: Generation(0), has: BTreeMap::new() }
        };
        let cards = (0..2).map(card).collect();
        Self { world, subnet, cards, tasks: vec![], users: vec![], plans: vec![], reports: vec![] }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Provision(at) => {
                let instance = self.cards[at % self.cards.len()].instance.clone();
                match self.world.provision(&instance, &self.subnet) {
                    Ok(eni) => self.tasks.push(eni.net.id),
                    Err(Error::NoAddress(_)) => assert_eq!(self.addresses().len(), 11),
                    Err(other) => panic!("{other}"),
                }
            }
            Step::Release(at) if !self.tasks.is_empty() => {
                let task = self.tasks.remove(at % self.tasks.len());
                self.release(&task);
            }
            Step::Make(secondary) => {
                let (subnet, count) = (self.subnet.to_string(), secondary.to_string());
                let form = [("SubnetId", &*subnet), ("SecondaryPrivateIpAddressCount", &*count)];
                let room = 11 - self.addresses().len();
                match ask(&self.world, "CreateNetworkInterface", &form) {
                    Ok(xml) => self.users.extend(only(&xml, "networkInterfaceId").parse()),
                    Err(refused) => {
                        assert_eq!(refused.code, "InsufficientFreeAddressesInSubnet");
                        assert!(room < secondary + 1);
                    }
                }
            }
            Step::Move { which, to } if !self.users.is_empty() => {
                let address = format!("172.31.0.{to}");
                let more = [("PrivateIpAddress.1", &*address), ("AllowReassignment", "true")];
                let before = self.addresses().len();
                let moved = self.assign(which, &more);
                assert!(moved.is_ok() || self.addresses().len() == before);
            }
            Step::Assign(which) if !self.users.is_empty() => {
                let room = 11 - self.addresses().len();
                let assigned = self.assign(which, &[("SecondaryPrivateIpAddressCount", "1")]);
                assert_eq!(assigned.is_ok(), room > 0);
            }
            Step::Lose(at) if !self.users.is_empty() => {
                let at = at % self.users.len();
                self.lose(at);
            }
            Step::Poll(at) => {
                let at = at % self.cards.len();
                self.poll(at);
            }
            Step::Plan { which, fails } if !self.plans.is_empty() => {
                let (at, plan) = self.plans.remove(which % self.plans.len());
                self.obey(at, &plan, fails);
            }
            Step::Report { which, again } if !self.reports.is_empty() => {
                let which = which % self.reports.len();
                let (session, heard) = self.reports[which].clone();
                if !again {
                    self.reports.remove(which);
                }
                report(&self.world, &session, &heard);
            }
            Step::Reconnect(at) => self.reconnect(at % self.cards.len()),
            Step::Restart => {
                self.world.restart();
                (0..self.cards.len()).for_each(|at| self.reconnect(at));
            }
            Step::Release(_)
            | Step::Move { .. }
            | Step::Assign(_)
            | Step::Lose(_)
            | Step::Plan { .. }
            | Step::Report { .. } => {}
        }
    }

    fn release(&self, eni: &EniId) {
        let scope = self.world.cx.scope();
        self.world.transact(|txn| release(txn, scope, eni)).expect("released");
    }

    fn assign(&self, which: usize, more: &[(&str, &str)]) -> Result<String, wire::Fault> {
        let id = &self.users[which % self.users.len()];
        let form = [&[("NetworkInterfaceId", id.as_str())], more].concat();
        ask(&self.world, "AssignPrivateIpAddresses", &form)
    }

    fn lose(&mut self, at: usize) {
        let id = self.users[at].to_string();
        let scope = self.world.cx.scope();
        let eni = self.world.view().get::<Eni>(scope, &id).expect("there");
        let by_id = ("NetworkInterfaceId", id.as_str());
        if let Some(last) = eni.net.secondary_ipv4.last().map(ToString::to_string) {
            let form = [by_id, ("PrivateIpAddress.1", last.as_str())];
            ask(&self.world, "UnassignPrivateIpAddresses", &form).expect("unassigned");
        } else {
            ask(&self.world, "DeleteNetworkInterface", &[by_id]).expect("deleted");
            self.users.remove(at);
        }
    }

    fn reconnect(&mut self, at: usize) {
        let card = &mut self.cards[at];
        card.session = CardSession::new(self.world.cx.scope().clone(), card.instance.clone());
    }

    fn poll(&mut self, at: usize) {
        if let Some(plan) = self.cards[at].session.poll(&self.world.view()) {
            let enis = plan.vpcs.iter().flat_map(|vpc| &vpc.enis);
            let all: Vec<_> = enis.flat_map(|eni| eni.addresses().collect::<Vec<_>>()).collect();
            let set: BTreeSet<_> = all.iter().collect();
            assert_eq!(set.len(), all.len(), "a plan has an address twice: {all:?}");
            self.plans.push((at, plan));
        }
    }

    fn obey(&mut self, at: usize, plan: &CardPlan, fails: u8) {
        let card = &mut self.cards[at];
        if plan.generation < card.generation {
            return;
        }
        card.generation = plan.generation;
        card.has.clear();
        let mut heard = CardReport { generation: plan.generation, ..CardReport::default() };
        for (number, eni) in plan.vpcs.iter().flat_map(|vpc| &vpc.enis).enumerate() {
            if number < 3 && fails & (0x11 << number) == 0x11 << number {
                heard.failed.insert(eni.eni.clone(), "no luck".to_owned());
            } else {
                let ipv4 = eni.ipv4.expect("the control plane gives each one");
                card.has.insert(eni.eni.clone(), (eni.subnet.clone(), ipv4));
                heard.present.push(eni.eni.clone());
            }
        }
        self.reports.push((card.session.clone(), heard));
    }

    /// The addresses that are taken in the small subnet.
    fn addresses(&self) -> BTreeSet<Ipv4Addr> {
        let view = self.world.view();
        let enis = view.by::<Eni>(self.world.cx.scope(), BY_SUBNET, self.subnet.as_str());
        let all: Vec<Ipv4Addr> =
            enis.flat_map(|eni| eni.net.ipv4_addresses().collect::<Vec<_>>()).collect();
        let set: BTreeSet<Ipv4Addr> = all.iter().copied().collect();
        assert_eq!(set.len(), all.len(), "an address was given twice: {all:?}");
        set
    }

    /// What must hold at every moment, whatever the weather.
    fn assert_safe(&self) {
        self.addresses();
        let scope = self.world.cx.scope();
        let view = self.world.view();
        let mut live = BTreeSet::new();
        for (eni, place) in self.cards.iter().flat_map(|card| &card.has) {
            assert!(live.insert(place), "two interfaces on the wire have {place:?}");
            assert!(
                view.get::<Eni>(scope, eni.as_str()).is_some(),
                "{eni} is on the wire, forgotten"
            );
        }
    }

    /// The weather clears: everything that is said arrives, in order, once.
    fn settle(&mut self) {
        self.plans.clear();
        for at in 0..self.cards.len() {
            self.reconnect(at);
        }
        for _ in 0..3 {
            for at in 0..self.cards.len() {
                self.poll(at);
            }
            for (at, plan) in std::mem::take(&mut self.plans) {
                self.obey(at, &plan, 0);
            }
            for (session, heard) in std::mem::take(&mut self.reports) {
                report(&self.world, &session, &heard);
            }
            self.assert_safe();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn no_address_is_given_twice_and_none_is_lost(steps in prop::collection::vec(step(), 0..120)) {
        let mut afternoon = Afternoon::new();
        for step in &steps {
            afternoon.step(step);
            afternoon.assert_safe();
        }
        afternoon.settle();
        for task in &afternoon.tasks {
            let settled = state(&afternoon.world, task);
            prop_assert!(matches!(settled, TaskEni::Attached | TaskEni::Failed(_)), "{settled:?}");
        }
        for task in std::mem::take(&mut afternoon.tasks) {
            afternoon.release(&task);
        }
        afternoon.settle();
        while !afternoon.users.is_empty() {
            afternoon.lose(0);
        }
        let scope = afternoon.world.cx.scope().clone();
        let view = afternoon.world.view();
        prop_assert_eq!(view.count::<Eni>(&scope), afternoon.cards.len(), "the machines' own");
        prop_assert_eq!(afternoon.addresses().len(), afternoon.cards.len());
        for card in &afternoon.cards {
            let plan = plan_for(&view, &scope, &card.instance);
            prop_assert_eq!(plan.vpcs.iter().map(|vpc| vpc.enis.len()).sum::<usize>(), 1);
        }
    }
}
