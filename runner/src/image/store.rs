//! The store: where it is, what is in it, and what was left behind in it.

use std::collections::HashSet;
use std::env;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use serde::Serialize;

use super::{Config, Document, LayerEntry, LayerId, Lock, Marks};
use crate::erase;
use crate::error::{Error, ErrorKind, Result};
use crate::idmap::UserNamespace;
use crate::name::{ContainerName, ImageName};
use crate::request::Users;

/// Overrides where the store is.
const PLACE: &str = "NETUP_RUN_STORE";

/// The images of a user.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

/// An image that is in use: as long as this exists, its layers stay.
#[derive(Debug)]
pub struct Image {
    /// What it is called.
    pub name: ImageName,
    /// What it says of its command.
    pub config: Config,
    /// The folders of its layers, topmost first.
    pub layers: Vec<PathBuf>,
    document: Document,
    _locks: Vec<Lock>,
}

/// A folder that is to be erased, and the lock that keeps everybody else from it.
#[derive(Debug)]
pub(super) struct Leftover {
    _lock: Lock,
    folder: PathBuf,
}

/// An image as `image ls` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// What it is called.
    pub name: ImageName,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// Bytes of its files, if they were counted.
    pub size: Option<u64>,
    /// How many layers it has.
    pub layers: usize,
}

impl Store {
    /// The caller's store: `$NETUP_RUN_STORE`, or `/var/lib/netup-run` for root, or `netup-run` in
    /// the folder of the user's data. It need not exist yet.
    ///
    /// # Errors
    /// [`State`](ErrorKind::State) if no place is known or another user's folder is there.
    pub fn open() -> Result<Self> {
        let folder = place()?;
        match fs::metadata(&folder) {
            Ok(found) if found.uid() != geteuid().as_raw() => {
                let message = format!("{} belongs to uid {}", folder.display(), found.uid());
                Err(Error::new(ErrorKind::State, message)
                    .hint(format!("set {PLACE} to a folder of your own")))
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::state(format!("look at {}", folder.display()), &error))
            }
            Ok(_) | Err(_) => Ok(Self { folder }),
        }
    }

    /// An image, which then stays until what is returned is gone.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) if there is none of that name.
    pub fn image(&self, name: &ImageName) -> Result<Image> {
        // It comes with the first image.
        if !self.lock_file().exists() {
            return Err(not_found(name));
        }
        // Between reading of a layer and locking it, it must not go.
        let _held = Lock::shared(&self.lock_file())?;
        let document = self.read(name)?;
        let folders: Vec<_> = document.layers.iter().map(|layer| self.layer(&layer.id)).collect();
        let locks = folders.iter().map(|folder| Lock::shared(folder)).collect::<Result<_>>();
        Ok(Image {
            name: name.clone(),
            config: document.config.clone(),
            layers: folders.iter().map(|folder| folder.join("root")).collect(),
            document,
            _locks: locks.map_err(|error| error.with_kind(ErrorKind::State).context(name))?,
        })
    }

    /// All images, by name.
    ///
    /// # Errors
    /// That the store cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let mut images = Vec::new();
        for name in self.names()? {
            match self.read(&name) {
                Ok(Document { created, size, layers, .. }) => {
                    images.push(Listed { name, created, size, layers: layers.len() });
                }
                // Removed since its name was read.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        images.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(images)
    }

    /// Removes an image and the layers that no other image has.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) if there is none of that name,
    /// [`Conflict`](ErrorKind::Conflict) if a container runs from it.
    pub fn remove(&self, name: &ImageName) -> Result<()> {
        if !self.folder.exists() {
            return Err(not_found(name));
        }
        let held = self.lock()?;
        let layers = self.read(name)?.layers;
        let shared = self.layers_but_of(name)?;
        let own = layers.into_iter().map(|layer| layer.id).filter(|id| !shared.contains(id));
        let mut going = Vec::new();
        for id in own {
            let folder = self.layer(&id);
            match Lock::try_exclusive(&folder) {
                Ok(Some(lock)) => going.push(Leftover { _lock: lock, folder }),
                Ok(None) => return Err(self.in_use(name)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        remove_file(&self.document(name))?;
        drop(held);
        // Belonging to no image now, they are cleared by the next call if this one dies here.
        self.erase_all(&going)
    }

    /// Clears what crashes have left behind: layers that belong to no image, and what containers
    /// wrote that run no more.
    ///
    /// # Errors
    /// That something cannot be removed.
    pub fn clean(&self) -> Result<()> {
        if !self.folder.exists() {
            return Ok(());
        }
        let held = self.lock()?;
        let leftovers = self.leftovers(&held)?;
        drop(held);
        self.erase_all(&leftovers)
    }

    /// What nobody uses and no image has, locked: nobody else can come to use it, so it is erased
    /// without the store's lock, for which whoever starts a container waits.
    pub(super) fn leftovers(&self, _held: &Lock) -> Result<Vec<Leftover>> {
        let known = self.layers_of_images(None)?;
        let known: HashSet<PathBuf> = known.iter().map(|id| self.layer(id)).collect();
        let unknown = |path: &PathBuf| !known.contains(path);
        let layers = entries(&self.layers())?.into_iter().filter(unknown);
        let mut leftovers = Vec::new();
        for folder in layers.chain(entries(&self.runs())?) {
            match Lock::try_exclusive(&folder) {
                Ok(Some(lock)) => leftovers.push(Leftover { _lock: lock, folder }),
                Ok(None) => {}
                // Its own process was faster.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let unfinished = |path: &PathBuf| path.to_string_lossy().contains("/.new-");
        entries(&self.images())?
            .iter()
            .filter(|path| unfinished(path))
            .try_for_each(|p| remove_file(p))?;
        Ok(leftovers)
    }

    pub(super) fn erase_all(&self, leftovers: &[Leftover]) -> Result<()> {
        leftovers.iter().try_for_each(|leftover| self.erase(&leftover.folder))
    }

    /// Writes an image down, under the store's lock.
    pub(crate) fn write(&self, name: &ImageName, document: &Document, _held: &Lock) -> Result<()> {
        let path = self.document(name);
        let new = self.images().join(format!(".new-{name}"));
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(&document.to_bytes())?;
            // Or a power failure could leave the name without the content.
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(self.images())?.sync_all()
        };
        write().map_err(|error| Error::state(format!("write {}", path.display()), &error))
    }

    pub(crate) fn has(&self, name: &ImageName) -> bool {
        self.document(name).exists()
    }

    pub(crate) fn refuse_taken(&self, name: &ImageName) -> Result<()> {
        if !self.has(name) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, format!("there is an image {name} already"))
            .hint("choose another name, or remove it with `netup-run image rm`"))
    }

    /// The right to change the store, which is made if it is not there.
    pub(crate) fn lock(&self) -> Result<Lock> {
        for folder in [self.images(), self.layers(), self.runs()] {
            make_folder(&folder)?;
        }
        let file = self.lock_file();
        File::options()
            .create(true)
            .append(true)
            .open(&file)
            .map_err(|error| Error::state(format!("create {}", file.display()), &error))?;
        Lock::exclusive(&file)
    }

    /// Removes a folder of the store whose files can have other owners.
    pub(crate) fn erase(&self, folder: &Path) -> Result<()> {
        erase::tree(owners()?.as_ref(), folder)
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.folder.join("images")
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.folder.join("layers")
    }

    pub(crate) fn runs(&self) -> PathBuf {
        self.folder.join("runs")
    }

    pub(crate) fn layer(&self, id: &LayerId) -> PathBuf {
        self.layers().join(id.to_string())
    }

    /// The folder of a container that runs.
    pub(crate) fn run(&self, name: &ContainerName) -> PathBuf {
        self.runs().join(name.as_str())
    }

    fn lock_file(&self) -> PathBuf {
        self.folder.join("lock")
    }

    fn document(&self, name: &ImageName) -> PathBuf {
        self.images().join(format!("{name}.json"))
    }

    fn read(&self, name: &ImageName) -> Result<Document> {
        let path = self.document(name);
        match fs::read(&path) {
            Ok(bytes) => Document::parse(&bytes).map_err(|error| {
                error
                    .context(path.display())
                    .hint("remove this file to give the image up, then call netup-run gc")
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(not_found(name)),
            Err(error) => Err(Error::state(format!("read {}", path.display()), &error)),
        }
    }

    fn names(&self) -> Result<Vec<ImageName>> {
        let name = |path: &PathBuf| path.file_name()?.to_str()?.strip_suffix(".json")?.parse().ok();
        Ok(entries(&self.images())?.iter().filter_map(name).collect())
    }

    fn layers_but_of(&self, name: &ImageName) -> Result<HashSet<LayerId>> {
        self.layers_of_images(Some(name))
    }

    fn layers_of_images(&self, but: Option<&ImageName>) -> Result<HashSet<LayerId>> {
        let mut layers = HashSet::new();
        for name in self.names()?.iter().filter(|name| Some(*name) != but) {
            layers.extend(self.read(name)?.layers.into_iter().map(|layer| layer.id));
        }
        Ok(layers)
    }

    fn in_use(&self, name: &ImageName) -> Error {
        let runs = entries(&self.runs()).unwrap_or_default();
        let runs = runs.into_iter().filter(|run| {
            let of_image = fs::read_link(run.join("image"));
            of_image.is_ok_and(|image| image.as_os_str() == name.as_str())
                && matches!(Lock::try_exclusive(run), Ok(None))
        });
        let runs: Vec<String> =
            runs.filter_map(|run| Some(run.file_name()?.to_str()?.to_owned())).collect();
        let who = if runs.is_empty() { "another call".to_owned() } else { runs.join(", ") };
        Error::new(ErrorKind::Conflict, format!("image {name} is in use by {who}"))
            .hint("wait for its end, or end it")
    }
}

impl Image {
    pub(crate) fn entries(&self) -> &[LayerEntry] {
        &self.document.layers
    }

    /// Whether this image's files can be seen right in a user namespace, or without one.
    pub(crate) fn has_marks(&self, marks: Marks) -> bool {
        self.document.layers.iter().any(|layer| layer.marks == marks)
    }
}

/// The namespace in which files of any owner can be made; none is needed for root.
pub(super) fn owners_of_new() -> Result<Option<UserNamespace>> {
    UserNamespace::choose(Users::Auto)
}

/// The namespace in which all files of the caller's store have owners; none is needed for root.
pub(crate) fn owners() -> Result<Option<UserNamespace>> {
    UserNamespace::choose(Users::Auto).or_else(|error| match error.kind() {
        // Who has no other ids has no files of others either.
        ErrorKind::NotPermitted | ErrorKind::MissingTool => Ok(Some(UserNamespace::single())),
        _ => Err(error),
    })
}

fn place() -> Result<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    if env::var_os(PLACE).is_some() {
        return absolute(PLACE)
            .ok_or_else(|| Error::invalid(format!("{PLACE} is no absolute path")));
    }
    if geteuid().is_root() {
        return Ok("/var/lib/netup-run".into());
    }
    absolute("XDG_DATA_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/share")))
        .map(|folder| folder.join("netup-run"))
        .ok_or_else(|| {
            Error::new(ErrorKind::State, "neither XDG_DATA_HOME nor HOME says where images go")
                .hint(format!("set {PLACE}"))
        })
}

/// The images' files are anybody's, set-user-ID programs among them: nobody else may get there.
fn make_folder(folder: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| {
        Error::state(format!("create {}", folder.display()), &error)
            .hint(format!("set {PLACE} to a folder that you can write"))
    })
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error: &io::Error| Error::state(format!("read {}", folder.display()), error);
    match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()).map_err(|error| failed(&error)))
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(&error)),
    }
}

fn remove_file(path: &Path) -> Result<()> {
    fs::remove_file(path)
        .map_err(|error| Error::state(format!("remove {}", path.display()), &error))
}

fn not_found(name: &ImageName) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no image {name}"))
        .hint("see `netup-run image ls`, and `netup-run image import`")
}
