//! Which images go: those that nobody has used for long, a few at a time, as the
//! official agent has it; and when the disk fills up, those that were used the
//! longest ago, until it is no longer full.
//!
//! What a task uses, or wants, stays, and so does what somebody loaded by hand:
//! there may be no other copy of it, and no registry to ask for one.

use super::unpack::LOADED;
use super::{Images, SNAPSHOTTER, full_name};
use crate::clock;
use crate::runtime::Error;
use containerd_client::services::v1 as api;
use ident::Timestamp;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Duration;

/// When images go. The defaults are the official agent's, and, for the disk, those
/// of the kubelet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How often images are looked through for old ones.
    pub interval: Duration,
    /// How long nobody must have used an image for it to be old.
    pub minimum_age: Duration,
    /// How many old ones go at a time.
    pub per_cycle: usize,
    /// Above this fill of the disk, in percent, images go whatever their age,
    pub full: u8,
    /// until it is no more than this.
    pub relieved: u8,
    /// How long what has come of a pull is kept that came to nothing.
    pub unfinished: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            interval: Duration::from_mins(30),
            minimum_age: Duration::from_hours(1),
            per_cycle: 5,
            full: 85,
            relieved: 80,
            unfinished: super::blob::KEPT,
        }
    }
}

/// An image, and what is to be known of it before it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    name: String,
    used_at: Timestamp,
    /// It must not go.
    kept: bool,
}

/// Why an image goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// It is old.
    Age,
    /// The disk is full; if it still is when it comes to this one.
    Pressure,
}

/// What is to go, in this order. `cycle` says whether old ones are looked for now.
fn plan(
    mut all: Vec<Candidate>,
    now: Timestamp,
    cycle: bool,
    pressed: bool,
    limits: &Limits,
) -> Vec<(Candidate, Due)> {
    all.retain(|candidate| !candidate.kept);
    all.sort_by(|a, b| (a.used_at, &a.name).cmp(&(b.used_at, &b.name)));
    let old = |candidate: &Candidate| now.since(candidate.used_at) >= limits.minimum_age;
    let aged = if cycle { limits.per_cycle } else { 0 };
    let due = all.into_iter().enumerate().map(|(place, candidate)| {
        let due = if place < aged && old(&candidate) { Due::Age } else { Due::Pressure };
        (candidate, due)
    });
    due.filter(|(_, due)| pressed || *due == Due::Age).collect()
}

impl Images {
    /// Removes what is to go: see the module. `wanted` are names of images as tasks
    /// have them, of which there may be no container yet, and `as_of` the moment at
    /// which those tasks were all there are; `fill` says how full the disk is, in
    /// percent, and is asked again as images go. Returns the full names of those that
    /// went.
    pub async fn collect(
        &self,
        wanted: &BTreeSet<String>,
        as_of: Timestamp,
        cycle: bool,
        limits: &Limits,
        fill: impl Fn() -> u8,
    ) -> Result<Vec<String>, Error> {
        let now = clock::now();
        let mut in_use = self.held().await?;
        in_use.extend(wanted.iter().filter_map(|name| full_name(name).ok()));
        for name in &in_use {
            self.usage.used(name, now);
        }
        let pressed = fill() > limits.full;
        if !cycle && !pressed {
            return Ok(Vec::new());
        }
        let pulled: BTreeSet<String> =
            self.transfers().into_iter().map(|transfer| transfer.image).collect();
        let request = self.connection.request(api::ListImagesRequest { filters: Vec::new() });
        let answer = self.connection.images().list(request).await;
        let records = answer.map_err(Error::rpc("list images"))?.into_inner().images;
        let all = records.into_iter().map(|record| {
            let used_at = self.usage.used_at(&record.name);
            let kept = in_use.contains(&record.name)
                || pulled.contains(&record.name)
                || record.labels.contains_key(LOADED)
                || used_at >= as_of;
            Candidate { name: record.name, used_at, kept }
        });
        let mut gone = Vec::new();
        for (candidate, due) in plan(all.collect(), now, cycle, pressed, limits) {
            if due == Due::Pressure && fill() <= limits.relieved {
                break;
            }
            if self.remove(&candidate).await? {
                tracing::info!(image = candidate.name, ?due, "image removed");
                gone.push(candidate.name);
            }
        }
        Ok(gone)
    }

    /// The images of the containers there are.
    async fn held(&self) -> Result<BTreeSet<String>, Error> {
        let request = self.connection.request(api::ListContainersRequest { filters: Vec::new() });
        let answer = self.connection.containers().list(request).await;
        let records = answer.map_err(Error::rpc("list containers"))?.into_inner().containers;
        Ok(records.into_iter().map(|record| record.image).collect())
    }

    /// The directory of root file systems, which is where the disk fills up.
    pub async fn root(&self) -> Result<PathBuf, Error> {
        let filters = vec![format!("type==io.containerd.snapshotter.v1,id=={SNAPSHOTTER}")];
        let request = self.connection.request(api::PluginsRequest { filters });
        let answer = self.connection.introspection().plugins(request).await;
        let plugins = answer.map_err(Error::rpc("describe itself"))?.into_inner().plugins;
        let root = plugins.into_iter().find_map(|mut plugin| plugin.exports.remove("root"));
        root.map(PathBuf::from).ok_or_else(|| Error::Spec(format!("{SNAPSHOTTER} has no root")))
    }

    /// Removes an image, with what nothing else needs of it, unless somebody has begun
    /// to use it.
    async fn remove(&self, candidate: &Candidate) -> Result<bool, Error> {
        let name = &candidate.name;
        let Some(removal) = self.usage.begin_removal(name, candidate.used_at) else {
            return Ok(false);
        };
        // The space is free on return.
        let message =
            api::DeleteImageRequest { name: name.clone(), sync: true, ..Default::default() };
        match self.connection.images().delete(self.connection.request(message)).await {
            Err(status) if status.code() == tonic::Code::NotFound => {}
            other => other.map(drop).map_err(Error::rpc("remove an image"))?,
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(known, _), _| known != name);
        drop(known);
        removal.done();
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_000_000_000_000);

    fn image(name: &str, minutes: i64, kept: bool) -> Candidate {
        Candidate { name: name.to_owned(), used_at: Timestamp(NOW.0 - minutes * 60_000), kept }
    }

    fn names(planned: &[(Candidate, Due)], wanted: Due) -> Vec<&str> {
        let of = planned.iter().filter(|(_, due)| *due == wanted);
        of.map(|(candidate, _)| candidate.name.as_str()).collect()
    }

    #[test]
    fn the_old_go_in_order_and_a_few_at_a_time() {
        let all = vec![
            image("new", 59, false),
            image("c", 60, false),
            image("used", 900, true),
            image("a", 300, false),
            image("b", 200, false),
        ];
        let limits = Limits { per_cycle: 2, ..Limits::default() };
        let planned = |cycle, pressed| plan(all.clone(), NOW, cycle, pressed, &limits);
        assert_eq!(names(&planned(true, false), Due::Age), ["a", "b"]);
        assert!(planned(false, false).is_empty());
        assert_eq!(names(&planned(false, true), Due::Pressure), ["a", "b", "c", "new"]);
        assert_eq!(names(&planned(true, true), Due::Age), ["a", "b"]);
        assert_eq!(names(&planned(true, true), Due::Pressure), ["c", "new"]);
    }

    proptest! {
        #[test]
        fn a_plan_never_takes_what_must_stay_and_takes_the_oldest_first(
            all in prop::collection::vec((0..200_i64, any::<bool>()), 0..40),
            per_cycle in 0..8_usize,
            (cycle, pressed) in any::<(bool, bool)>(),
        ) {
            let all: Vec<_> = all
                .iter()
                .enumerate()
                .map(|(n, (minutes, kept))| image(&format!("i{n}"), *minutes, *kept))
                .collect();
            let limits = Limits { per_cycle, ..Limits::default() };
            let planned = plan(all.clone(), NOW, cycle, pressed, &limits);
            prop_assert!(planned.iter().all(|(candidate, _)| !candidate.kept));
            prop_assert!(planned.is_sorted_by_key(|(candidate, _)| candidate.used_at));
            let aged: Vec<_> = planned.iter().filter(|(_, due)| *due == Due::Age).collect();
            let most = if cycle { per_cycle } else { 0 };
            prop_assert!(aged.len() <= most);
            let young = |candidate: &Candidate| NOW.since(candidate.used_at) < limits.minimum_age;
            prop_assert!(aged.iter().all(|(candidate, _)| !young(candidate)));
            let free = all.iter().filter(|candidate| !candidate.kept);
            let old = free.clone().filter(|candidate| !young(candidate)).count();
            let expected = match (pressed, cycle) {
                (true, _) => free.count(),
                (false, true) => old.min(per_cycle),
                (false, false) => 0,
            };
            prop_assert_eq!(planned.len(), expected);
        }
    }
}
