//! What the gates drop: noted by the rules that drop it, in sets that the kernel keeps.
//!
//! A packet that was refused is looked for in a set of those that were refused in the
//! last minute. If it is there, its element counts it. If not, it is added, so long as
//! its interface has not had too many new ones lately and the set is not full. So what a
//! flood can make the kernel remember is bounded, and one interface's flood leaves room
//! for what the others are refused. Whether it is noted or not, it is dropped; what is
//! permitted never comes here.

use crate::encode::{self, NEWSETELEM};
use crate::filter::{Fed, Set};
use crate::flows::{Tuple, address};
use crate::gate::{TCP, UDP};
use crate::rules::{Field, Maps, Part, Rate, Rule, Step, Verdict};
use ident::Timestamp;
use net::flow::Counted;
use nfnl::{ask_each, attributes, connect, find};
use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What the names of the sets begin with that note what an interface sends and that may
/// not leave.
pub(crate) const KEPT_IN: &str = "kept-in";
/// The same for what is sent to an interface and may not come in.
pub(crate) const KEPT_OUT: &str = "kept-out";

/// How long something is remembered, in milliseconds: as long as the shortest
/// aggregation interval of VPC flow logs.
const REMEMBERED: u64 = 60_000;
/// How many there may be in each set.
const MOST: u32 = 16_384;
/// How many new ones an interface may have.
const RATE: Rate = Rate { a_second: 10, at_once: 200 };
/// How many interfaces are remembered for that; each for a minute after its last.
const MOST_LINKS: u32 = 4096;

const NOTED4: &[Part] = &[Part::Link, Part::V4, Part::V4, Part::Protocol, Part::Ports];
const NOTED6: &[Part] = &[Part::Link, Part::V6, Part::V6, Part::Protocol, Part::Ports];

/// The sets that both directions need.
pub(crate) fn sets() -> Vec<(String, Set)> {
    let fed = |parts, size| Set {
        parts,
        maps: Maps::Nothing,
        ranges: false,
        fed: Some(Fed { size, millis: REMEMBERED }),
        elements: BTreeSet::new(),
    };
    let of = |which: &str| {
        [
            (format!("{which}4"), fed(NOTED4, MOST)),
            (format!("{which}6"), fed(NOTED6, MOST)),
            (format!("{which}-new"), fed(&[Part::Link], MOST_LINKS)),
        ]
    };
    [KEPT_IN, KEPT_OUT].into_iter().flat_map(of).collect()
}

/// Rules that note a packet as refused at the interface that has this link, and drop it.
pub(crate) fn noted(which: &str, link: Field) -> Vec<Rule> {
    let drop = || Step::Verdict(Verdict::Drop);
    let v4 = (Ipv4Addr::UNSPECIFIED.into(), Field::Source4, Field::Destination4, '4');
    let v6 = (Ipv6Addr::UNSPECIFIED.into(), Field::Source6, Field::Destination6, '6');
    let mut rules = Vec::new();
    for (family, source, destination, version) in [v4, v6] {
        let is = |number| Step::Is(Field::Protocol, vec![number]);
        let is_not = |number| Step::IsNot(Field::Protocol, vec![number]);
        for (protocol, ports) in [
            (vec![is(TCP)], Field::Ports),
            (vec![is(UDP)], Field::Ports),
            (vec![is_not(TCP), is_not(UDP)], Field::NoPorts),
        ] {
            let about = [vec![Step::same_family(family)], protocol].concat();
            let key = vec![link, source, destination, Field::Protocol, ports];
            let set = format!("{which}{version}");
            let known = Step::In(key.clone(), set.clone());
            rules.push([about.clone(), vec![known, drop()]].concat());
            let seldom = Step::Seldom(link, format!("{which}-new"), RATE);
            rules.push([about, vec![seldom, Step::Add(key, set), drop()]].concat());
        }
    }
    rules.push(vec![drop()]);
    rules
}

/// Something that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The card end of the interface that it was refused at.
    pub(crate) link: String,
    pub(crate) tuple: Tuple,
    pub(crate) counted: Counted,
    /// How long ago the first packet came, in milliseconds.
    pub(crate) age: u64,
}

/// Shows everything that one direction remembers, in the calling thread's namespace.
pub(crate) fn remembered(which: &str, mut show: impl FnMut(Refused)) -> io::Result<()> {
    let socket = connect()?;
    for set in [format!("{which}4"), format!("{which}6")] {
        ask_each(&socket, &encode::get_elements(&set), |kind, body| {
            let list = find(body, encode::ELEMENTS).filter(|_| kind == NEWSETELEM);
            let elements = list.into_iter().flat_map(attributes);
            let elements = elements.filter(|(kind, _)| *kind == encode::LIST_ELEM);
            elements.filter_map(|(_, element)| refused(element)).for_each(&mut show);
        })?;
    }
    Ok(())
}

impl Refused {
    /// When the first packet came.
    pub(crate) fn start(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0.saturating_sub(i64::try_from(self.age).unwrap_or(i64::MAX)))
    }
}

fn refused(element: &[u8]) -> Option<Refused> {
    let long = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
    let key = find(find(element, encode::ELEMENT_KEY)?, encode::DATA_VALUE)?;
    let (link, rest) = key.split_at_checked(16)?;
    let width = if rest.len() == 16 { 4 } else { 16 };
    let (source, rest) = rest.split_at_checked(width)?;
    let (destination, rest) = rest.split_at_checked(width)?;
    let [protocol, _, _, _, a, b, c, d] = *<&[u8; 8]>::try_from(rest).ok()?;
    let counter = find(element, encode::ELEMENT_EXPRESSION)?;
    let counter = find(counter, encode::EXPRESSION_DATA)?;
    let timeout = find(element, encode::ELEMENT_TIMEOUT).and_then(long).unwrap_or(REMEMBERED);
    Some(Refused {
        link: String::from_utf8_lossy(link).trim_end_matches('\0').to_owned(),
        tuple: Tuple {
            source: address(source)?,
            destination: address(destination)?,
            protocol,
            source_port: u16::from_be_bytes([a, b]),
            destination_port: u16::from_be_bytes([c, d]),
        },
        counted: Counted {
            packets: find(counter, encode::COUNTER_PACKETS).and_then(long)?,
            bytes: find(counter, encode::COUNTER_BYTES).and_then(long)?,
        },
        age: timeout.saturating_sub(find(element, encode::ELEMENT_EXPIRES).and_then(long)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::link_name;
    use nfnl::Attributes;
    use std::net::IpAddr;

    #[test]
    fn what_was_refused_is_read_as_the_kernel_writes_it() {
        let [ours, theirs]: [IpAddr; 2] =
            ["fd00::1", "fd00::2"].map(|text| text.parse().expect("an address"));
        let parts = [&link_name("card1")[..], &crate::rules::octets(ours)];
        let parts =
            [parts.concat(), crate::rules::octets(theirs), vec![6, 0, 0, 0, 15, 160, 0, 80]];
        let key = Attributes::default().with(1, &parts.concat());
        let long = |number: u64| number.to_be_bytes();
        let counts = Attributes::default().with(1, &long(120)).with(2, &long(2));
        let counter = Attributes::default().text(1, "counter").nest(2, &counts);
        let element = Attributes::default().nest(1, &key).with(5, &long(58_000)).nest(7, &counter);
        let told = refused(element.bytes()).expect("readable");
        assert_eq!((told.link.as_str(), told.age), ("card1", 2000));
        assert_eq!(told.counted, Counted { packets: 2, bytes: 120 });
        let (source_port, destination_port) = (4000, 80);
        let tuple =
            Tuple { source: ours, destination: theirs, protocol: 6, source_port, destination_port };
        assert_eq!(told.tuple, tuple);
        assert_eq!(told.start(Timestamp(5000)), Timestamp(3000));
    }
}
