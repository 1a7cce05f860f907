//! Connects any container to the network in about a millisecond, whoever made the container, and
//! leaves nothing behind.
//!
//! Given a network namespace, [`attach`] makes a veth pair with one end in it, assigns addresses,
//! sets links up, and adds routes, NAT and published ports. It comes about whole or not at all.
//! [`detach`] takes all of it away. Both cost the same however many containers there are.
//!
//! ```no_run
//! use netup::{Network, Request, Selector, Target};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! runtime.block_on(async {
//!     let network = Network::new()
//!         .address("10.0.0.2/24".parse()?)
//!         .address("fd00::2/64".parse()?)
//!         .nat(true)
//!         .publish("8080:80".parse()?);
//!     let request = Request::new(Target::open("4711")?, network)?;
//!     let outcome = netup::attach(&request).await?;
//!     println!("{} in {:?}", outcome.attachment.host_ifname, outcome.elapsed);
//!
//!     netup::detach(&Selector { name: "4711".into(), ifname: None }).await?;
//!     Ok(())
//! })
//! # }
//! ```
//!
//! Everything happens in the calling thread's network namespace, the host's side; it needs
//! `CAP_NET_ADMIN` and `CAP_SYS_ADMIN` there and over the container's. What must be remembered
//! between calls is in small files below `/run/netup`.
//!
//! The futures need no particular executor. The kernel answers within the system call, so they
//! are done within a millisecond or so without ever giving way; in a busy async program run them
//! on a thread for blocking work.
//!
//! The way through the code: [`Request`] → observe → [`plan`] → apply → verify → [`Outcome`];
//! `ARCHITECTURE.md` beside this file is the map.
#![deny(unsafe_code)]
#![deny(rustdoc::broken_intra_doc_links)]

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
pub use outcome::{
    Attachment, Change, Checked, Collected, Detached, Finding, Health, Outcome, Reloaded, State,
    Status,
};
pub use publish::{PortRange, Protocol, Publish};
pub use reload::{reload, remove_ruleset};
pub use request::{Network, Request, Topology};
pub use target::{Target, TargetName};
