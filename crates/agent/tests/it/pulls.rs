//! Images from a registry.

use crate::machine::{Agent, Machine, container, digest, last, oci_archive, oci_archive_for, task};
use crate::registry::{Registry, TokenServer};
use agent::engine::{Network, RegistryLogin, TaskSpec, Work};
use agent::images::PullBehavior;
use futures::FutureExt as _;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_pulled_once_for_all_and_then_needs_no_registry() {
    let machine = Machine::new();
    let registry = Registry::start(&machine).await;
    let image = registry.push(&machine, "team/app:1", &["--format", "v2s2"]);
    let mut agent = machine.agent().await;
    let specs: Vec<_> = (0..3)
        .map(|_| {
            let mut web = container("web", &["sleep", "100"]);
            web.image.clone_from(&image);
            task(Network::Isolated, vec![web])
        })
        .collect();
    let begun = Instant::now();
    for spec in &specs {
        agent.run(spec.clone()).await;
    }
    for _ in &specs {
        let report = agent.running().await;
        assert!(report.pull_started_at <= report.pull_stopped_at);
        assert!(last(&report, "web").image_digest.is_some());
    }
    println!("three tasks from a cold image: {:?}", begun.elapsed());
    drop(registry);
    let mut web = container("web", &["true"]);
    web.image.clone_from(&image);
    let cached = task(Network::Isolated, vec![web]);
    agent.run(cached.clone()).await;
    agent.running().await;
    agent.stopped().await;
    agent.crash().await;
    agent::teardown(&machine.config, agent::Leave::Nothing).await.expect("torn down");
    assert_eq!(machine.traces(), [""; 0]);
}

/// Whether the other end hangs up.
async fn hung_up(line: &mut tokio::net::TcpStream) -> bool {
    let mut bytes = [0; 4096];
    let read = async {
        loop {
            match line.read(&mut bytes).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), read).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_never_answers_keeps_no_task_from_stopping() {
    let machine = Machine::new();
    let registry = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = registry.local_addr().expect("an address").port();
    let mut agent = machine.agent().await;
    let wish = || {
        let mut web = container("web", &["true"]);
        web.image = format!("127.0.0.1:{port}/app:1");
        task(Network::Isolated, vec![web])
    };
    let (first, second) = (wish(), wish());
    agent.run(first.clone()).await;
    let (mut line, _) = registry.accept().await.expect("a caller");
    agent.run(second.clone()).await;
    let pulls = |state: agent::engine::EngineState| {
        let known = state.tasks.get(&second.arn).expect("known").containers[0].work;
        known == Some(Work::Pull)
    };
    assert!(pulls(agent.rim.state().await));
    for spec in [first, second.clone()] {
        let begun = Instant::now();
        agent.stop(spec.clone()).await;
        let report = agent.stopped().await;
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(report.task, spec.arn);
        let web = last(&report, "web");
        assert_eq!((web.exit_code, web.reason.as_deref()), (None, None), "it is not to blame");
        assert_eq!(report.reason, "");
        assert!(report.pull_started_at.is_some() && report.execution_stopped_at.is_some());
        agent.finished(&spec.arn).await;
    }
    // One pull served both, or each had its own if the second came late; none
    // goes on when nobody waits for it.
    assert!(hung_up(&mut line).await);
    while let Some(Ok((mut line, _))) = registry.accept().now_or_never() {
        assert!(hung_up(&mut line).await);
    }
    agent.crash().await;
    agent::teardown(&machine.config, agent::Leave::Nothing).await.expect("torn down");
    assert_eq!(machine.traces(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn always_means_always_and_digests_are_obeyed() {
    let mut machine = Machine::new();
    machine.config.image_pull_behavior = PullBehavior::Always;
    let registry = Registry::start(&machine).await;
    let image = registry.push(&machine, "app:1", &[]);
    let mut agent = machine.agent().await;
    let run = |image: &str| {
        let mut web = container("web", &["true"]);
        web.image = image.to_owned();
        task(Network::Isolated, vec![web])
    };
    agent.run(run(&image)).await;
    let digest = last(&agent.running().await, "web").image_digest.clone().expect("a digest");
    agent.stopped().await;
    let repository = image.rsplit_once(':').expect("a tag").0;
    agent.run(run(&format!("{repository}@{digest}"))).await;
    agent.running().await;
    agent.stopped().await;
    agent.run(run(&format!("{repository}:missing"))).await;
    let report = agent.stopped().await;
    let reason = last(&report, "web").reason.clone().expect("a reason");
    assert!(reason.starts_with(NO_MANIFEST), "{reason}");
    // A digest needs nobody to say what it leads to: that it is missing shows in the pull.
    agent.run(run(&format!("{repository}@sha256:{}", "0".repeat(64)))).await;
    let report = agent.stopped().await;
    let reason = last(&report, "web").reason.clone().expect("a reason");
    let missing =
        "CannotPullContainerError: The task can’t pull the image. Check whether the image exists. ";
    assert!(reason.starts_with(missing), "{reason}");
}

/// A task of one container of this image, which ends at once.
fn run_once(image: &str, login: &RegistryLogin) -> TaskSpec {
    let mut web = container("web", &["true"]);
    image.clone_into(&mut web.image);
    web.registry = login.clone();
    task(Network::Isolated, vec![web])
}

fn login(username: &str, password: &str) -> RegistryLogin {
    RegistryLogin::Basic { username: username.into(), password: password.into() }
}

/// Runs it, and returns the digest of its image.
pub(crate) async fn runs(agent: &mut Agent, image: &str, login: &RegistryLogin) -> String {
    agent.run(run_once(image, login)).await;
    let digest = last(&agent.running().await, "web").image_digest.clone();
    agent.stopped().await;
    digest.expect("a digest")
}

/// Runs it in vain, and returns the reason.
pub(crate) async fn does_not_run(agent: &mut Agent, image: &str, login: &RegistryLogin) -> String {
    agent.run(run_once(image, login)).await;
    let report = agent.stopped().await;
    last(&report, "web").reason.clone().expect("a reason")
}

pub(crate) const NO_MANIFEST: &str = "CannotPullImageManifestError: Error response from daemon: ";
pub(crate) const UNREACHABLE: &str = "CannotPullContainerError: The task can’t pull the image. Check your \
                           network configuration. ";

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_may_want_a_password() {
    let mut machine = Machine::new();
    machine.config.image_pull_behavior = PullBehavior::Always;
    let registry = Registry::with_password(&machine).await;
    let image = registry.push(&machine, "team/app:1", &[]);
    let mut agent = machine.agent().await;
    for bad in [RegistryLogin::Anonymous, login("user", "wrong"), login("nobody", "right")] {
        let reason = does_not_run(&mut agent, &image, &bad).await;
        assert!(reason.starts_with(NO_MANIFEST), "{bad:?}: {reason}");
        assert!(!reason.contains("wrong"), "{reason}");
        let told = match bad {
            RegistryLogin::Anonymous => "repository does not exist or may require 'docker login': ",
            RegistryLogin::Basic { .. } => " is refused: ",
        };
        assert!(reason.contains(told), "{reason}");
    }
    runs(&mut agent, &image, &login("user", "right")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machine_may_have_a_password_for_those_who_have_none() {
    let mut machine = Machine::new();
    machine.config.image_pull_behavior = PullBehavior::Always;
    let path = machine.path("config.json");
    machine.config.registries.logins = Some(path.clone());
    let registry = Registry::with_password(&machine).await;
    let image = registry.push(&machine, "team/app:1", &[]);
    let pinned = format!("{}/team/app@sha256:{}", registry.name(), "0".repeat(64));
    let nobody = RegistryLogin::Anonymous;
    let mut agent = machine.agent().await;
    let reason = does_not_run(&mut agent, &image, &nobody).await;
    let unreadable = format!(
        "CannotPullContainerAuthError: the logins in {} cannot be used: No such file",
        path.display()
    );
    assert!(reason.starts_with(&unreadable), "{reason}");
    let write = |password: &str| {
        let logins = serde_json::json!({
            "auths": { registry.name(): { "username": "user", "password": password } },
        });
        std::fs::write(&path, logins.to_string()).expect("written");
    };
    write("wrong");
    let (refused, advice) = (
        " failed: user is refused: Not authorized: url ",
        format!(". Check the login for {} in {}", registry.name(), path.display()),
    );
    let reason = does_not_run(&mut agent, &image, &nobody).await;
    assert!(reason.starts_with(&format!("{NO_MANIFEST}pulling {image}{refused}")), "{reason}");
    assert!(reason.ends_with(&advice) && !reason.contains("wrong"), "{reason}");
    let reason = does_not_run(&mut agent, &pinned, &nobody).await;
    let begins = format!("CannotPullContainerError: pulling {pinned}{refused}");
    assert!(reason.starts_with(&begins), "{reason}");
    // The agent is not told; it looks.
    write("right");
    runs(&mut agent, &image, &nobody).await;
    let reason = does_not_run(&mut agent, &image, &login("user", "stale")).await;
    assert!(
        reason.contains(". Check the task's login for "),
        "the task's own goes first: {reason}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_may_send_us_to_fetch_a_token() {
    let mut machine = Machine::new();
    machine.config.image_pull_behavior = PullBehavior::Always;
    let tokens = TokenServer::start(&machine).await;
    let registry = Registry::with_tokens(&machine, &tokens).await;
    let image = registry.push(&machine, "team/app:1", &[]);
    let open = registry.push(&machine, "public/app:1", &[]);
    let mut agent = machine.agent().await;
    tokens.forget();
    let digest = runs(&mut agent, &image, &login("user", "right")).await;
    assert_eq!(tokens.asked(), ["user repository:team/app:pull"], "once for the whole image");
    let repository = image.rsplit_once(':').expect("a tag").0;
    let by_digest = format!("{repository}@{digest}");
    assert_eq!(runs(&mut agent, &by_digest, &login("user", "right")).await, digest);
    // Whoever has no name gets a token too, for what is everybody's.
    runs(&mut agent, &open, &RegistryLogin::Anonymous).await;
    let unknown = does_not_run(&mut agent, &image, &RegistryLogin::Anonymous).await;
    assert!(unknown.starts_with(&format!("{NO_MANIFEST}pull access denied for ")), "{unknown}");
    let wrong = does_not_run(&mut agent, &image, &login("user", "wrong")).await;
    assert!(wrong.starts_with(NO_MANIFEST), "{wrong}");
    assert!(wrong.contains("user is refused: ") && wrong.contains("incorrect password"), "{wrong}");
    // It has too much to do, which passes, and then it is gone, which does not.
    tokens.is_indisposed(2);
    runs(&mut agent, &image, &login("user", "right")).await;
    let address = tokens.address();
    drop(tokens);
    let reason = does_not_run(&mut agent, &image, &login("user", "right")).await;
    assert!(reason.starts_with(NO_MANIFEST) && reason.contains(&address), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_may_be_zstd_and_images_for_many_machines() {
    let machine = Machine::new();
    let registry = Registry::start(&machine).await;
    let zstd = registry.push(
        &machine,
        "zstd:1",
        &["--format", "oci", "--dest-compress", "--dest-compress-format", "zstd"],
    );
    let manifest = registry.get("zstd/manifests/1").await;
    assert!(String::from_utf8_lossy(&manifest).contains("tar+zstd"), "skopeo compressed it so");
    let mut agent = machine.agent().await;
    let nobody = RegistryLogin::Anonymous;
    assert_eq!(runs(&mut agent, &zstd, &nobody).await, digest(&manifest));

    // Two images, of which one cannot run here, under one name.
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let mut manifests = Vec::new();
    for (architecture, ballast) in [("s390x", 1), (crate::machine::ARCHITECTURE, 2)] {
        let archive = machine.path(&format!("{architecture}.tar"));
        oci_archive_for(&archive, "pushed:1", architecture, ballast);
        registry.push_archive(&archive, &format!("many:{architecture}"), &["--format", "oci"]);
        let manifest = registry.get(&format!("many/manifests/{architecture}")).await;
        manifests.push(serde_json::json!({
            "mediaType": kind, "digest": digest(&manifest), "size": manifest.len(),
            "platform": { "os": "linux", "architecture": architecture },
        }));
    }
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    });
    let index = index.to_string();
    registry.put("many/manifests/1", "application/vnd.oci.image.index.v1+json", &index).await;
    let many = format!("{}/many:1", registry.name());
    assert_eq!(runs(&mut agent, &many, &nobody).await, digest(index.as_bytes()));
    let foreign = does_not_run(&mut agent, &format!("{many}-none"), &nobody).await;
    assert!(foreign.starts_with(NO_MANIFEST), "{foreign}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_are_asked_first_and_may_fail() {
    let mut machine = Machine::new();
    machine.config.image_pull_behavior = PullBehavior::Always;
    let (mirror, registry) = (Registry::start(&machine).await, Registry::start(&machine).await);
    mirror.push(&machine, "library/busybox:1", &[]);
    mirror.push(&machine, "both:1", &["--format", "v2s2"]);
    let both = registry.push(&machine, "both:1", &["--format", "oci"]);
    let only_there = registry.push(&machine, "there:1", &[]);
    let nobody_there = "127.0.0.1:1".to_owned();
    let mirrors = vec![nobody_there, mirror.name()];
    machine.config.registries.mirrors =
        BTreeMap::from([("docker.io".to_owned(), mirrors.clone()), (registry.name(), mirrors)]);
    let mut agent = machine.agent().await;
    let nobody = RegistryLogin::Anonymous;
    runs(&mut agent, "busybox:1", &nobody).await;
    let manifest = mirror.get("both/manifests/1").await;
    assert_ne!(manifest, registry.get("both/manifests/1").await);
    assert_eq!(runs(&mut agent, &both, &nobody).await, digest(&manifest), "the mirror's");
    runs(&mut agent, &only_there, &nobody).await;
    drop(mirror);
    assert_ne!(runs(&mut agent, &both, &nobody).await, digest(&manifest), "the registry's");
}

#[tokio::test(flavor = "multi_thread")]
async fn once_is_once_per_image_whichever_agent() {
    let mut machine = Machine::new();
    machine.config.image_pull_behavior = PullBehavior::Once;
    let registry = Registry::start(&machine).await;
    let first = registry.push(&machine, "first:1", &[]);
    let second = format!("{}/second:1", registry.name());
    let archive = machine.path("second.tar");
    oci_archive(&archive, &second);
    agent::load_image(&machine.config, &archive, None).await.expect("loads");
    let mut agent = machine.agent().await;
    let nobody = RegistryLogin::Anonymous;
    let missing = does_not_run(&mut agent, &second, &nobody).await;
    assert!(missing.starts_with(NO_MANIFEST), "what we have is not enough: {missing}");
    runs(&mut agent, &first, &nobody).await;
    drop(registry);
    let cached = run_once(&first, &nobody);
    agent.run(cached.clone()).await;
    agent.running().await;
    agent.stopped().await;
    agent.finished(&cached.arn).await;
    agent.crash().await;
    let mut agent = machine.agent().await;
    runs(&mut agent, &first, &nobody).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_the_registry_is_asked_and_what_is_here_will_do() {
    let mut machine = Machine::new();
    machine.config.image_pull_behavior = PullBehavior::Default;
    let registry = Registry::start(&machine).await;
    let image = registry.push(&machine, "app:1", &["--format", "oci"]);
    let mut agent = machine.agent().await;
    let nobody = RegistryLogin::Anonymous;
    let first = runs(&mut agent, &image, &nobody).await;
    registry.push(&machine, "app:1", &["--format", "v2s2"]);
    let second = runs(&mut agent, &image, &nobody).await;
    assert_ne!(first, second, "it is asked although one is here");
    drop(registry);
    assert_eq!(runs(&mut agent, &image, &nobody).await, second, "what is here will do");
}
