//! The life of a task, as a function.
//!
//! A task moves through the phases that the ECS API reports as `lastStatus`, and
//! it only ever moves forward. What happens to it arrives as an [`Event`]; what
//! we owe it is *derived* from the phase it is in ([`duties`]), never remembered
//! separately. A controller that crashes forgets nothing: it looks at the phase
//! again and finds the same duties.
//!
//! Not every task needs every phase. One without a network interface of its own
//! has nothing to provision, one without load balancers nothing to activate;
//! such a task passes over the phase ([`Needs`]) instead of pausing in it.

use serde::{Deserialize, Serialize};

/// Where a task is in its life, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Phase {
    Provisioning,
    Pending,
    Activating,
    Running,
    Deactivating,
    Stopping,
    Deprovisioning,
    Stopped,
}

/// News about a task, from whoever brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The card reports the task's network interface in place.
    EniAttached,
    /// The card cannot make the task's network interface.
    EniFailed,
    /// The agent reports every essential container running.
    ContainersUp,
    /// Every target group has the task in service.
    TargetsReady,
    /// A person, a deployment or a scale-in wants the task gone.
    StopRequested,
    /// No target group will send the task another request.
    TargetsDrained,
    /// The agent reports the task's containers gone.
    ContainersDown,
    /// The instance left without saying goodbye.
    InstanceLost,
    /// Everything that outlives the containers is given back.
    Released,
}

/// Something the control plane owes a task for as long as it stays in a phase.
/// Each is idempotent: carrying it out twice is the same as once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Duty {
    AttachEni,
    DeliverPayload,
    RegisterTargets,
    DrainTargets,
    DeliverStop,
    ReleaseEni,
}

/// What a task has besides containers, hence which phases it stops at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// A network interface of its own: the task waits in PROVISIONING and in
    /// DEPROVISIONING.
    pub eni: bool,
    /// Load balancers or service discovery: the task waits in ACTIVATING and in
    /// DEACTIVATING.
    pub targets: bool,
}

/// What the control plane wants of a task, as `desiredStatus` reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Desired {
    Running,
    Stopped,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 8] = [
        Self::Provisioning,
        Self::Pending,
        Self::Activating,
        Self::Running,
        Self::Deactivating,
        Self::Stopping,
        Self::Deprovisioning,
        Self::Stopped,
    ];

    /// The phase as the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Activating => "ACTIVATING",
            Self::Running => "RUNNING",
            Self::Deactivating => "DEACTIVATING",
            Self::Stopping => "STOPPING",
            Self::Deprovisioning => "DEPROVISIONING",
            Self::Stopped => "STOPPED",
        }
    }

    /// What is wanted of a task that got this far. Nothing turns back, so the
    /// wish is a function of the phase and cannot disagree with it.
    pub fn desired(self) -> Desired {
        if self <= Self::Running { Desired::Running } else { Desired::Stopped }
    }

    /// Whether the task still takes room on its instance.
    pub fn holds_room(self) -> bool {
        self < Self::Stopped
    }
}

impl Desired {
    /// The wish as the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
        }
    }
}

/// The phase a new task begins in.
pub fn first(needs: Needs) -> Phase {
    pass_over(Phase::Provisioning, needs)
}

/// The phase a task enters on hearing `event`, or `None` if that is old news.
pub fn step(phase: Phase, event: Event, needs: Needs) -> Option<Phase> {
    use Event::*;
    use Phase::*;
    let next = match (event, phase) {
        (EniAttached, Provisioning) => Pending,
        (ContainersUp, Pending) => Activating,
        (TargetsReady, Activating) => Running,

        // How gently a task is stopped depends on how far it got.
        (EniFailed | StopRequested, Provisioning) => Deprovisioning,
        (StopRequested, Activating | Running) => Deactivating,
        (StopRequested, Pending) | (TargetsDrained, Deactivating) => Stopping,

        // The dead need no draining.
        (ContainersDown, Pending | Activating | Running | Deactivating | Stopping) => {
            Deprovisioning
        }
        (InstanceLost, before) if before < Deprovisioning => Deprovisioning,
        (Released, Deprovisioning) => Stopped,

        // Late, duplicated or overtaken. We name the events rather than write
        // `_`, so that inventing one is a compile error until it is considered.
        (
            EniAttached | EniFailed | ContainersUp | TargetsReady | StopRequested | TargetsDrained
            | ContainersDown | InstanceLost | Released,
            _,
        ) => return None,
    };
    Some(pass_over(next, needs))
}

/// `phase`, or the one after it if the task has nothing to wait for there.
fn pass_over(phase: Phase, needs: Needs) -> Phase {
    match phase {
        Phase::Provisioning if !needs.eni => Phase::Pending,
        Phase::Activating if !needs.targets => Phase::Running,
        Phase::Deactivating if !needs.targets => Phase::Stopping,
        Phase::Deprovisioning if !needs.eni => Phase::Stopped,
        Phase::Provisioning
        | Phase::Pending
        | Phase::Activating
        | Phase::Running
        | Phase::Deactivating
        | Phase::Stopping
        | Phase::Deprovisioning
        | Phase::Stopped => phase,
    }
}

/// What is owed to a task in `phase`.
pub fn duties(phase: Phase) -> &'static [Duty] {
    match phase {
        Phase::Provisioning => &[Duty::AttachEni],
        Phase::Pending => &[Duty::DeliverPayload],
        Phase::Activating => &[Duty::RegisterTargets],
        Phase::Deactivating => &[Duty::DrainTargets],
        Phase::Stopping => &[Duty::DeliverStop],
        Phase::Deprovisioning => &[Duty::ReleaseEni],
        Phase::Running | Phase::Stopped => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::{Event::*, Phase::*, *};
    use alloc::vec;
    use alloc::vec::Vec;

    const EVENTS: [Event; 9] = [
        EniAttached,
        EniFailed,
        ContainersUp,
        TargetsReady,
        StopRequested,
        TargetsDrained,
        ContainersDown,
        InstanceLost,
        Released,
    ];
    const KINDS: [Needs; 4] = [
        Needs { eni: false, targets: false },
        Needs { eni: false, targets: true },
        Needs { eni: true, targets: false },
        Needs { eni: true, targets: true },
    ];

    /// Every life that starts in `phase`, as the list of phases it passes through.
    fn lives(phase: Phase, needs: Needs) -> Vec<Vec<Phase>> {
        let nexts = EVENTS.into_iter().filter_map(|event| step(phase, event, needs));
        let onward = nexts.inspect(|next| assert!(*next > phase, "{phase:?} -> {next:?}"));
        let mut tails: Vec<_> = onward.flat_map(|next| lives(next, needs)).collect();
        for life in &mut tails {
            life.insert(0, phase);
        }
        if tails.is_empty() { vec![vec![phase]] } else { tails }
    }

    #[test]
    fn tasks_only_move_forward() {
        for needs in KINDS {
            for phase in Phase::ALL {
                for next in EVENTS.into_iter().filter_map(|event| step(phase, event, needs)) {
                    assert!(next > phase, "{phase:?} went back to {next:?}");
                }
            }
        }
    }

    #[test]
    fn every_life_ends_and_gives_back_what_it_took() {
        for needs in KINDS {
            for life in lives(first(needs), needs) {
                assert_eq!(life.last(), Some(&Stopped), "{life:?}");
                let gave_back = life.iter().filter(|p| **p == Deprovisioning).count();
                assert_eq!(gave_back, usize::from(needs.eni), "{life:?}");
            }
        }
    }

    #[test]
    fn nobody_waits_for_what_he_does_not_have() {
        for needs in KINDS {
            for phase in lives(first(needs), needs).into_iter().flatten() {
                if !needs.eni {
                    assert!(!matches!(phase, Provisioning | Deprovisioning));
                }
                if !needs.targets {
                    assert!(!matches!(phase, Activating | Deactivating));
                }
            }
        }
    }

    #[test]
    fn whoever_ran_was_drained_before_he_was_told_to_stop() {
        let needs = Needs { eni: true, targets: true };
        for life in lives(Running, needs) {
            let stop = life.iter().position(|p| *p == Stopping);
            let drain = life.iter().position(|p| *p == Deactivating);
            assert!(stop.is_none() || drain < stop && drain.is_some(), "{life:?}");
        }
    }

    /// The whole table, as text: a change of any cell has to be meant.
    #[test]
    fn the_table() {
        let needs = Needs { eni: true, targets: true };
        let row = |event| Phase::ALL.map(|phase| step(phase, event, needs));
        let no = None;
        let (deprovision, stop) = (Some(Deprovisioning), Some(Stopping));
        let drain = Some(Deactivating);
        assert_eq!(row(EniAttached), [Some(Pending), no, no, no, no, no, no, no]);
        assert_eq!(row(EniFailed), [deprovision, no, no, no, no, no, no, no]);
        assert_eq!(row(ContainersUp), [no, Some(Activating), no, no, no, no, no, no]);
        assert_eq!(row(TargetsReady), [no, no, Some(Running), no, no, no, no, no]);
        assert_eq!(row(StopRequested), [deprovision, stop, drain, drain, no, no, no, no]);
        assert_eq!(row(TargetsDrained), [no, no, no, no, stop, no, no, no]);
        assert_eq!(
            row(ContainersDown),
            [no, deprovision, deprovision, deprovision, deprovision, deprovision, no, no]
        );
        assert_eq!(
            row(InstanceLost),
            [deprovision, deprovision, deprovision, deprovision, deprovision, deprovision, no, no]
        );
        assert_eq!(row(Released), [no, no, no, no, no, no, Some(Stopped), no]);
    }

    #[test]
    fn a_phase_without_an_event_that_ends_it_owes_something_or_is_an_end() {
        for phase in Phase::ALL {
            let rest = matches!(phase, Running | Stopped);
            assert_eq!(duties(phase).is_empty(), rest, "{phase:?}");
        }
    }

    #[test]
    fn the_wish_and_the_room_follow_the_phase() {
        assert_eq!(Running.desired(), Desired::Running);
        assert_eq!(Deactivating.desired(), Desired::Stopped);
        assert!(Deprovisioning.holds_room());
        assert!(!Stopped.holds_room());
    }
}
