//! A system call without its function in the C library. Such a function writes a failure to `errno`,
//! and some look at what is the thread's own: a child in its parent's memory, on whose thread-local
//! variables it is, may do neither.

use std::ffi::{c_long, c_void};

/// Calls the kernel; the error is an errno.
///
/// # Safety
/// What holds for the system call.
#[inline(always)]
pub unsafe fn bare_call(number: c_long, arguments: [*mut c_void; 3]) -> Result<usize, i32> {
    // SAFETY: the caller's.
    let answer = unsafe { enter(number, arguments) };
    if answer < 0 { Err(-answer as i32) } else { Ok(answer as usize) }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn enter(number: c_long, [first, second, third]: [*mut c_void; 3]) -> isize {
    let answer;
    // SAFETY: syscall(2) names these registers; the kernel changes no others. What the call does to
    // memory is the caller's to answer for.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => answer,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
unsafe fn enter(number: c_long, [first, second, third]: [*mut c_void; 3]) -> isize {
    let answer;
    // SAFETY: as above.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number as isize,
            inlateout("x0") first => answer,
            in("x1") second,
            in("x2") third,
            options(nostack),
        );
    }
    answer
}

#[cfg(test)]
mod tests {
    use std::ptr::null_mut;

    use super::*;

    #[test]
    fn a_failure_is_told_and_errno_left_alone() {
        nix::errno::Errno::EDOM.set();
        let no_file = [usize::MAX as *mut c_void, null_mut(), null_mut()];
        // SAFETY: no descriptor has this number, so nothing is read or closed.
        let (pid, refused) = unsafe {
            (bare_call(libc::SYS_getpid, [null_mut(); 3]), bare_call(libc::SYS_close, no_file))
        };
        assert_eq!(pid, Ok(std::process::id() as usize));
        assert_eq!(refused, Err(libc::EBADF));
        assert_eq!(nix::errno::Errno::last(), nix::errno::Errno::EDOM);
    }
}
