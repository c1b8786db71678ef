//! The engine in foul weather: news in any order, twice, late or never, and
//! agents that die in between. The world below answers as the real one does; a
//! seed decides when.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What the kernel and the runtime hold, whatever becomes of the agent.
#[derive(Default)]
struct World {
    containers: BTreeMap<String, FoundState>,
    /// Whether there is a namespace.
    network: bool,
    /// Whether something leads out of it.
    connected: bool,
    starts: BTreeMap<String, u32>,
    restarts: BTreeMap<String, u32>,
    exits: BTreeMap<String, i32>,
    /// What the agent was told has failed, whether it has or not.
    doubtful: BTreeSet<String>,
    /// Work under way.
    work: Vec<Effect>,
    /// What the control plane has taken, in order.
    reports: Vec<Report>,
}

/// One of the things that can happen next.
#[derive(Clone, Debug)]
enum Turn {
    /// Some work succeeds, or fails.
    Work { pick: usize, fails: bool },
    /// Some process ends by itself.
    Exit { pick: usize, code: i32 },
    /// Time passes.
    Wait(u16),
    /// The payload comes again, perhaps as a stop.
    Payload { stop: bool },
    /// The agent dies and is replaced.
    Crash,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        12 => (0..8usize, prop::bool::weighted(0.1))
            .prop_map(|(pick, fails)| Turn::Work { pick, fails }),
        2 => (0..4usize, 0..3i32).prop_map(|(pick, code)| Turn::Exit { pick, code }),
        2 => (0..20_000u16).prop_map(Turn::Wait),
        1 => prop::bool::ANY.prop_map(|stop| Turn::Payload { stop }),
        1 => Just(Turn::Crash),
    ];
    prop::collection::vec(turn, 0..80)
}

impl World {
    /// Carries out one piece of work and says what the agent hears of it.
    fn perform(&mut self, effect: Effect, fails: bool) -> Vec<Input> {
        let failed = |kind| Err(Failure::new(kind, "the world is against it"));
        match effect {
            Effect::PrepareNetwork(spec) => {
                (self.network, self.connected) = (true, !fails);
                let result = if fails { failed(FailureKind::Network) } else { Ok(()) };
                let result = result.map(|()| BTreeMap::new());
                vec![Input::NetworkReady { task: spec.arn.clone(), result }]
            }
            Effect::RemoveNetwork(spec) => {
                assert!(self.containers.is_empty(), "containers still use the network");
                // As the effect says: a preparation under way is given up.
                self.work.retain(|effect| !matches!(effect, Effect::PrepareNetwork(_)));
                (self.network, self.connected) = (fails, false);
                vec![Input::NetworkRemoved { task: spec.arn.clone(), gone: !fails }]
            }
            Effect::Pull { spec, index, .. } => {
                let result =
                    if fails { failed(FailureKind::Pull).map(|()| None) } else { Ok(None) };
                vec![Input::Pulled(which(&spec, index), result)]
            }
            Effect::Create { spec, index, runtime_id } => {
                // Its namespace is made with it, if need be.
                self.network = true;
                for wanted in &spec.containers[index].depends_on {
                    self.assert_met(&spec, wanted);
                }
                assert!(
                    !matches!(
                        self.containers.get(&runtime_id),
                        Some(FoundState::Running | FoundState::Created)
                    ),
                    "created over a live one"
                );
                let state = if fails { FoundState::Recorded } else { FoundState::Created };
                self.containers.insert(runtime_id, state);
                let result = if fails { failed(FailureKind::Create) } else { Ok(()) };
                vec![Input::Created(which(&spec, index), result)]
            }
            Effect::Start { which, runtime_id } => {
                assert_eq!(self.containers.get(&runtime_id), Some(&FoundState::Created));
                assert!(self.connected, "a process without a network");
                // What fails for the agent may have worked for the kernel.
                if !fails || self.starts.len().is_multiple_of(2) {
                    self.containers.insert(runtime_id.clone(), FoundState::Running);
                    *self.starts.entry(runtime_id.clone()).or_default() += 1;
                }
                if fails {
                    self.doubtful.insert(runtime_id);
                    return vec![Input::Started(which, failed(FailureKind::Start))];
                }
                vec![Input::Started(which, Ok(()))]
            }
            Effect::Restart { spec, index, runtime_id } => {
                vec![Input::Restarted(which(&spec, index), self.restart(&runtime_id, fails))]
            }
            Effect::Check { spec, index, .. } => {
                vec![Input::Checked(which(&spec, index), Some(Checkup::silent(i32::from(fails))))]
            }
            Effect::Signal { spec, index, runtime_id, signal } => {
                self.assert_needless(&spec, index);
                let code = if signal == Signal::Kill { 137 } else { 143 };
                if fails {
                    return vec![Input::SignalFailed(which(&spec, index))];
                }
                self.exit(&runtime_id, code)
                    .map(|exit| Input::Exited(which(&spec, index), exit))
                    .into_iter()
                    .collect()
            }
            Effect::Delete { which, runtime_id } => {
                let runs = self.containers.get(&runtime_id) == Some(&FoundState::Running);
                assert!(!runs || self.doubtful.contains(&runtime_id), "deleted alive");
                if !fails {
                    self.containers.remove(&runtime_id);
                }
                vec![Input::Deleted { which, gone: !fails }]
            }
            Effect::GiveUpPull(which) => {
                self.work.retain(
                    |effect| !matches!(effect, Effect::Pull { index, .. } if *index == which.index),
                );
                Vec::new()
            }
            Effect::Report(report) => {
                let runs = self.containers.values().any(|state| *state == FoundState::Running);
                assert!(report.status != Known::Stopped || !runs, "its interface is given back");
                // The control plane may hear a thing twice, when the agent dies
                // before it hears the answer.
                let (task, number) = (report.task.clone(), report.number);
                self.reports.push(report);
                vec![Input::Reported { task, number }]
            }
            Effect::Await { which, runtime_id } => match self.containers.get(&runtime_id) {
                Some(FoundState::Stopped(exit)) => vec![Input::Exited(which, *exit)],
                _ => Vec::new(),
            },
            Effect::DeleteOrphan { .. }
            | Effect::RemoveOrphanNetwork { .. }
            | Effect::Forget(_) => {
                panic!("nothing here is a stray: {effect:?}")
            }
        }
    }

    fn restart(&mut self, runtime_id: &str, fails: bool) -> Result<(), Failure> {
        let state = self.containers.get(runtime_id);
        assert!(state.is_some_and(|it| *it != FoundState::Running), "restarted alive");
        // As with a start, what fails for the agent may have worked.
        if !fails || self.starts.len().is_multiple_of(2) {
            self.containers.insert(runtime_id.to_owned(), FoundState::Running);
            *self.restarts.entry(runtime_id.to_owned()).or_default() += 1;
        }
        if fails {
            self.doubtful.insert(runtime_id.to_owned());
            return Err(Failure::new(FailureKind::Start, "the world is against it"));
        }
        Ok(())
    }

    /// Nobody is asked to stop while somebody runs who needs it.
    fn assert_needless(&self, spec: &TaskSpec, index: usize) {
        let on = &spec.containers[index].name;
        for (at, other) in spec.containers.iter().enumerate() {
            let id = format!("{}-{at}", spec.arn.id());
            let runs = self.containers.get(&id) == Some(&FoundState::Running);
            let needs = other.depends_on.iter().any(|wanted| wanted.on == *on);
            let doubt = self.doubtful.contains(&id);
            assert!(!needs || !runs || doubt, "{on} is asked before {}", other.name);
        }
    }

    /// Nobody comes up before what it waits for is so.
    fn assert_met(&self, spec: &TaskSpec, wanted: &Dependency) {
        let at = spec.containers.iter().position(|it| it.name == wanted.on).expect("it exists");
        let id = format!("{}-{at}", spec.arn.id());
        let met = match wanted.condition {
            Condition::Create => true, // It may have failed, and be gone.
            Condition::Start | Condition::Healthy => self.starts.contains_key(&id),
            Condition::Complete => self.exits.contains_key(&id),
            Condition::Success => self.exits.get(&id) == Some(&0),
        };
        assert!(met, "{wanted:?} was not met");
    }

    fn exit(&mut self, runtime_id: &str, code: i32) -> Option<Exit> {
        let state = self.containers.get_mut(runtime_id)?;
        // Nobody waits for the end of one that has failed.
        if *state != FoundState::Running || self.doubtful.contains(runtime_id) {
            return None;
        }
        let exit = Exit { code, out_of_memory: false };
        *state = FoundState::Stopped(exit);
        self.exits.insert(runtime_id.to_owned(), code);
        Some(exit)
    }
}

struct Drill {
    spec: TaskSpec,
    engine: Engine,
    disk: EngineState,
    world: World,
    now: i64,
}

impl Drill {
    fn tell(&mut self, input: Input) {
        let before = self.engine.state().clone();
        let effects = self.engine.handle(input, Timestamp(self.now));
        for (arn, old) in &before.tasks {
            let new = &self.engine.state().tasks[arn];
            assert!(new.desired >= old.desired, "a wish was taken back");
            for (old, new) in old.containers.iter().zip(&new.containers) {
                let redone = old.known == Known::Pulled && new.known == Known::None;
                assert!(new.known >= old.known || redone, "{:?} -> {:?}", old.known, new.known);
            }
        }
        for arn in self.engine.take_dirty() {
            let task = self.engine.state().tasks[&arn].clone();
            self.disk.tasks.insert(arn, task);
        }
        self.world.work.extend(effects);
    }

    fn work(&mut self, pick: usize, fails: bool) {
        if self.world.work.is_empty() {
            return;
        }
        let effect = self.world.work.remove(pick % self.world.work.len());
        for input in self.world.perform(effect, fails) {
            self.tell(input);
        }
    }

    fn turn(&mut self, turn: &Turn) {
        match *turn {
            Turn::Work { pick, fails } => self.work(pick, fails),
            Turn::Exit { pick, code } => {
                let index = pick % self.spec.containers.len();
                let id = format!("{}-{index}", self.spec.arn.id());
                if let Some(exit) = self.world.exit(&id, code) {
                    self.tell(Input::Exited(which(&self.spec, index), exit));
                }
            }
            Turn::Wait(millis) => {
                self.now += i64::from(millis);
                self.tell(Input::Tick);
            }
            Turn::Payload { stop } => {
                let desired = if stop { Desired::Stopped } else { Desired::Running };
                self.tell(want(&self.spec, desired));
            }
            Turn::Crash => {
                // Through bytes, as from a disk; what was under way is lost.
                let json = serde_json::to_string(&self.disk).expect("writes");
                self.engine = Engine::resume(serde_json::from_str(&json).expect("reads"));
                self.world.work.clear();
                let network = self.world.network.then(|| self.spec.arn.short_id());
                let networks = network.into_iter().collect();
                let containers = self.world.containers.clone();
                self.tell(Input::Found(Inventory { containers, networks }));
            }
        }
    }

    /// Fair weather: everything is answered, and the task is told to stop.
    fn settle(&mut self) {
        self.tell(want(&self.spec.clone(), Desired::Stopped));
        for _ in 0..200 {
            while !self.world.work.is_empty() {
                self.work(0, false);
            }
            match self.engine.next_deadline() {
                Some(at) if self.engine.state().tasks[&self.spec.arn].finished_at.is_none() => {
                    self.now = self.now.max(at.0);
                    self.tell(Input::Tick);
                }
                _ => break,
            }
        }
    }
}

/// What is asked of a container: whether it is essential, whether it waits for another
/// and for what, and whether it is looked after.
#[derive(Clone, Debug)]
struct Asked {
    essential: bool,
    waits: Option<(usize, Condition)>,
    checked: bool,
    restarts: bool,
}

fn asked() -> impl Strategy<Value = Asked> {
    let condition = prop_oneof![
        Just(Condition::Create),
        Just(Condition::Start),
        Just(Condition::Complete),
        Just(Condition::Success),
        Just(Condition::Healthy),
    ];
    (any::<bool>(), prop::option::of((0..3usize, condition)), any::<bool>(), any::<bool>())
        .prop_map(|(essential, waits, checked, restarts)| Asked {
            essential,
            waits,
            checked,
            restarts,
        })
}

/// A task of such containers. Each waits only for one that comes before it, or if the
/// task is `upside_down`, after it.
fn composed(all: &[Asked], upside_down: bool) -> TaskSpec {
    let names = ["a", "b", "c"];
    let containers: Vec<_> = names.into_iter().zip(all.iter().map(|it| it.essential)).collect();
    let mut spec = spec(&containers);
    for (index, it) in all.iter().enumerate() {
        let container = &mut spec.containers[index];
        container.start_timeout = Some(Duration::from_secs(30));
        container.health_check = it.checked.then(|| super::health::check_every(5, 2));
        container.restart_policy = it.restarts.then(|| RestartPolicy {
            ignored_exit_codes: vec![2],
            attempt_period: Duration::from_secs(3),
        });
        let (least, most) = if upside_down { (index + 1, all.len()) } else { (0, index) };
        if let Some((pick, condition)) = it.waits.filter(|_| least < most) {
            let on = names[least + pick % (most - least)].to_owned();
            container.depends_on = vec![Dependency { on, condition }];
        }
    }
    assert!(can_come_up(&spec.containers));
    spec
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_ends_well(
        turns in turns(),
        asked in prop::collection::vec(asked(), 1..4),
        upside_down in any::<bool>(),
    ) {
        let spec = composed(&asked, upside_down);
        let mut drill = Drill {
            spec: spec.clone(),
            engine: Engine::default(),
            disk: EngineState::default(),
            world: World::default(),
            now: 0,
        };
        drill.tell(want(&spec, Desired::Running));
        for turn in &turns {
            drill.turn(turn);
        }
        drill.settle();

        let task = &drill.engine.state().tasks[&spec.arn];
        prop_assert!(task.finished_at.is_some(), "not over: {task:#?}");
        prop_assert!(drill.world.containers.is_empty() && !drill.world.network, "left behind");
        for (id, starts) in &drill.world.starts {
            prop_assert_eq!(*starts, 1, "{} started again", id);
        }
        for (index, it) in asked.iter().enumerate() {
            let id = format!("{}-{index}", spec.arn.id());
            prop_assert!(it.restarts || !drill.world.restarts.contains_key(&id), "{} restarted", id);
        }
        // Stopped is the last word, and running came before it or never.
        let stopped = drill.world.reports.iter().position(|r| r.status == Known::Stopped);
        let stopped = stopped.expect("reported stopped");
        for report in &drill.world.reports[stopped..] {
            prop_assert_eq!(report.status, Known::Stopped);
        }
        let ran = drill.world.reports[..stopped].iter().any(|r| r.status == Known::Running);
        prop_assert_eq!(ran, task.reached_running);
        // Every process that ran is reported with the code it ended with.
        for (index, container) in task.containers.iter().enumerate() {
            let told = drill.world.reports.iter().flat_map(|r| &r.containers);
            let told: Vec<_> = told
                .filter(|c| c.index == index && c.status == Known::Stopped)
                .map(|c| c.exit_code)
                .collect();
            prop_assert!(!told.is_empty());
            // One that waited in vain never ran, and has a code all the same.
            let vain = (!container.ran).then_some(container.exit_code).flatten();
            let code = drill.world.exits.get(&container.runtime_id).copied().or(vain);
            prop_assert!(told.iter().all(|c| *c == code), "{told:?} but {code:?}");
        }
    }
}
