//! Programs in the kernel.

use crate::sys::{self, Attributes, Command};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// The type of programs that see packets of links.
const SCHED_CLS: u32 = 3;

/// A program that the kernel has found to be safe, for a classifier of `tc` on a link's
/// `clsact`. It goes when no link has it and we let go of it.
#[derive(Debug)]
pub struct Program(OwnedFd);

impl Program {
    /// Has the kernel take a program, which may use what is only for programs under the GPL
    /// if `license` says so. An error of `InvalidInput` or `PermissionDenied` is the
    /// kernel's refusal.
    pub fn load(name: &str, license: &str, instructions: &[u8]) -> io::Result<Self> {
        let license = [license.as_bytes(), &[0]].concat();
        load(name, &license, instructions, &mut []).map(Self)
    }

    /// What the kernel says of a program when it looks whether it is safe, for those who
    /// wonder why it refuses.
    pub fn explain(instructions: &[u8]) -> String {
        let mut log = vec![0; 1 << 20];
        let loaded = load("explained", b"GPL\0", instructions, &mut log);
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
        let said = String::from_utf8_lossy(log.get(..end).unwrap_or_default());
        format!("{said}{}", loaded.err().map(|error| error.to_string()).unwrap_or_default())
    }
}

fn load(name: &str, license: &[u8], instructions: &[u8], log: &mut [u8]) -> io::Result<OwnedFd> {
    let count = u32::try_from(instructions.len() / 8).map_err(io::Error::other)?;
    let size = u32::try_from(log.len()).map_err(io::Error::other)?;
    let attributes = Attributes::new().word(SCHED_CLS).word(count);
    let attributes = attributes.read(instructions).read(license);
    let attributes = attributes.word(u32::from(size > 0)).word(size).written(log);
    // For any version of the kernel, and without flags.
    let mut attributes = attributes.word(0).word(0).name(name);
    sys::open(Command::ProgramLoad, &mut attributes)
}

impl AsRawFd for Program {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
