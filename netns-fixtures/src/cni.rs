//! CNI as runtimes speak it: a stand-in for libcni, and real runtimes that run in a [`Cell`](crate::Cell).

mod cgroup;
mod chain;
mod containerd;
mod image;
mod links;
mod podman;
mod sandbox;

pub use chain::{Attachment, Chain, Refused};
pub use containerd::Containerd;
pub use image::OciImage;
pub use links::{NAMES, plugin_dir};
pub use podman::Podman;

/// Where Debian has the reference plugins.
pub const REFERENCE: &str = "/usr/lib/cni";
