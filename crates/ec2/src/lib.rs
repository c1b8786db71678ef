//! EC2, the half that is about networks: VPCs, subnets, security groups, network
//! interfaces, and the machines as EC2 sees them.
//!
//! Everyone else is its customer. People ask over the API ([`api`]). ECS asks for
//! the interfaces of its tasks ([`awsvpc`], [`task_eni`]), inside its own
//! transactions. Machines come by themselves ([`instances`]), and what they must
//! have is told to their cards ([`card`]) as one document, which `net` compiles.
//!
//! # What holds
//!
//! - *Only this crate writes these records.* Others call its functions.
//! - *No two interfaces of a subnet have one address, at any revision*: an
//!   address is taken until the card has said that the interface is gone.
//! - *A user's interface is on one instance*, and may be attached to another when
//!   the card has said that it is gone, or when it is detached by force.
//! - *A task's interface only moves forward*: attaching, then attached or failed,
//!   then detaching, then gone. No report, however late, moves it back.
//! - *A VXLAN network identifier belongs to one VPC of the whole installation.*
//! - *Saying nothing new writes nothing*: neither a machine that registers again
//!   nor a card that reports again makes a revision.
//!
//! # Map
//!
//! | module | what it says |
//! |---|---|
//! | [`mod@records`] | what is kept |
//! | [`error`] | why we refuse, and what AWS calls it |
//! | [`zones`] | which availability zones a region has |
//! | [`default_vpc`] | what every region of an account comes with |
//! | [`awsvpc`] | what an `awsvpcConfiguration` means |
//! | [`eni`] | making an interface, its address and its name |
//! | [`instance_types`] | what each of Amazon's types of instances has |
//! | [`identity`] | what EC2 says of a machine, signed |
//! | [`eni_limits`] | how many interfaces an instance can have |
//! | `attach` | interfaces that users attach |
//! | [`task_eni`] | the life of a task's interface |
//! | [`instances`] | machines arriving and leaving |
//! | `tenancy` | what becomes of it all when its account is deleted |
//! | [`card`] | what is said to cards, and what they answer |
//! | [`api`] | the operations |

pub mod api;
mod attach;
pub mod awsvpc;
pub mod card;
pub mod default_vpc;
pub mod eni;
pub mod eni_limits;
pub mod error;
pub mod identity;
pub mod instance_types;
pub mod instances;
pub mod records;
pub mod task_eni;
mod tenancy;
#[cfg(test)]
mod testing;
pub mod zones;

pub use api::Ec2;
pub use awsvpc::Awsvpc;
pub use card::{CardSession, CardSocket};
pub use default_vpc::ensure_region;
pub use error::Error;
pub use instances::Machine;
pub use records::records;
pub use task_eni::TaskEni;
pub use tenancy::Evict;
