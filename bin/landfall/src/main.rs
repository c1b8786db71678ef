//! The composition root: parse, wire, run. Everything that Landfall does lives
//! in a crate; here it is put together, in reading order.
//!
//! - [`cli`] is what a person can say, [`commands`] what is then done;
//! - [`layout`] is where things lie on the machine;
//! - [`composition`] builds the control plane and the node programs of one
//!   machine, [`card_link`] carries plans between the two;
//! - [`extension`] answers what AWS has no API for;
//! - [`client`] speaks to a running Landfall through its public APIs.

mod card_link;
mod cli;
mod client;
mod commands;
mod composition;
mod extension;
mod images;
#[cfg(test)]
mod isolation;
mod layout;
mod metadata;
#[cfg(test)]
mod state_fixtures;
mod terminal;

use clap::Parser;
use mimalloc::MiMalloc;
use std::process::ExitCode;

/// A state of many small shared pieces, made on one thread and dropped on
/// another, is what the C library's allocator is worst at: with it a large cluster
/// takes half as many tasks a second, and fewer the larger it is.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => {
            terminal::report(error.as_ref());
            ExitCode::FAILURE
        }
    }
}
