//! Images: root file systems in a store, brought there from archives.
//!
//! ```text
//! STORE/lock              held by whoever changes the store, shortly
//! STORE/images/NAME.json  what an image is: its layers and its configuration
//! STORE/layers/ID/root    the files of a layer, a subvolume where the store is on Btrfs
//! STORE/runs/NAME         what a running container writes; see `root`
//! ```
//!
//! The folder of a layer or a run is locked (flock(2)) by whoever makes or uses it, so what is not
//! locked and belongs to no image was left behind by a crash.
//!
//! Deliberately absent: a registry client, and images made of anything but files.

mod archive;
mod blobs;
mod compression;
mod config;
mod digest;
mod docker;
mod document;
mod import;
mod layer;
mod limits;
mod lock;
mod oci;
mod progress;
mod pump;
mod resolve;
mod staging;
mod store;
mod tar;
mod unpack;

pub use config::Config;
pub(crate) use document::{Document, LayerEntry, LayerId, Marks};
pub use import::{ImportOrder, Imported, Source};
pub use limits::Limits;
pub(crate) use lock::Lock;
pub use progress::{Bar, Progress, Silent};
pub(crate) use store::owners;
pub use store::{Image, Listed, Store};
