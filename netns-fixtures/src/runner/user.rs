//! Ordinary users, who exist in the laboratory only.

use crate::blame::Blame;
use nix::{
    mount::{MsFlags, mount},
    sys::stat::{Mode, SFlag, mknod},
    unistd::{Gid, Uid, chown, geteuid},
};
use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Someone without rights, with a home and a runtime folder.
#[derive(Debug, Clone)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The user's number, which is the group's too.
    pub id: u32,
    /// `HOME`.
    pub home: PathBuf,
    /// `XDG_RUNTIME_DIR`.
    pub runtime: PathBuf,
}

/// What /etc/subuid and /etc/subgid give a user of the laboratory: the first id and how many.
pub const RANGE: (u32, u32) = (3_000_000, 65536);

/// The same for root.
pub const RANGE_OF_ROOT: (u32, u32) = (4_000_000, 65536);

const WITH_RANGES: (&str, u32) = ("ranger", 64001);
const WITHOUT_RANGES: (&str, u32) = ("single", 64002);

impl User {
    pub(super) fn with_ranges(folder: &Path) -> io::Result<Self> {
        Self::in_folder(WITH_RANGES, folder)
    }

    pub(super) fn without_ranges(folder: &Path) -> io::Result<Self> {
        Self::in_folder(WITHOUT_RANGES, folder)
    }

    fn in_folder((name, id): (&str, u32), folder: &Path) -> io::Result<Self> {
        let [home, runtime] = ["home", "runtime"].map(|what| folder.join(format!("{name}-{what}")));
        for own in [&home, &runtime] {
            fs::create_dir_all(own).blame(own.display())?;
        }
        let user = Self { name: name.to_owned(), id, home, runtime };
        user.own(&user.home)?;
        user.own(&user.runtime)?;
        Ok(user)
    }

    /// Gives a file or folder to the user.
    pub fn own(&self, path: &Path) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.id), Gid::from_raw(self.id));
        chown(path, Some(uid), Some(gid)).blame(format_args!("chown {}", path.display()))
    }

    /// Gives a folder and all that is in it to the user.
    pub fn own_all(&self, folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder).blame(folder.display())? {
            let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
            if kind.is_dir() {
                self.own_all(&path)?;
            } else {
                std::os::unix::fs::lchown(&path, Some(self.id), Some(self.id))
                    .blame(path.display())?;
            }
        }
        self.own(folder)
    }

    /// The words that make a command the user's, without any right that root had.
    pub(super) fn words(&self) -> Vec<String> {
        let id = self.id.to_string();
        let words = ["--reuid", &id, "--regid", &id, "--clear-groups", "--"];
        words.map(str::to_owned).into()
    }
}

/// Makes the users known in this process's mount namespace, once per process. Needs real root: only
/// root can become somebody else.
pub(super) fn introduce(folder: &Path) -> io::Result<()> {
    static INTRODUCED: Mutex<bool> = Mutex::new(false);
    let mut introduced = INTRODUCED.lock().unwrap_or_else(PoisonError::into_inner);
    if *introduced {
        return Ok(());
    }
    if !geteuid().is_root() || !maps_everybody()? {
        return Err(io::Error::other("the runner's tests become other users; run them as root"));
    }
    cover_etc(folder)?;
    open_tun(folder)?;
    for (name, id) in [WITH_RANGES, WITHOUT_RANGES] {
        append("/etc/passwd", &format!("{name}:x:{id}:{id}::/nonexistent:/bin/sh"))?;
        append("/etc/group", &format!("{name}:x:{id}:"))?;
    }
    for table in ["/etc/subuid", "/etc/subgid"] {
        for (name, (first, count)) in [(WITH_RANGES.0, RANGE), ("root", RANGE_OF_ROOT)] {
            append(table, &format!("{name}:{first}:{count}"))?;
        }
    }
    *introduced = true;
    Ok(())
}

/// Root of a user namespace with one id is not enough.
fn maps_everybody() -> io::Result<bool> {
    let map = fs::read_to_string("/proc/self/uid_map")?;
    let count = map.split_whitespace().nth(2).and_then(|count| count.parse().ok());
    Ok(count.is_some_and(|count: u64| count > u64::from(RANGE_OF_ROOT.0 + RANGE_OF_ROOT.1)))
}

/// So that what is written to /etc stays in here.
fn cover_etc(folder: &Path) -> io::Result<()> {
    let [upper, work] = ["etc", "etc-work"].map(|name| folder.join(name));
    fs::create_dir_all(&upper).blame(upper.display())?;
    fs::create_dir_all(&work).blame(work.display())?;
    let layers = format!("lowerdir=/etc,upperdir={},workdir={}", upper.display(), work.display());
    mount(Some("overlay"), "/etc", Some("overlay"), MsFlags::empty(), Some(layers.as_str()))
        .blame("cover /etc by an overlay")
}

/// Most machines let everybody make tap interfaces in network namespaces of their own; not all do.
fn open_tun(folder: &Path) -> io::Result<()> {
    let (device, own) = (Path::new("/dev/net/tun"), folder.join("tun"));
    let number = fs::metadata(device).blame("look for /dev/net/tun; try modprobe tun")?.rdev();
    mknod(&own, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), number)
        .blame("make a node for tun")?;
    fs::set_permissions(&own, Permissions::from_mode(0o666)).blame(own.display())?;
    mount(Some(&own), device, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .blame("cover /dev/net/tun")
}

fn append(file: &str, line: &str) -> io::Result<()> {
    let opened = OpenOptions::new().append(true).create(true).open(file);
    opened.and_then(|mut file| writeln!(file, "{line}")).blame(file)
}
