//! Agents that die, and what the next one finds.

use super::*;

#[test]
fn what_a_new_agent_finds_is_squared_with_what_is_remembered() {
    let spec = spec(&[("a", true)]);
    let id = format!("{}-0", spec.arn.id());
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
    assert_eq!(effects, ["network"], "it may have been made before its network was ready");
    let ready = Input::NetworkReady { task: spec.arn.clone(), result: Ok(BTreeMap::new()) };
    assert_eq!(feed(&mut engine, ready, 2), ["start 0"]);
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
