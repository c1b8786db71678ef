//! What went through the interfaces of network namespaces.

use nix::sched::{CloneFlags, setns};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use tokio::sync::oneshot;

/// The counters of each interface but the loopback, by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic(pub(crate) BTreeMap<String, Counters>);

/// What an interface has received and sent since it was made, and what it has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) struct Counters {
    pub(crate) rx_bytes: u64,
    pub(crate) rx_packets: u64,
    pub(crate) rx_errors: u64,
    pub(crate) rx_dropped: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) tx_packets: u64,
    pub(crate) tx_errors: u64,
    pub(crate) tx_dropped: u64,
}

impl Counters {
    fn each(self, other: Self, join: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            rx_bytes: join(self.rx_bytes, other.rx_bytes),
            rx_packets: join(self.rx_packets, other.rx_packets),
            rx_errors: join(self.rx_errors, other.rx_errors),
            rx_dropped: join(self.rx_dropped, other.rx_dropped),
            tx_bytes: join(self.tx_bytes, other.tx_bytes),
            tx_packets: join(self.tx_packets, other.tx_packets),
            tx_errors: join(self.tx_errors, other.tx_errors),
            tx_dropped: join(self.tx_dropped, other.tx_dropped),
        }
    }
}

impl Traffic {
    /// All interfaces together.
    pub(crate) fn total(&self) -> Counters {
        let none = Counters::default();
        self.0.values().fold(none, |sum, one| sum.each(*one, u64::saturating_add))
    }

    /// What one of so many has of it who share the interfaces: nobody counts whose a
    /// packet was, so the official agent gives each an equal part.
    pub(crate) fn part(&self, sharing: u64) -> Self {
        let part = |counters: &Counters| {
            counters.each(*counters, |all, _| all.checked_div(sharing).unwrap_or(all))
        };
        Self(self.0.iter().map(|(name, counters)| (name.clone(), part(counters))).collect())
    }
}

/// What went through each of these namespaces, as far as they are there.
///
/// A namespace belongs to a thread: so a thread of its own walks through them, and ends.
pub(super) async fn of(mut namespaces: Vec<PathBuf>) -> BTreeMap<PathBuf, Traffic> {
    namespaces.sort_unstable();
    namespaces.dedup();
    if namespaces.is_empty() {
        return BTreeMap::new();
    }
    let (sender, receiver) = oneshot::channel();
    let walk = move || {
        let found = namespaces.into_iter().filter_map(|path| match inside(&path) {
            Ok(traffic) => Some((path, traffic)),
            Err(error) => {
                tracing::debug!(namespace = %path.display(), %error, "not measured");
                None
            }
        });
        drop(sender.send(found.collect()));
    };
    let started = std::thread::Builder::new().name("traffic".to_owned()).spawn(walk);
    if let Err(error) = started {
        tracing::warn!(%error, "no network is measured");
    }
    receiver.await.unwrap_or_default()
}

fn inside(path: &Path) -> io::Result<Traffic> {
    setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?;
    Ok(parse(&fs::read_to_string("/proc/thread-self/net/dev")?))
}

/// Reads the table of interfaces: two lines of headings, and in each other the name and
/// eight numbers for either way.
fn parse(table: &str) -> Traffic {
    let interfaces = table.lines().skip(2).filter_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> =
            numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let at = |index: usize| numbers.get(index).copied();
        let counters = Counters {
            rx_bytes: at(0)?,
            rx_packets: at(1)?,
            rx_errors: at(2)?,
            rx_dropped: at(3)?,
            tx_bytes: at(8)?,
            tx_packets: at(9)?,
            tx_errors: at(10)?,
            tx_dropped: at(11)?,
        };
        Some((name.trim().to_owned(), counters))
    });
    Traffic(interfaces.filter(|(name, _)| name != "lo").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     900       9    0    0    0     0          0         0      900       9    0    0    0     0       0          0
  eth0: 1000000     100    1    2    0     0          0         0    50000      40    3    4    0     0       0          0
  eth1:       2       2    2    2    0     0          0         0        2       2    2    2    0     0       0          0
";

    #[test]
    fn the_table_of_interfaces_is_read_without_the_loopback() {
        let traffic = parse(TABLE);
        assert_eq!(traffic.0.keys().collect::<Vec<_>>(), ["eth0", "eth1"]);
        let total = Counters {
            rx_bytes: 1_000_002,
            rx_packets: 102,
            rx_errors: 3,
            rx_dropped: 4,
            tx_bytes: 50_002,
            tx_packets: 42,
            tx_errors: 5,
            tx_dropped: 6,
        };
        assert_eq!(traffic.total(), total);
        assert_eq!(traffic.part(2).0["eth0"].rx_bytes, 500_000);
        assert_eq!(parse("").0, BTreeMap::new());
        assert_eq!(parse("a\nb\n eth0: 1 2 3\n").0, BTreeMap::new(), "half a line");
    }
}
