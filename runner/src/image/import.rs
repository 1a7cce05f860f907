//! Importing: from an archive to an image in the store, wholly or not at all.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::PathBuf;

use super::archive::{Found, Stream, recognise, refuse_parts_as_files};
use super::blobs::Blobs;
use super::document::LayerEntry;
use super::layer::Target;
use super::oci::{Check, Parts};
use super::staging::Staging;
use super::store::owners_of_new;
use super::unpack::{Counts, Rules};
use super::{Config, Document, Limits, Marks, Progress, Store, docker, oci};
use crate::error::{Error, ErrorKind, Result};
use crate::idmap::UserNamespace;
use crate::name::ImageName;

/// What is to be imported, and how.
#[derive(Debug, Clone)]
pub struct ImportOrder {
    /// What the image is to be called.
    pub name: ImageName,
    /// Where it comes from.
    pub source: Source,
    /// Whether an image of that name gives way to it.
    pub replace: bool,
    /// Whether device nodes are made.
    pub devices: bool,
    /// How much is accepted.
    pub limits: Limits,
}

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Standard input.
    Stdin,
    /// An archive, or the folder of an OCI layout.
    Path(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

/// What was imported.
#[derive(Debug, Clone)]
pub struct Imported {
    /// What it is called.
    pub name: ImageName,
    /// Bytes of its files.
    pub size: u64,
    /// Files, folders and everything else.
    pub entries: u64,
    /// The archives that were laid over each other.
    pub layers: usize,
    /// Device nodes that were not made, since nobody asked for them.
    pub devices_left_out: u64,
}

impl Store {
    /// Imports an image. It is in the store when this comes back without an error, and otherwise
    /// nothing is.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) if the name is taken,
    /// [`BadImage`](crate::ErrorKind::BadImage) if what was read is damaged, hostile, too large or
    /// for another machine.
    pub fn import(&self, order: &ImportOrder, progress: &mut dyn Progress) -> Result<Imported> {
        let users = owners_of_new()?;
        // What cannot be cleared is in nobody's way; `gc` says why.
        self.clean().ok();
        let staging = {
            let held = self.lock()?;
            if !order.replace {
                self.refuse_taken(&order.name)?;
            }
            Staging::new(self, &held)?
        };
        let mut work = Work { order, users, staging: &staging, progress };
        let unpacked = work.unpack().map_err(|error| match error.kind() {
            // What the kernel refuses says where by itself.
            ErrorKind::BadImage => error.context(&order.source),
            _ => error,
        })?;
        self.commit(order, staging, unpacked)
    }

    fn commit(
        &self,
        order: &ImportOrder,
        staging: Staging<'_>,
        unpacked: Unpacked,
    ) -> Result<Imported> {
        let Unpacked { counts, layers, config } = unpacked;
        staging.sync()?;
        let held = self.lock()?;
        if !order.replace {
            self.refuse_taken(&order.name)?;
        }
        let layer = LayerEntry { id: staging.keep(&held)?, marks: Marks::None };
        let document = Document::new(vec![layer], config, Some(counts.bytes));
        self.write(&order.name, &document, &held)?;
        drop(held);
        if order.replace {
            // What it replaced belongs to no image now. The image is in the store, whether that can
            // be cleared or not.
            self.clean().ok();
        }
        Ok(Imported {
            name: order.name.clone(),
            size: counts.bytes,
            entries: counts.entries,
            layers,
            devices_left_out: counts.devices_left_out,
        })
    }
}

struct Work<'a> {
    order: &'a ImportOrder,
    users: Option<UserNamespace>,
    staging: &'a Staging<'a>,
    progress: &'a mut dyn Progress,
}

struct Unpacked {
    counts: Counts,
    layers: usize,
    config: Config,
}

impl Work<'_> {
    fn unpack(&mut self) -> Result<Unpacked> {
        let Self { order, staging, .. } = self;
        let found = recognise(&order.source, staging.folder(), &order.limits, self.progress)?;
        let unpacked = match found {
            Found::Tree(stream) => self.tree(stream),
            Found::Parts(blobs) => self.parts(&blobs),
        };
        self.progress.end();
        unpacked
    }

    fn tree(&mut self, stream: Stream) -> Result<Unpacked> {
        self.progress.begin(stream.size);
        let counts = self.apply(stream.content, &Check::Nothing, Counts::default(), false)?;
        refuse_parts_as_files(&self.staging.root())?;
        Ok(Unpacked { counts, layers: 1, config: Config::default() })
    }

    fn parts(&mut self, blobs: &Blobs) -> Result<Unpacked> {
        // Where both are, this one has digests for all of it.
        let parts = if blobs.has("index.json")? { oci::parts(blobs) } else { docker::parts(blobs) };
        let Parts { config, layers } = parts?;
        let mut total = 0;
        for layer in &layers {
            total += blobs.get(&layer.name)?.size;
        }
        self.progress.begin(Some(total));
        let mut counts = Counts::default();
        for (number, layer) in layers.iter().enumerate() {
            let content = blobs.get(&layer.name)?.content;
            counts = self
                .apply(content, &layer.check, counts, number > 0)
                .map_err(|error| error.context(format!("layer {}", layer.name)))?;
        }
        Ok(Unpacked { counts, layers: layers.len(), config: config.into_config() })
    }

    fn apply(
        &mut self,
        content: Box<dyn Read>,
        check: &Check,
        before: Counts,
        has_lower: bool,
    ) -> Result<Counts> {
        let rules =
            Rules { limits: self.order.limits, devices: self.order.devices, has_lower, before };
        let root = self.staging.root();
        let target = Target { root: &root, users: self.users.as_ref() };
        target.apply(content, check, rules, self.progress)
    }
}

impl Staging<'_> {
    /// Or a power failure could leave the image with files that are empty.
    fn sync(&self) -> Result<()> {
        let failed = |error| Error::state(format!("sync {}", self.folder().display()), &error);
        let folder = fs::File::open(self.folder()).map_err(failed)?;
        rustix::fs::syncfs(folder).map_err(|errno| failed(errno.into()))
    }
}
