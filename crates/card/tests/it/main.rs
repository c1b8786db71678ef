//! The card against the real kernel.
//!
//! Every test plays in namespaces of its own: one stands for the host, others
//! for tasks, and the card makes its routers beside them. The machine's own
//! network is never touched. All of it needs root.

mod agree;
mod dns;
mod dual;
mod fastpath;
mod flows;
mod gates;
mod host;
mod imds;
mod lab;
mod links;
mod mtu;
mod obey;
mod pace;
mod packets;
mod secondary;
mod services;
mod spoof;
mod untracked;
mod world;
