//! One file per thing that a person can ask for.

mod account;
mod backup;
mod completions;
mod doctor;
mod down;
mod env;
mod explain;
mod flows;
mod image;
mod logs;
mod restore;
mod status;
mod up;
mod version;

use crate::cli::{Cli, Command, ImageCommand};
use crate::layout::{Access, Layout, read_json};
use std::error::Error;
use std::io;
use std::process::ExitCode;

/// Whatever went wrong, for a person to read.
pub(crate) type AnyError = Box<dyn Error + Send + Sync>;

/// Does what was asked.
pub(crate) fn run(cli: Cli) -> Result<ExitCode, AnyError> {
    let layout = Layout::new(&cli.data_dir)?;
    match cli.command {
        Command::Up(up) => up::run(&layout, &up)?,
        Command::Down(down) => down::run(&layout, &down)?,
        Command::Env(env) => env::run(&layout, &env)?,
        Command::Status(output) => status::run(&layout, &output)?,
        Command::Doctor(output) => return doctor::run(&layout, &output),
        Command::Logs(logs) => logs::run(&layout, &logs)?,
        Command::Flows(flows) => flows::run(&layout, &flows)?,
        Command::Backup(backup) => backup::run(&layout, &backup)?,
        Command::Restore(restore) => restore::run(&layout, &restore)?,
        Command::Explain(what) => explain::run(&layout, &what)?,
        Command::Image(ImageCommand::Load { file }) => image::load(&layout, &file)?,
        Command::Account(account) => account::run(&layout, &account)?,
        Command::Completions { shell } => completions::run(shell),
        Command::Version(output) => version::run(&output)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// How to reach the installation; an error with advice if there is none.
fn access(layout: &Layout) -> Result<Access, AnyError> {
    match read_json(&layout.access()) {
        Ok(Some(access)) => Ok(access),
        Ok(None) => Err(format!(
            "there is no Landfall in {}: start one with `landfall up`",
            layout.data.display()
        )
        .into()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(format!("{} is root's: run this as root", layout.data.display()).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Refuses whoever could only fail half-way.
fn require_root() -> Result<(), AnyError> {
    if nix::unistd::geteuid().is_root() {
        Ok(())
    } else {
        Err("Landfall's namespaces and containers are root's: run this as root".into())
    }
}

/// A runtime for the commands that talk to a running Landfall or to containerd.
fn block_on<T>(work: impl Future<Output = Result<T, AnyError>>) -> Result<T, AnyError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
