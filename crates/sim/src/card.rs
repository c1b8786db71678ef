//! A card that behaves: it makes its kernel match the newest plan it was given,
//! late, sometimes in vain, and says what came of it.

use ident::{EniId, Generation, VpcId};
use net::plan::{CardPlan, CardReport, EniPlan};
use std::collections::BTreeMap;

/// The interfaces in a node's kernel. They outlive the card.
pub(crate) type Kernel = BTreeMap<EniId, (VpcId, EniPlan)>;

/// The card of one node.
#[derive(Debug, Default)]
pub(crate) struct Card {
    /// Its connection to the control plane.
    pub(crate) line: Option<u64>,
    /// Counts its processes, so that what one began is not another's.
    pub(crate) life: u64,
    /// The newest plan it was given. On its disk.
    pub(crate) plan: Option<CardPlan>,
    /// Whether it is about to apply the plan.
    pub(crate) busy: bool,
    /// What this process reports: nothing until it has applied a plan.
    pub(crate) report: Option<CardReport>,
    /// The interfaces that its kernel refuses, with the reasons.
    pub(crate) cursed: BTreeMap<EniId, String>,
}

impl Card {
    /// Takes a plan, unless it is older than the one it has.
    pub(crate) fn take(&mut self, plan: CardPlan) -> bool {
        if self.plan.as_ref().is_some_and(|known| plan.generation < known.generation) {
            return false;
        }
        self.plan = Some(plan);
        true
    }

    /// Makes the kernel match the plan. `interrupted` stops half-way, as a card
    /// that dies does; what is done stays done.
    pub(crate) fn apply(&mut self, kernel: &mut Kernel, interrupted: bool) {
        let Some(plan) = &self.plan else { return };
        let wanted: BTreeMap<EniId, (VpcId, EniPlan)> = plan
            .vpcs
            .iter()
            .flat_map(|vpc| vpc.enis.iter().map(|eni| (vpc.vpc.clone(), eni.clone())))
            .map(|(vpc, eni)| (eni.eni.clone(), (vpc, eni)))
            .collect();
        let steps = kernel.len() + wanted.len();
        let mut left = if interrupted { steps / 2 } else { usize::MAX };
        let mut go_on = || {
            let on = left > 0;
            left = left.saturating_sub(1);
            on
        };
        // What goes makes room, for addresses too.
        kernel.retain(|id, _| wanted.contains_key(id) || !go_on());
        for (id, planned) in &wanted {
            if !self.cursed.contains_key(id) && go_on() {
                kernel.insert(id.clone(), planned.clone());
            }
        }
        if interrupted {
            return;
        }
        let failed =
            wanted.keys().filter_map(|id| Some((id.clone(), self.cursed.get(id)?.clone())));
        self.report = Some(CardReport {
            generation: plan.generation,
            present: wanted.keys().filter(|id| kernel.contains_key(*id)).cloned().collect(),
            failed: failed.collect(),
        });
    }

    /// The process dies and another takes its place. The plan is on disk, the
    /// interfaces are in the kernel.
    pub(crate) fn restart(&mut self) {
        self.life += 1;
        self.line = None;
        self.busy = false;
        self.report = None;
    }

    /// The generation of the plan it has.
    pub(crate) fn generation(&self) -> Option<Generation> {
        self.plan.as_ref().map(|plan| plan.generation)
    }
}
