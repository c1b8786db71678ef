//! The operations, on a store in memory.

mod account_settings;
mod attributes;
mod clusters;
mod instances;
mod refusals;
mod run;
mod submit;
mod tagging;
mod task_definitions;
mod tasks;
