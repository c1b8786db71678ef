//! The first process of a container: the one that Docker calls `docker-init`, and the
//! one that holds the namespaces that the containers of a task share.
//!
//! Built by `build.rs` for no operating system library at all, so that it runs in any
//! image, also in an empty one.
//!
//! - `init -- PROGRAM ARGUMENT…` runs the program as its child, passes on every signal
//!   that it gets, reaps every orphan, and ends as the child ends.
//! - `init` alone reaps orphans until it is told to end.
//!
//! And beside a container, where its shim starts it:
//!
//! - `init log FILE` appends what the container says to the file. What finds no room there
//!   is lost, and what comes after it is not.

#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {begin}",
    "ud2",
    begin = sym begin,
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x0, sp",
    "and sp, x0, #-16",
    "bl {begin}",
    "brk #0",
    begin = sym begin,
);

/// The numbers of the system calls.
#[cfg(target_arch = "x86_64")]
mod number {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const IOCTL: usize = 16;
    pub const CLONE: usize = 56;
    pub const EXECVE: usize = 59;
    pub const WAIT4: usize = 61;
    pub const KILL: usize = 62;
    pub const SETPGID: usize = 109;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const EXIT_GROUP: usize = 231;
    pub const OPENAT: usize = 257;
    pub const PPOLL: usize = 271;
}

/// The numbers of the system calls.
#[cfg(target_arch = "aarch64")]
mod number {
    pub const IOCTL: usize = 29;
    pub const OPENAT: usize = 56;
    pub const CLOSE: usize = 57;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const PPOLL: usize = 73;
    pub const EXIT_GROUP: usize = 94;
    pub const KILL: usize = 129;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const SETPGID: usize = 154;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const WAIT4: usize = 260;
}

const SIGINT: usize = 2;
const SIGTERM: usize = 15;
const SIGCHLD: usize = 17;
const SIG_BLOCK: usize = 0;
const SIG_SETMASK: usize = 2;
const WNOHANG: usize = 1;
const TIOCSPGRP: usize = 0x5410;
const EACCES: isize = -13;
const EINTR: isize = -4;

const AT_FDCWD: isize = -100;
const O_WRONLY: usize = 0o1;
const O_CREAT: usize = 0o100;
const O_APPEND: usize = 0o2000;
const POLLIN: i16 = 1;

/// Where the shim leaves the pipes of the container's output and errors, and the one by
/// which it hears that we read them.
const OUTPUT: i32 = 3;
const ERRORS: i32 = 4;
const READY: usize = 5;
/// As much as a pipe holds.
const BUFFER: usize = 1 << 16;

/// A path may be so long.
const PATH_MAX: usize = 4096;

#[cfg(target_arch = "x86_64")]
unsafe fn call(number: usize, a: [usize; 5]) -> isize {
    let result: isize;
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a[0], in("rsi") a[1],
            in("rdx") a[2], in("r10") a[3], in("r8") a[4], lateout("rcx") _, lateout("r11") _);
    }
    result
}

#[cfg(target_arch = "aarch64")]
unsafe fn call(number: usize, a: [usize; 5]) -> isize {
    let result: isize;
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a[0] => result, in("x1") a[1],
            in("x2") a[2], in("x3") a[3], in("x4") a[4]);
    }
    result
}

fn exit(code: usize) -> ! {
    loop {
        unsafe { call(number::EXIT_GROUP, [code, 0, 0, 0, 0]) };
    }
}

/// `stack` is what the kernel leaves there: the number of arguments, the arguments, and
/// after an empty one the environment.
unsafe extern "C" fn begin(stack: *const usize) -> ! {
    let all = !0_u64;
    unsafe {
        let count = *stack;
        let arguments = stack.add(1).cast::<*const u8>();
        let environment = arguments.add(count + 1);
        let mask = &raw const all as usize;
        call(number::RT_SIGPROCMASK, [SIG_BLOCK, mask, 0, 8, 0]);
        if count > 2 && is(*arguments.add(1), b"log\0") {
            keep(*arguments.add(2));
        }
        // The program itself, and the two dashes.
        let child = if count > 2 { run(arguments.add(2), environment) } else { 0 };
        watch(child, mask)
    }
}

/// One of the files that are waited for, as the kernel wants it.
#[repr(C)]
struct Awaited {
    file: i32,
    events: i16,
    seen: i16,
}

/// Appends to the file what comes out of both pipes, until they have ended. Told to end
/// meanwhile, it does so when they are empty.
unsafe fn keep(path: *const u8) -> ! {
    let mut buffer = core::mem::MaybeUninit::<[u8; BUFFER]>::uninit();
    let buffer = buffer.as_mut_ptr() as usize;
    // Signals are blocked but for when there is nothing to read.
    let none = 0_u64;
    let mut pipes = [OUTPUT, ERRORS].map(|file| Awaited { file, events: POLLIN, seen: 0 });
    unsafe {
        let mut file = open(path);
        // The shim waits for this: nothing that is said from now on is lost.
        call(number::CLOSE, [READY, 0, 0, 0, 0]);
        while pipes.iter().any(|pipe| pipe.file >= 0) {
            let (at, mask) = (&raw mut pipes as usize, &raw const none as usize);
            if call(number::PPOLL, [at, pipes.len(), 0, mask, 8]) <= 0 {
                continue;
            }
            for pipe in &mut pipes {
                if pipe.file < 0 || pipe.seen == 0 {
                    continue;
                }
                let from = pipe.file as usize;
                let count = call(number::READ, [from, buffer, BUFFER, 0, 0]);
                if count > 0 {
                    if file < 0 {
                        file = open(path);
                    }
                    write(file, buffer, count as usize);
                } else if count != EINTR {
                    call(number::CLOSE, [from, 0, 0, 0, 0]);
                    // The kernel looks at none that is negative.
                    pipe.file = -1;
                }
            }
        }
    }
    exit(0)
}

unsafe fn open(path: *const u8) -> isize {
    let flags = O_WRONLY | O_CREAT | O_APPEND;
    unsafe { call(number::OPENAT, [AT_FDCWD as usize, path as usize, flags, 0o644, 0]) }
}

/// Writes as much of it as there is room for.
unsafe fn write(file: isize, mut at: usize, mut count: usize) {
    while file >= 0 && count > 0 {
        let written = unsafe { call(number::WRITE, [file as usize, at, count, 0, 0]) };
        if written > 0 {
            at += written as usize;
            count -= written as usize;
        } else if written != EINTR {
            return;
        }
    }
}

/// Whether a text is this one, the zero at its end with it.
unsafe fn is(text: *const u8, other: &[u8]) -> bool {
    let mut at = 0;
    while at < other.len() && unsafe { *text.add(at) } == other[at] {
        at += 1;
    }
    at == other.len()
}

/// Passes on signals and reaps, until the child has ended.
unsafe fn watch(child: isize, mask: usize) -> ! {
    loop {
        let signal = unsafe { call(number::RT_SIGTIMEDWAIT, [mask, 0, 0, 8, 0]) };
        if signal == EINTR {
            continue;
        }
        match signal as usize {
            SIGCHLD => unsafe { reap(child) },
            SIGINT | SIGTERM if child == 0 => exit(0),
            signal if child > 0 => unsafe {
                call(number::KILL, [child as usize, signal, 0, 0, 0]);
            },
            _ => {}
        }
    }
}

unsafe fn reap(child: isize) {
    loop {
        let mut status = 0_i32;
        let at = &raw mut status as usize;
        let ended = unsafe { call(number::WAIT4, [usize::MAX, at, WNOHANG, 0, 0]) };
        if ended <= 0 {
            return;
        }
        if ended == child {
            let signal = status & 0x7f;
            exit(if signal == 0 { (status >> 8) & 0xff } else { 128 + signal } as usize);
        }
    }
}

/// Runs the program in a process group of its own, in the foreground of the terminal if
/// there is one.
unsafe fn run(arguments: *const *const u8, environment: *const *const u8) -> isize {
    unsafe {
        let child = call(number::CLONE, [SIGCHLD, 0, 0, 0, 0]);
        if child < 0 {
            exit(126);
        }
        if child > 0 {
            return child;
        }
        call(number::SETPGID, [0, 0, 0, 0, 0]);
        // The signals that a terminal sends to the background are blocked still.
        let group = own_group();
        call(number::IOCTL, [0, TIOCSPGRP, &raw const group as usize, 0, 0]);
        let none = 0_u64;
        call(number::RT_SIGPROCMASK, [SIG_SETMASK, &raw const none as usize, 0, 8, 0]);
        let error = execute(arguments, environment);
        exit(if error == EACCES { 126 } else { 127 })
    }
}

/// The process group, which is the process itself.
unsafe fn own_group() -> i32 {
    #[cfg(target_arch = "x86_64")]
    const GETPID: usize = 39;
    #[cfg(target_arch = "aarch64")]
    const GETPID: usize = 172;
    unsafe { call(GETPID, [0; 5]) as i32 }
}

/// Looks for the program where the shell would.
unsafe fn execute(arguments: *const *const u8, environment: *const *const u8) -> isize {
    let exec = |path: *const u8| unsafe {
        call(
            number::EXECVE,
            [path as usize, arguments as usize, environment as usize, 0, 0],
        )
    };
    unsafe {
        let name = *arguments;
        let length = length(name);
        if (0..length).any(|at| *name.add(at) == b'/') {
            return exec(name);
        }
        let mut path = find(environment, b"PATH=").unwrap_or(c"/usr/bin:/bin".as_ptr().cast());
        let mut worst = -2;
        loop {
            let mut whole = [0_u8; PATH_MAX];
            let mut end = 0;
            while !matches!(*path, 0 | b':') && end + length + 2 < PATH_MAX {
                whole[end] = *path;
                end += 1;
                path = path.add(1);
            }
            if end > 0 {
                whole[end] = b'/';
                end += 1;
            }
            for at in 0..length {
                whole[end + at] = *name.add(at);
            }
            if exec(whole.as_ptr()) == EACCES {
                worst = EACCES;
            }
            while !matches!(*path, 0 | b':') {
                path = path.add(1);
            }
            if *path == 0 {
                return worst;
            }
            path = path.add(1);
        }
    }
}

/// The value of a variable.
unsafe fn find(mut environment: *const *const u8, name: &[u8]) -> Option<*const u8> {
    unsafe {
        while !(*environment).is_null() {
            let entry = *environment;
            let mut same = 0;
            while same < name.len() && *entry.add(same) == name[same] {
                same += 1;
            }
            if same == name.len() {
                return Some(entry.add(same));
            }
            environment = environment.add(1);
        }
    }
    None
}

unsafe fn length(text: *const u8) -> usize {
    let mut length = 0;
    // Volatile, or it would be made into a call of the C library.
    while unsafe { text.add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}

/// The compiler may call this for arrays.
///
/// # Safety
/// As the C function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memset(at: *mut u8, byte: i32, count: usize) -> *mut u8 {
    for offset in 0..count {
        // Volatile, or it would be made into a call of itself.
        unsafe { at.add(offset).write_volatile(byte as u8) };
    }
    at
}

/// The compiler may call this for copies.
///
/// # Safety
/// As the C function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    for offset in 0..count {
        unsafe { to.add(offset).write_volatile(*from.add(offset)) };
    }
    to
}

/// Nothing is ever unwound, but the core library refers to it.
#[unsafe(no_mangle)]
pub extern "C" fn rust_eh_personality() {}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(125)
}
