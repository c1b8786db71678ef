//! The engine in foul weather: news in any order, twice, late or never, and
//! agents that die in between. The world below answers as the real one does; a
//! seed decides when.

#![allow(clippy::wildcard_enum_match_arm)] // Tests look for one kind among many.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn spec(containers: &[(&str, bool)]) -> TaskSpec {
    TaskSpec {
        arn: TaskArn::new("arn:aws:ecs:r:1:task/c/0123456789abcdef"),
        cluster: "c".to_owned(),
        family: "f".to_owned(),
        version: "1".to_owned(),
        network: Network::Isolated,
        cpu: None,
        memory_mib: None,
        credentials_id: None,
        containers: containers
            .iter()
            .map(|(name, essential)| ContainerSpec {
                name: (*name).to_owned(),
                image: "i".to_owned(),
                essential: *essential,
                stop_timeout: Some(Duration::from_secs(5)),
                ..ContainerSpec::default()
            })
            .collect(),
    }
}

fn want(spec: &TaskSpec, desired: Desired) -> Input {
    Input::Want { spec: Box::new(spec.clone()), desired }
}

fn which(spec: &TaskSpec, index: usize) -> Which {
    Which { task: spec.arn.clone(), index }
}

fn names(effects: &[Effect]) -> Vec<String> {
    let name = |effect: &Effect| match effect {
        Effect::PrepareNetwork(_) => "network".to_owned(),
        Effect::Pull { index, .. } => format!("pull {index}"),
        Effect::GiveUpPull(which) => format!("no pull {}", which.index),
        Effect::Create { index, .. } => format!("create {index}"),
        Effect::Start { which, .. } => format!("start {}", which.index),
        Effect::Await { which, .. } => format!("await {}", which.index),
        Effect::Signal { index, signal, .. } => format!("{signal:?} {index}").to_lowercase(),
        Effect::Delete { which, .. } => format!("delete {}", which.index),
        Effect::DeleteOrphan { runtime_id, .. } => format!("orphan {runtime_id}"),
        Effect::RemoveOrphanNetwork { short_id } => format!("orphan network {short_id}"),
        Effect::RemoveNetwork(_) => "no network".to_owned(),
        Effect::Report(report) => format!("report {:?}", report.status).to_lowercase(),
        Effect::Forget(_) => "forget".to_owned(),
    };
    effects.iter().map(name).collect()
}

/// Feeds an engine and says what it wants done.
fn feed(engine: &mut Engine, input: Input, at: i64) -> Vec<String> {
    names(&engine.handle(input, Timestamp(at)))
}

#[test]
fn the_life_of_a_task_with_a_sidecar() {
    let spec = spec(&[("side", false), ("main", true)]);
    let task = spec.arn.clone();
    let it = |index| which(&spec, index);
    let exit = |code| Exit { code, out_of_memory: false };
    let ready = Input::NetworkReady { task: task.clone(), result: Ok(()) };
    let script: Vec<(Input, &[&str])> = vec![
        (want(&spec, Desired::Running), &["network", "pull 0", "pull 1"]),
        (want(&spec, Desired::Running), &[]),
        (Input::Pulled(it(1), Ok(None)), &[]),
        (ready, &[]),
        // In order, and one at a time: they share a shim.
        (Input::Pulled(it(0), Ok(None)), &["create 0"]),
        (Input::Created(it(0), Ok(())), &["start 0", "create 1"]),
        (Input::Created(it(1), Ok(())), &[]),
        (Input::Started(it(0), Ok(())), &["start 1"]),
        (Input::Started(it(1), Ok(())), &["report running"]),
        (Input::Reported { task: task.clone(), number: 1 }, &[]),
        (Input::Exited(it(0), exit(0)), &["report running"]),
        (Input::Exited(it(0), exit(1)), &[]),
        (Input::Exited(it(1), exit(3)), &["delete 1"]),
        (Input::Reported { task: task.clone(), number: 2 }, &["report stopped"]),
        (Input::Deleted { which: it(1), gone: true }, &["delete 0"]),
        (Input::Deleted { which: it(0), gone: true }, &["no network"]),
        (Input::Reported { task: task.clone(), number: 3 }, &[]),
        (Input::NetworkRemoved { task: task.clone(), gone: true }, &[]),
        // Late copies of the payload raise nobody.
        (want(&spec, Desired::Running), &[]),
        (want(&spec, Desired::Stopped), &[]),
    ];
    let mut engine = Engine::default();
    for (step, (input, expected)) in script.into_iter().enumerate() {
        let shown = format!("step {step}: {input:?}");
        assert_eq!(feed(&mut engine, input, 0), expected, "{shown}");
    }
    assert_eq!(engine.state().tasks[&task].containers[0].exit_code, Some(0));
    let later = Timestamp(0).after(RETENTION).0;
    assert_eq!(feed(&mut engine, Input::Tick, later - 1), [""; 0]);
    assert_eq!(feed(&mut engine, Input::Tick, later), ["forget"]);
    assert!(engine.state().tasks.is_empty());
}

fn running(spec: &TaskSpec) -> Engine {
    let mut engine = Engine::default();
    let task = spec.arn.clone();
    engine.handle(want(spec, Desired::Running), Timestamp(0));
    engine.handle(Input::NetworkReady { task, result: Ok(()) }, Timestamp(0));
    for index in 0..spec.containers.len() {
        engine.handle(Input::Pulled(which(spec, index), Ok(None)), Timestamp(0));
        engine.handle(Input::Created(which(spec, index), Ok(())), Timestamp(0));
        engine.handle(Input::Started(which(spec, index), Ok(())), Timestamp(0));
    }
    engine.handle(Input::Reported { task: spec.arn.clone(), number: 1 }, Timestamp(0));
    engine
}

#[test]
fn a_container_is_asked_once_and_killed_when_its_time_is_up() {
    let spec = spec(&[("a", true), ("b", true)]);
    let mut engine = running(&spec);
    assert_eq!(feed(&mut engine, want(&spec, Desired::Stopped), 1000), ["stop 1", "stop 0"]);
    assert_eq!(engine.next_deadline(), Some(Timestamp(6000)));
    assert_eq!(feed(&mut engine, want(&spec, Desired::Stopped), 2000), [""; 0]);
    assert_eq!(feed(&mut engine, Input::Tick, 5999), [""; 0]);
    let exit = Exit { code: 0, out_of_memory: false };
    assert_eq!(feed(&mut engine, Input::Exited(which(&spec, 1), exit), 5999), [""; 0]);
    assert_eq!(feed(&mut engine, Input::Tick, 6000), ["kill 0"]);
    assert_eq!(feed(&mut engine, Input::Tick, 6001), [""; 0]);
    // A kill that has no effect is repeated.
    assert_eq!(feed(&mut engine, Input::Tick, 16_000), ["kill 0"]);
    let exit = Exit { code: 137, out_of_memory: false };
    let done = feed(&mut engine, Input::Exited(which(&spec, 0), exit), 16_001);
    assert_eq!(done, ["delete 1", "report stopped"]);
}

#[test]
fn who_could_not_be_asked_has_its_time_from_when_it_is() {
    let spec = spec(&[("a", true)]);
    let mut engine = running(&spec);
    let failed = || Input::SignalFailed(which(&spec, 0));
    assert_eq!(feed(&mut engine, want(&spec, Desired::Stopped), 1000), ["stop 0"]);
    assert_eq!(feed(&mut engine, failed(), 1500), [""; 0]);
    assert_eq!(feed(&mut engine, Input::Tick, 2500), ["stop 0"]);
    assert_eq!(feed(&mut engine, Input::Tick, 7499), [""; 0], "five seconds from the second");
    assert_eq!(feed(&mut engine, Input::Tick, 7500), ["kill 0"]);

    // One that never can be asked is killed all the same.
    let mut engine = running(&spec);
    let mut now = 0;
    let mut asked = feed(&mut engine, want(&spec, Desired::Stopped), now);
    for _ in 0..20 {
        if asked.contains(&"kill 0".to_owned()) {
            return;
        }
        engine.handle(failed(), Timestamp(now));
        now = engine.next_deadline().expect("it goes on").0;
        asked = feed(&mut engine, Input::Tick, now);
    }
    panic!("asked for ever");
}

type Step = fn(Which, Failure) -> Input;

#[test]
fn failures_become_the_containers_reason() {
    let failure = |kind| Failure::new(kind, "because");
    let cases: Vec<(FailureKind, Step)> = vec![
        (FailureKind::Pull, |which, failure| Input::Pulled(which, Err(failure))),
        (FailureKind::Create, |which, failure| Input::Created(which, Err(failure))),
        (FailureKind::Start, |which, failure| Input::Started(which, Err(failure))),
    ];
    for (step, (kind, input)) in cases.into_iter().enumerate() {
        let spec = spec(&[("a", true), ("b", true)]);
        let mut engine = Engine::default();
        let ready = Input::NetworkReady { task: spec.arn.clone(), result: Ok(()) };
        engine.handle(want(&spec, Desired::Running), Timestamp(0));
        engine.handle(ready, Timestamp(0));
        if step > 0 {
            engine.handle(Input::Pulled(which(&spec, 0), Ok(None)), Timestamp(0));
        }
        if step > 1 {
            engine.handle(Input::Created(which(&spec, 0), Ok(())), Timestamp(0));
        }
        let mut effects = engine.handle(input(which(&spec, 0), failure(kind)), Timestamp(0));
        if step > 0 {
            assert_eq!(names(&effects), ["no pull 1", "delete 0"]);
            let gone = Input::Deleted { which: which(&spec, 0), gone: true };
            effects = engine.handle(gone, Timestamp(0));
        }
        let report = effects.iter().find_map(|effect| match effect {
            Effect::Report(report) => Some(report),
            _ => None,
        });
        let report = report.expect("a report");
        assert_eq!((report.status, report.reason.as_str()), (Known::Stopped, ""));
        let reason = report.containers[0].reason.as_deref();
        assert_eq!(reason, Some(format!("{}: because", kind.name()).as_str()));
        assert_eq!(report.containers[0].exit_code, None);
        assert_eq!(report.containers[1].reason, None, "the other is not to blame");
    }
}

#[test]
fn what_a_new_agent_finds_is_squared_with_what_is_remembered() {
    let spec = spec(&[("a", true)]);
    let id = format!("{}-0", spec.arn.id());
    let saved = |engine: &Engine| {
        let json = serde_json::to_string(engine.state()).expect("writes");
        Engine::resume(serde_json::from_str(&json).expect("reads"))
    };
    let found = |state: Option<FoundState>, network: bool| {
        Input::Found(Inventory {
            containers: state.map(|state| (id.clone(), state)).into_iter().collect(),
            networks: network.then(|| spec.arn.short_id()).into_iter().collect(),
        })
    };
    let exit = Exit { code: 137, out_of_memory: true };
    for (state, network, expected) in [
        (Some(FoundState::Running), true, &["await 0"][..]),
        (Some(FoundState::Stopped(exit)), true, &["delete 0", "report stopped"]),
        (None, true, &["no network", "report stopped"]),
        // The machine was restarted.
        (None, false, &["report stopped"]),
    ] {
        let mut engine = saved(&running(&spec));
        let mut effects = feed(&mut engine, found(state, network), 1);
        effects.sort();
        assert_eq!(effects, expected, "{state:?} {network}");
    }
    // An agent that died before it had done anything begins again.
    let mut engine = Engine::default();
    engine.handle(want(&spec, Desired::Running), Timestamp(0));
    let mut engine = saved(&engine);
    assert_eq!(feed(&mut engine, found(None, false), 1), ["network", "pull 0"]);
    // One that died before it had started what it made starts it, once.
    let mut engine = Engine::default();
    engine.handle(want(&spec, Desired::Running), Timestamp(0));
    let mut engine = saved(&engine);
    let effects = feed(&mut engine, found(Some(FoundState::Created), true), 1);
    assert_eq!(effects, ["start 0"], "its network was ready, or it would not have been made");
    // What one left half made is removed, whatever keeps it from being made anew.
    for refused in [false, true] {
        let mut engine = Engine::default();
        engine.handle(want(&spec, Desired::Running), Timestamp(0));
        let mut engine = saved(&engine);
        feed(&mut engine, found(Some(FoundState::Recorded), false), 1);
        let end = if refused {
            Input::Pulled(which(&spec, 0), Err(Failure::new(FailureKind::Pull, "no")))
        } else {
            want(&spec, Desired::Stopped)
        };
        let effects = feed(&mut engine, end, 2);
        assert_eq!(effects[usize::from(!refused)..], ["delete 0", "report stopped"], "{refused}");
    }
}

#[test]
fn what_is_nobodys_is_removed_however_often_that_fails() {
    let spec = spec(&[("a", true), ("b", true)]);
    let (id, short) = (spec.arn.id(), spec.arn.short_id());
    let containers = [0, 1].map(|index| (format!("{id}-{index}"), FoundState::Running));
    let inventory = Inventory {
        containers: containers.into_iter().collect(),
        networks: std::iter::once(short.clone()).collect(),
    };
    let done = |orphan: &Orphan, gone| Input::OrphanRemoved { orphan: orphan.clone(), gone };
    let container = |index| Orphan::Container(format!("{id}-{index}"));
    let network = Orphan::Network(short.clone());
    let mut engine = Engine::default();
    // As of any task: last to first, one at a time, and the network when nobody uses it.
    assert_eq!(feed(&mut engine, Input::Found(inventory), 0), [format!("orphan {id}-1")]);
    assert_eq!(feed(&mut engine, Input::Tick, 500), [""; 0], "it is under way");
    for (at, next) in [(0, 1000), (1000, 3000), (3000, 7000), (100_000, 108_000)] {
        assert_eq!(feed(&mut engine, done(&container(1), false), at), [""; 0]);
        assert_eq!(engine.next_deadline(), Some(Timestamp(next)));
        assert_eq!(feed(&mut engine, Input::Tick, next), [format!("orphan {id}-1")]);
    }
    let effects = engine.handle(done(&container(1), true), Timestamp(110_000));
    assert_eq!(effects, [Effect::DeleteOrphan { runtime_id: format!("{id}-0"), last: true }]);
    let next = feed(&mut engine, done(&container(0), true), 110_000);
    assert_eq!(next, [format!("orphan network {short}")]);
    assert_eq!(feed(&mut engine, done(&network, false), 111_000), [""; 0]);
    assert_eq!(feed(&mut engine, Input::Tick, 112_000), [format!("orphan network {short}")]);
    assert_eq!(feed(&mut engine, done(&network, true), 112_000), [""; 0]);
    assert_eq!(engine.next_deadline(), None);
}

#[test]
fn what_failed_has_stopped_only_when_nothing_is_left_of_it() {
    let failure = || Failure::new(FailureKind::Timeout, "it took too long");
    let spec = spec(&[("side", false), ("main", true)]);
    let (main, side) = (which(&spec, 1), which(&spec, 0));
    let mut engine = Engine::default();
    let ready = Input::NetworkReady { task: spec.arn.clone(), result: Ok(()) };
    for input in [want(&spec, Desired::Running), ready] {
        engine.handle(input, Timestamp(0));
    }
    engine.handle(Input::Pulled(side.clone(), Ok(None)), Timestamp(0));
    engine.handle(Input::Pulled(main.clone(), Ok(None)), Timestamp(0));
    let effects = feed(&mut engine, Input::Created(side.clone(), Ok(())), 0);
    assert_eq!(effects, ["start 0", "create 1"]);
    // Not while the other is being made: they share a shim.
    assert_eq!(feed(&mut engine, Input::Started(side.clone(), Err(failure())), 1), [""; 0]);
    assert_eq!(feed(&mut engine, Input::Created(main.clone(), Ok(())), 2), ["delete 0"]);
    let not = Input::Deleted { which: side.clone(), gone: false };
    assert_eq!(feed(&mut engine, not, 3), [""; 0]);
    // An agent that dies meanwhile does not take it for one that runs.
    let json = serde_json::to_string(engine.state()).expect("writes");
    let mut engine = Engine::resume(serde_json::from_str(&json).expect("reads"));
    let containers = [(0, FoundState::Running), (1, FoundState::Created)];
    let containers = containers.map(|(index, state)| (format!("{}-{index}", spec.arn.id()), state));
    let found = Input::Found(Inventory {
        containers: containers.into_iter().collect(),
        networks: std::iter::once(spec.arn.short_id()).collect(),
    });
    assert_eq!(feed(&mut engine, found, 4), ["delete 0"]);
    let gone = Input::Deleted { which: side, gone: true };
    assert_eq!(feed(&mut engine, gone, 5), ["start 1"]);
    // An essential one takes the task along, but the task is over only when it is gone.
    let effects = feed(&mut engine, Input::Started(main.clone(), Err(failure())), 6);
    assert_eq!(effects, ["delete 1"]);
    let not = Input::Deleted { which: main.clone(), gone: false };
    assert_eq!(feed(&mut engine, not, 7), [""; 0]);
    assert_eq!(feed(&mut engine, Input::Tick, 1007), ["delete 1"]);
    let gone = Input::Deleted { which: main, gone: true };
    assert_eq!(feed(&mut engine, gone, 1008), ["no network", "report stopped"]);
}

#[test]
fn a_task_that_is_stopped_while_it_pulls_ends_at_once_and_its_report_is_whole() {
    let spec = spec(&[("a", true)]);
    let mut engine = Engine::default();
    feed(&mut engine, want(&spec, Desired::Running), 1);
    let effects = engine.handle(want(&spec, Desired::Stopped), Timestamp(2));
    assert_eq!(names(&effects), ["no pull 0", "delete 0", "report stopped"]);
    let Some(Effect::Report(report)) = effects.last() else { panic!("no report") };
    assert_eq!(report.execution_stopped_at, Some(Timestamp(2)));
    assert_eq!(report.pull_started_at, Some(Timestamp(1)));
    let web = &report.containers[0];
    assert_eq!((web.exit_code, web.reason.as_deref()), (None, None), "it is not to blame");
}

#[test]
fn a_task_that_is_unknown_and_unwanted_is_reported_stopped() {
    let spec = spec(&[("a", true)]);
    let mut engine = Engine::default();
    let effects = feed(&mut engine, want(&spec, Desired::Stopped), 0);
    assert_eq!(effects, ["delete 0", "report stopped"]);
    let reported = Input::Reported { task: spec.arn.clone(), number: 1 };
    assert_eq!(feed(&mut engine, reported, 0), [""; 0]);
    assert_eq!(feed(&mut engine, want(&spec, Desired::Running), 0), [""; 0]);
}

/// What the kernel and the runtime hold, whatever becomes of the agent.
#[derive(Default)]
struct World {
    containers: BTreeMap<String, FoundState>,
    network: bool,
    starts: BTreeMap<String, u32>,
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
                self.network = true;
                let result = if fails { failed(FailureKind::Network) } else { Ok(()) };
                vec![Input::NetworkReady { task: spec.arn.clone(), result }]
            }
            Effect::RemoveNetwork(spec) => {
                assert!(self.containers.is_empty(), "containers still use the network");
                // As the effect says: a preparation under way is given up.
                self.work.retain(|effect| !matches!(effect, Effect::PrepareNetwork(_)));
                self.network = fails;
                vec![Input::NetworkRemoved { task: spec.arn.clone(), gone: !fails }]
            }
            Effect::Pull { spec, index, .. } => {
                let result =
                    if fails { failed(FailureKind::Pull).map(|()| None) } else { Ok(None) };
                vec![Input::Pulled(which(&spec, index), result)]
            }
            Effect::Create { spec, index, runtime_id } => {
                assert!(self.network, "a container without a network");
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
            Effect::Signal { spec, index, runtime_id, signal } => {
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_ends_well(turns in turns(), essential in prop::collection::vec(prop::bool::ANY, 1..4)) {
        let names = ["a", "b", "c"];
        let containers: Vec<(&str, bool)> = names.into_iter().zip(essential).collect();
        let spec = spec(&containers);
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
            let code = drill.world.exits.get(&container.runtime_id).copied();
            prop_assert!(told.iter().all(|c| *c == code), "{told:?} but {code:?}");
        }
    }
}
