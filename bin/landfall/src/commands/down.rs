//! `landfall down`: stop the tasks, then Landfall, then look after what a crash
//! may have left.

use super::{AnyError, block_on, require_root};
use crate::cli::Down;
use crate::client::Client;
use crate::layout::{Access, Layout, read_json};
use crate::{composition, terminal};
use agent::Leave;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long tasks have to stop by themselves; beyond it they are removed.
const TASKS_LIMIT: Duration = Duration::from_secs(90);
/// How long the program has to end after SIGTERM.
const PROCESS_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// Stops everything and removes what it made on the machine; with `purge`, its
/// state too. Works as well on what a killed Landfall left.
pub(crate) fn run(layout: &Layout, down: &Down) -> Result<(), AnyError> {
    require_root()?;
    if !layout.data.exists() {
        terminal::progress(&format!("there is nothing in {}", layout.data.display()));
        return Ok(());
    }
    block_on(async {
        if let Some(pid) = running(layout) {
            if let Some(access) = read_json::<Access>(&layout.access())? {
                stop_tasks(&Client::new(&access)?).await;
            }
            end(pid).await?;
        }
        let leave = if down.purge { Leave::Nothing } else { Leave::Images };
        composition::teardown(layout, leave).await?;
        Ok(())
    })?;
    remove(fs::remove_dir_all(&layout.run))?;
    if down.purge {
        // Only what bears our mark: a mistyped directory must not be emptied.
        if layout.database().exists() || layout.access().exists() {
            remove(fs::remove_dir_all(&layout.data))?;
        } else {
            remove(fs::remove_dir(&layout.data))?;
        }
    }
    terminal::progress("Landfall is down");
    Ok(())
}

/// The process of this installation, if it runs: the one that holds its pid file
/// and is a Landfall.
pub(crate) fn running(layout: &Layout) -> Option<Pid> {
    let pid = fs::read_to_string(layout.pid()).ok()?.trim().parse().ok()?;
    let program = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let is_ours = program.split(|byte| *byte == 0).any(|word| word == b"up");
    is_ours.then(|| Pid::from_raw(pid))
}

/// Asks every task to stop and waits for it, without insisting.
async fn stop_tasks(client: &Client) {
    let limit = Instant::now() + TASKS_LIMIT;
    let mut said = 0;
    loop {
        let Ok(tasks) = client.unstopped_tasks().await else { return };
        if tasks.is_empty() || Instant::now() > limit {
            return;
        }
        if tasks.len() != said {
            said = tasks.len();
            terminal::progress(&format!("stopping {said} tasks"));
        }
        for (cluster, task) in tasks {
            let request = serde_json::json!({
                "cluster": cluster, "task": task, "reason": "Landfall is going down"
            });
            // A task that is gone by now is what we want.
            let _ = client.ecs("StopTask", &request).await;
        }
        sleep(POLL * 4).await;
    }
}

/// Ends the program: politely, then not.
async fn end(pid: Pid) -> Result<(), AnyError> {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        if kill(pid, signal).is_err() {
            return Ok(());
        }
        let limit = Instant::now() + PROCESS_LIMIT;
        while Instant::now() < limit {
            if kill(pid, None).is_err() || is_zombie(pid) {
                return Ok(());
            }
            sleep(POLL).await;
        }
    }
    Err(format!("process {pid} does not end").into())
}

/// A child that its parent has not waited for yet is ended all the same.
fn is_zombie(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
}

fn remove(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
