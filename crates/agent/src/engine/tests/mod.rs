//! The engine, fed by hand: one file for each thing that it does.

#![allow(clippy::wildcard_enum_match_arm)] // Tests look for one kind among many.

mod failures;
mod found;
mod health;
mod life;
mod order;
mod restart;
mod stop;
mod weather;

use super::*;

fn spec(containers: &[(&str, bool)]) -> TaskSpec {
    TaskSpec {
        cluster: "c".to_owned(),
        family: "f".to_owned(),
        version: "1".to_owned(),
        containers: containers
            .iter()
            .map(|(name, essential)| ContainerSpec {
                name: (*name).to_owned(),
                image: "i".to_owned(),
                essential: *essential,
                stop_timeout: Some(Duration::from_secs(5)),
                ..ContainerSpec::default()
            })
            .collect(),
        ..TaskSpec::new(TaskArn::new("arn:aws:ecs:r:1:task/c/0123456789abcdef"))
    }
}

fn want(spec: &TaskSpec, desired: Desired) -> Input {
    Input::Want { spec: Box::new(spec.clone()), desired }
}

fn which(spec: &TaskSpec, index: usize) -> Which {
    Which { task: spec.arn.clone(), index }
}

fn names(effects: &[Effect]) -> Vec<String> {
    let name = |effect: &Effect| match effect {
        Effect::PrepareNetwork(_) => "network".to_owned(),
        Effect::Pull { index, .. } => format!("pull {index}"),
        Effect::GiveUpPull(which) => format!("no pull {}", which.index),
        Effect::Create { index, .. } => format!("create {index}"),
        Effect::Start { which, .. } => format!("start {}", which.index),
        Effect::Restart { index, .. } => format!("restart {index}"),
        Effect::Check { index, .. } => format!("check {index}"),
        Effect::Await { which, .. } => format!("await {}", which.index),
        Effect::Signal { index, signal, .. } => format!("{signal:?} {index}").to_lowercase(),
        Effect::Delete { which, .. } => format!("delete {}", which.index),
        Effect::DeleteOrphan { runtime_id, .. } => format!("orphan {runtime_id}"),
        Effect::RemoveOrphanNetwork { short_id } => format!("orphan network {short_id}"),
        Effect::RemoveNetwork(_) => "no network".to_owned(),
        Effect::Report(report) => format!("report {:?}", report.status).to_lowercase(),
        Effect::Forget(_) => "forget".to_owned(),
    };
    effects.iter().map(name).collect()
}

/// Feeds an engine and says what it wants done.
fn feed(engine: &mut Engine, input: Input, at: i64) -> Vec<String> {
    names(&engine.handle(input, Timestamp(at)))
}

/// An engine with a task that runs and was reported.
fn running(spec: &TaskSpec) -> Engine {
    let mut engine = Engine::default();
    let task = spec.arn.clone();
    engine.handle(want(spec, Desired::Running), Timestamp(0));
    engine.handle(Input::NetworkReady { task, result: Ok(BTreeMap::new()) }, Timestamp(0));
    for index in 0..spec.containers.len() {
        engine.handle(Input::Pulled(which(spec, index), Ok(None)), Timestamp(0));
        engine.handle(Input::Created(which(spec, index), Ok(())), Timestamp(0));
        engine.handle(Input::Started(which(spec, index), Ok(())), Timestamp(0));
    }
    engine.handle(Input::Reported { task: spec.arn.clone(), number: 1 }, Timestamp(0));
    engine
}

/// The engine that comes up with what another left on disk.
fn saved(engine: &Engine) -> Engine {
    let json = serde_json::to_string(engine.state()).expect("writes");
    Engine::resume(serde_json::from_str(&json).expect("reads"))
}
