//! The kernel's BPF machine: programs put together from instructions with names, the
//! maps that they share with us, and loading them.
//!
//! Programs here are a page long, and are put together when they are needed. So there is
//! no compiler of another language in the build, and no object file to load.
//!
//! | module | what it knows |
//! |---|---|
//! | `assembler` | instructions, labels and how the kernel reads them |
//! | `sys` | the system call, and nothing beyond it; the only unsafe code |
//! | `map` | maps of the kernel, by keys and values that are bytes |
//! | `program` | loading them, and having them at work in a namespace |

mod assembler;
mod map;
mod program;
mod sys;

pub use assembler::{Assembler, Condition, Helper, Label, Operand, Register, Size, Unfit};
pub use map::{Kind, Map};
pub use program::{Attached, Program, Purpose};
