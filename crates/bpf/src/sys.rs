//! `bpf(2)`, and nothing beyond it.
#![allow(unsafe_code, reason = "the system call takes addresses; nobody else here does")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// What the system call is asked for, by the kernel's number.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub(crate) enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    ProgramLoad = 5,
    MapLookupBatch = 24,
    LinkCreate = 28,
}

/// As many bytes as the largest attributes have; there are zeros after what is said.
const ROOM: usize = 160;

/// The attributes of a command: numbers one after another, and addresses of memory that
/// lives as long as the borrow.
pub(crate) struct Attributes<'a> {
    bytes: [u8; ROOM],
    length: usize,
    memory: std::marker::PhantomData<&'a mut [u8]>,
}

impl<'a> Attributes<'a> {
    pub(crate) fn new() -> Self {
        Self { bytes: [0; ROOM], length: 0, memory: std::marker::PhantomData }
    }

    pub(crate) fn word(self, number: u32) -> Self {
        self.raw(&number.to_ne_bytes())
    }

    pub(crate) fn double(self, number: u64) -> Self {
        self.raw(&number.to_ne_bytes())
    }

    /// The address of something that the kernel reads, or 0 for nothing.
    pub(crate) fn read(self, memory: &'a [u8]) -> Self {
        let address = if memory.is_empty() { 0 } else { memory.as_ptr().addr() as u64 };
        self.double(address)
    }

    /// The address of something that the kernel writes.
    pub(crate) fn written(self, memory: &'a mut [u8]) -> Self {
        let address = if memory.is_empty() { 0 } else { memory.as_mut_ptr().expose_provenance() };
        self.double(address as u64)
    }

    /// A name of at most 15 bytes.
    pub(crate) fn name(self, name: &str) -> Self {
        let mut bytes = [0; 16];
        for (byte, own) in bytes.iter_mut().zip(name.bytes().take(15)) {
            *byte = own;
        }
        self.raw(&bytes)
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        let end = self.length + bytes.len();
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(bytes);
            self.length = end;
        }
        self
    }

    /// The four bytes at `offset`, which the kernel may have written.
    fn word_at(&self, offset: usize) -> u32 {
        let bytes = self.bytes.get(offset..offset + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_ne_bytes)
    }
}

/// Asks for something that answers with success alone.
pub(crate) fn ask(command: Command, attributes: &mut Attributes<'_>) -> io::Result<()> {
    call(command, attributes).map(drop)
}

/// The same, and what the kernel has written into the attributes at `offset`, also if it
/// says that there is no more.
pub(crate) fn ask_for(
    command: Command,
    attributes: &mut Attributes<'_>,
    offset: usize,
) -> (io::Result<()>, u32) {
    let asked = ask(command, attributes);
    (asked, attributes.word_at(offset))
}

/// Asks for something that answers with a descriptor.
pub(crate) fn open(command: Command, attributes: &mut Attributes<'_>) -> io::Result<OwnedFd> {
    let descriptor = call(command, attributes)?;
    let descriptor = i32::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the kernel has just opened it for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn call(command: Command, attributes: &mut Attributes<'_>) -> io::Result<i64> {
    let address = attributes.bytes.as_mut_ptr();
    // SAFETY: the attributes are ours for the time of the call and as long as we say, and
    // every address in them is of memory that is borrowed at least as long, with the
    // length that `map` and `program` have checked it to have.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command as i32, address, ROOM) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}
