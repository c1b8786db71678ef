//! Rules as the kernel's nftables takes them: messages of netlink, and in them
//! the small programs that rules are to it.
//!
//! The numbers are those of `linux/netfilter/nf_tables.h`. A set's key types are
//! `nft`'s own numbers; the kernel only keeps them, so that `nft list` can print
//! what is in a set.

use crate::filter::{Change, Hook, Set, Table};
use crate::rules::{Element, Field, Maps, Part, Step, Verdict};
use nfnl::{APPEND, Attributes, CREATE, DUMP, Message, REQUEST};

/// What both tables are called.
const NAME: &str = "landfall";

const NEWTABLE: u16 = message(0);
const DELTABLE: u16 = message(2);
const NEWCHAIN: u16 = message(3);
const GETCHAIN: u16 = message(4);
const DELCHAIN: u16 = message(5);
const NEWRULE: u16 = message(6);
const DELRULE: u16 = message(8);
const NEWSET: u16 = message(9);
const DELSET: u16 = message(11);
/// What the kernel answers to [`get_elements`].
pub(crate) const NEWSETELEM: u16 = message(12);
const GETSETELEM: u16 = message(13);
const DELSETELEM: u16 = message(14);
/// What the kernel answers to [`get_generation`].
pub(crate) const NEWGEN: u16 = message(15);
const GETGEN: u16 = message(16);
/// What the kernel answers to [`get_counters`].
pub(crate) const NEWOBJ: u16 = message(18);
const GETOBJ: u16 = message(19);
const DELOBJ: u16 = message(20);

const fn message(number: u16) -> u16 {
    10 << 8 | number
}

pub(crate) const LIST_ELEM: u16 = 1;
const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LENGTH: u16 = 5;
const SET_DATA_TYPE: u16 = 6;
const SET_DESCRIPTION: u16 = 9;
const SET_SIZE: u16 = 1;
const SET_ID: u16 = 10;
const SET_TIMEOUT: u16 = 11;
const SET_USER_DATA: u16 = 13;
const SET_OBJECT_TYPE: u16 = 15;
const ELEMENTS_TABLE: u16 = 1;
const ELEMENTS_SET: u16 = 2;
pub(crate) const ELEMENTS: u16 = 3;
pub(crate) const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const ELEMENT_FLAGS: u16 = 3;
pub(crate) const ELEMENT_TIMEOUT: u16 = 4;
pub(crate) const ELEMENT_EXPIRES: u16 = 5;
pub(crate) const ELEMENT_EXPRESSION: u16 = 7;
const ELEMENT_OBJECT: u16 = 9;
const OBJECT_TABLE: u16 = 1;
pub(crate) const OBJECT_NAME: u16 = 2;
const OBJECT_TYPE: u16 = 3;
pub(crate) const OBJECT_DATA: u16 = 4;
const OBJECT_COUNTER: u32 = 1;
pub(crate) const COUNTER_BYTES: u16 = 1;
pub(crate) const COUNTER_PACKETS: u16 = 2;
pub(crate) const GENERATION_ID: u16 = 1;
pub(crate) const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
const EXPRESSION_NAME: u16 = 1;
pub(crate) const EXPRESSION_DATA: u16 = 2;

const SET_IS_INTERVAL: u32 = 0x4;
const SET_HAS_TIMEOUT: u32 = 0x10;
const SET_IS_FED: u32 = 0x20;
const SET_IS_MAP: u32 = 0x8;
const SET_IS_OBJECT_MAP: u32 = 0x40;
const ELEMENT_ENDS_INTERVAL: u32 = 0x1;
const DATA_TYPE_VERDICT: u32 = 0xffff_ff00;
/// How many bits of a key type one of its parts takes.
const PART_BITS: u32 = 6;

/// The register that a verdict goes to, and the first of those for data.
const REGISTER_VERDICT: u32 = 0;
const REGISTER_DATA: u32 = 1;
/// The first of the registers of four bytes, for keys of several parts.
const REGISTER_WORDS: u32 = 8;

/// An attribute cannot be longer than 64 KiB, so elements go in portions.
const ELEMENTS_AT_ONCE: usize = 256;

/// The messages that make these changes, in their order.
pub(crate) fn messages(changes: &[Change<'_>]) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut sets = 0;
    for change in changes {
        match change {
            Change::Afresh => {
                for table in [Table::Arp, Table::Inet] {
                    let this = Attributes::default().text(TABLE_NAME, NAME);
                    // Adding first makes deleting possible whether it exists or not.
                    messages.push(to(NEWTABLE, CREATE, table, this.clone()));
                    messages.push(to(DELTABLE, 0, table, this.clone()));
                    messages.push(to(NEWTABLE, CREATE, table, this));
                }
            }
            Change::AddCounter(name) => {
                let zero = Attributes::default()
                    .with(COUNTER_BYTES, &[0; 8])
                    .with(COUNTER_PACKETS, &[0; 8]);
                let counter = object(name).nest(OBJECT_DATA, &zero);
                messages.push(to(NEWOBJ, CREATE, Table::Inet, counter));
            }
            Change::DeleteCounter(name) => {
                messages.push(to(DELOBJ, 0, Table::Inet, object(name)));
            }
            Change::AddSet((table, name), set) => {
                sets += 1;
                messages.push(to(NEWSET, CREATE, *table, new_set(name, set, sets)));
            }
            Change::DeleteSet((table, name)) => {
                let this = Attributes::default().text(SET_TABLE, NAME).text(SET_NAME, name);
                messages.push(to(DELSET, 0, *table, this));
            }
            Change::AddElements(set, maps, elements) => {
                add_elements(&mut messages, (NEWSETELEM, CREATE), set, *maps, elements);
            }
            Change::DeleteElements(set, maps, elements) => {
                add_elements(&mut messages, (DELSETELEM, 0), set, *maps, elements);
            }
            Change::AddChain(name, table, hook) => {
                messages.push(to(NEWCHAIN, CREATE, *table, new_chain(name, *hook)));
            }
            Change::FlushChain((table, name)) => {
                let every = Attributes::default().text(RULE_TABLE, NAME).text(RULE_CHAIN, name);
                messages.push(to(DELRULE, 0, *table, every));
            }
            Change::DeleteChain(name, table) => {
                messages.push(to(DELCHAIN, 0, *table, chain(name)));
            }
            Change::AddRule((table, name), rule) => {
                let mut list = Attributes::default();
                for step in *rule {
                    for (name, data) in expressions(step) {
                        let expression = Attributes::default()
                            .text(EXPRESSION_NAME, name)
                            .nest(EXPRESSION_DATA, &data);
                        list = list.nest(LIST_ELEM, &expression);
                    }
                }
                let rule = Attributes::default().text(RULE_TABLE, NAME).text(RULE_CHAIN, name);
                let rule = rule.nest(RULE_EXPRESSIONS, &list);
                messages.push(to(NEWRULE, CREATE | APPEND, *table, rule));
            }
        }
    }
    messages
}

/// Asks which generation of rules the namespace has.
pub(crate) fn get_generation() -> Message {
    let family = nfnl::AF_UNSPEC;
    Message { kind: GETGEN, flags: REQUEST, family, attributes: Attributes::default() }
}

/// Asks for the chain of this name among those for ARP.
pub(crate) fn get_marker(name: &str) -> Message {
    to(GETCHAIN, 0, Table::Arp, chain(name))
}

/// Asks for all counters.
pub(crate) fn get_counters() -> Message {
    let every = Attributes::default().text(OBJECT_TABLE, NAME).number(OBJECT_TYPE, OBJECT_COUNTER);
    to(GETOBJ, DUMP, Table::Inet, every)
}

/// Asks what is in this set of the table for both IP versions.
pub(crate) fn get_elements(set: &str) -> Message {
    let this = Attributes::default().text(ELEMENTS_TABLE, NAME).text(ELEMENTS_SET, set);
    to(GETSETELEM, DUMP, Table::Inet, this)
}

fn to(kind: u16, flags: u16, table: Table, attributes: Attributes) -> Message {
    let family = match table {
        Table::Inet => 1,
        Table::Arp => 3,
    };
    Message { kind, flags: REQUEST | flags, family, attributes }
}

fn object(name: &str) -> Attributes {
    let object = Attributes::default().text(OBJECT_TABLE, NAME).text(OBJECT_NAME, name);
    object.number(OBJECT_TYPE, OBJECT_COUNTER)
}

fn chain(name: &str) -> Attributes {
    Attributes::default().text(CHAIN_TABLE, NAME).text(CHAIN_NAME, name)
}

fn new_chain(name: &str, hook: Option<Hook>) -> Attributes {
    let Some(hook) = hook else { return chain(name) };
    let raw = -300_i32;
    let (number, priority, policy) = match hook {
        Hook::ArpInput => (0, 0, DROP),
        Hook::Prerouting => (0, raw, DROP),
        Hook::Input => (1, 0, DROP),
        Hook::Forward => (2, 0, DROP),
        Hook::Output => (3, 0, ACCEPT),
    };
    let hook = Attributes::default()
        .number(HOOK_NUMBER, number)
        .with(HOOK_PRIORITY, &priority.to_be_bytes());
    chain(name)
        .nest(CHAIN_HOOK, &hook)
        .with(CHAIN_POLICY, &policy.to_be_bytes())
        .text(CHAIN_TYPE, "filter")
}

fn new_set(name: &str, set: &Set, id: u32) -> Attributes {
    let kind = set.parts.iter().fold(0, |kind, part| kind << PART_BITS | part_type(*part));
    let length = set.parts.iter().map(|part| part_length(*part)).sum();
    let intervals = if set.ranges { SET_IS_INTERVAL } else { 0 };
    let fed = set.fed.map_or(0, |_| SET_HAS_TIMEOUT | SET_IS_FED);
    let flags = intervals
        | fed
        | match set.maps {
            Maps::Nothing => 0,
            Maps::Verdicts => SET_IS_MAP,
            Maps::Counters => SET_IS_OBJECT_MAP,
        };
    let this = Attributes::default()
        .text(SET_TABLE, NAME)
        .text(SET_NAME, name)
        .number(SET_FLAGS, flags)
        .number(SET_KEY_TYPE, kind)
        .number(SET_KEY_LENGTH, length)
        .number(SET_ID, id)
        .with(SET_USER_DATA, &byte_order(set.parts));
    let this = match set.fed {
        Some(fed) => this
            .nest(SET_DESCRIPTION, &Attributes::default().number(SET_SIZE, fed.size))
            .with(SET_TIMEOUT, &fed.millis.to_be_bytes()),
        None => this,
    };
    match set.maps {
        Maps::Nothing => this,
        Maps::Verdicts => this.number(SET_DATA_TYPE, DATA_TYPE_VERDICT),
        Maps::Counters => this.number(SET_OBJECT_TYPE, OBJECT_COUNTER),
    }
}

/// How `nft` is to read the keys, in its own notes on the set: the names of links
/// are texts, which it takes for numbers of this machine, and the rest is as it is
/// on the wire.
fn byte_order(parts: &[Part]) -> Vec<u8> {
    let (key_byte_order, length) = (0, 4);
    let (this_machine, big_end_first) = (1_u32, 2);
    let order = if matches!(parts, [Part::Link]) { this_machine } else { big_end_first };
    [vec![key_byte_order, length], order.to_ne_bytes().to_vec()].concat()
}

/// `nft`'s number for the type of a part.
fn part_type(part: Part) -> u32 {
    match part {
        Part::Link => 41,
        Part::Ether => 9,
        Part::V4 => 7,
        Part::V6 => 8,
        Part::Protocol => 12,
        Part::Port => 13,
        // Marks are the only numbers of four bytes that it has.
        Part::Ports => 19,
    }
}

/// How many bytes a part takes in a key, filled up.
fn part_length(part: Part) -> u32 {
    match part {
        Part::Link | Part::V6 => 16,
        Part::Ether => 8,
        Part::V4 | Part::Protocol | Part::Port | Part::Ports => 4,
    }
}

fn add_elements(
    messages: &mut Vec<Message>,
    (kind, flags): (u16, u16),
    (table, set): &(Table, String),
    maps: Maps,
    elements: &[&Element],
) {
    for portion in elements.chunks(ELEMENTS_AT_ONCE) {
        let mut list = Attributes::default();
        for element in portion {
            list = list.nest(LIST_ELEM, &new_element(maps, element));
            if let Some(end) = element.end.as_ref().filter(|end| !end.is_empty()) {
                let end = Attributes::default()
                    .nest(ELEMENT_KEY, &value(end))
                    .number(ELEMENT_FLAGS, ELEMENT_ENDS_INTERVAL);
                list = list.nest(LIST_ELEM, &end);
            }
        }
        let this = Attributes::default().text(ELEMENTS_TABLE, NAME).text(ELEMENTS_SET, set);
        messages.push(to(kind, flags, *table, this.nest(ELEMENTS, &list)));
    }
}

fn new_element(maps: Maps, element: &Element) -> Attributes {
    let this = Attributes::default().nest(ELEMENT_KEY, &value(&element.key));
    match maps {
        Maps::Nothing => this,
        Maps::Verdicts => {
            let jump = verdict(&Verdict::Jump(element.target.clone()));
            this.nest(ELEMENT_DATA, &jump)
        }
        Maps::Counters => this.text(ELEMENT_OBJECT, &element.target),
    }
}

const DROP: u32 = 0;
const ACCEPT: u32 = 1;

fn value(bytes: &[u8]) -> Attributes {
    Attributes::default().with(DATA_VALUE, bytes)
}

fn verdict(verdict: &Verdict) -> Attributes {
    let code = |code: i32| Attributes::default().with(VERDICT_CODE, &code.to_be_bytes());
    let inner = match verdict {
        Verdict::Drop => Attributes::default().number(VERDICT_CODE, DROP),
        Verdict::Accept => Attributes::default().number(VERDICT_CODE, ACCEPT),
        Verdict::Jump(chain) => code(-3).text(VERDICT_CHAIN, chain),
        Verdict::Goto(chain) => code(-4).text(VERDICT_CHAIN, chain),
        Verdict::Return => code(-5),
    };
    Attributes::default().nest(DATA_VERDICT, &inner)
}

type Expression = (&'static str, Attributes);

/// The expressions that a step is to the kernel.
fn expressions(step: &Step) -> Vec<Expression> {
    let first = REGISTER_DATA;
    match step {
        Step::Is(field, with) => vec![load(*field, first), compare(EQUAL, with)],
        Step::IsNot(field, with) => vec![load(*field, first), compare(NOT_EQUAL, with)],
        Step::Within(field, low, high) => {
            let range = Attributes::default()
                .number(1, first)
                .number(2, EQUAL)
                .nest(3, &value(low))
                .nest(4, &value(high));
            vec![load(*field, first), ("range", range)]
        }
        Step::Prefix(field, address, bits) => {
            let length = field.length();
            let mut address = address.clone();
            address.resize(length, 0);
            let mask = prefix_mask(*bits, length);
            vec![load(*field, first), masked(&mask), compare(EQUAL, &address)]
        }
        Step::In(fields, set) => {
            let (mut expressions, source) = key(fields);
            let lookup = Attributes::default().text(1, set).number(2, source);
            expressions.push(("lookup", lookup));
            expressions
        }
        Step::Add(fields, set) => {
            let (mut expressions, source) = key(fields);
            let counter = ("counter", Attributes::default());
            expressions.push(feed(set, ADD, source, &counter));
            expressions
        }
        Step::Seldom(field, set, rate) => {
            let a_second: u64 = 1;
            let limit = Attributes::default()
                .with(1, &u64::from(rate.a_second).to_be_bytes())
                .with(2, &a_second.to_be_bytes())
                .number(3, rate.at_once);
            vec![load(*field, first), feed(set, UPDATE, first, &("limit", limit))]
        }
        Step::Tracked(state) => {
            let load = Attributes::default().number(1, first).number(2, 0);
            let bits = state.bits().to_ne_bytes();
            vec![("ct", load), masked(&bits), compare(NOT_EQUAL, &[0; 4])]
        }
        Step::MarkFlow(mark) => {
            let load = Attributes::default().number(1, first).number(2, FLOW_MARK);
            let set = Attributes::default().number(2, FLOW_MARK).number(4, first);
            let (others, bits) = ((!mark).to_ne_bytes(), mark.to_ne_bytes());
            vec![("ct", load), bitwise(&others, &bits), ("ct", set)]
        }
        Step::SetMark(mark) => {
            let immediate =
                Attributes::default().number(1, first).nest(2, &value(&mark.to_ne_bytes()));
            let set = Attributes::default().number(2, META_MARK).number(3, first);
            vec![("immediate", immediate), ("meta", set)]
        }
        Step::Count(field, map) => {
            let count = Attributes::default().number(3, first).text(4, map);
            vec![load(*field, first), ("objref", count)]
        }
        Step::Dispatch(field, map) => {
            let lookup =
                Attributes::default().text(1, map).number(2, first).number(3, REGISTER_VERDICT);
            vec![load(*field, first), ("lookup", lookup)]
        }
        Step::Verdict(given) => {
            let immediate =
                Attributes::default().number(1, REGISTER_VERDICT).nest(2, &verdict(given));
            vec![("immediate", immediate)]
        }
    }
}

/// The fields one after another, and the register where they begin.
fn key(fields: &[Field]) -> (Vec<Expression>, u32) {
    // A key of several parts is put together from words.
    let source = if fields.len() > 1 { REGISTER_WORDS } else { REGISTER_DATA };
    let mut register = source;
    let mut expressions = Vec::new();
    for field in fields {
        expressions.push(load(*field, register));
        register += u32::try_from(field.length().div_ceil(4)).unwrap_or(1);
    }
    (expressions, source)
}

/// Puts the key at `source` into a set; its element does `each` to every packet.
fn feed(set: &str, operation: u32, source: u32, each: &Expression) -> Expression {
    let (name, data) = each;
    let each = Attributes::default().text(EXPRESSION_NAME, name).nest(EXPRESSION_DATA, data);
    let this = Attributes::default().text(1, set).number(3, operation).number(4, source);
    ("dynset", this.nest(7, &each))
}

/// What is put into a set stays as long as it would have, if it is there already; or
/// anew.
const ADD: u32 = 0;
const UPDATE: u32 = 1;

const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const META_MARK: u32 = 3;
const FLOW_MARK: u32 = 3;

/// Where in a packet a field is, from one of its headers on.
const LINK: u32 = 0;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;

fn load(field: Field, register: u32) -> Expression {
    let meta = |key| ("meta", Attributes::default().number(1, register).number(2, key));
    let payload = |base, offset| {
        let length = u32::try_from(field.length()).unwrap_or_default();
        let this = Attributes::default().number(1, register).number(2, base);
        ("payload", this.number(3, offset).number(4, length))
    };
    match field {
        Field::InLink => meta(6),
        Field::OutLink => meta(7),
        Field::Family => meta(15),
        Field::Protocol => meta(16),
        Field::Mark => meta(META_MARK),
        Field::EtherSource => payload(LINK, 6),
        Field::ArpSource => payload(NETWORK, 14),
        Field::Source4 => payload(NETWORK, 12),
        Field::Destination4 => payload(NETWORK, 16),
        Field::ArpEtherSource | Field::Source6 => payload(NETWORK, 8),
        Field::Destination6 => payload(NETWORK, 24),
        Field::DestinationPort => payload(TRANSPORT, 2),
        Field::NoPorts => {
            let zeros = Attributes::default().number(1, register).nest(2, &value(&[0; 4]));
            ("immediate", zeros)
        }
        Field::Ports | Field::IcmpType => payload(TRANSPORT, 0),
        Field::IcmpCode => payload(TRANSPORT, 1),
    }
}

fn compare(operator: u32, with: &[u8]) -> Expression {
    let register = Attributes::default().number(1, REGISTER_DATA).number(2, operator);
    ("cmp", register.nest(3, &value(with)))
}

fn masked(mask: &[u8]) -> Expression {
    bitwise(mask, &vec![0; mask.len()])
}

/// Keeps the bits of `mask`, and then turns those of `other` over.
fn bitwise(mask: &[u8], other: &[u8]) -> Expression {
    let length = u32::try_from(mask.len()).unwrap_or_default();
    let this = Attributes::default().number(1, REGISTER_DATA).number(2, REGISTER_DATA);
    let this = this.number(3, length).nest(4, &value(mask));
    ("bitwise", this.nest(5, &value(other)))
}

fn prefix_mask(bits: u8, length: usize) -> Vec<u8> {
    let byte = |at: usize| {
        let here = usize::from(bits).saturating_sub(at * 8).min(8);
        // As many ones from the left: 0xff00 moved right, its low byte.
        u8::try_from((0xff00_u32 >> here) & 0xff).unwrap_or(u8::MAX)
    };
    (0..length).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_as_many_ones_as_the_prefix_is_long() {
        assert_eq!(prefix_mask(0, 4), [0, 0, 0, 0]);
        assert_eq!(prefix_mask(10, 4), [0xff, 0xc0, 0, 0]);
        assert_eq!(prefix_mask(31, 4), [0xff, 0xff, 0xff, 0xfe]);
        assert_eq!(prefix_mask(128, 16), [0xff; 16]);
    }

    #[test]
    fn no_list_of_elements_is_longer_than_an_attribute_can_be() {
        let elements: Vec<Element> = (0..10_000_u32)
            .map(|n| Element {
                key: [n.to_be_bytes(); 10].concat(),
                end: Some([n.to_be_bytes(); 10].concat()),
                target: "a".repeat(64),
            })
            .collect();
        let set = (Table::Inet, "egress".to_owned());
        let change = Change::AddElements(&set, Maps::Verdicts, elements.iter().collect());
        let messages = messages(&[change]);
        assert_eq!(messages.len(), 10_000_usize.div_ceil(ELEMENTS_AT_ONCE));
        assert!(messages.iter().all(|m| m.attributes.bytes().len() < usize::from(u16::MAX)));
    }
}
