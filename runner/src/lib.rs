//! Runs a command in a container: namespaces, a root file system, a network, and nothing left
//! behind.
//!
//! The way through the code: [`request`] → observe → [`plan`] (pure) → launch, with undo armed →
//! what happens [`inside`] → supervise → exit status. `ARCHITECTURE.md` beside this file is the map.
#![deny(unsafe_code)]
#![deny(rustdoc::broken_intra_doc_links)]

pub mod capabilities;
pub mod cgroup;
mod channel;
pub mod cli;
mod confined;
mod detacher;
mod erase;
mod error;
pub mod exec;
mod explain;
pub mod gc;
pub mod idmap;
pub mod image;
pub mod inside;
mod launch;
mod made;
pub mod name;
pub mod network;
mod observe;
pub mod pause;
pub mod plan;
mod procfs;
pub mod ps;
mod refusal;
pub mod reply;
pub mod request;
pub mod root;
pub mod run;
pub mod sealed;
pub mod seccomp;
mod signals;
pub mod state;
pub mod stats;
pub mod supervise;
pub mod sys;
pub mod terminal;
pub mod users;

pub use error::{Error, ErrorKind, Result};
