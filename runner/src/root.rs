//! A container's root file system, as far as the runner makes it: what lies on disk for it, and
//! what becomes of that.
//!
//! ```text
//! STORE/runs/NAME/image   says which image it runs from
//! STORE/runs/NAME/root    what it writes, or the snapshot that it runs in
//! STORE/runs/NAME/work    overlayfs' own
//! ```
//!
//! What is mounted, the container's first process mounts in its own mount namespace, so of mounts
//! nothing can be left behind. The folder of a run has the shape of a layer's folder: to keep what
//! a container wrote is to rename it.

mod idmapped;
mod kernel;
mod run;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::capabilities::{self, Capability, Set};
use crate::error::{Error, ErrorKind, Result};
use crate::idmap::UserNamespace;
use crate::image::{Config, Document, Image, LayerEntry, Marks, Store};
use crate::name::{ContainerName, ImageName};
use crate::plan::{Overlay, RootPlan, Upper};
use crate::request::{Base, Run, Security, Writes};
use crate::state::RootRecord;
use crate::sys::btrfs;
pub(crate) use idmapped::{lines as idmapped_lines, mounts as idmapped_mounts};
pub(crate) use kernel::is_first_user_namespace;
use run::RunFolder;

/// A root file system that can be mounted. It is taken back when this goes out of scope.
#[derive(Debug)]
pub struct PreparedRoot {
    plan: RootPlan,
    config: Option<Config>,
    store: Option<Store>,
    /// Its layers stay as long as the container needs them.
    image: Option<Image>,
    run: Option<RunFolder>,
    writes: Written,
}

/// How what the container wrote can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// Not at all.
    Nowhere,
    /// As a layer that is a whole root file system.
    Whole,
    /// As a layer above those of the base.
    Above(Marks),
}

/// Prepares a root. Unless told so, the base is not changed.
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound) if there is no such base,
/// [`Conflict`](ErrorKind::Conflict) if the name of a result to be kept is taken,
/// [`InvalidArgument`](ErrorKind::InvalidArgument) if the base cannot take the writes in this way.
pub fn prepare(
    run: &Run,
    name: &ContainerName,
    users: Option<&UserNamespace>,
) -> Result<PreparedRoot> {
    let (writes, read_only, security) = (&run.writes, run.read_only, &run.security);
    let need = Need { writes, read_only, security, name, users };
    match &run.base {
        Base::Directory(path) => need.of_directory(path),
        Base::Image(image) => need.of_image(image),
    }
}

/// What [`prepare`] may leave on disk if this process dies: to be recorded before it is called.
#[must_use]
pub fn intent(base: &Base, writes: &Writes, name: &ContainerName) -> Option<RootRecord> {
    let nothing =
        matches!((base, writes), (_, Writes::Direct) | (Base::Directory(_), Writes::Memory));
    // Without a store there is nothing that could be left in it, and why there is none is told if it
    // is needed.
    let store = (!nothing).then(Store::open)?.ok()?;
    Some(RootRecord { path: store.run(name) })
}

/// Removes what a container left on disk whose runner died. What is gone already is no error, and
/// what a container of the same name uses by now is left alone.
///
/// # Errors
/// If it cannot be removed.
pub fn discard(record: &RootRecord) -> Result<()> {
    RunFolder::discard(&record.path)
}

/// What is needed of a root.
struct Need<'a> {
    writes: &'a Writes,
    read_only: bool,
    security: &'a Security,
    name: &'a ContainerName,
    users: Option<&'a UserNamespace>,
}

impl Need<'_> {
    fn of_directory(&self, path: &Path) -> Result<PreparedRoot> {
        let (path, directory) = opened(path)?;
        if *self.writes == Writes::Direct {
            return Ok(PreparedRoot::of(RootPlan::Directory { path, idmapped: false }));
        }
        // Whose files a directory holds is its caller's affair: its owners are seen as they are.
        let snapshots = self.wants_snapshot()
            && !self.maps_ids()
            && btrfs::is_subvolume(&directory)
                .map_err(|errno| Error::kernel(format!("look at {}", path.display()), errno))?;
        if snapshots && let Some(prepared) = self.snapshot_of_directory(&directory)? {
            return Ok(prepared);
        }
        if matches!(self.writes, Writes::Keep(_)) {
            let message =
                format!("what is written over {} cannot be kept as an image", path.display());
            return Err(Error::invalid(message).hint(format!(
                "import it first: tar -C {} -c . | netup-run image import NAME",
                path.display()
            )));
        }
        let store = || Store::open();
        let (upper, run) = self.upper(None, store)?;
        let (lowers, userxattr) = (vec![path], self.userxattr()?);
        let plan = RootPlan::Overlay(Overlay { lowers, idmapped: false, upper, userxattr });
        Ok(PreparedRoot { run, ..PreparedRoot::of(plan) })
    }

    fn of_image(&self, name: &ImageName) -> Result<PreparedRoot> {
        if *self.writes == Writes::Direct {
            return Err(Error::invalid(format!("image {name} cannot be written to directly"))
                .hint("leave --writes direct out, or keep the result with --keep NAME"));
        }
        let store = Store::open()?;
        if let Writes::Keep(kept) = self.writes {
            store.refuse_taken(kept)?;
        }
        let image = store.image(name)?;
        let config = Some(image.config.clone());
        if self.wants_snapshot()
            && !self.could_open_devices()?
            && let [layer] = image.layers.as_slice()
            && let Some(prepared) = self.snapshot(&store, Some(name), &opened(layer)?.1)?
        {
            return Ok(PreparedRoot { config, ..prepared });
        }
        let userxattr = self.userxattr()?;
        refuse_foreign_marks(&image, userxattr)?;
        let (upper, run) = self.upper(Some(name), || Ok(store.clone()))?;
        let (lowers, idmapped) = (image.layers.clone(), self.maps_ids());
        let plan = RootPlan::Overlay(Overlay { lowers, idmapped, upper, userxattr });
        let writes = match self.writes {
            Writes::Keep(_) => Written::Above(if userxattr { Marks::User } else { Marks::Trusted }),
            _ => Written::Nowhere,
        };
        Ok(PreparedRoot { plan, config, store: Some(store), image: Some(image), run, writes })
    }

    /// Whether the store's files, which belong to root and others as they do in the image, would
    /// belong to nobody in the container: root itself is no part of its user namespace.
    fn maps_ids(&self) -> bool {
        self.users.is_some_and(UserNamespace::shifts_the_caller)
    }

    /// A snapshot costs ten times what an overlay does, and for a root that is read only it would
    /// buy nothing.
    fn wants_snapshot(&self) -> bool {
        match self.writes {
            Writes::Discard => !self.read_only,
            Writes::Disk | Writes::Keep(_) => true,
            Writes::Memory | Writes::Direct => false,
        }
    }

    /// Whether device nodes that the image brought could come to open, which belong to the container's
    /// root now: who may mount may take the flag from a mount that forbids it. An overlay that was
    /// mounted in a user namespace opens none, whatever its flags.
    fn could_open_devices(&self) -> Result<bool> {
        let Security { capabilities: changes, new_privileges, .. } = self.security;
        let root = capabilities::resolve(changes, true, *new_privileges, Set::ALL)?;
        Ok(self.maps_ids() && root.bounding.contains(Capability::SYS_ADMIN))
    }

    fn snapshot_of_directory(&self, subvolume: &File) -> Result<Option<PreparedRoot>> {
        let store = Store::open()?;
        if let Writes::Keep(kept) = self.writes {
            store.refuse_taken(kept)?;
        }
        self.snapshot(&store, None, subvolume)
    }

    /// A snapshot of a subvolume in the store, if it can be made there.
    fn snapshot(
        &self,
        store: &Store,
        image: Option<&ImageName>,
        subvolume: &File,
    ) -> Result<Option<PreparedRoot>> {
        let is_subvolume = btrfs::is_subvolume(subvolume)
            .map_err(|errno| Error::kernel("look at the base", errno))?;
        if !is_subvolume {
            return Ok(None);
        }
        let run = RunFolder::make(store, self.name, image)?;
        match run.snapshot(subvolume.as_fd()) {
            Ok(()) => {}
            // On another file system, or somebody else's.
            Err(Errno::XDEV | Errno::PERM | Errno::ACCESS | Errno::NOTTY) => {
                return run.remove().map(|()| None);
            }
            Err(errno) => {
                let what = format!("ioctl(BTRFS_IOC_SNAP_CREATE_V2, {})", run.root().display());
                return Err(Error::kernel(what, errno));
            }
        }
        Ok(Some(PreparedRoot {
            plan: RootPlan::Directory { path: run.root(), idmapped: self.maps_ids() },
            config: None,
            store: Some(store.clone()),
            image: None,
            run: Some(run),
            writes: Written::Whole,
        }))
    }

    /// Where writes go, and the folder of this run if there is one.
    fn upper(
        &self,
        image: Option<&ImageName>,
        store: impl FnOnce() -> Result<Store>,
    ) -> Result<(Upper, Option<RunFolder>)> {
        let on_disk =
            matches!(self.writes, Writes::Disk | Writes::Keep(_)) || self.memory_fails()?;
        if !on_disk && image.is_none() {
            return Ok((Upper::Memory { size: None }, None));
        }
        let run = RunFolder::make(&store()?, self.name, image)?;
        if !on_disk {
            return Ok((Upper::Memory { size: None }, Some(run)));
        }
        run.make_upper()?;
        let folder = run.path().to_owned();
        Ok((Upper::Disk { folder, idmapped: self.maps_ids() }, Some(run)))
    }

    /// Whether overlayfs cannot keep its marks in memory.
    fn memory_fails(&self) -> Result<bool> {
        if !self.userxattr()? || kernel::has_user_attributes_on_tmpfs()? {
            return Ok(false);
        }
        match self.writes {
            Writes::Memory => Err(Error::new(
                ErrorKind::MissingFeature,
                "before Linux 6.6 writes of a user namespace cannot be kept in memory",
            )
            .hint("use --writes disk")),
            _ => Ok(true),
        }
    }

    /// Whether overlayfs has to keep its marks in `user.*` attributes: `trusted.*` are for the
    /// first user namespace's root only.
    fn userxattr(&self) -> Result<bool> {
        Ok(self.users.is_some() || !kernel::is_first_user_namespace()?)
    }
}

fn opened(path: &Path) -> Result<(PathBuf, File)> {
    let failed = |error: std::io::Error| {
        let failed = Error::io(format!("open {}", path.display()), &error);
        match failed.errno() {
            Some(Errno::NOENT | Errno::NOTDIR) => failed
                .with_kind(ErrorKind::NotFound)
                .hint("a word with a slash is a directory that holds a root file system"),
            _ => failed,
        }
    };
    // Overlayfs is told paths, which are to mean the same wherever it is told them.
    let path = fs::canonicalize(path).map_err(failed)?;
    // Opened in another way, a FIFO would make us wait for its writer.
    let opened = File::options().read(true).custom_flags(libc::O_DIRECTORY).open(&path);
    match opened {
        Err(error) if error.raw_os_error() == Some(libc::ENOTDIR) => {
            let message = format!("{} is no directory", path.display());
            Err(Error::new(ErrorKind::NotFound, message)
                .hint("an archive has to be imported: netup-run image import NAME FILE"))
        }
        opened => opened.map_err(failed).map(|directory| (path, directory)),
    }
}

fn refuse_foreign_marks(image: &Image, userxattr: bool) -> Result<()> {
    let (foreign, how) = match userxattr {
        true => (Marks::Trusted, "without a user namespace"),
        false => (Marks::User, "in a user namespace"),
    };
    if !image.has_marks(foreign) {
        return Ok(());
    }
    let message = format!("image {} was kept by a container {how}", image.name);
    Err(Error::new(ErrorKind::Conflict, message + ", and what that removed would be seen again")
        .hint("run it in the same way, or export and import it"))
}

impl PreparedRoot {
    fn of(plan: RootPlan) -> Self {
        let (config, store, image, run) = (None, None, None, None);
        Self { plan, config, store, image, run, writes: Written::Nowhere }
    }

    /// What the root is made of.
    #[must_use]
    pub fn plan(&self) -> &RootPlan {
        &self.plan
    }

    /// What the image says of its command, if it is an image.
    #[must_use]
    pub fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    /// What lies on disk, for whoever has to remove it if this process dies.
    #[must_use]
    pub fn record(&self) -> Option<RootRecord> {
        self.run.as_ref().map(|run| RootRecord { path: run.path().to_owned() })
    }

    /// Takes it back once the container is gone, after what it wrote was kept, if asked for.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) if the name was taken meanwhile, or that something could
    /// not be written or removed.
    pub fn finish(mut self, keep: Option<&ImageName>) -> Result<()> {
        let Some(run) = self.run.take() else { return Ok(()) };
        match keep {
            None => run.remove(),
            Some(name) => self.keep(run, name),
        }
    }

    fn keep(&self, run: RunFolder, name: &ImageName) -> Result<()> {
        let below = self.image.as_ref().map_or(&[][..], |image| image.entries());
        let (marks, below) = match self.writes {
            Written::Whole => (Marks::None, &[][..]),
            Written::Above(marks) => (marks, below),
            Written::Nowhere => {
                let message = "what the container wrote is not on disk and cannot be kept";
                return Err(Error::invalid(message));
            }
        };
        let Some(store) = &self.store else { return run.remove() };
        let held = store.lock()?;
        store.refuse_taken(name)?;
        let top = LayerEntry { id: run.keep(store)?, marks };
        let layers = [&[top], below].concat();
        let document = Document::new(layers, self.config.clone().unwrap_or_default(), None);
        store.write(name, &document, &held)
    }
}
