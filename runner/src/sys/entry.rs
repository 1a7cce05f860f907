//! Where the program begins. Part of the binary only: a test brings a `main` of its own.

use std::os::fd::{BorrowedFd, IntoRawFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

// Before libc. A program that root starts executes itself once more (sealed.rs), and by this it has
// not started twice by then: the libc's start and ours take a third of a millisecond on a virtual
// machine, where every `cpuid` is an exit to the host. Whatever fails here is left to sealed.rs, which
// looks again, and says so.
//
// The kernel hands over the stack, with the number of arguments on top, then the arguments, a zero and
// the environment, and in rdx what the libc calls at the end (System V ABI, 3.4.1): both are left as
// they were. There is no libc yet, nor in a static program are relocations: only registers, constants
// beside the code, and system calls.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .text.netup_run_entry, \"ax\", @progbits",
    ".globl netup_run_entry",
    ".type netup_run_entry, @function",
    "netup_run_entry:",
    "mov r12, rdx",
    // geteuid() != 0: the libc's start.
    "mov eax, {geteuid}",
    "syscall",
    "test eax, eax",
    "jnz 3f",
    // statfs("/proc/self/exe"): on a read-only mount there is nothing to be done.
    "sub rsp, 128",
    "lea rdi, [rip + 5f]",
    "mov rsi, rsp",
    "mov eax, {statfs}",
    "syscall",
    "mov r13, [rsp + {f_flags}]",
    "add rsp, 128",
    "test eax, eax",
    "jnz 3f",
    "test r13d, {read_only}",
    "jnz 3f",
    // open_tree(AT_FDCWD, "/proc/self/exe", OPEN_TREE_CLONE). It stays open: execve(2) would be held up
    // by closing it, see `sealed::keep_mount`.
    "mov edi, {cwd}",
    "lea rsi, [rip + 5f]",
    "mov edx, {clone}",
    "mov eax, {open_tree}",
    "syscall",
    "test eax, eax",
    "js 3f",
    "mov r13d, eax",
    // mount_setattr(tree, "", AT_EMPTY_PATH, { attr_set: MOUNT_ATTR_RDONLY }, 32)
    "mov edi, r13d",
    "lea rsi, [rip + 6f]",
    "mov edx, {empty_path}",
    "lea r10, [rip + 7f]",
    "mov r8d, 32",
    "mov eax, {mount_setattr}",
    "syscall",
    "test eax, eax",
    "jnz 2f",
    // fstatfs(tree): it would be without end if this were not seen the next time.
    "sub rsp, 128",
    "mov edi, r13d",
    "mov rsi, rsp",
    "mov eax, {fstatfs}",
    "syscall",
    "mov r14, [rsp + {f_flags}]",
    "add rsp, 128",
    "test eax, eax",
    "jnz 2f",
    "test r14d, {read_only}",
    "jz 2f",
    // execveat(tree, "", arguments, environment, AT_EMPTY_PATH)
    "mov edi, r13d",
    "lea rsi, [rip + 6f]",
    "lea rdx, [rsp + 8]",
    "mov rax, [rsp]",
    "lea r10, [rsp + 8 * rax + 16]",
    "mov r8d, {empty_path}",
    "mov eax, {execveat}",
    "syscall",
    "2:",
    "mov edi, r13d",
    "mov eax, {close}",
    "syscall",
    "3:",
    "mov rdx, r12",
    "jmp _start",
    // A mount_attr of linux/mount.h: attr_set, attr_clr, propagation, userns_fd.
    ".balign 8",
    "7: .quad {attribute}, 0, 0, 0",
    "5: .asciz \"/proc/self/exe\"",
    "6: .asciz \"\"",
    ".popsection",
    geteuid = const libc::SYS_geteuid,
    statfs = const libc::SYS_statfs,
    fstatfs = const libc::SYS_fstatfs,
    open_tree = const libc::SYS_open_tree,
    mount_setattr = const libc::SYS_mount_setattr,
    execveat = const libc::SYS_execveat,
    close = const libc::SYS_close,
    f_flags = const std::mem::offset_of!(libc::statfs64, f_flags),
    read_only = const libc::ST_RDONLY,
    cwd = const libc::AT_FDCWD,
    clone = const libc::OPEN_TREE_CLONE,
    empty_path = const libc::AT_EMPTY_PATH,
    attribute = const libc::MOUNT_ATTR_RDONLY,
);

/// After libc. Rust's own start is left out, which looks for the end of the stack in
/// `/proc/self/maps` and sets up signal handlers to tell of its overflow; the rest of it is here.
#[unsafe(no_mangle)]
extern "C" fn main(_count: libc::c_int, _words: *const *const libc::c_char) -> libc::c_int {
    // SAFETY: sets sets no handler. A write to a closed pipe is an error then, which `say` knows.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    // Before a descriptor is opened.
    netup_run::sealed::keep_mount();
    let code = match open_standard_descriptors() {
        Ok(()) => crate::main(),
        // Nobody can be told.
        Err(_) => 125,
    };
    std::process::exit(code.into())
}

/// What is opened later is not to be taken for input or output, so the lowest three numbers are in use.
fn open_standard_descriptors() -> Result<(), Errno> {
    // SAFETY: the kernel is asked whether they are open; nothing else is done with them.
    let standard = [0_i32, 1, 2].map(|number| unsafe { BorrowedFd::borrow_raw(number) });
    let mut looked_at =
        standard.each_ref().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::empty()));
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::io::retry_on_intr(|| poll(&mut looked_at, Some(&now)))?;
    for (number, seen) in (0..).zip(looked_at) {
        // So says the kernel of those that are there as a path alone, too, as that of our own mount is if
        // its number was free.
        if seen.revents().contains(PollFlags::NVAL) {
            let null = openat(CWD, "/dev/null", OFlags::RDWR, Mode::empty())?.into_raw_fd();
            if null != number {
                // SAFETY: both are ours alone; what had the number is closed.
                unsafe { (libc::dup2(null, number), libc::close(null)) };
            }
        }
    }
    Ok(())
}
