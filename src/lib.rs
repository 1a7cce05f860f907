//! Connects any container to the network in about a millisecond, and leaves nothing behind.
#![forbid(non_ascii_idents)]

pub mod addr;
mod apply;
mod attach;
mod check;
mod detach;
mod doctor;
mod error;
mod gc;
mod host;
pub mod ident;
mod kernel;
mod list;
mod nft;
mod observe;
mod outcome;
pub mod plan;
mod publish;
mod reload;
pub mod request;
mod reserve;
pub mod ruleset;
mod state;
mod target;
mod unrecorded;
mod verify;

pub use attach::{Progress, Watch, attach, attach_watched, dry_run};
pub use check::check;
pub use detach::{Selector, detach};
pub use doctor::doctor;
pub use error::{Error, ErrorKind, Result};
pub use gc::collect_garbage;
pub use list::{list, show};
pub use outcome::*;
pub use publish::{PortRange, Protocol, Publish};
pub use reload::{reload, remove_ruleset};
pub use request::{Network, Request, Topology};
pub use target::{Target, TargetName};
