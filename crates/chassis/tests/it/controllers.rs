//! In virtual time: nothing here waits for the wall clock.

use async_trait::async_trait;
use chassis::fake::{ManualClock, SeededEntropy};
use chassis::idempotency::{Key, digest, remember};
use chassis::{BoxError, Controller, Platform, Shutdown, Supervisor};
use ident::{AccountId, Scope, Timestamp};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use store::{Registry, Store, StoreError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::world::background;

const PERIOD: Duration = Duration::from_mins(1);

/// Tells of its rounds, and fails or panics on demand.
struct Probe {
    rounds: mpsc::UnboundedSender<Instant>,
    script: Mutex<Vec<Act>>,
}

#[derive(Clone, Copy)]
enum Act {
    Fail,
    Panic,
    Take(Duration),
}

#[async_trait]
impl Controller for Probe {
    fn name(&self) -> &'static str {
        "probe"
    }

    fn period(&self) -> Duration {
        PERIOD
    }

    async fn reconcile(&self, _platform: &Platform) -> Result<(), BoxError> {
        self.rounds.send(Instant::now())?;
        let act = self.script.lock().expect("unpoisoned").pop();
        match act {
            None => Ok(()),
            Some(Act::Fail) => Err("as asked".into()),
            Some(Act::Panic) => panic!("as asked"),
            Some(Act::Take(span)) => {
                sleep(span).await;
                Ok(())
            }
        }
    }
}

struct World {
    platform: Platform,
    rounds: mpsc::UnboundedReceiver<Instant>,
    trigger: chassis::Trigger,
    running: tokio::task::JoinHandle<()>,
    started: Instant,
    token: u32,
}

impl World {
    /// A supervised probe that acts the script in order, then is content.
    fn new(script: &[Act]) -> Self {
        let platform = Platform {
            store: Store::in_memory(chassis::records(Registry::new())),
            clock: Arc::new(ManualClock::at(Timestamp(0))),
            entropy: Arc::new(SeededEntropy::new(1)),
            quotas: chassis::Quotas::default(),
        };
        let (sender, rounds) = mpsc::unbounded_channel();
        let script = Mutex::new(script.iter().rev().copied().collect());
        let probe: Box<dyn Controller> = Box::new(Probe { rounds: sender, script });
        let (trigger, shutdown) = Shutdown::new();
        let supervisor = Supervisor::new(platform.clone()).with([probe]);
        let running = background(supervisor.run(shutdown));
        Self { platform, rounds, trigger, running, started: Instant::now(), token: 0 }
    }

    /// When the next round begins, since the start.
    async fn round(&mut self) -> Duration {
        self.rounds.recv().await.expect("running") - self.started
    }

    /// Commits something, whatever it is.
    async fn change(&mut self) {
        self.token += 1;
        let token = self.token.to_string();
        let region = "us-east-1".parse().expect("a region");
        let scope = Scope { account: AccountId::first(), region };
        let change = self.platform.store.transact(|txn| {
            let key = Key { scope: &scope, operation: "Test", token: &token };
            remember(txn, &key, digest(&0).expect("serializes"), "", Timestamp(0));
            Ok::<_, StoreError>(())
        });
        change.await.expect("commits");
    }

    async fn stop(self) -> Duration {
        let asked = Instant::now();
        self.trigger.shut_down();
        timeout(PERIOD, self.running).await.expect("stops").expect("no panic");
        asked.elapsed()
    }
}

/// Timers have a resolution of a millisecond.
fn about(found: Duration, wanted: Duration) {
    let slack = Duration::from_millis(5);
    assert!(found >= wanted && found <= wanted + slack, "{found:?}, not {wanted:?}");
}

#[tokio::test(start_paused = true)]
async fn it_runs_at_once_and_then_every_period() {
    let mut world = World::new(&[]);
    for round in 0..4 {
        about(world.round().await, PERIOD * round);
    }
    assert_eq!(world.stop().await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_change_wakes_it() {
    let mut world = World::new(&[]);
    about(world.round().await, Duration::ZERO);
    sleep(PERIOD / 2).await;
    world.change().await;
    about(world.round().await, PERIOD / 2);
    // The period counts from the last round, whatever woke it.
    about(world.round().await, PERIOD / 2 + PERIOD);
}

#[tokio::test(start_paused = true)]
async fn changes_during_a_round_are_not_lost_and_are_one() {
    let mut world = World::new(&[Act::Take(PERIOD)]);
    about(world.round().await, Duration::ZERO);
    world.change().await;
    world.change().await;
    about(world.round().await, PERIOD);
    about(world.round().await, PERIOD * 2);
}

#[tokio::test(start_paused = true)]
async fn failures_and_panics_are_retried_with_patience() {
    let mut world = World::new(&[Act::Fail, Act::Panic, Act::Fail]);
    about(world.round().await, Duration::ZERO);
    // A change does not hurry one that fails.
    world.change().await;
    about(world.round().await, Duration::from_millis(100));
    about(world.round().await, Duration::from_millis(300));
    about(world.round().await, Duration::from_millis(700));
    // Content again; the change of before was seen to by then, or now.
    let calm = world.round().await;
    about(calm, Duration::from_millis(700));
    about(world.round().await, calm + PERIOD);
}

#[tokio::test(start_paused = true)]
async fn patience_has_a_limit() {
    let mut world = World::new(&[Act::Fail; 20]);
    let mut before = world.round().await;
    for _ in 0..19 {
        let next = world.round().await;
        assert!(next <= before + Duration::from_secs(31));
        before = next;
    }
}

#[tokio::test(start_paused = true)]
async fn a_round_under_way_may_finish() {
    let mut world = World::new(&[Act::Take(Duration::from_secs(5))]);
    world.round().await;
    about(world.stop().await, Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_round_may_not_dawdle() {
    let mut world = World::new(&[Act::Take(Duration::from_hours(5))]);
    world.round().await;
    about(world.stop().await, Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_lost_trigger_is_a_shutdown() {
    let World { trigger, running, .. } = World::new(&[]);
    drop(trigger);
    timeout(PERIOD, running).await.expect("stops").expect("no panic");
}

/// Breaks outside of its rounds, which is beyond what they are guarded against.
struct Brittle {
    lives: mpsc::UnboundedSender<()>,
}

#[async_trait]
impl Controller for Brittle {
    fn name(&self) -> &'static str {
        "brittle"
    }

    fn period(&self) -> Duration {
        panic!("as asked")
    }

    async fn reconcile(&self, _platform: &Platform) -> Result<(), BoxError> {
        Ok(self.lives.send(())?)
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_task_is_noticed() {
    let (sender, mut lives) = mpsc::unbounded_channel();
    let platform = Platform::new(Store::in_memory(Registry::new()));
    let (trigger, shutdown) = Shutdown::new();
    let brittle: Box<dyn Controller> = Box::new(Brittle { lives: sender });
    let running = background(Supervisor::new(platform).with([brittle]).run(shutdown));
    for _ in 0..3 {
        timeout(PERIOD, lives.recv()).await.expect("revived");
    }
    trigger.shut_down();
    timeout(PERIOD, running).await.expect("stops").expect("no panic");
}
