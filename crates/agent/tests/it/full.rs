//! Disks without room.

use crate::machine::{Agent, Machine, container, end, last, oci_archive_for, task, until, written};
use crate::registry::Registry;
use agent::engine::{Network, Report, TaskSpec};
use agent::images::PullBehavior;
use agent::runtime::Containers;
use nix::sys::statvfs::statvfs;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// What the kernel says, and everybody passes on.
const FULL: &str = "no space left on device";
const MIB: u64 = 1 << 20;

/// A small disk, gone with its owner: declare it before who lives on it.
struct Disk(TempDir);

impl Disk {
    fn of(mib: u64) -> Self {
        let dir = TempDir::with_prefix("landfall-disk-").expect("temporary directory");
        mount(dir.path(), &format!("size={mib}m"));
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Gives it another size.
    fn resize(&self, mib: u64) {
        mount(self.path(), &format!("remount,size={mib}m"));
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).open(self.path().join("ballast"));
        let mut file = file.expect("made");
        let block = vec![1; 4096];
        while file.write_all(&block).is_ok() {}
    }

    fn relieve(&self) {
        fs::remove_file(self.path().join("ballast")).expect("removed");
    }

    fn used(&self) -> u64 {
        let found = statvfs(self.path()).expect("a disk");
        (found.blocks() - found.blocks_free()) * found.fragment_size()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").args(["--lazy"]).arg(self.path()).output());
    }
}

fn mount(at: &Path, options: &str) {
    let done = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output();
    let done = done.expect("mount");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn reason(report: &Report) -> String {
    last(report, "web").reason.clone().unwrap_or_default()
}

async fn assert_nothing_left(agent: &Agent) {
    let left = agent.host.containers.list().await.expect("listed");
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_finds_no_room_leaves_none_of_itself() {
    // Too little for the layer, and too little for what it unpacks to, with a little set
    // aside for the removal and without.
    for (room, has_reserve) in [(12, false), (24, false), (24, true)] {
        let disk = Disk::of(room);
        let mut machine = Machine::new();
        machine.config.data_dir = disk.path().join("data");
        machine.config.image_pull_behavior = PullBehavior::Always;
        let registry = Registry::start(&machine).await;
        let archive = machine.path("large.tar");
        oci_archive_for(&archive, "pushed:1", crate::machine::ARCHITECTURE, 12 << 20);
        registry.push_archive(&archive, "large:1", &[]);
        let reserve = machine.config.data_dir.join("reserve");
        if !has_reserve {
            fs::create_dir_all(&reserve).expect("something in its way");
        }
        let mut agent = machine.agent().await;
        until("room being set aside", || reserve.exists()).await;
        let wish = || {
            let mut web = container("web", &["test", "-f", "/ballast"]);
            web.image = format!("127.0.0.1:{}/large:1", registry.port());
            task(Network::Isolated, vec![web])
        };
        let before = disk.used();
        let spec = wish();
        agent.run(spec.clone()).await;
        let report = agent.stopped().await;
        let said = reason(&report);
        println!("{room} MiB: {said}");
        assert!(said.starts_with("CannotPullContainerError: "), "{said}");
        assert!(said.contains(FULL), "{said}");
        agent.finished(&spec.arn).await;
        assert_nothing_left(&agent).await;
        until("the room being free again", || disk.used() < before + MIB).await;

        disk.resize(64);
        agent.run(wish()).await;
        agent.running().await;
        assert_eq!(last(&agent.stopped().await, "web").exit_code, Some(0));
        end(machine, agent).await;
    }
}

fn sleeper() -> TaskSpec {
    let script = "trap 'exit 6' TERM; echo began; while :; do sleep 0.05; done";
    let mut web = container("web", &["sh", "-c", script]);
    web.stop_timeout = Some(Duration::from_secs(20));
    task(Network::Isolated, vec![web])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_ends_what_fills_its_disk_and_else_waits_for_room() {
    let disk = Disk::of(32);
    let mut machine = Machine::new();
    machine.config.data_dir = disk.path().join("data");
    machine.load_image().await;
    let mut agent = machine.agent().await;
    until("room being set aside", || machine.config.data_dir.join("reserve").exists()).await;
    let before = disk.used();
    let script = "trap 'exit 6' TERM; dd if=/dev/zero of=/all bs=4k; echo began; \
                  while :; do sleep 0.05; done";
    let mut hog = container("web", &["sh", "-c", script]);
    hog.stop_timeout = Some(Duration::from_secs(20));
    let hog = task(Network::Isolated, vec![hog]);
    agent.run(hog.clone()).await;
    agent.running().await;
    until("the disk being full", || disk.used() > 31 * MIB).await;
    // What ends it has to be written, for which room was set aside.
    agent.stop(hog.clone()).await;
    let code = last(&agent.stopped().await, "web").exit_code;
    assert!(matches!(code, Some(6 | 137)), "{code:?}");
    agent.finished(&hog.arn).await;
    assert_nothing_left(&agent).await;
    until("the room being free again", || disk.used() < before + MIB).await;

    let first = sleeper();
    agent.run(first.clone()).await;
    agent.running().await;
    written(&machine, &first.arn, "web", "began").await;
    // Even that room is gone.
    drop(fs::remove_file(machine.config.data_dir.join("reserve")));
    disk.fill();
    let second = sleeper();
    let accepted = tokio::time::timeout(Duration::from_secs(3), agent.run(second.clone())).await;
    assert!(accepted.is_err(), "accepted, and nowhere written");
    assert!(agent.reports.try_recv().is_err(), "acted upon, and nowhere written");
    disk.relieve();
    agent.running().await;
    written(&machine, &second.arn, "web", "began").await;
    for spec in [first, second] {
        agent.stop(spec.clone()).await;
        assert_eq!(last(&agent.stopped().await, "web").exit_code, Some(6));
        agent.finished(&spec.arn).await;
    }
    assert_nothing_left(&agent).await;
    end(machine, agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_finds_no_room_is_not_made_and_the_next_is() {
    let disk = Disk::of(32);
    let machine = Machine::new();
    // Only containerd's part of it all is full.
    fs::create_dir_all(&machine.config.data_dir).expect("made");
    fs::create_dir(disk.path().join("containerd")).expect("made");
    let link = machine.config.data_dir.join("containerd");
    std::os::unix::fs::symlink(disk.path().join("containerd"), link).expect("linked");
    machine.load_image().await;
    let mut agent = machine.agent().await;
    disk.fill();
    let spec = sleeper();
    agent.run(spec.clone()).await;
    let report = agent.report().await;
    let said = reason(&report);
    println!("{:?} {said}", report.status);
    assert!(said.starts_with("CannotCreateContainerError: "), "{said}");
    assert!(said.contains(FULL), "{said}");
    disk.relieve();
    agent.finished(&spec.arn).await;
    assert_nothing_left(&agent).await;
    let spec = sleeper();
    agent.run(spec.clone()).await;
    agent.running().await;
    written(&machine, &spec.arn, "web", "began").await;
    agent.stop(spec.clone()).await;
    assert_eq!(last(&agent.stopped().await, "web").exit_code, Some(6));
    agent.finished(&spec.arn).await;
    end(machine, agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_finds_no_room_is_lost_and_what_comes_after_is_not() {
    let disk = Disk::of(32);
    let mut machine = Machine::new();
    machine.config.data_dir = disk.path().join("data");
    machine.load_image().await;
    let mut agent = machine.agent().await;
    let script = "trap 'exit 6' TERM; echo began; n=0; \
                  while :; do n=$((n + 1)); echo line $n; [ $n = 300 ] && \
                  dd if=/dev/zero bs=64k count=4 2>&1; sleep 0.01; done";
    let mut web = container("web", &["sh", "-c", script]);
    web.stop_timeout = Some(Duration::from_secs(20));
    let spec = task(Network::Isolated, vec![web]);
    agent.run(spec.clone()).await;
    agent.running().await;
    written(&machine, &spec.arn, "web", "line 20").await;
    disk.fill();
    // The rest of the block that the file ends in takes some lines. There is more to come
    // than a pipe holds, which would keep the container waiting.
    let length = || machine.log(&spec.arn, "web").len();
    let mut before = length();
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = length();
        if now == before {
            break;
        }
        before = now;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    disk.relieve();
    let number = || -> u32 {
        let log = machine.log(&spec.arn, "web");
        let number = |line: &str| line.strip_prefix("line ")?.parse().ok();
        log.lines().rev().find_map(number).unwrap_or(0)
    };
    until("it being heard again", || number() > 301).await;
    agent.stop(spec.clone()).await;
    let report = agent.stopped().await;
    assert_eq!(last(&report, "web").exit_code, Some(6), "{}", reason(&report));
    agent.finished(&spec.arn).await;
    assert_nothing_left(&agent).await;
    end(machine, agent).await;
}
