//! Builds `init/init.rs`, which runs inside containers, and not as a part of us: for no
//! library, and for this machine's kernel only.

use std::env;
use std::path::PathBuf;
use std::process::Command;

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script so, and nobody else")]
fn main() {
    println!("cargo::rerun-if-changed=init/init.rs");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let target = PathBuf::from(variable("OUT_DIR")).join("init");
    let built = Command::new(variable("RUSTC"))
        .args(["--edition", "2024", "--crate-name", "init", "--crate-type", "bin"])
        .args(["--target", &variable("TARGET")])
        .args(["-C", "panic=abort", "-C", "opt-level=s", "-C", "strip=symbols"])
        .args(["-C", "relocation-model=static", "-C", "overflow-checks=off"])
        .args(["-C", "link-arg=-nostartfiles", "-C", "link-arg=-nostdlib"])
        .args(["-C", "link-arg=-static"])
        .arg("-o")
        .arg(&target)
        .arg("init/init.rs")
        .status();
    match built {
        Ok(status) if status.success() => {}
        other => {
            println!("cargo::error=the first process of containers is not built: {other:?}");
        }
    }
}
