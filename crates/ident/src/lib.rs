//! The vocabulary that every other crate shares: who owns a thing, what it is
//! called, and when something happened to it. Nothing else belongs here, ever.
//!
//! The crate reads no clock and draws no entropy: ids are *minted* from random
//! bits that the caller brings, and times are values.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;

mod arn;
mod id;
mod owner;
mod tags;
mod text;
mod time;

pub use arn::{Arn, ArnError};
pub use id::{
    AttachmentId, ClusterName, ContainerInstanceId, EniAttachmentId, EniId, Family, InstanceId,
    PrefixListId, RouteTableId, SecurityGroupId, SecurityGroupRuleId, SubnetId, TaskId, VpcId,
};
pub use owner::{AccountId, Region, Scope};
pub use tags::Tags;
pub use text::IdError;
pub use time::{Generation, Timestamp};
