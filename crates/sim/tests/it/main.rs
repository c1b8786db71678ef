//! Hostile afternoons.
//!
//! `SEED=17 cargo nextest run -p sim` replays one of them; `SEEDS=1000` has more.

mod asked;
mod questions;

use sim::{Outage, Weather, World};
use std::time::Duration;

/// The seeds to run with: the one that is asked for, or many.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| {
        #[expect(clippy::disallowed_methods, reason = "a test has no other way to be told")]
        let text = std::env::var(name);
        text.ok().map(|text| text.parse::<u64>().expect("a number"))
    };
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(64),
    }
}

/// Through foul weather to fair, once for every `seed` that leaves `rest` when
/// divided by four: in four parts, so that they run beside one another.
fn hostile_afternoons(rest: u64) {
    let mut tally = std::collections::BTreeMap::<String, u32>::new();
    for seed in seeds().filter(|seed| seed % 4 == rest) {
        let mut world = World::new(seed, 3);
        world.set_weather(Weather::FOUL);
        world.run(400);
        world.settle();
        for (what, times) in world.tally() {
            *tally.entry(what.clone()).or_default() += times;
        }
    }
    // Shown by `--no-capture`: an afternoon in which nothing happens proves nothing.
    println!("{tally:#?}");
    let happened = |what: &str| tally.get(what).is_some_and(|times| *times > 0);
    // Few seeds see little.
    if seeds().count() >= 64 {
        for what in [
            "RUNNING",
            "STOPPED",
            "RESOURCE:CPU",
            "RESOURCE:ENI",
            "stop code TerminationNotice",
            "DRAINING",
            "DistinctInstance placement constraint unsatisfied.",
            "MemberOf placement constraint unsatisfied.",
            "a definition was replaced",
            "definitions were deleted",
            "a machine was taken out",
            "an agent came anew",
            "a cluster was deleted",
            "an interface was attached",
            "an interface was detached",
            "an interface got or lost an address",
            "a guest's task was started",
            "an account was deleted",
        ] {
            assert!(happened(what), "it never came to {what}");
        }
    }
}

#[test]
fn promises_are_kept_through_hostile_afternoons() {
    hostile_afternoons(0);
}

#[test]
fn promises_are_kept_through_more_hostile_afternoons() {
    hostile_afternoons(1);
}

#[test]
fn promises_are_kept_through_yet_more_hostile_afternoons() {
    hostile_afternoons(2);
}

#[test]
fn promises_are_kept_through_all_hostile_afternoons() {
    hostile_afternoons(3);
}

/// The plain case: whatever fits runs, and stops when it is told to.
#[test]
fn what_is_ordered_runs_and_what_is_dismissed_stops() {
    for seed in seeds().take(8) {
        let mut world = World::new(seed, 2);
        world.run(20);
        let orders = [world.order("web", 2), world.order("host", 1)];
        world.settle();
        let tasks: Vec<String> =
            orders.iter().flat_map(|order| world.tasks_of(*order).expect("answered")).collect();
        assert_eq!(tasks.len(), 3, "SEED={seed}");
        for task in &tasks {
            let (status, ..) = world.show(task).expect("it is there");
            assert_eq!(status, "RUNNING", "SEED={seed}");
            world.dismiss(task);
        }
        world.settle();
        for task in &tasks {
            let shown = world.show(task).expect("it is shown for an hour");
            let (status, code, reason) = (&*shown.0, &*shown.1, &*shown.2);
            let wanted = ("STOPPED", "UserInitiated", "it is enough");
            assert_eq!((status, code, reason), wanted, "SEED={seed}");
        }
    }
}

/// How often a task is asked for that an unconnected agent keeps from being placed.
const TRIES: usize = 20;

/// A life from RunTask to STOPPED, with the power failing around each commit.
#[test]
fn the_control_plane_may_die_at_any_commit() {
    let life = |outage: Option<Outage>| {
        let mut world = World::with_outage(5, 1, outage);
        // Refused while the agent is not connected.
        let tasks = (0..TRIES).find_map(|_| {
            world.run(20);
            let order = world.order("web", 2);
            world.settle();
            Some(world.tasks_of(order).expect("answered")).filter(|tasks| !tasks.is_empty())
        });
        let tasks = tasks.unwrap_or_else(|| panic!("no task could be placed: {outage:?}"));
        assert_eq!(tasks.len(), 2, "{outage:?}");
        for task in &tasks {
            assert_eq!(world.show(task).expect("there").0, "RUNNING", "{outage:?}");
            world.dismiss(task);
        }
        world.settle();
        for task in &tasks {
            assert_eq!(world.show(task).expect("there").0, "STOPPED", "{outage:?}");
        }
        world.commits()
    };
    let commits = life(None);
    for number in 1..=commits {
        life(Some(Outage::Before(number)));
        life(Some(Outage::After(number)));
    }
}

/// An agent that dies again and again never runs a container twice, and loses none.
#[test]
fn the_agent_may_die_at_any_step() {
    let weather = Weather { agent_dies: 6, wishes: 3, delay: 800, ..Weather::FAIR };
    for seed in seeds().take(16) {
        let mut world = World::new(seed, 2);
        world.set_weather(weather);
        world.run(300);
        world.settle();
    }
}

/// A task whose interface cannot be made stops, and says why.
#[test]
fn a_card_that_fails_an_interface_stops_its_task_with_the_reason() {
    for seed in seeds().take(8) {
        let mut world = World::new(seed, 1);
        world.run(20);
        world.set_weather(Weather { eni_fails: 1, ..Weather::FAIR });
        let order = world.order("web", 1);
        world.run(60);
        world.settle();
        for task in world.tasks_of(order).expect("answered") {
            let (status, code, reason) = world.show(&task).expect("it is there");
            assert_eq!((&*status, &*code), ("STOPPED", "TaskFailedToStart"), "SEED={seed}");
            assert!(reason.contains("No space left on device"), "SEED={seed}: {reason}");
        }
    }
}

/// A machine that nothing reaches keeps its tasks running. They are kept for it, and
/// then they are lost, and it stops them when it is reached again.
#[test]
fn a_machine_that_is_away_for_too_long_has_lost_its_tasks() {
    for seed in seeds().take(3) {
        let mut world = World::new(seed, 1);
        world.run(20);
        let order = world.order("web", 2);
        world.settle();
        let tasks = world.tasks_of(order).expect("answered");
        assert_eq!(tasks.len(), 2, "SEED={seed}");
        let ends = |world: &World| -> Vec<(String, String)> {
            let shown = tasks.iter().map(|task| world.show(task).expect("it is shown"));
            shown.map(|(status, code, _)| (status, code)).collect()
        };
        let both = |status: &str, code: &str| vec![(status.to_owned(), code.to_owned()); 2];

        world.cut_off(0);
        world.run(400);
        assert_eq!(ends(&world), both("RUNNING", ""), "SEED={seed}");
        world.join(0);
        world.settle();
        assert_eq!(ends(&world), both("RUNNING", ""), "SEED={seed}");

        world.cut_off(0);
        // The silence is noticed, the grace passes; a moment is 200 ms on average.
        world.run(1_500);
        assert_eq!(ends(&world), both("STOPPED", "TerminationNotice"), "SEED={seed}");
        world.join(0);
        world.settle();
    }
}

/// Credentials end before their task does, and are replaced before they do; with the task
/// they all end, those too that were replaced.
#[test]
fn credentials_last_as_long_as_their_task() {
    for seed in seeds().take(2) {
        let mut world = World::new(seed, 2);
        world.run(20);
        let order = world.order("web", 2);
        world.settle();
        let tasks = world.tasks_of(order).expect("answered");
        assert_eq!(tasks.len(), 2, "SEED={seed}");
        let happened = |world: &World, what: &str| world.tally().get(what).copied();
        world.pass(Duration::from_mins(270));
        assert_eq!(happened(&world, "credentials were replaced"), None, "SEED={seed}");
        // Agents come anew, and are told what there is.
        world.reboot_agents();
        world.pass(Duration::from_hours(1));
        assert_eq!(happened(&world, "credentials were replaced"), Some(2), "SEED={seed}");
        world.settle();

        for task in &tasks {
            world.dismiss(task);
        }
        world.pass(Duration::from_mins(15));
        world.settle();
        assert_eq!(happened(&world, "credentials were refused"), Some(4), "SEED={seed}");
    }
}

/// The same seed is the same afternoon.
#[test]
fn a_seed_is_an_afternoon() {
    let afternoon = || {
        let mut world = World::new(3, 3);
        world.set_weather(Weather::FOUL);
        world.run(150);
        (world.commits(), format!("{world:?}"))
    };
    assert_eq!(afternoon(), afternoon());
}
