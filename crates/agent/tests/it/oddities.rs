//! Images that are made in unusual ways.

use crate::machine::{Machine, append, container, digest, last, layer, task};
use crate::pulls::{NO_MANIFEST, does_not_run};
use crate::registry::Server;
use agent::engine::{Network, RegistryLogin};
use agent::images::PullBehavior;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::Response;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// For others to come.
const DEADLINE: Duration = Duration::from_secs(10);

/// What a registry has: by the last part of a path, with its type.
#[derive(Clone, Default)]
struct Shelf(BTreeMap<String, (String, Bytes)>);

impl Shelf {
    fn put(&mut self, name: &str, kind: &str, bytes: impl Into<Bytes>) {
        self.0.insert(name.to_owned(), (kind.to_owned(), bytes.into()));
    }

    /// An image of these layers, with more in its manifest.
    fn image(&mut self, tag: &str, layers: &[(&str, Vec<u8>)], more: &Value) {
        let diff_ids: Vec<_> = layers.iter().map(|(_, tar)| digest(tar)).collect();
        let config = json!({
            "architecture": crate::machine::ARCHITECTURE, "os": "linux",
            "config": { "Env": ["PATH=/bin"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = config.to_string().into_bytes();
        let mut described = Vec::new();
        for (kind, tar) in layers {
            let stored = if kind.ends_with("gzip") { gzip(tar) } else { tar.clone() };
            let name = digest(&stored);
            described.push(json!({ "mediaType": kind, "digest": name, "size": stored.len() }));
            self.put(&name, "application/octet-stream", stored);
        }
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "annotations": more,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(&config), "size": config.len(),
            },
            "layers": described,
        });
        self.put(&digest(&config), "application/octet-stream", config);
        self.put(tag, MANIFEST, manifest.to_string());
    }

    async fn serve(self) -> Server {
        self.serve_if(|_| true).await
    }

    /// Has what that says of a path, and nothing else.
    async fn serve_if(self, has: impl Fn(&str) -> bool + Send + Sync + 'static) -> Server {
        let answer = move |path: &str| match self.0.get(path.rsplit('/').next().unwrap_or("")) {
            Some((kind, bytes)) if has(path) => {
                let answer = Response::builder().header("content-type", kind);
                answer.body(Full::new(bytes.clone())).expect("an answer")
            }
            None if path == "/v2/" => Response::new(Full::default()),
            _ => Response::builder().status(404).body(Full::default()).expect("an answer"),
        };
        Server::start(move |request| answer(request.uri().path())).await
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

/// A link, hard or not, from a path to another, neither of which is checked.
fn link(tar: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, path: &str, target: &str) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o777);
    header.set_size(0);
    header.set_link_name_literal(target).expect("short");
    raw(tar, header, path, b"");
}

/// A member whose path is as it is given: the library would not have all of them.
fn raw(tar: &mut tar::Builder<Vec<u8>>, mut header: tar::Header, path: &str, bytes: &[u8]) {
    let gnu = header.as_gnu_mut().expect("made so");
    gnu.name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_cksum();
    tar.append(&header, bytes).expect("member");
}

/// How a script ends in a container of this image.
async fn ends(machine: &Machine, image: &str, script: &str) -> (Option<i32>, String) {
    let mut agent = machine.agent().await;
    let mut web = container("web", &["sh", "-c", script]);
    image.clone_into(&mut web.image);
    let spec = task(Network::Isolated, vec![web]);
    agent.run(spec.clone()).await;
    let mut report = agent.report().await;
    while report.status != agent::engine::Known::Stopped {
        report = agent.report().await;
    }
    let web = last(&report, "web");
    let told = format!("{:?} {}", web.reason, machine.log(&spec.arn, "web"));
    let code = web.exit_code;
    agent.crash().await;
    (code, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_changes_what_is_below_it_and_nothing_outside() {
    let machine = Machine::new();
    let outside = machine.path("outside");
    std::fs::create_dir(&outside).expect("made");
    let mut below = tar::Builder::new(Vec::new());
    for path in ["data/gone", "data/kept", "opaque/old", "all/one"] {
        append(&mut below, path, path.as_bytes(), 0o644);
    }
    link(&mut below, tar::EntryType::Link, "data/same", "data/kept");
    link(&mut below, tar::EntryType::Symlink, "door", outside.to_str().expect("UTF-8"));
    let mut above = tar::Builder::new(Vec::new());
    for path in ["data/.wh.gone", "opaque/.wh..wh..opq", ".wh.all"] {
        append(&mut above, path, b"", 0o644);
    }
    append(&mut above, "opaque/new", b"new", 0o644);
    // Through a link, and upwards: both lead somewhere in the image, or nowhere.
    for path in ["door/left-by-door", "../../../../../../../../left-upwards"] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(4);
        raw(&mut above, header, path, b"left");
    }
    let layers = [
        (PLAIN, layer(0)),
        (GZIP, below.into_inner().expect("a layer")),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", above.into_inner().expect("one")),
    ];
    let mut shelf = Shelf::default();
    shelf.image("1", &layers, &json!({}));
    let server = shelf.serve().await;
    let image = format!("127.0.0.1:{}/odd:1", server.port);
    let script = "set -ex; cd /; ls -a data opaque; test ! -e data/gone; test ! -e all; \
                  test ! -e opaque/old; test -e opaque/new; test ! -e data/.wh.gone; \
                  test ! -e opaque/.wh..wh..opq; \
                  test $(stat -c %i data/same) = $(stat -c %i data/kept); \
                  test $(cat left-upwards) = left";
    let (code, told) = ends(&machine, &image, script).await;
    assert_eq!(code, Some(0), "{told}");
    let left: Vec<_> = std::fs::read_dir(&outside).expect("there").collect();
    assert!(left.is_empty() && !Path::new("/left-upwards").exists(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_come_side_by_side() {
    let machine = Machine::new();
    let mut shelf = Shelf::default();
    let file = |name: &str| {
        let mut tar = tar::Builder::new(Vec::new());
        append(&mut tar, name, b"", 0o644);
        tar.into_inner().expect("a layer")
    };
    shelf.image("1", &[(PLAIN, layer(0)), (GZIP, file("a")), (GZIP, file("b"))], &json!({}));
    // Nobody gets a blob before three are asked for.
    let asked = (Mutex::new(0), Condvar::new());
    let server = shelf.serve_if(move |path| {
        if !path.contains("/blobs/") {
            return true;
        }
        let (count, more) = &asked;
        let mut count = count.lock().expect("a number");
        *count += 1;
        more.notify_all();
        tokio::task::block_in_place(|| {
            let waited = more.wait_timeout_while(count, DEADLINE, |count| *count < 3);
            !waited.expect("a number").1.timed_out()
        })
    });
    let server = server.await;
    let image = format!("127.0.0.1:{}/a:1", server.port);
    let (code, told) = ends(&machine, &image, "test -e /a && test -e /b").await;
    assert_eq!(code, Some(0), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_that_may_not_be_passed_on_and_large_manifests_are_taken() {
    let machine = Machine::new();
    let mut shelf = Shelf::default();
    let more = json!({ "filler": "x".repeat(5 << 20) });
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    shelf.image("large", &[(foreign, layer(0))], &more);
    shelf.image("larger", &[(PLAIN, layer(0))], &json!({ "filler": "x".repeat(9 << 20) }));
    shelf.image(
        "nondistributable",
        &[("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", layer(1))],
        &json!({}),
    );
    let server = shelf.serve().await;
    for tag in ["large", "nondistributable"] {
        let (code, told) = ends(&machine, &format!("127.0.0.1:{}/a:{tag}", server.port), "").await;
        assert_eq!(code, Some(0), "{tag}: {told}");
    }
    let (code, told) = ends(&machine, &format!("127.0.0.1:{}/a:larger", server.port), "").await;
    assert!(code.is_none() && told.contains("bytes is unreasonably large"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_image_for_this_machine_is_told_by_what_it_is() {
    let mut machine = Machine::new();
    machine.config.image_pull_behavior = PullBehavior::Always;
    let mut shelf = Shelf::default();
    let first = json!({
        "schemaVersion": 1, "name": "a", "tag": "first", "architecture": "amd64",
        "fsLayers": [{ "blobSum": format!("sha256:{}", "0".repeat(64)) }],
        "history": [{ "v1Compatibility": "{}" }],
    });
    let kind = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    shelf.put("first", kind, first.to_string());
    let entry = |os: &str, architecture: &str| {
        json!({
            "mediaType": MANIFEST, "digest": format!("sha256:{}", "0".repeat(64)), "size": 100,
            "platform": { "os": os, "architecture": architecture },
        })
    };
    let arch = crate::machine::ARCHITECTURE;
    let others = json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [entry("linux", "s390x"), entry("windows", arch)],
    });
    shelf.put("others", INDEX, others.to_string());
    shelf.put("nothing", MANIFEST, json!({ "schemaVersion": 2 }).to_string());
    shelf.put("page", "text/html", "<html>");
    // Its layers and its configuration do not belong together.
    shelf.image("torn", &[(PLAIN, layer(0))], &json!({}));
    let torn = &shelf.0["torn"].1;
    let mut torn: Value = serde_json::from_slice(torn).expect("JSON");
    torn["layers"] = json!([]);
    shelf.put("torn", MANIFEST, torn.to_string());
    let server = shelf.serve().await;
    let mut agent = machine.agent().await;
    let matching = format!("no matching manifest for linux/{arch} in the manifest list entries");
    for (tag, said) in [
        ("first", "it is of schema version 1"),
        ("others", &matching),
        ("others", &format!(", but linux/s390x, windows/{arch}")),
        ("nothing", "it is the manifest of no image"),
        ("page", "expected value at line 1"),
        ("torn", "disagree about its layers"),
    ] {
        let image = format!("127.0.0.1:{}/a:{tag}", server.port);
        let reason = does_not_run(&mut agent, &image, &RegistryLogin::Anonymous).await;
        assert!(reason.starts_with("CannotPullContainerError: "), "{tag}: {reason}");
        assert!(reason.contains(said), "{tag}: {reason}");
    }
    let image = format!("127.0.0.1:{}/a:none", server.port);
    let reason = does_not_run(&mut agent, &image, &RegistryLogin::Anonymous).await;
    assert!(reason.starts_with(NO_MANIFEST), "{reason}");
}
