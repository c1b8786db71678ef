//! The operations, on a store in memory.

mod account_settings;
mod attributes;
mod clusters;
mod gpus;
mod instance_states;
mod instances;
mod paging;
mod placing;
mod refusals;
mod registration;
mod run;
mod submit;
mod tagging;
mod task_definitions;
mod task_protection;
mod tasks;
mod trunking;
