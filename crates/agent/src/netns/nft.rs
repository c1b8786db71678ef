//! Rules, as text, for the namespace of the thread that asks.

use std::io::{self, Write};
use std::process::{Command, Stdio};

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
