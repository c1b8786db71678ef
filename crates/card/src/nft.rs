//! The rules in the kernel: whether they are still the ones that were put there,
//! and putting others there.
//!
//! The kernel numbers the generations of a namespace's rules: any change by
//! anybody counts one up, and asking for the number is cheap. The card names a
//! chain, in the same transaction as its rules, after them and after the number
//! that they will have. So long as number and name agree, nobody has changed
//! anything, and even a card that was just started knows what is in force.

use crate::encode::{self, COUNTER_BYTES, COUNTER_PACKETS, GENERATION_ID, NEWGEN, NEWOBJ};
use crate::encode::{OBJECT_DATA, OBJECT_NAME};
use crate::error::CardError;
use crate::filter::{COUNTED, Change, Filter};
use crate::netns::Netns;
use ident::EniId;
use nfnl::find;
use rtnetlink::sys::Socket;
use std::collections::BTreeMap;
use std::{fmt, io};

/// The rules of one router namespace, as far as the card knows.
#[derive(Default)]
pub(crate) struct Loaded {
    in_force: Option<InForce>,
    /// The conversation about them. It is kept because its end takes long: the kernel
    /// lets nobody change the rules, and no link come up in the namespace, until what
    /// the last transaction removed is not only gone but forgotten by every processor,
    /// 8 to 17 ms.
    socket: Option<Socket>,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("in_force", &self.in_force).finish_non_exhaustive()
    }
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
        let (known, socket) = (self.in_force.take(), self.socket.take());
        let talk = move || {
            let socket = match socket {
                Some(socket) => socket,
                None => nfnl::connect().map_err(|source| CardError::Nft { source })?,
            };
            let (in_force, changed) = converge(&socket, known, wanted)?;
            Ok::<_, CardError>((in_force, changed, socket))
        };
        let (in_force, changed, socket) = netns.run(talk).await??;
        (self.in_force, self.socket) = (in_force, Some(socket));
        Ok(changed)
    }
}

/// Runs in the namespace.
fn converge(
    socket: &Socket,
    known: Option<InForce>,
    wanted: Filter,
) -> Result<(Option<InForce>, bool), CardError> {
    let failed = |source| CardError::Nft { source };
    let genid = genid(socket).map_err(failed)?;
    let known = match known {
        Some(known) if known.genid == genid => Some(known),
        // Somebody else has changed the rules; who knows what is there.
        Some(_) => None,
        None => {
            let adopted = InForce { filter: wanted.clone(), genid };
            is_marked(socket, &wanted.marker(genid)).map_err(failed)?.then_some(adopted)
        }
    };
    if known.as_ref().is_some_and(|known| known.filter == wanted) {
        return Ok((known, false));
    }
    // Zero is the number that the kernel leaves out when it starts again.
    let next = genid.checked_add(1).unwrap_or(1);
    let old_marker = known.as_ref().map(|known| known.filter.marker(known.genid));
    let old = known.as_ref().map(|known| &known.filter).zip(old_marker.as_deref());
    let (marker, nothing) = (wanted.marker(next), Filter::default());
    let changes = wanted.changes(old, &marker, &nothing);
    load(socket, genid, &changes)?;
    Ok((Some(InForce { filter: wanted, genid: next }), true))
}

/// Which generation of rules the namespace has.
fn genid(socket: &Socket) -> io::Result<u32> {
    let answers = nfnl::ask(socket, &encode::get_generation())?;
    let found = answers.iter().filter(|(kind, _)| *kind == NEWGEN).find_map(|(_, body)| {
        Some(u32::from_be_bytes(find(body, GENERATION_ID)?.try_into().ok()?))
    });
    found.ok_or_else(|| io::Error::other("the kernel does not number its rules"))
}

/// Whether the marker chain of that name exists.
fn is_marked(socket: &Socket, marker: &str) -> io::Result<bool> {
    match nfnl::ask(socket, &encode::get_marker(marker)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes the changes in one transaction, if the rules have not changed meanwhile:
/// then it is refused, and to be tried again.
fn load(socket: &Socket, genid: u32, changes: &[Change<'_>]) -> Result<(), CardError> {
    let messages = encode::messages(changes);
    match nfnl::transact(socket, Some(genid), &messages) {
        Ok(()) => Ok(()),
        Err(nfnl::Refused { at, source }) => {
            let message = at.and_then(|at| messages.get(at));
            tracing::error!(?at, ?message, ?changes, "the kernel refused this");
            Err(CardError::Rules { source })
        }
    }
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub packets: u64,
    /// How long they were together, IP headers included.
    pub bytes: u64,
}

/// The counters of every interface in `netns`.
pub(crate) async fn counters(netns: &Netns) -> Result<BTreeMap<EniId, Counters>, CardError> {
    let list = || nfnl::ask(&nfnl::connect()?, &encode::get_counters());
    let listed = netns.run(list).await?.map_err(|source| CardError::Nft { source })?;
    let objects = listed.iter().filter(|(kind, _)| *kind == NEWOBJ);
    Ok(by_interface(objects.filter_map(|(_, body)| counter(body))))
}

/// One counter: its name, and what it has counted.
fn counter(body: &[u8]) -> Option<(String, Tally)> {
    let name = find(body, OBJECT_NAME)?.strip_suffix(&[0])?;
    let data = find(body, OBJECT_DATA)?;
    let number = |wanted| find(data, wanted)?.try_into().ok().map(u64::from_be_bytes);
    let tally = Tally { packets: number(COUNTER_PACKETS)?, bytes: number(COUNTER_BYTES)? };
    Some((String::from_utf8_lossy(name).into_owned(), tally))
}

fn by_interface(counters: impl Iterator<Item = (String, Tally)>) -> BTreeMap<EniId, Counters> {
    let mut enis: BTreeMap<EniId, Counters> = BTreeMap::new();
    for (name, tally) in counters {
        // The longest suffix first: `-tx-drop` is not `-drop` of something.
        let suffixes = COUNTED.iter().rev();
        let split = suffixes.filter_map(|counted| {
            let eni = name.strip_suffix(counted)?.strip_suffix('-')?;
            Some((eni.parse::<EniId>().ok()?, *counted))
        });
        for (eni, counted) in split {
            let counters = enis.entry(eni).or_default();
            match counted {
                "tx" => counters.sent = tally,
                "tx-drop" => counters.kept_in = tally,
                "rx" => counters.received = tally,
                _ => counters.kept_out = tally,
            }
        }
    }
    enis
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_told_apart() {
        let tally = |packets| Tally { packets, bytes: packets * 10 };
        let eni = EniId::mint(1);
        let named = ["tx", "tx-drop", "rx", "rx-drop"].map(|suffix| format!("{eni}-{suffix}"));
        let listed = (1..).zip(named).map(|(packets, name)| (name, tally(packets)));
        let listed = listed.chain([("somebody-elses".to_owned(), tally(5))]);
        let expected =
            Counters { sent: tally(1), kept_in: tally(2), received: tally(3), kept_out: tally(4) };
        assert_eq!(by_interface(listed), BTreeMap::from([(eni, expected)]));
    }
}
