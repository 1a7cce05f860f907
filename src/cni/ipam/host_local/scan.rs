//! Reading every lease file, and clearing away those that nobody holds.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::SystemTime;

use crate::cni::failure::Failure;
use crate::cni::ipam::host_local::file_failed;
use crate::cni::ipam::host_local::index::Owners;
use crate::cni::ipam::host_local::owner::key_of;

/// What the lease files say.
#[derive(Debug, Default)]
pub struct Scanned {
    /// Who holds what.
    pub owners: Owners,
    /// A file that could not be read: nobody knows whose it is.
    pub unreadable: Option<Failure>,
}

impl Scanned {
    /// Reads the files of a folder, whose lock is held. Those that were last written before `stale`
    /// are nobody's any more.
    pub fn of(folder: &Path, stale: Option<SystemTime>) -> Result<Self, Failure> {
        let failed = |e: io::Error| file_failed("list", folder, &e);
        let mut scanned = Self::default();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let ip = entry.file_name().to_str().and_then(|name| name.parse::<IpAddr>().ok());
            let kind = entry.file_type().map(|kind| kind.is_file() || kind.is_symlink());
            // Whatever is no file is no lease, but its name is taken.
            if let (Some(ip), Ok(true)) = (ip, kind) {
                scanned.read(ip, &entry.path(), stale);
            }
        }
        Ok(scanned)
    }

    /// Reads one file. One that nobody holds is removed; if that fails, its address is merely not
    /// given out.
    fn read(&mut self, ip: IpAddr, path: &Path, stale: Option<SystemTime>) {
        let modified = || fs::metadata(path).and_then(|metadata| metadata.modified());
        if stale.is_some_and(|stale| modified().is_ok_and(|modified| modified < stale)) {
            drop(fs::remove_file(path));
            return;
        }
        match fs::read(path).map(|content| key_of(&content)) {
            Ok(Some(key)) => self.owners.entry(key).or_default().push(ip),
            Ok(None) => drop(fs::remove_file(path)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => self.unreadable = Some(file_failed("read", path, &e)),
        }
    }
}
