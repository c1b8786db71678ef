//! Steps that fail, and what is said of them.

use super::*;

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
        let ready = Input::NetworkReady { task: spec.arn.clone(), result: Ok(BTreeMap::new()) };
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
fn what_failed_has_stopped_only_when_nothing_is_left_of_it() {
    let failure = || Failure::new(FailureKind::Timeout, "it took too long");
    let spec = spec(&[("side", false), ("main", true)]);
    let (main, side) = (which(&spec, 1), which(&spec, 0));
    let mut engine = Engine::default();
    let ready = Input::NetworkReady { task: spec.arn.clone(), result: Ok(BTreeMap::new()) };
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
    let mut engine = saved(&engine);
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
