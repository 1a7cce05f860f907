//! Who has which addresses, without reading every lease file.
//!
//! The lease folder is shared with the reference plugin, which knows nothing of an index, so the
//! index is only a copy: one symbolic link per owner, `ID@IFNAME -> ADDRESS,ADDRESS`. It is trusted
//! only while nobody else has changed the lease folder. Each change to a folder's entries sets its
//! modification time. So after each change of ours, under the folder's lock, we set the lease
//! folder's to a random moment of the current second, and the index's own to the same moment in
//! another age. What anybody else does to either, and what we do without coming to the end of it,
//! makes the two disagree. A file system that keeps times less exactly lets them disagree always,
//! which costs time and nothing else.
//!
//! The index also marks that the lease folder has been used in this boot. It is below the state
//! folder, which does not outlive a boot.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Metadata};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::AT_FDCWD;
use nix::libc::ENAMETOOLONG;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{AccessFlags, access};

/// Owners by key, each with its addresses.
pub type Owners = BTreeMap<String, Vec<IpAddr>>;

/// By so many seconds the index's time differs from the lease folder's: some 31 years. The kernel
/// sets the same time on two folders that are changed in one tick, but never two such different ones.
const AGE: i64 = 1_000_000_000;

/// The longest name of a file, in bytes.
const NAME_MAX: usize = 255;

/// The index of one lease folder.
#[derive(Debug)]
pub struct Index {
    folder: PathBuf,
}

impl Index {
    /// Where the index of this lease folder is, or would be. Device and inode rather than a path
    /// name the folder: several paths may lead to it.
    pub fn of(leases: &Metadata) -> Option<Self> {
        let name = format!("{:x}-{:x}", leases.dev(), leases.ino());
        Some(Self { folder: netup::state_folder().ok()?.join("host-local").join(name) })
    }

    /// Whether the lease folder has been used in this boot.
    pub fn exists(&self) -> bool {
        self.folder.is_dir()
    }

    /// Whether it says what the lease files say.
    pub fn is_current(&self, leases: &Metadata) -> bool {
        fs::metadata(&self.folder).is_ok_and(|index| {
            (index.mtime(), index.mtime_nsec())
                == (leases.mtime().wrapping_sub(AGE), leases.mtime_nsec())
        })
    }

    /// The addresses of an owner; `None` if the index cannot tell.
    pub fn addresses(&self, key: &str) -> Option<Vec<IpAddr>> {
        match fs::read_link(self.folder.join(key)) {
            Ok(text) => text.to_str()?.split(',').map(|ip| ip.parse().ok()).collect(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Some(Vec::new()),
            // An owner whose name is too long for a file, for example.
            Err(_) => None,
        }
    }

    /// Every owner.
    pub fn owners(&self) -> Option<Owners> {
        let mut owners = Owners::new();
        for entry in fs::read_dir(&self.folder).ok()? {
            let key = entry.ok()?.file_name().into_string().ok()?;
            owners.insert(key.clone(), self.addresses(&key)?);
        }
        Some(owners)
    }

    /// Notes an owner's addresses. An owner without addresses is none.
    pub fn set(&self, key: &str, ips: &[IpAddr]) -> io::Result<()> {
        match fs::remove_file(self.folder.join(key)) {
            Err(e) if e.raw_os_error() == Some(ENAMETOOLONG) => Ok(()),
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ if ips.is_empty() => Ok(()),
            _ => self.add(key, ips),
        }
    }

    fn add(&self, key: &str, ips: &[IpAddr]) -> io::Result<()> {
        let ips = ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",");
        match symlink(ips, self.folder.join(key)) {
            // Asking for such an owner fails too, and so leads to the lease files.
            Err(e) if e.raw_os_error() == Some(ENAMETOOLONG) && key.len() > NAME_MAX => Ok(()),
            other => other,
        }
    }

    /// Whether the folder can be made; the one that it goes into is.
    pub fn can_exist(&self) -> bool {
        let Some(parent) = self.folder.parent() else { return false };
        create(parent).is_ok() && access(parent, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
    }

    /// Writes everything anew.
    pub fn rebuild(&self, owners: &Owners) -> io::Result<()> {
        create(&self.folder)?;
        for entry in fs::read_dir(&self.folder)? {
            fs::remove_file(entry?.path())?;
        }
        owners.iter().try_for_each(|(key, ips)| self.add(key, ips))
    }

    /// Says that the index and the lease folder agree. This comes last.
    pub fn stamp(&self, leases: &Path) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (seconds, nanoseconds) = (now.try_into().unwrap_or(i64::MAX), random_nanoseconds());
        set_modified(leases, seconds, nanoseconds)?;
        set_modified(&self.folder, seconds.wrapping_sub(AGE), nanoseconds)
    }
}

fn create(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// The kernel's own stamps are multiples of nothing either, but no change hits a random one.
fn random_nanoseconds() -> i64 {
    // std seeds this from the kernel's random numbers.
    (RandomState::new().build_hasher().finish() % 1_000_000_000) as i64
}

fn set_modified(path: &Path, seconds: i64, nanoseconds: i64) -> io::Result<()> {
    let modified = TimeSpec::new(seconds, nanoseconds);
    utimensat(AT_FDCWD, path, &TimeSpec::UTIME_OMIT, &modified, UtimensatFlags::FollowSymlink)
        .map_err(io::Error::from)
}
