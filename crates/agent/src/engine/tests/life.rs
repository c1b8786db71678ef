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
