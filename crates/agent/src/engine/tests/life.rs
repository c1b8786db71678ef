//! A task that goes its way.

use super::*;

#[test]
fn the_life_of_a_task_with_a_sidecar() {
    let spec = spec(&[("side", false), ("main", true)]);
    let task = spec.arn.clone();
    let it = |index| which(&spec, index);
    let exit = |code| Exit { code, out_of_memory: false };
    let ready = Input::NetworkReady { task: task.clone(), result: Ok(BTreeMap::new()) };
    let script: Vec<(Input, &[&str])> = vec![
        (want(&spec, Desired::Running), &["network", "pull 0", "pull 1"]),
        (want(&spec, Desired::Running), &[]),
        (Input::Pulled(it(1), Ok(None)), &[]),
        // In order, and one at a time: they share a shim. They are made beside the network,
        // and nothing starts without it.
        (Input::Pulled(it(0), Ok(None)), &["create 0"]),
        (Input::Created(it(0), Ok(())), &["create 1"]),
        (ready, &["start 0"]),
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
    let settings = Settings { cleanup_wait: Duration::from_mins(7), ..Settings::default() };
    let mut engine = Engine::default().with(settings);
    for (step, (input, expected)) in script.into_iter().enumerate() {
        let shown = format!("step {step}: {input:?}");
        assert_eq!(feed(&mut engine, input, 0), expected, "{shown}");
    }
    assert_eq!(engine.state().tasks[&task].containers[0].exit_code, Some(0));
    let later = Timestamp(0).after(settings.cleanup_wait).0;
    assert_eq!(feed(&mut engine, Input::Tick, later - 1), [""; 0]);
    assert_eq!(feed(&mut engine, Input::Tick, later), ["forget"]);
    assert!(engine.state().tasks.is_empty());
}

#[test]
fn what_comes_through_the_interface_waits_for_it() {
    let isolated = spec(&[("main", true)]);
    let eni = Eni {
        id: "eni-1".to_owned(),
        mac: "0e:00:00:00:00:01".to_owned(),
        ipv4: Vec::new(),
        ipv6: Vec::new(),
        gateway_v4: None,
        gateway_v6: None,
        name_servers: Vec::new(),
        search: Vec::new(),
        hostname: None,
    };
    let attached = TaskSpec { network: Network::Awsvpc(eni), ..isolated.clone() };
    let ready = Input::NetworkReady { task: attached.arn.clone(), result: Ok(BTreeMap::new()) };
    let begin = |pull_from, spec| {
        let mut engine = Engine::default().with(Settings { pull_from, ..Settings::default() });
        (feed(&mut engine, want(spec, Desired::Running), 0), engine)
    };
    for (from, spec) in
        [(PullFrom::Host, &attached), (PullFrom::Host, &isolated), (PullFrom::Task, &isolated)]
    {
        assert_eq!(begin(from, spec).0, ["network", "pull 0"], "{from} {:?}", spec.network);
    }
    let (owed, mut engine) = begin(PullFrom::Task, &attached);
    assert_eq!(owed, ["network"]);
    assert_eq!(engine.state().tasks[&attached.arn].pull_started_at, None);
    assert_eq!(feed(&mut engine, ready.clone(), 1), ["pull 0"]);
    // Another agent makes the network sure first, as this one did, whatever it is told.
    let state = engine.state().tasks.values().map(Task::durable);
    let tasks = state.map(|task| (task.spec.arn.clone(), task)).collect();
    let mut engine = Engine::resume(EngineState { tasks });
    assert_eq!(feed(&mut engine, Input::Found(Inventory::default()), 2), ["network"]);
    assert_eq!(feed(&mut engine, ready, 3), ["pull 0"]);
}

#[test]
fn who_sets_switches_of_the_network_is_made_in_it() {
    let mut tuned = spec(&[("main", true)]);
    let switch = ("net.ipv4.conf.eth0.rp_filter".to_owned(), "0".to_owned());
    tuned.containers[0].sysctls = BTreeMap::from([switch]);
    let mut engine = Engine::default();
    let ready = Input::NetworkReady { task: tuned.arn.clone(), result: Ok(BTreeMap::new()) };
    assert_eq!(feed(&mut engine, want(&tuned, Desired::Running), 0), ["network", "pull 0"]);
    assert_eq!(feed(&mut engine, Input::Pulled(which(&tuned, 0), Ok(None)), 1), [""; 0]);
    assert_eq!(feed(&mut engine, ready, 2), ["create 0"]);
}

#[test]
fn what_was_made_for_a_network_that_never_comes_is_removed() {
    let spec = spec(&[("main", true)]);
    let task = spec.arn.clone();
    let mut engine = Engine::default();
    feed(&mut engine, want(&spec, Desired::Running), 0);
    assert_eq!(feed(&mut engine, Input::Pulled(which(&spec, 0), Ok(None)), 1), ["create 0"]);
    let failure = Failure::new(FailureKind::Network, "no interface".to_owned());
    let failed = Input::NetworkReady { task: task.clone(), result: Err(failure) };
    // It is being made: what becomes of it is waited for.
    assert_eq!(feed(&mut engine, failed, 2), [""; 0]);
    assert_eq!(feed(&mut engine, Input::Created(which(&spec, 0), Ok(())), 3), ["delete 0"]);
    let deleted = Input::Deleted { which: which(&spec, 0), gone: true };
    assert_eq!(feed(&mut engine, deleted, 4), ["no network", "report stopped"]);
    let reason = engine.state().tasks[&task].reason.clone().expect("a reason");
    assert!(reason.contains("no interface"), "{reason}");
}
