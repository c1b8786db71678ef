//! Lines that break, and registries that lie.

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
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const MIB: u64 = 1 << 20;
/// How large the layer of the test image is, a little more or less.
const LAYER: u64 = 12 * MIB;

/// What a line does to an answer that is longer than this.
#[derive(Clone, Copy)]
enum Fault {
    None,
    /// It breaks.
    Cuts(u64),
    /// It falls silent.
    Stalls(u64),
}

/// A way to a registry, which counts the bytes that came back by it.
struct Line {
    port: u16,
    carried: Arc<AtomicU64>,
    lines: Arc<AtomicUsize>,
    fault: tokio::sync::watch::Sender<Fault>,
    _carrying: JoinSet<()>,
}

impl Line {
    async fn to(registry: &Registry, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (fault, faults) = tokio::sync::watch::channel(fault);
        let (carried, lines): (Arc<AtomicU64>, Arc<AtomicUsize>) = Default::default();
        let (count, opened, far) = (carried.clone(), lines.clone(), registry.port());
        let mut carrying = JoinSet::new();
        carrying.spawn(async move {
            let mut all = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                opened.fetch_add(1, Ordering::SeqCst);
                let (fault, count) = (*faults.borrow(), count.clone());
                all.spawn(async move { carry(near, far, fault, &count).await });
            }
        });
        Self { port, carried, lines, fault, _carrying: carrying }
    }

    fn carried(&self) -> u64 {
        self.carried.load(Ordering::SeqCst)
    }
}

/// Carries one connection until either end, or the fault, ends it.
async fn carry(near: TcpStream, far: u16, fault: Fault, count: &AtomicU64) {
    let far = TcpStream::connect(("127.0.0.1", far)).await.expect("the registry");
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) =
        (near.into_split(), far.into_split());
    let asked = async { drop(tokio::io::copy(&mut near_in, &mut far_out).await) };
    let answered = async {
        let (mut bytes, mut here) = (vec![0; 64 << 10], 0_u64);
        loop {
            let most = match fault {
                Fault::None => u64::MAX,
                Fault::Cuts(at) | Fault::Stalls(at) => at - here,
            };
            let most = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
            if most == 0 {
                if let Fault::Stalls(_) = fault {
                    std::future::pending::<()>().await;
                }
                return;
            }
            let Ok(read @ 1..) = far_in.read(&mut bytes[..most]).await else { return };
            if near_out.write_all(&bytes[..read]).await.is_err() {
                return;
            }
            here += read as u64;
            count.fetch_add(read as u64, Ordering::SeqCst);
        }
    };
    tokio::select! {
        () = asked => {}
        () = answered => {}
    }
}

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
    let line = Line::to(&registry, Fault::Cuts(2 * MIB)).await;
    let mut agent = machine.agent().await;
    agent.run(wish(&format!("127.0.0.1:{}/large:1", line.port))).await;
    agent.running().await;
    let report = agent.stopped().await;
    assert_eq!(last(&report, "web").exit_code, Some(0), "the file is there");
    let (carried, lines) = (line.carried(), line.lines.load(Ordering::SeqCst));
    println!("{carried} bytes of a layer of {LAYER} and a little more, by {lines} lines");
    assert!(lines >= 6, "{lines}");
    assert!(carried < LAYER + 2 * MIB, "{carried} bytes came for a layer of {LAYER}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_died_over_a_layer_goes_on_with_it() {
    let machine = Machine::new();
    let registry = Registry::start(&machine).await;
    push(&machine, &registry);
    let line = Line::to(&registry, Fault::Stalls(8 * MIB)).await;
    let agent = machine.agent().await;
    agent.run(wish(&format!("127.0.0.1:{}/large:1", line.port))).await;
    let store = machine.config.data_dir.join("containerd/root/io.containerd.content.v1.content");
    let half = || largest(&store.join("ingest"));
    until("half of it is here", || half() >= 7 * MIB).await;
    agent.crash().await;
    line.fault.send_replace(Fault::None);
    let before = (line.carried(), half());
    let mut agent = machine.agent().await;
    agent.running().await;
    let report = agent.stopped().await;
    assert_eq!(last(&report, "web").exit_code, Some(0), "the file is there");
    let after = line.carried() - before.0;
    println!("{after} bytes more after {} of {LAYER} were here", before.1);
    assert!(after < LAYER + 2 * MIB - before.1, "{after} bytes came again");
    assert_eq!(largest(&store.join("ingest")), 0, "nothing half done is left");
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
