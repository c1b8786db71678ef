//! Flows: what passed between an interface and others, or was kept from it, in the
//! terms of VPC flow logs.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::IpAddr;
use ident::{EniId, Timestamp};
use serde::{Deserialize, Serialize};

/// The most flows that are told at once.
pub const MOST_FLOWS: usize = 2048;

/// One way of one conversation, seen from one interface. What two interfaces say to
/// each other is four of these: each sends and each receives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The interface that it is seen from.
    pub eni: EniId,
    /// Whether the interface sends it or gets it.
    pub direction: Direction,
    /// What became of it.
    pub action: Action,
    /// The IP protocol number.
    pub protocol: u8,
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes to.
    pub destination: IpAddr,
    /// The port it comes from; 0 if the protocol has none.
    pub source_port: u16,
    /// The port it goes to; 0 if the protocol has none.
    pub destination_port: u16,
    /// How many packets and bytes there were, IP headers included; nobody counted
    /// those of a flow that is older than the counting.
    pub counted: Option<Counted>,
    /// When the first packet came, if that is known.
    pub start: Option<Timestamp>,
}

/// Packets, and the bytes in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// How many.
    pub packets: u64,
    /// How long they were together.
    pub bytes: u64,
}

/// Which way a flow goes, seen from its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the interface.
    Ingress,
    /// From it.
    Egress,
}

/// What became of a flow at its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It passed.
    Accept,
    /// The interface's groups, or the check of its addresses, refused it.
    Reject,
}

/// A question to a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowsAsked {
    /// Which question it is; the answer bears the same number.
    pub number: u64,
    /// Whose flows; everybody's if it names nobody.
    pub enis: BTreeSet<EniId>,
    /// Only those from or to this address.
    pub address: Option<IpAddr>,
}

/// A card's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowsTold {
    /// Which question it answers.
    pub number: u64,
    /// The newest flows that there are now, at most [`MOST_FLOWS`].
    pub flows: Vec<Flow>,
    /// Whether there are others.
    pub is_cut: bool,
}
