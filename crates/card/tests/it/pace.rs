//! How long an interface takes to come and to go.

use crate::lab::Lab;
use crate::world::{HTTP, World, anywhere, members};
use net::model::Traffic;
use std::time::Duration;

/// Interfaces that are there already.
const CROWD: u8 = 20;
const SAMPLES: u8 = 20;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn an_interface_comes_and_goes_in_milliseconds() {
    for (stack, world) in [("IPv4", World::new(1)), ("dual stack", World::dual_stack(1))] {
        measure(stack, world);
    }
}

fn measure(stack: &str, mut world: World) {
    let mut lab = Lab::new();
    for last in 0..CROWD {
        world.eni(1, 100 + last, &[1, 2]);
    }
    world.group(1, &[members(1, HTTP)], &[anywhere(Traffic::All)]);
    world.group(2, &[members(2, Traffic::All)], &[members(2, Traffic::All)]);
    let mut generation = 1;
    lab.apply(&world.plan(generation));
    let (mut came, mut went, mut guests) = (Vec::new(), Vec::new(), Vec::new());
    for last in 0..SAMPLES {
        let eni = world.eni(1, 10 + last, &[1, 2]);
        generation += 1;
        let work = lab.apply(&world.plan(generation));
        assert_eq!((work.made, work.removed), (1, 0));
        came.push(work.elapsed);
        // As it is when it goes: an agent has taken it away.
        guests.push((lab.task(&eni), eni));
    }
    // One after another, for the kernel is busy with links for a while after one went.
    for (_, eni) in &guests {
        world.remove(&eni.id);
        generation += 1;
        let work = lab.apply(&world.plan(generation));
        assert_eq!((work.made, work.removed), (0, 1));
        went.push(work.elapsed);
    }
    let (came, went) = (median(came), median(went));
    println!("{stack}, median of {SAMPLES} beside {CROWD}: {came:?} to come, {went:?} to go");
    // The goal is 10 ms each on an idle machine. Here others may be at work too, so
    // this catches only what is wrong by orders of magnitude.
    assert!(came < Duration::from_secs(1) && went < Duration::from_secs(1));
}
