//! A machine for a test: its own containerd, prefix and directories, all of
//! which are gone when it goes, however the test ends.

use agent::engine::{
    ContainerReport, ContainerSpec, Desired, Eni, Input, Known, Network, Report, TaskArn, TaskSpec,
};
use agent::images::{Limits, PullBehavior, Registries};
use agent::rim::{Reporter, Rim, Tools};
use agent::{Config, Exposition, Host};
use async_trait::async_trait;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use wire::sigv4::Credentials;

/// This machine's, as images name it.
pub(crate) const ARCHITECTURE: &str = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };

pub(crate) const IMAGE: &str = "landfall.test/busybox:1";

static COUNT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Machine {
    pub(crate) config: Config,
    dir: TempDir,
    run: TempDir,
    links: Vec<String>,
}

/// A running agent without a control plane: what it reports lands here.
pub(crate) struct Agent {
    pub(crate) host: Arc<Host>,
    pub(crate) rim: Rim,
    pub(crate) reports: mpsc::UnboundedReceiver<Report>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

struct Ear(mpsc::UnboundedSender<Report>);

#[async_trait]
impl Reporter for Ear {
    async fn submit(&self, report: &Report) {
        drop(self.0.send(report.clone()));
    }
}

pub(crate) fn unique(stem: &str) -> String {
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{stem}{:x}x{count:02x}", std::process::id())
}

impl Machine {
    pub(crate) fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "these tests need root");
        for program in ["containerd", "containerd-shim-runc-v2", "runc", "busybox", "ip"] {
            assert!(which(program), "these tests need {program}");
        }
        let dir = TempDir::with_prefix("landfall-agent-").expect("temporary directory");
        let run = TempDir::with_prefix_in("lf-", "/run").expect("temporary directory");
        let config = Config {
            data_dir: dir.path().join("data"),
            run_dir: run.path().join("a"),
            prefix: unique("lft"),
            ..Self::any_config()
        };
        Self { config, dir, run, links: Vec::new() }
    }

    /// A configuration without places.
    pub(crate) fn any_config() -> Config {
        Config {
            cluster: "default".into(),
            region: "us-east-1".into(),
            endpoint: "http://127.0.0.1:1".into(),
            credentials: Credentials {
                access_key: "A".into(),
                secret_key: "B".into(),
                session_token: None,
            },
            data_dir: PathBuf::new(),
            run_dir: PathBuf::new(),
            containerd: None,
            prefix: String::new(),
            identity_document: String::new(),
            identity_signature: String::new(),
            cpu: None,
            memory_mib: None,
            image_pull_behavior: PullBehavior::default(),
            registries: Registries::default(),
            image_limits: Limits::default(),
            engine: agent::engine::Settings::default(),
            max_output: 1 << 20,
            introspection: None,
            exposition: Exposition::default(),
            storage_pause: Duration::from_millis(100),
            zone_id: None,
            attributes: Vec::new(),
            seed: 7,
        }
    }

    /// A machine with the test image loaded.
    pub(crate) async fn with_image() -> Self {
        let machine = Self::new();
        machine.load_image().await;
        machine
    }

    /// Loads the test image.
    pub(crate) async fn load_image(&self) {
        let archive = self.path("busybox.tar");
        oci_archive(&archive, IMAGE);
        let loaded = agent::load_image(&self.config, &archive, None).await.expect("loads");
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded[0].name, IMAGE);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) async fn agent(&self) -> Agent {
        let host = Arc::new(Host::open(&self.config).await.expect("containerd"));
        let (sender, reports) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let tools = Tools {
            containers: host.containers.clone(),
            networks: host.networks.clone(),
            reporter: Arc::new(Ear(sender)),
            state: host.state.clone(),
            environment: BTreeMap::new(),
            settings: self.config.engine,
        };
        let (rim, worker) = Rim::start(tools).await.expect("starts");
        let mut tasks = JoinSet::new();
        let (kept, known, limits) = (host.clone(), rim.clone(), self.config.image_limits);
        tasks.spawn(async move {
            tokio::select! {
                () = worker.run(stopped) => {}
                never = kept.keep_containerd() => match never {},
                never = kept.keep_books() => match never {},
                never = kept.clean_up(&known, limits) => match never {},
            }
        });
        Agent { host, rim, reports, stop, tasks }
    }

    /// Makes a pair of links, one of which is to be a task's interface.
    pub(crate) fn eni(&mut self, host_address: &str, address: &str) -> Eni {
        let eni = Self::planned_eni(host_address, address);
        self.make_links(&eni);
        eni
    }

    /// An interface that is yet to appear.
    pub(crate) fn planned_eni(host_address: &str, address: &str) -> Eni {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mac = format!(
            "0e:00:{:02x}:{:02x}:00:{count:02x}",
            (std::process::id() >> 8) & 0xff,
            std::process::id() & 0xff
        );
        Eni {
            id: "eni-1".into(),
            mac,
            ipv4: vec![(address.parse().expect("address"), 24)],
            ipv6: Vec::new(),
            gateway_v4: Some(host_address.parse().expect("address")),
            gateway_v6: None,
            name_servers: Vec::new(),
            search: Vec::new(),
            hostname: Some("ip-10-0-0-1.ec2.internal".into()),
        }
    }

    pub(crate) fn make_links(&mut self, eni: &Eni) {
        let (near, far) = (format!("n{}", unique("")), format!("f{}", unique("")));
        ip(&["link", "add", &near, "type", "veth", "peer", "name", &far]);
        self.links.push(near.clone());
        ip(&["link", "set", &far, "address", &eni.mac]);
        ip(&["link", "set", &near, "up"]);
        let gateway = eni.gateway_v4.expect("a gateway");
        ip(&["address", "add", &format!("{gateway}/24"), "dev", &near]);
    }

    pub(crate) fn log(&self, task: &TaskArn, container: &str) -> String {
        let outputs = agent::outputs(&self.config).expect("readable");
        let of =
            |output: &&agent::Output| output.task == task.id() && output.container == container;
        let path = outputs.iter().find(of).map(|output| &output.path);
        path.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default()
    }

    /// What is left of this machine outside its directories.
    pub(crate) fn traces(&self) -> Vec<String> {
        let mut traces = Vec::new();
        let data = self.config.data_dir.to_str().expect("utf-8").to_owned();
        let run = self.run.path().to_str().expect("utf-8").to_owned();
        let prefix = &self.config.prefix;
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let ours = |line: &str| [&data, &run, prefix].iter().any(|word| line.contains(*word));
        traces.extend(mounts.lines().filter(|line| ours(line)).map(str::to_owned));
        let dirs = ["/run/netns", "/dev/shm"].map(fs::read_dir);
        for entry in dirs.into_iter().flatten().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            traces.extend(name.contains(prefix.as_str()).then_some(name));
        }
        for entry in fs::read_dir("/proc").expect("proc").flatten() {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            let ourselves = entry.file_name() == *std::process::id().to_string();
            traces.extend((ours(&command) && !ourselves).then_some(command));
        }
        let found = Command::new("find")
            .args(["/sys/fs/cgroup", "-maxdepth", "2", "-name", prefix])
            .output()
            .expect("find");
        traces.extend(String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned));
        traces
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A runtime of our own: the test's may be unwinding.
        let config = self.config.clone();
        let torn = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("runtime");
            runtime.block_on(agent::teardown(&config, agent::Leave::Nothing))
        });
        let torn = torn.join();
        for link in &self.links {
            drop(Command::new("ip").args(["link", "delete", link]).output());
        }
        if !std::thread::panicking() {
            torn.expect("no panic").expect("torn down");
        }
    }
}

impl Agent {
    pub(crate) async fn run(&self, spec: TaskSpec) {
        let spec = Box::new(spec);
        assert!(self.rim.accept(vec![Input::Want { spec, desired: Desired::Running }]).await);
    }

    pub(crate) async fn stop(&self, spec: TaskSpec) {
        let spec = Box::new(spec);
        assert!(self.rim.accept(vec![Input::Want { spec, desired: Desired::Stopped }]).await);
    }

    pub(crate) async fn report(&mut self) -> Report {
        let report = tokio::time::timeout(Duration::from_secs(40), self.reports.recv()).await;
        let Ok(report) = report else {
            panic!("no report in time: {:#?}", self.rim.state().await);
        };
        report.expect("an agent")
    }

    pub(crate) async fn running(&mut self) -> Report {
        let report = self.report().await;
        assert_eq!(report.status, Known::Running, "{report:?}");
        report
    }

    pub(crate) async fn stopped(&mut self) -> Report {
        let report = self.report().await;
        assert_eq!(report.status, Known::Stopped, "{report:?}");
        report
    }

    /// Waits until nothing of the task is left but its memory.
    pub(crate) async fn finished(&self, arn: &TaskArn) {
        let finished = async {
            loop {
                let state = self.rim.state().await;
                if state.tasks.get(arn).is_some_and(|task| task.finished_at.is_some()) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), finished).await.expect("cleaned up");
    }

    /// Ends the agent as a crash would: nothing is said to anybody.
    pub(crate) async fn crash(self) {
        self.stop.send(true).expect("an agent");
        self.tasks.join_all().await;
    }
}

pub(crate) fn task(network: Network, containers: Vec<ContainerSpec>) -> TaskSpec {
    let id = format!("{:0>32}", unique("7a5c"));
    TaskSpec {
        cluster: "default".into(),
        family: "test".into(),
        version: "1".into(),
        network,
        containers,
        ..TaskSpec::new(TaskArn::new(format!(
            "arn:aws:ecs:us-east-1:000000000000:task/default/{id}"
        )))
    }
}

pub(crate) fn container(name: &str, command: &[&str]) -> ContainerSpec {
    ContainerSpec {
        name: name.into(),
        image: IMAGE.into(),
        command: Some(command.iter().map(ToString::to_string).collect()),
        essential: true,
        stop_timeout: Some(Duration::from_secs(1)),
        ..ContainerSpec::default()
    }
}

/// Waits for something to become so.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}: it never was so");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits for a container to have written `text`.
pub(crate) async fn written(machine: &Machine, arn: &TaskArn, name: &str, text: &str) -> String {
    let begun = Instant::now();
    loop {
        let log = machine.log(arn, name);
        if log.contains(text) {
            return log;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{name} never wrote {text:?}: {log}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Stops the task that runs, and then all else.
pub(crate) async fn conclude(machine: Machine, mut agent: Agent, spec: TaskSpec) {
    let arn = spec.arn.clone();
    agent.stop(spec).await;
    agent.stopped().await;
    agent.finished(&arn).await;
    end(machine, agent).await;
}

/// Ends everything, of which nothing may be left.
pub(crate) async fn end(machine: Machine, agent: Agent) {
    agent.crash().await;
    agent::teardown(&machine.config, agent::Leave::Nothing).await.expect("torn down");
    assert_eq!(machine.traces(), [""; 0]);
}

pub(crate) fn last<'a>(report: &'a Report, name: &str) -> &'a ContainerReport {
    report.containers.iter().rfind(|c| c.name == name).expect("reported")
}

pub(crate) fn which(program: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/bin"]
        .iter()
        .any(|dir| Path::new(dir).join(program).exists())
}

pub(crate) fn ip(args: &[&str]) {
    let done = Command::new("ip").args(args).output().expect("ip");
    assert!(done.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Writes an OCI layout with one image: busybox and the names of its applets.
pub(crate) fn oci_archive(path: &Path, name: &str) {
    oci_archive_for(path, name, ARCHITECTURE, 0);
}

/// The same for some architecture, with so many bytes more that no compression makes
/// smaller.
pub(crate) fn oci_archive_for(path: &Path, name: &str, architecture: &str, ballast: usize) {
    let layer = layer(ballast);
    let diff_id = digest(&layer);
    let config = serde_json::json!({
        "architecture": architecture,
        "os": "linux",
        "config": { "Env": ["PATH=/bin", "FROM=image"], "Cmd": ["sh"] },
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
    });
    let config = config.to_string().into_bytes();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest(&config), "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": diff_id, "size": layer.len(),
        }],
    });
    let manifest = manifest.to_string().into_bytes();
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest(&manifest), "size": manifest.len(),
            "annotations": { "org.opencontainers.image.ref.name": name },
        }],
    });
    let mut tar = tar::Builder::new(fs::File::create(path).expect("archive"));
    let version = br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec();
    append(&mut tar, "oci-layout", &version, 0o644);
    append(&mut tar, "index.json", index.to_string().as_bytes(), 0o644);
    for blob in [&layer, &config, &manifest] {
        let name = format!("blobs/{}", digest(blob).replace(':', "/"));
        append(&mut tar, &name, blob, 0o644);
    }
    tar.finish().expect("archive");
}

pub(crate) fn layer(ballast: usize) -> Vec<u8> {
    let busybox = fs::read("/bin/busybox").expect("busybox");
    let mut tar = tar::Builder::new(Vec::new());
    if ballast > 0 {
        let blocks = (0..ballast.div_ceil(32)).flat_map(|n| Sha256::digest(n.to_le_bytes()));
        append(&mut tar, "ballast", &blocks.collect::<Vec<u8>>(), 0o644);
    }
    append(&mut tar, "bin/busybox", &busybox, 0o755);
    append(&mut tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/:\n", 0o644);
    append(&mut tar, "etc/group", b"root:x:0:\nweb:x:34:\n", 0o644);
    for applet in [
        "sh", "sleep", "cat", "id", "ip", "wget", "httpd", "nc", "true", "hostname", "tail", "dd",
        "test", "ls", "stat", "mount", "env", "ps", "tty", "touch", "mkdir", "sed",
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox").expect("link");
    }
    tar.into_inner().expect("layer")
}

pub(crate) fn append<W: std::io::Write>(
    tar: &mut tar::Builder<W>,
    name: &str,
    bytes: &[u8],
    mode: u32,
) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    tar.append_data(&mut header, name, bytes).expect("member");
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}
