//! Rules, as text, for the namespace of the thread that asks.

use super::Error;
use std::io::{self, Write};
use std::process::{Command, Stdio};

/// Removes a table of the machine, whether it is there or not.
pub(super) async fn remove(table: String) -> Result<(), Error> {
    let rules = format!("table ip {table} {{}}\ndelete table ip {table}\n");
    let removed = tokio::task::spawn_blocking(move || apply(&rules)).await;
    removed.map_err(io::Error::other).and_then(|removed| removed).map_err(Error::Rules)
}

/// Puts rules into force: all of them, or none.
pub(super) fn apply(rules: &str) -> io::Result<()> {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = nft.stdin.take() {
        stdin.write_all(rules.as_bytes())?;
    }
    let done = nft.wait_with_output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(io::Error::other(format!("nft refuses the rules: {}", said.trim())))
}
