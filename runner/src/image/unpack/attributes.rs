//! Extended attributes: which of an archive's are kept.

use std::os::fd::BorrowedFd;

use rustix::fs::{XattrFlags, fsetxattr};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};

/// What a program of an image can rely on. The rest speaks to the machine's own security modules
/// and file systems, on which an archive has no say: `security.selinux`, `trusted.*`, and what
/// overlayfs understands as its own.
fn is_kept(name: &[u8]) -> bool {
    let of_user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
    of_user || name == b"security.capability"
}

pub(super) fn set(file: BorrowedFd<'_>, attributes: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
    for (name, value) in attributes.iter().filter(|(name, _)| is_kept(name)) {
        fsetxattr(file, name.as_slice(), value, XattrFlags::empty())
            .map_err(|errno| refused(name, errno))?;
    }
    Ok(())
}

fn refused(name: &[u8], errno: Errno) -> Error {
    let name = String::from_utf8_lossy(name);
    let error = Error::kernel(format!("set the attribute {name}"), errno);
    match errno {
        Errno::OPNOTSUPP => error.hint(
            "the store's file system has no such attributes; put it elsewhere with NETUP_RUN_STORE",
        ),
        // Too long a name, or a capability that is none.
        Errno::RANGE | Errno::INVAL | Errno::TOOBIG => error.with_kind(ErrorKind::BadImage),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::is_kept;

    #[test]
    fn what_is_for_the_machine_is_not_kept() {
        for name in ["user.a", "security.capability"] {
            assert!(is_kept(name.as_bytes()), "{name}");
        }
        for name in [
            "security.selinux",
            "security.ima",
            "trusted.overlay.opaque",
            "user.overlay.redirect",
            "system.posix_acl_access",
            "security.capability.",
        ] {
            assert!(!is_kept(name.as_bytes()), "{name}");
        }
    }
}
