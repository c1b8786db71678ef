//! Programs in the kernel.

use crate::sys::{self, Attributes, Command};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Sees packets of a link, as a classifier of `tc` on its `clsact`.
    Classifier,
    /// Says which socket a packet is for that belongs to no connection yet
    /// (`BPF_PROG_TYPE_SK_LOOKUP`, from Linux 5.9).
    SocketLookup,
}

impl Purpose {
    /// The type of the program, and to what it will be attached.
    fn numbers(self) -> (u32, u32) {
        match self {
            Self::Classifier => (3, 0),
            Self::SocketLookup => (30, SK_LOOKUP),
        }
    }
}

/// Where programs for [`Purpose::SocketLookup`] are attached.
const SK_LOOKUP: u32 = 36;

/// A program that the kernel has found to be safe. It goes when nothing has it and we let
/// go of it.
#[derive(Debug)]
pub struct Program(OwnedFd);

/// A program at work in a network namespace, as long as we have this.
#[derive(Debug)]
pub struct Attached {
    _link: OwnedFd,
}

impl Program {
    /// Has the kernel take a program, which may use what is only for programs under the GPL
    /// if `license` says so. An error of `InvalidInput` or `PermissionDenied` is the
    /// kernel's refusal.
    pub fn load(
        purpose: Purpose,
        name: &str,
        license: &str,
        instructions: &[u8],
    ) -> io::Result<Self> {
        let license = [license.as_bytes(), &[0]].concat();
        load(purpose, name, &license, instructions, &mut []).map(Self)
    }

    /// Has a program for [`Purpose::SocketLookup`] work in a network namespace. Whatever is
    /// there already goes on: each of them may choose a socket.
    pub fn attach(&self, namespace: BorrowedFd<'_>) -> io::Result<Attached> {
        let [program, namespace] =
            [self.0.as_raw_fd(), namespace.as_raw_fd()].map(i32::unsigned_abs);
        let attributes = Attributes::new().word(program).word(namespace).word(SK_LOOKUP);
        let link = sys::open(Command::LinkCreate, &mut attributes.word(0))?;
        Ok(Attached { _link: link })
    }

    /// What the kernel says of a program when it looks whether it is safe, for those who
    /// wonder why it refuses.
    pub fn explain(purpose: Purpose, instructions: &[u8]) -> String {
        let mut log = vec![0; 1 << 20];
        let loaded = load(purpose, "explained", b"GPL\0", instructions, &mut log);
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
        let said = String::from_utf8_lossy(log.get(..end).unwrap_or_default());
        format!("{said}{}", loaded.err().map(|error| error.to_string()).unwrap_or_default())
    }
}

fn load(
    purpose: Purpose,
    name: &str,
    license: &[u8],
    instructions: &[u8],
    log: &mut [u8],
) -> io::Result<OwnedFd> {
    let (kind, attach) = purpose.numbers();
    let count = u32::try_from(instructions.len() / 8).map_err(io::Error::other)?;
    let size = u32::try_from(log.len()).map_err(io::Error::other)?;
    let attributes = Attributes::new().word(kind).word(count);
    let attributes = attributes.read(instructions).read(license);
    let attributes = attributes.word(u32::from(size > 0)).word(size).written(log);
    // For any version of the kernel, without flags, and for no device.
    let attributes = attributes.word(0).word(0).name(name).word(0);
    sys::open(Command::ProgramLoad, &mut attributes.word(attach))
}

impl AsRawFd for Program {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
