//! What can go wrong, and how often.

/// Odds: a thing happens once in so many chances, and never if the number is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// A request, or its answer, is lost.
    pub lost: u64,
    /// A request or a report is delivered twice, the second time late.
    pub doubled: u64,
    /// The longest that anything is under way, in milliseconds.
    pub delay: u64,
    /// A controller is not run when it should be.
    pub neglect: u64,
    /// A node's connections break, noticed by one side or by both.
    pub hangup: u64,
    /// An agent's process dies.
    pub agent_dies: u64,
    /// A card's process dies.
    pub card_dies: u64,
    /// An agent loses its disk, and with it its identity.
    pub amnesia: u64,
    /// A machine loses everything but its disks.
    pub reboot: u64,
    /// The control plane dies, at its next commits.
    pub plane_dies: u64,
    /// Another control plane on the same disk writes first.
    pub overtaken: u64,
    /// The clock jumps.
    pub clock_jumps: u64,
    /// A step of the container runtime fails.
    pub step_fails: u64,
    /// A kernel refuses a new interface for good.
    pub eni_fails: u64,
    /// A container exits, is killed for its memory, or vanishes.
    pub exit: u64,
    /// Somebody asks for something.
    pub wishes: u64,
}

impl Weather {
    /// Nothing goes wrong, and nobody wants anything new.
    pub const FAIR: Self = Self {
        lost: 0,
        doubled: 0,
        delay: 40,
        neglect: 0,
        hangup: 0,
        agent_dies: 0,
        card_dies: 0,
        amnesia: 0,
        reboot: 0,
        plane_dies: 0,
        overtaken: 0,
        clock_jumps: 0,
        step_fails: 0,
        eni_fails: 0,
        exit: 0,
        wishes: 0,
    };

    /// Everything goes wrong.
    pub const FOUL: Self = Self {
        lost: 5,
        doubled: 6,
        delay: 3_000,
        neglect: 3,
        hangup: 40,
        agent_dies: 80,
        card_dies: 60,
        amnesia: 600,
        reboot: 300,
        plane_dies: 60,
        overtaken: 6,
        clock_jumps: 50,
        step_fails: 25,
        eni_fails: 12,
        exit: 60,
        wishes: 2,
    };
}
