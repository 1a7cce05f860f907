//! The folder that remembers attachments.

use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use nix::unistd::{AccessFlags, faccessat, geteuid};

use crate::doctor::{failure, ok, warning};
use crate::outcome::Finding;
use crate::state::STATE_DIR_VARIABLE;

/// Not in nix; statfs(2).
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);
const SUBJECT: &str = "state folder";

pub fn check() -> Finding {
    match folder() {
        Some(folder) => judge(&folder),
        None => failure(
            SUBJECT,
            "XDG_RUNTIME_DIR is not set",
            "export XDG_RUNTIME_DIR=/run/user/$(id -u)",
        ),
    }
}

/// As the state itself chooses it.
fn folder() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(STATE_DIR_VARIABLE) {
        return Some(folder.into());
    }
    match geteuid().is_root() {
        true => Some(PathBuf::from("/run/netup")),
        false => {
            std::env::var_os("XDG_RUNTIME_DIR").map(|folder| PathBuf::from(folder).join("netup"))
        }
    }
}

fn judge(folder: &Path) -> Finding {
    let name = folder.display();
    // It is made by the first attach; until then its parent decides.
    let Some(nearest) = folder.ancestors().find(|path| path.exists()) else {
        return failure(SUBJECT, format!("{name} has no parent"), format!("mkdir -p {name}"));
    };
    let wanted = AccessFlags::W_OK | AccessFlags::X_OK;
    if let Err(errno) = faccessat(AT_FDCWD, nearest, wanted, AtFlags::AT_EACCESS) {
        let found = format!("{} cannot be written to: {}", nearest.display(), errno.desc());
        return failure(
            SUBJECT,
            found,
            format!(
                "export {STATE_DIR_VARIABLE}=$XDG_RUNTIME_DIR/netup   # or any folder that can be written to"
            ),
        );
    }
    match statfs(nearest).map(|fs| forgets(fs.filesystem_type())) {
        Ok(true) => ok(SUBJECT, format!("{name} is writable, and empty after a reboot")),
        _ => warning(
            SUBJECT,
            format!("{name} is not on a tmpfs: it outlives a reboot, which the network does not"),
            format!("mkdir -p {name} && mount -t tmpfs -o mode=0700 tmpfs {name}"),
        ),
    }
}

fn forgets(kind: FsType) -> bool {
    kind == TMPFS_MAGIC || kind == RAMFS_MAGIC
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Health;

    #[test]
    fn a_folder_that_survives_a_reboot_is_warned_of() {
        assert_eq!(judge(Path::new("/dev/shm/netup-x/y")).health, Health::Ok);
        // Ordinary users cannot write there either, which is worse.
        assert_ne!(judge(Path::new("/proc/netup-x")).health, Health::Ok);
    }
}
