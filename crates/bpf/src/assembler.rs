//! Instructions of the BPF machine, as <https://www.kernel.org/doc/html/latest/bpf/standardization/instruction-set.html>
//! numbers them.

use crate::map::Map;
use std::fmt;
use std::os::fd::{AsRawFd, RawFd};

/// A register. `R0` has what a call answered and what the program says in the end, `R1`
/// to `R5` are a call's arguments and gone after it, `R6` to `R9` stay, and `FP` is where
/// the stack of 512 bytes ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are numbers")]
#[repr(u8)]
pub enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    /// The end of the stack, which can only be read.
    FP,
}

/// How many bytes are read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Size {
    /// Four.
    Word = 0x00,
    /// Two.
    Half = 0x08,
    /// One.
    Byte = 0x10,
    /// Eight.
    Double = 0x18,
}

/// When a jump is taken. Numbers have no sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Condition {
    /// Both are the same.
    Equal = 0x10,
    /// The first is greater.
    Greater = 0x20,
    /// They have a bit in common.
    Common = 0x40,
    /// They differ.
    Unequal = 0x50,
    /// The first is not greater.
    AtMost = 0xb0,
}

/// The second number of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// What a register has.
    Of(Register),
    /// This one, its sign kept.
    Number(i32),
}

impl From<Register> for Operand {
    fn from(register: Register) -> Self {
        Self::Of(register)
    }
}

impl From<i32> for Operand {
    fn from(number: i32) -> Self {
        Self::Number(number)
    }
}

/// A function of the kernel that programs call, by its number in `linux/bpf.h`. What it takes
/// and answers is in `bpf-helpers(7)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are the kernel's names")]
#[repr(i32)]
pub enum Helper {
    MapLookupElem = 1,
    MapUpdateElem = 2,
    MapDeleteElem = 3,
    SkRelease = 86,
    SkAssign = 124,
    RedirectPeer = 155,
    KtimeGetCoarseNs = 160,
}

/// A place in a program that can be jumped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// Why instructions are no program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// A jump leads to a label that is nowhere.
    Nowhere(Label),
    /// A jump is longer than the 32,767 instructions that it can be, or leads back: the
    /// kernel would have to be shown that such a program ends.
    Jump(Label),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere(Label(number)) => write!(f, "label {number} is nowhere"),
            Self::Jump(Label(number)) => write!(f, "no jump leads to label {number} from there"),
        }
    }
}

impl std::error::Error for Unfit {}

const LOAD: u8 = 0x61;
const STORE_NUMBER: u8 = 0x62;
const STORE: u8 = 0x63;
const ATOMIC_DOUBLE: u8 = 0xdb;
const LOAD_NUMBER_DOUBLE: u8 = 0x18;
const MATHS_DOUBLE: u8 = 0x07;
const JUMP: u8 = 0x05;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const ADD: u8 = 0x00;
const SUBTRACT: u8 = 0x10;
const AND: u8 = 0x50;
const MOVE: u8 = 0xb0;
/// The second number comes from a register.
const FROM_REGISTER: u8 = 0x08;
/// What follows is a map, or the first value of a map that is an array.
const IS_MAP: u8 = 1;
const IS_MAP_VALUE: u8 = 2;

/// A program that is being written.
#[derive(Debug, Default)]
pub struct Assembler {
    code: Vec<[u8; 8]>,
    labels: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// A label that is nowhere yet.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Puts a label before the next instruction.
    pub fn at(&mut self, label: Label) {
        if let Some(place) = self.labels.get_mut(label.0) {
            *place = Some(self.code.len());
        }
    }

    /// Has a register be a number.
    pub fn set(&mut self, to: Register, from: impl Into<Operand>) {
        self.maths(MOVE, to, from.into());
    }

    /// Adds to a register.
    pub fn add(&mut self, to: Register, what: impl Into<Operand>) {
        self.maths(ADD, to, what.into());
    }

    /// Subtracts from a register.
    pub fn subtract(&mut self, from: Register, what: impl Into<Operand>) {
        self.maths(SUBTRACT, from, what.into());
    }

    /// Leaves only those bits of a register.
    pub fn and(&mut self, to: Register, what: impl Into<Operand>) {
        self.maths(AND, to, what.into());
    }

    /// Reads what is `offset` bytes after the address in `from`.
    pub fn load(&mut self, size: Size, to: Register, from: Register, offset: i16) {
        self.push(LOAD | size as u8, to as u8, from as u8, offset, 0);
    }

    /// Writes a register or a number `offset` bytes after the address in `to`.
    pub fn store(&mut self, size: Size, to: Register, offset: i16, what: impl Into<Operand>) {
        match what.into() {
            Operand::Of(from) => self.push(STORE | size as u8, to as u8, from as u8, offset, 0),
            Operand::Number(number) => {
                self.push(STORE_NUMBER | size as u8, to as u8, 0, offset, number);
            }
        }
    }

    /// Adds a register to the eight bytes there, whoever else does so meanwhile.
    pub fn add_atomically(&mut self, to: Register, offset: i16, what: Register) {
        self.push(ATOMIC_DOUBLE, to as u8, what as u8, offset, 0);
    }

    /// Goes on at `label`.
    pub fn jump(&mut self, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(JUMP, 0, 0, 0, 0);
    }

    /// Goes on at `label` if that holds of a register and a number.
    pub fn jump_if(
        &mut self,
        register: Register,
        condition: Condition,
        other: impl Into<Operand>,
        label: Label,
    ) {
        self.jumps.push((self.code.len(), label));
        let operation = JUMP | condition as u8;
        match other.into() {
            Operand::Of(other) => {
                self.push(operation | FROM_REGISTER, register as u8, other as u8, 0, 0);
            }
            Operand::Number(number) => self.push(operation, register as u8, 0, 0, number),
        }
    }

    /// Has a register be what calls that take a map want as such.
    pub fn map(&mut self, to: Register, map: &Map) {
        self.wide(to, IS_MAP, map.as_raw_fd());
    }

    /// Has a register be the address of the first value of an array.
    pub fn first_value(&mut self, to: Register, array: &Map) {
        self.wide(to, IS_MAP_VALUE, array.as_raw_fd());
    }

    /// Calls a function of the kernel.
    pub fn call(&mut self, helper: Helper) {
        self.push(CALL, 0, 0, 0, helper as i32);
    }

    /// Ends with what `R0` has.
    pub fn exit(&mut self) {
        self.push(EXIT, 0, 0, 0, 0);
    }

    /// The instructions as the kernel takes them.
    pub fn finish(mut self) -> Result<Vec<u8>, Unfit> {
        for (at, label) in self.jumps {
            let to = self.labels.get(label.0).copied().flatten().ok_or(Unfit::Nowhere(label))?;
            let distance = to.checked_sub(at + 1).and_then(|far| i16::try_from(far).ok());
            let distance = distance.ok_or(Unfit::Jump(label))?;
            if let Some(jump) = self.code.get_mut(at) {
                jump[2..4].copy_from_slice(&distance.to_ne_bytes());
            }
        }
        Ok(self.code.concat())
    }

    fn maths(&mut self, operation: u8, to: Register, what: Operand) {
        let operation = MATHS_DOUBLE | operation;
        match what {
            Operand::Of(from) => self.push(operation | FROM_REGISTER, to as u8, from as u8, 0, 0),
            Operand::Number(number) => self.push(operation, to as u8, 0, 0, number),
        }
    }

    fn wide(&mut self, to: Register, kind: u8, number: RawFd) {
        self.push(LOAD_NUMBER_DOUBLE, to as u8, kind, 0, number);
        self.push(0, 0, 0, 0, 0);
    }

    fn push(&mut self, operation: u8, to: u8, from: u8, offset: i16, number: i32) {
        // Which of the two is the lower half is the one thing that the machine's byte
        // order changes beside the numbers.
        let registers =
            if cfg!(target_endian = "little") { to | from << 4 } else { to << 4 | from };
        let [first, second] = offset.to_ne_bytes();
        let [a, b, c, d] = number.to_ne_bytes();
        self.code.push([operation, registers, first, second, a, b, c, d]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Register::{FP, R0, R1, R6};

    #[test]
    fn instructions_are_as_the_kernel_reads_them() {
        let mut code = Assembler::default();
        let end = code.label();
        code.set(R6, R1);
        code.load(Size::Word, R0, R6, 40);
        code.jump_if(R0, Condition::Unequal, 7, end);
        code.store(Size::Double, FP, -8, R0);
        code.add_atomically(R1, 16, R0);
        code.call(Helper::MapLookupElem);
        code.at(end);
        code.set(R0, -1);
        code.exit();
        // As `llvm-objdump` shows these.
        let expected: [[u8; 8]; 8] = [
            [0xbf, 0x16, 0, 0, 0, 0, 0, 0],
            [0x61, 0x60, 40, 0, 0, 0, 0, 0],
            [0x55, 0x00, 3, 0, 7, 0, 0, 0],
            [0x7b, 0x0a, 0xf8, 0xff, 0, 0, 0, 0],
            [0xdb, 0x01, 16, 0, 0, 0, 0, 0],
            [0x85, 0, 0, 0, 1, 0, 0, 0],
            [0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(code.finish(), Ok(expected.concat()));
    }

    #[test]
    fn jumps_lead_forward_to_where_something_is() {
        let mut code = Assembler::default();
        let nowhere = code.label();
        code.jump(nowhere);
        assert_eq!(code.finish(), Err(Unfit::Nowhere(nowhere)));
        let mut code = Assembler::default();
        let before = code.label();
        code.at(before);
        code.jump(before);
        assert_eq!(code.finish(), Err(Unfit::Jump(before)));
    }
}
