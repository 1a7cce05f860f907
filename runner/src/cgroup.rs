//! The container's cgroup, of version 2 only. Each container gets one wherever one can be made, for
//! its figures, to freeze it and to kill it whole; limits need controllers besides.
//!
//! Root's are `netup-run/NAME.RUNNER` below the hierarchy's root. Where the caller's own cgroup was
//! delegated to it, and for an ordinary user, they are `netup-run-NAME.RUNNER` below that.

mod controllers;
mod freezer;
mod hierarchy;
mod limits;
mod removal;

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};
use crate::name::ContainerName;
use crate::request::Limits;

pub use freezer::{freeze, is_frozen, thaw};
pub use removal::{abandon, discard};

use hierarchy::Place;
use limits::Setting;

/// How often the common parent may vanish under our feet, as others remove it when they are the
/// last to leave.
const TRIES: usize = 100;

/// Where containers' cgroups are made.
#[derive(Debug, Clone)]
pub struct Parent {
    /// The root of the hierarchy, or of the part that is seen.
    hierarchy: PathBuf,
    place: Place,
}

/// A container's cgroup.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    handle: OwnedFd,
    settings: Vec<Setting>,
}

impl Cgroup {
    /// As [`Parent::create`], where [`Parent::find`] was asked before; without a parent there is
    /// none, unless a limit was asked for.
    ///
    /// # Errors
    /// As [`Parent::create`].
    pub fn create_in(
        parent: Option<&Parent>,
        name: &ContainerName,
        limits: &Limits,
    ) -> Result<Option<Self>> {
        match parent {
            Some(parent) => parent.create(name, limits),
            None => without_hierarchy(limits).map(|()| None),
        }
    }

    /// Its directory, for `CLONE_INTO_CGROUP`.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was done, as commands.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        lines(&self.path, &self.settings)
    }

    /// Removes it with what is below, when its container has ended. Whoever is in it still has a tenth
    /// of a second to end, and is killed then.
    ///
    /// # Errors
    /// If processes are left in it, or the kernel refuses.
    pub fn remove(self) -> Result<()> {
        removal::remove(&self.path)
    }
}

/// Where no version 2 hierarchy is mounted a container goes without, unless a limit was asked for.
///
/// # Errors
/// [`MissingFeature`](ErrorKind::MissingFeature) for the first limit.
fn without_hierarchy(limits: &Limits) -> Result<()> {
    match limits::settings(limits).first() {
        Some(setting) => Err(controllers::no_hierarchy(setting.controller)),
        None => Ok(()),
    }
}

/// What [`Parent::create`] would do, as commands.
///
/// # Errors
/// As there, as far as it can be known beforehand.
pub fn preview(name: &ContainerName, limits: &Limits) -> Result<Vec<String>> {
    match Parent::find()? {
        Some(parent) => parent.preview(name, limits),
        None => without_hierarchy(limits).map(|()| Vec::new()),
    }
}

impl Parent {
    /// The caller's, `None` where no version 2 hierarchy is mounted.
    ///
    /// # Errors
    /// If `/proc/self/cgroup` cannot be read.
    pub fn find() -> Result<Option<Self>> {
        let Some(hierarchy) = hierarchy::find() else { return Ok(None) };
        let place = hierarchy::place(&hierarchy)?;
        Ok(place.map(|place| Self { hierarchy, place }))
    }

    /// This directory of a version 2 hierarchy, which need not exist, but the one above it must.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        let hierarchy = folder.parent().unwrap_or(folder).to_owned();
        Self { hierarchy, place: Place::Own(folder.to_owned()) }
    }

    /// Where a container's will be: to be recorded before it is made.
    #[must_use]
    pub fn path(&self, name: &ContainerName) -> PathBuf {
        self.place.of(name, std::process::id())
    }

    /// Makes one for a container, with its limits in force before there is a process. `None` where
    /// none can be made and no limit was asked for.
    ///
    /// # Errors
    /// [`MissingFeature`](ErrorKind::MissingFeature) if a limit needs a controller that cannot be
    /// had; [`Conflict`](ErrorKind::Conflict) if there are processes in a cgroup of this name.
    pub fn create(&self, name: &ContainerName, limits: &Limits) -> Result<Option<Cgroup>> {
        let settings = limits::settings(limits);
        let path = self.path(name);
        let made = (0..TRIES).find_map(|_| match self.make(&path, &settings) {
            Err(e) if self.place.is_shared() && is_vanished(&e) => None,
            made => Some(made),
        });
        match made.unwrap_or_else(|| Err(restless(&path))) {
            Ok(cgroup) => Ok(Some(cgroup)),
            Err(e) if settings.is_empty() && is_out_of_reach(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// What [`Parent::create`] would do, as commands.
    ///
    /// # Errors
    /// [`MissingFeature`](ErrorKind::MissingFeature) as there, as far as it can be known beforehand.
    pub fn preview(&self, name: &ContainerName, limits: &Limits) -> Result<Vec<String>> {
        let settings = limits::settings(limits);
        controllers::offered(self, &settings)?;
        Ok(lines(&self.path(name), &settings))
    }

    fn make(&self, path: &Path, settings: &[Setting]) -> Result<Cgroup> {
        if !settings.is_empty() {
            controllers::enable(self, settings)?;
        }
        self.make_folder(path)?;
        let filled = self.fill(path, settings);
        filled.inspect_err(|_| {
            fs::remove_dir(path).ok();
        })
    }

    fn fill(&self, path: &Path, settings: &[Setting]) -> Result<Cgroup> {
        settings.iter().try_for_each(|setting| setting.write(path))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| Error::kernel(format!("open {}", path.display()), errno))?;
        Ok(Cgroup { path: path.to_owned(), handle, settings: settings.to_vec() })
    }

    fn make_folder(&self, path: &Path) -> Result<()> {
        match fs::create_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.place.is_shared() => {
                self.make_shared()?;
                make(path)
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                // What a container of this name left is empty, or it has not ended.
                fs::remove_dir(path).map_err(|e| occupied(path, &e))?;
                make(path)
            }
            made => made.map_err(|e| failed("mkdir", path, &e)),
        }
    }

    /// The directory for all containers. What controllers its own parent gives it, it passes on:
    /// figures are wanted of containers without limits too.
    fn make_shared(&self) -> Result<()> {
        let folder = self.place.folder();
        match fs::create_dir(folder) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(failed("mkdir", folder, &e)),
            _ => controllers::pass_on(folder),
        }
    }
}

fn make(path: &Path) -> Result<()> {
    fs::create_dir(path).map_err(|e| failed("mkdir", path, &e))
}

fn lines(path: &Path, settings: &[Setting]) -> Vec<String> {
    let made = format!("mkdir -p {}", path.display());
    std::iter::once(made).chain(settings.iter().map(|setting| setting.line(path))).collect()
}

/// The directory for all, or a file in it that was opened before: its reader gets ENODEV
/// (`kernfs_seq_start` in fs/kernfs/file.c).
fn is_vanished(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::NOENT | Errno::NODEV))
}

/// As an ordinary user whose cgroup was not delegated, or where the hierarchy is read-only.
fn is_out_of_reach(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::NOENT))
}

fn failed(verb: &str, path: &Path, error: &io::Error) -> Error {
    Error::io(format!("{verb} {}", path.display()), error)
}

fn occupied(path: &Path, error: &io::Error) -> Error {
    failed("replace", path, error)
        .with_kind(ErrorKind::Conflict)
        .hint("a container of this name seems to run elsewhere; choose another --name")
}

fn restless(path: &Path) -> Error {
    let what = format!("mkdir {}: its parent was removed {TRIES} times meanwhile", path.display());
    Error::new(ErrorKind::Kernel, what)
}
