//! The control plane and the agent's engine in one thread, under virtual time.
//!
//! The services' own handlers, controllers and sessions run here, and the
//! agent's own engine, against a world made of one seed: it decides what is late,
//! what is lost, who dies and when. Nothing reads a clock, so a failure replays
//! exactly.
//!
//! What is real: the store on its memory backend, `ecs`, `ec2`, `sched`, `net`,
//! `iam`'s accounts, their ACS and card sessions, the agent's engine and its end of ACS. What
//! behaves: the card, the container runtime, the network, the users. What is not
//! here: sockets, HTTP, signatures, kernels, containerd. They have tests of
//! their own.
//!
//! # Map
//!
//! | module | what it says |
//! |---|---|
//! | `world` | what there is, and what happens in one step |
//! | [`Weather`] | what can go wrong, and how often |
//! | `plane`, `drive` | one life of the control plane, and its disk |
//! | `lines` | the connections of agents and cards |
//! | `machines`, `node`, `runtime`, `card` | what happens on a machine |
//! | `users` | who wants what, and what they were told |
//! | `operators`, `guest` | who looks after it all, and who comes with an account of his own |
//! | `oracle`, `births`, `roles` | what must hold |
//! | `mail` | what is under way |
//!
//! # How to use it
//!
//! Safety is asserted at every step in foul weather; rest only after it clears
//! ([`World::settle`]). Capacity has no slack, because a simulation with slack
//! proves nothing. A simulation is worth what the mistakes are that it notices:
//! whoever adds a guard elsewhere should break it once and see this fail.

mod births;
mod card;
mod drive;
mod guest;
mod lines;
mod machines;
mod mail;
mod node;
mod operators;
mod oracle;
mod plane;
mod rng;
mod roles;
mod runtime;
mod trace;
mod users;
mod weather;
mod world;

pub use drive::Outage;
pub use plane::scope;
pub use rng::Rng;
pub use weather::Weather;
pub use world::World;
