//! Containers that are started again.

use super::*;

fn restarting() -> (TaskSpec, Engine) {
    let mut spec = spec(&[("a", true)]);
    spec.containers[0].restart_policy =
        Some(RestartPolicy { ignored_exit_codes: vec![7], attempt_period: Duration::from_mins(1) });
    let engine = running(&spec);
    (spec, engine)
}

fn exited(spec: &TaskSpec, code: i32) -> Input {
    Input::Exited(which(spec, 0), Exit { code, out_of_memory: false })
}

fn restarted(spec: &TaskSpec) -> Input {
    Input::Restarted(which(spec, 0), Ok(()))
}

#[test]
fn one_that_ran_long_enough_is_started_again_and_nobody_hears_of_its_end() {
    let (spec, mut engine) = restarting();
    let mut exits = |at| {
        let effects = feed(&mut engine, exited(&spec, 1), at);
        feed(&mut engine, restarted(&spec), at + 500);
        effects
    };
    assert_eq!(exits(60_000), ["restart 0"]);
    assert_eq!(exits(120_500), ["restart 0"], "a minute since the last time");
    assert_eq!(exits(180_999), ["delete 0", "report stopped"], "a millisecond too early");
    let container = &engine.state().tasks[&spec.arn].containers[0];
    assert_eq!((container.restarts, container.exit_code), (2, Some(1)));
}

#[test]
fn an_exit_code_may_be_excepted_and_a_stopping_task_restarts_nothing() {
    let (spec, mut engine) = restarting();
    assert_eq!(feed(&mut engine, exited(&spec, 7), 90_000), ["delete 0", "report stopped"]);
    let (spec, mut engine) = restarting();
    feed(&mut engine, want(&spec, Desired::Stopped), 90_000);
    assert_eq!(feed(&mut engine, exited(&spec, 1), 90_001), ["delete 0", "report stopped"]);
    // Told to stop while it comes up again, it is asked once it has.
    let (spec, mut engine) = restarting();
    assert_eq!(feed(&mut engine, exited(&spec, 1), 90_000), ["restart 0"]);
    assert_eq!(feed(&mut engine, want(&spec, Desired::Stopped), 90_001), [""; 0]);
    assert_eq!(feed(&mut engine, restarted(&spec), 90_002), ["stop 0"]);
}

#[test]
fn one_that_cannot_be_started_again_has_ended_as_it_had() {
    let (spec, mut engine) = restarting();
    feed(&mut engine, exited(&spec, 3), 90_000);
    let failure = Failure::new(FailureKind::Start, "no");
    let failed = Input::Restarted(which(&spec, 0), Err(failure));
    assert_eq!(feed(&mut engine, failed, 90_001), ["delete 0"]);
    let gone = Input::Deleted { which: which(&spec, 0), gone: true };
    let effects = engine.handle(gone, Timestamp(90_002));
    let report = effects.iter().find_map(|effect| match effect {
        Effect::Report(report) => Some(report),
        _ => None,
    });
    let container = &report.expect("a report").containers[0];
    assert_eq!(container.exit_code, Some(3));
    assert_eq!(container.reason.as_deref(), Some("CannotStartContainerError: no"));
}

#[test]
fn an_agent_that_dies_over_it_leaves_it_to_the_next() {
    let found = |spec: &TaskSpec, state| {
        let containers = [(format!("{}-0", spec.arn.id()), state)].into();
        Input::Found(Inventory { containers, networks: [spec.arn.short_id()].into() })
    };
    let exit = Exit { code: 1, out_of_memory: false };
    for (state, expected) in [
        (FoundState::Stopped(exit), "restart 0"),
        (FoundState::Recorded, "restart 0"),
        (FoundState::Created, "restart 0"),
        (FoundState::Running, "await 0"),
    ] {
        let (spec, mut engine) = restarting();
        feed(&mut engine, exited(&spec, 1), 90_000);
        let mut engine = saved(&engine);
        assert_eq!(feed(&mut engine, found(&spec, state), 90_001), [expected], "{state:?}");
        let container = &engine.state().tasks[&spec.arn].containers[0];
        assert_eq!(container.restarts, u32::from(state == FoundState::Running));
    }
    // One that ended while nobody looked is started again too.
    let (spec, engine) = restarting();
    let mut engine = saved(&engine);
    let effects = feed(&mut engine, found(&spec, FoundState::Stopped(exit)), 90_001);
    assert_eq!(effects, ["restart 0"]);
}
