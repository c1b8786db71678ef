//! Tasks that are told to stop, in whatever phase.

use super::*;

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
