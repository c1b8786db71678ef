//! The card's life: plans come, reports go, and in between it looks after what
//! it has made.

use crate::card::Card;
use crate::error::CardError;
use net::plan::{CardPlan, CardReport};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Obeys every plan that arrives, and repairs what has changed since, until
/// nobody can send a plan or wants a report any more.
///
/// It begins with the plan that was kept on disk, so a node that starts without
/// its control plane has its network all the same. A report is sent for every
/// plan, and whenever what it says has changed.
pub async fn run(
    mut card: Card,
    mut plans: watch::Receiver<Option<CardPlan>>,
    reports: mpsc::Sender<CardReport>,
) {
    let mut said: Option<CardReport> = None;
    let period = card.config().period;
    let mut timer = interval_at(Instant::now() + period, period);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);

    let newest = plans.borrow_and_update().clone();
    let mut outcome = match newest {
        Some(plan) => Some((true, card.apply(&plan).await)),
        None => card.reapply().await.map(|result| (true, result)),
    };
    loop {
        if let Some((new, result)) = outcome.take()
            && let Some(report) = heard(result)
            && (new || said.as_ref() != Some(&report))
        {
            if reports.send(report.clone()).await.is_err() {
                return;
            }
            said = Some(report);
        }
        outcome = tokio::select! {
            changed = plans.changed() => {
                if changed.is_err() {
                    return;
                }
                let newest = plans.borrow_and_update().clone();
                match newest {
                    Some(plan) => Some((true, card.apply(&plan).await)),
                    None => None,
                }
            }
            _ = timer.tick() => card.reapply().await.map(|result| (false, result)),
        };
    }
}

fn heard(result: Result<CardReport, CardError>) -> Option<CardReport> {
    match result {
        Ok(report) => Some(report),
        Err(error) => {
            tracing::error!(error = error.chain(), "the plan was not applied");
            None
        }
    }
}
