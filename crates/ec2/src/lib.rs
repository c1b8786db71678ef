//! ec2
pub mod awsvpc;
pub mod card;
pub mod default_vpc;
pub mod eni;
pub mod error;
pub mod instances;
pub mod records;
pub mod task_eni;
pub mod zones;
pub use default_vpc::ensure_region;
pub use error::Error;
pub use records::records;
