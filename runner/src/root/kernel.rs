//! What this kernel can, and where in it we are.

use rustix::fs::{AtFlags, CWD, statat};
use rustix::system::uname;

use crate::error::{Error, ErrorKind, Result};

/// `PROC_USER_INIT_INO`, from linux/proc_ns.h.
const FIRST_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// Whether this process is in the machine's own user namespace.
pub(crate) fn is_first_user_namespace() -> Result<bool> {
    let path = "/proc/self/ns/user";
    statat(CWD, path, AtFlags::empty())
        .map(|found| found.st_ino == FIRST_USER_NAMESPACE)
        .map_err(|errno| Error::kernel(format!("stat {path}"), errno))
}

/// Since Linux 6.6 (commit 2daf18a7884d).
pub(super) fn has_user_attributes_on_tmpfs() -> Result<bool> {
    let uname = uname();
    let release = uname.release().to_string_lossy();
    version(&release).map(|version| version >= (6, 6)).ok_or_else(|| {
        Error::new(ErrorKind::MissingFeature, format!("Linux {release:?} is of no known version"))
    })
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_a_version() {
        assert_eq!(version("6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(version("5.14.0"), Some((5, 14)));
        assert_eq!(version("6.6-rc1"), Some((6, 6)));
        assert_eq!(version("x"), None);
    }
}
