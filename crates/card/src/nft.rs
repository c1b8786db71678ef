//! The rules in the kernel: whether they are still the ones that were put there,
//! and putting others there.
//!
//! The kernel numbers the generations of a namespace's rules: any change by
//! anybody counts one up, and asking for the number is cheap. The card names a
//! chain, in the same transaction as its rules, after them and after the number
//! that they will have. So long as number and name agree, nobody has changed
//! anything, and even a card that was just started knows what is in force.

use crate::error::CardError;
use crate::filter::{COUNTED, Filter};
use crate::netns::Netns;
use crate::nfnl;
use ident::EniId;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::{Command, Stdio};

/// The rules of one router namespace, as far as the card knows.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    in_force: Option<InForce>,
}

#[derive(Debug, Clone)]
struct InForce {
    filter: Filter,
    genid: u32,
}

impl Loaded {
    /// Makes `wanted` the rules of `netns`, and says whether anything had to be
    /// done.
    pub(crate) async fn converge(
        &mut self,
        netns: &Netns,
        wanted: Filter,
    ) -> Result<bool, CardError> {
        let known = self.in_force.take();
        let (in_force, changed) = netns.run(move || converge(known, wanted)).await??;
        self.in_force = in_force;
        Ok(changed)
    }
}

/// Runs in the namespace.
fn converge(known: Option<InForce>, wanted: Filter) -> Result<(Option<InForce>, bool), CardError> {
    let genid = nfnl::genid().map_err(|source| CardError::Nft { source })?;
    let known = match known {
        Some(known) if known.genid == genid => Some(known),
        // Somebody else has changed the rules; who knows what is there.
        Some(_) => None,
        None => {
            let adopted = InForce { filter: wanted.clone(), genid };
            is_marked(&wanted.marker(genid))?.then_some(adopted)
        }
    };
    if known.as_ref().is_some_and(|known| known.filter == wanted) {
        return Ok((known, false));
    }
    // Zero is the number that the kernel leaves out when it starts again.
    let next = genid.checked_add(1).unwrap_or(1);
    let old_marker = known.as_ref().map(|known| known.filter.marker(known.genid));
    let old = known.as_ref().map(|known| &known.filter).zip(old_marker.as_deref());
    load(&wanted.script(old, &wanted.marker(next)))?;
    let now = nfnl::genid().map_err(|source| CardError::Nft { source })?;
    // If somebody changed them at the same time, the next look starts afresh.
    let in_force = (now == next).then_some(InForce { filter: wanted, genid: now });
    Ok((in_force, true))
}

/// Whether the marker chain of that name exists.
fn is_marked(marker: &str) -> Result<bool, CardError> {
    let listed = Command::new("nft")
        .args(["list", "chains", "arp"])
        .stdin(Stdio::null())
        .output()
        .map_err(|source| CardError::Nft { source })?;
    let text = String::from_utf8_lossy(&listed.stdout);
    Ok(text.split_whitespace().any(|word| word == marker))
}

/// Gives `nft` a script, which is one transaction.
fn load(script: &str) -> Result<(), CardError> {
    let failed = |source| CardError::Nft { source };
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = nft.stdin.take() {
        match input.write_all(script.as_bytes()) {
            // It gave up before the end; its message says more than our EPIPE.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
    }
    let output = nft.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    tracing::error!(script, "nft refused this");
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(CardError::Rules { message })
}

/// What an interface has sent and received, and what was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// What it sent and the rules of its own groups let out.
    pub sent: Tally,
    /// What it sent and was dropped before leaving: forged, or not permitted by
    /// its own groups.
    pub kept_in: Tally,
    /// What came in.
    pub received: Tally,
    /// What was on its way in and its groups refused.
    pub kept_out: Tally,
}

/// Packets, and the bytes in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Tally {
    /// How many.
    pub packets: u64,
    /// How long they were together, IP headers included.
    pub bytes: u64,
}

/// The counters of every interface in `netns`.
pub(crate) async fn counters(netns: &Netns) -> Result<BTreeMap<EniId, Counters>, CardError> {
    let listed = netns
        .run(|| {
            let arguments = ["-j", "list", "counters", "table", "inet", "landfall"];
            Command::new("nft").args(arguments).stdin(Stdio::null()).output()
        })
        .await?
        .map_err(|source| CardError::Nft { source })?;
    parse_counters(&listed.stdout).map_err(|error| CardError::Nft { source: error.into() })
}

#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    counter: Option<ListedCounter>,
}

#[derive(Deserialize)]
struct ListedCounter {
    name: String,
    #[serde(flatten)]
    tally: Tally,
}

fn parse_counters(json: &[u8]) -> Result<BTreeMap<EniId, Counters>, serde_json::Error> {
    let listing: Listing = serde_json::from_slice(json)?;
    let mut enis: BTreeMap<EniId, Counters> = BTreeMap::new();
    for counter in listing.nftables.into_iter().filter_map(|listed| listed.counter) {
        // The longest suffix first: `-tx-drop` is not `-drop` of something.
        let suffixes = COUNTED.iter().rev();
        let split = suffixes.filter_map(|counted| {
            let eni = counter.name.strip_suffix(counted)?.strip_suffix('-')?;
            Some((eni.parse::<EniId>().ok()?, *counted))
        });
        for (eni, counted) in split {
            let counters = enis.entry(eni).or_default();
            match counted {
                "tx" => counters.sent = counter.tally,
                "tx-drop" => counters.kept_in = counter.tally,
                "rx" => counters.received = counter.tally,
                _ => counters.kept_out = counter.tally,
            }
        }
    }
    Ok(enis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_told_apart() {
        let json = br#"{"nftables": [
            {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
            {"counter": {"family": "inet", "name": "eni-00000000000000001-tx",
                "table": "landfall", "handle": 1, "packets": 1, "bytes": 10}},
            {"counter": {"family": "inet", "name": "eni-00000000000000001-tx-drop",
                "table": "landfall", "handle": 2, "packets": 2, "bytes": 20}},
            {"counter": {"family": "inet", "name": "eni-00000000000000001-rx",
                "table": "landfall", "handle": 3, "packets": 3, "bytes": 30}},
            {"counter": {"family": "inet", "name": "eni-00000000000000001-rx-drop",
                "table": "landfall", "handle": 4, "packets": 4, "bytes": 40}},
            {"counter": {"family": "inet", "name": "somebody-elses",
                "table": "landfall", "handle": 5, "packets": 5, "bytes": 50}}]}"#;
        let tally = |packets| Tally { packets, bytes: packets * 10 };
        let expected =
            Counters { sent: tally(1), kept_in: tally(2), received: tally(3), kept_out: tally(4) };
        let counters = parse_counters(json).expect("a listing");
        assert_eq!(counters, BTreeMap::from([(EniId::mint(1), expected)]));
    }
}
