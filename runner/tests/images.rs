//! Images: every format, hostile archives, crashes, and what becomes of owners without root.
//!
//! The archives are made here, byte by byte where a writer would refuse to write them.

#[path = "images/archive.rs"]
mod archive;
#[path = "images/btrfs.rs"]
mod btrfs;
#[path = "images/crash.rs"]
mod crash;
#[path = "images/formats.rs"]
mod formats;
#[path = "images/hostile.rs"]
mod hostile;
#[path = "images/idmapped.rs"]
mod idmapped;
#[path = "images/kept.rs"]
mod kept;
#[path = "images/place.rs"]
mod place;
#[path = "images/rootless.rs"]
mod rootless;
#[path = "images/saved.rs"]
mod saved;
#[path = "images/store.rs"]
mod store;
#[path = "images/whiteouts.rs"]
mod whiteouts;

netns_fixtures::isolate!();
