//! The whole of it: what there is, and what happens in one step.

use crate::drive::Outage;
use crate::mail::{Mail, Post};
use crate::node::Node;
use crate::oracle::Oracle;
use crate::plane::{Plane, ready, scope};
use crate::rng::{EPOCH, Rng};
use crate::trace::Trace;
use crate::users::Users;
use crate::weather::Weather;
use chassis::fake::{ManualClock, SeededEntropy};
use ident::{InstanceId, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use store::MemoryBackend;
use wire::Fault;

/// An installation with its users, in one thread and under virtual time.
pub struct World {
    pub(crate) seed: u64,
    pub(crate) rng: Rng,
    pub(crate) weather: Weather,
    /// Milliseconds since the beginning; unlike the clock it never jumps.
    pub(crate) now: u64,
    /// How long a moment is at most in fair weather, in milliseconds.
    pace: u64,
    /// By how much the clock is wrong, in milliseconds.
    skew: i64,
    clock: Arc<ManualClock>,
    entropy: Arc<SeededEntropy>,
    disk: MemoryBackend,
    /// None while it is dead.
    pub(crate) plane: Option<Plane>,
    plane_back_at: u64,
    /// The commits of the lives that are over.
    commits_before: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) post: Post,
    lines: u64,
    pub(crate) users: Users,
    pub(crate) oracle: Oracle,
    trace: Trace,
}

/// What becomes of a request, as its sender sees it.
#[derive(Debug)]
pub(crate) enum Answer<T> {
    /// There is none: whether it was carried out is unknown.
    None,
    /// It is refused.
    Refused(Fault),
    /// It is carried out.
    Given(T),
}

/// The instance type of the nodes: room for two interfaces of tasks.
const INSTANCE_TYPE: &str = "t3.medium";

/// How long a moment is at most, in milliseconds, when one looks closely.
const PACE: u64 = 400;
/// The same when hours are to pass: connections bear as much of silence.
const STRIDE: u64 = 20_000;

impl World {
    /// A world of `nodes` machines, the last of which is in a cluster of its own
    /// if there are several. All that ever happens in it follows from `seed`.
    pub fn new(seed: u64, nodes: usize) -> Self {
        Self::with_outage(seed, nodes, None)
    }

    /// The same, with a control plane whose first life ends as `outage` says.
    pub fn with_outage(seed: u64, nodes: usize, outage: Option<Outage>) -> Self {
        let clock = Arc::new(ManualClock::at(EPOCH));
        let entropy = Arc::new(SeededEntropy::new(seed.wrapping_add(1)));
        let disk = MemoryBackend::new();
        let plane = Plane::start(&disk, &clock, &entropy, None);
        let mut world = Self {
            seed,
            rng: Rng::new(seed),
            weather: Weather::FAIR,
            now: 0,
            pace: PACE,
            skew: 0,
            clock,
            entropy,
            disk,
            plane: Some(plane),
            plane_back_at: 0,
            commits_before: 0,
            nodes: Vec::new(),
            post: Post::default(),
            lines: 0,
            users: Users::default(),
            oracle: Oracle::default(),
            trace: Trace::default(),
        };
        for number in 0..nodes {
            let alone = nodes > 1 && number + 1 == nodes;
            world.add_node(number, if alone { "blue" } else { "default" });
        }
        world.move_in();
        if let (Some(outage), Some(plane)) = (outage, &world.plane) {
            plane.doom(outage);
        }
        world
    }

    fn add_node(&mut self, number: usize, cluster: &str) {
        let plane = self.plane.as_ref().expect("it has just been started");
        let id = InstanceId::mint(plane.platform.bits());
        let all = ec2::zones::of(&scope().region);
        let zones = (number > 0).then(|| vec![all[number % all.len()].name.clone()]);
        let machine = ec2::Machine {
            instance: Some(id.clone()),
            zones,
            instance_type: Some(INSTANCE_TYPE.to_owned()),
        };
        let registered = ready(ec2::instances::register(&plane.platform, &scope(), machine));
        registered.expect("there is room for a machine");
        self.nodes.push(Node {
            id,
            cluster: cluster.to_owned(),
            card: crate::card::Card::default(),
            kernel: BTreeMap::new(),
            runtime: crate::runtime::Runtime::default(),
            agent: crate::node::Agent::default(),
            cut_off: false,
        });
    }

    /// Lets it be like this from now on.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
        self.let_rivals_in();
    }

    /// Tells the disk how often somebody else is quicker in this weather.
    fn let_rivals_in(&self) {
        if let Some(plane) = &self.plane {
            plane.overtake(self.weather.overtaken);
        }
    }

    /// How many commits the control plane has made, in all its lives.
    pub fn commits(&self) -> u64 {
        self.commits_before + self.plane.as_ref().map_or(0, Plane::commits)
    }

    /// A moment passes: whatever is due happens, everybody does his duty or not,
    /// and what must hold is held against it.
    pub fn step(&mut self) {
        let longest = if self.weather == Weather::FAIR { self.pace } else { 600 };
        self.now += self.rng.between(1, longest);
        if self.rng.one_in(self.weather.clock_jumps) {
            // Forward by minutes, as after a sleep; back by seconds, as by NTP.
            let jump = i64::try_from(self.rng.below(180_000)).unwrap_or(0);
            self.skew += if self.rng.one_in(2) { jump } else { -(jump / 30) };
            self.note(&format!("the clock is off by {} ms", self.skew));
        }
        let moment = EPOCH.0 + i64::try_from(self.now).unwrap_or(i64::MAX) + self.skew;
        self.clock.set(Timestamp(moment));
        self.mishaps();
        self.deliver();
        self.reconcile();
        self.converse();
        self.wish();
        self.mend();
        self.attend();
        self.bury();
        self.check();
    }

    /// Steps in the present weather.
    pub fn run(&mut self, steps: u32) {
        for _ in 0..steps {
            self.step();
        }
    }

    /// Time passes in fair weather, in longer moments.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.set_weather(Weather::FAIR);
        self.pace = STRIDE;
        while self.now < end {
            self.step();
        }
        self.pace = PACE;
    }

    /// The weather clears, and everything must come to rest.
    pub fn settle(&mut self) {
        const PATIENCE: u32 = 3_000;
        const CALM: u32 = 15;
        self.set_weather(Weather::FAIR);
        self.users.calm_down();
        let mut calm = 0;
        let mut unrest = String::new();
        for _ in 0..PATIENCE {
            self.step();
            match self.unrest() {
                None => calm += 1,
                Some(reason) => (calm, unrest) = (0, reason),
            }
            if calm == CALM {
                return;
            }
        }
        self.fail(&format!("it never came to rest: {unrest}"));
    }

    /// What the clock shows.
    pub(crate) fn clock_now(&self) -> Timestamp {
        use chassis::Clock as _;
        self.clock.now()
    }

    /// When something sent now arrives.
    pub(crate) fn soon(&mut self) -> u64 {
        self.now + self.rng.between(1, self.weather.delay.max(1))
    }

    /// A number that no connection has had.
    pub(crate) fn new_line(&mut self) -> u64 {
        self.lines += 1;
        self.lines
    }

    pub(crate) fn note(&mut self, what: &str) {
        self.trace.note(self.now, what);
    }

    /// The end of the simulation, with everything one needs to find out why.
    pub(crate) fn fail(&self, why: &str) -> ! {
        panic!("\n{}\n\nSEED={} at {} ms: {why}\n", self.trace.text(), self.seed, self.now);
    }

    /// Asks the control plane, over a network that loses things.
    pub(crate) fn call<T>(
        &mut self,
        request: impl FnOnce(&Plane) -> Result<T, Fault>,
    ) -> Answer<T> {
        let lost = self.rng.one_in(self.weather.lost);
        let late = self.rng.one_in(self.weather.lost);
        let Some(plane) = &self.plane else { return Answer::None };
        if lost || plane.is_dead() {
            return Answer::None;
        }
        let answer = request(plane);
        if late || plane.is_dead() {
            return Answer::None;
        }
        match answer {
            Ok(given) => Answer::Given(given),
            Err(fault) if fault.status >= 500 => Answer::None,
            Err(fault) => Answer::Refused(fault),
        }
    }

    fn mishaps(&mut self) {
        if let Some(plane) = &self.plane
            && self.rng.one_in(self.weather.plane_dies)
        {
            let number = self.rng.between(1, 6);
            let before = self.rng.one_in(2);
            plane.doom(if before { Outage::Before(number) } else { Outage::After(number) });
            self.note("the control plane will die");
        }
        for node in 0..self.nodes.len() {
            if self.rng.one_in(self.weather.hangup) {
                self.hang_up(node);
            }
            if self.rng.one_in(self.weather.agent_dies) {
                self.restart_agent(node);
            }
            if self.rng.one_in(self.weather.card_dies) {
                self.restart_card(node);
            }
            if self.rng.one_in(self.weather.reboot) {
                self.reboot(node);
            }
            if self.rng.one_in(self.weather.amnesia) {
                self.forget_everything(node);
            }
            if self.rng.one_in(self.weather.exit) {
                self.strike_down(node);
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(mail) = self.post.next(self.now) {
            match mail {
                Mail::Plan { .. }
                | Mail::CardReport { .. }
                | Mail::ToAgent { .. }
                | Mail::FromAgent { .. }
                | Mail::NodeHearsEnd { .. }
                | Mail::PlaneHearsEnd { .. }
                | Mail::Disconnect { .. } => self.carry(mail),
                Mail::Apply { node, life } => self.apply_plan(node, life),
                Mail::Work { node, life, effect } => self.work(node, life, &effect),
                Mail::News { node, life, input } => self.hear(node, life, input),
                Mail::Submit { node, life, report } => self.submit(node, life, report),
                Mail::Echo { node, report } => self.echo(node, &report),
                Mail::Birth { node, container } => {
                    // Unless it is gone meanwhile.
                    drop(self.nodes[node].runtime.start(&container));
                }
                Mail::Death { node, container, exit } => {
                    self.nodes[node].runtime.end(&container, exit);
                }
                Mail::Run { order } => self.run_order(order),
                Mail::Stop { cluster, task, reason } => self.stop(&cluster, &task, &reason),
            }
        }
    }

    /// The controllers, in any order, and not always.
    fn reconcile(&mut self) {
        let Some(plane) = &self.plane else { return };
        let mut order: Vec<usize> = (0..plane.controllers.len()).collect();
        self.rng.shuffle(&mut order);
        let mut failed = None;
        for at in order {
            if self.rng.one_in(self.weather.neglect) {
                continue;
            }
            let controller = &plane.controllers[at];
            if let Err(error) = ready(controller.reconcile(&plane.platform))
                && !plane.is_dead()
            {
                failed = Some(format!("{} failed: {error}", controller.name()));
            }
        }
        if let Some(why) = failed {
            self.fail(&why);
        }
    }

    /// What has died is gone, with all that it held; after a while another comes.
    fn bury(&mut self) {
        match &self.plane {
            Some(plane) if plane.is_dead() => {
                self.commits_before += plane.commits();
                self.plane = None;
                self.plane_back_at = self.soon();
                self.note("the control plane is dead");
                self.count("the control plane died");
                for node in 0..self.nodes.len() {
                    self.lose_lines(node);
                }
            }
            None if self.plane_back_at <= self.now => {
                let plane = Plane::start(&self.disk, &self.clock, &self.entropy, None);
                self.plane = Some(plane);
                self.let_rivals_in();
                self.note("the control plane is back");
            }
            Some(_) | None => {}
        }
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("World")
            .field("seed", &self.seed)
            .field("now", &self.now)
            .field("nodes", &self.nodes.len())
            .finish_non_exhaustive()
    }
}
