//! Makes the kernel of a node match the plan of its network: what the Nitro card
//! is to EC2.
//!
//! A VPC on a node is a *router namespace*. Each network interface that is on the
//! node is a veth pair: the *NIC end*, with the interface's hardware address, is
//! in the host's namespace for whoever owns the interface to take; the *card end*
//! stays in the router, which answers ARP and neighbour solicitations, routes one
//! /32 or /128 per address, and filters. All of it follows from a [`net::plan::CardPlan`], and from nothing else:
//!
//! - [`Card::apply`] compares the plan with what the kernel has and makes only
//!   the difference. It keeps no books that could be wrong: a card that was
//!   killed, replaced or meddled with finds its way from what is there.
//! - An interface appears, which is to say that a link has its hardware address,
//!   only when the router is ready for it, rules included. Forwarding is switched
//!   on after the filter.
//! - What the plan does not name is removed, if its name says that it is ours.
//!   Nothing else on the machine is touched, no firewall, no sysctl, no route.
//! - The NIC end may have left for a task's namespace, where the card cannot see
//!   it. The two ends live and die together, so the card end stands for both.
//!
//! | module | what it looks after |
//! |---|---|
//! | [`netns`] | namespaces: named, and running something inside one |
//! | `rtnl` | a netlink conversation with one namespace |
//! | `router` | one VPC: links, addresses, neighbours, routes, in order |
//! | `host` | where interfaces appear, and what the node itself gets of its own |
//! | `sysctl` | the switches of a router namespace |
//! | `filter` | the rules as values, and the difference between two sets of them |
//! | `nft` | the rules in the kernel, and whether they are still the ones we put there |
//! | `gate` | the rules of security groups, as steps that match |
//! | `rules` | what rules are made of |
//! | `encode` | rules as the kernel takes them |
//! | `flows` | the connection tracker |
//! | `refused` | what the gates drop, noted by them |
//! | `untracked` | flows that end with the rules that let them pass |
//! | `seen` | both of these, told per interface |
//! | `advertise` | the router advertises itself to who has IPv6 |
//! | `dns` | the VPC's resolver |
//! | [`imds`] | the instance metadata |
//! | `fastpath` | packets of known flows, past the rules |
//! | `supervised` | what answers in a router, started again when it ends |
//! | `keep` | the last plan, on disk |

pub mod imds;
pub mod netns;

mod advertise;
mod card;
mod dns;
mod encode;
mod error;
mod fastpath;
mod filter;
mod flows;
mod gate;
mod host;
mod keep;
mod names;
mod nft;
mod refused;
mod router;
mod rtnl;
mod rules;
mod run;
mod seen;
mod supervised;
mod sysctl;
mod untracked;

pub use card::{Card, Config, Work};
pub use dns::Resolvers;
pub use error::CardError;
pub use fastpath::fast_path;
pub use nft::{Counters, Tally};
pub use run::run;
pub use seen::Seen;
