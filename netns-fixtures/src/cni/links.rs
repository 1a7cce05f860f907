//! A folder of plugins that are all the same program.

use crate::blame::Blame;
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process, thread,
};

/// The names under which netup serves.
pub const NAMES: [&str; 10] = [
    "netup",
    "bridge",
    "ptp",
    "host-local",
    "static",
    "loopback",
    "portmap",
    "firewall",
    "bandwidth",
    "tuning",
];

/// A folder with hard links of the program under all of its names: `cni-plugins` beside the program,
/// since a hard link cannot leave the file system. It stays there, and is brought up to date.
pub fn plugin_dir(program: &Path) -> io::Result<PathBuf> {
    let folder = program.with_file_name("cni-plugins");
    fs::create_dir_all(&folder).blame(folder.display())?;
    for name in NAMES {
        let link = folder.join(name);
        put(program, &link).blame(link.display())?;
    }
    Ok(folder)
}

/// Never half-made, as other test processes may use the folder at the same time.
fn put(program: &Path, link: &Path) -> io::Result<()> {
    let inode = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    let wanted = inode(program)?;
    // A rename onto another link of the same file would do nothing and leave both.
    if inode(link).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    let new = link.with_extension(format!("{}-{:?}", process::id(), thread::current().id()));
    fs::hard_link(program, &new)?;
    fs::rename(&new, link)
}
