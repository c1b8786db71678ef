//! Where packets go: the pure half of Landfall's network.
//!
//! The *model* is what users of EC2 make: VPCs, subnets, network interfaces,
//! security groups ([`model`]). From it follow the addresses that are handed out
//! ([`address`]), the whole document that a node's card obeys ([`plan`], made by
//! [`compile`]), and the verdict on any single packet together with the rule that
//! decided it ([`judge`]). A kernel that was given the plan must agree with the
//! judge; the tests of the card see to that.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;

pub mod address;
pub mod compile;
pub mod flow;
pub mod judge;
pub mod mac;
pub mod model;
pub mod names;
pub mod plan;
