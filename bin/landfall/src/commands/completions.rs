//! `landfall completions`.

use crate::cli::Cli;
use clap::CommandFactory;

/// Prints the completion script of a shell.
pub(crate) fn run(shell: clap_complete::Shell) {
    clap_complete::generate(shell, &mut Cli::command(), "landfall", &mut std::io::stdout());
}
