//! Lines that break, and registries that lie.

use crate::line::{Fault, Line};
use crate::machine::{Machine, container, digest, last, oci_archive_for, task, until};
use crate::registry::{Registry, Server};
use agent::engine::{Network, TaskSpec};
use agent::images::PullBehavior;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const MIB: u64 = 1 << 20;
/// How large the layer of the test image is, a little more or less.
const LAYER: u64 = 12 * MIB;

fn push(machine: &Machine, registry: &Registry) {
    let archive = machine.path("large.tar");
    let ballast = usize::try_from(LAYER).expect("small");
    oci_archive_for(&archive, "pushed:1", crate::machine::ARCHITECTURE, ballast);
    registry.push_archive(&archive, "large:1", &[]);
}

fn wish(image: &str) -> TaskSpec {
    let mut web = container("web", &["test", "-f", "/ballast"]);
    image.clone_into(&mut web.image);
    task(Network::Isolated, vec![web])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_breaks_again_and_again_costs_nothing_twice() {
    let machine = Machine::new();
    let registry = Registry::start(&machine).await;
    push(&machine, &registry);
    // More often than a failure is borne that gets us nowhere.
    let line = Line::to(&registry, "127.0.0.1", Fault::Cuts(2 * MIB)).await;
    let mut agent = machine.agent().await;
    agent.run(wish(&format!("127.0.0.1:{}/large:1", line.port))).await;
    agent.running().await;
    let report = agent.stopped().await;
    assert_eq!(last(&report, "web").exit_code, Some(0), "the file is there");
    let (carried, lines) = (line.carried(), line.callers().len());
    println!("{carried} bytes of a layer of {LAYER} and a little more, by {lines} lines");
    assert!(lines >= 6, "{lines}");
    assert!(carried < LAYER + 2 * MIB, "{carried} bytes came for a layer of {LAYER}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_falls_silent_is_broken_too() {
    let mut machine = Machine::new();
    machine.config.registries.silence = Duration::from_secs(1);
    let registry = Registry::start(&machine).await;
    push(&machine, &registry);
    let line = Line::to(&registry, "127.0.0.1", Fault::Stalls(4 * MIB)).await;
    let mut agent = machine.agent().await;
    agent.run(wish(&format!("127.0.0.1:{}/large:1", line.port))).await;
    agent.running().await;
    assert_eq!(last(&agent.stopped().await, "web").exit_code, Some(0), "the file is there");
    let (carried, lines) = (line.carried(), line.callers().len());
    println!("{carried} bytes of a layer of {LAYER} and a little more, by {lines} lines");
    assert!(lines >= 3, "{lines}");
    assert!(carried < LAYER + 2 * MIB, "{carried} bytes came for a layer of {LAYER}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_died_over_a_layer_goes_on_with_it() {
    let machine = Machine::new();
    let registry = Registry::start(&machine).await;
    push(&machine, &registry);
    let line = Line::to(&registry, "127.0.0.1", Fault::Stalls(8 * MIB)).await;
    let agent = machine.agent().await;
    agent.run(wish(&format!("127.0.0.1:{}/large:1", line.port))).await;
    let store = machine.config.data_dir.join("containerd/root/io.containerd.content.v1.content");
    let half = || largest(&store.join("ingest"));
    until("half of it is here", || half() >= 7 * MIB).await;
    let told = || agent::transfers(&machine.config).expect("readable");
    let half_told = |pull: &agent::images::Transfer| {
        pull.image.ends_with("/large:1") && pull.bytes_done >= 7 * MIB && pull.bytes_total > LAYER
    };
    until("that is told", || matches!(&told()[..], [pull] if half_told(pull))).await;
    agent.crash().await;
    line.mend();
    let before = (line.carried(), half());
    let mut agent = machine.agent().await;
    agent.running().await;
    let report = agent.stopped().await;
    assert_eq!(last(&report, "web").exit_code, Some(0), "the file is there");
    let after = line.carried() - before.0;
    println!("{after} bytes more after {} of {LAYER} were here", before.1);
    assert!(after < LAYER + 2 * MIB - before.1, "{after} bytes came again");
    assert_eq!(largest(&store.join("ingest")), 0, "nothing half done is left");
    until("nothing is told any more", || told().is_empty()).await;
}

/// The size of the largest file below a directory.
fn largest(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => largest(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.max().unwrap_or(0)
}

/// In which way a registry does not send what it announced.
const HONEST: usize = 0;
const OTHER_BYTES: usize = 1;
const MORE: usize = 2;
const LESS: usize = 3;
const OTHER_MANIFEST: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_lies_is_not_believed_and_leaves_no_trace() {
    let mut machine = Machine::new();
    machine.config.image_pull_behavior = PullBehavior::Always;
    let archive = machine.path("lies.tar");
    oci_archive_for(&archive, "lies:1", crate::machine::ARCHITECTURE, 3);
    let mut blobs = std::collections::BTreeMap::new();
    let mut tar = tar::Archive::new(fs::File::open(&archive).expect("archive"));
    for entry in tar.entries().expect("entries") {
        let mut entry = entry.expect("entry");
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).expect("bytes");
        blobs.insert(digest(&bytes), bytes);
    }
    let is_manifest = |bytes: &&Vec<u8>| bytes.starts_with(b"{") && find(bytes, b"\"layers\":[");
    let manifest = blobs.values().find(is_manifest).expect("a manifest").clone();
    let manifest_digest = digest(&manifest);
    let lie = Arc::new(AtomicUsize::new(HONEST));
    let told = lie.clone();
    let server = Server::start(move |request| {
        let lie = told.load(Ordering::SeqCst);
        let path = request.uri().path().to_owned();
        let last = path.rsplit('/').next().unwrap_or_default();
        let mut body = if path.contains("/manifests/") {
            manifest.clone()
        } else {
            blobs.get(last).cloned().unwrap_or_default()
        };
        match lie {
            OTHER_MANIFEST if path.contains("/manifests/") => body.push(b' '),
            OTHER_BYTES if body.len() > 4096 => body[2048] ^= 1,
            MORE if body.len() > 4096 => body.push(0),
            LESS if body.len() > 4096 => body.truncate(4096),
            _ => {}
        }
        Response::new(Full::new(Bytes::from(body)))
    });
    let server = server.await;
    let by_digest = format!("127.0.0.1:{}/lies@{manifest_digest}", server.port);
    let mut agent = machine.agent().await;
    for (kind, said) in [
        (OTHER_MANIFEST, "is not what its registry says: "),
        (OTHER_BYTES, "is not what its registry says: "),
        (MORE, "is not what its registry says: "),
        (LESS, "is not what its registry says: "),
    ] {
        lie.store(kind, Ordering::SeqCst);
        agent.run(wish(&by_digest)).await;
        let report = agent.stopped().await;
        let reason = last(&report, "web").reason.clone().expect("a reason");
        assert!(reason.starts_with("CannotPullContainerError: "), "{kind}: {reason}");
        assert!(reason.contains(said), "{kind}: {reason}");
    }
    lie.store(HONEST, Ordering::SeqCst);
    agent.run(wish(&by_digest)).await;
    agent.running().await;
    assert_eq!(last(&agent.stopped().await, "web").exit_code, Some(0));
}

fn find(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

/// Removes these leases of containerd's, and all that nothing holds then.
fn end_leases(machine: &Machine, of: &str) -> usize {
    let socket = machine.config.run_dir.join("containerd.sock");
    let ctr = |words: &[&str]| {
        let mut ctr = std::process::Command::new("ctr");
        ctr.arg("--address").arg(&socket).args(["--namespace", &machine.config.prefix, "leases"]);
        let done = ctr.args(words).output().expect("these tests need ctr");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    ctr(&["create", "--id", "passing"]);
    let all = ctr(&["list", "--quiet"]);
    let ended: Vec<_> = all.lines().filter(|id| id.starts_with(of)).collect();
    for id in &ended {
        ctr(&["delete", id]);
    }
    ctr(&["delete", "--sync", "passing"]);
    ended.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_outlasts_its_lease_loses_nothing_to_a_collection() {
    let mut machine = Machine::new();
    machine.config.image_limits.unfinished = Duration::from_secs(2);
    let registry = Registry::start(&machine).await;
    push(&machine, &registry);
    // For a layer of 192 pieces.
    let line = Line::to(&registry, "127.0.0.1", Fault::Rests(Duration::from_millis(40))).await;
    let mut agent = machine.agent().await;
    let begun = tokio::time::Instant::now();
    agent.run(wish(&format!("127.0.0.1:{}/large:1", line.port))).await;
    let collect = async {
        loop {
            end_leases(&machine, "none");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        _ = agent.running() => {}
        () = collect => {}
    }
    println!("it took {:?}, {} bytes", begun.elapsed(), line.carried());
    assert!(begun.elapsed() > Duration::from_secs(6), "three times as long as the lease");
    assert_eq!(last(&agent.stopped().await, "web").exit_code, Some(0), "the file is there");
    assert!(line.carried() < LAYER + 2 * MIB, "{} bytes came", line.carried());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_whose_lease_has_ended_begins_again_with_what_is_left() {
    let machine = Machine::new();
    let registry = Registry::start(&machine).await;
    push(&machine, &registry);
    let line = Line::to(&registry, "127.0.0.1", Fault::Rests(Duration::from_millis(20))).await;
    let mut agent = machine.agent().await;
    agent.run(wish(&format!("127.0.0.1:{}/large:1", line.port))).await;
    until("half of it came", || line.carried() > LAYER / 2).await;
    assert_eq!(end_leases(&machine, "image-"), 1);
    line.mend();
    agent.running().await;
    assert_eq!(last(&agent.stopped().await, "web").exit_code, Some(0), "the file is there");
    assert_eq!(end_leases(&machine, "image-"), 0, "none is left");
}
