//! Chores of this repository, as programs rather than shell: they run the same
//! on every machine, and have tests.

mod codegen;
mod coverage;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <chore>

  codegen           generate crates/wire from models/
  codegen --check   fail if the committed sources differ from what would be generated
  codegen --models  fetch the models anew from the pinned botocore (needs the network)
  coverage          write docs/coverage.md from models/coverage.txt
  tidy              check what no compiler checks: layers, file sizes, links, drift
";

/// Whatever went wrong, in words for the person at the terminal.
type Problem = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = root();
    let outcome = match words.as_slice() {
        ["codegen"] => codegen::write(&root),
        ["codegen", "--check"] => codegen::check(&root),
        ["codegen", "--models"] => codegen::models::fetch(&root),
        ["coverage"] => coverage::write(&root),
        ["tidy"] => tidy::run(&root),
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the repository, wherever we are called from.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
