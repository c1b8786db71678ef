//! Health checks.

use super::*;

/// A check every so many seconds, which may fail so often.
pub(super) fn check_every(seconds: u64, retries: u32) -> HealthCheck {
    HealthCheck {
        command: vec!["true".to_owned()],
        interval: Duration::from_secs(seconds),
        timeout: Duration::from_secs(2),
        retries,
        start_period: Duration::ZERO,
    }
}

fn checked(wish: HealthCheck) -> (TaskSpec, Engine) {
    let mut spec = spec(&[("a", true)]);
    spec.containers[0].health_check = Some(wish);
    let engine = running(&spec);
    (spec, engine)
}

/// Lets the next check come and answer.
fn answer(spec: &TaskSpec, engine: &mut Engine, passed: Option<bool>) -> (i64, Health) {
    let due = engine.next_deadline().expect("a check is due").0;
    assert_eq!(feed(engine, Input::Tick, due - 1), [""; 0]);
    assert_eq!(feed(engine, Input::Tick, due), ["check 0"]);
    assert_eq!(engine.next_deadline(), None, "one at a time");
    // It takes a second.
    let checkup = passed.map(|passed| Checkup::silent(i32::from(!passed)));
    assert_eq!(feed(engine, Input::Checked(which(spec, 0), checkup), due + 1000), [""; 0]);
    (due, engine.state().tasks[&spec.arn].containers[0].health)
}

#[test]
fn failures_in_a_row_make_it_unhealthy_and_one_success_healthy() {
    let (spec, mut engine) = checked(check_every(10, 3));
    let mut next = |passed| answer(&spec, &mut engine, Some(passed));
    assert_eq!(next(false), (10_000, Health::Unknown));
    assert_eq!(next(false), (21_000, Health::Unknown), "from the end of the one before");
    assert_eq!(next(true), (32_000, Health::Healthy));
    assert_eq!(next(false).1, Health::Healthy);
    assert_eq!(next(false).1, Health::Healthy);
    assert_eq!(next(false).1, Health::Unhealthy, "three in a row");
    assert_eq!(next(true).1, Health::Healthy);
    // Since when, is when it changed.
    let since = engine.state().tasks[&spec.arn].containers[0].health_since;
    assert_eq!(since, Some(Timestamp(77_000)));
    // Who could not be asked has not failed.
    for _ in 0..5 {
        assert_eq!(answer(&spec, &mut engine, None).1, Health::Healthy);
    }
}

#[test]
fn within_the_start_period_it_is_asked_often_and_may_fail() {
    let start_period = Duration::from_secs(31);
    let (spec, mut engine) = checked(HealthCheck { start_period, ..check_every(60, 1) });
    let mut times = Vec::new();
    loop {
        let (at, health) = answer(&spec, &mut engine, Some(false));
        times.push(at);
        if health == Health::Unhealthy {
            break;
        }
    }
    assert_eq!(times, [5_000, 11_000, 17_000, 23_000, 29_000, 35_000]);
}

#[test]
fn it_is_asked_no_more_once_it_is_to_stop_and_remembered_by_the_next_agent() {
    let (spec, mut engine) = checked(check_every(10, 3));
    assert_eq!(answer(&spec, &mut engine, Some(true)).1, Health::Healthy);
    assert!(engine.take_dirty().contains(&spec.arn), "what changed is on disk");
    answer(&spec, &mut engine, Some(true));
    assert!(engine.take_dirty().is_empty(), "what did not, is not written again");
    let mut engine = saved(&engine);
    let containers = [(format!("{}-0", spec.arn.id()), FoundState::Running)].into();
    let networks = [spec.arn.short_id()].into();
    feed(&mut engine, Input::Found(Inventory { containers, networks }), 50_000);
    assert_eq!(engine.state().tasks[&spec.arn].containers[0].health, Health::Healthy);
    assert_eq!(engine.next_deadline(), Some(Timestamp(60_000)));
    assert_eq!(feed(&mut engine, want(&spec, Desired::Stopped), 51_000), ["stop 0"]);
    assert_eq!(engine.next_deadline(), Some(Timestamp(56_000)), "only the kill");
}
