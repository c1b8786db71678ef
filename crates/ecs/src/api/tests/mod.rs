//! The operations, on a store in memory.

mod account_settings;
mod clusters;
mod instances;
mod refusals;
mod run;
mod submit;
mod task_definitions;
mod tasks;
