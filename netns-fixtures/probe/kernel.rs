//! System calls by number, so that a test can try what no library would do.

#![allow(unsafe_code, reason = "this is the one module for it")]

use crate::Told;
use std::{
    ffi::{CString, OsString, c_int, c_long, c_void},
    io, mem,
    os::unix::ffi::OsStrExt,
};

unsafe extern "C" {
    safe fn fork() -> c_int;
    fn ioctl(fd: c_int, request: u64, argument: *mut c_void) -> c_int;
    safe fn isatty(fd: c_int) -> c_int;
    safe fn kill(pid: c_int, signal: c_int) -> c_int;
    safe fn getpid() -> c_int;
    safe fn getppid() -> c_int;
    safe fn getsid(pid: c_int) -> c_int;
    safe fn getpgrp() -> c_int;
    safe fn tcgetpgrp(fd: c_int) -> c_int;
    fn sigfillset(set: *mut SignalSet) -> c_int;
    fn sigprocmask(how: c_int, set: *const SignalSet, old: *mut SignalSet) -> c_int;
    fn sigwait(set: *const SignalSet, signal: *mut c_int) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    #[link_name = "syscall"]
    fn raw_syscall(number: c_long, ...) -> c_long;
}

/// Where glibc starts the program.
// SAFETY: no other `main` is linked, since the crate has none of Rust's own.
#[unsafe(no_mangle)]
extern "C" fn main() -> c_int {
    crate::run()
}

/// glibc's `sigset_t` has room for 1024.
type SignalSet = [u64; 16];

const SIG_SETMASK: c_int = 2;

/// `syscall NUMBER ARGUMENT…`: a number, `@text` for a pointer to text, `%N` for N zeroed bytes.
/// Prints `= RESULT` or `errno N`.
pub fn syscall(words: &[OsString]) -> Told {
    let arguments = Arguments::decode(words)?;
    let [number, a, b, c, d, e, f] = arguments.registers;
    // SAFETY: what a pointer leads to is kept by `arguments`; what else a call does to this process
    // is what the test wants to see, and the process does nothing but print afterwards.
    let result = unsafe { raw_syscall(number, a, b, c, d, e, f) };
    match result {
        -1 => println!("errno {}", io::Error::last_os_error().raw_os_error().unwrap_or_default()),
        _ => println!("= {result}"),
    }
    Ok(())
}

/// `int80 NUMBER`: by the 32-bit gate, with zeroes for arguments. Prints `= RESULT` or `errno N`.
#[cfg(target_arch = "x86_64")]
pub fn int80(words: &[OsString]) -> Told {
    let mut register: i64 = crate::number(words)?;
    // SAFETY: the kernel restores all registers but eax, and r8 to r11 which old kernels cleared;
    // rbx is saved by hand since the compiler keeps it for itself.
    unsafe {
        std::arch::asm!(
            "push rbx", "xor ebx, ebx", "int 0x80", "pop rbx",
            inout("rax") register, in("rcx") 0, in("rdx") 0, in("rsi") 0, in("rdi") 0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    match register as i32 {
        failed @ -4095..=-1 => println!("errno {}", -failed),
        result => println!("= {result}"),
    }
    Ok(())
}

/// There is no such gate.
#[cfg(not(target_arch = "x86_64"))]
pub fn int80(_: &[OsString]) -> Told {
    Err("int80 is for x86-64".to_owned())
}

/// The registers of a call, and the memory that they point to.
struct Arguments {
    registers: [c_long; 7],
    /// A vector's or string's heap memory stays where it is when the owner is moved here.
    _texts: Vec<CString>,
    _buffers: Vec<Vec<u8>>,
}

impl Arguments {
    fn decode(words: &[OsString]) -> Result<Self, String> {
        let (mut texts, mut buffers) = (Vec::new(), Vec::new());
        let mut registers = [0; 7];
        for (register, word) in registers.iter_mut().zip(words) {
            *register = match word.as_bytes() {
                [b'@', text @ ..] => {
                    let text = CString::new(text).map_err(|e| e.to_string())?;
                    texts.push(text);
                    texts.last().map_or(0, |text| text.as_ptr() as c_long)
                }
                [b'%', size @ ..] => {
                    let size = String::from_utf8_lossy(size).parse().map_err(|e| format!("{e}"))?;
                    buffers.push(vec![0; size]);
                    buffers.last_mut().map_or(0, |buffer| buffer.as_mut_ptr() as c_long)
                }
                _ => number(word)?,
            };
        }
        Ok(Self { registers, _texts: texts, _buffers: buffers })
    }
}

/// Also in hexadecimal, and as an unsigned number of all 64 bits.
fn number(word: &OsString) -> Result<c_long, String> {
    let text = word.to_string_lossy();
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).map(u64::cast_signed),
        None => text.parse(),
    };
    parsed.map_err(|error| format!("{text}: {error}"))
}

/// Who this process is among others.
pub struct Place {
    pub pid: i32,
    pub parent: i32,
    pub group: i32,
    pub session: i32,
}

/// Asks for it without /proc.
pub fn place() -> Place {
    Place { pid: getpid(), parent: getppid(), group: getpgrp(), session: getsid(0) }
}

/// Splits the process, which has one thread only. True in the child.
pub fn split() -> io::Result<Option<i32>> {
    match fork() {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        child => Ok(Some(child)),
    }
}

/// Waits for the end of a child.
pub fn reap(child: i32) {
    // SAFETY: a null pointer asks for no status.
    unsafe { waitpid(child, std::ptr::null_mut(), 0) };
}

/// Sends a signal.
pub fn send(pid: i32, signal: i32) -> io::Result<()> {
    answer(kill(pid, signal)).map(drop)
}

/// Blocks all signals, from now on to be had by [`next_signal`].
pub fn block_signals() {
    let all = all_signals();
    // SAFETY: the set is initialised and outlives the call; a null pointer asks for no old mask.
    unsafe { sigprocmask(SIG_SETMASK, &raw const all, std::ptr::null_mut()) };
}

/// Waits for a blocked signal.
pub fn next_signal() -> i32 {
    let (all, mut signal) = (all_signals(), 0);
    // SAFETY: both outlive the call.
    unsafe { sigwait(&raw const all, &raw mut signal) };
    signal
}

fn all_signals() -> SignalSet {
    let mut set = [0; 16];
    // SAFETY: the array is as large as glibc's type.
    unsafe { sigfillset(&raw mut set) };
    set
}

/// Whether a descriptor is a terminal, and the process group in its foreground.
pub fn terminal(fd: i32) -> Option<i32> {
    (isatty(fd) == 1).then(|| tcgetpgrp(fd))
}

/// An ioctl on plain data, which it may change.
pub fn control<T: Copy>(fd: i32, request: u64, data: &mut T) -> io::Result<()> {
    // A request whose data is larger than T would write past it.
    assert!(mem::size_of::<T>() >= 8, "too small for the requests that are made here");
    // SAFETY: callers pass the type that the request is defined on.
    answer(unsafe { ioctl(fd, request, std::ptr::from_mut(data).cast()) }).map(drop)
}

fn answer(result: c_int) -> io::Result<c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
