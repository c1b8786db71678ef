//! Interfaces that come, move and go.

use crate::lab::{Lab, PATIENCE, Task, link_with_mac, sh};
use crate::world::{World, anywhere};
use card::netns::Netns;
use net::mac::MacAddress;
use net::model::{Eni, Traffic};
use tokio::time::Instant;

fn open_world() -> (World, Eni, Eni) {
    let mut world = World::new(1);
    let (a, b) = (world.eni(1, 10, &[1]), world.eni(1, 11, &[1]));
    let open = [anywhere(Traffic::All)];
    world.group(1, &open, &open);
    (world, a, b)
}

#[test]
fn a_tasks_interface_appears_bare() {
    let mut lab = Lab::new();
    let (world, a, _) = open_world();
    lab.apply(&world.plan(1));
    let name = link_with_mac(&lab.host, &a).expect("it appears");
    assert!(name.starts_with("eni") && name.len() <= 15, "{name}");
    let link = sh(&lab.host, &format!("ip link show {name}; ip addr show {name}"));
    assert!(link.contains("mtu 9001") && link.contains("state DOWN"), "{link}");
    assert!(link.contains(&format!("alias {}", a.id)), "{link}");
    assert!(!link.contains("inet"), "{link}");
}

#[test]
fn the_ends_of_a_pair_never_have_the_same_index() {
    let mut lab = Lab::new();
    let (mut world, a, _) = open_world();
    lab.apply(&world.plan(1));
    world.remove(&a.id);
    lab.apply(&world.plan(2));
    world.add(a);
    lab.apply(&world.plan(3));
    let indices = |netns| -> Vec<u32> {
        let links = sh(netns, "ip -o link | grep eni-");
        links.lines().filter_map(|line| line.split(':').next()?.parse().ok()).collect()
    };
    let (host, router) = (indices(&lab.host), indices(&lab.router()));
    assert_eq!((host.len(), router.len()), (2, 2));
    assert!(host.iter().max() < router.iter().min(), "{host:?} {router:?}");
}

#[test]
fn applying_a_plan_twice_changes_nothing() {
    let mut lab = Lab::new();
    let (mut world, a, _) = open_world();
    world.host_eni(2, 5, &[1]);
    assert_eq!(lab.apply(&world.plan(1)).made, 3);
    let before = lab.dump();
    assert_eq!(lab.apply(&world.plan(1)).changes(), 0);
    assert_eq!(lab.apply(&world.plan(2)).changes(), 0, "nor does a plan that says the same");
    assert_eq!(lab.dump(), before);

    let _task = lab.task(&a);
    assert_eq!(lab.apply(&world.plan(2)).changes(), 0, "an interface that left is still there");
}

#[test]
fn what_was_meddled_with_is_repaired() {
    let mut lab = Lab::new();
    let (world, a, _) = open_world();
    lab.apply(&world.plan(1));
    let before = lab.dump();
    let router = lab.router();
    let card_end = sh(&router, "ls /sys/class/net 2>/dev/null; ip -o link");
    let card_end = card_end.split_whitespace().find_map(|word| {
        word.strip_suffix(':').unwrap_or(word).split('@').next().filter(|w| w.starts_with("card"))
    });
    let card_end = card_end.expect("a card end").to_owned();
    for mischief in [
        "ip route flush table main".to_owned(),
        "ip route add 10.0.9.0/24 dev lo".to_owned(),
        "ip addr add 10.0.1.99/32 dev lo".to_owned(),
        "ip addr del 10.0.1.1/32 dev lo".to_owned(),
        format!("ip neigh flush nud permanent dev {card_end}"),
        format!("ip link set {card_end} mtu 1500"),
        format!("ip link set {card_end} down"),
        "echo 0 > /proc/sys/net/ipv4/ip_forward".to_owned(),
        "echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter".to_owned(),
        format!("echo 80 > /proc/sys/net/ipv4/neigh/{card_end}/proxy_delay"),
    ] {
        sh(&router, &mischief);
        assert!(lab.apply(&world.plan(1)).changes() > 0, "{mischief}");
        assert_eq!(lab.apply(&world.plan(1)).changes(), 0, "{mischief}");
        assert_eq!(lab.dump(), before, "{mischief}");
    }
    // Rules get new handles when they are loaded again.
    let rules = sh(&router, "nft -s list ruleset | grep -v in-force");
    for mischief in [
        "nft flush ruleset",
        "nft add table ip somebody",
        "nft flush chain inet landfall forward",
        "nft delete table arp landfall",
    ] {
        sh(&router, mischief);
        assert_eq!(lab.apply(&world.plan(1)).loaded, 1, "{mischief}");
        assert_eq!(lab.apply(&world.plan(1)).changes(), 0, "{mischief}");
        let now = sh(&router, "nft -s list table arp landfall; nft -s list table inet landfall");
        let now: Vec<_> = now.lines().filter(|line| !line.contains("in-force")).collect();
        let mut expected: Vec<_> = rules.lines().collect();
        let mut now_sorted = now.clone();
        expected.sort_unstable();
        now_sorted.sort_unstable();
        assert_eq!(now_sorted, expected, "{mischief}");
    }
    assert!(link_with_mac(&lab.host, &a).is_some());
}

#[test]
fn an_interface_that_was_destroyed_comes_back() {
    let mut lab = Lab::new();
    let (world, a, b) = open_world();
    lab.apply(&world.plan(1));
    let task = lab.task(&a);
    task.sh("ip link del eth0");
    let work = lab.apply(&world.plan(1));
    assert_eq!((work.made, work.removed), (1, 0));
    let (task, other) = (lab.task(&a), lab.task(&b));
    let _server = other.listen(80);
    task.connect(&other, 80);
}

#[test]
fn an_interface_with_the_wrong_hardware_address_is_made_again() {
    let mut lab = Lab::new();
    let (world, a, _) = open_world();
    lab.apply(&world.plan(1));
    let name = link_with_mac(&lab.host, &a).expect("it appears");
    sh(&lab.host, &format!("ip link set {name} address 02:00:00:99:99:99"));
    let work = lab.apply(&world.plan(1));
    assert_eq!((work.made, work.removed), (1, 1));
    assert!(link_with_mac(&lab.host, &a).is_some());
}

#[test]
fn an_interface_that_left_the_plan_leaves_the_tasks_namespace() {
    let mut lab = Lab::new();
    let (mut world, a, b) = open_world();
    lab.apply(&world.plan(1));
    let (task_a, task_b) = (lab.task(&a), lab.task(&b));
    let _server = task_b.listen(80);
    task_a.connect(&task_b, 80);
    world.remove(&a.id);
    let work = lab.apply(&world.plan(2));
    assert_eq!((work.removed, work.made), (1, 0));
    // At once it leads nowhere; that it is gone altogether takes the kernel a moment.
    let left = |task: &Task| task.sh("ip -o link").lines().find_map(eth0);
    assert!(left(&task_a).is_none_or(|link| !link.contains("LOWER_UP")));
    assert_eq!(lab.apply(&world.plan(2)).changes(), 0, "nor is it there for the card");
    let deadline = Instant::now() + PATIENCE;
    while left(&task_a).is_some() {
        assert!(Instant::now() < deadline, "it never went");
    }
    assert!(left(&task_b).is_some_and(|link| link.contains("LOWER_UP")));
    let rules = sh(&lab.router(), "nft list ruleset");
    assert!(!rules.contains(a.id.as_str()) && rules.contains(b.id.as_str()), "{rules}");
    assert_eq!(lab.apply(&world.plan(2)).changes(), 0);
}

/// The line of `eth0` in a list of links.
fn eth0(line: &str) -> Option<String> {
    line.contains(" eth0").then(|| line.to_owned())
}

#[test]
fn an_interface_that_went_comes_again_at_once() {
    let mut lab = Lab::new();
    let (world, a, b) = open_world();
    let (mut without, mut generation) = (world.clone(), 1);
    without.remove(&a.id);
    lab.apply(&world.plan(generation));
    let other = lab.task(&b);
    let _server = other.listen(80);
    for _ in 0..5 {
        let task = lab.task(&a);
        task.connect(&other, 80);
        lab.apply(&without.plan(generation + 1));
        generation += 2;
        let work = lab.apply(&world.plan(generation));
        assert_eq!((work.made, work.removed), (1, 0));
    }
    // A card that dies over it has left nothing that another one keeps.
    let task = lab.task(&a);
    lab.apply(&without.plan(generation + 1));
    lab.restart();
    lab.apply(&without.plan(generation + 2));
    lab.with(async |card| card.teardown().await).expect("torn down");
    assert!(task.sh("ip -o link").lines().find_map(eth0).is_none());
}

#[test]
fn leftovers_go_and_what_is_not_ours_stays() {
    let mut lab = Lab::new();
    let (world, a, _) = open_world();
    let mut old = World::new(2);
    let gone = old.eni(1, 20, &[1]);
    lab.apply(&crate::world::plan(1, &[&world, &old]));
    let task = lab.task(&gone);
    // Links and namespaces of others, with names that resemble ours.
    sh(&lab.host, "ip link add eni0123 type veth peer name card0123; ip link add br0 type bridge");
    let directory = lab.config().netns_dir;
    for foreign in ["test-something", "tester-00000000001", "other-00000000001"] {
        Netns::ensure(&directory.join(foreign)).expect("made");
    }
    // And what a crash between two steps leaves: a name without a namespace.
    std::fs::write(directory.join("test-00000000abc"), "").expect("written");
    lab.restart();

    lab.apply(&world.plan(2));
    assert_eq!(link_with_mac(&lab.host, &gone), None);
    assert!(!task.sh("ip -o link").contains("eth0"), "wherever it is");
    assert!(link_with_mac(&lab.host, &a).is_some());
    let links = sh(&lab.host, "ip -o link");
    assert!(["eni0123@", "card0123@", "br0:"].iter().all(|name| links.contains(name)), "{links}");
    let names: Vec<_> =
        lab.routers().iter().map(|path| path.file_name().map(ToOwned::to_owned)).collect();
    let names: Vec<_> =
        names.into_iter().flatten().filter_map(|name| name.into_string().ok()).collect();
    assert_eq!(
        names,
        ["other-00000000001", "test-00000000001", "test-something", "tester-00000000001"]
    );
}

#[test]
fn teardown_leaves_nothing() {
    let mut lab = Lab::new();
    let before = sh(&lab.host, "ip -o link; ip addr; ip route show table all; nft list ruleset");
    let (mut world, a, _) = open_world();
    world.host_eni(2, 5, &[1]);
    lab.apply(&world.plan(1));
    let task = lab.task(&a);
    lab.with(async |card| card.teardown().await).expect("torn down");
    assert_eq!(lab.routers(), Vec::<std::path::PathBuf>::new());
    assert!(!task.sh("ip -o link").contains("eth0"));
    let after = sh(&lab.host, "ip -o link; ip addr; ip route show table all; nft list ruleset");
    assert_eq!(after, before);
    lab.restart();
    assert_eq!(crate::lab::generation(&lab.card), None, "nor a plan");
    lab.with(async |card| card.teardown().await).expect("torn down again");
}

#[test]
fn an_interface_that_a_crash_left_half_made_is_finished() {
    let mut lab = Lab::new();
    let (world, a, _) = open_world();
    lab.apply(&world.plan(1));
    let before = lab.dump();
    let name = link_with_mac(&lab.host, &a).expect("it appears");
    // As it is after its making, before its naming and the handing over.
    let MacAddress([first, ..]) = a.mac;
    let veiled = a.mac.to_string().replacen("02", &format!("{:02x}", first ^ 0x80), 1);
    let half = format!("ip link set {name} alias '' address {veiled}");
    sh(&lab.host, &half);
    lab.restart();
    let work = lab.apply(&world.plan(1));
    assert_eq!((work.made, work.removed, work.adjusted), (0, 0, 2));
    assert_eq!(lab.dump(), before);
}

#[test]
fn a_task_that_ends_at_any_moment_disturbs_nobody() {
    let mut lab = Lab::new();
    let mut world = World::new(1);
    world.group(1, &[], &[]);
    for generation in 1..=20 {
        let eni = world.eni(1, 10 + generation, &[1]);
        lab.apply(&world.plan(generation.into()));
        // The kernel removes the namespace when it likes, interface and all.
        drop(lab.task(&eni));
    }
}

#[test]
fn a_name_that_somebody_else_has_is_reported() {
    let mut lab = Lab::new();
    let (mut world, a, b) = open_world();
    lab.apply(&world.plan(1));
    let name = link_with_mac(&lab.host, &a).expect("it appears");
    world.remove(&a.id);
    lab.apply(&world.plan(2));
    sh(&lab.host, &format!("ip link add {name} type veth peer name foreign"));
    world.add(a.clone());
    let report = lab.try_apply(&world.plan(3));
    assert_eq!(report.present, [b.id]);
    assert!(report.failed.contains_key(&a.id), "{report:?}");
    let links = sh(&lab.host, &format!("ip link show {name}"));
    assert!(!links.contains("alias"), "theirs was left alone: {links}");
}
