//! A disk that is full, and one that cannot be written. Both are real: small file
//! systems in a mount namespace of their own, which is gone with its process.
//! This needs root, so it runs with the tests of the kernel.

use std::path::PathBuf;
use std::process::Command;

#[test]
fn a_full_or_read_only_disk_costs_an_error_and_no_state() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(program())
        .arg(directory.path())
        .output()
        .expect("unshare starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "nothing was lost");
}

/// The example, which cargo builds with the tests and puts beside them.
fn program() -> PathBuf {
    let mut path = std::env::current_exe().expect("has a path");
    path.pop();
    path.pop();
    path.join("examples/disk_trouble")
}
