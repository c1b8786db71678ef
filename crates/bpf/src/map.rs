//! Maps: what programs and we both read and write.

use crate::sys::{self, Attributes, Command};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// What kind of map it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Values by keys.
    Hash,
    /// Values by number, all there from the beginning, zeros.
    Array,
    /// Values by keys; if it is full, those go that were not used for long.
    RecentHash,
    /// Sockets by number: a value is the four bytes of a descriptor, and goes when its
    /// socket does.
    Sockets,
}

/// A map of the kernel, which goes when no program has it and we let go of it.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    key: usize,
    value: usize,
}

const HASH: u32 = 1;
const ARRAY: u32 = 2;
const LRU_HASH: u32 = 9;
const SOCKMAP: u32 = 15;
/// How many entries are read at a time at least.
const BATCH: usize = 512;
/// Where the kernel says how many entries it has read.
const BATCH_COUNT: usize = 32;

impl Map {
    /// A new map, with keys and values of so many bytes, that has room for so many.
    pub fn new(kind: Kind, name: &str, key: u32, value: u32, room: u32) -> io::Result<Self> {
        let kind = match kind {
            Kind::Hash => HASH,
            Kind::Array => ARRAY,
            Kind::RecentHash => LRU_HASH,
            Kind::Sockets => SOCKMAP,
        };
        let attributes = Attributes::new().word(kind).word(key).word(value).word(room);
        // No flags, no inner map, any node.
        let mut attributes = attributes.word(0).word(0).word(0).name(name);
        let fd = sys::open(Command::MapCreate, &mut attributes)?;
        let length = |length: u32| usize::try_from(length).map_err(io::Error::other);
        Ok(Self { fd, key: length(key)?, value: length(value)? })
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.check(key, None)?;
        let mut value = vec![0; self.value];
        let about = self.about().read(key);
        match sys::ask(Command::MapLookup, &mut about.written(&mut value)) {
            Ok(()) => Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives a key that value.
    pub fn set(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.check(key, Some(value))?;
        sys::ask(Command::MapUpdate, &mut self.about().read(key).read(value))
    }

    /// Removes a key, if it is there.
    pub fn remove(&self, key: &[u8]) -> io::Result<()> {
        self.check(key, None)?;
        match sys::ask(Command::MapDelete, &mut self.about().read(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Shows every key and value, of a map with keys. What changes meanwhile may be shown
    /// or not.
    pub fn each(&self, mut show: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        // Where it goes on is a number for hashes; the kernel asks for room for a key.
        let mut place = vec![0; self.key.max(4)];
        let (mut begun, mut room) = (false, BATCH);
        loop {
            let (mut keys, mut values) = (vec![0; room * self.key], vec![0; room * self.value]);
            let (count, mut next) = (u32::try_from(room).map_err(io::Error::other)?, place.clone());
            let from: &[u8] = if begun { &place } else { &[] };
            let attributes = Attributes::new().read(from).written(&mut next).written(&mut keys);
            let mut attributes = attributes.written(&mut values).word(count).word(self.fd());
            let (asked, count) =
                sys::ask_for(Command::MapLookupBatch, &mut attributes, BATCH_COUNT);
            let is_last = match asked {
                Ok(()) => false,
                Err(error) if error.kind() == io::ErrorKind::NotFound => true,
                // One bucket alone has more.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    room *= 2;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let count = usize::try_from(count).map_err(io::Error::other)?;
            let both = keys.chunks_exact(self.key).zip(values.chunks_exact(self.value));
            for (key, value) in both.take(count) {
                show(key, value);
            }
            if is_last {
                return Ok(());
            }
            (place, begun) = (next, true);
        }
    }

    /// What commands about one entry begin with: the map, and four bytes of nothing.
    fn about<'a>(&self) -> Attributes<'a> {
        Attributes::new().word(self.fd()).word(0)
    }

    fn fd(&self) -> u32 {
        self.fd.as_raw_fd().unsigned_abs()
    }

    fn check(&self, key: &[u8], value: Option<&[u8]>) -> io::Result<()> {
        if key.len() == self.key && value.is_none_or(|value| value.len() == self.value) {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "a key or value of another length"))
    }
}

impl AsRawFd for Map {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
