//! Containers that wait for one another.

use super::*;

/// `main` waits for `first` to be in some condition.
fn waiting(condition: Condition) -> TaskSpec {
    let mut spec = spec(&[("main", true), ("first", false)]);
    spec.containers[0].depends_on = vec![Dependency { on: "first".to_owned(), condition }];
    spec.containers[1].start_timeout = Some(Duration::from_secs(20));
    if condition == Condition::Healthy {
        spec.containers[1].health_check = Some(health::check_every(10, 2));
    }
    spec
}

/// Both images are here, and so is the network.
fn pulled(spec: &TaskSpec) -> (Engine, Vec<String>) {
    let mut engine = Engine::default();
    feed(&mut engine, want(spec, Desired::Running), 0);
    feed(&mut engine, Input::Pulled(which(spec, 0), Ok(None)), 0);
    let ready = Input::NetworkReady { task: spec.arn.clone(), result: Ok(BTreeMap::new()) };
    feed(&mut engine, ready, 0);
    let effects = feed(&mut engine, Input::Pulled(which(spec, 1), Ok(None)), 0);
    (engine, effects)
}

fn exit(code: i32) -> Exit {
    Exit { code, out_of_memory: false }
}

#[test]
fn each_condition_opens_the_gate_when_it_holds_and_not_before() {
    for condition in [
        Condition::Create,
        Condition::Start,
        Condition::Complete,
        Condition::Success,
        Condition::Healthy,
    ] {
        let spec = waiting(condition);
        let (mut engine, effects) = pulled(&spec);
        assert_eq!(effects, ["create 1"], "{condition:?}");
        let mut steps: Vec<(Condition, Input)> = vec![
            (Condition::Create, Input::Created(which(&spec, 1), Ok(()))),
            (Condition::Start, Input::Started(which(&spec, 1), Ok(()))),
        ];
        steps.push(if condition == Condition::Healthy {
            (Condition::Healthy, Input::Checked(which(&spec, 1), Some(Checkup::silent(0))))
        } else {
            (condition, Input::Exited(which(&spec, 1), exit(0)))
        });
        let mut opened = false;
        for (step, input) in steps {
            let mut now = 0;
            if step == Condition::Healthy {
                now = 10_000;
                assert_eq!(feed(&mut engine, Input::Tick, now), ["check 1"]);
            }
            let effects = feed(&mut engine, input, now);
            let opens = step == condition && !opened;
            opened |= opens;
            assert_eq!(effects.contains(&"create 0".to_owned()), opens, "{condition:?} {step:?}");
        }
        assert!(opened, "{condition:?}");
    }
}

#[test]
fn a_container_that_waits_in_vain_never_comes_up_and_says_why() {
    let cases: [(Condition, i32, &str); 3] = [
        (
            Condition::Success,
            3,
            "CannotStartContainerError: dependency graph: failed to resolve the container \
             ordering dependency [first] for target [main] as dependency did not exit \
             successfully.",
        ),
        (
            Condition::Complete,
            // Nobody sees it end in time.
            -1,
            "CannotStartContainerError: dependency graph: container ordering dependency [first] \
             for target [main] has timed out.",
        ),
        (
            Condition::Healthy,
            0,
            "CannotStartContainerError: dependency graph: failed to resolve the container \
             ordering dependency [first] for target [main]",
        ),
    ];
    for (condition, code, reason) in cases {
        let spec = waiting(condition);
        let (mut engine, _) = pulled(&spec);
        feed(&mut engine, Input::Created(which(&spec, 1), Ok(())), 0);
        feed(&mut engine, Input::Started(which(&spec, 1), Ok(())), 1000);
        let effects = if code < 0 {
            assert_eq!(engine.next_deadline(), Some(Timestamp(21_000)));
            assert_eq!(feed(&mut engine, Input::Tick, 20_999), [""; 0]);
            feed(&mut engine, Input::Tick, 21_000)
        } else {
            feed(&mut engine, Input::Exited(which(&spec, 1), exit(code)), 2000)
        };
        let main = &engine.state().tasks[&spec.arn].containers[0];
        assert_eq!(main.reason.as_deref(), Some(reason));
        assert_eq!((main.known, main.exit_code, main.ran), (Known::Stopped, Some(143), false));
        // It was essential.
        let expected = if code < 0 { "stop 1" } else { "delete 1" };
        assert_eq!(effects.first().map(String::as_str), Some(expected), "{condition:?}");
        let spins = engine.next_deadline().is_some_and(|at| at <= Timestamp(21_000));
        assert!(!spins, "nothing is due that is not done");
    }
}

#[test]
fn the_time_that_one_waits_ends_with_the_waiting() {
    let spec = waiting(Condition::Success);
    let (mut engine, _) = pulled(&spec);
    feed(&mut engine, Input::Created(which(&spec, 1), Ok(())), 0);
    feed(&mut engine, Input::Started(which(&spec, 1), Ok(())), 0);
    let effects = feed(&mut engine, Input::Exited(which(&spec, 1), exit(0)), 19_000);
    assert_eq!(effects, ["create 0"]);
    assert_eq!(engine.next_deadline(), None);
    assert_eq!(feed(&mut engine, Input::Tick, 60_000), [""; 0]);
    feed(&mut engine, Input::Created(which(&spec, 0), Ok(())), 60_000);
    let effects = feed(&mut engine, Input::Started(which(&spec, 0), Ok(())), 60_000);
    assert_eq!(effects, ["report running"], "what came first is over, and counts as run");
}

#[test]
fn who_is_needed_stops_last() {
    // web needs app, and app needs db; nobody needs side.
    let mut spec = spec(&[("db", true), ("web", true), ("app", true), ("side", true)]);
    let on = |on: &str| vec![Dependency { on: on.to_owned(), condition: Condition::Start }];
    spec.containers[1].depends_on = on("app");
    spec.containers[2].depends_on = on("db");
    let mut engine = Engine::default();
    feed(&mut engine, want(&spec, Desired::Running), 0);
    let ready = Input::NetworkReady { task: spec.arn.clone(), result: Ok(BTreeMap::new()) };
    feed(&mut engine, ready, 0);
    let mut begun = Vec::new();
    let mut news: Vec<Input> =
        (0..4).map(|index| Input::Pulled(which(&spec, index), Ok(None))).collect();
    while !news.is_empty() {
        for effect in engine.handle(news.remove(0), Timestamp(0)) {
            begun.extend(names(std::slice::from_ref(&effect)));
            match effect {
                Effect::Create { index, .. } => {
                    news.push(Input::Created(which(&spec, index), Ok(())));
                }
                Effect::Start { which, .. } => news.push(Input::Started(which, Ok(()))),
                _ => {}
            }
        }
    }
    begun.retain(|name| name.starts_with("start"));
    let at = |name: &str| begun.iter().position(|it| it == name).expect("started");
    assert!(at("start 0") < at("start 2") && at("start 2") < at("start 1"), "{begun:?}");
    feed(&mut engine, Input::Reported { task: spec.arn.clone(), number: 1 }, 0);

    assert_eq!(feed(&mut engine, want(&spec, Desired::Stopped), 0), ["stop 3", "stop 1"]);
    let gone = |index| Input::Exited(which(&spec, index), exit(0));
    assert_eq!(feed(&mut engine, gone(3), 10), [""; 0]);
    // Its time runs from when it is asked.
    assert_eq!(feed(&mut engine, gone(1), 4000), ["stop 2"]);
    assert_eq!(engine.next_deadline(), Some(Timestamp(9000)));
    assert_eq!(feed(&mut engine, Input::Tick, 9000), ["kill 2"]);
    assert_eq!(feed(&mut engine, gone(2), 9001), ["stop 0"]);
    assert_eq!(feed(&mut engine, gone(0), 9002), ["delete 3", "report stopped"]);
}

#[test]
fn circles_are_seen() {
    let mut spec = spec(&[("a", true), ("b", true), ("c", true)]);
    let on = |on: &str| vec![Dependency { on: on.to_owned(), condition: Condition::Start }];
    spec.containers[0].depends_on = on("b");
    spec.containers[1].depends_on = on("c");
    assert!(can_come_up(&spec.containers));
    spec.containers[2].depends_on = on("a");
    assert!(!can_come_up(&spec.containers));
}
