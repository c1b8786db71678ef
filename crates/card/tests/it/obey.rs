//! Plans, generations, restarts, and the loop.

use crate::lab::{Lab, PATIENCE, generation, link_with_mac, sh};
use crate::world::{World, anywhere};
use card::{Card, CardError};
use ident::Generation;
use net::model::Traffic;
use net::plan::CardReport;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

fn world() -> World {
    let mut world = World::new(1);
    world.eni(1, 10, &[1]);
    let open = [anywhere(Traffic::All)];
    world.group(1, &open, &open);
    world
}

#[test]
fn an_older_plan_is_refused_also_after_a_restart() {
    let mut lab = Lab::new();
    let world = world();
    lab.apply(&world.plan(5));
    let before = lab.dump();
    for _ in 0..2 {
        let refused = lab.with(async |card| card.apply(&World::new(1).plan(4)).await);
        let Err(CardError::Outdated { current, offered }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!((current, offered), (Generation(5), Generation(4)));
        assert_eq!(lab.dump(), before);
        lab.restart();
    }
}

#[test]
fn a_new_card_adopts_what_is_there() {
    let mut lab = Lab::new();
    let world = world();
    lab.apply(&world.plan(1));
    let task = lab.task(&world.enis[0]);
    let before = lab.dump();
    lab.restart();
    assert_eq!(generation(&lab.card), Some(1));
    let report = lab.with(async |card| card.reapply().await).expect("a plan").expect("a report");
    assert_eq!((report.present.len(), report.failed.len()), (1, 0));
    assert_eq!(lab.card.last_work().changes(), 0);
    assert_eq!(lab.dump(), before);
    assert!(task.sh("ip link show eth0").contains("state UP"));
}

#[test]
fn a_rebooted_node_has_its_network_without_the_control_plane() {
    let mut lab = Lab::new();
    let world = world();
    lab.apply(&world.plan(1));
    let plan = lab.config().state_dir.join("card-plan.json");
    // It is there under one name or the other: whether the disk has it is not waited for.
    let newest = plan.with_extension("newest.json");
    let kept = std::fs::read(newest).or_else(|_| std::fs::read(&plan)).expect("kept");
    lab.with(async |card| card.teardown().await).expect("as if the machine had been off");
    std::fs::write(&plan, kept).expect("and its disk had not");
    lab.restart();
    lab.with(async |card| card.reapply().await).expect("a plan").expect("a report");
    assert!(link_with_mac(&lab.host, &world.enis[0]).is_some());
}

#[test]
fn rules_that_changed_while_nobody_looked_are_replaced() {
    let mut lab = Lab::new();
    let world = world();
    lab.apply(&world.plan(1));
    sh(&lab.router(), "nft flush chain inet landfall forward");
    lab.restart();
    assert_eq!(lab.apply(&world.plan(1)).loaded, 1);
}

#[test]
fn the_loop_obeys_reports_and_repairs() {
    let mut lab = Lab::new();
    let world = world();
    let eni = world.enis[0].clone();
    let fresh = Card::new(lab.config());
    let card = std::mem::replace(&mut lab.card, fresh);
    let (send_plan, plans) = watch::channel(None);
    let (reports, mut receive) = mpsc::channel::<CardReport>(1);
    lab.block_on(async {
        let talk = async {
            send_plan.send_replace(Some(world.plan(1)));
            let report =
                timeout(PATIENCE, receive.recv()).await.expect("in time").expect("a report");
            assert_eq!((report.generation, report.present), (Generation(1), vec![eni.id.clone()]));

            let name = link_with_mac(&lab.host, &eni).expect("it appears");
            sh(&lab.host, &format!("ip link del {name}"));
            timeout(PATIENCE, async {
                while link_with_mac(&lab.host, &eni).is_none() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await
            .expect("it is made again, on the timer");

            send_plan.send_replace(Some(World::new(1).plan(2)));
            let report =
                timeout(PATIENCE, receive.recv()).await.expect("in time").expect("a report");
            assert_eq!((report.generation, report.present.len()), (Generation(2), 0));
            drop(send_plan);
        };
        let ends = timeout(PATIENCE * 3, card::run(card, plans, reports));
        let ((), ended) = tokio::join!(talk, ends);
        ended.expect("the loop ends with its sender");
    });
}
