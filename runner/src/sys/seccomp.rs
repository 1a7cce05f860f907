//! Installing a system-call filter.
#![allow(unsafe_code, reason = "seccomp(2) has no wrapper that leaves no_new_privs alone")]

use rustix::io::{Errno, Result};

use crate::seccomp::Instruction;

/// `SECCOMP_SET_MODE_FILTER`, linux/seccomp.h.
const SET_MODE_FILTER: libc::c_uint = 1;

/// Puts the calling thread, and all that it executes and starts, under the filter for good.
///
/// Takes `no_new_privs` or `CAP_SYS_ADMIN`, otherwise `EACCES`.
pub fn load(program: &[Instruction]) -> Result<()> {
    let len = libc::c_ushort::try_from(program.len()).or(Err(Errno::INVAL))?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: `program` points to `len` instructions, which the kernel copies and does not change.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, 0, &raw const program) };
    if result == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    }
}
