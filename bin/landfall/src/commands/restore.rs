//! `landfall restore`: a backup in place of the state.

use super::{AnyError, access, block_on, down, require_root};
use crate::cli::Restore;
use crate::client::Client;
use crate::layout::Layout;
use crate::{composition, terminal};
use nix::sys::signal::{Signal, kill};
use std::io::{IsTerminal, Write};
use std::time::Duration;
use store_sqlite::backup::{Summary, is_staged, stage};
use tokio::time::{Instant, sleep};

/// How long a running Landfall may take to come back with the restored state.
const LIMIT: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(25);

/// Reads the whole backup, stages it, and has a running Landfall take it up.
pub(crate) fn run(layout: &Layout, restore: &Restore) -> Result<(), AnyError> {
    require_root()?;
    if !restore.yes && !confirmed()? {
        return Err("nothing was changed; say --yes to restore without being asked".into());
    }
    layout.create()?;
    let Summary { records, revision, .. } =
        stage(&restore.file, &layout.database(), composition::registry())?;
    match down::running(layout) {
        Some(pid) => {
            kill(pid, Signal::SIGHUP)?;
            block_on(taken_up(layout))?;
            terminal::progress(&format!(
                "Landfall serves {records} records of revision {revision}"
            ));
        }
        None => terminal::progress(&format!(
            "{records} records of revision {revision} await the next `landfall up`"
        )),
    }
    terminal::progress("the state that was there is kept beside it, as state.db-before-restore");
    Ok(())
}

/// Asks whoever sits there; nobody agrees to nothing.
fn confirmed() -> Result<bool, AnyError> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("Replace the state? Tasks that the backup does not know will be stopped. [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Waits until the running Landfall has taken the backup up and answers again.
async fn taken_up(layout: &Layout) -> Result<(), AnyError> {
    let limit = Instant::now() + LIMIT;
    loop {
        if !is_staged(&layout.database()) && Client::new(&access(layout)?)?.health().await.is_ok() {
            return Ok(());
        }
        if down::running(layout).is_none() {
            return Err("Landfall ended; its log says why".into());
        }
        if Instant::now() > limit {
            return Err(format!("Landfall did not take it up within {LIMIT:?}").into());
        }
        sleep(POLL).await;
    }
}
